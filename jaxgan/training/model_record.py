"""What a run's model is: the shapes of its variables, `model.json` in its folder."""

from typing import Any

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


def write(folder: epath.Path, record: dict[str, Any]) -> None:
    """Writes down what the model is."""
    json_files.write(folder / "model.json", record)


def check(folder: epath.Path, now: dict[str, Any]) -> None:
    """Raises ValueError unless the run in a folder has trained a model with the same variables."""
    then = json_files.read(folder / "model.json")
    for name in {**then, **now}:
        if then.get(name) != now.get(name):
            before, after = (_words(entry) for entry in (then.get(name), now.get(name)))
            raise ValueError(
                f"the run in {folder} was trained with another model: {name} was {before} there "
                f"and is {after} here. Use the model that it began with, or another folder."
            )


def _words(entry):
    whole = isinstance(entry, list) and len(entry) == 2  # unless it is damaged
    return "missing" if entry is None else f"{entry[1]}{entry[0]}" if whole else repr(entry)
