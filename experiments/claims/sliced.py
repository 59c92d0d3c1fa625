"""The sliced distance: transport along random lines, where it is only sorting.

SW₂² is the mean of W₂² between projections on a direction ω that is uniform on the sphere (Rabin et
al. 2011; Deshpande et al. 2018, eq. 5, trains generators on it). In d dimensions, with E ωωᵀ = I/d:

    a shift by μ                    SW₂² = E⟨ω, μ⟩² = |μ|²/d,           while W₂² = |μ|²
    N(0, a²I) and N(0, b²I)         SW₂² = (a − b)²,                    while W₂² = d(a − b)²
    N(0, A) and N(0, B)             SW₂² = E(√(ωᵀAω) − √(ωᵀBω))²

A distance is one in each direction, so that sliced distances are smaller by √d, or more. From L
directions SW₂² is a mean, whose error falls like 1/√L, at any d. For a shift ⟨ω, μ⟩²/|μ|² has
the beta distribution of ½ and (d − 1)/2, with mean 1/d and variance 2(d − 1)/(d²(d + 2)), so that

    relative error of SW₂² = √(2(d − 1)/(d + 2))/√L                              (derived here)

A generator is trained by SW₂² of a batch, on fresh directions in each step: no critic, no game.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims import style
from claims.number import Number, Numbers
from claims.ring import draw_ring, of_ring, train_on_ring
from claims.training import key_of
from jaxgan import distances

TITLE = "The sliced distance"
PARTS = 3

SOURCE = "Deshpande 2018, eq. 5; derived here"
DIMENSIONS = (2, 8, 64)
PROJECTIONS = (4, 32, 256)
ERRORS_AT = 8  # dimensions
REPEATS, FEW = 128, 32
SAMPLES = 4000
SCALES, SCALES_AT = (1.0, 3.0), 16
PLANE = np.array([1.0, 3.0])  # deviations along the axes, against N(0, I)
STEPS = 600


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      errors: relative error of SW₂² of a shift, root mean square, at each of PROJECTIONS.
      samples: of the trained generator, `[2500, 2]`.
    """

    numbers: Numbers
    errors: np.ndarray
    samples: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Takes SW₂ of shifts and of Gaussians, and trains a generator on it.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of directions, samples and training.
    """
    numbers: Numbers = {}
    for i, d in enumerate(DIMENSIONS):
        found = of_shift(d, FEW, key_of(seed, 10 + i))
        numbers[f"sliced.shift@d={d}"] = Number(
            f"SW₂² of a shift by μ in {d} dimensions, over |μ|²/d",
            SOURCE, 1.0, float(found.mean()),
            4 * float(relative_error(d, FEW * REPEATS)), "sampled",
        )  # fmt: skip
    errors = []
    for i, n in enumerate(PROJECTIONS):
        found = of_shift(ERRORS_AT, n, key_of(seed, 20 + i))
        errors.append(float(np.sqrt(np.mean((found - 1) ** 2))))
        # A root mean square over REPEATS is known to 1/√(2·REPEATS) of itself if errors are
        # normal, and to more where there are few directions: the beta distribution has a tail.
        numbers[f"sliced.error@L={n}"] = Number(
            f"relative error of SW₂² of a shift, {n} directions, {ERRORS_AT} dimensions, "
            "over its closed form",
            SOURCE, 1.0, errors[-1] / float(relative_error(ERRORS_AT, n)),
            4 * np.sqrt((2 + 12 / n) / (4 * REPEATS)), "sampled",
        )  # fmt: skip
    tick()
    numbers |= of_gaussians(key_of(seed, 30))
    tick()
    samples, score, w1 = train_on_ring(sliced_of_batch, int(STEPS * scale), seed)
    numbers |= of_ring("sliced", "Deshpande 2018, sec. 3", score, w1, most=0.35)
    tick()
    return Result(numbers, np.array(errors), samples)


def relative_error(d: int, projections: int) -> np.ndarray:
    """Of SW₂² of a shift in d dimensions."""
    return np.sqrt(2 * (d - 1) / (d + 2) / projections)


def of_shift(d: int, projections: int, key: jax.Array) -> np.ndarray:
    """SW₂² between a cloud and the cloud shifted by μ, over |μ|²/d, `[REPEATS]`."""
    cloud_key, shift_key, key = jax.random.split(key, 3)
    cloud, shift = jax.random.normal(cloud_key, (2, d)), jax.random.normal(shift_key, (d,))
    squared = squared_distances(cloud, cloud + shift, jax.random.split(key, REPEATS), projections)
    return np.asarray(squared / jnp.sum(shift**2) * d)


@functools.partial(jax.jit, static_argnames="projections")
def squared_distances(x, y, keys, projections) -> jax.Array:
    """SW₂² between x and y, on each key's directions."""
    return jax.vmap(lambda k: distances.sliced_wasserstein(x, y, k, projections, p=2) ** 2)(keys)


def of_gaussians(key: jax.Array) -> Numbers:
    """Between samples of Gaussians around 0: two that are round, and one that is not."""
    keys = jax.random.split(key, 4)
    a, b = SCALES
    round_ones = [s * jax.random.normal(k, (SAMPLES, SCALES_AT)) for s, k in zip(SCALES, keys)]  # noqa: B905
    sliced = distances.sliced_wasserstein(*round_ones, keys[2], p=2) ** 2
    whole = distances.gaussian_w2(
        np.zeros(SCALES_AT), a**2 * np.eye(SCALES_AT), np.zeros(SCALES_AT), b**2 * np.eye(SCALES_AT)
    )
    x, y = jax.random.normal(keys[3], (2, SAMPLES, 2))
    long = distances.sliced_wasserstein(x, y * PLANE, keys[2], p=2) ** 2
    angle = 2 * np.pi * np.arange(1000) / 1000
    widths = np.hypot(PLANE[0] * np.cos(angle), PLANE[1] * np.sin(angle))
    # Of round ones with n samples a deviation is known to b/√(2nd), 0.0084; SW₂² to 2(b − a) times
    # that, 0.035, from each. Of long ones the mean over 512 directions has an error of 0.06.
    return {
        "sliced.gaussians.round": Number(
            f"SW₂² between samples of N(0, I) and N(0, 9·I) in {SCALES_AT} dimensions: (a − b)²",
            SOURCE, (a - b) ** 2, float(sliced), 0.18, "sampled",
        ),
        "sliced.gaussians.ratio": Number(
            f"W₂² over SW₂² of the same two: the {SCALES_AT} dimensions",
            SOURCE, float(SCALES_AT), float(whole**2 / sliced), 0.72, "sampled",
        ),
        "sliced.gaussians.long": Number(
            "SW₂² between samples of N(0, I) and N(0, diag(1, 9)) in the plane",
            SOURCE, float(np.mean((widths - 1) ** 2)), float(long), 0.3, "sampled",
        ),
    }  # fmt: skip


def sliced_of_batch(fake: jax.Array, real: jax.Array, key: jax.Array) -> jax.Array:
    """What the generator minimises."""
    return distances.sliced_wasserstein(fake, real, key, projections=32, p=2) ** 2


def draw(result: Result):
    """The error over the number of directions, and the trained generator's samples."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$SW_2^2 = E_\omega\, W_2^2(\langle\omega, x\rangle, \langle\omega, y\rangle)$",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    fine = np.geomspace(PROJECTIONS[0] / 1.5, PROJECTIONS[-1] * 1.5, 20)
    axes.plot(fine, relative_error(ERRORS_AT, fine), **style.CLOSED_FORM, label="closed form")
    axes.plot(PROJECTIONS, result.errors, **style.DOT, color=style.CRITIC, label="measured")
    axes.set(xscale="log", yscale="log", xticks=PROJECTIONS, xticklabels=PROJECTIONS,
             yticks=[0.05, 0.1, 0.2, 0.5], yticklabels=["5%", "10%", "20%", "50%"])  # fmt: skip
    axes.minorticks_off()
    style.label(axes, f"Error of a shift, d = {ERRORS_AT}", "directions L", "relative error")
    style.legend(axes)
    draw_ring(panels[1], result.samples, "Trained on it, no critic")
    return figure
