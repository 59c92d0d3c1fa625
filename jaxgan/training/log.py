"""What a run says of itself: the metrics file, TensorBoard, a progress bar and lines of text."""

import collections
import time
from typing import Any

import chex
import jax
import numpy as np
import tqdm
from etils import epath
from PIL import Image

from jaxgan.parallel import hosts
from jaxgan.state import GANState
from jaxgan.training import pictures
from jaxgan.training.health import Health
from jaxgan.training.metrics_file import is_logged
from jaxgan.training.scoring import Scores

# So long may pass before others see what was logged: an object in a store is written whole.
PUBLISH_SECONDS = 30


class BrokenError(Exception):
    """A metric, or a number in the state, is no longer finite.

    Attributes:
      start: the state of this step is finite.
      stop: that of this step, or its metrics, are not.
    """

    def __init__(self, start: int, stop: int):
        self.start, self.stop = start, stop
        super().__init__(f"training diverged between steps {start} and {stop}")


class Log:
    """Writes down the metrics of every chunk, one chunk behind the device.

    Of several processes the first writes; the others only watch for numbers that break.

    Args:
      job: the run, a `job.Job`.
      step: the step that it goes on from.
      scores: of the samples.

    Attributes:
      rows: what has been logged, oldest first; also before the run was resumed.
      scores: of the samples.
      health: the probes.
    """

    def __init__(self, job, step: int, scores: Scores):
        self._job, self._plan, self._folder = job, job.plan, job.folder
        self.scores, self.health = scores, Health(job)
        self.rows = [] if job.folder is None else job.folder.metrics.read()
        self._pending: collections.deque = collections.deque()
        self._writes = job.folder is not None and hosts.is_first()
        self._events = open_events(job.folder.path, step) if self._writes else None
        self._published = self._began = time.monotonic()
        self._began -= self.rows[-1].get("seconds", 0) if self.rows else 0
        self._bar = tqdm.tqdm(
            initial=step,
            total=job.plan.steps,
            unit="step",
            disable=None if hosts.is_first() else True,
            dynamic_ncols=True,
        )

    def put(self, step: int, count: int, metrics: dict[str, jax.Array], finite: jax.Array) -> None:
        """Takes the metrics of `count` iterations from `step` on, without waiting for them.

        `finite` says whether the state after them is.
        """
        self._pending.append((step, count, metrics, finite))

    def flush(self) -> int:
        """Waits for all metrics put so far and writes them.

        Returns:
          How many iterations it waited for.

        Raises:
          BrokenError: if the state is not finite or, where updates that are not are not skipped,
            a metric is not; the metrics before it are written.
        """
        waited = 0
        while self._pending:
            step, count, metrics, finite = self._pending.popleft()
            columns = {name: np.asarray(column)[:count] for name, column in metrics.items()}
            good = count if self._plan.on_divergence == "skip" else count_finite(columns, count)
            self._write(step, good, columns)
            self._bar.update(good)
            if good < count or not finite:
                self._bar.close()
                self.publish()
                raise BrokenError(step, min(step + good + 1, step + count))
            waited += count
        return waited

    def samples(self, step: int, samples: np.ndarray) -> str:
        """Draws samples into the folder, and returns the picture's path."""
        path = pictures.save_samples(self._job, step, samples)
        if self._events:
            with path.open("rb") as file:
                self._events.image(step, "samples", np.asarray(Image.open(file).convert("RGB")))
        self.publish()
        return str(path)

    @property
    def seen(self) -> dict[str, Any]:
        """What a run holds besides its state and metrics."""
        return {
            "best_state": self.scores.kept_in_memory,
            "health": list(self.health.rows),
            "scores": list(self.scores.rows),
        }

    def look(self, step: int, state: GANState) -> bool:
        """Probes the state of a step, and scores its samples, if it is time for that.

        Returns:
          Whether it was.

        Raises:
          BrokenError: if the state is not finite.
        """
        probes, scores = self.health.due(step), self.scores.due(step)
        if probes:
            self.health.take(self._job.run(state, [], finished=False))
        if scores:
            self.flush()
            row, name = self.scores.take(self._job.run(state, [], finished=False))
            self._say(row, [name])
        return probes or scores

    def publish(self) -> None:
        """Lets others see all that is written."""
        if self._writes:
            self._folder.metrics.flush()
            self._folder.health.flush()
        if self._events:
            self._events.flush()
        self._published = time.monotonic()

    def close(self) -> None:
        """Closes the bar and the event file."""
        self._bar.close()
        if self._events:
            self._events.close()

    def _write(self, step, count, columns):
        every, last = self._plan.log_every, self._plan.steps
        seconds = round(time.monotonic() - self._began, 3)
        rows = [
            make_row(step + i, seconds, {name: column[i - 1] for name, column in columns.items()})
            for i in range(1, count + 1)
            if is_logged(step + i, every, last)
        ]
        if not rows:
            return
        self.rows += rows
        if self._writes:
            self._folder.metrics.append(rows)
        for row in rows:
            self._say(row, columns)
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self.publish()

    def _say(self, row, names):
        for name in names:
            if self._events and row[name] is not None:
                self._events.scalar(row["step"], name, row[name])
        if hosts.is_first():
            last = self._plan.steps
            line = f"step {row['step']:>{len(str(last))}}/{last}  {describe(row, names)}"
            tqdm.tqdm.write(line)  # above the bar, if there is one


def open_events(folder: epath.Path, step: int):
    """TensorBoard's events of a run, from a step on; None, and a line, without tensorboardX.

    So a machine that has little more than jax trains too: metrics.jsonl holds the same numbers.
    """
    try:
        from jaxgan.training.events import Events
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":
            raise
        hosts.say("tensorboardX is not installed: TensorBoard's events are left out")
        return None
    return Events(folder, step)


def count_finite(columns: chex.ArrayTree, count: int) -> int:
    """How many of `count` entries along the leaves' first axis come before one not finite."""
    firsts = [
        np.flatnonzero(~np.isfinite(column).reshape(len(column), -1).all(axis=1))
        for column in jax.tree.leaves(columns)
    ]
    return min((int(first[0]) for first in firsts if first.size), default=count)


def make_row(step: int, seconds: float, metrics: dict[str, np.ndarray]) -> dict:
    """A logged step: each metric, or its mean, standard error and values over several seeds.

    `seconds` is the time that training has taken so far.

    What is not finite, as in a skipped update, is None: JSON knows no such numbers.
    """
    row: dict = {"step": step, "seconds": seconds}
    for name, value in metrics.items():
        row[name] = _to_json(np.mean(value, dtype=np.float64))
        if value.ndim:
            with np.errstate(invalid="ignore"):  # infinite less infinite
                error = np.std(value, dtype=np.float64, ddof=1) / len(value) ** 0.5
            row[f"{name}_stderr"] = _to_json(error)
            row[f"{name}_seeds"] = [_to_json(v) for v in value]
    return row


def describe(row: dict, names) -> str:
    """A logged step in one line."""

    def show(name):
        if row[name] is None:
            return "not finite"
        error = row.get(f"{name}_stderr")
        return f"{row[name]:.4g}" + (f" ± {error:.2g}" if error is not None else "")

    return "  ".join(f"{name} {show(name)}" for name in names)


def _to_json(value):
    return float(value) if np.isfinite(value) else None
