"""Data sets as arrays in memory: toys, digits, image sets of tensorflow-datasets, folders.

A set is decoded once, when it is loaded, into one array. Training then gathers rows of it,
and `batch_indices` says which: the place in the data is a function of (seed, step), so there
is no iterator whose state would have to be saved.
"""

import contextlib
import difflib
import functools
import io
import itertools
import os
import pathlib
import re
import shlex
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TOYS = ("ring8", "grid25", "swissroll")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
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
        * an image set of tensorflow-datasets, `NAME[/CONFIG][:VERSION]`, already prepared as
          array_record. Where it has no test split, the last tenth of train is held out;
        * `folder:PATH`: the images under a local folder, sub-folders included, a fixed random
          tenth of them held out. They are grey [N, S, S, 1] if every one is grey.
      data_dir: where tensorflow-datasets keeps its sets; `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets` by default.
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
    builder = _find_prepared(name, _data_dir(data_dir))
    return _read_prepared(name, builder, image_size)


def to_float(x: jax.typing.ArrayLike) -> jax.Array:
    """Maps uint8 pixels 0..255 to float32 in [-1, 1]; floating-point data pass unchanged."""
    x = jnp.asarray(x)
    if x.dtype == jnp.uint8:
        # x / 127.5 - 1, odd around the middle and exactly ±1 at the ends, compiled or not.
        return (2.0 * x.astype(jnp.float32) - 255.0) * np.float32(1 / 255)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"data must be uint8 images or floating point, got {x.dtype}")
    return x


def to_uint8(images: Any) -> np.ndarray:
    """Maps images in [-1, 1] to uint8, the inverse of `to_float`; NaN becomes black."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    images = np.nan_to_num(np.clip(images.astype(np.float32), -1.0, 1.0), nan=-1.0)
    return np.rint((images + 1.0) * 127.5).astype(np.uint8)


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


@functools.lru_cache(maxsize=2)  # consecutive calls continue in the epoch of the last one
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


# tensorflow-datasets -------------------------------------------------------------------------


def _data_dir(data_dir: str | os.PathLike | None) -> Any:
    from etils import epath

    return epath.Path(
        data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    ).expanduser()


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
                _prepare(Digits(data_dir=place, file_format="array_record"))
                log(f"prepared digits in {folder}")
        except OSError as error:
            failures.append(f"{place} ({error.strerror or error})")
            log(f"cannot prepare digits in {failures[-1]}")
        else:
            return _read_prepared("digits", _open_prepared(folder), image_size)
    raise ValueError(
        f"cannot prepare digits in {' or '.join(failures)}: give a data_dir that can be written"
    )


def _prepare(builder: Any) -> None:
    """Prepares a set without TFDS's own commentary and bars.

    TFDS writes into a folder of a random name and renames it when complete, so neither an
    interruption nor a second process leaves half a set; of two processes at once the later
    one fails because it finds the name taken, which is as good.
    """
    silence = io.StringIO()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            builder.download_and_prepare()
    except OSError:
        if not builder.data_path.exists():
            raise


def _find_prepared(name: str, data_dir: Any) -> Any:
    """Returns a TFDS builder of the newest prepared version, or says how to prepare one."""
    import tensorflow_datasets as tfds

    # tfds.data_source would do, but where nothing is prepared its error misleads.
    known = tfds.list_builders(with_community_datasets=False)
    match = re.fullmatch(r"(\w+)(/[\w.+-]+)?(:\d+\.\d+\.\d+)?", name)
    if match is None:
        raise _unknown(name, known)
    set_name, config, version = (part or "" for part in match.groups())
    folder = data_dir / (set_name + config)
    if not folder.is_dir() and set_name not in known:
        raise _unknown(name, known)
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    versions = [v for v in present if re.fullmatch(r"\d+\.\d+\.\d+", v)]
    wanted = [v for v in versions if version in ("", f":{v}")]
    if not wanted:
        raise ValueError(
            f"dataset {name!r} is not prepared in {folder}"
            + (f", which has {', '.join(present[:8])}" if present else "")
            + '; prepare it with: pip install "jaxgan[prepare]" && '
            f"tfds build {name} --file_format=array_record --data_dir={shlex.quote(str(data_dir))}"
        )
    return _open_prepared(folder / max(wanted, key=lambda v: [int(n) for n in v.split(".")]))


def _unknown(name: str, known: list[str]) -> ValueError:
    own = [*TOYS, "digits", "folder:PATH"]
    nearest = difflib.get_close_matches(name.lower(), [*own, *known], n=1)
    return ValueError(
        f"unknown dataset {name!r}"
        + (f", did you mean {nearest[0]!r}?" if nearest else ".")
        + f" There are {', '.join(own)} and the image sets of tensorflow-datasets, such as "
        "mnist, fashion_mnist or cifar10"
    )


def _open_prepared(folder: Any) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Any, error: Exception) -> ValueError:
    return ValueError(
        f"cannot read {folder}: {_one_line(error)}; remove that folder and prepare it again"
    )


def _read_prepared(name: str, builder: Any, image_size: int | None) -> Dataset:
    """Decodes the train and test splits of a prepared TFDS image set."""
    import tensorflow_datasets as tfds

    features, splits, folder = builder.info.features, builder.info.splits, builder.data_path
    images = {k: f for k, f in features.items() if isinstance(f, tfds.features.Image)}
    key = "image" if "image" in images else next(iter(images), None)
    if key is None or len(images[key].shape) != 3 or images[key].np_dtype != np.uint8:
        raise ValueError(
            f"dataset {name!r} is not a set of 8-bit images; it has {_one_line(features)}"
        )
    height, width, channels = images[key].shape
    if image_size is not None:
        height = width = image_size
    if height is None or width is None:
        raise ValueError(
            f"the images of {name!r} differ in size: give an image_size, to which they are cut"
        )
    if "train" not in splits:
        raise ValueError(f"dataset {name!r} has no train split; it has {', '.join(splits)}")
    formats = [file_format.value for file_format in builder.info.available_file_formats()]
    if "array_record" not in formats:
        raise ValueError(
            f"dataset {name!r} in {folder} is stored as {', '.join(formats)}, and only "
            "array_record can be read without TensorFlow; prepare it in another data_dir with: "
            f"tfds build {name} --file_format=array_record --data_dir=DIR"
        )
    shape = (height, width, 1 if channels == 1 else 3)
    used = [split for split in ("train", "test") if split in splits]
    _check_memory(name, sum(splits[split].num_examples for split in used), shape)
    labelled = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    # Bytes decoded here take two thirds of the time that TFDS takes to decode them.
    decoders = {k: tfds.decode.SkipDecoding() for k in images}

    def read(split):
        source = builder.as_data_source(split, decoders=decoders)
        pixels = np.empty((len(source), *shape), np.uint8)
        labels = np.empty(len(source), np.int32)
        starts = range(0, len(source), 1000)
        for start in _bar(starts, f"decoding {name} {split}"):
            rows = range(start, min(start + 1000, len(source)))
            for row, record in zip(rows, source.__getitems__(list(rows)), strict=True):
                pixels[row] = _decode(record[key], shape, resize=image_size is not None)
                labels[row] = record["label"] if labelled else 0
        return pixels, labels if labelled else None

    try:
        train, train_labels = read("train")
        if "test" in used:
            test, test_labels = read("test")
        else:
            (train, test), (train_labels, test_labels) = (
                (None, None) if x is None else np.split(x, [-max(1, len(x) // 10)])
                for x in (train, train_labels)
            )
    except Exception as error:
        raise _unreadable(folder, error) from error
    return Dataset(name, train, test, train_labels, test_labels)


def _check_memory(name: str, count: int, shape: tuple[int, ...]) -> None:
    needed = count * int(np.prod(shape))
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not told on this system
        return
    if needed > available / 2:
        raise ValueError(
            f"{count} images of shape {shape} take {needed / 1e9:.1f} GB, more than half of this "
            f"machine's memory: give a smaller image_size for {name!r}"
        )


# Images --------------------------------------------------------------------------------------


def _decode(source: bytes | pathlib.Path, shape: tuple[int, ...], resize: bool) -> np.ndarray:
    """Decodes one image (its first frame) to uint8 `shape`.

    With `resize` the shorter side is scaled and the centre kept. What is transparent becomes
    white, 16-bit grey keeps its high byte, and a photograph is turned upright.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    image: Image.Image
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        if resize:
            image.draft(None, (2 * width, 2 * height))  # large JPEGs decode many times faster
        if isinstance(source, pathlib.Path):
            image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if image.mode.startswith("I"):
            image = Image.fromarray(np.uint8(np.clip(np.asarray(image) // 256, 0, 255)))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        if resize:
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(shape)


def _load_folder(name: str, size: int, log: Callable[[str], None]) -> Dataset:
    """Decodes every image under a folder that can be decoded; names the others."""
    from PIL import Image, UnidentifiedImageError

    root = pathlib.Path(name.removeprefix("folder:")).expanduser()
    if name == "folder:" or not root.is_dir():
        raise ValueError(f"{name!r} is not a folder; give folder:PATH with an existing folder")
    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not files:
        raise ValueError(f"no images under {root}; looked for {', '.join(IMAGE_SUFFIXES)}")
    _check_memory(name, len(files), (size, size, 3))

    pixels = np.empty((len(files), size, size, 3), np.uint8)

    def decode(row: int) -> str | None:
        """Returns what was wrong with the file, if anything."""
        try:
            pixels[row] = _decode(files[row], pixels.shape[1:], resize=True)
        except UnidentifiedImageError:
            return "not an image"
        except Exception as error:  # Pillow's decoders raise whatever a broken file provokes
            return _one_line(error)
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of odd metadata; but
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        faults: list[str | None] = []
        for start in _bar(range(0, len(files), 256), f"decoding {root.name}"):
            rows = range(start, min(start + 256, len(files)))  # an interrupt waits for these
            faults += pool.map(decode, rows)
    good = np.flatnonzero([fault is None for fault in faults])
    skipped = [
        f"{_one_line(path.relative_to(root))} ({fault})"
        for path, fault in zip(files, faults, strict=True)
        if fault is not None
    ]
    if skipped:
        more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        log(f"skipped {len(skipped)} of {len(files)} images: {', '.join(skipped[:10])}{more}")
    if len(good) < 2:
        raise ValueError(
            f"{len(good)} of the {len(files)} images under {root} can be decoded, and at least "
            "2 are needed, one of them to hold out"
        )
    if all((pixels[row] == pixels[row, ..., :1]).all() for row in good):
        pixels = pixels[..., :1]
    # Sorted files come class by class, so the held-out tenth is a random one.
    test, train = np.split(good[_permutation(0, 0, len(good))], [max(1, len(good) // 10)])
    log(f"{root}: {len(train)} images to train on, {len(test)} held out, {pixels.shape[1:]}")
    return Dataset(name, pixels[np.sort(train)], pixels[np.sort(test)])


def _bar(steps: range, label: str) -> Iterable[int]:
    """A progress bar, shown once the work has lasted for two seconds."""
    from tqdm import tqdm

    return tqdm(steps, label, leave=False, delay=2, disable=None)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
