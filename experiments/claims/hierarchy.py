"""Which distances see a sequence converge: KL before JS and TV, and both before W₁.

On a compact space (Arjovsky 2017, theorem 2),

    KL(P_n‖P) → 0 or KL(P‖P_n) → 0   ⟹   JS → 0   ⟺   TV → 0   ⟹   W₁ → 0,

and no arrow can be turned round. The arrows are inequalities, of which the paper names the first
(JS with its halves, TV = sup |P(A) − Q(A)| ≤ 1, diam the largest distance of two points):

    TV ≤ √(KL/2)   (Pinsker),   TV²/2 ≤ JS ≤ TV·log 2   (Lin 1991),   W₁ ≤ diam·TV.

TV²/2 ≤ JS is Pinsker's inequality between P or Q and their middle, from which each is TV/2 apart;
W₁ ≤ diam·TV, since mass TV has to move, and no farther than the diameter.

Five sequences, with closed forms derived here (c stands for cos 2πnx):

    a coin     P(1) = 1/2, P_n(1) = 1/2 + 1/2n: all of them fall
    outlier    P at 0, P_n has 1/n of its mass at 1: KL(P_n‖P) = ∞, and the rest falls
    shift      P uniform on [0, 1], P_n on [1/n, 1 + 1/n]: both KL are ∞, and the rest falls
    waves      P uniform, P_n with density 1 + c: W₁ falls like 1/n, and the rest stands still
    points     P at 0, P_n at 1/n: W₁ = 1/n, TV = 1 and both KL are ∞

For the waves ∫ log(1 + a·c) = log((1 + √(1 − a²))/2) and ∫ c·log(1 + a·c) = (1 − √(1 − a²))/a.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims import style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances

TITLE = "Which distances see a sequence converge"
PARTS = 2

SOURCE = "Arjovsky 2017, theorem 2"
SIZES = (2, 4, 8, 16, 32, 64)
SHOWN = 16  # the n of the numbers
CELLS = 1024  # of [0, 1], which transport solves for in a tenth of a second
GRID = 2**16  # points of [0, 1], for divergences
POINTS, DRAWS, PAIRS = 4, 12, 20_000  # for the inequalities
MEASURES = {"kl": "KL(P_n‖P)", "reverse_kl": "KL(P‖P_n)", "js": "JS", "tv": "TV", "w1": "W₁"}
SEQUENCES = {
    "coin": "coin of 1/2 + 1/2n heads",
    "outlier": "mass 1/n moved out of the support",
    "shift": "uniform distribution shifted by 1/n",
    "waves": "density 1 + cos 2πnx",
    "points": "two points 1/n apart",
}


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      curves: for each sequence and measure, its value at each of SIZES.
    """

    numbers: Numbers
    curves: dict[str, dict[str, np.ndarray]]


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Takes all distances along each sequence, and holds random pairs to the inequalities.

    Args:
      scale: multiplies the number of random pairs.
      tick: called after each part.
      seed: of the pairs.
    """
    rows = {name: [distances_of(name, n) for n in SIZES] for name in SEQUENCES}
    curves = {
        name: {m: np.array([row[m] for row in rows[name]]) for m in MEASURES} for name in rows
    }
    numbers: Numbers = {}
    for name, what in SEQUENCES.items():
        for m, closed in closed_forms(name, SHOWN).items():
            # Rounding; for waves the grid's error too. The sum of log(1 + c), which has poles, over
            # N points a wave is too large by 2·log 2/N on average; transport has a polygon of 64
            # sides for the wave, 1 − π²/(3·64²) of it.
            tolerance = 1e-6
            if name == "waves" and m in ("reverse_kl", "w1"):
                tolerance += 2 * np.log(2) * SHOWN / GRID if m == "reverse_kl" else 5.1e-6
            numbers[f"hierarchy.{name}.{m}"] = Number(
                f"{MEASURES[m]}, {what}, n = {SHOWN}", f"{SOURCE}; closed form derived here",
                closed, float(curves[name][m][SIZES.index(SHOWN)]), tolerance, "algebra",
            )  # fmt: skip
    tick()
    ratios = largest_ratios(int(PAIRS * scale), key_of(seed))
    texts = {
        "pinsker": ("TV/√(KL/2)", "Arjovsky 2017, appendix C (Pinsker)"),
        "js_below": ("TV/√(2·JS)", "Pinsker, to the middle"),
        "js_above": ("JS/(TV·log 2)", "Lin 1991, theorem 3"),
        "w1": ("W₁/(diam·TV)", "Villani 2009, theorem 6.15"),
    }
    for name, (text, source) in texts.items():
        # Disjoint pairs, and pairs at both ends, reach 1; the first two come near it only where
        # both are near a fair coin, and shares of 12 cannot be nearer to it than 1/12.
        tolerance = 0.01 if name in ("pinsker", "js_below") else 1e-6
        numbers[f"hierarchy.bound.{name}"] = Number(
            f"largest {text} among random pairs on {POINTS} points",
            source, 1.0, ratios[name], tolerance, "sampled", ceiling=True,
        )  # fmt: skip
    tick()
    return Result(numbers, curves)


def pair(name: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on the line, and the probabilities of P and P_n there."""
    if name == "points":
        return np.array([0, 1 / n]), np.array([1, 0.0]), np.array([0, 1.0])
    if name == "outlier":
        return np.array([0, 1.0]), np.array([1, 0.0]), np.array([1 - 1 / n, 1 / n])
    if name == "coin":
        return np.array([0, 1.0]), np.array([0.5, 0.5]), np.array([0.5 - 0.5 / n, 0.5 + 0.5 / n])
    if name == "waves":
        edges = np.arange(CELLS + 1) / CELLS
        mass = np.diff(edges + np.sin(2 * np.pi * n * edges) / (2 * np.pi * n))
        return (edges[1:] + edges[:-1]) / 2, np.full(CELLS, 1 / CELLS), mass
    # In cells of 1/64 all edges of the shifted one are on the grid, and nothing is approximate.
    x = (np.arange(128) + 0.5) / 64
    return x, (x < 1) / 64, ((x > 1 / n) & (x < 1 + 1 / n)) / 64


def distances_of(name: str, n: int) -> dict[str, float]:
    """All MEASURES between P and P_n, by the library."""
    x, p, q = pair(name, n)
    w1 = transport(x[:, None], p, q)
    if name == "waves":  # mass in cells would hide how small the density becomes
        middle = (np.arange(GRID) + 0.5) / GRID
        found = divergences(np.ones(GRID), 1 + np.cos(2 * np.pi * n * middle), 1 / GRID)
    else:
        found = divergences(p, q, 1.0)
    return dict(zip(MEASURES, map(float, (*found, w1)), strict=True))


@jax.jit
def divergences(p, q, dx):
    """KL both ways, JS and TV."""
    kls = distances.kl(q, p, dx), distances.kl(p, q, dx)
    return *kls, distances.js(p, q, dx), distances.total_variation(p, q, dx)


@jax.jit
def transport(x, p, q):
    """W₁ between two distributions on the same points."""
    return distances.earth_movers_distance(x, x, p, q)


def closed_forms(name: str, n: int) -> dict[str, float]:
    """All MEASURES between P and P_n, on paper."""
    log, infinite = np.log, np.inf
    if name == "coin":
        up, down = 1 + 1 / n, 1 - 1 / n
        middle = -log(1 - 1 / (4 * n**2)) / 2
        to_p, from_p = (up * log(up) + down * log(down)) / 2, -log(up * down) / 2
        to_middle = (up * log(up / (1 + 0.5 / n)) + down * log(down / (1 - 0.5 / n))) / 2
        values = to_p, from_p, (middle + to_middle) / 2, 1 / (2 * n), 1 / (2 * n)
    elif name == "outlier":
        js = log(2) / n + (1 - 1 / n) * log(1 - 1 / n) - (2 - 1 / n) * log(1 - 0.5 / n)
        values = infinite, -log(1 - 1 / n), js / 2, 1 / n, 1 / n
    elif name == "shift":
        values = infinite, infinite, log(2) / n, 1 / n, 1 / n
    elif name == "waves":
        js = (1 - log(2)) / 2 - log((1 + np.sqrt(3 / 4)) / 2) - 1 + np.sqrt(3 / 4)
        values = 1 - log(2), log(2), js, 1 / np.pi, 1 / (np.pi**2 * n)
    else:
        values = infinite, infinite, log(2), 1.0, 1 / n
    return dict(zip(MEASURES, map(float, values), strict=True))


def largest_ratios(pairs: int, key: jax.Array) -> dict[str, float]:
    """Each inequality's largest ratio of left to right, over shares of points among few draws."""
    weights_key, key = jax.random.split(key)
    logits = 3 * jax.random.normal(weights_key, (2, pairs, 1, POINTS))
    draws = jax.random.categorical(key, logits, shape=(2, pairs, DRAWS))
    shares = jnp.mean(jax.nn.one_hot(draws, POINTS), axis=2)
    differ = np.asarray(jnp.any(shares[0] != shares[1], axis=-1))
    with jax.enable_x64(True):
        p, q = np.round(np.asarray(shares, np.float64)[:, differ] * DRAWS) / DRAWS
        kl, _, js, tv = map(np.asarray, jax.jit(divergences)(p, q, 1.0))
        x, y = np.asarray(draws, np.float64)[:, differ] / (POINTS - 1)  # the diameter is 1
        w1 = np.asarray(jax.jit(distances.wasserstein_1d)(x, y))
    ratios = {"pinsker": tv / np.sqrt(kl / 2), "js_below": tv / np.sqrt(2 * js)}
    ratios |= {"js_above": js / (tv * np.log(2)), "w1": w1 / tv}
    # Rounded to float32, so that a last digit of float64 is not taken for an excess.
    return {name: float(np.float32(ratio.max())) for name, ratio in ratios.items()}


def draw(result: Result):
    """All distances along two of the sequences."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"KL $\to$ 0  implies  JS, TV $\to$ 0,  which imply  W$_1\to$ 0",
        width=style.NARROW, sharey=True,
    )  # fmt: skip
    looks = {"kl": ("KL", "C3", "^"), "tv": ("TV", "0.5", "s"), "js": ("JS", style.BCE, "o"),
             "w1": ("W₁", style.WGAN_GP, "D")}  # fmt: skip
    top = 4.0
    for axes, name, title in (
        (panels[0], "waves", "Density 1 + cos 2πnx"),
        (panels[1], "shift", "Uniform, shifted by 1/n"),
    ):
        for m, (text, color, marker) in looks.items():
            values = np.minimum(result.curves[name][m], top)
            closed = [min(closed_forms(name, n)[m], top) for n in SIZES]
            axes.plot(SIZES, closed, **style.CLOSED_FORM | {"color": color})
            hollow = {"markerfacecolor": "none", "markersize": 9} if m == "tv" else {}
            axes.plot(SIZES, values, **style.DOT | {"marker": marker} | hollow, color=color,
                      label=text)  # fmt: skip
        axes.set(xscale="log", yscale="log", xticks=SIZES, xticklabels=SIZES, ylim=(1e-3, 15))
        axes.minorticks_off()
        style.label(axes, title, "n", "distance to the limit" if name == "waves" else "")
    panels[1].text(SIZES[2], top * 1.3, "KL = ∞", color="C3", va="bottom", fontsize="small")
    panels[1].plot([], [], **style.CLOSED_FORM, label="closed form")
    panels[1].legend(*(found[-1:] for found in panels[1].get_legend_handles_labels()),
                     loc="lower left", fontsize="small", frameon=False)  # fmt: skip
    style.legend(panels[0], loc="lower left", ncols=2)
    return figure
