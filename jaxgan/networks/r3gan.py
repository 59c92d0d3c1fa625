"""A pair in the manner of R3GAN: residual bottlenecks without normalisation.

References:
  Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024.
    https://arxiv.org/abs/2501.05441
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.conv import Conv
from jaxgan.networks.layers import at_least_float32, check_positive, embed, halve
from jaxgan.networks.resample import bilinear_down, bilinear_up

# A block's bottleneck has so many times its channels.
_EXPANSION = 2
_SLOPE = 0.2  # of the leaky ReLU
# What keeps the variance behind it.
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))
# The first sides, from the smallest, have all channels; later ones half of the sides before.
_FULL_STAGES = 4


def r3gan(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 64,
    blocks: int = 2,
    group_size: int = 16,
    dtype: jnp.dtype = jnp.float32,
    num_classes: int | None = None,
) -> tuple["R3GANGenerator", "R3GANCritic"]:
    """The pair of R3GAN, for `losses.rpgan` with R1 and R2 or any other loss.

    No normalisation. Blocks are a 1x1, a grouped 3x3 and a 1x1 convolution, each but the first
    behind a leaky ReLU with biases, and a block is the identity at first: its last kernel is zero
    (Fixup). Images double by bilinear interpolation. The generator begins with a basis of learnt
    arrays, weighted by the latent; the critic ends in such a basis and a linear score. As in the
    authors' code no tanh bounds what the generator makes in training; samples are clipped.

    The paper has for CIFAR-10 latent_dim 64 and width 768, with 20.8 million weights in the
    generator; 64x64 has the same width, 256x256 too (half of it at 64x64, and so on).

    Args:
      data_shape: `(height, width, channels)`.
      latent_dim: size of the latent vector.
      width: channels of the sides up to 32; half as many at 64, a quarter at 128.
      blocks: residual blocks at each size.
      group_size: channels in a group of the 3x3 convolutions, of 2·width; where it does not divide
        them, its greatest common divisor with them.
      dtype: precision of the arithmetic.
      num_classes: for a conditional pair, which takes labels too: an embedding of the label is
        joined to the latent, and the score is the product of the image's features with another
        (projection, Miyato and Koyama 2018).

    Raises:
      ValueError: if a size is not positive, or the sides cannot be halved: see `layers.halve`.

    References:
      Huang 2024, sec. 3 and appendix; Networks.py and train.py of the authors' code.
      Zhang et al., Fixup Initialization, 2019. https://arxiv.org/abs/1901.09321
    """
    sizes = {} if num_classes is None else {"num_classes": num_classes}
    sizes |= {"blocks": blocks, "group_size": group_size}
    check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width, **sizes)
    data_shape = tuple(data_shape)
    halve("r3gan", data_shape)
    more = (width, blocks, group_size, dtype, num_classes)
    return R3GANGenerator(data_shape, latent_dim, *more), R3GANCritic(*more)


class R3GANGenerator(nn.Module):
    """Latents `[B, latent_dim]` to images `[B, height, width, channels]` in [−1, 1]."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 64
    blocks: int = 2
    group_size: int = 16
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    sample_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @nn.compact
    def __call__(
        self, z: jax.Array, labels: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps latents to images; with `train` to unbounded ones, whose gradients never vanish."""
        sides, count = halve("r3gan", self.data_shape)
        widths = _widths(self.width, count)
        if self.num_classes is not None:
            init = nn.initializers.normal(self.num_classes**-0.5)  # as of a linear layer of one-hot
            label = embed(labels, self.num_classes, self.latent_dim, init)
            z = jnp.concatenate([z, label.astype(z.dtype)], axis=-1)
        basis = self.param("basis", nn.initializers.normal(1.0), (*sides, widths[0]))
        weights = _linear(widths[0], self.dtype)(z)
        x = basis.astype(self.dtype) * weights[:, None, None]
        for stage, features in enumerate(widths):
            if stage:
                x = bilinear_up(_to_features(x, features, self.dtype))
            x = _blocks(x, self, len(widths))
        x = at_least_float32(_linear(self.data_shape[2], self.dtype)(x))
        return x if train else jnp.clip(x, *self.sample_range)


class R3GANCritic(nn.Module):
    """Images `[B, height, width, channels]` to scores `[B]`."""

    width: int = 64
    blocks: int = 2
    group_size: int = 16
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Scores each image."""
        sides, count = halve("r3gan", x.shape[1:])
        widths = _widths(self.width, count)[::-1]
        x = _linear(widths[0], self.dtype)(x)
        for stage, features in enumerate(widths):
            if stage:
                x = _to_features(bilinear_down(x), features, self.dtype)
            x = _blocks(x, self, len(widths))
        init = nn.initializers.normal(math.prod(sides) ** -0.5)
        basis = self.param("basis", init, (*sides, widths[-1]))
        x = jnp.einsum("bhwc,hwc->bc", x, basis.astype(x.dtype))
        if self.num_classes is None:
            return at_least_float32(_linear(1, self.dtype)(x)[:, 0])
        features = at_least_float32(_linear(widths[-1], self.dtype)(x))
        init = nn.initializers.normal((self.num_classes * widths[-1]) ** -0.5)
        return jnp.sum(features * embed(labels, self.num_classes, widths[-1], init), axis=-1)


class Bottleneck(nn.Module):
    """x `[B, H, W, C]` and a correction that is zero at first.

    `variance` is the number of blocks in the network, for which the kernels are scaled.
    """

    variance: int
    group_size: int = 16
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The block of images."""
        channels = x.shape[-1]
        expanded = _EXPANSION * channels
        groups = expanded // math.gcd(expanded, self.group_size)
        # Fixup's second rule: L^(-1/(2m-2)) for the m = 3 layers of each of L blocks.
        gain = _GAIN * self.variance**-0.25
        y = _linear(expanded, self.dtype, gain)(x)
        y = self._activate(y, "bias_0")
        y = Conv(
            expanded,
            3,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_normal(gain),
            feature_group_count=groups,
        )(y)
        y = self._activate(y, "bias_1")
        return x + _linear(channels, self.dtype, 0)(y)

    def _activate(self, x, name):
        bias = self.param(name, nn.initializers.zeros, x.shape[-1:])
        return nn.leaky_relu(x + bias.astype(x.dtype), _SLOPE)


def _widths(width, count):
    """Channels at each size, from the smallest."""
    return [max(1, width // 2 ** max(0, i - _FULL_STAGES + 1)) for i in range(count + 1)]


def _blocks(x, network, stages):
    for _ in range(network.blocks):
        x = Bottleneck(network.blocks * stages, network.group_size, network.dtype)(x)
    return x


def _to_features(x, features, dtype):
    """A 1x1 convolution where the number of channels changes."""
    return x if x.shape[-1] == features else _linear(features, dtype)(x)


def _linear(features, dtype, gain=1.0):
    """A linear layer or 1x1 convolution: a matrix product, on a CPU twice as fast as the latter."""
    return nn.Dense(features, use_bias=False, dtype=dtype, kernel_init=_normal(gain))


def _normal(gain):
    """Normal weights that keep a variance behind `gain`; zeros for none."""
    if not gain:
        return nn.initializers.zeros
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")
