"""Takes out of what a page says of a run where things are on this machine."""

import re
from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxgan.commands.page_runs import Place
from jaxgan.training import json_files

SETTINGS = ("workdir", "data_dir", "cache_dir")
# Names of runs, and of the page's own files; and numbers.
_WITHOUT_PLACES = ("id", "name", "file", "curves", "points")
# The folders of a path that begins at the root. Addresses have two slashes.
_FOLDERS = re.compile(r"(?<![\w/.~-])/(?:[^/\s'\"]+/)+")


def of(place: Place) -> list[str]:
    """The paths that may be said of a run: its folder, its data, and where its settings point to.

    Longer ones come first, since they may hold others.
    """
    recorded, data = (_read(place.folder / name) for name in ("config.json", "data.json"))
    found = [str(place.folder), str(place.folder.resolve())]
    found += [str(recorded.get(name)) for name in SETTINGS]
    for name in (recorded.get("dataset"), data.get("name")):  # as folder:PATH
        found.append(str(name).partition(":")[2])
    paths = {path.rstrip("/") for path in found}
    return sorted((path for path in paths if "/" in path), key=len, reverse=True)


def cut(content: Any, paths: Sequence[str]) -> Any:
    """JSON of a run without the settings that are places, and with the last names of paths alone.

    Args:
      content: what the page says.
      paths: those to look for besides what looks like one: they may have spaces, or be relative.
    """
    if isinstance(content, str):
        for path in paths:
            content = content.replace(path, path.rpartition("/")[2])
        return _FOLDERS.sub("", content)
    if isinstance(content, list):
        return [cut(each, paths) for each in content]
    if isinstance(content, dict):
        return {
            name: value if name in _WITHOUT_PLACES else cut(value, paths)
            for name, value in content.items()
            if name not in SETTINGS
        }
    return content


def _read(path: epath.Path) -> dict[str, Any]:
    try:
        return json_files.read(path)
    except ValueError:  # which the page says
        return {}
