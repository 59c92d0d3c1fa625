"""A measured number beside its closed form."""

import math
from typing import NamedTuple


class Number(NamedTuple):
    """One entry of `theory.json`.

    Attributes:
      what: the quantity, in a line.
      source: paper and equation.
      closed_form: what the theory says.
      measured: what the library's code gives.
      tolerance: how far apart they may be; None where the theory only says what would be ideal,
        and the number is there to show how far a method stays from it.
    """

    what: str
    source: str
    closed_form: float
    measured: float
    tolerance: float | None

    @property
    def error(self) -> float:
        """Measured minus closed form; 0 where both are infinite."""
        if self.measured == self.closed_form:
            return 0.0
        return self.measured - self.closed_form

    @property
    def holds(self) -> bool:
        """Whether the error is within the tolerance. NaN never is."""
        if self.tolerance is None:
            return math.isfinite(self.measured)
        return abs(self.error) <= self.tolerance


Numbers = dict[str, Number]
