"""Compares our Inception and its scores with torch-fidelity's and prdc's, on random weights.

`python experiments/inception.py` prints three tables: how far each block is from torch-fidelity's,
how far the scores are from theirs and prdc's on the same features, and how many images a second go
through each network. It needs `pip install torch torch-fidelity prdc`.
"""

import dataclasses
import importlib.util
import statistics
import time

import script
import jax
import numpy as np

from jaxgan import metrics
from jaxgan.commands import endings
from jaxgan.commands.flags import read
from jaxgan.metrics import inception

NEEDED = ("torch", "torch_fidelity", "prdc")
SIDES = (32, 64, 299)
ROUNDS, BATCH = 5, 50


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare Inception with torch-fidelity's and prdc's, on random weights. No flags."""


def random_weights() -> dict[str, np.ndarray]:
    """Weights by the names of torch-fidelity's file, which keep activations of order 1."""
    random, arrays = np.random.RandomState(0), {}
    for name, shape in inception.shapes().items():
        if name == "fc":
            arrays["fc.weight"] = random.normal(size=shape[::-1]) / np.sqrt(shape[0])
            arrays["fc.bias"] = random.normal(size=shape[1])
            continue
        deviation = np.sqrt(2 / np.prod(shape[:3]))
        kernel = random.normal(size=(shape[3], shape[2], *shape[:2]))
        arrays[f"{name}.conv.weight"] = kernel * deviation
        for of in ("weight", "running_var"):
            arrays[f"{name}.bn.{of}"] = random.uniform(0.5, 1.5, shape[3])
        for of in ("bias", "running_mean"):
            arrays[f"{name}.bn.{of}"] = random.normal(size=shape[3]) / 10
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def load_theirs(weights: dict[str, np.ndarray]):
    """torch-fidelity's extractor with the same weights."""
    import tempfile

    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({name: torch.tensor(array) for name, array in weights.items()}, file.name)
        return FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=file.name
        )


def images(n: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
    """Random images, grey ones with three equal channels."""
    x = np.random.RandomState(seed).randint(0, 256, (n, side, side, channels)).astype(np.uint8)
    return np.repeat(x, 3 // channels, axis=-1)


def compare_blocks(params, theirs) -> list[str]:
    """The largest difference of each block over its largest activation, worst of all images."""
    import torch

    seen: dict = {}
    for name, part in theirs.named_children():
        name = {"MaxPool_1": "pool_1", "MaxPool_2": "pool_2"}.get(name, name)
        part.register_forward_hook(lambda _, x, y, name=name: seen.__setitem__(name, y.numpy()))
    columns: dict[str, list[float]] = {}
    for side in SIDES:
        for channels in (1, 3):
            x = images(2, side, channels)
            outputs = theirs(torch.tensor(x.transpose(0, 3, 1, 2)))
            pairs = {n: (o, seen[n].transpose(0, 2, 3, 1)) for n, o in layers(params, x).items()}
            ours = inception.apply(params, jax.numpy.asarray(x))
            pairs |= {
                n: (o, t.numpy()) for n, o, t in zip(ours._fields, ours, outputs, strict=True)
            }
            for name, (one, other) in pairs.items():
                error = np.abs(np.asarray(one) - other).max() / np.abs(other).max()
                columns.setdefault(name, []).append(error)
    heads = [f"{side} px, {kind}" for side in SIDES for kind in ("grey", "colour")]
    lines = [f"| block | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, errors in columns.items():
        lines.append(f"| `{name}` | {' | '.join(f'{error:.1e}' for error in errors)} |")
    return lines


layers = jax.jit(inception.layers)


def compare_scores(params, theirs) -> list[str]:
    """Scores of the features of two sets of images, theirs and ours."""
    import torch
    from prdc import compute_prdc
    from torch_fidelity import metric_fid, metric_kid

    network = inception.Inception(params, "")
    # Other images, some darker: so near that none of the scores is 0 or 1.
    light = np.linspace(0.8, 1, 240)[:, None, None, None]
    darker = (images(240, 32, 3, seed=1) * light).astype(np.uint8)
    x, y = (network(a).features[:, :128] for a in (images(240, 32, 3), darker))
    x, y = x.astype(np.float64), y.astype(np.float64)
    fid = metric_fid.fid_statistics_to_metric(
        *(metric_fid.fid_features_to_statistics(torch.tensor(a)) for a in (x, y)), False
    )["frechet_inception_distance"]
    how = {"kid_subsets": 1, "kid_subset_size": 120, "verbose": False}
    kid = np.mean(
        [
            metric_kid.kid_features_to_metric(torch.tensor(x[i::2]), torch.tensor(y[i::2]), **how)[
                "kernel_inception_distance_mean"
            ]
            for i in range(2)
        ]
    )
    found = metrics.precision_recall_density_coverage(x, y, 5)._asdict()
    rows = {
        "FID": (metrics.frechet_of_moments(metrics.moments([x]), metrics.moments([y])), fid),
        "KID": (metrics.kernel_distance(x, y, 2).value, kid),
        **{name: (found[name], value) for name, value in compute_prdc(x, y, 5).items()},
    }
    lines = ["| score | ours | theirs | relative difference |", "|---|---|---|---|"]
    for name, (ours, other) in rows.items():
        error = abs(ours - other) / abs(other) if other else abs(ours)
        lines.append(f"| {name} | {ours:.6g} | {other:.6g} | {error:.1e} |")
    return lines


def compare_speed(params, theirs) -> list[str]:
    """Images a second through both networks, one after the other in each round."""
    import torch

    network = inception.Inception(params, "")
    x = images(BATCH, 32, 3)
    there = torch.tensor(x.transpose(0, 3, 1, 2))
    both = {"ours": lambda: network(x), "torch-fidelity": lambda: theirs(there)}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for run in both.values():
        run()
    for _ in range(ROUNDS):
        for name, run in both.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    lines = ["| network | images a second |", "|---|---|"]
    for name, times in seconds.items():
        lines.append(f"| {name} | {BATCH / statistics.median(times):.1f} |")
    rounds = zip(*seconds.values(), strict=True)
    ratio = statistics.median(other / ours for ours, other in rounds)
    return [*lines, f"\nours over torch-fidelity's: {ratio:.2f}, the median of {ROUNDS} rounds"]


@endings.ends_in_a_line("inception.py", "it needs 2 GB")
def main(arguments: list[str]) -> int:
    """Prints the tables."""
    read(Arguments, arguments, "inception.py")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"it needs {', '.join(missing)}: pip install torch torch-fidelity prdc")
    import torch

    weights = random_weights()
    params, theirs = inception.from_state_dict(weights), load_theirs(weights)
    with torch.no_grad():
        for compare in (compare_blocks, compare_scores, compare_speed):
            print("\n".join([*compare(params, theirs), ""]), flush=True)
    return 0


if __name__ == "__main__":
    script.run(main)
