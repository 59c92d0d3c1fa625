"""Decoding many image files, on all cores, and saying what is done with the unusual ones."""

import errno
import os
import pathlib
import stat
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxgan.data import images
from jaxgan.data.store import Store

# What an image is, in a byte. Without a kind a row is not decoded.
GOOD, GREY, DEEP, FRAMES, PALETTE, TRANSPARENT, TURNED = (1 << bit for bit in range(7))
# Of all that decides the pixels of a file, here and in `images`: raise it with any change.
VERSION = 2
_AT_ONCE = 256
# What a disk or a network says while it is away, of files that are as they were when it is back.
_PASSING = {
    *(errno.EIO, errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
}


def fill(store: Store, files: Sequence[pathlib.Path], root: pathlib.Path) -> list[str]:
    """Decodes the files that have no kind yet into their rows.

    Images of 16 bits are decoded last, when it is known how many bits all of them use. Threads do
    it: Pillow lets go of the interpreter while it decodes and resizes.

    Args:
      store: a row for each file. What cannot be decoded has no kind in the end.
      files: under the root.
      root: the folder, for names.

    Returns:
      Lines about the images that were not decoded, or not as they stand. Where some may be read
      another time, `store.passing` counts them.
    """
    from PIL import Image

    deep = np.flatnonzero(store.records["kinds"] & DEEP)
    if len(deep):  # their scale is that of all of them
        store.forget(deep)
    faults: dict[int, str] = {}
    passing: set[int] = set()
    depths: dict[int, images.Depth] = {}
    shape, label = store.pixels.shape[1:], f"decoding {images.one_line(root.name)}"

    def measure_or_decode(row: int) -> tuple[np.ndarray, int] | None:
        if not stat.S_ISREG(files[row].stat().st_mode):  # opening a pipe would wait for ever
            raise ValueError("not a regular file")
        with Image.open(files[row], formats=images.FORMATS) as image:
            depth = images.measure_depth(image)
            if depth is not None:
                depths[row] = depth
                return None
            return _decode(image, shape)

    def decode_deep(row: int) -> tuple[np.ndarray, int]:
        with Image.open(files[row], formats=images.FORMATS) as image:
            pixels, kinds = _decode(image, shape, bits[row])
            return pixels, kinds | DEEP

    def run(work: Callable[[int], tuple[np.ndarray, int] | None], rows: Sequence[int]) -> None:
        def attempt(row: int) -> None:
            try:
                decoded = work(row)
            except Exception as error:  # Pillow's decoders raise whatever a broken file provokes
                faults[row] = _explain(error, files[row])
                if _passes(error, files[row]):
                    passing.add(row)
            else:
                if decoded is not None:
                    store.put(row, *decoded)

        for start in images.bar(range(0, len(rows), _AT_ONCE), label):
            for _ in pool.map(attempt, rows[start : start + _AT_ONCE]):  # an interrupt waits
                pass

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of odd metadata; but
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        run(measure_or_decode, np.flatnonzero(store.records["kinds"] == 0).tolist())
        bits, lines = _choose_bits(depths, faults, len(files))
        run(decode_deep, sorted(bits))
    names = [images.one_line(path.relative_to(root)) for path in files]
    store.passing = len(passing)
    lines += _describe(store, names, faults)
    if passing:
        some = images.enumerate_some([names[row] for row in sorted(passing)])
        lines.append(f"{len(passing)} of those skipped are tried again the next time: {some}")
    return lines


def _decode(image: Any, shape: tuple[int, ...], bits: int = 16) -> tuple[np.ndarray, int]:
    """The pixels of an image that Pillow has opened, and its kinds."""
    kinds = GOOD
    if image.mode == "P" and image.format != "GIF":  # all of which have one
        kinds |= PALETTE
    if images.orientation(image) > 1:
        kinds |= TURNED
    pixels, transparent = images.convert(image, shape, resize=True, upright=True, bits=bits)
    if transparent:
        kinds |= TRANSPARENT
    if (pixels[..., :3] == pixels[..., :1]).all():
        kinds |= GREY
    if images.has_more_frames(image):
        kinds |= FRAMES
    return pixels, kinds


def _passes(error: Exception, path: pathlib.Path) -> bool:
    """Whether the file may be read another time, though it does not change."""
    if not isinstance(error, OSError) or error.errno not in _PASSING:
        return False
    return error.errno != errno.ENOENT or not path.is_symlink()  # a link to nowhere stays one


def _explain(error: Exception, path: pathlib.Path) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    if isinstance(error, FileNotFoundError):
        return "a link to nowhere" if path.is_symlink() else "it has vanished"
    return images.one_line(getattr(error, "strerror", None) or error)


def _describe(store: Store, names: Sequence[str], faults: dict[int, str]) -> list[str]:
    """A line for each kind of image that is not read as it stands."""
    kept = store.pixels.shape[-1] == 4
    says = {
        FRAMES: "have more frames, and only the first of each is read",
        PALETTE: "have a palette, and are read in its colours",
        TRANSPARENT: "are transparent in places, "
        + ("which the fourth channel keeps" if kept else "which become white"),
        TURNED: "are turned upright, as their EXIF data say",
    }
    lines = []
    for kind, words in says.items():
        rows = np.flatnonzero(store.records["kinds"] & kind)
        if len(rows):
            some = images.enumerate_some([names[row] for row in rows.tolist()])
            lines.append(f"{len(rows)} of {len(names)} images {words}: {some}")
    if faults:
        skipped = [f"{names[row]} ({faults[row]})" for row in sorted(faults)]
        some = images.enumerate_some(skipped)
        lines.append(f"skipped {len(faults)} of {len(names)} images: {some}")
    return lines


def _choose_bits(
    depths: dict[int, images.Depth], faults: dict[int, str], count: int
) -> tuple[dict[int, int], list[str]]:
    """How many bits each image of 16 bits is taken to have, and lines that say so.

    Where the files do not say, the least that holds the largest value of all: one scale for all
    keeps the differences between the images. Colours of less than 16 bits, of which Pillow keeps
    the upper byte, nearly black, become faults.
    """
    bits, lines = {row: depth.bits for row, depth in depths.items() if depth.bits}, []
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
        lines.append(
            f"16-bit {'colours' if colour else 'grey'} in {len(rows)} of {count} images, up "
            f"to {peak}: taken to be of {found} bits, white at {2**found - 1}"
        )
        bits |= dict.fromkeys(rows, found)
    return bits, lines
