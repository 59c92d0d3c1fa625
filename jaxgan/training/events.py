"""TensorBoard's event file of a run: the one module that needs tensorboardX."""

import os
import socket
import tempfile
import time

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter

from jaxgan.training.metrics_file import is_remote


class Events:
    """TensorBoard's events, written by the caller's thread.

    tensorboardX's `SummaryWriter` hands them to a thread of its own: on a full disk that thread
    dies, and whoever has more events to give waits for ever.

    Args:
      folder: where the file goes. In an object store it is a copy of one here, which can grow.
      step: events after it are from a run that was cut off before its checkpoint.
    """

    def __init__(self, folder: epath.Path, step: int):
        self._folder = folder
        self._copied = tempfile.TemporaryDirectory() if is_remote(folder) else None
        self._local = self._copied.name if self._copied else str(folder)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._writer = RecordWriter(os.path.join(self._local, name))
        self.add(0, file_version="brain.Event:2")
        self.add(step + 1, session_log=SessionLog(status="START"))
        self.flush()

    def add(self, step: int, **what) -> None:
        """Writes an event of a step: a summary of values, or what else `Event` may hold."""
        event = Event(step=step, wall_time=time.time(), **what)
        self._writer.write(event.SerializeToString())

    def scalar(self, step: int, name: str, value: float) -> None:
        """Writes a metric."""
        self.add(step, summary=summary.scalar(name, value))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes a picture, uint8 `[H, W, 3]`."""
        self.add(step, summary=summary.image(name, pixels, dataformats="HWC"))

    def flush(self) -> None:
        """Lets TensorBoard see all that was added."""
        self._writer.flush()
        if self._copied:
            for path in epath.Path(self._local).iterdir():
                (self._folder / path.name).write_bytes(path.read_bytes())

    def close(self) -> None:
        """Flushes and closes the file."""
        try:
            self.flush()
        finally:
            self._writer.close()
            if self._copied:
                self._copied.cleanup()
