"""Spectral normalisation: layers of norm 1, and what a critic made of them can certify.

Each kernel W is divided by its largest singular value σ(W), so that ‖f‖_Lip is at most the product
of all σ(W/σ(W)), which is 1 (Miyato 2018, eq. 7 and 8). σ(W) is estimated by a power iteration, one
step an update: u = Wv/|Wv|, then v = Wᵀu/|Wᵀu|, and σ̂ = uᵀWv (eq. 18 and 19). From v = Σ c_i v_i,
v_i the right singular vectors, t steps lead to v in proportion to Σ c_i σ_i^{2t} v_i, hence to

    σ̂_t = √(Σ c_i² σ_i^{4t} / Σ c_i² σ_i^{4t−2}) ≤ σ_1.              (Derived here.)

A critic whose slopes are at most 1 certifies E_p f − E_q f ≤ W₁(p, q). Trained on that difference
alone, without clipping and without a penalty:

  * a shift by δ has the best critic f = ⟨e, x⟩, e its direction. A linear critic finds δ, and so
    does one with ReLU, whose biases can keep its units from folding;
  * samples at 0 and data at ±e, half each, have W₁ = 1 by f = |⟨e, x⟩|, which folds. A ReLU critic
    with one hidden layer Σ a_i ReLU(⟨w_i, x⟩ + b_i) finds half of that. Each unit adds to
    ½(f(e) + f(−e)) − f(0) at most ½|a_i⟨w_i, e⟩|, at b_i = 0. Both |a| and the norm of (⟨w_i, e⟩)_i
    are at most 1, so that by Cauchy and Schwarz the sum is at most ½. (Derived here.) More layers
    can find more, and none finds 1: where layers of norm 1 fold, they lose slope (Anil et al. 2019,
    Sorting out Lipschitz function approximation, theorem 1).

What a critic certifies is taken with σ by SVD: σ̂ lags, and a norm above 1 would certify too much.
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
from claims.training import Affine, decaying_adam, key_of, place, train_critic
from jaxgan import losses, networks
from jaxgan.networks.wrappers import VECTORS, normalise

TITLE = "Spectral normalisation"
PARTS = 4

ITERATIONS = (1, 2, 4, 8, 16, 32)
SHAPE = (64, 32)
SHIFTS = (0.5, 1.0, 2.0, 4.0)
DIRECTION = np.array([0.6, 0.8])  # e
DEPTHS = (1, 2)
DISTANCES = {"shift": 2.0, "fold": 1.0}  # W₁ of the two pairs
BATCH = 64
SOURCE = "Miyato 2018, eq. 7 and 8"


class Linear(nn.Module):
    """f(x) = ⟨w, x⟩ + b."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, D]` to `[B]`."""
        return nn.Dense(1)(x)[:, 0]


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      estimates: σ̂/σ at each iteration, by the library and by the singular values, `[2, t]`.
    """

    numbers: Numbers
    estimates: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Follows the power iteration, and trains normalised critics, linear and with ReLU.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the matrix, the first weights, the data and the samples.
    """
    estimates = iterate(key_of(seed, 1))
    numbers = {
        # Rounding of a product of 64 terms, in float32.
        f"spectral_norm.iteration@t={t}": Number(
            f"σ̂/σ after {t} iterations on a Gaussian matrix of {SHAPE[0]} by {SHAPE[1]}",
            "Miyato 2018, eq. 18 and 19; derived here",
            float(estimates[1, t - 1]), float(estimates[0, t - 1]), 2e-6, "algebra",
        )
        for t in ITERATIONS
    }  # fmt: skip
    tick()
    steps = int(1200 * scale)
    found, _ = certify(Linear(), [(s, 1.0, 0.0) for s in SHIFTS], key_of(seed, 2), steps)
    for shift, value in zip(SHIFTS, found, strict=True):
        numbers[f"spectral_norm.linear@delta={shift:g}"] = Number(
            f"E f(real) − E f(fake) of a linear critic, N({shift:g}e, I) and N(0, I): δ",
            SOURCE, shift, float(value), 1e-3, "trained",
        )  # fmt: skip
    tick()
    for depth in DEPTHS:
        _, critic = networks.mlp((2,), 2, width=32, depth=depth)
        cases = [(DISTANCES["shift"], 1.0, 0.0), (DISTANCES["fold"], 0.0, 1.0)]
        found, norms = certify(critic, cases, key_of(seed, 2 + depth), steps)
        numbers |= numbers_of_depth(depth, found, norms)
        tick()
    return Result(numbers, estimates)


def numbers_of_depth(depth: int, found: np.ndarray, norms: np.ndarray) -> Numbers:
    """The numbers of ReLU critics of some hidden layers."""
    layers = f"{depth} hidden layer{'s' * (depth > 1)}"
    return {
        # The iteration turns slowly where the second singular value passes the first: 0.001 at
        # most over seeds, and 0.037 in one of four shorter runs.
        f"spectral_norm.lag.depth={depth}": Number(
            f"largest σ/σ̂ − 1 of a kernel as training ends, σ by SVD, {layers}",
            SOURCE, 0.0, float(norms.max() - 1), 1e-5 if depth == 1 else 0.05, "trained",
        ),
        f"spectral_norm.shift.depth={depth}": Number(
            f"E f(real) − E f(fake) of a ReLU critic, N(2e, I) and N(0, I): δ, {layers}",
            SOURCE, DISTANCES["shift"], float(found[0]), 0.001, "trained",
        ),
        # Above one layer we know W₁ as the bound, and half of it, which one layer finds.
        f"spectral_norm.fold.depth={depth}": Number(
            f"E f(real) − E f(fake) of a ReLU critic, data at ±e, samples at 0, {layers}",
            "derived here" if depth == 1 else SOURCE, 0.5 if depth == 1 else 1.0, float(found[1]),
            1e-4 if depth == 1 else 0.5, "trained", ceiling=depth > 1,
        ),
    }  # fmt: skip


def iterate(key: jax.Array) -> np.ndarray:
    """σ̂/σ of a random matrix, by the library's iteration and by the formula above, `[2, t]`."""
    matrix = jax.random.normal(key, SHAPE)
    start = jnp.ones(SHAPE[1]) / np.sqrt(SHAPE[1])
    vectors, found = {"['kernel']": start}, []
    for _ in range(max(ITERATIONS)):
        normalised, vectors = jax.jit(normalise)({"kernel": matrix}, vectors)
        found.append(jnp.linalg.norm(matrix) / jnp.linalg.norm(normalised["kernel"]))
    _, sigma, rows = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    ratio, squares = sigma / sigma[0], (rows @ np.asarray(start, np.float64)) ** 2
    t = np.arange(1, max(ITERATIONS) + 1)[:, None]
    above, below = ((squares * ratio**power).sum(axis=1) for power in (4 * t, 4 * t - 2))
    return np.stack([np.array(found) / sigma[0], np.sqrt(above / below)])


def certify(
    critic: nn.Module, cases: list[tuple[float, float, float]], key: jax.Array, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a normalised critic by `d_step` in each case.

    Args:
      critic: what is normalised.
      cases: how far along e the data lie, all deviations, and whether half the data lie opposite.
      key: for the critic's first weights, the data and the samples.
      steps: how many updates.

    Returns:
      E f(real) − E f(fake) for each case, and σ/σ̂ of its kernels, 1 for its biases, `[n, k]`.
    """
    loss = losses.wgan(clip=1e6)  # so far out that nothing is clipped
    model = jaxgan.gan(
        *(Affine(2), networks.spectral_norm(critic), loss),
        *(optax.identity(), decaying_adam(1e-2, steps)),
    )

    def run(case):
        distance, deviation, folds = case
        keys = jax.random.split(key, 3)

        def draw(key, n):
            side = jnp.where(folds == 1, 1 - 2 * (jnp.arange(n) % 2), 1)
            noise = deviation * jax.random.normal(key, (n, 2))
            return noise + distance * side[:, None] * DIRECTION

        state = place(model.init(keys[0]), jnp.zeros(2), scale=deviation)
        state, _ = train_critic(model, state, draw, keys[1], steps, BATCH)
        player = state.critic
        seen, _ = normalise(player.params, player.stats[VECTORS])

        def norm(kernel):
            return jnp.linalg.norm(kernel, 2) if kernel.ndim > 1 else jnp.ones(())

        norms = jax.tree.map(norm, seen)
        exact = jax.tree.map(jnp.divide, seen, norms)
        # The same noise in both, so that none is left in their difference.
        real = draw(keys[2], 4096)
        fake = deviation * jax.random.normal(keys[2], (4096, 2))
        fn = functools.partial(critic.apply, {"params": exact})
        metrics = loss.critic(fn, real, fake, key)[1]
        return metrics["wasserstein"], jnp.stack(jax.tree.leaves(norms))

    found, norms = jax.jit(lambda rows: jax.lax.map(run, rows))(jnp.asarray(cases))
    return np.asarray(found), np.asarray(norms)


def draw(result: Result):
    """The power iteration's error, and the share of W₁ that critics certify."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$\bar W = W/\sigma(W)$:  every layer has norm 1", width=style.NARROW
    )
    axes = panels[0]
    t = np.arange(1, result.estimates.shape[1] + 1)
    axes.plot(t, 1 - result.estimates[1], **style.CLOSED_FORM, label="closed form")
    shown = np.array(ITERATIONS) - 1
    library = 1 - result.estimates[0, shown]
    axes.plot(t[shown], library, **style.DOT, color=style.CRITIC, label="library")
    axes.set(xscale="log", yscale="log", xticks=ITERATIONS, xticklabels=ITERATIONS)
    axes.minorticks_off()
    style.label(axes, "Power iteration finds σ", "iterations t", "1 − σ̂/σ")
    style.legend(axes)
    axes = panels[1]
    for name, linear, color, marker, text in (
        ("shift", result.numbers["spectral_norm.linear@delta=2"].measured, style.CRITIC, "o",
         "a shift, best f linear"),
        ("fold", 0.0, "C1", "s", "±e to 0, best f = |x|"),  # 0 for any linear f
    ):  # fmt: skip
        deeper = [result.numbers[f"spectral_norm.{name}.depth={d}"].measured for d in DEPTHS]
        shares = np.array([linear, *deeper]) / DISTANCES[name]
        axes.plot((0, *DEPTHS), shares, color=color, marker=marker, lw=1, label=text)
    axes.plot([0.8, 1.2], [0.5, 0.5], **style.CLOSED_FORM)
    axes.axhline(1, **style.CLOSED_FORM, label="closed form")
    axes.set(ylim=(-0.05, 1.65), xlim=(-0.3, 2.3), xticks=(0, *DEPTHS), yticks=[0, 0.5, 1])
    axes.set_xticklabels(["0", *DEPTHS])
    style.label(axes, "Share of W₁ found", "hidden ReLU layers")
    style.legend(axes, loc="upper right")
    return figure
