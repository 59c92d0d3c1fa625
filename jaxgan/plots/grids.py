"""Many images as one: a grid of tiles."""

import io
import math

import numpy as np

GRID_WIDTH = 600  # small images are enlarged until a grid has about this many pixels
GRID_LINE = 2


def image_grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Tiles images row by row into a grid with thin grey lines between them.

    Args:
      images: uint8 [N, H, W, C]; those of four channels are shown as they are on white.
        Small ones are enlarged by a whole factor so that the
        grid is some 600 pixels wide: smoothly below 16 pixels, where the eye sees squares
        and not the digit they make, otherwise each pixel as a square.
      columns: how many; by default as many as make the grid nearly square.

    Returns:
      uint8 [height, width, C], C being 1 or 3.

    Raises:
      ValueError: if there is no image, or images are not uint8 [N, H, W, C].
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"a grid needs uint8 images [N, H, W, C], at least one, got {images.dtype} "
            f"{list(images.shape)}"
        )
    if images.shape[-1] == 4:
        images = _on_white(images)
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = max(1, round(GRID_WIDTH / (columns * width)))
    enlarge = _enlarge_smoothly if max(height, width) < 16 else _enlarge
    images = enlarge(images, scale)
    height, width = scale * height + GRID_LINE, scale * width + GRID_LINE
    grid = np.full(
        (rows * height + GRID_LINE, columns * width + GRID_LINE, channels), 128, np.uint8
    )
    for i, image in enumerate(images):
        top, left = (i // columns) * height + GRID_LINE, (i % columns) * width + GRID_LINE
        grid[top : top + height - GRID_LINE, left : left + width - GRID_LINE] = image
    return grid


def png_of(image: np.ndarray) -> bytes:
    """A PNG file of uint8 [H, W, C], C being 1, 3 or 4."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
    return file.getvalue()


def _on_white(images: np.ndarray) -> np.ndarray:
    """What a viewer shows of images with a fourth channel of opacity."""
    opacity = images[..., 3:] / np.float32(255)
    return np.rint(images[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


def _enlarge(images: np.ndarray, scale: int) -> np.ndarray:
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def _enlarge_smoothly(images: np.ndarray, scale: int) -> np.ndarray:
    from PIL import Image

    count, height, width, channels = images.shape
    size = (scale * width, scale * height)
    planes = images.transpose(0, 3, 1, 2).reshape(-1, height, width)
    enlarged = [Image.fromarray(x).resize(size, Image.Resampling.BICUBIC) for x in planes]
    return (
        np.stack([np.asarray(x) for x in enlarged])
        .reshape(count, channels, *size[::-1])
        .transpose(0, 2, 3, 1)
    )
