"""Data sets by name: toys, digits, image sets of tensorflow-datasets, folders."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgan.data import folders, images, names, prepared
from jaxgan.data.arrays import load_array
from jaxgan.data.dataset import Dataset, hold_out
from jaxgan.data.toys import TOYS, load_toy

NAMES = (*TOYS, "digits", "stacked_mnist", "folder:PATH", "npy:FILE")
FOLDER_IMAGE_SIZE = 32


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
        * `npy:FILE`: the array in a .npy or .npz file, see `jaxgan.data.arrays.load_array`.
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
        return load_toy(name)
    if name == "digits":
        return _load_digits(data_dir, image_size, log)
    if name.startswith("npy:"):
        return load_array(name)
    if name.startswith("folder:"):
        return _load_folder(name, image_size or FOLDER_IMAGE_SIZE, log)
    if name == "stacked_mnist":
        return _load_stacked(data_dir, image_size)
    builder = prepared.find(name, _data_dir(data_dir), NAMES)
    return Dataset(name, *prepared.read(name, builder, image_size))


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
    from jaxgan.data.digits import Digits

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
    train, test = hold_out(len(pixels))  # sorted files come class by class
    sizes = f"{len(train)} images to train on, {len(test)} held out, {pixels.shape[1:]}"
    log(f"{images.one_line(root)}: {sizes}")
    return Dataset(name, pixels[train], pixels[test])
