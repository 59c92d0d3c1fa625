"""Checkpoints of a run: the whole training state as one atomic item, written in the background."""

import contextlib
import gc
import hashlib
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    CustomSteps,
    EveryNSteps,
    LatestN,
)

from jaxgan.parallel import hosts


class SaveError(OSError):
    """A checkpoint could not be written; those before it are as they were."""


class Checkpoints:
    """The checkpoints in a folder: the newest three, and those kept for good.

    What was kept for good when the folder was opened stays, whatever `keep_period` was then.

    `save` copies the state off the device and returns; writing goes on in the background. A
    checkpoint appears under its final name only once it is complete, and carries a digest of the
    state, so that damage is noticed whatever it hits.

    Args:
      folder: where they are; made if need be.
      keep_period: keep each whose step is a multiple of this, beside the newest three.
    """

    def __init__(self, folder: epath.PathLike, keep_period: int | None = None):
        self._folder = epath.Path(folder).resolve()
        policies = [LatestN(3), CustomSteps(_steps(self._folder)[:-3])]
        if keep_period:
            policies.append(EveryNSteps(keep_period))
        options = ocp.CheckpointManagerOptions(preservation_policy=AnyPreservationPolicy(policies))
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, step: int, state: chex.ArrayTree) -> None:
        """Saves the state as that step's checkpoint, unless there is one.

        Raises:
          SaveError: if it, or the one before, which was being written since, cannot be written.
        """
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), digest=ocp.args.JsonSave({"sha256": digest(state)})
        )
        with self._one_save_error():
            self._manager.save(step, args=items)

    def restore(
        self,
        template: chex.ArrayTree,
        warn: Callable[[str], None] = print,
        set_aside: bool = True,
    ) -> chex.ArrayTree | None:
        """The newest checkpoint that can be read, None where there is none at all.

        Newer ones that cannot are renamed to `<step>.unreadable`, so that training can save those
        steps again; nothing is deleted.

        Args:
          template: a state of the same structure, shapes and dtypes.
          warn: told of each checkpoint that could not be read.
          set_aside: False leaves those under their names, for who only reads.

        Raises:
          ValueError: if there are checkpoints and none can be read. All are left as they are.
          SaveError: if one that was still being written cannot be.
        """
        self.wait()
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        unreadable = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            state, reason = None, "another process cannot"
            with one_error():
                try:
                    state = self._read(step, template)
                except Exception as error:  # orbax and tensorstore raise many kinds for damage
                    if is_out_of_memory(error):
                        raise
                    reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
                if state is None:
                    _drop_leftovers()
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
                "or start again with another --workdir."
            )
        return None

    def wait(self) -> None:
        """Waits until what was saved is on disk.

        Raises:
          SaveError: if it cannot be written.
        """
        with self._one_save_error():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until what was saved is on disk, and lets go of the folder.

        Raises:
          SaveError: if it cannot be written.
        """
        try:
            self.wait()
        finally:
            self._manager.close()

    @contextlib.contextmanager
    def _one_save_error(self):
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds
            if is_out_of_memory(error):
                raise
            if jax.process_count() > 1 and hosts.tells_of_loss(error):
                raise
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            if len(reason) > 200:  # the system's own words come last
                reason = "..." + reason[-100:]
            message = f"a checkpoint in {self._folder} cannot be written: {reason}"
            raise SaveError(message) from error

    def _read(self, step, template):
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(template), digest=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        if digest(restored.state) != restored.digest["sha256"]:
            raise ValueError("its contents do not match their digest")
        return restored.state


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the device has no memory left: XLA's message begins with its code."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return str(error).startswith("RESOURCE_EXHAUSTED")
    return isinstance(error, MemoryError)


def _steps(folder: epath.Path) -> list[int]:
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def digest(state: chex.ArrayTree) -> str:
    """SHA-256 of a state's leaves, their paths, dtypes and shapes."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


@contextlib.contextmanager
def one_error() -> Iterator[None]:
    """Keeps a checkpoint's failure from being told of once for each of its arrays.

    At the first array that cannot be read or written orbax logs that, raises, and closes its event
    loop. What becomes of the others, under way in tensorstore's threads, python and asyncio then
    print as exceptions that nobody took and coroutines that nobody awaited.
    """
    # It stays: a task is told of when it is collected, with whatever holds the error that we raise.
    logging.getLogger("asyncio").addFilter(_is_no_task_of_orbax)
    report, loggers = sys.unraisablehook, [logging.getLogger(name) for name in ("asyncio", "absl")]

    def report_others(unraisable):
        told = ("Event loop is closed", "error while reading array index")
        if not any(words in str(unraisable.exc_value) for words in told):
            report(unraisable)

    disabled = [logger.disabled for logger in loggers]

    def disable(values):
        for logger, value in zip(loggers, values, strict=True):
            logger.disabled = value

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        sys.unraisablehook = report_others
        disable([True] * len(loggers))
        try:
            yield
        except Exception:
            _drop_leftovers()
            raise
        finally:
            sys.unraisablehook = report
            disable(disabled)


def _is_no_task_of_orbax(record: logging.LogRecord) -> bool:
    return not re.search(r"never retrieved(.|\n)*orbax.checkpoint", record.getMessage())


def _drop_leftovers():
    time.sleep(0.2)  # nothing tells when those reads and writes have ended
    gc.collect()  # asyncio logs an exception when it is collected


def _set_aside(folder: epath.Path) -> None:
    aside = folder.with_name(f"{folder.name}.unreadable")
    number = 2
    while aside.exists():
        aside, number = folder.with_name(f"{folder.name}.unreadable-{number}"), number + 1
    folder.rename(aside)
