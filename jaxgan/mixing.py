"""Whether a network treats each example of a batch by itself."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

_MOST_WEIGHTS = 2**28


def mixes_examples(
    apply: Callable[[chex.ArrayTree, chex.Array], chex.Array],
    variables: chex.ArrayTree,
    x: jax.ShapeDtypeStruct,
) -> bool:
    """Whether an example's output depends on the other examples of its batch, as BatchNorm's does.

    One example of two is NaN, which spreads to whatever it has an influence on. The weights are
    averages, not the network's own, so that all other numbers stay near one whatever its size.

    Args:
      apply: `apply(variables, x)`, from `[B, ...]` to `[B, ...]`.
      variables: the network's, or their shapes.
      x: the shape of a batch of two.

    Returns:
      Whether it does; False, unseen, of a network too large to try.
    """
    if sum(leaf.size for leaf in jax.tree.leaves(variables)) > _MOST_WEIGHTS:
        return False

    @jax.jit
    def is_nan(other):
        weights = jax.tree.map(_average, variables)
        batch = jnp.full(x.shape, 0.5, x.dtype).at[1].set(other)
        return jnp.any(jnp.isnan(apply(weights, batch)[0]))

    return bool(is_nan(jnp.nan)) and not bool(is_nan(0.25))


def _average(leaf):
    value = leaf.shape[-1] / leaf.size if leaf.shape else 1
    return jnp.full(leaf.shape, value, leaf.dtype)
