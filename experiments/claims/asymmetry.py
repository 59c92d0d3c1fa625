"""KL is not symmetric: KL(p‖q) covers the data, KL(q‖p) sits on one mode.

KL(p‖q) = E_p log p/q charges without limit where q is small and p is not; KL(q‖p) where p is small
and q is not (Bishop 2006, sec. 10.1.2; Goodfellow 2016, sec. 3.2.5). Fit q = N(μ, σ²) to
p = Σ w_k N(m_k, s²), whose modes are many s apart.

  * ∂KL(p‖q)/∂(μ, σ) = 0 where mean and variance of q are those of p, as p needs log q's two
    moments only. There KL(p‖q) = −H(p) + log σ√(2πe), and with H(p) = H(w) + log s√(2πe) for modes
    apart it is log σ/s − H(w).
  * KL(q‖p) has a minimum at each mode, q = N(m_k, s²), where p = w_k q as far as q sees, and so
    KL(q‖p) = log 1/w_k. The least is at the heaviest mode.
  * The other way round that q is dear: KL(p‖q) = Σ_j w_j (m_j − m_k)²/2s² − H(w).

(Derived here. The modes' overlap, past 4 s from either, has 3·10⁻⁵ of the mass.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from claims import style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances
from jaxgan.distances import Gaussian, Mixture

TITLE = "KL has two directions"
PARTS = 1
SOURCE = "Bishop 2006, sec. 10.1.2"

WEIGHTS, MODES, WIDTH = np.array([0.3, 0.7]), np.array([-2.0, 2.0]), 0.5
DATA = Mixture(jnp.log(WEIGHTS), MODES, jnp.full(2, jnp.log(WIDTH)))
GRID = np.linspace(-8, 8, 1601)  # p is above 10⁻³¹ in it, so that float32 has no zeros there
DX = GRID[1] - GRID[0]
STEPS = 500
NAMES = {"cover": "KL(p‖q)", "light": "KL(q‖p), from the left", "heavy": "KL(q‖p), from the right"}


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      fits: for each of NAMES, the Gaussian that was fitted.
    """

    numbers: Numbers
    fits: dict[str, Gaussian]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Fits a Gaussian to two modes by either KL, by gradient descent.

    Args:
      scale: ignored: there is little to train.
      tick: called after the measurement.
      seed: of the starts.
    """
    del scale
    fits = {name: fit(name, jax.random.fold_in(key_of(seed), i)) for i, name in enumerate(NAMES)}
    mean = WEIGHTS @ MODES
    std = np.sqrt(WIDTH**2 + WEIGHTS @ (MODES - mean) ** 2)
    entropy = -WEIGHTS @ np.log(WEIGHTS)
    closed = {
        "cover": (mean, std, np.log(std / WIDTH) - entropy),
        "light": (MODES[0], WIDTH, np.log(1 / WEIGHTS[0])),
        "heavy": (MODES[1], WIDTH, np.log(1 / WEIGHTS[1])),
    }
    # Training ends at the moments but for rounding. Where the modes overlap, past 4 s from either,
    # p is not quite w_k q, which pulls at q, most at its width; the entropies leave it out too.
    tolerances = {
        "cover": (3e-6, 3e-6, 2e-4),
        "light": (5e-4, 1e-3, 2e-4),
        "heavy": (3e-4, 5e-4, 1e-4),
    }
    numbers = {}
    for name, values in closed.items():
        theta = fits[name]
        measured = theta.mean, jnp.exp(theta.log_std), divergence(name, theta)
        for what, value, found, tolerance in zip(
            ("mean", "std", "kl"), values, measured, tolerances[name], strict=True
        ):
            numbers[f"asymmetry.{name}_{what}"] = Number(
                f"{what} of the Gaussian that minimises {NAMES[name]}" if what != "kl"
                else f"{NAMES[name]} of the Gaussian that minimises it",
                SOURCE, float(value), float(found), tolerance, "trained",
            )  # fmt: skip
    there = Gaussian(jnp.array(MODES[1]), jnp.log(WIDTH))
    numbers["asymmetry.dear"] = Number(
        "KL(p‖q) of the Gaussian that sits on the heavy mode",
        SOURCE, float(WEIGHTS[0] * (MODES[1] - MODES[0]) ** 2 / (2 * WIDTH**2) - entropy),
        float(divergence("cover", there)), 2e-5, "algebra",
    )  # fmt: skip
    tick()
    return Result(numbers, fits)


def divergence(name: str, theta: Gaussian) -> jax.Array:
    """KL(p‖q) for "cover", KL(q‖p) for the others, on the grid."""
    p = jnp.exp(distances.mixture_log_density(DATA, GRID))
    q = jnp.exp(distances.gaussian_log_density(theta, GRID))
    q = jnp.maximum(q, 1e-30)  # in float32 a density of e⁻¹⁰⁰ would be 0, and KL(p‖q) infinite
    return distances.kl(p, q, DX) if name == "cover" else distances.kl(q, p, DX)


def fit(name: str, key: jax.Array) -> Gaussian:
    """Descends one of the two from a random Gaussian, which for "light" and "heavy" has a side."""
    where, how_wide = jax.random.uniform(key, (2,))
    side = {"cover": 4 * where - 2, "light": -1 - where, "heavy": 1 + where}[name]
    # A narrow one that is far from the data would find no slope of KL(p‖q) in float32.
    start = Gaussian(side, jnp.log(0.3 + 0.4 * how_wide) + (name == "cover"))
    tx = optax.adam(optax.cosine_decay_schedule(0.1, STEPS))
    train = jax.jit(lambda t: distances.minimise(lambda t: divergence(name, t), t, tx, STEPS)[0])
    return train(start)


def draw(result: Result):
    """The two fits, and both divergences over the mean of a Gaussian as wide as a mode."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$\mathrm{KL}(p\,\|\,q) \neq \mathrm{KL}(q\,\|\,p)$", width=style.NARROW
    )
    axes = panels[0]
    p = np.exp(distances.mixture_log_density(DATA, GRID))
    axes.fill_between(GRID, p, color=style.DATA, alpha=0.15, lw=0)
    axes.plot(GRID, p, ":", color=style.DATA, label="data, p")
    colors = {"cover": "C0", "light": "C3", "heavy": "C1"}
    for name, text in (("cover", "KL(p‖q) covers"), ("heavy", "KL(q‖p) picks one")):
        q = np.exp(distances.gaussian_log_density(result.fits[name], GRID))
        axes.plot(GRID, q, color=colors[name], lw=2, label=text)
    axes.set(xlim=(-5, 5), ylim=(0, 1.25))
    style.label(axes, "The closest Gaussian, twice", "x", "density")
    style.legend(axes, loc="upper left")
    axes = panels[1]
    means = np.linspace(-4, 4, 161)
    theta = Gaussian(jnp.asarray(means)[:, None], jnp.log(WIDTH))
    q = np.maximum(np.exp(distances.gaussian_log_density(theta, GRID)), 1e-30)
    both = (np.sum(a * np.log(a / b), 1) * DX for a, b in ((p, q), (q, p)))
    for values, name, text in zip(both, ("cover", "heavy"), ("KL(p‖q)", "KL(q‖p)"), strict=True):
        axes.plot(means, values, color=colors[name], lw=2, label=text)
    for k in range(2):
        axes.plot(MODES[k], np.log(1 / WEIGHTS[k]), "o", color=style.DATA, markersize=4)
        axes.annotate(f"log 1/{WEIGHTS[k]:g}", (MODES[k], np.log(1 / WEIGHTS[k])), (0, -12),
                      textcoords="offset points", ha="center", fontsize="small")  # fmt: skip
    axes.set(ylim=(-1.5, 13))
    style.label(axes, f"q of width {WIDTH:g}", "mean of q", "KL, nats")
    style.legend(axes, loc="upper left", handlelength=1, borderaxespad=0.1)
    return figure
