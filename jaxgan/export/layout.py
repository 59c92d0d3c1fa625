"""Arrays in another shape or another order of axes, and repeated, as ONNX nodes."""

import dataclasses
from typing import Any

import numpy as np

from jaxgan.export.graph import Value, known


def _groups(before, after):
    """The axes that reshaping merges or splits, with those they become; None if that is open.

    Each pair has equal products, and is the smallest that has.
    """
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        old: list[int] = []
        new: list[int] = []
        p, q = 1, 1
        while not (old and new and p == q):
            # Of a batch and a number none is known to be the smaller.
            smaller = isinstance(p, int) and isinstance(q, int) and p < q
            if i < len(before) and (not old or (new and smaller)):
                old, p, i = [*old, i], p * before[i], i + 1
            elif j < len(after):
                new, q, j = [*new, j], q * after[j], j + 1
            else:
                return None
        groups.append((old, new))
    return groups


def reshape(graph, value, new_sizes, shapes=None, dimensions=None, **params):
    """`lax.reshape`: images stay in the file's order, if it has side by side what is merged."""
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
    return reshape(graph, value, shapes[0], shapes)


def transpose(graph, value, permutation, shapes=None, **params):
    """`lax.transpose`, which is a change of names alone."""
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


def broadcast(graph, value, shape, broadcast_dimensions, shapes=None, **params):
    """`lax.broadcast_in_dim`: new axes alone, as copies are made where an operation needs them."""
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


def _iota(graph, *sizes, dtype, shape, dimension, shapes, **params):
    del graph, sizes, params
    if not isinstance(shape[dimension], int):
        raise ValueError("It counts the batch.")
    counted = [shape[dimension] if axis == dimension else 1 for axis in range(len(shape))]
    return known(np.arange(shape[dimension], dtype=dtype).reshape(counted), "", tuple(shape))


def _tile(graph, value, reps, shapes, **params):
    del params
    times = graph.shape([reps[axis] for axis in value.order])
    name = graph.node("Tile", graph.full(value, value.order), times)
    return graph.like(name, shapes[0], value.dtype, value.order)


RULES: dict[str, Any] = {
    "broadcast_in_dim": broadcast,
    "expand_dims": _squeeze,
    "iota": _iota,
    "reshape": reshape,
    "squeeze": _squeeze,
    "tile": _tile,
    "transpose": transpose,
}
