"""What the pairs share: the last layer of a critic, precision, and the checks of sizes."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def score(x: jax.Array, kernel_init: Callable, dtype: jnp.dtype) -> jax.Array:
    """A critic's last layer: features `[B, F]` to scores `[B]`. Call it inside a compact module."""
    return at_least_float32(nn.Dense(1, dtype=dtype, kernel_init=kernel_init)(x)[:, 0])


def embed(labels: jax.Array | None, num_classes: int, features: int) -> jax.Array:
    """An embedding `[B, features]` of labels `[B]`. Call it inside a compact module.

    A label out of range gives NaN, and not another class.

    Raises:
      ValueError: if there are no labels.
    """
    if labels is None:
        raise ValueError(
            f"a network of num_classes={num_classes} needs labels, which gan(..., "
            f"num_classes={num_classes}) gives it; got none."
        )
    known = (labels >= 0) & (labels < num_classes)
    return jnp.where(known[:, None], nn.Embed(num_classes, features)(labels), jnp.nan)


def join(x: jax.Array, labels: jax.Array | None, num_classes: int, features: int) -> jax.Array:
    """Features `[B, F]` beside an embedding of labels `[B]`. Call it inside a compact module."""
    return jnp.concatenate([x, embed(labels, num_classes, features).astype(x.dtype)], axis=-1)


def at_least_float32(x: jax.Array) -> jax.Array:
    """The array in its own precision, float32 where that is less."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_positive(data_shape: Any, **sizes: Any) -> None:
    """Raises ValueError unless all sizes are positive whole numbers."""
    if not isinstance(data_shape, tuple | list):
        raise ValueError(
            f"data_shape must be the shape of one example, such as (2,) or (32, 32, 3); got "
            f"{data_shape!r}."
        )
    for name, size in {"data_shape": data_shape, **sizes}.items():
        values = size if isinstance(size, tuple | list) else (size,)
        whole = (
            isinstance(v, Integral) and not isinstance(v, bool) and int(v) >= 1 for v in values
        )
        if not values or not all(whole):
            raise ValueError(f"{name} must be made of positive whole numbers; got {size!r}.")
