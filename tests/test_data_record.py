"""A run's data stay what they were at its start, wherever they are."""

import contextlib
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import data
from jaxgan.commands import evaluate, settings, train
from jaxgan.commands.command_line import parse
from jaxgan.training import data_record
from jaxgan.training.job import Plan, prepare

SMALL = ["--loss=bce", "--model=mlp", "--image-size=4", "--width=8", "--depth=1"]
SMALL += ["--batch-size=8", "--parallel=jit"]


def draw(path, seed):
    pixels = np.random.RandomState(seed).randint(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def run_train(root, steps, place="pictures", *more):
    flags = [f"--dataset=folder:{root / place}", f"--workdir={root / 'run'}", f"--steps={steps}"]
    return train.main([*SMALL, *flags, *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    (root / "pictures").mkdir()
    for i in range(20):
        draw(root / "pictures" / f"{i:02}.png", i)
    assert run_train(root, 1) == 0
    return root


@pytest.fixture
def start(trained, tmp_path, capsys):
    """Goes on with a run of one step: the status, what was printed, and the error lines."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    for name in ("config.json", "data.json"):
        path = tmp_path / "run" / name
        path.write_text(path.read_text().replace(str(trained), str(tmp_path)))

    def start(*arguments):
        status = run_train(tmp_path, *arguments)
        told = capsys.readouterr()
        return status, told.out, told.err.splitlines()

    return start


def read_run(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_records_its_data_at_its_start(start, tmp_path):
    dataset = data.load(f"folder:{tmp_path / 'pictures'}", image_size=4)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == {
        "name": f"folder:{tmp_path / 'pictures'}",
        "fingerprint": data.fingerprint(dataset),
        "shape": [4, 4, 3],
        "dtype": "uint8",
        "train": 18,
        "held_out": 2,
        "num_classes": None,
    }
    assert data_record.describe(data.load("ring8"))["num_classes"] == 8
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"] == data.fingerprint(dataset)


ALTERED = "there are as many, 18 to train on and 2 held out, but not the same"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda p: draw(p / "aaa.png", 99), "examples to train on: 18 then, 19 now"),
        (lambda p: (p / "07.png").unlink(), "18 then, 18 now; held out: 2 then, 1 now"),
        (lambda p: draw(p / "07.png", 99), ALTERED),
        (lambda p: (p / "07.png").rename(p / "zz.png"), ALTERED),
    ],
    ids=["added", "removed", "changed", "renamed"],
)
@pytest.mark.parametrize("steps", [1, 2], ids=["finished", "extended"])
def test_pictures_that_have_changed_between_two_starts_are_refused(
    change, line, steps, start, tmp_path
):
    change(tmp_path / "pictures")
    before = read_run(tmp_path / "run")
    status, _, [error] = start(steps)
    assert status == 2
    assert line.replace("18 then, 18 now; ", "") in error and "or use another folder" in error
    assert read_run(tmp_path / "run") == before


@pytest.mark.slow
def test_the_same_pictures_elsewhere_are_the_same_data(start, tmp_path):
    os.rename(tmp_path / "pictures", tmp_path / "other disk")
    status, out, _ = start(2, "other disk/")
    assert status == 0 and "on from step 1" in out
    assert f"the same data as in folder:{tmp_path / 'pictures'}, now in folder:" in out
    assert start(3, "other disk")[0] == 0
    draw(tmp_path / "other disk" / "more.png", 0)
    status, _, [error] = start(4, "other disk")
    assert status == 2 and "18 then, 19 now" in error


def test_other_pictures_elsewhere_are_refused(start, tmp_path):
    (tmp_path / "others").mkdir()
    for i in range(20):
        draw(tmp_path / "others" / f"{i}.png", 100 + i)
    assert start(2, "others", "--dry-run")[0] == 2  # before anything else is done
    status, _, [error] = start(2, "others")
    assert status == 2 and ALTERED in error
    assert f"is not what the run in {tmp_path / 'run'} began with, folder:{tmp_path}/pic" in error


def test_a_run_without_its_record_is_refused_and_left_alone(start, tmp_path):
    path = tmp_path / "run" / "data.json"
    path.unlink()
    before = read_run(tmp_path / "run")
    status, _, [error] = start(2)
    assert status == 2 and f"{path} cannot be read: No such file" in error
    assert "Restore it from a copy of the run" in error
    assert read_run(tmp_path / "run") == before


DAMAGED = ["", "{", "5", "{}", '{"fingerprint": 5}', "[" * 100_000]
DAMAGED += ['{"fingerprint": "0"}', '{"fingerprint": "0", "shape": [4, "4"]}']


@pytest.mark.parametrize("content", DAMAGED, ids=lambda x: x[:40])
def test_a_damaged_record_is_refused_in_a_line(content, start, tmp_path):
    path = tmp_path / "run" / "data.json"
    path.write_text(content)
    status, _, [error] = start(2)
    assert status == 2 and f"{path} is damaged" in error and "Restore it from a copy" in error
    with pytest.raises(ValueError, match=r"data\.json is damaged"):
        jaxgan.load(tmp_path / "run")
    assert path.read_text() == content


def test_a_record_from_a_start_that_was_killed_does_not_bind(start, tmp_path):
    """It is written before the settings, without which a folder is not yet a run's."""
    run = tmp_path / "killed"
    run.mkdir()
    (run / "data.json").write_text(json.dumps({"fingerprint": "0123"}))
    (run / "data.json.part").write_text("{")
    assert start(1, "pictures", f"--workdir={run}")[0] == 0
    assert len(json.loads((run / "data.json").read_text())["fingerprint"]) == 16


def test_a_process_with_other_data_than_the_first_is_refused(start, tmp_path):
    """The first has written the record when the others look at it."""
    pictures = f"folder:{tmp_path / 'pictures'}"
    config, _ = parse([*SMALL, f"--dataset={pictures}", f"--workdir={tmp_path / 'new'}"])
    arguments = settings.fit_arguments(config)
    plan = Plan(**{field.name: arguments[field.name] for field in dataclasses.fields(Plan)})
    model = settings.make_model(config, (4, 4, 3))

    def prepare_here():
        dataset = data.load(pictures, image_size=4)
        return prepare(model, dataset, plan, config.workdir, arguments["settings"])

    first = prepare_here()
    draw(tmp_path / "pictures" / "more.png", 0)
    second = prepare_here()
    with contextlib.closing(first.folder):
        first.folder.create()
        first.folder.check_shared()
    with pytest.raises(ValueError, match=r"has other data than process 0 .*: 18 then, 19 now"):
        second.folder.check_shared()
    (tmp_path / "new" / "checkpoints" / "5").mkdir()  # it has trained since the second looked
    with pytest.raises(ValueError, match="is not what the run in"):
        second.folder.create()


def test_a_moved_folder_is_scored_where_it_is_now(start, tmp_path, capsys):
    score = [f"--workdir={tmp_path / 'run'}"]
    moved = tmp_path / "moved"
    os.rename(tmp_path / "pictures", moved)
    assert evaluate.main(score) == 2
    assert "--data-dir=PATH where they are" in capsys.readouterr().err
    assert evaluate.main([*score, f"--data-dir={moved}"]) == 0
    assert "the data are others" not in capsys.readouterr().err
    draw(moved / "more.png", 0)
    assert evaluate.main([*score, f"--data-dir={moved}"]) == 0
    told = capsys.readouterr()
    assert "the data are others now than those" in told.err and "18 then, 19 now" in told.err
