"""Differentiable augmentation: random changes of images, the same kind for data and samples.

A critic that has few images learns them by heart. It cannot where each is shown changed at random;
and a generator is not taught the changes as long as its samples are shown changed too, with
gradients through the change. All functions here are pure, and differentiable in the images as
often as a penalty needs.

An image is `[H, W, C]`, a batch `[B, H, W, C]`, in [-1, 1], so that the zero of borders and holes
is a mid-grey. Of 2 or 4 channels the last is alpha, which colour leaves alone.

References:
  Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, 2020.
    https://arxiv.org/abs/2006.10738, sec. 3.2, and the authors' code for ranges:
    https://github.com/mit-han-lab/data-efficient-gans
"""

import difflib
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

Policy = str | Sequence[str]


def augment(
    x: chex.Array,
    key: chex.PRNGKey,
    policy: Policy = "color,translation,cutout",
    p: chex.Numeric = 1.0,
) -> chex.Array:
    """Changes each image at random, by the names of a policy, one after the other.

    * `color`: brightness by U(-½, ½), then saturation times U(0, 2), then contrast times
      U(½, 1½): see `adjust_color`;
    * `translation`: a shift of up to an eighth of each side, see `shift`;
    * `cutout`: a hole of half of each side, anywhere, see `cut_out`.

    What an image becomes depends on its own key alone, so that a batch may be split.

    Args:
      x: images, `[B, H, W, C]`.
      key: a typed PRNG key, or one key per image, `[B]`.
      policy: the names, in their order: a string with commas, or a sequence.
      p: with which probability each of them is applied, by a coin of its own.

    Returns:
      Images of the same shape and type. Colours may leave [-1, 1], as the authors' do.

    Raises:
      ValueError: if x is no batch of images, or the policy has an unknown name.

    References:
      Zhao 2020, sec. 3.2; for p: Karras et al. 2020, https://arxiv.org/abs/2006.06676, sec. 2.2.
    """
    names = parse(policy)
    if getattr(x, "ndim", 0) != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            "augmentation is for floating-point images [B, H, W, C]; got "
            f"{getattr(x, 'dtype', type(x).__name__)}{getattr(x, 'shape', '')}."
        )

    def change(image, key):
        for name in names:
            # A key of the change's own: no other change of the policy moves its numbers.
            change_key, coin_key = jax.random.split(jax.random.fold_in(key, NAMES.index(name)))
            changed = _CHANGES[name](image, change_key)
            image = jnp.where(jax.random.uniform(coin_key) < p, changed, image)
        return image

    return jax.vmap(change)(x, key if key.ndim else jax.random.split(key, len(x)))


def parse(policy: Policy) -> tuple[str, ...]:
    """The names of a policy.

    Raises:
      ValueError: if there is none, or one is unknown or there twice. The message has a near one.
    """
    names = tuple(policy.split(",") if isinstance(policy, str) else policy)
    for name in names:
        if name not in NAMES:
            near = difflib.get_close_matches(str(name).lower(), NAMES, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"unknown augmentation {name!r}: {meant}One of {', '.join(NAMES)}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"a policy must name one or more of {', '.join(NAMES)}, each once; got {policy!r}."
        )
    return names


def adjust_color(
    x: chex.Array, brightness: chex.Numeric, saturation: chex.Numeric, contrast: chex.Numeric
) -> chex.Array:
    """An image `[H, W, C]` of another colour; 0, 1 and 1 leave it as it is.

    brightness is added to all numbers. saturation scales each pixel's distance from the mean of its
    channels, which is 0 in a grey image. contrast scales each number's distance from the mean of
    the whole image.
    """
    channels = x.shape[-1]
    colors = channels - 1 if channels in (2, 4) else channels
    y = x[..., :colors] + brightness
    grey = jnp.mean(y, axis=-1, keepdims=True)
    y = grey + saturation * (y - grey)
    mean = jnp.mean(y)
    y = mean + contrast * (y - mean)
    return jnp.concatenate([y, x[..., colors:]], axis=-1).astype(x.dtype)


def shift(x: chex.Array, rows: chex.Array, columns: chex.Array) -> chex.Array:
    """An image whose pixel (i, j) is that at (i + rows, j + columns) of x, 0 outside of it.

    Args:
      x: `[H, W, C]`.
      rows: a whole number, at most H either way; it may be traced.
      columns: the same, at most W.
    """
    height, width, _ = x.shape
    # A slice of a padded image: on a CPU its derivative takes a fifth of the time of others.
    padded = jnp.pad(x, ((height, height), (width, width), (0, 0)))
    return jax.lax.dynamic_slice(padded, (height + rows, width + columns, 0), x.shape)


def cut_out(x: chex.Array, row: chex.Array, column: chex.Array) -> chex.Array:
    """An image with a hole of zeros, half as high and wide, rounded up from a half.

    Args:
      x: `[H, W, C]`.
      row: where the hole's middle lies, a whole number: the hole begins half its height above.
        What lies outside of the image is cut off.
      column: the same.
    """

    def is_outside(length, middle):
        size, index = _half(length), jnp.arange(length)
        first = middle - size // 2
        return (index < first) | (index >= first + size)

    height, width, _ = x.shape
    kept = is_outside(height, row)[:, None] | is_outside(width, column)
    return x * kept[..., None].astype(x.dtype)


def _color(x, key):
    brightness, saturation, contrast = jax.random.uniform(key, (3,)).astype(x.dtype)
    return adjust_color(x, brightness - 0.5, 2 * saturation, contrast + 0.5)


def _translation(x, key):
    most = [_eighth(length) for length in x.shape[:2]]
    rows, columns = (
        jax.random.randint(k, (), -n, n + 1)
        for k, n in zip(jax.random.split(key), most, strict=True)
    )
    return shift(x, rows, columns)


def _cutout(x, key):
    # A hole of even size has no pixel in its middle: that may lie at either end of the image.
    ends = [length + 1 - _half(length) % 2 for length in x.shape[:2]]
    row, column = (
        jax.random.randint(k, (), 0, end)
        for k, end in zip(jax.random.split(key), ends, strict=True)
    )
    return cut_out(x, row, column)


def _eighth(length: int) -> int:
    return int(length / 8 + 0.5)


def _half(length: int) -> int:
    return int(length / 2 + 0.5)


_CHANGES: dict[str, Callable[[chex.Array, chex.PRNGKey], chex.Array]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
NAMES = tuple(_CHANGES)
