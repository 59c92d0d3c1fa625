"""Image files as arrays: one at a time, or every one under a folder."""

import io
import math
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Of these alone: for others, whatever the file is called, Pillow may start a program, as for EPS.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def decode(source: bytes | pathlib.Path, shape: tuple[int, ...], resize: bool) -> np.ndarray:
    """Decodes one image (its first frame) to uint8 `shape`.

    With `resize` the shorter side is scaled and the centre kept. What is transparent becomes
    white, 16-bit grey keeps its high byte, and a photograph is turned upright.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    image: Image.Image
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file, formats=FORMATS) as image:
        if resize:
            image.draft(None, (2 * width, 2 * height))  # large JPEGs decode many times faster
        if isinstance(source, pathlib.Path):
            image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if image.mode.startswith("I"):
            image = Image.fromarray(np.uint8(np.clip(np.asarray(image) // 256, 0, 255)))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        if resize:
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(shape)


def decode_folder(
    root: pathlib.Path, name: str, size: int, log: Callable[[str], None]
) -> np.ndarray:
    """Decodes every image under a folder that can be decoded; names the others.

    Args:
      root: the folder. Hidden files and folders are passed over.
      name: what messages call it.
      size: the side of the square each image is cut to.
      log: called with a line about what was skipped.

    Returns:
      uint8 [N, size, size, C], in the order of the files' names; C is 1 if all are grey, else 3.

    Raises:
      ValueError: if fewer than two can be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not files:
        raise ValueError(f"no images under {root}; looked for {', '.join(SUFFIXES)}")
    check_memory(name, len(files), (size, size, 3))

    pixels = np.empty((len(files), size, size, 3), np.uint8)

    def decode_row(row: int) -> str | None:
        """Returns what was wrong with the file, if anything."""
        try:
            pixels[row] = decode(files[row], pixels.shape[1:], resize=True)
        except UnidentifiedImageError:
            return "not an image"
        except Exception as error:  # Pillow's decoders raise whatever a broken file provokes
            return one_line(error)
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of odd metadata; but
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        faults: list[str | None] = []
        for start in bar(range(0, len(files), 256), f"decoding {root.name}"):
            rows = range(start, min(start + 256, len(files)))  # an interrupt waits for these
            faults += pool.map(decode_row, rows)
    good = np.flatnonzero([fault is None for fault in faults])
    skipped = [
        f"{one_line(path.relative_to(root))} ({fault})"
        for path, fault in zip(files, faults, strict=True)
        if fault is not None
    ]
    if skipped:
        more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        log(f"skipped {len(skipped)} of {len(files)} images: {', '.join(skipped[:10])}{more}")
    if len(good) < 2:
        raise ValueError(
            f"{len(good)} of the {len(files)} images under {root} can be decoded, and at least "
            "2 are needed, one of them to hold out"
        )
    grey = all((pixels[row] == pixels[row, ..., :1]).all() for row in good)
    kept = pixels[..., :1] if grey else pixels
    return kept[good] if skipped else kept


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
    """What an error says, as part of a line."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
