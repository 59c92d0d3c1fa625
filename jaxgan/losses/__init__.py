"""The value functions of the GAN family: one file a family, the contract in `base`."""

from jaxgan.losses.augmented import AdaState, adaptive, augmented
from jaxgan.losses.base import CriticFn, Loss, LossFn, Metrics, StatefulLoss
from jaxgan.losses.bce import bce, minimax
from jaxgan.losses.began import began
from jaxgan.losses.dragan import dragan
from jaxgan.losses.f_divergence import f_gan
from jaxgan.losses.hinge import hinge
from jaxgan.losses.least_squares import lsgan
from jaxgan.losses.penalties import (
    draw_epsilon,
    gradient_penalty,
    squared_slope,
    with_r1,
    with_r2,
)
from jaxgan.losses.relativistic import rpgan
from jaxgan.losses.wasserstein import wgan, wgan_div, wgan_gp, wgan_lp

__all__ = [
    "AdaState",
    "CriticFn",
    "Loss",
    "LossFn",
    "Metrics",
    "StatefulLoss",
    "adaptive",
    "augmented",
    "bce",
    "began",
    "dragan",
    "draw_epsilon",
    "f_gan",
    "gradient_penalty",
    "hinge",
    "lsgan",
    "minimax",
    "rpgan",
    "squared_slope",
    "wgan",
    "wgan_div",
    "wgan_gp",
    "wgan_lp",
    "with_r1",
    "with_r2",
]
