"""What `fit` takes for data, as a data set that a model can train on."""

from typing import Any

import numpy as np

from jaxgan import data as data_sets
from jaxgan.checks import check_labels, check_range
from jaxgan.data import Dataset
from jaxgan.gan import GAN


def as_dataset(data: Any, model: GAN) -> Dataset:
    """What `fit` takes for data, as a data set that the model can train on.

    Raises:
      ValueError: if it is none, is empty, holds NaN, or its examples have another shape than the
        model's samples.
    """
    labels = None
    if isinstance(data, tuple) and not isinstance(data, Dataset) and len(data) == 2:
        data, labels = data
    if isinstance(data, str):
        data = data_sets.load(data, num_classes=model.game.num_classes)
    if not isinstance(data, Dataset):
        data_sets.to_float(data[:1] if hasattr(data, "dtype") else data)  # what it refuses is none
        array = np.asarray(data)
        data = Dataset("array", array, array[:0])
    data = with_labels(data, labels, model.game.num_classes)
    if not data.train.size:
        raise ValueError(
            f"data must hold at least one example, and each a number; got shape {data.train.shape}."
        )
    if data.train.dtype != np.uint8:
        data_sets.to_float(data.train)
        # As the model's own steps do, which see no values within the training program.
        check_range("data", data.train, model.game.generator)
        data = data._replace(train=np.asarray(data.train, np.float32))
    shape = data.train.shape[1:]
    if len(data.test):
        if data.test.dtype != np.uint8:
            data_sets.to_float(data.test)
        if data.test.shape[1:] != shape:
            raise ValueError(
                f"the held-out examples of {data.name} have shape {data.test.shape[1:]}, and those "
                f"to train on {shape}. Reshape one of them."
            )
    if shape != model.game.data_shape:
        raise ValueError(
            f"the model makes samples of shape {model.game.data_shape}, and the examples of "
            f"{data.name} have shape {shape}. Reshape one of them."
        )
    return data


def with_labels(data: Dataset, labels: Any, num_classes: int | None) -> Dataset:
    """The data with these labels, or with their own.

    Raises:
      ValueError: if a model with classes has no labels, they do not fit it or the data, or labels
        are given to a model without classes.
    """
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != data.train.shape[:1]:
            raise ValueError(
                f"labels must be one for each of the {len(data.train)} examples; got shape "
                f"{labels.shape}."
            )
        check_labels(labels, num_classes)
        data = data._replace(train_labels=labels.astype(np.int32), test_labels=None)
    if num_classes is None:
        return data
    if data.train_labels is None:
        raise ValueError(
            f"a model of num_classes={num_classes} trains on labels too, and {data.name} has none. "
            "Give data with labels, as fit(..., labels=...) does."
        )
    check_labels(data.train_labels, num_classes)
    if data.test_labels is not None:
        check_labels(data.test_labels, num_classes)
    found = set(np.unique(data.train_labels).tolist())
    if len(found) < num_classes:
        missing = next(k for k in range(num_classes) if k not in found)
        raise ValueError(
            f"class {missing} of num_classes={num_classes} has no example, and would be drawn as "
            "well as the others. Give fewer classes, or examples of each."
        )
    return data
