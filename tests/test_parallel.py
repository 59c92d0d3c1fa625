"""One step, whatever runs it: the same numbers on any devices and in any chunks."""

import functools
import itertools
import types

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import losses, networks, parallel

N_CRITIC, BATCH, K = 2, 8, 4
ITERATIONS = 20
KEY = jax.random.key(0)
# Two iterations whose means over 8 examples are added in another order: seen to differ by 2.4e-7 at
# most, four roundings of a number near one. Noise, data or statistics of a device's own would show
# as a part of the update, which is at least a thousand times the tolerance.
TOLERANCE = {"rtol": 1e-5, "atol": 5e-6}
# After twenty the same, but that under WGAN-GP, whose steps are ten times as steep, each rounding
# grows: to 9.2e-5, where parameters have moved by 0.66.
AFTER_ITERATIONS = {name: TOLERANCE for name in ("bce", "minimax", "wgan")}
AFTER_ITERATIONS["wgan_gp"] = {"rtol": 1e-3, "atol": 5e-4}


class NormedGenerator(nn.Module):
    latent_dim: int = 3

    @nn.compact
    def __call__(self, z, train=False, axis_name=None):
        x = nn.Dense(8)(z)
        x = nn.BatchNorm(not train, axis_name=axis_name if train else None, momentum=0.9)(x)
        return nn.Dense(2)(nn.relu(x))


class NormedCritic(nn.Module):
    @nn.compact
    def __call__(self, x, train=False, axis_name=None):
        x = nn.Dense(8)(x)
        x = nn.BatchNorm(not train, axis_name=axis_name if train else None)(x)
        return nn.Dense(1)(nn.tanh(x))[:, 0]


@functools.cache
def model_of(loss_name):
    """Under SGD: Adam would hide a gradient that is N times too large."""
    loss = {
        "bce": losses.bce(),
        "minimax": losses.minimax(),
        "wgan": losses.wgan(clip=0.8),
        "wgan_gp": losses.wgan_gp(),
    }[loss_name]
    critic = NormedCritic()
    if loss.per_example:
        _, critic = networks.mlp((2,), latent_dim=3, width=8, depth=1)
    return jaxgan.gan(NormedGenerator(), critic, loss, optax.sgd(0.05), optax.sgd(0.05), N_CRITIC)


@functools.cache
def start(loss_name):
    """The first state: minimax and wgan train the networks of bce."""
    return model_of("wgan_gp" if loss_name == "wgan_gp" else "bce").init(KEY)


def placed(loss_name, mode, devices=None):
    """That state on the devices; a copy, since a step consumes what it is given."""
    copy = jax.tree.map(jnp.copy, start(loss_name))
    return parallel.replicate(copy, mode, devices)


def reals(seed):
    rng = np.random.default_rng(seed)
    return (1 + rng.normal(size=(N_CRITIC, BATCH, 2))).astype(np.float32)


def data_of(state):
    """The state's leaves as plain arrays, its key included."""
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


@functools.cache
def trained(loss_name, mode, count):
    """The state after `ITERATIONS` on `count` devices, and the metrics of the last.

    Each iteration consumes the state before it, and leaves a whole one on each of the devices.
    """
    devices = jax.local_devices()[:count]
    step = parallel.wrap(model_of(loss_name).step, mode, (1,), devices)
    state = placed(loss_name, mode, devices)
    for seed in range(ITERATIONS):
        donated = state.generator.params["Dense_0"]["kernel"]
        state, metrics = step(state, reals(seed))
        assert donated.is_deleted()
    for leaf in jax.tree.leaves(state):
        assert leaf.sharding.device_set == set(devices)
        assert leaf.is_fully_replicated
    return data_of(state), metrics


# Devices.

each_mode = pytest.mark.parametrize("mode", [pytest.param("pmap", marks=pytest.mark.slow), "mesh"])


def test_the_tests_have_eight_devices():
    assert len(jax.local_devices()) == 8


CASES = [
    *(("wgan_gp", "pmap", 2), ("wgan_gp", "mesh", 1)),
    *(("bce", "mesh", 8), ("wgan", "mesh", 4)),
]
# The others that there are.
CASES += [
    pytest.param(*case, marks=pytest.mark.slow)
    for case in itertools.product(
        ("bce", "minimax", "wgan", "wgan_gp"), ("pmap", "mesh"), (1, 2, 4, 8)
    )
    if case not in CASES
]


@pytest.mark.parametrize(("loss_name", "mode", "count"), CASES)
def test_devices_compute_the_same_update_as_one(loss_name, mode, count):
    state, metrics = trained(loss_name, "jit", 1)
    ours, our_metrics = trained(loss_name, mode, count)
    chex.assert_trees_all_close(ours, state, **AFTER_ITERATIONS[loss_name])
    chex.assert_trees_all_close(our_metrics, metrics, **AFTER_ITERATIONS[loss_name])


@each_mode
def test_devices_split_the_batches_of_several_seeds(mode):
    several = jaxgan.over_seeds(model_of("wgan_gp"))
    devices = jax.local_devices()[:2]
    step = parallel.wrap(several.step, mode, (2,), devices)
    states = parallel.replicate(several.init(KEY[None]), mode, devices)
    states, metrics = step(states, reals(0)[None])
    alone, alone_metrics = model_of("wgan_gp").step(start("wgan_gp"), reals(0))
    first = jax.tree.map(lambda x: x[0], (data_of(states), metrics))
    chex.assert_trees_all_close(first, (data_of(alone), alone_metrics), **TOLERANCE)


@pytest.mark.parametrize("loss_name", ["bce", "minimax", "wgan", "wgan_gp"])
def test_updates_are_large_against_the_tolerance(loss_name):
    before = data_of(start(loss_name))
    after, _ = trained(loss_name, "jit", 1)
    for old, new in ((before.generator, after.generator), (before.critic, after.critic)):
        change = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), old.params, new.params)
        assert max(jax.tree.leaves(change)) > 1000 * AFTER_ITERATIONS[loss_name]["atol"]


def test_jit_runs_on_the_first_of_the_devices():
    device = jax.local_devices()[3]
    model = model_of("bce")
    state = placed("bce", "jit", [device])
    state, _ = parallel.wrap(model.step, "jit", (1,), [device])(state, reals(0))
    assert all(leaf.devices() == {device} for leaf in jax.tree.leaves(state))


@each_mode
def test_a_step_that_splits_its_batches_is_a_function_of_jax(mode):
    devices = jax.local_devices()[:2]
    step = parallel.wrap(model_of("bce").step, mode, (1,), devices)
    state, _ = jax.jit(step)(placed("bce", mode, devices), reals(0))
    assert state.step == 1
    program = step.lower(placed("bce", mode, devices), reals(0)).as_text()
    assert "all_reduce" in program


# Chunks.

# As `reals`, from which training moves parameters by 0.05 an iteration. Around 0 the third moves
# them by 9 and the fourth by 1,257: there each one makes roundings ten to a hundred times larger,
# and whether they stay within TOLERANCE is chance.
POINTS = (1 + np.random.default_rng(1).normal(size=(32, 2))).astype(np.float32)
BATCHES = np.random.default_rng(2).integers(32, size=(K, N_CRITIC, BATCH))


class Chunks:
    """A compiled `many_steps` and the number of times that it was traced."""

    def __init__(self, loss_name="wgan_gp", mode="jit", devices=None):
        self.traces = 0
        self.loss_name, self.mode, self.devices = loss_name, mode, devices
        self.model = model_of(loss_name)
        many = parallel.many_steps(self.model.step, lambda data, batch: data[batch])

        def counted(*args, **kwargs):
            self.traces += 1
            return many(*args, **kwargs)

        self.run = parallel.wrap(counted, mode, (None, 2, None), devices)

    def train(self, *chunks):
        """The state after chunks of these lengths, and the metrics of each chunk."""
        state = placed(self.loss_name, self.mode, self.devices)
        start, logs = 0, []
        for count in chunks:
            # What is past a short chunk is never looked at.
            batches = np.full_like(BATCHES, 31)
            batches[:count] = BATCHES[start : start + count]
            state, metrics = self.run(state, POINTS, batches, count)
            logs.append(jax.tree.map(np.asarray, metrics))
            start += count
        return data_of(state), logs


@pytest.fixture(scope="module")
def chunks():
    return Chunks()


@pytest.mark.parametrize("lengths", [(1, 3), (3, 1), (1, 1, 1, 1)])
def test_chunking_does_not_change_a_bit(chunks, lengths):
    whole, [expected] = chunks.train(K)
    parts, logs = chunks.train(*lengths)
    chex.assert_trees_all_equal(parts, whole)
    joined = jax.tree.map(
        lambda *columns: np.concatenate(
            [column[:n] for column, n in zip(columns, lengths, strict=True)]
        ),
        *logs,
    )
    chex.assert_trees_all_equal(joined, expected)


def test_a_chunk_is_a_loop_of_steps(chunks):
    state = start(chunks.loss_name)
    rows = []
    for batch in BATCHES:
        state, metrics = chunks.model.step(state, POINTS[batch])
        rows.append(metrics)
    chunked, [log] = chunks.train(K)
    assert chunked.step == K
    # Another program, so other roundings: see TOLERANCE.
    chex.assert_trees_all_close(chunked, data_of(state), **TOLERANCE)
    expected = jax.tree.map(lambda *column: np.stack(column), *rows)
    chex.assert_trees_all_close(log, expected, **TOLERANCE)


def test_chunks_train_without_exploding(chunks):
    """Or the tests that compare them would compare how roundings grow."""
    before, (after, _) = data_of(start(chunks.loss_name)), chunks.train(K)
    for old, new in ((before.generator, after.generator), (before.critic, after.critic)):
        change = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), old.params, new.params)
        assert 1000 * TOLERANCE["atol"] < max(jax.tree.leaves(change)) < 1


def test_metrics_are_of_each_iteration_and_zero_past_the_last(chunks):
    _, [log] = chunks.train(3)
    for column in log.values():
        chex.assert_shape(column, (K,))
        assert np.all(np.isfinite(column[:3]))
        assert len(np.unique(column[:3])) == 3
        assert np.all(column[3:] == 0)


def test_a_count_of_zero_changes_nothing(chunks):
    state, [log] = chunks.train(0)
    chex.assert_trees_all_equal(state, data_of(start(chunks.loss_name)))
    assert all(np.all(column == 0) for column in log.values())


def test_a_count_past_the_batches_runs_each_once(chunks):
    state = placed(chunks.loss_name, "jit")
    state, _ = chunks.run(state, POINTS, BATCHES, K + 3)
    chex.assert_trees_all_equal(data_of(state), chunks.train(K)[0])


def test_chunks_of_every_length_run_one_program(chunks):
    chunks.train(K)
    traces = chunks.traces
    chunks.train(1, 2, 0, 1)
    assert chunks.traces == traces > 0


@each_mode
def test_chunks_on_devices_compute_the_same_as_on_one(chunks, mode):
    state, [log] = chunks.train(3)
    ours = Chunks(mode=mode, devices=jax.local_devices()[:4])
    our_state, [our_log] = ours.train(3)
    chex.assert_trees_all_close(our_state, state, **TOLERANCE)
    chex.assert_trees_all_close(our_log, log, **TOLERANCE)
    traces = ours.traces
    ours.train(1)
    assert ours.traces == traces


# Refusals.


@each_mode
@pytest.mark.parametrize("batch", [3, 12])
def test_a_batch_that_does_not_divide_by_the_devices_is_refused(mode, batch):
    model = model_of("bce")
    step = parallel.wrap(model.step, mode, (1,))
    state = placed("bce", mode)
    with pytest.raises(ValueError, match=f"batch of {batch} does not divide by 8 devices.* 8, "):
        step(state, np.zeros((N_CRITIC, batch, 2), np.float32))
    assert not state.step.is_deleted()


@pytest.mark.parametrize(
    ("processes", "rows"), [([0, 0], (0, 12)), ([0, 1, 2], (0, 4)), ([1, 1, 0, 0], (6, 12))]
)
def test_a_process_gives_the_rows_of_its_own_devices(processes, rows):
    """This one is number 0, wherever its devices stand among all."""
    devices = [types.SimpleNamespace(process_index=index) for index in processes]
    assert parallel.own_rows(12, devices) == slice(*rows)


@pytest.mark.parametrize(("batch", "devices", "near"), [(10, 8, 8), (30, 8, 32), (1, 4, 4)])
def test_the_refusal_of_a_batch_names_a_near_one(batch, devices, near):
    parallel.check_divides(near, devices)
    with pytest.raises(ValueError, match=rf"batch of {batch} .* {devices} .* such as {near},"):
        parallel.check_divides(batch, devices)


def test_an_empty_batch_is_refused():
    model = model_of("bce")
    step = parallel.wrap(model.step, "pmap", (1,))
    with pytest.raises(ValueError, match=r"got \(0, 2\)"):
        step(placed("bce", "pmap"), np.zeros((N_CRITIC, 0, 2), np.float32))


def test_an_unknown_mode_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="must be one of jit, pmap, mesh; got 'xmap'"):
        parallel.wrap(model_of("bce").step, "xmap", (1,))
    with pytest.raises(ValueError, match="must be one of jit, pmap, mesh; got 'xmap'"):
        parallel.replicate(jnp.zeros(3), "xmap")


@each_mode
def test_a_loss_that_looks_at_the_whole_batch_is_refused_on_several_devices(mode):
    """Each device would take the mean of its own examples."""

    def critic(critic_fn, real, fake, key):
        return jnp.mean(jax.nn.softplus(jnp.mean(critic_fn(fake)) - critic_fn(real))), {}

    own = jaxgan.losses.Loss(critic, jaxgan.losses.wgan().generator)
    generator, network = networks.mlp((2,), latent_dim=3, width=8, depth=1)
    model = jaxgan.gan(generator, network, own, optax.sgd(0.1), optax.sgd(0.1), n_critic=1)
    devices, batch = jax.local_devices()[:2], np.ones((1, 4, 2), np.float32)
    step = parallel.wrap(model.step, mode, (1,), devices)
    with pytest.raises(ValueError, match="the loss is no mean over the batch"):
        step(parallel.replicate(model.init(KEY), mode, devices), batch)
    model.step(model.init(KEY), batch)
