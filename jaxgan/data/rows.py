"""Some rows of an array that may be larger than memory: read when they are asked for."""

import hashlib
import mmap
from typing import Any, NamedTuple

import numpy as np

MEMORY_BYTES = 2**30  # sets up to this size are arrays in memory
_PIECE = 2**26  # bytes that are read at once for a digest


class Mapped(NamedTuple):
    """Where the rows of a mapped file lie.

    Attributes:
      map: the file.
      start: where the first row begins, in bytes.
      stride: from each row to the next.
    """

    map: mmap.mmap
    start: int
    stride: int

    def ask_for(self, rows: np.ndarray) -> None:
        """Begins to read these rows from the disk, all at once, and waits for none.

        Without it a gather waits for one page after another: rows of 12 kB, of which none was in
        memory, took 6 times as long (3 times where the kernel reads 128 kB around each page).
        """
        if not hasattr(mmap, "MADV_WILLNEED"):  # it is a hint alone
            return
        for row in rows.ravel().tolist():
            first = self.start + row * self.stride
            aligned = first - first % mmap.PAGESIZE
            self.map.madvise(mmap.MADV_WILLNEED, aligned, first + self.stride - aligned)


class Rows:
    """Examples of a data set, as an array has them, some rows of another array.

    Indexing by whole numbers, slices and arrays of them gives arrays in memory, `len`, `shape`,
    `dtype`, `ndim`, `size` and `nbytes` are an array's. `rows[:]` is a copy of all.

    Args:
      array: `[M, ...]`, in memory or mapped.
      index: which of its rows, in this order, `[N]`.
      digests: of each row of the array, uint8 `[M, 16]`; None where they are not known.
      mapped: where the array lies in a file, if it does.
    """

    def __init__(
        self,
        array: np.ndarray,
        index: np.ndarray,
        digests: np.ndarray | None,
        mapped: Mapped | None = None,
    ):
        self._array, self._index, self._digests, self._mapped = array, index, digests, mapped
        self.shape = (len(index), *array.shape[1:])
        self.dtype, self.ndim = array.dtype, array.ndim
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = self._index[key]
        if self._mapped is not None:
            self._mapped.ask_for(rows)
        found = self._array[rows]
        return found if rows.ndim else found.copy()  # a row alone would be a view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def digest(self) -> bytes:
        """Tells the examples and their order from others; without digests it reads them."""
        digest = hashlib.sha256(f"{self.dtype}{self.shape}".encode())
        if self._digests is not None:
            digest.update(np.ascontiguousarray(self._digests[self._index]).data)
            return digest.digest()
        count = max(1, _PIECE * len(self) // self.nbytes)
        for start in range(0, len(self), count):
            digest.update(np.ascontiguousarray(self[start : start + count]).data)
        return digest.digest()

    def in_memory_if_small(self, of: int) -> "np.ndarray | Rows":
        """An array of these rows, unless they are of a set of more than `MEMORY_BYTES` bytes."""
        return self if of > MEMORY_BYTES else self[:]


def digest_of(row: np.ndarray) -> np.ndarray:
    """A row's own digest, uint8 `[16]`."""
    digest = hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest()
    return np.frombuffer(digest, np.uint8)
