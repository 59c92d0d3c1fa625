"""The programs of docs/own.md and losses.md: each is whole, short, and runs."""

import pathlib
import re

import jax
import numpy as np
import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PROGRAMS = {
    part.partition("\n")[0].strip("# "): program
    for page in ("own.md", "losses.md")
    for part in re.split(r"\n(?=## )", (DOCS / page).read_text())
    for program in re.findall(r"```python\n(import .*?)```", part, re.DOTALL)
}


def test_there_is_a_program_for_each_kind_of_own():
    assert len(PROGRAMS) == 8


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_short_and_runs(name, tmp_path, monkeypatch):
    program = PROGRAMS[name]
    assert len([line for line in program.splitlines() if line.strip()]) <= 25
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1)).astype(np.uint8)
    np.save("images.npy", images)
    short, count = re.subn(r"steps=[\d_]+", "steps=2, batch_size=8, parallel='jit'", program)
    assert count == 1
    scope: dict = {}
    exec(short, scope)
    for workdir in re.findall(r'workdir="(.*?)"', program):
        assert (tmp_path / workdir / "summary.json").exists()
    for drawn in ("samples", "sevens"):
        assert np.isfinite(scope.get(drawn, 0)).all()
    if "best" in scope:
        assert scope["best"].sample(jax.random.key(0), 2).shape == (2, 2)
