"""A run outlives kills, a full disk and another machine, and ends as if nothing had happened."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import jaxgan
from jaxgan.commands import train
from jaxgan.training import run_folder as run
from jaxgan.training.checkpoints import Checkpoints
from jaxgan.training.interrupts import noted

SMALL = ["--dataset=ring8", "--width=8", "--batch-size=8", "--n-critic=1"]
OFTEN = ["--checkpoint-every=1", "--log-every=1", "--sample-every=0", "--parallel=jit"]


def start(folder, *arguments, before=(), **variables):
    """A real process, on one device, each of whose lines comes out at once."""
    command = [sys.executable, str(EXPERIMENTS / "train.py"), *SMALL, "--depth=1", *OFTEN]
    return subprocess.Popen(
        [*before, *command, *arguments, f"--workdir={folder}"],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1", "PYTHONUNBUFFERED": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train_here(folder, *arguments):
    depth = [] if "--model=dcgan" in arguments else ["--depth=1"]
    return train.main([*SMALL, *depth, *OFTEN, *arguments, f"--workdir={folder}"])


def read_state(folder):
    """The newest checkpoint as plain arrays."""
    state = jaxgan.load(folder).state
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def assert_same_runs(a, b):
    assert read_rows(a) == read_rows(b)
    jax.tree.map(np.testing.assert_array_equal, read_state(a), read_state(b))


# Kills.


def newest(folder):
    path = folder / "checkpoints"
    names = [p.name for p in path.iterdir()] if path.exists() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def kill(process, folder, step, random):
    """Kills it at a random moment after that step's checkpoint; says whether it was saving."""
    before = newest(folder)
    while newest(folder) < step:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.1))
    process.kill()
    out, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_goes_on(out, before)
    return any("tmp" in path.name for path in (folder / "checkpoints").iterdir())


def assert_goes_on(out, step):
    """From the newest complete checkpoint, where there is one."""
    assert re.findall(r"on from step (\d+)", out) == [str(step)] * (step > 0), out


def run_with_kills(tmp_path, kills, seed):
    """Kills one run again and again, resumes it to its end, and compares it with another.

    Returns:
      How many of the kills hit a checkpoint that was being saved.
    """
    steps = 4 * kills + 30
    arguments = ("--loss=wgan-gp", f"--steps={steps}")
    random = np.random.default_rng(seed)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    saving = 0
    for index in range(kills):
        process = start(parts, *arguments)
        if index % 5 == 1:  # while it starts
            time.sleep(random.uniform(0, 2))
            process.kill()
            process.communicate()
        else:
            saving += kill(process, parts, max(newest(parts), 3 * index) + 1, random)
    for folder in (parts, whole):
        before = newest(folder)
        cache = str(tmp_path / f"cache of {folder.name}")  # each compiles anew
        process = start(folder, *arguments, JAX_COMPILATION_CACHE_DIR=cache)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "cannot be read" not in out
        assert_goes_on(out, before)
    assert [row["step"] for row in read_rows(parts)] == list(range(1, steps + 1))
    assert_same_runs(parts, whole)
    return saving


def read_rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.slow
def test_a_run_killed_thirty_times_ends_as_one_that_never_was(tmp_path):
    saving = run_with_kills(tmp_path, kills=30, seed=1)
    print(f"{saving} of 30 kills hit a checkpoint that was being saved")
    assert saving >= 5


@pytest.mark.slow
def test_a_run_killed_before_it_wrote_its_settings_starts_again(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in (".lock", "config.json.part"):
        (tmp_path / name).write_text("{")
    assert not train_here(tmp_path, "--loss=bce", "--steps=1")


@pytest.mark.slow
def test_half_a_line_of_metrics_is_not_joined_to_the_next(tmp_path):
    assert not train_here(tmp_path, "--loss=bce", "--steps=2")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "d_lo')
    assert not train_here(tmp_path, "--loss=bce", "--steps=4")
    assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3, 4]


# Signals.


def test_a_second_interrupt_stops_between_two_dispatches():
    with noted() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_while_the_last_checkpoint_is_written_is_only_noted(tmp_path, monkeypatch):
    save, finish = Checkpoints.save, run.RunFolder.finish

    def save_under_fire(checkpoints, step, state):
        save(checkpoints, step, state)
        os.kill(os.getpid(), signal.SIGINT)

    def finish_with_all_on_disk(folder, *arguments):
        assert newest(tmp_path) == 2
        finish(folder, *arguments)

    monkeypatch.setattr(Checkpoints, "save", save_under_fire)
    monkeypatch.setattr(run.RunFolder, "finish", finish_with_all_on_disk)
    assert not train_here(tmp_path, "--loss=bce", "--steps=2", "--checkpoint-every=0")
    assert (tmp_path / "summary.json").exists()


def test_an_interrupt_before_training_begins_is_a_line(monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "check_folder", interrupted)
    assert train_here("run", "--loss=wgan") == 130
    [line] = capsys.readouterr().err.splitlines()
    assert line == "train.py: interrupted"


# A full disk.


@pytest.mark.slow
def test_a_full_disk_stops_the_run_in_a_line_and_harms_nothing(tmp_path):
    """A limit on the size of files that all keep to but those of a checkpoint."""
    arguments = ("--loss=bce", "--width=512", "--depth=2")
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    assert not train_here(parts, *arguments, "--steps=2")
    before, rows = read_state(parts), read_rows(parts)
    limited = ("bash", "-c", 'ulimit -f 500; exec "$@"', "bash")  # in KiB
    process = start(parts, *arguments, "--steps=5", before=limited)
    _, error = process.communicate()
    assert process.returncode == 4, error
    assert len(error.strip().splitlines()) == 1 and "cannot be written" in error, error
    assert "run the same command again to resume" in error
    jax.tree.map(np.testing.assert_array_equal, read_state(parts), before)
    assert read_rows(parts)[: len(rows)] == rows
    assert not train_here(parts, *arguments, "--steps=5")
    assert not train_here(whole, *arguments, "--steps=5")
    assert_same_runs(parts, whole)


@pytest.mark.slow
def test_a_disk_without_any_room_stops_the_run_in_a_line_and_it_goes_on_with_room(tmp_path):
    """Not even a line of metrics or an event can be written: a real disk, of memory."""
    disk, whole = tmp_path / "disk", tmp_path / "whole"
    disk.mkdir()
    script = """
mount -t tmpfs -o size=4m tmpfs "$0"
head -c 3m /dev/zero > "$0/others"
"$@"; echo "status $?"
rm "$0/others"
"$@"; echo "status $?"
cp -r "$0/run" "$0.kept"
"""
    arguments = ("--loss=bce", "--checkpoint-every=1000", "--steps=4000")
    inside = ("unshare", "-rm", "bash", "-c", script, str(disk))
    try:
        mount = 'mount -t tmpfs -o size=4m tmpfs "$0"'
        subprocess.run(["unshare", "-rm", "sh", "-c", mount, str(disk)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    process = start(disk / "run", *arguments, before=inside)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert re.findall("^status .*", out, re.MULTILINE) == ["status 4", "status 0"], err
    [line] = [line for line in err.splitlines() if line.startswith("train.py")]
    assert (
        "No space left" in line and "make room), and run the same command again to resume" in line
    )
    assert "Traceback" not in err and "Exception" not in err, err
    assert not train_here(whole, *arguments)
    assert_same_runs(tmp_path / "disk.kept", whole)


# Stopping and going on.


IMAGES = ["--dataset=digits", "--model=dcgan"]  # BatchNorm in the generator


def check_stops(tmp_path, stops, interval, *arguments):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert not train_here(whole, *arguments, "--checkpoint-every=0", "--steps=7")
    for steps in stops:
        every = f"--checkpoint-every={interval}"
        assert not train_here(parts, *arguments, every, f"--steps={steps}")
        assert read_rows(parts)[-1]["step"] == steps
    assert_same_runs(parts, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--loss=bce", *IMAGES, "--critic-norm", "--ema-decay=0.9"],
        ["--loss=wgan-gp", "--ema-decay=0", "--decay-steps=4"],
        ["--loss=minimax", "--ema-decay=0"],
        ["--loss=wgan", "--ema-decay=0.9"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_stops_and_checkpoints_do_not_show_in_a_single_bit(arguments, tmp_path):
    """BatchNorm or none, averaged or not; a former last step is logged only while it is last."""
    check_stops(tmp_path, (3, 7), 2, *arguments, "--log-every=2")


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("ema", ["0", "0.9"])
@pytest.mark.parametrize("loss", ["bce", "minimax", "wgan", "wgan-gp"])
def test_stops_do_not_show_with_batch_norm(loss, ema, interval, tmp_path):
    norm = [] if loss == "wgan-gp" else ["--critic-norm"]
    arguments = [f"--loss={loss}", f"--ema-decay={ema}", *IMAGES, *norm]
    check_stops(tmp_path, (2, 3, 7), interval, *arguments)


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path):
    """Eight, then one that knows of no others, then eight again; under SGD, which hides nothing."""
    sgd = ("--loss=wgan-gp", "--optimizer=sgd", "--d-learning-rate=0.05", "--g-learning-rate=0.05")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert not train_here(whole, *sgd, "--steps=6")
    auto = (*sgd, "--parallel=auto")
    assert not train_here(parts, *auto, "--steps=2")
    process = start(parts, *auto, "--steps=4")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "1 cpu (jit)" in out and "on from step 2" in out
    assert not train_here(parts, *auto, "--steps=6")
    for ours, theirs in zip(read_rows(parts), read_rows(whole), strict=True):
        # Means in another order: a few roundings a step.
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    states = read_state(parts), read_state(whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *states)
