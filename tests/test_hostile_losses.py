"""Whatever losses and networks are given, they refuse it by a line or compute what it means."""

import math
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import jaxgan
from jaxgan import losses, networks

KEY = jax.random.key(0)
LOSSES = {
    "bce": losses.bce(),
    "minimax": losses.minimax(),
    "wgan": losses.wgan(),
    "wgan_gp": losses.wgan_gp(),
}
SHAPES = st.sampled_from([(), (0,), (1,), (3,), (0, 2), (3, 0), (3, 2), (2, 2), (3, 2, 1)])
DTYPES = st.sampled_from([np.float32, np.float16, np.int32, np.uint8, np.bool_, np.complex64])
NUMBERS = [0.0, -0.0, 1.0, -2.0, 1e-45, 1e30, -3e38, math.inf, -math.inf, math.nan]
BATCHES = st.tuples(SHAPES, DTYPES).flatmap(
    lambda kind: arrays.arrays(
        kind[1],
        kind[0],
        elements=st.sampled_from(NUMBERS if np.issubdtype(kind[1], np.float32) else [0, 1]),
    )
)


def total(x):
    """The critic f(x) = sum of x: its gradient is one everywhere."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def log_sigmoid(a):
    """In float64, from its definition, without overflow."""
    a = np.float64(a)
    return np.where(a < 0, a, 0) - np.log1p(np.exp(-np.abs(a)))


def expected(name, real, fake):
    """The critic's loss in float64, by the equations."""
    with np.errstate(all="ignore"):
        # float32 as it is computed: sums of huge numbers may be infinite.
        scores = [np.float64(np.asarray(total(jnp.asarray(x)))) for x in (real, fake)]
        if name in ("bce", "minimax"):
            value = -log_sigmoid(scores[0]).mean() - log_sigmoid(-scores[1]).mean()
        else:
            value = scores[1].mean() - scores[0].mean()
        if name == "wgan_gp":
            value += 10 * (math.sqrt(math.prod(real.shape[1:])) - 1) ** 2
        return value


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(real=BATCHES, fake=BATCHES, same=st.booleans())
def test_a_loss_is_right_or_refused(name, real, fake, same):
    if same and real.size and real.dtype == np.float32:
        fake = np.roll(real, 1).reshape(real.shape)
    good = real.shape == fake.shape and real.ndim and len(real)
    good = good and all(np.issubdtype(x.dtype, np.floating) for x in (real, fake))
    if not good:
        with pytest.raises(ValueError, match=r"must (be|have)"):
            LOSSES[name].critic(total, real, fake, KEY)
        return
    value, _ = LOSSES[name].critic(total, real, fake, KEY)
    assert value.shape == () and value.dtype == jnp.float32
    right = expected(name, real, fake)
    if np.isfinite(right) and abs(right) < 1e37:
        np.testing.assert_allclose(value, right, rtol=1e-3, atol=1e-5)
    elif np.isinf(right):  # or of another rounding of the sum, never a number that looks right
        assert not np.isfinite(value)
    elif np.isnan(right):
        assert np.isnan(value)


@pytest.mark.parametrize("bad", [None, "1", True, 1j, [], 0, -1.0, math.nan, math.inf])
def test_bounds_and_weights_that_are_no_positive_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="clip must be a positive finite number"):
        losses.wgan(bad)
    with pytest.raises(ValueError, match="penalty must be a positive finite number"):
        losses.wgan_gp(bad)


@pytest.mark.parametrize("key", [0, None, "key", np.zeros(2, np.uint32)])
def test_what_is_no_key_is_refused(key):
    x = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="key must be a typed PRNG key"):
        losses.gradient_penalty(total, x, x, key)


@pytest.mark.parametrize("data_shape", [32, None, "abc", (), (True,), (1.5,), (0,), (32, 32, None)])
@pytest.mark.parametrize("make", [networks.mlp, networks.dcgan])
def test_shapes_that_are_none_are_refused_by_name(make, data_shape):
    with pytest.raises(ValueError, match="data_shape must be"):
        make(data_shape, 8)


class Critic(nn.Module):
    """With one layer that makes a difference to what a gradient penalty may meet."""

    layer: str = ""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(8)(x)
        if self.layer == "dropout":
            x = nn.Dropout(0.5, deterministic=not train)(x)
        if self.layer == "spectral":
            x = nn.SpectralNorm(nn.Dense(8))(x, update_stats=train)
        if self.layer == "layer":
            x = nn.LayerNorm()(x)
        if self.layer == "own mean":
            x = x - jnp.mean(x, axis=0)
        if self.layer == "minibatch":
            deviation = jnp.broadcast_to(jnp.std(x, axis=0).mean(), (len(x), 1))
            x = jnp.concatenate([x, deviation], axis=1)
        return nn.Dense(1)(nn.relu(x))[:, 0]


def build(layer="", loss="wgan_gp", **settings):
    generator, _ = networks.mlp((2,), 2, 8, 1)
    tx = optax.sgd(0.1)
    return jaxgan.gan(generator, Critic(layer), LOSSES[loss], tx, tx, **settings)


@pytest.mark.parametrize("layer", ["own mean", "minibatch"])
def test_a_penalised_critic_may_not_mix_examples_in_any_way(layer):
    with pytest.raises(ValueError, match=r"depend on the whole batch.*Critic does"):
        build(layer)
    build(layer, "bce")


@pytest.mark.parametrize("layer", ["", "spectral", "layer"])
def test_a_penalised_critic_may_normalise_what_is_its_own(layer):
    state = build(layer, n_critic=1).init(KEY)
    assert int(state.step) == 0


def test_a_network_that_draws_random_numbers_is_refused_by_name():
    with pytest.raises(ValueError, match="Critic draws random numbers, as Dropout does"):
        build("dropout")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_critic": True}, "n_critic must be a whole number from 1 up; got True"),
        ({"n_critic": None}, "n_critic must be .* got None"),
        ({"n_critic": "5"}, "n_critic must be .* got 5"),
        ({"ema_decay": None}, "ema_decay must be .* got None"),
        ({"ema_decay": True}, "ema_decay must be .* got True"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        build(**settings)


@pytest.mark.parametrize(
    ("name", "value"), [("bce", math.nan), ("wgan", math.inf), ("wgan_gp", math.nan)]
)
def test_a_broken_example_is_never_trained_on_unseen(name, value):
    """One bad number of one example shows in the metrics and in the critic, whatever the loss."""
    model = build(loss=name, n_critic=1)
    real = np.full((4, 2), 0.5, np.float32)
    real[2, 1] = value
    state, metrics = model.d_step(model.init(KEY), real, KEY)
    assert not np.isfinite(metrics["d_loss"])
    leaves = jax.tree.leaves(state.critic.params)
    assert not all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.parametrize(
    "real", [0, None, [[0.5, 0.5]], np.float32(1), np.zeros((0, 2), np.float32)]
)
def test_what_is_no_batch_is_refused(real):
    model = build(n_critic=1)
    with pytest.raises(ValueError, match=r"real must be (a batch of what|an array of numpy)"):
        model.d_step(model.init(KEY), real, KEY)


# Losses and optimizers of a user's own, as first written.


def own(critic=None, generator=None, **fields):
    def right(name):
        return lambda f, real, fake, key: (jnp.mean(f(fake)), {name: jnp.mean(f(real))})

    return losses.Loss(critic or right("d"), generator or right("g"), **fields)


def step_with(loss, g_tx=None, d_tx=None):
    pair = networks.mlp((2,), 2, 4, 1)
    sgd = optax.sgd(0.1)
    model = jaxgan.gan(*pair, loss, g_tx or sgd, d_tx or sgd, n_critic=1)
    return model.step(model.init(KEY), np.zeros((1, 8, 2), np.float32))


def returns(result):
    return own(critic=lambda f, real, fake, key: result(f(real)))


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (losses.wgan, r"loss must be a Loss.*got the function wgan: call it, wgan\(\)"),
        ("wgan-gp", r"loss must be a Loss.*got 'wgan-gp': .*losses.wgan_gp\(\)"),
        (None, "loss must be a Loss.*got None"),
        (own(project=None), r"project must be a function \(lambda params: params .*got None"),
        (own()._replace(critic=None), "critic must be a function; got None"),
        (returns(jnp.mean), r"critic must return \(loss, metrics\).*it returned a jax"),
        (returns(lambda f: (jnp.mean(f), jnp.mean(f))), r"must return \(loss, metrics\)"),
        (returns(lambda f: (f, {})), r"critic loss' has shape \(8,\): take its mean"),
        (returns(lambda f: (jnp.mean(f), {"scores": f})), r"'scores' has shape \(8,\)"),
        (returns(lambda f: (jnp.int32(1), {})), "floating-point loss; got int32"),
        (returns(lambda f: None), "it returned None"),
        (own(generator=own().critic), "critic and generator both report d, so that one"),
    ],
)
def test_an_own_loss_is_answered_in_the_librarys_words(loss, says):
    with pytest.raises(ValueError, match=says):
        step_with(loss)


def test_a_loss_of_another_class_may_leave_out_what_it_does_not_need():
    loss = own()
    mine = types.SimpleNamespace(critic=loss.critic, generator=loss.generator, project=loss.project)
    assert step_with(mine)[1].keys() == {"d", "g"}


def test_an_own_loss_needs_no_projection_and_no_metrics():
    def quiet(f, real, fake, key):
        return jnp.mean(f(fake)), {}

    _, metrics = step_with(losses.Loss(quiet, quiet))
    assert metrics == {}
    _, metrics = step_with(own(critic=lambda f, x, y, key: (jnp.mean(f(y)), {"two": 2})))
    assert metrics["two"] == 2 and jnp.issubdtype(metrics["two"].dtype, jnp.floating)


@pytest.mark.parametrize(
    ("tx", "says"),
    [
        (1e-4, r"got 0.0001: for example optax.adam\(1e-4\)"),
        (optax.adam, r"got the function adam: call it, optax.adam\(1e-4\)"),
        ("adam", "got 'adam'"),
    ],
)
def test_what_is_no_optimizer_is_refused(tx, says):
    for name in ("g_tx", "d_tx"):
        with pytest.raises(ValueError, match=f"{name} must be an optax optimizer; {says}"):
            step_with(losses.bce(), **{name: tx})
