"""Augmentation on the command line: where it is on by default, and what ADA is given."""

import os
from typing import Any

import numpy as np

from jaxgan import losses
from jaxgan.augment import NAMES
from jaxgan.commands.config import Config
from jaxgan.data.folders import SUFFIXES
from jaxgan.data.rows import Rows

# A folder of fewer images is small. With as many, a tenth of CIFAR-10, DiffAugment takes the FID of
# StyleGAN2 from 36 to 14.5, with all of them from 11.1 to 9.9 (https://github.com/mit-han-lab/
# data-efficient-gans, the table of its DiffAugment-stylegan2).
SMALL = 5_000
_MOST_BYTES = 2**24  # of held-out images, which become part of the compiled program


def default_policy(dataset: str) -> str:
    """`--augment` of a data set: everything for a small folder of images, else none."""
    return ",".join(NAMES) if _is_small_folder(dataset) else "none"


def describe_default(config: Config, count: int) -> str:
    """A line on why a run augments, if nobody asked for it; else nothing."""
    policy = default_policy(config.dataset)
    if "none" in (policy, config.augment) or config.augment != policy or config.ada:
        return ""
    return (
        f"the critic sees images changed at random ({policy}), since {count:,} images are fewer "
        f"than {SMALL:,} and it could learn them by heart; --augment=none turns that off"
    )


def augment_loss(
    config: Config, loss: Any, shape: tuple[int, ...], held_out: np.ndarray | Rows | None
) -> Any:
    """The loss as `--augment` and `--ada` have it.

    Args:
      config: the run's settings.
      loss: the loss of images as they are.
      shape: an example's.
      held_out: examples that are not trained on. Without them p does not move as it should: a model
        that only samples, or replays a step, needs none.

    Raises:
      ValueError: if the data are not images.
    """
    if config.augment == "none":
        return loss
    if len(shape) != 3:
        raise ValueError(
            f"--augment={config.augment} is for images, and the examples of {config.dataset} have "
            f"shape {shape}: leave it out."
        )
    if not config.ada:
        return losses.augmented(loss, config.augment)
    if config.num_classes is not None:
        held_out = None
    elif held_out is None:
        held_out = np.zeros((1, *shape), np.uint8)
    else:
        # Some of all, evenly: they may lie class by class.
        most = max(64, min(1000, _MOST_BYTES // held_out[:1].nbytes))
        rows = np.linspace(0, len(held_out) - 1, min(most, len(held_out))).astype(int)
        held_out = held_out[rows]
    return losses.adaptive(
        loss, held_out, batch_size=config.batch_size, policy=config.augment, target=config.ada
    )


def _is_small_folder(dataset: str) -> bool:
    """Whether it is a folder of 1 to SMALL − 1 images; of a larger one no more are counted."""
    kind, _, path = dataset.partition(":")
    count = 0
    if kind == "folder" and "\0" not in path:  # which no path has: the loader says so
        for _, below, names in os.walk(os.path.expanduser(path), followlinks=False):
            below[:] = [name for name in below if not name.startswith(".")]
            count += sum(n.lower().endswith(SUFFIXES) and not n.startswith(".") for n in names)
            if count >= SMALL:
                return False
    return count > 0
