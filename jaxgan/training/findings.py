"""What the probes of a run say, in sentences: whether it fails, and how.

Of a mixture the modes that its samples miss say it too. The thresholds of probes are from runs on
the digits that were made to fail and from healthy ones, of seeds 100 to 109. docs/scores.md has how
often they are right on other seeds, and the command.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxgan.data import Dataset
from jaxgan.training.run import Run

LEAST, STEPS = 6, 200  # probes and steps of a run that can be judged
# Healthy runs have at least the number in brackets, or at most.
SPREAD, WIDE = 0.5, 1.5  # of the samples over the data's (0.87 and 1.02)
DIMS = 0.6  # likewise, of directions that they vary in (0.70)
AHEAD = 0.95  # of the critic at the first probes (0.91)
AT_CLIP = 0.02, 0.5  # of the critic's weights (0.27 and 0.38)
REACHED = 0.01  # of the critic's slope by the generator's gradient (0.5)
# A critic that has seen 1,437 digits for long ranks 96% of them above others, and its samples are
# as varied as data; one that has seen 100 does no better in a run's middle, and they are not.
MEMORISED, MEMORISED_AND_POOR = 0.98, 0.9
# Of a mixture's mode: its share of good samples, over the data's. On ring8 and grid25 the poorest
# mode of wgan and wgan-gp has 0.58 and more after 3,000 steps, and 0.16 after 1,000; that of bce on
# ring8, which nearly leaves one out, has 0.01 and 0.04.
SHARE = 0.1
MODE_SAMPLES = 2_500  # as VEEGAN: of 25 modes a healthy one has fifty, one of this share ten


class Finding(NamedTuple):
    """What is wrong with a run.

    Attributes:
      name: in a few words.
      sentence: with what was measured, and what helps.
    """

    name: str
    sentence: str


def find(rows: Sequence[Mapping]) -> Finding | None:
    """What the probes of one seed show; None if nothing is wrong, or there are too few.

    Args:
      rows: a dictionary of the numbers of `jaxgan.probe` for each probe, oldest first.
    """
    if not can_judge(rows):
        return None
    last = {name: _mean(_numbers(_last_third(rows), name)) for name in set().union(*rows)}
    return _of_the_critic(rows, last) or _of_the_samples(rows, last)


def can_judge(rows: Sequence[Mapping]) -> bool:
    """Whether a run has been long enough to say how it is."""
    return len(rows) >= LEAST and rows[-1]["step"] >= STEPS


def mode_shares(run: Run, dataset: Dataset) -> list[np.ndarray] | None:
    """How many samples of each seed are within 3σ of each mode, over how many data are.

    Args:
      run: its averaged generator draws 2,500 samples of each seed, the same at every call.
      dataset: what it was trained on.

    Returns:
      For each seed `[K]`, 1 where a mode has its share; None of data that are no mixture.
    """
    from jaxgan.metrics import mode_score

    modes, sigma = dataset.modes, dataset.sigma
    if modes is None or sigma is None:
        return None

    def near(x):
        good = x[np.isfinite(x).all(axis=1)]  # others are near no mode
        if not len(good):
            return np.zeros(len(modes))
        return np.asarray(mode_score(good, modes, sigma).near) / len(x)

    of_data = near(np.asarray(dataset.train[: 4 * MODE_SAMPLES]))
    key = jax.random.key(0)
    of_seeds = [near(run.sample(key, MODE_SAMPLES, i)) for i in range(run.num_seeds)]
    return [each[of_data > 0] / of_data[of_data > 0] for each in of_seeds]


def find_in_modes(shares: np.ndarray) -> Finding | None:
    """What the shares of a mixture's modes show, `[K]`; None if all have samples."""
    if not (poor := int(np.sum(shares < SHARE))):
        return None
    return Finding(
        "modes missing",
        f"{poor} of {len(shares)} modes {'has' if poor == 1 else 'have'} less than {SHARE:.0%} of "
        "the good samples that data have there. Train longer; lower learning rates or another "
        "loss help",
    )


def _of_the_critic(rows, last):
    poor = _below(last, "dims", DIMS) or _below(last, "spread", SPREAD)
    known = _highest(_numbers(rows, "memorised"))
    if known >= MEMORISED or (known >= MEMORISED_AND_POOR and poor):
        return Finding(
            "memorises",
            f"the critic memorises: it ranks {known:.0%} of the training examples above held-out "
            "ones, where half would be right. More data, augmentation or a smaller critic help",
        )
    low, high = AT_CLIP
    at_clip = last.get("at_clip", math.nan)
    held = f"{at_clip:.1%} of the critic's weights are at it"
    if at_clip < low:
        return Finding("clip too large", f"the clip is too large: {held}. Lower it")
    if at_clip > high and _below(last, "d_slope", REACHED):
        slope = f"{held}, and the critic's slope is {last['d_slope']:.1g}"
        return Finding("clip too small", f"the clip is too small: {slope}. Raise it")
    return None


def _of_the_samples(rows, last):
    alike = f"the spread of the samples is {last['spread']:.0%} of the data's"
    early, ahead = _mean(_numbers(rows[:3], "ahead")), last.get("ahead", math.nan)
    if last["spread"] < SPREAD and early > AHEAD:
        return Finding(
            "rates too high",
            f"the learning rates are too high: {alike}, and the critic told them apart from the "
            f"first probes on ({early:.0%})",
        )
    if last["spread"] < SPREAD:
        return Finding(
            "collapse",
            f"the generator has collapsed: {alike}. A slower generator, more critic updates or "
            "another loss help",
        )
    share = last["g_slope"] / max(last["d_slope"], 1e-30)
    if share < REACHED and ahead > AHEAD:
        return Finding(
            "discriminator wins",
            f"the discriminator wins: it ranks {ahead:.0%} of the data above samples, and the "
            f"generator's gradient is {share:.1g} of its slope. A slower discriminator, or a loss "
            "that does not saturate, helps",
        )
    if last["spread"] > WIDE:
        return Finding("too wide", f"the samples are no data yet: {alike}. Train longer")
    if _below(last, "dims", DIMS):
        return Finding(
            "few directions",
            f"the samples vary in {last['dims']:.0%} as many directions as the data: latents are "
            "too few, or kinds of examples are gone",
        )
    return None


def describe(
    rows: Sequence[Mapping], seeds: Sequence[int], modes: Sequence[np.ndarray] | None = None
) -> list[str]:
    """The findings of all seeds, a line each; else what the critic's numbers are, in a line.

    Args:
      rows: the probes, oldest first.
      seeds: whose they are.
      modes: what `mode_shares` gives at the end, of a mixture.
    """
    if not rows:
        return []
    lines, judged = [], can_judge(rows)
    for index, seed in enumerate(seeds):
        missing = find_in_modes(modes[index]) if modes is not None and judged else None
        if found := find(of_seed(rows, index)) or missing:
            lines.append((f"seed {seed}: " if len(seeds) > 1 else "") + found.sentence)
    if lines or not judged:
        return lines
    ahead, spread = (
        _mean(_numbers(_last_third(rows), name).ravel()) for name in ("ahead", "spread")
    )
    apart = ""
    if not math.isnan(ahead):
        told = "50% where it cannot tell them apart"
        apart = f"the critic ranks {ahead:.0%} of the data above samples ({told}), and "
    end = f"the samples' spread is {spread:.0%} of the data's"
    if modes is not None:
        end += f"; all {len(modes[0])} modes have samples"
    return [f"nothing wrong was seen: {apart}{end}"]


def of_seed(rows: Sequence[Mapping], index: int) -> list[dict]:
    """The probes of one of several seeds."""
    return [
        {name: v[index] if isinstance(v, list) else v for name, v in row.items()} for row in rows
    ]


def _last_third(rows):
    return [row for row in rows if 3 * row["step"] > 2 * rows[-1]["step"]]


def _below(last, name, bound):
    """Whether a number is there, and below a bound."""
    return last.get(name, math.nan) < bound


def _numbers(rows, name):
    return np.array([row[name] for row in rows if row.get(name) is not None], float)


def _mean(values):
    return float(np.mean(values)) if len(values) else math.nan


def _highest(values):
    """The highest mean of three probes in a row; ½ where there are none."""
    return max((_mean(values[i : i + 3]) for i in range(len(values) - 2)), default=0.5)
