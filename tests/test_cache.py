"""Decoded images on disk: made once, whatever happens meanwhile, and the same run as in memory."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import jaxgan
from jaxgan import data, parallel
from jaxgan.commands import train
from jaxgan.commands.scorer import find_nearest
from jaxgan.data import cache, decode, images, rows, store
from jaxgan.data.rows import Rows, digest_of
from jaxgan.training import program

COUNT = 24


@pytest.fixture
def folder(tmp_path):
    """Noise in two sub-folders, of which some is deep."""
    random = np.random.RandomState(0)
    for i in range(COUNT):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 256, (6, 5, 3))
        scan = np.uint16(pixels[..., 0] * (1 if i else 16))  # the first is of 12 bits
        Image.fromarray(np.uint8(pixels) if i % 4 else scan).save(path)
    return tmp_path / "set"


@pytest.fixture
def large(monkeypatch):
    """Sets are taken for too large for memory."""
    monkeypatch.setattr(rows, "MEMORY_BYTES", 0)
    monkeypatch.setattr(program, "device_bytes", lambda devices: 0)


def load(folder, **options):
    """The data set, the lines that are said of it, and where it is kept."""
    lines = []
    place = options.pop("cache_dir", folder.parent / "kept")
    dataset = data.load(
        f"folder:{folder}", image_size="6x5", cache_dir=place, log=lines.append, **options
    )
    return dataset, lines, next(place.glob("set-*"), None) if place.is_dir() else None


def assert_same(a, b):
    for ours, theirs in zip(a[1:5], b[1:5], strict=True):
        np.testing.assert_array_equal(*(None if x is None else x[:] for x in (ours, theirs)))


# What is kept.


def test_images_are_decoded_once(folder):
    """The second time nothing is in the files, and nobody notices."""
    first, lines, kept = load(folder)
    path = folder / "a" / "02.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again, more, _ = load(folder)
    assert_same(again, first)
    assert more == [*lines[:-1], lines[-1].replace("decoded into", "decoded before, in")]
    assert str(kept) in lines[-1]
    assert np.load(kept / "images.npy", mmap_mode="r").shape == (COUNT, 6, 5, 3)


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "rewritten", "touched"])
def test_files_that_have_changed_are_decoded_again(folder, change):
    first, _, _ = load(folder)
    path = folder / "a" / "02.png"
    Image.new("RGB", (6, 5)).save(folder / "new.png")
    (folder / "new.png").rename(path if change == "rewritten" else folder.parent / "new.png")
    if change == "added":
        (folder.parent / "new.png").rename(folder / "new.png")
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(folder / "a" / "zz.png")
    elif change == "touched":
        os.utime(path, ns=(0, 0))
    now = {"added": COUNT + 1, "removed": COUNT - 1}.get(change, COUNT)
    counts = "as many, of other times" if now == COUNT else f"{COUNT} then, {now} now"
    line = f"the files have changed since they were decoded ({counts}): decoding all again"
    second, lines, _ = load(folder)
    assert line in lines
    fresh, others, _ = load(folder, cache_dir=folder.parent / "other")
    assert_same(second, fresh)
    assert line not in others and line not in load(folder)[1]
    assert len(first.train) + len(first.test) == COUNT


def test_each_way_to_decode_is_kept_for_itself(folder):
    shapes = []
    for channels in (None, 1, 3, 4):
        dataset, lines, _ = load(folder, channels=channels)
        shapes.append(dataset.train.shape[-1])
        assert not any("again" in line for line in lines)
    assert shapes == [3, 1, 3, 4]
    assert "decoded before" in load(folder, channels=1)[1][-1]


def test_what_another_version_has_decoded_is_decoded_again(folder, monkeypatch):
    _, _, kept = load(folder)
    monkeypatch.setattr(decode, "VERSION", decode.VERSION + 1)
    _, lines, _ = load(folder)
    assert f"{kept} was decoded in another way: decoding all again" in lines
    assert "decoded before" in load(folder)[1][-1]


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def alter(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("images.npy", cut, "is of another size"),
        ("images.npy", os.unlink, "is of another size"),
        ("rows.bin", cut, "is of another size"),
        ("rows.bin", alter, "has another checksum"),
        ("manifest.json", cut, "is damaged"),
        ("manifest.json", lambda p: p.write_text(p.read_text().replace("24", "25")), "checksum"),
        ("manifest.json", lambda p: p.write_text("[1]"), "is damaged"),
        ("manifest.json", lambda p: p.write_text("[" * 100_000), "is damaged"),
        ("manifest.json", lambda p: p.write_text('{"complete": true}'), "is damaged"),
    ],
)
def test_what_is_damaged_is_decoded_again(folder, name, damage, says):
    first, _, kept = load(folder)
    damage(kept / name)
    second, lines, _ = load(folder)
    [line] = [line for line in lines if line.endswith(": decoding all again")]
    assert f"{kept / name} is damaged" in line and says in line
    assert_same(second, first)
    assert "decoded before" in load(folder)[1][-1]


def test_who_has_mapped_the_images_keeps_them_when_they_are_decoded_again(folder, large):
    first, _, _ = load(folder)
    before = first.train[:]
    for path in (folder / "b").iterdir():
        Image.new("RGB", (6, 5)).save(path)
    second, _, _ = load(folder)
    np.testing.assert_array_equal(first.train[:], before)
    assert (second.train[:] != before).any()


# A disk that is full, or cannot be written.

FULL = """
import resource, sys
from jaxgan import data
from jaxgan.data import images
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as if so much room were left
images.memory = lambda: float(sys.argv[3])
try:
    print(data.load(sys.argv[1], image_size="6x5", cache_dir=sys.argv[2]).train.sum())
except ValueError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("memory", ["1e9", "1e3"])
def test_on_a_full_disk_images_are_decoded_into_memory_if_they_fit(folder, memory):
    place = folder.parent / "full"
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"folder:{folder}", place, memory],
        capture_output=True,
        text=True,
        check=True,
    )
    *_, line, last = ["", *done.stdout.splitlines()]
    assert not list(place.rglob("images.npy"))  # or it would fill the disk
    if memory == "1e3":
        assert last.startswith("refused: 2.2e-06 GB of decoded images cannot be kept in ")
        assert "(File too large), and would take more than half of this machine's" in last
        assert "make room there, give a cache_dir on another disk, or a smaller" in last
    else:
        assert "decoding into memory, this time and the next" in done.stdout
        assert line.endswith(", in memory") and int(last) == load(folder)[0].train.sum()


def test_what_is_kept_is_read_where_nothing_can_be_written(folder, monkeypatch, large):
    """As on a disk that is mounted to be read alone: each opening for writing is refused."""
    first, _, _ = load(folder)
    opened, builtin = os.open, open

    def refuse(path, flags, *more, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, *more, **options)

    def refuse_too(path, mode="r", *more, **options):
        if "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return builtin(path, mode, *more, **options)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(cache, "open", refuse_too, raising=False)
    second, lines, _ = load(folder)
    assert "decoded before" in lines[-1]
    assert_same(second, first)
    (folder / "a" / "02.png").unlink()  # and then there is no way but memory
    _, lines, _ = load(folder)
    assert any("(Read-only file system): decoding into memory" in line for line in lines)


# Kills, and other processes.

# Loads a folder, and kills itself after so many rows.
KILLED = """
import os, signal, sys
from jaxgan import data
from jaxgan.data import store

left, put = [int(sys.argv[3])], store.StoreOnDisk.put

def put_and_fall(*arguments):
    put(*arguments)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

store.StoreOnDisk.put = put_and_fall
data.load(sys.argv[1], image_size="6x5", cache_dir=sys.argv[2])
"""


def kill_after(folder, count):
    command = [sys.executable, "-c", KILLED, f"folder:{folder}", folder.parent / "kept", str(count)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("count", [7, COUNT - 3])
def test_after_a_kill_decoding_goes_on_where_it_was(folder, count):
    """Among the deep images too, which are decoded last and have one scale."""
    kill_after(folder, count)
    dataset, lines, _ = load(folder)
    there = [line for line in lines if line.startswith("going on with an interrupted")]
    left = int(there[0].split(": ")[1].split(" of ")[0])
    assert abs(COUNT - count - left) <= os.cpu_count()  # each thread may have finished one more
    fresh, others, _ = load(folder, cache_dir=folder.parent / "other")
    assert_same(dataset, fresh)
    assert sorted(lines[:-1]) == sorted([*there, *others[:-1]])


def test_a_row_that_was_not_written_before_a_crash_is_decoded_again(folder):
    kill_after(folder, 9)
    [kept] = (folder.parent / "kept").glob("set-*")
    records = np.fromfile(kept / "rows.bin", store.Record)
    row = int(np.flatnonzero(records["kinds"])[0])
    pixels = np.load(kept / "images.npy", mmap_mode="r+")
    pixels[row] = 0
    pixels.flush()
    dataset, _, _ = load(folder)
    assert_same(dataset, load(folder, cache_dir=folder.parent / "other")[0])


def test_of_two_that_decode_one_folder_the_second_waits_for_the_first(folder):
    _, _, kept = load(folder)
    code = "import sys; from jaxgan import data; "
    code += "data.load(sys.argv[1], image_size='6x5', cache_dir=sys.argv[2])"
    with open(kept / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, f"folder:{folder}", kept.parent],
            stdout=subprocess.PIPE,
            text=True,
        )
        said = iter(process.stdout.readline, "")
        assert any(
            line == f"waiting for another process that decodes into {kept}\n" for line in said
        )
        assert process.poll() is None
    assert "decoded before" in process.communicate()[0] and process.returncode == 0


def test_several_that_decode_one_folder_at_once_all_have_it(folder):
    code = "import sys; from jaxgan import data; "
    code += "print(data.load(sys.argv[1], image_size='6x5', cache_dir=sys.argv[2]).train.sum())"
    command = [sys.executable, "-c", code, f"folder:{folder}", folder.parent / "kept"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outs = [process.communicate()[0] for process in started]
    assert sum("decoded into" in out for out in outs) == 1
    assert {int(out.splitlines()[-1]) for out in outs} == {load(folder)[0].train.sum()}


# The same run from memory and from disk.

RUN = ["--loss=bce", "--model=mlp", "--width=8", "--depth=1", "--batch-size=8", "--parallel=jit"]
RUN += ["--image-size=6x5", "--flip", "--num-classes=2", "--steps=6", "--log-every=1"]
RUN += ["--checkpoint-every=2", "--sample-every=0", "--seed=3"]


def run(folder, workdir, *more):
    flags = [f"--dataset=folder:{folder}", f"--workdir={workdir}", *more]
    assert train.main([*RUN, f"--cache-dir={folder.parent / 'kept'}", *flags]) == 0


def read(workdir):
    state = jaxgan.load(workdir).state
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    metrics = [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]
    return state._replace(key=jax.random.key_data(state.key)), metrics


def assert_same_run(a, b):
    (ours, metrics), (theirs, expected) = read(a), read(b)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert metrics == expected and len(metrics) == 6


def test_a_set_on_disk_trains_as_one_in_memory_does(folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "memory")
    monkeypatch.setattr(program, "device_bytes", lambda devices: 0)
    run(folder, tmp_path / "host")
    monkeypatch.setattr(rows, "MEMORY_BYTES", 0)
    assert isinstance(load(folder)[0].train, Rows)
    run(folder, tmp_path / "disk")
    (tmp_path / "file").touch()
    run(folder, tmp_path / "no disk", f"--cache-dir={tmp_path / 'file'}")
    for name in ("host", "disk", "no disk"):
        assert_same_run(tmp_path / name, tmp_path / "memory")
    records = [json.loads((tmp_path / n / "data.json").read_text()) for n in ("disk", "no disk")]
    assert records[0] == records[1]


# Trains on a set that is taken for large, and kills itself when the metrics of step 3 are there.
KILLED_RUN = """
import os, signal, sys
from jaxgan.commands import train
from jaxgan.data import rows
from jaxgan.training import log, program

rows.MEMORY_BYTES, program.device_bytes = 0, lambda devices: 0
program.MAX_CHUNK = 1
put = log.Log.put

def put_and_fall(self, step, *chunk):
    put(self, step, *chunk)
    if step >= 3:
        os.kill(os.getpid(), signal.SIGKILL)

log.Log.put = put_and_fall
train.main(sys.argv[1:])
"""


def test_a_run_from_disk_that_was_killed_ends_with_the_same_bits(folder, tmp_path, large):
    flags = [f"--dataset=folder:{folder}", f"--workdir={tmp_path / 'killed'}"]
    flags += [f"--cache-dir={folder.parent / 'kept'}"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, *RUN, *flags],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed" / "summary.json").exists()
    for name in ("killed", "whole"):
        run(folder, tmp_path / name)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_process_reads_its_own_rows_alone(folder, tmp_path, large, monkeypatch):
    config, _ = train.parse([*RUN, f"--dataset=folder:{folder}", "--parallel=mesh"])
    job = train.make_job(config)
    read_rows = []

    class Watched(Rows):
        def __getitem__(self, key):
            read_rows.append(np.ravel(key))
            return super().__getitem__(key)

    job.dataset.train.__class__ = Watched
    monkeypatch.setattr(parallel, "own_rows", lambda batch: slice(6, 8))  # the last of four
    _, batches, _ = program.make_program(job)
    read_rows.clear()
    examples, labels = batches(2, 3)
    chosen = data.batch_indices(3, 2, 3, config.n_critic, 8, len(job.dataset.train))[..., 6:8]
    np.testing.assert_array_equal(np.concatenate(read_rows), chosen.ravel())
    np.testing.assert_array_equal(labels[:3], job.dataset.train_labels[chosen])
    assert examples.shape[2:] == (2, 6, 5, 3)


def test_a_batch_is_mirrored_where_its_flips_say_so(folder, large):
    """The first example too, by hand."""
    config, _ = train.parse([*RUN, f"--dataset=folder:{folder}"])
    job = train.make_job(config)
    _, batches, _ = program.make_program(job)
    size = len(job.dataset.train)
    which = 3, 0, 9, config.n_critic, 8, size
    expected = job.dataset.train[:][data.batch_indices(*which)]
    flips = data.batch_flips(*which)
    assert flips[data.batch_indices(*which) == 0].any()
    for place in zip(*np.nonzero(flips), strict=True):
        expected[place] = np.fliplr(expected[place])
    np.testing.assert_array_equal(batches(0, 9)[0][:9], expected)


# Rows.


def rows_of(array, index):
    digests = np.array([digest_of(row) for row in array])
    return Rows(array, np.asarray(index), digests)


@given(st.data())
def test_rows_are_indexed_as_an_array_is(draw):
    array = np.random.RandomState(0).randint(0, 256, (9, 2, 3), np.uint8)
    index = draw.draw(st.lists(st.integers(0, 8), min_size=1, max_size=12))
    ours, expected = rows_of(array, index), array[index]
    place = st.integers(-len(index), len(index) - 1)
    key = draw.draw(
        st.one_of(
            place,
            st.slices(len(index)),
            st.lists(st.lists(place, min_size=2, max_size=2), min_size=1).map(np.array),
        )
    )
    np.testing.assert_array_equal(ours[key], expected[key])
    for name in ("shape", "dtype", "ndim", "size", "nbytes"):
        assert getattr(ours, name) == getattr(expected, name)
    assert len(ours) == len(expected) and (np.asarray(ours) == expected).all()


def test_what_is_read_may_be_written_to_without_touching_the_data():
    array = np.zeros((3, 2), np.uint8)
    ours = rows_of(array, [0, 2])
    for key in (0, slice(None), np.array([1])):
        ours[key][...] = 7
    assert not array.any()


def test_the_fingerprint_is_of_examples_order_and_labels_and_not_of_where_they_are():
    array = np.random.RandomState(0).randint(0, 256, (6, 2, 2, 1), np.uint8)
    elsewhere = np.concatenate([array[3:], array[:3]])

    def fingerprint(array, train, labels=None):
        return data.fingerprint(
            data.Dataset("x", rows_of(array, train), rows_of(array, [0]), labels)
        )

    first = fingerprint(array, [1, 2, 4])
    test = data.Dataset("x", rows_of(elsewhere, [4, 5, 1]), rows_of(elsewhere, [3]))
    assert data.fingerprint(test) == first
    others = [fingerprint(array, [2, 1, 4]), fingerprint(array, [1, 2])]
    others.append(fingerprint(array, [1, 2, 4], np.zeros(3, np.int32)))
    assert len({first, *others}) == 4


def test_the_nearest_examples_are_found_a_piece_at_a_time():
    random = np.random.RandomState(0)
    train = random.randint(0, 256, (50, 4, 4, 3), np.uint8)
    x = np.asarray(data.to_float(random.randint(0, 256, (7, 4, 4, 3), np.uint8)))
    read = []

    class Watched(Rows):
        def __getitem__(self, key):
            read.append(len(range(*key.indices(50))))
            return super().__getitem__(key)

    ours = rows_of(train, np.arange(50))
    ours.__class__ = Watched
    found = find_nearest(x, ours, values=10 * 48)
    assert read == [10] * 5
    np.testing.assert_array_equal(found, find_nearest(x, train))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_file_stays_on_disk(tmp_path, monkeypatch, order):
    array = np.random.RandomState(0).randint(0, 256, (50, 4, 4, 3), np.uint8)
    np.save(tmp_path / "x.npy", np.asarray(array, order=order))
    small = data.load(f"npy:{tmp_path / 'x.npy'}")
    monkeypatch.setattr(rows, "MEMORY_BYTES", array.nbytes - 1)
    monkeypatch.setattr(rows, "_PIECE", 1000)
    large = data.load(f"npy:{tmp_path / 'x.npy'}")
    assert isinstance(large.train, Rows) and isinstance(small.train, np.ndarray)
    assert_same(small, large)
    np.testing.assert_array_equal(large.train[np.array([3, 1])], small.train[[3, 1]])
    prints = [data.fingerprint(large)]
    array[7, 0, 0, 0] ^= 1
    np.save(tmp_path / "x.npy", array)
    prints.append(data.fingerprint(data.load(f"npy:{tmp_path / 'x.npy'}")))
    assert len(set(prints)) == 2


def test_a_mapped_array_of_numpy_is_data_too(tmp_path, monkeypatch):
    """And is not read whole but for its fingerprint."""
    monkeypatch.setattr(program, "device_bytes", lambda devices: 0)
    pixels = np.random.RandomState(0).randint(0, 256, (20, 4, 4, 1), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    ends = []
    for array in (mapped, pixels):
        config, _ = train.parse([*RUN[:6], "--dataset=digits"])
        model = train.make_model(config, (4, 4, 1))
        end = jaxgan.fit(model, array, steps=2, batch_size=8, parallel="jit", flip=True)
        ends.append(jax.tree.map(np.asarray, end.state.generator.params))
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_the_cache_is_in_the_users_own_unless_told(monkeypatch, tmp_path):
    root = tmp_path / "photos"
    for variable, value, expected in (
        ("JAXGAN_CACHE_DIR", str(tmp_path / "here"), tmp_path / "here"),
        ("XDG_CACHE_HOME", str(tmp_path / "x"), tmp_path / "x" / "jaxgan" / "decoded"),
        ("HOME", str(tmp_path), tmp_path / ".cache" / "jaxgan" / "decoded"),
    ):
        for name in ("JAXGAN_CACHE_DIR", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, value)
        assert cache.folder_of(root, {}).parent == expected
    assert images.height_and_width(3) == (3, 3)
