"""Rows of decoded images, in memory or in files that are mapped into it."""

import contextlib
import errno
import io
import math
import mmap
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from jaxgan.data.rows import Mapped, digest_of

# The pixels and the records.
FILES = ("images.npy", "rows.bin")

Record = np.dtype([("kinds", "u1"), ("label", "<i4"), ("digest", "u1", 16)])


class Store:
    """Rows that are being decoded, in memory.

    Attributes:
      pixels: uint8 `[N, H, W, C]`.
      records: what is known of each, `Record`s `[N]`. Rows without a kind are not there.
      mapped: where the pixels lie in a file, if they do.
      passing: how many rows could not be decoded now, and may be another time.
    """

    mapped: Mapped | None = None
    passing: int = 0

    def __init__(self, shape: tuple[int, ...]):
        self.pixels = np.zeros(shape, np.uint8)
        self.records = np.zeros(shape[0], Record)

    def put(self, row: int, pixels: np.ndarray, kinds: int, label: int = -1) -> None:
        """Keeps a row's pixels, and then what is known of it."""
        self.records[row] = kinds, label, digest_of(pixels)
        self.pixels[row] = pixels

    def forget(self, rows: np.ndarray) -> None:
        """Takes rows for not decoded."""
        self.records[rows] = 0


class StoreOnDisk(Store):
    """The same in files, which are made if they are not there.

    Args:
      folder: of the cache.
      shape: `[N, H, W, C]`.
      complete: read alone, as files that cannot be written to can be too.

    Raises:
      OSError: if they cannot be made, as where the disk is full.
    """

    def __init__(self, folder: pathlib.Path, shape: tuple[int, ...], complete: bool = False):
        self._folder = folder
        header = npy_header(shape)
        self._start, self._stride = len(header), math.prod(shape[1:])
        size = self._start + shape[0] * self._stride
        fresh = not complete and not is_of_size(folder / "images.npy", size)
        with contextlib.ExitStack() as opened:
            flags = os.O_RDONLY if complete else os.O_RDWR | os.O_CREAT
            flags |= os.O_TRUNC if fresh else 0
            self._files = [os.open(folder / name, flags, 0o666) for name in FILES]
            for file in self._files:
                opened.callback(os.close, file)
            if fresh:
                _reserve(self._files[0], size)
                os.pwrite(self._files[0], header, 0)
                _reserve(self._files[1], shape[0] * Record.itemsize)
            self.mapped = Mapped(_map(self._files[0]), self._start, self._stride)
            self._closing = opened.pop_all()
        pixels = np.frombuffer(self.mapped.map, np.uint8, offset=self._start)
        self.pixels = pixels.reshape(shape)
        self.records = np.fromfile(folder / "rows.bin", Record, shape[0])

    def put(self, row: int, pixels: np.ndarray, kinds: int, label: int = -1) -> None:
        """As in memory. Written and not mapped: on a full disk a mapped page ends the process."""
        self.records[row] = kinds, label, digest_of(pixels)
        _write(self._files[0], np.ascontiguousarray(pixels).data, self._start + row * self._stride)
        _write(self._files[1], self.records[row].tobytes(), row * Record.itemsize)

    def forget(self, rows: np.ndarray) -> None:
        """Takes rows for not decoded."""
        super().forget(rows)
        _write(self._files[1], self.records.tobytes(), 0)

    def finish(self) -> None:
        """Waits until all is on the disk, and closes what writes to it."""
        for file in self._files:
            os.fsync(file)
        self.close()

    def close(self) -> None:
        """Closes what writes to it; the map stays."""
        self._closing.close()


def npy_header(shape: tuple[int, ...]) -> bytes:
    """That of a .npy file of uint8."""
    file = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, shape))}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def _reserve(file: int, size: int) -> None:
    """Takes room on the disk, so that it is not found full after hours of decoding."""
    free = shutil.disk_usage(file).free
    if size > free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def _map(file: int) -> mmap.mmap:
    mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # or the kernel reads 128 kB around each page
        mapped.madvise(mmap.MADV_RANDOM)
    return mapped


def _write(file: int, content: Any, place: int) -> None:
    content = memoryview(content).cast("B")
    while content:
        count = os.pwrite(file, content, place)
        content, place = content[count:], place + count


def is_of_size(path: pathlib.Path, size: int) -> bool:
    """Whether a file is there and has so many bytes."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False
