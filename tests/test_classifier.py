import jax
import numpy as np
import pytest

from jaxgan import data, places
from jaxgan.metrics import classifier

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return data.load("digits", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(digits):
    """With few steps."""
    return classifier.train(digits, steps=100)


@pytest.fixture
def cache(tmp_path, monkeypatch, trained):
    """An empty cache, and training that takes no time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(classifier, "train", lambda dataset, steps: trained)
    return tmp_path / "jaxgan" / "classifiers"


def refuse_to_train(*arguments, **settings):
    raise AssertionError("trained again")


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_it_gets_most_held_out_digits_right_soon(trained, digits):
    assert trained.test_accuracy >= 0.9
    predicted = trained(digits.test).probabilities.argmax(axis=1)
    assert np.mean(predicted == digits.test_labels) == trained.test_accuracy


@pytest.mark.slow
def test_it_gets_97_percent_of_held_out_digits_right(digits):
    assert classifier.train(digits, steps=500).test_accuracy >= 0.97


@pytest.mark.slow
def test_it_gets_99_percent_of_held_out_mnist_right(real_data):
    mnist = data.load("mnist", real_data("mnist"))
    assert classifier.train(mnist).test_accuracy >= 0.99


def test_outputs_are_features_of_one_unit_and_distributions(trained, digits):
    features, probabilities = trained(digits.train)
    assert features.shape == (1437, classifier.FEATURES) and probabilities.shape == (1437, 10)
    assert np.mean(features**2) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_bytes_and_floats_are_one_image(trained, digits):
    assert_same(trained(digits.test), trained(data.to_float(digits.test)))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 48, 3), (5, 20, 1)])
def test_images_of_any_size_are_classified(shape):
    images = jax.ShapeDtypeStruct((10, *shape), np.float32)
    network = classifier.Network(classes=3)
    (features, logits), variables = jax.eval_shape(network.init_with_output, KEY, images)
    assert features.shape == (10, classifier.FEATURES) and logits.shape == (10, 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) < 10**6


def test_shifts_move_images_by_up_to_a_twelfth_and_repeat_their_edges():
    rows = np.arange(24.0)
    images = np.broadcast_to(rows[:, None, None], (200, 24, 24, 1))
    shifted = np.asarray(classifier._shift(KEY, images))
    moves = {tuple(image[:, 0, 0]) for image in shifted}
    assert moves == {tuple(np.clip(rows + move, 0, 23)) for move in (-2, -1, 0, 1, 2)}


# The cache -----------------------------------------------------------------------------------


def test_a_classifier_is_trained_once_and_kept(cache, digits, monkeypatch):
    lines = []
    first = classifier.load(digits, lines.append)
    assert "training a classifier on the labels of digits" in lines[0]
    (path,) = cache.iterdir()
    assert path.name.startswith("digits-v") and path.suffix == ".npz"
    with np.load(path, allow_pickle=False) as file:
        assert '"test_accuracy": ' in file["about"].item()

    monkeypatch.setattr(classifier, "train", refuse_to_train)
    again = classifier.load(digits, refuse_to_train)
    assert again.test_accuracy == first.test_accuracy and again.classes == 10
    assert_same(again(digits.test), first(digits.test))


def test_other_pixels_or_labels_have_another_classifier(digits):
    relabelled = digits._replace(train_labels=digits.train_labels[::-1])
    redrawn = digits._replace(train=255 - digits.train)
    reshaped = digits._replace(test=digits.test.reshape(360, 4, 16, 1))
    sets = (digits, relabelled, redrawn, reshaped)
    assert len({data.fingerprint(dataset) for dataset in sets}) == 4
    assert data.fingerprint(digits) == data.fingerprint(digits._replace(name="d"))


@pytest.mark.parametrize("damage", [b"", b"not a zip file", None])
def test_a_damaged_file_is_made_anew(cache, digits, damage):
    classifier.load(digits, lambda line: None)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    lines = []
    classifier.load(digits, lines.append)
    assert "cannot read" in lines[0] and "training" in lines[1]
    assert classifier.load(digits, refuse_to_train).classes == 10


def test_where_nothing_can_be_kept_it_is_trained_and_told(cache, digits):
    cache.parent.touch()
    lines = []
    assert classifier.load(digits, lines.append).classes == 10
    assert "cannot keep it" in lines[-1]


def test_an_interrupted_write_leaves_nothing_behind(cache, digits, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(places.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        classifier.load(digits, lambda line: None)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("name", ["ring8", "swissroll"])
def test_points_and_what_has_no_labels_are_refused(name):
    with pytest.raises(ValueError, match=f"needs labelled images, and {name} has none"):
        classifier.load(data.load(name))


# The score -----------------------------------------------------------------------------------


def test_certain_and_evenly_spread_scores_the_number_of_classes():
    assert classifier.classifier_score(np.eye(10)) == pytest.approx(10)


def test_one_class_for_all_or_no_certainty_scores_one():
    assert classifier.classifier_score(np.eye(10)[[3] * 20]) == pytest.approx(1)
    assert classifier.classifier_score(np.full((20, 10), 0.1)) == pytest.approx(1)


def test_certain_of_j_classes_scores_j():
    assert classifier.classifier_score(np.eye(10)[[1, 2, 5, 1, 2, 5]]) == pytest.approx(3)


def test_what_is_no_distribution_is_refused():
    for bad in (np.ones((3, 2)), np.eye(3)[0], np.empty((0, 3)), [[np.nan, 1]]):
        with pytest.raises(ValueError):
            classifier.classifier_score(bad)
