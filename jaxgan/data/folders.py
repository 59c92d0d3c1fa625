"""Every image under a folder: finding them, and decoding those that can be, once."""

import collections
import contextlib
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.data import cache, decode, images, labels
from jaxgan.data.store import Store

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".apng", ".ppm", ".pgm", ".pbm", ".pnm"),
)

SAMPLED = 20  # files, or up to twice as many, whose sizes are looked at


class Found(NamedTuple):
    """What a folder holds.

    Fields:
      files: the images, in the order of their paths, which is the order of the data.
      others: how many files there are of each other suffix, none of them hidden.
      left_out: folders and links that are not read, and why.
    """

    files: list[pathlib.Path]
    others: collections.Counter[str]
    left_out: list[str]


class Decoded(NamedTuple):
    """The images of a folder, and where each is among them.

    Fields:
      kept: a row for each file, and where that is.
      files: of each row.
      pixels: of its store, uint8 `[M, H, W, C]`.
      rows: those that were decoded, in the order of the files' paths, `[N]`.
      labels: their classes, int32 `[N]`, or None.
      class_names: the sub-folder of each class, or None.
    """

    kept: cache.Kept
    files: list[pathlib.Path]
    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None


def decode_folder(
    root: pathlib.Path,
    name: str,
    size: tuple[int, int],
    log: Callable[[str], None],
    channels: int | None = None,
    num_classes: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Decoded:
    """Decodes every image under a folder that can be decoded; names the others.

    Args:
      root: the folder. Hidden files and folders are passed over, and so are folders of runs; links
        are followed, and each file is read once.
      name: what messages call it.
      size: the height and width that each image is scaled and cut to.
      log: called with a line about whatever is not read, or not as it stands.
      channels: 1 for grey, 3 for colours, 4 with transparency; by default 1 if all are grey, or 3.
      num_classes: how many sub-folders there must be, which are the classes; None reads no labels.
      cache_dir: where decoded images are kept, see `jaxgan.data.cache`.

    Raises:
      ValueError: if fewer than two can be decoded, the classes are not so many, or the images can
        neither be kept on disk nor in memory.
    """
    found = find_images(root)
    files, notes = found.files, _describe(found)
    if not files:
        raise ValueError(
            "; ".join([f"no images under {root}; looked for {', '.join(SUFFIXES)}"] + notes)
        )
    for line in notes + _describe_scale(files, size):
        log(line)
    classes = labels.find_classes(files, root, name, num_classes, log)

    shape = (len(files), *size, channels or 3)
    kept = _decode_once(files, root, shape, name, cache_dir, log)
    for line in kept.notes:
        log(line)
    store = kept.store
    kinds = store.records["kinds"]
    rows = np.flatnonzero(kinds & decode.GOOD)
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows)} of the {len(files)} images under {root} can be decoded, and at least "
            "2 are needed, one of them to hold out"
        )
    grey = channels is None and bool((kinds[rows] & decode.GREY).all())
    pixels = store.pixels[..., :1] if grey else store.pixels
    if classes is None:
        return Decoded(kept, files, pixels, rows)
    numbers = labels.label(classes, rows, name, log)
    return Decoded(kept, files, pixels, rows, numbers, tuple(classes.names))


def _describe_scale(files: Sequence[pathlib.Path], size: tuple[int, int]) -> list[str]:
    """A line where all of some files, from the first to the last, are smaller than is asked for."""
    from PIL import Image

    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    for path in files[:: max(1, len(files) // SAMPLED)]:
        # What cannot be read is said when it is decoded; opening a pipe would wait for ever.
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.is_file():
                with Image.open(path, formats=images.FORMATS) as image:
                    sizes[image.size] += 1
    if not sizes or any(w >= size[1] or h >= size[0] for w, h in sizes):
        return []
    width, height = sizes.most_common(1)[0][0]
    keeps = height if width == height else f"{height}x{width}"
    return [
        f"the images are {height}x{width} and are scaled up to {size[0]}x{size[1]}: "
        f"image_size={keeps} keeps them"
    ]


def _decode_once(
    files: Sequence[pathlib.Path],
    root: pathlib.Path,
    shape: tuple[int, ...],
    name: str,
    cache_dir: str | os.PathLike | None,
    log: Callable[[str], None],
) -> cache.Kept:
    """Decodes files into the cache, or takes them from there; into memory where that fails."""

    def fill(store: Store) -> list[str]:
        return decode.fill(store, files, root)

    way = dict(zip(("height", "width", "channels"), shape[1:], strict=True))
    about = {"source": cache.describe(files, root), "decode": way | {"version": decode.VERSION}}
    folder = cache.folder_of(root, way, cache_dir)
    return cache.keep(folder, about, shape, fill, log, name)


def find_images(root: pathlib.Path) -> Found:
    """Looks for images in a folder, its sub-folders and what is linked there, each file once."""
    found = Found([], collections.Counter(), [])
    paths: list[pathlib.Path] = []
    for folder, names in _walk(root, found.left_out):
        for name in names:
            path = pathlib.Path(folder, name)
            suffix = path.suffix.lower()
            if suffix in SUFFIXES:
                paths.append(path)
            elif path.is_symlink() and not os.path.exists(path):
                found.left_out.append(
                    f"{images.one_line(path.relative_to(root))} (a link to nowhere)"
                )
            else:
                found.others[suffix] += 1
    found.files.extend(_keep_one_path_each(paths, root, found.left_out))
    return found


def _keep_one_path_each(
    paths: list[pathlib.Path], root: pathlib.Path, left_out: list[str]
) -> list[pathlib.Path]:
    """Leaves out links to images that are read already, which could be held out and trained on."""
    read: dict[str, pathlib.Path] = {}
    for path in sorted(paths, key=lambda path: (path.is_symlink(), path)):
        first = read.setdefault(os.path.realpath(path), path)
        if first != path:
            link, image = (images.one_line(each.relative_to(root)) for each in (path, first))
            left_out.append(f"{link} (the same image as {image})")
    return sorted(read.values())


def _walk(root: pathlib.Path, left_out: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each folder once, with the names of its files, hidden ones not.

    Linked folders come after all others, so that a folder reached in several ways keeps its own
    path.
    """

    def leave_out(path: str, reason: object) -> None:
        left_out.append(images.one_line(f"{os.path.relpath(path, root)} ({reason})"))

    read: dict[str, str] = {}  # the path by which each folder was reached
    tops = [str(root)]
    while tops:
        links: list[str] = []
        for top in tops:
            for folder, below, names in os.walk(
                top, onerror=lambda error: leave_out(error.filename, error.strerror)
            ):
                real = os.path.realpath(folder)
                if real in read:
                    below.clear()
                    leave_out(folder, f"the same folder as {os.path.relpath(read[real], root)}")
                    continue
                read[real] = folder
                if _holds_run({*below, *names}):  # whose pictures are samples
                    below.clear()
                    leave_out(folder, "a run's folder")
                    continue
                below[:] = sorted(name for name in below if not name.startswith("."))
                for path in (os.path.join(folder, name) for name in below):
                    if not os.path.islink(path):
                        continue
                    if _holds(target := os.path.realpath(path), real) or _holds(target, root):
                        leave_out(path, "a link to a folder that holds it")
                    else:
                        links.append(path)
                yield folder, [name for name in names if not name.startswith(".")]
        tops = sorted(links)


def _holds_run(names: set[str]) -> bool:
    return "config.json" in names and bool(names & {"metrics.jsonl", "checkpoints"})


def _holds(folder: str, path: str | os.PathLike) -> bool:
    """Whether a path is the folder itself or lies in it."""
    return os.path.commonpath([folder, os.path.realpath(path)]) == folder


def _describe(found: Found) -> list[str]:
    """Lines about what is not read."""
    lines = []
    if found.left_out:
        lines.append(f"left out: {images.enumerate_some(found.left_out)}")
    if found.others:
        kinds = [
            f"{count} {images.one_line(suffix) if suffix else 'without a suffix'}"
            for suffix, count in sorted(found.others.items(), key=lambda item: (-item[1], item[0]))
        ]
        total = found.others.total()
        lines.append(
            f"passed over {total} {'file' if total == 1 else 'files'} of other kinds: "
            f"{images.enumerate_some(kinds)}"
        )
    return lines
