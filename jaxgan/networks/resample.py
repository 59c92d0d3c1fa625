"""Twice or half the sides of images: nearest, by the mean of four, and bilinear.

Each is linear. It is made of slices, pads and sums, and so are its derivatives of any order: as
convolutions they would be ones with a dilated input, which XLA's CPU backend runs in a naive loop.

References:
  Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024.
    https://arxiv.org/abs/2501.05441
"""

import jax.numpy as jnp
from jax import Array


def nearest_up(x: Array) -> Array:
    """Each pixel four times: `[B, H, W, C]` to `[B, 2H, 2W, C]`.

    Raises:
      ValueError: if x has not four axes.
    """
    batch, height, width, channels = _image_shape(x)
    four = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return four.reshape(batch, 2 * height, 2 * width, channels)


def average_down(x: Array) -> Array:
    """The mean of each 2x2 pixels: `[B, H, W, C]` to `[B, H/2, W/2, C]`.

    Raises:
      ValueError: if x has not four axes, or a side is odd.
    """
    _check_even(x)
    rows = x[:, ::2] + x[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def bilinear_up(x: Array) -> Array:
    """Twice the sides by the filter [1, 3, 3, 1]/4 of either axis: `[B, H, W, C]` to twice H and W.

    Of two neighbours a new pixel takes 3/4 of the nearer one and 1/4 of the other. Outside of the
    image all is zero.

    Raises:
      ValueError: if x has not four axes.

    References:
      Huang 2024, sec. 3; the filter is [1, 2, 1] after nearest neighbours.
    """
    batch, height, width, channels = _image_shape(x)
    for axis, shape in ((1, (batch, -1, width, channels)), (2, (batch, 2 * height, -1, channels))):
        before, after = _neighbours(x, axis)
        x = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1).reshape(shape)
    return x


def bilinear_down(x: Array) -> Array:
    """Half the sides by the filter [1, 3, 3, 1]/8 of either axis: `[B, H, W, C]` to half H and W.

    A quarter of the transpose of `bilinear_up`. Outside of the image all is zero.

    Raises:
      ValueError: if x has not four axes, or a side is odd.
    """
    _check_even(x)
    for axis in (1, 2):
        even, odd = (x[:, i::2] if axis == 1 else x[:, :, i::2] for i in (0, 1))
        before, after = _neighbours(odd, axis)[0], _neighbours(even, axis)[1]
        x = 0.375 * (even + odd) + 0.125 * (before + after)
    return x


def _neighbours(x, axis):
    """x moved by one along an axis: what stands before each place, and what stands after it."""
    size = x.shape[axis]
    pads = [[(0, 0)] * x.ndim for _ in range(2)]
    pads[0][axis], pads[1][axis] = (1, 0), (0, 1)
    first, last = (
        x[:, part] if axis == 1 else x[:, :, part] for part in (slice(size - 1), slice(1, size))
    )
    return jnp.pad(first, pads[0]), jnp.pad(last, pads[1])


def _image_shape(x):
    if x.ndim != 4:
        raise ValueError(f"resampling takes images [B, H, W, C]; got shape {x.shape}.")
    return x.shape


def _check_even(x):
    _, height, width, _ = _image_shape(x)
    if height % 2 or width % 2:
        raise ValueError(f"only even sides can be halved; got images of shape {x.shape}.")
