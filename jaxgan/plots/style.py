"""One look for all pictures: colours that mean the same everywhere, sizes, and words that fit."""

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

# Okabe and Ito's colours, which colour-blind people tell apart too; grey in place of their yellow.
SAFE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#666666")
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = SAFE
DATA, FAKE, CRITIC = "#262626", GREEN, BLUE  # Goodfellow's fig. 1: black, green, blue
BROKEN = RED  # what is not finite
THEORY: dict[str, Any] = {"color": "#404040", "linestyle": "--", "linewidth": 1.0}  # a closed form
FONT = "DejaVu Sans"  # which comes with matplotlib
HEADLINE, TITLE, SMALL = 12, 10, 8.5  # sizes of letters, in points
# What belongs to a user's session and not to a picture.
_OF_THE_SESSION = ("backend", "interactive", "toolbar", "timezone", "webagg", "tk.", "keymap")


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Within it matplotlib draws by its own defaults and our colours, whatever it is set to.

    Afterwards its settings are what they were.
    """
    import matplotlib
    from cycler import cycler

    ours: dict[str, Any] = {"axes.prop_cycle": cycler(color=SAFE), "font.family": [FONT]}
    now, default = matplotlib.rcParams, matplotlib.rcParamsDefault
    names = (name for name in default if not name.startswith(_OF_THE_SESSION))
    changed: Any = {name: default[name] for name in names if now[name] != default[name]}
    with matplotlib.rc_context(changed | ours):
        yield


def plain(text: str, width: int | None = None) -> str:
    """A name that may hold anything, as matplotlib can write it: on one line, and no formula.

    Args:
      text: the name.
      width: how many letters there is room for; the middle of a longer one is left out.
    """
    text = " ".join(text.split())
    if width is not None and len(text) > width:
        head = max(1, (width - 1) // 2)
        text = f"{text[:head]}…{text[len(text) - max(1, width - 1 - head) :]}"
    if not text.isascii():
        known = _letters()
        text = "".join(
            letter if ord(letter) in known else "\N{REPLACEMENT CHARACTER}" for letter in text
        )
    return text.replace("$", r"\$")


@functools.cache
def _letters() -> frozenset[int]:
    """The letters that the font has; others would each be a warning."""
    from matplotlib import font_manager

    path = font_manager.findfont(FONT)
    return frozenset(font_manager.get_font(path).get_charmap())


def write_title(figure: Any, x: float, y: float, text: str) -> None:
    """Writes a line from a place in a figure, in shares of it, that ends before its right edge."""
    room = (1 - x) * figure.get_figwidth()  # inches
    title = figure.text(x, y, plain(text, int(10 * room)), fontsize=HEADLINE, va="top")
    if len(title.get_text()) > 6 * room:  # it may be wider: six of the widest letter fill an inch
        wide = title.get_window_extent().width / figure.dpi
        title.set_fontsize(HEADLINE * min(1, 0.93 * room / wide))


def texts(figure: Any) -> list[str]:
    """What is written in a figure, but for the numbers at its axes."""
    from matplotlib.text import Text

    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")
    }
    found = (text for text in figure.findobj(Text) if text not in ticks and text.get_visible())
    return [text.get_text() for text in found if text.get_text()]


def bare(axes: Any) -> None:
    """A panel with a pale grid, and without a frame where nothing is measured."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL)


def png(figure: Any) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def drawn(draw: Callable[..., Any], *arguments: Any) -> bytes:
    """The PNG of the figure that a function draws of these arguments, in our look."""
    with look():
        return png(draw(*arguments))


def write(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file, here or in a store."""
    from etils import epath

    epath.Path(path).write_bytes(content)
