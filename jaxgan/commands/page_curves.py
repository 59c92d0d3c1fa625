"""Curves of logged rows, as the page draws them: no more points than a panel has pixels for."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

MOST_POINTS = 500  # of a curve, about what a panel has pixels for


def make_curves(rows: Sequence[dict]) -> dict[str, dict[str, Any]]:
    """The curves of logged rows: of each quantity steps, values, and the ends of a band.

    Of several seeds the value is their mean, and the band a standard error of it each way. Beyond
    500 rows a point is the mean of `rows_each` of them, and of one seed the band is their range.
    """
    names = dict.fromkeys(
        name
        for row in rows
        for name in row
        if name not in ("step", "seconds") and not name.endswith(("_stderr", "_seeds"))
    )
    curves = {}
    for name in names:
        points = [(row["step"], *_point(row, name)) for row in rows if name in row]
        if any(math.isfinite(value) for _, value, _ in points):
            curves[name] = _thin(np.array(points, float))
    return curves


def _point(row: dict, name: str) -> tuple[float, float]:
    """A value and its standard error over seeds, which is 0 of one."""
    value = row[name]
    if isinstance(value, list):  # a probe of each seed
        seen = [v for v in value if v is not None]
        several = len(seen) > 1
        error = float(np.std(seen, ddof=1)) / len(seen) ** 0.5 if several else 0.0
        return (float(np.mean(seen)) if seen else math.nan), error
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan, 0.0
    return value, row.get(f"{name}_stderr") or 0.0


def _thin(points: np.ndarray) -> dict[str, Any]:
    """A curve of rows [step, value, error]."""
    size = -(-len(points) // MOST_POINTS)
    blocks = [points[i : i + size] for i in range(0, len(points), size)]
    steps = [int(block[-1, 0]) for block in blocks]
    values = [_over(np.mean, block[:, 1]) for block in blocks]
    low = high = None
    if points[:, 2].any():
        errors = [_over(np.mean, block[:, 2]) for block in blocks]
        low, high = (
            [
                None if value is None or error is None else value + sign * error
                for value, error in zip(values, errors, strict=True)
            ]
            for sign in (-1, 1)
        )
    elif size > 1:
        low, high = ([_over(f, block[:, 1]) for block in blocks] for f in (np.min, np.max))
    columns = {"values": values, "low": low, "high": high}
    return {"steps": steps, "rows_each": size} | {k: _short(v) for k, v in columns.items()}


def _over(f, values: np.ndarray) -> float | None:
    """A function of the finite ones."""
    finite = values[np.isfinite(values)]
    return float(f(finite)) if len(finite) else None


def _short(values: Iterable[float | None] | None) -> list[float | None] | None:
    """With six digits, which is more than a screen shows."""
    if values is None:
        return None
    return [None if v is None else float(f"{v:.6g}") for v in values]
