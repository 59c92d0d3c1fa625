"""When numbers break: which ones, the evidence in a file, and its replay."""

import io
import json
import pathlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

import jaxgan
from jaxgan import data, parallel
from jaxgan.gan import GAN, build
from jaxgan.networks.players import named_leaves
from jaxgan.parallel import hosts
from jaxgan.state import GANState, all_finite, current_step
from jaxgan.training.log import BrokenError, count_finite
from jaxgan.training.program import Program

_PACKAGE = pathlib.Path(jaxgan.__file__).parent


class DivergedError(Exception):
    """Training diverged: a number is not finite.

    Attributes:
      step: the step that it was to make; None where it did not break again when it was repeated.
      network: "critic" or "generator"; None likewise.
      quantity: what of it broke, in words; None likewise.
      path: a file that holds the step, for `replay`; None where nothing is written.
      seed: the seed that diverged; None where it did not break again.
    """

    def __init__(self, message: str, step=None, network=None, quantity=None, path=None, seed=None):
        super().__init__(message)
        self.step, self.network, self.quantity, self.path = step, network, quantity, path
        self.seed = seed


class Iteration(NamedTuple):
    """One iteration of one seed: `GAN.step(state, reals)` gives numbers that are not finite.

    Attributes:
      settings: those of the run.
      seed: the seed.
      state: the state before it.
      reals: its data, `[n_critic, B, *data_shape]`.
      labels: of a conditional GAN, `[n_critic, B]`.
    """

    settings: dict[str, Any]
    seed: int
    state: GANState
    reals: np.ndarray
    labels: np.ndarray | None = None

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
      labels: `[B]`, of a conditional GAN.
    """

    network: str
    name: str
    method: str
    real: np.ndarray
    key: jax.Array
    labels: np.ndarray | None

    def __call__(self, model: GAN, state: GANState, method: str = "") -> tuple:
        """What the model makes of the state by this update, or by another method on its batch."""
        return getattr(model, method or self.method)(state, self.real, self.key, labels=self.labels)


class Found(NamedTuple):
    """The first number of an iteration that is not finite.

    Attributes:
      quantity: what it is, in words.
      state: the state before its update.
      update: the update.
    """

    quantity: str
    state: GANState
    update: Update

    def __str__(self):
        return f"the {self.update.network}'s {self.quantity}, in {self.update.name},"


def explain(
    job, program: Program, state: GANState | None, error: BrokenError, interrupt
) -> DivergedError:
    """Finds the step that diverged, saves what led to it, and says all that in one line.

    Args:
      job: the run, a `job.Job`.
      program: its program.
      state: that of the last checkpoint, None if there is none yet.
      error: says between which steps to look.
      interrupt: a signal makes it give up.
    """
    held = "no checkpoint yet" if state is None else f"checkpoint {current_step(state)}"
    holds = "" if job.folder is None else f" {job.folder.path} holds {held}."
    iteration = find_diverged(job, program, state, error, interrupt)
    if iteration is None:
        return DivergedError(
            f"{error}, and was stopped, or did not diverge again, when those were repeated.{holds}"
        )
    path = None if job.folder is None else job.folder.path / f"diverged-{iteration.step}.npz"
    if path is not None and hosts.is_first():
        save(iteration, path)
    found = locate(job.model, iteration)
    seed = f" of seed {iteration.seed}" if job.plan.num_seeds > 1 else ""
    return DivergedError(
        f"training diverged at step {iteration.step}{seed}: {found or 'a number'} is not finite."
        + holds,
        iteration.step,
        found and found.update.network,
        found and found.quantity,
        path,
        iteration.seed,
    )


def find_diverged(
    job, program: Program, state: GANState | None, error: BrokenError, interrupt
) -> Iteration | None:
    """Trains again, from a state or the beginning, up to the iteration that breaks.

    Returns:
      That iteration, of the first seed that it breaks for; None if interrupted, or if on this
      device a program's results are not always the same.
    """
    state = job.first_state() if state is None else state
    step = current_step(state)
    state = parallel.replicate(state, job.mode, job.devices)
    # Several processes must do the same, and hear of signals one by one.
    while step < error.stop and not (interrupt.number and jax.process_count() == 1):
        count = min(program.capacity, error.start - step) if step < error.start else 1
        before = jax.tree.map(jnp.copy, state)
        state, (metrics, finite) = program.run(state, program.batches(step, count), count)
        columns = {name: np.asarray(column)[:count] for name, column in metrics.items()}
        if not (finite and all_finite(columns)):
            index = 0
            if job.plan.num_seeds > 1:
                last = {name: column[-1] for name, column in columns.items()}
                leaves = parallel.own_copy(state)._replace(key=()), last
                index = count_finite(leaves, job.plan.num_seeds)
            return alone(job, before, step, index)
        step += count
    return None


def alone(job, state: GANState, step: int, index: int) -> Iteration:
    """The iteration from a state, that of `step`, as the seed of this index alone does it."""
    state = parallel.own_copy(state)
    if job.plan.num_seeds > 1:
        state = jax.tree.map(lambda x: x[index], state)
    seed, train = job.seeds[index], job.dataset.train
    sizes = job.model.game.n_critic, job.plan.batch_size
    which = seed, step, 1, *sizes, len(train)
    rows, examples = (indices := data.batch_indices(*which)[0]), train[indices]
    if job.plan.flip:
        examples = data.mirror(examples, data.batch_flips(*which)[0])
    # Compiled, as in training: called as it is, it refuses numbers that are not finite.
    reals = np.asarray(jax.jit(data.to_float)(examples))
    conditional = job.model.game.num_classes is not None
    labels = job.dataset.train_labels[rows] if conditional else None
    return Iteration(job.settings, seed, state, reals, labels)


def updates(iteration: Iteration) -> Iterator[Update]:
    """The iteration's updates, with the keys that `GAN.step` gives them."""
    key = jax.random.fold_in(iteration.state.key, iteration.state.step)
    n_critic = len(iteration.reals)
    labels = [None] * n_critic if iteration.labels is None else list(iteration.labels)
    for index, real in enumerate(iteration.reals):
        name = f"critic update {index + 1} of {n_critic}"
        yield Update("critic", name, "d_step", real, jax.random.fold_in(key, index), labels[index])
    last = jax.random.fold_in(key, n_critic)
    name, real = "the generator's update", iteration.reals[-1]
    yield Update("generator", name, "g_step", real, last, labels[-1])


def locate(model: GAN, iteration: Iteration) -> Found | None:
    """Finds the first update whose result is not finite.

    None if all is finite: a chunk of many iterations is another program, which may round
    differently.
    """
    model = _without_skipping(model)
    state = iteration.state._replace(skipped=None)
    for update in updates(iteration):
        after, metrics = update(model, state)
        if not all_finite((after, metrics)):
            return Found(_quantity(model, state, update, after, metrics), state, update)
        state = after
    return None


def _without_skipping(model: GAN) -> GAN:
    """The model whose updates hide nothing that is not finite."""
    return build(model.game._replace(skip_nonfinite=False))


def save(iteration: Iteration, path: epath.Path) -> None:
    """Writes the iteration to an npz file of plain arrays."""
    key = jax.random.key_data(iteration.state.key)
    state = iteration.state._replace(key=key, skipped=None)
    arrays: dict[str, Any] = {
        "settings": np.array(json.dumps(iteration.settings)),
        "seed": np.array(iteration.seed),
        "reals": np.asarray(iteration.reals),
        **{name: np.asarray(leaf) for name, leaf in named_leaves(state)},
    }
    if iteration.labels is not None:
        arrays["labels"] = np.asarray(iteration.labels)
    file = io.BytesIO()
    np.savez(file, **arrays)
    path.write_bytes(file.getvalue())


def load(
    path: epath.PathLike, make_model: Callable[[dict[str, Any], tuple[int, ...]], GAN]
) -> tuple[GAN, Iteration]:
    """Reads what `save` wrote; nothing in it is run.

    Args:
      path: the file.
      make_model: from the run's settings and the shape of an example to its model.

    Raises:
      ValueError: if the file is no such iteration, in one line.
    """
    try:
        content = io.BytesIO(epath.Path(path).expanduser().read_bytes())
        with np.load(content, allow_pickle=False) as file:
            arrays = dict(file)
        settings, reals = json.loads(str(arrays["settings"])), arrays["reals"]
        model = _without_skipping(make_model(settings, reals.shape[2:]))
        template = jax.eval_shape(model.init, jax.random.key(0))
        template = template._replace(key=jax.eval_shape(jax.random.key_data, template.key))
        leaves = [_checked(name, arrays[name], leaf) for name, leaf in named_leaves(template)]
    except Exception as error:  # a damaged zip file raises many kinds
        raise ValueError(
            f"{path} cannot be replayed ({error}). Give the diverged-STEP.npz of a run's folder."
        ) from error
    state: Any = jax.tree.unflatten(jax.tree.structure(template), leaves)
    state = state._replace(key=jax.random.wrap_key_data(state.key))
    return model, Iteration(settings, int(arrays["seed"]), state, reals, arrays.get("labels"))


def replay(model: GAN, iteration: Iteration) -> bool:
    """Repeats a saved iteration, and prints the first operation whose result is not finite.

    Returns:
      Whether there is one.
    """
    print(f"step {iteration.step} of seed {iteration.seed}")
    found = locate(model, iteration)
    if found is None:
        print("every number of it is finite here")
        return False
    print(f"{found} is not finite")
    print(_first_operation(model, found) or "operation by operation every number is finite")
    return True


def _first_operation(model: GAN, found: Found) -> str | None:
    """Repeats the update operation by operation until a result is not finite."""
    try:
        with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit():
            found.update(model, found.state)
    except FloatingPointError as error:
        # An operation of a gradient has as its cause the lines that it is the gradient of.
        source = error.__cause__ or error
        frames = traceback.extract_tb(source.__traceback__)
        ours = [f for f in frames if pathlib.Path(f.filename).is_relative_to(_PACKAGE)]
        where = [f"{f.filename}, line {f.lineno}, in {f.name}: {f.line}" for f in ours[-1:]]
        return "\n  ".join([str(error), *where])
    return None


def _quantity(model, state, update, after, metrics) -> str:
    """The first of loss, gradient, optimizer's state and parameters that is not finite."""
    bad = [name for name, value in metrics.items() if not np.isfinite(value).all()]
    if bad:
        return f"loss ({', '.join(bad)})"
    gradient, _ = update(model, state, "d_grad" if update.network == "critic" else "g_grad")
    player = getattr(after, update.network)
    for name, tree in (
        ("gradient", gradient),
        ("optimizer state", player.opt_state),
        ("parameter", player.params),
        ("batch statistic", player.stats),
        ("loss's state", after.loss),
    ):
        bad = [path for path, leaf in named_leaves(tree) if not all_finite([leaf])]
        if bad:
            return f"{name} ({', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''})"
    return "moving average"


def _checked(name, array, like):
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"{name} is {array.dtype}{array.shape}, not {like.dtype}{like.shape} as its config says"
        )
    return array
