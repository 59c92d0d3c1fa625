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
derivatives of a convolution come in other forms, which fall to a naive loop about a hundred times
slower. Elsewhere the native operations are used.

Reverse mode only: as the maps are `jax.custom_vjp` functions, `jax.jvp` and `jax.jacfwd` of them
raise a TypeError.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

Padding = str | Sequence[tuple[int, int]]
Pair = tuple[int, int]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _Geometry(NamedTuple):
    """What a convolution's shapes leave open: enough to compute any of the three maps."""

    size: Pair  # of x
    kernel: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    def edges(self) -> list[tuple[int, int, int, int, int]]:
        """Size of x, size of y, size of the kernel, stride and low padding, for either axis."""
        return [
            (size, (size + sum(pad) - kernel) // stride + 1, kernel, stride, pad[0])
            for size, kernel, stride, pad in zip(
                self.size, self.kernel, self.strides, self.padding, strict=True
            )
        ]


def _native_convolution(g: _Geometry, x: Array, k: Array) -> Array:
    return lax.conv_general_dilated(x, k, g.strides, g.padding, dimension_numbers=_LAYOUT)


def _native_input_gradient(g: _Geometry, y: Array, k: Array) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *g.size, k.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _native_convolution(g, x, k), x)(y)[0]


def _native_kernel_gradient(g: _Geometry, x: Array, y: Array) -> Array:
    k = jax.ShapeDtypeStruct((*g.kernel, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda k: _native_convolution(g, x, k), k)(y)[0]


def _cpu_input_gradient(g: _Geometry, y: Array, k: Array) -> Array:
    c, o = k.shape[2:]
    edges = g.edges()
    if g.strides == (1, 1) and all(n >= kernel for _, n, kernel, _, _ in edges):
        # At stride 1 the input gradient is a convolution with the kernel turned around. Without
        # the barrier XLA would fold the turning into the operation, which then runs naively.
        k = lax.optimization_barrier(jnp.flip(k, (0, 1)).swapaxes(2, 3))
        pads = [(kernel - 1 - lo, size - n + lo) for size, n, kernel, _, lo in edges]
        return lax.conv_general_dilated(y, k, (1, 1), pads, dimension_numbers=_LAYOUT)
    # At larger strides: one matrix product, then each tap of the kernel adds its share to every
    # s-th place of x.
    accumulator = jnp.promote_types(y.dtype, jnp.float32)
    taps = jnp.dot(
        y.reshape(-1, o), k.reshape(-1, o).T, preferred_element_type=accumulator
    ).reshape(*y.shape[:3], *g.kernel, c)
    taps = lax.optimization_barrier(taps)
    x = jnp.zeros((y.shape[0], *g.size, c), accumulator)
    for i in range(g.kernel[0]):
        for j in range(g.kernel[1]):
            spread = [
                (at - lo, size - (at - lo) - ((n - 1) * stride + 1), stride - 1)
                for at, (size, n, _, stride, lo) in zip((i, j), edges, strict=True)
            ]
            x += lax.pad(
                taps[:, :, :, i, j], jnp.zeros((), accumulator), [(0, 0, 0), *spread, (0, 0, 0)]
            )
    return x.astype(y.dtype)


def _cpu_kernel_gradient(g: _Geometry, x: Array, y: Array) -> Array:
    # A convolution of x by y with batch and channels exchanged; the barriers keep XLA from
    # folding the exchange into the operation, which then runs naively.
    x = lax.optimization_barrier(x.transpose(3, 1, 2, 0))
    y = lax.optimization_barrier(y.transpose(1, 2, 0, 3))
    pads = [
        (lo, (n - 1) * stride + kernel - size - lo) for size, n, kernel, stride, lo in g.edges()
    ]
    k = lax.conv_general_dilated(
        x, y, (1, 1), pads, rhs_dilation=g.strides, dimension_numbers=_LAYOUT
    )
    return lax.optimization_barrier(k).transpose(1, 2, 0, 3)


def _one_after_another(f: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Let `vmap` over both arguments of f run one convolution after the other.

    JAX's own rule makes one grouped convolution of them, which a CPU runs 1.2 to 2.5 times slower
    (ten DCGAN critics at batch 64).
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
    def bilinear(g: _Geometry, a: Array, b: Array) -> Array:
        return lax.platform_dependent(
            a, b, cpu=_one_after_another(partial(cpu, g)), default=partial(native, g)
        )

    return jax.custom_vjp(bilinear, nondiff_argnums=(0,))


_convolution: Any = _lowered(_native_convolution, _native_convolution)
_input_gradient: Any = _lowered(_cpu_input_gradient, _native_input_gradient)
_kernel_gradient: Any = _lowered(_cpu_kernel_gradient, _native_kernel_gradient)

_convolution.defvjp(
    lambda g, x, k: (_convolution(g, x, k), (x, k)),
    lambda g, xk, y: (_input_gradient(g, y, xk[1]), _kernel_gradient(g, xk[0], y)),
)
_input_gradient.defvjp(
    lambda g, y, k: (_input_gradient(g, y, k), (y, k)),
    lambda g, yk, x: (_convolution(g, x, yk[1]), _kernel_gradient(g, x, yk[0])),
)
_kernel_gradient.defvjp(
    lambda g, x, y: (_kernel_gradient(g, x, y), (x, y)),
    lambda g, xy, k: (_input_gradient(g, xy[1], k), _convolution(g, xy[0], k)),
)


def _checked(
    x: Array, k: Array, strides: int | Sequence[int], padding: Padding
) -> tuple[Pair, Pair, Any]:
    """Kernel size, strides and padding as tuples, after checking what the shapes must satisfy."""
    if x.ndim != 4 or k.ndim != 4:
        raise ValueError(
            "a 2-D convolution takes an input [B, H, W, C] and a kernel [h, w, C, features]; "
            f"got shapes {x.shape} and {k.shape}"
        )
    if x.shape[3] != k.shape[2]:
        raise ValueError(
            f"the input has {x.shape[3]} channels and the kernel expects {k.shape[2]}: "
            f"shapes {x.shape} and {k.shape}"
        )
    if not isinstance(padding, str):
        if len(padding) != 2 or any(len(pads) != 2 for pads in padding):
            raise ValueError(f"explicit padding is ((top, bottom), (left, right)); got {padding}")
        (top, bottom), (left, right) = padding
        padding = ((top, bottom), (left, right))
    return (k.shape[0], k.shape[1]), _pair(strides, "strides"), padding


def _pair(value: int | Sequence[int], name: str) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} must be a positive integer or two of them; got {value}")
    return pair


def conv(x: Array, k: Array, strides: int | Sequence[int] = 1, padding: Padding = "SAME") -> Array:
    """Convolution as `jax.lax.conv_general_dilated` computes it, fast at every derivative.

    Args:
      x: input [B, H, W, C].
      k: kernel [h, w, C, features], of the same dtype.
      strides: one stride, or one for either axis.
      padding: "SAME", "VALID", or ((top, bottom), (left, right)).

    Returns:
      [B, H', W', features].

    Raises:
      ValueError: for a wrong rank, channels that differ, or a kernel larger than the padded input.
    """
    kernel, strides, padding = _checked(x, k, strides, padding)
    size = (x.shape[1], x.shape[2])
    if isinstance(padding, str):
        rows, columns = lax.padtype_to_pads(size, kernel, strides, padding)
        padding = (rows, columns)
    g = _Geometry(size, kernel, strides, padding)
    if any(n < 1 for _, n, *_ in g.edges()):
        raise ValueError(f"the kernel {kernel} is larger than the padded input {x.shape}")
    return _convolution(g, x, k)


def conv_transpose(
    x: Array, k: Array, strides: int | Sequence[int] = 1, padding: Padding = "SAME"
) -> Array:
    """Transposed convolution as `jax.lax.conv_transpose` computes it, fast at every derivative.

    Args:
      x: input [B, H, W, C].
      k: kernel [h, w, C, features], of the same dtype.
      strides: one stride, or one for either axis: how much larger the output is.
      padding: "SAME" (H' = s·H), "VALID" (H' = s·H + max(h - s, 0)), or
        ((top, bottom), (left, right)) of the input after it is spread out by the strides.

    Returns:
      [B, H', W', features].

    Raises:
      ValueError: for a wrong rank, channels that differ, or padding that leaves no output.
    """
    kernel, strides, padding = _checked(x, k, strides, padding)
    sizes, pads = [], []
    for axis in (0, 1):
        n, h, s = x.shape[1 + axis], kernel[axis], strides[axis]
        if not isinstance(padding, str):
            before, after = padding[axis]
        elif padding == "SAME":
            before = h - 1 if s > h - 1 else -(-(h + s - 2) // 2)
            after = h + s - 2 - before
        elif padding == "VALID":
            before, after = h - 1, max(s, h) - 1
        else:
            raise ValueError(f"padding must be SAME, VALID or explicit; got {padding!r}")
        sizes.append((n - 1) * s + 1 + before + after - (h - 1))
        pads.append((h - 1 - before, h - 1 - after))
    if min(sizes) < 1:
        raise ValueError(f"padding {padding} leaves no output for an input {x.shape}")
    # It is the input gradient of the convolution with the kernel turned around.
    g = _Geometry((sizes[0], sizes[1]), kernel, strides, (pads[0], pads[1]))
    return _input_gradient(g, x, jnp.flip(k, (0, 1)).swapaxes(2, 3))


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

    def _apply(self, operation: Callable[..., Array], x: Array) -> Array:
        if x.ndim != 4:
            raise ValueError(f"{type(self).__name__} takes [B, H, W, C]; got shape {x.shape}")
        shape = (*_pair(self.kernel_size, "kernel_size"), x.shape[3], self.features)
        k = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        x, k, bias = nn.dtypes.promote_dtype(x, k, bias, dtype=self.dtype)
        y = operation(x, k, self.strides, self.padding)
        return y if bias is None else y + bias


class Conv(_Layer):
    """2-D convolution of [B, H, W, C] with `flax.linen.Conv`'s parameters: see `conv`."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve x [B, H, W, C] into [B, H', W', features]."""
        return self._apply(conv, x)


class ConvTranspose(_Layer):
    """2-D transposed convolution with `flax.linen.ConvTranspose`'s parameters."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve x [B, H, W, C] into [B, H', W', features], H' = s·H under "SAME" padding."""
        return self._apply(conv_transpose, x)
