"""Trains healthy runs and runs made to fail on the digits: does jaxgan say which is which?

`python experiments/failures.py` trains ten seeds of each, in a quarter of an hour of one CPU core,
and prints a table: what was done to the runs, and what they were said to be. The thresholds of
`jaxgan.training.findings` are from seeds 100 to 109, and are not for these to set.
"""

import dataclasses
import json
import pathlib
from collections import Counter

import script
import jax
import numpy as np

from jaxgan import data, fit, metrics
from jaxgan.commands import endings, settings
from jaxgan.commands.command_line import parse
from jaxgan.commands.flags import read
from jaxgan.training import findings

FINE = "nothing wrong"
HEALTHY = ("bce", "minimax", "wgan", "wgan-gp", "lsgan", "r3gan")
# What is done to a run: the flags that do it, and what the run is to be called.
FAILING = {
    "discriminator too strong": (
        "--loss=minimax --n-critic=5 --g-learning-rate=1e-5",
        "discriminator wins",
    ),
    "collapse": (
        "--loss=bce --n-critic=1 --g-learning-rate=3e-3 --d-learning-rate=3e-5",
        "collapse",
    ),
    "clip too small": ("--loss=wgan --clip=0.002", "clip too small"),
    "clip too large": ("--loss=wgan --clip=1", "clip too large"),
    "100 images": ("--loss=bce", "memorises"),
    "rates too high": (
        "--loss=wgan-gp --g-learning-rate=2e-2 --d-learning-rate=2e-2",
        "rates too high",
    ),
    "latents too few": ("--loss=wgan-gp --latent-dim=1", "few directions"),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train healthy and failing runs, and say what jaxgan makes of them."""

    seed: int = 0
    """The first seed."""
    num_seeds: int = 10
    """Seeds of each kind of run."""
    out: str = "failures.json"
    """Where the runs' probes are kept; those that are there are not trained again."""


def runs() -> dict[str, str]:
    """All groups of runs and their flags."""
    healthy = {f"healthy {loss}": f"--loss={loss}" for loss in HEALTHY}
    return healthy | {name: flags for name, (flags, _) in FAILING.items()}


def train(name: str, flags: str, seed: int, num_seeds: int) -> dict:
    """Trains a group of runs, and returns their probes and how good their samples are."""
    config, _ = parse([*flags.split(), f"--seed={seed}", f"--num-seeds={num_seeds}"])
    digits = data.load("digits")
    if name == "100 images":
        digits = digits._replace(train=np.asarray(digits.train)[:100])
    model = settings.make_model(config, digits.train.shape[1:])
    plan = settings.fit_arguments(config) | {"workdir": None, "settings": None}
    run = fit(model, digits, **plan)
    if not run.finished:  # a part of a run would be counted as a whole one
        raise KeyboardInterrupt
    real = np.asarray(data.to_float(np.asarray(digits.test)))
    w1 = [
        float(metrics.earth_movers_distance(run.sample(jax.random.key(0), 360, i), real))
        for i in range(num_seeds)
    ]
    return {"name": name, "flags": flags, "rows": run.health, "w1": w1}


def said_of(group: dict) -> Counter:
    """How many runs of a group were said to be what."""
    seeds = range(len(group["w1"]))
    found = (findings.find(findings.of_seed(group["rows"], index)) for index in seeds)
    return Counter(each.name if each else FINE for each in found)


def tabulate(groups: list[dict]) -> list[str]:
    """A row for each group: how its runs ended, and how many were said to be what."""
    said = {group["name"]: said_of(group) for group in groups}
    rights = dict.fromkeys(right for _, right in FAILING.values())
    others = set().union(*said.values()) - rights.keys() - {FINE}
    names = [*rights, *sorted(others), FINE]
    lines = [f"| runs | W1 | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for group in groups:
        w1 = np.sort(group["w1"])
        cells = [str(said[group["name"]][name] or "") for name in names]
        lines.append(f"| {group['name']} | {w1[0]:.2f} to {w1[-1]:.2f} | {' | '.join(cells)} |")
    well = [counts for name, counts in said.items() if name not in FAILING]
    false = sum(counts.total() - counts[FINE] for counts in well)
    failed = {name: counts for name, counts in said.items() if name in FAILING}
    right = sum(counts[FAILING[name][1]] for name, counts in failed.items())
    healthy = sum(counts.total() for counts in well)
    failing = sum(counts.total() for counts in failed.values())
    return [
        *lines,
        "",
        f"false alarms: {false} of {healthy} healthy runs; named rightly: {right} of {failing} "
        "failing ones",
    ]


@endings.ends_in_a_line("failures.py", "lower --num-seeds")
def main(arguments: list[str]) -> int:
    """Runs the command line."""
    options = read(Arguments, arguments, "failures.py")
    out = pathlib.Path(options.out)
    done = json.loads(out.read_text()) if out.exists() else []
    for name, flags in runs().items():
        if name not in {each["name"] for each in done}:
            done.append(train(name, flags, options.seed, options.num_seeds))
            out.write_text(json.dumps(done))
    print("\n".join(tabulate(done)))
    return 0


if __name__ == "__main__":
    script.run(main)
