"""Every image under a folder: finding them, and decoding those that can be decoded."""

import collections
import os
import pathlib
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jaxgan.data import images

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".apng", ".ppm", ".pgm", ".pbm", ".pnm"),
)


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


def decode_folder(
    root: pathlib.Path, name: str, size: int, log: Callable[[str], None]
) -> np.ndarray:
    """Decodes every image under a folder that can be decoded; names the others.

    Args:
      root: the folder. Hidden files and folders are passed over, and so are folders of runs; links
        are followed, and each file is read once.
      name: what messages call it.
      size: the side of the square each image is cut to.
      log: called with a line about whatever is not read, or not as it stands.

    Returns:
      uint8 [N, size, size, C], in the order of the files' paths; C is 1 if all are grey, else 3.

    Raises:
      ValueError: if fewer than two can be decoded.
    """
    found = find_images(root)
    files, notes = found.files, _describe(found, root)
    if not files:
        raise ValueError(
            "; ".join([f"no images under {root}; looked for {', '.join(SUFFIXES)}"] + notes)
        )
    for line in notes:
        log(line)
    images.check_memory(name, len(files), (size, size, 3))

    pixels, faults = _decode(files, size, f"decoding {images.one_line(root.name)}", log)
    good = np.flatnonzero([fault is None for fault in faults])
    skipped = [
        f"{images.one_line(path.relative_to(root))} ({fault})"
        for path, fault in zip(files, faults, strict=True)
        if fault is not None
    ]
    if skipped:
        log(f"skipped {len(skipped)} of {len(files)} images: {images.enumerate_some(skipped)}")
    if len(good) < 2:
        raise ValueError(
            f"{len(good)} of the {len(files)} images under {root} can be decoded, and at least "
            "2 are needed, one of them to hold out"
        )
    grey = all((pixels[row] == pixels[row, ..., :1]).all() for row in good)
    kept = pixels[..., :1] if grey else pixels
    return kept[good] if skipped else kept


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


def _describe(found: Found, root: pathlib.Path) -> list[str]:
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
    parts = (path.relative_to(root).parts for path in found.files)
    classes = sorted({images.one_line(first) for first, *rest in parts if rest})
    if len(classes) > 1:
        lines.append(
            f"the {len(classes)} sub-folders ({images.enumerate_some(classes, 5)}) are read as one "
            "set: they are not taken for classes, and images have no labels"
        )
    return lines


def _decode(
    files: Sequence[pathlib.Path], size: int, label: str, log: Callable[[str], None]
) -> tuple[np.ndarray, list[str | None]]:
    """Decodes files in threads.

    Images of 16 bits are decoded last, when it is known how many bits all of them use.

    Returns:
      uint8 [len(files), size, size, 3], and what was wrong with each file, if anything.
    """
    from PIL import Image, UnidentifiedImageError

    shape = size, size, 3
    pixels = np.empty((len(files), *shape), np.uint8)
    faults: list[str | None] = [None] * len(files)
    depths: dict[int, images.Depth] = {}
    animated: list[int] = []

    def measure_or_decode(row: int) -> None:
        if not stat.S_ISREG(files[row].stat().st_mode):  # opening a pipe would wait for ever
            raise ValueError("not a regular file")
        with Image.open(files[row], formats=images.FORMATS) as image:
            depth = images.measure_depth(image)
            if depth is None:
                pixels[row] = images.convert(image, shape, resize=True, upright=True)
            else:
                depths[row] = depth
            if images.has_more_frames(image):
                animated.append(row)

    def run(work: Callable[[int], None], rows: Sequence[int]) -> None:
        def attempt(row: int) -> None:
            try:
                work(row)
            except UnidentifiedImageError:
                faults[row] = "not an image that can be read"
            except FileNotFoundError:
                faults[row] = "a link to nowhere" if files[row].is_symlink() else "it has vanished"
            except Exception as error:  # Pillow's decoders raise whatever a broken file provokes
                faults[row] = images.one_line(getattr(error, "strerror", None) or error)

        for start in images.bar(range(0, len(rows), 256), label):
            for _ in pool.map(attempt, rows[start : start + 256]):  # an interrupt waits for these
                pass

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of odd metadata; but
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        run(measure_or_decode, range(len(files)))
        bits = _choose_bits(depths, faults, log)

        def decode_deep(row: int) -> None:
            pixels[row] = images.decode(files[row], shape, resize=True, bits=bits[row])

        run(decode_deep, sorted(bits))
    if animated:
        names = [images.one_line(files[row].name) for row in sorted(animated)]
        log(
            f"{len(names)} of {len(files)} images have more frames, and only the first of each is "
            f"read: {images.enumerate_some(names)}"
        )
    return pixels, faults


def _choose_bits(
    depths: dict[int, images.Depth], faults: list[str | None], log: Callable[[str], None]
) -> dict[int, int]:
    """How many bits each image of 16 bits is taken to have.

    Where the files do not say, the least that holds the largest value of all: one scale for all
    keeps the differences between the images. Colours of less than 16 bits, of which Pillow keeps
    the upper byte, nearly black, become faults.
    """
    bits = {row: depth.bits for row, depth in depths.items() if depth.bits}
    for colour in (False, True):
        rows = [row for row, depth in depths.items() if depth.colour == colour and not depth.bits]
        if not rows:
            continue
        peak = max(depths[row].peak for row in rows)
        found = images.bits_of(peak)
        if colour and found < 16:
            for row in rows:
                faults[row] = f"colours of {found} bits in 16, of which the upper 8 alone are read"
            continue
        log(
            f"16-bit {'colours' if colour else 'grey'} in {len(rows)} of {len(faults)} images, up "
            f"to {peak}: taken to be of {found} bits, white at {2**found - 1}"
        )
        bits |= dict.fromkeys(rows, found)
    return bits
