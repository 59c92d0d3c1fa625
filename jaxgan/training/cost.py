"""What training will cost: time and memory, measured before they are spent."""

import math
import resource
import sys
import time

import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.parallel import hosts
from jaxgan.plots.words import duration
from jaxgan.state import GANState, current_step
from jaxgan.training.program import Program, make_program

# Steps are timed for about so long, and three at least.
SECONDS = 0.1


def measure(job, state: GANState, program: Program | None = None) -> str:
    """Trains a copy of the state for a few steps, and says what all of them will take.

    Args:
      job: the run, a `job.Job`.
      state: the state that it begins with.
      program: the run's program; by default it is compiled.
    """
    program = program or make_program(job)
    step = current_step(state)
    state = parallel.replicate(jax.tree.map(jnp.copy, state), job.mode, job.devices)
    spent, each, count = 0.0, math.inf, 0  # the first call does nothing but compile
    # The first steps take several times as long as later ones, since their memory is new. All
    # processes do the same steps, or one would wait for another's for ever.
    while hosts.all_true((spent < SECONDS or count < 4) and count <= program.capacity):
        batches = program.batches(step, count)
        began = time.perf_counter()
        state, _ = program.run(state, batches, count)
        jax.block_until_ready(state)
        if count:
            spent += time.perf_counter() - began
            each = min(each, (time.perf_counter() - began) / count)
        count = 2 * count or 1
    left = job.plan.steps - step
    return (
        f"{1000 * each:,.3g} ms a step: about {duration(each * left)} for {left:,} steps; "
        f"{_memory() / 1e9:.2g} GB of memory"
    )


def _memory() -> int:
    """The most bytes in use so far: the device's, or on a CPU the process's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    unit = 1 if sys.platform == "darwin" else 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return stats.get("peak_bytes_in_use", used)
