"""The critic's slope is the gradient of W₁: what entitles a generator to follow it.

If f is optimal in Kantorovich's and Rubinstein's dual, then

    ∇_θ W₁(p, q_θ) = −E_z ∇_θ f(g_θ(z))

where both sides exist (Arjovsky 2017, theorem 3): by the envelope theorem f counts as constant, as
D* does in minimax. But p and q_θ need no density and no common support.

Data N(0, I) in the plane, generator g(z) = m + s·z with three parameters. If s ≠ 1, z₀ = −m/(s − 1)
stays where it is, g(z) − z = (s − 1)(z − z₀), and all mass moves on rays from z₀: f(x) = ∓|x − z₀|
gains as much as that costs, so that both are optimal, and (derived here)

    W₁ = E|m + (s − 1)z|,   ∇_m W₁ = E u,   ∂W₁/∂s = E ⟨u, z⟩,   u = (m + (s − 1)z)/|m + (s − 1)z|.

A critic that is trained by `d_step` under the gradient penalty knows nothing of this; the gradient
is that of `g_grad`. Beside it stands the gradient of exact transport between samples. The penalty
makes slopes too steep by 1 + δ/(2λ) (duality.py), 0.5% here for mass that moves by 1; where mass is
thin, and at z₀, where f has a tip, a network is not f.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import Affine, decaying_adam, key_of, place, scores, train_in_stages
from jaxgan import distances, losses, networks

TITLE = "The gradient of a distance"
PARTS = 2

SOURCE = "Arjovsky 2017, theorem 3; closed form derived here"
SHIFT = np.array([0.8, 0.6])
SCALES = np.array([0.5, 1.5, 2.5])
WEIGHTS = (1.0, 100.0)  # λ of the critics, in stages
POINTS = 500  # for exact transport
SHOWN = 2  # the scale of the picture, SCALES[SHOWN]
PARAMETERS = ("m1", "m2", "s")
PLANE = np.stack(np.meshgrid(np.linspace(-4, 5, 61), np.linspace(-4, 5, 61)), axis=-1)


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      critic: −E ∇f(g(z)) of trained critics at each of SCALES, in m₁, m₂ and s, `[3, 3]`.
      transport: the gradient of exact W₁ between samples, `[3, 3]`.
      plane: the critic of SCALES[SHOWN] on PLANE.
    """

    numbers: Numbers
    critic: np.ndarray
    transport: np.ndarray
    plane: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Reads the generator's gradient under trained critics, and that of exact transport.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of training and samples.
    """
    closed = closed_forms(SCALES)
    transport = transport_gradients(key_of(seed, 3))
    tick()
    critic, plane = critic_gradients(int(800 * scale), seed)
    numbers: Numbers = {}
    for i, s in enumerate(SCALES):
        for j, parameter in enumerate(PARAMETERS):
            what = f"∂W₁/∂{parameter}, generator N((0.8, 0.6), {s:g}²·I)"
            value = float(closed[i, j])
            # The bias of the penalty, 0.01 to 0.02 in s, and four standard deviations over seeds,
            # which are largest where W₁ and with it the critic's own gradient are small.
            numbers |= {
                f"wasserstein_gradient.critic.{parameter}@s={s:g}": Number(
                    f"{what}, by a trained critic, λ = {WEIGHTS[-1]:g}",
                    SOURCE, value, float(critic[i, j]), 0.1 if s < 1 else 0.05, "trained",
                ),
                # A mean over POINTS of u, or of ⟨u, z⟩, each of deviation about 1; and the samples
                # of the data move the plan.
                f"wasserstein_gradient.transport.{parameter}@s={s:g}": Number(
                    f"{what}, by exact transport between {POINTS} samples",
                    SOURCE, value, float(transport[i, j]), 3.5 / np.sqrt(POINTS), "sampled",
                ),
            }  # fmt: skip
    tick()
    return Result(numbers, critic, transport, plane)


def closed_forms(scales: np.ndarray) -> np.ndarray:
    """∇W₁ in m₁, m₂ and s at each scale, by a sum over a grid of z, `[n, 3]`."""
    line, step = np.linspace(-6, 6, 400, retstep=True)
    z = np.stack(np.meshgrid(line, line), axis=-1)
    mass = norm.pdf(z[..., 0]) * norm.pdf(z[..., 1]) * step**2
    rows = []
    for s in scales:
        move = SHIFT + (s - 1) * z
        u = move / np.linalg.norm(move, axis=-1, keepdims=True)
        parts = (u[..., 0], u[..., 1], np.sum(u * z, axis=-1))
        rows.append([float(np.sum(mass * part)) for part in parts])
    return np.array(rows)


def flat(gradient) -> jax.Array:
    """The gradient in PARAMETERS, `[3]`."""
    return jnp.append(gradient["shift"], gradient["scale"])


def critic_gradients(steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Trains a critic at each of SCALES: −E ∇f(g(z)) by `g_grad`, `[3, 3]`, and f on PLANE."""
    _, critic = networks.mlp((2,), 1, width=64, depth=2)
    models = [
        jaxgan.gan(
            Affine(2), critic, losses.wgan_gp(weight), optax.identity(),
            decaying_adam(5e-3, steps), ema_decay=0,
        )
        for weight in WEIGHTS
    ]  # fmt: skip
    start = models[0].init(key_of(seed))

    def draw_data(key, n):
        return jax.random.normal(key, (n, 2))

    def train(scale):
        state = place(start, jnp.asarray(SHIFT, jnp.float32), scale=scale)
        *_, (trained, _) = train_in_stages(
            models, state, draw_data, key_of(seed, 1), steps, batch_size=256
        )
        gradient, _ = models[-1].g_grad(trained, jnp.zeros((131_072, 2)), key_of(seed, 2))
        return flat(gradient), scores(critic, trained, PLANE.reshape(-1, 2))

    gradients, planes = jax.jit(jax.vmap(train))(jnp.asarray(SCALES, jnp.float32))
    return np.asarray(gradients), np.asarray(planes[SHOWN]).reshape(PLANE.shape[:2])


def transport_gradients(key: jax.Array) -> np.ndarray:
    """The gradient of exact W₁ between samples in the generator's parameters, `[3, 3]`."""
    data, z = jax.random.normal(key, (2, POINTS, 2))

    @jax.jit
    @jax.grad
    def gradient(params):
        fake = Affine(2).apply({"params": params}, z)
        return distances.earth_movers_distance(data, fake)

    shift = jnp.asarray(SHIFT, jnp.float32)
    return np.stack([flat(gradient({"shift": shift, "scale": jnp.float32(s)})) for s in SCALES])


def draw(result: Result):
    """A critic and its rays, and the three components of the gradient over the scale."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$\nabla_\theta W_1(p, q_\theta) = -E_z \nabla_\theta f(g_\theta(z))$",
        width=style.NARROW,
    )  # fmt: skip
    axes, s = panels[0], SCALES[SHOWN]
    axes.contour(PLANE[..., 0], PLANE[..., 1], result.plane, 10, colors=style.CRITIC,
                 linewidths=0.8, linestyles="solid")  # fmt: skip
    still = -SHIFT / (s - 1)
    angle = np.linspace(0, 2 * np.pi, 9)[:-1] + 0.4
    for start in np.stack([np.cos(angle), np.sin(angle)], axis=1) * 1.4:
        axes.annotate("", SHIFT + s * start, start,
                      arrowprops={"arrowstyle": "->", "color": style.FAKE, "lw": 1.2})  # fmt: skip
    axes.plot(*still, "+", color="C3", markersize=10, mew=2)
    axes.text(still[0] - 0.6, still[1], "z₀", color="C3", fontsize="small", ha="right", va="center",
              bbox={"color": "white", "alpha": 0.8, "pad": 0.5})  # fmt: skip
    axes.set_aspect("equal")
    style.label(axes, "A critic's level lines", "x₁", "x₂")
    axes = panels[1]
    fine = np.append(np.linspace(0.4, 0.98, 15), np.linspace(1.02, 3.1, 43))
    closed = closed_forms(fine)
    for j, (text, color) in enumerate(
        (
            ("in m₁, critic", "C1"),
            ("in m₂, critic", "C4"),
            ("in s, critic", "C0"),
        )
    ):
        axes.plot(fine, closed[:, j], **style.CLOSED_FORM | {"color": color})
        axes.plot(SCALES, result.critic[:, j], **style.DOT, color=color, label=text)
        axes.plot(SCALES, result.transport[:, j], "x", color=color, markersize=6)
    axes.plot([], [], "x", color="0.4", label="exact transport")
    axes.plot([], [], **style.CLOSED_FORM, label="closed form")
    axes.set(xticks=[1, 2, 3], ylim=(-2.6, 1.4), yticks=[-1, 0, 1])
    style.label(axes, "Its slope is the gradient", "scale s of the generator", "derivative")
    style.legend(axes, loc="lower right")
    return figure
