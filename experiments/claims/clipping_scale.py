"""What a clipped critic estimates: K·W₁, with a K of its own.

A critic whose weights lie in [−c, c] is K-Lipschitz for some K, so that E f(x) − E f(G(z)) is at
most K·W₁, and its generator's gradient is K times too large or too small (Arjovsky 2017, eq. 3 and
Algorithm 1; "if c is large … if it is small …").

For one layer of h ReLU units on the line K is at most h·c², where all weights are ±c and all units
active, a unit being worth c² if its two weights have the same sign. A unit of the other sort is
pushed until it is dead, before a sign changes, so that

    K = c²·(units with the right signs at the start), about h·c²/2.

L layers have K at most c·(h·c)^L, and in proportion to c^(L+1). (Derived here.)

The data are U[−1/4, 1/4] shifted by δ/2, the generator the same shifted by −δ/2: W₁ = δ.
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
from claims.training import Held, place, scores, to_uniform, train_critic
from jaxgan import losses, networks

TITLE = "What a clipped critic estimates"

CLIPS = (0.01, 0.03, 0.1)
HIDDEN = 32
DEPTHS = (1, 2)
SHIFTS = np.array([0.25, 0.5, 0.75, 1.0])
PARTS = len(CLIPS) * len(DEPTHS)


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      estimates: for each depth, `[clips, shifts]`.
      units: of the one-layer critic, those with the right signs at the start.
    """

    numbers: Numbers
    estimates: dict[int, np.ndarray]
    units: int


def measure(scale: float = 1.0, tick=lambda: None, clips=CLIPS) -> Result:
    """Trains clipped critics at each c, depth and distance.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      clips: the values of c.
    """
    units = units_with_right_signs()
    estimates: dict[int, np.ndarray] = {}
    for depth in DEPTHS:
        rows = []
        for clip in clips:
            rows.append(train_clipped(clip, depth, int(1000 * scale)))
            tick()
        estimates[depth] = np.stack(rows)
    factors = {depth: factor_of(rows) for depth, rows in estimates.items()}
    numbers = {}
    for clip, factor, row in zip(clips, factors[1], estimates[1], strict=True):
        numbers |= {
            # All weights end at ±c. One unit more may survive, since the larger c, the less the
            # first weights are clipped, and the sooner they change sign.
            f"clipping_scale.factor@c={clip:g}": Number(
                f"K where the estimate is K·W₁, one hidden layer, c = {clip:g}: c² a unit",
                "Arjovsky 2017, eq. 3 and Algorithm 1",
                units * clip**2,
                float(factor),
                0.1 * units * clip**2,
            ),
            f"clipping_scale.proportional@c={clip:g}": Number(
                f"largest deviation of the estimate from K·W₁, relative, c = {clip:g}",
                "Arjovsky 2017, eq. 3",
                0.0,
                float(np.abs(row / (factor * SHIFTS) - 1).max()),
                0.01,
            ),
        }
    for depth in DEPTHS:
        exponent = np.polyfit(np.log(clips), np.log(factors[depth]), 1)[0]
        numbers[f"clipping_scale.exponent.{depth}_layers"] = Number(
            f"exponent of c in K, hidden layers: {depth}",
            "Arjovsky 2017, eq. 3 and Algorithm 1",
            depth + 1.0,
            float(exponent),
            0.1 * depth,  # the surviving units again
        )
    return Result(numbers, estimates, units)


def factor_of(estimates: np.ndarray) -> np.ndarray:
    """The slope through 0 of estimates `[clips, shifts]` over the shifts, `[clips]`."""
    return estimates @ SHIFTS / np.sum(SHIFTS**2)


def units_with_right_signs() -> int:
    """Units of the one-layer critic whose two weights, at the start, have the same sign."""
    _, model = make_model(CLIPS[0], depth=1, steps=1)
    params = model.init(jax.random.key(0)).critic.params
    return int(jnp.sum(params["Dense_0"]["kernel"][0] * params["Dense_1"]["kernel"][:, 0] > 0))


def make_model(clip: float, depth: int, steps: int):
    """The critic, and a WGAN whose generator is U[−1/4, 1/4], shifted."""
    _, critic = networks.mlp((1,), 1, width=HIDDEN, depth=depth)
    generator = Held(lambda z: to_uniform(z) / 2 - 0.25, latent_dim=1)
    # Every weight must travel a few times ±c: the learning rate is in units of c.
    tx = optax.rmsprop(optax.cosine_decay_schedule(clip / 10, steps), decay=0.9, eps_in_sqrt=False)
    return critic, jaxgan.gan(generator, critic, losses.wgan(clip), optax.identity(), tx)


def train_clipped(clip: float, depth: int, steps: int) -> np.ndarray:
    """Estimates after training by `d_step` at each of SHIFTS, on quantiles, `[shifts]`."""
    critic, model = make_model(clip, depth, steps)
    state = model.init(jax.random.key(0))
    quantiles = (jnp.arange(1000)[:, None] + 0.5) / 2000 - 0.25

    def train(shift):
        def draw_data(key, n):
            return jax.random.uniform(key, (n, 1)) / 2 - 0.25 + shift / 2

        started = place(state, -shift[None] / 2)
        trained, _ = train_critic(model, started, draw_data, jax.random.key(1), steps, 128)
        critic_fn = functools.partial(scores, critic, trained)
        real, fake = quantiles + shift / 2, quantiles - shift / 2
        _, metrics = losses.wgan(clip).critic(critic_fn, real, fake, jax.random.key(2))
        return metrics["wasserstein"]

    return np.asarray(jax.jit(jax.vmap(train))(jnp.asarray(SHIFTS, jnp.float32)))


def draw(result: Result):
    """Estimates against W₁ for each c, and K against c."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.2, r"Weights clipped to $[-c, c]$: the estimate is $K \cdot W_1$"
    )
    axes = panels[0]
    for i, (clip, row) in enumerate(zip(CLIPS, result.estimates[1], strict=True)):
        color = ("C6", "C4", "C3")[i]
        axes.plot(SHIFTS, result.units * clip**2 * SHIFTS, **style.CLOSED_FORM | {"color": color})
        axes.plot(SHIFTS, row, **style.DOT, color=color, label=f"c = {clip:g}")
    axes.plot(SHIFTS, SHIFTS, color="0.8", lw=1, zorder=0)
    axes.text(SHIFTS[1], 0.7 * SHIFTS[0] * 2, "W₁ itself", fontsize="x-small", color="0.5",
              ha="left", va="top")  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(2e-4, 2), xticks=SHIFTS, xticklabels=SHIFTS)
    axes.minorticks_off()
    style.label(axes, "One hidden layer: in proportion to W₁", "W₁ = δ", "critic's estimate")
    style.legend(axes, loc="lower right", ncols=3)
    axes = panels[1]
    fine = np.geomspace(CLIPS[0], CLIPS[-1], 50)
    for depth, color in zip(DEPTHS, ("C0", "C1"), strict=True):
        factors = factor_of(result.estimates[depth])
        closed = result.units * fine**2
        text = f"1 hidden layer; line: {result.units} units · c²"
        if depth > 1:
            closed = factors[-1] * (fine / fine[-1]) ** (depth + 1)
            text = f"{depth} hidden layers; line: ∝ c$^{depth + 1}$"
        axes.plot(fine, closed, **style.CLOSED_FORM | {"color": color})
        axes.plot(CLIPS, factors, **style.DOT, color=color, label=text)
    axes.set(xscale="log", yscale="log")
    style.label(axes, "The factor depends on c and on the network", "clipping bound c", "K")
    style.legend(axes)
    return figure
