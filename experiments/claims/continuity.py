"""W₁ is continuous where JS jumps: a curve that moves and bends.

If g_θ(z) is continuous in θ, so is W₁(p, q_θ), since moving each g_θ(z) to g_θ'(z) is one way to
carry q_θ to q_θ':

    |W₁(p, q_θ) − W₁(p, q_θ')| ≤ W₁(q_θ, q_θ') ≤ E_z|g_θ(z) − g_θ'(z)|.

If g is locally Lipschitz and its constants L(θ, z) have a mean, W₁ is so with E_z L(θ, z), and has
a slope almost everywhere. For JS neither is true (Arjovsky 2017, theorem 1, and its proof).

Data (0, z), generator g_θ(z) = (θ + θ³z², z), z uniform on [0, 1]: a line that moves as it bends.
For θ ≠ 0 the curves share no point, so that JS = log 2, and at θ = 0 it is 0. All mass moves to the
same side, so that f(x) = x₁ is an optimal critic, and (derived here)

    W₁ = |θ| + |θ|³/3,   ∂W₁/∂θ = (1 + θ²)·sign θ = E_z L(θ, z)·sign θ.

The bound is reached: no W₁ can change faster than this one does. Two curves on different sides of
the data are farther from each other than their distances to it differ, and there it is not.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import decaying_adam, key_of, put, scores, to_uniform, train_critic
from jaxgan import distances, losses, networks

TITLE = "Continuity"
PARTS = 2

SOURCE = "Arjovsky 2017, theorem 1; closed form derived here"
THETA = np.array([-1.0, -0.4, -0.1, 0.0, 0.2, 0.7, 1.0])
POINTS = 400  # of each curve, for exact transport


class Result(NamedTuple):
    """What was measured at each of THETA, `[n]`.

    Attributes:
      numbers: entries of `theory.json`.
      js: certified by the trained discriminator, in nats.
      w1: exact, between samples.
      slopes: its derivative in θ.
    """

    numbers: Numbers
    js: np.ndarray
    w1: np.ndarray
    slopes: np.ndarray


def curve(theta: jax.Array, z: jax.Array) -> jax.Array:
    """g_θ(z), `[n, 2]`, of z `[n]`."""
    return jnp.stack([theta + theta**3 * z**2, z], axis=-1)


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Solves transport between samples, and trains a discriminator, at each θ.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of samples and training.
    """
    w1, slopes, ratio = transport(key_of(seed))
    tick()
    js = train_discriminators(int(800 * scale), seed)
    numbers: Numbers = {}
    for i, t in enumerate(THETA):
        size, sign = abs(t), np.sign(t)
        # There is one sample in each of POINTS equal parts of [0, 1]. Heights that belong together
        # differ by less than h = 1/POINTS: W₁ is too large by up to h at θ = 0, by h²/2|θ|
        # elsewhere. The mean of θ³z² has four standard deviations of 1.33·|θ|³·h^1.5 at most.
        h = 1 / POINTS
        tolerance = h**2 / (2 * size) + 1.33 * size**3 * h**1.5 if t else h
        numbers[f"continuity.w1@theta={t:g}"] = Number(
            f"exact W₁ between {POINTS} and {POINTS} samples, θ = {t:g}",
            SOURCE, size + size**3 / 3, float(w1[i]), tolerance, "sampled",
        )  # fmt: skip
        if t:
            numbers[f"continuity.slope@theta={t:g}"] = Number(
                f"derivative of that W₁ in θ, θ = {t:g}", SOURCE, sign * (1 + t**2),
                float(slopes[i]), h**2 / (2 * t**2) + 4 * t**2 * h**1.5, "sampled",
            )  # fmt: skip
        # How far the logit has grown; at θ = 0 how far it wanders.
        numbers[f"continuity.js@theta={t:g}"] = Number(
            f"JS certified by the trained discriminator, nats, θ = {t:g}",
            "Arjovsky 2017, theorem 1, part 3", float(np.log(2) if t else 0.0), float(js[i]),
            2e-4, "trained",
        )  # fmt: skip
    numbers["continuity.bound"] = Number(
        "largest |W₁(p, q_θ) − W₁(p, q_θ')|/E|g_θ(z) − g_θ'(z)| over pairs of θ",
        "Arjovsky 2017, theorem 1, its proof", 1.0, ratio, 1e-5, "sampled",
    )  # fmt: skip
    tick()
    return Result(numbers, js, w1, slopes)


def transport(key: jax.Array) -> tuple[np.ndarray, np.ndarray, float]:
    """Exact W₁ and its slope at each of THETA, and how near they come to the bound."""
    jitter = jax.random.uniform(key, (2, POINTS))
    z, other = (jnp.arange(POINTS) + jitter) / POINTS

    @jax.jit
    @jax.value_and_grad
    def w1(theta):
        return distances.earth_movers_distance(curve(0.0, other), curve(theta, z))

    values, slopes = map(np.asarray, zip(*(w1(float(t)) for t in THETA), strict=True))
    ratios = []
    for i, t in enumerate(THETA):
        for j in range(i):
            moved = jnp.linalg.norm(curve(t, z) - curve(THETA[j], z), axis=1).mean()
            ratios.append(float(abs(values[i] - values[j]) / moved))
    return values, slopes, max(ratios)


class Bent(nn.Module):
    """The curve as a generator whose one parameter is θ."""

    latent_dim: int = 1

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps standard normal latents `[B, 1]` to points `[B, 2]`."""
        return curve(self.param("theta", nn.initializers.zeros, ()), to_uniform(z[:, 0]))


def train_discriminators(steps: int, seed: int) -> np.ndarray:
    """JS in nats that a discriminator certifies on fresh samples, at each of THETA."""
    _, critic = networks.mlp((2,), 1, width=32, depth=2)
    loss = losses.bce()
    model = jaxgan.gan(Bent(), critic, loss, optax.identity(), decaying_adam(1e-2, steps))
    start = model.init(key_of(seed, 1))

    def draw_data(key, n):
        return curve(0.0, jax.random.uniform(key, (n,)))

    z = (jnp.arange(4096) + 0.5) / 4096

    def train(theta):
        state = put(start, {"theta": theta})
        trained, _ = train_critic(model, state, draw_data, key_of(seed, 2), steps, batch_size=128)
        critic_fn = functools.partial(scores, critic, trained)
        _, metrics = loss.critic(critic_fn, curve(0.0, z), curve(theta, z), key_of(seed, 3))
        return metrics["js"]

    return np.asarray(jax.jit(jax.vmap(train))(jnp.asarray(THETA, jnp.float32)))


def draw(result: Result):
    """The curves, and both distances over θ."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, "A curve moves and bends: W₁ is continuous, JS jumps", width=style.NARROW
    )
    axes, z = panels[0], jnp.linspace(0, 1, 60)
    for t in THETA:
        look = {"color": style.FAKE, "lw": 1.2} if t else {"color": style.DATA, "lw": 3}
        axes.plot(*np.asarray(curve(t, z)).T, **look)
        axes.text(t, -0.03, f"{t:g}" if abs(t) > 0.15 else "", ha="center", va="top",
                  fontsize="small")  # fmt: skip
    axes.text(0, 1.04, "data, θ = 0", ha="center", fontsize="small")
    axes.set(ylim=(-0.12, 1.14), xticks=[-2, -1, 0, 1, 2], yticks=[0, 1])
    style.label(axes, "Curves, θ from −1 to 1", "x₁", "x₂")
    axes = panels[1]
    fine = np.linspace(-1, 1, 101)
    axes.plot(fine, np.abs(fine) + np.abs(fine) ** 3 / 3, **style.CLOSED_FORM)
    for side in ([-1, 0], [0, 1]):
        axes.plot(side, [np.log(2)] * 2, **style.CLOSED_FORM)
    axes.plot(0, np.log(2), "s", color=style.BCE, markerfacecolor="white", markersize=5, zorder=3)
    axes.plot(THETA, result.w1, **style.DOT, color=style.WGAN_GP, label="exact W₁")
    axes.plot(THETA, result.js, **style.DOT | {"marker": "s"}, color=style.BCE,
              label="JS, trained D")  # fmt: skip
    axes.plot([], [], **style.CLOSED_FORM, label="closed forms")
    axes.set(ylim=(-0.06, 2.1), xticks=[-1, 0, 1])
    style.label(axes, "A slope, and a step", "θ", "W₁; JS in nats")
    style.legend(axes, loc="upper center")
    return figure
