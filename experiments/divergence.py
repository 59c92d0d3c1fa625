"""When numbers break: which ones, the evidence in a file, and its replay."""

import dataclasses
import io
import json
import pathlib
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from log import DivergedError, count_finite

import jaxgan
from jaxgan import data, parallel
from jaxgan.config import Config, make_model
from jaxgan.gan import GAN, GANState, all_finite, current_step
from jaxgan.parallel import hosts

_PACKAGE = pathlib.Path(jaxgan.__file__).parent


class Iteration(NamedTuple):
    """One iteration of one seed: `GAN.step(state, reals)` gives numbers that are not finite.

    Attributes:
      config: the run's settings.
      state: the state before it.
      reals: its data, `[n_critic, B, *data_shape]`.
    """

    config: Config
    state: GANState
    reals: np.ndarray

    @property
    def step(self) -> int:
        """The step that it was to make."""
        return int(self.state.step) + 1


class Update(NamedTuple):
    """One of an iteration's updates.

    Attributes:
      network: "critic" or "generator".
      name: what it is called in a sentence.
      method: its field in `GAN`.
      real: its batch.
      key: its key.
    """

    network: str
    name: str
    method: str
    real: np.ndarray
    key: jax.Array


def explain(run, state: GANState | None, error: DivergedError, compiled, interrupt) -> str:
    """Finds the step that diverged, saves what led to it, and says all that in one line.

    Args:
      run: the trainer's `Run`.
      state: that of the last checkpoint, None if there is none yet.
      error: says between which steps to look.
      compiled: the trainer's program, its feed and its capacity.
      interrupt: a signal makes it give up.
    """
    folder = run.folder.path
    held = "no checkpoint yet" if state is None else f"checkpoint {current_step(state)}"
    iteration = find_diverged(run, state, error, compiled, interrupt)
    if iteration is None:
        return (
            f"{error}, and was stopped, or did not diverge again, when those were repeated. "
            f"{folder} holds {held}."
        )
    path = folder / f"diverged-{iteration.step}.npz"
    if hosts.is_first():
        save(iteration, path)
    found = locate(iteration)
    seed = f" of seed {iteration.config.seed}" if run.config.num_seeds > 1 else ""
    return (
        f"training diverged at step {iteration.step}{seed}: {found[0] if found else 'a number'} is "
        f"not finite. {folder} holds {held}; train.py --replay={path} shows the operation. A "
        "smaller --d-learning-rate or --g-learning-rate may help, or --on-divergence=skip"
        f"{'' if state is None else ', in another --workdir'}."
    )


def find_diverged(
    run, state: GANState | None, error: DivergedError, compiled, interrupt
) -> Iteration | None:
    """Trains again, from a state or the beginning, up to the iteration that breaks.

    Returns:
      That iteration, of the first seed that it breaks for; None if interrupted, or if on this
      device a program's results are not always the same.
    """
    state = run.model.init(run.init_keys()) if state is None else state
    step = current_step(state)
    state = parallel.replicate(state, run.mode)
    program, batches, capacity = compiled
    # Several processes must do the same, and hear of signals one by one.
    while step < error.stop and not (interrupt.number and jax.process_count() == 1):
        count = min(capacity, error.start - step) if step < error.start else 1
        before = jax.tree.map(jnp.copy, state)
        state, (metrics, finite) = program(state, batches(step, count), count)
        metrics = {name: np.asarray(column)[:count] for name, column in metrics.items()}
        if not (finite and all_finite(metrics)):
            index = 0
            if run.config.num_seeds > 1:
                last = {name: column[-1] for name, column in metrics.items()}
                index = count_finite((parallel.own_copy(state)._replace(key=()), last))
            return alone(run, before, step, index)
        step += count
    return None


def alone(run, state: GANState, step: int, index: int) -> Iteration:
    """The iteration from a state, that of `step`, as the seed of this index alone does it."""
    state = parallel.own_copy(state)._replace(skipped=None)
    if run.config.num_seeds > 1:
        state = jax.tree.map(lambda x: x[index], state)
    seed, train = run.seeds()[index], run.dataset.train
    sizes = run.config.n_critic, run.config.batch_size
    rows = data.batch_indices(seed, step, 1, *sizes, len(train))[0]
    config = dataclasses.replace(run.config, num_seeds=1, seed=seed, on_divergence="stop")
    # Compiled, as in training: called as it is, it refuses numbers that are not finite.
    return Iteration(config, state, np.asarray(jax.jit(data.to_float)(train[rows])))


def updates(iteration: Iteration) -> Iterator[Update]:
    """The iteration's updates, with the keys that `GAN.step` gives them."""
    key = jax.random.fold_in(iteration.state.key, iteration.state.step)
    n_critic = len(iteration.reals)
    for index, real in enumerate(iteration.reals):
        name = f"critic update {index + 1} of {n_critic}"
        yield Update("critic", name, "d_step", real, jax.random.fold_in(key, index))
    last = jax.random.fold_in(key, n_critic)
    yield Update("generator", "the generator's update", "g_step", iteration.reals[-1], last)


def locate(iteration: Iteration) -> tuple[str, GANState, Update] | None:
    """Finds the first update whose result is not finite.

    Returns:
      What is not finite, in words; the state before that update; and the update. None if all is
      finite: a chunk of many iterations is another program, which may round differently.
    """
    model = make_model(iteration.config, iteration.reals.shape[2:])
    state = iteration.state
    for update in updates(iteration):
        after, metrics = getattr(model, update.method)(state, update.real, update.key)
        if not all_finite((after, metrics)):
            quantity = _quantity(iteration, state, update, after, metrics)
            return f"the {update.network}'s {quantity}, in {update.name},", state, update
        state = after
    return None


def save(iteration: Iteration, path: epath.Path) -> None:
    """Writes the iteration to an npz file of plain arrays."""
    state = iteration.state._replace(key=jax.random.key_data(iteration.state.key))
    arrays = {
        "config": np.array(json.dumps(dataclasses.asdict(iteration.config))),
        "reals": np.asarray(iteration.reals),
        **{name: np.asarray(leaf) for name, leaf in _named_leaves(state)},
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    path.write_bytes(file.getvalue())


def load(path: epath.PathLike) -> Iteration:
    """Reads what `save` wrote; nothing in it is run.

    Raises:
      ValueError: if the file is no such iteration, in one line.
    """
    try:
        content = io.BytesIO(epath.Path(path).expanduser().read_bytes())
        with np.load(content, allow_pickle=False) as file:
            arrays = dict(file)
        config, reals = Config(**json.loads(str(arrays["config"]))), arrays["reals"]
        model = make_model(config, reals.shape[2:])
        template = jax.eval_shape(model.init, jax.random.key(0))
        template = template._replace(key=jax.eval_shape(jax.random.key_data, template.key))
        leaves = [_checked(name, arrays[name], leaf) for name, leaf in _named_leaves(template)]
    except Exception as error:  # a damaged zip file raises many kinds
        raise ValueError(
            f"--replay={path} cannot be read ({error}). Give the diverged-STEP.npz of a run's "
            "folder."
        ) from error
    state: Any = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return Iteration(config, state._replace(key=jax.random.wrap_key_data(state.key)), reals)


def replay(path: epath.PathLike) -> bool:
    """Repeats a saved iteration, and prints the first operation whose result is not finite.

    Returns:
      Whether there is one.

    Raises:
      ValueError: if the file is no saved iteration.
    """
    iteration = load(path)
    config = iteration.config
    print(f"step {iteration.step} of {config.loss} on {config.dataset}, seed {config.seed}")
    found = locate(iteration)
    if found is None:
        print("every number of it is finite here")
        return False
    words, state, update = found
    print(f"{words} is not finite")
    model = make_model(config, iteration.reals.shape[2:])
    print(_first_operation(model, state, update) or "operation by operation every number is finite")
    return True


def _first_operation(model: GAN, state: GANState, update: Update) -> str | None:
    """Repeats the update operation by operation until a result is not finite."""
    try:
        with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit():
            getattr(model, update.method)(state, update.real, update.key)
    except FloatingPointError as error:
        # An operation of a gradient has as its cause the lines that it is the gradient of.
        source = error.__cause__ or error
        frames = traceback.extract_tb(source.__traceback__)
        ours = [f for f in frames if pathlib.Path(f.filename).is_relative_to(_PACKAGE)]
        where = [f"{f.filename}, line {f.lineno}, in {f.name}: {f.line}" for f in ours[-1:]]
        return "\n  ".join([str(error), *where])
    return None


def _quantity(iteration, state, update, after, metrics) -> str:
    """The first of loss, gradient, optimizer's state and parameters that is not finite."""
    bad = [name for name, value in metrics.items() if not np.isfinite(value).all()]
    if bad:
        return f"loss ({', '.join(bad)})"
    model = make_model(iteration.config, iteration.reals.shape[2:])
    descend = model.d_grad if update.network == "critic" else model.g_grad
    gradient, _ = descend(state, update.real, update.key)
    player = getattr(after, update.network)
    for name, tree in (
        ("gradient", gradient),
        ("optimizer state", player.opt_state),
        ("parameter", player.params),
        ("batch statistic", player.stats),
    ):
        bad = [path for path, leaf in _named_leaves(tree) if not all_finite([leaf])]
        if bad:
            return f"{name} ({', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''})"
    return "moving average"


def _named_leaves(tree) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _checked(name, array, like):
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"{name} is {array.dtype}{array.shape}, not {like.dtype}{like.shape} as its config says"
        )
    return array
