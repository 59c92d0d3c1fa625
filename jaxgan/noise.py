"""The random numbers of an update, the same on any number of devices."""

import chex
import jax
import jax.numpy as jnp

from jaxgan.losses.base import check_key


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
