"""The table of runs made to fail: what is counted, and what is not."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import failures

HEALTHY = {"ahead": 0.7, "memorised": 0.6, "g_slope": 1.0, "d_slope": 1.0, "spread": 1.0, "dims": 1}


def group(name, **numbers):
    """Two seeds of a run whose probes all have these numbers."""
    row = {key: [value] * 2 for key, value in (HEALTHY | numbers).items()}
    rows = [{"step": 100 * (i + 1), **row} for i in range(25)]
    return {"name": name, "flags": "", "rows": rows, "w1": [3.0, 2.5]}


def test_false_alarms_and_right_names_are_counted():
    groups = [
        group("healthy bce"),
        group("healthy wgan", spread=0.01),
        group("healthy lsgan"),
        group("collapse", spread=0.01),
        group("100 images", spread=2.0),
    ]
    *_, last = lines = failures.tabulate(groups)
    assert last == "false alarms: 2 of 6 healthy runs; named rightly: 2 of 4 failing ones"
    assert lines[0].endswith("| few directions | too wide | nothing wrong |")
    assert lines[2].startswith("| healthy bce | 2.50 to 3.00 |") and lines[2].endswith("|  | 2 |")
    assert lines[6].endswith("| 2 |  |")


def test_an_interrupted_run_is_not_counted(tmp_path, monkeypatch, capsys):
    def fit(model, data, **plan):
        return type("Run", (), {"finished": False})

    monkeypatch.setattr(failures, "fit", fit)
    out = tmp_path / "failures.json"
    out.write_text(json.dumps([group("healthy bce")]))
    assert failures.main([f"--out={out}"]) == 130
    assert [each["name"] for each in json.loads(out.read_text())] == ["healthy bce"]
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--seeds=3", "--num-seeds=many"])
def test_bad_input_is_one_line(flag, capsys):
    assert failures.main([flag]) == 2
    assert capsys.readouterr().err.count("\n") == 1
