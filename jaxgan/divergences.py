"""Entropies, divergences and distances between distributions, and maximum likelihood.

Everything is in nats. Distributions live on the last axis, other axes broadcast; densities on a
grid pass the size `dx` of its cells, so that a sum becomes an integral. Zero probabilities follow
the papers: 0·log 0 = 0, and a divergence is infinite where the mathematics is. Values are checked
wherever there are values to check: under `jit`, `vmap` and `grad` only shapes are.

References:
  Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
  Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
  Cover and Thomas, Elements of Information Theory, 2nd ed., 2006.
  Peyré and Cuturi, Computational Optimal Transport, 2019. https://arxiv.org/abs/1803.00567
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

Theta = TypeVar("Theta")
LogDensity = Callable[[Theta, jax.Array], jax.Array]

_TOLERANCE = 1e-4  # on a sum of probabilities: float32 rounding, and a grid's cut-off tails


def entropy(p: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """H(p) = −Σ p log p, or the differential entropy −∫ p log p dx.

    Where p is 0 the derivative, infinite in mathematics, is given as 0.

    Args:
      p: probabilities over the last axis, or a density on a grid, `[..., k]`.
      dx: the size of the grid's cells (length, area, ...), a scalar or `[k]`; 1 for probabilities.

    Returns:
      `[...]`.

    Raises:
      ValueError: if p is negative, NaN, does not sum to 1, or has no values.

    References:
      Cover & Thomas, eq. 2.1 and 8.1.
    """
    (p,) = _probabilities(dx, p=p)
    return -_integral(_x_log_y(p, p), dx)


def cross_entropy(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """H(p, q) = −Σ p log q = H(p) + KL(p‖q): infinite where q = 0 < p.

    Arguments, result and errors as `kl`.

    References:
      Cover & Thomas, theorem 5.4.3.
    """
    p, q = _probabilities(dx, p=p, q=q)
    return -_integral(_x_log_y(p, q), dx)


def kl(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """KL(p‖q) = Σ p log(p/q): at least 0, asymmetric, infinite where q = 0 < p.

    Where p is 0 the derivative of p log p, infinite in mathematics, is given as 0.

    Args:
      p: probabilities over the last axis, or a density on a grid, `[..., k]`.
      q: as p; the other axes broadcast.
      dx: the size of the grid's cells, a scalar or `[k]`; 1 for probabilities.

    Returns:
      `[...]`.

    Raises:
      ValueError: if p or q is negative, NaN, does not sum to 1, or their shapes do not match.

    References:
      Arjovsky 2017, sec. 2; Cover & Thomas, eq. 2.26.
    """
    p, q = _probabilities(dx, p=p, q=q)
    return _integral(_x_log_y(p, p) - _x_log_y(p, q), dx)


def js(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """JS(p, q) = ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2: symmetric, at most log 2; √JS is a metric.

    WGAN's sec. 2 leaves the halves out, so that its JS is twice this one. The derivative in a
    probability that is 0 where the other is not, infinite in mathematics, is given as ½ log 2.
    Arguments, result and errors as `kl`.

    References:
      Goodfellow 2014, eq. 5 and 6; Endres & Schindelin, A new metric for probability
      distributions, 2003 (the metric).
    """
    p, q = _probabilities(dx, p=p, q=q)
    # The sum of the two KLs cancels to rounding noise, negative at times, when p ≈ q, and √JS is
    # NaN. In r = (p − q)/(p + q) the same sum is m/2·(log(1 − r²) + 2r artanh r), which does not.
    m = (p + q) / 2
    r = jnp.where(m > 0, (p - q) / jnp.where(m > 0, 2 * m, 1.0), 0.0)
    disjoint = jnp.abs(r) >= 1  # only one of p and q is there
    r = jnp.where(disjoint, 0.0, r)
    terms = jnp.where(disjoint, 2 * math.log(2), jnp.log1p(-r * r) + 2 * r * jnp.arctanh(r))
    return _integral(m / 2 * terms, dx)


def total_variation(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """δ(p, q) = sup_A |p(A) − q(A)| = ½ Σ |p − q|, in [0, 1].

    Arguments, result and errors as `kl`.

    References:
      Arjovsky 2017, sec. 2.
    """
    p, q = _probabilities(dx, p=p, q=q)
    return _integral(jnp.abs(p - q), dx) / 2


def optimal_discriminator(p: ArrayLike, q: ArrayLike) -> jax.Array:
    """D*(x) = p(x)/(p(x) + q(x)), the best discriminator against a fixed generator.

    Outside both supports V does not depend on D; there this returns ½, with zero derivative.

    Args:
      p: the data's density at each x, `[...]`; it need not be normalised.
      q: the generator's, of a shape that broadcasts with p's.

    Raises:
      ValueError: if p or q is negative or NaN, or their shapes do not match.

    References:
      Goodfellow 2014, proposition 1, eq. 2.
    """
    p, q = _as_float(p), _as_float(q)
    _check_broadcast(p=p, q=q)
    _check_values("be non-negative", lambda v: v >= 0, p=p, q=q)
    total = p + q
    return jnp.where(total > 0, p / jnp.where(total > 0, total, 1.0), 0.5)


def gan_value(d: ArrayLike, p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """V(D, G) = E_p log D + E_q log(1 − D), what the two players of a GAN fight over.

    At D* it is C(G) = −log 4 + 2·JS(p, q) (theorem 1).

    Args:
      d: the discriminator's probability that each x is data, `[..., k]`.
      p: the data's distribution, `[..., k]`.
      q: the generator's, `[..., k]`.
      dx: the size of the grid's cells, a scalar or `[k]`; 1 for probabilities.

    Returns:
      `[...]`, at most 0; −inf where D = 0 < p or D = 1 while q > 0.

    Raises:
      ValueError: as `kl`, or if d leaves [0, 1].

    References:
      Goodfellow 2014, eq. 1 and 3.
    """
    d, (p, q) = _as_float(d), _probabilities(dx, p=p, q=q)
    _check_broadcast(d=d, p=p, q=q)
    _check_values("lie in [0, 1]", lambda v: (v >= 0) & (v <= 1), d=d)
    return _integral(_x_log_y(p, d) + _x_log_y(q, 1 - d), dx)


def gaussian_kl(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike
) -> jax.Array:
    """KL(N(μ_p, Σ_p)‖N(μ_q, Σ_q)) = ½ (tr Σ_q⁻¹Σ_p + |μ_q − μ_p|²_Σq⁻¹ − d + log det Σ_q/det Σ_p).

    Args:
      mean_p: `[d]`, or a scalar in one dimension.
      cov_p: the covariance, `[d, d]`, positive definite, or in one dimension the variance.
      mean_q: as mean_p.
      cov_q: as cov_p.

    Returns:
      A scalar.

    Raises:
      ValueError: if shapes do not match or a covariance is not positive definite.

    References:
      Duchi, Derivations for Linear Algebra and Optimization, 2007, p. 13.
    """
    shift, root_p, root_q = _gaussians(mean_p, cov_p, mean_q, cov_q)
    trace = jnp.sum(solve_triangular(root_q, root_p, lower=True) ** 2)
    distance = jnp.sum(solve_triangular(root_q, shift, lower=True) ** 2)
    log_det = 2 * jnp.sum(jnp.log(jnp.diag(root_q)) - jnp.log(jnp.diag(root_p)))
    return (trace + distance - shift.size + log_det) / 2


def gaussian_w2(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike
) -> jax.Array:
    """W₂ between Gaussians: W₂² = |μ_p − μ_q|² + tr(Σ_p + Σ_q − 2 (Σ_p^½ Σ_q Σ_p^½)^½).

    Arguments and errors as `gaussian_kl`. In one dimension W₂² = (μ_p − μ_q)² + (σ_p − σ_q)².

    References:
      Peyré & Cuturi, remark 2.31; Gelbrich 1990.
    """
    shift, root_p, root_q = _gaussians(mean_p, cov_p, mean_q, cov_q)
    # The trace of that square root is the nuclear norm of Σ_p^½ Σ_q^½, the same for any square
    # roots: Cholesky's have finite derivatives where eigenvalues repeat, as eigh's do not.
    product = jnp.matmul(root_p.T, root_q, precision="highest")
    cross = jnp.sum(jnp.linalg.svd(product, compute_uv=False))
    squared = jnp.sum(shift**2) + jnp.sum(root_p**2) + jnp.sum(root_q**2) - 2 * cross
    return _root(squared, 2)


def wasserstein_1d(x: ArrayLike, y: ArrayLike, p: float = 1) -> jax.Array:
    """W_p between samples on the line: W_p^p = ∫₀¹ |F_x⁻¹(u) − F_y⁻¹(u)|^p du, by sorting.

    Exact for any two sizes, differentiable, and works under `jit` and `vmap`.

    Args:
      x: samples over the last axis, `[..., n]`.
      y: `[..., m]`; the other axes broadcast.
      p: the exponent of the cost, at least 1.

    Returns:
      `[...]`.

    Raises:
      ValueError: if a sample is empty or NaN, shapes do not match, or p < 1.

    References:
      Peyré & Cuturi, remark 2.30.
    """
    if not p >= 1:
        raise ValueError(f"p must be at least 1, got {p}")
    x, y = _as_float(x), _as_float(y)
    for name, a in (("x", x), ("y", y)):
        if a.ndim == 0 or a.size == 0:
            raise ValueError(f"{name} must be samples [..., n], got shape {a.shape}")
    _check_broadcast(x=x[..., :1], y=y[..., :1])
    _check_values("be finite", np.isfinite, x=x, y=y)
    # Both quantile functions are constant between neighbours in {i/n} ∪ {j/m}. The sizes are
    # known when tracing, so the steps are found there, in exact integers, in units of 1/(n·m).
    n, m = x.shape[-1], y.shape[-1]
    steps = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    left, length = steps[:-1], np.diff(steps) / (n * m)
    gap = jnp.abs(jnp.sort(x)[..., left // m] - jnp.sort(y)[..., left // n])
    return _root(jnp.sum(gap**p * length, axis=-1), p)


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
    x, y = _as_float(x), _as_float(y)
    for name, cloud in (("x", x), ("y", y)):
        if cloud.ndim != 2 or cloud.size == 0:
            raise ValueError(f"{name} must be a cloud of points [n, d], got shape {cloud.shape}")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must agree in dimension, got {x.shape} and {y.shape}")
    _check_values("be finite", np.isfinite, x=x, y=y)
    n, m = len(x), len(y)
    a = jnp.full(n, 1 / n) if x_weights is None else _weights(n, x_weights=x_weights)
    b = jnp.full(m, 1 / m) if y_weights is None else _weights(m, y_weights=y_weights)

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
    # Here, since importing it takes a second that only this function needs.
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


class Gaussian(NamedTuple):
    """Parameters of N(mean, exp(log_std)²), free to take any real value."""

    mean: ArrayLike
    log_std: ArrayLike


class Mixture(NamedTuple):
    """Parameters, each `[k]`, of a mixture of k Gaussians with weights softmax(logits)."""

    logits: ArrayLike
    mean: ArrayLike
    log_std: ArrayLike


def bernoulli_log_density(logit: ArrayLike, x: ArrayLike) -> jax.Array:
    """log p(x) of a coin, x in {0, 1} of any shape, whose heads have probability σ(logit)."""
    x, logit = jnp.asarray(x), jnp.asarray(logit)
    return x * jax.nn.log_sigmoid(logit) + (1 - x) * jax.nn.log_sigmoid(-logit)


def gaussian_log_density(theta: Gaussian, x: ArrayLike) -> jax.Array:
    """log N(x; mean, std²) for x of any shape."""
    mean, log_std = jnp.asarray(theta.mean), jnp.asarray(theta.log_std)
    z = (jnp.asarray(x) - mean) * jnp.exp(-log_std)
    return -(z**2 + math.log(2 * math.pi)) / 2 - log_std


def mixture_log_density(theta: Mixture, x: ArrayLike) -> jax.Array:
    """log Σ_k softmax(logits)_k N(x; mean_k, std_k²) for x of any shape."""
    component = gaussian_log_density(Gaussian(theta.mean, theta.log_std), jnp.expand_dims(x, -1))
    return jax.nn.logsumexp(jax.nn.log_softmax(theta.logits) + component, axis=-1)


def log_likelihood(
    log_density: LogDensity, theta: Theta, x: ArrayLike, weights: ArrayLike | None = None
) -> jax.Array:
    """The mean log-likelihood (1/n) Σ log p_θ(x_i) of samples, or Σ w_i log p_θ(x_i).

    With x a grid and weights p·dx it is E_p log p_θ = −H(p, p_θ) = −H(p) − KL(p‖p_θ): to maximise
    likelihood is to minimise KL(p‖p_θ) as far as the samples know p.

    Args:
      log_density: a pure function of θ and x `[n, ...]` to log p_θ(x_i), `[n]`.
      theta: the parameters, a pytree.
      x: samples, `[n, ...]`.
      weights: each one's weight, `[n]`, summing to 1; uniform if absent.

    Returns:
      A scalar.

    Raises:
      ValueError: if there are no samples, the densities are not `[n]`, or weights are negative or
        do not sum to 1.

    References:
      Arjovsky 2017, sec. 1.
    """
    x = jnp.asarray(x)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x must be samples [n, ...], got shape {x.shape}")
    values = log_density(theta, x)
    if values.shape != x.shape[:1]:
        raise ValueError(f"log_density must be {x.shape[:1]}, one per sample, got {values.shape}")
    if weights is None:
        return jnp.mean(values)
    weights = _weights(len(values), weights=weights)
    return jnp.sum(weights * jnp.where(weights > 0, values, 0.0))  # 0 log 0 = 0


def maximum_likelihood(
    log_density: LogDensity,
    theta: Theta,
    x: ArrayLike,
    tx: optax.GradientTransformation,
    steps: int,
    weights: ArrayLike | None = None,
) -> tuple[Theta, jax.Array]:
    """Descends the negative log-likelihood from theta: `minimise` of −`log_likelihood`."""
    return minimise(lambda t: -log_likelihood(log_density, t, x, weights), theta, tx, steps)


def minimise(
    objective: Callable[[Theta], jax.Array],
    theta: Theta,
    tx: optax.GradientTransformation,
    steps: int,
) -> tuple[Theta, jax.Array]:
    """Descends an objective for some steps of an optax transformation, as one compiled scan.

    Returns:
      The parameters, and the objective before each step, `[steps]`.
    """

    def step(carry, _):
        theta, opt_state = carry
        value, gradient = jax.value_and_grad(objective)(theta)
        updates, opt_state = tx.update(gradient, opt_state, theta)
        return (optax.apply_updates(theta, updates), opt_state), value

    theta = jax.tree.map(_as_float, theta)
    (theta, _), values = jax.lax.scan(step, (theta, tx.init(theta)), length=steps)
    return theta, values


def _as_float(a: ArrayLike) -> jax.Array:
    a = jnp.asarray(a)
    return a.astype(jnp.result_type(float, a))


def _is_traced(a: ArrayLike) -> bool:
    return isinstance(a, jax.core.Tracer)


def _check_broadcast(**arrays: jax.Array) -> None:
    """Refuses arrays whose last axes differ or whose other axes do not broadcast."""
    shapes = [a.shape for a in arrays.values()]
    last = {shape[-1:] for shape in shapes}
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        last = set()
    if len(last) != 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in zip(arrays, shapes, strict=True))
        raise ValueError(f"shapes do not match: {listed}")


def _check_values(
    rule: str, allowed: Callable[[np.ndarray], np.ndarray], **arrays: ArrayLike
) -> None:
    """Refuses arrays with values that are not allowed, where there are values to see."""
    for name, array in arrays.items():
        if not _is_traced(array) and not (good := allowed(np.asarray(array))).all():
            index = tuple(np.argwhere(~good)[0].tolist())
            raise ValueError(f"{name} must {rule}, got {np.asarray(array)[index]} at {index}")


def _probabilities(dx: ArrayLike, **arrays: ArrayLike) -> list[jax.Array]:
    """Refuses what is no distribution over the last axis; returns floats."""
    floats, dx = {name: _as_float(array) for name, array in arrays.items()}, jnp.asarray(dx)
    for name, p in floats.items():
        if p.ndim == 0 or p.size == 0:
            raise ValueError(f"{name} must be probabilities [..., k], got shape {p.shape}")
        if dx.shape not in ((), p.shape[-1:]):
            raise ValueError(f"dx must be a scalar or {p.shape[-1:]}, got shape {dx.shape}")
    _check_broadcast(**floats)
    _check_values("be positive", lambda v: v > 0, dx=dx)
    _check_values("be non-negative", lambda v: v >= 0, **floats)
    for name, p in floats.items():
        if not _is_traced(p) and not _is_traced(dx):
            total = np.sum(np.asarray(p, np.float64) * np.asarray(dx), axis=-1)
            if not (good := np.abs(total - 1) <= _TOLERANCE).all():
                raise ValueError(f"{name} must sum to 1 (times dx), got {total[~good].flat[0]}")
    return list(floats.values())


def _weights(n: int, **array: ArrayLike) -> jax.Array:
    """Refuses what is not n weights that sum to 1."""
    (name,), (weights,) = array, _probabilities(1.0, **array)
    if weights.shape != (n,):
        raise ValueError(f"{name} must be ({n},), one per point, got shape {weights.shape}")
    return weights


def _x_log_y(x: jax.Array, y: jax.Array) -> jax.Array:
    """x log y with 0 log 0 = 0. Two wheres, since log's derivative at 0 would be NaN times 0."""
    positive = y > 0
    value = x * jnp.log(jnp.where(positive, y, 1.0))
    return jnp.where(positive, value, jnp.where(x > 0, -jnp.inf, 0.0))


def _integral(values: jax.Array, dx: ArrayLike) -> jax.Array:
    return jnp.sum(values * jnp.asarray(dx), axis=-1)


def _root(a: jax.Array, p: float) -> jax.Array:
    """The p-th root, with derivative 0 at 0, and 0 for rounding errors below it."""
    if p == 1:
        return a
    positive = a > 0
    return jnp.where(positive, jnp.where(positive, a, 1.0) ** (1 / p), 0.0)


def _gaussians(mean_p, cov_p, mean_q, cov_q) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checks two Gaussians; returns the difference of means and the Cholesky factors."""
    means = {
        "mean_p": jnp.atleast_1d(_as_float(mean_p)),
        "mean_q": jnp.atleast_1d(_as_float(mean_q)),
    }
    covs = {"cov_p": jnp.atleast_2d(_as_float(cov_p)), "cov_q": jnp.atleast_2d(_as_float(cov_q))}
    d = means["mean_p"].shape[0]
    for name, array in (means | covs).items():
        wanted = (d,) if name in means else (d, d)
        if array.shape != wanted:
            raise ValueError(f"{name} must be {wanted} as mean_p, got {array.shape}")
    roots = {name: jnp.linalg.cholesky(cov) for name, cov in covs.items()}
    for name, root in roots.items():
        if not _is_traced(root) and not np.isfinite(root).all():
            raise ValueError(f"{name} must be positive definite, got {covs[name].tolist()}")
    return means["mean_q"] - means["mean_p"], roots["cov_p"], roots["cov_q"]
