"""A run's generator as a program of jax's operations, for a batch of any size."""

import dataclasses
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
      name: what messages call the network.
    """

    jaxpr: Any
    variables: list[tuple[str, np.ndarray]]
    batch: Any
    name: str


def generator_of(run: Run, seed_index: int) -> tuple[Any, Any]:
    """The function `f(variables, inputs)` that `run.generate` calls, and its variables."""
    network = run.model.game.generator
    params, stats = averaged_variables(run.one(seed_index))

    def generate(variables, inputs):
        samples, _ = network.apply(*variables, inputs, train=False)
        return samples.astype(jnp.float32)

    return generate, (params, stats)


def any_inputs(run: Run) -> tuple[tuple[jax.ShapeDtypeStruct, ...], Any]:
    """The shapes of the generator's inputs, and the open size of their batch."""
    # At its first use, since importing it takes time.
    from jax import export

    (batch,) = export.symbolic_shape("N")
    game = run.model.game
    inputs = [jax.ShapeDtypeStruct((batch, game.generator.latent_dim), jnp.float32)]
    if game.num_classes is not None:
        inputs.append(jax.ShapeDtypeStruct((batch,), jnp.int32))
    return tuple(inputs), batch


def of_any_batch(run: Run, make: Any) -> Any:
    """What `make` does with a generator whose batch is of any size.

    Raises:
      ValueError: if the network asks for the number.
    """
    try:
        return make()
    except Exception as error:  # any: the network is the user's
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{run.model.game.generator.name} cannot be exported: it asks for the size of its "
            "batch, which a file leaves open. Let it write x.shape[0] for len(x), and -1 in "
            f"reshape. ({type(error).__name__}: {reason})"
        ) from error


def trace(run: Run, seed_index: int) -> Traced:
    """Traces the generator that `run.generate` calls.

    Raises:
      ValueError: if the run has no such seed, or the network asks how large its batch is.
    """
    generate, variables = generator_of(run, seed_index)
    inputs, batch = any_inputs(run)
    jaxpr = of_any_batch(run, lambda: jax.make_jaxpr(generate)(variables, inputs))
    named = [leaf for tree in variables for leaf in named_leaves(tree)]
    arrays = [(name, np.asarray(leaf)) for name, leaf in named]
    return Traced(jaxpr, arrays, batch, run.model.game.generator.name)
