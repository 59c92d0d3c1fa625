"""A data set: its arrays, their values as floats, and the order of batches.

A set is decoded once, when it is loaded, into one array. Training then gathers rows of it,
and `batch_indices` says which: the place in the data is a function of (seed, step), so there
is no iterator whose state would have to be saved.
"""

import functools
import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.rows import Rows


class Dataset(NamedTuple):
    """A data set, in memory or, where it is large, on disk.

    Attributes:
      name: the name it was loaded by.
      train: uint8 [N, H, W, C] images, C being 1, 3 or 4, or float32 [N, 2] points. An array, a
        `numpy.memmap`, or `Rows` of one: of what is not in memory, take some rows at a time.
      test: the same of examples held out from training.
      train_labels: int32 [N], or None where examples have no labels.
      test_labels: the same of `test`.
      modes: float32 [K, 2], the centres of a toy mixture; otherwise None.
      sigma: the standard deviation around each centre; otherwise None.
      class_names: what the classes are called, that of class 0 first; None where they are numbers.
    """

    name: str
    train: "np.ndarray | Rows"
    test: "np.ndarray | Rows"
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    modes: np.ndarray | None = None
    sigma: float | None = None
    class_names: tuple[str, ...] | None = None


def fingerprint(dataset: Dataset) -> str:
    """Tells data sets apart: a digest of all examples and labels, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in (dataset.train, dataset.test, dataset.train_labels, dataset.test_labels):
        if isinstance(array, Rows):  # whose digests were made when they were decoded
            digest.update(array.digest())
        elif array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def count_classes(*labels: np.ndarray | None) -> int | None:
    """One more than the greatest label; None where there are no labels."""
    counts = [1 + int(each.max()) for each in labels if each is not None and len(each)]
    return max(counts, default=None)


def to_float(x: jax.typing.ArrayLike) -> jax.Array:
    """Maps uint8 pixels 0..255 to float32 in [-1, 1]; floating-point data pass unchanged.

    Raises:
      ValueError: if it is no array of numpy or jax, or neither uint8 nor floating point; and, where
        the values are known, if they are not finite, or are images [N, H, W, C] that leave [-1, 1].
    """
    if not isinstance(x, (np.ndarray, np.generic, jax.Array)):
        raise ValueError(
            f"data must be an array of numpy or jax, got a {type(x).__name__}: "
            "numpy.asarray(data, 'float32') makes one, or 'uint8' of pixels 0 to 255"
        )
    if x.dtype == jnp.uint8:
        # x / 127.5 - 1, odd around the middle and exactly ±1 at the ends, compiled or not.
        return (2.0 * jnp.asarray(x).astype(jnp.float32) - 255.0) * np.float32(1 / 255)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        is_mask = x.dtype == jnp.bool_  # whose ones would be nearly black as pixels
        hint = (
            "give a mask as data.astype('uint8') * 255"
            if is_mask
            else "give pixels 0 to 255 as data.astype('uint8'), points as data.astype('float32')"
        )
        raise ValueError(f"data must be uint8 images or floating point, got {x.dtype}: {hint}")
    if not isinstance(x, jax.core.Tracer):
        _check_values(x)
    return jnp.asarray(x)


def _check_values(x: np.ndarray | np.generic | jax.Array) -> None:
    if not x.size or not getattr(x, "is_fully_addressable", True):
        return  # empty, or partly another process's
    low, high = float(x.min()), float(x.max())  # NaN if any is
    if not np.isfinite([low, high]).all():
        raise ValueError("data must be finite, got NaN or infinity among them")
    if max(-low, high) > float(np.finfo(np.float32).max):
        raise ValueError(f"data must be finite in float32, got {low:.4g} to {high:.4g}")
    # A little is rounding: bfloat16 has 8 bits.
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and max(-low, high) > 1.01:
        raise ValueError(
            f"floating-point images must be in [-1, 1], got {low:.4g} to {high:.4g}: give pixels 0 "
            "to 255 as data.astype('uint8'), or scale them"
        )


def to_uint8(x: Any) -> np.ndarray:
    """Maps images in [-1, 1] to uint8, the inverse of `to_float`; NaN becomes black."""
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return x
    x = np.nan_to_num(np.clip(x.astype(np.float32), -1.0, 1.0), nan=-1.0)
    return np.rint((x + 1.0) * 127.5).astype(np.uint8)


def batch_indices(
    seed: int, start: int, count: int, n_critic: int, batch_size: int, size: int
) -> np.ndarray:
    """Returns which examples the iterations `start` to `start + count` train on.

    The examples form an endless stream of epochs, each a permutation of the data drawn from
    (seed, epoch); iteration i takes entries i·n_critic·batch_size and following. So an epoch
    shows each example once, a batch may straddle two epochs, and the result does not depend
    on how iterations are grouped into calls.

    Returns:
      int32 [count, n_critic, batch_size], indices below `size`.

    Raises:
      ValueError: if an argument is out of range, or `batch_size` exceeds `size`.
    """
    if min(start, count) < 0 or min(n_critic, batch_size, size) < 1:
        raise ValueError(
            "start and count must be at least 0, n_critic, batch_size and size at least 1, got "
            f"{start=}, {count=}, {n_critic=}, {batch_size=}, {size=}"
        )
    if batch_size > size:
        raise ValueError(f"batch size {batch_size} exceeds the {size} examples of the data set")
    first, last = (i * n_critic * batch_size for i in (start, start + count))
    stream = _stream(_permutation, seed, first, last, size)
    return stream.reshape(count, n_critic, batch_size)


def batch_flips(
    seed: int, start: int, count: int, n_critic: int, batch_size: int, size: int
) -> np.ndarray:
    """Which of the examples of `batch_indices` are shown mirrored, each with probability ½.

    Drawn anew in each epoch, from (seed, epoch): so a function of (seed, step, example), however
    iterations are grouped into calls.

    Returns:
      bool [count, n_critic, batch_size].
    """
    first, last = (i * n_critic * batch_size for i in (start, start + count))
    return _stream(_coins, seed, first, last, size).reshape(count, n_critic, batch_size)


def mirror(images: Any, flips: Any) -> Any:
    """The images [..., H, W, C], those mirrored from left to right for which `flips` [...] is so.

    As numpy's arrays or as jax's.
    """
    module = jnp if isinstance(images, jax.Array) else np
    return module.where(flips[..., None, None, None], images[..., ::-1, :], images)


def _stream(draw, seed, first, last, size):
    """The entries `first` to `last` of `draw(seed, epoch, size)`, epoch after epoch."""
    pieces = []
    while first < last:
        epoch, offset = divmod(first, size)
        pieces.append(draw(seed, epoch, size)[offset : offset + last - first])
        first += len(pieces[-1])
    return np.concatenate(pieces) if pieces else draw(seed, 0, size)[:0]


def hold_out(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of so many examples to train on, in order, and which random tenth to hold out.

    Those held out are in random order: some scores take the first of them, which so are any.
    """
    test, train = np.split(_permutation(0, 0, size), [max(1, size // 10)])
    return np.sort(train), test


@functools.lru_cache(maxsize=128)  # the current and the next epoch, of several seeds at once
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of an epoch, int32 `[size]`: the same under every version of numpy."""
    # numpy keeps the raw stream of a bit generator fixed for ever, but not what Generator
    # makes of it (NEP 19). A run must resume on the same data under another numpy.
    order = np.argsort(_random(seed, epoch).random_raw(size), kind="stable")
    order = order.astype(np.int32)
    order.flags.writeable = False
    return order


@functools.lru_cache(maxsize=128)
def _coins(seed: int, epoch: int, size: int) -> np.ndarray:
    """A fair coin for each place of an epoch, bool `[size]`, of draws that no order has."""
    coins = _random(seed, epoch, 1).random_raw(size) >> np.uint64(63) == 1
    coins.flags.writeable = False
    return coins


def _random(seed: int, *purpose: int) -> np.random.Philox:
    return np.random.Philox(np.random.SeedSequence(seed % 2**64, spawn_key=purpose))
