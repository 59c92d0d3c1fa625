"""Decoded images, kept on disk: a file of pixels that is mapped into memory, made once.

A folder of the cache belongs to one folder of images and one way to decode it. It holds

* `images.npy`: the pixels, uint8 `[N, H, W, C]`, a row for each file, which numpy can map too;
* `rows.bin`: a `Record` for each row, written after its pixels: what is there after a kill;
* `manifest.json`: what was decoded and how, whether all of it is, and a checksum.

One process at a time decodes into it, and others wait for it. Those that read keep the file that
they have mapped, whatever becomes of the folder.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgan import places
from jaxgan.data import images
from jaxgan.data.rows import digest_of
from jaxgan.data.store import FILES, Record, Store, StoreOnDisk, is_of_size, npy_header


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


def default_dir() -> pathlib.Path:
    """`$JAXGAN_CACHE_DIR`, else `jaxgan/decoded` in the user's cache."""
    if given := os.environ.get("JAXGAN_CACHE_DIR"):
        return pathlib.Path(given).expanduser()
    return places.cache("decoded")


def folder_of(
    root: pathlib.Path, decode: dict[str, Any], cache_dir: Any = None, name: str = ""
) -> pathlib.Path:
    """The folder of the cache for a folder of images, by its name, and a way to decode it."""
    place = default_dir() if cache_dir is None else pathlib.Path(cache_dir).expanduser()
    key = hashlib.sha256(os.fsencode(os.path.realpath(root)) + _json(decode).encode())
    name = re.sub(r"[^\w.-]", "-", name or root.resolve().name)[:60]
    return place / f"{name}-{key.hexdigest()[:12]}"


def describe(files: Sequence[pathlib.Path], root: pathlib.Path) -> dict[str, Any]:
    """What tells files from others: their names, sizes, times, and who may read them."""
    digest = hashlib.sha256()
    for path in files:
        try:
            status = path.stat()
            known = status.st_size, status.st_mtime_ns, status.st_mode
        except OSError as error:
            known = (error.errno or 0,) * 3
        digest.update(os.fsencode(path.relative_to(root)) + b"\0%d %d %d\n" % known)
    return {"count": len(files), "digest": digest.hexdigest()}


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
            for name in ("manifest.json", *FILES):  # who has mapped them keeps them
                (folder / name).unlink(missing_ok=True)
        try:
            store = StoreOnDisk(folder, shape)
        except OSError:
            for name in FILES:  # or they would fill the disk
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


def keep(
    folder: pathlib.Path,
    about: dict[str, Any],
    shape: tuple[int, ...],
    fill: Callable[[Store], list[str]],
    log: Callable[[str], None],
    name: str,
) -> Kept:
    """`load_or_fill`, or the same in memory where the folder cannot be written.

    Raises:
      ValueError: if they would take more than half of the memory; `name` is what it calls them.
    """
    try:
        return load_or_fill(folder, about, shape, fill, log)
    except OSError as error:
        size = f"{math.prod(shape) / 1e9:.2g} GB of decoded images cannot be kept in {folder}"
        reason = f"{size} ({error.strerror or error})"
    if math.prod(shape) > images.memory() / 2:
        raise ValueError(
            f"{reason}, and would take more than half of this machine's memory: make room there, "
            f"give a cache_dir on another disk, or a smaller image_size for {name!r}"
        )
    log(f"{reason}: decoding into memory, this time and the next")
    store = Store(shape)
    return Kept(store, fill(store), "in memory")


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
    sizes = len(npy_header(shape)) + math.prod(shape), shape[0] * Record.itemsize
    for name, expected in zip(FILES, sizes, strict=True):
        if not is_of_size(folder / name, expected):
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
