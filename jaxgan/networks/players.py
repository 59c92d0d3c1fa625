"""One network and its optimizer, initialised and updated; and what a network does with a batch."""

from typing import NamedTuple

import chex
import jax
import optax

from jaxgan.networks.network import Inputs, Network


class Player(NamedTuple):
    """One network and its optimizer.

    Attributes:
      params: the parameters.
      stats: the other variables, such as BatchNorm's running statistics or the vectors of a
        spectral norm's power iteration; {} where there are none. Training moves them.
      opt_state: the optimizer's state.
    """

    params: chex.ArrayTree
    stats: chex.ArrayTree
    opt_state: optax.OptState


def init_player(
    network: Network, key: chex.PRNGKey, inputs: Inputs, tx: optax.GradientTransformation
) -> Player:
    """A network's first parameters and statistics, for such inputs, and its optimizer's state."""
    params, stats = network.init(key, inputs)
    return Player(params, stats, tx.init(params))


def update(player: Player, gradients: chex.ArrayTree, tx: optax.GradientTransformation) -> Player:
    """The player after a step of its optimizer."""
    updates, opt_state = tx.update(gradients, player.opt_state, player.params)
    return player._replace(params=optax.apply_updates(player.params, updates), opt_state=opt_state)


def named_leaves(tree: chex.ArrayTree) -> list[tuple[str, chex.Array]]:
    """The leaves, each with its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(p, simple=True, separator="/"), leaf) for p, leaf in leaves]
