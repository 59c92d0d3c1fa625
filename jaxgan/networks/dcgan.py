"""The DCGAN pair, for square images.

References:
  Radford et al., Unsupervised Representation Learning with DCGANs, 2015.
    https://arxiv.org/abs/1511.06434
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.conv import Conv, ConvTranspose
from jaxgan.networks.layers import (
    at_least_float32,
    batch_norm,
    check_positive,
    embed,
    halvings,
    join,
    score,
)

# Sec. 4: "All weights were initialized from a zero-centered Normal distribution with standard
# deviation 0.02"; the code draws BatchNorm's scales from the same, around one.
_dcgan_init = nn.initializers.normal(0.02)


def _dcgan_scale_init(key, shape, dtype=jnp.float32):
    return 1 + _dcgan_init(key, shape, dtype)


def dcgan(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 64,
    generator_norm: bool = True,
    critic_norm: bool = False,
    dtype: jnp.dtype = jnp.float32,
    num_classes: int | None = None,
) -> tuple["DCGANGenerator", "DCGANCritic"]:
    """The DCGAN pair: 5×5 kernels at stride 2, as many as halve the side down to 4 to 7.

    The critic has channels width, 2·width, 4·width, … and one linear score; the generator mirrors
    it. 32 → 16 → 8 → 4 is three layers, 28 → 14 → 7 two.

    Args:
      data_shape: `(side, side, channels)`.
      latent_dim: size of the latent vector.
      width: channels at the largest resolution.
      generator_norm: BatchNorm in every generator layer but the last (DCGAN, sec. 3).
      critic_norm: BatchNorm in every critic layer but the first. A critic with a gradient penalty
        cannot have it (WGAN-GP, sec. 4, "No critic batch normalization").
      dtype: precision of the arithmetic.
      num_classes: for a conditional pair, which takes labels too: an embedding of the label is
        joined to the latent, and to the image as one more channel.

    Raises:
      ValueError: if a size is not positive, or the image is not square with a side of 4 to 7
        times a power of two, from 8 up.
    """
    sizes = {} if num_classes is None else {"num_classes": num_classes}
    check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width, **sizes)
    base, layers = halvings(data_shape[0])
    if len(data_shape) != 3 or data_shape[0] != data_shape[1] or layers < 1 or base > 7:
        raise ValueError(
            "dcgan makes square images whose side, from 8 up, is 4, 5, 6 or 7 times a power of two "
            f"(8, 16, 28, 32, 64, …); got shape {tuple(data_shape)}. Resize them, or use an MLP."
        )
    data_shape = tuple(data_shape)
    return (
        DCGANGenerator(data_shape, latent_dim, width, generator_norm, dtype, num_classes),
        DCGANCritic(width, critic_norm, dtype, num_classes),
    )


class DCGANGenerator(nn.Module):
    """Latents `[B, latent_dim]` to images `[B, side, side, channels]` in [−1, 1]."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 64
    norm: bool = True
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

        def norm_relu(x):
            return nn.relu(_norm(x, train, axis_name, self.dtype) if self.norm else x)

        if self.num_classes is not None:
            z = join(z, labels, self.num_classes, self.latent_dim)
        side, _, channels = self.data_shape
        base, layers = halvings(side)
        features = self.width * 2 ** (layers - 1)
        x = nn.Dense(base * base * features, dtype=self.dtype, kernel_init=_dcgan_init)(z)
        x = norm_relu(x.reshape(-1, base, base, features))
        for layer in reversed(range(layers)):
            last = layer == 0
            features = channels if last else self.width * 2 ** (layer - 1)
            x = ConvTranspose(
                features, (5, 5), strides=(2, 2), dtype=self.dtype, kernel_init=_dcgan_init
            )(x)
            x = x if last else norm_relu(x)
        return jnp.tanh(at_least_float32(x))


class DCGANCritic(nn.Module):
    """Images `[B, side, side, channels]` to scores `[B]`."""

    width: int = 64
    norm: bool = False
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        axis_name: str | None = None,
    ) -> jax.Array:
        """Scores each image; `train` and `axis_name` as for the generator."""
        if self.num_classes is not None:
            _, height, width, _ = x.shape
            plane = embed(labels, self.num_classes, height * width).reshape(-1, height, width, 1)
            x = jnp.concatenate([x, plane.astype(x.dtype)], axis=-1)
        _, layers = halvings(x.shape[1])
        for layer in range(layers):
            x = Conv(
                self.width * 2**layer,
                (5, 5),
                strides=(2, 2),
                dtype=self.dtype,
                kernel_init=_dcgan_init,
            )(x)
            if self.norm and layer > 0:
                x = _norm(x, train, axis_name, self.dtype)
            x = nn.leaky_relu(x, 0.2)
        return score(x.reshape(x.shape[0], -1), _dcgan_init, self.dtype)


def _norm(x, train, axis_name, dtype):
    return batch_norm(x, train, axis_name, dtype, scale_init=_dcgan_scale_init)
