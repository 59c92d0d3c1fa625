"""Kantorovich-Rubinstein duality: W₁(p, q) = sup over 1-Lipschitz f of E_p f − E_q f.

A critic that is kept 1-Lipschitz therefore estimates W₁ (Arjovsky 2017, eq. 2). Keeping it so with
a penalty of finite weight λ has a bias of its own. On the line, with distribution functions P and
Q and r the density of the penalty's points x̂, an increasing critic's loss (Gulrajani 2017, eq. 3),
integrated by parts, is

    −∫ (Q − P) f' dx + λ ∫ r (f' − 1)² dx   (P ≤ Q: the data lie to the right),

least at f' = 1 + (Q − P)/(2λr) at each x on its own, where the estimate is

    W₁ + ∫ (Q − P)²/(2λr) dx.

Two points a distance δ apart have Q − P = 1 and r = 1/δ between them: the slope is 1 + δ/(2λ), too
steep by a share that vanishes as λ grows. (Derived here; the papers do not give it.)
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import (
    Held,
    decaying_adam,
    key_of,
    pick,
    scores,
    to_uniform,
    train_in_stages,
)
from jaxgan import divergences, losses, networks

TITLE = "Kantorovich–Rubinstein duality"

WEIGHTS = (1.0, 100.0)  # λ of the estimates, in stages; the bias is measured at all of PENALTIES
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
SHIFT = 2.0
SAMPLES = 50_000  # of either, that an estimate is taken from at the end
PARTS = 6


class Pair(NamedTuple):
    """Two distributions with a known W₁.

    Attributes:
      text: what they are.
      w1: the distance.
      why: the argument for it in a few words.
      spread: how widely the critic's scores lie, the standard deviation of both together, about.
      draw: the data.
      generator: the other one.
    """

    text: str
    w1: float
    why: str
    spread: float
    draw: object
    generator: Held


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      curves: for each pair, W₁ and its estimate in each update's batch.
    """

    numbers: Numbers
    curves: dict[str, tuple[float, np.ndarray]]


def make_pairs() -> dict[str, Pair]:
    """Two shifts, a contraction, and two point clouds."""
    cloud = jax.random.normal(jax.random.key(10), (64, 2)) / 2 + jnp.array([1.0, 0.0])
    other = jax.random.uniform(jax.random.key(11), (64, 2), minval=-1)
    shift = jnp.array([1.2, 1.6])
    corner = (np.sqrt(2) + np.arcsinh(1)) / 3  # E|x| over the square [−1, 1]²

    def normal(mean, dimension):
        return lambda key, n: mean + jax.random.normal(key, (n, dimension))

    return {
        "gaussians_1d": Pair(
            "N(2, 1) and N(0, 1)", 2.0, "the shift", 1.0,
            normal(SHIFT, 1), Held(lambda z: z, 1, 1),
        ),
        "gaussians_2d": Pair(
            "N((1.2, 1.6), I) and N(0, I)", 2.0, "the shift", 1.0,
            normal(shift, 2), Held(lambda z: z, 2, 2),
        ),
        # f(x) = |x| attains what moving each x to 0.4·x costs, so that both are optimal.
        "squares": Pair(
            "U[−1, 1]² and U[−0.4, 0.4]²", 0.6 * corner, "0.6·E|x|", 0.22,
            lambda key, n: jax.random.uniform(key, (n, 2), minval=-1),
            Held(lambda z: 0.4 * (2 * to_uniform(z) - 1), 2, 2),
        ),
        "clouds": Pair(
            "two clouds of 64 points",
            float(divergences.earth_movers_distance(cloud, other)), "exact transport", 0.5,
            lambda key, n: jax.random.choice(key, cloud, (n,)),
            Held(lambda z: pick(other, z[:, 0]), 1, 2),
        ),
    }  # fmt: skip


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0, penalties=PENALTIES) -> Result:
    """Trains critics under the penalty.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the critics, the data and the latents.
      penalties: the λ at which the bias is measured, increasing.
    """
    numbers, curves = {}, {}
    for name, pair in make_pairs().items():
        curve, estimates = estimate_w1(pair, WEIGHTS, int(1500 * scale), seed, width=64)
        numbers[f"duality.{name}"] = Number(
            f"critic's estimate of W₁, {pair.text} ({pair.why}), λ = {WEIGHTS[-1]:g}",
            "Arjovsky 2017, eq. 2; Gulrajani 2017, eq. 3",
            pair.w1,
            float(estimates[-1]),
            # The penalty's bias, see below, 1% for the Gaussians; and four standard errors.
            0.01 * pair.w1 / scale + 4 * pair.spread * np.sqrt(2 / SAMPLES),
            "trained",
        )
        curves[name] = (pair.w1, curve)
        tick()
    return Result(numbers | measure_bias(penalties, scale, tick, seed), curves)


def estimate_w1(
    pair: Pair, penalties: Sequence[float], steps: int, seed: int, width: int, depth: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a critic by `d_step` under one λ after another.

    Returns:
      E f(real) − E f(fake) in the batch of each update, `[len(penalties) · steps]`, and at the end
      of each stage on SAMPLES of each, `[len(penalties)]`.
    """
    generator = pair.generator
    _, critic = networks.mlp((generator.data_dim,), 1, width=width, depth=depth)
    model_losses = [losses.wgan_gp(penalty) for penalty in penalties]
    models = [
        jaxgan.gan(generator, critic, loss, optax.identity(), decaying_adam(5e-3, steps))
        for loss in model_losses
    ]

    @jax.jit
    def run(keys):
        state = models[0].init(keys[0])
        stages = train_in_stages(models, state, pair.draw, keys[1], steps, batch_size=256)
        real, fake = pair.draw(keys[2], SAMPLES), models[0].sample(state, keys[3], SAMPLES)
        # The loss's own metric, on fresh samples.
        finals = [
            loss.critic(functools.partial(scores, critic, state), real, fake, keys[4])[1]
            for loss, (state, _) in zip(model_losses, stages, strict=True)
        ]
        curve = jnp.concatenate([metrics["wasserstein"] for _, metrics in stages])
        return curve, jnp.stack([final["wasserstein"] for final in finals])

    curve, estimates = run(jax.random.split(key_of(seed), 5))
    return np.asarray(curve), np.asarray(estimates)


def measure_bias(penalties: Sequence[float], scale: float, tick, seed: int) -> Numbers:
    """The slope between two points, and the estimate between two Gaussians, at each λ."""
    points = Pair(
        "points",
        SHIFT,
        "",
        0.0,
        lambda key, n: jnp.full((n, 1), SHIFT),
        Held(lambda z: 0 * z, 1, 1),
    )
    _, between_points = estimate_w1(points, penalties, int(500 * scale), seed, width=32, depth=2)
    tick()
    gaussians = make_pairs()["gaussians_1d"]
    _, between_gaussians = estimate_w1(
        gaussians, penalties, int(1200 * scale), seed, width=32, depth=2
    )
    tick()
    numbers, source = {}, "Gulrajani 2017, eq. 3, minimised"
    for i, penalty in enumerate(penalties):
        closed = gaussian_estimate(penalty)
        numbers |= {
            # Points have no sampling noise: what is left is the optimizer's, 2e-4 for λ = 1, and
            # less the stiffer the penalty.
            f"duality.slope@lambda={penalty:g}": Number(
                f"critic's slope between two points {SHIFT:g} apart, λ = {penalty:g}: 1 + δ/(2λ)",
                source,
                1 + SHIFT / (2 * penalty),
                float(between_points[i]) / SHIFT,
                1e-3 / penalty**0.5 / scale,
                "trained",
            ),
            # Where a Gaussian has no samples left the critic cannot learn its steepest parts: of
            # what the slopes are above 1 it misses 4%. And four standard errors of the samples.
            f"duality.gaussians@lambda={penalty:g}": Number(
                f"critic's estimate of W₁ = 2, N(2, 1) and N(0, 1), λ = {penalty:g}, with its bias",
                source,
                closed,
                float(between_gaussians[i]),
                0.08 * (closed - SHIFT) / scale + 4 * np.sqrt(2 / SAMPLES),
                "trained",
            ),
        }
    return numbers


def optimal_slope(x: np.ndarray, shift: float, penalty: float) -> np.ndarray:
    """1 + (Q − P)/(2λr) at x, for N(shift, 1) against N(0, 1)."""
    # x̂ = ε·real + (1 − ε)·fake is, for each ε, normal.
    epsilon = np.linspace(0, 1, 501)[:, None]
    r = norm.pdf(x, epsilon * shift, np.sqrt(epsilon**2 + (1 - epsilon) ** 2)).mean(axis=0)
    return np.asarray(1 + (norm.cdf(x) - norm.cdf(x - shift)) / (2 * penalty * r))


def gaussian_estimate(penalty: float) -> float:
    """W₁ + ∫ (Q − P)²/(2λr) dx for N(SHIFT, 1) against N(0, 1), on a grid."""
    x, dx = np.linspace(-8, 10, 4001, retstep=True)
    gap = norm.cdf(x) - norm.cdf(x - SHIFT)
    return float(np.sum(gap * optimal_slope(x, SHIFT, penalty)) * dx)


def draw(result: Result):
    """Estimates over training, and the penalty's bias against λ."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.4, r"$W_1(p, q) = \sup_{f\ 1-Lipschitz}\ E_p f - E_q f$, estimated by critics",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    texts = {
        "gaussians_1d": "Gaussians, 1-D",
        "gaussians_2d": "Gaussians, 2-D",
        "squares": "squares",
        "clouds": "point clouds",
    }
    for i, (name, (w1, curve)) in enumerate(result.curves.items()):
        final = result.numbers[f"duality.{name}"].measured / w1
        averaged = np.convolve(curve / w1, np.ones(20) / 20, mode="valid")
        axes.plot(
            averaged, color=f"C{i}", lw=(2.5, 1, 1, 1)[i], label=f"{texts[name]}: {final:.3f}"
        )
    axes.axhline(1, **style.CLOSED_FORM)
    axes.axvline(len(curve) / 2, color="0.8", lw=0.8, zorder=0)
    for stage, weight in enumerate(WEIGHTS):
        axes.text((stage + 0.5) * len(curve) / 2, 2.35, f"λ = {weight:g}", ha="center",
                  fontsize="small")  # fmt: skip
    axes.set(ylim=(-0.9, 2.6), yticks=[0, 1, 2])
    style.label(axes, "Four pairs of known W₁", "critic updates", "estimate / W₁")
    style.legend(axes, loc="lower right")

    axes = panels[1]
    fine = np.geomspace(PENALTIES[0], PENALTIES[-1], 50)
    for name, color, marker, text, closed in (
        ("slope", "C3", "s", "points: 1 + δ/(2λ)", 1 + SHIFT / (2 * fine)),
        ("gaussians", "C0", "x", "Gaussians: integral",
         [gaussian_estimate(v) / SHIFT for v in fine]),
    ):  # fmt: skip
        measured = [result.numbers[f"duality.{name}@lambda={v:g}"].measured for v in PENALTIES]
        scale = 1 if name == "slope" else SHIFT
        axes.plot(fine, closed, **style.CLOSED_FORM | {"color": color})
        axes.plot(PENALTIES, np.array(measured) / scale, marker, color=color, label=text,
                  markersize=8, markerfacecolor="none")  # fmt: skip
    axes.axhline(1, color="0.8", lw=0.8, zorder=0)
    axes.set_xscale("log")
    style.label(axes, f"The penalty's bias, δ = {SHIFT:g}", "weight λ of the penalty",
                "estimate / W₁")  # fmt: skip
    style.legend(axes)

    return figure
