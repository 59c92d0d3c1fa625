"""The perfect discriminator: why the better D becomes, the less the minimax generator learns.

If the supports M of the data and P of the generator are disjoint and compact, there is a smooth D*
with D* = 1 on M, D* = 0 on P, and ∇D* = 0 on both (Arjovsky & Bottou 2017, theorem 2.1). If they
are manifolds that cross without touching, the same holds almost everywhere on them (theorem 2.2),
and JS = log 2 (theorem 2.3). Such a D* is, with d the distance to each support and S a smooth step
from 0 to 1 that is flat up to 1/3 and from 2/3 on,

    D*(x) = S(d_P(x)/(d_M(x) + d_P(x))).                                         (derived here)

If ‖D − D*‖ = sup |D − D*| + sup |∇D − ∇D*| < ε and E‖∂g_θ/∂θ‖² ≤ M², then

    ‖∇_θ E log(1 − D(g_θ(z)))‖ ≤ M·ε/(1 − ε)   (theorem 2.4, whose proof needs ε on P only).

The theorem is stated for both cases, but where supports cross ε cannot be small: D* jumps from 0 to
1 there, and no continuous D comes nearer than ε = 1/2. Nor do single samples lose their slope. On
the way along P through a crossing c, log(1 − D) falls to log(1 − D(c)) and rises again, however
steep D is. If D is 0 somewhere between, then on a circle with two crossings (derived here)

    E‖∇_x log(1 − D)‖ ≥ (1/2π)·Σ_c −2·log(1 − D(c)),   0.44 if D(c) = 1/2.

So the mean of the sizes stays. The size of the mean, which is the generator's gradient, need not:
before and after a crossing slopes point opposite ways, and for a symmetric D they cancel.

Two circles of radius 1 in the plane, data at the origin and generator at (s, 0): s = 2.5 apart, and
s = 1.2 crossing twice. Discriminators are trained by `d_step`, and the generator's gradient in its
position (M = 1) is that of `g_grad`.
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
from claims.training import Held, key_of, place, scores, to_uniform, train_critic
from jaxgan import losses, networks

TITLE = "The perfect discriminator"
PARTS = 2

PAPER = "Arjovsky & Bottou 2017"
SHIFTS = {"disjoint": 2.5, "crossing": 1.2}
EVENLY = (np.arange(2048) + 0.5) / 2048
PART = 25  # updates that are compiled as one program
LOOKS = np.array([1, 2, 4, 8, 16, 32, 64])  # after so many parts
FIELD = np.stack(np.meshgrid(np.linspace(-1.4, 2.6, 81), np.linspace(-1.4, 1.4, 57)), axis=-1)


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      history: for each pair of circles, what `look` finds after each of updates.
      updates: how many.
      field: the trained D of the crossing circles, on FIELD.
    """

    numbers: Numbers
    history: dict[str, dict[str, np.ndarray]]
    updates: np.ndarray
    field: np.ndarray


def circle(u: jax.Array) -> jax.Array:
    """Points `[n, 2]` of the circle of radius 1, at shares u `[n]` of the way round it."""
    return jnp.stack([jnp.cos(2 * jnp.pi * u), jnp.sin(2 * jnp.pi * u)], axis=-1)


def perfect(x: jax.Array, shift: float) -> jax.Array:
    """D* of one point `[2]`, for the generator's circle moved by shift."""
    to_data, to_fake = (jnp.abs(jnp.linalg.norm(x - jnp.array([c, 0])) - 1) for c in (0.0, shift))
    # Where it is clipped the step's value is 0 or 1 to the last digit.
    t = jnp.clip(3 * to_fake / (to_data + to_fake) - 1, 1e-3, 1 - 1e-3)
    rise, fall = jnp.exp(-1 / t), jnp.exp(-1 / (1 - t))
    return rise / (rise + fall)


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Evaluates D*, trains discriminators, and reads the generator's gradients.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of training.
    """
    numbers: Numbers = {}
    for name, shift in SHIFTS.items():
        numbers[f"perfect_discriminator.explicit.{name}"] = Number(
            f"share of points where D* is 1 on data, 0 on samples, and flat, {name} circles",
            f"{PAPER}, theorem {'2.1' if name == 'disjoint' else '2.2'}",
            1.0, share_of_perfect(shift), 0.0, "algebra",
        )  # fmt: skip
    tick()
    part = int(PART * scale)
    history, field = train(part, seed)
    for name, found in history.items():
        apart = name == "disjoint"
        numbers |= {
            f"perfect_discriminator.accuracy.{name}": Number(
                f"accuracy of the trained D, {name} circles",
                f"{PAPER}, theorem {'2.1' if apart else '2.2'}",
                1.0, float(found["accuracy"][-1]), 0.0 if apart else 0.01, "trained",
            ),
            f"perfect_discriminator.js.{name}": Number(
                f"JS certified by the trained D, nats, {name} circles: log 2",
                f"{PAPER}, theorem 2.3", float(np.log(2)), float(found["js"][-1]),
                2e-4 if apart else 0.03, "trained", ceiling=True,
            ),
        }  # fmt: skip
    apart, crossing = history["disjoint"], history["crossing"]
    bound = np.where(
        apart["epsilon"] < 1, apart["epsilon"] / np.maximum(1 - apart["epsilon"], 1e-6), np.inf
    )
    numbers |= {
        "perfect_discriminator.gradient": Number(
            "minimax gradient at the end, as a share of its largest, disjoint circles",
            f"{PAPER}, theorem 2.4",
            0.0, float(apart["minimax"][-1] / apart["minimax"].max()), 0.01, "trained",
        ),
        # Inequalities: how far below them a ratio stays does not matter.
        "perfect_discriminator.bound": Number(
            "largest ratio of the minimax gradient to M·ε/(1 − ε), disjoint circles",
            f"{PAPER}, theorem 2.4",
            1.0, float((apart["minimax"] / bound).max()), 1.0, "trained", ceiling=True,
        ),
        "perfect_discriminator.stays": Number(
            "(1/2π)·Σ_c −2·log(1 − D(c)) over the mean size of ∇log(1 − D), crossing circles",
            "derived here",
            1.0, float(crossing["least"][-1] / crossing["size"][-1]), 0.8, "trained", ceiling=True,
        ),
    }  # fmt: skip
    tick()
    return Result(numbers, history, part * LOOKS, field)


def share_of_perfect(shift: float) -> float:
    """The share of points on both circles where D* is right and has no slope."""
    fake = circle(EVENLY) + jnp.array([shift, 0.0])
    d, slopes = jax.jit(jax.vmap(jax.value_and_grad(lambda x: perfect(x, shift))))(
        jnp.concatenate([circle(EVENLY), fake])
    )
    wanted = jnp.repeat(jnp.array([1.0, 0.0]), len(EVENLY))
    return float(jnp.mean((d == wanted) & (slopes == 0).all(axis=1)))


def train(part: int, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Trains a discriminator for each pair of circles, part updates at a time.

    Returns:
      For each pair what `look` finds after each of LOOKS, and D on FIELD at the end, of the
      crossing ones.
    """
    _, critic = networks.mlp((2,), 1, width=64, depth=2)
    generator = Held(lambda z: circle(to_uniform(z[:, 0])), latent_dim=1, data_dim=2)
    models = {
        name: jaxgan.gan(generator, critic, loss, optax.identity(), optax.adam(3e-3), ema_decay=0)
        for name, loss in (("minimax", losses.minimax()), ("bce", losses.bce()))
    }
    start, data = models["bce"].init(key_of(seed)), circle(EVENLY)

    def draw_data(key, n):
        return circle(jax.random.uniform(key, (n,)))

    def advance(state, key):
        return train_critic(models["bce"], state, draw_data, key, part, batch_size=256)[0]

    def look(state):
        def d(x):
            return jax.nn.sigmoid(scores(critic, state, x[None])[0])

        shift = state.generator.params["shift"]
        fake, height = data + shift, jnp.sqrt(1 - shift[0] ** 2 / 4)  # NaN if they do not cross
        crossings = jnp.stack([jnp.stack([shift[0] / 2, y]) for y in (height, -height)])
        d_fake, slopes = jax.vmap(jax.value_and_grad(d))(fake)
        critic_fn = functools.partial(scores, critic, state)
        found = {
            "accuracy": (jnp.mean(critic_fn(data) > 0) + jnp.mean(d_fake < 0.5)) / 2,
            "epsilon": d_fake.max() + jnp.linalg.norm(slopes, axis=1).max(),
            "size": jnp.mean(jnp.linalg.norm(slopes, axis=1) / (1 - d_fake)),
            "least": -jnp.sum(jnp.log1p(-jax.vmap(d)(crossings))) / jnp.pi,
            "js": losses.bce().critic(critic_fn, data, fake, key_of(seed))[1]["js"],
        }
        for name, model in models.items():
            gradient, _ = model.g_grad(state, data, key_of(seed, 1))
            found[name] = jnp.linalg.norm(gradient["shift"])
        return found

    advance = jax.jit(jax.vmap(advance, in_axes=(0, None)))
    look = jax.jit(jax.vmap(look))
    states = jax.vmap(lambda s: place(start, jnp.stack([s, 0.0])))(jnp.array([*SHIFTS.values()]))
    looks = []
    for i in range(1, LOOKS[-1] + 1):
        states = advance(states, jax.random.fold_in(key_of(seed, 2), i))
        if i in LOOKS:
            looks.append(look(states))
    history = {
        pair: {name: np.stack([each[name][i] for each in looks]) for name in looks[0]}
        for i, pair in enumerate(SHIFTS)
    }
    crossing = jax.tree.map(lambda leaf: leaf[list(SHIFTS).index("crossing")], states)
    field = jax.nn.sigmoid(scores(critic, crossing, FIELD.reshape(-1, 2)))
    return history, np.asarray(field).reshape(FIELD.shape[:2])


def draw(result: Result):
    """The trained D of crossing circles, and gradients over training."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.1, "Circles apart: the better D, the smaller the gradient",
        width=style.NARROW,
    )  # fmt: skip
    axes, shift = panels[0], SHIFTS["crossing"]
    image = axes.contourf(FIELD[..., 0], FIELD[..., 1], result.field, np.linspace(0, 1, 11),
                          cmap="RdBu", alpha=0.6)  # fmt: skip
    for move, color, text, at in (
        (0.0, style.DATA, "data", -0.6),
        (shift, style.FAKE, "generator", shift + 0.4),
    ):
        axes.plot(*(np.asarray(circle(EVENLY)) + [move, 0]).T, color=color, lw=2)
        axes.text(
            at,
            0,
            text,
            ha="center",
            va="center",
            color=color,
            fontsize="small",
            bbox={"color": "white", "alpha": 0.8, "pad": 1},
        )
    axes.set_aspect("equal")
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], orientation="horizontal", aspect=30)
    bar.set_label("D(x)", fontsize="small")
    bar.ax.tick_params(labelsize="small")
    style.label(axes, "Trained D", "x₁", "x₂")
    axes = panels[1]
    for name, color, text in (
        ("bce", style.BCE, "non-sat."),
        ("minimax", style.MINIMAX, "minimax"),
    ):
        for pair, line in (("crossing", "x--"), ("disjoint", "o-")):
            axes.plot(result.updates, result.history[pair][name], line, color=color, markersize=4,
                      lw=1, label=f"{text}, {pair}")  # fmt: skip
    axes.set(xscale="log", yscale="log", ylim=(5e-5, 1e6), yticks=[1e-4, 1e-2, 1])
    style.label(axes, "The generator's gradient", "updates of D", "norm")
    style.legend(axes, loc="upper left")
    return figure
