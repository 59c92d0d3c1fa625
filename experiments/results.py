"""Tabulates scored runs: `python experiments/results.py runs/*`."""

import script

from jaxgan.commands.results import main

if __name__ == "__main__":
    script.run(main)
