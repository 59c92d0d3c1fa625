"""One look for all figures: colours mean the same everywhere, and sizes suit a README's width."""

import io
import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

DATA, FAKE, CRITIC = "0.15", "C2", "C0"  # Goodfellow's fig. 1: black, green, blue
MINIMAX, BCE, WGAN, WGAN_GP = "C3", "C1", "C4", "C0"
CLOSED_FORM = {"color": "0.25", "linestyle": "--", "linewidth": 1.0}
DOT = {"linestyle": "", "marker": "o", "markersize": 4}
WIDTH = 9.0  # inches, at 100 dots each


def new_figure(
    rows: int, columns: int, height: float, title: str | None = None, **keywords: Any
) -> tuple[Figure, Any]:
    """A figure as wide as all others, and its panels, an array `[rows, columns]`."""
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **keywords)
    for axes in panels.flat:
        axes.tick_params(labelsize="small")
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure, panels


def label(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title and axis labels, in the sizes that all figures share."""
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x, fontsize="small")
    axes.set_ylabel(y, fontsize="small")


def legend(axes: Axes, **keywords: Any) -> None:
    """A legend that stays out of the way."""
    axes.legend(fontsize="x-small", frameon=False, **keywords)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG of 256 colours: a third of the size, and of lines and dots as good."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    Image.open(png).convert("RGB").quantize(256, kmeans=2).save(path, format="png", optimize=True)
