"""jaxgan, run as `train.py` runs it."""

import time
from typing import Any

import jax
import numpy as np

from benchmarks.workloads import Program, Weights, Workload
from jaxgan import data, parallel
from jaxgan.commands.settings import make_model
from jaxgan.state import GANState

CAPACITY = 512  # iterations in one dispatch, at most: train.py's


def compile_ours(workload: Workload, examples: np.ndarray) -> Program:
    """One compiled program of many iterations, on data that live on its devices.

    Its memory is the state and what XLA's plan adds on each device, without data set and code.
    """
    config = workload.config
    model = make_model(config, workload.data_shape)
    devices = jax.devices()[: config.devices]
    mode = "pmap" if len(devices) > 1 else "jit"
    state = parallel.replicate(model.init(jax.random.key(0)), mode, devices)
    whole = parallel.replicate(examples, mode, devices)
    program = parallel.wrap(
        parallel.many_steps(model.step, lambda whole, batch: data.to_float(whole[batch])),
        mode,
        split=(None, 2, None),
        devices=devices,
    )
    sizes = (config.n_critic, config.batch_size)
    step = 0

    def dispatch(count):
        nonlocal state, step
        batches = np.zeros((CAPACITY, *sizes), np.int32)
        batches[:count] = data.batch_indices(0, step, count, *sizes, len(examples))
        state, metrics = program(state, whole, batches, count)
        step += count
        return metrics

    def run(n):
        pending = []
        while n:
            count = min(n, CAPACITY)
            pending.append(dispatch(count))
            n -= count
            # While the device runs one chunk, the host reads the metrics of the one before.
            if len(pending) > 1 or not n:
                jax.device_get(pending.pop(0))
        jax.device_get(pending)

    batches = np.zeros((CAPACITY, *sizes), np.int32)
    began = time.perf_counter()
    compiled = program.lower(state, whole, batches, 0).compile()
    compile_seconds = time.perf_counter() - began
    on_each = count_bytes(state) + temporary_bytes(compiled)
    memory = len(devices) * on_each + batches.nbytes
    return Program(run, compile_seconds, memory)


def first_weights(workload: Workload) -> Weights:
    """Those that a run of the workload begins with; every program has them."""
    return weights_of(make_model(workload.config, workload.data_shape).init(jax.random.key(0)))


def weights_of(state: GANState) -> Weights:
    """What the programs have in common of a state."""
    return Weights(state.critic.params, state.generator.params, state.ema, state.generator.stats)


def count_bytes(tree: Any) -> int:
    """The size of all arrays in a tree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def temporary_bytes(compiled: jax.stages.Compiled) -> int:
    """What a program holds beside its arguments: temporaries, and results not written over them."""
    plan = compiled.memory_analysis()
    return plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
