"""What programs are called: `jaxgan train` where that was typed, else `experiments/train.py`."""

import contextlib
import re
from collections.abc import Iterator

PROGRAMS = ("train", "sample", "export", "evaluate", "results", "compare", "show")

# A program in a message. What follows = or a quote, or is part of a path, is a value of the user's.
_SCRIPT = re.compile(
    rf"""(?<![\w./='"-])(?:python experiments/)?({"|".join(PROGRAMS)})\.py(?![\w/])"""
)
_by_package = False


@contextlib.contextmanager
def of_package() -> Iterator[None]:
    """Inside, programs are called as an installed package has them."""
    global _by_package
    before, _by_package = _by_package, True
    try:
        yield
    finally:
        _by_package = before


def as_typed(text: str) -> str:
    """The text with `jaxgan train` in place of `train.py`, if the user typed the former.

    An installed package has no scripts. `python experiments/train.py` is replaced as a whole.
    """
    return _SCRIPT.sub(r"jaxgan \1", text) if _by_package else text
