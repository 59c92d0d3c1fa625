"""Image sets that tensorflow-datasets has prepared, read without TensorFlow."""

import contextlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jaxgan.data import images, names


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
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    copy = epath.Path(home).expanduser() / "jaxgan" / "data" / place.partition("://")[2]
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

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None


def read(
    name: str, builder: Any, size: tuple[int, int] | None, channels: int | None = None
) -> Splits:
    """Decodes the train and test splits of a prepared TFDS image set.

    Args:
      name: what messages call it.
      builder: from `find` or `open_set`.
      size: the height and width that each image is cut to; None keeps them as they are.
      channels: of each image; None for grey or colours, as they are.

    Raises:
      ValueError: if it is not a set of 8-bit images of one size, or its files are damaged.
    """
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
    shape = (height, width, channels or (1 if own == 1 else 3))
    used = [split for split in ("train", "test") if split in splits]
    images.check_memory(name, sum(splits[split].num_examples for split in used), shape)
    labelled = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    # Bytes decoded here take two thirds of the time that TFDS takes to decode them.
    decoders = {k: tfds.decode.SkipDecoding() for k in pictures}

    def read_split(split):
        source = builder.as_data_source(split, decoders=decoders)
        pixels = np.empty((len(source), *shape), np.uint8)
        labels = np.empty(len(source), np.int32)
        starts = range(0, len(source), 1000)
        for start in images.bar(starts, f"decoding {name} {split}"):
            rows = range(start, min(start + 1000, len(source)))
            for row, record in zip(rows, source.__getitems__(list(rows)), strict=True):
                pixels[row] = images.decode(record[key], shape, resize=size is not None)
                labels[row] = record["label"] if labelled else 0
        return pixels, labels if labelled else None

    try:
        train, train_labels = read_split("train")
        if "test" in used:
            test, test_labels = read_split("test")
        else:
            (train, test), (train_labels, test_labels) = (
                (None, None) if x is None else np.split(x, [-max(1, len(x) // 10)])
                for x in (train, train_labels)
            )
    except Exception as error:
        raise _unreadable(folder, error) from error
    return Splits(train, test, train_labels, test_labels)
