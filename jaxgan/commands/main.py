"""The command `jaxgan train|sample|evaluate|...`, which an installed package has."""

import sys

from jaxgan.commands import compare, endings, evaluate, results, sample, show, train

PROGRAMS = {
    "train": train.main,
    "sample": sample.main,
    "evaluate": evaluate.main,
    "results": results.main,
    "compare": compare.main,
    "show": show.main,
}


def main() -> None:
    """Runs the program that the first word names, on the other words."""
    name, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in PROGRAMS:
        endings.run(PROGRAMS[name], arguments)
    elif name in ("-h", "--help"):
        print(f"jaxgan {'|'.join(PROGRAMS)} ... Add --help for the flags of each.")
    else:
        endings.report("jaxgan", f"no program {name!r}: one of {', '.join(PROGRAMS)}.")
        sys.exit(endings.BAD_INPUT)
