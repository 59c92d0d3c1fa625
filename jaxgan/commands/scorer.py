"""Scores of samples: against held-out examples, by modes, and in a classifier's features."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import data, divergences, metrics
from jaxgan.commands import withheld
from jaxgan.data import Dataset
from jaxgan.metrics import classifier
from jaxgan.metrics.controls import blur
from jaxgan.metrics.inception_scores import BLOCKS, NEIGHBOURS
from jaxgan.training.checkpoints import pack

# Exact transport and searches among neighbours take time that grows with the square of these.
TRANSPORT_POINTS = 2_500
NEIGHBOUR_POINTS = 2_500
DISTANCE_POINTS = 10_000
MODE_POINTS = 2_500  # among which a mode is covered: VEEGAN, PacGAN
PROJECTIONS = 512
MOST_CLASSES = 100  # that are listed one by one


class Judge(NamedTuple):
    """What a data set's classifier says of images: of each, its features and its class.

    Attributes:
      look: images to features `[n, d]`, classes `[n]`, and probabilities `[n, K]` or None.
      reference: how frequent the classes are in the data, `[K]`; None for uniform.
      classes: how many there are, K.
      held_out: the classes of the held-out examples.
      about: for the protocol.
    """

    look: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]
    reference: np.ndarray | None
    classes: int
    held_out: np.ndarray
    about: dict


class Scorer:
    """Scores n samples against held-out examples.

    Args:
      asked: the classes that the samples are asked for, `[n]`; None without classes.

    Attributes:
      withheld: scores that cannot tell good samples from bad ones here, and so are None, each with
        a line that says why.
    """

    def __init__(
        self,
        dataset: Dataset,
        judge: Judge | None,
        directions: jax.Array,
        n: int,
        asked: np.ndarray | None = None,
    ):
        self._dataset, self._judge, self._directions = dataset, judge, directions
        self._asked = asked
        self._real = np.asarray(data.to_float(dataset.test[:DISTANCE_POINTS]))
        self._real_features, self._real_classes = np.empty((0, 0)), np.empty(0)
        self._real_labels = None
        if judge is not None:
            self._real_features, self._real_classes, _ = judge.look(self._real)
            self._real_labels = judge.held_out[: len(self._real)]
        self._held_out = self._real[:NEIGHBOUR_POINTS]
        self._near_held_out = find_nearest(self._held_out, dataset.train)
        modes = None if dataset.modes is None else len(dataset.modes)
        self.withheld = withheld.too_few(
            n,
            len(self._real),
            modes if judge is None else judge.classes,
            None if judge is None else judge.about["features"],
            asked,
            self._real_labels,
        )

    def __call__(self, x: np.ndarray) -> dict:
        """The scores of x, by name."""
        return self._attempt(
            **self._score_modes(x), **self._score_classes(x), **self._score_distances(x)
        )

    def floor(self, x: np.ndarray) -> tuple[dict, dict]:
        """What training examples x score, and what samples do that are known to be bad.

        From here on those scores are withheld that cannot tell the two apart.
        """
        floor, controls = self(x), self._score_controls(x)
        if self._real_labels is not None and self._asked is not None:
            # The classifier knows the examples that it was trained on: those held out are a floor.
            floor |= self._attempt(**score_agreement(self._real_classes, self._real_labels))
        self.withheld |= withheld.fooled(floor, controls)
        return {
            name: None if name in self.withheld else score for name, score in floor.items()
        }, controls

    def copies(self, x: np.ndarray) -> tuple[dict | None, np.ndarray]:
        """How near samples are to the training set, and the nearest training example of each."""
        x, train = x[:NEIGHBOUR_POINTS], self._dataset.train
        near_x = find_nearest(x, train)
        # The neighbours are all that the score needs of a training set that may be large.
        needed = np.unique(np.concatenate([near_x, self._near_held_out]))

        def score():
            nearest = np.asarray(data.to_float(train[needed]))
            return metrics.memorisation(x, nearest, self._held_out)

        return self._attempt(memorisation=score)["memorisation"], train[near_x]

    def protocol(self, n: int) -> dict:
        """How n samples are scored."""
        real, held_out = len(self._real), len(self._dataset.test)
        images = self._dataset.train.ndim == 4
        protocol: dict[str, Any] = {
            "against": f"the first {real:,} of {held_out:,} held-out examples",
            "floor": f"{n:,} random training examples in the samples' place",
            "distance": "Euclidean" + (", pixels in [-1, 1]" if images else ""),
            "w1": f"exact, {min(n, TRANSPORT_POINTS):,} samples against "
            f"{min(real, TRANSPORT_POINTS):,} held-out examples",
            "sliced_w1": f"{PROJECTIONS} directions, {min(n, DISTANCE_POINTS):,} samples against "
            f"{real:,} held-out examples",
            "memorisation": f"{min(n, NEIGHBOUR_POINTS):,} samples and "
            f"{min(held_out, NEIGHBOUR_POINTS):,} held-out examples among all "
            f"{len(self._dataset.train):,} training examples",
        }
        if self._dataset.modes is not None:
            protocol["modes"] = len(self._dataset.modes)
            protocol["modes_covered"] = f"by the first {min(n, MODE_POINTS):,} samples"
            protocol["reverse_kl"] = f"of all {n:,} samples by their nearest mode"
            protocol["reverse_kl_pacgan"] = (
                f"of those of the first {min(n, MODE_POINTS):,} that are of high quality"
            )
        if self._judge is not None:
            protocol["modes"] = self._judge.classes
            protocol["manifold_classifier"] = f"{NEIGHBOURS} neighbours"
            protocol["classifier"] = self._judge.about
        if self._asked is not None:
            protocol["labels"] = "those of the floor's training examples"
        return protocol

    def _score_controls(self, x):
        """Scores the mean example; and x blurred, or held-out examples that copy nothing."""
        mean = np.asarray(data.to_float(self._dataset.train[:DISTANCE_POINTS])).mean(axis=0)[None]
        bad = {"mean": (mean, mean)}
        if x.ndim == 4:
            bad["blurred"] = blur(x[:DISTANCE_POINTS]), blur(self._held_out)
        controls = {}
        for name, (samples, no_copies) in bad.items():
            copies, _ = self.copies(no_copies)
            controls[name] = self._attempt(**self._score_distances(samples))
            controls[name]["closer"] = copies and copies["closer"]
        return controls

    def _score_distances(self, x):
        few = x[:TRANSPORT_POINTS], self._real[:TRANSPORT_POINTS]
        more = x[:DISTANCE_POINTS], self._real
        return {
            "w1": lambda: metrics.earth_movers_distance(*few),
            "sliced_w1": lambda: metrics.sliced_wasserstein(*more, self._directions, PROJECTIONS),
        }

    def _score_modes(self, x):
        if self._dataset.modes is None or self._dataset.sigma is None:
            return {}
        few, score = (
            metrics.mode_score(points, self._dataset.modes, self._dataset.sigma)
            for points in (x[:MODE_POINTS], x)
        )
        agreement = {}
        if self._asked is not None:
            _, nearest = metrics.nearest_neighbours(x, self._dataset.modes)
            agreement = score_agreement(np.asarray(nearest), self._asked)
        return agreement | {
            "modes_covered": lambda: int(few.covered),
            "high_quality": lambda: score.high_quality,
            "reverse_kl": lambda: score.reverse_kl,
            "reverse_kl_pacgan": lambda: metrics.reverse_kl(few.near),
            "histogram": lambda: np.asarray(score.histogram, int).tolist(),
        }

    def _score_classes(self, x):
        if self._judge is None:
            return {}
        features, labels, probabilities = self._judge.look(x)
        classes, reference = self._judge.classes, self._judge.reference
        histogram = np.bincount(labels, minlength=classes)
        fake, real = features[:DISTANCE_POINTS], self._real_features
        manifold = metrics.precision_recall_density_coverage
        scores: dict[str, Callable] = {
            "modes_covered": lambda: int(np.count_nonzero(histogram)),
            "reverse_kl": lambda: metrics.reverse_kl(histogram, reference),
            "entropy": lambda: max(0.0, float(divergences.entropy(histogram / len(x)))),
        }
        if classes <= MOST_CLASSES:
            scores["histogram"] = histogram.tolist
        if probabilities is not None:
            scores["classifier_score"] = lambda: classifier.classifier_score(probabilities)
        if self._asked is not None:
            scores |= self._score_each_class(fake, labels, self._asked)
        return scores | {
            "frechet_classifier": lambda: metrics.frechet_distance(fake, real),
            "kernel_classifier": lambda: metrics.kernel_distance(fake, real, BLOCKS),
            "manifold_classifier": lambda: manifold(real, fake, NEIGHBOURS),
        }

    def _score_each_class(self, features, found, asked):
        """How often the classifier finds the class asked for, and distances within each class."""
        fake_labels, real_labels = asked[: len(features)], self._real_labels
        scores, classes = score_agreement(found, asked), np.unique(asked)

        def frechet(k):
            fake, real = features[fake_labels == k], self._real_features[real_labels == k]
            return metrics.frechet_distance(fake, real)

        if len(classes) <= MOST_CLASSES:
            scores["frechet_by_class"] = lambda: {str(k): frechet(k) for k in classes}
        return scores

    def _attempt(self, **scores: Callable) -> dict:
        """Scores as JSON has them; None, and nothing computed, of those withheld."""
        return {
            name: None if name in self.withheld else to_json(score())
            for name, score in scores.items()
        }


def score_agreement(found: np.ndarray, asked: np.ndarray) -> dict[str, Callable]:
    """How often the class found is the one asked for, in all and by class."""
    right, classes = found == asked, np.unique(asked)
    scores: dict[str, Callable] = {"agreement": lambda: np.mean(right)}
    if len(classes) <= MOST_CLASSES:
        scores["agreement_by_class"] = lambda: {str(k): np.mean(right[asked == k]) for k in classes}
    return scores


def to_json(value: Any) -> Any:
    """A score as JSON has it."""
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, dict):
        return {name: float(score) for name, score in value.items()}
    return value if isinstance(value, int | list) else float(value)


def make_judge(
    dataset: Dataset, data_dir: str | None, image_size: int | str | None
) -> Judge | None:
    """The classifier of a labelled set of images; of stacked_mnist MNIST's, channel by channel."""
    if dataset.train.ndim != 4 or dataset.train_labels is None or dataset.test_labels is None:
        return None
    stacked = dataset.name == "stacked_mnist"
    learned = data.load("mnist", data_dir, image_size=image_size) if stacked else dataset
    classify = classifier.load(learned)
    about = {
        "trained_on": f"labels of {learned.name}",
        "test_accuracy": classify.test_accuracy,
        "version": classifier.VERSION,
        "parameters": hashlib.sha256(pack(classify.params)).hexdigest()[:12],
        "features": classifier.FEATURES * (3 if stacked else 1),
    }

    def look(x):
        outputs = classify(x)
        return outputs.features, outputs.probabilities.argmax(axis=1), outputs.probabilities

    def look_at_channels(x):
        features, digits, _ = zip(*(look(x[..., [channel]]) for channel in range(3)), strict=True)
        return np.concatenate(features, axis=1), np.stack(digits, axis=1) @ [100, 10, 1], None

    if stacked:
        return Judge(look_at_channels, None, classify.classes**3, dataset.test_labels, about)
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    return Judge(look, np.bincount(labels), classify.classes, dataset.test_labels, about)


def find_nearest(x: np.ndarray, train: Any, values: int = 2**25) -> np.ndarray:
    """The index of each sample's nearest training example, `[n]`; so many values are read at once.

    A set on disk is never in memory whole.
    """
    nearest, index = np.full(len(x), np.inf), np.zeros(len(x), int)
    block = max(1, min(10_000, values // max(1, math.prod(train.shape[1:]))))
    for start in range(0, len(train), block):
        piece = np.asarray(data.to_float(train[start : start + block]))
        distances, found = metrics.nearest_neighbours(x, piece)
        index = np.where(distances < nearest, start + found, index)
        nearest = np.minimum(distances, nearest)
    return index
