"""Scores a run: `python experiments/evaluate.py --workdir=runs/digits-wgan-0`.

Writes `evaluation.json` and `nearest.png` into the run's folder, and prints a table. Every score
stands beside its floor: what real examples score in the samples' place. A score that
cannot tell good samples from bad ones on these data is null, and a note says why.
"""

import dataclasses
from collections.abc import Mapping

from etils import epath

from jaxgan import data
from jaxgan.commands import endings, settings
from jaxgan.commands.command_line import check_seed
from jaxgan.commands.config import Config, check_choice
from jaxgan.commands.exam import BEST, Exam, evaluate, set_exam
from jaxgan.commands.flags import given, read
from jaxgan.commands.inception_scorer import SPLITS, find_network
from jaxgan.data import Dataset
from jaxgan.training import Run, data_record, json_files, load


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


def score(folder: epath.Path, run: Run, config: Config, exam: Exam) -> dict:
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
    endings.report("evaluate.py", note)
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
