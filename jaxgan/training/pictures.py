"""The pictures in a run's folder: samples while it trains; at its end samples beside data, curves.

The first of several processes draws them, of the first seed's samples.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from jaxgan import plots
from jaxgan.parallel import hosts
from jaxgan.plots.words import duration
from jaxgan.state import GANState


def draw_samples(job, log, state: GANState, last: bool = False) -> str:
    """Draws a picture of the first seed's samples in the first process, and returns its path.

    The last are drawn beside real examples too, in `samples.png`.
    """
    shape = job.model.game.data_shape
    if job.folder is None or not hosts.is_first() or not plots.can_draw(shape):
        return ""
    run, keys = job.run(state, [], finished=False), job.sample_keys()
    key = keys[0] if job.plan.num_seeds > 1 else keys
    n, labels, classes = 64, None, job.model.game.num_classes
    if shape == (2,):
        n = 2500
    elif classes is not None:  # ten rows, each of one class
        labels = np.repeat(np.arange(10) * min(classes, 10) // 10, 10)
        n = len(labels)
    samples = run.sample(key, n, labels=labels)
    drawn = log.samples(run.step, samples)
    if not last:
        return drawn
    path = job.folder.path / "samples.png"
    plots.save_samples_and_data(path, samples, job.dataset, title(job, run.step), labels)
    return str(path)


def save_samples(job, step: int, samples: np.ndarray) -> epath.Path:
    """Draws the samples of a step, and says where.

    Images have no words, so that pictures can be laid over each other.
    """
    path = job.folder.path / "samples" / f"step_{step:08d}.png"
    plots.save_samples(path, samples, job.dataset, title(job, step))
    return path


def saved_samples(folder: epath.Path) -> list[tuple[int, epath.Path]]:
    """The steps whose samples were drawn in a run's folder, in order, and their pictures."""
    found = []
    for path in (folder / "samples").glob("step_*.png"):
        if match := re.fullmatch(r"step_(\d+)\.png", path.name):
            found.append((int(match[1]), path))
    return sorted(found)


def save_curves(job, best: Mapping[str, Any] | None = None, diverged: int | None = None) -> None:
    """Draws the metrics and scores so far.

    Args:
      job: the run, a `job.Job`.
      best: the row of the best score.
      diverged: the step at which training broke.
    """
    rows, scores = job.folder.metrics.read(), job.folder.scores.read()
    every = sorted([*rows, *scores], key=lambda row: row["step"])
    if not every:
        return
    took = f" in {duration(rows[-1]['seconds'])}" if rows and "seconds" in rows[-1] else ""
    last = every[-1]["step"]
    heading = f"{subject(job)}: {last:,} step{'s' if last > 1 else ''}{took}"
    path = job.folder.path / "curves.png"
    plots.save_curves(path, every, title=heading, best=best, diverged=diverged)


def title(job, step: int) -> str:
    """What a picture of samples shows: loss, data and step, and of several seeds which."""
    return caption(subject(job), step, job.plan.seed, job.plan.num_seeds)


def caption(what: str, step: int, seed: int, seeds: int) -> str:
    """The same of a loss and data in words."""
    one = f", seed {seed} of {seeds} seeds" if seeds > 1 else ""
    return f"{what}, step {step:,}{one}"


def subject(job) -> str:
    """What is trained on what."""
    loss = job.settings.get("loss")
    return f"{loss} on {job.dataset.name}" if loss else job.dataset.name
