"""Trains a GAN: `python experiments/train.py --loss=wgan`. Add --help for all settings."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable

import script
import divergence
import jax
import numpy as np
from command_line import parse, parse_replay
from interrupts import Interrupt, noted
from log import DivergedError, Log
from run import Run, describe, prepare
from run_folder import RunFolder

from jaxgan import data, parallel
from jaxgan.checkpoint import Checkpoints, one_error
from jaxgan.config import Config
from jaxgan.gan import GANState, all_finite, current_step
from jaxgan.parallel import hosts

# Data sets up to this size live on the device whole; of larger ones the host sends the batches.
DEVICE_BYTES = 2**30
# A dispatch does as many iterations as take about this long, so that an interrupt is served soon.
CHUNK_SECONDS = 0.5
CHUNK_BYTES = 2**26
MAX_CHUNK = 512


@script.ends_in_a_line(
    "train.py",
    "lower --batch-size, --width, --depth, --latent-dim, --num-seeds or --image-size",
    mistakes=(),
)
def main(arguments: list[str]) -> int:
    """Runs the command line.

    Returns:
      The exit status: 0 done, 2 bad input or too little memory, 3 diverged, 4 the folder cannot be
      written any more, 128 plus the signal if interrupted. Where there are several processes and
      another is lost, this one ends with `hosts.LOST`.
    """
    try:
        if file := parse_replay(arguments):
            return 3 if divergence.replay(file) else 0
        config, options = parse(arguments)
        if options.dry_run:
            describe(prepare(config))
            return 0
        if options.distributed:
            hosts.join(options.coordinator_address, options.num_processes, options.process_id)
        with hosts.guard("train.py", ValueError):
            run, checkpoints, state = start(config)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        script.report("train.py", error)
        return script.BAD_INPUT
    except KeyboardInterrupt:
        script.report("train.py", "interrupted before it began to train")
        return script.INTERRUPTED
    try:
        with one_error(), contextlib.closing(run.folder), contextlib.closing(checkpoints):
            return run_to_end(run, checkpoints, state)
    except BrokenPipeError:
        intact = f"What {run.folder.path} holds is intact, and the same command goes on."
        script.report("train.py", f"what reads its output has closed the pipe. {intact}")
        raise
    except OSError as error:
        script.report(
            "train.py",
            f"{error}. What {run.folder.path} holds is intact: put that right (on a full disk, "
            "make room), and the same command goes on.",
        )
        return hosts.UNWRITABLE


def run_to_end(run: Run, checkpoints: Checkpoints, state: GANState | None) -> int:
    """Trains until done, diverged or interrupted, and returns the exit status."""
    with noted() as interrupt, hosts.guard("train.py"):
        try:
            stop = train(run, checkpoints, state, interrupt)
        except DivergedError as error:
            hosts.say(f"{error}; repeating them from the last checkpoint to find the step")
            try:
                state = run.restore(checkpoints)
                line = divergence.explain(run, state, error, compile_program(run), interrupt)
            except ValueError as unreadable:
                line = f"{error}; {unreadable}"
            script.report("train.py", line)
            return 3
    return 128 + stop if stop else 0


def start(config: Config) -> tuple[Run, Checkpoints, GANState | None]:
    """Prepares a run and its folder, which the first of several processes makes.

    Returns:
      The run, its checkpoints, and the state that it goes on from, if there is one.

    Raises:
      ValueError: for a mistake, in every process.
    """
    with hosts.together():
        if hosts.is_first():
            RunFolder(config).check_free()  # before the data are decoded, which may take minutes
        run = prepare(config)
    places = {"workdir": None, "data_dir": None}
    hosts.check_same(json.dumps(dataclasses.asdict(dataclasses.replace(config, **places))))
    with hosts.together():
        if hosts.is_first():
            run.folder.metrics()  # fail now if they are damaged
            run.folder.create()
    with hosts.together():
        run.folder.check_shared()
    keep_period = config.keep_every * config.checkpoint_every
    checkpoints = Checkpoints(run.folder.path / "checkpoints", keep_period or None)
    try:
        state = run.restore(checkpoints)
        with hosts.together():
            if hosts.is_first():
                run.folder.resume(None if state is None else current_step(state))
    except BaseException:
        run.folder.close()
        raise
    return run, checkpoints, state


def train(run: Run, checkpoints: Checkpoints, state: GANState | None, interrupt: Interrupt) -> int:
    """Trains from a state, or from the beginning, until the last step or an interrupt.

    Returns:
      The signal that it was interrupted by; 0 if it is done.

    Raises:
      DivergedError: if a metric, or a number in the state, is no longer finite.
    """
    config, folder = run.config, run.folder
    state = run.model.init(run.init_keys()) if state is None else state
    start = current_step(state)
    if start >= config.steps and folder.finished:
        hosts.say(f"{folder.path} is finished: {start} steps. Raise --steps to go on.")
        return 0
    hello(run, state)
    if folder.resumes and start == 0:
        hosts.say("it has no checkpoint yet: from the beginning")
    state = parallel.replicate(state, run.mode)
    compiled = compile_program(run)
    program, batches, _ = compiled
    began = time.perf_counter()
    state, _ = program(state, batches(start, 0), 0)
    jax.block_until_ready(state)
    compile_seconds = time.perf_counter() - began
    hosts.say(f"compiled in {compile_seconds:.1f} s" + (f"; on from step {start}" if start else ""))

    with contextlib.closing(Log(folder, run.dataset, start)) as log:
        if start == 0:
            draw_samples(run, log, start, state)
        began = time.perf_counter()
        state, stop = run_chunks(run, compiled, state, log, checkpoints, interrupt)
        step = current_step(state)
        checkpoints.save(step, state)
        checkpoints.wait()
        seconds = time.perf_counter() - began
        picture = "" if stop else draw_samples(run, log, step, state)
    if stop:
        hosts.say(f"interrupted at step {step}; the same command goes on from there")
        return stop
    if hosts.is_first():
        folder.finish(start, seconds, compile_seconds)
    hosts.say(f"{step - start} steps in {seconds:.0f} s; samples in {picture}")
    return 0


def run_chunks(
    run: Run, compiled, state: GANState, log: Log, checkpoints: Checkpoints, interrupt
) -> tuple[GANState, int]:
    """Does the iterations that are left, with all that goes with them.

    Returns:
      The state, and the signal to any process at which it stopped early; 0 if it did not.

    Raises:
      DivergedError: if a metric, or a number in the state, is no longer finite.
    """
    config, step = run.config, current_step(state)
    program, batches, capacity = compiled
    wishes = [0, 1]  # a signal to stop at, and the length of the next chunk
    stop, length = wishes
    clock = time.perf_counter()
    while step < config.steps and not stop:
        vote = hosts.start_vote(wishes)
        count = min(length, capacity, to_next_stop(config, step))
        state, (metrics, finite) = program(state, batches(step, count), count)
        # While the device runs this chunk, the host writes down the one before.
        waited = log.flush()
        log.put(step, count, metrics, finite)
        step += count
        elapsed, clock = time.perf_counter() - clock, time.perf_counter()
        length = min(2 * length, max(1, int(CHUNK_SECONDS * waited / elapsed))) if waited else 1
        if config.sample_every and step % config.sample_every == 0 and step < config.steps:
            draw_samples(run, log, step, state)
        if config.checkpoint_every and step % config.checkpoint_every == 0:
            log.flush()  # which stops here if this state is not finite
            log.publish()
            checkpoints.save(step, state)
        wishes[:] = interrupt.number, length
        stop, length = vote()
    log.flush()
    log.publish()
    return state, 0 if step == config.steps else stop


def draw_samples(run: Run, log: Log, step: int, state: GANState) -> str:
    """Draws a step's picture in the first process, and returns its path."""
    return log.samples(step, run.sample(parallel.own_copy(state))) if hosts.is_first() else ""


def hello(run: Run, state: GANState) -> None:
    """Says what is about to run."""
    config, devices = run.config, 1 if run.mode == "jit" else jax.device_count()
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    generator, critic = map(run.count_parameters, (state.generator, state.critic))
    seeds = f", {config.num_seeds} seeds" if config.num_seeds > 1 else ""
    hosts.say(
        f"{config.loss} on {config.dataset}: {len(run.dataset.train):,} examples of shape "
        f"{run.dataset.train.shape[1:]}, {config.model} with {generator:,} + {critic:,} "
        f"parameters, {devices} {jax.devices()[0].device_kind}{processes} ({run.mode}){seeds}, "
        f"in {run.folder.path}"
    )


def compile_program(run: Run) -> tuple[Callable, Callable[[int, int], np.ndarray], int]:
    """The training program and its feed.

    Returns:
      `program(state, batches, count) -> (state, (metrics, finite))`, which runs `count` iterations
      and says whether the state after them is finite; `batches(step, count)`,
      their data, padded to the capacity so that there is one program for all chunks; and that
      capacity.
    """
    config, train = run.config, run.dataset.train
    resident = train.nbytes <= DEVICE_BYTES
    sizes = config.n_critic, config.batch_size
    iteration_bytes = config.num_seeds * math.prod(sizes) * (4 if resident else train[0].nbytes)
    capacity = max(1, min(MAX_CHUNK, CHUNK_BYTES // iteration_bytes))

    def fetch(whole, batch):
        return data.to_float(whole[batch] if resident else batch)

    def batches(step, count):
        indices = np.stack(
            [data.batch_indices(seed, step, count, *sizes, len(train)) for seed in run.seeds()],
            axis=1,
        )
        if config.num_seeds == 1:
            indices = indices[:, 0]
        if run.mode != "jit":
            indices = indices[..., parallel.own_rows(config.batch_size)]
        chunk = indices if resident else train[indices]
        padded = np.zeros((capacity, *chunk.shape[1:]), chunk.dtype)
        padded[:count] = chunk
        return padded

    many = parallel.many_steps(run.model.step, fetch)

    def run_chunk(state, *chunk, axis_name=None):
        state, metrics = many(state, *chunk, axis_name=axis_name)
        # Once a chunk costs nothing, and is enough: what is not finite stays so.
        return state, (metrics, all_finite(state))

    batch_axis = 2 if config.num_seeds == 1 else 3
    program = parallel.wrap(run_chunk, run.mode, split=(None, batch_axis, None))
    whole = parallel.replicate(train, run.mode) if resident else ()
    return lambda state, chunk, count: program(state, whole, chunk, count), batches, capacity


def to_next_stop(config: Config, step: int) -> int:
    """Steps from `step` to the next picture, checkpoint or end."""
    every = [n for n in (config.sample_every, config.checkpoint_every) if n]
    return min([config.steps - step] + [n - step % n for n in every])


if __name__ == "__main__":
    script.run(main)
