"""What a clipped critic estimates: at most K·W₁, and what share of it depends on the pair.

If every critic with weights in [−c, c] is K-Lipschitz, E f(x) − E f(G(z)) is at most K·W₁ (Arjovsky
2017, eq. 3). K is h·c² for one layer of h ReLU units on the line, c·(h·c)^L for L layers: in
proportion to c^(L+1). (Derived here, as is all that follows.)

One layer, data p, generator q, distribution functions P and Q. By parts
E_p f − E_q f = ∫ f'·(Q − P) dx, and W₁ = ∫ |Q − P| dx. A unit's slope is at most c² to one side of
a kink k, which its bias puts anywhere in [−1, 1], and 0 to the other. So a unit is worth at most
c²·M, M the largest |∫ (Q − P)| over a half-line, and h units h·c²·M:

  * p and q a shift apart: Q − P has one sign, M = W₁. The estimate is in proportion to W₁, because
    a straight line is the best critic;
  * one centre, two widths: Q − P changes sign in the middle, M = W₁/2;
  * two modes against three: it changes sign three times, and M is about W₁/4.

A clipped critic is a sum of units that see one half-line each. From a random start about half of
the units have signs that can gain by a shift, c² each. The others die before a sign changes, but
for those whose second weight starts within ±c.
"""

import functools
import itertools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import key_of, put, scores, to_uniform, train_critic
from jaxgan import losses, networks

TITLE = "What a clipped critic estimates"

CLIPS = (0.01, 0.03, 0.1)
HIDDEN = 32
DEPTHS = (1, 2)
DISTANCES = np.array([0.1, 0.2, 0.3, 0.4])  # W₁ of the pairs of each family
FAMILIES = {"shift": "a shift", "width": "two widths", "modes": "2 modes, 3 modes"}
PARTS = len(CLIPS) * len(DEPTHS) + 1
LINE = np.linspace(-1, 1, 4001)  # all pairs live here
SOURCE = "Arjovsky 2017, eq. 3"
# How far below their bounds shares and readings may be: what five seeds are below on average, and
# four standard deviations. A straight line's share is 1 but for float32, and of its 32 units a
# binomial number starts with signs that gain: half, give or take 9%.
BELOW = {"shift": (5e-4, 0.86), "width": (0.5, 0.35), "modes": (0.96, 0.12)}


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      readings: for each family, estimates/(h·c²) from a random start, at each distance.
      best: the same of critics whose units all start with the best signs.
      factors: for each depth, K of the shifts at each clip.
    """

    numbers: Numbers
    readings: dict[str, np.ndarray]
    best: dict[str, np.ndarray]
    factors: dict[int, np.ndarray]


class Pieces(nn.Module):
    """A generator that is uniform on each of four intervals, a quarter of its mass on each."""

    latent_dim: int = 1
    data_dim: int = 1

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents `[B, 1]` to samples `[B, 1]`."""
        return push(self.param("pieces", nn.initializers.zeros, (4, 2)), to_uniform(z))


def push(pieces: jax.Array, u: jax.Array) -> jax.Array:
    """The quantiles u of the distribution that is uniform on pieces, `[4, 2]`."""
    i = jnp.clip(jnp.floor(4 * u), 0, 3).astype(int)
    return pieces[i, 0] + (pieces[i, 1] - pieces[i, 0]) * (4 * u - i)


def make_pair(family: str, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Data and generator, four pieces each, whose W₁ is distance."""

    def pieces(*edges):
        return np.array(edges, np.float32).reshape(4, 2)

    def uniform(a, b):
        edges = np.linspace(a, b, 5)
        return pieces(*itertools.pairwise(edges))

    if family == "shift":
        return tuple(uniform(s - 0.25, s + 0.25) for s in (distance / 2, -distance / 2))
    if family == "width":
        return uniform(2 * distance - 1, 1 - 2 * distance), uniform(-1, 1)
    # Bumps as wide as 0.1, whose halves go outwards and inwards.
    w, s = 0.05, distance + 0.0375
    data = pieces(-s - w, -s, -s, -s + w, s - w, s, s, s + w)
    return data, pieces(-2 * s - w, -2 * s + w, -w, 0, 0, w, 2 * s - w, 2 * s + w)


def closed_forms(data: np.ndarray, generator: np.ndarray) -> tuple[float, float, tuple[int, int]]:
    """W₁, M, and the signs of the two weights of the unit that is worth c²·M."""

    def cumulative(pieces):
        return np.clip((LINE[:, None] - pieces[:, 0]) / np.diff(pieces)[:, 0], 0, 1).mean(axis=1)

    gap, dx = cumulative(generator) - cumulative(data), LINE[1] - LINE[0]
    left = np.cumsum(gap) * dx
    right = left[-1] - left
    worth = {(1, 1): right.max(), (1, -1): (-right).max(), (-1, -1): left.max()}
    worth[-1, 1] = (-left).max()
    signs = max(worth, key=worth.get)
    return float(np.abs(gap).sum() * dx), float(worth[signs]), signs


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0, clips=CLIPS) -> Result:
    """Trains clipped critics at each c and depth against shifts, and against pairs that are none.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the critics and the data.
      clips: the values of c.
    """
    steps, clip = int(1000 * scale), clips[0]
    factors = {}
    for depth in DEPTHS:
        factor = []
        for c in clips:
            estimates, _ = train_clipped(c, depth, steps, seed, ("shift",))
            factor.append(estimates["shift"] @ DISTANCES / np.sum(DISTANCES**2))
            tick()
        factors[depth] = np.array(factor)
    # The best critics first: what they reach, h·c²·M, the others stay below.
    best, _ = train_clipped(clip, 1, steps, seed, tuple(FAMILIES), best_signs=True)
    estimates, slopes = train_clipped(clip, 1, steps, seed, tuple(FAMILIES))
    tick()
    readings, bests = (
        {family: a / (HIDDEN * clip**2) for family, a in by_family.items()}
        for by_family in (estimates, best)
    )
    numbers = factor_numbers(clips, factors, units_with_right_signs(seed))
    for family in FAMILIES:
        numbers |= share_numbers(family, bests[family], readings[family], scale)
        for w1, estimate, slope in zip(DISTANCES, estimates[family], slopes[family], strict=True):
            numbers[f"clipping_scale.share.{family}@w1={w1:g}"] = Number(
                f"estimate/(K·W₁), K the critic's own steepest slope, {FAMILIES[family]}, "
                f"W₁ = {w1:g}",
                SOURCE, 1.0, float(estimate / (slope * w1)),
                BELOW[family][0], "trained", ceiling=family != "shift",
            )  # fmt: skip
    return Result(numbers, readings, bests, factors)


def factor_numbers(clips, factors: dict[int, np.ndarray], units: int) -> Numbers:
    """K of the shifts: its size, and how it grows with c."""
    numbers = {}
    for clip, factor in zip(clips, factors[1], strict=True):
        numbers[f"clipping_scale.factor@c={clip:g}"] = Number(
            f"estimate/W₁ of shifts over c² for each unit with the right signs, c = {clip:g}",
            f"{SOURCE}, derived here", 1.0, float(factor / (units * clip**2)),
            # A bias: units with a second weight within ±c at the start, a share c/√(6/h), may come
            # over. Being few, their number scatters by as much again.
            2 * clip / np.sqrt(6 / HIDDEN), "trained",
        )  # fmt: skip
    for depth in DEPTHS:
        exponent = np.polyfit(np.log(clips), np.log(factors[depth]), 1)[0]
        numbers[f"clipping_scale.exponent.{depth}_layers"] = Number(
            f"exponent of c in estimate/W₁ of shifts, hidden layers: {depth}",
            f"{SOURCE} and Algorithm 1", depth + 1.0, float(exponent),
            0.2,  # these units again
            "trained",
        )  # fmt: skip
    return numbers


def share_numbers(family: str, best: np.ndarray, readings: np.ndarray, scale: float) -> Numbers:
    """What share of h·c²·W₁ critics read, at the largest of DISTANCES."""
    w1, worth, _ = closed_forms(*make_pair(family, DISTANCES[-1]))
    text = f"estimate/(h·c²·W₁), {FAMILIES[family]}, W₁ = {w1:.3g}"
    return {
        f"clipping_scale.best.{family}": Number(
            f"{text}, all units started with the best signs: M/W₁",
            f"{SOURCE}, derived here", worth / w1, float(best[-1] / w1),
            3e-4 / scale**2, "trained",  # the last noise in the kinks
        ),
        f"clipping_scale.reading.{family}": Number(
            f"{text}, from a random start: at most M/W₁",
            f"{SOURCE}, derived here", worth / w1, float(readings[-1] / w1),
            BELOW[family][1], "trained", ceiling=True,
        ),
    }  # fmt: skip


def units_with_right_signs(seed: int) -> int:
    """Units of the one-layer critic whose two weights, at the start, have the same sign."""
    _, model = make_model(CLIPS[0], depth=1, steps=1)
    params = model.init(key_of(seed)).critic.params
    return int(jnp.sum(params["Dense_0"]["kernel"][0] * params["Dense_1"]["kernel"][:, 0] > 0))


def make_model(clip: float, depth: int, steps: int):
    """The critic, and a WGAN whose generator is made of pieces."""
    _, critic = networks.mlp((1,), 1, width=HIDDEN, depth=depth)
    # Every weight must travel a few times ±c: the learning rate is in units of c.
    tx = optax.rmsprop(optax.cosine_decay_schedule(clip / 10, steps), decay=0.9, eps_in_sqrt=False)
    return critic, jaxgan.gan(Pieces(), critic, losses.wgan(clip), optax.identity(), tx)


def with_signs(params, signs: jax.Array):
    """The one-layer critic's weights, their sizes as they are, each unit's signs `[2]`."""
    first, last = (params[name] for name in ("Dense_0", "Dense_1"))
    return {
        "Dense_0": first | {"kernel": signs[0] * jnp.abs(first["kernel"])},
        "Dense_1": last | {"kernel": signs[1] * jnp.abs(last["kernel"])},
    }


def train_clipped(
    clip: float,
    depth: int,
    steps: int,
    seed: int,
    families: tuple[str, ...],
    best_signs: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trains by `d_step` against each pair of the families.

    Returns:
      For each family the estimates, on quantiles, and the steepest slopes, at each of DISTANCES.
    """
    critic, model = make_model(clip, depth, steps)
    state, key = model.init(key_of(seed)), key_of(seed, 1)
    quantiles = (jnp.arange(2000)[:, None] + 0.5) / 2000

    def train(data, generator, signs):
        def draw_data(key, n):
            return push(data, jax.random.uniform(key, (n, 1)))

        params = with_signs(state.critic.params, signs) if best_signs else state.critic.params
        started = put(state, {"pieces": generator}, params)
        trained, _ = train_critic(model, started, draw_data, key, steps, 128)
        critic_fn = functools.partial(scores, critic, trained)
        real, fake = push(data, quantiles), push(generator, quantiles)
        _, metrics = losses.wgan(clip).critic(critic_fn, real, fake, key)
        rises = jnp.diff(critic_fn(jnp.asarray(LINE, jnp.float32)[:, None]))
        return metrics["wasserstein"], jnp.max(jnp.abs(rises)) / (LINE[1] - LINE[0])

    pairs = [make_pair(family, w1) for family in families for w1 in DISTANCES]
    signs = [closed_forms(*pair)[2] for pair in pairs]
    data, generators = map(np.stack, zip(*pairs, strict=True))
    found = jax.jit(jax.vmap(train))(data, generators, jnp.array(signs, jnp.float32))
    return tuple(
        dict(zip(families, np.asarray(a).reshape(len(families), -1), strict=True)) for a in found
    )


def draw(result: Result):
    """Estimates against W₁ for each family, and K against c."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.4, r"Weights clipped to $[-c, c]$: the estimate is at most $K \cdot W_1$",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    for color, (family, text) in zip(("C4", "C2", "C1"), FAMILIES.items(), strict=True):
        worths = [closed_forms(*make_pair(family, w1))[1] for w1 in DISTANCES]
        axes.plot(DISTANCES, worths, **style.CLOSED_FORM | {"color": color})
        axes.plot(DISTANCES, result.best[family], marker="o", ls="", color=color,
                  markersize=8, markerfacecolor="none")  # fmt: skip
        axes.plot(DISTANCES, result.readings[family], "o-", color=color, label=text,
                  markersize=4, lw=0.9)  # fmt: skip
    axes.plot([], [], **style.CLOSED_FORM, label="closed form")
    axes.plot([], [], "o", color="0.25", markersize=8, markerfacecolor="none", label="best signs")
    axes.plot([], [], "o-", color="0.25", markersize=4, lw=0.9, label="random signs")
    axes.set(xlim=(0.05, 0.45), ylim=(-0.02, 0.62), xticks=DISTANCES)
    style.label(axes, "One layer", "W₁", "estimate / hc²")
    style.legend(axes, loc="upper left")
    axes = panels[1]
    fine = np.geomspace(CLIPS[0], CLIPS[-1], 50)
    for depth, color in zip(DEPTHS, ("C0", "C3"), strict=True):
        factors = result.factors[depth]
        closed = factors[0] * (fine / fine[0]) ** (depth + 1)
        text = f"{depth} layer{'s' * (depth > 1)}, ∝ c$^{depth + 1}$"
        axes.plot(fine, closed, **style.CLOSED_FORM | {"color": color})
        axes.plot(CLIPS, factors, **style.DOT, color=color, label=text)
    axes.set(xscale="log", yscale="log")
    style.label(axes, "Shifts: K depends on c", "clipping bound c",
                "K = estimate / W₁")  # fmt: skip
    style.legend(axes)
    return figure
