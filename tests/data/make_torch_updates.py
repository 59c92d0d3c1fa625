"""Makes torch_updates.npz, what PyTorch makes of the weights in `tests/test_updates.py`.

`python tests/data/make_torch_updates.py` writes it, in float64 rounded at the end to float32. With
`--table` it prints instead, for networks of the sizes in use, how far apart updates are: ours and
PyTorch's in float64; ours, and PyTorch's own, in float32 and PyTorch's in float64.
"""

import pathlib
import sys

import jax
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import test_updates
from benchmarks import pytorch, verify


def ask_pytorch(case, inputs, dtype):
    trained = pytorch.ask(case, inputs, dtype).trained
    return {n: verify.updates_of(trained[n - 1], inputs) for n in test_updates.AFTER}


def write():
    arrays = {}
    for case in test_updates.SMALL:
        inputs, _ = test_updates.train(case)
        for after, updates in ask_pytorch(case, inputs, torch.float64).items():
            arrays |= {f"{case.name}:{after}:{name}": x for name, x in updates.items()}
    noise = {name: getattr(inputs, name) for name in ("d_latents", "g_latents", "epsilon")}
    arrays |= {f"noise::{name}": x for name, x in noise.items()}  # the same of all
    np.savez_compressed(test_updates.FILE, **{name: np.float32(x) for name, x in arrays.items()})


def print_table():
    def largest(updates, exact, n):
        found = verify.differences(updates[n], exact[n])
        return f"{max(found.values()):.1e} (median {np.median([*found.values()]):.0e})"

    after = "".join(f" after {n} iterations |" for n in test_updates.AFTER)
    print(f"| loss, network, optimizer | compared |{after}", flush=True)
    for case in test_updates.LARGE:
        with jax.enable_x64(True):
            inputs, ours = test_updates.train(case, exact=True)
        rows = {"ours, float64": (ours, ask_pytorch(case, inputs, torch.float64))}
        inputs, ours = test_updates.train(case)
        exact, theirs = (ask_pytorch(case, inputs, t) for t in (torch.float64, torch.float32))
        rows |= {"ours, float32": (ours, exact), "PyTorch, float32": (theirs, exact)}
        for name, pair in rows.items():
            cells = (largest(*pair, n) for n in test_updates.AFTER)
            print(f"| {case.name} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    print_table() if "--table" in sys.argv else write()
