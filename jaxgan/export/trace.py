"""A run's generator as a program of jax's operations, for a batch of any size."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.networks.players import named_leaves
from jaxgan.state import averaged_variables
from jaxgan.training import Run


@dataclasses.dataclass(frozen=True)
class Traced:
    """A generator, traced.

    Attributes:
      jaxpr: its program, from the variables and then the inputs to the samples.
      variables: its parameters and other variables, by name, in the program's order.
      batch: the size of the batch, which the program leaves open.
    """

    jaxpr: Any
    variables: list[tuple[str, np.ndarray]]
    batch: Any


def generator_of(run: Run, seed_index: int) -> tuple[Any, Any]:
    """The function `f(variables, inputs)` that `run.generate` calls, and its variables."""
    network = run.model.game.generator
    variables = averaged_variables(run.one(seed_index))

    def generate(variables, inputs):
        params, stats = variables
        samples, _ = network.apply(params, stats, inputs, train=False)
        return samples.astype(jnp.float32)

    return generate, variables


def any_inputs(run: Run, batch: int | None = None) -> tuple[tuple[jax.ShapeDtypeStruct, ...], Any]:
    """The shapes of the generator's inputs, and the size of their batch: open unless given."""
    from jax import export  # at its first use, since importing it takes time

    size: Any = export.symbolic_shape("N")[0] if batch is None else batch
    game = run.model.game
    inputs = [jax.ShapeDtypeStruct((size, game.generator.latent_dim), jnp.float32)]
    if game.num_classes is not None:
        inputs.append(jax.ShapeDtypeStruct((size,), jnp.int32))
    return tuple(inputs), size


def of_any_batch(run: Run, make: Callable[[Any], Any], inputs: Any) -> Any:
    """What `make` makes of the generator's inputs, such as `any_inputs` gives.

    Raises:
      ValueError: if the network asks for the size of its batch. Its other mistakes are raised as
        they are.
    """
    try:
        return make(inputs)
    except Exception as error:
        # jax has no error of its own for it: Python's len() says it by a TypeError, a comparison by
        # another kind. So it is what a batch of a known size does not raise.
        make(any_inputs(run, 2)[0])
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{run.model.game.generator.name} cannot be exported: it asks for the size of its "
            "batch, which a file leaves open. Let it write x.shape[0] for len(x), and -1 in "
            f"reshape. ({type(error).__name__}: {reason})"
        ) from error


def trace(run: Run, seed_index: int, batch: int | None = None) -> Traced:
    """Traces the generator that `run.generate` calls, by default for a batch of any size.

    Raises:
      ValueError: if the run has no such seed, or the network asks how large its batch is.
    """
    generate, variables = generator_of(run, seed_index)
    inputs, size = any_inputs(run, batch)
    jaxpr = of_any_batch(run, functools.partial(jax.make_jaxpr(generate), variables), inputs)
    named = [leaf for tree in variables for leaf in named_leaves(tree)]
    return Traced(jaxpr, [(name, np.asarray(leaf)) for name, leaf in named], size)
