"""A run's `metrics.jsonl`: a line of JSON for each logged step."""

import json
from collections.abc import Callable, Mapping, Sequence

from etils import epath

from jaxgan.training import json_files


class MetricsFile:
    """The rows that a run has logged, in a file that only grows, but for `keep`."""

    def __init__(self, path: epath.Path):
        self.path = path
        self._held = ""

    def read(self, warn: Callable[[str], None] | None = None) -> list[dict]:
        """The rows, oldest first.

        Args:
          warn: given one line that names the first bad line; bad ones are then left out.

        Raises:
          ValueError: if the file cannot be read, or without `warn` if it holds something else.
        """
        if not self.path.exists():
            return []
        try:
            lines = self.path.read_bytes().decode(errors="replace").split("\n")
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror}") from error
        rows, bad = [], []
        for line in lines[:-1]:  # the last is empty, or cut short by a kill
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                bad.append(f"{self.path} holds a line that is no metrics: {line[:60]!r}")
                if warn is None:
                    raise ValueError(bad[0])
            else:
                rows.append(row)
        if bad and warn is not None:
            warn(bad[0] + (f", and {len(bad) - 1} more like it" if bad[1:] else ""))
        return rows

    def keep(self, belongs: Callable[[dict], bool]) -> None:
        """Forgets the other rows."""
        kept = "".join(json.dumps(row) + "\n" for row in self.read() if belongs(row))
        # Also where only half a line is too much: the next one would be joined to it.
        if self.path.exists() and self.path.read_text() != kept:
            json_files.write_whole(self.path, kept)

    def append(self, rows: Sequence[Mapping]) -> None:
        """Adds rows; in an object store with the next `flush`."""
        self._held += "".join(json.dumps(row) + "\n" for row in rows)
        if not is_remote(self.path):
            self.flush()

    def flush(self) -> None:
        """Writes the rows that are held back."""
        if self._held and is_remote(self.path):  # objects in a store cannot grow
            before = self.path.read_text() if self.path.exists() else ""
            self.path.write_text(before + self._held)
        elif self._held:
            with self.path.open("a") as file:
                file.write(self._held)
        self._held = ""


def is_logged(step: int, log_every: int, steps: int) -> bool:
    """Whether a step's metrics are logged: one in `log_every`, and the last."""
    return step % log_every == 0 or step == steps


def is_remote(path: epath.Path) -> bool:
    """Whether it is in an object store, as gs://BUCKET/FOLDER is."""
    return "://" in str(path)
