"""Operations that work on each number apart, as ONNX nodes."""

import dataclasses
import functools
from typing import Any

import numpy as np

from jaxgan.export.graph import Graph, Value, known, onnx_type, type_of

SAME = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
    "xor": "Xor",
}
_COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not"}
_LOGICAL = {"And", "Or", "Xor", "Not"}


def apply(graph: Graph, kind: str, *values: Value, dtype: Any = None, **attributes: Any) -> Value:
    """One node on values that broadcast against each other, in the order the file has them in."""
    dtype = np.dtype(bool) if kind in _COMPARISONS else dtype or values[-1].dtype
    if kind in _LOGICAL and values[0].dtype != np.dtype(bool):
        raise ValueError(f"ONNX has no {kind} of the bits of {values[0].dtype}.")
    rank = max(len(value.shape) for value in values)  # that of all but scalars
    order = _common_order(values, rank)
    if kind == "Sub" and values[1].known is not None and np.issubdtype(dtype, np.floating):
        # The same number, and onnxruntime makes one operation of a convolution and sums.
        kind, values = "Add", (values[0], dataclasses.replace(values[1], known=-values[1].known))
    if kind == "Max" and rank and _is_zero(values[1]) and np.issubdtype(dtype, np.floating):
        kind, values = "Relu", values[:1]
    computed = any(value.known is None and value.shape for value in values)
    names = [_operand(graph, value, order, computed) for value in values]
    shape = _common(value.shape for value in values)
    held = _common(value.held for value in values)
    return Value(shape, dtype, graph.node(kind, *names, **attributes), None, held, order)


def _common_order(values, rank):
    """That of the values with images in ONNX's order, if there are any."""
    orders = [value.order for value in values if value.known is None and value.shape]
    plain = tuple(range(rank))
    return next((order for order in orders if order != plain), plain)


def _operand(graph, value, order, computed):
    if computed and value.known is not None and value.known.size == 1:
        return graph.constant(value.known.reshape(()), value.name)
    return graph.held(value, order if value.shape else ())


def _is_zero(value):
    return value.known is not None and not value.known.any() and value.known.size == 1


def _common(shapes):
    shapes = [shape for shape in shapes if shape]
    if not shapes:
        return ()
    return tuple(
        next((size for size in sizes if not (isinstance(size, int) and size == 1)), 1)
        for sizes in zip(*shapes, strict=True)
    )


def _same(kind):
    def rule(graph, *values, shapes, **params):
        del shapes, params
        return apply(graph, kind, *values)

    return rule


def _rule(f):
    """A rule of a function of the graph and values alone, which needs no parameters."""

    @functools.wraps(f)
    def rule(graph, *values, shapes, **params):
        del shapes, params
        return f(graph, *values)

    return rule


def number(value: float, like: Value) -> Value:
    """A scalar of another value's type."""
    return known(np.asarray(value, like.dtype))


@_rule
def _ne(graph, a, b):
    return apply(graph, "Not", apply(graph, "Equal", a, b))


@_rule
def _rsqrt(graph, x):
    return apply(graph, "Reciprocal", apply(graph, "Sqrt", x))


@_rule
def _square(graph, x):
    return apply(graph, "Mul", x, x)


@_rule
def _cbrt(graph, x):
    root = apply(graph, "Pow", apply(graph, "Abs", x), number(1 / 3, x))
    return apply(graph, "Mul", apply(graph, "Sign", x), root)


@_rule
def _exp2(graph, x):
    return apply(graph, "Pow", number(2, x), x)


@_rule
def _log1p(graph, x):
    """log(u)·x/(u − 1) of u = 1 + x, which keeps the digits of a small x (Kahan)."""
    one = number(1, x)
    u = apply(graph, "Add", x, one)
    less = apply(graph, "Sub", u, one)
    is_zero = apply(graph, "Equal", less, number(0, x))
    ratio = apply(graph, "Div", x, apply(graph, "Where", is_zero, one, less))
    is_infinite = apply(graph, "IsInf", u, dtype=np.dtype(bool))
    ratio = apply(graph, "Where", is_infinite, one, ratio)
    log = apply(graph, "Mul", apply(graph, "Log", u), ratio)
    return apply(graph, "Where", is_zero, x, log)


@_rule
def _expm1(graph, x):
    """tanh(x/2)·(exp(x) + 1), which keeps the digits of a small x."""
    half = apply(graph, "Tanh", apply(graph, "Mul", x, number(0.5, x)))
    more = apply(graph, "Add", apply(graph, "Exp", x), number(1, x))
    return apply(graph, "Mul", half, more)


@_rule
def _erfc(graph, x):
    return apply(graph, "Sub", number(1, x), apply(graph, "Erf", x))


@_rule
def _is_finite(graph, x):
    bad = [apply(graph, kind, x, dtype=np.dtype(bool)) for kind in ("IsInf", "IsNaN")]
    return apply(graph, "Not", apply(graph, "Or", *bad))


@_rule
def _rem(graph, a, b):
    return apply(graph, "Mod", a, b, fmod=1)


@_rule
def _clamp(graph, low, x, high):
    return apply(graph, "Min", apply(graph, "Max", x, low), high)


def clamped(graph: Graph, x: Value, most: int) -> Value:
    """Whole numbers between 0 and the largest allowed."""
    if x.known is not None:
        return dataclasses.replace(x, known=np.clip(x.known, 0, most))
    return apply(graph, "Min", apply(graph, "Max", x, number(0, x)), number(most, x))


@_rule
def _identity(graph, *values):
    del graph
    return list(values)


def _integer_pow(graph, x, y, shapes, **params):
    del shapes, params
    if y in (2, 3):
        square = apply(graph, "Mul", x, x)
        return square if y == 2 else apply(graph, "Mul", square, x)
    return apply(graph, "Pow", x, number(y, x))


def _reduce_precision(graph, x, mantissa_bits, shapes, **params):
    """As all of 16 bits, of which bfloat16 has the fewest digits, it becomes float32."""
    del graph, shapes, params
    if mantissa_bits < 7:
        raise ValueError(f"It rounds to {mantissa_bits} bits.")
    return x


def _round(graph, x, rounding_method, shapes, **params):
    del shapes, params
    if rounding_method == 1:  # to the even one, as ONNX does
        return apply(graph, "Round", x)
    size = apply(graph, "Floor", apply(graph, "Add", apply(graph, "Abs", x), number(0.5, x)))
    return apply(graph, "Mul", apply(graph, "Sign", x), size)


def _select(graph, which, *cases, shapes, **params):
    del shapes, params
    if which.dtype == np.dtype(bool) and len(cases) == 2:
        slope = _slope(graph, which, *cases)
        if slope is not None:
            return apply(graph, "LeakyRelu", cases[1], alpha=slope)
        return apply(graph, "Where", which, cases[1], cases[0])
    chosen = cases[0]
    for index, case in enumerate(cases[1:], 1):
        chosen = apply(
            graph, "Where", apply(graph, "Equal", which, number(index, which)), case, chosen
        )
    return chosen


def _slope(graph, which, low, high):
    """The slope, where this is a leaky ReLU: x where x >= 0, else a slope times x."""
    if not which.order == low.order == high.order:
        return None  # an array and its transpose have one name in the file
    kind, compared = graph.maker(which)
    product, factors = graph.maker(low)
    if kind not in ("Greater", "GreaterOrEqual") or product != "Mul":
        return None
    if high.name not in factors or compared[0] != high.name or graph.number(compared[1]) != 0:
        return None
    return graph.number(factors[1 - factors.index(high.name)])


def cast(graph: Graph, value: Value, dtype: Any) -> Value:
    """A value in another type."""
    dtype = type_of(dtype)
    if value.dtype == dtype:
        return value
    if value.known is not None:
        return dataclasses.replace(value, known=value.known.astype(dtype), dtype=dtype)
    name = graph.node("Cast", value.name, to=onnx_type(dtype))
    return dataclasses.replace(value, name=name, dtype=dtype)


def _convert(graph, value, new_dtype, shapes, **params):
    del shapes, params
    return cast(graph, value, new_dtype)


RULES: dict[str, Any] = {
    **{name: _same(kind) for name, kind in SAME.items()},
    "cbrt": _cbrt,
    "clamp": _clamp,
    "convert_element_type": _convert,
    "copy": _identity,
    "copy_p": _identity,
    "erfc": _erfc,
    "exp2": _exp2,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _ne,
    "optimization_barrier": _identity,
    "reduce_precision": _reduce_precision,
    "rem": _rem,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
    "stop_gradient": _identity,
}
