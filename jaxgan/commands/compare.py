"""The program `compare`: losses, trained under one budget and scored alike."""

import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from etils import epath

from jaxgan import plots
from jaxgan.commands import endings, evaluate, settings, tables
from jaxgan.commands.config import Config, assign
from jaxgan.commands.contest import QUICK, SHARED, Arguments, Entry, check_protocol, make_entries
from jaxgan.commands.exam import Exam, NotFiniteError, set_exam
from jaxgan.commands.flags import given, read
from jaxgan.commands.presets import use_cores
from jaxgan.commands.tables import Scored
from jaxgan.commands.train import load_data, look_at_folder
from jaxgan.data import Dataset
from jaxgan.training import DivergedError, data_record, fit, json_files
from jaxgan.training.run_folder import FREE, ChangedError

# So many seeds a run trains on a CPU, one a core, so that a first table is there early.
SEEDS_ON_CPU = 2


@endings.ends_in_a_line("compare.py", "lower --batch-size or --width")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 128 plus the signal if interrupted."""
    options = read(Arguments, arguments, "compare.py")
    if options.quick:
        options = dataclasses.replace(options, **(QUICK | given(Arguments, arguments)))
    folder = epath.Path(options.workdir or default_folder(options))
    use_cores(min(options.num_seeds, options.seeds_at_once or SEEDS_ON_CPU))
    entries = make_entries(options, folder)
    check_protocol([entry.config for entry in entries])
    if stopped := train_and_score(folder, entries, options):
        return 128 + stopped
    print("\n".join(report(folder, all_runs(entries, options), options)))
    return 0


def default_folder(options: Arguments) -> str:
    """`runs/compare-DATASET`, with what makes another comparison of it."""
    words = [options.dataset.replace("/", "-").replace(":", "-")]
    for name in ("seed", "settings", "updates", "model", *SHARED[1:]):
        value = getattr(options, name, None)
        if value != getattr(Arguments, name, None):
            words.append(f"{name.replace('_', '-')}={value}")
    return f"runs/compare-{'-'.join(words)}"


def seed_runs(options: Arguments) -> Iterator[tuple[int, int]]:
    """The first seed and the number of seeds of each run of a loss."""
    end = options.seed + options.num_seeds
    together = options.seeds_at_once or (SEEDS_ON_CPU if jax.default_backend() == "cpu" else 10)
    for seed in range(options.seed, end, together):
        yield seed, min(together, end - seed)


def all_runs(entries: list[Entry], options: Arguments) -> list[tuple[Entry, Config]]:
    """All runs of a comparison: each loss with the first seeds, then each with the next."""
    return [
        run
        for seed, count in seed_runs(options)
        for entry in entries
        for run in runs_of(entry, seed, count)
    ]


def runs_of(entry: Entry, seed: int, count: int) -> list[tuple[Entry, Config]]:
    """The runs of these seeds: one, and, if a seed of it diverged, those of the others too."""
    if not count:
        return []
    config = with_seeds(entry, seed, count)
    if (end := divergence(config)) is None:
        return [(entry, config)]
    lost, after = end.seed, seed + count - end.seed - 1
    return [*runs_of(entry, seed, lost - seed), (entry, config), *runs_of(entry, lost + 1, after)]


def with_seeds(entry: Entry, seed: int, count: int) -> Config:
    """The settings of a run of these seeds."""
    workdir = str(entry.folder / f"{seed}to{seed + count - 1}")
    return dataclasses.replace(entry.config, seed=seed, num_seeds=count, workdir=workdir)


def seeds_of(config: Config) -> str:
    """The seeds of a run, in words."""
    return f"seeds {config.seed} to {config.seed + config.num_seeds - 1}"


def train_and_score(folder: epath.Path, entries: list[Entry], options: Arguments) -> int:
    """Does what is not done yet; returns the signal that interrupted it, or 0.

    The table is written anew when all losses have a few seeds more. Where a seed diverges, the
    others that were trained with it are trained again without it.
    """
    configs = all_runs(entries, options)
    dataset = load_data(configs[0][1])
    record = data_record.describe(dataset)  # once: it reads all of the data
    for _, config in configs:
        check_same(config, record)
    left = [(entry, config) for entry, config in configs if not is_done(config)]
    if not left:
        return 0
    n, config = evaluate.count_samples(None, dataset), configs[0][1]
    exam, began = set_exam(dataset, n, 0, config, config.data_dir), time.perf_counter()
    check_told(exam)
    finished, last = 0, None
    while left:
        (entry, config), *left = left
        about = ""
        if finished:
            minutes = (time.perf_counter() - began) / 60 / finished * (len(left) + 1)
            about = f"; about {minutes:.0f} min left"
        if last not in (None, config.seed):
            report(folder, [run for run in configs if is_done(run[1])], options)
        ready = len(configs) - len(left) - 1
        print(
            f"\n[{ready} of {len(configs)} done{about}] {entry.folder.name}, {seeds_of(config)}",
            flush=True,
        )
        if stopped := train_and_score_one(config, dataset, exam):
            return stopped
        finished, last = finished + 1, config.seed
        configs = all_runs(entries, options)
        again = runs_of(entry, config.seed, config.num_seeds)
        left = [run for run in again if run[1] != config and not is_done(run[1])] + left
    return 0


def train_and_score_one(config: Config, dataset: Dataset, exam: Exam) -> int:
    """Trains and scores a run, or notes its divergence; returns the signal that ended it, or 0."""
    place = epath.Path(config.workdir)
    model = settings.make_model(config, dataset.train.shape[1:], dataset.test)
    try:
        run = fit(model, dataset, **settings.fit_arguments(config))
        if run.stopped_by:
            return run.stopped_by
        evaluate.score(place, run, config, exam)
    except (DivergedError, NotFiniteError) as error:
        endings.report("compare.py", error)
        if error.step is not None:  # it could be repeated
            end = {"seed": error.seed, "step": error.step, "settings": fixed(config)}
            json_files.write(place / "diverged.json", end)
    return 0


def check_same(config: Config, record: dict) -> None:
    """Raises ValueError if a run's folder holds a run with other settings, or on other data."""
    try:
        look_at_folder(config)
    except ChangedError as error:
        raise ValueError(
            f"{error.path} is of another comparison, with {assign(error.name, error.before)}, "
            f"not {error.now}. Use another --workdir, or delete that folder."
        ) from error
    place = epath.Path(config.workdir)
    if (place / "data.json").exists():
        data_record.check(place, record)


def check_told(exam: Exam) -> None:
    """Raises ValueError if no distance can tell good samples from bad ones on these data."""
    if exam.floor.get("w1") is None and exam.floor.get("frechet_classifier") is None:
        why = exam.scorer.withheld
        reasons = [why[name] for name in ("w1", "frechet_classifier") if name in why]
        raise ValueError(f"{exam.dataset.name} cannot be compared on: {'; '.join(reasons)}")


def is_done(config: Config) -> bool:
    """Whether a run is trained to its end and scored there, or has diverged."""
    if divergence(config) is not None:
        return True
    try:
        scores = json_files.read(epath.Path(config.workdir) / "evaluation.json")
    except ValueError:  # none, or a damaged one: it can be made again
        return False
    return scores.get("step") == config.steps


class Divergence(NamedTuple):
    """The first seed of a run that diverged, and at which step."""

    seed: int
    step: int


def divergence(config: Config) -> Divergence | None:
    """That of a run with these settings; None if it did not diverge."""
    path = epath.Path(config.workdir) / "diverged.json"
    end = json_files.read(path) if path.exists() else {}
    return Divergence(end["seed"], end["step"]) if end.get("settings") == fixed(config) else None


def fixed(config: Config) -> dict:
    """The settings that make another run if they change."""
    return {k: v for k, v in settings.recorded(config).items() if k not in FREE}


def report(
    folder: epath.Path, configs: list[tuple[Entry, Config]], options: Arguments
) -> list[str]:
    """Writes `compare.md` and `compare.png`, and returns the lines of the former.

    A loss or setting of which a run diverged scores infinity, and its row is of its other runs.

    Raises:
      ValueError: if runs were not scored alike.
    """
    runs: dict[Entry, list[Scored]] = {entry: [] for entry, _ in configs}
    lost: dict[Entry, int] = dict.fromkeys(runs, 0)
    notes = []
    for entry, config in configs:
        if end := divergence(config):
            lost[entry] += 1
            notes.append(f"- {entry.folder.name}, seed {end.seed}: diverged at step {end.step}")
            continue
        run = tables.read(epath.Path(config.workdir))
        tables.check_comparable(run, [other for of_entry in runs.values() for other in of_entry])
        runs[entry].append(run)
    joined = {entry: tables.join(of_entry) for entry, of_entry in runs.items() if of_entry}
    label, path = tables.main_score(list(joined.values()))
    found = {entry: run.over_floor(*path) or [math.inf] for entry, run in joined.items()}
    scores = {entry: found.get(entry, []) + [math.inf] * lost[entry] for entry in runs}
    means = {entry: statistics.mean(of_entry) for entry, of_entry in scores.items()}
    if options.settings:
        lines, values = tabulate_settings(joined, means, label)
    else:
        lines = tables.tabulate([joined[entry] for entry in sorted(joined, key=means.__getitem__)])
        values = {entry.loss: of_entry for entry, of_entry in scores.items()}
    each = max(map(len, values.values()))
    kind = "setting" if options.settings else "seed"
    each_has = f"{each} {kind}{'s' if each > 1 else ''} each"
    title = f"{len(values)} losses on {options.dataset}, {each_has}"
    plots.save_comparison(folder / "compare.png", values, label, bool(options.settings), title)
    lines += notes + notes_of(runs) + note_on_others(folder, list(runs))
    json_files.write_whole(folder / "compare.md", "\n".join(lines) + "\n")
    return [*lines, f"table and figure: {folder / 'compare.md'}, {folder / 'compare.png'}"]


def notes_of(runs: Mapping[Entry, list[Scored]]) -> list[str]:
    """What the runs' scores note: what all note once, the rest with the loss's name."""
    of_all = [(entry, run) for entry, of_entry in runs.items() for run in of_entry]
    shared = [note for note in of_all[0][1].notes if all(note in run.notes for _, run in of_all)]
    own = [
        f"- {entry.folder.name}, {seeds_of(run.config)}: {note}"
        for entry, run in of_all
        for note in run.notes
        if note not in shared
    ]
    return [f"- {note}" for note in shared] + own


def note_on_others(folder: epath.Path, entries: list[Entry]) -> list[str]:
    """A line for the losses that are in the folder too, and not in the table."""
    here = {entry.folder.name for entry in entries}
    others = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and path.name not in here
    )
    return [f"- in {folder} too, and not asked for: {', '.join(others)}"] if others else []


def tabulate_settings(
    joined: Mapping[Entry, Scored], means: Mapping[Entry, float], label: str
) -> tuple[list[str], dict[str, list[float]]]:
    """The lines of a table of each loss's best, median and worst setting; and all their scores.

    A setting that diverged scores infinity.
    """
    of_loss: dict[str, list[Entry]] = {}
    for entry in sorted(means, key=lambda entry: means[entry]):
        of_loss.setdefault(entry.loss, []).append(entry)
    rows, values = [], {}
    for loss, entries in of_loss.items():
        scores = values[loss] = [means[entry] for entry in entries]
        three = (scores[0], statistics.median(scores), scores[-1])
        best = joined.get(entries[0])
        command = f"`{tables.command(best.config)}`" if best else ""
        cells = (f"{score:.3f}" if math.isfinite(score) else "diverged" for score in three)
        rows.append([loss, f"{len(entries)}", *cells, command])
    head = ["loss", "settings", f"best {label}", "median", "worst", "the best"]
    return tables.table(head, rows), values
