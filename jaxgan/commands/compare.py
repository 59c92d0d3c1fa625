"""The program `compare`: losses, trained under one budget and scored alike."""

import dataclasses
import math
import statistics
import time
from collections.abc import Iterator, Mapping

from etils import epath

from jaxgan import plots
from jaxgan.commands import endings, evaluate, settings, tables
from jaxgan.commands.config import Config
from jaxgan.commands.contest import QUICK, SHARED, Arguments, Entry, check_protocol, make_entries
from jaxgan.commands.flags import read
from jaxgan.commands.tables import Scored
from jaxgan.commands.train import check_folder, load_data, use_cores
from jaxgan.training import DivergedError, fit, json_files
from jaxgan.training.run_folder import FREE

# A comparison grows by so many seeds of every loss, so that its table is complete early.
SEEDS_AT_ONCE = 2


@endings.ends_in_a_line("compare.py", "lower --batch-size or --width")
def main(arguments: list[str]) -> int:
    """Runs the command line; returns 0, 2 for bad input, or 128 plus the signal if interrupted."""
    options = read(Arguments, arguments, "compare.py")
    if options.quick:
        unsaid = {name for name in QUICK if getattr(options, name) == getattr(Arguments, name)}
        options = dataclasses.replace(options, **{name: QUICK[name] for name in unsaid})
    folder = epath.Path(options.workdir or default_folder(options))
    entries = make_entries(options, folder)
    check_protocol([entry.config for entry in entries])
    rounds = [(entry, run) for run in seed_runs(options) for entry in entries]
    configs = [(entry, with_seeds(entry, *run)) for entry, run in rounds]
    use_cores(configs[0][1])
    stopped = train_and_score(configs)
    if stopped:
        return 128 + stopped
    print("\n".join(report(folder, configs, options)))
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
    for seed in range(options.seed, end, SEEDS_AT_ONCE):
        yield seed, min(SEEDS_AT_ONCE, end - seed)


def with_seeds(entry: Entry, seed: int, count: int) -> Config:
    """The settings of a run of these seeds."""
    workdir = str(entry.folder / f"{seed}to{seed + count - 1}")
    return dataclasses.replace(entry.config, seed=seed, num_seeds=count, workdir=workdir)


def seeds_of(config: Config) -> str:
    """The seeds of a run, in words."""
    return f"seeds {config.seed} to {config.seed + config.num_seeds - 1}"


def train_and_score(configs: list[tuple[Entry, Config]]) -> int:
    """Does what is not done yet; returns the signal that interrupted it, or 0."""
    for _, config in configs:
        check_folder(config)
    left = [(entry, config) for entry, config in configs if not is_done(config)]
    if not left:
        return 0
    dataset, exam, began = load_data(left[0][1]), None, time.perf_counter()
    for index, (entry, config) in enumerate(left):
        ready, about = len(configs) - len(left) + index, ""
        if index:
            minutes = (time.perf_counter() - began) / 60 / index * (len(left) - index)
            about = f"; about {minutes:.0f} min left"
        print(
            f"\n[{ready} of {len(configs)} done{about}] {entry.folder.name}, {seeds_of(config)}",
            flush=True,
        )
        folder = epath.Path(config.workdir)
        model = settings.make_model(config, dataset.train.shape[1:])
        try:
            run = fit(model, dataset, **settings.fit_arguments(config))
        except DivergedError as error:
            endings.report("compare.py", error)
            end = {"step": error.step, "settings": fixed(config)}
            json_files.write(folder / "diverged.json", end)
            continue
        if run.stopped_by:
            return run.stopped_by
        n = evaluate.count_samples(None, dataset)
        exam = exam or evaluate.set_exam(dataset, n, 0, config, config.data_dir)
        evaluate.score(folder, run, config, exam)
    return 0


def is_done(config: Config) -> bool:
    """Whether a run is trained to its end and scored there, or has diverged."""
    scores = epath.Path(config.workdir) / "evaluation.json"
    if diverged_at(config) is not None:
        return True
    return scores.exists() and json_files.read(scores).get("step") == config.steps


def diverged_at(config: Config) -> int | None:
    """The step at which a run with these settings diverged; None if it did not."""
    path = epath.Path(config.workdir) / "diverged.json"
    end = json_files.read(path) if path.exists() else {}
    return end.get("step") if end.get("settings") == fixed(config) else None


def fixed(config: Config) -> dict:
    """The settings that make another run if they change."""
    return {k: v for k, v in settings.recorded(config).items() if k not in FREE}


def report(
    folder: epath.Path, configs: list[tuple[Entry, Config]], options: Arguments
) -> list[str]:
    """Writes `compare.md` and `compare.png`, and returns the lines of the former.

    Raises:
      ValueError: if runs were not scored alike.
    """
    runs: list[tuple[Entry, Scored]] = []
    notes = []
    for entry, config in configs:
        place = epath.Path(config.workdir)
        if (step := diverged_at(config)) is not None:
            notes.append(f"- {entry.folder.name}, {seeds_of(config)}: diverged at step {step}")
            continue
        run = tables.read(place)
        tables.check_comparable(run, [other for _, other in runs])
        runs.append((entry, run))
    joined = {
        entry: tables.join([run for other, run in runs if other is entry])
        for entry in dict.fromkeys(entry for entry, _ in runs)
    }
    label, path = tables.main_score(list(joined.values()))
    means = {
        entry: statistics.mean(joined[entry].over_floor(*path) or [])
        if entry in joined
        else math.inf
        for entry in dict.fromkeys(entry for entry, _ in configs)
    }
    if options.settings:
        lines, values = tabulate_settings(joined, means, label)
    else:
        lines = tables.tabulate(
            [joined[entry] for entry in sorted(joined, key=lambda entry: means[entry])]
        )
        values = {entry.loss: run.over_floor(*path) or [] for entry, run in joined.items()}
    plots.save_comparison(folder / "compare.png", values, f"{label} on {options.dataset}")
    lines += notes
    json_files.write_whole(folder / "compare.md", "\n".join(lines) + "\n")
    return [*lines, f"table and figure: {folder / 'compare.md'}, {folder / 'compare.png'}"]


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
