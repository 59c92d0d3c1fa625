"""Another name of `jaxgan.distances`, which papers on GANs would call divergences."""

from jaxgan.distances import *  # noqa: F403
from jaxgan.distances import __all__ as __all__
