"""Entropy: what one does not know yet, in nats, and how many samples it takes to measure it.

A coin with heads of probability p has H(p) = −p log p − (1 − p) log(1 − p): 0 where it is sure, and
largest, log 2 or one bit, at p = 1/2, where H' = log((1 − p)/p) is 0 (Shannon 1948, sec. 6). Of k
outcomes the largest is log k.

The entropy of the shares among n flips is too small on average, by (k − 1)/2n for k outcomes
(Miller 1955): shares fit their own flips too well. It is the half nat of a parameter that maximum
likelihood pays.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims import style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances

TITLE = "The entropy of a coin"
PARTS = 1
SOURCE = "Shannon 1948, sec. 6"

HEADS = np.linspace(0, 1, 201)
FAIR, BENT = 0.5, 0.2
SIZES = (20, 50, 100, 200, 500)
REPETITIONS = 40_000


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      entropies: H at each of HEADS, `[n]`.
      lack: H less the mean entropy of the shares among each of SIZES flips, of the fair coin.
    """

    numbers: Numbers
    entropies: np.ndarray
    lack: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Takes the entropy of coins, and of the flips of one.

    Args:
      scale: multiplies the number of repetitions.
      tick: called after each part.
      seed: of the flips.
    """
    entropies = np.asarray(entropy(HEADS))
    repetitions = int(REPETITIONS * scale)
    lack, error = measure_lack(FAIR, repetitions, key_of(seed))
    fine = np.linspace(0.49, 0.51, 2001)
    numbers = {
        "coin.largest": Number(
            "the largest entropy of a coin, nats: log 2",
            SOURCE, float(np.log(2)), float(entropies.max()), 1e-6, "algebra",
        ),
        "coin.largest_at": Number(
            "the p of that coin, by the slope of H, log((1 − p)/p)",
            SOURCE, 0.5, float(fine[np.argmin(np.abs(jax.vmap(jax.grad(entropy))(fine)))]),
            1e-5, "algebra",
        ),
        "coin.bent": Number(
            f"entropy of a coin with heads {BENT:g} in bits",
            SOURCE, 0.721928, float(entropy(BENT) / np.log(2)), 1e-6, "algebra",
        ),
        "coin.die": Number(
            "entropy of a die with six equal faces, nats: log 6",
            SOURCE, float(np.log(6)), float(distances.entropy(np.full(6, 1 / 6))), 1e-6, "algebra",
        ),
    }  # fmt: skip
    for i, n in enumerate(SIZES):
        # Four standard errors of the mean over repetitions; and the next term of Miller's series,
        # (1 − Σ 1/p)/12n².
        numbers[f"coin.lack@n={n}"] = Number(
            f"entropy that the shares among {n} flips of a fair coin lack, times 2n: k − 1",
            "Miller 1955", 1.0, float(2 * n * lack[i]),
            float(2 * n * 4 * error[i]) + 0.5 / n, "sampled",
        )  # fmt: skip
    tick()
    return Result(numbers, entropies, lack)


def entropy(heads) -> jax.Array:
    """H of coins whose heads have these probabilities."""
    heads = jnp.asarray(heads, jnp.float32)
    return distances.entropy(jnp.stack([heads, 1 - heads], axis=-1))


def measure_lack(heads: float, repetitions: int, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """H less the mean entropy of shares at each of SIZES, and the mean's standard error."""
    lacks = []
    for i, n in enumerate(SIZES):
        shares = jax.random.binomial(jax.random.fold_in(key, i), n, heads, (repetitions,)) / n
        lacks.append(np.asarray(entropy(heads) - entropy(shares), np.float64))
    means = np.array([lack.mean() for lack in lacks])
    return means, np.array([lack.std(ddof=1) for lack in lacks]) / np.sqrt(repetitions)


def draw(result: Result):
    """H over p, and what the shares among n flips lack."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$H(p) = -p \log p - (1-p)\log(1-p)$", width=style.NARROW
    )
    axes = panels[0]
    axes.plot(HEADS, result.entropies, color=style.CRITIC, lw=2)
    axes.plot(0.5, np.log(2), "o", color=style.DATA)
    axes.annotate("log 2, one bit", (0.5, np.log(2)), (0.5, 0.5), ha="center", fontsize="small",
                  arrowprops={"arrowstyle": "-", "color": "0.6"})  # fmt: skip
    axes.set(ylim=(0, 0.75), xticks=[0, 0.5, 1])
    style.label(axes, "A fair coin is the least sure", "probability p of heads", "entropy, nats")
    axes = panels[1]
    axes.plot(SIZES, 1 / (2 * np.array(SIZES)), **style.CLOSED_FORM, label="1/(2n)")
    axes.plot(SIZES, result.lack, **style.DOT, color=style.CRITIC, label="measured")
    axes.set(xscale="log", yscale="log", xticks=SIZES, xticklabels=SIZES)
    axes.minorticks_off()
    style.label(axes, "From n flips it seems smaller", "flips n", "entropy lacking, nats")
    style.legend(axes)
    return figure
