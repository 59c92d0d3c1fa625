"""One pure step on one device or many, and the processes of a run."""

from jaxgan.parallel.devices import (
    AXIS,
    MODES,
    all_devices,
    check_divides,
    many_steps,
    most_that_divide,
    own_copy,
    own_rows,
    replicate,
    sharding,
    wrap,
    wrap_seeds,
)

__all__ = [
    "AXIS",
    "MODES",
    "all_devices",
    "check_divides",
    "many_steps",
    "most_that_divide",
    "own_copy",
    "own_rows",
    "replicate",
    "sharding",
    "wrap",
    "wrap_seeds",
]
