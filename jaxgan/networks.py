"""Generator and critic networks: an MLP pair and a DCGAN pair.

Each pair is two flax modules. A generator maps latents `[B, latent_dim]` to samples
`[B, *data_shape]` and carries both sizes as attributes; a critic maps samples to scores `[B]`.
Images are float32 in [−1, 1], NHWC, so an image generator ends in tanh.

`dtype` is the precision of the arithmetic; parameters, statistics, samples and scores stay float32
(samples and scores of float64 arithmetic are float64).

References:
  Goodfellow et al., Generative Adversarial Nets, 2014. https://arxiv.org/abs/1406.2661
  Radford et al., Unsupervised Representation Learning with DCGANs, 2015.
    https://arxiv.org/abs/1511.06434
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
"""

import math
from numbers import Integral
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.conv import Conv, ConvTranspose

# DCGAN, sec. 4: "All weights were initialized from a zero-centered Normal distribution with
# standard deviation 0.02"; its code draws BatchNorm's scales from the same, around one.
_dcgan_init = nn.initializers.normal(0.02)


def _dcgan_scale_init(key, shape, dtype=jnp.float32):
    return 1 + _dcgan_init(key, shape, dtype)


def mlp(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 512,
    depth: int = 3,
    dtype: jnp.dtype = jnp.float32,
) -> tuple["MLPGenerator", "MLPCritic"]:
    """Fully connected generator and critic, for 2-D toys and small images.

    ReLU layers of one width, He-initialised, as in WGAN-GP's toy experiments (sec. 4 and fig. 1).

    Args:
      data_shape: the shape of one example, `(D,)` or an image's `(H, W, C)`.
      latent_dim: size of the latent vector.
      width: units in each hidden layer.
      depth: number of hidden layers.
      dtype: precision of the arithmetic.

    Raises:
      ValueError: if a size is not positive.
    """
    _check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width, depth=depth)
    data_shape = tuple(data_shape)
    return (
        MLPGenerator(data_shape, latent_dim, width, depth, dtype),
        MLPCritic(width, depth, dtype),
    )


def dcgan(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 64,
    generator_norm: bool = True,
    critic_norm: bool = False,
    dtype: jnp.dtype = jnp.float32,
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

    Raises:
      ValueError: if a size is not positive, or the image is not square with a side of 4 to 7
        times a power of two, from 8 up.
    """
    _check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width)
    base, layers = _halvings(data_shape[0])
    if len(data_shape) != 3 or data_shape[0] != data_shape[1] or layers < 1 or base > 7:
        raise ValueError(
            "dcgan makes square images whose side, from 8 up, is 4, 5, 6 or 7 times a power of two "
            f"(8, 16, 28, 32, 64, …); got shape {tuple(data_shape)}. Resize the images, or use "
            "networks.mlp."
        )
    data_shape = tuple(data_shape)
    return (
        DCGANGenerator(data_shape, latent_dim, width, generator_norm, dtype),
        DCGANCritic(width, critic_norm, dtype),
    )


class MLPGenerator(nn.Module):
    """Latents `[B, latent_dim]` to samples `[B, *data_shape]`."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 512
    depth: int = 3
    dtype: jnp.dtype = jnp.float32

    @property
    def sample_range(self) -> tuple[float, float] | None:
        """The range of what it makes: data outside are refused. None for points."""
        return (-1.0, 1.0) if len(self.data_shape) == 3 else None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps latents to samples; images through tanh, points as they are."""
        x = _hidden_layers(z, self.width, self.depth, self.dtype)
        x = nn.Dense(
            math.prod(self.data_shape),
            dtype=self.dtype,
            kernel_init=nn.initializers.glorot_uniform(),
        )(x)
        x = _at_least_float32(x.reshape(-1, *self.data_shape))
        return jnp.tanh(x) if len(self.data_shape) == 3 else x


class MLPCritic(nn.Module):
    """Samples `[B, ...]` to scores `[B]`."""

    width: int = 512
    depth: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores each sample."""
        x = _hidden_layers(x.reshape(x.shape[0], -1), self.width, self.depth, self.dtype)
        return _score(x, nn.initializers.glorot_uniform(), self.dtype)


class DCGANGenerator(nn.Module):
    """Latents `[B, latent_dim]` to images `[B, side, side, channels]` in [−1, 1]."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 64
    norm: bool = True
    dtype: jnp.dtype = jnp.float32

    sample_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @nn.compact
    def __call__(
        self, z: jax.Array, train: bool = False, axis_name: str | None = None
    ) -> jax.Array:
        """Maps latents to images.

        `train` normalises by the batch's statistics, over `axis_name` if given, instead of the
        running ones.
        """

        def norm_relu(x):
            return nn.relu(_batch_norm(x, train, axis_name, self.dtype) if self.norm else x)

        side, _, channels = self.data_shape
        base, layers = _halvings(side)
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
        return jnp.tanh(_at_least_float32(x))


class DCGANCritic(nn.Module):
    """Images `[B, side, side, channels]` to scores `[B]`."""

    width: int = 64
    norm: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, axis_name: str | None = None
    ) -> jax.Array:
        """Scores each image; `train` and `axis_name` as for the generator."""
        _, layers = _halvings(x.shape[1])
        for layer in range(layers):
            x = Conv(
                self.width * 2**layer,
                (5, 5),
                strides=(2, 2),
                dtype=self.dtype,
                kernel_init=_dcgan_init,
            )(x)
            if self.norm and layer > 0:
                x = _batch_norm(x, train, axis_name, self.dtype)
            x = nn.leaky_relu(x, 0.2)
        return _score(x.reshape(x.shape[0], -1), _dcgan_init, self.dtype)


def _hidden_layers(x, width, depth, dtype):
    for _ in range(depth):
        x = nn.relu(nn.Dense(width, dtype=dtype, kernel_init=nn.initializers.he_uniform())(x))
    return x


def _score(x, kernel_init, dtype):
    return _at_least_float32(nn.Dense(1, dtype=dtype, kernel_init=kernel_init)(x)[:, 0])


def _at_least_float32(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _batch_norm(x, train, axis_name, dtype):
    return nn.BatchNorm(
        use_running_average=not train,
        axis_name=axis_name if train else None,
        momentum=0.9,
        dtype=dtype,
        scale_init=_dcgan_scale_init,
    )(x)


def _halvings(side: int) -> tuple[int, int]:
    """The side that halving down to 7 or less leads to, and how many halvings that takes."""
    layers = 0
    while side > 7 and side % 2 == 0:
        side, layers = side // 2, layers + 1
    return side, layers


def _check_positive(data_shape, **sizes):
    if not isinstance(data_shape, tuple | list):
        raise ValueError(
            f"data_shape must be the shape of one example, such as (2,) or (32, 32, 3); got "
            f"{data_shape!r}."
        )
    for name, size in {"data_shape": data_shape, **sizes}.items():
        values = size if isinstance(size, tuple | list) else (size,)
        whole = (
            isinstance(v, Integral) and not isinstance(v, bool) and int(v) >= 1 for v in values
        )
        if not values or not all(whole):
            raise ValueError(f"{name} must be made of positive whole numbers; got {size!r}.")
