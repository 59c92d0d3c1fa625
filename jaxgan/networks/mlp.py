"""The fully connected pair, for 2-D toys and small images.

References:
  Gulrajani et al., Improved Training of Wasserstein GANs, 2017. https://arxiv.org/abs/1704.00028
  Berthelot et al., BEGAN: Boundary Equilibrium Generative Adversarial Networks, 2017.
    https://arxiv.org/abs/1703.10717
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.networks.layers import at_least_float32, check_positive, join, score

# Features of a label that the critic sees beside a sample.
EMBEDDING = 32


def mlp(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 512,
    depth: int = 3,
    dtype: jnp.dtype = jnp.float32,
    num_classes: int | None = None,
) -> tuple["MLPGenerator", "MLPCritic"]:
    """Fully connected generator and critic, for 2-D toys and small images.

    ReLU layers of one width, He-initialised, as in WGAN-GP's toy experiments (sec. 4 and fig. 1).

    Args:
      data_shape: the shape of one example, `(D,)` or an image's `(H, W, C)`.
      latent_dim: size of the latent vector.
      width: units in each hidden layer.
      depth: number of hidden layers.
      dtype: precision of the arithmetic.
      num_classes: for a conditional pair, which takes labels too: an embedding of the label is
        joined to the latent, and to the sample.

    Raises:
      ValueError: if a size is not positive.
    """
    sizes = {} if num_classes is None else {"num_classes": num_classes}
    check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width, depth=depth, **sizes)
    data_shape = tuple(data_shape)
    return (
        MLPGenerator(data_shape, latent_dim, width, depth, dtype, num_classes),
        MLPCritic(width, depth, dtype, num_classes),
    )


def autoencoder(
    data_shape: tuple[int, ...],
    latent_dim: int,
    width: int = 512,
    depth: int = 3,
    dtype: jnp.dtype = jnp.float32,
) -> "MLPAutoencoder":
    """The critic of `losses.began`: it scores an example by the error of its reconstruction.

    The decoder is built as the generator of `mlp` is, the encoder as its critic, with latent_dim
    numbers between.

    Args:
      data_shape: the shape of one example, `(D,)` or an image's `(H, W, C)`.
      latent_dim: size of the code, in the paper that of the generator's latent.
      width: units in each hidden layer.
      depth: number of hidden layers, of the encoder and of the decoder.
      dtype: precision of the arithmetic.

    Raises:
      ValueError: if a size is not positive.

    References:
      Berthelot 2017, sec. 3.5; fully connected here.
    """
    check_positive(data_shape=data_shape, latent_dim=latent_dim, width=width, depth=depth)
    return MLPAutoencoder(tuple(data_shape), latent_dim, width, depth, dtype)


class MLPGenerator(nn.Module):
    """Latents `[B, latent_dim]` to samples `[B, *data_shape]`."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 512
    depth: int = 3
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    @property
    def sample_range(self) -> tuple[float, float] | None:
        """The range of what it makes: data outside are refused. None for points."""
        return (-1.0, 1.0) if len(self.data_shape) == 3 else None

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Maps latents to samples; images through tanh, points as they are."""
        if self.num_classes is not None:
            z = join(z, labels, self.num_classes, self.latent_dim)
        return _decode(z, self.data_shape, self.width, self.depth, self.dtype)


class MLPCritic(nn.Module):
    """Samples `[B, ...]` to scores `[B]`."""

    width: int = 512
    depth: int = 3
    dtype: jnp.dtype = jnp.float32
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Scores each sample."""
        x = x.reshape(x.shape[0], -1)
        if self.num_classes is not None:
            x = join(x, labels, self.num_classes, EMBEDDING)
        x = _hidden_layers(x, self.width, self.depth, self.dtype)
        return score(x, nn.initializers.glorot_uniform(), self.dtype)


class MLPAutoencoder(nn.Module):
    """Samples `[B, ...]` to the errors of their reconstruction, the mean of |x − D(x)|, `[B]`."""

    data_shape: tuple[int, ...]
    latent_dim: int
    width: int = 512
    depth: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Encodes and decodes each sample; 0 is a perfect copy."""
        code = _hidden_layers(x.reshape(len(x), -1), self.width, self.depth, self.dtype)
        code = nn.Dense(self.latent_dim, dtype=self.dtype)(code)
        copy = _decode(code, self.data_shape, self.width, self.depth, self.dtype)
        return jnp.mean(jnp.abs(at_least_float32(x) - copy), axis=tuple(range(1, x.ndim)))


def _decode(z, data_shape, width, depth, dtype):
    """Latents to examples; images through tanh, points as they are."""
    x = _hidden_layers(z, width, depth, dtype)
    x = nn.Dense(math.prod(data_shape), dtype=dtype, kernel_init=nn.initializers.glorot_uniform())(
        x
    )
    x = at_least_float32(x.reshape(-1, *data_shape))
    return jnp.tanh(x) if len(data_shape) == 3 else x


def _hidden_layers(x, width, depth, dtype):
    for _ in range(depth):
        x = nn.relu(nn.Dense(width, dtype=dtype, kernel_init=nn.initializers.he_uniform())(x))
    return x
