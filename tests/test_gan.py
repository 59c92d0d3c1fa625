"""The training steps as specifications: who moves, on which data, with which noise."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import jaxgan
from jaxgan import losses, networks

LOSSES = {
    "bce": losses.bce(),
    "minimax": losses.minimax(),
    "wgan": losses.wgan(clip=0.3),
    "wgan_gp": losses.wgan_gp(),
}
KEY = jax.random.key(0)
N_CRITIC, BATCH = 3, 4


class NormedGenerator(nn.Module):
    """Latents to points through a BatchNorm."""

    latent_dim: int = 3

    @nn.compact
    def __call__(self, z, train=False, axis_name=None):
        x = nn.Dense(8)(z)
        x = nn.BatchNorm(not train, axis_name=axis_name if train else None, momentum=0.9)(x)
        return nn.Dense(2)(nn.relu(x))


class NormedCritic(nn.Module):
    """Points to scores through a BatchNorm."""

    @nn.compact
    def __call__(self, x, train=False, axis_name=None):
        x = nn.Dense(8)(x)
        x = nn.BatchNorm(not train, axis_name=axis_name if train else None)(x)
        return nn.Dense(1)(nn.tanh(x))[:, 0]


class LinearGenerator(nn.Module):
    """G(z) = a·z with a = 1 at first: the samples are the latents."""

    latent_dim: int = 2

    @nn.compact
    def __call__(self, z):
        return z * self.param("a", nn.initializers.ones, ())


class LinearCritic(nn.Module):
    """f(x) = w·x with w = 1 at first."""

    @nn.compact
    def __call__(self, x):
        return x @ self.param("w", nn.initializers.ones, (x.shape[-1],))


@functools.cache
def model_of(loss_name):
    """A model under SGD: every difference in a gradient shows in the parameters."""
    _, critic = networks.mlp((2,), latent_dim=3, width=8, depth=1)
    sgd = optax.sgd(0.002)
    return jaxgan.gan(NormedGenerator(), critic, LOSSES[loss_name], sgd, sgd, N_CRITIC)


@functools.cache
def start():
    """The first state, which no loss has a part in, compiled once."""
    return model_of("wgan_gp").init(KEY)


def build(generator=None, critic=None, loss=None, **options):
    return jaxgan.gan(
        generator or LinearGenerator(),
        critic or LinearCritic(),
        loss or losses.wgan(),
        optax.sgd(0.1),
        optax.sgd(0.1),
        **options,
    )


def reals(seed=0, n_critic=N_CRITIC, batch=BATCH):
    return np.random.default_rng(seed).normal(size=(n_critic, batch, 2)).astype(np.float32)


def data_of(state):
    """The state's leaves as plain arrays, its key included."""
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def assert_some_leaf_differs(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    assert any(np.any(x != y) for x, y in leaves)


# minimax is bce with another generator loss: one run of each network tries it.
each_loss = pytest.mark.parametrize("loss_name", ["bce", "wgan", "wgan_gp"])


# Who moves.


@each_loss
def test_d_step_leaves_all_but_the_critic_bitwise_unchanged(loss_name):
    model = model_of(loss_name)
    before = start()
    after, _ = model.d_step(before, reals()[0], KEY)
    before, after = data_of(before), data_of(after)
    assert_some_leaf_differs(after.critic.params, before.critic.params)
    chex.assert_trees_all_equal(after._replace(critic=before.critic), before)


@each_loss
def test_g_step_leaves_the_critic_and_the_key_bitwise_unchanged(loss_name):
    model = model_of(loss_name)
    before = start()
    after, _ = model.g_step(before, reals()[0], KEY)
    before, after = data_of(before), data_of(after)
    chex.assert_trees_all_equal((after.critic, after.key), (before.critic, before.key))
    for name in ("params", "stats"):
        assert_some_leaf_differs(getattr(after.generator, name), getattr(before.generator, name))
    assert_some_leaf_differs(after.ema, before.ema)
    assert after.step == before.step + 1


@each_loss
def test_each_player_lowers_its_own_loss(loss_name):
    # Judged with the noise and the data of the update itself.
    model = model_of(loss_name)
    state = start()
    projected = LOSSES[loss_name].project(state.critic.params)
    state = state._replace(critic=state.critic._replace(params=projected))
    for step, name in ((model.d_step, "d_loss"), (model.g_step, "g_loss")):
        state, first = step(state, reals()[0], KEY)
        _, second = step(state, reals()[0], KEY)
        assert second[name] < first[name]


def test_critic_weights_are_within_the_clip_after_every_update():
    _, critic = networks.mlp((2,), latent_dim=2, width=8, depth=1)
    model = jaxgan.gan(
        LinearGenerator(), critic, losses.wgan(clip=0.05), optax.sgd(1.0), optax.sgd(1.0), N_CRITIC
    )
    state = model.init(KEY)
    for i, real in enumerate(reals()):
        state, _ = model.d_step(state, real, jax.random.key(i))
        for w in jax.tree.leaves(state.critic.params):
            assert np.max(np.abs(w)) <= np.float32(0.05)
    # The updates are large enough to need it.
    assert any(np.any(np.abs(w) == np.float32(0.05)) for w in jax.tree.leaves(state.critic.params))
    # The generator is free.
    assert state.generator.params["a"] == 1


# One iteration.


@each_loss
def test_step_is_a_loop_of_critic_updates_and_one_generator_update(loss_name):
    model = model_of(loss_name)
    looped = scanned = start()
    for iteration in range(2):
        batches = reals(seed=iteration)
        key = jax.random.fold_in(looped.key, looped.step)
        for i in range(N_CRITIC):
            looped, d_metrics = model.d_step(looped, batches[i], jax.random.fold_in(key, i))
        looped, g_metrics = model.g_step(looped, batches[-1], jax.random.fold_in(key, N_CRITIC))
        scanned, metrics = model.step(scanned, batches)
        # The same arithmetic, but compiled in another program: a few roundings of 6e-8.
        chex.assert_trees_all_close(data_of(scanned), data_of(looped), rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(metrics, {**d_metrics, **g_metrics}, rtol=1e-4, atol=1e-6)
    assert scanned.step == 2


def test_step_with_one_critic_update():
    model = build(n_critic=1)
    state = model.init(KEY)
    key = jax.random.fold_in(state.key, 0)
    looped, _ = model.d_step(state, reals()[0], jax.random.fold_in(key, 0))
    looped, _ = model.g_step(looped, reals()[0], jax.random.fold_in(key, 1))
    scanned, _ = model.step(state, reals()[:1])
    chex.assert_trees_all_close(data_of(scanned), data_of(looped), rtol=1e-5, atol=1e-6)


@each_loss
def test_the_steps_descend_what_the_gradients_are(loss_name):
    # Under SGD at 0.002 the parameters move by that times the gradient; WGAN's are then clipped.
    model, before, real = model_of(loss_name), start(), reals()[0]
    for grad, step, player in (
        (model.d_grad, model.d_step, "critic"),
        (model.g_grad, model.g_step, "generator"),
    ):
        gradients, metrics = grad(before, real, KEY)
        after, stepped = step(before, real, KEY)
        params = getattr(before, player).params
        moved = jax.tree.map(lambda w, g: w - 0.002 * g, params, gradients)
        if player == "critic":
            moved = LOSSES[loss_name].project(moved)
        # The same arithmetic in two programs: a few roundings.
        chex.assert_trees_all_close(getattr(after, player).params, moved, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(metrics, stepped, rtol=1e-4, atol=1e-6)


def record_gradients(length):
    """An optimizer that moves nothing and keeps the gradient of each update, in order."""

    def init(params):
        return 0, jax.tree.map(lambda p: jnp.zeros((length, *p.shape)), params)

    def update(gradients, state, params=None):
        del params
        i, log = state
        log = jax.tree.map(lambda rows, g: rows.at[i].set(g), log, gradients)
        return jax.tree.map(jnp.zeros_like, gradients), (i + 1, log)

    return optax.GradientTransformation(init, update)


def test_the_i_th_critic_update_sees_the_i_th_batch_and_no_other():
    model = jaxgan.gan(
        LinearGenerator(),
        LinearCritic(),
        losses.wgan(clip=2.0),
        optax.sgd(0.1),
        record_gradients(N_CRITIC),
        N_CRITIC,
    )
    for poisoned in range(N_CRITIC):
        batches = reals()
        batches[poisoned, 0] = np.nan
        state, _ = model.step(model.init(KEY), batches)
        _, log = state.critic.opt_state
        np.testing.assert_array_equal(
            np.isnan(log["w"]).any(axis=1), np.arange(N_CRITIC) == poisoned
        )


def test_a_model_may_be_built_inside_a_program():
    state = jax.eval_shape(lambda key: build(loss=losses.wgan_gp()).init(key), KEY)
    assert state.critic.params["w"].shape == (2,)


# Noise.


def spy_on_noise(latent_dim=2, n_critic=N_CRITIC):
    """A model, and lists in which it writes the latents and loss keys of each update."""
    latents, keys = [], []

    class SpyGenerator(LinearGenerator):
        @nn.compact
        def __call__(self, z):
            if not self.is_initializing():
                jax.debug.callback(lambda z: latents.append(np.array(z)), z)
            return super().__call__(z)

    def spy(f):
        def g(critic_fn, real, fake, key):
            jax.debug.callback(lambda k: keys.append(np.array(k)), jax.random.key_data(key))
            return f(critic_fn, real, fake, key)

        return g

    loss = losses.wgan()
    loss = loss._replace(critic=spy(loss.critic), generator=spy(loss.generator))
    model = jaxgan.gan(
        SpyGenerator(latent_dim), LinearCritic(), loss, optax.sgd(0.1), optax.sgd(0.1), n_critic
    )
    jax.effects_barrier()
    latents.clear()  # of the batches on which `gan` has tried the generator
    return model, latents, keys


def test_no_two_examples_updates_or_steps_share_their_noise():
    model, latents, keys = spy_on_noise()
    state = model.init(KEY)
    for _ in range(2):
        state, _ = model.step(state, reals())
    jax.effects_barrier()
    examples = 2 * (N_CRITIC + 1) * BATCH
    for noise in (np.concatenate(latents), np.concatenate(keys)):
        assert len(noise) == examples
        assert len(np.unique(noise, axis=0)) == examples
    # Nor does a loss draw its noise from the key of a latent.
    drawn = jax.vmap(lambda k: jax.random.normal(jax.random.wrap_key_data(k), (2,)))(
        np.concatenate(keys)
    )
    assert len(np.unique(np.concatenate([*latents, drawn]), axis=0)) == 2 * examples


def test_latents_are_standard_normal_and_each_coordinate_its_own():
    model, latents, _ = spy_on_noise(latent_dim=2)
    model.g_step(model.init(KEY), np.zeros((1000, 2), np.float32), KEY)
    jax.effects_barrier()
    [z] = latents
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / math.sqrt(1000)


def test_the_noise_of_an_example_does_not_depend_on_the_batch_it_is_in():
    model, latents, keys = spy_on_noise()
    for batch in (3, 5):
        model.d_step(model.init(KEY), reals(batch=batch)[0], jax.random.key(7))
    jax.effects_barrier()
    np.testing.assert_array_equal(latents[1][:3], latents[0])
    np.testing.assert_array_equal(keys[1][:3], keys[0])


def test_noise_is_a_function_of_seed_and_step():
    model = model_of("wgan_gp")
    a, _ = model.step(start(), reals())
    b, _ = model.step(start(), reals())
    chex.assert_trees_all_equal(data_of(a), data_of(b))
    later = start()._replace(step=jnp.int32(5))
    other_seed = start()._replace(key=jax.random.key(1))
    for state in (later, other_seed):
        c, _ = model.step(state, reals())
        assert_some_leaf_differs(data_of(c).critic.params, data_of(a).critic.params)


# Samples and the average.


def test_samples_have_the_datas_shape_and_are_those_of_their_key():
    model = model_of("bce")
    state = start()
    samples = model.sample(state, jax.random.key(1), 5)
    chex.assert_shape(samples, (5, 2))
    chex.assert_tree_all_finite(samples)
    np.testing.assert_array_equal(samples, model.sample(state, jax.random.key(1), 5))
    assert not np.any(samples == model.sample(state, jax.random.key(2), 5))
    assert len(np.unique(samples, axis=0)) == 5


def test_the_first_of_many_samples_are_those_of_a_few():
    model = model_of("bce")
    state = start()
    few, many = (model.sample(state, KEY, n) for n in (3, 7))
    # The batch size may change the rounding of a matrix product, and nothing else.
    np.testing.assert_allclose(many[:3], few, rtol=1e-5, atol=1e-6)


def test_average_follows_its_closed_form():
    model = jaxgan.gan(
        NormedGenerator(), LinearCritic(), losses.wgan(), optax.sgd(0.1), optax.sgd(0.1), 1, 0.3
    )
    state = model.init(KEY)
    average = jax.tree.map(np.float64, (state.generator.params, state.generator.stats))
    chex.assert_trees_all_equal((state.ema, state.ema_stats), state.generator[:2])
    for t in range(1, 7):
        state, _ = model.g_step(state, reals()[0], jax.random.key(t))
        decay = min(0.3, t / (9 + t))  # 0.1, 0.18, 0.25, then 0.3
        average = jax.tree.map(
            lambda a, x, decay=decay: decay * a + (1 - decay) * x, average, state.generator[:2]
        )
        # Rounding of each float32 average is 6e-8, and they forget.
        chex.assert_trees_all_close((state.ema, state.ema_stats), average, rtol=1e-5, atol=1e-6)


def test_samples_come_from_the_average_where_there_is_one():
    model = model_of("bce")
    state, _ = model.step(start(), reals())
    zeros = jax.tree.map(jnp.zeros_like, state.ema)
    np.testing.assert_array_equal(model.sample(state._replace(ema=zeros), KEY, 3), 0)
    moved = jax.tree.map(lambda x: x + 1, state.ema_stats)
    assert np.any(
        model.sample(state._replace(ema_stats=moved), KEY, 3) != model.sample(state, KEY, 3)
    )


def test_without_an_average_samples_come_from_the_generator():
    model = build(ema_decay=0.0)
    state, _ = model.g_step(model.init(KEY), reals()[0], KEY)
    assert state.ema is None
    assert state.ema_stats is None
    zeros = jax.tree.map(jnp.zeros_like, state.generator.params)
    generator = state.generator._replace(params=zeros)
    np.testing.assert_array_equal(model.sample(state._replace(generator=generator), KEY, 3), 0)


# Compilation and transformations.


def test_no_function_is_traced_again_for_a_state_that_another_returned():
    traces = []

    def count(f):
        return lambda *args: traces.append(f) or f(*args)

    loss = losses.wgan_gp()
    loss = loss._replace(critic=count(loss.critic), generator=count(loss.generator))
    model = build(loss=loss, n_critic=N_CRITIC)
    state = model.init(KEY)
    for seed in range(2):
        first_round = len(traces)
        for _ in range(2):
            state, _ = model.d_step(state, reals(seed)[0], jax.random.key(seed))
            state, _ = model.g_step(state, reals(seed)[0], jax.random.key(seed))
            state, _ = model.step(state, reals(seed))
    assert len(traces) == first_round > 0


def test_a_donated_state_is_consumed_and_trains_as_any_other():
    model = model_of("wgan_gp")
    step = chex.assert_max_traces(lambda state, batches: model.step(state, batches), n=1)
    donating = jax.jit(step, donate_argnums=0)
    kept, donated = start(), model.init(KEY)
    for seed in range(2):
        kept, _ = model.step(kept, reals(seed))
        consumed = donated
        donated, _ = donating(donated, reals(seed))
        assert consumed.ema["Dense_0"]["kernel"].is_deleted()
    chex.assert_trees_all_close(data_of(donated), data_of(kept), rtol=1e-5, atol=1e-6)


def test_seeds_train_together_as_they_do_apart():
    model = build(NormedGenerator(), loss=losses.wgan_gp(), n_critic=N_CRITIC)
    several = jaxgan.over_seeds(model)
    keys = jax.random.split(KEY, 2)
    batches = np.stack([reals(seed) for seed in range(2)])

    def train(model, key, batches, real):
        state = model.init(key)
        log = []
        for step, *args in (
            (model.step, batches),
            (model.d_step, real, key),
            (model.g_step, real, key),
        ):
            state, metrics = step(state, *args)
            log.append(metrics)
        return data_of(state), log, model.sample(state, key, 3)

    together = train(several, keys, batches, batches[:, 0])
    for i in range(2):
        alone = train(model, keys[i], batches[i], batches[i, 0])
        ours = jax.tree.map(lambda x, i=i: x[i], together)
        chex.assert_trees_all_close(ours, alone, rtol=1e-4, atol=1e-6)


# Networks of all kinds.


def dcgan():
    return networks.dcgan((8, 8, 1), latent_dim=3, width=4)


def mlp():
    return networks.mlp((8, 8, 1), latent_dim=3, width=8, depth=1)


@functools.cache
def image_model_of(networks_of, loss_name):
    adam = optax.adam(1e-3)
    return jaxgan.gan(*networks_of(), LOSSES[loss_name], adam, adam, n_critic=2)


@functools.cache
def image_start(networks_of):
    return image_model_of(networks_of, "bce").init(KEY)


@pytest.mark.parametrize("loss_name", LOSSES)
@pytest.mark.parametrize("networks_of", [mlp, dcgan])
def test_every_loss_trains_every_network_with_finite_numbers(loss_name, networks_of):
    model, state = image_model_of(networks_of, loss_name), image_start(networks_of)
    rng = np.random.default_rng(0)
    for _ in range(3):
        batches = rng.uniform(-1, 1, size=(2, BATCH, 8, 8, 1)).astype(np.float32)
        state, metrics = model.step(state, batches)
        chex.assert_tree_all_finite((data_of(state), metrics))
        chex.assert_shape(list(metrics.values()), ())
    expected = {
        "bce": {"d_loss", "g_loss", "js", "d_real", "d_fake"},
        "minimax": {"d_loss", "g_loss", "js", "d_real", "d_fake"},
        "wgan": {"d_loss", "g_loss", "wasserstein"},
        "wgan_gp": {"d_loss", "g_loss", "wasserstein", "gradient_penalty"},
    }
    assert metrics.keys() == expected[loss_name]


class TrainRequired(nn.Module):
    """A critic whose `train` has no default, as in many of flax's examples."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(1)(nn.tanh(nn.Dense(4)(x)) * (2 if train else 1))[:, 0]


@pytest.mark.parametrize("critic", [LinearCritic(), NormedCritic(), TrainRequired()])
def test_modules_take_the_keywords_that_they_know(critic):
    model = build(critic=critic, n_critic=1)
    state, metrics = model.step(model.init(KEY), reals()[:1])
    chex.assert_tree_all_finite((data_of(state), metrics))


def test_a_critic_with_batch_norm_normalises_real_and_fake_each_by_its_own_batch():
    model = build(critic=NormedCritic(), loss=LOSSES["bce"])
    state = model.init(KEY)
    # All of a batch moved by one vector scores as before, but for rounding.
    _, metrics = model.d_step(state, reals()[0], KEY)
    _, moved = model.d_step(state, reals()[0] + 10, KEY)
    np.testing.assert_allclose(moved["d_real"], metrics["d_real"], rtol=1e-4, atol=1e-5)


# Refusals.


def test_a_gradient_penalty_refuses_a_critic_with_batch_norm():
    with pytest.raises(ValueError, match=r"must not use BatchNorm.*NormedCritic does"):
        build(critic=NormedCritic(), loss=losses.wgan_gp())
    _, critic = networks.dcgan((16, 16, 1), 4, width=4, critic_norm=True)
    generator, _ = networks.dcgan((16, 16, 1), 4, width=4)
    with pytest.raises(ValueError, match="DCGANCritic does"):
        build(generator, critic, losses.wgan_gp())


@pytest.mark.parametrize("bad", [0, -1, 1.5, 2.0, math.nan, math.inf])
def test_n_critic_must_be_a_whole_number_from_one(bad):
    with pytest.raises(ValueError, match=f"n_critic must be .* got {bad}"):
        build(n_critic=bad)


@pytest.mark.parametrize("bad", [-0.1, 1.0, 1.5, math.nan])
def test_ema_decay_must_be_in_zero_to_one(bad):
    with pytest.raises(ValueError, match=f"ema_decay must be .* got {bad}"):
        build(ema_decay=bad)


def test_a_generator_must_name_its_latent_dim():
    with pytest.raises(ValueError, match="gan's argument of that name; LinearCritic has none"):
        build(generator=LinearCritic())


def test_a_critic_whose_scores_are_a_column_is_refused():
    with pytest.raises(ValueError, match=r"shape \[B\]; for a batch of 2 it returned .*\(2, 1\)"):
        build(critic=nn.Dense(1))


@pytest.mark.parametrize("shape", [(2, BATCH, 2), (4, BATCH, 2), ()])
def test_step_refuses_another_number_of_batches(shape):
    model = model_of("bce")
    with pytest.raises(ValueError, match=r"n_critic = 3 critic .*\[3, B, ...\]; got \("):
        model.step(start(), np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(BATCH, 3), (BATCH, 2, 1), (BATCH,), (), (0, 2)], ids=str)
def test_real_data_of_another_shape_than_the_samples_is_refused(shape):
    model = model_of("bce")
    state = start()
    got = str(shape).replace("(", r"\(").replace(")", r"\)")
    for step in (model.d_step, model.g_step):
        with pytest.raises(ValueError, match=rf"shape \[B, 2\]; got {got}"):
            step(state, np.zeros(shape, np.float32), KEY)
    if shape:
        with pytest.raises(ValueError, match=rf"shape \[B, 2\]; got {got}"):
            model.step(state, np.zeros((N_CRITIC, *shape), np.float32))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_raw_pixels_are_refused(dtype):
    generator, critic = networks.mlp((4, 4, 1), 2, 4, 1)
    model = jaxgan.gan(generator, critic, losses.bce(), optax.sgd(1e-2), optax.sgd(1e-2))
    state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=rf"floating point.*; got {dtype.dtype}"):
        model.d_step(state, jnp.zeros((2, 4, 4, 1), dtype), jax.random.key(1))


def test_legacy_keys_and_impossible_numbers_of_samples_are_refused():
    generator, critic = networks.mlp((2,), 2, 4, 1)
    model = jaxgan.gan(generator, critic, losses.bce(), optax.sgd(1e-2), optax.sgd(1e-2))
    state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"typed PRNG key .* got dtype uint32, shape \(2,\)"):
        model.init(jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match="typed PRNG key"):
        model.d_step(state, jnp.zeros((2, 2)), jax.random.PRNGKey(0))
    for n in (-1, 2.5):
        with pytest.raises(ValueError, match=f"n must be a whole number from 0 up; got {n}"):
            model.sample(state, jax.random.key(0), n)
