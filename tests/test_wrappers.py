"""Critics made of critics: packed, and spectrally normalised."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.networks.network import as_network
from jaxgan.networks.wrappers import VECTORS, normalise

KEY = jax.random.key(0)
POINTS = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
GENERATOR, CRITIC = networks.mlp((2,), latent_dim=2, width=8, depth=2)


def build(critic, loss=None, generator=GENERATOR, rate=1e-2, **options):
    sgd = optax.sgd(rate)
    return jaxgan.gan(generator, critic, loss or losses.bce(), sgd, sgd, n_critic=1, **options)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if leaf.dtype != KEY.dtype]


def assert_close(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# Packing.


@pytest.mark.slow
def test_a_pack_of_one_is_the_critic_itself():
    one, plain = build(networks.packed(CRITIC, 1)), build(CRITIC)
    reals = POINTS[None, :8]
    assert_close(one.step(one.init(KEY), reals), plain.step(plain.init(KEY), reals))


def test_the_loss_is_that_of_packs():
    """By hand: the critic's loss on 4 joined pairs, of data and of samples."""
    model = build(networks.packed(CRITIC, 2))
    state, real = model.init(KEY), POINTS[:8]
    gradients, metrics = model.d_grad(state, real, KEY)
    fake = np.asarray(model.sample(state._replace(ema=None), KEY, 8))

    def loss(params):
        scores = [CRITIC.apply({"params": params}, x.reshape(4, 4)) for x in (real, fake)]
        return jnp.mean(jax.nn.softplus(-scores[0])) + jnp.mean(jax.nn.softplus(scores[1]))

    np.testing.assert_allclose(metrics["d_loss"], loss(state.critic.params), rtol=1e-5)
    assert_close(gradients, jax.grad(loss)(state.critic.params))


def test_images_are_joined_along_their_channels():
    network = as_network("critic", networks.packed(networks.dcgan((8, 8, 3), 2, 4)[1], 2))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    params, stats = network.init(KEY, (x[:1],))
    assert params["Conv_0"]["kernel"].shape[2] == 6
    scores, _ = network.apply(params, stats, (x,))
    pair = np.concatenate([x[:1], x[1:2]], axis=-1)
    alone = networks.dcgan((8, 8, 3), 2, 4)[1].apply({"params": params}, pair)
    np.testing.assert_allclose(scores[:2], np.repeat(alone, 2), rtol=1e-5)
    assert scores.shape == (4,) and scores[2] != scores[0]


@pytest.mark.slow
def test_packs_are_the_same_on_several_devices():
    model, devices = build(networks.packed(CRITIC, 2)), jax.local_devices()[:2]
    step = parallel.wrap(model.step, "mesh", (1,), devices)
    many, _ = step(parallel.replicate(model.init(KEY), "mesh", devices), POINTS[None, :8])
    one, _ = model.step(model.init(KEY), POINTS[None, :8])
    assert_close((many.generator, many.critic), (one.generator, one.critic))


def test_packing_that_cannot_be_is_refused():
    model = build(networks.packed(CRITIC, 3))
    with pytest.raises(ValueError, match="batch of 8 does not divide into packs of m=3"):
        model.d_step(model.init(KEY), POINTS[:8], KEY)
    with pytest.raises(ValueError, match="takes no packed critic"):
        build(networks.packed(CRITIC, 2), losses.wgan_gp())
    for m in (0, 1.5, True):
        with pytest.raises(ValueError, match="m must be a whole number from 1 up"):
            networks.packed(CRITIC, m)
    pair = networks.mlp((2,), 2, 8, 1, num_classes=3)
    with pytest.raises(ValueError, match="packed critic takes no labels"):
        build(networks.packed(pair[1], 2), generator=pair[0], num_classes=3)


# Spectral normalisation.


class Plain:
    """A critic of functions."""

    @staticmethod
    def init(key, x):
        first, second = jax.random.split(key)
        shapes = ((x.shape[1], 8), (8, 1))
        return [jax.random.normal(k, s) for k, s in zip((first, second), shapes, strict=True)]

    @staticmethod
    def apply(params, x):
        return (nn.leaky_relu(x @ params[0], 0.1) @ params[1])[:, 0]


PAIRS = {
    "mlp": (GENERATOR, CRITIC, (2,)),
    "functions": (GENERATOR, (Plain.init, Plain.apply), (2,)),
    "dcgan": (*networks.dcgan((8, 8, 1), 2, width=4), (8, 8, 1)),
    "sngan": (*networks.resnet((8, 8, 1), 2, width=4, variant="sngan"), (8, 8, 1)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("dcgan", "sngan"))) for n in PAIRS]
)
def test_after_300_steps_each_kernel_as_applied_has_norm_one(name):
    generator, critic, shape = PAIRS[name]
    model = build(networks.spectral_norm(critic), generator=generator, rate=0.05)
    state = model.init(KEY)
    for index in range(300):
        real = jax.random.normal(jax.random.key(index), (1, 8, *shape)) / 3
        state, _ = model.step(state, jnp.tanh(real))
    applied, _ = normalise(state.critic.params, state.critic.stats[VECTORS])
    kernels = [np.float64(leaf) for leaf in jax.tree.leaves(applied) if leaf.ndim > 1]
    assert len(kernels) == len(state.critic.stats[VECTORS]) > 1
    for kernel in kernels:
        norm = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        assert norm == pytest.approx(1, rel=1e-2)


def test_a_gradient_goes_through_the_norm():
    """Against W/σ(W) by an SVD, where the power iteration has converged."""
    random = np.random.default_rng(0)
    kernel, direction = (jnp.asarray(random.normal(size=(5, 3)), jnp.float32) for _ in range(2))
    vectors = {"['w']": jnp.asarray(np.linalg.svd(kernel)[2][0])}

    def ours(w):
        return jnp.sum(direction * normalise({"w": w}, vectors)[0]["w"])

    def exact(w):
        return jnp.sum(direction * w / jnp.linalg.norm(w, 2))

    np.testing.assert_allclose(ours(kernel), exact(kernel), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(ours)(kernel), jax.grad(exact)(kernel), atol=1e-5)


def test_a_kernel_of_zeros_learns_and_is_normalised_from_then_on():
    def init(key, x):
        return [jax.random.normal(key, (2, 8)), jnp.zeros((8, 1))]

    model = build(networks.spectral_norm((init, Plain.apply)))
    state = model.init(KEY)
    for index in range(3):
        state, metrics = model.step(state, POINTS[None, 8 * index : 8 * index + 8])
        assert all(np.isfinite(value) for value in metrics.values())
    assert (state.critic.params[1] != 0).any()
    applied, _ = normalise(state.critic.params, state.critic.stats[VECTORS])
    assert jnp.linalg.norm(applied[1]) == pytest.approx(1)  # of one column: its singular value


def test_a_generator_is_not_packed():
    with pytest.raises(ValueError, match="the generator cannot be packed"):
        build(CRITIC, generator=networks.packed(GENERATOR, 2))


def test_one_update_makes_one_step_of_the_power_iteration():
    model = build(networks.spectral_norm(CRITIC))
    state = model.init(KEY)
    after, _ = model.d_step(state, POINTS[:8], KEY)
    _, expected = normalise(state.critic.params, state.critic.stats[VECTORS])
    assert_close(after.critic.stats[VECTORS], expected)
    unchanged, _ = model.g_step(state, POINTS[:8], KEY)
    assert_close(unchanged.critic, state.critic)


@pytest.mark.slow
def test_wrappers_add_up_and_survive_a_stop(tmp_path):
    model = build(networks.spectral_norm(networks.packed(CRITIC, 2)))
    plan = {"batch_size": 8, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}
    whole = jaxgan.fit(model, POINTS, steps=6, **plan)
    jaxgan.fit(model, POINTS, steps=3, **plan, workdir=tmp_path)
    parts = jaxgan.fit(model, POINTS, steps=6, **plan, workdir=tmp_path)
    for a, b in zip(*(leaves(r.state._replace(key=())) for r in (parts, whole)), strict=True):
        np.testing.assert_array_equal(a, b)
