"""PNG files a person looks at: sample grids, scatter plots of 2-D points, training curves.

Figures are matplotlib objects without pyplot, so nothing global is touched and no display is
needed. A path may be remote (`gs://...`): bytes are written through etils.
"""

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgan.data import Dataset, to_uint8

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
      dataset: the data they should resemble. Its held-out points are drawn in grey, its
        modes as circles within which a sample counts as one of high quality, and its range
        sets the axes, so that the frames of a run can be compared. Samples beyond the axes
        are counted under the plot.
      title: a line above the points; images have none.

    Raises:
      ValueError: if samples are neither images nor points.
    """
    samples = np.asarray(samples)
    if samples.ndim == 3:  # grey
        samples = samples[..., None]
    if samples.ndim == 4:
        from PIL import Image

        grid = image_grid(to_uint8(samples))
        png = io.BytesIO()
        Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(png, format="PNG")
        _write(path, png)
    elif samples.ndim == 2 and samples.shape[1] == 2:
        _save_points(path, samples, dataset, title)
    else:
        raise ValueError(
            f"samples must be images [N, H, W, C] or points [N, 2], got {list(samples.shape)}"
        )


def _save_points(
    path: str | os.PathLike, samples: np.ndarray, dataset: Dataset, title: str | None
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    points = dataset.train[:]
    low, high = points.min(axis=0), points.max(axis=0)
    center, reach = (low + high) / 2, 0.6 * (high - low).max()  # a tenth of margin on each side
    inside = (np.abs(samples - center) <= reach).all(axis=1)  # False for NaN

    figure = Figure(figsize=(6, 6.8), dpi=100)
    axes = figure.add_axes((0.1, 0.14, 0.87, 0.81))
    dot: dict[str, Any] = {"linestyle": "", "marker": ".", "markeredgewidth": 0}
    real = (dataset.test if len(dataset.test) else dataset.train)[: max(1000, len(samples))]
    axes.plot(*real.T, **dot, markersize=5, color="0.7", label="data")
    axes.plot(*samples[inside].T, **dot, markersize=5, color="C0", alpha=0.6, label="samples")
    if dataset.modes is not None and dataset.sigma is not None:
        for mode in dataset.modes:
            axes.add_patch(Circle(mode, 3 * dataset.sigma, fill=False, linewidth=0.8))
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "k"}
        axes.plot([], linestyle="", **ring, label="3σ around a mode")
    axes.set(
        xlim=(center[0] - reach, center[0] + reach),
        ylim=(center[1] - reach, center[1] + reach),
        aspect="equal",
        title=title or dataset.name,
        xlabel=f"{(~inside).sum():,} of {len(samples):,} samples lie outside",
    )
    figure.legend(loc="lower center", ncols=3, markerscale=1.5, frameon=False)
    _save_figure(path, figure)


def save_curves(
    path: str | os.PathLike,
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Writes training curves as a PNG, one panel a metric.

    Beyond 100 points a panel shows them faintly under their moving average, and its axis
    covers the average and all but the extreme hundredths of the points. It is logarithmic
    where positive values span more than two decades.

    Args:
      path: the file to write.
      rows: dictionaries with `step` and scalars, in order; not every row needs every metric. Where
        `NAME_stderr` stands beside NAME, a band of that half-width is shaded around NAME.
      metrics: which metrics to draw, in order; by default every number found beside `step`.
      title: a line above the panels.

    With no metric in `rows` nothing is written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if metrics is None:
        names = dict.fromkeys(k for row in rows for k in row if k != "step")
        metrics = [
            name for name in names if name.removesuffix("_stderr") not in names.keys() - {name}
        ]
    series = {}
    for metric in metrics:
        points = [
            (row["step"], row[metric], row.get(f"{metric}_stderr", 0.0))
            for row in rows
            if _is_number(row.get(metric))
        ]
        if points:
            series[metric] = np.array(points, float).T
    if not series:
        return
    columns = min(3, len(series))
    lines = math.ceil(len(series) / columns)
    width, height = 4.2 * columns, 2.8 * lines + 0.3
    figure = Figure(figsize=(width, height), dpi=100)
    # Fixed margins, in inches: matplotlib's own layout draws everything a second time.
    figure.subplots_adjust(0.65 / width, 0.55 / height, 1 - 0.15 / width, 1 - 0.6 / height)
    figure.subplots_adjust(wspace=0.75 / 3.4, hspace=0.85 / 1.95)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    first, last = (extreme(row["step"] for row in rows) for extreme in (min, max))
    margin = max(1, last - first) / 30
    for axes, (metric, (steps, values, errors)) in zip(panels, series.items(), strict=False):
        if errors.any():
            _draw_band(axes, steps, values, errors)
        else:
            _draw_curve(axes, steps, values)
        axes.set_title(metric, fontsize="medium")
        axes.set_xlim(first - margin, last + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("step", fontsize="small")
    for axes in panels[len(series) :]:
        axes.set_visible(False)
    if title:
        figure.suptitle(title)
    _save_figure(path, figure)


def save_comparison(
    path: str | os.PathLike, values: Mapping[str, Sequence[float]], label: str, settings: bool
) -> None:
    """Draws a row of points for each name, the best row on top.

    Args:
      path: the PNG file to write.
      values: of each name, its values, smaller ones better. How many are not finite is said.
      label: what they are.
      settings: whether each is a setting's, whose median counts, or a seed's, whose mean does.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    middle = np.median if settings else np.mean
    rows = sorted(values.items(), key=lambda row: -float(middle(row[1] or [math.inf])))
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots()
    for height, (_, of_row) in enumerate(rows):
        found = [value for value in of_row if math.isfinite(value)]
        axes.plot(found, [height] * len(found), "o", color="tab:blue", alpha=0.45, markersize=5)
        if lost := len(of_row) - len(found):
            beside = axes.get_yaxis_transform()
            text = axes.text(1.01, height, f"{lost} diverged", transform=beside)
            text.set(va="center", color="tab:red", fontsize="small")
        if found and (settings or len(found) == 1):
            axes.plot([middle(found)], [height], "|", color="black", markersize=14)
        elif found:
            error = np.std(found, ddof=1) / len(found) ** 0.5
            axes.errorbar(np.mean(found), height, xerr=error, color="black", capsize=5)
    axes.axvline(1, color="0.6", linewidth=0.8)
    everything = [value for of_row in values.values() for value in of_row if math.isfinite(value)]
    if (largest := max(everything, default=1)) > 2:
        axes.set_xscale("log")
        subs = (1, 1.2, 1.5, 2, 3, 5) if largest < 1000 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    shown = "settings, and their median" if settings else "seeds, their mean ± standard error"
    axes.set_xlabel(f"{label}: {shown}; 1 is training data")
    axes.grid(axis="x", linewidth=0.3)
    _save_figure(path, figure)


def _draw_curve(axes: Any, steps: np.ndarray, values: np.ndarray) -> None:
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize="small")
    finite = values[np.isfinite(values)]
    if not len(finite):
        axes.text(0.5, 0.5, "never finite", ha="center", transform=axes.transAxes, color="C3")
        return
    low, high = np.percentile(finite, [1, 99])
    if finite.min() > 0 and high > 100 * low:
        axes.set_yscale("log")
    if len(values) <= 100:
        axes.plot(steps, values, color="C0", marker="o", markersize=3 if len(values) <= 30 else 0)
        return
    average = _moving_average(values, window=max(5, len(values) // 50))
    block = math.ceil(len(values) / 1000)  # more points than pixels: draw each block's extremes
    blocks = values[: len(values) // block * block].reshape(-1, block)
    extremes = np.stack([np.fmin.reduce(blocks, axis=1), np.fmax.reduce(blocks, axis=1)], axis=1)
    axes.plot(
        steps[: blocks.size : block].repeat(2), extremes.ravel(), color="C0", alpha=0.3, lw=0.7
    )
    axes.plot(steps[::block], average[::block], color="C0")
    low, high = min(low, np.nanmin(average)), max(high, np.nanmax(average))
    if axes.get_yscale() == "log":
        axes.set_ylim(low / 1.3, high * 1.3)
    elif high > low:
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))


def _draw_band(axes: Any, steps: np.ndarray, values: np.ndarray, errors: np.ndarray) -> None:
    window = max(1, len(values) // 50)
    mean, error = _moving_average(values, window), _moving_average(errors, window)
    axes.grid(color="0.9", linewidth=0.6)
    axes.tick_params(labelsize="small")
    axes.fill_between(steps, mean - error, mean + error, color="C0", alpha=0.3, linewidth=0)
    axes.plot(steps, mean, color="C0")


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Averages the finite values in a centred window, which is shorter at the ends."""
    finite = np.isfinite(values)
    box = np.ones(window)
    total = np.convolve(np.where(finite, values, 0.0), box, mode="same")
    count = np.convolve(finite, box, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _save_figure(path: str | os.PathLike, figure: Any) -> None:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    _write(path, png)


def _write(path: str | os.PathLike, png: io.BytesIO) -> None:
    from etils import epath

    epath.Path(path).write_bytes(png.getvalue())
