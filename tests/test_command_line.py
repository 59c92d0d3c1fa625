"""How every script starts and ends: its flags, Ctrl-C, closed pipes, too little memory."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import benchmark
import theory

import jaxgan
from jaxgan.commands import contest, endings, evaluate, flags, results, sample, train
from jaxgan.commands.command_line import Arguments, parse
from jaxgan.commands.presets import preset

SCRIPTS = [benchmark, evaluate, results, sample, theory, train]
SMALL = ["--loss=wgan", "--dataset=ring8", "--width=8", "--depth=1", "--batch-size=8"]
SMALL += ["--parallel=jit"]


def name_of(script):
    """The file in experiments/, without its ending: the program's own name."""
    return script.__name__.rpartition(".")[2]


each_script = pytest.mark.parametrize("script", SCRIPTS, ids=name_of)


def start(*command, **streams):
    """A real process that holds its output back, as one at a terminal's pipe."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        text=True,
        **streams,
    )


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ring")
    assert not train.main([*SMALL, "--steps=2", f"--workdir={folder}"])
    return folder


# Flags.


@each_script
def test_help_is_no_error(script, capsys):
    try:
        status = script.main(["--help"])
    except SystemExit as end:
        status = end.code
    told = capsys.readouterr()
    assert status == 0 and f"{name_of(script)}.py" in told.out and not told.err


@each_script
def test_an_unknown_flag_is_one_line(script, capsys):
    assert script.main(["--loss=wgan", "--nonsense=1"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"{name_of(script)}.py: ") and told.err.count("\n") == 1


def test_help_has_every_flag_once_and_the_defaults_of_what_stands_beside_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        train.main(["--loss=bce", "--help"])
    text = capsys.readouterr().out
    shown = re.findall(r"^  --([a-z0-9-]+)", text, re.MULTILINE)
    assert sorted(shown) == sorted(
        field.name.replace("_", "-") for field in dataclasses.fields(Arguments)
    )
    with pytest.raises(SystemExit):
        train.main(["--dataset=cifar10", "--preset=cpu", "--help"])
    steps = preset("wgan", "cifar10", kind="cpu").steps
    assert f"Raise it to extend a run. [{steps}]" in " ".join(capsys.readouterr().out.split())
    rate = preset("bce", "digits").d_learning_rate
    assert f"The critic's learning rate. [{rate}]" in text and text.count("\n") < 80


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--lr=1", "did you mean --g-learning-rate and --d-learning-rate?"),
        ("--learning-rate=1", "did you mean --g-learning-rate and --d-learning-rate?"),
        ("--epochs=3", "did you mean --steps?"),
        ("--z_dim=3", "did you mean --latent-dim?"),
        ("--bs=3", "did you mean --batch-size?"),
        ("--batchsize=3", "did you mean --batch-size?"),
        ("--gpu=0", "did you mean --parallel?"),
        ("--data=photos", "did you mean --dataset?"),
        ("-x", "unknown flag -x"),
        ("--nonsense", "unknown flag --nonsense: --help"),
        ("--steps=1e4", "--steps: takes a whole number, 10000, not '1e4'"),
        ("--num-seeds=2.0", "--num-seeds: takes a whole number, 2, not '2.0'"),
        ("--critic-norm=True", "--critic-norm: ignored explicit argument 'True'"),
        ("runs/x", "did you mean --workdir=runs/x?"),
    ],
)
def test_what_was_meant_is_said(flag, meant, capsys):
    assert train.main(["--loss=wgan", flag]) == 2
    assert meant in capsys.readouterr().err


def test_every_word_of_other_programs_leads_to_a_flag_and_is_none():
    kinds = (Arguments, sample.Arguments, evaluate.Arguments, contest.Arguments)
    fields = [{field.name for field in dataclasses.fields(kind)} for kind in kinds]
    for settings, words in flags._OTHER_NAMES.items():
        assert set(settings) <= set.union(*fields)
        for of_kind in fields:
            if set(settings) & of_kind:
                assert not set(words.split()) & of_kind


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("ring8", "--data-dir has no effect with --dataset=ring8: leave it out"),
        ("folder:photos", "--data-dir has no effect with --dataset=folder:PATH, which says where"),
    ],
)
def test_a_place_of_data_that_are_elsewhere_is_refused(dataset, words, capsys):
    assert train.main(["--loss=wgan", f"--dataset={dataset}", "--data-dir=here"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_beside_a_run_alone_another_model_is_refused(ring_run, capsys):
    config = (ring_run / "config.json").read_bytes()
    assert train.main([f"--workdir={ring_run}", "--model=dcgan"]) == 2
    assert "holds a run with --model=mlp, not dcgan" in capsys.readouterr().err
    assert (ring_run / "config.json").read_bytes() == config
    for flags_of_the_same in ([], ["--model=mlp"], ["--model=auto"]):
        assert train.main([f"--workdir={ring_run}", *flags_of_the_same]) == 0
        assert "is finished: 2 steps" in capsys.readouterr().out


def test_home_is_found_in_every_place(monkeypatch, tmp_path, capsys, ring_run):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(ring_run)
    for kind, place in (
        (evaluate.Arguments, "workdir"),
        (evaluate.Arguments, "data_dir"),
        (sample.Arguments, "out"),
        (theory.Arguments, "out"),
        (theory.Arguments, "doc"),
        (benchmark.Settings, "json"),
    ):
        needed = [
            f"--{name}=~/run"
            for name in ("workdir", "out")
            if name in vars(kind).get("__dataclass_fields__") and name != place
        ]
        options = flags.read(kind, [*needed, f"--{place.replace('_', '-')}=~/a"], "program")
        assert getattr(options, place) == str(tmp_path / "a")
    config, _ = parse(["--loss=wgan", "--workdir=~/new", "--data-dir=~/a"])
    assert (config.workdir, config.data_dir) == (str(tmp_path / "new"), str(tmp_path / "a"))
    assert sample.main(["--workdir=~/run", "--n=4", "--out=~/new/grid.png"]) == 0
    assert (tmp_path / "new" / "grid.png").exists()
    assert jaxgan.load("~/run").step == 2
    assert results.main(["~/run"]) == 2
    assert f"{tmp_path}/run has no evaluation.json" in capsys.readouterr().err
    assert train.main(["--replay=~/diverged-1.npz"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


# Ctrl-C.


@each_script
def test_an_interrupt_while_a_script_imports_is_one_line(script):
    """Python tells what it imports; the rest of what the script needs comes after `script`."""
    process = start("-X", "importtime", str(EXPERIMENTS / f"{name_of(script)}.py"), "--help")
    for line in process.stderr:
        if line.split()[-1] == "script":
            process.send_signal(signal.SIGINT)
            break
    _, error = process.communicate()
    assert process.returncode == 130, error
    lines = [line for line in error.splitlines() if not line.startswith("import time:")]
    assert lines == [f"{name_of(script)}.py: interrupted"]


@pytest.mark.parametrize(
    ("script", "argument"),
    [
        (benchmark, "--only=mlp"),
        (evaluate, "--workdir=a"),
        (results, "a"),
        (sample, "--workdir=a"),
        (theory, "--out=a"),
    ],
    ids=lambda x: x if isinstance(x, str) else name_of(x),
)
def test_an_interrupt_is_one_line(script, argument, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    if script is benchmark:
        monkeypatch.setattr(benchmark, "choose", interrupted)
    else:
        monkeypatch.setattr(script.epath, "Path", interrupted)
    assert script.main([argument]) == 130
    assert capsys.readouterr().err == f"{name_of(script)}.py: interrupted\n"


# Where scripts run.


@pytest.mark.slow
def test_another_programs_interrupts_stay_its_own(ring_run):
    """A notebook, say, runs scripts in its own process, and has a standard output of its own."""
    code = f"""
import io, runpy, signal, sys
sys.ps1 = "In [1]: "
class OutStream(io.TextIOBase):
    def write(self, text):
        return sys.__stdout__.write(text)
sys.stdout = OutStream()
for arguments in (["train.py", "--workdir={ring_run}"], ["sample.py", "--workdir={ring_run}"]):
    sys.argv = arguments
    runpy.run_path("{EXPERIMENTS}/" + arguments[0], run_name="__main__")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not sys.modules["script"]._guarded
sys.argv = ["train.py", "--loss=hinges"]
runpy.run_path("{EXPERIMENTS}/train.py", run_name="__main__")
"""
    process = start("-c", f"import sys; sys.path.insert(0, {str(EXPERIMENTS)!r}){code}")
    out, error = process.communicate()
    assert process.returncode == 2, error
    assert "is finished: 2 steps" in out and "grid.png" in out
    assert error.startswith("train.py: unknown --loss=hinges: did you mean hinge? One of bce, ")


def test_a_run_trains_in_a_thread(tmp_path):
    """Where python lets nobody handle signals."""
    statuses = []
    command = [*SMALL, "--steps=2", f"--workdir={tmp_path}"]
    thread = threading.Thread(target=lambda: statuses.append(train.main(command)))
    thread.start()
    thread.join()
    assert statuses == [0] and (tmp_path / "summary.json").exists()


# Closed pipes.


def run_with_closed_output(*command, with_error=False):
    """As in `command | true`, and `command 2>&1 | true`."""
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.closing(os.fdopen(writer, "w")) as closed:
        process = start(*command, stdout=closed, stderr=closed if with_error else subprocess.PIPE)
    _, error = process.communicate()
    return process.returncode, error


@pytest.mark.parametrize(
    ("command", "with_error"),
    [
        pytest.param(
            *(["train.py", "--loss=wgan", "--dataset=ring8", "--dry-run"], False),
            marks=pytest.mark.slow,
        ),
        (["results.py", "--help"], True),
        (["sample.py", "RUN"], False),
    ],
    ids=["train.py", "results.py 2>&1", "sample.py"],
)
def test_a_closed_pipe_ends_a_script_in_silence(command, with_error, ring_run):
    name, *arguments = (word.replace("RUN", f"--workdir={ring_run}") for word in command)
    status, error = run_with_closed_output(
        str(EXPERIMENTS / name), *arguments, with_error=with_error
    )
    assert status == 141 and not error


@pytest.mark.slow
def test_a_closed_pipe_ends_training_in_a_line_and_the_run_goes_on(tmp_path):
    command = [*SMALL, "--steps=4", "--log-every=1", f"--workdir={tmp_path}"]
    at_once = "-u"  # a line comes out when it is printed
    status, error = run_with_closed_output(at_once, str(EXPERIMENTS / "train.py"), *command)
    assert status == 141
    assert error.startswith("train.py: ") and error.count("\n") == 1 and "is intact" in error
    assert train.main(command) == 0


# Memory.


@pytest.mark.parametrize("platform", ["rocm", "nonsense"])
def test_a_platform_that_is_not_here_is_one_line(platform, tmp_path):
    command = [sys.executable, "experiments/train.py", "--loss=bce", "--dataset=ring8"]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path / 'run'}"],
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("train.py")]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert lines == [
        f"train.py: jax cannot start on JAX_PLATFORMS={platform}: unset it, or set "
        "JAX_PLATFORMS=cpu."
    ]


def test_too_little_memory_is_one_line(capsys):
    @endings.ends_in_a_line("program.py", "lower --size")
    def main(arguments):
        np.empty(2**50)

    assert main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("program.py: out of memory: lower --size (") and error.count("\n") == 1


def test_other_failures_keep_their_traceback():
    @endings.ends_in_a_line("program.py")
    def main(arguments):
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError):
        main([])
