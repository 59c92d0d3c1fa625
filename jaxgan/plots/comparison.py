"""A comparison of losses, or of their settings: a row of points for each."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgan.plots import style


def save_comparison(
    path: str | os.PathLike,
    values: Mapping[str, Sequence[float]],
    label: str,
    settings: bool,
    title: str | None = None,
) -> None:
    """Writes the picture that `draw_comparison` draws as a PNG."""
    style.write(path, style.drawn(draw_comparison, values, label, settings, title))


def draw_comparison(
    values: Mapping[str, Sequence[float]], label: str, settings: bool, title: str | None = None
) -> Any:
    """A row of points for each name, the best row on top.

    Args:
      values: of each name, its values, smaller ones better. How many are not finite is said.
      label: what they are; they are 1 for training data.
      settings: whether each is a setting's, whose median counts, or a seed's, whose mean does.
      title: a line above.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    middle = np.median if settings else np.mean

    def rank(row):
        found = [value for value in row[1] if math.isfinite(value)]
        return [float(middle(of or [math.inf])) for of in (row[1], found)]

    rows = sorted(values.items(), key=rank, reverse=True)
    width, height = 8, 1.9 + 0.3 * max(1, len(rows))  # inches
    figure = Figure(figsize=(width, height), dpi=100)
    names = [style.plain(name, 28) for name, _ in rows]
    left = 0.35 + 0.095 * max(map(len, names), default=0)
    lost = any(not math.isfinite(value) for _, of_row in rows for value in of_row)
    axes = figure.add_axes(
        (left / width, 0.6 / height, 1 - (left + 0.25 + 1.0 * lost) / width, 1 - 1.5 / height)
    )
    style.bare(axes)
    axes.grid(axis="y", visible=False)
    for row, (_, of_row) in enumerate(rows):
        _draw_row(axes, row, of_row, settings)
    axes.axvline(1, **style.THEORY, zorder=0.5)
    _set_scale(axes, [v for of_row in values.values() for v in of_row if math.isfinite(v)])
    axes.set_yticks(range(len(rows)), names, fontsize=style.TITLE)
    axes.set_ylim(-0.6, max(1, len(rows)) - 0.4)
    axes.set_xlabel(
        f"{style.plain(label, 30)}: 1 is what training data score, less is better",
        fontsize=style.TITLE,
    )
    if title:
        style.write_title(figure, 0.15 / width, 1 - 0.12 / height, title)
    _legend(figure, settings, 1 - 0.4 / height)
    return figure


def _draw_row(axes, row, values, settings):
    found = [value for value in values if math.isfinite(value)]
    axes.plot(found, [row] * len(found), "o", color=style.BLUE, alpha=0.45, markersize=5)
    if lost := len(values) - len(found):
        text = axes.text(1.01, row, f"{lost} diverged", transform=axes.get_yaxis_transform())
        text.set(va="center", color=style.BROKEN, fontsize=style.SMALL)
    if found and (settings or len(found) == 1):
        middle = np.median(found)
        axes.plot([middle], [row], "|", color="black", markersize=14)
    elif found:
        error = np.std(found, ddof=1) / len(found) ** 0.5
        axes.errorbar(np.mean(found), row, xerr=error, color="black", capsize=5)


def _set_scale(axes, values):
    from matplotlib.ticker import LogLocator, NullFormatter

    if (largest := max(values, default=1)) > 2:
        axes.set_xscale("log")
        subs = (1, 1.2, 1.5, 2, 3, 5) if largest < 1000 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure, settings, y):
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "color": style.BLUE, "alpha": 0.45}
    mark: dict[str, Any] = {"marker": "|", "markersize": 12, "color": "black"}
    handles = [
        Line2D([], [], **dot, label="a setting" if settings else "a seed"),
        Line2D([], [], linestyle="" if settings else "-", **mark,
               label="their median" if settings else "their mean ± standard error"),
        Line2D([], [], **style.THEORY, label="training data"),
    ]  # fmt: skip
    look: dict[str, Any] = {
        "loc": "upper left",
        "ncols": 3,
        "frameon": False,
        "fontsize": style.SMALL,
    }
    figure.legend(handles=handles, bbox_to_anchor=(0.0, y), **look)
