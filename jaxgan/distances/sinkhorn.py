"""Transport with entropy: from W₂ to the distance of means, and differentiable.

Reached as `jaxgan.divergences`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxgan.distances.distributions import as_float, flat_samples, is_traced, weights_or_even

_MOST_ITERATIONS = 20_000
_TOLERANCE = 1e-4  # on the mass that a plan's rows miss


def sinkhorn_divergence(
    x: ArrayLike,
    y: ArrayLike,
    epsilon: float,
    p: float = 2,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
) -> jax.Array:
    """S_ε(α, β) = OT_ε(α, β) − ½ OT_ε(α, α) − ½ OT_ε(β, β), for clouds α and β of points.

    OT_ε(α, β) is the least Σ π_ij |x_i − y_j|^p + ε KL(π‖α⊗β) over transport plans π. The two terms
    of self-transport make S_ε 0 where α = β, and positive elsewhere for p of 1 or 2. It goes from
    W_p^p (ε → 0) to a kernel's distance (ε → ∞), for p = 2 the squared distance of the means.

    Sinkhorn's iterations, in logarithms, with ε halved from the largest cost down. Works under
    `jit`, `vmap` and `grad`: first derivatives in all arguments are those of the dual with its
    potentials held, by the envelope theorem. Second derivatives are not right.

    Args:
      x: points, `[n, ...]`.
      y: points, `[m, ...]`.
      epsilon: the weight of the entropy, in units of the cost. The smaller, the slower; below a
        thousandth of the largest cost float32 may not do.
      p: the exponent of the cost, at least 1.
      x_weights: each point's mass, `[n]`, summing to 1; uniform if absent.
      y_weights: `[m]`, likewise.

    Returns:
      A scalar; under `jit` NaN where the iterations do not converge.

    Raises:
      ValueError: if a cloud is empty or not finite, shapes do not match, weights are negative or do
        not sum to 1, epsilon is not positive, or p < 1.
      RuntimeError: if the iterations do not converge, outside of `jit`.

    References:
      Genevay, Peyré & Cuturi, Learning Generative Models with Sinkhorn Divergences, 2018, eq. 5,
      https://arxiv.org/abs/1706.00292; Feydy et al., Interpolating between Optimal Transport and
      MMD using Sinkhorn Divergences, 2019, eq. 3, 8 and theorem 1,
      https://arxiv.org/abs/1810.08278.
    """
    if not is_traced(epsilon) and not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be positive and finite, got {epsilon}")
    if not 1 <= p < math.inf:
        raise ValueError(f"p must be at least 1 and finite, got {p}")
    x, y = (as_float(a) for a in flat_samples(x=x, y=y))
    a = weights_or_even(len(x), x_weights=x_weights)
    b = weights_or_even(len(y), y_weights=y_weights)
    value = _divergence(x, y, a, b, epsilon, p)
    if not is_traced(value) and np.isnan(value):
        raise RuntimeError(
            f"Sinkhorn's iterations did not converge for epsilon = {epsilon}: take a larger one"
        )
    return value


@functools.partial(jax.jit, static_argnames="p")
def _divergence(x, y, a, b, epsilon, p):
    across = _entropic_cost(_costs(x, y, p), a, b, epsilon)
    of_x = _entropic_cost(_costs(x, x, p), a, a, epsilon, to_itself=True)
    of_y = _entropic_cost(_costs(y, y, p), b, b, epsilon, to_itself=True)
    return across - (of_x + of_y) / 2


def _costs(x, y, p):
    """|x_i − y_j|^p, `[n, m]`."""
    gaps = x[:, None] - y
    # A power of the norm would have no derivative where points meet.
    return jnp.sum(gaps**2, axis=-1) if p == 2 else optax.safe_norm(gaps, 0.0, axis=-1) ** p


def _entropic_cost(cost, a, b, epsilon, to_itself=False):
    """OT_ε as the dual at its best potentials: Σ a f + Σ b g − ε Σ a b (exp((f + g − C)/ε) − 1)."""
    f, g = _potentials(*jax.lax.stop_gradient((cost, a, b, epsilon)), to_itself)
    exponent = (f[:, None] + g - cost) / epsilon
    # Between two points without mass it may be anything.
    density = jnp.exp(jnp.where(a[:, None] * b > 0, exponent, 0.0))
    return a @ f + b @ g - epsilon * (a @ (density - 1) @ b)


def _potentials(cost, a, b, epsilon, to_itself):
    """The best f `[n]` and g `[m]`, of self-transport the same; NaN if iterations don't converge.

    Of self-transport a step goes half of the way (Feydy 2019, sec. 3.1), where whole ones in turn
    would take hundreds of times as many.
    """
    log_a, log_b = jnp.log(a), jnp.log(b)

    def best(cost, log_weights, potential, epsilon):
        return -epsilon * jax.nn.logsumexp((potential - cost) / epsilon + log_weights, axis=1)

    def step(carry):
        f, g, now, _, i = carry
        best_f = best(cost, log_b, g, now)
        # Where f is not the best yet, the rows of the plan do not sum to a.
        missed = jnp.sum(jnp.where(a > 0, a * jnp.abs(jnp.expm1((f - best_f) / now)), 0.0))
        missed = jnp.where(now > epsilon, jnp.inf, missed)
        if to_itself:
            f = g = (f + best_f) / 2
        else:
            f, g = best_f, best(cost.T, log_a, best_f, now)
        return f, g, jnp.maximum(now / 2, epsilon), missed, i + 1

    def goes_on(carry):
        *_, missed, i = carry
        return (missed > _TOLERANCE) & (i < _MOST_ITERATIONS) & told_apart

    largest = jnp.maximum(jnp.max(cost), epsilon).astype(cost.dtype)
    # Of a smaller epsilon costs are rounded to a hundredth: potentials may stand still at the least
    # costs of rows and columns, which are no plan's.
    told_apart = epsilon > 100 * jnp.finfo(cost.dtype).eps * largest
    start = (jnp.zeros_like(a), jnp.zeros_like(b), largest, jnp.asarray(jnp.inf, cost.dtype), 0)
    f, g, _, missed, _ = jax.lax.while_loop(goes_on, step, start)
    found = (missed <= _TOLERANCE) & told_apart
    return jnp.where(found, f, jnp.nan), jnp.where(found, g, jnp.nan)
