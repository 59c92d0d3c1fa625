"""Loading a run, and drawing from it, as users do."""

import json
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))

import sample
import train

from jaxgan import config as configs
from jaxgan import data, plots, trained
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import Config, make_model

SMALL = ["--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16", "--log-every=1"]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """Steps 0 to 6, a picture every other step, a checkpoint at 3 and 6."""
    folder = tmp_path_factory.mktemp("digits")
    arguments = ["--loss=wgan", "--steps=6", "--sample-every=2", "--checkpoint-every=3"]
    assert not train.main([*SMALL, *arguments, "--parallel=jit", f"--workdir={folder}"])
    return folder


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory):
    """Two seeds."""
    folder = tmp_path_factory.mktemp("ring")
    arguments = ["--loss=bce", "--dataset=ring8", "--steps=2", "--num-seeds=2", "--seed=3"]
    assert not train.main([*SMALL, *arguments, "--parallel=jit", f"--workdir={folder}"])
    return folder


def save_run(folder, shape, place=None, **settings):
    """A run of zeros."""
    config = Config(loss="wgan", width=8, depth=1, latent_dim=3, steps=1, **settings)
    folder.mkdir(exist_ok=True)
    configs.save(config, folder / "config.json")
    key = jax.random.key(0)
    state = jax.eval_shape(make_model(config, shape).init, key)._replace(key=0)
    state = jax.tree.map(jnp.zeros_like, state)._replace(key=key)
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(1, jax.device_put(state, place))
    checkpoints.close()
    return folder


# Loading -------------------------------------------------------------------------------------


def test_loaded_samples_are_those_that_the_run_drew(digits_run):
    run = trained.load(digits_run)
    assert run.step == 6 and run.config.loss == "wgan"
    seed_key = jax.random.split(jax.random.key(run.config.seed))[1]
    grid = plots.image_grid(data.to_uint8(run.sample(seed_key, 64)))
    with Image.open(digits_run / "samples" / "step_00000006.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid[..., 0])


def test_a_run_may_be_moved_and_needs_no_data(digits_run, tmp_path, monkeypatch):
    shutil.copytree(digits_run, tmp_path / "moved")
    monkeypatch.setattr(data, "load", None)
    key = jax.random.key(1)
    moved, here = (trained.load(folder) for folder in (tmp_path / "moved", digits_run))
    np.testing.assert_array_equal(moved.sample(key, 5), here.sample(key, 5))


def test_each_seed_of_a_run_has_its_own_samples(ring_run):
    run, key = trained.load(ring_run), jax.random.key(0)
    first, second = run.sample(key, 100), run.sample(key, 100, seed_index=1)
    assert first.shape == second.shape == (100, 2)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(run.state.step, [2, 2])
    assert run.one(1).step == 2
    for index in (-1, 2):
        with pytest.raises(ValueError, match=f"seed_index must be from 0 to 1, got {index}"):
            run.sample(key, 1, seed_index=index)


def test_the_averaged_generator_is_drawn_from_unless_told_otherwise(digits_run):
    run, z = trained.load(digits_run), jnp.ones((2, 4))
    for these, params in (
        (run, run.state.ema),
        (run.without_average(), run.state.generator.params),
    ):
        images = run.generator.apply({"params": params}, z)
        np.testing.assert_allclose(these.generate(z), images, rtol=1e-5)
    assert not np.allclose(run.generate(z), run.without_average().generate(z))


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((8, 8, 1), {"model": "mlp"}),
        ((12, 12, 3), {"model": "mlp", "dataset": "cifar10"}),
        ((8, 8, 1), {"model": "dcgan"}),
        ((28, 28, 1), {"model": "dcgan", "dataset": "mnist", "critic_norm": True}),
        ((40, 40, 3), {"model": "dcgan", "dataset": "folder:photos", "ema_decay": 0.0}),
        ((2,), {"model": "mlp", "dataset": "swissroll"}),
    ],
)
def test_the_weights_tell_the_shape_of_the_data(shape, settings, tmp_path):
    run = trained.load(save_run(tmp_path, shape, **settings))
    assert run.generator.data_shape == shape
    images = jax.eval_shape(run.generate, jax.ShapeDtypeStruct((5, 3), np.float32))
    assert images.shape == (5, *shape)


def test_a_state_of_eight_devices_loads_onto_one(tmp_path):
    everywhere = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec())
    run = trained.load(save_run(tmp_path, (2,), everywhere, model="mlp", dataset="ring8"))
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(run.state)} == {1}


def test_images_that_are_not_square_need_their_shape(tmp_path):
    folder = save_run(tmp_path, (6, 4, 3), model="mlp")
    with pytest.raises(ValueError, match=r"not square \(72 values\): give their data_shape"):
        trained.load(folder)
    assert trained.load(folder, (6, 4, 3)).generator.data_shape == (6, 4, 3)
    with pytest.raises(ValueError, match=r"examples of another shape than \(5, 5, 3\)"):
        trained.load(folder, (5, 5, 3))


def test_the_newest_good_checkpoint_is_loaded(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    for path in (folder / "checkpoints" / "6").rglob("*"):
        if path.is_file() and "METADATA" not in path.name:
            path.write_bytes(b"damaged")
    lines = []
    before = sorted(folder.rglob("*"))
    assert trained.load(folder, warn=lines.append).step == 3
    assert "checkpoint 6" in lines[0] and "cannot be read" in lines[0]
    assert sorted(folder.rglob("*")) == before, "who only reads renames nothing"


def test_what_is_no_run_is_refused_and_left_alone(digits_run, tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        trained.load(tmp_path / "nowhere")
    shutil.copy(digits_run / "config.json", tmp_path)
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        trained.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        trained.load(tmp_path)


# Latents -------------------------------------------------------------------------------------


def test_interpolation_turns_by_equal_angles():
    a, b = jnp.array([2.0, 0, 0]), jnp.array([0, 2.0, 0])
    t = jnp.linspace(0, 1, 7)[:, None]
    angle = t * np.pi / 2
    expected = 2 * jnp.concatenate([jnp.cos(angle), jnp.sin(angle), 0 * t], axis=1)
    np.testing.assert_allclose(sample.spherical_interpolation(a, b, t), expected, atol=1e-6)


@pytest.mark.parametrize("other", [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [0.5, -3.0]])
def test_interpolation_ends_at_its_ends(other):
    a, b = jnp.array([1.0, 2.0]), jnp.array(other)
    ends = sample.spherical_interpolation(a, b, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(ends, [a, b], atol=1e-6)


def test_the_first_samples_of_more_are_those_of_fewer(digits_run, monkeypatch):
    monkeypatch.setattr(trained, "DRAW_AT_ONCE", 4)
    run, key = trained.load(digits_run), jax.random.key(0)
    many = sample.draw(run, key, 11)
    assert len(np.unique(many, axis=0)) == 11
    np.testing.assert_array_equal(sample.draw(run, key, 6), many[:6])
    np.testing.assert_array_equal(run.sample(key, 4), many[:4])


# The command ---------------------------------------------------------------------------------


def run_command(*arguments):
    assert sample.main([str(a) for a in arguments]) == 0


def test_a_grid_is_the_default(digits_run):
    run_command(f"--workdir={digits_run}")
    grid = plots.image_grid(data.to_uint8(trained.load(digits_run).sample(jax.random.key(0), 64)))
    with Image.open(digits_run / "generated" / "grid.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid[..., 0])


def test_points_are_drawn_over_their_data(ring_run, tmp_path):
    pictures = []
    for index in range(2):
        out = tmp_path / f"{index}.png"
        run_command(f"--workdir={ring_run}", f"--seed-index={index}", f"--out={out}")
        pictures.append(np.asarray(Image.open(out).convert("L"), int))
    assert pictures[0].std() > 5 and np.abs(pictures[0] - pictures[1]).max() > 50


def test_an_array_of_samples(digits_run, ring_run, tmp_path):
    out = tmp_path / "deep" / "samples.npz"
    run_command(f"--workdir={digits_run}", "--what=npz", "--n=5", "--seed=7", f"--out={out}")
    with np.load(out, allow_pickle=False) as file:
        samples = file["samples"]
    np.testing.assert_array_equal(samples, trained.load(digits_run).sample(jax.random.key(7), 5))
    assert samples.dtype == np.float32 and np.abs(samples).max() <= 1
    run_command(f"--workdir={digits_run}", "--what=npz", "--n=5", "--no-ema", f"--out={out}")
    assert not np.allclose(np.load(out)["samples"], samples)
    run_command(f"--workdir={ring_run}", "--what=npz")
    assert np.load(ring_run / "generated" / "samples.npz")["samples"].shape == (2500, 2)


def test_a_folder_of_images_is_one_that_can_be_trained_on(digits_run, tmp_path):
    out = tmp_path / "png"
    for _ in range(2):
        run_command(f"--workdir={digits_run}", "--what=png", "--n=12", f"--out={out}")
    assert sorted(path.name for path in out.iterdir()) == [f"{i:05}.png" for i in range(12)]
    images = data.load(f"folder:{out}", image_size=8, log=lambda line: None)
    assert images.train.shape == (11, 8, 8, 1)
    pixels = data.to_uint8(trained.load(digits_run).sample(jax.random.key(0), 12))
    with Image.open(out / "00003.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels[3, ..., 0])


def test_a_folder_with_other_files_is_left_alone(digits_run, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    arguments = [f"--workdir={digits_run}", "--what=png", f"--out={tmp_path}"]
    assert sample.main(arguments) == 2
    assert "1 other files, such as thesis.tex" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_strips_lead_from_one_sample_to_another(digits_run, tmp_path):
    out = tmp_path / "strips.png"
    run_command(f"--workdir={digits_run}", "--what=strips", "--n=3", f"--out={out}")
    latents = sample.make_strips(jax.random.key(0), 3, 4)
    assert latents.shape == (9, 4)
    grid = plots.image_grid(data.to_uint8(trained.load(digits_run).generate(latents)))
    with Image.open(out) as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid[..., 0])


def test_the_gif_shows_each_picture_in_order_and_stops_at_the_last(digits_run):
    run_command(f"--workdir={digits_run}", "--what=gif")
    with Image.open(digits_run / "generated" / "progress.gif") as gif:
        assert gif.n_frames == 4  # steps 0, 2, 4, 6
        durations = []
        for i in range(4):
            gif.seek(i)
            durations.append(gif.info["duration"])
            with Image.open(digits_run / "samples" / f"step_{2 * i:08}.png") as picture:
                shown = np.asarray(gif.convert("L"), int)[: picture.height]
                assert np.abs(shown - np.asarray(picture)).mean() < 3
        assert durations == [500, 500, 500, 2000]


def test_a_long_run_makes_a_short_gif(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    small = Image.new("L", (20, 20))
    for step in range(0, 2000, 10):
        small.putpixel((step // 10 % 20, step // 200), 255)
        small.save(folder / "samples" / f"step_{step:08}.png")
    (folder / "samples" / "step_best.png").touch()
    run_command(f"--workdir={folder}", "--what=gif")
    with Image.open(folder / "generated" / "progress.gif") as gif:
        assert gif.n_frames == sample.GIF_FRAMES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--workdir"]),
        (["--workdir=nowhere"], ["nowhere holds no run"]),
        (["--workdir=nowhere", "--what=gif"], ["nowhere holds no run"]),
        (["--workdir=RUN", "--what=jpeg"], ["--what=jpeg", "One of grid, npz, png"]),
        (["--workdir=RUN", "--n=0"], ["--n must be at least 1, got 0"]),
        (["--workdir=RUN", "--n=some"], ["--n", "some"]),
        (["--workdir=RUN", "--number=3"], ["unknown flag --number"]),
        (["RUN"], ["stands without a flag: did you mean --workdir="]),
        (["--workdir=RUN", "--seed=-1"], ["--seed", "-1"]),
        (["--workdir=RUN", "--seed-index=1"], ["seed_index must be from 0 to 0, got 1"]),
        (["--workdir=RING", "--what=png"], ["ring8 are points", "--what=npz"]),
        (["--workdir=RING", "--what=strips"], ["ring8 are points"]),
    ],
)
def test_bad_input_is_one_line(arguments, words, digits_run, ring_run, capsys):
    places = {"RUN": str(digits_run), "RING": str(ring_run)}
    for short, path in places.items():
        arguments = [a.replace(short, path) for a in arguments]
    assert sample.main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    assert error.startswith("sample.py: ")
    for word in words:
        assert word in error


def test_a_run_without_pictures_has_no_gif(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"loss": "wgan"}))
    assert sample.main([f"--workdir={tmp_path}", "--what=gif"]) == 2
    assert "no pictures of samples yet" in capsys.readouterr().err
