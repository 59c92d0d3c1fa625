"""What a run says of itself: the metrics file, TensorBoard, a progress bar and lines of text."""

import collections
import tempfile

import jax
import numpy as np
import tensorboardX
import tqdm
from etils import epath
from PIL import Image
from run_folder import RunFolder, is_remote

from jaxgan import hosts
from jaxgan.config import Config
from jaxgan.data import Dataset


class DivergedError(Exception):
    """A metric is no longer finite."""


class Log:
    """Writes down the metrics of every chunk, one chunk behind the device.

    Of several processes the first writes; the others only watch for divergence.

    Args:
      config: the run's settings.
      folder: where the files go.
      dataset: what the samples imitate.
      step: the step that the run goes on from.
    """

    def __init__(self, config: Config, folder: RunFolder, dataset: Dataset, step: int):
        self._config, self._folder, self._dataset = config, folder, dataset
        self._pending: collections.deque = collections.deque()
        # Events after `step` are from a run that was cut off before its checkpoint.
        # In an object store they are copies of files here, which can grow.
        self._events_folder = tempfile.mkdtemp() if is_remote(folder.path) else str(folder.path)
        self._events = tensorboardX.SummaryWriter(
            self._events_folder, purge_step=step + 1, write_to_disk=hosts.is_first()
        )
        self._bar = tqdm.tqdm(
            initial=step,
            total=config.steps,
            unit="step",
            disable=None if hosts.is_first() else True,
            dynamic_ncols=True,
        )

    def say(self, line: str) -> None:
        """Prints a line, above the progress bar if there is one."""
        tqdm.tqdm.write(line)

    def put(self, step: int, count: int, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of `count` iterations from `step` on, without waiting for them."""
        self._pending.append((step, count, metrics))

    def flush(self) -> int:
        """Waits for all metrics put so far and writes them.

        Returns:
          How many iterations it waited for.

        Raises:
          DivergedError: if a metric is not finite; those before it are written.
        """
        waited = 0
        while self._pending:
            step, count, metrics = self._pending.popleft()
            columns = {name: np.asarray(column)[:count] for name, column in metrics.items()}
            good = count_finite(columns)
            self._write(step, good, columns)
            self._bar.update(good)
            if good < count:
                self._bar.close()
                bad = [name for name, c in columns.items() if not np.isfinite(c[good]).all()]
                raise DivergedError(
                    f"training diverged at step {step + good + 1}: {', '.join(bad)} is not "
                    f"finite. {self._folder.path} keeps the last good checkpoint. A smaller "
                    "--d-learning-rate or --g-learning-rate may help."
                )
            waited += count
        return waited

    def samples(self, step: int, samples: jax.Array) -> str:
        """Draws samples, and returns the picture's path."""
        path = self._folder.save_samples(step, np.asarray(samples), self._dataset)
        with path.open("rb") as file:
            picture = np.asarray(Image.open(file).convert("RGB"))
        self._events.add_image("samples", picture, step, dataformats="HWC")
        self._upload_events()
        return str(path)

    def close(self) -> None:
        """Closes the bar and the event file."""
        self._bar.close()
        self._events.close()
        self._upload_events()

    def _upload_events(self):
        self._events.flush()
        if self._events_folder != str(self._folder.path):
            for path in epath.Path(self._events_folder).iterdir():
                (self._folder.path / path.name).write_bytes(path.read_bytes())

    def _write(self, step, count, columns):
        every, last = self._config.log_every, self._config.steps
        rows = [
            make_row(step + i + 1, {name: column[i] for name, column in columns.items()})
            for i in range(count)
            if (step + i + 1) % every == 0 or step + i + 1 == last
        ]
        if not rows or not hosts.is_first():
            return
        self._folder.append(rows)
        for row in rows:
            for name in columns:
                self._events.add_scalar(name, row[name], row["step"])
            self.say(f"step {row['step']:>{len(str(last))}}/{last}  {describe(row, columns)}")


def count_finite(columns: dict[str, np.ndarray]) -> int:
    """How many iterations come before the first with a metric that is not finite."""
    finite = np.logical_and.reduce(
        [np.isfinite(column).reshape(len(column), -1).all(axis=1) for column in columns.values()]
    )
    return len(finite) if finite.all() else int(np.argmin(finite))


def make_row(step: int, metrics: dict[str, np.ndarray]) -> dict:
    """A logged step: each metric, or its mean, standard error and values over several seeds."""
    row: dict = {"step": step}
    for name, value in metrics.items():
        row[name] = float(np.mean(value, dtype=np.float64))
        if value.ndim:
            row[f"{name}_stderr"] = float(
                np.std(value, dtype=np.float64, ddof=1) / len(value) ** 0.5
            )
            row[f"{name}_seeds"] = [float(v) for v in value]
    return row


def describe(row: dict, names) -> str:
    """A logged step in one line."""
    return "  ".join(
        f"{name} {row[name]:.4g}"
        + (f" ± {row[f'{name}_stderr']:.2g}" if f"{name}_stderr" in row else "")
        for name in names
    )
