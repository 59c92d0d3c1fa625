import io
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from jaxgan import data
from jaxgan.data import images, prepared

# Which examples a step sees ------------------------------------------------------------------

sizes = st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))
seeds = st.integers(-(2**31), 2**40)


@given(seeds, sizes, st.integers(1, 6))
def test_every_epoch_shows_every_example_once(seed, size_and_batch, n_critic):
    size, batch = size_and_batch
    stream = data.batch_indices(seed, 0, 3 * size, n_critic, batch, size).ravel()
    epochs = stream[: len(stream) // size * size].reshape(-1, size)
    assert len(epochs) >= 3
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(size), epochs.shape))


@given(seeds, sizes, st.integers(1, 6), st.lists(st.integers(0, 9), max_size=6), st.integers(0, 50))
def test_grouping_iterations_into_calls_changes_nothing(seed, size_and_batch, n, counts, start):
    size, batch = size_and_batch
    whole = data.batch_indices(seed, start, sum(counts), n, batch, size)
    pieces = [np.empty((0, n, batch), np.int32)]
    for count in counts:
        pieces.append(data.batch_indices(seed, start, count, n, batch, size))
        start += count
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    assert whole.dtype == np.int32


@given(seeds, sizes, st.integers(1, 6), st.lists(st.integers(0, 9), max_size=6), st.integers(0, 50))
def test_grouping_iterations_into_calls_changes_no_flip(seed, size_and_batch, n, counts, start):
    size, batch = size_and_batch
    whole = data.batch_flips(seed, start, sum(counts), n, batch, size)
    assert whole.shape == (sum(counts), n, batch) and whole.dtype == bool
    for count in counts:
        piece = data.batch_flips(seed, start, count, n, batch, size)
        np.testing.assert_array_equal(piece, whole[:count])
        start, whole = start + count, whole[count:]


def test_flips_are_fair_coins_of_seed_and_epoch_that_no_order_knows():
    """Of two fair coins as many throws agree as not; ± 4 standard deviations of 10,000 throws."""
    size = 10_000

    def epochs(draw, seed):
        return draw(seed, 0, 2, 1, size, size)[:, 0]

    coins = epochs(data.batch_flips, 0)
    others = [coins[1], epochs(data.batch_flips, 1)[0], np.ones(size, bool)]
    order = epochs(data.batch_indices, 0)[0]
    others += [order >= size // 2, np.argsort(order) >= size // 2]
    for other in others:
        assert abs(np.sum(coins[0] == other) - size // 2) < 4 * np.sqrt(size) / 2


def test_mirrored_images_are_those_of_numpy():
    x = np.random.RandomState(0).randint(0, 256, (3, 2, 4, 5, 3), np.uint8)
    flips = np.array([[True, False], [False, False], [True, True]])
    expected = x.copy()
    for place in zip(*np.nonzero(flips), strict=True):
        expected[place] = np.fliplr(x[place])
    np.testing.assert_array_equal(data.mirror(x, flips), expected)
    mirrored = data.mirror(jnp.asarray(x), flips)
    assert isinstance(mirrored, jax.Array)
    np.testing.assert_array_equal(mirrored, expected)


def test_seeds_and_epochs_have_different_orders():
    orders = [data.batch_indices(seed, 0, 3, 1, 100, 100) for seed in (0, 1, -1, 2**32)]
    assert len({row.tobytes() for order in orders for row in order}) == 12


def test_the_order_is_frozen():
    """A checkpoint of today must resume on the same data under any later numpy."""
    first, second = data.batch_indices(0, 0, 4, 1, 5, 10).reshape(2, 10).tolist()
    assert first == [1, 4, 5, 6, 8, 2, 0, 3, 9, 7]
    assert second == [7, 8, 6, 2, 9, 3, 1, 0, 4, 5]


def test_indices_may_be_written_to_without_touching_later_calls():
    before = data.batch_indices(3, 0, 1, 1, 8, 8).copy()
    data.batch_indices(3, 0, 1, 1, 8, 8)[:] = 0
    np.testing.assert_array_equal(data.batch_indices(3, 0, 1, 1, 8, 8), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 1, 5, 64, 50), "batch size 64 exceeds the 50 examples"),
        ((0, 0, 1, 5, 0, 50), "batch_size=0"),
        ((0, -1, 1, 5, 4, 50), "start=-1"),
        ((0, 0, 1, 0, 4, 50), "n_critic=0"),
    ],
)
def test_impossible_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.batch_indices(*arguments)


# Pixels --------------------------------------------------------------------------------------


def test_every_pixel_value_survives_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8)
    floats = jax.jit(data.to_float)(pixels)
    assert floats.dtype == np.float32
    assert floats[0] == -1.0 and floats[255] == 1.0
    np.testing.assert_array_equal(data.to_uint8(floats), pixels)


def test_points_pass_and_other_integers_are_refused():
    points = np.float32([[0.5, -7.0]])
    np.testing.assert_array_equal(data.to_float(points), points)
    with pytest.raises(ValueError, match="got int32: give pixels 0 to 255 as"):
        data.to_float(np.int32([1]))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_float_images_outside_of_minus_one_to_one_are_refused(make, channels):
    rounded = make(np.full((2, 4, 4, channels), 1.007, np.float32))
    np.testing.assert_array_equal(data.to_float(rounded), rounded)
    message = r"must be in \[-1, 1\], got 0 to 255: give pixels 0 to 255 as data.astype\('uint8'\)"
    pixels = make(np.linspace(0, 255, 32 * channels, dtype=np.float32).reshape(2, 4, 4, channels))
    with pytest.raises(ValueError, match=message):
        data.to_float(pixels)
    with pytest.raises(ValueError, match=r"got -255 to -0"):
        data.to_float(-pixels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(5, 2), (2, 4, 4, 3)])
def test_data_that_are_not_finite_are_refused(bad, shape):
    x = np.zeros(shape, np.float32)
    x.flat[3] = bad
    with pytest.raises(ValueError, match="data must be finite"):
        data.to_float(x)


def test_values_are_not_asked_for_while_a_program_is_compiled():
    pixels = np.full((2, 4, 4, 3), 255, np.float32)
    np.testing.assert_array_equal(jax.jit(data.to_float)(pixels), pixels)
    assert data.to_float(np.zeros((0, 4, 4, 3), np.float32)).shape == (0, 4, 4, 3)


class DataFrame:
    """As pandas has it, which need not be installed."""

    def __array__(self, dtype=None, copy=None):
        return np.zeros((3, 2), dtype)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (DataFrame(), "got a DataFrame: numpy.asarray"),
        ([[0.5, 1.0]], "got a list: numpy.asarray"),
        (np.array([[0.5, "a"]], object), "got object"),
        (np.array(["a"]), "got <U1"),
        (np.ones((2, 2), bool), r"got bool: give a mask as data.astype\('uint8'\) \* 255$"),
        (np.ones((2, 2), complex), "got complex128"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_is_no_array_of_numbers_is_refused_in_a_line(x, message):
    with pytest.raises(ValueError, match=message) as error:
        data.to_float(x)
    assert "\n" not in str(error.value)


def test_a_tensor_of_torch_is_refused_in_a_line():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="got a Tensor: numpy"):
        data.to_float(torch.zeros(3, 2))


def test_pixels_out_of_range_are_clipped():
    values = np.float32([-np.inf, -3, 0, 3, np.inf, np.nan, 3e38])
    np.testing.assert_array_equal(data.to_uint8(values), [0, 0, 128, 255, 255, 0, 255])


# Toys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", data.TOYS)
def test_toys_are_fixed_arrays_of_points(name):
    toy, again = data.load(name), data.load(name)
    assert toy.train.shape == (100_000, 2) and toy.test.shape == (10_000, 2)
    assert toy.train.dtype == toy.test.dtype == np.float32
    np.testing.assert_array_equal(toy.train, again.train)
    rows = {row.tobytes() for row in toy.train}
    assert not any(row.tobytes() in rows for row in toy.test)


def test_ring8_is_the_ring_of_veegan():
    ring = data.load("ring8")
    assert ring.sigma == 0.01
    np.testing.assert_allclose(np.linalg.norm(ring.modes, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(ring.modes[0], [1, 0], atol=1e-6)
    assert len(np.unique(ring.modes.round(3), axis=0)) == 8


def test_grid25_is_the_grid_of_veegan():
    grid = data.load("grid25")
    assert grid.sigma == 0.05
    expected = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    assert {tuple(mode) for mode in grid.modes.tolist()} == expected


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_mixtures_are_gaussians_of_equal_weight_around_their_modes(name):
    toy = data.load(name)
    count = len(toy.train) / len(toy.modes)
    for points, labels in [(toy.train, toy.train_labels), (toy.test, toy.test_labels)]:
        distances = np.linalg.norm(points[:, None] - toy.modes, axis=-1)
        np.testing.assert_array_equal(distances.argmin(axis=1), labels)
    for k, mode in enumerate(toy.modes):
        points = (toy.train[toy.train_labels == k] - mode) / toy.sigma
        assert abs(len(points) - count) < 5 * np.sqrt(count)
        np.testing.assert_allclose(points.mean(axis=0), 0, atol=5 / np.sqrt(count))
        np.testing.assert_allclose(np.cov(points.T), np.eye(2), atol=0.1)


def test_swissroll_is_a_spiral_with_the_noise_of_wgan_gp():
    roll = data.load("swissroll")
    assert roll.modes is roll.sigma is roll.train_labels is None
    x, y = 7.5 * roll.train.T  # (t cos t, t sin t) + N(0, 0.25²), t from 1.5π to 4.5π
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    across = (radius - angle + np.pi) % (2 * np.pi) - np.pi
    outer = radius > 8  # where the spiral is nearly a circle
    assert abs((across[outer] / np.sqrt(1 + radius[outer] ** -2)).std() - 0.25) < 0.01
    assert 1.2 * np.pi < radius.min() and radius.max() < 4.9 * np.pi


def test_swissroll_is_scikit_learns():
    from sklearn.datasets import make_swiss_roll

    expected, _ = make_swiss_roll(110_000, noise=0.25, random_state=np.random.RandomState(0))
    roll = data.load("swissroll")
    points = np.concatenate([roll.train, roll.test])
    np.testing.assert_array_equal(points, np.float32(expected[:, [0, 2]] / 7.5))


# Digits --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    data.load("digits", folder)
    return folder


def test_digits_are_all_of_scikit_learns_divided_in_two(digits_dir):
    from sklearn.datasets import load_digits

    digits = data.load("digits", digits_dir)
    assert digits.train.shape == (1437, 8, 8, 1) and digits.test.shape == (360, 8, 8, 1)
    assert digits.train.dtype == np.uint8 and digits.train.max() == 255
    source = load_digits()
    expected = np.rint(source.images / 16 * 255).astype(np.uint8)
    pairs = [
        (image.tobytes(), int(label))
        for images, labels in [
            (digits.train, digits.train_labels),
            (digits.test, digits.test_labels),
            (expected, source.target),
        ]
        for image, label in zip(images, labels, strict=True)
    ]
    assert sorted(pairs[:1797]) == sorted(pairs[1797:])
    assert np.bincount(digits.test_labels).min() >= 25  # every digit is held out often enough


def test_digits_are_prepared_once_without_tensorflow(digits_dir):
    record = next(digits_dir.rglob("*train*"))
    written = record.stat().st_mtime_ns
    lines = []
    data.load("digits", digits_dir, log=lines.append)
    assert record.stat().st_mtime_ns == written
    assert lines == []
    assert "tensorflow" not in sys.modules


def test_digits_can_be_enlarged(digits_dir):
    small = data.load("digits", digits_dir).train
    large = data.load("digits", digits_dir, image_size=32).train
    assert large.shape == (1437, 32, 32, 1)
    averages = large.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    assert np.corrcoef(averages.ravel(), small.ravel())[0, 1] > 0.97


def test_an_interrupted_preparation_does_no_harm(tmp_path):
    leftover = tmp_path / "digits" / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "digits-train.array_record-00000-of-00001").write_bytes(b"half")
    assert len(data.load("digits", tmp_path).train) == 1437


@pytest.mark.slow
def test_processes_may_prepare_digits_at_the_same_time(tmp_path):
    code = f"from jaxgan import data; print(len(data.load('digits', {str(tmp_path)!r}).train))"
    command = [sys.executable, "-W", "error", "-c", code]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for run in runs:
        out, err = run.communicate()
        assert run.returncode == 0, err
        assert out.splitlines()[-1] == "1437"
    assert os.listdir(tmp_path / "digits") == ["1.0.0"]


def test_the_loser_of_a_race_finds_the_set_prepared(tmp_path):
    """The order in which the race above goes wrong: the winner renames before the loser."""
    from jaxgan.data.digits import Digits

    class Overtaken(Digits, skip_registration=True):
        name = "digits"

        def _split_generators(self, dl_manager):
            data.load("digits", tmp_path)
            return super()._split_generators(dl_manager)

    prepared.prepare(Overtaken(data_dir=tmp_path, file_format="array_record"))
    assert os.listdir(tmp_path / "digits") == ["1.0.0"]
    assert len(data.load("digits", tmp_path).train) == 1437


def test_digits_fall_back_to_the_default_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    lines = []
    digits = data.load("digits", tmp_path / "file" / "below", log=lines.append)
    assert len(digits.train) == 1437
    assert str(tmp_path / "file" / "below") in lines[0] and str(tmp_path / "default") in lines[1]

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot prepare digits in .*below \(.*\) or .*writ"):
        data.load("digits", tmp_path / "file" / "below", log=lines.append)


# Prepared sets of tensorflow-datasets --------------------------------------------------------


def prepare(data_dir, set_name, features, examples):
    """Writes a small TFDS set of the given examples, a dictionary by split."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = set_name
        VERSION = tfds.core.Version("1.2.0")

        def _info(self):
            features_dict = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, dl_manager):
            return {split: enumerate(rows) for split, rows in examples.items()}

        def _generate_examples(self):
            raise NotImplementedError

    prepared.prepare(Builder(data_dir=data_dir, file_format="array_record"))
    return data_dir / set_name / "1.2.0"


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def small_sets(tmp_path_factory):
    """A folder with one small set for each thing that can differ."""
    folder = tmp_path_factory.mktemp("small")
    fixed, ragged = tfds.features.Image(shape=(4, 6, 3)), tfds.features.Image()
    pictures = [{"image": png(Image.fromarray(noise(4, 6, 3, seed=i)))} for i in range(25)]
    prepare(folder, "untested", {"image": fixed}, {"train": pictures})
    prepare(folder, "trainless", {"image": fixed}, {"test": pictures})
    sizes = [(40, 20), (9, 9), (20, 40)]
    cuts = [{"photo": png(Image.new("RGB", size, (9, 8, 7)))} for size in sizes]
    prepare(folder, "ragged", {"photo": ragged}, {"train": cuts, "test": cuts})
    prepare(folder, "sentences", {"text": tfds.features.Text()}, {"train": [{"text": "no"}]})
    stored = prepare(folder, "records", {"image": fixed}, {"train": pictures})
    info = json.loads((stored / "dataset_info.json").read_text())
    (stored / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    broken = prepare(folder, "broken", {"image": fixed}, {"train": pictures})
    next(broken.glob("*array_record*")).write_bytes(b"not a record")
    headless = prepare(folder, "headless", {"image": fixed}, {"train": pictures})
    (headless / "dataset_info.json").write_text("{")
    return folder


def test_the_last_tenth_is_held_out_where_there_is_no_test_split(small_sets):
    untested = data.load("untested", small_sets)
    assert untested.train.shape == (23, 4, 6, 3) and untested.test.shape == (2, 4, 6, 3)
    assert untested.train_labels is None
    source = tfds.builder_from_directory(small_sets / "untested/1.2.0").as_data_source("train")
    images = np.stack([record["image"] for record in source])
    np.testing.assert_array_equal(np.concatenate([untested.train, untested.test]), images)


def test_images_of_many_sizes_are_resized_and_cut(small_sets):
    with pytest.raises(ValueError, match=r"'ragged' differ in size: give an image_size"):
        data.load("ragged", small_sets)
    ragged = data.load("ragged", small_sets, image_size=16)
    assert ragged.train.shape == (3, 16, 16, 3)
    assert (ragged.train == np.uint8([9, 8, 7])).all()


def test_the_newest_version_is_read_unless_one_is_named(small_sets, tmp_path):
    (tmp_path / "untested").mkdir()
    for version in ("1.2.0", "1.10.0"):
        os.symlink(small_sets / "untested/1.2.0", tmp_path / "untested" / version)
    assert prepared.find("untested", tmp_path).data_path.name == "1.10.0"
    assert prepared.find("untested:1.2.0", tmp_path).data_path.name == "1.2.0"
    with pytest.raises(ValueError, match=r"not prepared in .*which has 1\.10\.0, 1\.2\.0;"):
        data.load("untested:2.0.0", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trainless", "has no train split; it has test"),
        ("sentences", "'sentences' is not a set of 8-bit images; it has .*'text'"),
        ("records", "stored as tfrecord, and only array_record .* tfds build records --file_f"),
        ("broken", "cannot read .*broken/1.2.0: .*; remove that folder and prepare it again"),
        ("headless", "cannot read .*headless/1.2.0: .*; remove that folder and prepare it again"),
        ("fashion_mnist", r"'fashion_mnist' is not prepared in .*tfds build fashion_mnist --fi"),
        ("mnist", "prepare it with: pip install tensorflow && tfds build mnist --file_format=arra"),
        ("lsun/bedroom", r"'lsun/bedroom' is not prepared .* tfds build lsun/bedroom --file_f"),
        ("minst", "unknown dataset 'minst', did you mean 'mnist'?"),
        ("Digits", "unknown dataset 'Digits', did you mean 'digits'?"),
        ("ring", "unknown dataset 'ring', did you mean 'ring8'?"),
        ("", "unknown dataset ''. There are ring8, grid25, swissroll, digits, stacked_mnist, fold"),
        ("../mnist", "unknown dataset '../mnist', did you mean 'folder:../mnist'?"),
        ("~/photos", "unknown dataset '~/photos', did you mean 'folder:~/photos'?"),
        ("Folder:my photos/", "unknown dataset 'Folder:my photos/', did you mean 'folder:my phot"),
        ("my_own_set", r"unknown dataset 'my_own_set'\. There are"),
        ("x.npz", r"dataset 'x\.npz' is an array on disk: give npy:x\.npz"),
        ("npz:a/x.NPY", r"dataset 'npz:a/x\.NPY' is an array on disk: give npy:a/x\.NPY"),
        ("npy:a/x.NPY", r"'npy:a/x\.NPY' cannot be read as an array: No such file"),
        ("folder:x.npy", r"'folder:x\.npy' is an array on disk"),
        ("folder:a/b.zip", r"'folder:a/b\.zip' is an archive: unpack it, and give folder:PATH"),
        ("photos.tar.gz", r"dataset 'photos\.tar\.gz' is an archive: unpack it"),
        ("gs://bucket/photos", "'gs://bucket/photos' is an address, and folders are read from di"),
        ("folder:gs://bucket/photos", "is an address, and folders are read from disks: copy it"),
        ("folder:~nobody-by-this-name/x", "is not a folder; give folder:PATH with an existing"),
        (f"folder:{__file__}", "is a file; give folder:PATH with a folder of images"),
        (__file__, "is a file; give folder:PATH with a folder of images"),
        ("folder", "unknown dataset 'folder', did you mean 'folder:PATH'?"),
    ],
)
def test_what_cannot_be_loaded_is_explained_in_one_line(small_sets, name, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load(name, small_sets)
    assert "\n" not in str(error.value)


def test_a_folder_given_by_its_bare_name_is_recognised(small_sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("holidays", "mnist", "kept.zip"):
        (tmp_path / name).mkdir()
    for name in ("holidays", "kept.zip"):
        with pytest.raises(ValueError, match=f"did you mean 'folder:{name}'?"):
            data.load(name, small_sets)
    with pytest.raises(ValueError, match=r"prepare it with: .*of this name, give folder:mnist"):
        data.load("mnist", small_sets)


@pytest.fixture
def labelled_set(tmp_path):
    """A folder with a set of 40 images and classes, and a test split."""
    image = tfds.features.Image(shape=(4, 6, 3))
    features = {"image": image, "label": tfds.features.ClassLabel(num_classes=7)}
    rows = [
        {"image": png(Image.fromarray(noise(4, 6, 3, seed=i))), "label": i % 7} for i in range(40)
    ]
    prepare(tmp_path / "sets", "classes", features, {"train": rows[:30], "test": rows[30:]})
    return tmp_path / "sets"


def test_large_sets_are_decoded_once_onto_the_disk(labelled_set, tmp_path, monkeypatch):
    def load(lines):
        return data.load("classes", labelled_set, cache_dir=tmp_path / "kept", log=lines.append)

    expected = load([])
    assert isinstance(expected.train, np.ndarray) and not (tmp_path / "kept").exists()
    monkeypatch.setattr(prepared.rows, "MEMORY_BYTES", 1000)
    # An interrupt leaves what is decoded, labels included.
    put, left = prepared.cache.StoreOnDisk.put, [35]

    def put_some(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        put(*arguments)

    monkeypatch.setattr(prepared.cache.StoreOnDisk, "put", put_some)
    with pytest.raises(KeyboardInterrupt):
        load([])
    left[0] = 5
    lines = []
    load(lines)
    assert not left[0] and "an interrupted decoding: 5 of 40 are left" in lines[0]
    # Nothing is decoded now.
    monkeypatch.setattr(prepared.images, "decode", None)
    lines = []
    found = load(lines)
    assert lines == [f"classes: 40 images, (4, 6, 3), decoded before, in {found_in(tmp_path)}"]
    for name in ("train", "test", "train_labels", "test_labels"):
        np.testing.assert_array_equal(getattr(found, name)[:], getattr(expected, name))
    assert isinstance(found.train, prepared.rows.Rows)
    # What would take half of the memory is kept there too.
    monkeypatch.setattr(prepared.rows, "MEMORY_BYTES", 2**40)
    monkeypatch.setattr(prepared.images, "memory", lambda: 2 * expected.train.nbytes)
    assert isinstance(load([]).train, prepared.rows.Rows)
    # Files of another time are decoded again.
    for path in labelled_set.rglob("*record*"):
        os.utime(path, (1, 1))
    with pytest.raises(ValueError, match="cannot read"):
        load([])


def found_in(tmp_path):
    [place] = (tmp_path / "kept").iterdir()
    assert place.name.startswith("classes-")
    return place


def test_sets_that_would_not_fit_in_memory_are_refused():
    with pytest.raises(ValueError, match=r"take 22581\.6 GB, more than half.*image_size for 'x'"):
        images.check_memory("x", 200_000_000, (194, 194, 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", (60_000, 28, 28, 1), (10_000, 28, 28, 1)),
        ("cifar10", (50_000, 32, 32, 3), (10_000, 32, 32, 3)),
    ],
)
def test_real_sets_decode_to_what_tfds_decodes(name, train, test, real_data):
    folder = real_data(name)
    images = data.load(name, folder)
    assert images.train.shape == train and images.test.shape == test
    assert images.train.dtype == np.uint8
    for split, pixels, labels in [
        ("train", images.train, images.train_labels),
        ("test", images.test, images.test_labels),
    ]:
        source = tfds.data_source(name, split=split, data_dir=folder, download=False)
        rows = np.random.default_rng(0).integers(len(source), size=100).tolist()
        for row, record in zip(rows, source.__getitems__(rows), strict=True):
            np.testing.assert_array_equal(pixels[row], record["image"])
            assert labels[row] == record["label"]


# Stacked MNIST -------------------------------------------------------------------------------


def test_stacked_mnist_needs_mnist(tmp_path):
    with pytest.raises(ValueError, match=r"'mnist' is not prepared .* tfds build mnist --file_f"):
        data.load("stacked_mnist", tmp_path)


@pytest.fixture
def small_mnist(tmp_path):
    """A stand-in for MNIST: 40 images in training, 20 to test, all different."""
    image = tfds.features.Image(shape=(4, 4, 1), encoding_format="png")
    features = {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}
    rows = [
        {"image": png(Image.fromarray(noise(4, 4, seed=i))), "label": i % 10} for i in range(60)
    ]
    prepare(tmp_path, "mnist", features, {"train": rows[:40], "test": rows[40:]})
    return tmp_path


def test_stacked_mnist_is_three_digits_as_channels(small_mnist):
    stacked, mnist = (data.load(name, small_mnist) for name in ("stacked_mnist", "mnist"))
    assert stacked.train.shape == (128_000, 4, 4, 3) and stacked.train.dtype == np.uint8
    assert stacked.test.shape == (26_000, 4, 4, 3)
    for pixels, labels, digits, digit_labels in [
        (stacked.train, stacked.train_labels, mnist.train, mnist.train_labels),
        (stacked.test, stacked.test_labels, mnist.test, mnist.test_labels),
    ]:
        np.testing.assert_array_equal(np.unique(labels), np.arange(1000))
        label_of = {
            image.tobytes(): label for image, label in zip(digits, digit_labels, strict=True)
        }
        for image, label in zip(pixels[:500], labels[:500], strict=True):
            a, b, c = (label_of[image[..., channel].tobytes()] for channel in range(3))
            assert label == 100 * a + 10 * b + c


def test_the_pairing_of_stacked_mnist_is_frozen(small_mnist):
    """Results compare only if everyone trains on the same images."""
    stacked = data.load("stacked_mnist", small_mnist)
    assert stacked.train_labels[:5].tolist() == [933, 781, 480, 222, 482]
    assert stacked.test_labels[:5].tolist() == [472, 636, 759, 290, 522]


# Folders -------------------------------------------------------------------------------------


def load_folder(path, **kwargs):
    lines = []
    return data.load(f"folder:{path}", log=lines.append, **kwargs), lines


def test_a_folder_becomes_squares_of_32_a_tenth_of_them_held_out(tmp_path):
    for i in range(30):
        place = tmp_path / f"class{i % 3}"
        place.mkdir(exist_ok=True)
        Image.new("RGB", (50 + i, 40), (i, 2 * i, 200)).save(place / f"{i:02}.PNG")
    images, lines = load_folder(tmp_path)
    assert images.train.shape == (27, 32, 32, 3) and images.test.shape == (3, 32, 32, 3)
    colours = np.concatenate([images.train, images.test])[:, 5, 5, 0]
    assert sorted(colours) == list(range(30))
    again, more = load_folder(tmp_path)
    np.testing.assert_array_equal(images.test, again.test)
    kept = lines[-1].partition("decoded into ")[2]
    assert more == [*lines[:-1], lines[-1].replace("decoded into", "decoded before, in")]
    assert lines == [
        "the 3 sub-folders (class0, class1, class2) are read as one set, without labels: "
        "num_classes=3 takes them for classes",
        f"{tmp_path}: 27 images to train on, 3 held out, (32, 32, 3), decoded into {kept}",
    ]
    assert images.train_labels is None


def test_the_centre_is_kept(tmp_path):
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = (200, 100, 50)
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    images, _ = load_folder(tmp_path, image_size=16)
    assert (images.train == np.uint8([200, 100, 50])).all()


def test_images_of_the_right_size_are_untouched_and_grey_when_all_are(tmp_path):
    pixels = noise(2, 8, 8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    images, _ = load_folder(tmp_path, image_size=8)
    found = np.concatenate([images.train, images.test])[..., 0]
    assert sorted(x.tobytes() for x in found) == sorted(x.tobytes() for x in pixels)

    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    images, _ = load_folder(tmp_path, image_size=8)
    assert images.train.shape[-1] == images.test.shape[-1] == 3


def decoded(path, size=4):
    return images.decode(path, (size, size, 3), resize=True)


def test_a_file_is_never_handed_to_a_program(tmp_path, monkeypatch):
    """Whatever it is called: Pillow would have Ghostscript run the PostScript in it."""
    ran = []
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: ran.append(a))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    Image.new("RGB", (8, 8)).save(tmp_path / "figure.eps")
    (tmp_path / "figure.eps").rename(tmp_path / "figure.png")
    with pytest.raises(UnidentifiedImageError):
        decoded(tmp_path / "figure.png")
    assert not ran


def test_unusual_images_are_shown_as_a_viewer_shows_them(tmp_path):
    def saved(image, name, **options):
        image.save(tmp_path / name, **options)
        return decoded(tmp_path / name)

    orange = (255, 128, 0)
    solid = Image.new("RGB", (6, 4), orange)
    assert (saved(solid.quantize(), "palette.png") == orange).all()
    cmyk = saved(solid.convert("CMYK"), "cmyk.jpg", quality=95)
    assert np.abs(cmyk.astype(int) - orange).max() < 12

    clear = Image.new("RGBA", (4, 4), (*orange, 0))
    assert (saved(clear, "clear.png") == 255).all()
    half = Image.new("LA", (4, 4), (0, 128))
    assert (np.abs(saved(half, "half.png").astype(int) - 127) <= 1).all()

    deep = Image.fromarray(np.full((4, 4), 0x8123, np.uint16))
    assert (saved(deep, "deep.png") == 0x81).all()

    frames = [Image.new("L", (4, 4), shade) for shade in (10, 250)]
    moving = saved(frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert (moving == 10).all()

    upper = np.zeros((16, 16, 3), np.uint8)
    upper[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned: what is stored on top belongs on the right
    turned = saved(Image.fromarray(upper), "turned.jpg", exif=exif, quality=95)
    assert (turned[:, :2] < 40).all() and (turned[:, 2:] > 215).all()


def test_files_that_cannot_be_decoded_are_named_and_skipped(tmp_path, monkeypatch):
    for i in range(4):
        Image.fromarray(noise(32, 32, 3, seed=i)).save(tmp_path / f"good{i}.png")
    good = (tmp_path / "good0.png").read_bytes()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "truncated.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "crooked.png").write_bytes(good[:60] + b"\xff" * 40 + good[100:])
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tiff")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    Image.new("L", (400, 400)).save(tmp_path / "warned.png")
    Image.new("L", (1000, 1000)).save(tmp_path / "bomb.png")
    # and these are not images at all
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "._good0.png").write_text("a resource fork")
    (tmp_path / "folder.png").mkdir()
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.png")
    os.mkfifo(tmp_path / "pipe.png")

    images, lines = load_folder(tmp_path)
    assert len(images.train) + len(images.test) == 4
    others, skipped, _ = lines
    assert others == "passed over 1 file of other kinds: 1 .txt"
    assert skipped.startswith("skipped 9 of 13 images: ")
    for name in ("empty.png", "text.jpg", "truncated.png", "crooked.png", "bomb.png"):
        assert f"{name} (" in skipped
    assert "float.tiff (its pixels are floating-point numbers)" in skipped
    assert "dangling.png (a link to nowhere)" in skipped
    assert "pipe.png (not a regular file)" in skipped
    assert "\n" not in skipped and str(tmp_path) not in skipped


def test_a_folder_without_images_is_refused(tmp_path):
    for name in (f"folder:{tmp_path}/nowhere", "folder:"):
        with pytest.raises(ValueError, match="is not a folder; give folder:PATH with an existing"):
            data.load(name)
    with pytest.raises(ValueError, match=rf"no images under {tmp_path}; looked for .png, .jpg"):
        load_folder(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(
        ValueError, match=r"0 of the 1 images under .* can be decoded, and at least"
    ):
        load_folder(tmp_path)
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        load_folder(tmp_path, image_size=0)


def test_loading_does_not_import_what_it_does_not_need():
    code = "import sys; from jaxgan import data; data.load('ring8'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"tensorflow_datasets", "PIL", "tqdm", "matplotlib"}
    assert not heavy & set(run.stdout.split())


settings.register_profile("data", deadline=None, max_examples=60)
settings.load_profile("data")


# Arrays on disk.


def test_an_array_on_disk_is_a_data_set_with_a_tenth_held_out(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1)).astype(np.uint8)
    labels = np.arange(50) % 7
    np.save(tmp_path / "alone.npy", images)
    np.savez(tmp_path / "both.npz", images=images, labels=labels)
    np.savez(tmp_path / "points.npz", x=np.arange(100.0).reshape(50, 2), y=labels)
    alone, both, points = (
        data.load(f"npy:{tmp_path}/{name}") for name in ("alone.npy", "both.npz", "points.npz")
    )
    assert (len(alone.train), len(alone.test), alone.train_labels) == (45, 5, None)
    whole = np.concatenate([alone.train, alone.test])
    np.testing.assert_array_equal(np.unique(whole, axis=0), np.unique(images, axis=0))
    np.testing.assert_array_equal(both.train, alone.train)
    assert both.test_labels.dtype == np.int32 and points.train.dtype == np.float32
    for split, found in ((points.train, points.train_labels), (points.test, points.test_labels)):
        np.testing.assert_array_equal(labels[(split[:, 0] / 2).astype(int)], found)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pixels": np.zeros((4, 2))}, "holds pixels: name its examples images or x"),
        ({"x": np.zeros(4)}, r"array \[N, ...\] of at least two examples; got shape \(4,\)"),
        ({"x": np.zeros((4, 2), int)}, "uint8 pixels or floats; got int64"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(3, int)}, "must be 4 integers from 0 on"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4)}, "integers from 0 on; got float64"),
        ({"x": np.array([{}, {}])}, "cannot be read as an array|Object arrays"),
    ],
)
def test_what_is_no_array_of_examples_is_refused_by_name(arrays, words, tmp_path):
    np.savez(tmp_path / "file.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        data.load(f"npy:{tmp_path}/file.npz")
