"""Minimal filtering: a convolution by 3x3 kernels at stride 1, in a quarter of the products.

Each output of such a convolution takes 9 products of a pixel and a weight for each pair of
channels. Here tiles of 4x4 outputs are made together, by 36 products instead of 144. On one axis,
four outputs y of six inputs d and three taps k are (Winograd 1980; Lavin and Gray 2016, sec. 4)

    y = Aᵀ[(Gk) ⊙ (Bᵀd)],    and on two    y = Aᵀ[(GkGᵀ) ⊙ (BᵀdB)]A.

It is the product of two polynomials, taken at six points, turned around: G and A evaluate
polynomials of 3 and 4 coefficients there, and Bᵀ is the transposed inverse of evaluating one of 6.
Summed over channels the products are 36 matrix products, which XLA runs at full speed. The kernel
gradient is made of the same parts: k = Gᵀ[(BᵀdB) ⊙ (AyAᵀ)]G, summed over tiles.

Rounding is about twice that of adding up one by one (1.1e-6 of a sum over 128 channels, where that
gives 6e-7), and 2 to 4 times that of XLA's own convolution. It would be more with the usual points,
0, ±1, ±2 and ∞ (2.6e-6): here they are 0, ±0.65, ±1.5 and ∞. That points decide is from Barabasz et
al. 2020.

References:
  Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.
    https://arxiv.org/abs/1509.09308
  Barabasz, Anderson, Soodhalter and Gregg, Error Analysis and Improving the Accuracy of Winograd
    Convolution for Deep Neural Networks, 2020. https://arxiv.org/abs/1803.10986
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxgan.networks.geometry import Axis, Geometry, padded

_TILE = 4  # outputs of a tile on either axis, of 6 inputs
_POINTS = (0, 0.65, -0.65, 1.5, -1.5)  # and ∞
_PART = 2**15  # tiles times channels of a part of a batch, whose transforms stay in the caches


def _evaluate(coefficients: int) -> np.ndarray:
    """The matrix of a polynomial's values at the points; at ∞ it is the last coefficient."""
    finite = np.vander(_POINTS, coefficients, increasing=True)
    return np.vstack([finite, np.eye(coefficients)[-1:]])


_KERNEL = _evaluate(3)  # G
_OUTPUT = _evaluate(_TILE)  # A
_INPUT = np.linalg.inv(_evaluate(_TILE + 2)).T  # Bᵀ
# Of both axes at once; a tile's points are numbered column by column, as `_transform` leaves them.
_BOTH_OUTPUTS = np.kron(_OUTPUT, _OUTPUT)  # of outputs column by column
_BOTH_TAPS = np.einsum("ai,bj->baij", _KERNEL, _KERNEL).reshape(36, 9)  # of taps row by row


def pays(g: Geometry, dtype: jnp.dtype, channels: tuple[int, ...]) -> bool:
    """Whether it is faster than XLA's own, as for many channels of images that are not tiny.

    With 128 channels, a batch of 64 and two cores: 1.9 times for 32x32 images (3.1 times for the
    kernel gradient), 1.4 (2.4) for 16x16, 1.4 (2.2) for 8x8 and 1 for 4x4; with 32 channels 1.2
    (1.4) for 32x32 and 1 for 8x8. In 16 bits the sums of pixels would be rounded.
    """
    fits = all(axis.kernel == 3 and axis.stride == 1 and axis.out >= 8 for axis in g)
    return fits and min(channels) >= 32 and dtype in (jnp.float32, jnp.float64)


def convolution(g: Geometry, x: Array, k: Array) -> Array:
    """y of x and k."""
    kernel = jnp.asarray(_BOTH_TAPS, k.dtype) @ k.reshape(9, -1)
    kernel = kernel.reshape(36, *k.shape[2:])
    outputs = jnp.asarray(_BOTH_OUTPUTS.T, x.dtype)

    def part(x):
        tiles = [_tiles(axis) for axis in g]
        products = lax.dot_general(_inputs(g, x), kernel, (((2,), (1,)), ((0,), (0,))))
        y = (outputs @ products.reshape(36, -1)).reshape(_TILE, _TILE, len(x), *tiles, -1)
        y = y.transpose(2, 3, 1, 4, 0, 5).reshape(len(x), *(_TILE * n for n in tiles), -1)
        return y[:, : g[0].out, : g[1].out]

    parts = lax.map(part, _split(g, x, max(k.shape[2:])))
    return parts.reshape(-1, *parts.shape[2:])


def kernel_gradient(g: Geometry, x: Array, y: Array) -> Array:
    """k of x and y."""
    xs, ys = (_split(g, each, max(x.shape[3], y.shape[3])) for each in (x, y))

    def products(i):
        x, y = _inputs(g, xs[i]), _of_outputs(g, ys[i])
        return lax.dot_general(x, y, (((1,), (1,)), ((0,), (0,))))

    # No loop from zero: under `jax.shard_map` zeros would not vary as the sums do.
    total = lax.fori_loop(1, len(xs), lambda i, sum: sum + products(i), products(0))
    k = jnp.asarray(_BOTH_TAPS.T, total.dtype) @ total.reshape(36, -1)
    return k.reshape(3, 3, *total.shape[1:])


def _tiles(axis: Axis) -> int:
    return -(-axis.out // _TILE)


def _split(g: Geometry, x: Array, channels: int) -> Array:
    """Equal parts of a batch, as large as _PART allows."""
    most = max(1, _PART // (_tiles(g[0]) * _tiles(g[1]) * channels))
    each = next(n for n in range(min(most, len(x)), 0, -1) if len(x) % n == 0) if len(x) else 1
    return x.reshape(-1, each, *x.shape[1:])


def _inputs(g: Geometry, x: Array) -> Array:
    """BᵀdB of each tile's 6x6 inputs, `[36, B·tiles, C]`."""
    pads = [(axis.low, _TILE * _tiles(axis) + 2 - axis.size - axis.low, 0) for axis in g]
    return _transform(_INPUT, padded(x, pads), 2)


def _of_outputs(g: Geometry, y: Array) -> Array:
    """AyAᵀ of each tile's 4x4 outputs, `[36, B·tiles, O]`."""
    pads = [(0, _TILE * _tiles(axis) - axis.out, 0) for axis in g]
    return _transform(_OUTPUT, padded(y, pads), 0)


def _transform(matrix: np.ndarray, x: Array, overlap: int) -> Array:
    """Both axes of the tiles of x by the matrix.

    A matrix product for the rows and sums for the columns: XLA fuses sums for both into loops that
    make each row again for every column.
    """

    def cut(x, axis):
        last = x.shape[axis] - _TILE - overlap
        return [lax.slice_in_dim(x, i, i + last + 1, _TILE, axis) for i in range(_TILE + overlap)]

    pixels = jnp.stack(cut(x, 1))
    rows = jnp.asarray(matrix, x.dtype) @ pixels.reshape(len(pixels), -1)
    rows = rows.reshape(-1, *pixels.shape[1:])
    columns = cut(rows, 3)
    sums = [
        sum(float(a) * c for a, c in zip(line, columns, strict=True) if abs(a) > 1e-9)
        for line in matrix
    ]
    return jnp.stack(sums).reshape(36, -1, x.shape[3])
