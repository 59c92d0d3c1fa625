"""Why densities are hard: the sum over everything that makes a density integrate to 1.

An energy model has p(x) = exp(−E(x))/Z, and its likelihood needs Z = ∫ exp(−E) over all of space
(Goodfellow, Bengio & Courville 2016, ch. 18). In d dimensions a grid of m points a side has m^d.
Sampling instead, Z is the mean of w(x) = exp(−E(x))/q(x) over x ~ q. For E = |x|²/2 and
q = N(0, s²I), with Z = (2π)^{d/2},

    E_q (w/Z)^k = ∫ p^k/q^{k−1} = (s^{k−1}/√(k − (k − 1)/s²))^d,

so that the squared relative error of a mean of n weights is ((s²/√(2s² − 1))^d − 1)/n for s² > 1/2,
and infinite below (derived here). The base is 1 at s = 1 only: any mismatch per dimension is paid
for exponentially.

A GAN needs no Z: its generator is sampled, and its discriminator learns a ratio in which Z is one
more constant. Of data p and samples q the best logit is −E(x) − log Z − log q(x): trained, it tells
what Z is (Gutmann & Hyvärinen 2010).
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import gamma

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, decaying_adam, key_of, train_critic
from jaxgan import losses

TITLE = "Why densities are hard"
PARTS = 2

QUARTIC = 2 * gamma(1.25)  # ∫ exp(−x⁴) dx
REACH = 2.2  # where exp(−x⁴) is 7e-11
SIDE = 12
GRID_DIMENSIONS = (1, 2, 3, 4, 5)
WIDTH = 1.5  # s
DIMENSIONS = (1, 2, 5, 10, 15, 20)
WEIGHTS, REPETITIONS = 500, 1000
RATIO_DIMENSION = 10


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      grids: for each of GRID_DIMENSIONS, evaluations and relative errors of finer and finer grids.
      errors: relative error of importance sampling in 1, 2, … dimensions.
    """

    numbers: Numbers
    grids: dict[int, tuple[np.ndarray, np.ndarray]]
    errors: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Computes Z on grids, by importance sampling, and from a discriminator's logit.

    Args:
      scale: multiplies the number of repetitions, and of the discriminator's updates.
      tick: called after each part.
      seed: of all samples.
    """
    numbers, grids = {}, {}
    for d in GRID_DIMENSIONS:
        sides = [m for m in range(4, 41) if m**d <= SIDE ** GRID_DIMENSIONS[-1]]
        errors = np.array([abs(on_grid(m, d) / QUARTIC**d - 1) for m in sides])
        grids[d] = np.array(sides, float) ** d, errors
        # Twelve points a side are off by 9e-5 for each dimension.
        numbers[f"intractable.grid@d={d}"] = Number(
            f"Z of E = Σ x⁴ by {SIDE}^{d} = {SIDE**d:,} points, over (2Γ(5/4))^{d}",
            "derived here", 1.0, on_grid(SIDE, d) / QUARTIC**d, 1e-4 * d, "algebra",
        )  # fmt: skip
    repetitions = int(REPETITIONS * scale)
    errors = np.asarray(sample_errors(key_of(seed), repetitions))
    for d in DIMENSIONS:
        second, third, fourth = (moment(k, d) for k in (2, 3, 4))
        closed = np.sqrt((second - 1) / WEIGHTS)
        excess = (fourth - 4 * third + 6 * second - 3) / (second - 1) ** 2 - 3
        # Four standard deviations of a root mean square of so many means, by their fourth moment.
        numbers[f"intractable.sampling@d={d}"] = Number(
            f"relative error of Z from {WEIGHTS} samples of N(0, {WIDTH:g}²), in {d} dimensions",
            "derived here", float(closed), float(errors[d - 1]),
            float(2 * closed * np.sqrt((2 + excess / WEIGHTS) / repetitions)), "sampled",
        )  # fmt: skip
    tick()
    # Four standard deviations over seeds.
    numbers["intractable.ratio"] = Number(
        f"log Z of N(0, I) in {RATIO_DIMENSION} dimensions, from a discriminator's logit",
        "Gutmann & Hyvärinen 2010; (d/2) log 2π", RATIO_DIMENSION / 2 * np.log(2 * np.pi),
        log_z_of_discriminator(int(1500 * scale), seed), 0.12, "trained",
    )  # fmt: skip
    tick()
    return Result(numbers, grids, errors)


def on_grid(m: int, d: int) -> float:
    """Z of E = Σ x⁴ as a sum over all m^d points of a grid."""
    x, dx = np.linspace(-REACH, REACH, m, retstep=True)
    energy = np.zeros(())
    for _ in range(d):
        energy = energy[..., None] + x**4
    return float(np.exp(-energy).sum() * dx**d)


def moment(k: int, d: int) -> float:
    """E_q (w/Z)^k."""
    return (WIDTH ** (k - 1) / np.sqrt(k - (k - 1) / WIDTH**2)) ** d


@functools.partial(jax.jit, static_argnames="repetitions")
def sample_errors(key: jax.Array, repetitions: int) -> jax.Array:
    """The root mean square of Ẑ/Z − 1 over repetitions, each Ẑ a mean of WEIGHTS weights.

    Returns:
      That error in 1, 2, … dimensions, the first coordinates of the same samples.
    """
    d = jnp.arange(1, DIMENSIONS[-1] + 1)

    def estimate(key):
        x = WIDTH * jax.random.normal(key, (WEIGHTS, len(d)))
        squares = jnp.cumsum(x**2, axis=1)
        log_q = -squares / (2 * WIDTH**2) - d / 2 * jnp.log(2 * jnp.pi * WIDTH**2)
        return jnp.mean(jnp.exp(-squares / 2 - log_q), axis=0)

    estimates = jax.lax.map(estimate, jax.random.split(key, repetitions), batch_size=50)
    return jnp.sqrt(jnp.mean((estimates / (2 * jnp.pi) ** (d / 2) - 1) ** 2, axis=0))


class Quadratic(nn.Module):
    """The logit a + b·|x|²/d: all that tells two Gaussians around 0 apart."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, d]` to `[B]`."""
        a, b = (self.param(name, nn.initializers.zeros, ()) for name in "ab")
        return a + b * (jnp.mean(x**2, axis=1) - WIDTH)  # about 0 in the middle, for Adam's sake


def log_z_of_discriminator(steps: int, seed: int) -> float:
    """What log Z must be for the logit at 0 to be −E(0) − log Z − log q(0)."""
    d = RATIO_DIMENSION
    generator = Held(lambda z: WIDTH * z, latent_dim=d, data_dim=d)
    tx = decaying_adam(0.05, steps)
    model = jaxgan.gan(generator, Quadratic(), losses.bce(), optax.identity(), tx)
    state = model.init(key_of(seed, 1))

    def draw(key, n):
        return jax.random.normal(key, (n, d))

    trained, _ = train_critic(model, state, draw, key_of(seed, 2), steps, batch_size=256)
    logit = Quadratic().apply({"params": trained.critic.params}, jnp.zeros((1, d)))[0]
    return float(d / 2 * np.log(2 * np.pi * WIDTH**2) - logit)


def draw(result: Result):
    """Errors of grids over their points, and of importance sampling over dimensions."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$p(x) = e^{-E(x)}/Z, \quad Z = \int e^{-E(x)}\,dx$", width=style.NARROW
    )
    axes = panels[0]
    for i, (d, (points, errors)) in enumerate(result.grids.items()):
        axes.plot(points, np.maximum(errors, 1e-9), "o-", markersize=2, lw=1, color=f"C{i}",
                  label=f"d = {d}")  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(1e-6, 1e3), yticks=[1e-6, 1e-4, 1e-2, 1])
    style.label(axes, "A grid of mᵈ points", "evaluations of E", "relative error of Z")
    style.legend(axes, loc="upper center", ncols=3, handlelength=1)
    axes = panels[1]
    d = np.arange(1, 21)
    axes.plot(d, np.sqrt((moment(2, d) - 1) / WEIGHTS), **style.CLOSED_FORM, label="closed form")
    axes.plot(d, result.errors, **style.DOT, color=style.CRITIC, label="measured")
    ticks = [0.02, 0.05, 0.1, 0.2]
    axes.set(yscale="log", xticks=[1, 5, 10, 15, 20], yticks=ticks, yticklabels=ticks)
    axes.minorticks_off()
    style.label(
        axes, f"N(0, 1) by N(0, {WIDTH:g}²)", "dimensions d",
        f"relative error, {WEIGHTS} samples",
    )  # fmt: skip
    style.legend(axes)
    return figure
