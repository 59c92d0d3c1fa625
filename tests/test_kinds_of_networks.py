"""One network written three ways: with flax.linen, with flax.nnx, and as a plain pair."""

import functools
import os
import pathlib
import signal
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxgan
from jaxgan import losses, parallel

KEY = jax.random.key(0)
POINTS = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
REALS = POINTS[:16].reshape(2, 8, 2)


class Linen(nn.Module):
    """Two layers, from `inputs` to `outputs` numbers."""

    outputs: int
    latent_dim: int = 3

    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(nn.Dense(8)(x))
        x = nn.Dense(self.outputs)(x)
        return x[:, 0] if self.outputs == 1 else x


class Nnx(nnx.Module):
    """The same."""

    def __init__(self, inputs, outputs, *, rngs):
        self.latent_dim = 3
        self.a = nnx.Linear(inputs, 8, rngs=rngs)
        self.b = nnx.Linear(8, outputs, rngs=rngs)

    def __call__(self, x):
        x = self.b(jnp.tanh(self.a(x)))
        return x[:, 0] if x.shape[1] == 1 else x


def plain(outputs):
    """The same, of functions."""

    def init(key, x):
        keys, sizes = jax.random.split(key), ((x.shape[1], 8), (8, outputs))
        return [
            {"bias": jnp.zeros(size[1]), "kernel": jax.random.normal(key, size) / size[0] ** 0.5}
            for key, size in zip(keys, sizes, strict=True)
        ]

    def apply(params, x):
        a, b = params
        x = jnp.tanh(x @ a["kernel"] + a["bias"]) @ b["kernel"] + b["bias"]
        return x[:, 0] if outputs == 1 else x

    apply.latent_dim = 3
    return init, apply


PAIRS = {
    "linen": (Linen(2), Linen(1)),
    "nnx": (functools.partial(Nnx, 3, 2), lambda rngs: Nnx(2, 1, rngs=rngs)),
    "plain": (plain(2), plain(1)),
}
each_way = pytest.mark.parametrize("way", PAIRS)
slow_but_nnx = pytest.mark.parametrize(
    "way", [pytest.param(n, marks=[pytest.mark.slow] * (n != "nnx")) for n in PAIRS]
)


def build(way, tx=None, **options):
    tx = tx or optax.sgd(1e-2)
    return jaxgan.gan(*PAIRS[way], losses.wgan_gp(), tx, tx, n_critic=2, **options)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def with_weights_of(state, other):
    """The state with the other's weights, whose leaves come in the same order."""

    def fill(tree, like):
        return jax.tree.unflatten(jax.tree.structure(tree), jax.tree.leaves(like))

    return state._replace(
        generator=state.generator._replace(
            params=fill(state.generator.params, other.generator.params)
        ),
        critic=state.critic._replace(params=fill(state.critic.params, other.critic.params)),
        ema=fill(state.ema, other.ema),
        key=other.key,
    )


@pytest.mark.parametrize(
    ("optimizer", "way"),
    [
        (optax.adam(1e-3), "nnx"),
        (optax.adam(1e-3), "plain"),
        pytest.param(optax.sgd(0.05), "nnx", marks=pytest.mark.slow),
        pytest.param(optax.sgd(0.05), "plain", marks=pytest.mark.slow),
    ],
    ids=["adam-nnx", "adam-plain", "sgd-nnx", "sgd-plain"],
)
def test_one_network_trains_alike_however_it_is_written(optimizer, way):
    reference, model = build("linen", optimizer), build(way, optimizer)
    theirs = reference.init(KEY)
    ours = with_weights_of(model.init(KEY), theirs)
    for _ in range(5):
        theirs, their_metrics = reference.step(theirs, REALS)
        ours, metrics = model.step(ours, REALS)
        for name in their_metrics:
            np.testing.assert_allclose(metrics[name], their_metrics[name], rtol=1e-5, atol=1e-6)
    for a, b in zip(
        leaves((ours.critic, ours.ema)), leaves((theirs.critic, theirs.ema)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    samples = [m.sample(s, KEY, 4) for m, s in ((model, ours), (reference, theirs))]
    np.testing.assert_allclose(*samples, rtol=1e-5, atol=1e-6)


PROGRAM = """
import os, sys
sys.path.insert(0, {tests!r})
from test_kinds_of_networks import *

def fall(run):
    if run.step == 4 and len(sys.argv) > 3:
        os.kill(os.getpid(), signal.SIGKILL)

jaxgan.fit(build(sys.argv[1]), POINTS, steps=6, batch_size=8, log_every=1, checkpoint_every=2,
           parallel="jit", workdir=sys.argv[2], callbacks=[fall])
"""
FAST = {"batch_size": 8, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}


@pytest.mark.slow
@each_way
def test_a_killed_run_ends_with_the_same_bits(way, tmp_path):
    program = PROGRAM.format(tests=str(pathlib.Path(__file__).parent))
    command = [sys.executable, "-c", program, way, str(tmp_path)]
    done = subprocess.run([*command, "fall"], env=os.environ, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    model = build(way)
    killed = jaxgan.fit(model, POINTS, steps=6, workdir=tmp_path, **FAST)
    whole = jaxgan.fit(model, POINTS, steps=6, **FAST)
    loaded = jaxgan.load(tmp_path, model)
    for run in (killed, loaded):
        for a, b in zip(*(leaves(r.state._replace(key=())) for r in (run, whole)), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(loaded.sample(KEY, 3), whole.sample(KEY, 3))


@slow_but_nnx
def test_two_seeds_are_each_what_they_are_alone(way):
    model, keys = build(way), jax.random.split(KEY)
    several = jaxgan.over_seeds(model)
    states, _ = several.step(several.init(keys), np.stack([REALS, REALS]))
    first = leaves(states.critic.params)
    assert any((leaf[0] != leaf[1]).any() for leaf in first)
    for index in range(2):
        alone, _ = model.step(model.init(keys[index]), REALS)
        for a, b in zip(first, leaves(alone.critic.params), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-5, atol=1e-6)


@slow_but_nnx
@pytest.mark.parametrize("mode", ["mesh", pytest.param("pmap", marks=pytest.mark.slow)])
def test_two_devices_train_as_one(way, mode):
    model, devices = build(way), jax.local_devices()[:2]
    step = parallel.wrap(model.step, mode, (1,), devices)
    many, _ = step(parallel.replicate(model.init(KEY), mode, devices), REALS)
    one, _ = model.step(model.init(KEY), REALS)
    for a, b in zip(*(leaves((s.generator, s.critic)) for s in (many, one)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# Layers that keep a state.


class NnxNormed(nnx.Module):
    """With BatchNorm, a spectral norm, and rngs that it keeps and does not use."""

    def __init__(self, rngs):
        self.a = nnx.Linear(2, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.b = nnx.SpectralNorm(nnx.Linear(8, 1, rngs=rngs), rngs=rngs)
        self.rngs = rngs

    def __call__(self, x, train=False):
        return self.b(nnx.leaky_relu(self.norm(self.a(x))), update_stats=train)[:, 0]


def test_statistics_move_in_training_and_count_when_it_samples():
    sgd = optax.sgd(1e-3)
    model = jaxgan.gan(PAIRS["nnx"][0], NnxNormed, losses.bce(), sgd, sgd, n_critic=1)
    state = model.init(KEY)
    before, u = state.critic.stats["norm/mean"], state.critic.stats["b/batch_stats/('kernel', 'u')"]
    state, _ = model.d_step(state, POINTS[:32], KEY)
    hidden = POINTS[:32] @ model.init(KEY).critic.params["a/kernel"]
    np.testing.assert_allclose(
        state.critic.stats["norm/mean"], 0.9 * before + 0.1 * hidden.mean(axis=0), rtol=1e-5
    )
    assert (state.critic.stats["b/batch_stats/('kernel', 'u')"] != u).any()


class NnxGenerator(nnx.Module):
    """BatchNorm, which samples by its running statistics."""

    def __init__(self, rngs):
        self.latent_dim = 3
        self.a = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.b = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, z):
        return self.b(nnx.relu(self.norm(self.a(z))))


def test_a_batch_norm_is_told_by_train_and_eval():
    sgd = optax.sgd(1e-2)
    model = jaxgan.gan(NnxGenerator, PAIRS["nnx"][1], losses.wgan(), sgd, sgd, n_critic=1)
    state = model.init(KEY)
    np.testing.assert_allclose(
        model.sample(state, KEY, 5)[:2], model.sample(state, KEY, 2), rtol=1e-5
    )
    after, _ = model.g_step(state, POINTS[:8], KEY)
    assert (after.generator.stats["norm/var"] != state.generator.stats["norm/var"]).any()


# What is refused.


class Dropping(nnx.Module):
    """Draws random numbers."""

    def __init__(self, rngs):
        self.a, self.drop = nnx.Linear(2, 1, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.a(x))[:, 0]


MODULE = Nnx(2, 1, rngs=nnx.Rngs(0))


def fixed(rngs):
    return MODULE


def wants_a_key(params, key, x):
    return x[:, 0]


def of_integers(key, x):
    return {"w": jax.random.randint(key, (2,), 0, 9)}


@pytest.mark.parametrize(
    ("critic", "says"),
    [
        (MODULE, r"got a .* Nnx: .*such as lambda rngs: Nnx\(..., rngs=rngs\)"),
        (fixed, "Nnx's init does not use its key"),
        (((lambda key, x: jnp.ones(2)), (lambda w, x: x @ w)), "init does not use its key"),
        (Dropping, "Dropping draws random numbers, as Dropout does"),
        (lambda rngs: 3, "got the function <lambda>"),
        ((plain(1)[0], wants_a_key), "wants_a_key needs x, which training does not give"),
        ((of_integers, lambda w, x: x @ w["w"]), "must be floating point; w is int32"),
        ((plain(1)[0], 3), "got a tuple"),
    ],
)
def test_what_would_train_otherwise_is_refused(critic, says):
    sgd = optax.sgd(1e-2)
    with pytest.raises(ValueError, match=says):
        jaxgan.gan(PAIRS["linen"][0], critic, losses.wgan(), sgd, sgd)


class Sowing(nnx.Module):
    """Keeps something to be looked at, and takes what it is made of by name."""

    def __init__(self, **made_of):
        self.a = nnx.Linear(2, 1, rngs=made_of["rngs"])

    def __call__(self, x):
        self.sow(nnx.Intermediate, "seen", x)
        return self.a(x)[:, 0]


@pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning")
def test_what_is_sown_is_no_variable():
    sgd = optax.sgd(1e-2)
    model = jaxgan.gan(PAIRS["linen"][0], Sowing, losses.wgan(), sgd, sgd, n_critic=2)
    state, _ = model.step(model.init(KEY), REALS)
    assert state.critic.params.keys() == {"a/bias", "a/kernel"} and not state.critic.stats


class Alike(nnx.Module):
    """Two layers whose paths read alike."""

    def __init__(self, rngs):
        inner = nnx.Dict({"b": nnx.Linear(2, 2, rngs=rngs)})
        self.l = nnx.Dict({"a/b": nnx.Linear(2, 2, rngs=rngs), "a": inner})

    def __call__(self, x):
        return self.l["a/b"](self.l["a"]["b"](x)).sum(axis=1)


@pytest.mark.parametrize("traced", [False, True])
def test_trying_networks_draws_no_weights(traced):
    """Large ones take seconds to draw. Nor does it where `gan` is called in a traced function."""
    keys = []

    def kernel(key, shape, dtype=jnp.float32):
        keys.append(key)
        return nn.initializers.lecun_normal()(key, shape, dtype)

    class Wide(nn.Module):
        features: int
        latent_dim: int = 3

        @nn.compact
        def __call__(self, x):
            x = nn.Dense(self.features, kernel_init=kernel)(x)
            return x[:, 0] if self.features == 1 else x

    def make(x):
        jaxgan.gan(Wide(2 + traced), Wide(1), losses.wgan_gp(), optax.sgd(0.1), optax.sgd(0.1))
        return x

    jax.jit(make)(0.0) if traced else make(0.0)
    assert keys and all(isinstance(key, jax.core.Tracer) for key in keys)


def test_two_variables_of_one_name_are_refused():
    sgd = optax.sgd(1e-2)
    with pytest.raises(ValueError, match="two variables are named l/a/b/bias"):
        jaxgan.gan(PAIRS["linen"][0], Alike, losses.wgan(), sgd, sgd)


def test_a_generator_of_functions_says_its_latents():
    init, apply = plain(2)
    sgd = optax.sgd(1e-2)
    pair = (init, lambda params, z: apply(params, z))
    with pytest.raises(ValueError, match="size of its latent vector"):
        jaxgan.gan(pair, PAIRS["plain"][1], losses.wgan(), sgd, sgd)
    model = jaxgan.gan(pair, PAIRS["plain"][1], losses.wgan(), sgd, sgd, latent_dim=5)
    assert model.sample(model.init(KEY), KEY, 4).shape == (4, 2)
