"""Earth mover's distances between samples, exact and sliced."""

import jax
from jax.typing import ArrayLike

from jaxgan import distances
from jaxgan.distances import sliced_wasserstein as sliced_wasserstein
from jaxgan.distances.distributions import flat_samples


def earth_movers_distance(x: ArrayLike, y: ArrayLike) -> jax.Array:
    """`distances.earth_movers_distance` between samples of any shape, `[n, ...]`, `[m, ...]`."""
    return distances.earth_movers_distance(*flat_samples(x=x, y=y))
