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

Numbers in this file: jaxlib 0.10.2, 2 cores with AVX-512, float32, batch 64.

Reverse mode only: as the maps are `jax.custom_vjp` functions, `jax.jvp` and `jax.jacfwd` of them
raise a TypeError.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

Padding = str | Sequence[tuple[int, int]]
Pair = tuple[int, int]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _Axis(NamedTuple):
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

    def mirrored(self) -> "_Axis":
        """At stride 1: the convolution whose input gradient, with k turned, is this one."""
        before, after = self.kernel - 1 - self.low, self.kernel - 1 - self.high
        return _Axis(self.out, self.kernel, 1, before, after)


_Geometry = tuple[_Axis, _Axis]


def _turned(k: Array) -> Array:
    """A kernel [h, w, C, O] turned around: [h, w, O, C], last tap first."""
    return jnp.flip(k, (0, 1)).swapaxes(2, 3)


def _native_convolution(g: _Geometry, x: Array, k: Array) -> Array:
    strides, pads = [axis.stride for axis in g], [(axis.low, axis.high) for axis in g]
    return lax.conv_general_dilated(x, k, strides, pads, dimension_numbers=_LAYOUT)


# The gradients in the form of JAX's own rules, which GPU libraries recognise. Calling those rules
# (`jax.linear_transpose`) would lose over which mesh axes a value varies under `jax.shard_map`.


def _native_input_gradient(g: _Geometry, y: Array, k: Array) -> Array:
    pads = [(a.kernel - 1 - a.low, a.size - 1 - (a.out - 1) * a.stride + a.low) for a in g]
    return lax.conv_general_dilated(
        y,
        jnp.flip(k, (0, 1)),
        (1, 1),
        pads,
        lhs_dilation=[axis.stride for axis in g],
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def _native_kernel_gradient(g: _Geometry, x: Array, y: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        y,
        (1, 1),
        _kernel_gradient_pads(g),
        rhs_dilation=[axis.stride for axis in g],
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )


def _kernel_gradient_pads(g: _Geometry) -> list[Pair]:
    return [(a.low, (a.out - 1) * a.stride + a.kernel - a.size - a.low) for a in g]


# XLA's CPU convolution packs each patch of its input once for all output channels, so with few of
# them packing is all it does. One matrix product from the pixels to all taps does not pack: 3 to 9
# times faster up to 4 output channels, level at 8 (5x5 at stride 2) or still 3.5 times (3x3 at 1).
_FEW = 8


def _cpu_convolution(g: _Geometry, x: Array, k: Array) -> Array:
    if k.shape[3] <= _FEW and all(axis.stride == 1 for axis in g):
        # 6 times faster (128 to 3 channels, 3x3).
        return _cpu_input_gradient((g[0].mirrored(), g[1].mirrored()), x, _turned(k))
    return _canonical(x, k, [(axis.low, axis.high) for axis in g], [axis.stride for axis in g])


def _cpu_input_gradient(g: _Geometry, y: Array, k: Array) -> Array:
    if k.shape[2] <= _FEW:
        return _add_up(g, y, _by_tap(g, y, k), k.shape[2])
    # Four parts for the cores to share, as XLA runs most of these small convolutions on one.
    count = 4 if len(y) % 4 == 0 and max(axis.stride for axis in g) > 1 else 1
    parts = (_add_up(g, part, _by_phase(g, part, k), k.shape[2]) for part in jnp.split(y, count))
    return jnp.concatenate(list(parts))


def _add_up(
    g: _Geometry, y: Array, shares: Iterator[tuple[Sequence[int], Array]], channels: int
) -> Array:
    x = jnp.zeros((y.shape[0], g[0].size, g[1].size, channels), _sum_dtype(y))
    for starts, share in shares:  # XLA fuses the sum into one loop that writes x once
        x += _spread(g, share, starts)
    return x.astype(y.dtype)


def _by_phase(g: _Geometry, y: Array, k: Array) -> Iterator[tuple[Sequence[int], Array]]:
    """x[start + s·q], for each start below s: a convolution of y with every s-th tap of k.

    No operation is wasted, 344 GFLOP/s of a matrix product's 376 (5x5, stride 2, 64 to 128
    channels). One convolution for all phases, its kernels filled up with zeros, reached 190, and
    one matrix product for all taps 160.
    """
    for starts in itertools.product(*(range(min(axis.stride, axis.size)) for axis in g)):
        # x[i] collects y[o] k[j] where i + low = s·o + j; here i = start + s·q, j = first + s·t.
        first = [(start + axis.low) % axis.stride for start, axis in zip(starts, g, strict=True)]
        part = k[first[0] :: g[0].stride, first[1] :: g[1].stride]
        if 0 in part.shape:
            continue
        pads = []
        for start, j, axis, taps in zip(starts, first, g, part.shape, strict=False):
            ahead = (start + axis.low - j) // axis.stride  # o = q + ahead - t
            last = (axis.size - 1 - start) // axis.stride + ahead
            pads.append((taps - 1 - ahead, last - (axis.out - 1)))
        # Without the barrier XLA folds the turning into the convolution, which is then not fast.
        yield starts, _canonical(y, lax.optimization_barrier(_turned(part)), pads)


def _by_tap(g: _Geometry, y: Array, k: Array) -> Iterator[tuple[Sequence[int], Array]]:
    """The share of each tap of k in x[start + s·q], all taken from one matrix product."""
    h, w, c, o = k.shape
    shares = jnp.dot(y, k.reshape(-1, o).T, preferred_element_type=_sum_dtype(y))
    shares = lax.optimization_barrier(shares.reshape(*y.shape[:3], h, w, c))
    for i, j in itertools.product(range(h), range(w)):
        yield (i - g[0].low, j - g[1].low), shares[:, :, :, i, j]


def _sum_dtype(y: Array) -> jnp.dtype:
    # bfloat16 is rounded once, after the last sum, as in the native operations.
    return jnp.promote_types(y.dtype, jnp.float32)


def _spread(g: _Geometry, part: Array, starts: Sequence[int]) -> Array:
    """Put part [B, m, n, C] at every s-th place of x, from starts on; drop what falls outside."""
    pads = [
        (start, axis.size - start - (n - 1) * axis.stride - 1, axis.stride - 1)
        for start, axis, n in zip(starts, g, part.shape[1:3], strict=True)
    ]
    return lax.pad(part, jnp.zeros((), part.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _cpu_kernel_gradient(g: _Geometry, x: Array, y: Array) -> Array:
    if y.shape[3] <= _FEW < x.shape[3] and all(axis.stride == 1 for axis in g):
        # 4 times faster (128 to 3 channels, 3x3).
        return _turned(_cpu_kernel_gradient((g[0].mirrored(), g[1].mirrored()), y, x))
    # All patches of a batch together can outgrow the caches: see `_split`.
    patches = y[0, :, :, 0].size * g[0].kernel * g[1].kernel * x.shape[3]
    k = jnp.zeros((), _sum_dtype(y))
    for x_part, y_part in zip(*(_split(each, patches) for each in (x, y)), strict=True):
        k += _kernel_gradient_at_once(g, x_part, y_part).astype(k.dtype)
    return k.astype(y.dtype)


_MOST = 2**22


def _split(x: Array, patches: int) -> list[Array]:
    """Parts of a batch whose patches, so many numbers an example, come to 16 MB at most.

    They are no loop, as parts that do not wait for each other also give the cores work where one
    operation cannot: XLA runs many convolutions of these sizes on one core. But 8 parts, and parts
    of 16 examples, are small enough: the update of a ResNet critic (3x3, 128 channels, 32x32) takes
    0.7 of its time in one piece in 16s, and 0.8 in 32s.
    """
    batch = len(x)
    counts = [n for n in range(1, 9) if batch % n == 0 and (n == 1 or batch // n >= 16)]
    count = next((n for n in counts if batch // n * patches <= _MOST), counts[-1])
    return jnp.split(x, count)


def _kernel_gradient_at_once(g: _Geometry, x: Array, y: Array) -> Array:
    # A convolution of x by y with batch and channels exchanged. The barriers keep XLA from folding
    # the exchanges into the operation, which is then not fast.
    k = _canonical(
        lax.optimization_barrier(x.transpose(3, 1, 2, 0)),
        lax.optimization_barrier(y.transpose(1, 2, 0, 3)),
        _kernel_gradient_pads(g),
        dilation=[axis.stride for axis in g],
    )
    return lax.optimization_barrier(k).transpose(1, 2, 0, 3)


def _canonical(
    x: Array,
    k: Array,
    pads: Sequence[tuple[int, int]],
    strides: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
) -> Array:
    """The one form of a convolution that XLA's CPU backend runs fast."""
    # Padding belongs to the operation: to pad all of x first costs 10 to 20%. But a kernel larger
    # than its input runs 20 to 80 times slower, so as much as makes up for that goes first, and so
    # does all cropping: negative padding in the operation reads outside of the array
    # (https://github.com/openxla/xla/issues/48713).
    first, rest = [], []
    for (low, high), n, h, d in zip(pads, x.shape[1:3], k.shape[:2], dilation, strict=True):
        lacking = max(0, (h - 1) * d + 1 - (n + min(low, 0) + min(high, 0)))
        before = min(low, lacking)
        after = min(high, lacking - max(before, 0))
        first.append((before, after, 0))
        rest.append((low - before, high - after))
    if any(before or after for before, after, _ in first):
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *first, (0, 0, 0)])
        x = lax.optimization_barrier(x)
    return lax.conv_general_dilated(
        x, k, strides, rest, rhs_dilation=dilation, dimension_numbers=_LAYOUT
    )


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
    @functools.partial(jax.jit, static_argnums=0)
    def bilinear(g: _Geometry, a: Array, b: Array) -> Array:
        return lax.platform_dependent(
            a,
            b,
            cpu=_one_after_another(functools.partial(cpu, g)),
            default=functools.partial(native, g),
        )

    return jax.custom_vjp(bilinear, nondiff_argnums=(0,))


_convolution: Any = _lowered(_cpu_convolution, _native_convolution)
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


def _explicit(
    x: Array, k: Array, strides: int | Sequence[int], padding: Padding, transpose: bool
) -> tuple[Pair, Sequence[Pair]]:
    """Strides and padding as pairs, after checking all that can be wrong."""
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
    strides, pads = _explicit(x, k, strides, padding, transpose=False)
    rows, columns = (
        _Axis(size, h, s, *pad)
        for size, h, s, pad in zip(x.shape[1:3], k.shape[:2], strides, pads, strict=True)
    )
    if rows.out < 1 or columns.out < 1:
        raise ValueError(f"a kernel {k.shape} is larger than the input {x.shape}, padded by {pads}")
    return _convolution((rows, columns), x, k)


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
        _Axis((n - 1) * s + before + after - h + 2, h, s, h - 1 - before, h - 1 - after)
        for n, h, s, (before, after) in zip(x.shape[1:3], k.shape[:2], strides, pads, strict=True)
    )
    if rows.size < 1 or columns.size < 1:
        raise ValueError(f"padding {pads} leaves nothing of an input {x.shape}, kernel {k.shape}")
    return _input_gradient((rows, columns), x, _turned(k))


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
