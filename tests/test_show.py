"""The page of runs: what it says of them, as files and as served."""

import http.client
import json
import pathlib
import re
import shutil
import socket
import threading
import urllib.request

import jax
import numpy as np
import onnx
import pytest

import jaxgan
from jaxgan.commands import main as door
from jaxgan.commands import page_curves, page_places, page_runs, page_server, page_site, show, train
from jaxgan.commands import settings as of_runs
from jaxgan.commands.page_server import Server
from jaxgan.commands.page_site import Site
from jaxgan.plots.style import SAFE
from jaxgan.training.checkpoints import Checkpoints

SMALL = ["--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16", "--parallel=jit"]
EVERY = ["--log-every=1", "--sample-every=2", "--checkpoint-every=3"]


def trained(folder, *flags):
    assert not train.main([*SMALL, *EVERY, *flags, f"--workdir={folder}"])
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on digits, one of them with two seeds, and one on points."""
    folder = tmp_path_factory.mktemp("runs")
    trained(folder / "wgan", "--loss=wgan", "--steps=6")
    trained(folder / "bce", "--loss=bce", "--steps=4", "--num-seeds=2", "--score-every=2")
    trained(folder / "ring", "--loss=wgan-gp", "--dataset=ring8", "--steps=2")
    return folder


@pytest.fixture
def copy(runs, tmp_path):
    """A run of the test's own to change."""
    return shutil.copytree(runs / "wgan", tmp_path / "run")


def page_of(*folders):
    return json.loads(Site([str(folder) for folder in folders], live=True).read("data/page.json"))


def details(folder):
    site = Site([str(folder)], live=True)
    return json.loads(site.read(f"data/{site.places[0].id}/run.json"))


# Which runs.


def test_a_folder_of_runs_is_its_runs_in_order(runs):
    page = page_of(runs)
    assert [run["name"] for run in page["runs"]] == ["bce", "ring", "wgan"]
    assert [run["id"] for run in page["runs"]] == ["bce", "ring", "wgan"]
    assert page["version"] == jaxgan.__version__ and page["live"]
    assert [run["seeds"] for run in page["runs"]] == [2, 1, 1]


def test_runs_lie_up_to_three_folders_deep_and_numbers_count(tmp_path):
    for name in ("loss/run10", "loss/run2", "a/b/c", "a/b/c/d/too-deep", ".hidden", "lone"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("loss/run10", "loss/run2", "a/b/c", "a/b/c/d/too-deep", ".hidden"):
        (tmp_path / name / "config.json").write_text("{}")
    names = [place.name for place in page_runs.find([str(tmp_path)])]
    assert names == ["c", "run2", "run10"]


def test_names_are_as_long_as_it_takes_to_tell_runs_apart(tmp_path):
    for name in ("a/0to1", "b/0to1", "b/2to3", "b/é?", "b/è?"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    places = page_runs.find([str(tmp_path), str(tmp_path / "b" / "2to3")])
    assert [place.name for place in places] == ["a/0to1", "b/0to1", "2to3", "è?", "é?"]
    ids = [place.id for place in places]
    assert len(set(ids)) == 5 and all(re.fullmatch("[A-Za-z0-9_-]+", id) for id in ids)


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        (["--workdir=a"], ["a"]),
        (["--workdir=a,b", "--workdir", "c"], ["a", "b", "c"]),
        (["--workdir", "a", "b c", "--port=0"], ["a", "b", "c"]),
        (["--workdir=a", "b", "--export=x"], ["a", "b"]),
    ],
)
def test_folders_are_given_in_any_usual_way(words, folders):
    found, rest = show.split_folders(words)
    assert found == folders
    assert rest == [word for word in words if word.startswith(("--port", "--export"))]


def test_a_folder_whose_name_has_spaces_and_commas_is_one(tmp_path, runs):
    folder = shutil.copytree(runs / "wgan", tmp_path / "my run, the first")
    assert show.split_folders([f"--workdir={folder}"]) == ([str(folder)], [])


# How they are.


def state(folder):
    [run] = page_of(folder)["runs"]
    return run["state"], run["state_words"]


def test_a_finished_run_says_its_steps_and_seconds(runs):
    kind, words = state(runs / "wgan")
    assert kind == "finished" and re.fullmatch(r"finished: 6 steps in \d+ seconds", words)


def test_a_run_without_its_last_step_is_unfinished(copy):
    (copy / "summary.json").unlink()
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(lines[:4]) + lines[4][:10])  # cut by a kill
    assert state(copy) == ("unfinished", "unfinished, at step 4 of 6")


def test_a_run_may_have_no_checkpoint_yet(copy):
    (copy / "summary.json").unlink()
    shutil.rmtree(copy / "checkpoints")
    assert state(copy) == ("no checkpoint", "no checkpoint yet, at step 6 of 6")
    site = Site([str(copy)], live=True)
    reason = json.loads(site.read("data/run/generator.json"))["reason"]
    assert reason == f"{copy} has no checkpoint yet"
    assert "data/run/generator.onnx" not in site.names()
    with pytest.raises(KeyError):
        site.read("data/run/generator.onnx")


def test_a_run_that_diverged_says_where(tmp_path):
    flags = ["--loss=wgan", "--steps=40", "--clip=1e30", "--d-learning-rate=1e30"]
    assert train.main([*SMALL, *EVERY, *flags, f"--workdir={tmp_path / 'run'}"]) == 3
    [file] = (tmp_path / "run").glob("diverged-*.npz")
    step = int(file.stem.removeprefix("diverged-"))
    assert state(tmp_path / "run") == ("diverged", f"diverged at step {step} of 40")


def test_a_run_that_went_on_after_it_diverged_is_unfinished(copy):
    (copy / "summary.json").unlink()
    (copy / "diverged-3.npz").touch()
    assert state(copy) == ("unfinished", "unfinished, at step 6 of 6")
    (copy / "diverged.json").write_text('{"seed": 0, "step": 7}')  # compare.py's
    assert state(copy)[0] == "diverged"


def test_a_run_that_lost_patience_stopped_early(copy):
    done = json.loads((copy / "summary.json").read_text()) | {"patience": 3, "steps": 5}
    settings = json.loads((copy / "config.json").read_text()) | {"patience": 3}
    (copy / "summary.json").write_text(json.dumps(done))
    (copy / "config.json").write_text(json.dumps(settings))
    kind, words = state(copy)
    assert kind == "finished" and words.startswith("stopped early, of 6 steps: 5 steps")


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ({}, "unfinished, at step 6 of 6"),
        ({"steps": 6}, "finished: 6 steps"),
        ({"patience": 3}, "stopped early, of 6 steps; no score was better since"),
    ],
)
def test_a_summary_may_lack_anything(copy, done, words):
    settings = json.loads((copy / "config.json").read_text()) | {"patience": 3}
    (copy / "config.json").write_text(json.dumps(settings))
    (copy / "summary.json").write_text(json.dumps(done))
    run = details(copy)
    assert (run["state_words"], run["findings"], run["problems"]) == (words, [], [])


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "evaluation.json", "data.json"])
def test_a_damaged_file_is_a_line_and_the_rest_is_shown(copy, name):
    (copy / name).write_text("no json\n")
    run = details(copy)
    assert len(run["problems"]) == 1 and name in run["problems"][0], run["problems"]
    assert len(run["pictures"]) == 4
    assert bool(run["curves"].get("wasserstein")) == (name != "metrics.jsonl")


def test_one_bad_line_of_metrics_leaves_the_others_and_the_generator(copy):
    path, before = copy / "metrics.jsonl", details(copy)["curves"]
    path.write_text("no json\n" + path.read_text() + "[]\n")
    run, told = details(copy), []
    assert run["curves"] == before
    [line] = run["problems"]
    assert line == f"{path} holds a line that is no metrics: 'no json', and 1 more like it"
    loaded = jaxgan.load(copy, of_runs.model_of_run(copy), warn=told.append)
    assert told == [line] and loaded.sample(jax.random.key(0), 1).shape[0] == 1


def test_an_evaluation_that_lacks_its_floor_is_a_line(copy):
    (copy / "evaluation.json").write_text('{"scores": {}}')
    assert "it has no 'floor'" in details(copy)["problems"][0]


def test_a_run_of_the_users_own_model_has_all_but_a_drawing(copy):
    settings = json.loads((copy / "config.json").read_text())
    del settings["loss"]
    (copy / "config.json").write_text(json.dumps(settings))
    site = Site([str(copy)], live=True)
    assert json.loads(site.read("data/run/run.json"))["curves"]["wasserstein"]["steps"]
    assert "whose model is its own" in json.loads(site.read("data/run/generator.json"))["reason"]


def test_a_generator_that_onnx_lacks_is_a_reason(copy, monkeypatch):
    def refuse(run):
        raise ValueError("the generator's\nfft has no ONNX operation")

    monkeypatch.setattr("jaxgan.export.to_onnx", refuse)
    about, model = page_site.make_generator(page_runs.find([str(copy)])[0])
    assert about == {"reason": "the generator's fft has no ONNX operation"} and not model


def test_weights_that_are_not_finite_are_a_reason(copy):
    run = jaxgan.load(copy, of_runs.model_of_run(copy))
    broken = jax.tree.map(lambda x: x * np.nan, run.state.ema)
    checkpoints = Checkpoints(copy / "checkpoints")
    checkpoints.save(run.step + 1, run.state._replace(ema=broken))
    checkpoints.close()
    about, model = page_site.make_generator(page_runs.find([str(copy)])[0])
    assert "numbers that are not finite: its training has diverged" in about["reason"]
    assert not model


# Curves.


def test_curves_are_the_logged_metrics(runs):
    run = details(runs / "wgan")
    rows = [json.loads(line) for line in (runs / "wgan" / "metrics.jsonl").read_text().splitlines()]
    curve = run["curves"]["wasserstein"]
    assert curve["steps"] == [1, 2, 3, 4, 5, 6] and curve["low"] is None
    np.testing.assert_allclose(curve["values"], [row["wasserstein"] for row in rows], rtol=1e-5)
    assert "seconds" not in run["curves"]


def test_bands_are_a_standard_error_over_seeds_each_way(runs):
    run = details(runs / "bce")
    rows = [json.loads(line) for line in (runs / "bce" / "metrics.jsonl").read_text().splitlines()]
    for sign, end in ((-1, "low"), (1, "high")):
        expected = [row["js"] + sign * row["js_stderr"] for row in rows]
        np.testing.assert_allclose(run["curves"]["js"][end], expected, rtol=1e-5)
    assert not [name for name in run["curves"] if name.endswith(("_stderr", "_seeds"))]
    score = run["curves"]["frechet_classifier"]
    assert score["steps"] == [2, 4] and score["kind"] == "scores"


def test_probes_of_several_seeds_become_a_mean_and_a_band():
    curve = page_curves.make_curves([{"step": 3, "ahead": [0.5, 0.7]}])["ahead"]
    assert curve["values"] == [0.6]
    error = 0.1  # of the mean of two: half their distance
    np.testing.assert_allclose([curve["low"], curve["high"]], [[0.6 - error], [0.6 + error]])


def test_a_number_that_is_not_finite_is_a_gap():
    rows = [{"step": 1, "a": 1.0, "b": None}, {"step": 2, "a": None, "b": None}]
    curves = page_curves.make_curves(rows)
    assert curves["a"]["values"] == [1.0, None]
    assert "b" not in curves


def test_a_long_run_is_thinned_to_means_within_their_range():
    rows = [{"step": step, "a": float(step % 2)} for step in range(1, 2001)]
    curve = page_curves.make_curves(rows)["a"]
    assert len(curve["steps"]) == page_curves.MOST_POINTS and curve["rows_each"] == 4
    assert curve["steps"][:2] == [4, 8] and curve["steps"][-1] == 2000
    assert set(curve["values"]) == {0.5} and set(curve["low"]) == {0} and set(curve["high"]) == {1}


# Scores and settings.


def test_scores_stand_beside_their_floors(copy):
    evaluation = {
        "scores": {"w1": 2.5, "histogram": [1, 2], "fid": None, "memorisation": {"closer": 0.4}},
        "standard_error": {"w1": 0.1},
        "floor": {"w1": 2.0},
        "step": 6,
        "protocol": {"samples": 360},
        "notes": ["a note"],
    }
    (copy / "evaluation.json").write_text(json.dumps(evaluation))
    scores = details(copy)["scores"]
    assert scores["rows"] == [
        {"name": "w1", "value": 2.5, "error": 0.1, "floor": 2.0},
        {"name": "fid", "value": None, "error": None, "floor": None},
        {"name": "memorisation.closer", "value": 0.4, "error": None, "floor": None},
    ]
    assert (scores["samples"], scores["step"], scores["notes"]) == (360, 6, ["a note"])


def test_a_run_that_was_not_scored_has_none(runs):
    assert details(runs / "wgan")["scores"] is None


def test_the_best_score_while_training_is_there(runs):
    best = details(runs / "bce")["best"]
    assert best["step"] in (2, 4) and best["frechet_classifier"] > 0


def test_settings_and_the_command_that_repeats_a_run(runs):
    wgan, bce = (details(runs / name) for name in ("wgan", "bce"))
    assert wgan["settings"]["clip"] and "clip" not in bce["settings"]
    assert wgan["command"].startswith("python experiments/train.py --loss=wgan --dataset=digits")


def test_runs_on_different_data_are_told_apart(runs, copy):
    data = {run["name"]: run["data"] for run in page_of(runs, copy)["runs"]}
    assert data["wgan"] == data["bce"] == data["run"] != data["ring"]


# Drawing.


def test_a_generator_says_what_it_takes_and_makes(runs):
    site = Site([str(runs)], live=False)
    about = json.loads(site.read("data/bce/generator.json"))
    assert about == {
        "file": "generator.onnx",
        "bytes": len(site.read("data/bce/generator.onnx")),
        "step": 4,
        "latent_dim": 4,
        "num_classes": None,
        "class_names": None,
        "shape": [8, 8, 1],
        "seed": 0,  # the first of two
        "data": None,
    }
    ring = json.loads(site.read("data/ring/generator.json"))["data"]
    assert len(ring["points"]) == page_site.POINTS and len(ring["modes"]) == 8
    assert ring["sigma"] == 0.01
    assert (np.abs(np.array(ring["points"]) - ring["center"]) < ring["reach"]).all()


def test_a_generator_is_made_once_for_a_checkpoint(runs, monkeypatch):
    made = []
    monkeypatch.setattr(page_site, "make_generator", lambda place: made.append(place) or ({}, b"x"))
    site = Site([str(runs / "wgan")], live=True)
    for _ in range(3):
        site.read("data/wgan/generator.json")
        site.read("data/wgan/generator.onnx")
    assert len(made) == 1
    monkeypatch.setattr(page_runs, "newest_checkpoint", lambda folder: 7)
    site.read("data/wgan/generator.json")
    assert len(made) == 2


def test_a_generators_file_is_of_the_step_that_was_said(runs, monkeypatch):
    """Between the two requests of a page training may save, or delete what is being read."""
    step = iter("123")
    monkeypatch.setattr(page_site, "make_generator", lambda place: ({}, next(step).encode()))
    site = Site([str(runs / "wgan")], live=True)
    for newest in (10, 20):
        monkeypatch.setattr(page_runs, "newest_checkpoint", lambda folder, at=newest: at)
        site.read("data/wgan/generator.json")
        monkeypatch.setattr(page_runs, "newest_checkpoint", lambda folder, at=newest: at + 5)
        assert site.read("data/wgan/generator.onnx") == str(newest // 10).encode()


def test_colours_of_runs_are_those_of_pictures_in_the_same_order():
    source = (pathlib.Path(jaxgan.__file__).parent / "page" / "colours.js").read_text()
    [colours] = re.findall(r"COLOURS = \[(.*)\]", source)
    own = [colour.lower() for colour in SAFE[:-1]]
    assert re.findall(r'"([^"]+)"', colours) == [*own, "var(--grey)"]  # one grey on white or black


# As files.


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    assert show.main([f"--workdir={runs}", f"--export={folder}"]) == 0
    return folder


def test_an_export_is_all_that_is_served(exported, runs):
    site = Site([str(runs)], live=False)
    names = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert names == set(site.names())
    assert {"index.html", "data/page.json", "data/wgan/samples/step_00000006.png"} <= names
    for name in names - {"data/page.json"}:  # which says when it was written
        assert (exported / name).read_bytes() == site.read(name), name
    assert not json.loads((exported / "data" / "page.json").read_text())["live"]


def test_nothing_in_an_export_is_loaded_from_elsewhere(exported):
    """Of ONNX Runtime's own file one line prints an address, in advice for threads."""
    for path in exported.rglob("*"):
        if path.suffix not in (".html", ".css", ".js", ".svg", ".json"):
            continue
        found = set(re.findall(r"(?:https?:)?//[\w-]+\.\w[\w./-]*", path.read_text()))
        found -= {"http://www.w3.org/2000/svg"}  # a name
        if path.parent.name == "vendor":
            found -= {"https://web.dev/cross-origin-isolation-guide/"}
        assert not found, f"{path.name}: {found}"
    page = (exported / "index.html").read_text()
    assert "default-src 'none'" in page and "connect-src 'self'" in page
    assert not re.findall(r'(?:href|src)="/', page)  # it works below any path


def test_an_export_says_how_to_look_at_it(runs, tmp_path, capsys):
    assert show.main([f"--workdir={runs / 'ring'}", f"--export={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 run, ") and str(tmp_path / "index.html") in out
    assert f"python -m http.server --bind 127.0.0.1 --directory {tmp_path} 8000" in out


@pytest.fixture
def shelf(tmp_path):
    """A run whose settings, data and errors name folders with spaces in their names."""
    home = tmp_path / "my home"
    home.mkdir()
    np.save(home / "my points.npy", np.random.default_rng(0).normal(size=(40, 3)))
    data = f"--dataset=npy:{home}/my points.npy"
    run = trained(home / "runs" / "points", "--loss=wgan", "--model=mlp", "--steps=2", data)
    settings = json.loads((run / "config.json").read_text())
    settings |= {"data_dir": f"{home}/sets", "cache_dir": f"{home}/decoded"}
    (run / "config.json").write_text(json.dumps(settings))
    shutil.copytree(run, home / "runs" / "damaged")
    for name in ("metrics.jsonl", "config.json"):
        (home / "runs" / "damaged" / name).write_text("no json\n")
    shutil.copytree(run, home / "runs" / "begun")
    shutil.rmtree(home / "runs" / "begun" / "checkpoints")
    return home


def test_an_export_does_not_say_where_anything_is(shelf, copy):
    """Served, the page says it: there the settings and the errors are the user's own."""
    out = shelf.parent / "page"
    assert show.main([f"--workdir={shelf / 'runs'}", f"--workdir={copy}", f"--export={out}"]) == 0
    own = [str(shelf.parent), "my home", str(pathlib.Path(jaxgan.__file__).parents[1])]
    for path in out.rglob("*.*"):
        for place in own:
            assert place.encode() not in path.read_bytes(), path
    read = {path.parent.name: json.loads(path.read_text()) for path in out.rglob("run.json")}
    assert read["points"]["settings"]["dataset"] == "npy:my points.npy"
    assert "--dataset='npy:my points.npy'" in read["points"]["command"]
    assert not set(page_places.SETTINGS) & set(read["points"]["settings"])
    says = "damaged/config.json is damaged: Expecting value"
    assert read["damaged"]["problems"][0].startswith(says)
    reasons = {
        path.parent.name: json.loads(path.read_text()).get("reason")
        for path in out.rglob("generator.json")
    }
    assert reasons["begun"] == "begun has no checkpoint yet"
    assert reasons["points"] == "samples of shape [3] are neither images nor 2-D points"
    served = Site([str(shelf / "runs")], live=True).read("data/points/run.json").decode()
    assert all(f"{shelf}/{name}" in served for name in ("my points.npy", "sets", "decoded"))


def test_a_generators_file_names_its_data_alone(copy):
    settings = json.loads((copy / "config.json").read_text()) | {"dataset": "npy:/my home/a.npy"}
    (copy / "config.json").write_text(json.dumps(settings))
    _, content = page_site.make_generator(page_runs.find([str(copy)])[0])
    said = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
    assert (said["dataset"], said["loss"]) == ("npy:a.npy", "wgan")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("/home/me/runs/a/config.json is damaged", "a/config.json is damaged"),
        ("[Errno 13] Permission denied: '/home/me/b/c'", "[Errno 13] Permission denied: 'c'"),
        ("my runs/x has no checkpoint", "x has no checkpoint"),
        ("--dataset=folder:/mnt/photos", "--dataset=folder:photos"),
        ("see https://example.org/a/b and docs/scores.md", None),
        ("a and/or b, 3 / 4 / 5, W₁/floor, ~/x", None),
    ],
)
def test_paths_are_cut_and_other_slashes_are_not(text, cut):
    paths = ["/home/me/runs/a", "my runs/x", "/mnt/photos"]
    assert page_places.cut({"problems": [text]}, paths) == {"problems": [cut or text]}


def test_an_export_has_the_runs_that_there_were_when_it_began(runs, tmp_path):
    folder = shutil.copytree(runs / "ring", tmp_path / "runs" / "ring").parent
    sites = [Site([str(folder)], live=live) for live in (False, True)]
    shutil.copytree(runs / "ring", folder / "later")
    assert [len(json.loads(site.read("data/page.json"))["runs"]) for site in sites] == [1, 2]


def test_what_the_user_keeps_beside_the_page_stays(runs, tmp_path):
    kept = [tmp_path / "data" / name for name in ("notes.txt", "wgan/notes.txt", "mine/run.json")]
    for name in ("wgan", "ring"):
        assert show.main([f"--workdir={runs / name}", f"--export={tmp_path}"]) == 0
        for path in kept:
            path.parent.mkdir(exist_ok=True)
            path.write_text("mine")
    assert [path.read_text() for path in kept] == ["mine"] * 3
    assert {path.name for path in (tmp_path / "data" / "wgan").rglob("*.*")} == {"notes.txt"}


@pytest.mark.parametrize("content", ['{"runs": []}', '{"made_by": "me"}', "no json", "[]"])
def test_a_folder_with_another_page_json_is_not_an_earlier_page(runs, tmp_path, content, capsys):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "page.json").write_text(content)
    (tmp_path / "data" / "mine" / "run.json").touch()
    assert show.main([f"--workdir={runs / 'ring'}", f"--export={tmp_path}"]) == 2
    assert "holds other files: give --export a new" in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*.*")} == {"page.json", "run.json"}


def test_an_export_replaces_an_earlier_one_and_nothing_else(runs, tmp_path, capsys):
    for name in ("wgan", "ring"):
        assert show.main([f"--workdir={runs / name}", f"--export={tmp_path / 'page'}"]) == 0
    assert [path.name for path in (tmp_path / "page" / "data").glob("*/run.json")]
    assert not list((tmp_path / "page" / "data" / "wgan").rglob("*.*"))
    (tmp_path / "thesis.tex").touch()
    assert show.main([f"--workdir={runs / 'ring'}", f"--export={tmp_path}"]) == 2
    assert "holds other files" in capsys.readouterr().err


# As served.


@pytest.fixture
def served(copy):
    with Server(Site([str(copy)], live=True), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, method="GET", host=None):
    connection = http.client.HTTPConnection(*server.server_address)
    connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_a_reload_shows_what_was_trained_since(served, copy):
    def steps():
        with urllib.request.urlopen(f"{served.address}data/run/run.json") as answer:
            return json.load(answer)["curves"]["wasserstein"]["steps"]

    assert steps()[-1] == 6
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "wasserstein": 1.0}\n')
    assert steps()[-1] == 9


def test_it_is_served_to_this_machine_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    assert served.address == f"http://127.0.0.1:{served.server_address[1]}/"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1", "LocalHost", "127.0.0.1"])
def test_any_port_may_be_forwarded_to_it(served, host):
    assert ask(served, "/data/page.json", host=host)[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil",
        "a@localhost",
        "",
    ],
)
def test_a_websites_own_name_for_this_machine_is_refused(served, host):
    """DNS rebinding: a page of evil.example would read what evil.example, now here, sends."""
    for path in ("/", "/data/page.json", "/data/run/run.json", "/nothing"):
        answer, content = ask(served, path, host=host)
        says = f"open this page at 127.0.0.1 or localhost, not {host!r}\n"
        assert (answer.status, content.decode()) == (403, says)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/main.js", "text/javascript; charset=utf-8"),
        ("/style.css?v=1", "text/css; charset=utf-8"),
        ("/data/run/samples/step_00000000.png", "image/png"),
        ("/vendor/ort-wasm-simd-threaded.wasm.gz", "application/octet-stream"),
    ],
)
def test_files_have_their_types_and_are_not_kept(served, path, kind):
    answer, content = ask(served, path)
    assert (answer.status, answer.getheader("Content-Type")) == (200, kind)
    assert answer.getheader("Cache-Control") == "no-store" and content
    head, nothing = ask(served, path, "HEAD")
    assert head.getheader("Content-Length") == str(len(content)) and not nothing


@pytest.mark.parametrize(
    "path",
    [
        "/../config.json",
        "/data/run/../../../config.json",
        "/data/run/samples/../config.json",
        "/data/run/samples/..%2fconfig.json",
        "/%2e%2e/config.json",
        "//etc/passwd",
        "/data/run/config.json",
        "/data/other/run.json",
        "/page.py",
        "/vendor",
        "/data/run/samples/%00",
    ],
)
def test_paths_outside_of_the_page_are_refused(served, path):
    answer, content = ask(served, path)
    assert (answer.status, content) == (404, b"the page has no such file\n")


def test_runs_that_are_gone_are_a_line(served, copy):
    shutil.rmtree(copy)
    answer, content = ask(served, "/data/page.json")
    assert answer.status == 500 and content.decode().startswith(f"{copy} does not exist")


def test_ctrl_c_ends_it_quietly(runs, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    assert show.main([f"--workdir={runs}"]) == 0
    out, error = capsys.readouterr()
    assert re.match(r"3 runs: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends\)\n", out) and not error


# Mistakes.


def test_a_port_that_is_taken_is_one_line(runs, capsys):
    with socket.create_server((page_server.HOST, 0)) as other:
        port = other.getsockname()[1]
        assert show.main([f"--workdir={runs}", f"--port={port}"]) == 2
    says = f"--port={port} is taken by another program: choose another, or 0 for a free one."
    assert capsys.readouterr().err == f"show.py: {says}\n"


def test_hundreds_of_runs_are_too_many(tmp_path, capsys):
    for i in range(page_runs.MOST_RUNS + 200):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "config.json").write_text("{}")
    assert show.main([f"--workdir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"show.py: {tmp_path} holds 300 runs, and a page takes at most 100: ")
    assert len(error.splitlines()) == 1 and "--workdir=RUN" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--workdir is missing"]),
        (["--workdir=nowhere"], ["nowhere does not exist", "give --workdir"]),
        (["--workdir=EMPTY"], ["holds no run: neither it nor a folder in it has a config.json"]),
        (["--workdir=RUN/config.json/x"], ["does not exist"]),
        (["RUN"], ["stands without a flag: did you mean --workdir="]),
        (["--workdir=RUN", "--port=65536"], ["--port must be from 0 to 65535; got 65536"]),
        (["--workdir=RUN", "--port=http"], ["--port", "whole number"]),
        (["--workdir=RUN", "--host=0.0.0.0"], ["unknown flag --host"]),
        (["--workdir=RUN", "--port=80", "--export=x"], ["--port has no effect with --export"]),
        (["--workdir=RUN", "--export=RUN"], ["holds other files: give --export a new"]),
        (["--workdir=RUN", "--export=RUN/config.json"], ["holds other files"]),
    ],
)
def test_bad_input_is_one_line(arguments, words, runs, tmp_path, capsys):
    places = {"RUN": str(runs / "wgan"), "EMPTY": str(tmp_path)}
    for short, path in places.items():
        arguments = [argument.replace(short, path) for argument in arguments]
    assert show.main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1 and error.startswith("show.py: "), error
    for word in words:
        assert word in error


def test_an_installed_package_has_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["jaxgan", "show", "--workdir=nowhere"])
    with pytest.raises(SystemExit, match="2"):
        door.main()
    assert capsys.readouterr().err.startswith("jaxgan show: nowhere does not exist")
