"""The optimal discriminator: D*(x) = p(x)/(p(x) + q(x)).

For a fixed generator with density q the discriminator maximises, at each x on its own,
p log D + q log(1 − D). Its derivative p/D − q/(1 − D) vanishes at D = p/(p + q) and nowhere else
(Goodfellow 2014, proposition 1), so the logit of D* is log p/q. Put back into V it gives
−log 4 + 2·JS(p, q) (theorem 1), so (log 4 + V)/2 certifies a part of the Jensen–Shannon
divergence: a trained discriminator can only fall short.

Here the discriminator is a ReLU network that never sees a density, only samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, decaying_adam, key_of, scores, train_critic
from jaxgan import divergences, losses, networks

TITLE = "The optimal discriminator"
PARTS = 2

GRID = np.linspace(-5, 5, 2001)
DX = GRID[1] - GRID[0]
# The densities live where their mean is above this.
ALIVE = 0.02


class Pair(NamedTuple):
    """Data and generator, two densities on the line."""

    name: str
    text: str
    p: jax.Array
    q: jax.Array
    draw: object
    push: object


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      pairs: the densities.
      trained: the trained discriminator of each pair on the grid.
    """

    numbers: Numbers
    pairs: list[Pair]
    trained: list[np.ndarray]


def make_pairs() -> list[Pair]:
    """Two Gaussians of different widths, and a mixture against a Gaussian."""

    def draw_gaussian(key, n):
        return -1 + 0.6 * jax.random.normal(key, (n, 1))

    def draw_mixture(key, n):
        coin, noise = jax.random.split(key)
        left = jax.random.bernoulli(coin, 0.4, (n, 1))
        return jnp.where(left, -1.5, 1.0) + jnp.where(left, 0.4, 0.6) * jax.random.normal(
            noise, (n, 1)
        )

    return [
        Pair(
            "gaussians",
            "two Gaussians",
            norm.pdf(GRID, -1, 0.6),
            norm.pdf(GRID, 0.5, 1.2),
            draw_gaussian,
            lambda z: 0.5 + 1.2 * z,
        ),
        Pair(
            "mixture",
            "a mixture and a Gaussian",
            0.4 * norm.pdf(GRID, -1.5, 0.4) + 0.6 * norm.pdf(GRID, 1.0, 0.6),
            norm.pdf(GRID),
            draw_mixture,
            lambda z: z,
        ),
    ]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains a discriminator on each pair and compares it with p/(p + q).

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the networks, the data and the latents.
    """
    numbers, trained, pairs = {}, [], make_pairs()
    for pair in pairs:
        d = train_discriminator(pair, int(3000 * scale), seed)
        alive = (pair.p + pair.q) / 2 > ALIVE
        error = jnp.abs(d - divergences.optimal_discriminator(pair.p, pair.q))
        value = divergences.gan_value(d, pair.p, pair.q, DX)
        numbers |= {
            # What remains is the noise of a million samples, and most at the edges, where few of
            # them fall: 0.015 on average over five seeds, give or take 0.008.
            f"optimal_discriminator.largest_error.{pair.name}": Number(
                f"largest |D − p/(p + q)| where (p + q)/2 > 0.02, {pair.text}",
                "Goodfellow 2014, proposition 1",
                0.0,
                float(error[alive].max()),
                0.05,
                "trained",
            ),
            # V is flat at its maximum, so it is off by the square of the error in D: 5e-5 at most.
            f"optimal_discriminator.js.{pair.name}": Number(
                f"(log 4 + V(D))/2 against JS(p, q), nats, {pair.text}",
                "Goodfellow 2014, theorem 1",
                float(divergences.js(pair.p, pair.q, DX)),
                (np.log(4) + float(value)) / 2,
                1e-4 / scale,
                "trained",
            ),
        }
        trained.append(np.asarray(d))
        tick()
    return Result(numbers, pairs, trained)


def train_discriminator(pair: Pair, steps: int, seed: int) -> jax.Array:
    """D on the grid, trained by `d_step` from samples of the pair."""
    _, critic = networks.mlp((1,), 1, width=64, depth=3)
    model = jaxgan.gan(
        Held(pair.push, latent_dim=1),
        critic,
        losses.bce(),
        g_tx=optax.identity(),
        d_tx=decaying_adam(1e-2, steps),
    )

    @jax.jit
    def run(init_key, key):
        state, _ = train_critic(model, model.init(init_key), pair.draw, key, steps, batch_size=512)
        return jax.nn.sigmoid(scores(critic, state, GRID[:, None]))

    return run(key_of(seed), key_of(seed, 1))


def draw(result: Result):
    """The densities, D* and the trained D of each pair."""
    figure, panels = style.new_figure(
        1, 2, 3.2, r"A discriminator trained on samples reaches $D^* = p\,/\,(p + q)$",
        width=style.NARROW, sharey=True,
    )  # fmt: skip
    for axes, pair, d in zip(panels.flat, result.pairs, result.trained, strict=True):
        axes.fill_between(GRID, pair.p, color=style.DATA, alpha=0.15, lw=0)
        axes.plot(GRID, pair.p, ":", color=style.DATA, label="data, p")
        axes.fill_between(GRID, pair.q, color=style.FAKE, alpha=0.15, lw=0)
        axes.plot(GRID, pair.q, color=style.FAKE, label="generator, q")
        axes.plot(GRID, d, color=style.CRITIC, lw=4, alpha=0.5, label="trained D")
        optimum = divergences.optimal_discriminator(pair.p, pair.q)
        axes.plot(GRID, optimum, **style.CLOSED_FORM, label="p/(p + q)")
        dead = np.asarray((pair.p + pair.q) / 2 <= ALIVE)
        axes.fill_between(GRID, -0.03, 1.6, where=dead, color="0.5", alpha=0.12, lw=0)
        error = result.numbers[f"optimal_discriminator.largest_error.{pair.name}"].measured
        style.label(axes, f"Largest error {error:.3f}", "x (grey: hardly any samples)")
        axes.set(xlim=(-5, 5), ylim=(-0.03, 1.6), yticks=[0, 0.5, 1])
    panels[0, 0].set_ylabel("density; D: probability", fontsize="small")
    style.legend(panels[0, 0], loc="upper center", labelspacing=0.15)
    return figure
