"""Log-likelihood of samples under a parametric model, and its maximum by gradient descent.

Reached as `jaxgan.divergences`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxgan.distances.distributions import as_float, check_values, check_weights

Theta = TypeVar("Theta")
LogDensity = Callable[[Theta, jax.Array], jax.Array]


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
    """log p(x) of a coin, x in {0, 1} of any shape, whose heads have probability σ(logit).

    Raises:
      ValueError: if x holds anything else.
    """
    check_values("be 0 or 1", lambda v: (v == 0) | (v == 1), x=x)
    x, logit = jnp.asarray(x), jnp.asarray(logit)
    return x * jax.nn.log_sigmoid(logit) + (1 - x) * jax.nn.log_sigmoid(-logit)


def gaussian_log_density(theta: Gaussian, x: ArrayLike) -> jax.Array:
    """log N(x; mean, std²) for x of any shape."""
    mean, log_std = jnp.asarray(theta.mean), jnp.asarray(theta.log_std)
    z = (jnp.asarray(x) - mean) * jnp.exp(-log_std)
    return -(z**2 + math.log(2 * math.pi)) / 2 - log_std


def mixture_log_density(theta: Mixture, x: ArrayLike) -> jax.Array:
    """log Σ_k softmax(logits)_k N(x; mean_k, std_k²) for x of any shape.

    Raises:
      ValueError: if the parameters are not all of one shape [k].
    """
    shapes = [np.shape(each) for each in theta]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"logits, mean and log_std must be of one shape [k], got {shapes}")
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
      ValueError: if there are no samples or one is not finite, the densities are not `[n]`, or
        weights are negative or do not sum to 1.

    References:
      Arjovsky 2017, sec. 1.
    """
    x = jnp.asarray(x)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x must be samples [n, ...], got shape {x.shape}")
    check_values("be finite", np.isfinite, x=x)
    values = log_density(theta, x)
    if values.shape != x.shape[:1]:
        raise ValueError(f"log_density must be {x.shape[:1]}, one per sample, got {values.shape}")
    if weights is None:
        return jnp.mean(values)
    weights = check_weights(len(values), weights=weights)
    return jnp.sum(weights * jnp.where(weights > 0, values, 0.0))  # 0 log 0 = 0


def maximum_likelihood(
    log_density: LogDensity,
    theta: Theta,
    x: ArrayLike,
    tx: optax.GradientTransformation,
    steps: int,
    weights: ArrayLike | None = None,
) -> tuple[Theta, jax.Array]:
    """Descends the negative log-likelihood from theta: `minimise` of minus `log_likelihood`."""
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

    theta = jax.tree.map(as_float, theta)
    (theta, _), values = jax.lax.scan(step, (theta, tx.init(theta)), length=steps)
    return theta, values
