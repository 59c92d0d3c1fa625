"""BEGAN's balance: the ratio of the two errors is γ, as long as k stays between 0 and 1.

BEGAN's critic is an autoencoder with error L. It minimises E L(x) − k·E L(G(z)), the generator
E L(G(z)), and a controller keeps the two errors in proportion (Berthelot et al. 2017, sec. 3.4):

    k ← clip(k + λ(γ·E L(x) − E L(G(z))), 0, 1).

Where k rests, and is not clipped, E L(G(z)) = γ·E L(x). It need not rest: add up n steps in which
it is never clipped, and

    mean L(G(z)) = γ·mean L(x) − (k_n − k_0)/(λn),                                (derived here)

so the means are in balance whatever the players do. If k is clipped, nothing holds the balance.

Which γ can be had? Hold the generator, and let the autoencoder project on a line through 0 at angle
a, L(x) = |x|² − (u·x)². A distribution of covariance with trace t, difference of eigenvalues d and
main axis at angle α has E L = (t − d·cos 2(a − α))/2. With the data's axis at 0 and the generator's
at α the critic's optimum is

    2a = arg(d_x − k·d_G·e^{2iα}),                                                (derived here)

which gives the ratio of errors at each k. It rises with k, since a larger k turns the line away
from the samples. So k rests where ratio(k) = γ if γ lies between ratio(0) and ratio(1). Below, k
ends at 0, and above at 1, with the ratio of that end.

Last, a whole BEGAN: the library's autoencoder and generator, both trained.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Held, key_of
from jaxgan import losses, networks

TITLE = "BEGAN's balance"
PARTS = 2
SOURCE = "Berthelot 2017, sec. 3.4"
OURS = "Berthelot 2017, sec. 3.4; derived in began_balance.py"

DATA = (0.7, 0.3)  # variances of the data along the axes
ALONG, ANGLE = 0.4, np.pi / 12  # variance of the held generator along its line, and α
GAMMAS = (0.03, 0.2, 0.3, 0.4, 0.5, 0.8)
HELD_RATE, HELD_STEPS, HELD_BATCH = 0.02, 8000, 128  # λ, updates and batch, generator held
# Four deviations over seeds of the ratio where k is 0, free and 1.
NOISE = {"low": 0.004, "held": 0.003, "high": 0.009}
TRAINED = (0.3, 0.5, 0.7)
RATE, STEPS, BATCH, LAST = 0.02, 5000, 32, 4000  # the same for the whole BEGAN, and what counts


class Projection(nn.Module):
    """An autoencoder of points in the plane: onto the line at angle a through 0, and its error."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, 2]` to the squared distances from the line, `[B]`."""
        a = self.param("a", nn.initializers.zeros, ())
        return (x[:, 1] * jnp.cos(a) - x[:, 0] * jnp.sin(a)) ** 2


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      held: the ratio of mean errors at each of GAMMAS, generator held.
      balance: k there.
      ratios: the ratio at each of TRAINED, both trained.
      paths: k after each update there, `[3, STEPS]`.
    """

    numbers: Numbers
    held: np.ndarray
    balance: np.ndarray
    ratios: np.ndarray
    paths: np.ndarray


def closed_ratio(k: float) -> float:
    """E L(G(z))/E L(x) of the best projection at k, by the formula above."""
    d = DATA[0] - DATA[1]
    turn = np.exp(2j * ANGLE)
    direction = d - k * ALONG * turn
    direction /= abs(direction)
    return ALONG * (1 - (direction * turn.conj()).real) / (sum(DATA) - d * direction.real)


def closed_rest(gamma: float) -> float:
    """The k in [0, 1] where it comes to rest."""
    if gamma <= closed_ratio(0.0):
        return 0.0
    if gamma >= closed_ratio(1.0):
        return 1.0
    return scipy.optimize.brentq(lambda k: closed_ratio(k) - gamma, 0, 1)


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains projections against a held generator, and whole BEGANs, at several γ.

    Args:
      scale: ignored: shorter runs do not come to rest.
      tick: called after each part.
      seed: of samples and networks.
    """
    del scale
    numbers: Numbers = {}
    metrics = hold(key_of(seed))
    errors = {name: metrics[name][:, HELD_STEPS // 2 :] for name in metrics}
    held = errors["fake_error"].mean(axis=1) / errors["real_error"].mean(axis=1)
    balance = errors["k"].mean(axis=1)
    for gamma, ratio, k in zip(GAMMAS, held, balance, strict=True):
        rest = closed_rest(gamma)
        name = "low" if rest == 0 else "high" if rest == 1 else "held"
        numbers[f"began_balance.{name}@gamma={gamma:g}"] = Number(
            f"E L(G(z))/E L(x) at γ = {gamma:g}, generator held",
            OURS, float(closed_ratio(rest)), float(ratio), NOISE[name], "trained",
        )  # fmt: skip
        # Four deviations over seeds, 0.003.
        numbers[f"began_balance.k@gamma={gamma:g}"] = Number(
            f"k at γ = {gamma:g}, generator held",
            OURS, float(rest), float(k), 0.014, "trained",
        )  # fmt: skip
    tick()
    metrics = play(key_of(seed, 1))
    last = {name: metrics[name][:, -LAST:] for name in metrics}
    real, fake = last["real_error"].mean(axis=1), last["fake_error"].mean(axis=1)
    ratios, k = fake / real, last["k"]
    # The metrics hold the k before each update, so that one of LAST is missing between the two.
    drift = (k[:, -1] - k[:, 0]) / (RATE * (LAST - 1) * real)
    for i, gamma in enumerate(TRAINED):
        # Four deviations over seeds; of the sum, half an update's part in LAST.
        numbers[f"began_balance.trained@gamma={gamma:g}"] = Number(
            f"E L(G(z))/E L(x) over {LAST:,} updates at γ = {gamma:g}, both trained",
            SOURCE, gamma, float(ratios[i]), 0.04, "trained",
        )  # fmt: skip
        numbers[f"began_balance.sum@gamma={gamma:g}"] = Number(
            f"the same and (k_n − k_0)/(λn·E L(x)), γ = {gamma:g}",
            OURS, gamma, float(ratios[i] + drift[i]), 2e-4, "trained",
        )  # fmt: skip
    tick()
    return Result(numbers, held, balance, ratios, metrics["k"])


def hold(key: jax.Array) -> dict[str, np.ndarray]:
    """Metrics of projections trained against the held generator, `[GAMMAS, HELD_STEPS]`."""
    line = np.sqrt(ALONG) * np.array([np.cos(ANGLE), np.sin(ANGLE)], np.float32)
    generator = Held(lambda z: z * line, latent_dim=1, data_dim=2)

    def train(key, gamma):
        loss = losses.began(gamma, HELD_RATE)
        model = jaxgan.gan(generator, Projection(), loss, optax.identity(), optax.sgd(0.1))

        def update(state, key):
            data_key, latent_key = jax.random.split(key)
            real = jnp.sqrt(jnp.array(DATA)) * jax.random.normal(data_key, (HELD_BATCH, 2))
            return model.d_step(state, real, latent_key)

        return jax.lax.scan(update, model.init(key), jax.random.split(key, HELD_STEPS))[1]

    metrics = jax.jit(jax.vmap(train, (None, 0)))(key, jnp.array(GAMMAS))
    return {name: np.asarray(value, np.float64) for name, value in metrics.items()}


def play(key: jax.Array) -> dict[str, np.ndarray]:
    """Metrics of whole BEGANs at each of TRAINED, `[TRAINED, STEPS]`."""
    generator, _ = networks.mlp((2,), latent_dim=2, width=16, depth=1)
    critic = networks.autoencoder((2,), latent_dim=1, width=16, depth=1)
    tx = optax.adam(1e-3)

    def train(key, gamma):
        model = jaxgan.gan(generator, critic, losses.began(gamma, RATE), tx, tx, 1)

        def update(state, key):
            real = jnp.sqrt(jnp.array(DATA)) * jax.random.normal(key, (1, BATCH, 2))
            return model.step(state, real)

        return jax.lax.scan(update, model.init(key), jax.random.split(key, STEPS))[1]

    metrics = jax.jit(jax.vmap(train, (None, 0)))(key, jnp.array(TRAINED))
    return {name: np.asarray(value, np.float64) for name, value in metrics.items()}


def draw(result: Result):
    """The ratio of errors over γ, and k in training."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"BEGAN: $k \leftarrow clip(k + \lambda(\gamma L(x) - L(G)), 0, 1)$",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    low, high = closed_ratio(0.0), closed_ratio(1.0)
    axes.plot([0, low, high, 1], [low, low, high, high], **style.CLOSED_FORM, label="closed form")
    axes.plot(GAMMAS, result.held, **style.DOT, color=style.CRITIC, label="G held")
    axes.plot(TRAINED, result.ratios, "x", color=style.MINIMAX, label="both trained")
    axes.plot([0, 1], [0, 1], color="0.85", lw=0.8, zorder=0)
    axes.text(0.13, 0.06, "k = 0", fontsize="small", color="0.4")
    axes.text(0.8, high - 0.07, "k = 1", fontsize="small", color="0.4")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    style.legend(axes, loc="upper left")
    style.label(axes, "Where k is free, ratio = γ", "γ", "ratio E L(G(z)) / E L(x)")
    axes = panels[1]
    for gamma, path, color in zip(TRAINED, result.paths, ("0.1", "0.4", "0.7"), strict=True):
        axes.plot(path, color=color, lw=1.2, label=f"γ = {gamma:g}")
    axes.set(ylim=(0, 1.15), yticks=[0, 0.5, 1], xticks=[0, 2500, 5000])
    style.legend(axes, labelspacing=0.1, loc="upper right")
    style.label(axes, "Both trained: k settles", "iterations", "k")
    return figure
