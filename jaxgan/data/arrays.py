"""Arrays on disk as data sets: `npy:FILE`."""

import mmap
import os
from typing import Any

import numpy as np

from jaxgan.data.dataset import Dataset, hold_out
from jaxgan.data.rows import Mapped, Rows

# The third is what `sample.py --what=npz` writes.
_EXAMPLES, _LABELS = ("images", "x", "samples"), ("labels", "y")


def load_array(name: str) -> Dataset:
    """The examples in a .npy file, or in a .npz file under `images`, `x` or `samples`.

    A fixed random tenth is held out. A large .npy file of pixels or float32 numbers stays on disk,
    and is read when it is trained on. Labels are under `labels` or `y`, integers from 0 on.

    Args:
      name: `npy:FILE`; `~` is the user's own folder.

    Raises:
      ValueError: if there is no such file, it holds no such array, or labels do not fit it.
    """
    examples, labels = read_array(name.removeprefix("npy:"), name, least=2)
    train, test = hold_out(len(examples))

    def pick(chosen):
        rows = Rows(examples, chosen, None, _mapped(examples))
        return rows.in_memory_if_small(examples.nbytes)

    return Dataset(
        name,
        pick(train),
        pick(test),
        None if labels is None else labels[train],
        None if labels is None else labels[test],
    )


def read_array(path: str, name: str, least: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    """The examples in a .npy or .npz file, and their labels; examples in the former are mapped.

    Args:
      path: the file; `~` is the user's own folder.
      name: what messages call it.
      least: how many examples there must be, one or two.

    Raises:
      ValueError: if there is no such file, it holds no such array, or labels do not fit it.
    """
    path = os.path.expanduser(path)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)  # .npz files are never mapped
    except Exception as error:  # a damaged file raises many kinds
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{name!r} cannot be read as an array: {reason}") from error
    if isinstance(loaded, np.ndarray):
        examples, labels = loaded, None
    else:
        with loaded:
            examples, labels = _pick(loaded, _EXAMPLES), _pick(loaded, _LABELS)
            if examples is None:
                raise ValueError(
                    f"{name!r} holds {', '.join(loaded.files) or 'nothing'}: name its examples "
                    "images or x, and its labels labels or y"
                )
    if examples.ndim < 2 or len(examples) < least:
        raise ValueError(
            f"{name!r} must hold an array [N, ...] of at least "
            f"{'one example' if least == 1 else 'two examples'}; got shape {examples.shape}"
        )
    if examples.dtype != np.uint8:
        if not np.issubdtype(examples.dtype, np.floating):
            raise ValueError(f"{name!r} must hold uint8 pixels or floats; got {examples.dtype}")
        examples = examples.astype(np.float32, copy=False)
    if labels is not None:
        labels = _check_labels(name, labels, len(examples))
    return examples, labels


def _mapped(examples: Any) -> Mapped | None:
    """Where the examples lie in a .npy file, if they are mapped and each is in one piece."""
    file = examples.base
    if not isinstance(file, mmap.mmap) or not examples.flags.c_contiguous:
        return None
    start = examples.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data
    return Mapped(file, start, examples.strides[0])


def _pick(loaded, names):
    return next((loaded[name] for name in names if name in loaded.files), None)


def _check_labels(name, labels, count):
    whole = np.issubdtype(labels.dtype, np.integer)
    if labels.shape != (count,) or not whole or labels.min() < 0:
        raise ValueError(
            f"the labels of {name!r} must be {count} integers from 0 on; got {labels.dtype} of "
            f"shape {labels.shape}"
        )
    return labels.astype(np.int32)
