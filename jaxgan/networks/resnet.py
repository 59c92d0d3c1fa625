"""The residual pairs of WGAN-GP and SNGAN, for images of any sides that can be halved.

References:
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
  Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    https://arxiv.org/abs/1802.05957
  Miyato and Koyama, cGANs with Projection Discriminator, 2018. https://arxiv.org/abs/1802.05637
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.conv import Conv
from jaxgan.networks.layers import (
    at_least_float32,
    batch_norm,
    check_positive,
    embed,
    halve,
    score,
)
from jaxgan.networks.resample import average_down, nearest_up

VARIANTS = ("wgan-gp", "sngan")

# He's variance for the 3x3 kernels of a block, which follow a ReLU; Glorot's elsewhere. The code of
# both papers draws them so, from uniform distributions.
_block_init = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
_glorot = nn.initializers.glorot_uniform()

# Images of up to so many halvings have blocks of one width, as in the papers' CIFAR-10 networks.
_ONE_WIDTH = 3


def resnet(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 128,
    variant: str = "wgan-gp",
    dtype: jnp.dtype = jnp.float32,
    num_classes: int | None = None,
) -> tuple["ResNetGenerator", "ResNetCritic"]:
    """The residual pair of WGAN-GP, or of SNGAN: blocks of two 3x3 convolutions.

    The generator doubles the sides in each of its blocks, with BatchNorm; the critic has no
    normalisation, so that it goes with a gradient penalty. SNGAN's wants `networks.spectral_norm`.

    - **Up to three halvings**, such as 28x28, 32x32 and 48x48: all blocks of one width. The critic
      halves twice (an 8x8 image once) and has two more blocks.
    - **More**, such as 64x64: width/2 channels at full size, twice as many after each halving. The
      critic halves as often as the generator doubles, and has one more block.

    Variants differ in

    - the generator's width, up to three halvings: width in wgan-gp, 2·width in sngan;
    - the most channels, with more halvings: 4·width, and 8·width;
    - the critic's last pooling: the mean, and the sum.

    Args:
      data_shape: `(height, width, channels)`.
      latent_dim: size of the latent vector; 128 in the papers.
      width: channels of the critic's blocks; 128 in the papers.
      variant: "wgan-gp" or "sngan".
      dtype: precision of the arithmetic.
      num_classes: for a conditional pair, which takes labels too: each class has a scale and a
        shift of its own in the BatchNorm of the generator's blocks, and a vector in the critic,
        whose product with the image's features is added to the score (projection).

    Raises:
      ValueError: if a size is not positive, the variant is unknown, or the sides cannot be halved:
        see `layers.halve`.

    References:
      Gulrajani 2017, appendix F, table 8. Miyato 2018, tables 3 and 4. Miyato and Koyama 2018,
      sec. 3 and appendix A. The 64x64 networks are those of WGAN-GP's code (the generator of
      gan_64x64.py; its critic has LayerNorm) and of Miyato and Koyama's.
    """
    sizes = {} if num_classes is None else {"num_classes": num_classes}
    check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width, **sizes)
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}.")
    data_shape = tuple(data_shape)
    halve("resnet", data_shape)
    return (
        ResNetGenerator(data_shape, latent_dim, width, variant, dtype, num_classes),
        ResNetCritic(width, variant, dtype, num_classes),
    )


class ResNetGenerator(nn.Module):
    """Latents `[B, latent_dim]` to images `[B, height, width, channels]` in [−1, 1]."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 128
    variant: str = "wgan-gp"
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    sample_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        axis_name: str | None = None,
    ) -> jax.Array:
        """Maps latents to images.

        `train` normalises by the batch's statistics, over `axis_name` if given, instead of the
        running ones.
        """
        (height, width), count = halve("resnet", self.data_shape)
        first, *widths = self._widths(count)
        x = nn.Dense(height * width * first, dtype=self.dtype, kernel_init=_glorot)(z)
        x = x.reshape(-1, height, width, first)
        for features in widths:
            block = UpBlock(features, self.dtype, self.num_classes)
            x = block(x, labels, train, axis_name)
        x = nn.relu(batch_norm(x, train, axis_name, self.dtype))
        x = Conv(self.data_shape[2], 3, dtype=self.dtype, kernel_init=_glorot)(x)
        return jnp.tanh(at_least_float32(x))

    def _widths(self, count):
        if count <= _ONE_WIDTH:
            return [self.width * (2 if self.variant == "sngan" else 1)] * (count + 1)
        return _doubling(self.width, self.variant, count + 1)[::-1]


class ResNetCritic(nn.Module):
    """Images `[B, height, width, channels]` to scores `[B]`."""

    width: int = 128
    variant: str = "wgan-gp"
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Scores each image."""
        _, count = halve("resnet", x.shape[1:])
        if count <= _ONE_WIDTH:
            halvings = min(count, 2)
            widths = [self.width] * (halvings + 2)
        else:
            halvings, widths = count, _doubling(self.width, self.variant, count + 1)
        for index, features in enumerate(widths):
            x = DownBlock(features, index == 0, index < halvings, self.dtype)(x)
        pool = jnp.mean if self.variant == "wgan-gp" else jnp.sum
        x = pool(nn.relu(x), axis=(1, 2))
        scores = score(x, _glorot, self.dtype)
        if self.num_classes is None:
            return scores
        return scores + projection(x, labels, self.num_classes, _glorot)


def projection(x, labels, num_classes, init):
    """The product of features `[B, F]` and a vector of each label, `[B]`. Inside a compact module.

    References:
      Miyato and Koyama 2018, eq. 3 and 4.
    """
    return jnp.sum(at_least_float32(x) * embed(labels, num_classes, x.shape[-1], init), axis=-1)


def _doubling(width, variant, blocks):
    """Channels from full size on: the paper's 64 at 64x64, twice as many at each halving."""
    most = 8 if variant == "wgan-gp" else 16
    return [max(1, width // 2) * min(2**i, most) for i in range(blocks)]


class UpBlock(nn.Module):
    """Twice the sides of `[B, H, W, C]`, with BatchNorm before each convolution."""

    features: int
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None, train: bool, axis_name: str | None
    ) -> jax.Array:
        """The block of images, and of labels where it has classes."""

        def norm_relu(x):
            return nn.relu(self._norm(x, labels, train, axis_name))

        y = _conv3x3(self.features, self.dtype)(nearest_up(norm_relu(x)))
        y = _conv3x3(self.features, self.dtype)(norm_relu(y))
        # A 1x1 convolution and copies of pixels commute: before, it has a quarter of the work.
        return y + nearest_up(_conv1x1(self.features, self.dtype)(x))

    def _norm(self, x, labels, train, axis_name):
        if self.num_classes is None:
            return batch_norm(x, train, axis_name, self.dtype)
        x = batch_norm(x, train, axis_name, self.dtype, use_scale=False, use_bias=False)
        scale, shift = (
            embed(labels, self.num_classes, x.shape[-1], init)[:, None, None].astype(x.dtype)
            for init in (nn.initializers.ones, nn.initializers.zeros)
        )
        return scale * x + shift


class DownBlock(nn.Module):
    """Half the sides of `[B, H, W, C]`, or the same; `first` is the one that sees the image."""

    features: int
    first: bool
    down: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The block of images."""
        hidden = self.features if self.first else x.shape[-1]
        y = _conv3x3(hidden, self.dtype)(x if self.first else nn.relu(x))
        y = _conv3x3(self.features, self.dtype)(nn.relu(y))
        # A 1x1 convolution and the mean commute: after, it has a quarter of the work.
        if self.down:
            x, y = average_down(x), average_down(y)
        if self.down or x.shape[-1] != self.features:
            x = _conv1x1(self.features, self.dtype)(x)
        return x + y


def _conv3x3(features, dtype):
    return Conv(features, 3, dtype=dtype, kernel_init=_block_init)


def _conv1x1(features, dtype):
    # A matrix product of each pixel's channels: as a convolution a CPU takes twice as long.
    return nn.Dense(features, dtype=dtype, kernel_init=_glorot)
