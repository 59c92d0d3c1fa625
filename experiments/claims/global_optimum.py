"""The global optimum: C(G) = max_D V(D, G) = −log 4 + 2·JS(p, q).

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
from claims.training import Held, decaying_adam, key_of, place, scores, train_critic
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


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Compares V at D*, and at trained discriminators, with −log 4 + 2·JS.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the networks, the data and the latents.
    """
    theta = np.linspace(-4, 4, 81)
    p, q = density(0.0), density(theta[:, None])
    minimum = divergences.gan_value(divergences.optimal_discriminator(p, q), p, q, DX)
    claimed = -np.log(4) + 2 * divergences.js(p, q, DX)

    trained, value = train_discriminators(int(2000 * scale), seed)
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
            "algebra",
        ),
        "global_optimum.minimum": Number(
            "least C(G), at q = p",
            "Goodfellow 2014, theorem 1",
            -np.log(4),
            float(minimum.min()),
            1e-6,
            "algebra",
        ),
        # The noise of half a million samples of each density: 0.006, give or take 0.001.
        "global_optimum.half": Number(
            "largest |D − 1/2| where p > 0.01, D trained at q = p",
            "Goodfellow 2014, theorem 1",
            0.0,
            float(np.abs(trained[middle] - 0.5)[alive].max()),
            0.01 / scale,
            "trained",
        ),
    }
    for i, t in enumerate(TRAINED_AT):
        # V is flat at its maximum: what a trained discriminator loses is its error squared, 3e-5 on
        # average, give or take 2e-5.
        numbers[f"global_optimum.value@theta={t:g}"] = Number(
            f"V of the trained D, generator N({t:g}, 1)",
            "Goodfellow 2014, theorem 1, eq. 6",
            float(optimum[i]),
            float(value[i]),
            1.2e-4 / scale,
            "trained",
        )
    tick()
    return Result(numbers, theta, *map(np.asarray, (minimum, value, trained)))


def density(mean) -> jax.Array:
    """N(mean, 1) on the grid, 0 where it is negligible."""
    p = norm.pdf(GRID, mean)
    return jnp.where(p > NEGLIGIBLE, p, 0.0)


def train_discriminators(steps: int, seed: int) -> tuple[jax.Array, jax.Array]:
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
    state = model.init(key_of(seed))

    def draw(key, n):
        return jax.random.normal(key, (n, 1))

    quantiles = norm.ppf((jnp.arange(20_000) + 0.5) / 20_000)[:, None]

    def train(shift):
        started = place(state, shift[None])
        trained, _ = train_critic(model, started, draw, key_of(seed, 1), steps, batch_size=256)
        critic_fn = functools.partial(scores, critic, trained)
        d_loss, _ = loss.critic(critic_fn, quantiles, quantiles + shift, key_of(seed, 2))
        return jax.nn.sigmoid(critic_fn(GRID[:, None])), -d_loss

    return jax.jit(jax.vmap(train))(jnp.asarray(TRAINED_AT, jnp.float32))


def draw(result: Result):
    """C(G) over θ with trained values on it, and the trained discriminators."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.3, r"$C(G) = \max_D V(D, G) = -\log 4 + 2\,\mathrm{JS}(p, q)$",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    axes.plot(result.theta, result.minimum, **style.CLOSED_FORM, label="−log 4 + 2·JS")
    axes.plot(TRAINED_AT, result.value, **style.DOT, color=style.CRITIC, label="trained D")
    for level, text, side in ((-np.log(4), "−log 4: equal", "top"), (0, "0: disjoint", "bottom")):
        axes.axhline(level, color="0.8", lw=0.8, zorder=0)
        axes.text(-4, level, text, fontsize="small", color="0.4", va=side)
    style.label(axes, "Least where q is the data", "θ: data N(0, 1), q = N(θ, 1)", "V, nats")
    axes.set(ylim=(-1.6, 0.5), yticks=[-1.5, -1, -0.5, 0])
    style.legend(axes, loc="upper center")
    axes = panels[1]
    for t, d in zip(TRAINED_AT, result.trained, strict=True):
        alive = np.asarray((norm.pdf(GRID) + norm.pdf(GRID, t)) / 2 > 0.002)
        color = style.CRITIC if t == 0 else str(0.2 + 0.2 * abs(t))
        text = f"θ = {'±' if t else ''}{t:g}" if t >= 0 else None
        axes.plot(GRID[alive], d[alive], color=color, lw=2.2 if t == 0 else 1.2,
                  ls="-" if t >= 0 else "--", label=text)  # fmt: skip
    axes.set(xlim=(-6, 6), ylim=(-0.03, 1.5), xticks=[-4, 0, 4], yticks=[0, 0.5, 1])
    style.legend(axes, loc="upper center", ncols=2, columnspacing=1.0)
    style.label(axes, "Trained D (dashed: θ < 0)", "x", "D(x)")
    return figure
