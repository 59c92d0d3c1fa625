"""Whatever the command line says, train.py does it or refuses it in one line."""

import contextlib
import dataclasses
import functools
import io
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxgan.commands import endings, train
from jaxgan.commands.command_line import Options
from jaxgan.commands.config import Config

FLAGS = [
    "--" + field.name.replace("_", "-")
    for kind in (Config, Options)
    for field in dataclasses.fields(kind)
]
HOSTILE = ["", " ", "0", "-1", "-0.0", "1e-400", "1e400", "nan", "-inf", "inf", "1e3", "0x10", "٣"]
HOSTILE += [
    "None",
    "True",
    "[]",
    "9" * 40,
    "-" + "9" * 40,
    "--",
    "--loss",
    "../..",
    "/",
    "~",
    "$HOME",
]
HOSTILE += ["\0", "a\nb", "\udcff", "é✓", "%s{0}", "x" * 300, "mlp", "folder:", "folder:\0"]
HOSTILE += ["folder:" + "x" * 300, "gs://", "gs://none/none", "mnist/..", "mnist:9.9.9"]
VALUES = (
    st.sampled_from(HOSTILE)
    | st.integers().map(str)
    | st.integers(-(2**70), 2**70).map(str)
    | st.floats().map(str)
    | st.text(max_size=8)
)


@pytest.fixture(scope="module", autouse=True)
def empty_folder(tmp_path_factory):
    """Relative paths lead nowhere, and sets of data are not prepared; a model is made once."""
    make_model = functools.cache(train.make_model)

    def make(config, shape, held_out=None):
        says_nothing = {"workdir": None, "data_dir": None, "seed": 0, "steps": 1, "log_every": 1}
        return make_model(dataclasses.replace(config, **says_nothing), shape)

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(tmp_path_factory.mktemp("empty")):
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        patch.setattr(train, "make_model", make)
        yield


@endings.ends_in_a_line("train.py", mistakes=(ValueError,))
def prepare(arguments):
    """All that a run does before it compiles."""
    config, _ = train.parse(arguments)
    train.check_folder(config)
    train.make_job(config)
    return 0


def dry_run(*arguments):
    """The exit status, and what was said on standard error."""
    error = io.StringIO()
    small = ["--loss=wgan", "--dataset=ring8", "--model=mlp", "--width=8", "--depth=1"]
    arguments = [*small, "--parallel=jit", *arguments, "--dry-run"]
    run = train.main if any(word.startswith("--replay") for word in arguments) else prepare
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        status = run(arguments)
    return status, error.getvalue()


def check(status, error, *names):
    """Done in silence, or refused in a line that names one of these."""
    assert status in (0, 2), error
    if status == 0:
        assert not error
    else:
        assert error.startswith("train.py: ") and error.count("\n") == 1, error
        assert len(error.splitlines()) == 1, error
        names = [*names, *map(os.path.expanduser, names)]
        shown = [form for name in names for form in (" ".join(name.split()), repr(name)[1:-1])]
        assert any(form[:40] in error for form in shown), error


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_takes_or_refuses_every_hostile_value(flag):
    for value in HOSTILE:
        check(*dry_run(f"{flag}={value}"), flag, value)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(
    ("flag", "ends"),
    [
        ("--d-learning-rate", (1e-37, 1e38)),
        ("--b1", (0, 0.9999999)),
        ("--penalty", (1e-37, 1e38)),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("--g-learning-rate", (1e-37, 1e38)),
                ("--ema-decay", (0, 0.9999999)),
                ("--seed", (0, 2**32 - 1)),
            )
        ),
    ],
)
@pytest.mark.slow
def test_the_ends_of_a_range_train_or_diverge(flag, ends, end, tmp_path, capsys):
    small = ["--loss=wgan-gp", "--dataset=ring8", "--width=8", "--depth=1", "--n-critic=1"]
    flags = [*small, "--steps=2", f"{flag}={ends[end]}", f"--workdir={tmp_path / 'run'}"]
    status = train.main([*flags, "--parallel=jit"])
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if line.startswith("train.py")]
    assert status in (0, 3) and len(lines) == (status == 3)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(FLAGS), VALUES, st.sampled_from(FLAGS), VALUES)
@example("--num-seeds", "1000", "--depth", "100")
@example("--seed", "4294967295", "--num-seeds", "2")
def test_flags_together_are_taken_or_refused(first, a, second, b):
    check(*dry_run(f"{first}={a}", second, b), first, second, a, b)
