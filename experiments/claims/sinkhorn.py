"""The Sinkhorn divergence: a distance between W₂² and that of means, with a slope for generators.

Transport with entropy, OT_ε(p, q), is the least E_π|x − y|² + ε·KL(π‖p⊗q) over plans π that carry p
to q. It is fast to compute and smooth, but OT_ε(p, p) > 0; what is 0 at q = p is

    S_ε(p, q) = OT_ε(p, q) − ½·OT_ε(p, p) − ½·OT_ε(q, q)

(Genevay et al. 2018, eq. 5; Feydy et al. 2019, eq. 3 and theorem 1: positive, convex in each of p
and q, 0 only where they are equal). For ε → 0 it is W₂², for ε → ∞ |E_p x − E_q x|²
(Feydy 2019, eq. 4).

Between Gaussians OT_ε is known (Janati et al. 2020, theorem 1, whose ε is 2σ²). On the line, with
variances a and b and s = ε/2,

    OT_ε = |Δμ|² + a + b − d + s(1 − log 2s) + s·log(d + s),   d = √(4ab + s²),

and in more dimensions the sum of this over the eigenvalues of A^½BA^½, which take the place of ab.
The closed form is for densities: here the library's iterations see the two Gaussians as masses on a
grid, which is exact to rounding, or 500 samples of each, which are not.

A generator is trained by S_ε of a batch: no critic, no game.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from claims import style
from claims.number import Number, Numbers
from claims.ring import draw_ring, of_ring, train_on_ring
from claims.training import key_of
from jaxgan import distances

TITLE = "The Sinkhorn divergence"
PARTS = 3

SOURCE = "Janati 2020, theorem 1"
EPSILONS = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0])
GAP, SPREAD = 1.0, 3.0  # N(0, 1) against N(GAP, SPREAD²)
POINTS = 300  # of a grid
PLANE = (np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([[2.0, -0.8], [-0.8, 1.0]]))
PLANE_GAP, PLANE_EPSILON, SAMPLES, REPEATS = np.array([1.0, 0.5]), 2.0, 500, 4
STEPS, EPSILON = 300, 0.03  # of training


class Result(NamedTuple):
    """What was measured.

    Attributes:
      numbers: entries of `theory.json`.
      values: S_ε on the grid, at each of EPSILONS.
      samples: of the trained generator, `[2500, 2]`.
    """

    numbers: Numbers
    values: np.ndarray
    samples: np.ndarray


def measure(scale: float = 1.0, tick=lambda: None, seed: int = 0) -> Result:
    """Takes S_ε between Gaussians, its gradient, and trains a generator on it.

    Args:
      scale: multiplies the number of updates.
      tick: called after each part.
      seed: of samples and training.
    """
    numbers: Numbers = {}
    values = []
    for epsilon in EPSILONS:
        (value, slope), (closed, closed_slope) = on_grid(epsilon), closed_form(epsilon)
        values.append(float(value))
        # Rounding, of OT_ε of the order of ε; and the iterations stop where a plan's rows miss
        # 1e-4 of the mass, which changes the value to second order, and its slope to first.
        numbers |= {
            f"sinkhorn.value@epsilon={epsilon:g}": Number(
                f"S_ε between N(0, 1) and N({GAP:g}, {SPREAD:g}²), ε = {epsilon:g}",
                SOURCE, float(closed), float(value), 2e-5 + 1e-7 * epsilon, "algebra",
            ),
            f"sinkhorn.slope@epsilon={epsilon:g}": Number(
                f"its derivative in the second one's deviation, ε = {epsilon:g}",
                SOURCE, float(closed_slope), float(slope), 1e-3, "algebra",
            ),
        }  # fmt: skip
    ends = ((0, GAP**2 + (SPREAD - 1) ** 2, "W₂²"), (-1, GAP**2, "|Δμ|²"))
    for end, limit, text in ends:
        # The closed form's own distance to its limit.
        left = abs(numbers[f"sinkhorn.value@epsilon={EPSILONS[end]:g}"].closed_form - limit)
        numbers[f"sinkhorn.limit.{'small' if end == 0 else 'large'}"] = Number(
            f"S_ε at ε = {EPSILONS[end]:g}: {text}, in the limit",
            "Feydy 2019, eq. 4", limit, values[end], 1.1 * left, "algebra",
        )  # fmt: skip
    tick()
    numbers["sinkhorn.plane"] = of_samples(key_of(seed))
    tick()
    samples, score, w1 = train_on_ring(sinkhorn_of_batch, int(STEPS * scale), seed)
    numbers |= of_ring("sinkhorn", "Genevay 2018, sec. 3", score, w1, most=0.35)
    tick()
    return Result(numbers, np.array(values), samples)


def of_gaussians(gap, spread, epsilon):
    """S_ε between N(0, 1) and N(gap, spread²)."""
    b, s = spread**2, epsilon / 2

    def cost(a, b):
        d = jnp.sqrt(4 * a * b + s**2)
        return a + b - d + s * jnp.log1p(d / s)  # what depends on s alone cancels

    return gap**2 + cost(1.0, b) - (cost(1.0, 1.0) + cost(b, b)) / 2


def of_gaussians_in_plane(gap, a, b, epsilon) -> float:
    """S_ε between N(0, A) and N(gap, B)."""
    s = epsilon / 2

    def cost(a, b):
        d = np.sqrt(4 * np.linalg.eigvals(a @ b).real + s**2)  # those of A^½BA^½
        return np.trace(a + b) + np.sum(s * np.log1p(d / s) - d)

    return float(gap @ gap + cost(a, b) - (cost(a, a) + cost(b, b)) / 2)


@jax.jit
def closed_form(epsilon) -> tuple[jax.Array, jax.Array]:
    """S_ε between N(0, 1) and N(GAP, SPREAD²), and its slope in SPREAD."""
    return jax.value_and_grad(of_gaussians, argnums=1)(GAP, SPREAD, epsilon)


@jax.jit
def on_grid(epsilon) -> tuple[jax.Array, jax.Array]:
    """S_ε of the same two as masses on grids, and its slope."""
    z = jnp.linspace(-5.5, 5.5, POINTS)[:, None]
    mass = norm.pdf(z[:, 0]) / jnp.sum(norm.pdf(z))

    def value(spread):
        return distances.sinkhorn_divergence(
            z, GAP + spread * z, epsilon, x_weights=mass, y_weights=mass
        )

    return jax.value_and_grad(value)(SPREAD)


def of_samples(key: jax.Array) -> Number:
    """The mean over REPEATS of S_ε between samples of two Gaussians in the plane."""
    roots = [jnp.asarray(np.linalg.cholesky(cov), jnp.float32) for cov in PLANE]

    def value(key):
        x, y = jax.random.normal(key, (2, SAMPLES, 2))
        return distances.sinkhorn_divergence(
            x @ roots[0].T, y @ roots[1].T + PLANE_GAP, PLANE_EPSILON
        )

    values = jax.jit(lambda keys: jax.lax.map(value, keys))(jax.random.split(key, REPEATS))
    return Number(
        f"S_ε between {SAMPLES} samples each of two Gaussians in the plane, "
        f"ε = {PLANE_EPSILON:g}",
        SOURCE, of_gaussians_in_plane(PLANE_GAP, *PLANE, PLANE_EPSILON),
        float(jnp.mean(values)), 0.35, "sampled",
    )  # fmt: skip


def sinkhorn_of_batch(fake: jax.Array, real: jax.Array, key: jax.Array) -> jax.Array:
    """What the generator minimises."""
    del key
    return distances.sinkhorn_divergence(fake, real, epsilon=EPSILON)


def draw(result: Result):
    """S_ε over ε between its limits, and the trained generator's samples."""
    figure, (panels,) = style.new_figure(
        1, 2, 2.9, r"$S_\varepsilon$: from $W_2^2$ to the squared distance of means",
        width=style.NARROW,
    )  # fmt: skip
    axes = panels[0]
    fine = np.geomspace(EPSILONS[0] / 2, EPSILONS[-1] * 2, 60)
    axes.plot(fine, [of_gaussians(GAP, SPREAD, e) for e in fine], **style.CLOSED_FORM,
              label="closed form")  # fmt: skip
    axes.plot(EPSILONS, result.values, **style.DOT, color=style.CRITIC, label="Sinkhorn")
    for limit, text in ((GAP**2 + (SPREAD - 1) ** 2, "W₂²"), (GAP**2, "|Δμ|²")):
        axes.axhline(limit, color="0.8", lw=0.8, zorder=0)
        axes.text(fine[0], limit + 0.25, text, ha="left",
                  fontsize="small")  # fmt: skip
    axes.set(xscale="log", ylim=(0, 6.3))
    style.label(axes, "N(0, 1) and N(1, 3²)", "ε, weight of the entropy", "S")
    style.legend(axes, loc="center left")
    draw_ring(panels[1], result.samples, "Trained on it, no critic")
    return figure
