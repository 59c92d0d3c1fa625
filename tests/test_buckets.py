"""Runs and data in an object store: gs:// paths, with a store in memory in the place of Google's.

Everything but the checkpoints goes through fsspec, whose file systems can be exchanged. Checkpoints
in a bucket are written by tensorstore's own client, for which there is no stand-in here.
"""

import json
import os
import sys

import fsspec
import numpy as np
import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from jaxgan import data
from jaxgan.commands import train
from jaxgan.training import checkpoints as checkpoint

FIT = sys.modules["jaxgan.training.fit"]  # the module: the package's `fit` is the function
SMALL = ["--loss=bce", "--model=mlp", "--width=8", "--depth=1", "--batch-size=16"]
SMALL += ["--parallel=jit", "--log-every=1", "--sample-every=5", "--checkpoint-every=2"]


class Bucket(MemoryFileSystem):
    """Google's store as far as we use it: objects that are written whole and cannot grow."""

    protocol = ("gs", "gcs")
    store: dict = {}  # noqa: RUF012  as fsspec has it
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(os.fspath(path).replace("gs://", "/"))

    def _open(self, path, mode="rb", **options):
        if "a" in mode or "+" in mode:
            raise NotImplementedError("an object cannot be appended to")
        return super()._open(path, mode, **options)


def serve_by(file_system):
    fsspec.register_implementation("gcs", file_system, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()


@pytest.fixture
def bucket():
    """The address of an empty bucket."""
    serve_by(Bucket)
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    return epath.Path("gs://bucket")


def read_metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
def test_a_run_lives_in_a_bucket_as_it_does_on_a_disk(bucket, tmp_path, monkeypatch, capsys):
    local = tmp_path / "run"
    assert not train.main([*SMALL, "--steps=6", f"--workdir={local}"])
    run = bucket / "runs" / "a"
    published = []  # rows that are in the bucket when a checkpoint is saved

    class Here(checkpoint.Checkpoints):
        def __init__(self, _, *arguments, **options):
            super().__init__(tmp_path / "states", *arguments, **options)

        def save(self, step, state):
            published.append(len(read_metrics(run)))
            super().save(step, state)

    monkeypatch.setattr(FIT, "Checkpoints", Here)
    for steps in (3, 6):
        assert not train.main([*SMALL, f"--steps={steps}", f"--workdir={run}"])
    assert read_metrics(run) == read_metrics(local)
    assert published == [2, 3, 4, 6]
    names = {path.name for path in local.iterdir()} - {"checkpoints", ".lock"}
    events = {name for name in names if "tfevents" in name}
    there = {path.name for path in run.iterdir()}
    assert names - events <= there
    assert sum("tfevents" in name for name in there) == 2  # one of each start
    for name in ("config.json", "summary.json"):
        assert json.loads((run / name).read_text()).keys()
    assert {path.name for path in (run / "samples").iterdir()} == {
        *(path.name for path in (local / "samples").iterdir()),
        "step_00000003.png",
    }
    capsys.readouterr()
    assert train.main([*SMALL, "--steps=6", "--batch-size=8", f"--workdir={run}"]) == 2
    assert "--batch-size=16, not 8" in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_run_logged_before_it_diverged_is_in_the_bucket(bucket, tmp_path, monkeypatch):
    states = checkpoint.Checkpoints
    monkeypatch.setattr(FIT, "Checkpoints", lambda _, *a, **k: states(tmp_path / "s", *a, **k))
    grow = ["--loss=minimax", "--optimizer=sgd", "--d-learning-rate=1e5", "--g-learning-rate=1e5"]
    grow += ["--checkpoint-every=0", "--steps=99"]
    assert train.main([*SMALL, *grow, f"--workdir={bucket / 'run'}"]) == 3
    assert [row["step"] for row in read_metrics(bucket / "run")][:1] == [1]


def test_a_bucket_without_its_client_is_one_line(capsys):
    class Missing(Bucket):
        def __init__(self, *arguments, **options):
            raise ImportError("Please install gcsfs")

    serve_by(Missing)
    assert train.main([*SMALL, "--workdir=gs://bucket/run"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "workdir=gs://bucket/run" in line and "gcsfs" in line
    for dataset in ("digits", "mnist"):
        with pytest.raises(ValueError, match=r"gs://bucket/data.*gcsfs"):
            data.load(dataset, "gs://bucket/data")


def test_data_in_a_bucket_are_copied_once_and_read(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = data.load("digits", tmp_path / "data")
    for path in (tmp_path / "data" / "digits" / "1.0.0").iterdir():
        (bucket / "data" / "digits" / "1.0.0" / path.name).write_bytes(path.read_bytes())
    loaded = data.load("digits", "gs://bucket/data")
    np.testing.assert_array_equal(loaded.train, expected.train)
    copies = list((tmp_path / "cache" / "jaxgan" / "data").rglob("*.array_record*"))
    times = [path.stat().st_mtime_ns for path in copies]
    assert copies
    data.load("digits", "gs://bucket/data")
    assert [path.stat().st_mtime_ns for path in copies] == times


def test_digits_are_prepared_on_the_disk_where_the_data_are_in_a_bucket(
    bucket, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(data.load("digits", "gs://bucket/data").train) == 1437
    assert not (bucket / "data").exists()
