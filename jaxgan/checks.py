"""What a GAN's networks and data must be, told before anything is compiled."""

from collections.abc import Callable
from typing import Any

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.losses import Loss
from jaxgan.players import apply, init_variables

_MOST_WEIGHTS = 2**28


def check_networks(generator: nn.Module, critic: nn.Module, loss: Loss) -> tuple[int, ...]:
    """Traces both networks on a batch of two.

    Returns:
      The shape of one sample.

    Raises:
      ValueError: if they are no generator and critic, or no critic for this loss.
    """
    if not isinstance(getattr(generator, "latent_dim", None), int):
        raise ValueError(
            f"the generator must say the size of its latent vector in an attribute latent_dim; "
            f"{type(generator).__name__} has none."
        )

    def forward(module, x):
        params, stats = init_variables(module, jax.random.key(0), x)
        return apply(module, params, stats, x)[0], (params, stats)

    def trace(module, x):
        try:
            return jax.eval_shape(lambda x: forward(module, x), x)
        except flax.errors.InvalidRngError as error:
            raise ValueError(
                f"{type(module).__name__} draws random numbers, as Dropout does, and the steps "
                "give a network none. Leave that layer out."
            ) from error

    latents = jax.ShapeDtypeStruct((2, generator.latent_dim), jnp.float32)
    fake, _ = trace(generator, latents)
    scores, variables = trace(critic, fake)
    if scores.shape != (2,):
        raise ValueError(
            f"the critic must return one score per example, shape [B]; for a batch of 2 it "
            f"returned shape {scores.shape}. Squeeze its last axis, or sum over it."
        )
    if loss.per_example and mixes_examples(
        lambda both, x: apply(critic, both[0], both[1], x)[0], variables, fake
    ):
        raise ValueError(
            "a critic with a gradient penalty must not use BatchNorm or anything else that makes a "
            "score depend on the whole batch, so that the penalty is no longer per example "
            f"(Gulrajani 2017, sec. 4); {type(critic).__name__} does. Drop it, or use LayerNorm."
        )
    return fake.shape[1:]


def check_real(real: Any, data_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless it is a batch of floating-point samples of that shape."""
    shape: tuple = getattr(real, "shape", ())
    if len(shape) < 1 or shape[1:] != data_shape or shape[0] < 1:
        got = shape if hasattr(real, "shape") else f"a {type(real).__name__}"
        raise ValueError(
            f"real must be a batch of what the generator makes, shape "
            f"[B, {', '.join(map(str, data_shape))}]; got {got}."
        )
    if not jnp.issubdtype(real.dtype, jnp.floating):
        raise ValueError(
            f"real must be floating point, images in [-1, 1]; got {real.dtype}. "
            "jaxgan.data.to_float converts."
        )


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
