"""Entropies, divergences and distances between distributions, and maximum likelihood.

Everything is in nats. Distributions live on the last axis, other axes broadcast; densities on a
grid pass the size `dx` of its cells, so that a sum becomes an integral. Zero probabilities follow
the papers: 0·log 0 = 0, and a divergence is infinite where the mathematics is. Values are checked
wherever there are values to check: under `jit`, `vmap` and `grad` only shapes are.

Divergences compare densities at the same point, and are here. Distances, which carry mass from
point to point, are in `transport`, and maximum likelihood in `likelihood`; all names are here.

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

from jaxgan.distributions import (
    as_float,
    check_broadcast,
    check_gaussians,
    check_probabilities,
    check_values,
)
from jaxgan.likelihood import (
    Gaussian,
    Mixture,
    bernoulli_log_density,
    gaussian_log_density,
    log_likelihood,
    maximum_likelihood,
    minimise,
    mixture_log_density,
)
from jaxgan.transport import earth_movers_distance, gaussian_w2, wasserstein_1d

__all__ = [
    "Gaussian",
    "Mixture",
    "bernoulli_log_density",
    "cross_entropy",
    "earth_movers_distance",
    "entropy",
    "gan_value",
    "gaussian_kl",
    "gaussian_log_density",
    "gaussian_w2",
    "js",
    "kl",
    "log_likelihood",
    "maximum_likelihood",
    "minimise",
    "mixture_log_density",
    "optimal_discriminator",
    "total_variation",
    "wasserstein_1d",
]


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
    p, q = check_probabilities(dx, p=p, q=q)
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
    total = p + q
    return jnp.where(total > 0, p / jnp.where(total > 0, total, 1.0), 0.5)


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
      ValueError: if shapes do not match, a mean is not finite, or a covariance is not symmetric and
        positive definite.

    References:
      Duchi, Derivations for Linear Algebra and Optimization, 2007, p. 13.
    """
    shift, root_p, root_q = check_gaussians(mean_p, cov_p, mean_q, cov_q)
    trace = jnp.sum(solve_triangular(root_q, root_p, lower=True) ** 2)
    distance = jnp.sum(solve_triangular(root_q, shift, lower=True) ** 2)
    log_det = 2 * jnp.sum(jnp.log(jnp.diag(root_q)) - jnp.log(jnp.diag(root_p)))
    return (trace + distance - shift.size + log_det) / 2


def _x_log_y(x: jax.Array, y: jax.Array) -> jax.Array:
    """x log y with 0 log 0 = 0. Two wheres, since log's derivative at 0 would be NaN times 0."""
    positive = y > 0
    value = x * jnp.log(jnp.where(positive, y, 1.0))
    return jnp.where(positive, value, jnp.where(x > 0, -jnp.inf, 0.0))


def _integral(values: jax.Array, dx: ArrayLike) -> jax.Array:
    return jnp.sum(values * jnp.asarray(dx), axis=-1)
