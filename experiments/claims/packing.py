"""Packing: a discriminator that sees m samples at once notices what one sample cannot show.

Data p uniform on [0, 1], and two generators as far from it: q_1, uniform on [τ, 1], never makes
[0, τ], so that TV(p, q_1) = τ; q_2 has density 1 − 2τ on the left half and 1 + 2τ on the right one,
so that TV(p, q_2) = τ as well, but nothing is missing. (To lack a part of the data is what Lin et
al. 2018, PacGAN, sec. 4, call mode collapse, and they compare such pairs.)
PacGAN's discriminator sees m samples, all data or all generated, so that it compares the products
p^m and q^m. Derived here:

  * q_1^m ≥ p^m on [τ, 1]^m and q_1^m = 0 elsewhere: TV(p^m, q_1^m) = 1 − (1 − τ)^m. That is the
    most that any q of TV(p, q) = τ can have;
  * the likelihood ratio of q_2^m depends on how many of the m are in the left half, which is
    binomial: TV(p^m, q_2^m) = TV(Bin(m, 1/2), Bin(m, 1/2 − τ)).

So the two are alike for m = 1, and packing tells the one that collapsed apart sooner. The trained
discriminators are the library's `networks.packed` with the hinge loss, whose least value is
2 − 2·TV: what they certify on fresh samples is a lower bound on TV.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import binom

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import decaying_adam, key_of, put, scores, to_uniform, train_critic
from jaxgan import distances, losses, networks

TITLE = "Packing"
PARTS = 2
SOURCE = "Lin 2018, sec. 4"

TAU = 0.2
PACKS = range(1, 11)
TRAINED = (1, 3)
FRESH = 300_000  # samples to certify with, of data and of each generator
# Quantile functions, two straight lines: from (0, start) to (share, middle) to (1, 1).
QUANTILES = {"collapsed": (TAU, 0.5, (1 + TAU) / 2), "spread": (0.0, 0.5 - TAU, 0.5)}


class Quantile(nn.Module):
    """A generator whose quantile function is two straight lines, its parameters."""

    latent_dim: int = 1

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps standard normal latents `[B, 1]` to samples `[B, 1]`."""
        start, share, middle = self.param("line", nn.initializers.constant(0.5), (3,))
        u = to_uniform(z)
        lower = start + (middle - start) * jnp.minimum(u / share, 1)
        return lower + (1 - middle) * jnp.maximum(u - share, 0) / (1 - share)


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      certified: TV of packs of each of TRAINED, by generator.
    """

    numbers: Numbers
    certified: dict[str, np.ndarray]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Computes TV of packs, and trains discriminators on packs.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of networks, data and latents.
    """
    numbers = measure_products()
    tick()
    certified = {name: [] for name in QUANTILES}
    for m in TRAINED:
        values = certify(m, int(4000 * scale), jax.random.split(key_of(seed, m), 4))
        for name, value in zip(QUANTILES, values, strict=True):
            certified[name].append(float(value))
            closed = closed_form(name, m)
            # Four standard deviations of shares of FRESH/m packs; and up to 0.02 short of the best,
            # whose boundary has corners that a small network rounds.
            numbers[f"packing.certified.{name}@m={m}"] = Number(
                f"TV certified by a discriminator of packs of {m}, {name} generator",
                f"{SOURCE}; Miyato 2018, eq. 16", closed, float(value),
                float(4 * np.sqrt(0.5 * m / FRESH)) + 0.02, "trained",
            )  # fmt: skip
    tick()
    return Result(numbers, {name: np.array(values) for name, values in certified.items()})


def closed_form(name: str, m: int) -> float:
    """TV(p^m, q^m)."""
    if name == "collapsed":
        return 1 - (1 - TAU) ** m
    k = np.arange(m + 1)
    return float(np.abs(binom.pmf(k, m, 0.5) - binom.pmf(k, m, 0.5 - TAU)).sum() / 2)


def measure_products() -> Numbers:
    """TV of p^m and q^m, as sums over all cells of a cube, which both make exact."""
    numbers = {}
    for name, (start, share, middle) in QUANTILES.items():
        q = np.diff(np.interp(np.linspace(0, 1, 11), [start, middle, 1], [0, share, 1]))
        p = np.full(10, 0.1)
        p_m = q_m = np.ones(())
        for m in range(1, 6):
            p_m, q_m = (np.multiply.outer(a, b) for a, b in ((p_m, p), (q_m, q)))
            found = distances.total_variation(p_m.ravel(), q_m.ravel())
            # Rounding, in float32, of up to 10⁵ terms.
            numbers[f"packing.tv.{name}@m={m}"] = Number(
                f"TV of packs of {m} and data, {name} generator, over 10^{m} cells",
                SOURCE, closed_form(name, m), float(found), 1e-6, "algebra",
            )  # fmt: skip
    return numbers


@functools.partial(jax.jit, static_argnames=("m", "steps"))
def certify(m: int, steps: int, keys: jax.Array) -> jax.Array:
    """Trains a discriminator of packs of m against each of QUANTILES.

    Returns:
      How much more often it takes fresh packs of data for data than packs of samples, `[2]`.
    """
    _, critic = networks.mlp((m,), 1, width=32, depth=2)
    packed = networks.packed(critic, m)
    tx = decaying_adam(5e-3, steps)
    model = jaxgan.gan(Quantile(), packed, losses.hinge(), optax.identity(), tx, ema_decay=0)
    state = model.init(keys[0])

    def draw(key, n):
        return jax.random.uniform(key, (n, 1))

    def train(line):
        held = put(state, {"line": line})
        trained, _ = train_critic(model, held, draw, keys[1], steps, batch_size=256 * m)
        real, fake = (
            a.reshape(-1, m) for a in (draw(keys[2], FRESH), model.sample(held, keys[3], FRESH))
        )
        taken = [jnp.mean(scores(critic, trained, packs) > 0) for packs in (real, fake)]
        return taken[0] - taken[1]

    return jax.lax.map(train, jnp.array(list(QUANTILES.values())))


def draw(result: Result):
    """The two generators, and TV of packs over their size."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$\mathrm{TV}(p, q_1) = \mathrm{TV}(p, q_2)$, but "
        r"$\mathrm{TV}(p^m, q_1^m) > \mathrm{TV}(p^m, q_2^m)$", width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    colors = {"collapsed": "C3", "spread": "C0"}
    axes.stairs([1.0], [0, 1], color=style.DATA, ls=":", lw=1.5, label="data, p")
    axes.stairs([0, 1 / (1 - TAU)], [0, TAU, 1], color=colors["collapsed"], lw=2,
                label=r"$q_1$: a part is missing")  # fmt: skip
    axes.stairs([1 - 2 * TAU, 1 + 2 * TAU], [0, 0.5, 1], color=colors["spread"], lw=2,
                label=r"$q_2$: none is")  # fmt: skip
    axes.set(ylim=(0, 2.5), xticks=[0, 0.2, 0.5, 1])
    style.label(axes, "Equally far from the data", "x", "density")
    style.legend(axes, loc="upper left")
    axes = panels[1]
    for name, values in result.certified.items():
        closed = [closed_form(name, m) for m in PACKS]
        axes.plot(PACKS, closed, **style.CLOSED_FORM | {"color": colors[name]})
        axes.plot(TRAINED, values, **style.DOT, color=colors[name])
    axes.plot([], [], **style.CLOSED_FORM, label="closed form")
    axes.plot([], [], **style.DOT, color="0.25", label="trained D")
    style.legend(axes, loc="upper left")
    axes.text(5.2, 0.83, "$q_1$", color=colors["collapsed"])
    axes.text(7.2, 0.50, "$q_2$", color=colors["spread"])
    axes.set(xticks=[1, 4, 7, 10], ylim=(0, 1.3), yticks=[0, 0.5, 1])
    style.label(axes, "Packs tell them apart", "samples m in a pack", "TV of packs")
    return figure
