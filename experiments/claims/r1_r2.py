"""R1 and R2 on the Dirac-GAN: how fast training converges, over the weight γ of the penalty.

R1 charges the critic γ/2·E_p|∇f|², R2 γ/2·E_q|∇f|² (Mescheder et al. 2018, eq. 9 and 10). The
Dirac-GAN's critic f(x) = ψx has the slope ψ everywhere, at data and at samples. So both charge
γψ²/2, R2 is R1, and R1 + R2 is R1 at 2γ. (`r1_alone` has a critic where that is not so.)

Near the equilibrium an update of step h, critic first (see `dirac_gan`), has eigenvalues of product
1 − hγ and sum 2 − hγ − h²b², with b = f'(0) = 1/2 for the GAN's loss. Their discriminant is 0 where
(hγ + h²b²)² = 4h²b², so they turn real at

    γ* = 2b − hb².

In small steps that is Mescheder's 2|f'(0)| (sec. 3). Derived here, for steps of size h:

  * below γ* the modulus is √(1 − hγ): training turns about the equilibrium and comes nearer;
  * at γ* both are 1 − hb. No γ converges faster;
  * above γ* the larger one is real and grows: the critic is held so flat that the generator creeps;
  * at γ = 2/h − hb²/2 the other one is −1. Beyond it the penalty's own steps overshoot.

Measured: eigenvalues of the Jacobian of the library's steps, and rates of training with them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgan
from claims import style
from claims.dirac_gan import DiracCritic, DiracGenerator
from claims.number import Number, Numbers
from claims.training import key_of, put
from jaxgan import losses

TITLE = "R1 and R2"
PARTS = 2
SOURCE = "Mescheder 2018, sec. 3 and eq. 9 and 10; derived in r1_r2.py"

RATE, SLOPE = 0.1, 0.5  # h and b
CRITICAL = 2 * SLOPE - RATE * SLOPE**2
LIMIT = 2 / RATE - RATE * SLOPE**2 / 2
GAMMAS = (0.1, 0.3, 0.6, 0.9, 1.1, 2.0, 4.0, 10.0, 19.0)
TRAINED = (0.1, 0.3, 0.6, 2.0, 4.0)
STEPS, SETTLED = 1500, 500  # rates are taken from step SETTLED on, near the equilibrium
SHOWN = (0.3, CRITICAL, 4.0)


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      moduli: the largest modulus of the measured eigenvalues at each of GAMMAS.
      rates: what the distance is multiplied by in a step of training, at each of TRAINED.
      distances: from the equilibrium after each step, for each of SHOWN, `[3, STEPS]`.
      halves: the same with R1 and R2, each at half of γ.
    """

    numbers: Numbers
    moduli: np.ndarray
    rates: np.ndarray
    distances: np.ndarray
    halves: np.ndarray


def with_weights(loss: losses.Loss) -> losses.StatefulLoss:
    """The loss with R1 and R2. The weights are its state: one compiled program for all."""

    def at(weights, step):
        del step
        return losses.with_r2(losses.with_r1(loss, weights[0]), weights[1])

    return losses.StatefulLoss(lambda: jnp.zeros(2), at, lambda weights, metrics: weights)


def make_update():
    """The library's update of (ψ, θ), given the weights of R1 and R2."""
    loss, tx = with_weights(losses.bce()), optax.sgd(RATE)
    model = jaxgan.gan(DiracGenerator(), DiracCritic(), loss, tx, tx, 1, ema_decay=0)
    state = model.init(jax.random.key(0))
    real, key = jnp.zeros((1, 1)), jax.random.key(1)

    def update(point, weights):
        placed = put(state, {"theta": point[1]}, {"psi": point[0]})._replace(loss=weights)
        placed, _ = model.d_step(placed, real, key)
        placed, _ = model.g_step(placed, real, key)
        return jnp.stack([placed.critic.params["psi"], placed.generator.params["theta"]])

    return update


def closed_eigenvalues(gamma) -> np.ndarray:
    """Of the linearised update at each γ, by hand, `[n, 2]`."""
    gamma = np.asarray(gamma, float)
    total, product = 2 - RATE * gamma - (RATE * SLOPE) ** 2, 1 - RATE * gamma
    root = np.sqrt((total**2 / 4 - product).astype(complex))
    return np.stack([total / 2 + root, total / 2 - root], axis=-1)


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Takes the eigenvalues of the library's update over γ, and trains from random starts.

    Args:
      scale: ignored: the smallest GAN there is needs no smaller size.
      tick: called after each part.
      seed: of the starts.
    """
    del scale
    update = make_update()
    gammas, fine, ends = np.array(GAMMAS), np.linspace(0.8, 1.1, 3001), np.linspace(19, 21, 2001)
    weights = [(gammas, 0), (0, gammas), (gammas, gammas), (2 * gammas, 0), (fine, 0), (ends, 0)]
    one, other, both, doubled, near, far = take_jacobians(update, weights)
    moduli = np.abs(np.linalg.eigvals(one)).max(axis=1)
    turned = np.linalg.eigvals(near)
    real = fine[np.argmax(np.abs(turned.imag).max(axis=1) == 0)]
    rows = {
        # Jacobians of float32 are rounded by 1e-7, and agree to that.
        "same": ("R2's Jacobian less R1's, the largest over γ", 0, np.abs(one - other).max(), 3e-7),
        "twice": ("Jacobian of R1 + R2 at γ less R1's at 2γ, the largest", 0,
                  np.abs(both - doubled).max(), 3e-7),
        # The grid's spacing is 1e-4. Rounding by 1e-7 hides the sign over another 2e-5.
        "critical": ("γ where the eigenvalues turn real: 2b − hb²", CRITICAL, real, 2e-4),
        # Where the two meet, rounding by 1e-7 moves each by its square root.
        "fastest": ("the least modulus over γ: 1 − hb", 1 - RATE * SLOPE,
                    np.abs(turned).max(axis=1).min(), 3e-4),
        "limit": ("γ from which an update moves away: 2/h − hb²/2", LIMIT,
                  ends[np.argmax(np.abs(np.linalg.eigvals(far)).max(axis=1) > 1)], 2e-3),
    }  # fmt: skip
    numbers = {
        f"r1_r2.{name}": Number(what, SOURCE, float(closed), float(found), tolerance, "algebra")
        for name, (what, closed, found, tolerance) in rows.items()
    }
    for gamma, modulus in zip(GAMMAS, moduli, strict=True):
        numbers[f"r1_r2.modulus@gamma={gamma:g}"] = Number(
            f"largest modulus of the update's eigenvalues, R1 at γ = {gamma:g}, h = {RATE:g}",
            SOURCE, float(np.abs(closed_eigenvalues(gamma)).max()), float(modulus), 3e-7, "algebra",
        )  # fmt: skip
    tick()
    angle = jax.random.uniform(key_of(seed), (), maxval=2 * np.pi)
    start = jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    shown, half = np.array(SHOWN), np.array(SHOWN) / 2
    weights = [(np.array(TRAINED), 0), (shown, 0), (half, half)]
    follow = jax.jit(jax.vmap(lambda start, pair: walk(update, start, pair), (None, 0)))
    paths = np.asarray(follow(start, np.concatenate([pair_up(*w) for w in weights])), np.float64)
    paths, distances, halves = np.split(paths, [len(TRAINED), len(TRAINED) + len(SHOWN)])
    steps = STEPS - SETTLED
    rates = (paths[:, -1] / paths[:, SETTLED - 1]) ** (1 / steps)
    for gamma, rate in zip(TRAINED, rates, strict=True):
        values, frame = np.linalg.eig(linear_update(gamma))
        # Where training turns, its orbit is longer one way than the other, by the condition
        # number of the eigenvectors at most. Where it creeps, only rounding is left.
        turning = np.log(np.linalg.cond(frame)) / steps if values.imag.any() else 0
        numbers[f"r1_r2.rate@gamma={gamma:g}"] = Number(
            f"what a step of training multiplies the distance by, R1 at γ = {gamma:g}",
            SOURCE, float(np.abs(closed_eigenvalues(gamma)).max()), float(rate),
            float(turning + 1e-7), "trained",
        )  # fmt: skip
    tick()
    return Result(numbers, moduli, rates, distances, halves)


def pair_up(r1, r2) -> np.ndarray:
    """Weights of R1 and of R2 as pairs, `[n, 2]`."""
    return np.stack(np.broadcast_arrays(r1, r2), axis=-1).astype(np.float32)


def take_jacobians(update, weights: list) -> list[np.ndarray]:
    """The update's Jacobians at the equilibrium, `[n, 2, 2]` for each list of weights."""
    pairs = [pair_up(*w) for w in weights]
    take = jax.jit(jax.vmap(jax.jacobian(update), (None, 0)))
    jacobians = np.asarray(take(jnp.zeros(2), np.concatenate(pairs)), np.float64)
    return np.split(jacobians, np.cumsum([len(p) for p in pairs])[:-1])


def linear_update(gamma: float) -> np.ndarray:
    """The linearised update of (ψ, θ), by hand."""
    step = RATE * SLOPE
    return np.array([[1 - RATE * gamma, -step], [step * (1 - RATE * gamma), 1 - step**2]])


def walk(update, start: jax.Array, weights: jax.Array) -> jax.Array:
    """The distance from the equilibrium after each of STEPS updates."""

    def body(point, _):
        point = update(point, weights)
        return point, jnp.hypot(*point)  # a norm's squares would underflow

    return jax.lax.scan(body, start, length=STEPS)[1]


def draw(result: Result):
    """The modulus over γ, and three ways to the equilibrium."""
    title = r"Dirac-GAN with R1: $(\gamma/2)|\nabla f|^2$ on the data"
    figure, (panels,) = style.new_figure(1, 2, 2.9, title, width=style.NARROW)
    axes = panels[0]
    gamma = np.geomspace(0.05, 21, 600)
    closed = np.abs(closed_eigenvalues(gamma)).max(axis=1)
    axes.plot(gamma, closed, **style.CLOSED_FORM, label="closed form")
    axes.plot(GAMMAS, result.moduli, **style.DOT, color=style.CRITIC, label="Jacobian")
    axes.plot(TRAINED, result.rates, "x", color=style.MINIMAX, markersize=8, label="training")
    axes.annotate("γ* = 2b − hb²", (CRITICAL, 1 - RATE * SLOPE), (0.055, 0.937), fontsize="small",
                  arrowprops={"arrowstyle": "-", "color": "0.6"})  # fmt: skip
    axes.set(
        xscale="log",
        ylim=(0.932, 1.03),
        yticks=[0.96, 0.98, 1],
        xticks=[0.1, 1, 10],
        xticklabels=[0.1, 1, 10],
    )
    style.label(axes, "One γ converges fastest", "weight γ of R1", "distance: factor a step")
    style.legend(axes, loc="upper left")
    axes = panels[1]
    looks = {"γ = 0.3: turns": "C3", "γ = γ*: fastest": "C2", "γ = 4: creeps": "C4"}
    paths = zip(looks.items(), result.distances, result.halves, strict=True)
    for (text, color), one, half in paths:
        axes.plot(one, color=color, lw=2, alpha=0.5, label=text)
        axes.plot(half, color="0.1", lw=1, ls=":")
    axes.plot([], [], color="0.1", lw=1, ls=":", label="R1 + R2, each at γ/2")
    axes.set(yscale="log", xlim=(0, 400), ylim=(1e-5, 3e3), yticks=[1e-4, 1e-2, 1])
    style.label(axes, "R1 + R2 is R1 doubled", "steps", "distance")
    style.legend(axes, loc="upper right")
    return figure
