"""Numbers that break: seen at once, named, kept out of checkpoints, replayed, or skipped."""

import dataclasses
import functools
import json
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

import jaxgan
from jaxgan import data, losses, networks
from jaxgan.commands import train
from jaxgan.commands.config import Config
from jaxgan.commands.settings import make_model, make_model_of, recorded
from jaxgan.state import all_finite
from jaxgan.training import log, nonfinite

N_CRITIC, BATCH = 2, 8
CONFIG = Config(
    loss="wgan-gp",
    dataset="ring8",
    model="mlp",
    latent_dim=2,
    width=4,
    depth=1,
    n_critic=N_CRITIC,
    batch_size=BATCH,
    optimizer="sgd",
    ema_decay=0.0,
)


def reals():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N_CRITIC, BATCH, 2)).astype(np.float32)


# What is not finite stays so, to the end of a chunk.


@functools.cache
def model_of(loss_name, optimizer, skip=False):
    generator, critic = networks.mlp((2,), latent_dim=2, width=4, depth=1)
    loss = {
        "bce": losses.bce(),
        "minimax": losses.minimax(),
        "wgan": losses.wgan(),
        "wgan-gp": losses.wgan_gp(),
    }[loss_name]
    tx = {"adam": optax.adam, "rmsprop": optax.rmsprop, "sgd": optax.sgd}[optimizer](1e-3)
    return jaxgan.gan(generator, critic, loss, tx, tx, N_CRITIC, skip_nonfinite=skip)


@pytest.mark.parametrize(
    ("loss_name", "optimizer"),
    [pytest.param("wgan", "rmsprop", marks=pytest.mark.slow), ("wgan", "sgd"), ("bce", "adam")],
)
def test_a_broken_update_shows_in_every_later_state(loss_name, optimizer):
    """In the first of the critic's updates, which the metrics are not of."""
    model = model_of(loss_name, optimizer)
    start = model.init(jax.random.key(0))
    for value in (np.nan, np.inf):
        broken = reals()
        broken[0, 0, 0] = value
        state, metrics = model.step(start, broken)
        assert not all_finite(metrics)
        for _ in range(2):
            assert not all_finite(state.critic)
            state, _ = model.step(state, reals())


def test_clipping_does_not_hide_an_infinite_weight():
    weights = {"w": jnp.array([jnp.inf, -jnp.inf, jnp.nan, 3.0])}
    np.testing.assert_array_equal(
        losses.wgan(0.5).project(weights)["w"], [np.inf, -np.inf, np.nan, 0.5]
    )


# Skipping.


@pytest.mark.parametrize("loss_name", ["minimax", "wgan"])
def test_a_skipped_update_leaves_its_network_bitwise_as_it_was(loss_name):
    model = model_of(loss_name, "adam", skip=True)
    key = jax.random.key(1)
    before, _ = model.step(model.init(jax.random.key(0)), reals())
    broken = np.full((BATCH, 2), np.nan, np.float32)
    after, metrics = model.d_step(before, broken, key)
    assert not np.isfinite(metrics["d_loss"]) and metrics["skipped"] == 1
    assert_same(after, before._replace(skipped=jnp.int32(1)))
    params = jax.tree.map(lambda w: w * np.nan, before.critic.params)
    before = before._replace(critic=before.critic._replace(params=params))
    after, metrics = model.g_step(before, reals()[0], key)
    assert metrics["skipped"] == 1
    assert_same(after, before._replace(step=jnp.int32(2), skipped=jnp.int32(1)))


@pytest.mark.parametrize("loss_name", ["wgan"])
def test_skipping_one_update_keeps_the_others(loss_name):
    """An iteration whose first critic update breaks is one whose first is left out."""
    model = model_of(loss_name, "adam", skip=True)
    start = model.init(jax.random.key(0))
    broken = reals()
    broken[0] = np.inf
    after, metrics = model.step(start, broken)
    key = jax.random.fold_in(start.key, 0)
    expected, _ = model.d_step(start, broken[1], jax.random.fold_in(key, 1))
    expected, _ = model.g_step(expected, broken[1], jax.random.fold_in(key, 2))
    assert metrics["skipped"] == after.skipped == 1
    # Other programs, other roundings: a few of 6e-8.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, *(leaves(s._replace(skipped=None)) for s in (after, expected)))


def test_where_all_is_finite_skipping_changes_nothing():
    start = model_of("wgan-gp", "adam").init(jax.random.key(0))
    plain, _ = model_of("wgan-gp", "adam").step(start, reals())
    counted = start._replace(skipped=jnp.int32(0))
    skipping, metrics = model_of("wgan-gp", "adam", skip=True).step(counted, reals())
    assert metrics["skipped"] == 0
    chex.assert_trees_all_close(
        leaves(skipping._replace(skipped=None)), leaves(plain), rtol=1e-5, atol=1e-6
    )


def leaves(state):
    return jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))


def assert_same(a, b):
    chex.assert_trees_all_equal(leaves(a), leaves(b), strict=True)


# Which network, which quantity.


def iteration_of(change=lambda state: state, real=1.0, **settings):
    config = dataclasses.replace(CONFIG, **settings)
    state = make_model(config, (2,)).init(jax.random.key(0))
    settings = recorded(config)
    return nonfinite.Iteration(settings, config.seed, change(state), reals() * np.float32(real))


def model_for(iteration):
    return make_model_of(iteration.settings, (2,))


def scale(player, first, last):
    """Two layers whose product is as before, so that the loss is, but not the first's gradient."""
    a, b = player.params["Dense_0"], player.params["Dense_1"]
    params = {"Dense_0": {k: v * first for k, v in a.items()}}
    params["Dense_1"] = {k: v * last for k, v in b.items()}
    return player._replace(params=params)


def steep_critic(state):
    return state._replace(critic=scale(state.critic, 1e-30, 1e30))


def steep_generator(state):
    critic = scale(state.critic, 1e10, 1e10)
    return state._replace(critic=critic, generator=scale(state.generator, 1e-30, 1e30))


def large_critic(state):
    return state._replace(critic=scale(state.critic, 10, 10))


LINEAR = {"loss": "wgan", "clip": 1e37, "d_learning_rate": 1e-30, "g_learning_rate": 1e-30}

BROKEN = {
    "critic's loss": iteration_of(real=np.nan),
    "critic's gradient": iteration_of(steep_critic, real=1e20, **LINEAR),
    "critic's optimizer state": iteration_of(real=1e25, **LINEAR | {"optimizer": "rmsprop"}),
    "critic's parameter": iteration_of(large_critic, d_learning_rate=1e38),
    "generator's gradient": iteration_of(steep_generator, **LINEAR),
    "generator's parameter": iteration_of(large_critic, g_learning_rate=1e38),
}


@pytest.mark.parametrize("words", BROKEN)
def test_network_and_quantity_are_named(words):
    found = nonfinite.locate(model_for(BROKEN[words]), BROKEN[words])
    assert str(found).startswith(f"the {words}"), found
    assert found.update.network == words.split("'")[0]
    if found.update.network == "critic":
        assert "critic update 1 of 2" in str(found)
        assert_same(found.state, BROKEN[words].state)
    else:
        assert "the generator's update" in str(found)


def test_a_sound_iteration_has_nothing_to_name():
    sound = iteration_of()
    assert nonfinite.locate(model_for(sound), sound) is None


# The file, and its replay.


def test_a_saved_iteration_comes_back_bitwise(tmp_path):
    for settings in ({}, {"optimizer": "adam", "ema_decay": 0.9}):
        iteration = iteration_of(real=np.nan, **settings)
        nonfinite.save(iteration, epath.Path(tmp_path / "file.npz"))
        _, loaded = nonfinite.load(tmp_path / "file.npz", make_model_of)
        assert (loaded.settings, loaded.seed) == (iteration.settings, iteration.seed)
        np.testing.assert_array_equal(loaded.reals, iteration.reals)
        assert_same(loaded.state, iteration.state)


@pytest.mark.slow
def test_replay_shows_the_operation_and_its_line(tmp_path, capsys):
    """Of a gradient's operation, the line that it is the gradient of."""
    nonfinite.save(BROKEN["critic's gradient"], epath.Path(tmp_path / "file.npz"))
    assert train.main([f"--replay={tmp_path / 'file.npz'}"]) == 3
    out = capsys.readouterr().out
    assert "the critic's gradient (Dense_0/kernel)" in out and "encountered in dot_general" in out
    assert re.search(r"mlp.py, line \d+, in _hidden_layers: ", out)


def test_replay_of_a_sound_step_says_so(tmp_path, capsys):
    nonfinite.save(iteration_of(), epath.Path(tmp_path / "file.npz"))
    assert train.main(["--replay", str(tmp_path / "file.npz")]) == 0
    assert "every number of it is finite" in capsys.readouterr().out


def missing(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


def emptied(path):
    path.write_bytes(b"")


def pickled(path):
    np.savez(path, settings=np.array([{"a": 1}], object), reals=np.zeros(3))


def of_another_shape(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"generator/params/Dense_0/bias": np.zeros(7, np.float32)})


@pytest.mark.parametrize("damage", [missing, cut, emptied, pickled, of_another_shape])
def test_a_file_that_is_no_saved_iteration_is_refused_in_a_line(damage, tmp_path, capsys):
    path = tmp_path / "file.npz"
    nonfinite.save(iteration_of(), epath.Path(path))
    damage(path)
    assert train.main([f"--replay={path}"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and str(path) in error and "diverged-STEP.npz" in error


def test_replay_takes_no_other_setting(capsys):
    assert train.main(["--replay=file.npz", "--loss=wgan"]) == 2
    assert "--loss=wgan" in capsys.readouterr().err


# The trainer.

IMAGES = 160
SMALL = ["--model=mlp", "--width=8", "--depth=1", f"--batch-size={BATCH}", "--n-critic=2"]
EVERY = ["--log-every=1", "--sample-every=0", "--checkpoint-every=2"]


@pytest.fixture
def bad_image(monkeypatch):
    """A data set with one example whose score no float32 can hold."""
    images = np.random.default_rng(0).uniform(-1, 1, size=(IMAGES, 16)).astype(np.float32)
    images[17] = 3e38
    monkeypatch.setattr(data, "load", lambda *_, **__: data.Dataset("digits", images, images))


def bad_updates(seed, steps):
    """For each step how many of its critic updates see that image."""
    rows = data.batch_indices(seed, 0, steps, 2, BATCH, IMAGES)
    return (rows == 17).any(axis=2).sum(axis=1)


def run(folder, *arguments, parallel="jit"):
    arguments = [*SMALL, *EVERY, f"--parallel={parallel}", f"--workdir={folder}", *arguments]
    return train.main(arguments)


def read_rows(folder):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def last_line(capsys):
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


@pytest.mark.parametrize(
    ("loss", "parallel"), [pytest.param("bce", "jit", marks=pytest.mark.slow), ("wgan-gp", "mesh")]
)
def test_a_run_stops_at_the_step_that_breaks_and_can_be_replayed(
    loss, parallel, tmp_path, bad_image, capsys
):
    step = int(np.argmax(bad_updates(0, 50))) + 1
    assert run(tmp_path, f"--loss={loss}", "--steps=50", parallel=parallel) == 3
    error = last_line(capsys)
    assert f"diverged at step {step}: the critic's loss (d_loss" in error
    kept = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert all(k < step for k in kept)
    rows = read_rows(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, step))
    assert all(math.isfinite(v) for row in rows for v in row.values())
    file = tmp_path / f"diverged-{step}.npz"
    assert f"--replay={file}" in error and file.exists()
    if parallel == "mesh":  # what follows does not depend on the devices
        return
    assert train.main([f"--replay={file}"]) == 3
    assert "encountered in" in capsys.readouterr().out
    # Again from the last checkpoint, to the same end.
    assert run(tmp_path, f"--loss={loss}", "--steps=50", parallel=parallel) == 3
    assert last_line(capsys) == error


@pytest.mark.slow
def test_skipping_counts_every_broken_update(tmp_path, bad_image):
    arguments = ["--loss=wgan-gp", "--on-divergence=skip"]
    assert not run(tmp_path / "whole", *arguments, "--steps=12")
    rows, expected = read_rows(tmp_path / "whole"), bad_updates(0, 12)
    assert [row["skipped"] for row in rows] == list(np.cumsum(expected))
    assert [row["d_loss"] is None for row in rows] == [n > 0 for n in expected]
    assert any(expected) and json.loads((tmp_path / "whole" / "summary.json").read_text())[
        "metrics"
    ]["skipped"] == sum(expected)
    for steps in (5, 12):
        assert not run(tmp_path / "parts", *arguments, f"--steps={steps}")
    assert read_rows(tmp_path / "parts") == rows


@pytest.mark.slow
def test_of_several_seeds_the_one_that_breaks_is_named(tmp_path, bad_image, capsys):
    first = {int(np.argmax(bad_updates(seed, 50))) + 1: seed for seed in (2, 3)}
    step = min(first)
    seed = first[step]
    assert len(first) == 2 and seed == 3
    assert run(tmp_path, "--loss=wgan-gp", "--steps=50", "--seed=2", "--num-seeds=2") == 3
    error = last_line(capsys)
    assert f"diverged at step {step} of seed {seed}: the critic's loss" in error
    assert train.main([f"--replay={tmp_path}/diverged-{step}.npz"]) == 3
    assert f"seed {seed}" in capsys.readouterr().out


def test_several_seeds_skip_each_its_own_and_the_end_says_so(tmp_path, bad_image, capsys):
    assert not run(tmp_path, "--loss=bce", "--steps=12", "--num-seeds=2", "--on-divergence=skip")
    counts = [int(bad_updates(seed, 12).sum()) for seed in (0, 1)]
    assert counts[0] != counts[1]
    assert read_rows(tmp_path)[-1]["skipped_seeds"] == counts
    words = f"{sum(counts)} of 72 updates were not finite, and skipped"
    assert words in capsys.readouterr().out


@pytest.mark.slow
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, capsys):
    """The generator breaks in the very last update, of which no metric tells."""
    arguments = ["--loss=wgan", "--dataset=ring8", "--g-learning-rate=1e38", "--steps=1"]
    assert run(tmp_path, *arguments) == 3
    assert "diverged at step 1: the generator's parameter (" in last_line(capsys)
    assert not list((tmp_path / "checkpoints").iterdir())
    assert all(math.isfinite(v) for v in read_rows(tmp_path)[0].values())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_is_broken_if_any_metric_of_any_seed_is(seed):
    column = np.ones((4, 2))
    column[2, seed] = np.nan
    assert log.count_finite({"d_loss": np.ones((4, 2)), "g_loss": column}, 4) == 2
