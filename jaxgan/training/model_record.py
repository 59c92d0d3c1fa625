"""What a run's model is: its variables, and what a step computes, `model.json` in its folder."""

import hashlib
import re
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from jaxgan.gan import GAN, abstract_state
from jaxgan.networks.players import named_leaves
from jaxgan.training import json_files


def describe(model: GAN) -> dict[str, Any]:
    """The shape and type of each leaf of a state, by its path."""
    return {
        name: [list(leaf.shape), str(leaf.dtype)]
        for name, leaf in named_leaves(abstract_state(model))
    }


def program(model: GAN, batch_size: int) -> dict[str, str]:
    """A digest of what a step computes, of every number in it, and the version of jax that says so.

    It tells other losses, optimizers, rates and precisions apart, which leave no trace in shapes.
    """
    game, batches = model.game, (model.game.n_critic, batch_size)
    reals = jax.ShapeDtypeStruct((*batches, *game.data_shape), jnp.float32)
    labels = [] if game.num_classes is None else [jax.ShapeDtypeStruct(batches, jnp.int32)]
    text = str(jax.make_jaxpr(model.step)(abstract_state(model), reals, *labels))
    text = re.sub("0x[0-9a-f]+", "", text)  # where functions lie in memory
    return {"program": hashlib.sha256(text.encode()).hexdigest()[:16], "jax": jax.__version__}


def write(folder: epath.Path, record: dict[str, Any]) -> None:
    """Writes down what the model is."""
    json_files.write(folder / "model.json", record)


def check(folder: epath.Path, now: dict[str, Any]) -> None:
    """Raises ValueError unless the run in a folder has trained a model with the same variables."""
    then = json_files.read(folder / "model.json")
    for name in {**then, **now}:
        if name not in ("program", "jax") and then.get(name) != now.get(name):
            before, after = (_words(entry) for entry in (then.get(name), now.get(name)))
            raise ValueError(
                f"the run in {folder} was trained with another model: {name} was {before} there "
                f"and is {after} here. Use the model that it began with, or another folder."
            )


def note(folder: epath.Path, now: dict[str, Any]) -> str:
    """A line if the run in a folder began with steps that compute something else."""
    then = json_files.read(folder / "model.json")
    if then.get("program") in (None, now["program"]):
        return ""
    versions = f"jax {then.get('jax')} then, {now['jax']} now"
    why = versions if then.get("jax") != now["jax"] else "its loss, optimizers or precision"
    return f"a step computes something else than when the run in {folder} began: {why}"


def _words(entry):
    whole = isinstance(entry, list) and len(entry) == 2  # unless it is damaged
    return "missing" if entry is None else f"{entry[1]}{entry[0]}" if whole else repr(entry)
