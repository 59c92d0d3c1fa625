"""What the metrics of training mean: a title in words, a unit, and what theory expects."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.plots.style import CRITIC, DATA, FAKE, plain


class Line(NamedTuple):
    """A curve of a panel.

    Attributes:
      metric: its name in the rows.
      label: what it is, where there are several.
      color: of the line.
    """

    metric: str
    label: str = ""
    color: str = CRITIC


class Panel(NamedTuple):
    """What a panel of curves says.

    Attributes:
      title: what is drawn, in words.
      unit: of its vertical axis.
      lines: the curves.
      note: how to read it, in a few words.
      levels: values that theory gives, and what they mean.
    """

    title: str
    unit: str
    lines: tuple[Line, ...]
    note: str = ""
    levels: tuple[tuple[float, str], ...] = ()


LOG_2 = math.log(2)
CANNOT_TELL = "cannot tell data from samples"
NONE_SEEN = "0: no difference is seen"
LOWER = "lower is better"
# Of metrics that mean the same under every loss: title, unit, note and levels.
_ALONE: dict[str, tuple[str, str, str, tuple[tuple[float, str], ...]]] = {
    "js": (
        "Jensen–Shannon divergence, a lower bound", "nats", "",
        ((0, NONE_SEEN), (LOG_2, "log 2: nothing in common")),
    ),
    "total_variation": (
        "Total variation, a lower bound", "share", "",
        ((0, NONE_SEEN), (1, "1: nothing in common")),
    ),
    "divergence": ("The f-divergence, a lower bound", "divergence", "", ((0, NONE_SEEN),)),
    "d_ahead": (
        "How often data score above samples", "share of pairs", "", ((0.5, f"½: {CANNOT_TELL}"),),
    ),
    "gradient_penalty": (
        "How far the critic's slope is from its target", "mean square",
        "0 where each slope is right", (),
    ),
    "slope_penalty": ("The critic's slope, to its power", "mean", "what the loss charges", ()),
    "k": ("BEGAN's k, the weight of samples", "weight", "0 to 1: it keeps the balance", ()),
    "convergence": ("BEGAN's measure of convergence", "error", LOWER, ()),
    "ada_p": ("How many images are augmented", "share", "more where the critic overfits", ()),
    "ada_r": ("Signs that the critic overfits", "0 none, 1 wholly", "it sets the augmentation", ()),
    "skipped": ("Updates that were skipped", "updates", "their numbers were not finite", ()),
    "w1": ("Wasserstein distance of samples to data", "exact W₁", LOWER, ()),
    "mind": ("Distance of samples to data (MIND)", "in Inception's features", LOWER, ()),
    "frechet_classifier": (
        "Fréchet distance of samples to data", "in a classifier's features", LOWER, (),
    ),
}  # fmt: skip
# What a loss or the log keeps for itself.
_INNER = {
    "seconds",
    "real_shift",
    "real_square",
    "ada_sign",
    "ada_real",
    "ada_held_out",
    "ada_fake",
}


def choose(names: Sequence[str]) -> list[str]:
    """Those of the names that say something about training, the losses first."""
    known = sorted(names, key=lambda name: name not in ("d_loss", "g_loss"))
    return [name for name in known if name not in _INNER]


def panels(series: Mapping[str, np.ndarray], score: str | None = None) -> list[Panel]:
    """The panels of these metrics, in their order; two of the same kind share one.

    Args:
      series: the values of each metric, NaN where not finite. Names and signs tell the loss.
      score: the name of the metric that chose the best state.
    """
    found, done = [], set()
    for name in series:
        if name not in done:
            panel = _panel(name, series, score)
            done |= {line.metric for line in panel.lines}
            found.append(panel)
    return found


def _panel(name, series, score):
    if name == "d_loss":
        return _critic_loss(series)
    if name == "g_loss":
        return _generator_loss(series)
    if {"d_real", "d_fake"} <= series.keys() and name in ("d_real", "d_fake"):
        return _answers(series)
    if {"real_error", "fake_error"} <= series.keys() and name in ("real_error", "fake_error"):
        lines = Line("real_error", "data", DATA), Line("fake_error", "samples", FAKE)
        return Panel("Error of the critic, an autoencoder", "error", lines)
    if name in ("r1", "r2"):
        return _slopes(series)
    if name == "wasserstein":
        return _wasserstein(series)
    if name in _ALONE:
        title, unit, note, levels = _ALONE[name]
        return Panel(title, unit, (Line(name),), note, levels)
    title = plain(name.replace("_", " "), 36)
    return Panel(title, "", (Line(name),), f"a score: {LOWER}" if name == score else "")


def _critic_loss(series):
    """With the value of a critic that gives each data point and sample the same score."""
    title = "Discriminator's loss" if "js" in series else "Critic's loss"
    penalised = {"gradient_penalty", "slope_penalty"} & series.keys()
    levels = {
        "js": ((2 * LOG_2, f"log 4: {CANNOT_TELL}"),),
        "d_ahead": ((LOG_2, f"log 2: {CANNOT_TELL}"),),
        "total_variation": ((2, f"2: {CANNOT_TELL}"),),
        "divergence": ((0, f"0: {CANNOT_TELL}"),),
        "wasserstein": ((0, f"0: {CANNOT_TELL}"),),
    }
    told = [levels[name] for name in levels if name in series and not penalised]
    unit = "nats" if {"js", "d_ahead"} & series.keys() else "loss"
    return Panel(title, unit, (Line("d_loss"),), "", told[0] if told else ())


def _generator_loss(series):
    title, line = "Generator's loss", Line("g_loss", color=FAKE)
    if "js" in series:
        # The loss −log D is never below 0, the minimax loss log(1 − D) never above.
        sign = -1 if np.nanmax(np.append(series["g_loss"], -np.inf)) <= 0 else 1
        name = f"{'−' if sign < 0 else ''}log 2: D says ½ to samples"
        return Panel(title, "nats", (line,), "", ((sign * LOG_2, name),))
    if "d_ahead" in series:
        return Panel(title, "nats", (line,), "", ((LOG_2, f"log 2: {CANNOT_TELL}"),))
    note = "its zero means nothing, its changes do" if "wasserstein" in series else ""
    return Panel(title, "loss", (line,), note)


def _wasserstein(series):
    title, unit = "Critic's estimate of the Wasserstein distance", "W₁ times an unknown factor"
    if "gradient_penalty" in series:
        unit = "W₁"
    elif "slope_penalty" in series:
        title, unit = "Critic's mean score of data less samples", "score"
    return Panel(title, unit, (Line("wasserstein"),), "", ((0, NONE_SEEN),))


def _slopes(series):
    lines = Line("r1", "at data (R1)", DATA), Line("r2", "at samples (R2)", FAKE)
    shown = tuple(line for line in lines if line.metric in series)
    title = "The critic's slope" + (f" {shown[0].label}" if len(shown) == 1 else "")
    return Panel(title, "mean square", shown, "0: flat")


def _answers(series):
    lines = Line("d_real", "data", DATA), Line("d_fake", "samples", FAKE)
    if "js" in series:
        title, level = "How real the discriminator finds them", (0.5, "½: it cannot tell")
        return Panel(title, "mean D, a probability", lines, "", (level,))
    return Panel("The critic's mean scores", "score", lines, "equal if it cannot tell")


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"
