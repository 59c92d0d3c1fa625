"""What a run's data were at its start: `data.json` in its folder, and what has changed since."""

import json
from typing import Any

from etils import epath

from jaxgan import config as configs
from jaxgan import data
from jaxgan.config import Config
from jaxgan.data import Dataset
from jaxgan.parallel import hosts


def describe(dataset: Dataset, fingerprint: str | None = None) -> dict[str, Any]:
    """What tells a data set from others; its fingerprint, where that is not known yet, is made."""
    labels = [x for x in (dataset.train_labels, dataset.test_labels) if x is not None and len(x)]
    return {
        "fingerprint": fingerprint or data.fingerprint(dataset),
        "shape": list(dataset.train.shape[1:]),
        "dtype": str(dataset.train.dtype),
        "train": len(dataset.train),
        "held_out": len(dataset.test),
        "num_classes": 1 + max(int(x.max()) for x in labels) if labels else None,
    }


def read(folder: epath.Path) -> dict[str, Any] | None:
    """The record of a run's data; None of a run that keeps none.

    A finished run of before there were records has the fingerprint in its summary.

    Raises:
      ValueError: if the record is damaged.
    """
    path = folder / "data.json"
    if not path.exists():
        try:
            known = configs.read_json(folder / "summary.json").get("data")
        except ValueError:  # there is none, or it is damaged and will be written again
            return None
        return {"fingerprint": known} if isinstance(known, str) else None
    try:
        record = configs.read_json(path)
        if not isinstance(record.get("fingerprint"), str):
            raise ValueError(f"{path} is damaged: it holds no fingerprint")
    except ValueError as error:
        raise ValueError(
            f"{error}. Restore it from a copy. If the data are surely those of the start, delete "
            "it, and it is written again."
        ) from error
    return record


def write(folder: epath.Path, record: dict[str, Any]) -> None:
    """Writes down what the data are."""
    configs.write_whole(folder / "data.json", json.dumps(record, indent=2) + "\n")


def complete(folder: epath.Path, record: dict[str, Any]) -> None:
    """Writes the record of a run that has none, and says where nothing could be compared."""
    if not (folder / "data.json").exists():
        if read(folder) is None:
            hosts.say(
                f"{folder} has no record of its data: they are taken to be those of its start, and "
                "recorded"
            )
        write(folder, record)


def is_moved(before: str, now: str) -> bool:
    """Whether two data sets may be the same folder of pictures in two places."""
    return before != now and before.startswith("folder:") and now.startswith("folder:")


def check(folder: epath.Path, record: dict[str, Any], config: Config) -> None:
    """Raises ValueError if the data are not those that the run in the folder began with."""
    if changed := difference(read(folder), record):
        before = configs.of_run(folder).dataset
        place = "" if before == config.dataset else f", {before}"
        raise ValueError(
            f"{config.dataset} is not what the run in {folder} began with{place} ({changed}). The "
            "order of the data and what is held out would change in the middle of the run. Put "
            "the data back as they were, or use another --workdir."
        )


def difference(then: dict[str, Any] | None, now: dict[str, Any]) -> str:
    """What has changed; nothing where the data are the same, or were never recorded."""
    if then is None or then["fingerprint"] == now["fingerprint"]:
        return ""
    if "train" not in then:
        return f"their fingerprint was {then['fingerprint']} and is {now['fingerprint']}"
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
            "not the same (files have changed, or another version of a library decodes them "
            "otherwise)"
        )
    return "; ".join(f"{names[key]}: {then.get(key)} then, {now[key]} now" for key in changed)
