"""Two-dimensional convolutions that stay fast through second and third derivatives.

A convolution is bilinear in its input x and its kernel k, and so are its two gradients:

    convolution      y = conv(x, k)      y[b, i, o]    = Σ_{j, c} x[b, s·i + j - p, c] k[j, c, o]
    input gradient   x = ∂y/∂x · ȳ       x[b, i, c]    = Σ_{j, o} ȳ[b, (i - j + p)/s, o] k[j, c, o]
    kernel gradient  k = ∂y/∂k · ȳ       k[j, c, o]    = Σ_{b, i} x[b, s·i + j - p, c] ȳ[b, i, o]

They are the three partial derivatives of the one trilinear form ⟨conv(x, k), y⟩, so the
derivative of each of them is the other two: the three are closed under differentiation. Here each
is written once, in a form that runs fast, and `jax.custom_vjp` ties them together; a derivative of
any order, such as the gradient of a gradient penalty, is then made of the same three.

That matters on CPUs. XLA's CPU backend has a fast convolution for one form only: NHWC input, HWIO
kernel, no dilated input, no reversed kernel, and a kernel no larger than the input. JAX's own
derivatives of a convolution come in other forms, which fall to a naive loop: with them one critic
and one generator update of a DCGAN WGAN-GP took 63 times as long. On other platforms the maps are
JAX's own operations.

In a grouped convolution each group of output channels sees its own group of input channels. So each
of the three maps is itself for every group, of that group's share of its two arguments.

The forms are in `conv_maps`; wide 3x3 convolutions at stride 1 take fewer products, by `winograd`.
Numbers there and here: jaxlib 0.10.2, 2 cores with AVX-512, float32, batch 64.

Reverse mode only: as the maps are `jax.custom_vjp` functions, `jax.jvp` and `jax.jacfwd` of them
raise a TypeError.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxgan.networks.conv_maps import (
    by_group,
    cpu_convolution,
    cpu_input_gradient,
    cpu_kernel_gradient,
    native_convolution,
    native_input_gradient,
    native_kernel_gradient,
)
from jaxgan.networks.geometry import Axis, Geometry, Pair, turned

Padding = str | Sequence[tuple[int, int]]


def _one_after_another(f: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Let `vmap` over both arguments of f run one convolution after the other.

    JAX's own rule makes one grouped convolution of them, which a CPU runs 4.8 times slower (the
    WGAN-GP iterations of four DCGANs at batch 64).
    """
    mapped = jax.custom_batching.custom_vmap(f)

    @mapped.def_vmap
    def rule(axis_size: int, batched: list[bool], a: Array, b: Array) -> tuple[Array, bool]:
        del axis_size
        if all(batched):
            return lax.map(lambda ab: mapped(*ab), (a, b)), True
        return jax.vmap(f, [0 if each else None for each in batched])(a, b), True

    return mapped


def _lowered(cpu: Callable[..., Array], native: Callable[..., Array]) -> Callable[..., Array]:
    # The platform is known when a program is lowered, not when it is traced; one branch remains.
    # jit: traced once for each geometry, and outside of other programs compiled as a whole.
    @functools.partial(jax.jit, static_argnums=(0, 1))
    def bilinear(g: Geometry, groups: int, a: Array, b: Array) -> Array:
        return lax.platform_dependent(
            a,
            b,
            cpu=_one_after_another(by_group(functools.partial(cpu, g), groups)),
            default=functools.partial(native, g, groups=groups),
        )

    return jax.custom_vjp(bilinear, nondiff_argnums=(0, 1))


_convolution: Any = _lowered(cpu_convolution, native_convolution)
_input_gradient: Any = _lowered(cpu_input_gradient, native_input_gradient)
_kernel_gradient: Any = _lowered(cpu_kernel_gradient, native_kernel_gradient)

_convolution.defvjp(
    lambda g, n, x, k: (_convolution(g, n, x, k), (x, k)),
    lambda g, n, xk, y: (_input_gradient(g, n, y, xk[1]), _kernel_gradient(g, n, xk[0], y)),
)
_input_gradient.defvjp(
    lambda g, n, y, k: (_input_gradient(g, n, y, k), (y, k)),
    lambda g, n, yk, x: (_convolution(g, n, x, yk[1]), _kernel_gradient(g, n, x, yk[0])),
)
_kernel_gradient.defvjp(
    lambda g, n, x, y: (_kernel_gradient(g, n, x, y), (x, y)),
    lambda g, n, xy, k: (_input_gradient(g, n, xy[1], k), _convolution(g, n, xy[0], k)),
)


def _explicit(
    x: Array,
    k: Array,
    strides: int | Sequence[int],
    padding: Padding,
    transpose: bool,
    groups: int = 1,
) -> tuple[Pair, Sequence[Pair]]:
    """Strides and padding as pairs, after checking all that can be wrong."""
    if x.ndim != 4 or k.ndim != 4:
        raise ValueError(
            "a 2-D convolution takes an input [B, H, W, C] and a kernel [h, w, C, features]; "
            f"got shapes {x.shape} and {k.shape}"
        )
    if groups < 1 or k.shape[3] % groups:
        raise ValueError(
            f"feature_group_count={groups} must divide the kernel's {k.shape[3]} features"
        )
    if x.shape[3] != groups * k.shape[2]:
        raise ValueError(
            f"the input has {x.shape[3]} channels and the kernel expects {groups * k.shape[2]}: "
            f"shapes {x.shape} and {k.shape}" + f", {groups} groups" * (groups > 1)
        )
    strides = _pair(strides, "strides")
    if not isinstance(padding, str):
        if len(padding) != 2 or any(len(pads) != 2 for pads in padding):
            raise ValueError(f"explicit padding is ((top, bottom), (left, right)); got {padding}")
        return strides, [(before, after) for before, after in padding]
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"padding must be 'SAME', 'VALID' or two pairs; got {padding!r}")
    if not transpose:
        return strides, lax.padtype_to_pads(x.shape[1:3], k.shape[:2], strides, padding)
    pads = []
    for h, s in zip(k.shape[:2], strides, strict=True):
        # What jax.lax.conv_transpose means by SAME and VALID.
        before = h - 1 if padding == "VALID" else min(h - 1, -(-(h + s - 2) // 2))
        after = max(h, s) - 1 if padding == "VALID" else h + s - 2 - before
        pads.append((before, after))
    return strides, pads


def _pair(value: int | Sequence[int], name: str) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} must be a positive integer or two of them; got {value}")
    return pair


def conv(
    x: Array,
    k: Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    feature_group_count: int = 1,
) -> Array:
    """Convolution as `jax.lax.conv_general_dilated` computes it, fast at every derivative.

    Args:
      x: input [B, H, W, C].
      k: kernel [h, w, C / feature_group_count, features], of the same dtype.
      strides: one stride, or one for either axis.
      padding: "SAME", "VALID", or ((top, bottom), (left, right)).
      feature_group_count: groups of channels, each convolved apart from the others.

    Returns:
      [B, H', W', features].

    Raises:
      ValueError: for a wrong rank, channels that differ, groups that do not divide them, or a
        kernel larger than the padded input.
    """
    groups = feature_group_count
    strides, pads = _explicit(x, k, strides, padding, transpose=False, groups=groups)
    rows, columns = (
        Axis(size, h, s, *pad)
        for size, h, s, pad in zip(x.shape[1:3], k.shape[:2], strides, pads, strict=True)
    )
    if rows.out < 1 or columns.out < 1:
        raise ValueError(f"a kernel {k.shape} is larger than the input {x.shape}, padded by {pads}")
    return _convolution((rows, columns), groups, x, k)


def conv_transpose(
    x: Array, k: Array, strides: int | Sequence[int] = 1, padding: Padding = "SAME"
) -> Array:
    """Transposed convolution as `jax.lax.conv_transpose` computes it, fast at every derivative.

    Args:
      x: input [B, H, W, C].
      k: kernel [h, w, C, features], of the same dtype.
      strides: one stride, or one for either axis: how many times larger the output is.
      padding: "SAME" (H' = s·H), "VALID" (H' = s·H + max(h - s, 0)), or
        ((top, bottom), (left, right)), of the input spread out by the strides.

    Returns:
      [B, H', W', features].

    Raises:
      ValueError: for a wrong rank, channels that differ, or padding that leaves no output.
    """
    strides, pads = _explicit(x, k, strides, padding, transpose=True)
    # The input gradient of a convolution with the kernel turned around.
    rows, columns = (
        Axis((n - 1) * s + before + after - h + 2, h, s, h - 1 - before, h - 1 - after)
        for n, h, s, (before, after) in zip(x.shape[1:3], k.shape[:2], strides, pads, strict=True)
    )
    if rows.size < 1 or columns.size < 1:
        raise ValueError(f"padding {pads} leaves nothing of an input {x.shape}, kernel {k.shape}")
    return _input_gradient((rows, columns), 1, x, turned(k))


class _Layer(nn.Module):
    """The fields and parameters that `Conv` and `ConvTranspose` share."""

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Array] = nn.initializers.zeros_init()

    def _apply(self, operation: Callable[..., Array], x: Array, groups: int = 1) -> Array:
        if x.ndim != 4:
            raise ValueError(f"{type(self).__name__} takes [B, H, W, C]; got shape {x.shape}")
        if groups < 1 or x.shape[3] % groups or self.features % groups:
            raise ValueError(
                f"feature_group_count={groups} must divide the input's {x.shape[3]} channels and "
                f"the layer's {self.features} features"
            )
        kernel_size = _pair(self.kernel_size, "kernel_size")
        shape = (*kernel_size, x.shape[3] // groups, self.features)
        k = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        x, k, bias = nn.dtypes.promote_dtype(x, k, bias, dtype=self.dtype)
        y = operation(x, k, self.strides, self.padding)
        return y if bias is None else y + bias


class Conv(_Layer):
    """2-D convolution of [B, H, W, C] with `flax.linen.Conv`'s parameters: see `conv`."""

    feature_group_count: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve x [B, H, W, C] into [B, H', W', features]."""
        groups = self.feature_group_count
        return self._apply(functools.partial(conv, feature_group_count=groups), x, groups)


class ConvTranspose(_Layer):
    """2-D transposed convolution with `flax.linen.ConvTranspose`'s parameters."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve x [B, H, W, C] into [B, H', W', features], H' = s·H under "SAME" padding."""
        return self._apply(conv_transpose, x)
