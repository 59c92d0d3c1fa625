"""GAN, WGAN and WGAN-GP as pure JAX functions."""

import importlib

from jaxgan import distances, divergences, losses, metrics, networks, parallel
from jaxgan.gan import GAN, GANState, Player, gan, over_seeds

__version__ = "0.1.0"

# Imported at first use: they need more than jax, flax, optax and chex.
_LATER = ("checkpoint", "config", "data", "plots", "trained")

__all__ = [
    "GAN",
    "GANState",
    "Player",
    "data",
    "distances",
    "divergences",
    "gan",
    "load",
    "losses",
    "metrics",
    "networks",
    "over_seeds",
    "parallel",
    "plots",
]


def load(workdir, **options):
    """Loads a trained GAN from its run's folder: see `jaxgan.trained.load`."""
    from jaxgan import trained  # checkpoints need orbax, which importing jaxgan does not

    return trained.load(workdir, **options)


def __getattr__(name):
    if name in _LATER:
        return importlib.import_module(f"jaxgan.{name}")
    raise AttributeError(f"module 'jaxgan' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LATER})
