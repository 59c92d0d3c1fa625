"""What the pairs share: a critic's last layer, BatchNorm, precision, and the checks of sizes."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def score(x: jax.Array, kernel_init: Callable, dtype: jnp.dtype) -> jax.Array:
    """A critic's last layer: features `[B, F]` to scores `[B]`. Call it inside a compact module."""
    return at_least_float32(nn.Dense(1, dtype=dtype, kernel_init=kernel_init)(x)[:, 0])


def batch_norm(
    x: jax.Array, train: bool, axis_name: str | None, dtype: jnp.dtype, **options: Any
) -> jax.Array:
    """BatchNorm by the batch, over `axis_name` if given, in training; by running statistics else.

    Call it inside a compact module. The options are `nn.BatchNorm`'s.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        axis_name=axis_name if train else None,
        momentum=0.9,
        dtype=dtype,
        **options,
    )(x)


def embed(
    labels: jax.Array | None,
    num_classes: int,
    features: int,
    init: Callable = nn.linear.default_embed_init,
) -> jax.Array:
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
    embedded = nn.Embed(num_classes, features, embedding_init=init)(labels)
    return jnp.where(known[:, None], embedded, jnp.nan)


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


def halvings(side: int) -> tuple[int, int]:
    """The side that halving down to 7 or less leads to, and how many halvings that takes."""
    count = 0
    while side > 7 and side % 2 == 0:
        side, count = side // 2, count + 1
    return side, count


def halve(network: str, data_shape: tuple[int, ...]) -> tuple[tuple[int, int], int]:
    """The sides that halving an image's leads to, and how many halvings that takes.

    The shorter side is halved down to 4 to 7, and the other one as often: 32x32 to 4x4 by three,
    28x28 to 7x7 by two, 48x64 to 6x8 by three.

    Raises:
      ValueError: if the shape is not an image's, or its sides cannot be halved so; it names the
        network and the nearest sizes that can.
    """
    if len(data_shape) != 3:
        raise ValueError(
            f"{network} makes images (height, width, channels); got shape {tuple(data_shape)}. "
            "For points use an MLP."
        )
    height, width, channels = data_shape
    base, count = halvings(min(height, width))
    if base > 7 or count < 1 or height % 2**count or width % 2**count:
        nearest = " or ".join(f"{h}x{w}" for h, w in _nearest(height, width))
        raise ValueError(
            f"{network} makes images with a shorter side of 4, 5, 6 or 7 times a power of two, 8 "
            f"or more, and a longer one that this power divides; got {height}x{width} (shape "
            f"{(height, width, channels)}). The nearest that it makes: {nearest}. Resize them."
        )
    return (height // 2**count, width // 2**count), count


def _nearest(height, width):
    """The nearest sizes that `halve` takes: with no side larger, and with no side smaller."""
    smaller, larger = [], []
    for power in (2**n for n in range(1, max(height, width, 8).bit_length())):
        low, high = [height // power, width // power], [-(-height // power), -(-width // power)]
        if min(low) >= 4:
            low[low.index(min(low))] = min(*low, 7)
            smaller.append((low[0] * power, low[1] * power))
        high = [max(4, each) for each in high]
        if min(high) <= 7:
            larger.append((high[0] * power, high[1] * power))
    below = [max(smaller, key=sum)] if smaller else []
    return [*below, min(larger, key=sum)]
