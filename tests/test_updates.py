"""Five iterations change the weights as PyTorch's optimizers, networks and losses do.

A loss and its gradient can be right where training is not: RMSProp's ε in another place, rates that
are exchanged, statistics that are not the batch's. So what is compared is each parameter tensor's
update, in the norm and relative to PyTorch's, from the same weights, batches, latents and ε.

PyTorch's are in float64. Ours are in float32, of small networks and against committed numbers, and
in float64, of networks in use and where PyTorch is installed. In float32 a weight is rounded to
6e-8 of itself, which is 1e-4 of an update. And an optimizer divides a gradient by its own size: an
element whose gradient is small beside its rounding takes a step of full length to either side, and
in wide networks there are many. `python tests/data/make_torch_updates.py --table` shows that
PyTorch's own float32 is as far from its float64 as ours.
"""

import dataclasses
import functools
import importlib.util
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

from benchmarks import verify
from benchmarks.workloads import Workload

from jaxgan.commands.presets import preset
from jaxgan.commands.settings import make_model

FILE = pathlib.Path(__file__).parent / "data" / "torch_updates.npz"
LOSSES = ("bce", "minimax", "wgan", "wgan-gp")
AFTER = (1, verify.ITERATIONS)
# Seen: 6e-4 at most, but 2e-3 of a single bias whose five steps nearly cancel.
TOLERANCE = 3e-3
# In float64. Seen: 2.6e-8, which is 0.9, the decay of the average, rounded to float32; else 1e-9.
EXACT_TOLERANCE = 1e-7

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch, the extra `bench`, is missing"
)


def workload(loss, model, shape, **changes):
    """The paper's settings, but for sizes, and rates that differ."""
    config = preset(loss, "cifar10", model)
    changes = {"g_learning_rate": 2 * config.g_learning_rate, "n_critic": 2} | changes
    # Of a batch of 8 a mean is exact, and so is the cancelled gradient of a critic's last bias.
    config = dataclasses.replace(config, batch_size=8, **changes)
    return Workload(f"{config.loss} {model} {config.optimizer}", config, shape)


def small(loss, model, **changes):
    sizes = {"latent_dim": 3, "depth": 2, "width": 8 if model == "mlp" else 2}
    shape = (4, 4, 1) if model == "mlp" else (16, 16, 1)
    return workload(loss, model, shape, **sizes, **changes)


# A clipped critic's gradients are small enough for Adam's ε to count.
SMALL = [small(loss, model) for model in ("mlp", "dcgan") for loss in LOSSES]
SMALL += [
    small("wgan", "mlp", optimizer="adam"),
    small("bce", "mlp", optimizer="sgd", g_learning_rate=0.2, d_learning_rate=0.1),
]
SIZES = {"mlp": (8, 8, 1), "dcgan": (32, 32, 3)}
LARGE = [workload(loss, model, shape) for model, shape in SIZES.items() for loss in LOSSES]

each_small = pytest.mark.parametrize("case", SMALL, ids=lambda each: each.name)
each_large = pytest.mark.parametrize("case", LARGE, ids=lambda each: each.name)


def train(case, exact=False):
    """The inputs, and our updates of them after some iterations: {iterations: {tensor: update}}.

    In float64 if `exact`, with the optimizers of the papers and of `commands.settings` spelled out.
    """
    config, model = case.config, make_model(case.config, case.data_shape)
    if exact:
        tx = {
            "adam": lambda rate: optax.adam(rate, config.b1, config.b2, eps=1e-8),
            "rmsprop": lambda rate: optax.rmsprop(rate, config.b2, eps=1e-8, eps_in_sqrt=False),
        }[config.optimizer]
        rates = config.g_learning_rate, config.d_learning_rate
        model = verify.build(case, *map(tx, rates), dtype=jnp.float64)
    state, inputs = verify.draw_inputs(case, model, seed=0, iterations=verify.ITERATIONS)
    if exact:
        widen = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x  # noqa: E731
        state = jax.tree.map(widen, state)
    trained = verify.train(model, state, inputs.reals)
    return inputs, {after: verify.updates_of(trained[after - 1], inputs) for after in AFTER}


def largest_difference(updates, reference):
    found = [verify.differences(updates[n], reference[n]) for n in AFTER]
    return np.max([[*each.values()] for each in found])  # NaN if any is


@functools.cache
def committed():
    """{name: {iterations: {tensor: update}}}, and the noise of all of them."""
    updates, noise = {}, {}
    with np.load(FILE) as file:
        for key in file:
            name, after, tensor = key.split(":")
            if name == "noise":
                noise[tensor] = file[key]
            else:
                case = updates.setdefault(name, {n: {} for n in AFTER})
                case[int(after)][tensor] = np.float64(file[key])
    return updates, noise


@each_small
def test_updates_are_those_of_pytorch(case):
    inputs, updates = train(case)
    reference, noise = committed()
    for name, drawn in noise.items():
        same = np.allclose(getattr(inputs, name), drawn, atol=1e-5)  # compilers round
        assert same, f"jax draws other {name} than it did: run make_torch_updates.py again"
    assert largest_difference(updates, reference[case.name]) < TOLERANCE


@pytest.mark.parametrize(
    ("loss", "change"),
    [
        ("bce", {"b1": 0.999, "b2": 0.5}),
        ("wgan-gp", {"b1": 0.5}),
        ("wgan-gp", {"b2": 0.999}),
        ("wgan", {"b2": 0.9}),
        ("wgan", {"optimizer": "sgd"}),
        ("wgan", {"clip": 0.011}),
        ("wgan-gp", {"penalty": 11.0}),
        ("minimax", {"loss": "bce"}),
        ("minimax", {"g_learning_rate": 2.2e-4}),
        ("minimax", {"d_learning_rate": 2.2e-4}),
        ("minimax", {"ema_decay": 0.1}),
        ("minimax", {"decay_steps": 5}),
    ],
    ids=str,
)
@pytest.mark.slow
def test_another_setting_is_noticed(loss, change):
    case = small(loss, "mlp")
    reference = committed()[0][case.name]
    other = case._replace(config=dataclasses.replace(case.config, **change))
    assert largest_difference(train(other)[1], reference) > 3 * TOLERANCE


@needs_torch
@each_large
def test_updates_of_networks_in_use_are_exactly_those_of_pytorch(case):
    import torch
    from benchmarks import pytorch

    with jax.enable_x64(True):
        inputs, updates = train(case, exact=True)
    trained = pytorch.ask(case, inputs, torch.float64).trained
    reference = {n: verify.updates_of(trained[n - 1], inputs) for n in AFTER}
    assert largest_difference(updates, reference) < EXACT_TOLERANCE
