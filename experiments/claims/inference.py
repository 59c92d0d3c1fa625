"""Inference in a generator: draw z, compute g(z).

A generator defines its distribution by its samples (Goodfellow 2014, sec. 4). On the line, and for
g that rises, P(g(z) ≤ x) = P(z ≤ g⁻¹(x)), whose derivative is the change of variables

    q(x) = φ(z)/g'(z) at x = g(z):

where g is steep samples are thin. Here g(z) = z + 2 tanh 2z parts one Gaussian into two modes. That
samples come from q shows in Kolmogorov's statistic: √n times the largest distance between their
distribution function and q's has the mean √(π/2) log 2 for large n (Kolmogorov 1933), less
1/(6√n); and in χ² of k cells of a histogram, whose mean is k − 1 (Pearson 1900).

Any mean E f(x) is then a mean over n samples, with the error σ_f/√n in any dimension: no Z, no
Markov chain. Here f = Σ x_i/√d, whose σ² = E g(z)² whatever d is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, key_of
from jaxgan import losses, networks

TITLE = "Inference is drawing z"
PARTS = 2
SOURCE = "Goodfellow 2014, sec. 4"

Z = np.linspace(-6, 6, 12_001)
SETS, SIZE = 1000, 1000
CELLS = np.linspace(-5, 5, 41)  # and two tails
DIMENSIONS, SIZES, REPETITIONS = (1, 10, 100), (100, 400, 1600), 200


def g(z: jax.Array) -> jax.Array:
    """z + 2 tanh 2z."""
    return z + 2 * jnp.tanh(2 * z)


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      histogram: density of the first sets' samples in CELLS.
      errors: root mean square error of E f, `[dimensions, sizes]`.
    """

    numbers: Numbers
    histogram: np.ndarray
    errors: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Draws samples of a generator, and compares them with its density and with means.

    Args:
      scale: multiplies the number of sets and repetitions.
      tick: called after each part.
      seed: of the latents.
    """
    sets, repetitions = int(SETS * scale), int(REPETITIONS * scale)
    x, density = change_of_variables()
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    samples = np.asarray(sample(1, sets * SIZE, key_of(seed)), np.float64).reshape(sets, SIZE)
    statistics = np.sqrt(SIZE) * kolmogorov(np.interp(np.sort(samples, axis=1), x, below))
    shares = np.diff(np.interp([-99, *CELLS, 99], x, below))
    counts = np.apply_along_axis(count, 1, samples)
    chi_square = ((counts - SIZE * shares) ** 2 / (SIZE * shares)).sum(1)
    numbers = {
        # The trapezium rule's error.
        "inference.mass": Number(
            "integral of φ(z)/g'(z) over x", SOURCE, 1.0, float(below[-1]), 1e-6, "algebra"
        ),
        # Four standard errors; and the next term, 1/(6√n).
        "inference.kolmogorov": Number(
            f"mean of √n·max|F_n − F| over sets of {SIZE:,} samples: √(π/2) log 2",
            "Kolmogorov 1933", float(np.sqrt(np.pi / 2) * np.log(2)), float(statistics.mean()),
            4 * 0.26 / np.sqrt(sets) + 1 / (6 * np.sqrt(SIZE)), "sampled",
        ),
        "inference.chi_square": Number(
            f"χ² of a histogram of {len(shares)} cells over k − 1, mean over the same sets",
            "Pearson 1900", 1.0, float(chi_square.mean() / (len(shares) - 1)),
            4 * np.sqrt(2 / (len(shares) - 1) / sets), "sampled",
        ),
    }  # fmt: skip
    tick()
    sigma = np.sqrt(np.trapezoid(np.asarray(g(Z), np.float64) ** 2 * norm.pdf(Z), Z))
    errors = mean_errors(key_of(seed, 1), repetitions)
    for i, d in enumerate(DIMENSIONS):
        pooled = np.sqrt(np.mean(errors[i] ** 2 * SIZES)) / sigma
        # Four standard deviations of a root mean square of so many normal errors.
        numbers[f"inference.error@d={d}"] = Number(
            f"error of a mean over n samples in {d} dimensions, times √n/σ",
            f"{SOURCE}; central limit theorem", 1.0, float(pooled),
            4 / np.sqrt(2 * repetitions * len(SIZES)), "sampled",
        )  # fmt: skip
    tick()
    histogram = counts[:, 1:-1].mean(0) / SIZE / np.diff(CELLS)
    return Result(numbers, histogram, errors / sigma)


def change_of_variables() -> tuple[np.ndarray, np.ndarray]:
    """x = g(z) and q(x) = φ(z)/g'(z) on a grid of z, g' by differentiating g."""
    slopes = np.asarray(jax.vmap(jax.grad(g))(jnp.asarray(Z, jnp.float32)), np.float64)
    return np.asarray(Z + 2 * np.tanh(2 * Z)), norm.pdf(Z) / slopes


def make_model(d: int) -> jaxgan.GAN:
    """A GAN of the library with g as its generator, at each coordinate; it is only sampled."""
    _, critic = networks.mlp((d,), d, width=1, depth=1)
    tx = optax.identity()
    return jaxgan.gan(Held(g, d, d), critic, losses.bce(), tx, tx, ema_decay=0)


def sample(d: int, n: int, key: jax.Array) -> jax.Array:
    """n samples `[n, d]`."""
    model = make_model(d)
    return model.sample(model.init(key), key, n)


def mean_errors(key: jax.Array, repetitions: int) -> np.ndarray:
    """The root mean square error of E Σ x_i/√d, which is 0, `[dimensions, sizes]`.

    For each of DIMENSIONS of the first coordinates of the same samples, which g makes one by one.
    """
    model = make_model(DIMENSIONS[-1])
    state = model.init(key)
    ends = np.cumsum(SIZES)

    def means(key):
        sums = jnp.cumsum(model.sample(state, key, int(ends[-1])), axis=1)
        f = jnp.stack([sums[:, d - 1] / jnp.sqrt(d) for d in DIMENSIONS])
        return jnp.stack([jnp.mean(part, axis=1) for part in jnp.split(f, ends[:-1], axis=1)], 1)

    found = jax.jit(lambda keys: jax.lax.map(means, keys))(jax.random.split(key, repetitions))
    return np.sqrt(np.mean(np.asarray(found, np.float64) ** 2, axis=0))


def kolmogorov(ranks: np.ndarray) -> np.ndarray:
    """max |F_n − F| of each row, given F at its sorted samples, `[sets, n]`."""
    n = ranks.shape[1]
    steps = np.arange(n + 1) / n
    return np.maximum(steps[1:] - ranks, ranks - steps[:-1]).max(axis=1)


def count(x: np.ndarray) -> np.ndarray:
    """How many are in each cell, tails included."""
    return np.bincount(np.searchsorted(CELLS, x), minlength=len(CELLS) + 1)


def draw(result: Result):
    """Samples beside the change of variables; errors of means over n."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$x = g(z), \quad q(x) = \varphi(z)/g'(z)$", width=style.NARROW
    )
    axes = panels[0]
    x, density = change_of_variables()
    axes.stairs(result.histogram, CELLS, fill=True, color=style.FAKE, alpha=0.35, label="samples")
    axes.plot(x, density, **style.CLOSED_FORM, label="φ(z)/g'(z)")
    axes.plot(Z, norm.pdf(Z), ":", color="C1", lw=1.2, label="latents, φ(z)")
    axes.set(xlim=(-5, 5), ylim=(0, 0.56))
    style.label(axes, "Steep g, thin samples", "x (or z)", "density")
    style.legend(axes, loc="upper right", handlelength=1.2)
    axes = panels[1]
    axes.plot(SIZES, 1 / np.sqrt(SIZES), **style.CLOSED_FORM, label="1/√n")
    for d, errors, marker in zip(DIMENSIONS, result.errors, "ox+", strict=True):
        axes.plot(SIZES, errors, marker, markersize=6, markerfacecolor="none", label=f"d = {d}")
    ticks = [0.025, 0.05, 0.1]
    axes.set(xscale="log", yscale="log", xticks=SIZES, xticklabels=SIZES)
    axes.set(yticks=ticks, yticklabels=ticks)
    axes.minorticks_off()
    style.label(axes, "A mean, in any dimension", "samples n", "error / σ")
    style.legend(axes)
    return figure
