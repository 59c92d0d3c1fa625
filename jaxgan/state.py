"""What training changes, the state of a GAN, and what it does not."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxgan.losses.base import StatefulLoss
from jaxgan.networks.network import Network
from jaxgan.networks.players import Player


class GANState(NamedTuple):
    """All that training changes.

    Attributes:
      step: generator updates so far, an int32 scalar.
      generator: the generator and its optimizer.
      critic: the critic and its optimizer.
      ema: moving average of the generator's parameters; None if `ema_decay` is 0.
      ema_stats: the same average of its statistics.
      key: the run's PRNG key. It never changes.
      skipped: updates of either network skipped so far because they were not finite, an int32
        scalar; None unless they are skipped.
      loss: the state of a `losses.StatefulLoss`; None for other losses.
    """

    step: chex.Array
    generator: Player
    critic: Player
    ema: chex.ArrayTree | None
    ema_stats: chex.ArrayTree | None
    key: chex.PRNGKey
    skipped: chex.Array | None = None
    loss: chex.ArrayTree | None = None


class Game(NamedTuple):
    """What training does not change: the arguments of `gan`, and what `check_networks` found."""

    generator: Network
    critic: Network
    loss: StatefulLoss
    g_tx: optax.GradientTransformation
    d_tx: optax.GradientTransformation
    n_critic: int
    ema_decay: float
    skip_nonfinite: bool
    data_shape: tuple[int, ...]
    mixing: tuple[str, ...]
    num_classes: int | None = None


def current_step(state: GANState) -> int:
    """The step of a state, or of several seeds' state."""
    return int(jax.device_get(state.step).ravel()[0])


def averaged_variables(state: GANState) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Parameters and statistics of the averaged generator, or where there is none of the last."""
    if state.ema is None:
        return state.generator.params, state.generator.stats
    return state.ema, state.ema_stats


def all_finite(tree: chex.ArrayTree) -> chex.Array:
    """Whether no number in the tree is infinite or NaN, a boolean scalar."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in floats]))


def of_floats(f, tree, *others):
    """f of each floating-point leaf; others, such as counters, are as the first tree has them."""

    def of_leaf(leaf, *rest):
        return f(leaf, *rest) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    return jax.tree.map(of_leaf, tree, *others)


def mean_over(tree: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
    """The mean of each floating-point leaf over the devices; as it is where there is one."""
    if axis_name is None:
        return tree
    return of_floats(lambda x: jax.lax.pmean(x, axis_name), tree)
