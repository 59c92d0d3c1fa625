"""Averaging: why samples come from an average of the generator's past.

`gan` keeps beside the generator's parameters θ their exponential moving average
m ← βm + (1 − β)θ, with β = `ema_decay`, and samples from m. Where training circles, θ goes as
e^{iωn} and m follows as c·e^{iωn} with c = βc·e^{−iω} + 1 − β, so that

    r_ema/r = |(1 − β)/(1 − βe^{−iω})|.                                          (derived here)

In the Dirac-GAN with a Wasserstein critic (see `dirac_gan`) an update of step h has eigenvalues of
product 1 and sum 2 − h² = 2cos ω. Put in, r_ema/r = 1/√(1 + βh²/(1 − β)²). The circle of the
average shrinks as β nears 1, though the generator's own does not (Yazıcı et al. 2018, The Unusual
Effectiveness of Averaging in GAN Training: for a bilinear game the average ends on a cycle whose
amplitude vanishes as β → 1).

A second reason is noise. With R1 the Dirac-GAN converges, but each batch's mean misses the data's
by σ/√B, and θ keeps moving about. (ψ, θ, m) is then linear in the noise, and its variances Σ solve
the Lyapunov equation Σ = AΣAᵀ + Q: the average has the same mean as the generator and less noise.
(Derived here.)

Both are averages of parameters that stay near one another. Nothing here says that the mean of two
far networks is a good network.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg

import jaxgan
from claims import style
from claims.dirac_gan import DiracCritic, DiracGenerator
from claims.number import Number, Numbers
from claims.training import key_of, put
from jaxgan import losses

TITLE = "Averaging"
PARTS = 2
SOURCE = "Yazıcı 2018; the ratio derived in averaging.py"

TURN = 60  # steps in which the circle closes
RATE = 2 * np.sin(np.pi / TURN)  # h, by 2cos ω = 2 − h²
NEVER = 100.0  # a bound for clipping that no weight reaches
DECAYS = (0.5, 0.9, 0.98, 0.995)
SHOWN = 0.98
NOISY = (0.9, 0.98)  # decays under noise
GAMMA, BATCH = 0.3, 4  # R1's weight and the batch under noise
CHAINS, SETTLE, NOISY_STEPS = 400, 500, 1500  # runs side by side, and updates of each


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      ratios: radius of the average over that of the generator, for each of DECAYS.
      path: (θ, m) over the first 480 steps at decay SHOWN, `[480, 2]`.
    """

    numbers: Numbers
    ratios: np.ndarray
    path: np.ndarray


def closed_ratio(decay, turn: float = TURN):
    """|(1 − β)/(1 − βe^{−iω})| at ω = 2π/turn."""
    return np.abs((1 - decay) / (1 - decay * np.exp(-2j * np.pi / turn)))


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains Dirac-GANs that circle, and some under noise, at several decays of the average.

    Args:
      scale: multiplies the number of runs under noise.
      tick: called after each part.
      seed: of the starts, and of the noise.
    """
    numbers: Numbers = {}
    angle = jax.random.uniform(key_of(seed), (), maxval=2 * np.pi)
    ratios, ways = [], {}
    for decay in DECAYS:
        ways[decay] = circle(decay, angle)
        last = ways[decay][-10 * TURN :]
        theta, average = np.sqrt(np.mean(last.astype(np.float64) ** 2, axis=0))
        ratios.append(average / theta)
        # Whole turns, so that nothing but rounding is left, and β^n of the start.
        numbers[f"averaging.circle@beta={decay:g}"] = Number(
            f"radius of the average over the generator's, β = {decay:g}, {TURN} steps a turn",
            SOURCE, float(closed_ratio(decay)), float(ratios[-1]), 1e-6, "trained",
        )  # fmt: skip
    # At the start the decay is t/(9 + t) at most, which forgets the first steps at once.
    theta = np.sqrt(np.mean(ways[SHOWN][-10 * TURN :, 0] ** 2)) / np.sqrt(np.mean(
        ways[SHOWN][: 10 * TURN, 0] ** 2))  # fmt: skip
    numbers["averaging.kept"] = Number(
        "radius of the generator's circle at the end over that at the start",
        "Mescheder 2018, sec. 2", 1.0, float(theta), 1e-5, "trained",
    )  # fmt: skip
    tick()
    for decay in NOISY:
        measured, error = wander(decay, max(2, int(CHAINS * scale)), key_of(seed, 1))
        closed = closed_deviations(decay)
        for name, i in (("generator", 0), ("average", 1)):
            # Four standard errors, by how far the runs are apart.
            numbers[f"averaging.noise.{name}@beta={decay:g}"] = Number(
                f"standard deviation of the {name} at rest under noise, β = {decay:g}",
                "Lyapunov equation, solved in averaging.py",
                float(closed[i]), float(measured[i]), float(4 * error[i]), "trained",
            )  # fmt: skip
    tick()
    return Result(numbers, np.array(ratios), ways[SHOWN][:480])


def build(loss: losses.Loss, decay: float) -> jaxgan.GAN:
    """The Dirac-GAN with an averaged generator."""
    tx = optax.sgd(RATE)
    return jaxgan.gan(DiracGenerator(), DiracCritic(), loss, tx, tx, 1, ema_decay=decay)


def place(state: jaxgan.GANState, psi, theta) -> jaxgan.GANState:
    """The state at (ψ, θ), the average with it."""
    return put(state, {"theta": theta}, {"psi": psi})._replace(ema={"theta": theta})


def circle(decay: float, angle: jax.Array) -> np.ndarray:
    """(θ, m) after each step of a Wasserstein Dirac-GAN from the unit circle, `[steps, 2]`."""
    model = build(losses.wgan(NEVER), decay)
    start = place(model.init(jax.random.key(0)), jnp.sin(angle), jnp.cos(angle))
    real = jnp.zeros((1, 1, 1))

    def body(state, _):
        state, _ = model.step(state, real)
        return state, jnp.stack([state.generator.params["theta"], state.ema["theta"]])

    return np.asarray(jax.jit(lambda s: jax.lax.scan(body, s, length=60 * TURN)[1])(start))


def wander(decay: float, chains: int, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of θ and m of runs with R1 on batches of N(0, 1); their errors, `[2]`.

    All runs start at the equilibrium, and their first SETTLE updates are left out.
    """
    model = build(losses.with_r1(losses.wgan(NEVER), GAMMA), decay)
    state = place(model.init(jax.random.key(0)), jnp.zeros(()), jnp.zeros(()))

    def body(state, key):
        state, _ = model.step(state, jax.random.normal(key, (1, BATCH, 1)))
        return state, jnp.stack([state.generator.params["theta"], state.ema["theta"]])

    @jax.jit
    @jax.vmap
    def run(key):
        keys = jax.random.split(key, SETTLE + NOISY_STEPS)
        return jax.lax.scan(body, state, keys)[1][SETTLE:]

    variances = np.mean(np.asarray(run(jax.random.split(key, chains)), np.float64) ** 2, axis=1)
    deviations = np.sqrt(variances.mean(axis=0))
    return deviations, variances.std(axis=0, ddof=1) / np.sqrt(chains) / (2 * deviations)


def closed_deviations(decay: float) -> np.ndarray:
    """Of θ and m at rest, by the Lyapunov equation of (ψ, θ, m), `[2]`."""
    h, keep = RATE, 1 - RATE * GAMMA
    psi = np.array([keep, -h, 0])  # ψ ← (1 − hγ)ψ − hθ + h·x̄
    theta = np.array([0, 1, 0]) + h * psi
    average = np.array([0, 0, decay]) + (1 - decay) * theta
    noise = h / np.sqrt(BATCH) * np.array([1, h, (1 - decay) * h])
    covariance = scipy.linalg.solve_discrete_lyapunov(
        np.stack([psi, theta, average]), np.outer(noise, noise)
    )
    return np.sqrt(np.diag(covariance)[1:])


def draw(result: Result):
    """A generator that circles with its average, and the average's radius over β."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"The average of a generator: $m \leftarrow \beta m + (1 - \beta)\theta$",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.plot(result.path[:, 0], color=style.FAKE, lw=1.2, label="generator θ")
    axes.plot(result.path[:, 1], color=style.CRITIC, lw=2, label=f"m, β = {SHOWN:g}")
    for sign in (-1, 1):
        axes.axhline(sign * closed_ratio(SHOWN), **style.CLOSED_FORM, zorder=3,
                     label="closed form" if sign > 0 else None)  # fmt: skip
    axes.set(ylim=(-1.2, 2.5), yticks=[-1, 0, 1])
    style.legend(axes, loc="upper right", ncols=1, labelspacing=0.1)
    style.label(axes, "θ circles on, m hardly", "steps", "distance from the data")
    axes = panels[1]
    memory = np.geomspace(1.5, 400, 200)  # 1/(1 − β)
    axes.plot(memory, closed_ratio(1 - 1 / memory), **style.CLOSED_FORM, label="closed form")
    axes.plot(1 / (1 - np.array(DECAYS)), result.ratios, **style.DOT, color=style.CRITIC,
              label="measured")  # fmt: skip
    axes.axvline(TURN / (2 * np.pi), color="0.8", lw=0.8, zorder=0)
    axes.text(TURN / (2 * np.pi) * 1.08, 0.015, "1/ω", fontsize="small", color="0.4")
    axes.set(xscale="log", yscale="log", xticks=[2, 10, 100], xticklabels=[2, 10, 100])
    axes.set(ylim=(0.01, 1.5), yticks=[0.01, 0.1, 1], yticklabels=[0.01, 0.1, 1])
    style.legend(axes, loc="upper right")
    style.label(axes, "A longer memory shrinks it", "memory 1/(1 − β), steps", "radius of m / of θ")
    return figure
