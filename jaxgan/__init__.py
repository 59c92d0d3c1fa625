"""Generative adversarial networks as pure JAX functions, and a trainer for them."""

import importlib

from jaxgan import augment, distances, divergences, losses, metrics, networks, parallel
from jaxgan.gan import GAN, gan
from jaxgan.networks.players import Player
from jaxgan.seeds import over_seeds
from jaxgan.state import GANState

__version__ = "0.2.0"

# Imported at first use: they need more than jax, flax, optax and chex.
_MODULES = ("commands", "data", "export", "latents", "plots", "training")
_NAMES = ("DivergedError", "Run", "fit")

__all__ = [
    "GAN",
    "DivergedError",
    "GANState",
    "Player",
    "Run",
    "augment",
    "data",
    "distances",
    "divergences",
    "export",
    "fit",
    "gan",
    "latents",
    "load",
    "losses",
    "metrics",
    "networks",
    "over_seeds",
    "parallel",
    "plots",
    "training",
]


def load(workdir, model=None, **options):
    """Loads a trained run from its folder: see `jaxgan.training.load`.

    Args:
      workdir: the folder.
      model: what `jaxgan.gan` made for the run; a run of the command line needs none.
      options: see `jaxgan.training.load`.
    """
    from jaxgan import training
    from jaxgan.commands import settings

    return training.load(
        workdir, settings.model_of_run(workdir) if model is None else model, **options
    )


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"jaxgan.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module("jaxgan.training"), name)
    raise AttributeError(f"module 'jaxgan' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_MODULES, *_NAMES})
