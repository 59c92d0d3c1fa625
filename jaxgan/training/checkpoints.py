"""Checkpoints of a run: the whole training state as one atomic item, written in the background."""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Collection
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import serialization

from jaxgan.networks.players import named_leaves
from jaxgan.parallel import hosts


def _is_not_orbaxs(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


# What orbax logs, with a traceback for each thread, it raises too.
logging.getLogger("absl").addFilter(_is_not_orbaxs)


class SaveError(OSError):
    """A checkpoint could not be written; those before it are as they were."""


class Checkpoints:
    """The checkpoints in a folder: the newest, and those kept for good.

    What was kept for good when the folder was opened stays, whatever `keep_period` was then.

    `save` copies the state off the device and returns; writing goes on in the background. A
    checkpoint appears under its final name only once it is complete. It holds the state as one
    array of bytes, so that reading or writing fails as a whole, with one error, and a digest of
    them, so that damage is noticed whatever it hits.

    Args:
      folder: where they are; made if need be.
      keep_period: keep each whose step is a multiple of this, beside the newest; 0 for none.
      newest: how many of the newest are kept.
    """

    def __init__(self, folder: epath.PathLike, keep_period: int = 0, newest: int = 3):
        self._folder = epath.Path(folder).resolve()
        self._keep_period, self._newest = keep_period, newest
        self._protected: list[int] = []
        self._opened: Any = None

    @property
    def _manager(self) -> Any:
        """Orbax's, opened at its first use: a new run's first step need not wait for its import."""
        if self._opened is None:
            import orbax.checkpoint as ocp
            from orbax.checkpoint import checkpoint_managers as kept

            policies = [kept.LatestN(self._newest)]
            policies.append(kept.CustomSteps(saved_steps(self._folder)[: -self._newest]))
            policies.append(kept.CustomSteps(self._protected))  # which orbax reads at every save
            if self._keep_period:
                policies.append(kept.EveryNSteps(self._keep_period))
            options = ocp.CheckpointManagerOptions(
                preservation_policy=kept.AnyPreservationPolicy(policies)
            )
            self._opened = ocp.CheckpointManager(self._folder, options=options)
        return self._opened

    def save(self, step: int, state: chex.ArrayTree) -> None:
        """Saves the state as that step's checkpoint, unless there is one.

        Raises:
          SaveError: if it, or the one before, which was being written since, cannot be written.
        """
        import orbax.checkpoint as ocp

        if step in self._manager.all_steps():
            return
        content = pack(state)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave({"content": np.frombuffer(content, np.uint8)}),
            digest=ocp.args.JsonSave({"sha256": hashlib.sha256(content).hexdigest()}),
        )
        with self._one_save_error():
            if not self._manager.save(step, args=items):  # as orbax does if there is a later one
                raise ValueError(f"step {step} is not later than {self._manager.latest_step()}")

    @property
    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, whether they can be read or not."""
        return sorted(self._manager.all_steps())

    def keep_only(self, steps: Collection[int]) -> None:
        """Deletes all other checkpoints."""
        for step in self.steps:
            if step not in steps:
                self._manager.delete(step)

    def protect(self, step: int) -> None:
        """Keeps the checkpoint of a step until another is protected."""
        self._protected[:] = [step]

    def restore(
        self,
        template: chex.ArrayTree,
        warn: Callable[[str], None] = print,
        set_aside: bool = True,
    ) -> Any:
        """The newest checkpoint that can be read, None where there is none at all.

        Newer ones that cannot are renamed to `<step>.unreadable`, so that training can save those
        steps again; nothing is deleted.

        Args:
          template: a state of the same structure, shapes and dtypes, with its shardings.
          warn: given a line for each checkpoint that cannot be read.
          set_aside: False leaves those under their names, for a reader.

        Raises:
          ValueError: if there are checkpoints and none can be read. All are left as they are.
          SaveError: if one that was still being written cannot be.
        """
        self.wait()
        if self._opened is None and not saved_steps(self._folder):  # the same in each process
            return None
        unreadable: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            state, reason = None, "another process cannot"
            try:
                state = self._read(step, template)
            except Exception as error:  # orbax and tensorstore raise many kinds for damage
                if is_out_of_memory(error):
                    raise
                reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
            if not hosts.all_true(state is not None):
                warn(f"checkpoint {step} in {self._folder} cannot be read: {reason}")
                unreadable.append(step)
                continue
            if set_aside and hosts.is_first():
                for step in unreadable:
                    _set_aside(self._folder / str(step))
            hosts.all_true(True)  # none goes on before the first has done that
            self._manager.reload()
            return state
        if unreadable:
            raise ValueError(
                f"none of the checkpoints in {self._folder} can be read. Restore them from a copy, "
                "or use another folder."
            )
        return None

    def wait(self) -> None:
        """Waits until what was saved is on disk.

        Raises:
          SaveError: if it cannot be written.
        """
        if self._opened is not None:
            with self._one_save_error():
                self._opened.wait_until_finished()

    def close(self) -> None:
        """Waits until what was saved is on disk, and lets go of the folder.

        Raises:
          SaveError: if it cannot be written.
        """
        try:
            self.wait()
        finally:
            if self._opened is not None:
                self._opened.close()

    @contextlib.contextmanager
    def _one_save_error(self):
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds
            if is_out_of_memory(error) or isinstance(error, jax.errors.JaxRuntimeError):
                raise
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            if len(reason) > 200:  # the system's own words come last
                reason = "..." + reason[-100:]
            message = f"a checkpoint in {self._folder} cannot be written: {reason}"
            raise SaveError(message) from error

    def _read(self, step, template):
        import orbax.checkpoint as ocp

        items = ocp.args.Composite(state=ocp.args.StandardRestore(), digest=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=items)
        content = np.asarray(restored.state["content"]).tobytes()
        if hashlib.sha256(content).hexdigest() != restored.digest["sha256"]:
            raise ValueError("its contents do not match their digest")
        return unpack(content, template)


class Kept:
    """The newest checkpoint alone, in memory: for a run that writes nothing."""

    def __init__(self):
        self.state: Any = None

    def save(self, step: int, state: chex.ArrayTree) -> None:
        """Keeps a copy of the state, which the next step is given for good."""
        self.state = jax.tree.map(jnp.copy, state)

    def restore(self, template: chex.ArrayTree, warn: Callable[[str], None] = print):
        """What was saved last, or None."""
        return self.state

    def wait(self) -> None:
        """Does nothing: it is kept at once."""

    def protect(self, step: int) -> None:
        """Does nothing: a run that writes nothing does not resume."""

    def keep_only(self, steps: Collection[int]) -> None:
        """Does nothing: there is none yet."""

    @property
    def steps(self) -> list[int]:
        """None that a run could go on from."""
        return []


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the device has no memory left: XLA's message begins with its code."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return str(error).startswith("RESOURCE_EXHAUSTED")
    return isinstance(error, MemoryError)


def saved_steps(folder: epath.Path) -> list[int]:
    """The steps that have a checkpoint in a folder, in order, whether it can be read or not."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def pack(state: chex.ArrayTree) -> bytes:
    """A state as bytes: each leaf by its path."""
    return serialization.msgpack_serialize(
        {name: np.asarray(_without_keys(leaf)) for name, leaf in named_leaves(state)}
    )


def unpack(content: bytes, template: chex.ArrayTree) -> chex.ArrayTree:
    """The state that `pack` made bytes of, where the template has its leaves.

    Raises:
      ValueError: if a leaf is missing, or has another shape or type than the template's.
    """
    leaves = serialization.msgpack_restore(content)

    def place(name, like):
        raw = jax.eval_shape(_without_keys, like)
        array = leaves.pop(name, None)
        if array is None or (array.shape, array.dtype) != (raw.shape, raw.dtype):
            found = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise ValueError(f"{name} is {found}, not {raw.dtype}{list(raw.shape)}")
        if getattr(like, "sharding", None) is None:
            array = jnp.asarray(array)
        else:
            array = jax.make_array_from_callback(raw.shape, like.sharding, array.__getitem__)
        return jax.random.wrap_key_data(array) if _is_key(like) else array

    placed = [place(name, like) for name, like in named_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), placed)


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(leaf):
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _set_aside(folder: epath.Path) -> None:
    aside = folder.with_name(f"{folder.name}.unreadable")
    number = 2
    while aside.exists():
        aside, number = folder.with_name(f"{folder.name}.unreadable-{number}"), number + 1
    folder.rename(aside)
