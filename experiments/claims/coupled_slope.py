"""The best critic has slope 1 along the lines that optimal transport draws.

Let f* be a 1-Lipschitz function with the largest E_{y∼p} f(y) − E_{x∼q} f(x), π an optimal
coupling of samples x and data y, and x_t = ty + (1 − t)x. If f* is differentiable and π(x = y) = 0,
then π-almost surely

    ∇f*(x_t) = (y − x_t)/‖y − x_t‖,

so that its gradient has norm 1 almost everywhere under p and q, and points from sample to datum
(Gulrajani 2017, proposition 1 and corollary 1). The reason is short. By duality
E_π (f*(y) − f*(x)) = W₁ = E_π ‖y − x‖, and no pair can gain more than its distance. So each gains
just that, at slope 1 all the way.

Critics are trained under WGAN-GP's penalty. They never see the coupling: the penalty's points lie
between samples and data that are drawn on their own. Two pairs have couplings that are known:

  * 16 points in a square against 16 around it, paired by exact transport;
  * N(0, I) and N(0, 4I). x ↦ 2x costs E‖x‖, and f = ‖x‖ gains E_p‖y‖ − E_q‖x‖, as much. So both are
    optimal, and ∇f*(x) = x/‖x‖ everywhere but at 0. (Derived here.)
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import jaxgan
from claims import style
from claims.number import Number, Numbers
from claims.training import decaying_adam, key_of, pick, put, scores, train_in_stages
from jaxgan import distances, losses, networks

TITLE = "Slope 1 along optimal transport"
PARTS = 1
SOURCE = "Gulrajani 2017, proposition 1"

WEIGHTS = (1.0, 100.0)  # λ, in stages; the second leaves slopes within a hundredth of 1
ALONG = np.array([0.1, 0.3, 0.5, 0.7, 0.9])  # t
POINTS, NORMALS = 16, 1000
BATCH = 128


class Cloud(nn.Module):
    """A generator of points, each as likely as another, or of N(0, spread²·I) if they are 0."""

    latent_dim: int = 2

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents `[B, 2]` to samples of that shape."""
        points = self.param("points", nn.initializers.zeros, (POINTS, 2))
        return pick(points, z[:, 0]) + self.param("spread", nn.initializers.zeros, ()) * z


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      pairs: samples and data, coupled, `[2, POINTS, 2]`.
      gradients: ∇f at ALONG between them, `[t, POINTS, 2]`.
      cosines: of ∇f with y − x, for coupled points and for others, `[2, t, POINTS]`.
    """

    numbers: Numbers
    pairs: np.ndarray
    gradients: np.ndarray
    cosines: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Trains a critic for each pair, and compares its gradients with the coupling.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of the points, the first weights, the data and the samples.
    """
    pairs = make_pairs(key_of(seed, 1))
    z = np.asarray(jax.random.normal(key_of(seed, 2), (NORMALS, 2)))
    others = np.stack([pairs[0], np.roll(pairs[1], POINTS // 2, axis=0)])
    places = np.concatenate([
        start + ALONG[:, None, None] * (end - start) for start, end in (pairs, others)
    ]).reshape(-1, 2)  # fmt: skip
    radii = np.concatenate([z, 2 * z])
    found = train(pairs, places, radii, key_of(seed), int(600 * scale))
    gradients = found[0][: len(places)].reshape(2, len(ALONG), POINTS, 2)
    cosines = np.stack([
        cosine(g, end - start) for g, (start, end) in zip(gradients, (pairs, others), strict=True)
    ])  # fmt: skip
    numbers = check_plan(pairs)
    # Over seeds, which are other points too: cosines lack 0.03 ± 0.02 near the samples, where lines
    # are close and a network bends too little, and 0.015 ± 0.009 near the data; slopes are 1.01.
    for t, angles, g in zip(ALONG, cosines[0], gradients[0], strict=True):
        numbers |= {
            f"coupled_slope.cosine@t={t:g}": Number(
                f"mean cosine of ∇f and y − x at x + {t:g}(y − x), {POINTS} coupled points",
                SOURCE, 1.0, float(angles.mean()), 0.12 - 0.08 * t, "trained",
            ),
            f"coupled_slope.size@t={t:g}": Number(
                f"mean ‖∇f‖ at x + {t:g}(y − x), {POINTS} coupled points",
                SOURCE, 1.0, float(np.linalg.norm(g, axis=-1).mean()), 0.03, "trained",
            ),
        }  # fmt: skip
    size = np.linalg.norm(found[1][: 2 * NORMALS], axis=-1)
    numbers["coupled_slope.radial"] = Number(
        f"mean cosine of ∇f and x, {2 * NORMALS:,} points of N(0, I) and N(0, 4I)",
        SOURCE, 1.0, float(cosine(found[1][: 2 * NORMALS], radii).mean()), 0.003, "trained",
    )  # fmt: skip
    for name, sizes in (("samples", size[:NORMALS]), ("data", size[NORMALS:])):
        numbers[f"coupled_slope.norm.{name}"] = Number(
            f"mean ‖∇f‖ at {NORMALS:,} {name} of that pair",
            "Gulrajani 2017, corollary 1", 1.0, float(sizes.mean()), 0.01, "trained",
        )  # fmt: skip
    tick()
    return Result(numbers, pairs, gradients[0], cosines)


def make_pairs(key: jax.Array) -> np.ndarray:
    """Samples in a square and data around it, coupled by exact assignment, `[2, POINTS, 2]`."""
    keys = jax.random.split(key, 3)
    fake = np.asarray(jax.random.uniform(keys[0], (POINTS, 2), minval=-1))
    angle = 2 * np.pi * (np.arange(POINTS) + jax.random.uniform(keys[1], (POINTS,))) / POINTS
    radius = jax.random.uniform(keys[2], (POINTS,), minval=1.6, maxval=2.4)
    real = np.asarray(radius * np.stack([np.cos(angle), np.sin(angle)])).T
    _, partner = linear_sum_assignment(cdist(fake, real))
    return np.stack([fake, real[partner]])


def check_plan(pairs: np.ndarray) -> Numbers:
    """The assignment beside the library's exact transport, which finds its coupling otherwise."""
    distance, slopes = jax.value_and_grad(distances.earth_movers_distance)(*pairs)
    lengths = np.linalg.norm(pairs[1] - pairs[0], axis=1)
    # Moving a sample by v changes W₁ by −⟨v, (y − x)/‖y − x‖⟩/n, if y is its partner.
    partner = -POINTS * np.asarray(slopes) - (pairs[1] - pairs[0]) / lengths[:, None]
    return {
        "coupled_slope.distance": Number(
            "W₁ of the points by exact transport: the mean length of an optimal assignment's lines",
            "Arjovsky 2017, eq. 1", float(lengths.mean()), float(distance), 1e-6, "algebra",
        ),
        "coupled_slope.partner": Number(
            "largest |−n∂W₁/∂x − (y − x)/‖y − x‖|, y assigned to x, W₁ by exact transport",
            "Arjovsky 2017, eq. 1", 0.0, float(np.abs(partner).max()), 1e-6, "algebra",
        ),
    }  # fmt: skip


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the angle between vectors, over the last axis."""
    return np.sum(a * b, -1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def train(
    pairs: np.ndarray, places: np.ndarray, radii: np.ndarray, key: jax.Array, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a critic between the points, and one between the normals, by `d_step`.

    Returns:
      ∇f of the first at places, and of the second at radii; each has as many rows as the longer.
    """
    _, critic = networks.mlp((2,), 2, width=64, depth=2)
    fake, real = map(jnp.asarray, pairs)
    longest = max(len(places), len(radii))

    def run(inputs):
        normal, looked_at = inputs
        models = [
            jaxgan.gan(
                *(Cloud(), critic, losses.wgan_gp(weight)),
                *(optax.identity(), decaying_adam(5e-3, steps)),
            )
            for weight in WEIGHTS
        ]
        keys = jax.random.split(key)

        def draw(key, n):
            drawn = 2 * jax.random.normal(key, (n, 2))
            return jnp.where(normal == 1, drawn, jax.random.choice(key, real, (n,)))

        state = put(models[0].init(keys[0]), {"points": fake * (1 - normal), "spread": normal})
        _, (state, _) = train_in_stages(models, state, draw, keys[1], steps, BATCH)
        return jax.vmap(jax.grad(lambda x: scores(critic, state, x[None])[0]))(looked_at)

    points = jnp.stack([jnp.resize(jnp.asarray(x), (longest, 2)) for x in (places, radii)])
    inputs = jnp.array([0.0, 1.0]), points
    return tuple(np.asarray(jax.jit(lambda inputs: jax.lax.map(run, inputs))(inputs)))


def draw(result: Result):
    """The coupling with the critic's gradients on it, and their cosines with its lines."""
    figure, (panels,) = style.new_figure(
        1, 2, 3.1, r"$\nabla f^*(x_t) = (y - x_t)\,/\,\|y - x_t\|$", width=style.NARROW
    )
    axes = panels[0]
    fake, real = result.pairs
    for x, y in zip(fake, real, strict=True):
        axes.plot(*zip(x, y, strict=True), color="0.75", lw=1, zorder=0)
    middle, arrows = (fake + real) / 2, result.gradients[len(ALONG) // 2]
    axes.quiver(*middle.T, *arrows.T, color=style.CRITIC, angles="xy", scale_units="xy",
                scale=2.5, width=0.008)  # fmt: skip
    axes.plot(*fake.T, "o", color=style.FAKE, markersize=5, label="samples")
    axes.plot(*real.T, "o", color=style.DATA, markersize=5, label="data")
    axes.set(xlim=(-2.6, 2.6), ylim=(-2.6, 3.2), aspect="equal", xticks=[], yticks=[])
    style.label(axes, "Transport; critic (arrows)")
    style.legend(axes, loc="upper center", ncols=2)
    axes = panels[1]
    edges = np.linspace(-1, 1, 21)
    for cosines, color, text in (
        (result.cosines[1], "0.75", "other pairs"),
        (result.cosines[0], style.CRITIC, "coupled pairs"),
    ):
        axes.hist(cosines.ravel(), edges, color=color, label=text)
    axes.axvline(1, **style.CLOSED_FORM)
    axes.set(yticks=[])
    style.label(axes, "Gradient and line", "cosine of their angle", "points")
    style.legend(axes, loc="upper left")
    return figure
