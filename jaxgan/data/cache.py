"""Decoded images, kept on disk: a file of pixels that is mapped into memory, made once.

A folder of the cache belongs to one folder of images and one way to decode it. It holds

* `images.npy`: the pixels, uint8 `[N, H, W, C]`, a row for each file, which numpy can map too;
* `rows.bin`: a `Record` for each row, written after its pixels: what is there after a kill;
* `manifest.json`: what was decoded and how, whether all of it is, and a checksum.

One process at a time decodes into it, and others wait for it. Those that read keep the file that
they have mapped, whatever becomes of the folder.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
import mmap
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data import images
from jaxgan.data.rows import Mapped, digest_of

Record = np.dtype([("kinds", "u1"), ("digest", "u1", 16)])


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

    def put(self, row: int, pixels: np.ndarray, kinds: int) -> None:
        """Keeps a row's pixels, and then what is known of it."""
        self.records[row] = kinds, digest_of(pixels)
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
        header = _header(shape)
        self._start, self._stride = len(header), math.prod(shape[1:])
        size = self._start + shape[0] * self._stride
        fresh = not complete and not _is_of_size(folder / "images.npy", size)
        with contextlib.ExitStack() as opened:
            flags = os.O_RDONLY if complete else os.O_RDWR | os.O_CREAT
            flags |= os.O_TRUNC if fresh else 0
            self._files = [os.open(folder / name, flags, 0o666) for name in _FILES]
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

    def put(self, row: int, pixels: np.ndarray, kinds: int) -> None:
        """As in memory. Written and not mapped: on a full disk a mapped page ends the process."""
        self.records[row] = kinds, digest_of(pixels)
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


class Kept(NamedTuple):
    """Rows that are all decoded.

    Attributes:
      store: the rows.
      notes: lines about them, from when they were decoded.
      place: where they are, in words.
    """

    store: Store
    notes: list[str]
    place: str


_FILES = ("images.npy", "rows.bin")


def default_dir() -> pathlib.Path:
    """`$JAXGAN_CACHE_DIR`, else `jaxgan/decoded` in the user's cache."""
    if given := os.environ.get("JAXGAN_CACHE_DIR"):
        return pathlib.Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "jaxgan" / "decoded"


def folder_of(root: pathlib.Path, decode: dict[str, Any], cache_dir: Any = None) -> pathlib.Path:
    """The folder of the cache for a folder of images and a way to decode it."""
    place = default_dir() if cache_dir is None else pathlib.Path(cache_dir).expanduser()
    key = hashlib.sha256(os.fsencode(os.path.realpath(root)) + _json(decode).encode())
    name = re.sub(r"[^\w.-]", "-", root.resolve().name)[:60]
    return place / f"{name}-{key.hexdigest()[:12]}"


def load_or_fill(
    folder: pathlib.Path,
    about: dict[str, Any],
    shape: tuple[int, ...],
    fill: Callable[[Store], list[str]],
    log: Callable[[str], None],
) -> Kept:
    """The decoded rows of a folder of the cache, which are made if they are not all there.

    Args:
      folder: from `folder_of`.
      about: what tells these rows from others: the files and how they are decoded, for JSON. Its
        `source` is a dict with the `count` of files and a `digest` of them.
      shape: `[N, H, W, C]`.
      fill: decodes the rows that have no kind yet, and returns lines about them.
      log: called with a line where rows are made anew or another process makes them.

    Raises:
      OSError: if the folder cannot be written, as where the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder, log):
        manifest, reason = _read_manifest(folder, about, shape)
        if manifest is not None and manifest["complete"]:
            store = StoreOnDisk(folder, shape, complete=True)
            store.close()
            return Kept(store, manifest["notes"], f"decoded before, in {folder}")
        if reason:
            log(f"{reason}: decoding all again")
        if manifest is None:
            for name in ("manifest.json", *_FILES):  # who has mapped them keeps them
                (folder / name).unlink(missing_ok=True)
        try:
            store = StoreOnDisk(folder, shape)
        except OSError:
            for name in _FILES:  # or they would fill the disk
                (folder / name).unlink(missing_ok=True)
            raise
        with contextlib.closing(store):
            if manifest is None:
                _write_manifest(folder, {"about": about, "complete": False})
            _check_rows(store, log)
            notes = fill(store)
            store.finish()
            if not store.passing:  # or they would be missing for ever
                digest = hashlib.sha256(store.records.tobytes()).hexdigest()
                _write_manifest(
                    folder, {"about": about, "complete": True, "rows": digest, "notes": notes}
                )
            return Kept(store, notes, f"decoded into {folder}")


def _check_rows(store: Store, log: Callable[[str], None]) -> None:
    """Takes rows for not decoded where their pixels are not what was written before a crash."""
    there = np.flatnonzero(store.records["kinds"])
    lost = [
        row for row in there if (digest_of(store.pixels[row]) != store.records["digest"][row]).any()
    ]
    if lost:
        store.forget(np.array(lost))
    if len(there):
        left = len(store.records) - len(there) + len(lost)
        log(f"going on with an interrupted decoding: {left:,} of {len(store.records):,} are left")


def _read_manifest(folder, about, shape):
    """What is in the folder, if it is of use; otherwise why not, in words."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        checksum = manifest.pop("checksum")
        if checksum != _checksum(manifest):
            raise ValueError("it has another checksum")
        then, complete = manifest["about"], manifest["complete"]
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"{path} is damaged ({images.one_line(error)})"
    if then["decode"] != about["decode"]:
        return None, f"{folder} was decoded in another way"
    if then["source"] != about["source"]:
        before, now = then["source"]["count"], about["source"]["count"]
        changed = f"{before:,} then, {now:,} now" if before != now else "as many, of other times"
        return None, f"the files have changed since they were decoded ({changed})"
    sizes = len(_header(shape)) + math.prod(shape), shape[0] * Record.itemsize
    for name, expected in zip(_FILES, sizes, strict=True):
        if not _is_of_size(folder / name, expected):
            return None, f"{folder / name} is damaged (it is of another size)"
    if complete:
        records = (folder / "rows.bin").read_bytes()
        if hashlib.sha256(records).hexdigest() != manifest["rows"]:
            return None, f"{folder / 'rows.bin'} is damaged (it has another checksum)"
    return manifest, ""


def _write_manifest(folder: pathlib.Path, manifest: dict[str, Any]) -> None:
    """Writes it whole or not at all."""
    part = folder / "manifest.json.part"
    with open(part, "w") as file:
        file.write(json.dumps(manifest | {"checksum": _checksum(manifest)}, indent=1))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / "manifest.json")


def _checksum(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(_json(manifest).encode()).hexdigest()


def _json(tree: Any) -> str:
    return json.dumps(tree, sort_keys=True)


@contextlib.contextmanager
def _lock(folder: pathlib.Path, log: Callable[[str], None]) -> Iterator[None]:
    """Holds the folder alone, after whoever has it; with others where it can only be read."""
    path, kind = folder / ".lock", fcntl.LOCK_EX
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(open(path, "w"))
        except OSError:
            file, kind = opened.enter_context(open(path)), fcntl.LOCK_SH
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"waiting for another process that decodes into {folder}")
            fcntl.flock(file, kind)
        yield


def _header(shape: tuple[int, ...]) -> bytes:
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


def _is_of_size(path: pathlib.Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
