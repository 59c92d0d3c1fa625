"""Makes tests/data/run, which every later version must load: `python tests/data/make_run.py`.

Run it only for a new format, and keep the old folder beside the new one.
"""

import contextlib
import json
import pathlib
import shutil

import jax

import jaxgan
from jaxgan.commands import train

FOLDER = pathlib.Path(__file__).parent / "run"
FLAGS = ["--loss=wgan-gp", "--dataset=ring8", "--width=4", "--depth=1", "--batch-size=8"]
FLAGS += ["--steps=2", "--log-every=1", "--sample-every=0", "--checkpoint-every=0", "--num-seeds=2"]

if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    with contextlib.chdir(FOLDER.parent):  # the settings hold no path of this machine
        assert train.main([*FLAGS, "--parallel=jit", "--workdir=run"]) == 0
    shutil.rmtree(FOLDER / "samples")
    for path in (*FOLDER.glob("events.*"), *FOLDER.glob("*.png"), FOLDER / ".lock"):
        path.unlink()
    for path in FOLDER.rglob("commit_success.txt"):  # nor does what orbax says
        path.write_text("Checkpoint commit was successful\n")
    samples = jaxgan.load(FOLDER).sample(jax.random.key(0), 4, seed_index=1)
    (FOLDER / "samples.json").write_text(json.dumps(samples.tolist()) + "\n")
