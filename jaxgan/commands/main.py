"""The command `jaxgan train|sample|evaluate|...`, which an installed package has."""

import importlib
import sys

import jaxgan
from jaxgan.commands import endings
from jaxgan.commands.names import PROGRAMS, of_package


def main() -> None:
    """Runs the program that the first word names, on the other words."""
    name, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in PROGRAMS:
        with of_package():
            # Only this one: each imports what it alone needs, as onnx.
            endings.run(importlib.import_module(f"jaxgan.commands.{name}").main, arguments)
    elif name in ("-h", "--help"):
        print(f"jaxgan {'|'.join(PROGRAMS)} ... Add --help for the flags of each.")
    elif name == "--version":
        print(f"jaxgan {jaxgan.__version__}")
    else:
        endings.report("jaxgan", f"no program {name!r}: one of {', '.join(PROGRAMS)}.")
        sys.exit(endings.BAD_INPUT)
