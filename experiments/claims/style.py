"""One look for all figures: colours mean the same everywhere, and sizes suit a README's width."""

import io
import os
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# C0, C1, ... of Okabe and Ito, which colour-blind people tell apart too: blue, orange, green, red,
# purple, sky blue; and grey in place of their yellow.
SAFE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#666666")
matplotlib.rcParams["axes.prop_cycle"] = cycler(color=SAFE)
DATA, FAKE, CRITIC = "0.15", "C2", "C0"  # Goodfellow's fig. 1: black, green, blue
MINIMAX, BCE, WGAN, WGAN_GP = "C3", "C1", "C4", "C0"
CLOSED_FORM = {"color": "0.25", "linestyle": "--", "linewidth": 1.0}
DOT = {"linestyle": "", "marker": "o", "markersize": 4}
DOTS = 125  # an inch
WIDTH = 7.2  # inches, of three panels
NARROW = 5.2  # of two, whose small text a phone 390 pixels wide shows 8.7 pixels high


def new_figure(
    rows: int,
    columns: int,
    height: float,
    title: str | None = None,
    width: float = WIDTH,
    **keywords: Any,
) -> tuple[Figure, Any]:
    """A figure and its panels, an array `[rows, columns]`."""
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
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
    look = {"handlelength": 1.4, "handletextpad": 0.5, "labelspacing": 0.3} | keywords
    axes.legend(fontsize="small", frameon=False, **look)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG of 256 colours: a third of the size, and of lines and dots as good."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    Image.open(png).convert("RGB").quantize(256, kmeans=2).save(path, format="png", optimize=True)
