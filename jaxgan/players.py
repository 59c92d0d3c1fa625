"""One network and its optimizer: initialised, applied and updated by pure functions.

A network is any flax module. What it takes besides its input, `train` and `axis_name`, and what it
keeps besides its parameters, such as running statistics, is found out here.
"""

import inspect
from typing import NamedTuple

import chex
import flax.linen as nn
import optax


class Player(NamedTuple):
    """One network and its optimizer.

    Attributes:
      params: the parameters.
      stats: flax's mutable collections, such as BatchNorm's running statistics; {} where there are
        none. The critic always normalises by its batch, so its own stay as they were initialised.
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
    variables = dict(module.init(key, x, **_known(module, train=False)))
    return variables.pop("params"), variables


def apply(
    module: nn.Module,
    params: chex.ArrayTree,
    stats: chex.ArrayTree,
    x: chex.Array,
    axis_name: str | None = None,
    train: bool = True,
) -> tuple[chex.Array, chex.ArrayTree]:
    """The network's output and its updated statistics."""
    keywords = _known(module, train=train, axis_name=axis_name)
    return module.apply({"params": params, **stats}, x, mutable=list(stats), **keywords)


def update(player: Player, gradients: chex.ArrayTree, tx: optax.GradientTransformation) -> Player:
    """The player after a step of its optimizer."""
    updates, opt_state = tx.update(gradients, player.opt_state, player.params)
    return player._replace(params=optax.apply_updates(player.params, updates), opt_state=opt_state)


def _known(module, **keywords):
    """Those of the keywords that the module takes."""
    known = inspect.signature(module.__call__).parameters
    return {name: value for name, value in keywords.items() if name in known}
