"""The value functions of GAN, WGAN and WGAN-GP: one file a family, the contract in `base`."""

from jaxgan.losses.base import CriticFn, Loss, LossFn, Metrics, StatefulLoss
from jaxgan.losses.bce import bce, minimax
from jaxgan.losses.penalties import (
    draw_epsilon,
    gradient_penalty,
    squared_slope,
    with_r1,
    with_r2,
)
from jaxgan.losses.wasserstein import wgan, wgan_gp

__all__ = [
    "CriticFn",
    "Loss",
    "LossFn",
    "Metrics",
    "StatefulLoss",
    "bce",
    "draw_epsilon",
    "gradient_penalty",
    "minimax",
    "squared_slope",
    "wgan",
    "wgan_gp",
    "with_r1",
    "with_r2",
]
