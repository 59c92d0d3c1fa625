"""Entropies, and divergences, which compare densities at the same point.

Everything is in nats. Distributions live on the last axis, other axes broadcast; densities on a
grid pass the size `dx` of its cells, so that a sum becomes an integral. Zero probabilities follow
the papers: 0·log 0 = 0, and a divergence is infinite where the mathematics is. Values are checked
wherever there are values to check: under `jit`, `vmap` and `grad` only shapes are. What comes in
half precision is computed in float32.

References:
  Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
  Arjovsky et al., Wasserstein GAN, 2017. https://arxiv.org/abs/1701.07875
  Cover and Thomas, Elements of Information Theory, 2nd ed., 2006.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

from jaxgan.distances.distributions import (
    as_float,
    check_broadcast,
    check_gaussians,
    check_probabilities,
    check_values,
)


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
    (p,) = check_probabilities(dx, p=p)
    return -_integral(_x_log_y(p, p), dx)


def cross_entropy(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """H(p, q) = −Σ p log q = H(p) + KL(p‖q): infinite where q = 0 < p.

    Arguments, result and errors as `kl`.

    References:
      Cover & Thomas, theorem 5.4.3.
    """
    p, q = check_probabilities(dx, p=p, q=q)
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
    p, q = check_probabilities(dx, p=p, q=q)
    infinite = jnp.where((q == 0) & (p > 0), jnp.inf, 0.0)
    return _integral(p * _log_ratio(p, q) + infinite, dx)


def js(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """JS(p, q) = ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2: symmetric, at most log 2; √JS is a metric.

    WGAN's sec. 2 leaves the halves out, so that its JS is twice this one. The derivative in a
    probability that is 0 where the other is not, infinite in mathematics, is given as ½ log 2.
    Arguments, result and errors as `kl`.

    References:
      Goodfellow 2014, eq. 5 and 6; Endres & Schindelin, A new metric for probability
      distributions, 2003 (the metric).
    """
    p, q = check_probabilities(dx, p=p, q=q)
    return _integral(_js_terms(p, q), dx)


def total_variation(p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """δ(p, q) = sup_A |p(A) − q(A)| = ½ Σ |p − q|, in [0, 1].

    Arguments, result and errors as `kl`.

    References:
      Arjovsky 2017, sec. 2.
    """
    p, q = check_probabilities(dx, p=p, q=q)
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
    p, q = as_float(p), as_float(q)
    check_broadcast(p=p, q=q)
    check_values("be non-negative", lambda v: v >= 0, p=p, q=q)
    return _share(p, q)


def gan_value(d: ArrayLike, p: ArrayLike, q: ArrayLike, dx: ArrayLike = 1.0) -> jax.Array:
    """V(D, G) = E_p log D + E_q log(1 − D), what the two players of a GAN fight over.

    At D* it is C(G) = −log 4 + 2·JS(p, q) (theorem 1).

    Args:
      d: the discriminator's probability that each x is data, `[..., k]`, or one for all.
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
    d, (p, q) = as_float(d), check_probabilities(dx, p=p, q=q)
    d = d if d.ndim else jnp.broadcast_to(d, p.shape[-1:])
    check_broadcast(d=d, p=p, q=q)
    check_values("lie in [0, 1]", lambda v: (v >= 0) & (v <= 1), d=d)
    # Not the logarithm of 1 − d, which rounds a small d away.
    return _integral(_x_log_y(p, d) + _x_log_y(q, -d, jnp.log1p, zero_at=-1.0), dx)


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
      ValueError: if shapes do not match, a mean is not finite, or a covariance is not symmetric and
        positive definite.

    References:
      Duchi, Derivations for Linear Algebra and Optimization, 2007, p. 13.
    """
    shift, spread, root_p, root_q = check_gaussians(mean_p, cov_p, mean_q, cov_q)

    def whiten(a):
        return solve_triangular(root_q, a, lower=True)

    # With I + C = L_q⁻¹ L_p the trace is |I + C|² and the determinant's root Π (1 + c_i), c the
    # diagonal of C. Where the Gaussians are alike the four terms cancel, and those of C do not.
    excess = whiten(root_p - root_q)
    # Both factors were rounded. What C then lacks of C + Cᵀ + CCᵀ = −L_q⁻¹ (Σ_q − Σ_p) L_q⁻ᵀ:
    square = jnp.matmul(excess, excess.T, precision="highest")
    lack = jnp.tril(-whiten(whiten(spread).T) - excess - excess.T - square)
    lack = jax.lax.stop_gradient(lack - jnp.diag(jnp.diag(lack)) / 2)
    excess = excess + jnp.where(jnp.max(jnp.abs(excess)) < 0.1, lack, 0.0)
    gap = jnp.sum(_minus_log1p(jnp.diag(excess)))
    return (jnp.sum(excess**2) + jnp.sum(whiten(shift) ** 2)) / 2 + gap


def _x_log_y(x, y, log=jnp.log, zero_at=0.0):
    """x log y with 0 log 0 = 0. Two wheres, since log's derivative at 0 would be NaN times 0."""
    zero = y == zero_at
    value = x * log(jnp.where(zero, zero_at + 1, y))
    return jnp.where(zero, jnp.where(x > 0, -jnp.inf, 0.0), value)


# Below, each derivative is written down: that of the code before it would subtract numbers that
# agree in most of their digits, or divide by squares that float32 cannot hold. Zeros are compared
# by ==, so that a NaN, which traced code cannot refuse, stays one.


@jax.custom_jvp
def _log_ratio(p, q):
    """log(p/q), in which a zero counts as one, so that p times it is right where p is 0."""
    p, q = jnp.where(p == 0, 1.0, p), jnp.where(q == 0, 1.0, q)
    return _log_quotient(p, q, p - q)


@_log_ratio.defjvp
def _(primals, tangents):
    slopes = (jnp.where(v == 0, 0.0, 1 / jnp.where(v == 0, 1.0, v)) for v in primals)
    dp, dq = (slope * dv for slope, dv in zip(slopes, tangents, strict=True))
    return _log_ratio(*primals), dp - dq


@jax.custom_jvp
def _js_terms(p, q):
    """½ (p log p/m + q log q/m), m = (p + q)/2.

    Where p ≈ q the two summands cancel to rounding noise, negative at times, and √JS would be NaN.
    In r = (p − q)/(p + q) they are m (log(1 − r²) + 2r artanh r), whose summands do not cancel. Far
    from r = 0 it is that form which loses digits, since 1 − r² does.
    """
    m = (p + q) / 2
    r = (p - q) / jnp.where(m == 0, 1.0, 2 * m)
    near = jnp.abs(r) < 0.5
    r = jnp.where(near, r, 0.0)
    alike = m * (jnp.log1p(-r * r) + 2 * r * jnp.arctanh(r))
    apart = p * _log_over_mean(p, q) + q * _log_over_mean(q, p)
    return jnp.where(near, alike, apart) / 2


@_js_terms.defjvp
def _(primals, tangents):
    (p, q), (dp, dq) = primals, tangents
    slope = (_log_over_mean(p, q) * dp + _log_over_mean(q, p) * dq) / 2
    return _js_terms(p, q), slope


@jax.custom_jvp
def _log_over_mean(p, q):
    """log(p/m), m = (p + q)/2: twice the derivative of JS in p, so by convention log 2 at 0."""
    there = p != 0
    a, m = jnp.where(there, p, 1.0), jnp.where(there, p + q, 2.0) / 2
    value = _log_quotient(a, m, jnp.where(there, p - q, 0.0) / 2)
    return jnp.where(there, value, jnp.where(q > 0, math.log(2), 0.0))


@_log_over_mean.defjvp
def _(primals, tangents):
    (p, q), (dp, dq) = primals, tangents
    there, some = p != 0, p + q != 0
    slope_p = jnp.where(there, _share(q, p) / jnp.where(there, p, 1.0), 0.0)
    slope_q = jnp.where(some, -1 / jnp.where(some, p + q, 1.0), 0.0)
    return _log_over_mean(p, q), slope_p * dp + slope_q * dq


@jax.custom_jvp
def _share(p, q):
    """p/(p + q), and ½ where both are 0."""
    total = p + q
    return jnp.where(total == 0, 0.5, p / jnp.where(total == 0, 1.0, total))


@_share.defjvp
def _(primals, tangents):
    (p, q), (dp, dq) = primals, tangents
    some = p + q != 0
    slope = (_share(q, p) * dp - _share(p, q) * dq) / jnp.where(some, p + q, 1.0)
    return _share(p, q), jnp.where(some, slope, 0.0)


def _log_quotient(a, b, difference):
    """log(a/b) of positive numbers from their quotient, and near 1 from their difference a − b."""
    near = jnp.abs(difference) < b / 2
    quotient, tiny = a / b, jnp.finfo(difference.dtype).tiny
    fits = (quotient > tiny) & (quotient < 1 / tiny)
    # Where it does not fit the logarithms lie far apart, and do not cancel.
    log = jnp.where(fits, jnp.log(jnp.where(fits, quotient, 1.0)), jnp.log(a) - jnp.log(b))
    return jnp.where(near, jnp.log1p(jnp.where(near, difference / b, 0.0)), log)


def _minus_log1p(c):
    """c − log(1 + c), by the series in r = c/(2 + c), log(1 + c) = 2r + 2r³/3 + …, near 0."""
    near = jnp.abs(c) < 0.5
    r = jnp.where(near, c / (2 + c), 0.0)
    series = c * r - 2 * sum(r**k / k for k in range(3, 25, 2))
    return jnp.where(near, series, c - jnp.log1p(jnp.where(near, 0.0, c)))


def _integral(values: jax.Array, dx: ArrayLike) -> jax.Array:
    return jnp.sum(values * jnp.asarray(dx), axis=-1)
