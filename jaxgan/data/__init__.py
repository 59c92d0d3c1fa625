"""Data sets as arrays in memory, by name: see `load`."""

from jaxgan.data.dataset import Dataset, batch_indices, fingerprint, to_float, to_uint8
from jaxgan.data.loading import FOLDER_IMAGE_SIZE, NAMES, load
from jaxgan.data.toys import TOYS

__all__ = [
    "FOLDER_IMAGE_SIZE",
    "NAMES",
    "TOYS",
    "Dataset",
    "batch_indices",
    "fingerprint",
    "load",
    "to_float",
    "to_uint8",
]
