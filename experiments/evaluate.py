"""Scores a run: `python experiments/evaluate.py --workdir=runs/digits-wgan-0`.

Writes `evaluation.json` and `nearest.png` into the run's folder, and prints the former. Every
score stands beside its floor: what as many training examples score in the samples' place.
"""

import dataclasses
import importlib.metadata
import io
import json
import math
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from command_line import check_seed, one_line_errors, set_up
from etils import epath
from sample import draw

from jaxgan import checkpoint, classifier, data, divergences, metrics, plots, trained
from jaxgan import config as configs
from jaxgan.data import Dataset
from jaxgan.trained import Trained

# Exact transport and searches among neighbours take time that grows with the square of these.
TRANSPORT_POINTS = 2_500
NEIGHBOUR_POINTS = 2_500
DISTANCE_POINTS = 10_000
MODE_POINTS = 2_500  # among which a mode is covered: VEEGAN, PacGAN
PROJECTIONS = 512
NEIGHBOURS = 5  # of the manifolds: Naeem 2020


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Score a trained GAN against the held-out examples of its data set."""

    workdir: str
    """The run's folder."""
    samples: int | None = None
    """How many samples to score; by default 25,000 of points, 26,000 of stacked_mnist, as the
    papers have it, and otherwise as many as there are held-out images, up to 10,000."""
    seed: int = 0
    """Of the latents, of the directions of the sliced distance, and of the examples in the floor;
    of several runs the latents differ."""
    ema: bool = True
    """Score the averaged generator; with --no-ema the one trained last."""
    data_dir: str | None = None
    """Where data sets are; by default where the run had them."""


class Judge(NamedTuple):
    """What a data set's classifier says of images: of each, its features and its class.

    Attributes:
      look: images to features `[n, d]`, classes `[n]`, and probabilities `[n, K]` or None.
      reference: how frequent the classes are in the data, `[K]`; None for uniform.
      classes: how many there are, K.
      about: for the protocol.
    """

    look: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | None]]
    reference: np.ndarray | None
    classes: int
    about: dict


def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 130 if interrupted."""
    try:
        with one_line_errors():
            options = tyro.cli(Arguments, args=arguments, prog="evaluate.py")
        check_seed(options.seed)
        folder = epath.Path(options.workdir)
        run = trained.load(folder)
        config = run.config
        data_dir = options.data_dir or config.data_dir
        dataset = data.load(config.dataset, data_dir, image_size=config.image_size)
        n = count_samples(options.samples, dataset)
        evaluation, picture = evaluate(run, dataset, n, options, data_dir)
        evaluation["notes"] += note_on_data(folder, evaluation["protocol"]["data"])
        text = json.dumps(evaluation, indent=2) + "\n"
        configs.write_whole(folder / "evaluation.json", text)
        (folder / "nearest.png").write_bytes(picture)
    except (ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluate.py: interrupted", file=sys.stderr)
        return 130
    print(f"samples beside their nearest training examples: {folder / 'nearest.png'}")
    print(json.dumps(evaluation))  # on one line, the last
    return 0


def note_on_data(folder: epath.Path, fingerprint: str) -> list[str]:
    """A note where the data are not those that the run was trained on."""
    path = folder / "summary.json"
    known = configs.read_json(path).get("data") if path.exists() else None
    if known in (None, fingerprint):
        return []
    note = (
        f"the data are others now, {fingerprint}, than those that the run was trained on, {known}: "
        "what is held out here may have been trained on"
    )
    print(f"evaluate.py: {note}", file=sys.stderr)
    return [note]


def count_samples(asked: int | None, dataset: Dataset) -> int:
    """How many samples to score.

    Raises:
      ValueError: if so many are asked for that the floor cannot have as many.
    """
    held_out, train = len(dataset.test), len(dataset.train)
    if asked is not None:
        if not 2 <= asked <= train:
            raise ValueError(
                f"--samples must be from 2 to {train}, the number of training examples of "
                f"{dataset.name}, as many of which make the floor; got {asked}"
            )
        return asked
    if dataset.name == "stacked_mnist":
        return 26_000
    if dataset.train.ndim == 2:
        return 25_000  # a perfect generator's reverse KL over 25 modes is 0.0005, not 0.005
    return min(10_000, held_out, train)


def evaluate(
    run: Trained, dataset: Dataset, n: int, options: Arguments, data_dir: str | None
) -> tuple[dict, bytes]:
    """Scores n samples of each seed, and as many training examples.

    Returns:
      What `evaluation.json` holds, and a PNG of samples with their nearest training examples.

    Raises:
      ValueError: if samples are not finite.
    """
    config = run.config
    run = run if options.ema else run.without_average()
    key, directions = jax.random.split(jax.random.key(options.seed))
    judge = make_judge(dataset, data_dir, config.image_size)
    score = Scorer(dataset, judge, directions)

    random = np.random.RandomState(options.seed % 2**32)  # the same under every numpy
    chosen = random.permutation(len(dataset.train))[:n]
    floor = score(np.asarray(data.to_float(dataset.train[chosen])))

    seeds = [config.seed + index for index in range(config.num_seeds)]
    scores, picture = [], b""
    for index, seed in enumerate(seeds):
        x = draw(run, jax.random.fold_in(key, seed), n, index)
        if not np.isfinite(x).all():
            raise ValueError(f"the samples of seed {seed} are not finite: its training diverged")
        memorisation, neighbours = score.copies(x)
        scores.append(score(x) | {"memorisation": memorisation._asdict()})
        picture = picture or draw_neighbours(x, neighbours, dataset)
    summary: dict = {"scores": scores[0]}
    if len(seeds) > 1:
        summary = {
            "scores": combine(mean, scores),
            "standard_error": combine(standard_error, scores),
            "scores_of_seeds": scores,
        }
    evaluation = {
        "dataset": config.dataset,
        "loss": config.loss,
        "seeds": seeds,
        "step": run.step,
        **summary,
        "floor": floor,
        "protocol": {
            "samples": n,
            "seed": options.seed,
            "data": data.fingerprint(dataset),
            "generator": "last" if run.state.ema is None else "averaged",
            **score.protocol(n),
        },
        "notes": list(score.notes),
        "versions": versions(),
    }
    return clean(evaluation), picture


class Scorer:
    """Scores samples against held-out examples.

    Attributes:
      notes: which scores there are too few samples for, and why.
    """

    def __init__(self, dataset: Dataset, judge: Judge | None, directions: jax.Array):
        self._dataset, self._judge, self._directions = dataset, judge, directions
        self._real = np.asarray(data.to_float(dataset.test[:DISTANCE_POINTS]))
        self._real_features = None if judge is None else judge.look(self._real)[0]
        self._held_out = self._real[:NEIGHBOUR_POINTS]
        self._near_held_out = find_nearest(self._held_out, dataset.train)
        self.notes: dict[str, None] = {}  # an ordered set

    def __call__(self, x: np.ndarray) -> dict:
        """The scores of x, by name."""
        few = x[:TRANSPORT_POINTS], self._real[:TRANSPORT_POINTS]
        more = x[:DISTANCE_POINTS], self._real
        sliced = metrics.sliced_wasserstein(*more, self._directions, PROJECTIONS)
        return {
            **self._score_modes(x),
            **self._score_classes(x),
            "w1": float(metrics.earth_movers_distance(*few)),
            "sliced_w1": float(sliced),
        }

    def copies(self, x: np.ndarray) -> tuple[metrics.Memorisation, np.ndarray]:
        """How near samples are to the training set, and the nearest training example of each."""
        x, train = x[:NEIGHBOUR_POINTS], self._dataset.train
        near_x = find_nearest(x, train)
        # The neighbours are all that the score needs of a training set that may be large.
        needed = np.unique(np.concatenate([near_x, self._near_held_out]))
        nearest = np.asarray(data.to_float(train[needed]))
        return metrics.memorisation(x, nearest, self._held_out), train[near_x]

    def protocol(self, n: int) -> dict:
        """How n samples are scored."""
        real, held_out = len(self._real), len(self._dataset.test)
        images = self._dataset.train.ndim == 4
        protocol = {
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
        return protocol

    def _score_modes(self, x):
        if self._dataset.modes is None or self._dataset.sigma is None:
            return {}
        few, score = (
            metrics.mode_score(points, self._dataset.modes, self._dataset.sigma)
            for points in (x[:MODE_POINTS], x)
        )
        return {
            "modes_covered": int(few.covered),
            "high_quality": float(score.high_quality),
            "reverse_kl": float(score.reverse_kl),
            "reverse_kl_pacgan": float(metrics.reverse_kl(few.near)),
            "histogram": np.asarray(score.histogram, int).tolist(),
        }

    def _score_classes(self, x):
        if self._judge is None:
            return {}
        features, labels, probabilities = self._judge.look(x)
        histogram = np.bincount(labels, minlength=self._judge.classes)
        scores = {
            "modes_covered": int(np.count_nonzero(histogram)),
            "reverse_kl": float(metrics.reverse_kl(histogram, self._judge.reference)),
            "entropy": max(0.0, float(divergences.entropy(histogram / len(x)))),
        }
        if self._judge.classes <= 100:
            scores["histogram"] = histogram.tolist()
        if probabilities is not None:
            scores["classifier_score"] = classifier.classifier_score(probabilities)
        fake, real = features[:DISTANCE_POINTS], self._real_features
        manifold = metrics.precision_recall_density_coverage
        return scores | {
            "frechet_classifier": self._attempt(metrics.frechet_distance, fake, real),
            "kernel_classifier": self._attempt(metrics.kernel_distance, fake, real),
            "manifold_classifier": self._attempt(manifold, real, fake, NEIGHBOURS),
        }

    def _attempt(self, score, *arguments):
        """None, and a note, where there are too few samples for a score."""
        try:
            value = score(*arguments)
        except ValueError as error:
            self.notes[f"no {score.__name__}: {error}"] = None
            return None
        return value if isinstance(value, float) else value._asdict()


def make_judge(dataset: Dataset, data_dir: str | None, image_size: int | None) -> Judge | None:
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
        "parameters": checkpoint.digest(classify.params)[:12],
        "features": classifier.FEATURES * (3 if stacked else 1),
    }

    def look(x):
        outputs = classify(x)
        return outputs.features, outputs.probabilities.argmax(axis=1), outputs.probabilities

    def look_at_channels(x):
        features, digits, _ = zip(*(look(x[..., [channel]]) for channel in range(3)), strict=True)
        return np.concatenate(features, axis=1), np.stack(digits, axis=1) @ [100, 10, 1], None

    if stacked:
        return Judge(look_at_channels, None, classify.classes**3, about)
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    return Judge(look, np.bincount(labels), classify.classes, about)


def find_nearest(x: np.ndarray, train: np.ndarray, block: int = 10_000) -> np.ndarray:
    """The index of each sample's nearest training example, `[n]`."""
    nearest, index = np.full(len(x), np.inf), np.zeros(len(x), int)
    for start in range(0, len(train), block):
        piece = np.asarray(data.to_float(train[start : start + block]))
        distances, found = metrics.nearest_neighbours(x, piece)
        index = np.where(distances < nearest, start + found, index)
        nearest = np.minimum(distances, nearest)
    return index


def draw_neighbours(x: np.ndarray, neighbours: np.ndarray, dataset: Dataset) -> bytes:
    """A PNG of samples and, in the same places, their nearest training examples."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.3) if x.ndim == 4 else (6, 6.4), dpi=120, layout="constrained")
    if x.ndim == 4:
        for axes, images, title in zip(
            figure.subplots(1, 2),
            (x, neighbours),
            ("samples", "their nearest training examples"),
            strict=True,
        ):
            axes.imshow(plots.image_grid(data.to_uint8(images[:36])).squeeze(), cmap="gray")
            axes.set_title(title)
            axes.set_axis_off()
    else:
        axes, few = figure.subplots(), 200
        ends = np.stack([x[:few], neighbours[:few]], axis=1)
        axes.add_collection(LineCollection(list(ends), color="0.5", linewidth=0.6))
        for points, label in ((neighbours, "their nearest training points"), (x, "samples")):
            axes.plot(*points[:few].T, ".", markersize=4, label=label)
        axes.set(aspect="equal", title=f"{dataset.name}: {min(few, len(x))} samples")
        figure.legend(loc="outside lower center", ncols=2, markerscale=2, frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def combine(f: Callable[[list], float], scores: list[Any]) -> Any:
    """One value of the seeds' scores, score by score."""
    first = scores[0]
    if isinstance(first, dict):
        return {name: combine(f, [score[name] for score in scores]) for name in first}
    if isinstance(first, list):
        return [combine(f, list(values)) for values in zip(*scores, strict=True)]
    return None if first is None else f(scores)


def mean(values: list) -> float:
    """Over seeds."""
    return float(np.mean(values))


def standard_error(values: list) -> float:
    """Of the mean over seeds."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def clean(tree: Any) -> Any:
    """None for numbers that JSON cannot hold."""
    if isinstance(tree, Mapping):
        return {name: clean(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [clean(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    names = ("jaxgan", "jax", "jaxlib", "flax", "numpy", "POT")
    return {
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        **{name: importlib.metadata.version(name) for name in names},
    }


if __name__ == "__main__":
    set_up()
    sys.exit(main(sys.argv[1:]))
