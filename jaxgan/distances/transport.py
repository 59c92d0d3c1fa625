"""Distances that carry mass: the earth mover's, W_p on the line and sliced, W₂ between Gaussians.

Reached as `jaxgan.divergences`.

References:
  Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
  Peyré and Cuturi, Computational Optimal Transport, 2019. https://arxiv.org/abs/1803.00567
"""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

from jaxgan.distances.distributions import (
    as_float,
    check_broadcast,
    check_gaussians,
    check_values,
    flat_samples,
    weights_or_even,
)


def gaussian_w2(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike
) -> jax.Array:
    """W₂ between Gaussians: W₂² = |μ_p − μ_q|² + tr(Σ_p + Σ_q − 2 (Σ_p^½ Σ_q Σ_p^½)^½).

    Arguments and errors as `gaussian_kl`. In one dimension W₂² = (μ_p − μ_q)² + (σ_p − σ_q)².
    First and second derivatives are right and finite, also where eigenvalues repeat; at W₂ = 0
    they are given as 0.

    References:
      Peyré & Cuturi, remark 2.31; Gelbrich 1990; Bhatia, Jain & Lim, On the Bures–Wasserstein
      distance between positive definite matrices, 2019, theorem 1 (the least over U).
    """
    shift, spread, root_p, root_q = check_gaussians(mean_p, cov_p, mean_q, cov_q)
    with jax.default_matmul_precision("highest"):
        move = _least_move(spread, root_p, root_q)
    return _power_mean(jnp.concatenate([shift, move.ravel()]), 1.0, 2)


def _least_move(spread: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """D = BU − A of least norm, U orthogonal: the trace is |D|², and does not cancel as it does.

    Args:
      spread: Σ_q − Σ_p.
      a: A, the Cholesky factor of Σ_p = AAᵀ.
      b: B, that of Σ_q.
    """
    product = b.T @ a
    still = jax.lax.stop_gradient(product)
    p, s, vt = jnp.linalg.svd(still)

    def skew(k):
        """The skew W of HW + WH = K − Kᵀ, where H = V diag(s) Vᵀ is the root of AᵀΣ_qA."""
        return vt.T @ (vt @ (k - k.T) @ vt.T / (s[:, None] + s)) @ vt

    # U = PVᵀ, and to second order in a change of BᵀA = PSVᵀ it is U (I + W + W²/2). The derivatives
    # of P and V themselves are not finite where singular values repeat.
    u = p @ vt
    turn = skew(u.T @ (product - still))  # 0, but not its derivatives
    move = b @ (u + u @ turn + u @ turn @ turn / 2) - a
    # A, B and U were rounded, by more than there is to move where the Gaussians are nearly equal.
    # What D lacks of ADᵀ + DAᵀ + DDᵀ = Σ_q − Σ_p, and then AᵀD of being symmetric, as it is best:
    cross = a @ move.T
    lack = spread - cross - cross.T - move @ move.T
    exact = move + solve_triangular(a, lack / 2, lower=True).T
    exact += (a + exact) @ skew(exact.T @ a)
    exact = jnp.where(jnp.any(spread != 0), exact, 0.0)
    near = jnp.sum(move**2) < 0.01 * jnp.sum(a**2)
    return move + jax.lax.stop_gradient(jnp.where(near, exact - move, 0.0))


def wasserstein_1d(x: ArrayLike, y: ArrayLike, p: float = 1) -> jax.Array:
    """W_p between samples on the line: W_p^p = ∫₀¹ |F_x⁻¹(u) − F_y⁻¹(u)|^p du, by sorting.

    Exact for any two sizes, differentiable, and works under `jit` and `vmap`.

    Args:
      x: samples over the last axis, `[..., n]`.
      y: `[..., m]`; the other axes broadcast.
      p: the exponent of the cost, at least 1 and finite.

    Returns:
      `[...]`.

    Raises:
      ValueError: if a sample is empty or NaN, shapes do not match, or p is not in [1, ∞).

    References:
      Peyré & Cuturi, remark 2.30.
    """
    if not 1 <= p < math.inf:
        raise ValueError(f"p must be at least 1 and finite, got {p}")
    x, y = as_float(x), as_float(y)
    for name, a in (("x", x), ("y", y)):
        if a.ndim == 0 or a.size == 0:
            raise ValueError(f"{name} must be samples [..., n], got shape {a.shape}")
    check_broadcast(x=x[..., :1], y=y[..., :1])
    check_values("be finite", np.isfinite, x=x, y=y)
    # Both quantile functions are constant between neighbours in {i/n} ∪ {j/m}. The sizes are
    # known when tracing, so the steps are found there, in exact integers, in units of 1/(n·m).
    n, m = x.shape[-1], y.shape[-1]
    steps = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    left, length = steps[:-1], np.diff(steps) / (n * m)
    gap = jnp.abs(jnp.sort(x)[..., left // m] - jnp.sort(y)[..., left // n])
    return _power_mean(gap, length, p)


def sliced_wasserstein(
    x: ArrayLike, y: ArrayLike, key: jax.Array, projections: int = 512, p: float = 1
) -> jax.Array:
    """SW_p = (E_θ W_p^p(⟨θ, x⟩, ⟨θ, y⟩))^(1/p) over directions θ uniform on the sphere.

    At most W_p, and cheap: sorting instead of transport. Between x and x + t in d dimensions
    SW₂ = |t|/√d. Differentiable: SW₂² trains a generator without a critic.

    Args:
      x: samples, `[n, ...]`.
      y: samples, `[m, ...]`.
      key: a typed PRNG key, for the directions.
      projections: how many directions the mean is over; its relative error is about their root.
      p: at least 1.

    Returns:
      A scalar.

    Raises:
      ValueError: if samples are empty or not finite, their dimensions differ, p < 1, or there are
        no projections.

    References:
      Rabin et al., Wasserstein Barycenter and Its Application to Texture Mixing, 2011; Bonneel
      et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015; Deshpande et al.,
      Generative Modeling using the Sliced Wasserstein Distance, 2018, eq. 5 (generators),
      https://arxiv.org/abs/1803.11188.
    """
    if projections < 1:
        raise ValueError(f"projections must be at least 1, got {projections}")
    x, y = (jnp.asarray(a, float) for a in flat_samples(x=x, y=y))
    directions = jax.random.normal(key, (x.shape[1], projections))
    directions /= jnp.linalg.norm(directions, axis=0)
    # In full precision, which a GPU's default is not: TF32 keeps three digits.
    x, y = (jnp.matmul(a, directions, precision="highest").T for a in (x, y))
    return _power_mean(wasserstein_1d(x, y, p), 1 / projections, p)


def earth_movers_distance(
    x: ArrayLike,
    y: ArrayLike,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
) -> jax.Array:
    """W₁ between two point clouds, exactly: the least Σ γ_ij |x_i − y_j| over transport plans γ.

    Solved on the host by POT's network simplex in float64; 5,000 against 5,000 points take
    seconds. Also works under `jit` and `vmap`. By the envelope theorem the optimal plan is
    constant to first order, so the derivative in the points is that of the sum with γ held; that
    in the weights is the pair of Kantorovich potentials, each known up to a constant.

    Args:
      x: points, `[n, d]`.
      y: points, `[m, d]`.
      x_weights: each point's mass, `[n]`, summing to 1; uniform if absent.
      y_weights: `[m]`, likewise.

    Returns:
      A scalar.

    Raises:
      ValueError: if a cloud is empty or not finite, shapes do not match, or weights are negative
        or do not sum to 1.
      RuntimeError: if the solver fails.

    References:
      Arjovsky 2017, eq. 1; Peyré & Cuturi, eq. 2.11; Bonneel et al. 2011 (the solver).
    """
    x, y = as_float(x), as_float(y)
    for name, cloud in (("x", x), ("y", y)):
        if cloud.ndim != 2 or cloud.size == 0:
            raise ValueError(f"{name} must be a cloud of points [n, d], got shape {cloud.shape}")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must agree in dimension, got {x.shape} and {y.shape}")
    check_values("be finite", np.isfinite, x=x, y=y)
    n, m = len(x), len(y)
    a = weights_or_even(n, x_weights=x_weights)
    b = weights_or_even(m, y_weights=y_weights)

    x0, y0, a0, b0 = jax.lax.stop_gradient((x, y, a, b))
    # A vertex of the transport polytope moves mass between at most n + m − 1 pairs.
    index = jax.ShapeDtypeStruct((n + m - 1,), np.int32)
    floats = [jax.ShapeDtypeStruct((k,), jnp.result_type(x, y)) for k in (n + m - 1, n, m)]
    i, j, mass, u, v = jax.pure_callback(
        _solve_transport, (index, index, *floats), x0, y0, a0, b0, vmap_method="sequential"
    )
    distance = jnp.sum(mass * optax.safe_norm(x[i] - y[j], 0.0, axis=-1))
    # What is added is 0, but its derivatives in the weights are the potentials.
    return distance + jnp.sum(u * (a - a0)) + jnp.sum(v * (b - b0))


def _solve_transport(x, y, a, b):
    """The optimal plan as (i, j, mass), padded with zeros, and the two potentials."""
    # Here, since importing it takes a second that only this function needs. Where packages are not
    # byte-compiled when they are installed the import compiles, and POT's strings have escape
    # sequences that Python warns of: a DeprecationWarning until 3.11, then a SyntaxWarning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", SyntaxWarning)
        import ot
    from scipy.spatial.distance import cdist

    x, y, a, b = (np.asarray(v) for v in (x, y, a, b))
    dtype, size = np.result_type(x, y), len(x) + len(y) - 1
    i, j = np.zeros(size, np.int32), np.zeros(size, np.int32)
    cost = cdist(x.astype(np.float64), y.astype(np.float64))
    a, b = (w.astype(np.float64) / w.sum(dtype=np.float64) for w in (a, b))
    if not all(np.isfinite(v).all() for v in (cost, a, b)):  # traced, so not refused before
        return i, j, *(np.full(k, np.nan, dtype) for k in (size, len(x), len(y)))
    plan, log = ot.lp.emd(a, b, cost, numItermax=10**9, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"the optimal transport solver failed: {log['warning']}")
    rows, columns = np.nonzero(plan)
    i[: len(rows)], j[: len(rows)] = rows, columns
    mass = np.zeros(size, dtype)
    mass[: len(rows)] = plan[rows, columns]
    return i, j, mass, log["u"].astype(dtype), log["v"].astype(dtype)


def _power_mean(values: jax.Array, weights: ArrayLike, p: float) -> jax.Array:
    """(Σ w |v|^p)^(1/p) over the last axis, with derivative 0 at 0.

    In units of the largest |v|: its own power might be too large for a float, or too small.
    """
    size = jnp.abs(values)
    if p == 1:
        return jnp.sum(weights * size, axis=-1)
    unit = jax.lax.stop_gradient(jnp.max(size, axis=-1, keepdims=True))
    zero = unit == 0
    total = jnp.sum(weights * (size / jnp.where(zero, 1.0, unit)) ** p, axis=-1)
    zero, unit = zero[..., 0], unit[..., 0]
    return jnp.where(zero, 0.0, unit * jnp.where(zero, 1.0, total) ** (1 / p))
