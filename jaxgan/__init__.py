"""GAN, WGAN and WGAN-GP as pure JAX functions."""

from jaxgan import divergences, losses, metrics, networks, parallel
from jaxgan.gan import GAN, GANState, Player, gan, over_seeds

__version__ = "0.1.0"

__all__ = [
    "GAN",
    "GANState",
    "Player",
    "divergences",
    "gan",
    "losses",
    "metrics",
    "networks",
    "over_seeds",
    "parallel",
]
