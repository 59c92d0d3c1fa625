"""Convergence: a one-dimensional GAN trained by the library's steps, as in Goodfellow's figure 1.

If both players have enough capacity, D reaches its optimum at each step, and q itself is then
moved a little to lower V, q converges to p (Goodfellow 2014, proposition 2). For a fixed D,
V is linear in q, so that C = sup_D V is convex in q, as a supremum of convex functions. Its one
minimum is p, and the gradient of V at the best D is a subgradient of C.

A network meets none of these conditions. It moves parameters, in which nothing is convex, its
capacity is finite, and D gets five updates at a time. So the theorem does not say that training
converges, only where it should end if it does: q = p, D = 1/2, V = −log 4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import decaying_adam, key_of, scores
from jaxgan import divergences, losses, networks, parallel

TITLE = "Convergence of a one-dimensional GAN"
PARTS = 1

MEAN, STD = 1.0, 0.6
GRID = np.linspace(-3, 4, 106)
DX = GRID[1] - GRID[0]
N_CRITIC, BATCH = 5, 256
SAMPLES = 100_000


class Frame(NamedTuple):
    """The two players after some steps.

    Attributes:
      step: generator updates so far.
      density: q on the grid, from samples.
      d: D on the grid.
      x: where the generator sends the latents of MAPPED.
      w1: exact Wasserstein-1 distance between samples of the generator and of the data.
    """

    step: int
    density: np.ndarray
    d: np.ndarray
    x: np.ndarray
    w1: float


class Result(NamedTuple):
    """What was measured: entries of `theory.json`, and the frames of the figure."""

    numbers: Numbers
    frames: list[Frame]


MAPPED = jnp.linspace(-2.2, 2.2, 23)


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains a GAN on N(1, 0.6²) and compares its end with the theorem's.

    Args:
      scale: multiplies the number of iterations.
      tick: called after each part.
      seed: of the networks, the data and the latents.
    """
    steps = int(2000 * scale)
    frames = train(steps, [0, steps // 50, steps // 10, steps], seed)
    last = frames[-1]
    p = norm.pdf(GRID, MEAN, STD)
    alive = p > 0.02
    # Both as probabilities of the grid's cells: q is known from samples only.
    p, q = (a / a.sum() for a in (p, last.density))
    numbers = {
        # Generator and discriminator chase one another until the learning rate has fallen. What
        # is left over five seeds: W₁ of 0.02 ± 0.012, JS of 0.0024 ± 0.0012, |D − 1/2| of
        # 0.024 ± 0.018, and V above −log 4 by 0.0012 ± 0.0003, at most 2·JS.
        "convergence.w1": Number(
            "W₁(p, q) after training",
            "Goodfellow 2014, proposition 2",
            0.0,
            last.w1,
            0.07 / scale,
            "trained",
        ),
        "convergence.js": Number(
            "JS(p, q) after training, nats",
            "Goodfellow 2014, proposition 2",
            0.0,
            float(divergences.js(p, q)),
            0.007 / scale,
            "trained",
        ),
        "convergence.half": Number(
            "largest |D − 1/2| where p > 0.02, after training",
            "Goodfellow 2014, proposition 2",
            0.0,
            float(np.abs(last.d - 0.5)[alive].max()),
            0.1 / scale,
            "trained",
        ),
        "convergence.value": Number(
            "V(D, G) after training",
            "Goodfellow 2014, theorem 1",
            -np.log(4),
            float(divergences.gan_value(last.d, p, q)),
            0.0025 / scale,
            "trained",
        ),
    }
    tick()
    return Result(numbers, frames)


def train(steps: int, stops: list[int], seed: int) -> list[Frame]:
    """Runs iterations of `model.step` up to each stop."""
    generator, critic = networks.mlp((1,), 1, width=64, depth=3)
    model = jaxgan.gan(
        generator,
        critic,
        losses.bce(),
        g_tx=decaying_adam(1e-3, steps),
        d_tx=decaying_adam(3e-3, steps * N_CRITIC),
        n_critic=N_CRITIC,
        ema_decay=0,
    )

    def draw(shape):
        return MEAN + STD * jax.random.normal(key_of(seed, 3), (*shape, 1))

    def fetch(data, batch):
        return data[batch]

    run = jax.jit(parallel.many_steps(model.step, fetch))
    data = draw((SAMPLES,))
    state = model.init(key_of(seed))
    latents = jax.random.normal(key_of(seed, 4), (SAMPLES, 1))
    frames = []
    batches = jax.random.randint(key_of(seed, 5), (steps, N_CRITIC, BATCH), 0, SAMPLES)
    for stop in stops:
        count = stop - int(state.step)
        state, _ = run(state, data, jnp.roll(batches, -int(state.step), axis=0), count)
        fake = generator.apply({"params": state.generator.params}, latents)
        frames.append(
            Frame(
                stop,
                density_of(np.asarray(fake[:, 0])),
                np.asarray(jax.nn.sigmoid(scores(critic, state, GRID[:, None]))),
                np.asarray(generator.apply({"params": state.generator.params}, MAPPED[:, None]))[
                    :, 0
                ],
                float(divergences.wasserstein_1d(fake[:, 0], data[:, 0])),
            )
        )
    return frames


def density_of(samples: np.ndarray) -> np.ndarray:
    """A histogram whose bins are the cells around the grid's points."""
    edges = np.append(GRID - DX / 2, GRID[-1] + DX / 2)
    return np.histogram(samples, edges)[0] / (len(samples) * DX)


def draw(result: Result):
    """Four moments of training, each over the map from z to x, as in Goodfellow's figure 1."""
    figure, panels = style.new_figure(
        2, 4, 3.6, r"A GAN learns N(1, 0.6²): $q$ becomes $p$ and D becomes 1/2",
        width=style.NARROW,
        sharex=True, gridspec_kw={"height_ratios": [3, 1]},
    )  # fmt: skip
    p = norm.pdf(GRID, MEAN, STD)
    for column, frame in enumerate(result.frames):
        axes, below = panels[:, column]
        axes.plot(GRID, p, ":", color=style.DATA, lw=1.8, label=r"data, $p$")
        axes.plot(GRID, frame.density, color=style.FAKE, lw=1.6, label=r"generator, $q$")
        axes.plot(GRID, frame.d, "--", color=style.CRITIC, lw=0.8, alpha=0.5)
        alive = np.where(p + frame.density > 0.02, frame.d, np.nan)
        axes.plot(GRID, alive, "--", color=style.CRITIC, lw=1.8, label="discriminator, D")
        axes.axhline(0.5, color="0.8", lw=0.8, zorder=0)
        axes.set(xlim=(-3, 4), ylim=(0, 1.05), xticks=[-2, 0, 2])
        style.label(axes, f"Step {frame.step:,}\n$W_1$ = {frame.w1:.3f}")
        z = np.interp(MAPPED, [MAPPED[0], MAPPED[-1]], [-2, 3])
        for a, b in zip(z, frame.x, strict=True):
            below.annotate(
                "", (b, 1), (a, 0), annotation_clip=True,
                arrowprops={"arrowstyle": "->", "lw": 0.5, "color": "0.3", "shrinkA": 0,
                            "shrinkB": 0, "mutation_scale": 6},
            )  # fmt: skip
        below.set(ylim=(0, 1), yticks=[0, 1], yticklabels=["z", "x"])
        below.set_xlabel("x", fontsize="small")
        if column:
            axes.set_yticklabels([])
    panels[0, 0].set_ylabel("density; probability", fontsize="small")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize="small", frameon=False)  # fmt: skip
    return figure
