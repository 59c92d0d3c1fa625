"""Scores a run: `python experiments/evaluate.py --workdir=runs/digits-wgan-0`.

Writes `evaluation.json` and `nearest.png` into the run's folder, and prints a table. Every score
stands beside its floor: what real examples score in the samples' place. A score that
cannot tell good samples from bad ones on these data is null, and a note says why.
"""

import dataclasses
import importlib.metadata
import io
import math
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from jaxgan import data, plots
from jaxgan.commands import endings, settings, withheld
from jaxgan.commands.command_line import check_seed
from jaxgan.commands.config import Config, check_choice
from jaxgan.commands.flags import given, read
from jaxgan.commands.inception_scorer import SPLITS, InceptionScorer, find_network
from jaxgan.commands.scorer import Scorer, make_judge
from jaxgan.data import Dataset
from jaxgan.metrics.inception import Inception
from jaxgan.training import Run, data_record, findings, json_files, load

BEST = (
    "the state of the best score while training is scored, which was chosen by the same held-out "
    "examples: compare it with other best states only"
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Score a trained GAN against the held-out examples of its data set."""

    workdir: str
    """The run's folder."""
    samples: int | None = None
    """How many samples to score. By default 25,000 points, or 26,000 of stacked_mnist as in the
    papers, or as many as there are held-out images, up to 10,000."""
    seed: int = 0
    """Of the latents, the directions of the sliced distance and the examples in the floor."""
    best: bool = False
    """The state of the best score, of a run with --score-every, and not the newest."""
    ema: bool = True
    """Score the averaged generator; --no-ema: the one trained last."""
    data_dir: str | None = None
    """Where the data are now, if they were moved: of a run on folder:PATH, its pictures."""
    inception: str | None = None
    """Inception's weights, for FID, KID, MIND, precision and recall as in papers: a FILE; fetch,
    91 MB, once; or none. By default those fetched before, where there are images enough."""
    reference: str = "held-out"
    """What these are measured against: held-out or train."""


@endings.ends_in_a_line("evaluate.py", "lower --samples")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 130 if interrupted."""
    options = read(Arguments, arguments, "evaluate.py")
    check_seed(options.seed)
    check_choice("--reference", options.reference, SPLITS)
    folder = epath.Path(options.workdir)
    config = settings.of_run(folder)
    name, data_dir = settings.locate_data(config, options.data_dir)
    dataset = data.load(name, data_dir, **settings.data_arguments(config))
    model = settings.make_model(config, dataset.train.shape[1:])
    run = load(folder, model, best=options.best)
    n = count_samples(options.samples, dataset)
    network, notes = find_network(options.inception, dataset, n)
    if network is None and "reference" in given(Arguments, arguments):
        raise ValueError("--reference has no effect without --inception=fetch or a FILE.")
    exam = set_exam(dataset, n, options.seed, config, data_dir, network, options.reference)
    exam.notes.extend(notes + [BEST] * options.best)
    evaluation = score(folder, run if options.ema else run.without_average(), config, exam)
    print("\n".join(tabulate(evaluation)))
    if (folder / "nearest.png").exists():
        print(f"samples beside their nearest training examples: {folder / 'nearest.png'}")
    print(f"all numbers: {folder / 'evaluation.json'}")
    return 0


def score(folder: epath.Path, run: Run, config: Config, exam: "Exam") -> dict:
    """Scores the run in a folder, and writes `evaluation.json` and `nearest.png` there."""
    evaluation, picture = evaluate(run, config, exam)
    evaluation["notes"] += note_on_data(folder, exam.dataset, evaluation["protocol"]["data"])
    json_files.write(folder / "evaluation.json", evaluation)
    if picture:
        (folder / "nearest.png").write_bytes(picture)
    return evaluation


def tabulate(evaluation: dict) -> list[str]:
    """The lines of a table: each score, its standard error over seeds, and its floor."""
    errors = flatten(evaluation.get("standard_error") or {})
    floors, lines = flatten(evaluation["floor"]), [f"{'score':32} {'samples':>20} {'floor':>12}"]
    for name, value in flatten(evaluation["scores"]).items():
        spread = f" ± {errors[name]:.2g}" if errors.get(name) is not None else ""
        floor = floors.get(name)
        cell = "-" if value is None else f"{value:.4g}{spread}"
        lines.append(f"{name:32} {cell:>20} {'' if floor is None else f'{floor:.4g}':>12}".rstrip())
    return lines + evaluation["notes"]


def flatten(scores: Mapping) -> dict[str, float | None]:
    """Scores by their full names, histograms left out."""
    flat: dict[str, float | None] = {}
    for name, value in scores.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": v for inner, v in flatten(value).items()}
        elif not isinstance(value, list):
            flat[name] = value
    return flat


def note_on_data(folder: epath.Path, dataset: Dataset, fingerprint: str) -> list[str]:
    """A note where the data are not those that the run was trained on."""
    now = data_record.describe(dataset, fingerprint)
    changed = data_record.difference(data_record.read(folder), now)
    if not changed:
        return []
    note = (
        f"the data are others now than those that the run was trained on ({changed}): what is held "
        "out here may have been trained on"
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
            picture = draw_neighbours(x, neighbours, exam.dataset)
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
        + findings.describe([row for row in run.health if row["step"] <= run.step], seeds),
        "versions": versions(),
    }
    return clean(evaluation), picture


def draw_neighbours(x: np.ndarray, neighbours: np.ndarray, dataset: Dataset) -> bytes:
    """A PNG of samples and, in the same places, their nearest training examples."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    if x.ndim == 3:  # grey
        x, neighbours = x[..., None], neighbours[..., None]
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
