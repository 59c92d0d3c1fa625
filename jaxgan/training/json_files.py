"""Files that hold one JSON object each, and are whole whenever they are read."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from etils import epath


def write(path: epath.Path, content: Mapping[str, Any]) -> None:
    """Writes an object."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_whole(path: epath.Path, content: str | bytes) -> None:
    """Writes a file so that, killed at any moment, it holds all of the content or what it held."""
    part = path.with_name(path.name + ".part")
    try:
        if isinstance(content, str):
            part.write_text(content)
        else:
            part.write_bytes(content)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk has room again
            part.unlink(missing_ok=True)
        raise


def read(path: epath.Path) -> dict[str, Any]:
    """Reads an object.

    Raises:
      ValueError: if the file cannot be read, or holds none.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds {str(content)[:40]!r}, no JSON object")
    return content
