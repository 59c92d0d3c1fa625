"""Checkpoints of a run: the whole training state as one atomic item, written in the background."""

from collections.abc import Callable

import chex
import jax
import orbax.checkpoint as ocp
from etils import epath


class Checkpoints:
    """The checkpoints in a folder, newest three kept.

    `save` copies the state off the device and returns; writing goes on in the background. A
    checkpoint appears under its final name only once it is complete.
    """

    def __init__(self, folder: epath.PathLike):
        self._manager = ocp.CheckpointManager(
            epath.Path(folder).resolve(), options=ocp.CheckpointManagerOptions(max_to_keep=3)
        )

    def save(self, step: int, state: chex.ArrayTree) -> None:
        """Saves the state as that step's checkpoint, unless there is one."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(
        self, template: chex.ArrayTree, warn: Callable[[str], None] = print
    ) -> chex.ArrayTree | None:
        """The newest checkpoint that can be read, None where there is none at all.

        Args:
          template: a state of the same structure, shapes and dtypes.
          warn: told of each checkpoint that could not be read. None is ever deleted for that.

        Raises:
          ValueError: if there are checkpoints and none can be read.
        """
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._manager.restore(step, args=ocp.args.StandardRestore(template))
            except Exception as error:  # orbax and tensorstore raise many kinds for damage
                reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
                warn(f"checkpoint {step} in {self._manager.directory} cannot be read: {reason}")
        if steps:
            raise ValueError(
                f"none of the checkpoints in {self._manager.directory} can be read. Restore them "
                "from a copy, or start again with another --workdir."
            )
        return None

    def close(self) -> None:
        """Waits until what was saved is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()
