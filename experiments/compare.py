"""Compares losses: `python experiments/compare.py --dataset=ring8`. Add --help for all flags."""

import script

from jaxgan.commands.compare import main

if __name__ == "__main__":
    script.run(main)
