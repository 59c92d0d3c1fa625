"""Images beside the samples that come nearest to them."""

from typing import Any

import numpy as np

from jaxgan.data import to_uint8
from jaxgan.plots import style
from jaxgan.plots.grids import GRID_LINE, image_grid
from jaxgan.plots.samples import four_axes, join_points

COLUMNS = 8  # images in a row


def draw_projection(
    x: np.ndarray,
    samples: np.ndarray,
    errors: np.ndarray,
    title: str,
    labels: np.ndarray | None = None,
) -> Any:
    """Images over the samples nearest to them, with the error of each; of points, lines to theirs.

    Args:
      x: images `[N, H, W, C]` or grey `[N, H, W]`, in [-1, 1], or points `[N, 2]`.
      samples: of the same shape.
      errors: `[N]`.
      title: what is written above.
      labels: the samples' classes, `[N]`.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: if x are neither images nor points.
    """
    x, samples = four_axes(x), four_axes(samples)
    if x.ndim == 2:
        ends = (x, "points", style.DATA), (samples, "the samples nearest to them", style.FAKE)
        return join_points(*ends, title)
    from matplotlib.figure import Figure

    columns, rows = min(COLUMNS, len(x)), -(-len(x) // COLUMNS)
    tall = 2 * x.shape[1] / x.shape[2] + 0.5  # two images and a number, in widths of an image
    size = max(4.5, 1.2 + 1.1 * columns), 1.1 * tall * rows + 0.6
    figure = Figure(size, dpi=120, layout="constrained")
    words = [f"{error:.3f}" for error in errors]
    if labels is not None:
        words = [f"class {label}\n{word}" for label, word in zip(labels, words, strict=True)]
    x, samples = to_uint8(x), to_uint8(samples)
    for row, axes in enumerate(figure.subplots(rows, squeeze=False)[:, 0]):
        part = slice(row * columns, (row + 1) * columns)
        _draw_row(axes, x[part], samples[part], words[part], columns)
    figure.suptitle(title, fontsize=style.TITLE)
    return figure


def _draw_row(axes, x, samples, words, columns):
    """A row of images over their samples, with words under each."""
    empty = np.full((columns - len(x), *x.shape[1:]), 255, np.uint8)
    grid = image_grid(np.concatenate([x, empty, samples, empty]), columns)
    height, width = grid.shape[:2]
    grid[:, width // columns * len(x) + GRID_LINE :] = 255  # no frames around nothing
    axes.imshow(grid.squeeze(), cmap="gray", vmin=0, vmax=255)
    axes.set_xticks((np.arange(len(x)) + 0.5) * width / columns, words)
    axes.set_yticks([height / 4, 3 * height / 4], ["image", "nearest\nsample"])
    axes.tick_params(length=0, labelsize=style.SMALL)
    for spine in axes.spines.values():
        spine.set_visible(False)
