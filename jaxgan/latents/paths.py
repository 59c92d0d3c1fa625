"""Paths between latents, and grids of latents and classes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.losses.base import check_count


def spherical_interpolation(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """From a at t = 0 to b at 1 by equal angles: sin((1−t)ω)/sin ω · a + sin(tω)/sin ω · b.

    A straight line would pass where normal latents hardly ever are, too near to the origin. Between
    parallel latents, and from or to the origin, there is no other.

    Args:
      a: latents `[..., d]`; all arguments broadcast.
      b: likewise.
      t: `[..., 1]`.

    References:
      White, Sampling Generative Networks, 2016, sec. 2.1. https://arxiv.org/abs/1609.04468
    """
    norms = jnp.linalg.norm(a, axis=-1, keepdims=True) * jnp.linalg.norm(b, axis=-1, keepdims=True)
    cosine = jnp.sum(a * b, -1, keepdims=True) / jnp.where(norms > 0, norms, 1)
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    sine = jnp.sin(angle)
    straight = (sine < 1e-4) | (norms == 0)  # there is no angle between them
    safe = jnp.where(straight, 1, sine)
    weights = [jnp.where(straight, part, jnp.sin(part * angle) / safe) for part in (1 - t, t)]
    return weights[0] * a + weights[1] * b


def path(latents: chex.Array, steps: int) -> jax.Array:
    """A path from each latent to the next, by equal angles in so many steps.

    Args:
      latents: `[K, d]`, two or more. A path that ends where it began has the first once more as
        its last.
      steps: from one to the next.

    Returns:
      `[(K − 1)·steps + 1, d]`, whose every steps-th is one of the latents.

    Raises:
      ValueError: for fewer latents or fewer than one step.
    """
    latents = jnp.asarray(latents)
    if latents.ndim != 2 or len(latents) < 2:
        raise ValueError(
            f"a path needs latents [K, d], at least two of them; got shape {list(latents.shape)}."
        )
    check_count("steps", steps)
    first, last = latents[:-1, None], latents[1:, None]
    t = jnp.arange(1, steps)[:, None] / steps
    legs = jnp.concatenate([first, spherical_interpolation(first, last, t)], axis=1)
    return jnp.concatenate([legs.reshape(-1, latents.shape[1]), latents[-1:]])


def class_grid(latents: chex.Array, num_classes: int) -> tuple[jax.Array, np.ndarray]:
    """Each latent with each class, row by row: `run.generate(*)` makes images of them.

    Args:
      latents: `[n, d]`, one for each row.
      num_classes: as many columns.

    Returns:
      Latents `[n·num_classes, d]` and their labels `[n·num_classes]`, 0, 1, ... in each row.
    """
    check_count("num_classes", num_classes)
    rows = jnp.repeat(jnp.asarray(latents), num_classes, axis=0)
    return rows, np.tile(np.arange(num_classes), len(latents))
