"""A run's generator as a StableHLO file, which jax reads without jaxgan."""

import jax

from jaxgan.export.trace import any_inputs, generator_of, of_any_batch
from jaxgan.training import Run

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(run: Run, seed_index: int = 0) -> bytes:
    """A run's generator as `jax.export` writes it, for batches of any size N, any network.

    `jax.export.deserialize(bytearray(content)).call(latents)`, with labels behind them where there
    are classes, gives what `run.generate` does: float32 `[N, *data_shape]` of float32 latents
    `[N, latent_dim]` and int32 labels `[N]`. It runs on CPUs, NVIDIA GPUs and TPUs.

    Args:
      run: the run, of `jaxgan.fit` or `jaxgan.load`.
      seed_index: which of its seeds, from 0 on.

    Raises:
      ValueError: if the run has no such seed, or the network asks how large its batch is.
    """
    from jax import export  # at its first use, since importing it takes time

    generate, variables = generator_of(run, seed_index)
    draw = jax.jit(lambda *inputs: generate(variables, inputs))
    inputs, _ = any_inputs(run)
    exporter = export.export(draw, platforms=PLATFORMS)
    exported = of_any_batch(run, lambda inputs: exporter(*inputs), inputs)
    return bytes(exported.serialize())
