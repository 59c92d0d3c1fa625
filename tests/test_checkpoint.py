"""Checkpoints: what goes in comes out, and damage is noticed, told and never deleted."""

import os
import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import gan, losses, networks
from jaxgan.training.checkpoints import Checkpoints


def make_state(ema_decay=0.9):
    generator, critic = networks.dcgan((8, 8, 1), 4, 4, critic_norm=True)
    model = gan(
        generator, critic, losses.bce(), optax.adam(1e-3), optax.rmsprop(1e-3), ema_decay=ema_decay
    )
    return model.init(jax.random.key(3))


def read(folder, state):
    told = []
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(jax.eval_shape(lambda: state), warn=told.append), told
    finally:
        checkpoints.close()


def write(folder, state, steps=(1, 2)):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, state._replace(step=jnp.int32(step)))
    checkpoints.close()


def assert_same(a, b):
    chex.assert_trees_all_equal(
        *(s._replace(key=jax.random.key_data(s.key)) for s in (a, b)), strict=True
    )


@pytest.mark.parametrize("ema_decay", [0.9, 0.0])
def test_every_leaf_comes_back_bitwise(ema_decay, tmp_path):
    state = make_state(ema_decay)
    write(tmp_path, state)
    restored, told = read(tmp_path, state)
    assert_same(restored, state._replace(step=jnp.int32(2)))
    assert not told


def test_an_empty_folder_holds_none(tmp_path):
    assert read(tmp_path, make_state()) == (None, [])


def test_a_saved_step_may_be_donated_at_once(tmp_path):
    """The copy is taken before save returns: training overwrites the state's buffers next."""
    state = make_state()
    expected = jax.tree.map(jnp.copy, state._replace(key=jax.random.key_data(state.key)))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    scale = jax.jit(
        lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0, keep_unused=True
    )
    scale((state.generator.params, state.critic.params))
    checkpoints.close()
    restored, _ = read(tmp_path, jax.eval_shape(lambda: expected)._replace(key=state.key))
    assert_same(restored, expected._replace(key=state.key))


def test_the_newest_three_are_kept(tmp_path):
    write(tmp_path, make_state(), steps=range(1, 6))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4", "5"]


def test_every_so_many_are_kept_beside_the_newest_three(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_period=2)
    for step in range(1, 8):
        checkpoints.save(step, {"x": jnp.float32(step)})
    checkpoints.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4", "5", "6", "7"]


def data_files(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if path.stat().st_size > 1000]


def truncate(folder):
    for path in data_files(folder):
        os.truncate(path, path.stat().st_size // 2)


def empty(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def remove_largest(folder):
    max(data_files(folder), key=lambda path: path.stat().st_size).unlink()


def remove_digest(folder):
    for path in (folder / "digest").iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, remove_largest, remove_digest])
def test_damage_falls_back_to_the_one_before_and_deletes_nothing(damage, tmp_path):
    state = make_state()
    write(tmp_path, state)
    damage(tmp_path / "2")
    left = {path.name for path in (tmp_path / "2").rglob("*")}
    restored, told = read(tmp_path, state)
    assert_same(restored, state._replace(step=jnp.int32(1)))
    assert len(told) == 1 and "checkpoint 2" in told[0] and "\n" not in told[0]
    assert {path.name for path in (tmp_path / "2.unreadable").rglob("*")} == left
    write(tmp_path, state, steps=[2])  # the step can be saved again
    assert_same(read(tmp_path, state)[0], state._replace(step=jnp.int32(2)))


def test_any_flipped_bit_is_noticed(tmp_path):
    """In whatever file it is: the old checkpoint is used, or the state is the true one."""
    state = make_state()
    rng = np.random.default_rng(0)
    noticed = 0
    for trial in range(6):
        folder = tmp_path / str(trial)
        write(folder, state)
        path = max(data_files(folder / "2"), key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        restored, told = read(folder, state)
        step = 1 if told else 2
        noticed += len(told)
        assert_same(restored, state._replace(step=jnp.int32(step)))
    assert noticed, "not one of the flips was noticed"


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def clear(path):
    os.truncate(path, 0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of two checkpoints, whose files are of all kinds."""
    folder = tmp_path_factory.mktemp("sound")
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, {"w": step * jnp.arange(2000.0), "step": jnp.int32(step)})
    checkpoints.close()
    return folder


@pytest.mark.parametrize("harm", [cut, clear, flip, pathlib.Path.unlink])
def test_whichever_file_is_harmed_what_is_restored_was_saved(harm, sound, tmp_path):
    """The checkpoint before, and a word of it; or the newest, if that file tells nothing of it."""
    files = [path.relative_to(sound) for path in sorted((sound / "2").rglob("*")) if path.is_file()]
    assert len(files) > 5
    fell_back = 0
    for index, file in enumerate(files):
        folder = tmp_path / str(index)
        shutil.copytree(sound, folder)
        if not (folder / file).stat().st_size:
            continue
        harm(folder / file)
        left = contents(folder / "2")
        template = {"w": jnp.zeros(2000), "step": jnp.int32(0)}
        restored, told = read(folder, template)
        step = 1 if told else 2
        assert restored["step"] == step, file
        np.testing.assert_array_equal(restored["w"], step * np.arange(2000.0))
        assert contents(folder / ("2.unreadable" if told else "2")) == left, file
        fell_back += len(told)
    assert fell_back >= 2


def contents(folder):
    """What is in each file."""
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_nothing_readable_is_an_error_and_touches_nothing(tmp_path):
    state = make_state()
    write(tmp_path, state)
    for step in ("1", "2"):
        empty(pathlib.Path(tmp_path / step))
    with pytest.raises(ValueError, match="none of the checkpoints"):
        read(tmp_path, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
