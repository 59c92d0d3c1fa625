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
    "load",
    "losses",
    "metrics",
    "networks",
    "over_seeds",
    "parallel",
]


def load(workdir, **options):
    """Loads a trained GAN from its run's folder: see `jaxgan.trained.load`."""
    from jaxgan import trained  # checkpoints need orbax, which importing jaxgan does not

    return trained.load(workdir, **options)
