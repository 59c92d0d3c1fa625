"""Real processes on this machine, joined as the hosts of a pod are, train as one process does."""

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

import jaxgan
from jaxgan.commands import train
from jaxgan.parallel import hosts

# Long enough for a busy machine; a test never waits for it unless it fails.
PATIENCE = 300
SMALL = ["--optimizer=sgd", "--batch-size=16", "--width=16", "--log-every=1"]
SMALL += ["--steps=6", "--checkpoint-every=2", "--sample-every=0"]
# Under SGD: Adam would hide a gradient that is N times too large.
TOY = [*SMALL, "--loss=wgan-gp", "--dataset=ring8", "--depth=1", "--n-critic=2"]
IMAGES = [*SMALL, "--loss=bce", "--dataset=digits", "--latent-dim=4"]  # BatchNorm in both networks
# Six iterations whose means over 16 examples are added in another order. See test_parallel.py.
TOLERANCE = {"rtol": 1e-5, "atol": 5e-6}

# Trains one run after another. Where a run has a signal, it comes to one process with the first
# metrics of step `at` or later; where it has flags of its own, that process has them.
DRIVER = """
import json, os, sys
import jax
from jaxgan.commands import train
from jaxgan.parallel import hosts
from jaxgan.training import log, program

hosts.HEARTBEAT_SECONDS = 20
put = log.Log.put
for run in json.loads(sys.argv[1]):
    program.MAX_CHUNK = run["chunk"]
    def put_and_fall(log, step, *chunk, run=run):
        put(log, step, *chunk)
        if run["signal"] and step >= run["at"] and jax.process_index() == run["process"]:
            os.kill(os.getpid(), run["signal"])
            run["signal"] = 0
    log.Log.put = put_and_fall
    own = run["own"] if sys.argv[-1] == f"--process-id={run['process']}" else []
    status = train.main(run["arguments"] + sys.argv[2:] + own)
    print("status", status, flush=True)
"""


def run(arguments, workdir, fall=0, at=0, process=1, chunk=1, own=()):
    arguments, one = [*arguments, f"--workdir={workdir}"], {"process": process, "own": own}
    return {"arguments": arguments, "signal": int(fall), "at": at, "chunk": chunk, **one}


class Session:
    """So many processes that do the same runs, each with two devices."""

    def __init__(self, count, *runs):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(runs)]
                + ["--distributed", f"--coordinator-address={address}"]
                + [f"--num-processes={count}", f"--process-id={index}"],
                env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]
        ends = [process.communicate(timeout=PATIENCE) for process in self.processes]
        self.codes = [process.returncode for process in self.processes]
        self.outs, self.errors = zip(*ends, strict=True)

    def statuses(self):
        """What each process's runs ended with."""
        return [
            [int(line.split()[1]) for line in out.splitlines() if line.startswith("status ")]
            for out in self.outs
        ]


def read_state(folder):
    state = jaxgan.load(folder).state
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def read_metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_run(folder, reference, exactly=False):
    """The same metrics, each of them once, and the same state."""
    ours, theirs = ((read_state(path), read_metrics(path)) for path in (folder, reference))
    if exactly:
        chex.assert_trees_all_equal(ours, theirs)
    else:
        chex.assert_trees_all_close(ours, theirs, **TOLERANCE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Trains the toy or the images as one process on one device does."""
    root = tmp_path_factory.mktemp("alone")

    @functools.cache
    def run_alone(name):
        arguments = {"toy": TOY, "images": IMAGES}[name]
        assert not train.main([*arguments, "--parallel=jit", f"--workdir={root / name}"])
        return root / name

    return run_alone


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What two processes made of several runs, and how they ended."""
    root = tmp_path_factory.mktemp("pair")
    diverging = [*TOY, "--parallel=mesh", "--d-learning-rate=1e30"]
    session = Session(
        2,
        run([*TOY, "--parallel=mesh"], root / "toy", chunk=512),
        run(diverging, root / "diverged"),
        run([*TOY, "--parallel=mesh"], root / "stopped", signal.SIGTERM, at=1),
        run([*IMAGES, "--parallel=mesh"], root / "unread", own=[f"--dataset=folder:{root}/none"]),
    )
    assert session.codes == [0, 0], session.errors
    return root, session


@pytest.mark.slow
def test_two_processes_train_as_one(pair, alone):
    root, session = pair
    assert [statuses[0] for statuses in session.statuses()] == [0, 0]
    assert_same_run(root / "toy", alone("toy"))


@pytest.mark.slow
def test_the_first_process_writes_and_speaks_for_all(pair):
    root, session = pair
    assert len(list((root / "toy").glob("events.out.tfevents.*"))) == 1
    assert json.loads((root / "toy" / "summary.json").read_text())["device"]["count"] == 4
    assert "4 cpu of 2 processes (mesh)" in session.outs[0]
    spoken = re.compile(r"networks with|compiled in|ms a step|step \d|steps in")
    assert spoken.findall(session.outs[0]) and not spoken.findall(session.outs[1])


@pytest.mark.slow
def test_divergence_ends_all_processes(pair):
    _, session = pair
    assert [statuses[1] for statuses in session.statuses()] == [3, 3]
    for error in session.errors:
        assert "diverged" in error and "Traceback" not in error


@pytest.mark.slow
def test_sigterm_to_one_saves_the_same_step_in_all(pair):
    root, session = pair
    assert [statuses[2] for statuses in session.statuses()] == [143, 143]
    assert "interrupted at step" in session.outs[0]
    steps = [row["step"] for row in read_metrics(root / "stopped")]
    assert jaxgan.load(root / "stopped").step == steps[-1] < 6


@pytest.mark.slow
def test_data_that_one_cannot_read_end_all_in_a_line(pair):
    root, session = pair
    assert [statuses[3] for statuses in session.statuses()] == [2, 2]
    lines = [error.splitlines()[-1] for error in session.errors]
    assert lines[0] == "train.py: process 1 could not start: its own line says why."
    assert lines[1].startswith("train.py: ") and f"{root}/none" in lines[1]
    assert not (root / "unread").exists()


@pytest.mark.slow
def test_after_a_kill_the_others_end_with_a_line_and_all_go_on(pair, tmp_path):
    root, _ = pair
    killed = run([*TOY, "--parallel=mesh"], tmp_path / "killed", signal.SIGKILL, at=3)
    stopped = run([*TOY, "--parallel=mesh"], root / "stopped")
    session = Session(2, stopped, killed)
    assert session.codes[1] == -signal.SIGKILL
    # Where it waits for the other's numbers it learns of its end at once, and says so; where it
    # waits for its part of a checkpoint, jax aborts when no sign of life has come for some time.
    status, error = session.codes[0], session.errors[0]
    assert status in (hosts.LOST, -signal.SIGABRT), error
    if status == hosts.LOST:
        last = error.splitlines()[-1]
        assert last.startswith("train.py: jax cannot go on"), error
    else:
        assert "another task died" in error
    killed["signal"] = 0
    session = Session(2, killed)
    assert session.statuses() == [[0], [0]], session.errors
    for folder in (root / "stopped", tmp_path / "killed"):
        assert_same_run(folder, root / "toy", exactly=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--process-id=0"], ["--process-id", "--distributed"]),
        (["--distributed", "--coordinator-address=here"], ["HOST:PORT", "'here'"]),
        (["--distributed", "--num-processes=0"], ["--num-processes", "0"]),
        (["--distributed", "--num-processes=2", "--process-id=2"], ["--process-id", "got 2"]),
    ],
)
def test_a_mistake_in_joining_is_one_line(arguments, words, tmp_path, capsys):
    assert train.main([*TOY, *arguments, f"--workdir={tmp_path / 'run'}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.slow
@pytest.mark.parametrize(("fallen", "mode"), [(0, "mesh"), (3, "pmap")])
def test_four_processes_train_as_one_and_survive_the_loss_of_any(fallen, mode, alone, tmp_path):
    images, toy = [*IMAGES, f"--parallel={mode}"], [*TOY, "--parallel=pmap"]
    lost = run(toy, tmp_path / "toy", signal.SIGKILL, at=3, process=fallen)
    session = Session(4, run(images, tmp_path / "images"), lost)
    assert session.codes[fallen] == -signal.SIGKILL
    others = set(session.codes) - {-signal.SIGKILL}
    assert others <= {hosts.LOST, -signal.SIGABRT}, session.errors
    assert [statuses[0] for statuses in session.statuses()] == [0] * 4
    assert Session(4, run(toy, tmp_path / "toy")).statuses() == [[0]] * 4
    for name in ("images", "toy"):
        assert_same_run(tmp_path / name, alone(name))


@pytest.mark.slow
def test_all_fall_back_together_from_a_damaged_checkpoint(pair, tmp_path):
    root, _ = pair
    folder = shutil.copytree(root / "toy", tmp_path / "toy")
    for path in (folder / "checkpoints" / "6" / "state").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    session = Session(2, run([*TOY, "--parallel=mesh"], folder))
    assert session.statuses() == [[0], [0]], session.errors
    assert "checkpoint 6" in session.outs[0] and "on from step 4" in session.outs[0]
    assert (folder / "checkpoints" / "6.unreadable").is_dir()
    assert_same_run(folder, root / "toy", exactly=True)
