"""One look for all figures: colours mean the same everywhere, and sizes suit a README's width.

Draw and save within `look()`, which is the library's too: C0, C1, ... are its palette's colours.
"""

import io
import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from jaxgan.plots.style import CRITIC, DATA, FAKE, SAFE, look, png

__all__ = ["CRITIC", "DATA", "FAKE", "SAFE", "look"]

MINIMAX, BCE, WGAN, WGAN_GP = "C3", "C1", "C4", "C0"
CLOSED_FORM = {"color": "0.25", "linestyle": "--", "linewidth": 1.0}
DOT = {"linestyle": "", "marker": "o", "markersize": 4}
DOTS = 125  # an inch
NARROW = 5.2  # inches, of two panels, whose small text a phone 390 pixels wide shows 8.7 high


def new_figure(
    rows: int,
    columns: int,
    height: float,
    title: str | None = None,
    width: float = NARROW,
    **keywords: Any,
) -> tuple[Figure, Any]:
    """A figure and its panels, an array `[rows, columns]`."""
    figure = _new_figure(width, height, title)
    panels = figure.subplots(rows, columns, squeeze=False, **keywords)
    for axes in panels.flat:
        axes.tick_params(labelsize="small")
    return figure, panels


def new_mosaic(
    mosaic: str, height: float, title: str, width: float = NARROW, **keywords: Any
) -> tuple[Figure, dict[str, Axes]]:
    """A figure whose panels lie as their letters in the mosaic, its lines apart by `;`."""
    figure = _new_figure(width, height, title)
    panels = figure.subplot_mosaic(mosaic, **keywords)
    for axes in panels.values():
        axes.tick_params(labelsize="small")
    return figure, panels


def _new_figure(width: float, height: float, title: str | None) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure


def label(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title and axis labels, in the sizes that all figures share."""
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x, fontsize="small")
    axes.set_ylabel(y, fontsize="small")


def legend(axes: Axes, **keywords: Any) -> None:
    """A legend that stays out of the way."""
    look = {"handlelength": 1.4, "handletextpad": 0.5, "labelspacing": 0.3} | keywords
    axes.legend(fontsize="small", frameon=False, **look)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG of 256 colours: a third of the size, and of lines and dots as good."""
    Image.open(io.BytesIO(png(figure))).convert("RGB").quantize(256, kmeans=2).save(
        path, format="png", optimize=True
    )
