"""Networks that users bring: trained as they say, or refused by name."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.networks.network import TRAINING_KEYWORDS

KEY = jax.random.key(0)


def hinge():
    """A user's own loss, and one that does not mind BatchNorm in the critic."""

    def critic(f, real, fake, key):
        loss = jnp.mean(nn.relu(1 - f(real))) + jnp.mean(nn.relu(1 + f(fake)))
        return loss, {"d_loss": loss}

    def generator(f, real, fake, key):
        loss = -jnp.mean(f(fake))
        return loss, {"g_loss": loss}

    return losses.Loss(critic, generator)


def build(generator=None, critic=None, loss=None, tx=None, **options):
    pair = networks.mlp((2,), 2, 16, 2)
    tx = tx or optax.adam(1e-3)
    options = {"n_critic": 1} | options
    return jaxgan.gan(
        generator or pair[0], critic or pair[1], loss or losses.wgan(), tx, tx, **options
    )


def train(model, steps, shape=(1, 64, 2)):
    state = model.init(KEY)
    for i in range(steps):
        state, _ = model.step(state, jax.random.normal(jax.random.key(i), shape))
    return state


# Spectral normalisation.


class SpectralCritic(nn.Module):
    """flax's own spectral norm, on convolutions and dense layers, as its documentation has it."""

    @nn.compact
    def __call__(self, x, train=False):
        def layer(kind, x):
            return nn.leaky_relu(nn.SpectralNorm(kind, n_steps=3)(x, update_stats=train), 0.1)

        x = layer(nn.Conv(8, (3, 3), strides=2), x.reshape(-1, 8, 8, 1))
        x = layer(nn.Dense(32), x.reshape(len(x), -1))
        x = layer(nn.Dense(32), x)
        return nn.SpectralNorm(nn.Dense(1))(x, update_stats=train)[:, 0]


def test_every_kernel_of_a_spectrally_normalised_critic_is_applied_with_norm_one():
    generator, _ = networks.mlp((8, 8, 1), 4, 16, 2)
    critic = SpectralCritic()
    # Rates that fall let the power iteration catch up, also where two singular values are close.
    g_tx, d_tx = (optax.adam(optax.cosine_decay_schedule(1e-3, updates)) for updates in (300, 600))
    model = jaxgan.gan(generator, critic, hinge(), g_tx, d_tx, n_critic=2)
    state = model.init(KEY)
    for i in range(300):
        reals = jnp.tanh(jax.random.normal(jax.random.key(i), (2, 16, 8, 8, 1)))
        state, _ = model.step(state, reals)

    applied = {}

    def record(method, args, kwargs, context):
        if isinstance(context.module, nn.Conv | nn.Dense) and context.method_name == "__call__":
            applied[context.module.name] = context.module.variables["params"]["kernel"]
        return method(*args, **kwargs)

    with nn.intercept_methods(record):
        critic.apply({"params": state.critic.params, **state.critic.stats}, reals[0])
    assert len(applied) == 4
    for name, kernel in applied.items():
        norm = np.linalg.norm(np.reshape(kernel, (-1, kernel.shape[-1])), 2)
        # Of the weights themselves, as they are kept, it is 2 and more.
        assert norm == pytest.approx(1, abs=0.01), name


def test_a_power_iteration_that_never_moves_is_refused():
    class Frozen(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.SpectralNorm(nn.Dense(1), collection_name="sn")(x, update_stats=False)[:, 0]

    with pytest.raises(ValueError, match=r"does not move Frozen's sn/.*told that it trains"):
        build(critic=Frozen())


# BatchNorm under any keyword.


def normed(keyword, default=False, of_training=lambda value: value):
    """A generator whose BatchNorm trains under a keyword of this name."""

    class Generator(nn.Module):
        latent_dim: int = 4

        @nn.compact
        def __call__(self, z, **keywords):
            train = of_training(keywords.get(keyword, default))
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(z) * 5 + 3)
            return nn.Dense(2)(nn.relu(x))

    def call(self, z, **keywords):
        return compact(self, z, **keywords)

    compact = Generator.__call__
    source = (
        f"def __call__(self, z, {keyword}={default!r}): return call(self, z, {keyword}={keyword})"
    )
    scope = {"call": call}
    exec(source, scope)  # a signature whose keyword is a variable
    Generator.__call__ = scope["__call__"]
    return Generator()


KEYWORDS = [(keyword, default) for keyword in TRAINING_KEYWORDS for default in (False, True)]
FEW = [("train", False), ("deterministic", True), ("use_running_average", False)]


@pytest.mark.parametrize(
    ("keyword", "default"),
    [pytest.param(*k, marks=[] if k in FEW else pytest.mark.slow) for k in KEYWORDS],
)
def test_batch_norm_normalises_in_training_and_samples_by_its_averages(keyword, default):
    says_training = TRAINING_KEYWORDS[keyword]
    generator = normed(keyword, default, lambda value: value == says_training)
    model = build(generator, ema_decay=0)
    state = train(model, 30)
    mean = state.generator.stats["batch_stats"]["BatchNorm_0"]["mean"]
    # flax's momentum is 0.99, and the activations' mean 3 but for noise.
    np.testing.assert_allclose(mean, 3 * (1 - 0.99**30), atol=0.2)
    few, many = (model.sample(state, KEY, n) for n in (2, 9))
    np.testing.assert_allclose(many[:2], few, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("keyword", "default", "of_training"),
    [("phase", False, bool), ("mode", "eval", lambda mode: mode == "train")],
)
def test_batch_norm_under_an_unknown_keyword_is_refused_by_name(keyword, default, of_training):
    with pytest.raises(ValueError, match=rf"Generator's batch_stats/.*; it takes {keyword}\."):
        build(normed(keyword, default, of_training))


def test_batch_norm_that_samples_by_the_batch_is_refused():
    for generator in (
        normed("phase", True),
        normed("train", False, lambda value: True),
    ):
        with pytest.raises(ValueError, match="Generator normalises by the batch when it samples"):
            build(generator)


class OwnReluThenNorm(nn.Module):
    """A ReLU that hides NaN, before a BatchNorm."""

    outputs: int
    latent_dim: int = 4

    @nn.compact
    def __call__(self, x, phase=True):
        h = nn.Dense(8, use_bias=False)(x)
        h = nn.BatchNorm(use_running_average=not phase)(jnp.where(h > 0, h, 0.0))
        return nn.Dense(self.outputs)(h)


class OwnNorm(nn.Module):
    """Normalised by its batch, without a variable that says so."""

    normalise: str
    latent_dim: int = 4

    @nn.compact
    def __call__(self, z):
        h = nn.Dense(8)(z)
        if self.normalise == "layer":
            return nn.Dense(2)(nn.LayerNorm(reduction_axes=0, feature_axes=-1)(h))
        mean = jnp.nanmean(h, axis=0) if self.normalise == "nanmean" else h.mean(axis=0)
        scale = 1 if self.normalise == "nanmean" else h.std(axis=0) + 1e-5
        return nn.Dense(2)(jnp.nan_to_num(h - mean) / scale)


@pytest.mark.parametrize(
    "generator",
    [OwnReluThenNorm(2), OwnNorm("by hand"), OwnNorm("layer"), OwnNorm("nanmean")],
    ids=["own relu", "by hand", "layer", "nanmean"],
)
def test_samples_that_depend_on_each_other_are_refused_however_they_do(generator):
    with pytest.raises(ValueError, match="normalises by the batch when it samples"):
        build(generator)


def test_a_penalised_critic_may_not_mix_examples_behind_a_relu_of_its_own():
    class Critic(OwnReluThenNorm):
        def __call__(self, x):
            return super().__call__(x)[:, 0]

    with pytest.raises(ValueError, match=r"depend on the whole batch.*Critic does"):
        build(critic=Critic(1), loss=losses.wgan_gp())


def test_a_keyword_without_default_that_training_does_not_give_is_refused():
    class Conditional(nn.Module):
        @nn.compact
        def __call__(self, x, labels):
            return nn.Dense(1)(x)[:, 0] + labels

    with pytest.raises(ValueError, match="Conditional needs labels, which training"):
        build(critic=Conditional())


@pytest.mark.slow
def test_harmless_keywords_and_sequences_are_taken():
    class Optional(nn.Module):
        @nn.compact
        def __call__(self, x, return_features=False, *rest, **others):
            features = nn.Dense(4)(x)
            return features if return_features else nn.Dense(1)(nn.relu(features))[:, 0]

    for critic in (
        Optional(),
        nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1), lambda y: y[:, 0]]),
    ):
        state = train(build(critic=critic), 1)
        chex.assert_tree_all_finite(state.critic.params)


@pytest.mark.parametrize("lift", [nn.remat, pytest.param(nn.jit, marks=pytest.mark.slow)])
def test_inside_a_lifted_transform_numbers_decide(lift):
    class Block(nn.Module):
        train: bool

        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=not self.train)(nn.Dense(8)(x))

    class Generator(nn.Module):
        latent_dim: int = 3

        @nn.compact
        def __call__(self, z, train=False):
            return nn.Dense(2)(nn.relu(lift(Block)(train)(z)))

    class Deaf(Generator):
        @nn.compact
        def __call__(self, z, phase=False):
            return nn.Dense(2)(nn.relu(lift(Block)(phase)(z)))

    first, last = (train(build(Generator()), steps).generator.stats for steps in (0, 3))
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (first, last)), strict=True))
    with pytest.raises(ValueError, match="does not move Deaf's batch_stats"):
        build(Deaf())


# The critic's other variables.


class NormedCritic(nn.Module):
    @nn.compact
    def __call__(self, x, train=False, axis_name=None):
        x = nn.BatchNorm(not train, axis_name=axis_name if train else None, momentum=0.9)(x)
        return nn.Dense(1)(nn.tanh(nn.Dense(4)(x)))[:, 0]


def test_the_critics_statistics_follow_each_real_batch_once():
    model = build(critic=NormedCritic(), loss=hinge(), n_critic=3)
    reals = 5 + jax.random.normal(KEY, (3, 64, 2))
    state, _ = model.step(model.init(KEY), reals)
    mean, var = np.zeros(2), np.ones(2)
    for real in np.asarray(reals, np.float64):
        mean = 0.9 * mean + 0.1 * real.mean(axis=0)
        var = 0.9 * var + 0.1 * real.var(axis=0)
    stats = state.critic.stats["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-4)
    after, _ = model.g_step(state, reals[0], KEY)
    chex.assert_trees_all_equal(after.critic.stats, state.critic.stats)


@pytest.mark.parametrize("mode", [pytest.param("pmap", marks=pytest.mark.slow), "mesh"])
def test_the_critics_statistics_are_the_whole_batchs_on_two_devices(mode):
    model = build(critic=NormedCritic(), loss=hinge(), tx=optax.sgd(0.1))
    reals = 5 + jax.random.normal(KEY, (1, 64, 2))
    alone, _ = model.step(model.init(KEY), reals)
    devices = jax.devices()[:2]
    step = parallel.wrap(model.step, mode, split=(1,), devices=devices)
    together, _ = step(parallel.replicate(model.init(KEY), mode, devices), reals)
    chex.assert_trees_all_close(
        jax.device_get(parallel.own_copy(together).critic.stats),
        jax.device_get(alone.critic.stats),
        rtol=1e-5,
        atol=1e-6,
    )


class NormedAlone(nn.Module):
    """With a BatchNorm that takes no axis_name."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(1)(nn.BatchNorm(not train)(x))[:, 0]


class NormedGeneratorAlone(nn.Module):
    latent_dim: int = 3

    @nn.compact
    def __call__(self, z, train=False):
        return nn.Dense(2)(nn.BatchNorm(not train)(nn.Dense(4)(z)))


@pytest.mark.parametrize("mode", [pytest.param("pmap", marks=pytest.mark.slow), "mesh"])
@pytest.mark.parametrize("networks", [(None, NormedAlone()), (NormedGeneratorAlone(), None)])
def test_what_mixes_examples_must_know_the_devices_that_share_its_batch(networks, mode):
    model = build(*networks, loss=hinge())
    reals = jnp.ones((1, 8, 2))

    def step_on(devices):
        step = parallel.wrap(model.step, mode, split=(1,), devices=devices)
        return jax.eval_shape(step, model.init(KEY), reals)

    name = type(networks[0] or networks[1]).__name__
    with pytest.raises(ValueError, match=rf"{name} mixes .* on 2 devices.* keyword axis_name=None"):
        step_on(jax.devices()[:2])
    step_on(jax.devices()[:1])


# Variables of other kinds.


class WithVariable(nn.Module):
    """A critic that keeps one more variable, in a collection and of a type of its own."""

    collection: str
    start: float | int
    moves: bool

    @nn.compact
    def __call__(self, x):
        kept = self.variable(self.collection, "kept", lambda: jnp.asarray(self.start))
        if self.moves and not self.is_initializing():
            kept.value = kept.value + 1
        return nn.Dense(1)(x)[:, 0] * kept.value.astype(jnp.float32)


@pytest.mark.parametrize("start", [1, 1.5])
def test_a_variable_of_any_type_is_kept_and_moved(start):
    critic = WithVariable("counts", start, moves=True)
    state = train(build(critic=critic), 4)
    assert state.critic.stats["counts"]["kept"] == start + 4


def test_a_generators_counter_has_no_average_but_its_value():
    class Generator(nn.Module):
        latent_dim: int = 2

        @nn.compact
        def __call__(self, z, train=False):
            count = self.variable("counts", "steps", lambda: jnp.zeros((), jnp.int32))
            if train:
                count.value = count.value + 1
            return nn.Dense(2)(z)

    state = train(build(Generator()), 3)
    assert state.generator.stats["counts"]["steps"] == state.ema_stats["counts"]["steps"] == 3


def test_a_networks_own_key_is_kept_and_moved():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x):
            own = self.variable("noise", "key", lambda: jax.random.key(0))
            own.value, key = jax.random.split(own.value)
            return nn.Dense(1)(x + jax.random.normal(key, x.shape))[:, 0]

    kept = train(build(critic=Noisy(), ema_decay=0), 1).critic.stats["noise"]["key"]
    assert kept != KEY


def test_a_variable_that_never_moves_belongs_in_constants():
    state = train(build(critic=WithVariable("constants", 1.5, moves=False)), 2)
    assert state.critic.stats["constants"]["kept"] == 1.5
    with pytest.raises(ValueError, match=r"does not move WithVariable's own/kept.*'constants'"):
        build(critic=WithVariable("own", 1.5, moves=False))


def test_variables_that_grow_are_refused():
    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("activations", "first", x.mean())
            return nn.Dense(1)(x)[:, 0]

    with pytest.raises(ValueError, match=r"Sowing changes the shapes .* activations"):
        build(critic=Sowing())


class Dropping(nn.Module):
    """A critic with Dropout, off unless it is told otherwise."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x, drop=False):
        return nn.Dense(1)(nn.Dropout(self.rate, deterministic=not drop)(nn.Dense(4)(x)))[:, 0]


def test_dropout_is_refused_also_where_an_unknown_keyword_turns_it_off():
    with pytest.raises(ValueError, match="Dropping draws random numbers"):
        build(critic=Dropping())
    train(build(critic=Dropping(rate=0.0)), 1)


class DroppingByAnyKeyword(nn.Module):
    @nn.compact
    def __call__(self, x, **keywords):
        idle = not keywords.get("train", False)
        return nn.Dense(1)(nn.Dropout(0.5, deterministic=idle)(x))[:, 0]


class Attending(nn.Module):
    @nn.compact
    def __call__(self, x, evaluate=True):
        attention = nn.MultiHeadDotProductAttention(1, dropout_rate=0.5, deterministic=evaluate)
        return attention(x[:, None])[:, 0, 0]


@pytest.mark.parametrize("critic", [DroppingByAnyKeyword(), Attending()])
def test_dropout_is_refused_in_whatever_layer_and_by_whatever_keyword_it_is_off(critic):
    with pytest.raises(ValueError, match=f"{type(critic).__name__} draws random numbers"):
        build(critic=critic)


# What flax and jax answer at length.


class Branching(nn.Module):
    """With one more layer in training, or none."""

    extra: str = ""

    @nn.compact
    def __call__(self, x, train=False):
        if train and self.extra == "first":
            x = nn.Dense(3)(x)
        if train and self.extra == "norm":
            x = nn.BatchNorm(use_running_average=False)(x)
        x = nn.Dense(1)(x)
        return nn.Dense(1)(x)[:, 0] if train and self.extra == "last" else x[:, 0]


@pytest.mark.parametrize("lift", [nn.remat, nn.jit])
def test_a_lifted_network_with_a_keyword_is_refused_in_a_line(lift):
    with pytest.raises(ValueError, match=r"^\w+Branching branches on a traced value;.*\)\.$"):
        build(critic=lift(Branching)())


@pytest.mark.parametrize("extra", ["first", "norm", "last"])
def test_a_layer_made_in_training_alone_is_refused_in_a_line(extra):
    with pytest.raises(ValueError, match=r"^Branching must have the same layers .* both cases\.$"):
        build(critic=Branching(extra))


# What is no network.


class OnNnx(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)[:, 0]


def no_weights(x):
    return x.sum(axis=1)


class NoWeights(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x.sum(axis=1)


@pytest.mark.parametrize(
    ("critic", "says"),
    [
        (lambda: OnNnx(nnx.Rngs(0)), "critic must be a flax.linen module.*lambda rngs: OnNnx"),
        (lambda: NormedCritic, r"got the class NormedCritic: make one: NormedCritic\(\.\.\.\)"),
        (lambda: no_weights, "got the function no_weights: .*it fails when it is given nnx.Rngs"),
        (lambda: networks.mlp((2,), 2), "got a tuple: networks.mlp.* make a pair"),
        (lambda: NoWeights(), "NoWeights has no parameters"),
        (lambda: "dcgan", "got 'dcgan'"),
    ],
)
def test_what_is_no_network_is_refused(critic, says):
    with pytest.raises(ValueError, match=says):
        build(critic=critic())


@pytest.mark.parametrize("latent_dim", [0, -1, 2.0, True, None])
def test_a_latent_dim_is_a_whole_number_from_one(latent_dim):
    class Generator(nn.Module):
        latent_dim: object

        @nn.compact
        def __call__(self, z):
            return nn.Dense(2)(z)

    with pytest.raises(ValueError, match="latent vector, a whole number from 1 up"):
        build(Generator(latent_dim))


# Data.


@functools.cache
def image_model():
    return build(*networks.mlp((4, 4, 1), 2, 4, 1))


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_pixels_up_to_255_are_refused_by_a_generator_that_ends_in_tanh(kind):
    pixels = kind(np.full((1, 8, 4, 4, 1), 200, np.float32))
    model = build(*networks.mlp((4, 4, 1), 2, 4, 1))
    state = model.init(KEY)
    several = jaxgan.over_seeds(model)
    for functions in (model, several):
        for name in ("step", "step", "d_step", "g_step", "d_grad", "g_grad"):
            real = pixels if name == "step" else pixels[0]
            key = () if name == "step" else (KEY,)
            with pytest.raises(ValueError, match=r"lie in \[-1, 1\].*from 200 to 200.*to_float"):
                getattr(functions, name)(state, real, *key)


def test_points_and_an_own_generator_may_have_any_range():
    model = build()
    _, metrics = model.step(model.init(KEY), np.full((1, 8, 2), 300, np.float32))
    chex.assert_tree_all_finite(metrics)


class DataFrame:
    """What pandas gives: it has a shape, and is no array."""

    shape = (1, 8, 4, 4, 1)


@pytest.mark.parametrize("real", [DataFrame(), [[[0.0]]], "x", None, (np.zeros((8, 2)),)])
def test_data_that_are_no_array_are_refused_in_a_line(real):
    model = image_model()
    state = model.init(KEY)
    several = jaxgan.over_seeds(model)
    for step, name in ((model.step, "reals"), (several.step, "reals"), (model.d_step, "real")):
        key = (KEY,) if step is model.d_step else ()
        with pytest.raises(ValueError, match=f"{name} must be an array of numpy.*; got"):
            step(state, real, *key)


def test_a_torch_tensor_is_refused_in_a_line():
    torch = pytest.importorskip("torch")
    model = image_model()
    with pytest.raises(ValueError, match=r"numpy\.asarray makes; got a torch Tensor"):
        model.step(model.init(KEY), torch.zeros(1, 8, 4, 4, 1))
