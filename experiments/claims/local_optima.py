"""Local and global optima: where one starts decides where one ends.

Over functions, a GAN has one optimum: C = −log 4 + 2·JS(p, q) is convex in q, so that on the
straight path from any q to the data it falls all the way (Goodfellow 2014, theorem 1 and
proposition 2). Over parameters it may have more. Let the data be two modes,
w_1 N(−m, s²) + w_2 N(m, s²), and the generator N(θ, s²), which has room for one. On mode k
q = (p on that mode)/w_k, and where the modes hardly overlap

    2·JS = log 2/(1 + w_k) + w_k log 2w_k/(1 + w_k) + (1 − w_k) log 2  (derived here),

less for the heavier mode; between the two C has a hill. Gradient steps that are too small to jump
end in the valley they start in, so the share of starts that end in the global one is the share
that lie on its side of the hill. The same for U = (x² − 1)²/4 + cx, whose hill is the middle root
of x³ − x + c, (2/√3) cos((arccos(−c√27/2) + 4π)/3).

Noise lets go of the start. Steps −η U' + √(2ηT)·N(0, 1) end on a side as often as e^{−U/T} has
mass there, for small η and after long enough (Langevin; Welling & Teh 2011).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

from claims import style
from claims.number import Number, Numbers
from claims.training import key_of
from jaxgan import distances

TITLE = "Local and global optima"
PARTS = 3
SOURCE = "Goodfellow 2014, theorem 1"

WEIGHTS, MODES, WIDTH = np.array([0.3, 0.7]), np.array([-2.0, 2.0]), 0.5
GRID = np.linspace(-6, 6, 193)
DX = GRID[1] - GRID[0]
REACH = 3.0  # generators start between −3 and 3
STARTS = 400
TILT = 0.2  # c
POINTS = 20_000
HILL = 2 / np.sqrt(3) * np.cos((np.arccos(-TILT * np.sqrt(27) / 2) + 4 * np.pi) / 3)
TEMPERATURES = (0.1, 0.2, 0.4)
WALKERS, WALK, STEP = 4000, 2000, 0.05


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      ways: the first generators' θ at start and end, `[2, n]`.
      hill: where the generator's cost is largest between the modes.
      shares: of walkers in the global well, at each of TEMPERATURES.
    """

    numbers: Numbers
    ways: np.ndarray
    hill: float
    shares: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Descends from many starts, along generators, along a double well, and with noise.

    Args:
      scale: multiplies the number of starts.
      tick: called after each part.
      seed: of starts and noise.
    """
    numbers, ways, hill = measure_generators(int(STARTS * scale), key_of(seed))
    numbers |= measure_paths(key_of(seed, 1))
    tick()
    numbers |= measure_well(int(POINTS * scale), key_of(seed, 2))
    tick()
    walkers, shares = int(WALKERS * scale), []
    for i, temperature in enumerate(TEMPERATURES):
        key = jax.random.fold_in(key_of(seed, 3), i)
        shares.append(float(walk(key, walkers, temperature)))
        closed = boltzmann(temperature)
        # Four standard errors; and a bias of the order of the step.
        numbers[f"local_optima.noise@T={temperature:g}"] = Number(
            f"share in the global well with noise of T = {temperature:g}, all from the other one",
            "Langevin 1908; Welling & Teh 2011", closed, shares[-1],
            float(4 * np.sqrt(closed * (1 - closed) / walkers)) + STEP / 5, "sampled",
        )  # fmt: skip
    tick()
    return Result(numbers, ways, hill, np.array(shares))


@jax.jit
def cost(theta: jax.Array) -> jax.Array:
    """C(θ) = −log 4 + 2·JS(p, N(θ, s²)) on the grid, for θ of any shape."""
    p = norm.pdf(GRID[:, None], MODES, WIDTH) @ jnp.asarray(WEIGHTS)
    q = norm.pdf(GRID, jnp.asarray(theta)[..., None], WIDTH)
    return -jnp.log(4) + 2 * distances.js(p, q, DX)


@jax.jit
def descend(starts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where gradient descent on C ends from each start, and C there."""
    tx = optax.adam(optax.cosine_decay_schedule(0.06, 150), b1=0.0)  # momentum might climb
    ends, _ = distances.minimise(lambda theta: cost(theta).sum(), starts, tx, 150)
    return ends, cost(ends)


def measure_generators(n: int, key: jax.Array) -> tuple[Numbers, np.ndarray, float]:
    """Generators of one mode, from n starts, by gradient descent on C."""
    starts = jax.random.uniform(key, (n,), minval=-REACH, maxval=REACH)
    ends, values = (np.asarray(each) for each in descend(starts))
    # The hill by the cost itself, as where it is largest; descent sees its slope only.
    between = np.linspace(-1, 1, 1001)
    hill = float(between[np.argmax(cost(between))])
    share = (REACH - hill) / (2 * REACH)
    numbers = {
        "local_optima.generators.share": Number(
            "share of generators that end on the heavier mode: those that start on its side",
            "derived here", share, float((ends > 0).mean()),
            float(4 * np.sqrt(share * (1 - share) / n)), "trained",
        )
    }  # fmt: skip
    for k, side in ((0, ends < 0), (1, ends > 0)):
        w = WEIGHTS[k]
        closed = np.log(2 / (1 + w)) + w * np.log(2 * w / (1 + w)) + (1 - w) * np.log(2)
        # The modes overlap by 6e-5 of the mass, which the closed form leaves out.
        numbers[f"local_optima.generators.cost@w={w:g}"] = Number(
            f"largest C of the generators that end on the mode of weight {w:g}",
            "derived here", float(closed - np.log(4)), float(values[side].max()), 3e-4, "trained",
        )  # fmt: skip
    return numbers, np.stack([starts, ends]), hill


@jax.jit
def along_paths(key: jax.Array) -> jax.Array:
    """JS at 21 points of straight paths from 100 random distributions to the data, `[100, 21]`."""
    p = norm.pdf(GRID[:, None], MODES, WIDTH) @ jnp.asarray(WEIGHTS)
    q = jax.nn.softmax(3 * jax.random.normal(key, (100, 1, len(GRID)))) / DX
    t = jnp.linspace(0, 1, 21)[:, None]
    return distances.js((1 - t) * q + t * p, p, DX)


def measure_paths(key: jax.Array) -> Numbers:
    """C on straight paths from random distributions to the data."""
    values = np.asarray(along_paths(key), np.float64)
    rises = np.diff(values, axis=1) > 0
    bends = np.diff(values, n=2, axis=1)
    return {
        "local_optima.paths.rises": Number(
            "how often C rises, over 20 steps each of 100 straight paths to the data",
            SOURCE, 0.0, float(rises.sum()), 0.0, "sampled",
        ),
        # Rounding, in float32, of second differences.
        "local_optima.paths.convex": Number(
            "how far C lies below convexity on those paths: least second difference, at most 0",
            f"{SOURCE}, proposition 2", 0.0, float(min(bends.min(), 0.0)), 1e-7, "sampled",
        ),
    }  # fmt: skip


def well(x: jax.Array) -> jax.Array:
    """U(x) = (x² − 1)²/4 + cx."""
    return (x**2 - 1) ** 2 / 4 + TILT * x


@jax.jit
def descend_well(starts: jax.Array) -> jax.Array:
    """Where gradient descent on f ends; from [−2, 2] no step jumps, as 1 − 0.08·f'' is positive."""
    return distances.minimise(lambda x: well(x).sum(), starts, optax.sgd(0.08), 500)[0]


def measure_well(n: int, key: jax.Array) -> Numbers:
    """Gradient descent in the double well from n starts in [−2, 2]."""
    starts = jax.random.uniform(key, (n,), minval=-2, maxval=2)
    ends = np.asarray(descend_well(starts))
    share = (HILL + 2) / 4
    return {
        "local_optima.well.hill": Number(
            "slope of f at the closed form of its hill", "Cardano", 0.0,
            float(HILL**3 - HILL + TILT), 1e-12, "algebra",
        ),
        "local_optima.well.share": Number(
            "share of starts that end in the global well: those left of the hill",
            "derived here", share, float((ends < HILL).mean()),
            float(4 * np.sqrt(share * (1 - share) / n)), "trained",
        ),
    }  # fmt: skip


@functools.partial(jax.jit, static_argnames="n")
def walk(key: jax.Array, n: int, temperature: float) -> jax.Array:
    """The share of n walkers in the global well, all of which start in the other one."""

    def step(x, key):
        noise = jax.random.normal(key, (n,))
        return x - STEP * slope(x) + jnp.sqrt(2 * STEP * temperature) * noise, None

    slope = jax.grad(lambda x: well(x).sum())
    ends, _ = jax.lax.scan(step, jnp.full(n, 0.9), jax.random.split(key, WALK))
    return jnp.mean(ends < HILL)


def boltzmann(temperature: float) -> float:
    """The mass of e^{−U/T} left of the hill."""
    x = np.linspace(-4, 4, 80_001)
    mass = np.exp(-well(x) / temperature)
    return float(mass[x < HILL].sum() / mass.sum())


def draw(result: Result):
    """Generators that descend into two valleys; the share in a double well over noise."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, "One optimum over distributions, several over parameters", width=style.NARROW
    )
    axes = panels[0]
    theta = np.linspace(-REACH, REACH, 241)
    axes.plot(theta, np.asarray(cost(theta)), color=style.CRITIC, lw=2)
    axes.axvline(result.hill, **style.CLOSED_FORM)
    starts, ends = result.ways[:, :40]
    heavy = ends > 0
    for side, color in ((heavy, style.FAKE), (~heavy, "C3")):
        at = ends[side]
        axes.plot(starts[side], cost(jnp.asarray(starts[side])), "o", color=color, markersize=3)
        axes.plot(at, cost(jnp.asarray(at)), "s", color=color, markersize=6)
    for k, text in ((0, "local"), (1, "global")):
        axes.text(MODES[k], (-0.88, -1.33)[k], text, ha="center", fontsize="small", color="0.3")
    axes.axhline(-np.log(4), color="0.8", lw=0.8)
    axes.text(-2.9, -1.37, "−log 4", fontsize="small", color="0.4")
    axes.set(ylim=(-1.42, 0.1), xticks=[-2, 0, 2])
    style.label(axes, "Descent: ● start, ■ end", "θ: generator N(θ, s²)", "cost, nats")
    axes = panels[1]
    temperatures = np.linspace(0.05, 0.5, 46)
    axes.plot(temperatures, [boltzmann(t) for t in temperatures], **style.CLOSED_FORM,
              label=r"mass of $e^{-U/T}$")  # fmt: skip
    axes.plot(TEMPERATURES, result.shares, **style.DOT, color="C1", label="with noise")
    found = result.numbers["local_optima.well.share"]
    axes.plot(0, found.measured, "s", color="C0", markersize=5, label="no noise")
    axes.axhline(found.closed_form, color="C0", lw=0.8, ls=":", label="starts on its side")
    axes.set(ylim=(0.5, 1.28), xlim=(-0.03, 0.5), yticks=[0.6, 0.8, 1.0])
    style.label(axes, "Share in the global well", "temperature T of the noise", "share")
    style.legend(axes, loc="upper right")
    return figure
