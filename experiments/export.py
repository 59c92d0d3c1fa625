"""Exports a run: `python experiments/export.py --workdir=runs/digits-wgan-0`."""

import script

from jaxgan.commands.export import main

if __name__ == "__main__":
    script.run(main)
