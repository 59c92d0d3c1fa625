"""The global optimum: C(G) = max_D V(D, G) = −log 4 + 2·JS(p_data, p_g).

Put D* = p/(p + q) into V: E_p log p/(p + q) + E_q log q/(p + q) is, with m = (p + q)/2,
−2 log 2 + KL(p‖m) + KL(q‖m) (Goodfellow 2014, theorem 1, eq. 4 to 6). JS is 0 only where the two
are equal: there, and nowhere else, C has its minimum −log 4, and D* = 1/2.

Generators N(θ, 1) against data N(0, 1): the equation on a grid, and by training a discriminator
at each θ, all of them at once.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, decaying_adam, place, scores, train_critic
from jaxgan import divergences, losses, networks

TITLE = "The global optimum"
PARTS = 1

GRID = np.linspace(-9, 9, 3601)  # float64: in float32 its spacing is off by 2e-4
DX = GRID[1] - GRID[0]
# Below this densities count as 0: in float32 p/(p + q) would round to 1, and log(1 − D) be −inf.
NEGLIGIBLE = 1e-7
TRAINED_AT = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      theta: positions of the generator, `[n]`.
      minimum: C(G) = V(D*, G) at each, `[n]`.
      value: V of the trained discriminator at each of TRAINED_AT.
      trained: those discriminators on the grid.
    """

    numbers: Numbers
    theta: np.ndarray
    minimum: np.ndarray
    value: np.ndarray
    trained: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None) -> Result:
    """Compares V at D*, and at trained discriminators, with −log 4 + 2·JS.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
    """
    theta = np.linspace(-4, 4, 81)
    p, q = density(0.0), density(theta[:, None])
    minimum = divergences.gan_value(divergences.optimal_discriminator(p, q), p, q, DX)
    claimed = -np.log(4) + 2 * divergences.js(p, q, DX)

    trained, value = train_discriminators(steps=int(2000 * scale))
    q = density(TRAINED_AT[:, None])
    optimum = np.asarray(-np.log(4) + 2 * divergences.js(p, q, DX))
    middle = int(np.argmin(np.abs(TRAINED_AT)))
    alive = p > 0.01
    numbers = {
        # What is cut off as negligible is 1.5e-7 of the mass, and log 4 times as much of V: 2.1e-7.
        # The rest is rounding, in float32: of each sum, 6e-8 of JS and 2e-7 of V.
        "global_optimum.identity": Number(
            "largest |V(D*) − (−log 4 + 2·JS)| over 81 generators",
            "Goodfellow 2014, theorem 1, eq. 6",
            0.0,
            float(np.abs(minimum - claimed).max()),
            1e-6,
        ),
        "global_optimum.minimum": Number(
            "least C(G), at p_g = p_data",
            "Goodfellow 2014, theorem 1",
            -np.log(4),
            float(minimum.min()),
            1e-6,
        ),
        # The noise of half a million samples of each density.
        "global_optimum.half": Number(
            "largest |D − 1/2| where p > 0.01, D trained at p_g = p_data",
            "Goodfellow 2014, theorem 1",
            0.0,
            float(np.abs(trained[middle] - 0.5)[alive].max()),
            0.05,
        ),
    }
    for i, t in enumerate(TRAINED_AT):
        # V is flat at its maximum: what a trained discriminator loses is its error squared.
        numbers[f"global_optimum.value@theta={t:g}"] = Number(
            f"V of the trained D, generator N({t:g}, 1)",
            "Goodfellow 2014, theorem 1, eq. 6",
            float(optimum[i]),
            float(value[i]),
            0.01,
        )
    tick()
    return Result(numbers, theta, *map(np.asarray, (minimum, value, trained)))


def density(mean) -> jax.Array:
    """N(mean, 1) on the grid, 0 where it is negligible."""
    p = norm.pdf(GRID, mean)
    return jnp.where(p > NEGLIGIBLE, p, 0.0)


def train_discriminators(steps: int) -> tuple[jax.Array, jax.Array]:
    """Trains one for each of TRAINED_AT by `d_step`.

    Returns:
      D on the grid, `[n, grid]`, and V = −d_loss on 20,000 quantiles of both distributions, `[n]`.
    """
    _, critic = networks.mlp((1,), 1, width=32, depth=2)
    loss = losses.bce()
    model = jaxgan.gan(
        Held(lambda z: z, latent_dim=1),
        critic,
        loss,
        g_tx=optax.identity(),
        d_tx=decaying_adam(3e-3, steps),
    )
    state = model.init(jax.random.key(0))

    def draw(key, n):
        return jax.random.normal(key, (n, 1))

    quantiles = norm.ppf((jnp.arange(20_000) + 0.5) / 20_000)[:, None]

    def train(shift):
        started = place(state, shift[None])
        trained, _ = train_critic(model, started, draw, jax.random.key(1), steps, batch_size=256)
        critic_fn = functools.partial(scores, critic, trained)
        d_loss, _ = loss.critic(critic_fn, quantiles, quantiles + shift, jax.random.key(2))
        return jax.nn.sigmoid(critic_fn(GRID[:, None])), -d_loss

    return jax.jit(jax.vmap(train))(jnp.asarray(TRAINED_AT, jnp.float32))


def draw(result: Result):
    """C(G) over θ with trained values on it, and the trained discriminators."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.3, r"$C(G) = \max_D V(D, G) = -\log 4 + 2\,\mathrm{JS}(p_{data}, p_g)$"
    )
    axes = panels[0]
    axes.plot(result.theta, result.minimum, **style.CLOSED_FORM, label="−log 4 + 2·JS")
    axes.plot(TRAINED_AT, result.value, **style.DOT, color=style.CRITIC, label="V of trained D")
    for level, text in ((-np.log(4), "−log 4: equal"), (0.0, "0: disjoint")):
        axes.axhline(level, color="0.8", lw=0.8, zorder=0)
        axes.text(-4, level + 0.02, text, fontsize="x-small", color="0.4")
    style.label(
        axes, "Least where the generator is the data", "θ: generator N(θ, 1), data N(0, 1)", "nats"
    )
    axes.set_ylim(-1.5, 0.15)
    style.legend(axes, loc="center", bbox_to_anchor=(0.5, 0.72))
    axes = panels[1]
    for t, d in zip(TRAINED_AT, result.trained, strict=True):
        alive = np.asarray((norm.pdf(GRID) + norm.pdf(GRID, t)) / 2 > 0.002)
        color = style.CRITIC if t == 0 else str(0.2 + 0.2 * abs(t))
        axes.plot(GRID[alive], d[alive], color=color, lw=2.2 if t == 0 else 1.2,
                  ls="-" if t >= 0 else "--", label=f"θ = {t:g}")  # fmt: skip
    axes.set(xlim=(-8.5, 6), ylim=(-0.03, 1.03))
    style.legend(axes, loc="center left")
    style.label(axes, "Trained discriminators: 1/2 at θ = 0", "x", "D(x)")
    return figure
