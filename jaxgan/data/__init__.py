"""Data sets as arrays, by name: see `load`."""

from jaxgan.data.dataset import (
    Dataset,
    batch_flips,
    batch_indices,
    fingerprint,
    mirror,
    to_float,
    to_uint8,
)
from jaxgan.data.images import height_and_width
from jaxgan.data.loading import FOLDER_IMAGE_SIZE, NAMES, load
from jaxgan.data.toys import TOYS

__all__ = [
    "FOLDER_IMAGE_SIZE",
    "NAMES",
    "TOYS",
    "Dataset",
    "batch_flips",
    "batch_indices",
    "fingerprint",
    "height_and_width",
    "load",
    "mirror",
    "to_float",
    "to_uint8",
]
