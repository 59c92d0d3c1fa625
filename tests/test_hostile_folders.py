"""A run's folder is data: nothing in it is run as code, and what is damaged is named in a line."""

import json
import os
import pickle
import shutil
import sys

import pytest

import jaxgan
from jaxgan.commands import evaluate, sample, scorer, train

SMALL = ["--loss=bce", "--dataset=ring8", "--width=8", "--depth=1", "--log-every=1"]
SMALL += ["--parallel=jit"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert not train.main([*SMALL, "--steps=2", f"--workdir={folder}"])
    return folder


@pytest.mark.slow
def test_nothing_is_unpickled_from_a_run(trained, tmp_path, monkeypatch):
    """Every use of a folder, with a hook that python calls before a pickle may name what to run."""
    monkeypatch.setattr(scorer, "NEIGHBOUR_POINTS", 100)  # short searches
    monkeypatch.setattr(scorer, "TRANSPORT_POINTS", 100)
    monkeypatch.setattr(scorer, "DISTANCE_POINTS", 100)
    folder, broken = shutil.copytree(trained, tmp_path / "run"), tmp_path / "broken"
    named, watching = [], True

    def watch(event, arguments):
        if watching and event == "pickle.find_class":
            named.append(arguments)

    sys.addaudithook(watch)
    try:
        assert train.main([*SMALL, "--steps=3", f"--workdir={folder}"]) == 0
        jaxgan.load(folder)
        assert sample.main([f"--workdir={folder}", "--n=10"]) == 0
        assert evaluate.main([f"--workdir={folder}", "--samples=100"]) == 0
        rate = "--d-learning-rate=1e38"
        assert train.main([*SMALL, rate, "--steps=3", f"--workdir={broken}"]) == 3
        [step] = broken.glob("diverged-*.npz")
        assert train.main([f"--replay={step}"]) == 3
        assert not named
        pickle.loads(pickle.dumps(os.getcwd))
        assert named == [("posix", "getcwd")], "the hook would have told"
    finally:
        watching = False


CONFIGS = [b"", b"{", b"[]", b"5", b"null", b"{}", b'"loss"', b"\xff\xfe", b"[" * 5000]
CHANGES = [("steps", "2"), ("steps", 2.5), ("steps", None), ("steps", True), ("loss", 5)]
CHANGES += [("loss", ["bce"]), ("width", {}), ("b1", "0.5"), ("b1", None), ("data_dir", 5)]
CHANGES += [("width", -1), ("width", 10**30), ("loss", "wgam"), ("__class__", "os"), ("extra", 1)]


@pytest.mark.parametrize("content", [*CONFIGS, *CHANGES], ids=repr)
def test_a_damaged_config_is_refused_in_a_line(content, trained, capsys):
    path = trained / "config.json"
    good = path.read_bytes()
    if isinstance(content, tuple):
        content = json.dumps(json.loads(good) | dict([content])).encode()
    path.write_bytes(content)
    try:
        capsys.readouterr()
        assert train.main([*SMALL, "--steps=3", f"--workdir={trained}"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert sample.main([f"--workdir={trained}"]) == 2
        with pytest.raises(ValueError, match=r"."):
            jaxgan.load(trained)
    finally:
        path.write_bytes(good)


RECORDS = [*CONFIGS[:4], CONFIGS[-1], {"step": 5}, {"step": []}, {"step": ["int32"]}, {"extra": 1}]


@pytest.mark.parametrize("content", RECORDS, ids=repr)
def test_a_damaged_record_of_the_model_is_refused_in_a_line(content, trained, capsys):
    path = trained / "model.json"
    good = path.read_bytes()
    if isinstance(content, dict):
        content = json.dumps(json.loads(good) | content).encode()
    path.write_bytes(content)
    try:
        capsys.readouterr()
        assert train.main([*SMALL, "--steps=3", f"--workdir={trained}"]) == 2
        assert sample.main([f"--workdir={trained}"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 2
        assert path.read_bytes() == content
    finally:
        path.write_bytes(good)


def test_a_run_of_fit_is_told_from_one_of_the_command_line(trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    del config["loss"]
    (folder / "config.json").write_text(json.dumps(config))
    assert train.main([*SMALL, "--steps=3", f"--workdir={folder}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "is of a run of jaxgan.fit, whose model is its own" in line


@pytest.mark.parametrize(
    "line", ["5", "[]", "{}", "\x01{", '{"step": "1"}', "null", "[" * 100_000], ids=lambda x: x[:9]
)
def test_metrics_that_are_none_are_refused_in_a_line_and_left_alone(line, trained, capsys):
    path = trained / "metrics.jsonl"
    good = path.read_text()
    path.write_text(damaged := line + "\n" + good)
    try:
        assert train.main([*SMALL, "--steps=3", f"--workdir={trained}"]) == 2
        error = capsys.readouterr().err
        assert "holds a line that is no metrics" in error and len(error.splitlines()) == 1
        assert path.read_text() == damaged
    finally:
        path.write_text(good)


def copy_and_train(trained, tmp_path, damage, steps=2):
    folder = shutil.copytree(trained, tmp_path / "run")
    damage(folder)
    return train.main([*SMALL, f"--steps={steps}", f"--workdir={folder}"])


DAMAGED = [(content, "kept") for content in ("", "{", "5", "[" * 100_000)]
DAMAGED += [("", "empty"), ("{", "deleted")]


@pytest.mark.parametrize(("content", "metrics"), DAMAGED, ids=lambda x: x[:9])
def test_a_damaged_summary_is_written_again(content, metrics, trained, tmp_path):
    def damage(folder):
        (folder / "summary.json").write_text(content)
        if metrics == "empty":
            (folder / "metrics.jsonl").write_text("")
        if metrics == "deleted":
            (folder / "metrics.jsonl").unlink()

    assert not copy_and_train(trained, tmp_path, damage)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 2 and (summary["metrics"] is None) == (metrics != "kept")


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "samples"])
def test_a_file_for_a_folder_or_a_folder_for_a_file_is_a_line(name, trained, tmp_path, capsys):
    def swap(folder):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
            path.write_text("")
        else:
            path.unlink()
            path.mkdir()

    assert copy_and_train(trained, tmp_path, swap, steps=3) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "run") in line
    config = (tmp_path / "run" / "config.json").read_text()
    assert config == (trained / "config.json").read_text()


def test_a_finished_run_that_has_lost_its_checkpoints_is_left_alone(trained, tmp_path, capsys):
    def damage(folder):
        shutil.rmtree(folder / "checkpoints")

    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    assert copy_and_train(trained, tmp_path, damage, steps=3) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "checkpoints are gone" in line
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()} == before


def test_without_its_checkpoints_a_run_says_that_it_begins_anew(trained, tmp_path, capsys):
    def damage(folder):
        shutil.rmtree(folder / "checkpoints")
        (folder / "summary.json").unlink()

    assert not copy_and_train(trained, tmp_path, damage, steps=3)
    assert "it has no checkpoint yet: from the beginning" in capsys.readouterr().out
