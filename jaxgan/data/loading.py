"""Data sets by name: toys, digits, image sets of tensorflow-datasets, folders."""

import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgan.data import folders, images, labels, names, prepared
from jaxgan.data.arrays import load_array
from jaxgan.data.dataset import Dataset, hold_out
from jaxgan.data.rows import Rows
from jaxgan.data.toys import TOYS, load_toy

NAMES = (*TOYS, "digits", "stacked_mnist", "folder:PATH", "npy:FILE")
FOLDER_IMAGE_SIZE = 32


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    image_size: int | str | tuple[int, int] | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
    cache_dir: str | os.PathLike | None = None,
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
          tenth of them held out; links are followed. They are grey, C = 1, if every one is grey;
        * `npy:FILE`: the array in a .npy or .npz file, see `jaxgan.data.arrays.load_array`.

      data_dir: where tensorflow-datasets keeps its sets; `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets` by default. Sets in an object store, `gs://BUCKET/FOLDER`, are
        copied to the user's cache before they are read.
      image_size: a side, or height and width as (64, 96) or "64x96". Images are resized until they
        cover this, and their centre is kept. By default 32 for folders; TFDS images keep their own
        size.
      channels: 1 for grey, 3 for colours, or 4 with transparency as the last; by default as the
        images are, and what is transparent is white. Of folders and TFDS sets.
      num_classes: read labels, of so many classes. Those of a folder are its sub-folders, in the
        order of their names; without it a folder has none. Other sets have their labels anyway.
      cache_dir: where the decoded images of folders, and of TFDS sets of over 1 GB, are kept for
        the next time; `$JAXGAN_CACHE_DIR`, or `jaxgan/decoded` in the user's cache, by default.
      log: called with a line when something deserves notice, such as skipped files.

    Raises:
      ValueError: if there is no such set, it is not prepared, or it cannot be read as images.
        The message is one line and says what to do.
    """
    size = images.height_and_width(image_size)
    if channels not in (None, 1, 3, 4):
        raise ValueError(f"channels must be 1, 3 or 4, got {channels}")
    if name in TOYS:
        return load_toy(name)
    if name.startswith("npy:"):
        return load_array(name)
    if name.startswith("folder:"):
        size = size or (FOLDER_IMAGE_SIZE, FOLDER_IMAGE_SIZE)
        return _load_folder(name, size, log, channels, num_classes, cache_dir)
    if name == "stacked_mnist":
        return _load_stacked(data_dir, image_size)
    if name == "digits":
        builder = _find_digits(data_dir, log)
    else:
        builder = prepared.find(name, _data_dir(data_dir), NAMES)
    dataset = Dataset(name, *prepared.read(name, builder, size, channels, cache_dir, log))
    if num_classes is not None and dataset.train_labels is not None:
        classes = builder.info.features["label"].names
        log(f"labels of {name}: {len(classes)} classes, {images.enumerate_some(classes)}")
        dataset = dataset._replace(class_names=tuple(classes))
    return dataset


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


def _find_digits(data_dir: str | os.PathLike | None, log: Callable[[str], None]) -> Any:
    """Digits in `data_dir`, where they are prepared on first use, else in the default."""
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
            return prepared.open_set(folder)
    raise ValueError(
        f"cannot prepare digits in {' or '.join(failures)}: give a data_dir that can be written"
    )


def _load_stacked(data_dir: str | os.PathLike | None, image_size: Any) -> Dataset:
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


def _load_folder(
    name: str,
    size: Any,
    log: Callable[[str], None],
    channels: int | None,
    num_classes: int | None,
    cache_dir: str | os.PathLike | None,
) -> Dataset:
    root = names.open_folder(name)
    decoded = folders.decode_folder(root, name, size, log, channels, num_classes, cache_dir)
    train, test = hold_out(len(decoded.rows))  # sorted files come class by class
    found: Any = decoded.labels
    store = decoded.kept.store
    if found is not None:
        train, test = labels.keep_each_class(found, train, test)

    def pick(chosen):
        rows = Rows(decoded.pixels, decoded.rows[chosen], store.records["digest"], store.mapped)
        return rows.in_memory_if_small(math.prod(decoded.pixels.shape))

    _tell_copies(decoded, root, train, test, log)
    shape = decoded.pixels.shape[1:]
    sizes = f"{len(train)} images to train on, {len(test)} held out, {shape}"
    log(f"{images.one_line(root)}: {sizes}, {decoded.kept.place}")
    dataset = Dataset(name, pick(train), pick(test), class_names=decoded.class_names)
    if found is None:
        return dataset
    return dataset._replace(train_labels=found[train], test_labels=found[test])


def _tell_copies(
    decoded: folders.Decoded,
    root: pathlib.Path,
    train: np.ndarray,
    test: np.ndarray,
    log: Callable[[str], None],
) -> None:
    """Says how many held-out images are trained on as well, as copies of the same pixels."""
    digests = decoded.kept.store.records["digest"][decoded.rows].view("S16")[:, 0]
    copies = test[np.isin(digests[test], digests[train])]
    if len(copies):
        paths = [decoded.files[decoded.rows[each]] for each in np.sort(copies)]
        some = [images.one_line(path.relative_to(root)) for path in paths]
        log(
            f"{len(copies)} of the {len(test)} held-out images have the same pixels as one to "
            f"train on, and flatter scores: {images.enumerate_some(some)}"
        )
