"""From a program of jax's operations to the nodes of an ONNX file.

Operations on arrays that are known, such as a kernel and its spectral norm, are done here, by jax.
The others have a translation each, in the tables of `elementwise`, `arrays` and `linear`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from jaxgan.export import arrays, elementwise, layout, linear
from jaxgan.export.graph import Graph, Value, known, type_of

# Of the graph, an operation's values and parameters, what the operation makes.
RULES: dict[str, Callable[..., Any]] = {
    **elementwise.RULES,
    **layout.RULES,
    **arrays.RULES,
    **linear.RULES,
}

# Where operations that call a program hold it.
_PROGRAMS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
_LONGEST = 256  # steps of a loop that are written out


class Translator:
    """Translates programs into the nodes of one graph."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def program(self, jaxpr: Any, consts: Any, inputs: list[Value], place: str = "") -> list[Value]:
        """The outputs of a program.

        Raises:
          ValueError: for an operation that has no translation.
        """
        values: dict[Any, Value] = {}

        def read(atom):
            if isinstance(atom, Literal):
                kind: Any = atom.aval
                return known(np.asarray(atom.val, kind.dtype))
            return values[atom]

        values.update(zip(jaxpr.constvars, map(known, consts), strict=True))
        values.update(zip(jaxpr.invars, inputs, strict=True))
        for equation in _needed(jaxpr):
            here = "/".join(filter(None, (place, str(equation.source_info.name_stack))))
            outputs = self._equation(equation, [read(atom) for atom in equation.invars], here)
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation, inputs, place):
        name, params = equation.primitive.name, equation.params
        if name == "platform_index":
            # What holds for any platform is ONNX's: a CPU's own forms are for XLA.
            return [known(np.int32(len(params["platforms"]) - 1))]
        if name == "cond" and inputs[0].known is not None:
            branches = params["branches"]
            chosen = branches[int(np.clip(inputs[0].known, 0, len(branches) - 1))]
            return self.program(chosen.jaxpr, chosen.consts, inputs[1:], place)
        if name == "scan" and isinstance(params["length"], int) and params["length"] <= _LONGEST:
            return self._scan(equation, inputs, place)
        inner = next((params[key] for key in _PROGRAMS if key in params), None)
        if inner is not None and name not in ("scan", "while"):
            program, consts = _opened(inner)
            return self.program(program, consts, inputs, place)
        shapes = [v.aval.shape for v in equation.outvars]
        self.graph.place = place
        if _is_known(inputs, shapes) and name != "dim_as_value":  # the size of the batch is open
            return self._computed(equation, inputs)
        if name not in RULES:
            raise ValueError(f"{_no_translation(name, place)}{_why(name, params)}")
        try:
            made = RULES[name](self.graph, *inputs, shapes=shapes, **params)
        except ValueError as error:
            raise ValueError(f"{_no_translation(name, place)} {error}") from error
        return made if isinstance(made, list) else [made]

    def _scan(self, equation, inputs, place):
        """The steps of a loop, one after another."""
        params = equation.params
        jaxpr, consts = _opened(params["jaxpr"])
        # What has an axis of steps has one more than in the loop. Versions of jax count otherwise.
        rows = _with_more_axes(equation.invars, jaxpr.invars)
        columns = _with_more_axes(equation.outvars, jaxpr.outvars)
        first_row, num_carry = len(inputs) - rows, len(equation.outvars) - columns
        fixed, carry = inputs[: first_row - num_carry], inputs[first_row - num_carry : first_row]
        steps = []
        order = range(params["length"])
        for step in reversed(order) if params["reverse"] else order:
            row = [arrays.row(self.graph, each, step) for each in inputs[first_row:]]
            made = self.program(jaxpr, consts, [*fixed, *carry, *row], place)
            carry = made[:num_carry]
            steps.append(made[num_carry:])
        steps = steps[::-1] if params["reverse"] else steps
        stacked = [arrays.stacked(self.graph, list(column)) for column in zip(*steps, strict=True)]
        return [*carry, *stacked]

    def _computed(self, equation, inputs):
        given = [np.broadcast_to(each.known, each.shape) for each in inputs]
        params = {key: _wide(value) for key, value in equation.params.items()}
        with jax.default_matmul_precision("highest"):
            made = equation.primitive.bind(*map(jax.numpy.asarray, given), **params)
        made = made if equation.primitive.multiple_results else [made]
        # It is called by the one array of the network that it comes of, if it is only one.
        names = {each.name for each in inputs if each.name}
        name = names.pop() if len(names) == 1 else ""
        return [known(each, name) for each in made]


def _needed(jaxpr):
    """The operations that the outputs are made of, in order.

    A recurrent cell of flax splits a random key, and makes zeros of it.
    """
    used = {id(atom) for atom in jaxpr.outvars}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not used.isdisjoint(map(id, equation.outvars)):
            used |= {id(atom) for atom in equation.invars}
            kept.append(equation)
    return kept[::-1]


def has_16_bits(jaxpr: Any) -> bool:
    """Whether a program, or one that it calls, computes in 16 bits."""
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(list(equation.params.values())):
            program, _ = _opened(value)
            if hasattr(program, "eqns") and has_16_bits(program):
                return True
        if any(v.aval.dtype.name in ("bfloat16", "float16") for v in equation.outvars):
            return True
    return False


def _with_more_axes(outside, inside):
    pairs = zip(outside, inside, strict=True)
    return sum(len(a.aval.shape) > len(b.aval.shape) for a, b in pairs)


def _opened(program):
    """A program, and the constants of one that is closed."""
    return getattr(program, "jaxpr", program), getattr(program, "consts", ())


def _is_known(inputs, shapes):
    sizes = [size for shape in (*shapes, *(each.shape for each in inputs)) for size in shape]
    return all(each.known is not None for each in inputs) and all(isinstance(s, int) for s in sizes)


def _wide(value):
    """float32 for the 16-bit types, which the file has not."""
    is_type = isinstance(value, np.dtype) or (isinstance(value, type) and hasattr(value, "dtype"))
    return type_of(value) if is_type else value


def _why(name, params):
    """What a loop has too much of, if the operation is one."""
    if name == "scan" and isinstance(params["length"], int):
        return f" It has {params['length']} steps, and up to {_LONGEST} are written out."
    return " It goes through the batch." if name == "scan" else ""


def _no_translation(name, place):
    where = f" in {place}" if place else ""
    return (
        f"the operation {name}{where} cannot be written as ONNX. Leave it out of the network, or "
        "export as StableHLO, which holds all of jax's."
    )
