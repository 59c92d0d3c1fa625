"""The graph of an ONNX file while it is made: its values, nodes and constants.

A value is an array that is already known, or one that the file computes. Two things are put off,
as most often they are never needed:

- **Order of axes.** ONNX has images as NCHW, jaxgan as NHWC. What a convolution makes stays NCHW in
  the file, `Value.order` says so, and what follows works on that as long as it can.
- **Copies.** ONNX's operations broadcast as numpy's do, so an array is repeated only where an
  operation needs all of it: `Value.held` is what the file holds, 1 where it is to be repeated.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 8  # which onnxruntime reads from 1.20 on, the oldest that is supported

# Precisions that onnxruntime lacks on a CPU become float32.
_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.uint32): TensorProto.UINT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(bool): TensorProto.BOOL,
}


def type_of(dtype: Any) -> np.dtype:
    """The file's type for one of jax: float32 for the 16-bit ones."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if dtype.name in ("bfloat16", "float16") else dtype


def onnx_type(dtype: Any) -> int:
    """ONNX's number of a type.

    Raises:
      ValueError: if the file cannot hold such numbers.
    """
    if dtype not in _TYPES:
        raise ValueError(f"ONNX files here hold no {dtype}.")
    return _TYPES[dtype]


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the program.

    Attributes:
      shape: as jax has it; the batch is symbolic.
      dtype: its type in the file.
      name: its name in the file; of a known array where it comes from, such as `Dense_0/kernel`.
      known: the array, of the shape `held`; None if the file computes it.
      held: the shape of what there is, by jax's axes: 1 where it is to be repeated.
      order: which of jax's axes each axis of the file's array is.
    """

    shape: tuple[Any, ...]
    dtype: np.dtype
    name: str
    known: np.ndarray | None
    held: tuple[Any, ...]
    order: tuple[int, ...]

    @property
    def in_file_order(self) -> tuple[Any, ...]:
        """The shape of the file's array."""
        return tuple(self.held[axis] for axis in self.order)


def known(array: Any, name: str = "", shape: tuple[Any, ...] | None = None) -> Value:
    """An array that is known; of a larger shape if it is to be repeated."""
    array = np.asarray(array)
    array = array.astype(type_of(array.dtype), copy=False)
    order = tuple(range(array.ndim))
    return Value(shape or array.shape, array.dtype, name, array, array.shape, order)


class Graph:
    """The nodes and constants of a file, in the order in which they are computed."""

    def __init__(self, batch: Any):
        self.batch = batch  # its symbol
        self.place = ""  # the module that is being translated
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[Any, str] = {}
        self._used: set[str] = set()
        self._made: dict[Any, list[str]] = {}
        self._makers: dict[str, onnx.NodeProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: Any, shape: Sequence[Any]) -> Value:
        """An input of the file."""
        sizes = ["N" if size == self.batch else size for size in shape]
        self.inputs.append(helper.make_tensor_value_info(name, onnx_type(np.dtype(dtype)), sizes))
        self._used.add(name)
        return Value(
            tuple(shape), np.dtype(dtype), name, None, tuple(shape), tuple(range(len(shape)))
        )

    def node(self, kind: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """An operation on what has these names, added once; the names of its outputs."""
        key = (kind, inputs, count, repr(attributes))
        if key not in self._made:
            outputs = [self._new(f"{self.place}/{kind}".lstrip("/")) for _ in range(count)]
            self.nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))
            self._makers |= dict.fromkeys(outputs, self.nodes[-1])
            self._made[key] = outputs
        outputs = self._made[key]
        return outputs[0] if count == 1 else outputs

    def maker(self, value: Value) -> tuple[str, list[str]]:
        """Which operation makes a value, and of what; an empty one if none does."""
        node = self._makers.get(value.name)
        return (
            ("", []) if node is None or value.known is not None else (node.op_type, [*node.input])
        )

    def number(self, name: str) -> float | None:
        """The constant of this name, if it is a single number."""
        constant = self.constants.get(name)
        if constant is None or constant.dims:
            return None
        return float(numpy_helper.to_array(constant))

    def needed(self, output: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """The nodes and constants that an output is made of."""
        names, nodes = {output}, []
        for node in reversed(self.nodes):
            if not names.isdisjoint(node.output):
                nodes.append(node)
                names.update(node.input)
        return nodes[::-1], [self.constants[name] for name in self.constants if name in names]

    def constant(self, array: Any, name: str = "") -> str:
        """The name of a constant; equal ones are held once."""
        array = np.asarray(array)
        onnx_type(array.dtype)
        key = (array.dtype, array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self._names:
            self._names[key] = new = self._new(name or "constant")
            self.constants[new] = numpy_helper.from_array(np.array(array, order="C"), new)
        return self._names[key]

    def like(self, name: str, shape: Sequence[Any], dtype: Any, order: Any = None) -> Value:
        """A value that a node has made in full."""
        order = tuple(range(len(shape))) if order is None else tuple(order)
        return Value(tuple(shape), type_of(dtype), name, None, tuple(shape), order)

    def held(self, value: Value, order: Sequence[int] | None = None) -> str:
        """The name of what the file holds of a value, with its axes in an order: jax's, or this."""
        order = tuple(range(len(value.shape))) if order is None else tuple(order)
        if value.known is not None:
            return self.constant(value.known.transpose(order), value.name)
        if value.order == order:
            return value.name
        axes = [value.order.index(axis) for axis in order]
        return self.node("Transpose", value.name, perm=axes)

    def full(self, value: Value, order: Sequence[int] | None = None) -> str:
        """The same with all repetitions made."""
        order = tuple(range(len(value.shape))) if order is None else tuple(order)
        name = self.held(value, order)
        if value.shape == value.held:
            return name
        # Expand leaves an axis as it is where the new shape has 1.
        pairs = [(value.shape[axis], value.held[axis]) for axis in order]
        return self.node("Expand", name, self.shape([1 if a == b else a for a, b in pairs]))

    def shape(self, sizes: Sequence[Any]) -> str:
        """The name of a shape, in which sizes may be multiples of the batch's."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(np.asarray(sizes, np.int64))
        parts = [self._size(size) for size in sizes]
        return self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def _size(self, size):
        if isinstance(size, int):
            return self.constant(np.asarray([size], np.int64))
        times = size // self.batch
        if not (isinstance(times, int) and times * self.batch == size):
            raise ValueError(f"a size is {size} for a batch of {self.batch}, and not a multiple.")
        batch = self.node("Shape", self.inputs[0].name, start=0, end=1)
        return batch if times == 1 else self.node("Mul", batch, self._size(times))

    def reshaped(self, value: Value, shape: Sequence[Any]) -> Value:
        """A value in another shape."""
        if value.known is not None and value.held == value.shape:
            return known(value.known.reshape(shape), value.name)
        name = self._reshape(self.full(value), shape)
        return self.like(name, shape, value.dtype)

    def _reshape(self, name, shape):
        free = [i for i, size in enumerate(shape) if not isinstance(size, int)]
        if len(free) > 1:
            return self.node("Reshape", name, self.shape(shape))
        sizes = np.asarray([-1 if i in free else size for i, size in enumerate(shape)], np.int64)
        return self.node("Reshape", name, self.constant(sizes))

    def reshaped_in_file(self, value: Value, sizes: Sequence[Any]) -> str:
        """The name of the file's array, as it lies there, in another shape."""
        return self._reshape(self.full(value, value.order), sizes)

    def _new(self, name):
        for number in itertools.count():
            new = f"{name}_{number}" if number else name
            if new not in self._used:
                self._used.add(new)
                return new
