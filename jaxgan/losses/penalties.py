"""Penalties on the critic's gradient.

References:
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
  Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018.
    https://arxiv.org/abs/1801.04406
"""

from typing import Any, TypeVar

import chex
import jax
import jax.numpy as jnp
import optax

from jaxgan.losses.base import (
    CriticFn,
    Loss,
    StatefulLoss,
    at_least_float32,
    check_key,
    check_positive,
    check_same_shape,
    scores,
)

AnyLoss = TypeVar("AnyLoss", Loss, StatefulLoss)


def gradient_penalty(
    critic_fn: CriticFn,
    real: chex.Array,
    fake: chex.Array,
    key: chex.PRNGKey,
    target: float = 1.0,
    one_sided: bool = False,
) -> chex.Array:
    """Mean squared deviation of the critic's gradient norm from `target`, unweighted.

    E (‖∇f(x̂)‖₂ − target)², x̂ = ε·x + (1 − ε)·G(z), one ε ~ U[0, 1) per example, the norm over
    everything but the batch. Where the gradient is exactly zero the norm is 0 and its own
    derivative is taken as 0, the subgradient of least norm: a plain norm gives NaN there.

    Args:
      critic_fn: maps `[B, ...]` to `[B]`, each score from its own example alone.
      real: `[B, ...]`.
      fake: the same shape.
      key: a typed PRNG key, or one key per example, `[B]`.
      target: the norm aimed at; 1 in the paper.
      one_sided: whether only norms above it count, as in Petzka 2018.

    Returns:
      A scalar, in the square of the critic's unit per unit of data.

    Raises:
      ValueError: if real and fake differ in shape, or the critic's scores are not `[B]`.

    References:
      Gulrajani 2017, eq. 3 and Algorithm 1, lines 4 to 7.
    """
    deviations = slope_norms(critic_fn, interpolate(real, fake, key)) - target
    return jnp.mean(jnp.square(jax.nn.relu(deviations) if one_sided else deviations))


def slope_to_the_power(
    critic_fn: CriticFn, real: chex.Array, fake: chex.Array, key: chex.PRNGKey, p: float
) -> chex.Array:
    """E ‖∇f(x̂)‖₂ᵖ at the interpolates of `gradient_penalty`, a scalar.

    References:
      Wu et al., Wasserstein Divergence for GANs, 2018. https://arxiv.org/abs/1712.01026
    """
    return jnp.mean(slope_norms(critic_fn, interpolate(real, fake, key)) ** p)


def interpolate(real: chex.Array, fake: chex.Array, key: chex.PRNGKey) -> chex.Array:
    """The x̂ = ε·x + (1 − ε)·G(z) of Gulrajani 2017, Algorithm 1, line 5, as `real`'s shape.

    Raises:
      ValueError: if real and fake differ in shape.
    """
    check_same_shape(real, fake)
    batch = real.shape[0]
    epsilon = draw_epsilon(key, batch, at_least_float32(real))
    epsilon = epsilon.reshape((batch,) + (1,) * (real.ndim - 1))
    return epsilon * real + (1 - epsilon) * fake


def slope_norms(critic_fn: CriticFn, x: chex.Array) -> chex.Array:
    """‖∇f(x)‖₂ at each example, `[B]`; its derivative is taken as 0 where it is 0."""
    return optax.safe_norm(_slopes(critic_fn, x), min_norm=0.0, axis=1)


def squared_slope(critic_fn: CriticFn, x: chex.Array) -> chex.Array:
    """E ‖∇f(x)‖², the mean over a batch: twice R1 at γ = 1 on data, twice R2 on samples.

    Args:
      critic_fn: maps `[B, ...]` to `[B]`, each score from its own example alone.
      x: `[B, ...]`.

    Returns:
      A scalar, in the square of the critic's unit per unit of data.

    Raises:
      ValueError: if the critic's scores are not `[B]`.

    References:
      Mescheder 2018, eq. 9 and 10.
    """
    return jnp.mean(jnp.sum(jnp.square(_slopes(critic_fn, x)), axis=1))


def with_r1(loss: AnyLoss, gamma: float) -> AnyLoss:
    """The loss with R1: the critic also minimises γ/2·E ‖∇f(x)‖² over the data.

    Args:
      loss: any `Loss` or `StatefulLoss` whose critic scores each example by itself.
      gamma: γ, not negative. Mescheder uses 10.

    Returns:
      A loss that also reports `r1`, the mean of ‖∇f(x)‖².

    Raises:
      ValueError: if gamma is negative or not finite.

    References:
      Mescheder 2018, eq. 9.
    """
    return _with_penalty(loss, "r1", gamma, lambda real, fake: real)


def with_r2(loss: AnyLoss, gamma: float) -> AnyLoss:
    """The loss with R2, which is R1 on the generator's samples: see `with_r1`. It reports `r2`.

    References:
      Mescheder 2018, eq. 10.
    """
    return _with_penalty(loss, "r2", gamma, lambda real, fake: fake)


def _with_penalty(loss, name, gamma, choose):
    check_positive("gamma", gamma, or_zero=True)
    if isinstance(loss, StatefulLoss):
        at = loss.at
        return loss._replace(
            at=lambda state, step: _with_penalty(at(state, step), name, gamma, choose)
        )
    if not hasattr(loss, "critic"):
        raise ValueError(
            f"with_{name} must be given a Loss, as losses.bce() is; got {loss!r}. Where the loss "
            f"is a function of the step, call with_{name} inside it."
        )

    def critic(critic_fn, real, fake, key):
        value, metrics = loss.critic(critic_fn, real, fake, key)
        penalty = squared_slope(critic_fn, choose(real, fake))
        total = value + gamma / 2 * penalty
        # What is minimised is what is logged.
        changed = {"d_loss": total} if "d_loss" in metrics else {}
        return total, metrics | changed | {name: penalty}

    others, low = (getattr(loss, name, False) for name in ("scores_others", "lower_is_real"))
    return Loss(critic, loss.generator, loss.project, True, others, low)


def _slopes(critic_fn, x):
    """The critic's gradient at each example, `[B, D]`.

    Scores depend on their own examples alone, so the gradient of their sum holds, row by row, the
    gradient of each.
    """
    gradients = jax.grad(lambda x: jnp.sum(scores(critic_fn, x)))(x)
    return gradients.reshape(len(x), -1)


def draw_epsilon(key: chex.PRNGKey, batch: int, dtype: Any = jnp.float32) -> chex.Array:
    """The ε of Gulrajani 2017, Algorithm 1, line 4: U[0, 1), `[batch]`.

    From one key, or from each example's own, `[batch]`.
    """
    check_key(key, (batch,))
    if key.ndim == 0:
        return jax.random.uniform(key, (batch,), dtype)
    return jax.vmap(lambda k: jax.random.uniform(k, (), dtype))(key)
