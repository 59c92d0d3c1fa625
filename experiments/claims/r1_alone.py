"""R1 alone: a well-trained critic needs a penalty on the samples too.

R3GAN trains the relativistic pairing loss with R1 and R2, γ/2·E|∇f|² on data and on samples
(Huang et al. 2025, sec. 2). With either one the loss converges locally; that R1 alone diverges is
what the authors saw in training, and no theorem. This is a small case of it. Where the critic is
linear R1 says it all (`r1_r2`). So let f(x) = ψ₁x + ψ₂x², the data 0 and a sample δ. The slopes
there are ψ₁ and ψ₁ + 2ψ₂δ, and f(δ) is δ times their mean. (All derived here.)

  * With both penalties the best critic has one slope, −s with s = δσ(−δs)/2γ, which is δ/4γ near
    the data. There a generator of rate h comes nearer by 1 − h/8γ in each update.
  * With R1 alone ψ₂ is free, and there is no best critic. In small steps ψ₁' = −δσ(f) − γψ₁ and
    ψ₂' = −δ²σ(f): −f(δ) grows as log(δ⁴t), and the slope at the sample as 2/δ·log(δ⁴t), for ever.
    At some time the generator overshoots to farther away than it was. And ψ₂ only ever falls, as
    σ(f) > 0, so nothing undoes it: θ is then multiplied by 1 + 2hψ₂ in each update.

A critic that gets few updates for each of the generator's does not come that far. R1 alone then
converges as well. As f(0) = 0, the GAN's own loss has the same gradients here: this is about R1,
not about pairs.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.integrate
import scipy.optimize
from scipy.special import expit

import jaxgan
from claims import style
from claims.dirac_gan import DiracGenerator
from claims.number import Number, Numbers
from claims.r1_r2 import with_weights
from claims.training import key_of, put
from jaxgan import losses

TITLE = "R1 alone"
PARTS = 2
SOURCE = "Huang 2025, sec. 2; derived in r1_alone.py"

GAMMA, D_RATE, G_RATE = 1.0, 0.1, 0.5
WEIGHTS = {"r1": (GAMMA, 0.0), "doubled": (2 * GAMMA, 0.0), "both": (GAMMA, GAMMA)}
PENALTIES = {"r1": "R1", "doubled": "R1 at 2γ", "both": "R1 + R2"}
CHECKED = (100, 1000, 5000)  # updates of a critic whose generator is held at 1
FEW, MANY = 10, 100  # updates of the critic for each of the generator
STEPS = 250  # of the generator


class Quadratic(nn.Module):
    """f(x) = ψ₁x + ψ₂x²."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, 1]` to `[B]`."""
        psi = self.param("psi", nn.initializers.zeros, (2,))
        return x[:, 0] * psi[0] + x[:, 0] ** 2 * psi[1]


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      slopes: at a sample held at 1, after each update, `[WEIGHTS, CHECKED[-1]]`.
      distances: |θ| after each generator update, for FEW and MANY, `[WEIGHTS, STEPS]` each.
    """

    numbers: Numbers
    slopes: np.ndarray
    distances: dict[int, np.ndarray]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains critics against a sample that is held, then plays the game.

    Args:
      scale: ignored: the example is small.
      tick: called after each part.
      seed: of where the generator starts.
    """
    del scale
    numbers: Numbers = {}
    slopes = train_held(numbers)
    tick()
    start = jax.random.uniform(key_of(seed), (), minval=0.95, maxval=1.05)
    distances = {n: play(n, start) for n in (FEW, MANY)}
    for n, of_weights in distances.items():
        for name, path in zip(WEIGHTS, of_weights, strict=True):
            closed = np.inf if n == MANY and name != "both" else 0.0
            gone = not path[-1] < 1e6
            # What converges has (1 − h/8γ)²⁵⁰ = 1e-7 left, or less.
            numbers[f"r1_alone.end.{name}@n_critic={n}"] = Number(
                f"|θ| after {STEPS} generator updates, {PENALTIES[name]}, n_critic = {n}",
                SOURCE, closed, np.inf if gone else float(path[-1]), 1e-6, "trained",
            )  # fmt: skip
    # The closed form is that of small θ. What ψ₂ was left at, 0.001, fades as slowly as θ² does.
    last = distances[MANY][-1]
    numbers["r1_alone.rate"] = Number(
        f"what a generator update multiplies θ by, R1 + R2, n_critic = {MANY}: 1 − h/8γ", SOURCE,
        1 - G_RATE / (8 * GAMMA), float((last[149] / last[49]) ** 0.01), 5e-4, "trained",
    )  # fmt: skip
    tick()
    return Result(numbers, slopes, distances)


def make_model() -> jaxgan.GAN:
    """RpGAN on the line; its state holds the weights of R1 and R2."""
    loss, g_tx, d_tx = with_weights(losses.rpgan()), optax.sgd(G_RATE), optax.sgd(D_RATE)
    return jaxgan.gan(DiracGenerator(), Quadratic(), loss, g_tx, d_tx, 1, ema_decay=0)


def begin(model: jaxgan.GAN, theta, weights) -> jaxgan.GANState:
    """A state with the generator at θ."""
    return put(model.init(jax.random.key(0)), {"theta": theta})._replace(loss=weights)


def train_held(numbers: Numbers) -> np.ndarray:
    """Adds slopes at a sample that stays at 1, and when a generator would overshoot; the slopes."""
    model, real, key = make_model(), jnp.zeros((1, 1)), jax.random.key(1)

    def follow(weights):
        def update(state, _):
            state, _ = model.d_step(state, real, key)
            psi, (moved, _) = state.critic.params["psi"], model.g_step(state, real, key)
            return state, (-psi[0] - 2 * psi[1], jnp.abs(moved.generator.params["theta"]))

        return jax.lax.scan(update, begin(model, jnp.ones(()), weights), length=CHECKED[-1])[1]

    weights = jnp.array(list(WEIGHTS.values()))
    slopes, moved = map(np.asarray, jax.jit(jax.vmap(follow))(weights))
    flow = integrate_flow()
    for n in CHECKED:
        # In steps of η the flow is late by η/2·log t, and the slope grows by 2/t.
        late = D_RATE * np.log(D_RATE * n) / (D_RATE * n)
        numbers[f"r1_alone.slope.r1@n={n}"] = Number(
            f"slope at a sample 1 away after {n} critic updates, R1 alone, by its flow",
            SOURCE, float(flow[n, 0]), float(slopes[0, n - 1]), float(late), "trained",
        )  # fmt: skip
    best = scipy.optimize.brentq(lambda s: s - expit(-s) / (2 * GAMMA), 0, 1)
    numbers["r1_alone.slope.both"] = Number(
        "slope at a sample 1 away, R1 + R2, at rest: s = σ(−s)/2γ",
        SOURCE, best, float(slopes[-1, -1]), 1e-6, "trained",
    )  # fmt: skip
    too_far = G_RATE * flow[:, 0] * expit(flow[:, 1]) > 2
    numbers["r1_alone.overshoot"] = Number(
        f"critic updates until a generator of rate {G_RATE:g}, 1 away, overshoots, R1 alone",
        SOURCE, float(np.argmax(too_far)), float(np.argmax(moved[0] > 1) + 1), 1, "trained",
    )  # fmt: skip
    return slopes


def integrate_flow() -> np.ndarray:
    """The slope and −f at 1 after n updates with R1 alone, in small steps, `[n, 2]`."""

    def velocity(_, psi):
        force = expit(psi.sum())
        return np.array([-force - GAMMA * psi[0], -force])

    times = D_RATE * np.arange(max(CHECKED) + 1)
    psi = scipy.integrate.solve_ivp(
        velocity, (0, times[-1]), [0.0, 0.0], t_eval=times, rtol=1e-8, atol=1e-10
    ).y
    return -np.stack([psi[0] + 2 * psi[1], psi.sum(axis=0)], axis=-1)


def play(n_critic: int, start: jax.Array) -> np.ndarray:
    """|θ| after each generator update, for each of WEIGHTS, `[3, STEPS]`."""
    model, real, key = make_model(), jnp.zeros((1, 1)), jax.random.key(1)

    def update(state, _):
        state, _ = jax.lax.scan(lambda s, _: model.d_step(s, real, key), state, length=n_critic)
        state, _ = model.g_step(state, real, key)
        return state, jnp.abs(state.generator.params["theta"])

    def follow(start, weights):
        return jax.lax.scan(update, begin(model, start, weights), length=STEPS)[1]

    weights = jnp.array(list(WEIGHTS.values()))
    return np.asarray(jax.jit(jax.vmap(follow, (None, 0)))(start, weights), np.float64)


def draw(result: Result):
    """The slopes that a generator is given, and where it goes."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"Critic $f(x) = \psi_1 x + \psi_2 x^2$, data at 0", width=style.NARROW
    )
    axes = panels[0]
    n = np.arange(1, CHECKED[-1] + 1)
    axes.plot(n, result.slopes[0], color=style.MINIMAX, lw=3, alpha=0.5, label="R1")
    axes.plot(n, result.slopes[-1], color=style.CRITIC, lw=3, alpha=0.5, label="R1 + R2")
    flow = integrate_flow()[1:, 0]
    axes.plot(n, flow, **style.CLOSED_FORM, label="closed form")
    axes.plot(n, np.full(len(n), result.numbers["r1_alone.slope.both"].closed_form),
              **style.CLOSED_FORM)  # fmt: skip
    axes.set(xscale="log")
    style.legend(axes)
    style.label(axes, "R1 alone: no bound", "critic updates", "slope at a sample")
    axes = panels[1]
    few, many = (dict(zip(WEIGHTS, result.distances[n], strict=True)) for n in (FEW, MANY))
    steps = np.arange(1, STEPS + 1)
    axes.plot(steps, few["r1"], color=style.BCE, ls=":", lw=2, label=f"R1, {FEW} updates")
    axes.plot(steps, many["r1"], color=style.MINIMAX, lw=2, label=f"R1, {MANY}")
    axes.plot(steps, many["both"], color=style.CRITIC, lw=2, label=f"R1 + R2, {MANY}")
    axes.plot(steps, (1 - G_RATE / (8 * GAMMA)) ** steps, **style.CLOSED_FORM, label="(1 − h/8γ)ⁿ")
    axes.set(yscale="log", xlim=(0, 100), ylim=(1e-4, 1e10))
    style.legend(axes, loc="upper right")
    style.label(axes, "θ flies off", "generator updates", "distance |θ|")
    return figure
