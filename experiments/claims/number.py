"""A measured number beside its closed form."""

from typing import Literal, NamedTuple

# A critic or a generator was trained by the library's steps; samples were drawn, and nothing was
# trained; or both sides are computed, on a grid or by hand.
Kind = Literal["trained", "sampled", "algebra"]


class Number(NamedTuple):
    """One entry of `theory.json`.

    Attributes:
      what: the quantity, in a line.
      source: paper and equation.
      closed_form: what the theory says; of an observation, what would be ideal.
      measured: what the library's code gives.
      tolerance: how far apart they may be; None for an observation, of which nothing is claimed: it
        shows how far a method stays from the ideal, and nothing is tested by it. Of what is trained
        or sampled it is some four standard deviations over seeds, and a bias that is derived.
      kind: how it was measured.
      ceiling: whether the closed form is a least upper bound, which nothing may exceed; the
        tolerance is then how far below it the number may be.
    """

    what: str
    source: str
    closed_form: float
    measured: float
    tolerance: float | None
    kind: Kind
    ceiling: bool = False

    @property
    def error(self) -> float:
        """Measured minus closed form; 0 where both are infinite."""
        if self.measured == self.closed_form:
            return 0.0
        return self.measured - self.closed_form

    @property
    def claimed(self) -> bool:
        """Whether the theory says what the number is."""
        return self.tolerance is not None

    @property
    def holds(self) -> bool:
        """Whether a claimed number's error is within its tolerance. NaN never is.

        Raises:
          ValueError: if it is an observation, which can neither hold nor fail.
        """
        if self.tolerance is None:
            raise ValueError(f"nothing is claimed of: {self.what}")
        return -self.tolerance <= self.error <= (0 if self.ceiling else self.tolerance)


Numbers = dict[str, Number]
