"""Parallel lines: the sequence of distributions that only the earth mover's distance sees converge.

Let Z ~ U[0, 1], the data P_0 be (0, Z) and the generator P_θ be (θ, Z), two vertical lines in the
plane (Arjovsky 2017, example 1). For θ ≠ 0 they share no point, so that

    TV = 1,   KL = ∞,   JS = log 2,   whatever θ is,   while   W₁ = |θ|.

A generator that descends JS feels no slope; one that descends W₁ does (fig. 1). Measured three
times: by `divergences` on the lines cut into cells, by exact transport between samples, and by a
discriminator and a critic that were trained at each θ.

The paper's sec. 2 defines JS without its halves and states log 2 for it; log 2 is the value with
the halves, Goodfellow's definition, which is the one here.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import (
    Held,
    decaying_adam,
    key_of,
    place,
    scores,
    to_uniform,
    train_in_stages,
)
from jaxgan import divergences, losses, networks

TITLE = "Parallel lines"
PARTS = 3

THETA = np.linspace(-1, 1, 9)
POINTS = 500  # of a line, when transport between them is exact
CELLS = 20  # of a line, when the lines are cut into cells
WEIGHTS = (1.0, 100.0)  # λ of the critics, in stages
SOURCE = "Arjovsky 2017, example 1"


class Result(NamedTuple):
    """What was measured at each θ, `[n]`.

    Attributes:
      numbers: entries of `theory.json`.
      js: certified by the trained discriminator, in nats.
      critic: the trained critic's estimate of W₁.
      transport: exact W₁ between samples.
    """

    numbers: Numbers
    js: np.ndarray
    critic: np.ndarray
    transport: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Measures the divergences between the lines at each of THETA.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the networks, the data and the latents.
    """
    steps = int(1000 * scale)
    js = train_at_each_theta([losses.bce()], "js", steps, seed)
    tick()
    critic = train_at_each_theta(
        [losses.wgan_gp(weight) for weight in WEIGHTS], "wasserstein", steps, seed
    )
    tick()
    transport = np.array([transport_between_samples(theta, seed) for theta in THETA])
    numbers = {}
    for i, theta in enumerate(THETA):
        p, q = cells(theta)
        apart = float(theta != 0)
        for name, text, function, closed in (
            ("tv", "total variation", divergences.total_variation, apart),
            ("kl", "KL", divergences.kl, np.inf if apart else 0.0),
            ("js", "JS, nats", divergences.js, apart * np.log(2)),
        ):
            # Float32 rounding: of 1/20, twenty times, to 1.2e-7 of TV and 2e-9 of JS.
            numbers[f"parallel_lines.{name}@theta={theta:g}"] = Number(
                f"{text} of the lines cut into cells, θ = {theta:g}",
                SOURCE,
                closed,
                float(function(p, q)),
                1e-6,
                "algebra",
            )
        numbers |= {
            # The discriminator's logit grows with the logarithm of training time only: at ±10 it
            # still misses log(1 + e⁻¹⁰) = 5e-5. At θ = 0 what it learned of noise is held against
            # it on fresh samples, to second order: 4e-5 from seed to seed.
            f"parallel_lines.js_discriminator@theta={theta:g}": Number(
                f"JS certified by the trained discriminator, nats, θ = {theta:g}",
                SOURCE,
                apart * np.log(2),
                float(js[i]),
                2e-4 / scale**2,
                "trained",
            ),
            # A bias, the penalty's slope of 1 + |θ|/(2λ), see duality.py. And what a critic that
            # slopes along the lines makes of 4,096 heights against 4,096 others: 0.003 from seed to
            # seed for equal lines, where nothing tells it how to slope, and a tenth of that else.
            f"parallel_lines.w1_critic@theta={theta:g}": Number(
                f"W₁ estimated by the trained critic, θ = {theta:g}",
                SOURCE,
                abs(theta),
                float(critic[i]),
                theta**2 / (2 * WEIGHTS[-1]) + (1e-3 if apart else 0.012) / scale,
                "trained",
            ),
            # Sorted heights of n against n others differ by √(2/n)·B, B a Brownian bridge. ∫|B| has
            # mean 0.313 and standard deviation 0.136, ∫B² 1/6 and 0.149. Apart, the way is longer
            # by the square over 2|θ|.
            f"parallel_lines.w1_samples@theta={theta:g}": Number(
                f"exact W₁ between {POINTS} and {POINTS} samples, θ = {theta:g}",
                SOURCE,
                abs(theta),
                float(transport[i]),
                0.763 / (POINTS * abs(theta)) if apart else 0.857 * np.sqrt(2 / POINTS),
                "sampled",
            ),
        }
    for name, text in (
        ("js_discriminator", "JS certified by the trained discriminator, nats"),
        ("w1_critic", "W₁ estimated by the trained critic"),
    ):
        errors = [abs(numbers[f"parallel_lines.{name}@theta={t:g}"].error) for t in THETA]
        tolerance = max(numbers[f"parallel_lines.{name}@theta={t:g}"].tolerance for t in THETA)
        numbers[f"parallel_lines.{name}.largest_error"] = Number(
            f"{text}: largest error over nine θ", SOURCE, 0.0, max(errors), tolerance, "trained"
        )
    tick()
    return Result(numbers, js, critic, transport)


def cells(theta: float) -> tuple[np.ndarray, np.ndarray]:
    """The two lines as probabilities of the cells of a lattice, `[cells]`."""
    p, q = np.zeros((2, len(THETA), CELLS))
    p[list(THETA).index(0)] = q[list(THETA).index(theta)] = 1 / CELLS
    return p.ravel(), q.ravel()


def line(height: jax.Array) -> jax.Array:
    """Points (0, height) `[n, 2]` for heights `[n, 1]`."""
    return jnp.concatenate([jnp.zeros_like(height), height], axis=1)


def draw_data(key: jax.Array, n: int) -> jax.Array:
    """n points of P_0."""
    return line(jax.random.uniform(key, (n, 1)))


def train_at_each_theta(
    stages: list[losses.Loss], metric: str, steps: int, seed: int
) -> np.ndarray:
    """A metric of the last stage's loss, on fresh samples, after training by `d_step`, `[n]`."""
    _, critic = networks.mlp((2,), 1, width=32, depth=2)
    generator = Held(lambda z: line(to_uniform(z)), latent_dim=1, data_dim=2)
    models = [
        jaxgan.gan(generator, critic, loss, optax.identity(), decaying_adam(5e-3, steps))
        for loss in stages
    ]
    state = models[0].init(key_of(seed))
    fresh = draw_data(key_of(seed, 2), 4096)
    others = draw_data(key_of(seed, 3), 4096)

    def train(theta):
        shift = jnp.stack([theta, 0.0])
        started, key = place(state, shift), key_of(seed, 1)
        *_, (trained, _) = train_in_stages(models, started, draw_data, key, steps, batch_size=128)
        critic_fn = functools.partial(scores, critic, trained)
        _, metrics = stages[-1].critic(critic_fn, fresh, others + shift, key_of(seed, 4))
        return metrics[metric]

    return np.asarray(jax.jit(jax.vmap(train))(jnp.asarray(THETA, jnp.float32)))


def transport_between_samples(theta: float, seed: int, n: int = POINTS) -> float:
    """Exact W₁ between n points of each line."""
    data, fake = draw_data(key_of(seed, 5), n), draw_data(key_of(seed, 6), n)
    return float(divergences.earth_movers_distance(data, fake + jnp.array([theta, 0.0])))


def draw(result: Result):
    """The lines, and what each divergence makes of them."""
    figure, panels = style.new_mosaic(
        "ab;ac", 5.0, "Lines |θ| apart: JS is a step, W₁ a slope", width_ratios=[2, 3]
    )
    axes = panels["a"]
    axes.plot([0, 0], [0, 1], color=style.DATA, lw=3)
    axes.plot([0.6, 0.6], [0, 1], color=style.FAKE, lw=3)
    axes.annotate("", (0.58, 0.5), (0.02, 0.5), arrowprops={"arrowstyle": "<->", "lw": 0.8})
    axes.text(0.3, 0.53, "θ", ha="center")
    axes.text(0, 1.04, "data", ha="center", fontsize="small")
    axes.text(0.92, 1.04, "generator", ha="right", fontsize="small", color=style.FAKE)
    axes.set(xlim=(-0.3, 1.05), ylim=(-0.1, 1.2), xticks=[0, 0.5], yticks=[0, 0.5, 1])
    style.label(axes, "The distributions", "x", "y")

    axes = panels["b"]
    apart = THETA[THETA != 0]
    axes.plot(apart, np.full(len(apart), 1.3), "^", color="0.5", markersize=5, label="KL: ∞")
    for name, step, color in (("TV", 1.0, "0.5"), ("JS", np.log(2), "0.25")):
        line = style.CLOSED_FORM | {"color": color}
        axes.plot([-1, 0], [step] * 2, **line)
        axes.plot([0, 1], [step] * 2, **line, label=f"{name}: a step")
    axes.plot(0, 0, marker="o", color="0.25", markerfacecolor="none", markersize=8)
    axes.plot(THETA, result.js, **style.DOT, color=style.BCE, label="JS, trained D")
    axes.text(-0.95, np.log(2) + 0.03, "log 2", fontsize="small")
    axes.set(ylim=(-0.06, 1.4), xticks=[-1, 0, 1], yticks=[0, 0.5, 1])
    style.label(axes, "No slope to follow", "θ", "nats (TV: probability)")
    style.legend(axes, loc="center", bbox_to_anchor=(0.5, 0.28))

    axes = panels["c"]
    axes.plot(THETA, np.abs(THETA), **style.CLOSED_FORM, label="W₁ = |θ|")
    axes.plot(THETA, result.critic, **style.DOT | {"markersize": 7}, color=style.WGAN_GP,
              markerfacecolor="none", label="trained critic")  # fmt: skip
    axes.plot(THETA, result.transport, "x", color=style.FAKE, markersize=5,
              label="exact, samples")  # fmt: skip
    axes.set(ylim=(-0.06, 1.5), yticks=[0, 0.5, 1])
    style.label(axes, "A slope everywhere", "θ", "distance, units of x")
    style.legend(axes, loc="upper center")
    return figure
