"""One network and its optimizer: initialised, applied and updated by pure functions.

A network is a flax.linen module. What it takes besides its input, such as `train`, and what it
keeps besides its parameters, such as running statistics, is found out here.
"""

import inspect
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

# The keywords by which modules are told that they train, and what training gives them.
TRAINING_KEYWORDS = {
    "train": True,
    "training": True,
    "is_training": True,
    "is_train": True,
    "update_stats": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}


class Player(NamedTuple):
    """One network and its optimizer.

    Attributes:
      params: the parameters.
      stats: flax's other collections, such as BatchNorm's running statistics or the vectors of a
        spectral norm's power iteration; {} where there are none. Training moves them.
      opt_state: the optimizer's state.
    """

    params: chex.ArrayTree
    stats: chex.ArrayTree
    opt_state: optax.OptState


def init_player(
    module: nn.Module, key: chex.PRNGKey, x: chex.Array, tx: optax.GradientTransformation
) -> Player:
    """A network's first parameters and statistics, for inputs like x, and its optimizer's state."""
    params, stats = init_variables(module, key, x)
    return Player(params, stats, tx.init(params))


def init_variables(
    module: nn.Module, key: chex.PRNGKey, x: chex.Array
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """A network's first parameters, and its other variables."""
    variables = dict(module.init(key, x, **_keywords(module, train=False, axis_name=None)))
    return variables.pop("params", {}), variables


def apply(
    module: nn.Module,
    params: chex.ArrayTree,
    stats: chex.ArrayTree,
    x: chex.Array,
    axis_name: str | None = None,
    train: bool = True,
) -> tuple[chex.Array, chex.ArrayTree]:
    """The network's output and its updated statistics."""
    keywords = _keywords(module, train, axis_name)
    variables = {"params": params, **stats}
    output, after = module.apply(variables, x, mutable=list(stats), **keywords)
    if len(jax.tree.leaves(after)) == len(jax.tree.leaves(stats)):  # or `gan` refuses the module
        after = jax.tree.map(_in_same_precision, after, stats)
    return output, after


def _in_same_precision(new, old):
    """A state keeps its dtypes, also where jax_enable_x64 makes inputs and statistics wider."""
    floats = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in (new, old))
    return new.astype(old.dtype) if floats and new.dtype != old.dtype else new


def update(player: Player, gradients: chex.ArrayTree, tx: optax.GradientTransformation) -> Player:
    """The player after a step of its optimizer."""
    updates, opt_state = tx.update(gradients, player.opt_state, player.params)
    return player._replace(params=optax.apply_updates(player.params, updates), opt_state=opt_state)


def unknown_parameters(module: nn.Module) -> list[inspect.Parameter]:
    """What the module's `__call__` takes besides its input that training does not give it."""
    others = list(inspect.signature(module.__call__).parameters.values())[1:]
    known = {*TRAINING_KEYWORDS, "axis_name"}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in others if p.name not in known and p.kind not in variable]


def _keywords(module, train, axis_name):
    """Those keywords that the module takes, with their values."""
    given = {name: value == train for name, value in TRAINING_KEYWORDS.items()}
    given["axis_name"] = axis_name
    taken = inspect.signature(module.__call__).parameters
    return {name: value for name, value in given.items() if name in taken}
