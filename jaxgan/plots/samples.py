"""Samples as a person looks at them: grids of images, points in a plane, and data beside them."""

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxgan.data import Dataset, to_uint8
from jaxgan.plots import style
from jaxgan.plots.grids import image_grid, png_of

DOTS = 100  # an inch
EMPTY = np.uint8(128)  # where no example is, as where a grid has no more tiles
LONGEST = 16  # letters of a class
MOST = 100_000  # points of the data that set the axes: a set may be larger than memory
_DOT: dict[str, Any] = {"linestyle": "", "marker": ".", "markeredgewidth": 0}


def can_draw(shape: tuple[int, ...]) -> bool:
    """Whether `save_samples` draws examples of this shape: grey or coloured images, 2-D points."""
    return shape == (2,) or len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))


def save_samples(
    path: str | os.PathLike, samples: np.ndarray, dataset: Dataset, title: str | None = None
) -> None:
    """Writes samples as a PNG: a grid of images, or points over the points of the data.

    Args:
      path: the file to write.
      samples: images [N, H, W] or [N, H, W, C], uint8 or floats in [-1, 1]; or points [N, 2].
      dataset: the data they should resemble. Its held-out points are drawn in grey, its modes as
        circles within which a sample counts as one of high quality, and its range sets the axes, so
        that the frames of a run can be compared. Samples beyond the axes are counted above them.
      title: a line above the points; images have none.

    Raises:
      ValueError: if samples are neither images nor points.
    """
    samples = four_axes(samples)
    if samples.ndim == 4:
        style.write(path, png_of(image_grid(to_uint8(samples))))
    else:
        style.write(path, style.drawn(draw_points, samples, dataset, title))


def draw_points(samples: np.ndarray, dataset: Dataset, title: str | None = None) -> Any:
    """A figure of points over the points of the data; the arguments are those of `save_samples`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.8), dpi=DOTS)
    axes = figure.add_axes((0.1, 0.135, 0.87, 0.795))
    outside = _frame(axes, dataset, samples)
    real, _ = _held_out(dataset, max(1000, len(samples)))
    axes.plot(
        *real.T, **_DOT, markersize=5, color=style.DATA, alpha=0.35, label=f"data, {_kind(dataset)}"
    )
    axes.plot(
        *samples.T,
        **_DOT,
        markersize=5,
        color=style.FAKE,
        alpha=0.6,
        label=f"{len(samples):,} samples",
    )
    _draw_modes(axes, dataset)
    style.write_title(figure, 0.1, 0.985, title or dataset.name)
    if outside:
        figure.text(0.1, 0.953, outside, fontsize=9, color=style.BROKEN, va="top")
    legend = figure.legend(loc="lower center", ncols=3, markerscale=2, frameon=False)
    for handle in legend.get_lines():
        handle.set_alpha(1)
    return figure


def save_samples_and_data(
    path: str | os.PathLike, samples: np.ndarray, dataset: Dataset, title: str,
    labels: ArrayLike | None = None,
) -> None:  # fmt: skip
    """Writes the picture that `draw_samples_and_data` draws as a PNG."""
    style.write(path, style.drawn(draw_samples_and_data, samples, dataset, title, labels))


def draw_samples_and_data(
    samples: np.ndarray, dataset: Dataset, title: str, labels: ArrayLike | None = None
) -> Any:
    """Samples on the left, and as many real examples on the right.

    Args:
      samples: as of `save_samples`.
      dataset: the data. Examples are held-out ones where there are any, taken at equal distances
        from the first to the last.
      title: a line above both.
      labels: the classes of the samples `[N]`; the examples have the same. Where the data have
        fewer of a class, places stay empty.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: if samples are neither images nor points.
    """
    samples = four_axes(samples)
    labels = None if dataset.train_labels is None else labels
    real, there = _held_out(dataset, len(samples), labels)
    titles = (f"{len(samples):,} samples", f"{there.sum():,} real examples, {_kind(dataset)}")
    if samples.ndim == 4:
        real = np.where(there[:, None, None, None], to_uint8(four_axes(real)), EMPTY)
        return _beside((samples, real), titles, title, labels, dataset.class_names)
    real = real[there]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.4), dpi=DOTS)
    looks = (style.FAKE, 0.6), (style.DATA, 0.35)
    outside = ""
    for index, (points, heading, (color, alpha)) in enumerate(
        zip((samples, real), titles, looks, strict=True)
    ):
        axes = figure.add_axes((0.075 + 0.485 * index, 0.09, 0.43, 0.765))
        outside = _frame(axes, dataset, points) or outside
        axes.plot(*points.T, **_DOT, markersize=4, color=color, alpha=alpha)
        _draw_modes(axes, dataset)
        axes.set_title(heading, fontsize=style.TITLE, loc="left")
        axes.set_ylabel("" if index else "x₂", labelpad=2)
    style.write_title(figure, 0.075, 0.985, title)
    if outside:
        figure.text(0.075, 0.945, outside, fontsize=9, color=style.BROKEN, va="top")
    if dataset.modes is not None:
        figure.legend(*axes.get_legend_handles_labels(), loc="upper right", frameon=False)
    return figure


def draw_neighbours(samples: np.ndarray, neighbours: np.ndarray, title: str) -> Any:
    """Samples and, in the same places, their nearest training examples.

    Args:
      samples: as of `save_samples`; the first 36 images are drawn, or 200 points.
      neighbours: the examples, of the same shape.
      title: a line above.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: if samples are neither images nor points.
    """
    samples, neighbours = four_axes(samples), four_axes(neighbours)
    if samples.ndim == 4:
        pair = samples[:36], neighbours[:36]
        titles = f"{len(pair[0])} samples", "the training example nearest to each"
        return _beside(pair, titles, title)
    samples, neighbours = samples[:200], neighbours[:200]
    return join_points(
        (neighbours, "the training example nearest to each", style.DATA),
        (samples, f"{len(samples)} samples", style.FAKE),
        title,
    )


def join_points(
    one: tuple[np.ndarray, str, str], other: tuple[np.ndarray, str, str], title: str
) -> Any:
    """A figure of pairs of points, a line between those of each pair.

    Args:
      one: points `[N, 2]`, what they are, and their colour.
      other: those at the other ends.
      title: a line above.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.6), dpi=DOTS)
    axes = figure.add_axes((0.11, 0.14, 0.86, 0.78))
    style.bare(axes)
    ends = np.stack([one[0], other[0]], axis=1)
    axes.add_collection(LineCollection(list(ends), color="0.5", linewidth=0.6))
    for points, label, color in (one, other):
        axes.plot(*points.T, ".", color=color, markersize=4, label=label)
    axes.set(aspect="equal", xlabel="x₁", ylabel="x₂")
    style.write_title(figure, 0.11, 0.985, title)
    figure.legend(loc="lower center", ncols=2, markerscale=2, frameon=False)
    return figure


def four_axes(x: np.ndarray) -> np.ndarray:
    """Images as [N, H, W, C]; points as they are."""
    x = np.asarray(x)
    if x.ndim == 3:  # grey
        return x[..., None]
    if x.ndim != 4 and not (x.ndim == 2 and x.shape[1] == 2):
        raise ValueError(
            f"samples must be images [N, H, W, C] or points [N, 2], got {list(x.shape)}"
        )
    return x


def _beside(pair, titles, title, labels=None, names=None):
    """Two grids of images, pixel for pixel, with a title above each and one above both."""
    from matplotlib.figure import Figure

    grids = [image_grid(to_uint8(images)) for images in pair]
    margin, gap, head = 12, 14, 62
    words = [] if labels is None else _row_names(labels, len(pair[0]), names)
    left = margin + (18 + 8 * max(map(len, words)) if words else 0)
    height = head + max(len(grid) for grid in grids) + margin
    width = left + sum(grid.shape[1] for grid in grids) + gap + margin
    figure = Figure(figsize=(width / DOTS, height / DOTS), dpi=DOTS)
    style.write_title(figure, margin / width, 1 - 10 / height, title)
    for grid, text in zip(grids, titles, strict=True):
        rows = grid if grid.shape[-1] == 3 else np.repeat(grid, 3, axis=-1)
        figure.figimage(rows, left, height - head - len(rows))
        at = left / width, 1 - (head - 5) / height
        figure.text(*at, text, fontsize=style.TITLE, va="bottom")
        for index, word in enumerate(words if grid is grids[0] else []):
            y = 1 - (head + (index + 0.5) * len(rows) / len(words)) / height
            figure.text((left - 8) / width, y, word, ha="right", va="center")
        left += rows.shape[1] + gap
    return figure


def _row_names(labels, count, names):
    """The class of each row of so many images, by its name where it has one, or nothing."""
    columns = int(np.ceil(np.sqrt(count)))
    rows = [{*map(int, labels[start : start + columns])} for start in range(0, count, columns)]
    words = [str(names[max(row)] if names else max(row)) if len(row) == 1 else "" for row in rows]
    return [word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…" for word in words]


def _kind(dataset: Dataset) -> str:
    return "held out" if len(dataset.test) else "trained on"


def _held_out(
    dataset: Dataset, n: int, labels: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """At most n real examples, held-out ones if there are any, and which of them are there, bool.

    With labels n of these classes: where there are too few, some are not there.
    """
    held_out = len(dataset.test) > 0
    examples = dataset.test if held_out else dataset.train
    classes = dataset.test_labels if held_out else dataset.train_labels
    if labels is None:
        rows = _spread(len(examples), n)
        return np.asarray(examples[rows]), np.ones(len(rows), bool)
    rows, found = np.zeros(n, int), np.zeros(n, bool)
    for label in np.unique(labels):
        asked, there = (np.flatnonzero(np.asarray(x) == label) for x in (labels, classes))
        asked = asked[: len(there)]
        rows[asked], found[asked] = there[_spread(len(there), len(asked))], True
    return np.asarray(examples[rows]), found


def _spread(size: int, n: int) -> np.ndarray:
    """At most n rows of so many, at equal distances."""
    return np.arange(min(n, size)) * size // max(1, min(n, size))


def extent(dataset: Dataset) -> tuple[np.ndarray, float]:
    """The middle of points of the data, and how far from it to draw each way."""
    real = np.asarray(dataset.train[_spread(len(dataset.train), MOST)])
    low, high = real.min(axis=0), real.max(axis=0)
    reach = 0.6 * float((high - low).max())  # a tenth of margin on each side
    return (low + high) / 2, reach if reach > 0 else 1.0


def _frame(axes: Any, dataset: Dataset, points: np.ndarray) -> str:
    """Sets the axes by the range of the data; says how many of the points lie outside."""
    points = np.asarray(points)
    center, reach = extent(dataset)
    style.bare(axes)
    axes.set(
        xlim=(center[0] - reach, center[0] + reach),
        ylim=(center[1] - reach, center[1] + reach),
        aspect="equal",
        xlabel="x₁",
        ylabel="x₂",
    )
    axes.set_autoscale_on(False)
    count = int((~(np.abs(points - center) <= reach).all(axis=1)).sum())  # NaN is outside too
    return f"{count:,} of {len(points):,} samples lie outside" if count else ""


def _draw_modes(axes: Any, dataset: Dataset) -> None:
    """Circles of 3σ around the modes of a mixture."""
    from matplotlib.collections import EllipseCollection

    if dataset.modes is None or dataset.sigma is None:
        return
    wide = np.full(len(dataset.modes), 6 * dataset.sigma)
    none: dict[str, Any] = {"facecolors": "none", "edgecolors": "k", "linewidths": 0.8}
    circles = EllipseCollection(
        wide, wide, np.zeros(len(wide)), units="xy", offsets=dataset.modes,
        offset_transform=axes.transData, zorder=3, **none,
    )  # fmt: skip
    axes.add_collection(circles, autolim=False)
    ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "k"}
    axes.plot([], linestyle="", **ring, label="3σ around a mode")
