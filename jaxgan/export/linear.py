"""Matrix products, convolutions and pooling, as ONNX nodes.

ONNX has images as NCHW and kernels as OIHW. Results stay in that order in the file: see `graph`.
"""

import functools
import operator
from typing import Any

import numpy as np

from jaxgan.export.arrays import reverse
from jaxgan.export.elementwise import apply, number
from jaxgan.export.graph import Graph, Value, known
from jaxgan.export.layout import transpose

_IMAGES = (0, 3, 1, 2)  # the order of ONNX's images


def _dot(graph, a, b, dimension_numbers, shapes, **params):
    del params
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    plain = len(b.shape) == 2 and tuple(b_sum) == (0,) and tuple(a_sum) == (len(a.shape) - 1,)
    if plain and len(a.shape) == 4 and a.order == _IMAGES and b.known is not None:
        # Each pixel's channels: a convolution of one tap, in the order that the file has.
        kernel = graph.constant(b.known.T[:, :, None, None], b.name)
        name = graph.node("Conv", graph.full(a, a.order), kernel, kernel_shape=[1, 1])
        return graph.like(name, shapes[0], a.dtype, a.order)
    if plain:
        name = graph.node("MatMul", graph.full(a), graph.full(b))
        return graph.like(name, shapes[0], a.dtype)
    a_free = [axis for axis in range(len(a.shape)) if axis not in (*a_sum, *a_batch)]
    b_free = [axis for axis in range(len(b.shape)) if axis not in (*b_sum, *b_batch)]
    left = _matrix(graph, a, a_batch, a_free, a_sum)
    right = _matrix(graph, b, b_batch, b_sum, b_free)
    batch = [a.shape[axis] for axis in a_batch]
    rows, columns = (_product(x.shape[axis] for axis in f) for x, f in ((a, a_free), (b, b_free)))
    name = graph.node("MatMul", graph.full(left), graph.full(right))
    made = graph.like(name, (*batch, rows, columns), a.dtype)
    return made if made.shape == tuple(shapes[0]) else graph.reshaped(made, shapes[0])


def _matrix(graph, value, batch, rows, columns):
    """A value as matrices, with the axes of a group merged into one."""
    sizes = [value.shape[axis] for axis in batch]
    sizes += [_product(value.shape[axis] for axis in group) for group in (rows, columns)]
    value = transpose(graph, value, (*batch, *rows, *columns))
    return value if tuple(sizes) == value.shape else graph.reshaped(value, sizes)


def _product(sizes):
    return functools.reduce(operator.mul, sizes, 1)


def _conv(
    graph: Graph,
    x: Value,
    k: Value,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    shapes: Any,
    **params: Any,
) -> Value:
    del params
    if batch_group_count > 1:
        raise ValueError("It has groups of the batch.")
    image, kernel, made = dimension_numbers
    k = transpose(graph, k, kernel)
    if max(lhs_dilation, default=1) > 1:
        if max(window_strides) > 1:
            raise ValueError("It has strides and a dilated input.")
        name = _transposed(
            graph, x, k, image, lhs_dilation, rhs_dilation, padding, feature_group_count
        )
        return graph.like(name, shapes[0], x.dtype, made)
    name = graph.full(x, image)
    if min(min(pads) for pads in padding) < 0:
        name = _padded(graph, name, [(min(low, 0), min(high, 0)) for low, high in padding])
    name = graph.node(
        "Conv",
        name,
        graph.full(k),
        kernel_shape=list(k.shape[2:]),
        strides=list(window_strides),
        dilations=list(rhs_dilation),
        pads=[max(0, pads[side]) for side in (0, 1) for pads in padding],
        group=feature_group_count,
    )
    return graph.like(name, shapes[0], x.dtype, made)


def _transposed(graph, x, k, image, strides, dilations, padding, groups):
    """A convolution of an input with zeros between, as ONNX's transposed one.

    That has the kernel turned around, and pads that say how much of the whole is cut off.
    """
    if k.known is None:
        turned = reverse(graph, k, range(2, len(k.shape)), [k.shape])
    else:
        turned = known(np.flip(k.known, tuple(range(2, k.known.ndim))), k.name)
    features, share, *taps = turned.shape
    split = graph.reshaped(turned, (groups, features // groups, share, *taps))
    order = (0, 2, 1, *range(3, 3 + len(taps)))
    swapped = transpose(graph, split, order)
    weights = graph.reshaped(swapped, (groups * share, features // groups, *taps))
    cut = [
        ((n - 1) * d - low, (n - 1) * d - high)
        for n, d, (low, high) in zip(taps, dilations, padding, strict=True)
    ]
    name = graph.node(
        "ConvTranspose",
        graph.full(x, image),
        graph.full(weights),
        kernel_shape=list(taps),
        strides=list(strides),
        dilations=list(dilations),
        pads=[max(0, pads[side]) for side in (0, 1) for pads in cut],
        group=groups,
    )
    return _padded(graph, name, [(max(0, -low), max(0, -high)) for low, high in cut])


def _padded(graph, name, pads):
    """Zeros around the images of a node; less of them where a number is negative."""
    if not any(map(any, pads)):
        return name
    sizes = [0, 0, *(low for low, _ in pads), 0, 0, *(high for _, high in pads)]
    return graph.node("Pad", name, graph.constant(np.asarray(sizes, np.int64)))


def _pool(kind):
    """Sums or largest numbers of windows of images."""

    def rule(graph, x, window_dimensions, window_strides, padding, shapes, **params):
        windows = zip(window_dimensions, window_strides, padding, strict=True)
        images = [axis for axis, each in enumerate(windows) if each != (1, 1, (0, 0))]
        holes = max(*params["base_dilation"], *params["window_dilation"])
        if len(x.shape) != 4 or not set(images) <= {1, 2} or holes > 1:
            raise ValueError("It pools more than the pixels of images [N, H, W, C].")
        name = graph.node(
            kind,
            graph.full(x, _IMAGES),
            kernel_shape=list(window_dimensions[1:3]),
            strides=list(window_strides[1:3]),
            pads=[padding[axis][side] for side in (0, 1) for axis in (1, 2)],
            **({"count_include_pad": 1} if kind == "AveragePool" else {}),
        )
        made = graph.like(name, shapes[0], x.dtype, _IMAGES)
        if kind == "AveragePool":
            return apply(graph, "Mul", made, number(np.prod(window_dimensions), made))
        return made

    return rule


RULES: dict[str, Any] = {
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "reduce_window_max": _pool("MaxPool"),
    "reduce_window_sum": _pool("AveragePool"),
}
