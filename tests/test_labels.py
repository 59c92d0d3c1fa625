"""Conditional GANs: labels in the steps, in networks, in `fit`, and in what is drawn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image

import jaxgan
from jaxgan import losses, networks, parallel

KEY = jax.random.key(0)
CLASSES = 3
# Three clusters, one for each class.
LABELS = np.arange(96) % CLASSES
POINTS = np.float32(np.random.default_rng(0).normal(size=(96, 2)) + 5 * LABELS[:, None])
REALS, LABELS_OF = POINTS[:16].reshape(2, 8, 2), LABELS[:16].reshape(2, 8)
FAST = {"steps": 6, "batch_size": 8, "log_every": 1, "checkpoint_every": 2, "parallel": "jit"}


def build(loss=None, pair=None, **options):
    pair = pair or networks.mlp((2,), latent_dim=2, width=8, depth=1, num_classes=CLASSES)
    sgd = optax.sgd(1e-2)
    options = {"num_classes": CLASSES, "n_critic": 2} | options
    return jaxgan.gan(*pair, loss or losses.wgan_gp(), sgd, sgd, **options)


@pytest.fixture(scope="module")
def model():
    return build()


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_close(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# The steps.


class Told(nn.Module):
    """A critic whose score is a weight of the label times the sum of its example."""

    @nn.compact
    def __call__(self, x, labels):
        return self.param("w", nn.initializers.normal(), (CLASSES,))[labels] * x.sum(axis=1)


class Shifted(nn.Module):
    """A generator that adds a vector of the label to its latent."""

    latent_dim: int = 2

    @nn.compact
    def __call__(self, z, labels):
        return z + self.param("shift", nn.initializers.normal(), (CLASSES, 2))[labels]


def test_real_fake_and_interpolates_share_the_labels_of_the_data():
    """By hand: the gradient of each class's weight comes from the examples of that class alone."""
    model = build(pair=(Shifted(), Told()), loss=losses.wgan(clip=9.0))
    state, real, labels = model.init(KEY), POINTS[:8], LABELS[:8]
    gradients, _ = model.d_grad(state, real, KEY, labels)
    alone = np.zeros(CLASSES)
    for name, sign in (("real", -1), ("fake", 1)):
        x = real if name == "real" else np.asarray(_fakes(model, state, labels))
        np.add.at(alone, labels, sign * x.sum(axis=1) / 8)
    np.testing.assert_allclose(gradients["w"], alone, rtol=1e-5)
    slopes = state.critic.params["w"][labels] * np.sqrt(2)
    penalised = build(pair=(Shifted(), Told()), loss=losses.wgan_gp(penalty=1.0))
    _, metrics = penalised.d_grad(state, real, KEY, labels)
    expected = np.mean((np.abs(slopes) - 1) ** 2)
    np.testing.assert_allclose(metrics["gradient_penalty"], expected, rtol=1e-5)


def _fakes(model, state, labels):
    """The samples of an update with KEY: its latents are those of `sample` with the same key."""
    return model.sample(state, KEY, len(labels), labels)


def test_an_iteration_is_its_updates_each_with_its_labels(model):
    state = model.init(KEY)
    whole, _ = model.step(state, REALS, LABELS_OF)
    key = jax.random.fold_in(state.key, 0)
    for index in range(2):
        state, _ = model.d_step(
            state, REALS[index], jax.random.fold_in(key, index), labels=LABELS_OF[index]
        )
    state, _ = model.g_step(state, REALS[1], jax.random.fold_in(key, 2), LABELS_OF[1])
    assert_close((whole.critic, whole.generator), (state.critic, state.generator))
    other, _ = model.step(model.init(KEY), REALS, LABELS_OF[:, ::-1].copy())
    assert any(
        (a != b).any() for a, b in zip(leaves(other.critic), leaves(whole.critic), strict=True)
    )


@pytest.mark.parametrize("mode", ["mesh", pytest.param("pmap", marks=pytest.mark.slow)])
def test_devices_split_labels_as_they_split_the_batch(mode, model):
    def step(state, batch, axis_name=None):
        return model.step(state, *batch, axis_name=axis_name)

    devices = jax.local_devices()[:2]
    compiled = parallel.wrap(step, mode, (1,), devices)
    many, _ = compiled(parallel.replicate(model.init(KEY), mode, devices), (REALS, LABELS_OF))
    one, _ = model.step(model.init(KEY), REALS, LABELS_OF)
    assert_close((many.generator, many.critic), (one.generator, one.critic))


def test_seeds_have_labels_of_their_own(model):
    several, keys = jaxgan.over_seeds(model), jax.random.split(KEY)
    labels = np.stack([LABELS_OF, (LABELS_OF + 1) % CLASSES])
    states, _ = several.step(several.init(keys), np.stack([REALS, REALS]), labels)
    for index in range(2):
        alone, _ = model.step(model.init(keys[index]), REALS, labels[index])
        one = jax.tree.map(lambda leaf, i=index: leaf[i], states.critic)
        assert_close(one, alone.critic)


def test_classes_are_drawn_uniformly_and_the_first_of_more_are_those_of_fewer(model):
    state = model.init(KEY)._replace(ema=None)
    pair = build(pair=(Shifted(), Told()), loss=losses.wgan())
    shift = jnp.array([[0.0, 0], [100, 0], [200, 0]])
    state = pair.init(KEY)._replace(ema={"shift": shift})
    x = np.asarray(pair.sample(state, KEY, 3000))
    counts = np.bincount(np.rint(x[:, 0] / 100).astype(int), minlength=CLASSES)
    # Three standard deviations of a share of a third among 3,000.
    assert np.abs(counts - 1000).max() < 3 * np.sqrt(3000 * 2 / 9)
    np.testing.assert_allclose(pair.sample(state, KEY, 5), x[:5], rtol=1e-5)
    chosen = pair.sample(state, KEY, 4, np.array([2, 2, 0, 1]))
    assert np.rint(np.asarray(chosen)[:, 0] / 100).tolist() == [2, 2, 0, 1]


# Networks.


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        *((networks.mlp, (2,)), (networks.mlp, (8, 8, 1)), (networks.dcgan, (8, 8, 1))),
        *((networks.resnet, (8, 8, 1)), (networks.r3gan, (8, 8, 1))),
    ],
)
def test_our_networks_use_the_label_and_none_out_of_range(make, shape):
    pair = make(shape, latent_dim=2, width=4, num_classes=CLASSES)
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    z = x.reshape(4, -1)[:, :2]
    for network, value in zip(pair, (z, x), strict=True):
        variables = network.init(KEY, value, np.zeros(4, int))
        # Trained a little: some begin with the same scale and shift for all classes.
        variables = jax.tree.map(
            lambda leaf: leaf + np.random.default_rng(0).uniform(0, 0.1, leaf.shape), variables
        )
        first, second, beyond = (
            np.asarray(network.apply(variables, value, np.full(4, label))) for label in (0, 1, 3)
        )
        assert (first != second).any() and np.isnan(beyond).all()


def test_a_conditional_critic_of_nnx_and_of_functions_trains():
    class Critic(nnx.Module):
        def __init__(self, rngs):
            self.table = nnx.Embed(CLASSES, 4, rngs=rngs)
            self.out = nnx.Linear(6, 1, rngs=rngs)

        def __call__(self, x, labels):
            return self.out(jnp.concatenate([x, self.table(labels)], axis=1))[:, 0]

    def init(key, x, labels):
        return jax.random.normal(key, (CLASSES, x.shape[1]))

    def apply(w, x, labels):
        return jnp.sum(w[labels] * x, axis=1)

    for critic in (Critic, (init, apply)):
        model = build(pair=(Shifted(), critic))
        state, metrics = model.step(model.init(KEY), REALS, LABELS_OF)
        assert all(np.isfinite(value) for value in metrics.values()) and state.step == 1


# fit.


def test_fit_trains_on_labels_and_the_run_draws_by_class(model, tmp_path):
    whole = jaxgan.fit(model, POINTS, labels=LABELS, **FAST)
    jaxgan.fit(model, (POINTS, LABELS), **FAST | {"steps": 3}, workdir=tmp_path)
    parts = jaxgan.fit(model, POINTS, labels=LABELS, **FAST, workdir=tmp_path)
    for run in (parts, jaxgan.load(tmp_path, model)):
        for a, b in zip(*(leaves(r.state._replace(key=())) for r in (run, whole)), strict=True):
            np.testing.assert_array_equal(a, b)
    drawn = parts.sample(KEY, 5, labels=1)
    np.testing.assert_array_equal(drawn, parts.sample(KEY, 5, labels=[1] * 5))
    assert (drawn != parts.sample(KEY, 5, labels=2)).any()


def test_labels_reach_the_steps_in_the_order_of_their_examples(model):
    """Other labels, another run; the same examples and labels in another place, the same."""
    runs = [
        jaxgan.fit(model, POINTS, labels=labels, **FAST).metrics[-1]["d_loss"]
        for labels in (LABELS, LABELS[::-1].copy(), LABELS.astype(np.uint8))
    ]
    assert runs[0] != runs[1] and runs[0] == runs[2]


def test_data_sent_from_the_host_bring_their_labels(model, monkeypatch):
    resident = jaxgan.fit(model, POINTS, labels=LABELS, **FAST)
    monkeypatch.setattr("jaxgan.training.program.device_bytes", lambda devices: 0)
    sent = jaxgan.fit(model, POINTS, labels=LABELS, **FAST)
    assert sent.metrics[-1]["d_loss"] == pytest.approx(resident.metrics[-1]["d_loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parallel_mode", ["auto", "mesh"])
def test_seeds_and_devices_under_fit(model, parallel_mode):
    plan = FAST | {"parallel": parallel_mode, "num_seeds": 2 if parallel_mode == "auto" else 1}
    many = jaxgan.fit(model, POINTS, labels=LABELS, **plan)
    alone = jaxgan.fit(model, POINTS, labels=LABELS, **FAST)
    assert_close(many.one(0).critic, alone.state.critic)


def test_pictures_have_ten_rows_each_of_one_class(tmp_path):
    class Flat(nn.Module):
        latent_dim: int = 2

        @nn.compact
        def __call__(self, z, labels):
            level = self.param("level", lambda key: jax.random.uniform(key, (10,)) * 0 + LEVELS)
            return jnp.ones((len(z), 4, 4, 1)) * level[labels][:, None, None, None]

    images = np.zeros((16, 4, 4, 1), np.uint8)
    _, critic = networks.mlp((4, 4, 1), 2, width=4, depth=1, num_classes=10)
    model = build(pair=(Flat(), critic), num_classes=10)
    jaxgan.fit(model, images, labels=np.arange(16) % 10, **FAST | {"steps": 1}, workdir=tmp_path)
    picture = np.asarray(Image.open(tmp_path / "samples" / "step_00000000.png"))
    side = picture.shape[0] // 10
    rows = picture[side // 2 :: side, side // 2 :: side][:10, :10].astype(int)
    assert (rows == rows[:, :1]).all() and (np.diff(rows[:, 0]) > 5).all()


LEVELS = np.linspace(-0.9, 0.9, 10, dtype=np.float32)


def test_numbers_that_break_are_found_with_their_labels(model):
    points = POINTS.copy()
    points[5] = 3e38
    with pytest.raises(jaxgan.DivergedError, match="critic's loss"):
        jaxgan.fit(model, points, labels=LABELS, **FAST | {"steps": 20})


# What is refused.


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (LABELS[:50], r"labels must be one for each of the 96 examples; got shape \(50,\)"),
        (LABELS + 1, "labels must be from 0 to 2, of num_classes=3; got 1 to 3"),
        (LABELS % 2, "class 2 of num_classes=3 has no example"),
        (LABELS - 1, "labels must be from 0 to 2.*; got -1 to 1"),
        (LABELS * 1.0, "labels must be integers, .* got float64"),
        (None, "trains on labels too, and array has none"),
        (np.eye(3)[LABELS], "labels must be one for each"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, says, model):
    with pytest.raises(ValueError, match=says):
        jaxgan.fit(model, POINTS, labels=labels, **FAST)


def test_steps_refuse_what_fit_refuses(model):
    state, real = model.init(KEY), POINTS[:8]
    plain = build(
        pair=networks.mlp((2,), latent_dim=2, width=8, depth=1), num_classes=None, n_critic=2
    )
    for call, says in (
        (lambda: model.d_step(state, real, KEY), "num_classes=3 trains on labels too"),
        (lambda: model.d_step(state, real, KEY, LABELS[:7]), "8 has labels of shape"),
        (lambda: model.d_step(state, real, KEY, LABELS[:8] + 1), "from 0 to 2"),
        (lambda: model.step(state, REALS, LABELS[:8]), r"shape \(2, 8\); got \(8,\)"),
        (lambda: model.step(state, REALS), "trains on labels too"),
        (lambda: model.sample(state, KEY, 3, np.array([0, 1])), "batch of 3 has labels of shape"),
        (lambda: plain.d_step(plain.init(KEY), real, KEY, LABELS[:8]), "models with classes"),
        (lambda: jaxgan.fit(plain, POINTS, labels=LABELS, **FAST), "models with classes"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_a_loss_that_scores_real_and_fake_in_one_batch_is_refused():
    def critic(critic_fn, real, fake, key):
        scores = critic_fn(jnp.concatenate([real, fake]))
        return jnp.mean(scores[len(real) :]) - jnp.mean(scores[: len(real)]), {}

    model = build(loss=losses.Loss(critic, losses.wgan().generator))
    with pytest.raises(ValueError, match="must score real and fake apart"):
        model.d_step(model.init(KEY), POINTS[:8], KEY, LABELS[:8])


class Deaf(nn.Module):
    """Takes labels and does nothing with them."""

    @nn.compact
    def __call__(self, x, labels):
        return nn.Dense(1)(x)[:, 0]


class Late(nn.Module):
    """Takes labels after train."""

    @nn.compact
    def __call__(self, x, train=False, labels=None):
        return nn.Dense(1)(x)[:, 0] + labels


@pytest.mark.parametrize(
    ("pair", "classes", "says"),
    [
        ((Shifted(), Deaf()), 3, "Deaf takes labels and does not use them"),
        (networks.mlp((2,), 2, 8, 1), 3, "takes labels and does not use them"),
        ((Shifted(), Told()), None, "needs labels, which training does not give.*num_classes"),
        ((Shifted(), Told()), 0, "num_classes must be a whole number from 1 up; got 0"),
        (networks.mlp((2,), 2, 8, 1, num_classes=3), 5, "has num_classes=3, and gan 5"),
        ((Shifted(), Late()), 3, "must take its 2 inputs first, by position, and takes x, train"),
        ((Shifted(), Told()), 2.0, "num_classes must be a whole number"),
    ],
)
def test_networks_and_classes_fit_each_other(pair, classes, says):
    with pytest.raises(ValueError, match=says):
        build(pair=pair, num_classes=classes)


def test_a_run_of_no_classes_draws_none(model):
    run = jaxgan.fit(model, POINTS, labels=LABELS, **FAST)
    for labels, says in ((3, "from 0 to 2"), ([0, 1], "a class, or one for each of 4")):
        with pytest.raises(ValueError, match=says):
            run.sample(KEY, 4, labels=labels)
