"""The three maps of a convolution, each as JAX's own operation and in the form that CPUs run fast.

What they are, and why a CPU needs another form, is told in `conv`, which ties them together.

Numbers in this file: jaxlib 0.10.2, 2 cores with AVX-512, float32, batch 64.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
from jax import Array, lax

from jaxgan.networks import winograd
from jaxgan.networks.geometry import Geometry, Pair, padded, turned

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def native_convolution(g: Geometry, x: Array, k: Array, groups: int = 1) -> Array:
    """y of x and k."""
    strides, pads = [axis.stride for axis in g], [(axis.low, axis.high) for axis in g]
    return lax.conv_general_dilated(
        x, k, strides, pads, dimension_numbers=_LAYOUT, feature_group_count=groups
    )


# The gradients in the form of JAX's own rules, which GPU libraries recognise. Calling those rules
# (`jax.linear_transpose`) would lose over which mesh axes a value varies under `jax.shard_map`.


def native_input_gradient(g: Geometry, y: Array, k: Array, groups: int = 1) -> Array:
    """x of y and k."""
    h, w, c, o = k.shape
    if groups > 1:  # y's channels are of as many groups: k's input channels stand beside them
        k = k.reshape(h, w, c, groups, o // groups).transpose(0, 1, 3, 2, 4)
        k = k.reshape(h, w, groups * c, o // groups)
    pads = [(a.kernel - 1 - a.low, a.size - 1 - (a.out - 1) * a.stride + a.low) for a in g]
    return lax.conv_general_dilated(
        y,
        jnp.flip(k, (0, 1)),
        (1, 1),
        pads,
        lhs_dilation=[axis.stride for axis in g],
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        feature_group_count=groups,
    )


def native_kernel_gradient(g: Geometry, x: Array, y: Array, groups: int = 1) -> Array:
    """k of x and y."""
    return lax.conv_general_dilated(
        x,
        y,
        (1, 1),
        _kernel_gradient_pads(g),
        rhs_dilation=[axis.stride for axis in g],
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        batch_group_count=groups,
    )


def _kernel_gradient_pads(g: Geometry) -> list[Pair]:
    return [(a.low, (a.out - 1) * a.stride + a.kernel - a.size - a.low) for a in g]


def by_group(f: Callable[[Array, Array], Array], groups: int) -> Callable[[Array, Array], Array]:
    """One of the three maps, f, for each group apart, and their results beside each other.

    All three have the groups of both arguments, and of the result, along the last axis. XLA's CPU
    backend runs its own grouped convolution 4 times slower (3x3, 128 channels in 8 groups).
    """
    if groups == 1:
        return f

    def each(a: Array, b: Array) -> Array:
        pairs = zip(jnp.split(a, groups, -1), jnp.split(b, groups, -1), strict=True)
        return jnp.concatenate([f(*pair) for pair in pairs], axis=-1)

    return each


# XLA's CPU convolution packs each patch of its input once for all output channels, so with few of
# them packing is all it does. One matrix product from the pixels to all taps does not pack: 3 to 9
# times faster up to 4 output channels, level at 8 (5x5 at stride 2) or still 3.5 times (3x3 at 1).
_FEW = 8


def cpu_convolution(g: Geometry, x: Array, k: Array) -> Array:
    """y of x and k."""
    if k.shape[3] <= _FEW and all(axis.stride == 1 for axis in g):
        # 6 times faster (128 to 3 channels, 3x3).
        return cpu_input_gradient((g[0].mirrored(), g[1].mirrored()), x, turned(k))
    if winograd.pays(g, x.dtype, k.shape[2:]) and _has_size(x):
        return winograd.convolution(g, x, k)
    return _canonical(x, k, [(axis.low, axis.high) for axis in g], [axis.stride for axis in g])


def cpu_input_gradient(g: Geometry, y: Array, k: Array) -> Array:
    """x of y and k."""
    if k.shape[2] <= _FEW:
        return _add_up(g, y, _by_tap(g, y, k), k.shape[2])
    if winograd.pays(g, y.dtype, k.shape[2:]) and _has_size(y):
        return winograd.convolution((g[0].mirrored(), g[1].mirrored()), y, turned(k))
    # Four parts for the cores to share, as XLA runs most of these small convolutions on one.
    divides = _has_size(y) and len(y) % 4 == 0
    count = 4 if divides and max(axis.stride for axis in g) > 1 else 1
    parts = (_add_up(g, part, _by_phase(g, part, k), k.shape[2]) for part in jnp.split(y, count))
    return jnp.concatenate(list(parts))


def _has_size(x: Array) -> bool:
    """Whether the batch has a size; an exported program leaves it open, and is in one part."""
    return isinstance(x.shape[0], int)


def _add_up(
    g: Geometry, y: Array, shares: Iterator[tuple[Sequence[int], Array]], channels: int
) -> Array:
    x = jnp.zeros((y.shape[0], g[0].size, g[1].size, channels), _sum_dtype(y))
    for starts, share in shares:  # XLA fuses the sum into one loop that writes x once
        x += _spread(g, share, starts)
    return x.astype(y.dtype)


def _by_phase(g: Geometry, y: Array, k: Array) -> Iterator[tuple[Sequence[int], Array]]:
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
        yield starts, _canonical(y, lax.optimization_barrier(turned(part)), pads)


def _by_tap(g: Geometry, y: Array, k: Array) -> Iterator[tuple[Sequence[int], Array]]:
    """The share of each tap of k in x[start + s·q], all taken from one matrix product."""
    h, w, c, o = k.shape
    shares = jnp.dot(y, k.reshape(-1, o).T, preferred_element_type=_sum_dtype(y))
    shares = lax.optimization_barrier(shares.reshape(*y.shape[:3], h, w, c))
    for i, j in itertools.product(range(h), range(w)):
        yield (i - g[0].low, j - g[1].low), shares[:, :, :, i, j]


def _sum_dtype(y: Array) -> jnp.dtype:
    # bfloat16 is rounded once, after the last sum, as in the native operations.
    return jnp.promote_types(y.dtype, jnp.float32)


def _spread(g: Geometry, part: Array, starts: Sequence[int]) -> Array:
    """Put part [B, m, n, C] at every s-th place of x, from starts on; drop what falls outside."""
    pads = [
        (start, axis.size - start - (n - 1) * axis.stride - 1, axis.stride - 1)
        for start, axis, n in zip(starts, g, part.shape[1:3], strict=True)
    ]
    return padded(part, pads)


def cpu_kernel_gradient(g: Geometry, x: Array, y: Array) -> Array:
    """k of x and y."""
    if y.shape[3] <= _FEW < x.shape[3] and all(axis.stride == 1 for axis in g):
        # 4 times faster (128 to 3 channels, 3x3).
        return turned(cpu_kernel_gradient((g[0].mirrored(), g[1].mirrored()), y, x))
    if winograd.pays(g, x.dtype, (x.shape[3], y.shape[3])):
        return winograd.kernel_gradient(g, x, y)
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


def _kernel_gradient_at_once(g: Geometry, x: Array, y: Array) -> Array:
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
        x = lax.optimization_barrier(padded(x, first))
    return lax.conv_general_dilated(
        x, k, strides, rest, rhs_dilation=dilation, dimension_numbers=_LAYOUT
    )
