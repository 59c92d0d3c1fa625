"""Labels of a folder's images: its sub-folders are the classes."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.data import images


class Classes(NamedTuple):
    """The classes of a folder's files.

    Fields:
      names: of the sub-folders, sorted; class 0 is the first.
      of_files: the class of each file, int32 `[M]`.
    """

    names: list[str]
    of_files: np.ndarray


def find_classes(
    files: Sequence[pathlib.Path],
    root: pathlib.Path,
    name: str,
    num_classes: int | None,
    log: Callable[[str], None],
) -> Classes | None:
    """The class of each file, by the sub-folder of the root that it lies in or below.

    Without `num_classes` None, and a line where there are sub-folders.

    Raises:
      ValueError: if there are not so many sub-folders with images, or images lie beside them.
    """
    parts = [path.relative_to(root).parts for path in files]
    found = sorted({first for first, *rest in parts if rest})
    shown = images.enumerate_some([images.one_line(each) for each in found])
    if num_classes is None:
        if len(found) > 1:
            log(
                f"the {len(found)} sub-folders ({shown}) are read as one set, without labels: "
                f"num_classes={len(found)} takes them for classes"
            )
        return None
    if not found:
        raise ValueError(
            f"num_classes={num_classes} does not fit {name}, which has no sub-folders of images: "
            "put the images of each class into a folder of its own"
        )
    beside = [images.one_line(first) for first, *rest in parts if not rest]
    if beside:
        raise ValueError(
            f"{len(beside)} of the {len(files)} images of {name} lie beside its sub-folders and so "
            f"have no class: {images.enumerate_some(beside, 3)}. Move each into that of its class"
        )
    if len(found) != num_classes:
        below = f". Or give folder:{root / found[0]}" if len(found) == 1 else ""
        raise ValueError(
            f"num_classes={num_classes} does not fit {name}, which has "
            f"{len(found)} {'sub-folder' if len(found) == 1 else 'sub-folders'} of images, each a "
            f"class: {shown}{below}"
        )
    numbers = {each: number for number, each in enumerate(found)}
    of_files = np.array([numbers[first] for first, *_ in parts], np.int32)
    return Classes([images.one_line(each) for each in found], of_files)


def label(classes: Classes, rows: np.ndarray, name: str, log: Callable[[str], None]) -> np.ndarray:
    """The labels of the files that were decoded, and a line that says what they are.

    Raises:
      ValueError: if no image of a class was decoded.
    """
    labels = classes.of_files[rows]
    counts = np.bincount(labels, minlength=len(classes.names))
    if not counts.all():
        number = int(counts.argmin())
        raise ValueError(
            f"no image in the sub-folder {classes.names[number]} of {name} can be decoded, and so "
            f"class {number} would have no example: put one there, or remove the folder"
        )
    named = zip(classes.names, counts.tolist(), strict=True)
    each = [
        f'{number} = "{of}" ({count} image{"s" if count > 1 else ""})'
        for number, (of, count) in enumerate(named)
    ]
    log(f"labels are the sub-folders, {len(each)} classes: {images.enumerate_some(each)}")
    single = [of for of, count in zip(classes.names, counts, strict=True) if count == 1]
    if single:
        log(
            f"classes with one image, which is trained on and never held out: {len(single)} of "
            f"{len(each)}: {images.enumerate_some(single)}"
        )
    return labels


def keep_each_class(
    labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Puts an example of each class among those to train on, where all of it was held out.

    Where none is held out then, it is one of the class of most examples.

    Raises:
      ValueError: if each class has one example.
    """
    lost = np.setdiff1d(labels[test], labels[train])
    moved = np.array([test[labels[test] == each][0] for each in lost], test.dtype)
    train, test = np.sort(np.concatenate([train, moved])), test[~np.isin(test, moved)]
    if len(test):
        return train, test
    counts = np.bincount(labels)
    if counts.max() < 2:
        raise ValueError(
            "each class has one image, and so none can be held out: give one class two, or train "
            "without num_classes"
        )
    spare = train[labels[train] == counts.argmax()][-1:]
    return train[train != spare], spare
