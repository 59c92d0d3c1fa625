"""Tabulates scored runs: `python experiments/results.py runs/*` prints tables in Markdown.

Each row has the command that repeats it, and scores as mean ± standard error over seeds; each table
ends with the floors, what training data score in the samples' place. `evaluate.py` comes first.
"""

import dataclasses
import shlex
from typing import Any

from etils import epath

from jaxgan.commands import endings, settings
from jaxgan.commands.presets import preset
from jaxgan.commands.settings import Config, assign, unused
from jaxgan.data import TOYS
from jaxgan.training import json_files

# What scores of one data set have to share if one table is to hold them.
_MUST_AGREE = ("samples", "classifier", "data")
_NOT_IN_COMMAND = ("loss", "dataset", "model", "workdir", "data_dir")


@endings.ends_in_a_line("results.py")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 130 if interrupted."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0
    if not arguments or arguments[0].startswith("-"):
        raise ValueError("give the folders of scored runs, as in results.py runs/*")
    runs: list[Scored] = []
    for folder in arguments:
        try:
            run = Scored(epath.Path(folder).expanduser())
            check_comparable(run, runs)
            runs.append(run)
        except ValueError as error:
            endings.report("results.py", error)
    if not runs:
        return 2
    for columns in (POINT_COLUMNS, IMAGE_COLUMNS, STACKED_COLUMNS):
        if group := [run for run in runs if columns_of(run.config.dataset) is columns]:
            print("\n".join(tabulate(group, columns)), end="\n\n")
    return 0


class Scored:
    """A run and its scores.

    Raises:
      ValueError: if the folder holds no run, or it has not been trained to the end and scored then,
        as `evaluate.py` does by default.
    """

    def __init__(self, folder: epath.Path):
        self.folder = folder
        self.config = settings.of_run(folder)
        for name, program in (("summary.json", "train.py"), ("evaluation.json", "evaluate.py")):
            if not (folder / name).exists():
                words = f"python experiments/{program} {assign('workdir', folder)}"
                raise ValueError(f"{folder} has no {name}: run {words} to its end first")
        self.summary = json_files.read(folder / "summary.json")
        self.evaluation = json_files.read(folder / "evaluation.json")
        try:
            self.protocol = protocol = self.evaluation["protocol"]
            self.scores, self.floors = self.evaluation["scores"], self.evaluation["floor"]
            self.seeds, self.resumed = len(self.evaluation["seeds"]), self.summary["resumed_from"]
            self.cores = _cores(self.summary["device"], self.config)
            self.seconds = self.summary["seconds"] + self.summary["compile_seconds"]
            steps = self.config.steps, self.summary["steps"], self.evaluation["step"]
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
        averaged = "averaged" if self.config.ema_decay else "last"
        if seed != 0 or generator != averaged:
            raise ValueError(
                f"{folder} was scored with --seed={seed} from the {generator} generator: score it "
                "with evaluate.py's defaults"
            )

    def value(self, *path: str) -> tuple[float, float | None] | None:
        """A score's mean and standard error over seeds; None if the run has no such score."""
        mean = _look_up(self.scores, path)
        if mean is None:
            return None
        return mean, _look_up(self.evaluation.get("standard_error"), path)

    def floor(self, *path: str) -> float | None:
        """What training data score in the samples' place."""
        return _look_up(self.floors, path)

    def lowest(self, name: str) -> float:
        """A score's least value over seeds."""
        alone = [self.scores]
        return min(scores[name] for scores in self.evaluation.get("scores_of_seeds", alone))


def check_comparable(run: Scored, others: list[Scored]) -> None:
    """Raises ValueError if a run was not scored as the others of its data set."""
    for other in others:
        for name in _MUST_AGREE if other.config.dataset == run.config.dataset else ():
            here, there = run.protocol.get(name), other.protocol.get(name)
            if here != there:
                raise ValueError(
                    f"{run.folder} was scored with {name} {here}, {other.folder} with {there}: "
                    "score them alike"
                )


def columns_of(dataset: str) -> dict:
    """What a data set's table shows."""
    if dataset in TOYS:
        return POINT_COLUMNS
    return STACKED_COLUMNS if dataset == "stacked_mnist" else IMAGE_COLUMNS


def command(config: Config) -> str:
    """The command whose settings are these, presets left unsaid."""
    words = [f"train.py --loss={config.loss} --dataset={shlex.quote(config.dataset)}"]
    default = preset(config.loss, config.dataset)
    if config.model != default.model:
        words.append(f"--model={config.model}")
        default = preset(config.loss, config.dataset, config.model)
    unsaid = {*_NOT_IN_COMMAND, *unused(config)}
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name not in unsaid and value != getattr(default, field.name):
            words.append(assign(field.name, value))
    return " ".join(words + ["--data-dir=DIR"] * bool(config.data_dir))


def tabulate(runs: list[Scored], columns: dict) -> list[str]:
    """The lines of a table: a row for each run, and one for each data set's floor."""
    lines = [f"| {' | '.join(['command', *columns])} |", "|---" * (len(columns) + 1) + "|"]
    for run in runs:
        cells = [cell(run) for cell, _ in columns.values()]
        lines.append(f"| {' | '.join([f'`{run.cores}{command(run.config)}`', *cells])} |")
    for run in {run.config.dataset: run for run in runs}.values():
        cells = [floor(run) for _, floor in columns.values()]
        lines.append(f"| {' | '.join([f'*training data of {run.config.dataset}*', *cells])} |")
    return lines


def _cores(device: dict, config: Config) -> str:
    """What makes each of so many cores a device, where the command does not do so by itself."""
    by_itself = config.num_seeds > 1 and config.parallel == "auto"
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

    def cell(run):
        if (found := run.value(*path)) is None:
            return "—"
        mean, error = found
        spread = "" if error is None else f" ± {factor * error:.{digits}f}"
        return f"{factor * mean:.{digits}f}{spread}{unit}"

    def floor(run):
        value = run.floor(*path)
        return "—" if value is None else f"{factor * value:.{digits}f}{unit}"

    return cell, floor


def _modes(run):
    """All of them in every seed, or the mean and the worst seed's."""
    total = run.protocol.get("modes")
    if total is None or run.scores["modes_covered"] is None:
        return "—"
    worst, mean = run.lowest("modes_covered"), run.scores["modes_covered"]
    if worst == total or run.seeds == 1:
        return f"{worst:.0f}/{total}"
    return f"{mean:.1f}/{total}, worst {worst:.0f}"


def _modes_of_data(run):
    modes = run.floor("modes_covered")
    return "—" if modes is None else str(modes)


def _transport_ratio(run):
    found, floor = run.value("w1"), run.floor("w1")
    if found is None or not floor:
        return "—"
    mean, error = found
    return f"{mean / floor:.3f}" + ("" if error is None else f" ± {error / floor:.3f}")


def _transport_of_data(run):
    return "—" if run.floor("w1") is None else "1"


def _seconds(run):
    """Of training, compilation included; unknown if several processes shared it."""
    return "—" if run.resumed else f"{run.seconds:.0f}"


def _none(run):
    return ""


_SEEDS = {"seeds": (lambda run: str(run.seeds), _none)}
_TIME = {"seconds": (_seconds, _none)}
POINT_COLUMNS = {
    **_SEEDS,
    "modes": (_modes, _modes_of_data),
    "high quality": _number(1, "high_quality", percent=True),
    "reverse KL": _number(5, "reverse_kl"),
    "as PacGAN's": _number(3, "reverse_kl_pacgan"),
    "W1 / floor": (_transport_ratio, _transport_of_data),
    **_TIME,
}
IMAGE_COLUMNS = {
    **_SEEDS,
    "classes": (_modes, _modes_of_data),
    "W1 / floor": (_transport_ratio, _transport_of_data),
    "W1": _number(3, "w1"),
    "reverse KL": _number(4, "reverse_kl"),
    "frechet_classifier": _number(2, "frechet_classifier"),
    "nearer than held-out": _number(2, "memorisation", "closer"),
    **_TIME,
}
STACKED_COLUMNS = {
    **_SEEDS,
    "modes": (_modes, _modes_of_data),
    "reverse KL": _number(3, "reverse_kl"),
    "W1 / floor": (_transport_ratio, _transport_of_data),
    "nearer than held-out": _number(2, "memorisation", "closer"),
    **_TIME,
}
