"""Training from the first step to the last: `fit`."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgan import parallel as devices_of
from jaxgan.gan import GAN
from jaxgan.parallel import hosts
from jaxgan.state import GANState, current_step
from jaxgan.training import findings, nonfinite, pictures
from jaxgan.training.checkpoints import Checkpoints, Kept
from jaxgan.training.cost import measure
from jaxgan.training.interrupts import Interrupt, noted
from jaxgan.training.job import Job, Plan, prepare
from jaxgan.training.log import BrokenError, Log
from jaxgan.training.pictures import draw_samples
from jaxgan.training.program import Program, make_program
from jaxgan.training.run import Run
from jaxgan.training.scoring import Scores, find_score, keep_best

# A dispatch does as many iterations as take about this long, so that an interrupt is served soon.
CHUNK_SECONDS = 0.5


def fit(
    model: GAN,
    data: Any,
    steps: int = 4_000,
    batch_size: int = 64,
    *,
    workdir: epath.PathLike | None = None,
    seed: int = 0,
    num_seeds: int = 1,
    labels: Any = None,
    parallel: str = "auto",
    log_every: int = 100,
    sample_every: int = 500,
    checkpoint_every: int = 1_000,
    keep_every: int = 0,
    on_divergence: str = "stop",
    flip: bool = False,
    score_every: int = 0,
    score: Callable[[np.ndarray], float] | None = None,
    patience: int = 0,
    callbacks: Sequence[Callable[[Run], None]] = (),
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """Trains a GAN on data, with a progress bar, a log, pictures and checkpoints.

    Call it again with the same arguments to go on after an interrupt or a kill: the run ends with
    the same bits as one that was never stopped. Raise `steps` to go on after the end.

    Ctrl-C, SIGTERM, or a notebook's stop button saves the run and returns it, not `finished`.

    Args:
      model: what `jaxgan.gan` makes, with networks and a loss of your own or of ours.
      data: an array `[N, ...]`, uint8 images `[N, H, W, C]` or floats of any shape; a pair
        `(array, labels)`; a `jaxgan.data.Dataset`; or a data set's name, see `jaxgan.data.load`.
      steps: generator updates.
      batch_size: examples in a batch, over all devices.
      workdir: the folder for all that is written; None writes nothing.
      seed: decides everything random: weights, noise and the order of the data.
      num_seeds: train this many independent runs, of seeds seed, seed + 1, ..., together. Several
        devices share them out if they divide them; a CPU's cores are devices after
        `jax.config.update("jax_num_cpu_devices", n)` at a program's start.
      labels: the class of each example, integers `[N]`, for a model with classes.
      parallel: "jit" (one device), "pmap" or "mesh" (a batch split over all), or "auto".
      log_every: steps between lines of metrics.
      sample_every: steps between pictures of samples; 0 for none but the last.
      checkpoint_every: steps between checkpoints; 0 for one at the end only.
      keep_every: keep one checkpoint in so many for good, beside the newest three; 0 for none.
      on_divergence: "stop" at an update that is not finite, or "skip" it and count it.
      flip: show each image mirrored, left and right, with probability ½, drawn anew in each epoch.
      score_every: steps between scores of the samples; 0 for none. Curves show them, and the best
        state is kept beside the newest: `run.best()`, `jaxgan.load(workdir, model, best=True)`.
      score: maps 2,000 samples to a number, the lower the better. By default MIND where Inception's
        weights are on this machine, else the Fréchet distance in a classifier of the data's own
        labels, else the exact W₁: see `scoring.choose`.
      patience: stop when so many scores in a row were not better than the best; 0 for never.
      callbacks: each is called with the run at every checkpoint, after it is saved.
      settings: more numbers and words to record in `config.json`, such as the loss's. A run goes on
        with the same only.

    Returns:
      The run. Draw samples with `run.sample(key, n)`.

    Raises:
      ValueError: for an argument that is out of its range, data that do not fit the model, or a
        folder that holds something else, before anything is written.
      DivergedError: if numbers break.
      OSError: if the folder cannot be written any more. What it holds is intact.
    """
    plan = Plan(
        steps, batch_size, seed, num_seeds, parallel,
        log_every, sample_every, checkpoint_every, keep_every, on_divergence, flip,
        score_every, patience,
    )  # fmt: skip
    callbacks = check_callbacks(callbacks)
    data = data if labels is None else (data, labels)
    job = prepare(model, data, plan, workdir, settings)
    by = find_score(job, score)
    with start(job) as (checkpoints, state), keep_best(job) as best, noted() as interrupt:
        program, scores = make_program(job), Scores(job, by, best)
        try:
            return train(job, program, checkpoints, state, interrupt, scores, callbacks)
        except BrokenError as error:
            hosts.say(f"{error}; repeating them from the last checkpoint to find the step")
            found = nonfinite.explain(job, program, job.restore(checkpoints), error, interrupt)
            if job.folder is not None and hosts.is_first():
                with contextlib.suppress(OSError):  # what broke is the news, not a full disk
                    pictures.save_curves(job, diverged=found.step or error.stop)
            raise found from error


def check_callbacks(callbacks: Any) -> tuple[Callable[[Run], None], ...]:
    """The callbacks; raises ValueError unless they are functions."""
    if not isinstance(callbacks, Iterable):
        raise ValueError(f"callbacks must be a list of functions; got {callbacks!r}. Put it in [].")
    for callback in (callbacks := tuple(callbacks)):
        if not callable(callback):
            raise ValueError(f"callbacks must be a list of functions; one is {callback!r}.")
    return callbacks


@contextlib.contextmanager
def start(job: Job):
    """Takes the folder for the run, and gives its checkpoints and the state that it goes on from.

    The first of several processes makes the folder. The state is None at the beginning.
    """
    if job.folder is None:
        yield Kept(), None
        return
    with hosts.together():
        if hosts.is_first():
            for file in (job.folder.metrics, job.folder.scores, job.folder.health):
                file.read()  # fail now if they are damaged
            job.folder.create()
    with contextlib.closing(job.folder):
        with hosts.together():
            job.folder.check_shared()
        keep = job.plan.keep_every * job.plan.checkpoint_every
        with contextlib.closing(Checkpoints(job.folder.path / "checkpoints", keep)) as checkpoints:
            state = job.restore(checkpoints)
            with hosts.together():
                if hosts.is_first():
                    job.folder.resume(None if state is None else current_step(state))
            yield checkpoints, state


def train(
    job: Job,
    program: Program,
    checkpoints: "Checkpoints | Kept",
    state: GANState | None,
    interrupt: Interrupt,
    scores: Scores,
    callbacks: Sequence[Callable[[Run], None]] = (),
) -> Run:
    """Trains from a state, or from the beginning, until the last step or an interrupt.

    Raises:
      BrokenError: if a metric, or a number in the state, is no longer finite.
    """
    plan, folder = job.plan, job.folder
    state = job.first_state() if state is None else state
    first = current_step(state)
    if folder is not None and folder.finished and (first >= plan.steps or scores.exhausted):
        more = "steps" if first >= plan.steps else "patience"
        hosts.say(f"{folder.path} is finished: {first} steps. Raise {more} to go on.")
        seen: dict[str, Any] = {"health": folder.health.read(), "scores": folder.scores.read()}
        return job.run(state, folder.metrics.read(), finished=True, **seen)
    hosts.say(job.describe())
    if folder is not None and folder.resumes and first == 0:
        hosts.say("it has no checkpoint yet: from the beginning")
    began = time.perf_counter()
    state = compile_program(job, program, state)
    compile_seconds = time.perf_counter() - began
    hosts.say(f"compiled in {compile_seconds:.1f} s" + (f"; on from step {first}" if first else ""))
    hosts.say(measure(job, state, program))

    with contextlib.closing(Log(job, first, scores)) as log:
        if first == 0:
            draw_samples(job, log, state)
        began = time.perf_counter()
        state, stop = train_chunks(job, program, state, log, checkpoints, interrupt, callbacks)
        step = current_step(state)
        checkpoints.save(step, state)
        checkpoints.wait()
        seconds = time.perf_counter() - began
        picture = "" if stop else draw_samples(job, log, state, last=True)
    run = job.run(state, log.rows, finished=not stop, stop=stop, **log.seen)
    if step == plan.steps or not plan.checkpoint_every or step % plan.checkpoint_every:
        for callback in callbacks:
            callback(run)
    if stop:
        hosts.say(f"interrupted at step {step}. Run the same again to resume.")
        return run
    found = []
    if hosts.is_first():
        found = findings.describe(run.health, job.seeds, findings.mode_shares(run, job.dataset))
        if folder is not None:
            pictures.save_curves(job, scores.best)
            folder.finish(step, first, seconds, compile_seconds, scores.best, found)
    where = f"; samples in {picture}" if picture else ""
    hosts.say(f"{step - first} steps in {seconds:.0f} s{where}")
    if step < plan.steps:
        hosts.say(f"stopped at step {step}: {plan.patience} scores in a row were not better")
    for line in [*found, *scores.describe()]:
        hosts.say(line)
    if skipped := 0 if run.state.skipped is None else int(jnp.sum(run.state.skipped)):
        updates = plan.num_seeds * step * (job.model.game.n_critic + 1)
        hosts.say(f"{skipped:,} of {updates:,} updates were not finite, and skipped")
    return run


def train_chunks(
    job: Job, program: Program, state: GANState, log: Log, checkpoints, interrupt, callbacks
) -> tuple[GANState, int]:
    """Does the steps that are left, a chunk of them in each dispatch, while scores get better.

    Returns:
      The state, and the signal to any process at which it stopped early; 0 if it did not.

    Raises:
      BrokenError: if a metric, or a number in the state, is no longer finite.
    """
    plan, step = job.plan, current_step(state)
    wishes = [0, 1]  # a signal to stop at, and the length of the next chunk
    stop, length = wishes
    clock = time.perf_counter()
    while step < plan.steps and not stop and not log.scores.exhausted:
        vote = hosts.start_vote(wishes)
        count = min(length, program.capacity, to_next_stop(plan, step, log.health.every))
        state, (metrics, finite) = program.run(state, program.batches(step, count), count)
        # While the device runs this chunk, the host writes down the one before.
        waited = log.flush()
        log.put(step, count, metrics, finite)
        step += count
        elapsed, clock = time.perf_counter() - clock, time.perf_counter()
        length = min(2 * length, max(1, int(CHUNK_SECONDS * waited / elapsed))) if waited else 1
        if step == plan.steps:
            break
        if plan.sample_every and step % plan.sample_every == 0:
            draw_samples(job, log, state)
        # Before a checkpoint, so that a run that goes on from it has all scores of before.
        if log.look(step, state):
            clock = time.perf_counter()  # the next chunk is as long as a chunk takes
        if plan.checkpoint_every and step % plan.checkpoint_every == 0:
            log.flush()  # which stops here if this state is not finite
            log.publish()
            checkpoints.save(step, state)
            log.scores.protect()
            if callbacks:  # each may keep the run, and the next chunk takes the state's memory
                run = job.run(jax.tree.map(jnp.copy, state), log.rows, False, **log.seen)
                for callback in callbacks:
                    callback(run)
        wishes[:] = interrupt.number, length
        stop, length = vote()
    log.flush()
    log.look(step, state)
    log.publish()
    return state, 0 if step == plan.steps or log.scores.exhausted else stop


def compile_program(job: Job, program: Program, state: GANState) -> GANState:
    """Compiles the program by a call that does no step, and returns the state where it belongs."""
    state = devices_of.replicate(state, job.mode, job.devices)
    state, _ = program.run(state, program.batches(0, 0), 0)
    return jax.block_until_ready(state)


def to_next_stop(plan: Plan, step: int, probe_every: int = 0) -> int:
    """Steps from `step` to the next picture, checkpoint, score, probe or end."""
    lengths = plan.sample_every, plan.checkpoint_every, plan.score_every, probe_every
    every = [n for n in lengths if n]
    return min([plan.steps - step] + [n - step % n for n in every])
