"""Where jaxgan keeps what it makes once, and how such a file is written."""

import os
import pathlib
import tempfile


def cache(*parts: str) -> pathlib.Path:
    """A place in the user's cache: `$XDG_CACHE_HOME/jaxgan`, by default `~/.cache/jaxgan`."""
    # A user without a home, as in some containers, gets a folder named ~ and no error.
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return pathlib.Path(home, "jaxgan", *parts)


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file, and its folders, so that it is never there by half.

    It gets its name when it is complete: neither an interruption nor a second process leaves half.

    Raises:
      OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            part.write(content)
            part.close()
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise
