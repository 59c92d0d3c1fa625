"""Data sets as arrays in memory: toys, digits, image sets of tensorflow-datasets, folders.

A set is decoded once, when it is loaded, into one array. Training then gathers rows of it,
and `batch_indices` says which: the place in the data is a function of (seed, step), so there
is no iterator whose state would have to be saved.
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import folders, images, names, prepared

TOYS = ("ring8", "grid25", "swissroll")
NAMES = (*TOYS, "digits", "stacked_mnist", "folder:PATH")
FOLDER_IMAGE_SIZE = 32


class Dataset(NamedTuple):
    """A data set in memory.

    Fields:
      name: the name it was loaded by.
      train: uint8 [N, H, W, C] images, C being 1 or 3, or float32 [N, 2] points.
      test: the same of examples held out from training.
      train_labels: int32 [N], or None where examples have no labels.
      test_labels: the same of `test`.
      modes: float32 [K, 2], the centres of a toy mixture; otherwise None.
      sigma: the standard deviation around each centre; otherwise None.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    modes: np.ndarray | None = None
    sigma: float | None = None


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    image_size: int | None = None,
    log: Callable[[str], None] = print,
) -> Dataset:
    """Loads a data set by name.

    Args:
      name: one of
        * `ring8`, `grid25`, `swissroll`: 2-D toys, 100,000 points and 10,000 held out;
        * `digits`: scikit-learn's 8x8 digits, prepared on first use without a download;
        * `stacked_mnist`: three random MNIST digits as the channels of an image, 1,000 modes;
          MNIST must be prepared;
        * an image set of tensorflow-datasets, `NAME[/CONFIG][:VERSION]`, already prepared as
          array_record. Where it has no test split, the last tenth of train is held out;
        * `folder:PATH`: the images under a local folder, sub-folders included, a fixed random
          tenth of them held out; links are followed, and classes are not read. They are grey
        [N, S, S, 1] if every one is grey.
      data_dir: where tensorflow-datasets keeps its sets; `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets` by default. Sets in an object store, `gs://BUCKET/FOLDER`, are
        copied to the user's cache before they are read.
      image_size: images are resized so that their shorter side has this many pixels, and the
        centre square is kept. By default 32 for folders; TFDS images keep their own size.
      log: called with a line when something deserves notice, such as skipped files.

    Raises:
      ValueError: if there is no such set, it is not prepared, or it cannot be read as images.
        The message is one line and says what to do.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    if name in TOYS:
        return _load_toy(name)
    if name == "digits":
        return _load_digits(data_dir, image_size, log)
    if name.startswith("folder:"):
        return _load_folder(name, image_size or FOLDER_IMAGE_SIZE, log)
    if name == "stacked_mnist":
        return _load_stacked(data_dir, image_size)
    builder = prepared.find(name, _data_dir(data_dir), NAMES)
    return Dataset(name, *prepared.read(name, builder, image_size))


def fingerprint(dataset: Dataset) -> str:
    """Tells data sets apart: a digest of all examples and labels, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in (dataset.train, dataset.test, dataset.train_labels, dataset.test_labels):
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def to_float(x: jax.typing.ArrayLike) -> jax.Array:
    """Maps uint8 pixels 0..255 to float32 in [-1, 1]; floating-point data pass unchanged.

    Raises:
      ValueError: if it is no array of numpy or jax, or of other integers; and, where the values are
        known, if they are not finite, or are images [N, H, W, C] that leave [-1, 1].
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
        raise ValueError(
            f"data must be uint8 images or floating point, got {x.dtype}: pixels 0 to 255 may be "
            "given as data.astype('uint8'), points as data.astype('float32')"
        )
    if not isinstance(x, jax.core.Tracer):
        _check_values(x)
    return jnp.asarray(x)


def _check_values(x: np.ndarray | np.generic | jax.Array) -> None:
    if not x.size or not getattr(x, "is_fully_addressable", True):
        return  # empty, or partly another process's
    low, high = float(x.min()), float(x.max())  # NaN if any is
    if not np.isfinite([low, high]).all():
        raise ValueError("data must be finite, got NaN or infinity among them")
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
    stream = np.empty(last - first, np.int32)
    position = first
    while position < last:
        epoch, offset = divmod(position, size)
        piece = _permutation(seed, epoch, size)[offset : offset + last - position]
        stream[position - first : position - first + len(piece)] = piece
        position += len(piece)
    return stream.reshape(count, n_critic, batch_size)


@functools.lru_cache(maxsize=128)  # the current and the next epoch, of several seeds at once
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # numpy keeps the raw stream of a bit generator fixed for ever, but not what Generator
    # makes of it (NEP 19). A run must resume on the same data under another numpy.
    entropy = np.random.SeedSequence(seed % 2**64, spawn_key=(epoch,))
    order = np.argsort(np.random.Philox(entropy).random_raw(size), kind="stable")
    order = order.astype(np.int32)
    order.flags.writeable = False
    return order


# Toys ----------------------------------------------------------------------------------------


def _load_toy(name: str) -> Dataset:
    """Draws 110,000 points from seed 0; the last 10,000 are held out.

    `ring8` and `grid25` are the mixtures of VEEGAN (Srivastava et al. 2017, sec. 4.1) with the
    constants and the number of points in PacGAN's code, so that tables compare; labels are
    the mode. `swissroll` is the one of WGAN-GP.

    References:
      https://arxiv.org/abs/1705.07761, https://arxiv.org/abs/1712.04086;
      `synthetic_data_experiments/*/config.py` in https://github.com/fjxmlzn/PacGAN;
      `gan_toy.py` in https://github.com/igul222/improved_wgan_training.
    """
    n_train, n_test = 100_000, 10_000
    random = np.random.RandomState(0)  # frozen, unlike Generator: the same under every numpy
    if name == "swissroll":
        from sklearn.datasets import make_swiss_roll

        roll, _ = make_swiss_roll(n_train + n_test, noise=0.25, random_state=random)
        points = (roll[:, [0, 2]] / 7.5).astype(np.float32)  # "stdev plus a little"
        return Dataset(name, points[:n_train], points[n_train:])
    if name == "ring8":
        angles = 2 * np.pi * np.arange(8) / 8
        modes, sigma = np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01
    else:
        axis = (-4.0, -2.0, 0.0, 2.0, 4.0)
        modes, sigma = np.array(list(itertools.product(axis, axis))), 0.05
    labels = random.randint(len(modes), size=n_train + n_test).astype(np.int32)
    noise = sigma * random.standard_normal((n_train + n_test, 2))
    (train, test), (train_labels, test_labels) = (
        np.split(x, [n_train]) for x in (np.float32(modes[labels] + noise), labels)
    )
    return Dataset(name, train, test, train_labels, test_labels, modes.astype(np.float32), sigma)


# Images --------------------------------------------------------------------------------------


def _data_dir(data_dir: str | os.PathLike | None) -> Any:
    from etils import epath

    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    place = epath.Path(os.path.expanduser(str(given)))  # where ~name is nobody's, it stays
    if "://" in str(place):
        try:
            place.exists()
        except Exception as error:  # a store's client raises its own kinds, or is not installed
            raise ValueError(
                f"data_dir={str(place)!r} cannot be reached: {images.one_line(error)}"
            ) from error
    return place


def _load_digits(
    data_dir: str | os.PathLike | None, image_size: int | None, log: Callable[[str], None]
) -> Dataset:
    """Reads digits from `data_dir`, where they are prepared on first use, else from the default."""
    from jaxgan.digits import Digits

    failures = []
    for place in dict.fromkeys([_data_dir(data_dir), _data_dir(None)]):
        folder = place / "digits" / str(Digits.VERSION)
        try:
            if not folder.exists():
                if "://" in str(place):
                    failures.append(f"{place} (array_record is written to disks only)")
                    continue
                prepared.prepare(Digits(data_dir=place, file_format="array_record"))
                log(f"prepared digits in {folder}")
        except OSError as error:
            failures.append(f"{place} ({error.strerror or error})")
            log(f"cannot prepare digits in {failures[-1]}")
        else:
            return Dataset(
                "digits", *prepared.read("digits", prepared.open_set(folder), image_size)
            )
    raise ValueError(
        f"cannot prepare digits in {' or '.join(failures)}: give a data_dir that can be written"
    )


def _load_stacked(data_dir: str | os.PathLike | None, image_size: int | None) -> Dataset:
    """Stacks three MNIST digits as the channels of one image, labelled 100a + 10b + c.

    128,000 images to train on, as in PacGAN's code, whose digits are drawn uniformly with
    replacement; and 26,000 held out, as many as the papers sample. Here the draw is fixed, and
    the held-out ones are made of MNIST's test digits only.

    References:
      VEEGAN, sec. 4.2; PacGAN, sec. 4.3;
      `stacked_MNIST_experiments/*/model.py` in https://github.com/fjxmlzn/PacGAN.
    """
    mnist = load("mnist", data_dir, image_size=image_size)
    n_train, n_test = 128_000, 26_000
    images.check_memory("stacked_mnist", n_train + n_test, (*mnist.train.shape[1:3], 3))
    random = np.random.RandomState(0)  # frozen, unlike Generator: the same under every numpy

    def stack(pixels, labels, count):
        triples = random.randint(len(pixels), size=(count, 3))
        stacked = np.empty((count, *pixels.shape[1:3], 3), np.uint8)
        for channel in range(3):
            stacked[..., channel] = pixels[triples[:, channel], :, :, 0]
        return stacked, (labels[triples] @ [100, 10, 1]).astype(np.int32)

    train, train_labels = stack(mnist.train, mnist.train_labels, n_train)
    test, test_labels = stack(mnist.test, mnist.test_labels, n_test)
    return Dataset("stacked_mnist", train, test, train_labels, test_labels)


def _load_folder(name: str, size: int, log: Callable[[str], None]) -> Dataset:
    root = names.open_folder(name)
    pixels = folders.decode_folder(root, name, size, log)
    # Sorted files come class by class, so the held-out tenth is a random one.
    test, train = np.split(_permutation(0, 0, len(pixels)), [max(1, len(pixels) // 10)])
    sizes = f"{len(train)} images to train on, {len(test)} held out, {pixels.shape[1:]}"
    log(f"{images.one_line(root)}: {sizes}")
    # Some scores take the first of those held out, which so are any.
    return Dataset(name, pixels[np.sort(train)], pixels[test])
