"""What runs are scored by: the same samples, floor and controls for all runs on a data set."""

import importlib.metadata
import math
import platform
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import data, plots
from jaxgan.commands import withheld
from jaxgan.commands.config import Config
from jaxgan.commands.inception_scorer import InceptionScorer
from jaxgan.commands.scorer import Scorer, make_judge
from jaxgan.data import Dataset
from jaxgan.metrics.inception import Inception
from jaxgan.training import Run, findings
from jaxgan.training.pictures import caption

BEST = (
    "the state of the best score while training is scored, which was chosen by the same held-out "
    "examples: compare it with other best states only"
)


class NotFiniteError(ValueError):
    """Samples are not finite.

    Attributes:
      step: when the run made them.
      seed: whose they are.
    """

    def __init__(self, seed: int, step: int):
        self.step, self.seed = step, seed
        super().__init__(f"the samples of seed {seed} are not finite: its training diverged")


class Exam(NamedTuple):
    """What runs on a data set are scored by.

    Attributes:
      dataset: their data.
      n: how many samples of each seed are scored.
      seed: of their latents, and of the examples in the floor.
      key: of their latents.
      labels: the classes that they are asked for, `[n]`; None without classes.
      scorer: scores them.
      floor: what training examples score in their place.
      controls: what samples do that are known to be bad.
      inception: scores them in Inception's features; None without its weights.
      notes: on how they are scored.
    """

    dataset: Dataset
    n: int
    seed: int
    key: jax.Array
    labels: np.ndarray | None
    scorer: Scorer
    floor: dict
    controls: dict
    inception: InceptionScorer | None
    notes: list[str]


def set_exam(
    dataset: Dataset,
    n: int,
    seed: int,
    config: Config,
    data_dir: str | None = None,
    network: Inception | None = None,
    reference: str = "held-out",
) -> Exam:
    """Scores the floor and the controls for runs with these settings."""
    judge = make_judge(dataset, data_dir, config.image_size)
    print(f"scoring {n:,} samples against {len(dataset.test):,} held-out examples", flush=True)
    random = np.random.RandomState(seed % 2**32)  # the same under every numpy
    chosen = random.permutation(len(dataset.train))[:n]
    # The classes asked for are as frequent as in the data.
    labels = None
    if config.num_classes and dataset.train_labels is not None:
        labels = dataset.train_labels[chosen]
    key, own = jax.random.split(jax.random.key(seed))
    scorer = Scorer(dataset, judge, own, n, labels)
    print("training examples, for the floor", flush=True)
    floor, controls = scorer.floor(np.asarray(data.to_float(dataset.train[chosen])))
    inception, notes = None, []
    if network is not None:
        inception = InceptionScorer(network, dataset, chosen, own, reference)
        floor, notes = floor | inception.floor, inception.notes
    return Exam(dataset, n, seed, key, labels, scorer, floor, controls, inception, notes)


def evaluate(run: Run, config: Config, exam: Exam) -> tuple[dict, bytes]:
    """Scores the samples of each seed of a run.

    Returns:
      What `evaluation.json` holds, and a PNG of samples with their nearest training examples;
      nothing in its place for what `plots` cannot draw.

    Raises:
      NotFiniteError: if samples are not finite.
    """
    scorer = exam.scorer
    seeds = [config.seed + index for index in range(config.num_seeds)]
    scores, picture = [], b""
    for index, seed in enumerate(seeds):
        print(f"seed {seed}: drawing and scoring", flush=True)
        x = run.sample(jax.random.fold_in(exam.key, seed), exam.n, index, exam.labels)
        if not np.isfinite(x).all():
            raise NotFiniteError(seed, run.step)
        memorisation, neighbours = scorer.copies(x)
        scores.append(scorer(x) | {"memorisation": memorisation})
        if exam.inception is not None:
            scores[-1] |= exam.inception(x)
        if not picture and plots.can_draw(x.shape[1:]):
            what = f"{config.loss} on {exam.dataset.name}"
            title = caption(what, run.step, seed, len(seeds))
            picture = draw_neighbours(x, neighbours, title)
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
        "floor": exam.floor,
        "controls": exam.controls,
        "protocol": {
            "samples": exam.n,
            "seed": exam.seed,
            "data": data.fingerprint(exam.dataset),
            "generator": "last" if run.state.ema is None else "averaged",
            "checkpoint": "best" if BEST in exam.notes else "newest",
            **scorer.protocol(exam.n),
            **({} if exam.inception is None else exam.inception.protocol()),
        },
        "notes": exam.notes
        + [note for name, note in scorer.withheld.items() if name in scores[0]]
        + withheld.below_floor(summary["scores"], exam.floor)
        + withheld.gone(summary["scores"], exam.floor)
        # Of a best state what came after it is another story.
        + findings.describe(
            [row for row in run.health if row["step"] <= run.step],
            seeds,
            findings.mode_shares(run, exam.dataset),
        ),
        "versions": versions(),
    }
    return clean(evaluation), picture


def draw_neighbours(x: np.ndarray, neighbours: np.ndarray, title: str) -> bytes:
    """A PNG of samples and, in the same places, their nearest training examples."""
    return plots.drawn(plots.draw_neighbours, x, neighbours, title)


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
