"""Image files as arrays."""

import io
import math
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

# Of these alone: for others, whatever the file is called, Pillow may start a program, as for EPS.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

# Tags of EXIF and of TIFF.
_ORIENTATION = 274
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE = 258, 262, 281
# What turns upright an image of orientation 2, 3, ...: members of PIL's `Transpose`. Not
# `ImageOps.exif_transpose`, which writes the metadata anew and fails where they are damaged.
_UPRIGHT = (0, 3, 1, 5, 4, 6, 2)


def decode(
    source: bytes | pathlib.Path, shape: tuple[int, ...], resize: bool, bits: int = 16
) -> np.ndarray:
    """Decodes one image (its first frame) to uint8 `shape`.

    With `resize` the image is scaled until it covers the shape, and its centre kept. What is
    transparent becomes white, or where there are four channels the last is 0. Grey of 16 bits keeps
    the highest eight of its lowest `bits`, and a photograph is turned upright.
    """
    from PIL import Image

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file, formats=FORMATS) as image:
        return convert(image, shape, resize, upright=isinstance(source, pathlib.Path), bits=bits)[0]


def convert(
    image: Any, shape: tuple[int, ...], resize: bool, upright: bool, bits: int = 16
) -> tuple[np.ndarray, bool]:
    """What `decode` makes of an image that Pillow has opened, and whether it is transparent."""
    from PIL import Image, ImageOps

    height, width, channels = shape
    transparent = False
    white_is_zero = (
        _tag(image, _PHOTOMETRIC, default=1) == 0
    )  # which Pillow minds up to 8 bits only
    if resize:
        on_its_side = upright and orientation(image) > 4
        sides = (height, width) if on_its_side else (width, height)
        image.draft(None, (2 * sides[0], 2 * sides[1]))  # large JPEGs decode many times faster
    if upright:
        image.load()  # which turns a TIFF
        if (turned := orientation(image)) > 1:
            image = image.transpose(_UPRIGHT[turned - 2])
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):
        deep = _grey_values(image)
        grey = np.minimum(deep >> (bits - 8), 255).astype(np.uint8)
        if white_is_zero:
            grey = 255 - grey
        clear = deep == image.info.get("transparency", -1)
        image = Image.fromarray(grey)
        if clear.any():
            image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = image.getextrema()[3][0] < 255
        if channels < 4:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    if resize:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.array(image).reshape(shape)
    if channels == 4:
        pixels[pixels[..., 3] == 0] = 255, 255, 255, 0  # or what nobody sees would be learned
    return pixels, transparent


def orientation(image: Any) -> int:
    """How an image that Pillow has opened is turned, 1 to 8 as in EXIF; 1 where that is unknown."""
    if image.format == "PNG":
        image.load()  # as `getexif` does, and what is wrong with the pixels must not pass for good
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # of damaged metadata, which takes nothing from the pixels
        return 1
    return found if found in range(1, 9) else 1


def height_and_width(size: Any) -> tuple[int, int] | None:
    """The sides that an `image_size` gives: a whole number is a square's, "64x96" or (64, 96) both.

    None gives None.

    Raises:
      ValueError: if it is none of these, or a side is less than 1.
    """
    if size is None:
        return None
    sides: Any = size if isinstance(size, Sequence) else [size]
    if isinstance(size, str) and re.fullmatch(r"\d+(x\d+)?", size):
        sides = [int(side) for side in size.split("x")]
    sides = [*sides] * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or not all(isinstance(side, Integral) for side in sides):
        raise ValueError(f"image_size must be a side, or height and width as 64x96; got {size!r}")
    if min(sides) < 1:
        raise ValueError(f"image_size must be at least 1, got {size}")
    return int(sides[0]), int(sides[1])


def has_more_frames(image: Any) -> bool:
    """Whether an image that Pillow has opened, and read the first frame of, has another."""
    try:
        return getattr(image, "is_animated", False)
    except Exception:  # of a broken frame, which takes nothing from the first
        return True


class Depth(NamedTuple):
    """How much of its 16 bits an image uses.

    Fields:
      colour: whether it has colours. Of these Pillow reads the high byte alone.
      bits: how many bits its format says that it has; None where that cannot be told.
      peak: its largest value.
    """

    colour: bool
    bits: int | None
    peak: int


def measure_depth(image: Any) -> Depth | None:
    """The depth of an image that Pillow has opened; None of one of 8 bits or of floats.

    Scanners and cameras put 10, 12 or 14 bits into the lower end of 16. TIFF may say so; PNG's sBIT
    does not, since a PNG's values are scaled to all 16 bits.

    References:
      TIFF 6.0, BitsPerSample and MaxSampleValue; PNG, third edition, sections 11.3.2.7 and 12.4.
    """
    if image.mode.startswith("I"):
        decoder = image.tile[0][3]
        bits = None
        if _tag(image, _BITS_PER_SAMPLE) == 12:
            bits = 12
        elif image.format == "PPM" and not isinstance(decoder, str):
            bits = 16  # Pillow has scaled it by its own largest value
        allowed = _tag(image, _MAX_SAMPLE_VALUE)
        peak = int(_grey_values(image).max())
        # 65535 is what the tag says by default.
        return Depth(False, bits, max(peak, allowed) if allowed < 65535 else peak)
    if re.search(";16[BLN]", str(image.tile[:1])):
        return Depth(True, None, int(np.asarray(image)[..., :3].max()) << 8 | 255)
    return None


def bits_of(peak: int) -> int:
    """The depth that a scan up to this value is taken to have."""
    return next(bits for bits in (8, 10, 12, 14, 16) if peak < 2**bits)


def _grey_values(image: Any) -> np.ndarray:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= 2**16:
        raise ValueError(f"its pixels are from {low} to {high}, and 0 to 65535 can be read")
    return values


def _tag(image: Any, number: int, default: int = 0) -> int:
    """The largest of a TIFF tag's numbers; the default where there is none."""
    return int(np.max(getattr(image, "tag_v2", {}).get(number, default)))


def check_memory(name: str, count: int, shape: tuple[int, ...]) -> None:
    """Raises ValueError if so many images would take more than half of the machine's memory."""
    needed = count * math.prod(shape)
    if needed > memory() / 2:
        raise ValueError(
            f"{count} images of shape {shape} take {needed / 1e9:.1f} GB, more than half of this "
            f"machine's memory: give a smaller image_size for {name!r}"
        )


def memory() -> float:
    """This machine's memory in bytes; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return math.inf


def bar(steps: range, label: str) -> Iterable[int]:
    """A progress bar, shown once the work has lasted for two seconds."""
    from tqdm import tqdm

    return tqdm(steps, label, leave=False, delay=2, disable=None)


def one_line(error: object) -> str:
    """What an error or a path says, as part of a line that any terminal can print."""
    text = str(error).encode(errors="backslashreplace").decode()  # names may be no UTF-8
    return " ".join(text.split())[:300].rstrip(".") or type(error).__name__


def enumerate_some(items: Sequence[str], most: int = 10) -> str:
    """The first of the items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
