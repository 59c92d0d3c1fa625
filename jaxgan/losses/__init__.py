"""The value functions of GAN, WGAN and WGAN-GP: one file a family, the contract in `base`."""

from jaxgan.losses.base import CriticFn, Loss, LossFn, Metrics
from jaxgan.losses.bce import bce, minimax
from jaxgan.losses.penalties import draw_epsilon, gradient_penalty
from jaxgan.losses.wasserstein import wgan, wgan_gp

__all__ = [
    "CriticFn",
    "Loss",
    "LossFn",
    "Metrics",
    "bce",
    "draw_epsilon",
    "gradient_penalty",
    "minimax",
    "wgan",
    "wgan_gp",
]
