"""What a convolution does to sizes, images with zeros around, and kernels turned around."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

Pair = tuple[int, int]


class Axis(NamedTuple):
    """One spatial axis of a convolution: what the shapes of two of x, k and y leave open."""

    size: int  # of x
    kernel: int
    stride: int
    low: int  # padding before x
    high: int  # and after it

    @property
    def out(self) -> int:
        """Size of y."""
        return (self.low + self.size + self.high - self.kernel) // self.stride + 1

    def mirrored(self) -> "Axis":
        """At stride 1: the convolution whose input gradient, with k turned, is this one."""
        before, after = self.kernel - 1 - self.low, self.kernel - 1 - self.high
        return Axis(self.out, self.kernel, 1, before, after)


Geometry = tuple[Axis, Axis]


def padded(x: Array, pads: Sequence[tuple[int, int, int]]) -> Array:
    """Images [B, H, W, C] with zeros before, after and between rows and columns."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def turned(k: Array) -> Array:
    """A kernel [h, w, C, O] turned around: [h, w, O, C], last tap first."""
    return jnp.flip(k, (0, 1)).swapaxes(2, 3)
