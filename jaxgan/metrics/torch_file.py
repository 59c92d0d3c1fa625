"""Reads the arrays in a PyTorch file, without PyTorch and without running anything in it.

Such a file is a pickle, which may name any function to be called when it is read. Here it may name
those alone that build arrays, and each is replaced by one of ours.
"""

import collections
import io
import os
import pickle
import zipfile
from typing import Any, NamedTuple

import numpy as np

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
_MAGIC = 0x1950A86A20F9469CFC6C  # with which files of before PyTorch 1.6 begin


class _Place(NamedTuple):
    """Where an array's numbers are: which storage, and how they lie there."""

    storage: tuple
    offset: int
    shape: tuple
    strides: tuple


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a state dict that `torch.save` wrote, by name.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if it is damaged, or holds anything but arrays, in one line.
    """
    with open(path, "rb") as file:
        return parse(file.read(), path)


def parse(whole: bytes, path: str | os.PathLike) -> dict[str, np.ndarray]:
    """What `read` reads, of a file's bytes; its path is for errors."""
    try:
        if zipfile.is_zipfile(io.BytesIO(whole)):
            found, bytes_of = _read_zip(whole)
        else:
            found, bytes_of = _read_legacy(whole)
        if not isinstance(found, dict):
            raise pickle.UnpicklingError("it is no dictionary of arrays")
        places = {name: place for name, place in found.items() if isinstance(place, _Place)}
        return {name: _array(place, bytes_of) for name, place in places.items()}
    except Exception as error:  # pickle and zipfile raise many kinds for damage
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no PyTorch file of arrays: {reason}") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not run") from None

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, *_ = pid
        return dtype, key


def _rebuild_tensor(storage, offset, shape, strides, *_):
    return _Place(storage, offset, shape, strides)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
}


def _read_zip(whole):
    archive = zipfile.ZipFile(io.BytesIO(whole))
    [listing] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    root = listing.removesuffix("data.pkl")
    found = _Unpickler(io.BytesIO(archive.read(listing))).load()
    return found, lambda key: archive.read(f"{root}data/{key}")


def _read_legacy(whole):
    file = io.BytesIO(whole)
    magic, _, _ = (_Unpickler(file).load() for _ in range(3))
    if magic != _MAGIC:
        raise pickle.UnpicklingError("it begins otherwise")
    found, keys = _Unpickler(file).load(), _Unpickler(file).load()
    sizes = {place.storage[1]: np.dtype(place.storage[0]).itemsize for place in found.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(count * sizes[key])
    return found, storages.__getitem__


def _array(place, bytes_of):
    dtype, key = place.storage
    flat = np.frombuffer(bytes_of(key), np.dtype(dtype).newbyteorder("<"))[place.offset :]
    if 0 in place.shape:
        return np.zeros(place.shape, dtype)
    # numpy would read whatever lies behind it.
    last = sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True))
    if min((0, *place.shape, *place.strides)) < 0 or last >= len(flat):
        raise ValueError("an array reaches past its end")
    strides = [step * flat.itemsize for step in place.strides]
    return np.lib.stride_tricks.as_strided(flat, place.shape, strides).astype(dtype)
