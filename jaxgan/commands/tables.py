"""Scored runs, and the tables that `results.py` and `compare.py` print of them."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxgan.commands import settings
from jaxgan.commands.config import Config, assign, unused
from jaxgan.commands.exam import mean, standard_error
from jaxgan.commands.names import as_typed
from jaxgan.commands.presets import usual
from jaxgan.data import TOYS
from jaxgan.training import json_files

# What scores of one data set have to share if one table is to hold them.
_MUST_AGREE = ("samples", "classifier", "data", "checkpoint")
_NOT_IN_COMMAND = (
    *("loss", "dataset", "model", "workdir", "data_dir"),
    *("log_every", "sample_every", "checkpoint_every", "keep_every", "score_every", "patience"),
)


@dataclasses.dataclass(frozen=True)
class Scored:
    """A run and its scores.

    Attributes:
      folder: where it is.
      config: its settings.
      scores: of each seed.
      floor: what training data score in the samples' place.
      protocol: how they were scored.
      notes: which scores are withheld, and why; and others.
      seconds: of training, compilation included; None if several processes shared it.
      cores: what makes each of so many cores a device, where the command does not do so by itself.
    """

    folder: epath.Path
    config: Config
    scores: list[dict]
    floor: dict
    protocol: dict
    notes: list[str]
    seconds: float | None
    cores: str

    def values(self, *path: str) -> list[float] | None:
        """Each seed's score; None if the run has no such score."""
        values = [_look_up(scores, path) for scores in self.scores]
        return None if None in values else values

    def over_floor(self, *path: str) -> list[float] | None:
        """Each seed's score over what training data have; None if the run has no such score."""
        values, floor = self.values(*path), self.floor_of(*path)
        return [value / floor for value in values] if values and floor else None

    def floor_of(self, *path: str) -> float | None:
        """What training data score in the samples' place."""
        return _look_up(self.floor, path)


def read(folder: epath.Path) -> Scored:
    """The scores of the run in a folder.

    Raises:
      ValueError: if the folder holds no run, or it has not been trained to the end and scored then,
        as `evaluate.py` does by default.
    """
    config = settings.of_run(folder)
    for name, program in (("summary.json", "train.py"), ("evaluation.json", "evaluate.py")):
        if not (folder / name).exists():
            words = f"python experiments/{program} {assign('workdir', folder)}"
            raise ValueError(f"{folder} has no {name}: run {words} to its end first")
    summary = json_files.read(folder / "summary.json")
    evaluation = json_files.read(folder / "evaluation.json")
    try:
        protocol, alone = evaluation["protocol"], [evaluation["scores"]]
        seconds = summary["seconds"] + summary["compile_seconds"]
        run = Scored(
            folder,
            config,
            evaluation.get("scores_of_seeds", alone),
            evaluation["floor"],
            protocol,
            list(evaluation.get("notes", [])),
            None if summary["resumed_from"] else seconds,
            _cores(summary["device"], config),
        )
        steps = config.steps, summary["steps"], evaluation["step"]
        seed, generator = protocol["seed"], protocol["generator"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder} has a summary or an evaluation without {error}: make it again"
        ) from error
    if len(set(steps)) > 1:
        raise ValueError(
            f"{folder} is a run of {steps[0]} steps, trained to {steps[1]} and scored at "
            f"{steps[2]}: train it to the end and score it again"
        )
    trained = list(range(config.seed, config.seed + config.num_seeds))
    if (seeds := evaluation.get("seeds", trained)) != trained:
        raise ValueError(f"{folder} holds scores of seeds {seeds}, not {trained}: score it again")
    averaged = "averaged" if config.ema_decay else "last"
    if seed != 0 or generator != averaged:
        raise ValueError(
            f"{folder} was scored with --seed={seed} from the {generator} generator: score it "
            "with evaluate.py's defaults"
        )
    return run


def join(runs: Sequence[Scored]) -> Scored:
    """Runs of the same settings and other seeds as one."""
    first = min(runs, key=lambda run: run.config.seed)
    seconds = [run.seconds for run in runs if run.seconds is not None]
    return dataclasses.replace(
        first,
        config=dataclasses.replace(first.config, num_seeds=sum(r.config.num_seeds for r in runs)),
        scores=[scores for run in runs for scores in run.scores],
        seconds=sum(seconds) if len(seconds) == len(runs) else None,
    )


def check_comparable(run: Scored, others: list[Scored]) -> None:
    """Raises ValueError if a run was not scored as the others of its data set."""
    for other in others:
        if other.config.dataset != run.config.dataset:
            continue
        for name in _MUST_AGREE:
            # Scores of before there were best states are of the newest.
            usual = "newest" if name == "checkpoint" else None
            here, there = (each.protocol.get(name, usual) for each in (run, other))
            if here != there:
                raise ValueError(
                    f"{run.folder} was scored with {name} {here}, {other.folder} with {there}: "
                    "score them alike"
                )
        here, there = run.floor_of("w1"), other.floor_of("w1")
        if here != there and not (here and there and abs(here / there - 1) < 1e-3):
            raise ValueError(
                f"the floor of W1 is {here} in {run.folder}, and {there} in {other.folder}: score "
                "them alike"
            )


def columns_of(dataset: str) -> dict:
    """What a data set's table shows."""
    if dataset in TOYS:
        return POINT_COLUMNS
    return STACKED_COLUMNS if dataset == "stacked_mnist" else IMAGE_COLUMNS


def command(config: Config, script: str = "train.py") -> str:
    """The command whose settings are these, presets left unsaid."""
    words = [f"{as_typed(script)} --loss={config.loss} --dataset={shlex.quote(config.dataset)}"]
    default, named, kind = usual(config)
    words += [assign("model", config.model)] * named + [assign("preset", kind)] * (kind != "auto")
    unsaid = {*_NOT_IN_COMMAND, *unused(config)}
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name not in unsaid and value != getattr(default, field.name):
            words.append(assign(field.name, value))
    return " ".join(words + ["--data-dir=DIR"] * bool(config.data_dir))


def main_score(runs: Sequence[Scored]) -> tuple[str, tuple[str, ...]]:
    """The name of the score that runs of one data set are compared by, and where it is.

    Some of the runs may lack it.

    Raises:
      ValueError: if there is none.
    """
    for label, path in (("W1 / floor", ("w1",)), ("Fréchet / floor", ("frechet_classifier",))):
        if any(run.over_floor(*path) for run in runs):
            return label, path
    raise ValueError("no distance tells these runs apart: all diverged, or their scores are null")


def tabulate(runs: Sequence[Scored]) -> list[str]:
    """The lines of a table for each kind of data: a row for each run, and the data sets' floors."""
    lines = []
    for columns in (POINT_COLUMNS, IMAGE_COLUMNS, STACKED_COLUMNS):
        group = [run for run in runs if columns_of(run.config.dataset) is columns]
        rows = [[f"`{run.cores}{command(run.config)}`", *_cells(run, columns)] for run in group]
        for run in {run.config.dataset: run for run in group}.values():
            floors = [floor(run) for _, floor in columns.values()]
            rows.append([f"*training data of {run.config.dataset}*", *floors])
        lines += table(["command", *columns], rows) if group else []
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, and an empty one."""
    ruled = [head, *rows]
    lines = [f"| {' | '.join(cells)} |" for cells in ruled]
    return [lines[0], "|---" * len(head) + "|", *lines[1:], ""]


def _cells(run, columns):
    return [cell(run) for cell, _ in columns.values()]


def _cores(device: dict, config: Config) -> str:
    """What makes each of so many cores a device, where the command does not do so by itself."""
    seeds_do = config.num_seeds > 1 and config.parallel == "auto"
    by_itself = seeds_do or config.devices == device["count"]
    if device["platform"] != "cpu" or device["count"] == 1 or by_itself:
        return ""
    return f"XLA_FLAGS=--xla_force_host_platform_device_count={device['count']} "


def _look_up(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = None if tree is None else tree.get(name)
    return tree


def _number(digits, *path, percent=False):
    """A column's two functions: the run's score, and its floor."""
    factor, unit = (100, "%") if percent else (1, "")

    def floor(run):
        value = run.floor_of(*path)
        return "—" if value is None else f"{factor * value:.{digits}f}{unit}"

    return lambda run: _spread(run.values(*path), digits, factor, unit), floor


def _ratio(digits, *path):
    """The same of a score over its floor, which is told in brackets."""

    def floor(run):
        value = run.floor_of(*path)
        return "—" if value is None else f"1 (= {value:.3g})"

    return lambda run: _spread(run.over_floor(*path), digits), floor


def _spread(values, digits, factor=1, unit=""):
    """Mean ± standard error."""
    if values is None:
        return "—"
    several = len(values) > 1
    error = f" ± {factor * standard_error(values):.{digits}f}" if several else ""
    return f"{factor * mean(values):.{digits}f}{error}{unit}"


def _modes(run):
    """All of them in every seed, or the mean and the worst seed's."""
    total, covered = run.protocol.get("modes"), run.values("modes_covered")
    if total is None or covered is None:
        return "—"
    worst = min(covered)
    if worst == total or len(covered) == 1:
        return f"{worst:.0f}/{total}"
    return f"{mean(covered):.1f}/{total}, worst {worst:.0f}"


def _modes_of_data(run):
    modes = run.floor_of("modes_covered")
    return "—" if modes is None else str(modes)


def _seconds(run):
    return "—" if run.seconds is None else f"{run.seconds:.0f}"


def _none(run):
    return ""


_SEEDS = {"seeds": (lambda run: str(len(run.scores)), _none)}
_TRANSPORT = {"W1 / floor": _ratio(3, "w1")}
_COPIES = {"nearer than held-out": _number(2, "memorisation", "closer")}
_TIME = {"seconds": (_seconds, _none)}
POINT_COLUMNS = {
    **_SEEDS,
    "modes": (_modes, _modes_of_data),
    "high quality": _number(1, "high_quality", percent=True),
    "reverse KL": _number(5, "reverse_kl"),
    "as PacGAN's": _number(3, "reverse_kl_pacgan"),
    **_TRANSPORT,
    **_TIME,
}
IMAGE_COLUMNS = {
    **_SEEDS,
    "classes": (_modes, _modes_of_data),
    **_TRANSPORT,
    "Fréchet / floor": _ratio(2, "frechet_classifier"),
    "reverse KL": _number(4, "reverse_kl"),
    "precision": _number(3, "manifold_classifier", "precision"),
    "recall": _number(3, "manifold_classifier", "recall"),
    **_COPIES,
    **_TIME,
}
STACKED_COLUMNS = {
    **_SEEDS,
    "modes": (_modes, _modes_of_data),
    "reverse KL": _number(3, "reverse_kl"),
    **_TRANSPORT,
    **_COPIES,
    **_TIME,
}
