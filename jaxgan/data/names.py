"""What a data set's name means where it is a path, and what was meant by one that is none."""

import difflib
import os
import pathlib
import re
from collections.abc import Sequence

_ARRAYS = (".npy", ".npz")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


def open_folder(name: str) -> pathlib.Path:
    """The folder that `folder:PATH` names; `~` is the user's own.

    Raises:
      ValueError: if there is no such folder.
    """
    path = os.path.expanduser(name.removeprefix("folder:"))
    if path and os.path.isdir(path):
        return pathlib.Path(path)
    reason = _explain_file(path) or "is not a folder; give folder:PATH with an existing folder"
    raise ValueError(f"{name!r} {reason}")


def unknown(name: str, others: Sequence[str], known: Sequence[str]) -> ValueError:
    """The error for a name that is none.

    Args:
      name: what was given.
      others: the names to list.
      known: more names, too many to list.
    """
    path = re.sub(r"^\w+:(?!//)", "", name)  # folder: in capitals, npz:, and what others may invent
    if reason := _explain_file(os.path.expanduser(path)):
        return ValueError(f"dataset {name!r} {reason}")
    nearest = difflib.get_close_matches(name.lower(), [*others, *known], n=1)
    if "/" in path or (path and os.path.isdir(os.path.expanduser(path))):
        nearest = [f"folder:{path}"]
    return ValueError(
        f"unknown dataset {name!r}"
        + (f", did you mean {nearest[0]!r}?" if nearest else ".")
        + f" There are {', '.join(others)} and the image sets of tensorflow-datasets, such as "
        "mnist, fashion_mnist or cifar10"
    )


def _explain_file(path: str) -> str:
    """Why a path is no data set, if it is one that nobody takes for a folder."""
    suffix = os.path.splitext(path)[1].lower()
    if os.path.isdir(path):
        return ""
    if "://" in path:
        return "is an address, and folders are read from disks: copy it here, and give folder:PATH"
    if suffix in _ARRAYS:
        return f"is an array on disk: give npy:{path}"
    if suffix in _ARCHIVES:
        return "is an archive: unpack it, and give folder:PATH with the folder that it becomes"
    if os.path.isfile(path):
        return "is a file; give folder:PATH with a folder of images"
    return ""
