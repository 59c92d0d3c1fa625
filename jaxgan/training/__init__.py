"""Training: `fit`, the run that it returns, and what it writes into a run's folder."""

from jaxgan.training.fit import fit
from jaxgan.training.nonfinite import DivergedError
from jaxgan.training.run import Run, load

__all__ = ["DivergedError", "Run", "fit", "load"]
