"""What a run's data were at its start: `data.json` in its folder, and what has changed since."""

from typing import Any

from etils import epath

from jaxgan import data
from jaxgan.data import Dataset
from jaxgan.data.dataset import count_classes
from jaxgan.training import json_files


def describe(dataset: Dataset, fingerprint: str | None = None) -> dict[str, Any]:
    """What tells a data set from others; its fingerprint, where that is not known yet, is made."""
    record = {
        "name": dataset.name,
        "fingerprint": fingerprint or data.fingerprint(dataset),
        "shape": list(dataset.train.shape[1:]),
        "dtype": str(dataset.train.dtype),
        "train": len(dataset.train),
        "held_out": len(dataset.test),
        "num_classes": count_classes(dataset.train_labels, dataset.test_labels),
    }
    names = dataset.class_names
    return record if names is None else record | {"class_names": list(names)}


def read(folder: epath.Path) -> dict[str, Any]:
    """The record of a run's data.

    Raises:
      ValueError: if there is none, or it is damaged.
    """
    path = folder / "data.json"
    try:
        record = json_files.read(path)
        if not isinstance(record.get("fingerprint"), str):
            raise ValueError(f"{path} is damaged: it holds no fingerprint")
        shape = record.get("shape")
        if not (isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)):
            raise ValueError(f"{path} is damaged: it holds no shape of an example")
    except ValueError as error:
        raise ValueError(f"{error}. Restore it from a copy of the run.") from error
    return record


def class_names(folder: epath.Path) -> tuple[str, ...] | None:
    """What the classes of a run are called; None where they are numbers, or nothing says so."""
    try:
        record = read(folder)
    except ValueError:  # samples can be drawn without it
        return None
    names = record.get("class_names")
    if not (isinstance(names, list) and len(names) == record.get("num_classes")):
        return None
    return tuple(map(str, names))


def write(folder: epath.Path, record: dict[str, Any]) -> None:
    """Writes down what the data are."""
    json_files.write(folder / "data.json", record)


def check(folder: epath.Path, now: dict[str, Any]) -> None:
    """Raises ValueError if the data are not those that the run in the folder began with."""
    then = read(folder)
    if changed := difference(then, now):
        place = "" if then.get("name") == now["name"] else f", {then.get('name')}"
        raise ValueError(
            f"{now['name']} is not what the run in {folder} began with{place} ({changed}). The "
            "order of the data and what is held out would change in the middle of the run. Put "
            "the data back as they were, or use another folder."
        )


def difference(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What has changed, in words; nothing where the data are the same."""
    if then["fingerprint"] == now["fingerprint"]:
        return ""
    names = {
        "train": "examples to train on",
        "held_out": "held out",
        "shape": "the shape of each",
        "dtype": "their type",
        "num_classes": "classes",
    }
    changed = [key for key in names if then.get(key) != now[key]]
    if not changed:
        return (
            f"there are as many, {now['train']} to train on and {now['held_out']} held out, but "
            "not the same (values or files have changed, or another version of a library decodes "
            "them otherwise)"
        )
    return "; ".join(f"{names[key]}: {then.get(key)} then, {now[key]} now" for key in changed)
