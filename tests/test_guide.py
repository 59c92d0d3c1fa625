"""The programs of docs/own.md, losses.md and latents.md: they run; all but the last are whole."""

import pathlib
import re

import jax
import numpy as np
import pytest

from jaxgan.commands import sample, train
from jaxgan.commands.command_line import parse

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


def test_the_page_of_latents_runs(tmp_path, monkeypatch):
    """Its blocks one after another, on a short run of its own command."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "latents.md").read_text()
    [flags] = re.findall(r"train.py (.*)", page)
    short = ["--steps=2", "--width=16", "--depth=1", "--batch-size=16", "--parallel=jit"]
    [folder] = re.findall(r'load\("(runs/.*?)"\)', page)
    settings = parse(flags.split())[0]
    assert settings.workdir == folder
    assert train.main([*flags.split(), *short, f"--workdir={folder}"]) == 0
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, scope)
    found = scope["found"]
    assert found.start_errors.shape == found.samples.shape[:2] == (8, 8)
    assert (found.errors <= found.random_errors).all()
    assert scope["frames"].shape == (11, 8, 8, 1) and scope["rows"].shape == (80, 8, 8, 1)
    assert scope["typical"].shape == (64, 8, 8, 1)
    assert scope["of_data"].shape == scope["of_samples"].shape == (100,)
    for command in re.findall(r"sample.py --workdir=RUN (.*)", page):
        if "--images" not in command:  # which names a folder of the reader's
            assert sample.main([f"--workdir={folder}", *command.split()]) == 0
    assert (tmp_path / folder / "generated" / "projection.npz").exists()
