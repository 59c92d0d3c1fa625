"""Which data sets are kept on the devices, and that it changes no number."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan.data import device
from jaxgan.data.device import SHARED_BYTES, device_bytes
from jaxgan.training import program

GIB = 2**30


class Fake:
    """A device of so much memory; None for one that does not say."""

    def __init__(self, limit, process_index=0):
        self.process_index = process_index
        self._limit = limit

    def memory_stats(self):
        if self.process_index != jax.process_index():
            raise RuntimeError("the memory of another process's device cannot be asked for")
        return None if self._limit is None else {"bytes_in_use": 5, "bytes_limit": self._limit}


@pytest.fixture
def large_host(monkeypatch):
    monkeypatch.setattr(device, "memory", lambda: 1024 * GIB)


def test_a_quarter_of_an_accelerators_memory_is_for_data(large_host):
    assert device_bytes([Fake(60 * GIB)]) == 15 * GIB


def test_each_device_holds_the_whole_set_so_the_smallest_decides(large_host):
    assert device_bytes([Fake(60 * GIB), Fake(8 * GIB), Fake(60 * GIB)]) == 2 * GIB


def test_a_quarter_of_the_hosts_memory_is_the_most(monkeypatch):
    monkeypatch.setattr(device, "memory", lambda: 16 * GIB)
    assert device_bytes([Fake(60 * GIB)]) == 4 * GIB


def test_devices_that_do_not_say_their_memory_hold_a_gibibyte():
    assert device_bytes(jax.devices("cpu")) == device_bytes([Fake(None)]) == SHARED_BYTES == GIB


def test_another_processs_devices_are_not_asked(large_host):
    assert device_bytes([Fake(60 * GIB), Fake(8 * GIB, process_index=1)]) == 15 * GIB


class Generator(nn.Module):
    latent_dim: int = 2

    @nn.compact
    def __call__(self, z):
        return nn.Dense(2)(nn.tanh(nn.Dense(8)(z)))


class Critic(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.tanh(nn.Dense(8)(x)))[:, 0]


@pytest.mark.parametrize("seeds", [1, 2])
def test_where_the_data_are_changes_no_bit(monkeypatch, seeds):
    points = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    sgd = optax.sgd(0.1)
    model = jaxgan.gan(Generator(), Critic(), jaxgan.losses.wgan(), sgd, sgd, n_critic=2)
    runs = []
    for limit in (points.nbytes, points.nbytes - 1):  # on the device; sent from the host
        monkeypatch.setattr(program, "device_bytes", lambda devices, limit=limit: limit)
        runs.append(jaxgan.fit(model, points, steps=7, batch_size=16, num_seeds=seeds))
    resident, sent = ([row | {"seconds": 0} for row in run.metrics] for run in runs)
    assert resident == sent
    weights = (jax.tree.leaves(run.state.generator.params) for run in runs)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
