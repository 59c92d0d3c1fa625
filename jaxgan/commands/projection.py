"""What `sample.py --what=projection` reads, draws and writes."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from etils import epath

from jaxgan import data, plots
from jaxgan.commands.pictures import write
from jaxgan.data import Dataset, folders, images
from jaxgan.data.arrays import read_array
from jaxgan.latents import Projection

IMAGES, POINTS = 8, 200  # by default


def first_of(dataset: Dataset, n: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The first n held-out examples of a data set, and their labels.

    Raises:
      ValueError: if there are not so many.
    """
    source = f"the held-out examples of {dataset.name}"
    n = _count(n, len(dataset.test), POINTS if dataset.test.ndim == 2 else IMAGES, source)
    labels = dataset.test_labels
    return dataset.test[:n], None if labels is None else labels[:n]


def read_images(
    path: str, shape: Sequence[int], n: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first n examples that a path names, and their labels where they have some.

    Args:
      path: a .npy or .npz file as `jaxgan.data.load` reads them, an image, or a folder of images.
        Images are scaled and cut as those that are trained on.
      shape: of an example.
      n: how many; by default 8 images or 200 points, or as many as there are.

    Raises:
      ValueError: if there are not so many, or one cannot be read.
    """
    file = pathlib.Path(path)
    if file.suffix.lower() in (".npy", ".npz"):
        x, labels = read_array(path, f"--images={path}")
        n = _count(n, len(x), POINTS if x.ndim == 2 else IMAGES, path)
        return np.asarray(x[:n]), None if labels is None else labels[:n]
    if len(shape) not in (2, 3):
        raise ValueError(
            f"--images={path} must be a .npy or .npz file: the run's samples are no images, but of "
            f"shape {list(shape)}."
        )
    files = _find(file)
    pixels = [_decode(each, shape) for each in files[: _count(n, len(files), IMAGES, path)]]
    return np.stack(pixels).reshape(len(pixels), *shape), None


def save(out: epath.Path, x: np.ndarray, found: Projection) -> None:
    """Writes a picture of a projection and, beside it, its arrays; says how near samples come.

    Args:
      out: the picture's file. That of the arrays ends in .npz.
      x: what was projected, `[N, ...]`.
      found: what was found.
    """
    file = io.BytesIO()
    arrays = {name: value for name, value in found._asdict().items() if value is not None}
    np.savez(file, images=x, **arrays)
    write(out.with_suffix(".npz"), file.getvalue())
    if picture := plots.can_draw(x.shape[1:]):
        write(out.with_suffix(".png"), draw(np.asarray(data.to_float(x)), found))
    print(f"{len(x)} projected, root mean square errors: {_compare(found)}")
    print(f"latents, samples and errors: {out.with_suffix('.npz')}")
    if picture:
        print(f"picture: {out.with_suffix('.png')}")


def draw(x: np.ndarray, found: Projection) -> bytes:
    """A PNG of images over the samples nearest to them, or of points with lines to theirs."""
    unit = "" if x.ndim == 2 else ", black and white being 2 apart"
    title = f"root mean square errors{unit}:{' ' if x.ndim == 2 else chr(10)}{_compare(found)}"
    of_found = found.samples, found.errors, title, found.labels
    return plots.drawn(plots.draw_projection, x, *of_found)


def _compare(found: Projection) -> str:
    return (
        f"{found.errors.mean():.3g} on average; {found.random_errors.mean():.3g} of the nearest "
        "random samples"
    )


def _count(n: int | None, most: int, default: int, source: str) -> int:
    if not most:
        raise ValueError(f"{source}: there are none to project.")
    if n is not None and n > most:
        raise ValueError(f"--n={n} is more than the {most:,} of {source}.")
    return n or min(most, default)


def _find(path: pathlib.Path) -> list[pathlib.Path]:
    """The images that a path names: itself, or those in a folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"--images={path}: there is no such file or folder.")
    found = folders.find_images(path).files
    if not found:
        raise ValueError(
            f"--images={path} holds no images; looked for {' '.join(folders.SUFFIXES)}"
        )
    return found


def _decode(path: pathlib.Path, shape: Sequence[int]) -> np.ndarray:
    """An image as uint8 of a run's shape."""
    with_channel = tuple(shape) if len(shape) == 3 else (*shape, 1)
    try:
        return images.decode(path, with_channel, resize=True)
    except Exception as error:  # Pillow's decoders raise whatever a broken file provokes
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be read as an image: {images.one_line(reason)}") from error
