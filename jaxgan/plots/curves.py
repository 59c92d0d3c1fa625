"""Curves of training: each metric in words, with the value that theory expects."""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgan.plots import style, words

WIDTH, HEIGHT = 4.4, 2.55  # inches of a panel and the words around it
MARKED = 30  # so many points are each marked
SMOOTHED = 100  # more than so many are averaged


class Series(NamedTuple):
    """A metric's numbers.

    Attributes:
      steps: `[n]`.
      values: `[n]`, NaN where they are not finite.
      errors: the standard errors, `[n]`; 0 where there is one seed.
      seeds: how many seeds the values are means of.
    """

    steps: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    seeds: int


def save_curves(
    path: str | os.PathLike,
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] | None = None,
    title: str | None = None,
    best: Mapping[str, Any] | None = None,
    diverged: int | None = None,
) -> None:
    """Writes the curves that `draw_curves` draws as a PNG; nothing where there is no number."""
    with style.look():
        figure = draw_curves(rows, metrics, title, best, diverged)
        content = None if figure is None else style.png(figure)
    if content is not None:
        style.write(path, content)


def draw_curves(
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] | None = None,
    title: str | None = None,
    best: Mapping[str, Any] | None = None,
    diverged: int | None = None,
) -> Any:
    """Training curves, a panel for each metric or pair of them, which says in words what it is.

    Dashed lines are values that theory gives. Beyond 100 points a panel shows them faintly under
    their moving average, and its axis covers the average and all but the extreme hundredths of the
    points. It is logarithmic where positive values span more than two decades.

    Args:
      rows: dictionaries with `step` and scalars, in order; not every row needs every metric. Where
        `NAME_stderr` stands beside NAME, a band of that half-width is shaded around NAME. A number
        that is None or not finite is marked at the bottom of its panel.
      metrics: which metrics to draw, in order; by default every one found beside `step` that says
        something about training.
      title: a line above the panels.
      best: the row of the best score, which is marked.
      diverged: the step at which training broke, which is marked.

    Returns:
      A matplotlib figure; None if there is no number in `rows`.
    """
    series = _collect(rows, metrics)
    if not series:
        return None
    score = None if best is None else next((name for name in best if name in series), None)
    shown = words.panels({name: of.values for name, of in series.items()}, score)
    columns = min(len(shown), 2 if len(shown) <= 6 else 3)
    figure, panels = _lay_out(len(shown), columns, title, _notes(series, diverged), diverged)
    first, last = (extreme(row["step"] for row in rows) for extreme in (min, max))
    last = last if diverged is None else max(last, diverged)
    margin = max(1, last - first) / 30
    for index, (axes, panel) in enumerate(zip(panels, shown, strict=True)):
        axes.set_xlim(first - margin, last + margin)
        _draw_panel(axes, panel, series, lowest=index + columns >= len(shown))
        if diverged is not None:
            axes.axvline(diverged, color=style.BROKEN, linewidth=1)
        if score is not None and score in [line.metric for line in panel.lines]:
            _mark_best(axes, best, score)
    return figure


def _lay_out(count, columns, title, notes, diverged):
    """A figure with so many panels, its title, and a smaller line that says what is drawn."""
    from matplotlib.figure import Figure

    lines, width = math.ceil(count / columns), WIDTH * columns
    notes = textwrap.wrap("; ".join(notes), int(13 * width))
    top = 0.5 + 0.26 * bool(title) + 0.17 * len(notes)  # inches above the panels
    height = HEIGHT * lines + top + 0.3
    figure = Figure(figsize=(width, height), dpi=100)
    # Fixed margins, in inches: matplotlib's own layout draws everything a second time.
    figure.subplots_adjust(0.75 / width, 0.55 / height, 1 - 0.15 / width, 1 - (top + 0.15) / height)
    figure.subplots_adjust(wspace=0.8 / (WIDTH - 0.8), hspace=0.75 / (HEIGHT - 0.75))
    left = 0.15 / width
    if title:
        style.write_title(figure, left, 1 - 0.12 / height, title)
    if notes:
        y = 1 - (0.14 + 0.24 * bool(title)) / height
        color = "0.3" if diverged is None else style.BROKEN
        look: dict[str, Any] = {"fontsize": style.SMALL, "va": "top", "linespacing": 1.2}
        figure.text(left, y, "\n".join(notes), color=color, **look)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _collect(rows, metrics) -> dict[str, Series]:
    if metrics is None:
        names = dict.fromkeys(name for row in rows for name in row if name != "step")
        own = [name for name in names if not _beside(name, names)]
        metrics = words.choose(own)
    series = {}
    for metric in metrics:
        found = [row for row in rows if metric in row and _is_number(row[metric])]
        if not found:
            continue
        columns = [
            [row["step"] for row in found],
            [_number(row[metric]) for row in found],
            [_number(row.get(f"{metric}_stderr", 0.0)) for row in found],
        ]
        steps, values, errors = np.array(columns, float)
        of_seeds = found[-1].get(f"{metric}_seeds")
        values[~np.isfinite(values)] = np.nan
        series[metric] = Series(steps, values, errors, len(of_seeds) if of_seeds else 1)
    return series


def _beside(name, names):
    """Whether it says something about another metric: its standard error, or its seeds."""
    return any(name.endswith(s) and name.removesuffix(s) in names for s in ("_stderr", "_seeds"))


def _notes(series, diverged) -> list[str]:
    """What lines, bands and colours are, in a few words each."""
    notes = []
    if diverged is not None:
        notes.append(f"diverged at step {diverged:,}: numbers were no longer finite")
    if any(of.errors.any() for of in series.values()):
        seeds = max(of.seeds for of in series.values())
        over = f"{seeds} seeds" if seeds > 1 else "the seeds"
        notes.append(f"lines: mean over {over}, bands: ± its standard error")
    longest = max(len(of.steps) for of in series.values())
    if longest > SMOOTHED:
        notes.append(f"dark lines: moving averages over {_window(longest)} logged steps")
    lost = {step for of in series.values() for step in of.steps[np.isnan(of.values)]}
    if lost:
        notes.append(f"red marks: not finite, first at step {min(lost):,.0f}")
    return notes


def _draw_panel(axes, panel, series, lowest):
    from matplotlib.ticker import MaxNLocator

    style.bare(axes)
    alone = len(panel.lines) == 1
    limits = [_draw_line(axes, series[line.metric], line, alone) for line in panel.lines]
    _set_limits(axes, [pair for pair in limits if pair is not None])
    levels = [level for level in panel.levels if axes.get_yscale() == "linear" or level[0] > 0]
    if levels:
        low, high = axes.get_ylim()
        least, most = (extreme(value for value, _ in levels) for extreme in (min, max))
        room = 0.05 * (max(high, most) - min(low, least))
        for value, text in levels:
            axes.axhline(value, **style.THEORY, label=text, zorder=1.5)
        axes.set_ylim(min(low, least - room), max(high, most + room))
    _write_caption(axes, panel, legend=bool(levels) or not alone)
    axes.set_ylabel(panel.unit, fontsize=style.SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelbottom=lowest)
    if lowest:
        axes.set_xlabel("step, an update of the generator", fontsize=style.SMALL)


def _set_limits(axes, pairs):
    """Makes an axis cover these pairs of ends and a little more; without any it stays."""
    if not pairs:
        return
    low, high = min(low for low, _ in pairs), max(high for _, high in pairs)
    if axes.get_yscale() == "log":
        axes.set_ylim(low / 1.3, high * 1.3)
    elif high > low:
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))


def _write_caption(axes, panel, legend):
    """A title, and under it what the lines are, or how to read the only one."""
    axes.set_title(panel.title, fontsize=style.TITLE, loc="left", pad=19)
    if legend:
        if panel.note:
            axes.plot([], [], linestyle="", label=panel.note)
        look = {"handlelength": 1.6, "handletextpad": 0.5, "columnspacing": 1.2, "borderpad": 0.2}
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, fontsize=style.SMALL,
            frameon=False, borderaxespad=0, **look,
        )  # fmt: skip
    elif panel.note:
        place = {"transform": axes.transAxes, "va": "bottom"}
        axes.text(0, 1.025, panel.note, fontsize=style.SMALL, color="0.3", **place)


def _draw_line(axes, of: Series, line, alone):
    """Draws a curve, and returns what its axis must cover if matplotlib is not to choose."""
    lost = np.isnan(of.values)
    if lost.any():
        ticks: dict[str, Any] = {"color": style.BROKEN, "linestyle": "", "marker": "|"}
        axes.plot(of.steps[lost], np.zeros(lost.sum()), **ticks, clip_on=False,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    if lost.all():
        place = {"ha": "center", "transform": axes.transAxes, "color": style.BROKEN}
        axes.text(0.5, 0.5, "never finite", **place)
        return None
    look = {"color": line.color, "label": line.label or "_nolegend_"}
    if of.errors.any():
        return _draw_band(axes, of, look)
    return _draw_curve(axes, of, look, alone)


def _draw_curve(axes, of, look, alone):
    from matplotlib.ticker import NullFormatter

    steps, values = of.steps, of.values
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99])
    if alone and finite.min() > 0 and high > 100 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # powers of ten are formulas, and slow
        axes.yaxis.set_minor_formatter(NullFormatter())
    if len(values) <= SMOOTHED:
        size = 3 if len(values) <= MARKED else 1.5 * bool(np.isnan(values).any())
        axes.plot(steps, values, marker="o", markersize=size, **look)
        return None
    average = _moving_average(values, _window(len(values)))
    block = math.ceil(len(values) / 1000)  # more points than pixels: draw each block's extremes
    blocks = values[: len(values) // block * block].reshape(-1, block)
    extremes = np.stack([np.fmin.reduce(blocks, axis=1), np.fmax.reduce(blocks, axis=1)], axis=1)
    pale = {"color": look["color"], "alpha": 0.3, "linewidth": 0.7}
    axes.plot(steps[: blocks.size : block].repeat(2), extremes.ravel(), **pale)
    axes.plot(steps[::block], average[::block], **look)
    return min(low, np.nanmin(average)), max(high, np.nanmax(average))


def _draw_band(axes, of, look):
    window = max(1, len(of.values) // 50)
    mean = _moving_average(of.values, window)
    error = _moving_average(of.errors, window)
    axes.fill_between(
        of.steps, mean - error, mean + error, color=look["color"], alpha=0.3, linewidth=0
    )
    marker = {"marker": "o", "markersize": 3} if len(mean) <= MARKED else {}
    axes.plot(of.steps, mean, **look, **marker)


def _mark_best(axes, best, score):
    ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "linestyle": ""}
    axes.plot([best["step"]], [best[score]], color=style.ORANGE, **ring, zorder=4)
    text = f"best: {best[score]:.4g} at step {best['step']:,}"
    axes.text(1, 0.98, text, fontsize=style.SMALL, ha="right", va="top", transform=axes.transAxes)


def _window(count):
    return max(5, count // 50)


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Averages the finite values in a centred window, which is shorter at the ends."""
    finite = np.isfinite(values)
    box = np.ones(window)
    total = np.convolve(np.where(finite, values, 0.0), box, mode="same")
    count = np.convolve(finite, box, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _is_number(value: object) -> bool:
    """Whether it is one, or None, which stands in JSON for one that is not finite."""
    number = value is None or isinstance(value, (int, float, np.number))
    return number and not isinstance(value, bool)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
