"""The training program: many iterations in one dispatch, of one seed or several, and its data."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxgan import data, parallel
from jaxgan.data.device import device_bytes
from jaxgan.parallel import hosts
from jaxgan.seeds import map_seeds
from jaxgan.state import GANState, all_finite

CHUNK_BYTES = 2**26
MAX_CHUNK = 512


class Program(NamedTuple):
    """A compiled run.

    Attributes:
      run: `run(state, batches, count) -> (state, (metrics, finite))` does `count` iterations.
        Metrics are `[capacity]`, with several seeds `[capacity, S]`; `finite` says whether the
        state after them is. The state is donated.
      batches: `batches(step, count)`, the data of `count` iterations from a step on, padded to the
        capacity, so that there is one program for all chunks: the rows of the data, or examples
        and labels.
      capacity: the most iterations of one call.
    """

    run: Callable[..., tuple[GANState, tuple[dict[str, jax.Array], jax.Array]]]
    batches: Callable[[int, int], np.ndarray]
    capacity: int


def make_program(job) -> Program:
    """The program of a `job.Job`."""
    seeds, mode, train = job.seeds, job.mode, job.dataset.train
    labels = job.dataset.train_labels if job.model.game.num_classes is not None else None
    sizes = job.model.game.n_critic, job.plan.batch_size
    # A set that fits lives on the devices whole; of a larger one the host sends the batches. Its
    # processes run one program, so they must agree.
    resident = hosts.all_true(train.nbytes <= device_bytes(job.devices))
    iteration_bytes = len(seeds) * math.prod(sizes) * (4 if resident else train[0].nbytes)
    size, flip = len(train), job.plan.flip
    capacity = max(1, min(MAX_CHUNK, CHUNK_BYTES // iteration_bytes))
    several = len(seeds) > 1

    def gather(whole, indices):
        """Examples and labels; an index from `size` on is that of a mirrored example."""
        examples, labels = whole
        rows = indices % size if flip else indices
        examples = data.mirror(examples[rows], indices >= size) if flip else examples[rows]
        return examples, None if labels is None else labels[rows]

    def fetch(whole, batch):
        examples, labels = gather(whole, batch) if resident else batch
        reals = data.to_float(examples)
        return reals if labels is None else (reals, labels)

    def batches(step, count):
        which = [(seed, step, count, *sizes, size) for seed in seeds]
        indices = np.stack([data.batch_indices(*each) for each in which])
        if flip:
            indices += size * np.stack([data.batch_flips(*each) for each in which])
        if mode in ("pmap", "mesh"):
            indices = indices[..., parallel.own_rows(sizes[1])]
        # Of what is on disk a process reads its own rows alone.
        chunk = indices if resident else gather((train, labels), indices)
        return jax.tree.map(pad, chunk)

    def pad(chunk):
        padded = np.zeros((len(seeds), capacity, *chunk.shape[2:]), chunk.dtype)
        padded[:, : chunk.shape[1]] = chunk
        return padded if several else padded[0]

    many = parallel.many_steps(job.model.step, fetch)

    def run_chunk(state, whole, chunk, count, axis_name=None):
        def run_one(state, chunk):
            state, metrics = many(state, whole, chunk, count, axis_name=axis_name)
            # Once a chunk costs nothing, and is enough: what is not finite stays so.
            return state, (metrics, all_finite(state))

        return (map_seeds(run_one) if several else run_one)(state, chunk)

    if mode == "seeds":
        compiled = parallel.wrap_seeds(run_chunk, split=(None, 0, None), devices=job.devices)
    else:
        # The batch is the last axis of indices, and the third of examples, after the seeds'.
        compiled = parallel.wrap(run_chunk, mode, split=(None, 2 + several, None))
    shared = "mesh" if mode == "seeds" else mode
    whole = parallel.replicate((train[:], labels), shared, job.devices) if resident else ()

    def run(state, chunk, count):
        state, (metrics, finite) = compiled(state, whole, chunk, count)
        if several:  # [S, capacity] as it comes
            metrics, finite = jax.tree.map(lambda column: column.T, metrics), finite.all()
        return state, (metrics, finite)

    return Program(run, batches, capacity)
