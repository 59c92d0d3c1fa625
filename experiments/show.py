"""Shows runs in a browser: `python experiments/show.py --workdir=runs/digits-wgan-0`."""

import script

from jaxgan.commands.show import main

if __name__ == "__main__":
    script.run(main)
