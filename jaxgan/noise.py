"""The random numbers of an update, the same on any number of devices; and truncated latents."""

import chex
import jax
import jax.numpy as jnp

from jaxgan.losses.base import check_key, check_positive


def draw_noise(
    key: chex.PRNGKey, batch: int, latent_dim: int, axis_name: str | None = None
) -> tuple[chex.Array, chex.PRNGKey]:
    """The noise of an update: latents `[batch, latent_dim]`, and a key for each example's loss.

    A key for each example, folded from its index in the global batch, makes the noise the same on
    any number of devices.
    """
    check_key(key)
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * batch
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(
        first + jnp.arange(batch)
    )
    latents = jax.vmap(lambda k: jax.random.normal(k, (latent_dim,)))(keys[:, 0])
    return latents, keys[:, 1]


def draw_classes(key: chex.PRNGKey, n: int, num_classes: int) -> chex.Array:
    """Classes drawn uniformly, int32 `[n]`; the first of more are those of fewer."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), 2))(jnp.arange(n))
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, num_classes))(keys)


def truncate(key: chex.PRNGKey, latents: chex.Array, bound: float) -> chex.Array:
    """The latents, with each number beyond ±bound drawn again until it is within.

    What is within stays as it is, so that a sample looks like the one before. Standard normal
    latents become those of the normal truncated at ±bound. A small bound gives typical samples, of
    little variety.

    Args:
      key: a typed PRNG key.
      latents: `[n, d]`. The first of more become those of fewer.
      bound: the largest absolute value, positive.

    Raises:
      ValueError: if the bound is not a positive finite number.

    References:
      Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2018,
        sec. 3.1. https://arxiv.org/abs/1809.11096
    """
    check_key(key)
    check_positive("the bound of a truncation", bound)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), 3))(
        jnp.arange(len(latents))
    )
    # One draw from what is within is what draws until one is within end with.
    again = jax.vmap(
        lambda key: jax.random.truncated_normal(key, -bound, bound, latents.shape[1:])
    )(keys)
    return jnp.where(jnp.abs(latents) > bound, again, latents)
