"""What importing the package needs."""

import subprocess
import sys

SHELL = [
    *("tensorflow_datasets", "array_record", "importlib_resources", "etils.epath", "tyro", "tqdm"),
    *("PIL", "matplotlib", "tensorboardX", "sklearn", "ot", "orbax", "grain"),
]


def test_importing_needs_only_jax_flax_optax_and_chex():
    # An entry of None in sys.modules makes its import fail as if it were not installed.
    code = f"""
import sys
import jax, flax.linen, optax, chex  # what these import for themselves is theirs
theirs = set(sys.modules)
for name in {SHELL}:
    if name not in theirs:
        sys.modules[name] = None
import jaxgan
from jaxgan import conv, divergences, gan, losses, metrics, networks, parallel
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_what_messages_recommend_is_there_after_importing_jaxgan():
    names = "data.to_float", "data.Dataset", "plots.save_samples", "trained.load", "config.Config"
    code = "import jaxgan; " + "; ".join(f"jaxgan.{name}" for name in names)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
