"""f-GAN: the bound of a divergence's convex conjugate, reached by the critic T* = f′(p/q).

For convex f with f(1) = 0, D_f(p‖q) = E_q f(p/q) and f*(t) = sup_u (ut − f(u)). As f is the
conjugate of f*, f(p/q) ≥ T·p/q − f*(T) for any T, so that

    D_f(p‖q) ≥ E_p T − E_q f*(T)                       (Nowozin 2016, eq. 4),

with equality where T = T*(x) = f′(p(x)/q(x)) (eq. 5). A network's score v becomes T = g_f(v) in the
domain of f* (eq. 7, tab. 2), and training ascends the bound.

p = N(0, s²) and q = N(δ, 1) with s < 1. With equal deviations KL and reverse KL are the same. With
s > √2 ∫p²/q is infinite, and Pearson's divergence with it; just below, samples estimate it badly.
In closed form, with v = 1 + s²,

    KL(p‖q) = −log s + (s² + δ²)/2 − ½,        KL(q‖p) = log s + (1 + δ²)/2s² − ½,
    ∫(p − q)²/q = exp(δ²/(2 − s²))/(s√(2 − s²)) − 1,
    ∫(√p − √q)² = 2 − 2√(2s/v)·exp(−δ²/4v),

and the paper's JS, twice the usual one, on a grid. (Derived here, by completing squares.)
"""

from typing import NamedTuple

import jax
import numpy as np

from claims import style
from claims.normals import DX, GRID, densities, train_between
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances, losses
from jaxgan.losses.f_divergence import DIVERGENCES

TITLE = "f-divergences"
PARTS = 1

DEVIATION = 0.75
SHIFTS = (0.0, 0.5, 1.0)
SHOWN = 0.5  # the shift whose critics are drawn
TEXTS = {
    "kl": "KL", "reverse_kl": "reverse KL", "pearson": "Pearson", "hellinger": "Hellinger²",
    "js": "JS, twice",
}  # fmt: skip
LOSSES = [losses.f_gan(name) for name in TEXTS]
# What trained bounds may lack, as a share, beside 0.0015, and how far off T may be: four deviations
# over seeds, and what they lack on average. T* of the reverse KL, −q/p, is largest where data are
# few.
SHARES = {"kl": 0.01, "reverse_kl": 0.02, "pearson": 0.01, "hellinger": 0.02, "js": 0.002}
ERRORS = {"kl": 0.06, "reverse_kl": 0.3, "pearson": 0.07, "hellinger": 0.08, "js": 0.03}


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      critics: for each divergence T on GRID, trained at SHOWN.
    """

    numbers: Numbers
    critics: dict[str, np.ndarray]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains a critic for each divergence and shift.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the first weights, the data and the samples.
    """
    pairs = [(DEVIATION, shift, i) for shift in SHIFTS for i in range(len(LOSSES))]
    found, _ = train_between(choose, pairs, key_of(seed), int(1200 * scale))
    numbers, critics = {}, {}
    differences = [
        abs(on_grid(name, shift) - closed_form(name, shift)) for name in TEXTS for shift in SHIFTS
    ]
    numbers["f_divergences.identity"] = Number(
        "largest |E_p T* − E_q f*(T*) on a grid − closed form|, five divergences at three δ",
        "Nowozin 2016, eq. 4 and 5", 0.0, float(max(differences)), 1e-5, "algebra",
    )  # fmt: skip
    for (_, shift, i), scores in zip(pairs, found, strict=True):
        name, text = list(TEXTS.items())[i]
        p, q = densities(DEVIATION, shift)
        closed = closed_form(name, shift)
        numbers[f"f_divergences.{name}@delta={shift:g}"] = Number(
            f"E_p T − E_q f*(T) of the trained T, N(0, {DEVIATION:g}²) and N({shift:g}, 1): {text}",
            "Nowozin 2016, eq. 4", closed, bound(name, scores, p, q),
            0.0015 + SHARES[name] * closed, "trained", ceiling=True,
        )  # fmt: skip
        if shift == SHOWN:
            critics[name] = np.asarray(DIVERGENCES[name].activation(scores))
            alive = (p > 0.02) & (q > 0.02)
            square = (critics[name] - optimum(name, p, q))[alive] ** 2
            numbers[f"f_divergences.critic.{name}"] = Number(
                f"root mean square of T − f′(p/q), {text}, δ = {SHOWN:g}, where p, q > 0.02",
                "Nowozin 2016, eq. 5", 0.0,
                float(np.sqrt(np.average(square, weights=(p + q)[alive]))), ERRORS[name], "trained",
            )  # fmt: skip
    tick()
    return Result(numbers, critics)


def choose(index: jax.Array) -> losses.Loss:
    """One of LOSSES by its index, which may be traced."""

    def player(role):
        def value(critic_fn, *batch):
            branches = [
                lambda *args, loss=loss: getattr(loss, role)(critic_fn, *args) for loss in LOSSES
            ]
            return jax.lax.switch(index.astype(int), branches, *batch)

        return value

    return losses.Loss(player("critic"), player("generator"))


def bound(name: str, scores: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    """E_p T − E_q f*(T) on GRID, T = g_f(scores)."""
    activation, conjugate = DIVERGENCES[name]
    with jax.enable_x64(True):
        return float(np.sum(p * activation(scores) - q * conjugate(scores)) * DX)


def on_grid(name: str, shift: float) -> float:
    """The bound at the best score: 1 + log r, log r, 2(r − 1), ½ log r or log r, r = p/q."""
    p, q = densities(DEVIATION, shift)
    log_r = np.log(p) - np.log(q)
    best = {"kl": 1 + log_r, "pearson": 2 * np.expm1(log_r), "hellinger": log_r / 2}
    return bound(name, best.get(name, log_r), p, q)


def optimum(name: str, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """T* = f′(p/q), by the derivative of f."""
    r = p / q
    return {
        "kl": 1 + np.log(r),  # f = u log u
        "reverse_kl": -1 / r,  # −log u
        "pearson": 2 * (r - 1),  # (u − 1)²
        "hellinger": 1 - r**-0.5,  # (√u − 1)²
        "js": np.log(2 * r / (1 + r)),  # u log u − (u + 1) log((u + 1)/2)
    }[name]


def closed_form(name: str, shift: float) -> float:
    """D_f between N(0, DEVIATION²) and N(shift, 1)."""
    s, d = DEVIATION, shift
    if name == "js":
        return 2 * float(distances.js(*densities(s, d), DX))
    return float({
        "kl": -np.log(s) + (s**2 + d**2) / 2 - 0.5,
        "reverse_kl": np.log(s) + (1 + d**2) / (2 * s**2) - 0.5,
        "pearson": np.exp(d**2 / (2 - s**2)) / (s * np.sqrt(2 - s**2)) - 1,
        "hellinger": 2 - 2 * np.sqrt(2 * s / (1 + s**2)) * np.exp(-(d**2) / (4 + 4 * s**2)),
    }[name])  # fmt: skip


def draw(result: Result):
    """The divergences over the shift, and trained critics beside T*."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.4, r"$D_f(p\,\|\,q) = \max_T\ E_p T - E_q f^*(T)$,  reached at $T^* = f'(p/q)$",
        width=style.NARROW,
    )  # fmt: skip
    fine, (p, q) = np.linspace(0, 1.05, 22), densities(DEVIATION, SHOWN)
    alive = (p > 0.005) & (q > 0.005)
    for i, (name, text) in enumerate(TEXTS.items()):
        color = f"C{i}"
        axes = panels[0]
        curve = [closed_form(name, shift) for shift in fine]
        axes.plot(fine, curve, **style.CLOSED_FORM | {"color": color})
        values = [result.numbers[f"f_divergences.{name}@delta={s:g}"].measured for s in SHIFTS]
        axes.plot(SHIFTS, values, **style.DOT, color=color, label=text)
        axes = panels[1]
        axes.plot(GRID[alive], optimum(name, p, q)[alive], **style.CLOSED_FORM | {"color": color})
        axes.plot(GRID[alive], result.critics[name][alive], color=color, lw=1.6)
    panels[0].set(yscale="log")
    style.label(panels[0], "Trained (dashed: exact)",
                f"δ: data N(0, {DEVIATION:g}²), q = N(δ, 1)", "divergence")  # fmt: skip
    style.legend(panels[0], loc="lower right", labelspacing=0.2)
    panels[1].set(ylim=(-4, 2))
    style.label(panels[1], f"T (dashed: T*), δ = {SHOWN:g}", "x", "T(x)")
    return figure
