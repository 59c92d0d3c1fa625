"""Image sets that tensorflow-datasets has prepared, read without TensorFlow."""

import contextlib
import io
import math
import os
import pathlib
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jaxgan import places
from jaxgan.data import cache, decode, images, names, rows
from jaxgan.data.store import Store


def prepare(builder: Any) -> None:
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


def find(name: str, data_dir: Any, others: Sequence[str] = ()) -> Any:
    """Returns a TFDS builder of the newest prepared version, or says how to prepare one.

    Args:
      name: `NAME[/CONFIG][:VERSION]`.
      data_dir: an epath.Path, where prepared sets are.
      others: other names there are, for the message about an unknown one.

    Raises:
      ValueError: if there is no such set, or it is not prepared.
    """
    import tensorflow_datasets as tfds

    # tfds.data_source would do, but where nothing is prepared its error misleads.
    known = tfds.list_builders(with_community_datasets=False)
    match = re.fullmatch(r"(\w+)(/[\w.+-]+)?(:\d+\.\d+\.\d+)?", name)
    if match is None:
        raise names.unknown(name, others, known)
    set_name, config, version = (part or "" for part in match.groups())
    folder = data_dir / (set_name + config)
    if not folder.is_dir() and set_name not in known:
        raise names.unknown(name, others, known)
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    versions = [v for v in present if re.fullmatch(r"\d+\.\d+\.\d+", v)]
    wanted = [v for v in versions if version in ("", f":{v}")]
    if not wanted:
        raise ValueError(
            f"dataset {name!r} is not prepared in {folder}"
            + (f", which has {', '.join(present[:8])}" if present else "")
            + "; prepare it with: pip install tensorflow && "
            f"tfds build {name} --file_format=array_record --data_dir={shlex.quote(str(data_dir))}"
            + (
                f"; or, for the folder of this name, give folder:{name}"
                if os.path.isdir(name)
                else ""
            )
        )
    return open_set(folder / max(wanted, key=lambda v: [int(n) for n in v.split(".")]))


def open_set(folder: Any) -> Any:
    """Returns the TFDS builder of a prepared set's folder."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(_local_copy(folder))
    except Exception as error:
        raise _unreadable(folder, error) from error


def _local_copy(folder: Any) -> Any:
    """The folder or, of one in an object store, a copy in the user's cache.

    The files of a prepared set never change, so that one of the same size is the same.
    """
    place = str(folder)
    if "://" not in place:
        return folder
    copy = epath.Path(places.cache("data", place.partition("://")[2]))
    copy.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        target = copy / file.name
        if not target.exists() or target.stat().length != file.stat().length:
            # Another process may be copying too: what has its final name is whole.
            part = copy / f".{file.name}.{os.getpid()}"
            with file.open("rb") as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 2**24)
            part.replace(target)
    return copy


def _unreadable(folder: Any, error: Exception) -> ValueError:
    return ValueError(
        f"cannot read {folder}: {images.one_line(error)}; remove that folder and prepare it again"
    )


class Splits(NamedTuple):
    """Decoded images and labels, in the order of the fields of `jaxgan.data.Dataset`."""

    train: np.ndarray | rows.Rows
    test: np.ndarray | rows.Rows
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None


class Layout(NamedTuple):
    """What is read of a prepared set.

    Attributes:
      splits: their names, and how many images each has.
      picture: the name of the images' feature.
      shape: `(height, width, channels)` of each image when it is decoded.
      labelled: whether there are classes.
    """

    splits: dict[str, int]
    picture: str
    shape: tuple[int, int, int]
    labelled: bool


def read(
    name: str,
    builder: Any,
    size: tuple[int, int] | None,
    channels: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    log: Callable[[str], None] = print,
) -> Splits:
    """Decodes the train and test splits of a prepared TFDS image set.

    What would take more than `rows.MEMORY_BYTES`, or half of the memory, is kept on disk, see
    `jaxgan.data.cache`.

    Args:
      name: what messages call it.
      builder: from `find` or `open_set`.
      size: the height and width that each image is cut to; None keeps them as they are.
      channels: of each image; None for grey or colours, as they are.
      cache_dir: where decoded images are kept.
      log: called with a line about where they are kept.

    Raises:
      ValueError: if it is not a set of 8-bit images of one size, or its files are damaged.
    """
    layout = _lay_out(name, builder, size, channels)
    shape = (sum(layout.splits.values()), *layout.shape)

    def fill(store):
        _fill(store, name, builder, layout, resize=size is not None)
        return []

    if math.prod(shape) > min(rows.MEMORY_BYTES, images.memory() / 2):
        root = pathlib.Path(builder.data_path)
        way = {"shape": list(layout.shape), "resize": size is not None}
        source = cache.describe(sorted(root.iterdir()), root)
        about = {"source": source, "decode": way | {"version": decode.VERSION}}
        place = cache.folder_of(root, way, cache_dir, name)
        kept = cache.keep(place, about, shape, fill, log, name)
        log(f"{name}: {shape[0]:,} images, {layout.shape}, {kept.place}")
        store = kept.store
    else:
        store = Store(shape)
        fill(store)
    # Without a test split the last tenth of train is held out.
    first = layout.splits["train"] if "test" in layout.splits else shape[0] - max(1, shape[0] // 10)
    train, test = slice(first), slice(first, None)
    labels = store.records["label"].astype(np.int32)

    def pick(part: slice) -> np.ndarray | rows.Rows:
        if store.mapped is None:
            return store.pixels[part]
        chosen = np.arange(shape[0])[part]
        return rows.Rows(store.pixels, chosen, store.records["digest"], store.mapped)

    split = (labels[train], labels[test]) if layout.labelled else (None, None)
    return Splits(pick(train), pick(test), *split)


def _lay_out(name: str, builder: Any, size: tuple[int, int] | None, channels: int | None) -> Layout:
    """Finds what is to be read, or raises ValueError as `read` says."""
    import tensorflow_datasets as tfds

    features, splits, folder = builder.info.features, builder.info.splits, builder.data_path
    pictures = {k: f for k, f in features.items() if isinstance(f, tfds.features.Image)}
    key = "image" if "image" in pictures else next(iter(pictures), None)
    if key is None or len(pictures[key].shape) != 3 or pictures[key].np_dtype != np.uint8:
        raise ValueError(
            f"dataset {name!r} is not a set of 8-bit images; it has {images.one_line(features)}"
        )
    height, width, own = pictures[key].shape
    if size is not None:
        height, width = size
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
    used = {split: splits[split].num_examples for split in ("train", "test") if split in splits}
    labelled = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    return Layout(used, key, (height, width, channels or (1 if own == 1 else 3)), labelled)


def _fill(store: Store, name: str, builder: Any, layout: Layout, resize: bool) -> None:
    """Decodes the images that are not decoded yet, on all cores, a row for each."""
    import tensorflow_datasets as tfds

    def decode_one(record):
        pixels = images.decode(record[layout.picture], layout.shape, resize)
        return pixels, int(record["label"]) if layout.labelled else -1

    # Bytes decoded here take two thirds of the time that TFDS takes to decode them.
    pictures = [k for k, f in builder.info.features.items() if isinstance(f, tfds.features.Image)]
    decoders = {key: tfds.decode.SkipDecoding() for key in pictures}
    first = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, count in layout.splits.items():
            left = np.flatnonzero(store.records["kinds"][first : first + count] == 0).tolist()
            source = None
            for start in images.bar(range(0, len(left), 1000), f"decoding {name} {split}"):
                chosen = left[start : start + 1000]
                try:
                    source = source or builder.as_data_source(split, decoders=decoders)
                    decoded = list(pool.map(decode_one, source.__getitems__(chosen)))
                except Exception as error:
                    raise _unreadable(builder.data_path, error) from error
                for row, (pixels, label) in zip(chosen, decoded, strict=True):
                    store.put(first + row, pixels, decode.GOOD, label)
            first += count
