"""What every script says to --help and to a flag that it does not have."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))

import benchmark
import evaluate
import results
import sample
import theory
import train

SCRIPTS = [benchmark, evaluate, results, sample, theory, train]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_help_is_no_error(script, capsys):
    try:
        status = script.main(["--help"])
    except SystemExit as end:
        status = end.code
    told = capsys.readouterr()
    assert status == 0 and f"{script.__name__}.py" in told.out and not told.err


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_an_unknown_flag_is_one_line(script, capsys):
    assert script.main(["--loss=wgan", "--nonsense=1"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"{script.__name__}.py: ") and told.err.count("\n") == 1
    assert not set("─│╭╮╰╯") & set(told.err)


@pytest.mark.parametrize(
    ("script", "argument"),
    [(evaluate, "--workdir=a"), (results, "a"), (sample, "--workdir=a")],
)
def test_an_interrupt_is_one_line(script, argument, monkeypatch, capsys):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(script.epath, "Path", interrupted)
    assert script.main([argument]) == 130
    assert capsys.readouterr().err == f"{script.__name__}.py: interrupted\n"
