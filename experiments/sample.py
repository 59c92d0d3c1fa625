"""Draws from a run: `python experiments/sample.py --workdir=runs/digits-wgan-0`."""

import script

from jaxgan.commands.sample import main

if __name__ == "__main__":
    script.run(main)
