"""Images as files: one alone, or a folder of them."""

from collections.abc import Iterable

import jax
import numpy as np
import tqdm
from etils import epath

from jaxgan import data, plots
from jaxgan.training import json_files


def write_folder(out: epath.Path, pieces: Iterable[np.ndarray], n: int) -> None:
    """Writes each of n images, which come in pieces, as a file of its own.

    Raises:
      ValueError: if the folder holds other files, which would be taken for samples.
    """
    digits = max(5, len(str(n - 1)))
    names = [f"{i:0{digits}}.png" for i in range(n)]
    others = {path.name for path in out.iterdir()} - set(names) if out.exists() else set()
    if others:
        raise ValueError(
            f"{out} holds {len(others)} other files, such as {min(others)}: give an empty or a new "
            "--out"
        )
    out.mkdir(parents=True, exist_ok=True)
    images = (image for piece in pieces for image in to_pixels(piece))
    for name, image in zip(names, tqdm.tqdm(images, total=n, delay=2, disable=None), strict=True):
        (out / name).write_bytes(plots.png_of(image))


def to_pixels(samples: jax.Array | np.ndarray) -> np.ndarray:
    """Images `[N, H, W, C]`, or grey ones `[N, H, W]`, as uint8 `[N, H, W, C]`."""
    pixels = data.to_uint8(np.asarray(samples))
    return pixels[..., None] if pixels.ndim == 3 else pixels


def write(path: epath.Path, content: bytes) -> None:
    """Writes a file, and the folders it is in; it is never there by half.

    Raises:
      ValueError: if it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        json_files.write_whole(path, content)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}): say with --out where to."
        ) from error
