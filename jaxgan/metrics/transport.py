"""Earth mover's distances between samples, exact and sliced."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgan import distances
from jaxgan.distances.distributions import flat_samples


def earth_movers_distance(x: ArrayLike, y: ArrayLike) -> jax.Array:
    """`distances.earth_movers_distance` between samples of any shape, `[n, ...]`, `[m, ...]`."""
    return distances.earth_movers_distance(*flat_samples(x=x, y=y))


def sliced_wasserstein(
    x: ArrayLike, y: ArrayLike, key: jax.Array, projections: int = 512, p: float = 1
) -> jax.Array:
    """SW_p = (E_θ W_p^p(⟨θ, x⟩, ⟨θ, y⟩))^(1/p) over directions θ uniform on the sphere.

    At most W_p, and cheap: sorting instead of transport. Between x and x + t in d dimensions
    SW₂ = |t|/√d.

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
      et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015.
    """
    if projections < 1:
        raise ValueError(f"projections must be at least 1, got {projections}")
    x, y = (jnp.asarray(a, float) for a in flat_samples(x=x, y=y))
    directions = jax.random.normal(key, (x.shape[1], projections))
    directions /= jnp.linalg.norm(directions, axis=0)
    # In full precision, which a GPU's default is not: TF32 keeps three digits.
    x, y = (jnp.matmul(a, directions, precision="highest").T for a in (x, y))
    each = distances.wasserstein_1d(x, y, p)
    return jnp.mean(each**p) ** (1 / p)
