"""Operations that join, cut, look up and sum numbers, as ONNX nodes.

Most work on axes one by one, so images stay in the order that the file has them in.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from jaxgan.export.elementwise import cast, clamped
from jaxgan.export.graph import Graph, Value, known
from jaxgan.export.layout import broadcast, reshape


def _concatenate(graph, *values, dimension, shapes, **params):
    del params
    # `jnp.pad` joins nothing to an axis that it leaves as it is.
    values = tuple(value for value in values if not _is_none(value.shape[dimension]))
    orders = [value.order for value in values if value.known is None]
    plain = tuple(range(len(shapes[0])))
    order = next((order for order in orders if order != plain), plain)
    names = [graph.full(value, order) for value in values]
    name = graph.node("Concat", *names, axis=order.index(dimension))
    return graph.like(name, shapes[0], values[0].dtype, order)


def _is_none(size):
    return isinstance(size, int) and size == 0


def _in_full(graph, value, shape, kind, *arguments, **attributes):
    """A node on all of a value in the file's order, and its result."""
    more = [graph.constant(np.asarray(each, np.int64)) for each in arguments]
    name = graph.node(kind, graph.full(value, value.order), *more, **attributes)
    return graph.like(name, shape, value.dtype, value.order)


def _slice(graph, value, start_indices, limit_indices, shapes, strides=None, **params):
    del params
    strides = strides or [1] * len(start_indices)
    cut = [
        (value.shape[axis], value.order.index(axis), *bounds)
        for axis, bounds in enumerate(zip(start_indices, limit_indices, strides, strict=True))
        if bounds[0] != 0 or bounds[2] != 1 or bounds[1] != value.shape[axis]
    ]
    if not cut:
        return value
    sizes, axes, *bounds, steps = zip(*cut, strict=True)
    starts, ends = (list(map(_place, each, sizes)) for each in bounds)
    return _in_full(graph, value, shapes[0], "Slice", starts, ends, axes, steps)


def _place(bound, size):
    """A place in an axis as ONNX has it: in one of an open size from its end, as -1."""
    if isinstance(bound, int):
        return bound
    from_end = bound - size
    if not isinstance(from_end, int):
        raise ValueError("It cuts the batch.")
    return from_end or 2**62


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


def reverse(graph, value, dimensions, shapes, **params):
    """`lax.rev`."""
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
        name = graph.node("Pad", name, graph.constant(np.asarray(added, np.int64).ravel()), fill)
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
    value = broadcast(graph, value, split, dims)
    config = [(0, between if d == axis + 1 else 0, 0) for d in range(len(split))]
    wide = (*split[: axis + 1], between + 1, *split[axis + 2 :])
    value = _pad(graph, value, filling, config, [wide])
    joined = [*wide[:axis], size * (between + 1), *wide[axis + 2 :]]
    value = reshape(graph, value, joined)
    cut = [*joined[:axis], (size - 1) * (between + 1) + 1, *joined[axis + 1 :]]
    return _slice(graph, value, [0] * len(cut), cut, [cut])


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
        return reshape(graph, part, shapes[0])
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
    return reshape(graph, cut(graph, value, 0, index, index + 1), shape)


def stacked(graph: Graph, rows: Sequence[Value], axis: int = 0) -> Value:
    """Values beside each other, along a new axis."""
    dims = [place for place in range(len(rows[0].shape) + 1) if place != axis]
    one, joined = ((*rows[0].shape[:axis], n, *rows[0].shape[axis:]) for n in (1, len(rows)))
    ones = [broadcast(graph, each, one, dims) for each in rows]
    return _concatenate(graph, *ones, dimension=axis, shapes=[joined])


def cut(graph: Graph, value: Value, axis: int, first: int, last: int) -> Value:
    """The part of an axis from one index to before another."""
    starts = [first if d == axis else 0 for d in range(len(value.shape))]
    ends = [last if d == axis else size for d, size in enumerate(value.shape)]
    shape = [last - first if d == axis else size for d, size in enumerate(value.shape)]
    return _slice(graph, value, starts, ends, [shape])


def joined(graph: Graph, values: Sequence[Value], axis: int) -> Value:
    """Values one after another along an axis."""
    size = sum(value.shape[axis] for value in values)
    shape = [size if d == axis else n for d, n in enumerate(values[0].shape)]
    return _concatenate(graph, *values, dimension=axis, shapes=[shape])


def _stack(graph, *values, axis, shapes, **params):
    del shapes, params
    return stacked(graph, values, axis)


def _unstack(graph, value, axis, shapes, **params):
    del params
    parts = [cut(graph, value, axis, i, i + 1) for i in range(value.shape[axis])]
    return [reshape(graph, part, shapes[0]) for part in parts]


RULES: dict[str, Any] = {
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "concatenate": _concatenate,
    "cumsum": _cumsum,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "pad": _pad,
    "reduce_and": _reduce("ReduceMin"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce("ReduceMax"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "rev": reverse,
    "slice": _slice,
    "split": _split,
    "stack": _stack,
    "unstack": _unstack,
}
