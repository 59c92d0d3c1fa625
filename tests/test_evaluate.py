"""Scoring a run, as users do."""

import io
import json
import math
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import jaxgan
from jaxgan import data, metrics, over_seeds, plots
from jaxgan.commands import evaluate, exam, scorer, settings, train, withheld
from jaxgan.commands.config import Config
from jaxgan.metrics import classifier, controls
from jaxgan.training import Run
from jaxgan.training.checkpoints import Checkpoints
from jaxgan.training.run_folder import RunFolder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One classifier for all tests, badly trained; and short searches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifier, "STEPS", 30)
        patch.setattr(scorer, "NEIGHBOUR_POINTS", 360)
        patch.setattr(scorer, "TRANSPORT_POINTS", 500)
        patch.setattr(scorer, "DISTANCE_POINTS", 1500)
        yield


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    small = ["--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16", "--parallel=jit"]
    assert not train.main(["--loss=wgan", "--steps=4", *small, f"--workdir={folder}"])
    return folder


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory):
    """Seeds 3 and 4 as they are initialised."""
    folder = tmp_path_factory.mktemp("ring")
    config = Config("bce", "ring8", "mlp", width=8, depth=1, latent_dim=2, seed=3, num_seeds=2)
    model = settings.make_model(config, (2,))
    run = RunFolder(folder, settings.recorded(config))
    run.check_model(model)
    run.check_data(data.load("ring8"))
    run.create()
    run.close()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(0, over_seeds(model).init(jax.random.split(jax.random.key(0))))
    checkpoints.close()
    return folder


@pytest.fixture
def scored(capsys):
    """Runs the command, and returns what it wrote."""

    def run(folder, *arguments):
        assert evaluate.main([f"--workdir={folder}", *arguments]) == 0
        return json.loads((folder / "evaluation.json").read_text())

    return run


@pytest.fixture(scope="module")
def result(digits_run):
    """The scores of the digits, from the file."""
    assert evaluate.main([f"--workdir={digits_run}"]) == 0
    return json.loads((digits_run / "evaluation.json").read_text())


def test_two_runs_give_the_same_file_and_a_table_of_scores_beside_floors(
    digits_run, result, scored, capsys
):
    assert scored(digits_run) == result
    text = json.dumps(result, indent=2) + "\n"
    assert (digits_run / "evaluation.json").read_text() == text
    table = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert table["score"] == ["samples", "floor"]
    for name in ("w1", "frechet_classifier", "classifier_score"):
        assert table[name] == [f"{result[row][name]:.4g}" for row in ("scores", "floor")]
    closer = result["scores"]["memorisation"]["closer"]
    assert table["memorisation.closer"] == [f"{closer:.4g}"]


def test_images_are_scored_with_their_protocol(digits_run, result):
    assert (result["dataset"], result["loss"], result["seeds"]) == ("digits", "wgan", [0])
    scores, floor, protocol = result["scores"], result["floor"], result["protocol"]
    assert result["step"] == 4 and result["notes"] == withheld.gone(scores, floor)
    assert scores.keys() - floor.keys() == {"memorisation"}
    for name in ("w1", "sliced_w1", "frechet_classifier"):
        assert 0 < floor[name] < scores[name], name
    assert sum(scores["histogram"]) == sum(floor["histogram"]) == 360
    assert floor["modes_covered"] == protocol["modes"] == 10
    assert floor["reverse_kl"] < scores["reverse_kl"]
    assert scores["entropy"] < floor["entropy"] <= math.log(10)
    assert 1 <= scores["classifier_score"] <= 10
    assert protocol["samples"] == 360 and protocol["seed"] == 0
    assert protocol["generator"] == "averaged"
    assert protocol["w1"] == "exact, 360 samples against 360 held-out examples"
    assert protocol["classifier"]["test_accuracy"] > 0.2
    assert result["versions"]["jax"]
    assert protocol["data"] == data.fingerprint(data.load("digits"))
    assert "fid" not in json.dumps(result).lower()


def test_distances_are_to_the_held_out_examples(result):
    digits = data.load("digits")
    chosen = np.random.RandomState(0).permutation(len(digits.train))[:360]
    train, test = (data.to_float(x) for x in (digits.train[chosen], digits.test))
    assert result["floor"]["w1"] == pytest.approx(float(metrics.earth_movers_distance(train, test)))
    look = classifier.load(digits)
    features = (np.asarray(look(x).features) for x in (digits.train[chosen], digits.test))
    distance = metrics.frechet_distance(*features)
    assert result["floor"]["frechet_classifier"] == pytest.approx(float(distance), rel=1e-4)


def test_data_that_have_changed_since_training_are_noted(digits_run, scored, tmp_path, capsys):
    folder = shutil.copytree(digits_run, tmp_path / "run")
    record = json.loads((folder / "data.json").read_text())
    assert record["fingerprint"] == data.fingerprint(data.load("digits"))
    (folder / "data.json").write_text(json.dumps(record | {"fingerprint": "0123", "train": 1400}))
    assert evaluate.main([f"--workdir={folder}", "--samples=70"]) == 0
    told = capsys.readouterr()
    notes = json.loads((folder / "evaluation.json").read_text())["notes"]
    [note] = [note for note in notes if "are gone" not in note]
    assert "examples to train on: 1400 then, 1437 now" in note and note in told.err


def test_training_data_score_the_floor_and_are_found_out_as_copies(digits_run, scored, monkeypatch):
    digits = data.load("digits")

    def draw(run, key, n, index, labels=None):
        chosen = np.random.RandomState(0).permutation(len(digits.train))[:n]
        return np.asarray(data.to_float(digits.train[chosen]))

    monkeypatch.setattr(Run, "sample", draw)
    copied = scored(digits_run)
    memorisation = copied["scores"].pop("memorisation")
    assert copied["scores"] == copied["floor"]
    assert memorisation["distance"] == 0 and memorisation["closer"] == 1
    assert memorisation["held_out_distance"] > 1


@pytest.mark.slow
def test_points_are_scored_seed_by_seed(ring_run, scored, monkeypatch):
    drawn, sample = [], Run.sample

    def draw(run, key, n, index, labels=None):
        drawn.append(index)
        return sample(run, key, n, index)

    monkeypatch.setattr(Run, "sample", draw)
    result = scored(ring_run, "--samples=100")
    assert drawn == [0, 1]
    assert result["seeds"] == [3, 4]
    seeds = result["scores_of_seeds"]
    for name in ("w1", "high_quality", "reverse_kl", "modes_covered"):
        values = [seed[name] for seed in seeds]
        assert result["scores"][name] == pytest.approx(np.mean(values))
        assert result["standard_error"][name] == pytest.approx(abs(values[0] - values[1]) / 2)
    closer = [seed["memorisation"]["closer"] for seed in seeds]
    assert result["scores"]["memorisation"]["closer"] == pytest.approx(np.mean(closer))
    assert result["scores"]["w1"] > result["floor"]["w1"]
    assert result["floor"]["high_quality"] > 0.9 and result["floor"]["modes_covered"] == 8
    assert result["protocol"]["modes"] == 8
    assert result["protocol"]["w1"] == "exact, 100 samples against 500 held-out examples"
    assert "classifier" not in result["protocol"] and "entropy" not in result["scores"]


def test_a_conditional_run_is_scored_by_class(tmp_path, scored, monkeypatch):
    """Its samples here are real digits of the classes asked for, but fives where threes are."""
    small = ["--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16", "--parallel=jit"]
    small += ["--model=mlp", "--steps=1", f"--workdir={tmp_path}"]
    assert not train.main(["--loss=wgan", "--num-classes=10", *small])
    digits, asked = data.load("digits"), []

    def draw(run, key, n, index, labels):
        asked.extend(labels)
        picked = [np.flatnonzero(digits.train_labels == (5 if k == 3 else k))[0] for k in labels]
        return np.asarray(data.to_float(digits.train[picked]))

    monkeypatch.setattr(Run, "sample", draw)
    result = scored(tmp_path)
    chosen = np.random.RandomState(0).permutation(len(digits.train))[:360]
    np.testing.assert_array_equal(asked, digits.train_labels[chosen])
    look, drawn = classifier.load(digits), draw(None, None, 360, 0, asked[:])
    for row, images, labels in (
        ("scores", drawn, digits.train_labels[chosen]),
        ("floor", digits.test, digits.test_labels),
    ):
        right = look(images).probabilities.argmax(axis=1) == labels
        assert result[row]["agreement"] == pytest.approx(right.mean())
        for k, share in result[row]["agreement_by_class"].items():
            assert share == pytest.approx(right[labels == int(k)].mean())
        assert len(result[row]["agreement_by_class"]) == 10
    assert result["scores"]["agreement_by_class"]["3"] < 0.1
    assert result["scores"]["frechet_by_class"] is None
    assert any("no frechet_by_class: 2" in note for note in result["notes"])
    assert result["protocol"]["labels"] == "those of the floor's training examples"


def test_points_are_asked_for_classes_as_frequent_as_in_the_data():
    """And found by their nearest mode; of few samples no share is given."""
    modes = np.float32([[0, 0], [9, 9]])
    labels = np.arange(100) % 10 // 9
    dataset = data.Dataset("two", *(modes[labels],) * 2, labels, labels, modes, 0.1)
    score = scorer.Scorer(dataset, None, jax.random.key(0), 100, labels)
    scores = score(modes[1 - labels])
    assert scores["agreement"] == 0 and score(modes[labels])["agreement"] == 1
    assert scores["agreement_by_class"] is None
    assert "10 samples of the rarest class where it needs 20" in str(score.withheld)
    few = scorer.Scorer(dataset, None, jax.random.key(0), 50, labels[:50])
    assert few(modes[labels[:50]])["agreement"] is None


def test_distances_within_a_class_are_from_its_own_held_out_examples():
    """Two features, and so few examples are enough; one class is as the data, one is moved."""
    rng = np.random.default_rng(0)
    points, held_out = rng.normal(size=(400, 2)), np.arange(200) % 2
    dataset = data.Dataset("two", points[:200], points[200:], held_out, held_out)
    judge = scorer.Judge(
        lambda x: (np.asarray(x), np.ones(len(x), int), None), None, 2, held_out, {"features": 2}
    )
    moved = points[200:] + 3.0 * held_out[:, None]
    scores = scorer.Scorer(dataset, judge, jax.random.key(0), 200, held_out)(moved)
    assert scores["agreement_by_class"] == {"0": 0, "1": 1} and scores["agreement"] == 0.5
    assert scores["frechet_by_class"]["0"] == pytest.approx(0, abs=1e-4)
    assert scores["frechet_by_class"]["1"] == pytest.approx(18, rel=1e-3)


def test_modes_are_covered_by_as_many_samples_as_in_the_papers():
    """A last sample finds a mode, too late to cover it."""
    modes = np.array([[0, 0], [1, 1]], np.float32)
    dataset = data.Dataset("two", *(modes.repeat(10, axis=0),) * 2, modes=modes, sigma=0.1)
    score = scorer.Scorer(dataset, None, jax.random.key(0), 2501)
    scores = score(modes[[0] * 2500 + [1]])
    assert scores["modes_covered"] == 1 and scores["histogram"] == [2500, 1]


def test_pacgans_reverse_kl_is_that_of_the_first_2500_samples_of_high_quality():
    """All in one mode but bad samples, which lie in the other's half, and late ones in that."""
    modes = np.array([[0, 0], [1, 1]], np.float32)
    dataset = data.Dataset("two", *(modes.repeat(50, axis=0),) * 2, modes=modes, sigma=0.1)
    good, bad, late = modes[[0] * 2000], modes[[1] * 500] + 2, modes[[1] * 1500]
    x = np.concatenate([good, bad, late])
    score = scorer.Scorer(dataset, None, jax.random.key(0), len(x))(x)
    assert score["reverse_kl_pacgan"] == pytest.approx(math.log(2))
    assert score["reverse_kl"] == pytest.approx(0, abs=1e-6)


def test_the_generator_trained_last_is_another(digits_run, result, scored):
    last = scored(digits_run, "--no-ema")
    assert last["protocol"]["generator"] == "last"
    assert last["floor"] == result["floor"]
    assert last["scores"]["w1"] != result["scores"]["w1"]


def test_another_seed_draws_others(digits_run, result, scored):
    other = scored(digits_run, "--seed=1")
    assert other["protocol"]["seed"] == 1
    assert other["scores"]["w1"] != result["scores"]["w1"]
    assert other["floor"]["w1"] != result["floor"]["w1"]


def test_scores_that_need_more_samples_are_left_out_and_noted(digits_run, scored):
    result = scored(digits_run, "--samples=64")
    for scores in (result["scores"], result["floor"]):
        left_out = {name for name, score in scores.items() if score is None}
        assert left_out - {"memorisation"} == {
            "w1", "sliced_w1", "frechet_classifier", "manifold_classifier"
        }  # fmt: skip
    assert result["scores"]["memorisation"] is None
    assert result["scores"]["kernel_classifier"]["standard_error"] > 0
    assert result["scores"]["modes_covered"] >= 1
    notes = {note.split(":")[0]: note for note in result["notes"] if note.startswith("no ")}
    assert len(notes) == 5
    assert "64 samples where it needs 65" in notes["no frechet_classifier"]
    assert "64 samples where it needs 70" in notes["no memorisation"]


def test_a_distance_below_its_floor_is_noted():
    """Digits at a contrast of 0.8 are nearer to held-out ones than digits are, and no better."""
    floor = {"w1": 2.917, "sliced_w1": 0.1}
    assert withheld.below_floor({"w1": 3.0, "sliced_w1": None}, floor) == []
    [note] = withheld.below_floor({"w1": 2.78, "sliced_w1": 0.1}, floor)
    assert note.startswith("w1 of the samples, 2.78, is below its floor, 2.917")


@pytest.mark.parametrize(
    ("samples", "held_out", "classes", "features", "names"),
    [
        (70, 70, None, None, set()),
        (69, 70, None, None, {"w1", "sliced_w1", "memorisation"}),
        (70, 69, None, None, {"w1", "sliced_w1", "memorisation"}),
        (70, 70, 14, 69, set()),
        (70, 70, 14, 70, {"frechet_classifier"}),
        (10_000, 70, 14, 70, {"frechet_classifier"}),
        (70, 10_000, 15, 69, {"modes_covered", "reverse_kl", "entropy", "classifier_score"}),
        (5_000, 70, 1_000, None, set()),
    ],
)
def test_each_score_has_a_least_number_of_examples(samples, held_out, classes, features, names):
    notes = withheld.too_few(samples, held_out, classes, features)
    assert notes.keys() - {"reverse_kl_pacgan"} == names
    for name, note in notes.items():
        assert note.startswith(f"no {name}: ") and len(note.splitlines()) == 1


def test_images_without_labels_have_distances_only(digits_run):
    unlabelled = data.load("digits")._replace(train_labels=None, test_labels=None)
    run, config = jaxgan.load(digits_run), settings.of_run(digits_run)
    conditions = exam.set_exam(unlabelled, 200, 0, config)
    evaluation, _ = exam.evaluate(run, config, conditions)
    assert evaluation["scores"].keys() == {"w1", "sliced_w1", "memorisation"}
    assert "classifier" not in evaluation["protocol"] and not evaluation["notes"]


def make_photos(folder, count):
    """Coloured pictures: a ground, smooth shapes and grain, each of its own."""
    random = np.random.RandomState(0)
    folder.mkdir()
    for index in range(count):
        smooth = gaussian_filter(random.normal(size=(16, 16, 3)), (2, 2, 0), mode="wrap")
        grain = 15 * random.normal(size=smooth.shape)
        pixels = 50 * smooth / smooth.std() + random.uniform(60, 190, 3) + grain
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    "count, why",
    [
        (300, "30 held-out examples"),
        pytest.param(800, "cannot tell", marks=pytest.mark.slow),
    ],
)
def test_an_untrained_generator_of_photos_is_not_flattered(count, why, tmp_path, scored):
    photos = make_photos(tmp_path / "photos", count)
    small = ["--width=8", "--depth=1", "--model=mlp", "--batch-size=8", "--image-size=16"]
    small.append("--parallel=jit")
    arguments = [f"--dataset=folder:{photos}", f"--workdir={tmp_path / 'run'}", *small]
    assert not train.main(["--loss=wgan-gp", "--steps=2", *arguments])
    result = scored(tmp_path / "run")
    notes = " ".join(result["notes"])
    for name in ("w1", "memorisation"):
        assert result["scores"][name] is None and f"no {name}: " in notes
    assert result["floor"]["w1"] is None and why in notes
    if sliced := result["scores"]["sliced_w1"]:
        assert sliced > 1.5 * result["floor"]["sliced_w1"]


def test_a_distance_is_given_where_bad_samples_are_further_than_data():
    """The mean of pure noise is nearer to it than other noise is; that of clusters is not."""
    random = np.random.RandomState(0)
    noise = random.normal(size=(300, 100))
    clusters = 20 * random.normal(size=(5, 100)).repeat(60, axis=0)[random.permutation(300)]
    for points, told in ((noise, False), (noise + clusters, True)):
        dataset = data.Dataset("points", *np.split(np.float32(points), [200]))
        score = scorer.Scorer(dataset, None, jax.random.key(0), 100)
        floor, controls = score.floor(dataset.train[:100])
        assert (floor["w1"] is not None) == ("w1" not in score.withheld) == told
        assert ("memorisation" not in score.withheld) == told
        assert (controls["mean"]["closer"] == 1) == (not told)
        again = score(dataset.train[:100])
        assert again["w1"] == floor["w1"] and again["sliced_w1"] == floor["sliced_w1"]


@pytest.mark.slow
def test_scores_of_toys_and_digits_stand_beside_their_controls(result, ring_run, scored):
    floor, controls = result["floor"], result["controls"]
    assert controls.keys() == {"mean", "blurred"}
    for control in controls.values():
        assert control["w1"] > 1.3 * floor["w1"] and control["closer"] < 0.1
        assert control["sliced_w1"] > 5 * floor["sliced_w1"]
    ring = scored(ring_run, "--samples=500")
    assert not ring["notes"] and ring["controls"].keys() == {"mean"}
    assert ring["controls"]["mean"]["w1"] == pytest.approx(1, abs=0.01)  # the ring's radius


def test_the_mean_digit_is_as_far_as_digits_are_from_it(result):
    digits = data.load("digits")
    train, test = (np.asarray(data.to_float(x)).reshape(len(x), -1) for x in digits[1:3])
    distance = np.linalg.norm(test - train.mean(axis=0), axis=1).mean()
    assert result["controls"]["mean"]["w1"] == pytest.approx(distance, rel=1e-5)


def test_blurring_keeps_colours_and_shape_and_little_else():
    images = np.random.RandomState(0).normal(size=(3, 32, 64, 2)) + [5, -5]
    blurred = controls.blur(images)
    # White noise is left with 1/√(4π·4·8) = 0.05, and up to twice as much at edges.
    assert blurred.shape == images.shape and blurred.std(axis=(1, 2)).max() < 0.15
    np.testing.assert_allclose(blurred.mean(axis=(1, 2)), [[5, -5]] * 3, atol=0.2)


def test_the_picture_shows_samples_beside_their_neighbours(digits_run, result):
    with Image.open(digits_run / "nearest.png") as picture:
        assert picture.width > 1000 and np.asarray(picture.convert("L")).std() > 50
    digits, ring = data.load("digits"), data.load("ring8")
    copies = exam.draw_neighbours(data.to_float(digits.test), digits.test, "bce on digits")
    left, right = split_picture(copies)
    assert abs(left.mean() - right.mean()) < 2
    left, right = split_picture(
        exam.draw_neighbours(-np.ones((36, 8, 8, 1)), digits.test, "bce on digits")
    )
    assert right.mean() - left.mean() > 30
    points = exam.draw_neighbours(ring.test[:50], ring.train[:50], "bce on ring8")
    with Image.open(io.BytesIO(points)) as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def split_picture(png):
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.asarray(picture.convert("L"), float)
    return pixels[50:-50, 50 : pixels.shape[1] // 2 - 50], pixels[
        50:-50, pixels.shape[1] // 2 + 50 : -50
    ]


def test_neighbours_are_the_same_in_blocks():
    random = np.random.default_rng(0)
    x, train = random.normal(size=(30, 5)), np.float32(random.normal(size=(101, 5)))
    _, whole = metrics.nearest_neighbours(x, train)
    for block in (7, 50, 1000):
        np.testing.assert_array_equal(scorer.find_nearest(x, train, block), whole)


def test_stacked_digits_are_classified_channel_by_channel(monkeypatch):
    digits = data.load("digits")
    monkeypatch.setattr(data, "load", lambda *arguments, **settings: digits)
    images = np.concatenate([digits.test[:100], digits.test[100:200], digits.test[200:300]], -1)
    labels = np.zeros(100, np.int32)
    judge = scorer.make_judge(
        data.Dataset("stacked_mnist", images, images, labels, labels), None, None
    )
    features, classes, probabilities = judge.look(images)
    assert judge.classes == 1000 and judge.reference is None and probabilities is None
    single = classifier.load(digits)(digits.test[:300])
    parts = single.probabilities.argmax(axis=1).reshape(3, 100)
    np.testing.assert_array_equal(classes, parts.T @ [100, 10, 1])
    np.testing.assert_allclose(
        features, np.concatenate(np.split(single.features, 3), axis=1), rtol=1e-5, atol=1e-5
    )


def test_how_many_samples_are_scored():
    image, point = np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2), np.float32)

    def count(name, example, train, test, asked=None):
        sets = (np.broadcast_to(example, (n, *example.shape[1:])) for n in (train, test))
        return evaluate.count_samples(asked, data.Dataset(name, *sets))

    assert count("mnist", image, 60_000, 10_000) == 10_000
    assert count("large", image, 60_000, 20_000) == 10_000
    assert count("digits", image, 1437, 360) == 360
    assert count("stacked_mnist", image, 128_000, 26_000) == 26_000
    assert count("ring8", point, 100_000, 10_000) == 25_000
    assert count("digits", image, 1437, 360, asked=1437) == 1437


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--workdir"]),
        (["--workdir=nowhere"], ["nowhere holds no run"]),
        (["--workdir=RUN", "--samples=1"], ["--samples must be from 2 to 1437", "got 1"]),
        (["--workdir=RUN", "--samples=1438"], ["--samples must be from 2 to 1437", "got 1438"]),
        (["--workdir=RUN", "--samples=many"], ["--samples", "many"]),
        (["--workdir=RUN", "--sample=5"], ["--sample=5"]),
        (["--workdir=RUN", f"--seed={2**64}"], ["--seed", "4294967295", str(2**64)]),
    ],
)
def test_bad_input_is_one_line(arguments, words, digits_run, capsys):
    assert evaluate.main([a.replace("RUN", str(digits_run)) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    assert error.startswith("evaluate.py: ")
    for word in words:
        assert word in error


@pytest.mark.slow
def test_images_that_are_not_square_keep_their_shape(tmp_path, monkeypatch):
    """64 numbers are as well 8 by 8."""
    digits = data.load("digits")
    wide = [images.reshape(-1, 4, 16, 1) for images in (digits.train, digits.test)]
    monkeypatch.setattr(data, "load", lambda *a, **k: data.Dataset("digits", *wide))
    shapes, draw = [], Run.sample

    def draw_and_tell(*arguments):
        samples = draw(*arguments)
        shapes.append(samples.shape)
        return samples

    small = ["--width=8", "--depth=1", "--latent-dim=4", "--batch-size=8", "--parallel=jit"]
    assert not train.main(["--loss=wgan", "--steps=1", *small, f"--workdir={tmp_path}"])
    monkeypatch.setattr(Run, "sample", draw_and_tell)
    assert not evaluate.main([f"--workdir={tmp_path}", "--samples=20"])
    assert shapes == [(20, 4, 16, 1)]


def test_samples_that_are_not_finite_are_refused_by_seed(ring_run, monkeypatch, capsys):
    monkeypatch.setattr(Run, "sample", lambda run, key, n, index, labels: np.full((n, 2), np.nan))
    assert evaluate.main([f"--workdir={ring_run}"]) == 2
    assert "the samples of seed 3 are not finite" in capsys.readouterr().err


def test_numbers_that_json_cannot_hold_become_null():
    tree = {"a": [1.5, math.inf], "b": {"c": math.nan, "d": None, "e": "f"}}
    assert exam.clean(tree) == {"a": [1.5, None], "b": {"c": None, "d": None, "e": "f"}}


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (2,)])
def test_whatever_plots_can_draw_has_a_picture_of_its_neighbours(shape):
    assert plots.can_draw(shape)
    x = np.random.RandomState(0).uniform(-1, 1, (40, *shape)).astype("float32")
    picture = exam.draw_neighbours(x, -x, "noise")
    assert np.asarray(Image.open(io.BytesIO(picture)).convert("L")).std() > 5
