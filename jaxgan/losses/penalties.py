"""Penalties on the critic's gradient.

References:
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxgan.losses.base import CriticFn, at_least_float32, check_key, check_same_shape, scores


def gradient_penalty(
    critic_fn: CriticFn,
    real: chex.Array,
    fake: chex.Array,
    key: chex.PRNGKey,
    target: float = 1.0,
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

    Returns:
      A scalar, in the square of the critic's unit per unit of data.

    Raises:
      ValueError: if real and fake differ in shape, or the critic's scores are not `[B]`.

    References:
      Gulrajani 2017, eq. 3 and Algorithm 1, lines 4 to 7.
    """
    check_same_shape(real, fake)
    batch = real.shape[0]
    epsilon = draw_epsilon(key, batch, at_least_float32(real))
    epsilon = epsilon.reshape((batch,) + (1,) * (real.ndim - 1))
    interpolates = epsilon * real + (1 - epsilon) * fake
    # Scores depend on their own examples alone, so the gradient of their sum holds, row by row,
    # the gradient of each.
    gradients = jax.grad(lambda x: jnp.sum(scores(critic_fn, x)))(interpolates)
    norms = optax.safe_norm(gradients.reshape(batch, -1), min_norm=0.0, axis=1)
    return jnp.mean(jnp.square(norms - target))


def draw_epsilon(key: chex.PRNGKey, batch: int, dtype: Any = jnp.float32) -> chex.Array:
    """The ε of Gulrajani 2017, Algorithm 1, line 4: U[0, 1), `[batch]`.

    From one key, or from each example's own, `[batch]`.
    """
    check_key(key, (batch,))
    if key.ndim == 0:
        return jax.random.uniform(key, (batch,), dtype)
    return jax.vmap(lambda k: jax.random.uniform(k, (), dtype))(key)
