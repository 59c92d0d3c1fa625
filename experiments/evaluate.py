"""Scores a run: `python experiments/evaluate.py --workdir=runs/digits-wgan-0`."""

import script

from jaxgan.commands.evaluate import main

if __name__ == "__main__":
    script.run(main)
