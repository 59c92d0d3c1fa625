"""What the page shows of runs: which there are, how each is, its curves, scores and settings."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from etils import epath

from jaxgan.commands import page_words, settings, tables
from jaxgan.commands.evaluate import flatten
from jaxgan.commands.page_curves import make_curves
from jaxgan.plots.words import duration
from jaxgan.training import json_files
from jaxgan.training.checkpoints import saved_steps
from jaxgan.training.metrics_file import MetricsFile
from jaxgan.training.pictures import saved_samples
from jaxgan.training.run_folder import RunFolder, holds_run, read_settings

MOST_RUNS = 100  # of a page: each is read whenever the page is loaded
DEPTH = 3  # of folders above runs: compare.py keeps them in FOLDER/LOSS/SEEDS


class Place(NamedTuple):
    """A run on the page.

    Attributes:
      id: its folder there, of plain letters.
      name: what it is called.
      folder: where it is.
    """

    id: str
    name: str
    folder: epath.Path


def find(folders: Sequence[str]) -> list[Place]:
    """The runs that folders are, or hold.

    Raises:
      ValueError: if a folder is missing or holds no run, or there are too many runs.
    """
    found: dict[str, epath.Path] = {}
    for name in folders:
        folder = epath.Path(name).expanduser()
        if not folder.exists():
            raise ValueError(f"{folder} does not exist: give --workdir the folder of a run.")
        runs = list(_runs_in(folder, DEPTH))
        if not runs:
            raise ValueError(
                f"{folder} holds no run: neither it nor a folder in it has a config.json."
            )
        found |= {str(run.resolve()): run for run in runs}
    if len(found) > MOST_RUNS:
        raise ValueError(
            f"{', '.join(folders)} hold{'s' * (len(folders) == 1)} {len(found)} runs, and a page "
            f"takes at most {MOST_RUNS}: name those to see, as --workdir=RUN --workdir=RUN."
        )
    places: list[Place] = []
    for name, folder in zip(_short_names(list(found)), found.values(), strict=True):
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "run"
        taken = {place.id for place in places}
        free = (plain if i == 1 else f"{plain}-{i}" for i in range(1, len(found) + 1))
        places.append(Place(next(id for id in free if id not in taken), name, folder))
    return places


def _runs_in(folder: epath.Path, depth: int) -> Iterator[epath.Path]:
    if holds_run(folder):
        yield folder
    elif depth and folder.is_dir():
        for inner in sorted(folder.iterdir(), key=lambda path: _natural(path.name)):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _runs_in(inner, depth - 1)


def _natural(name: str) -> list:
    """A key that sorts run2 before run10."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in re.split(r"(\d+)", name)]


def _short_names(paths: Sequence[str]) -> list[str]:
    """Of each path its last part, and as many before it as tell it from the others."""
    parts = [path.strip("/").split("/") for path in paths]
    names = [""] * len(parts)
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(each[-length:]) for each in parts]
        for i, end in enumerate(ends):
            names[i] = names[i] or (end if ends.count(end) == 1 else "")
    return names


def summarise(place: Place) -> dict[str, Any]:
    """What the list of runs says of one, as JSON has it."""
    summary: dict[str, Any] = {"id": place.id, "name": place.name, "problems": []}
    with_problems = _Reader(summary["problems"])
    recorded = with_problems(lambda: read_settings(place.folder), {})
    data = with_problems(lambda: json_files.read(place.folder / "data.json"), {})
    rows = with_problems.rows(place.folder / "metrics.jsonl")
    step = rows[-1]["step"] if rows else 0
    how = ("damaged", "damaged")
    if recorded:
        how = with_problems(lambda: state(place.folder, recorded, step), how)
    name = recorded.get("dataset") or data.get("name") or "unknown data"
    summary |= {
        "state": how[0],
        "state_words": how[1],
        "data": data.get("fingerprint") or name,
        "data_name": name,
        "shape": data.get("shape"),
        "loss": recorded.get("loss"),
        "model": recorded.get("model"),
        "seeds": recorded.get("num_seeds"),
    }
    return summary


class _Reader:
    """Reads a file of a run; one that is damaged becomes a line on the page, and not its end."""

    def __init__(self, problems: list[str]):
        self._problems = problems

    def __call__(self, read, otherwise):
        try:
            return read()
        except (ValueError, OSError) as error:  # the second where reading is not allowed
            self._tell(str(error))
            return otherwise

    def rows(self, path: epath.Path) -> list[dict]:
        """Those of a file of metrics that are fine."""
        return self(lambda: MetricsFile(path).read(self._tell), [])

    def _tell(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)


def state(folder: epath.Path, recorded: dict[str, Any], step: int) -> tuple[str, str]:
    """How a run is: a word for it, and the same in words.

    Args:
      folder: the run's.
      recorded: its settings.
      step: the last that was logged.
    """
    steps = recorded["steps"]
    if RunFolder(folder, recorded).finished:
        done = json_files.read(folder / "summary.json")
        last = done.get("steps")
        if last == steps:
            return "finished", f"finished: {steps:,} steps{_took(done)}"
        end = f": {last:,} steps{_took(done)}" if isinstance(last, int) else ""
        return "finished", f"stopped early, of {steps:,} steps{end}; no score was better since"
    diverged = max(_diverged_steps(folder), default=-1)
    if diverged >= step:
        return "diverged", f"diverged at step {diverged:,} of {steps:,}"
    if newest_checkpoint(folder) is None:
        return "no checkpoint", f"no checkpoint yet, at step {step:,} of {steps:,}"
    return "unfinished", f"unfinished, at step {step:,} of {steps:,}"


def _took(done: dict[str, Any]) -> str:
    seconds = done.get("seconds")
    if seconds is None or done.get("resumed_from"):  # of the last part alone
        return ""
    return f" in {duration(seconds)}"


def _diverged_steps(folder: epath.Path) -> Iterator[int]:
    for path in folder.glob("diverged-*.npz"):
        if match := re.fullmatch(r"diverged-(\d+)\.npz", path.name):
            yield int(match[1])
    if (folder / "diverged.json").exists():  # compare.py's
        end = json_files.read(folder / "diverged.json").get("step")
        if isinstance(end, int):
            yield end


def newest_checkpoint(folder: epath.Path) -> int | None:
    """The step of a run's newest checkpoint, readable or not."""
    return max(saved_steps(folder / "checkpoints"), default=None)


def describe(place: Place) -> dict[str, Any]:
    """All that the page shows of a run but its drawing, as JSON has it."""
    folder, summary = place.folder, summarise(place)
    with_problems = _Reader(summary["problems"])
    recorded = with_problems(lambda: read_settings(folder), {})
    done = with_problems(lambda: _read_if_there(folder / "summary.json"), {})
    curves: dict[str, Any] = {}
    for kind in ("scores", "metrics", "health"):
        rows = with_problems.rows(folder / f"{kind}.jsonl")
        curves |= {name: curve | {"kind": kind} for name, curve in make_curves(rows).items()}
    return summary | {
        "settings": recorded,
        "command": _command(recorded),
        "findings": done.get("findings") or [],
        "best": done.get("best"),
        "curves": curves,
        "pictures": [
            {"step": step, "file": f"samples/{path.name}"} for step, path in saved_samples(folder)
        ],
        "scores": with_problems(lambda: read_scores(folder), None),
    }


def _command(recorded: dict[str, Any]) -> str | None:
    """The command that trains the same; None where it is a program of the user's own."""
    try:
        config = settings.read(recorded, "its config")
        return tables.command(config, "python experiments/train.py")
    except ValueError:
        return None


def read_scores(folder: epath.Path) -> dict[str, Any] | None:
    """The scores that evaluate.py wrote, each with its floor; None if it has not."""
    evaluation = _read_if_there(folder / "evaluation.json")
    if not evaluation:
        return None
    try:
        scores, floors = flatten(evaluation["scores"]), flatten(evaluation["floor"])
        errors = flatten(evaluation.get("standard_error") or {})
        order = {name: i for i, name in enumerate(page_words.SCORES)}
        names = sorted(scores, key=lambda name: order.get(name, len(order)))
        return {
            "rows": [
                {"name": name, "value": value, "error": errors.get(name), "floor": floors.get(name)}
                for name, value in ((name, scores[name]) for name in names)
                if name not in page_words.HIDDEN
            ],
            "step": evaluation["step"],
            "samples": evaluation["protocol"]["samples"],
            "notes": evaluation.get("notes", []),
        }
    except (KeyError, TypeError, AttributeError) as error:
        path = folder / "evaluation.json"
        raise ValueError(f"{path} is damaged: it has no {error}. Score the run again.") from error


def _read_if_there(path: epath.Path) -> dict[str, Any]:
    return json_files.read(path) if path.exists() else {}
