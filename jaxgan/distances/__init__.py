"""Entropies, divergences and distances between distributions, and maximum likelihood.

Divergences compare densities at the same point; distances, in `transport` and `sinkhorn`, carry
mass from point to point; maximum likelihood is in `likelihood`. All names are here.
"""

from jaxgan.distances.divergences import (
    cross_entropy,
    entropy,
    gan_value,
    gaussian_kl,
    js,
    kl,
    optimal_discriminator,
    total_variation,
)
from jaxgan.distances.likelihood import (
    Gaussian,
    Mixture,
    bernoulli_log_density,
    gaussian_log_density,
    log_likelihood,
    maximum_likelihood,
    minimise,
    mixture_log_density,
)
from jaxgan.distances.sinkhorn import sinkhorn_divergence
from jaxgan.distances.transport import (
    earth_movers_distance,
    gaussian_w2,
    sliced_wasserstein,
    wasserstein_1d,
)

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
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "total_variation",
    "wasserstein_1d",
]
