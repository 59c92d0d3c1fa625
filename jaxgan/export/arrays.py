"""Operations that move, join, cut, look up and sum numbers, as ONNX nodes.

Most work on axes one by one, so images stay in the order that the file has them in.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from jaxgan.export.elementwise import cast, clamped
from jaxgan.export.graph import Graph, Value, known


def _groups(before, after):
    """Pairs of the axes that reshaping merges or splits, which have equal products; None if unsure.

    Axes of size 1 go with their neighbours.
    """
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        a, b, p, q = [], [], 1, 1
        while not a or not b or p != q:
            # Of a batch and a number none is the smaller: whatever comes next is merged.
            take_a = i < len(before) and (not a or (_less(p, q) and bool(b)))
            if take_a:
                a.append(i)
                p, i = p * before[i], i + 1
            elif j < len(after):
                b.append(j)
                q, j = q * after[j], j + 1
            else:
                return None
        groups.append((a, b))
    return groups


def _less(p, q):
    return isinstance(p, int) and isinstance(q, int) and p < q


def _reshape(graph, value, new_sizes, shapes, dimensions=None, **params):
    del shapes, params
    if dimensions is not None:
        raise ValueError("It has an order of axes.")
    if value.known is not None:
        return graph.reshaped(value, new_sizes)
    groups = _groups(value.shape, new_sizes)
    larger = _enlarged(graph, value, new_sizes, groups)
    if larger is not None:
        return larger
    if value.order == tuple(range(len(value.shape))) or groups is None:
        return graph.reshaped(value, new_sizes)
    # Images stay in the file's order, if it has those axes side by side that become one.
    order = []
    for axes, new in sorted(groups, key=lambda group: value.order.index(group[0][0])):
        places = [value.order.index(axis) for axis in axes]
        if places != list(range(places[0], places[0] + len(places))):
            return graph.reshaped(value, new_sizes)
        order += new
    name = graph.reshaped_in_file(value, [new_sizes[axis] for axis in order])
    return graph.like(name, new_sizes, value.dtype, order)


def _enlarged(graph, value, new_sizes, groups):
    """Where each pixel is repeated, as in `nearest_up`: images made larger by the operation for it.

    onnxruntime copies faster so, 128 of 280 ms of a residual network (64 of 32x32) less.
    """
    kind, inputs = graph.maker(value)
    if groups is None or kind != "Unsqueeze" or len(new_sizes) != 4 or value.shape == value.held:
        return None
    kept, scales = [], [1.0] * 4
    for axes, new in groups:
        if len(new) != 1 or len(axes) > 2 or value.held[axes[0]] != value.shape[axes[0]]:
            return None
        kept.append(axes[0])
        if len(axes) == 2:
            if value.held[axes[1]] != 1:
                return None
            scales[new[0]] = float(value.shape[axes[1]])
    order = [kept.index(axis) for axis in value.order if axis in kept]
    size = [scales[axis] for axis in order]
    name = graph.node(
        "Resize",
        inputs[0],
        "",
        graph.constant(np.asarray(size, np.float32)),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return graph.like(name, new_sizes, value.dtype, order)


def _squeeze(graph, value, shapes, **params):
    return _reshape(graph, value, shapes[0], shapes)


def _transpose(graph, value, permutation, shapes, **params):
    del shapes, params
    new = {axis: place for place, axis in enumerate(permutation)}
    if value.known is not None:
        shape = tuple(value.shape[axis] for axis in permutation)
        return known(value.known.transpose(permutation), value.name, shape)
    return dataclasses.replace(
        value,
        shape=tuple(value.shape[axis] for axis in permutation),
        held=tuple(value.held[axis] for axis in permutation),
        order=tuple(new[axis] for axis in value.order),
    )


def _broadcast(graph, value, shape, broadcast_dimensions, shapes, **params):
    """Only new axes: what is to be repeated is so where an operation needs all of it."""
    del shapes, params
    held = [1] * len(shape)
    for axis, new in enumerate(broadcast_dimensions):
        held[new] = value.held[axis]
    if value.known is not None:
        return known(value.known.reshape(held), value.name, tuple(shape))
    # A new axis follows the one before it, in the file as in jax.
    order: list[int] = []
    ends = [*broadcast_dimensions[1:], len(shape)]
    follow = {d: list(range(d, end)) for d, end in zip(broadcast_dimensions, ends, strict=True)}
    order += range(broadcast_dimensions[0] if broadcast_dimensions else len(shape))
    for axis in value.order:
        order += follow[broadcast_dimensions[axis]]
    name = value.name
    added = [place for place, axis in enumerate(order) if axis not in broadcast_dimensions]
    if added:
        name = graph.node("Unsqueeze", name, graph.constant(np.asarray(added, np.int64)))
    return Value(tuple(shape), value.dtype, name, None, tuple(held), tuple(order))


def _concatenate(graph, *values, dimension, shapes, **params):
    del params
    orders = [value.order for value in values if value.known is None]
    plain = tuple(range(len(shapes[0])))
    order = next((order for order in orders if order != plain), plain)
    names = [graph.full(value, order) for value in values]
    name = graph.node("Concat", *names, axis=order.index(dimension))
    return graph.like(name, shapes[0], values[0].dtype, order)


def _in_full(graph, value, shape, kind, *arguments, **attributes):
    """A node on all of a value in the file's order, and its result."""
    more = [graph.constant(np.asarray(each, np.int64)) for each in arguments]
    name = graph.node(kind, graph.full(value, value.order), *more, **attributes)
    return graph.like(name, shape, value.dtype, value.order)


def _slice(graph, value, start_indices, limit_indices, shapes, strides=None, **params):
    del params
    strides = strides or [1] * len(start_indices)
    cut = [
        (value.order.index(axis), *bounds)
        for axis, bounds in enumerate(zip(start_indices, limit_indices, strides, strict=True))
        if bounds[0] != 0 or bounds[2] != 1 or bounds[1] != value.shape[axis]
    ]
    if not cut:
        return value
    axes, starts, ends, steps = zip(*cut, strict=True)
    if not all(isinstance(bound, int) for bound in (*starts, *ends)):
        raise ValueError("It cuts the batch.")
    return _in_full(graph, value, shapes[0], "Slice", starts, ends, axes, steps)


def _dynamic_slice(graph, value, *starts, slice_sizes, shapes, **params):
    del params
    if not all(start.known is not None for start in starts):
        raise ValueError("It begins at a place that is computed.")
    spare = [size - n for size, n in zip(value.shape, slice_sizes, strict=True)]
    first = [
        int(np.clip(start.known, 0, most)) if isinstance(most, int) else 0
        for start, most in zip(starts, spare, strict=True)
    ]
    last = [begin + n for begin, n in zip(first, slice_sizes, strict=True)]
    return _slice(graph, value, first, last, shapes)


def _reverse(graph, value, dimensions, shapes, **params):
    del params
    axes = [value.order.index(axis) for axis in dimensions]
    ends, steps = [-(2**62)] * len(axes), [-1] * len(axes)
    return _in_full(graph, value, shapes[0], "Slice", [-1] * len(axes), ends, axes, steps)


def _pad(graph, value, filling, padding_config, shapes, **params):
    """Zeros between, around, and cut off around."""
    del params
    if filling.known is None:
        raise ValueError("It fills with a number that is computed.")
    fill = graph.constant(filling.known.reshape(()))
    for axis, (_, _, between) in enumerate(padding_config):
        if between:
            value = _spread(graph, value, axis, between, filling)
    pads = [(low, high) for low, high, _ in padding_config]
    added = [[max(0, pads[axis][side]) for axis in value.order] for side in (0, 1)]
    name = graph.full(value, value.order)
    if any(added[0] + added[1]):
        name = graph.node("Pad", name, graph.constant(np.asarray(sum(added, []), np.int64)), fill)
    value = graph.like(name, value.shape, value.dtype, value.order)
    first = [max(0, -low) for low, _ in pads]
    last = [-high if high < 0 else None for _, high in pads]
    cut = [
        (value.order.index(axis), first[axis], 2**62 if end is None else -end)
        for axis, end in enumerate(last)
        if first[axis] or end
    ]
    if cut:
        axes, starts, ends = zip(*cut, strict=True)
        return _in_full(graph, value, shapes[0], "Slice", starts, ends, axes)
    return dataclasses.replace(value, shape=tuple(shapes[0]), held=tuple(shapes[0]))


def _spread(graph, value, axis, between, filling):
    """A number of fillings between the neighbours along an axis."""
    size = value.shape[axis]
    split = (*value.shape[: axis + 1], 1, *value.shape[axis + 1 :])
    dims = [d for d in range(len(split)) if d != axis + 1]
    value = _broadcast(graph, value, split, dims, None)
    config = [(0, between if d == axis + 1 else 0, 0) for d in range(len(split))]
    wide = (*split[: axis + 1], between + 1, *split[axis + 2 :])
    value = _pad(graph, value, filling, config, [wide])
    joined = [*wide[:axis], size * (between + 1), *wide[axis + 2 :]]
    value = _reshape(graph, value, joined, None)
    cut = [*joined[:axis], (size - 1) * (between + 1) + 1, *joined[axis + 1 :]]
    return _slice(graph, value, [0] * len(cut), cut, [cut])


def _iota(graph, *sizes, dtype, shape, dimension, shapes, **params):
    del graph, sizes, params
    if not isinstance(shape[dimension], int):
        raise ValueError("It counts the batch.")
    counted = [shape[dimension] if axis == dimension else 1 for axis in range(len(shape))]
    return known(np.arange(shape[dimension], dtype=dtype).reshape(counted), "", tuple(shape))


def _gather(graph, value, indices, dimension_numbers, slice_sizes, mode, shapes, **params):
    """A part at a known place, or rows of a table, as an Embed takes them."""
    del params
    mapped, rank = dimension_numbers.start_index_map, len(value.shape)
    if indices.known is not None and len(indices.shape) == 1:
        # What x[:, 1:] is where the batch is open.
        starts = [known(np.zeros((), np.int32))] * rank
        for axis, start in zip(mapped, indices.known, strict=True):
            starts[axis] = known(start)
        part = _dynamic_slice(graph, value, *starts, slice_sizes=slice_sizes, shapes=[slice_sizes])
        return _reshape(graph, part, shapes[0], None)
    rest = [n for axis, n in enumerate(slice_sizes) if axis not in mapped]
    whole = [n for axis, n in enumerate(value.shape) if axis not in mapped]
    places = len(shapes[0]) - (rank - 1)
    if (
        len(mapped) != 1
        or dimension_numbers.collapsed_slice_dims != mapped
        or dimension_numbers.operand_batching_dims
        or slice_sizes[mapped[0]] != 1
        or rest != whole
        or dimension_numbers.offset_dims != _offsets(mapped[0], rank, places)
    ):
        raise ValueError("It looks up more than rows.")
    axis = mapped[0]
    rows = graph.reshaped(indices, indices.shape[:-1])
    if mode == GatherScatterMode.CLIP:
        rows = clamped(graph, rows, value.shape[axis] - 1)
    order = value.order if places == 1 else tuple(range(rank))
    name = graph.node("Gather", graph.full(value, order), graph.full(rows), axis=order.index(axis))
    return graph.like(name, shapes[0], value.dtype, order if places == 1 else None)


def _offsets(axis, rank, places):
    """The result's axes that are the table's, where numpy's take puts them."""
    return (*range(axis), *range(axis + places, places + rank - 1))


def _split(graph, value, sizes, axis, shapes, **params):
    del params
    lengths = graph.constant(np.asarray(sizes, np.int64))
    names = graph.node(
        "Split",
        graph.full(value, value.order),
        lengths,
        count=len(sizes),
        axis=value.order.index(axis),
    )
    names = [names] if len(sizes) == 1 else names
    return [
        graph.like(name, shape, value.dtype, value.order)
        for name, shape in zip(names, shapes, strict=True)
    ]


def _reduce(kind):
    def rule(graph, value, axes, shapes, **params):
        del params
        logical = value.dtype == np.dtype(bool)
        value = cast(graph, value, np.int32) if logical else value
        if not axes:
            return value
        places = graph.constant(np.asarray([value.order.index(axis) for axis in axes], np.int64))
        name = graph.node(kind, graph.full(value, value.order), places, keepdims=0)
        kept = [axis for axis in range(len(value.shape)) if axis not in axes]
        order = [kept.index(axis) for axis in value.order if axis not in axes]
        made = graph.like(name, shapes[0], value.dtype, order)
        return cast(graph, made, bool) if logical else made

    return rule


def _arg(kind):
    def rule(graph, value, axes, index_dtype, shapes, **params):
        del params
        [axis] = axes
        name = graph.node(kind, graph.full(value), axis=axis, keepdims=0)
        return cast(graph, graph.like(name, shapes[0], np.int64), index_dtype)

    return rule


def _cumsum(graph, value, axis, reverse, shapes, **params):
    del params
    places = graph.constant(np.asarray(value.order.index(axis), np.int64))
    name = graph.node("CumSum", graph.full(value, value.order), places, reverse=int(reverse))
    return graph.like(name, shapes[0], value.dtype, value.order)


def row(graph: Graph, value: Value, index: int) -> Value:
    """One row of the first axis."""
    shape = value.shape[1:]
    if value.known is not None:
        return known(np.broadcast_to(value.known, value.shape)[index], value.name)
    first, last = [index] + [0] * len(shape), [index + 1, *shape]
    cut = _slice(graph, value, first, last, [(1, *shape)])
    return _reshape(graph, cut, shape, None)


def stacked(graph: Graph, rows: Sequence[Value], axis: int = 0) -> Value:
    """Values beside each other, along a new axis."""
    dims = [place for place in range(len(rows[0].shape) + 1) if place != axis]
    one, joined = ((*rows[0].shape[:axis], n, *rows[0].shape[axis:]) for n in (1, len(rows)))
    ones = [_broadcast(graph, each, one, dims, None) for each in rows]
    return _concatenate(graph, *ones, dimension=axis, shapes=[joined])


def _stack(graph, *values, axis, shapes, **params):
    del shapes, params
    return stacked(graph, values, axis)


def _unstack(graph, value, axis, shapes, **params):
    del params
    count, rest = value.shape[axis], range(len(value.shape))
    cuts = [([i if d == axis else 0 for d in rest], i) for i in range(count)]
    parts = []
    for first, i in cuts:
        last = [i + 1 if d == axis else value.shape[d] for d in rest]
        one = [1 if d == axis else value.shape[d] for d in rest]
        part = _slice(graph, value, first, last, [one])
        parts.append(_reshape(graph, part, shapes[0], None))
    return parts


def _tile(graph, value, reps, shapes, **params):
    del params
    times = graph.shape([reps[axis] for axis in value.order])
    name = graph.node("Tile", graph.full(value, value.order), times)
    return graph.like(name, shapes[0], value.dtype, value.order)


RULES = {
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "cumsum": _cumsum,
    "dynamic_slice": _dynamic_slice,
    "expand_dims": _squeeze,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reduce_and": _reduce("ReduceMin"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce("ReduceMax"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
    "unstack": _unstack,
}
