"""FID, KID, MIND, precision and recall: what Inception sees, and how evaluate.py quotes it."""

import json

import jax
import numpy as np
import ot
import pytest

from jaxgan import data, metrics
from jaxgan.commands import evaluate, inception_scorer, train
from jaxgan.metrics import classifier, inception_scores, inception_weights
from jaxgan.metrics.inception import Inception, Outputs
from jaxgan.metrics.inception_scores import Seen

FEATURES = 8
KEY = jax.random.key(0)


class Network:
    """A network of eight features, in Inception's place, which counts the images that it sees."""

    sha256 = "0" * 64

    def __init__(self):
        self.seen = 0

    def __call__(self, pixels):
        self.seen += len(pixels)
        x = np.asarray(data.to_float(pixels)).reshape(len(pixels), -1)
        matrix = np.random.RandomState(0).normal(size=(x.shape[1], FEATURES)) / 8
        return Outputs((x @ matrix).astype(np.float32), None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def network(monkeypatch):
    """Stands for the weights in any file."""
    network = Network()
    monkeypatch.setattr(inception_weights, "load", lambda path=None: network)
    monkeypatch.setattr(inception_scorer, "FEATURES", FEATURES)
    monkeypatch.setattr(classifier, "STEPS", 30)
    return network


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    small = ["--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16", "--parallel=jit"]
    assert not train.main(["--loss=wgan", "--steps=4", *small, f"--workdir={folder}"])
    return folder


def gaussian(n, seed=0):
    return np.random.RandomState(seed).normal(size=(n, FEATURES)).astype(np.float32)


def seen(x, shape=(8, 8, 1)):
    return Seen(metrics.moments([x]), x, shape)


def test_a_shift_has_its_square_as_fid_and_three_times_that_as_mind():
    x, t = gaussian(1000), np.arange(FEATURES, dtype=np.float32) / 8
    scores = inception_scores.compare(seen(x + t), seen(x), KEY)
    squared = float(t @ t)
    assert scores.fid == pytest.approx(squared, rel=1e-5)
    # Over directions θ ⟨θ, t⟩² is |t|²/d times a χ²-like ratio, of variance about 2.
    assert scores.mind == pytest.approx(3 * squared, rel=4 * (2 / 1000) ** 0.5)
    same = inception_scores.compare(seen(x), seen(x), KEY)
    assert (same.mind, same.manifold.precision, same.manifold.recall) == (0, 1, 1)
    assert abs(same.fid) < 1e-9 and same.kid.value < scores.kid.value


def test_mind_is_that_of_pot_on_the_same_directions_for_sets_of_any_sizes():
    x, y = gaussian(300), 2 * gaussian(200, seed=1)
    directions = np.array(jax.random.normal(KEY, (FEATURES, 50)))
    directions /= np.linalg.norm(directions, axis=0)
    theirs = ot.sliced_wasserstein_distance(x, y, projections=directions, p=2) ** 2
    ours = float(metrics.monge_distance(x, y, KEY, projections=50))
    assert ours == pytest.approx(3 * FEATURES * theirs, rel=1e-5)


def test_too_few_features_for_a_covariance_have_no_fid_but_the_rest():
    few = seen(gaussian(FEATURES + 12)), seen(gaussian(1000, seed=1))
    assert inception_scores.compare(*few, KEY).fid is not None
    few = Seen(few[0].moments._replace(n=FEATURES), *few[0][1:]), few[1]
    scores = inception_scores.compare(*few, KEY)
    assert scores.fid is None and np.isfinite(scores.mind)


def test_images_of_other_sizes_are_refused():
    x = gaussian(100)
    with pytest.raises(ValueError, match=r"\(8, 8, 1\).*\(16, 8, 1\).*Resize one"):
        inception_scores.compare(seen(x), seen(x, (16, 8, 1)), KEY)


def test_a_set_is_looked_at_in_pieces_of_which_few_features_are_kept(monkeypatch):
    monkeypatch.setattr(inception_scores, "KEPT", 30)
    monkeypatch.setattr(inception_scores, "_CHUNK", 20)
    pixels = data.load("digits").test[:70]
    found, features = inception_scores.look(Network(), pixels), Network()(pixels).features
    # From first to last, since folders come class by class.
    np.testing.assert_array_equal(
        found.features, features[np.linspace(0, 69, 30).round().astype(int)]
    )
    whole = metrics.moments([features])
    assert found.moments.n == 70 and found.shape == (8, 8, 1)
    np.testing.assert_allclose(found.moments.mean, whole.mean, atol=1e-7)
    np.testing.assert_allclose(found.moments.scatter, whole.scatter, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="n being at least 1"):
        inception_scores.look(Inception({}, ""), pixels[:0])


def test_what_was_seen_is_kept_by_name_and_weights_and_made_anew_if_damaged(tmp_path, capsys):
    network, pixels = Network(), data.load("digits").test[:40]
    first = inception_scores.look_once(network, pixels, "a")
    again = inception_scores.look_once(network, pixels, "a")
    assert network.seen == 40 and again.shape == first.shape
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    inception_scores.look_once(network, pixels, "b")
    network.sha256 = "1" * 64
    inception_scores.look_once(network, pixels, "a")
    assert network.seen == 120
    for file in (tmp_path / "cache/jaxgan/inception").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    inception_scores.look_once(network, pixels, "b")
    assert network.seen == 160 and not capsys.readouterr().out


def test_a_cache_that_cannot_be_written_costs_a_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert inception_scores.look_once(Network(), data.load("digits").test[:40], "a").moments.n == 40
    assert "cannot keep what Inception saw" in capsys.readouterr().out


@pytest.mark.parametrize("reference", ["held-out", "train"])
def test_evaluate_quotes_the_scores_beside_floors_with_their_protocol(
    digits_run, network, reference, capsys
):
    flags = ["--inception=weights.pth", f"--reference={reference}", f"--workdir={digits_run}"]
    assert evaluate.main(flags) == 0
    result = json.loads((digits_run / "evaluation.json").read_text())
    scores, floor, protocol = (result[part] for part in ("scores", "floor", "protocol"))
    digits = data.load("digits")
    chosen = np.random.RandomState(0).permutation(len(digits.train))[:360]
    real, other = digits.test, digits.train[np.sort(chosen)]
    if reference == "train":
        real, other = digits.train, digits.test
    features = [Network()(x).features for x in (other, real)]
    assert floor["fid"] == pytest.approx(metrics.frechet_distance(*features), rel=1e-4)
    for name in ("fid", "mind"):
        assert 0 < floor[name] < scores[name], name
    assert scores["kid"].keys() == {"value", "standard_error"}
    assert 0 <= scores["manifold_inception"]["recall"] <= 1
    everything = "all 1,437 training" if reference == "train" else "all 360 held-out"
    assert protocol["inception"]["reference"] == f"{everything} examples"
    assert protocol["inception"]["weights"] == network.sha256
    assert "fid of 360 samples is too high, as its floor is" in " ".join(result["notes"])
    table = capsys.readouterr().out
    assert f"fid {'':27}"[:20] in table and "manifold_inception.precision" in table
    # What Inception saw of the data is kept: only new samples are looked at.
    before = network.seen
    assert evaluate.main(flags) == 0
    assert network.seen == before + 360


def test_too_few_samples_have_no_fid_and_very_few_no_scores_of_inception(digits_run, network):
    def notes(*more):
        assert not evaluate.main([f"--workdir={digits_run}", "--inception=weights.pth", *more])
        return json.loads((digits_run / "evaluation.json").read_text())

    inception_scorer.FEATURES = 100
    result = notes("--samples=90")
    assert result["scores"]["fid"] is None is result["floor"]["fid"] and result["scores"]["mind"]
    assert any(n.startswith("no fid: 90 samples where it needs 101") for n in result["notes"])
    seen = network.seen
    result = notes("--samples=20")
    names = {"fid", "kid", "mind", "manifold_inception"}
    assert {result["scores"][name] for name in names} == {None} and network.seen == seen
    assert "inception" not in result["protocol"]


def test_without_weights_a_line_says_what_to_do_where_fid_could_be(digits_run, monkeypatch, capsys):
    def notes(*more):
        assert not evaluate.main([f"--workdir={digits_run}", *more])
        return " ".join(json.loads((digits_run / "evaluation.json").read_text())["notes"])

    monkeypatch.setattr(classifier, "STEPS", 30)
    assert "inception" not in notes()  # of 360 images there is no FID
    monkeypatch.setattr(inception_scorer, "FEATURES", FEATURES)
    assert "--inception=fetch" in notes()
    assert "inception" not in notes("--inception=none")


def test_bad_requests_end_in_a_line(digits_run, tmp_path, network, monkeypatch, capsys):
    def line(*more, folder=digits_run):
        assert evaluate.main([f"--workdir={folder}", *more]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        return error

    assert "--reference=test" in line("--reference=test")
    assert "--reference has no effect" in line("--reference=train")
    flags = ["--dataset=ring8", "--steps=2", "--width=8", "--depth=1", "--parallel=jit"]
    assert not train.main(["--loss=bce", *flags, f"--workdir={tmp_path / 'ring'}"])
    capsys.readouterr()
    assert "Inception looks at grey and colour images" in line(
        "--inception=fetch", folder=tmp_path / "ring"
    )
    monkeypatch.undo()
    assert "there are no weights of Inception in nowhere.pth" in line("--inception=nowhere.pth")
    (tmp_path / "other.pth").write_bytes(b"no weights")
    assert "holds no weights of Inception" in line(f"--inception={tmp_path / 'other.pth'}")
