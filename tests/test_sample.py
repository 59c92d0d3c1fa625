"""Loading a run, and drawing from it, as users do."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

import jaxgan
from jaxgan import data, latents, over_seeds, plots
from jaxgan.commands import progress, sample, settings, train
from jaxgan.commands.config import Config
from jaxgan.training import run as runs
from jaxgan.training.checkpoints import Checkpoints
from jaxgan.training.run_folder import RunFolder

SMALL = ["--width=16", "--depth=1", "--latent-dim=4", "--batch-size=16", "--log-every=1"]


def trained(folder, *flags):
    """The folder of a small run with these flags."""
    assert not train.main([*SMALL, *flags, "--parallel=jit", f"--workdir={folder}"])
    return folder


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """Steps 0 to 6, a picture every other step, a checkpoint at 3 and 6."""
    every = ["--sample-every=2", "--checkpoint-every=3"]
    return trained(tmp_path_factory.mktemp("digits"), "--loss=wgan", "--steps=6", *every)


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory):
    """Seeds 3 and 4 as they are initialised."""
    folder, keys = tmp_path_factory.mktemp("ring"), jax.random.split(jax.random.key(0))
    config = Config("bce", "ring8", "mlp", width=8, depth=1, latent_dim=4, seed=3, num_seeds=2)
    return save_run(folder, (2,), config, lambda model: over_seeds(model).init(keys))


def save_run(folder, shape, config, make_state):
    """A run whose checkpoint is the state that is made of its model."""
    model = settings.make_model(config, shape)
    run = RunFolder(folder, settings.recorded(config))
    run.check_model(model)
    run.check_data(data.Dataset(config.dataset, *np.zeros((2, 3, *shape), np.uint8)))
    run.create()
    run.close()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(1, make_state(model))
    checkpoints.close()
    return folder


def save_zeros(folder, shape, place=None, **others):
    """A run of one step, all of whose numbers are zeros."""

    def zeros(model):
        key = jax.random.key(0)
        state = jax.eval_shape(model.init, key)._replace(key=0)
        state = jax.tree.map(jnp.zeros_like, state)._replace(key=key)
        return jax.device_put(state, place)

    config = Config(loss="wgan", width=8, depth=1, latent_dim=3, steps=1, **others)
    return save_run(folder, shape, config, zeros)


# Loading -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_loaded_samples_are_those_that_the_run_drew(digits_run):
    run = jaxgan.load(digits_run)
    assert run.step == 6 and run.finished and run.settings["loss"] == "wgan"
    assert [row["step"] for row in run.metrics] == [1, 2, 3, 4, 5, 6]
    seed_key = jax.random.split(jax.random.key(run.settings["seed"]))[1]
    grid = plots.image_grid(data.to_uint8(run.sample(seed_key, 64)))
    with Image.open(digits_run / "samples" / "step_00000006.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid[..., 0])


def test_a_run_may_be_moved_and_needs_no_data(digits_run, tmp_path, monkeypatch):
    shutil.copytree(digits_run, tmp_path / "moved")
    monkeypatch.setattr(data, "load", None)
    key = jax.random.key(1)
    moved, here = (jaxgan.load(folder) for folder in (tmp_path / "moved", digits_run))
    np.testing.assert_array_equal(moved.sample(key, 5), here.sample(key, 5))


def test_each_seed_of_a_run_has_its_own_samples(ring_run):
    run, key = jaxgan.load(ring_run), jax.random.key(0)
    first, second = run.sample(key, 100), run.sample(key, 100, seed_index=1)
    assert first.shape == second.shape == (100, 2)
    assert not np.allclose(first, second)
    assert run.num_seeds == 2
    np.testing.assert_array_equal(run.state.step, [0, 0])
    assert run.one(1).step == 0
    for index in (-1, 2):
        with pytest.raises(ValueError, match=f"seed_index must be from 0 to 1, got {index}"):
            run.sample(key, 1, seed_index=index)


def test_the_averaged_generator_is_drawn_from_unless_told_otherwise(digits_run):
    run, z = jaxgan.load(digits_run), jnp.ones((2, 4))
    for these, params in (
        (run, run.state.ema),
        (run.without_average(), run.state.generator.params),
    ):
        images = run.model.game.generator.source.apply({"params": params}, z)
        np.testing.assert_allclose(these.generate(z), images, rtol=1e-5)
    assert not np.allclose(run.generate(z), run.without_average().generate(z))


@pytest.mark.parametrize(
    ("shape", "others"),
    [
        ((8, 8, 1), {"model": "mlp"}),
        ((12, 12, 3), {"model": "mlp", "dataset": "cifar10"}),
        ((6, 4, 3), {"model": "mlp", "dataset": "folder:photos"}),
        ((8, 8, 1), {"model": "dcgan"}),
        ((28, 28, 1), {"model": "dcgan", "dataset": "mnist", "critic_norm": True}),
        pytest.param(
            *((40, 40, 3), {"model": "dcgan", "dataset": "folder:photos", "ema_decay": 0.0}),
            marks=pytest.mark.slow,
        ),
        ((2,), {"model": "mlp", "dataset": "swissroll"}),
    ],
)
def test_the_folder_tells_the_shape_of_the_data(shape, others, tmp_path):
    run = jaxgan.load(save_zeros(tmp_path, shape, **others))
    assert run.model.game.data_shape == shape
    images = jax.eval_shape(run.generate, jax.ShapeDtypeStruct((5, 3), np.float32))
    assert images.shape == (5, *shape)


def test_a_state_of_eight_devices_loads_onto_one(tmp_path):
    everywhere = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec())
    run = jaxgan.load(save_zeros(tmp_path, (2,), everywhere, model="mlp", dataset="ring8"))
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(run.state)} == {1}


def test_a_model_that_is_not_the_runs_is_refused(tmp_path):
    """Also one whose variables have the same names and other shapes."""
    folder = save_zeros(tmp_path, (6, 4, 3), model="mlp")
    config = settings.of_run(folder)
    assert jaxgan.load(folder, settings.make_model(config, (6, 4, 3))).step == 0
    for other in (
        settings.make_model(config, (5, 5, 3)),
        settings.make_model(dataclasses.replace(config, depth=2), (6, 4, 3)),
    ):
        with pytest.raises(ValueError, match=r"was trained with another model: .* was .* is "):
            jaxgan.load(folder, other)


def test_the_newest_good_checkpoint_is_loaded(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    for path in (folder / "checkpoints" / "6").rglob("*"):
        if path.is_file() and "METADATA" not in path.name:
            path.write_bytes(b"damaged")
    lines = []
    before = sorted(folder.rglob("*"))
    assert jaxgan.load(folder, warn=lines.append).step == 3
    assert "checkpoint 6" in lines[0] and "cannot be read" in lines[0]
    assert sorted(folder.rglob("*")) == before, "who only reads renames nothing"


def test_what_is_no_run_is_refused_and_left_alone(digits_run, tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        jaxgan.load(tmp_path / "nowhere")
    names = ["config.json", "data.json", "model.json"]
    for name in names:
        shutil.copy(digits_run / name, tmp_path)
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        jaxgan.load(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in ("data.json", "model.json"):
        (tmp_path / name).unlink()
        with pytest.raises(ValueError, match=f"{name} cannot be read: No such file"):
            jaxgan.load(tmp_path)
        shutil.copy(digits_run / name, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        jaxgan.load(tmp_path)


# Samples -------------------------------------------------------------------------------------


def test_the_first_samples_of_more_are_those_of_fewer(digits_run, monkeypatch):
    monkeypatch.setattr(runs, "MOST_AT_ONCE", 4)
    run, key = jaxgan.load(digits_run), jax.random.key(0)
    many = run.sample(key, 11)
    assert len(np.unique(many, axis=0)) == 11
    for fewer in (0, 3, 4, 6):
        np.testing.assert_array_equal(run.sample(key, fewer), many[:fewer])


# The command ---------------------------------------------------------------------------------


def run_command(*arguments):
    assert sample.main([str(a) for a in arguments]) == 0


def test_a_grid_is_the_default(digits_run):
    run_command(f"--workdir={digits_run}")
    grid = plots.image_grid(data.to_uint8(jaxgan.load(digits_run).sample(jax.random.key(0), 64)))
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
    np.testing.assert_array_equal(samples, jaxgan.load(digits_run).sample(jax.random.key(7), 5))
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
    pixels = data.to_uint8(jaxgan.load(digits_run).sample(jax.random.key(0), 12))
    with Image.open(out / "00003.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels[3, ..., 0])


def test_many_samples_are_streamed_and_are_those_of_one_call(digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgan.training.run.MOST_AT_ONCE", 5)
    run = jaxgan.load(digits_run)
    pieces = list(run.stream(jax.random.key(0), 12))
    assert [len(piece) for piece in pieces] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), run.sample(jax.random.key(0), 12))
    assert run.sample(jax.random.key(0), 0).shape == (0, 8, 8, 1)
    run_command(f"--workdir={digits_run}", "--what=png", "--n=12", f"--out={tmp_path}")
    with Image.open(tmp_path / "00011.png") as picture:
        last = data.to_uint8(pieces[2][1, ..., 0])
        np.testing.assert_array_equal(np.asarray(picture), last)


@pytest.mark.parametrize("what", ["train", "held-out"])
def test_the_data_become_folders_as_the_networks_see_them(digits_run, tmp_path, what, monkeypatch):
    monkeypatch.setattr(sample, "PIECE", 100)
    out, digits = tmp_path / "real", data.load("digits")
    images = digits.train if what == "train" else digits.test
    run_command(f"--workdir={digits_run}", f"--what={what}", f"--out={out}")
    assert len(list(out.iterdir())) == len(images)
    with Image.open(out / "00250.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), data.to_uint8(images[250, ..., 0]))
    run_command(f"--workdir={digits_run}", f"--what={what}", "--n=150", f"--out={tmp_path / 'few'}")
    assert len(list((tmp_path / "few").iterdir())) == 150


def test_data_that_are_not_the_runs_any_more_are_not_written(digits_run, tmp_path, capsys):
    folder = shutil.copytree(digits_run, tmp_path / "run")
    record = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps(record | {"fingerprint": "0", "train": 12}))
    out = tmp_path / "real"
    assert sample.main([f"--workdir={folder}", "--what=train", f"--out={out}"]) == 2
    assert "the data are others now" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_with_other_files_is_left_alone(digits_run, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    arguments = [f"--workdir={digits_run}", "--what=png", f"--out={tmp_path}"]
    assert sample.main(arguments) == 2
    assert "1 other files, such as thesis.tex" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_strips_lead_from_one_sample_to_another(digits_run, tmp_path):
    out = tmp_path / "strips.png"
    run_command(f"--workdir={digits_run}", "--what=strips", "--n=3", f"--out={out}")
    first, last = jax.random.normal(jax.random.key(0), (2, 3, 4))
    ways = [latents.path(jnp.stack(ends), 2) for ends in zip(first, last, strict=True)]
    assert_shows(out, jaxgan.load(digits_run).generate(jnp.concatenate(ways)))


def assert_shows(path, images, columns=None):
    grid = plots.image_grid(data.to_uint8(images), columns)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid[..., 0])


@pytest.mark.parametrize("what", ["grid", "npz", "png", "strips"])
def test_truncated_samples_are_those_of_truncated_latents(digits_run, tmp_path, what):
    flags = [f"--workdir={digits_run}", "--truncation=0.5", "--n=4", f"--what={what}"]
    run_command(*flags, f"--out={tmp_path / what}")
    run, key = jaxgan.load(digits_run), jax.random.key(0)
    samples = run.sample(key, 4, truncation=0.5)
    if what == "grid":
        assert_shows(tmp_path / what, samples)
    elif what == "npz":
        np.testing.assert_array_equal(np.load(tmp_path / what)["samples"], samples)
    elif what == "png":
        with Image.open(tmp_path / what / "00003.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), data.to_uint8(samples)[3, ..., 0])
    else:
        z = latents.truncate(key, jax.random.normal(key, (8, 4)), 0.5)
        ways = [latents.path(z[row::4], 3) for row in range(4)]
        assert_shows(tmp_path / what, run.generate(jnp.concatenate(ways)))


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
        assert gif.n_frames == progress.GIF_FRAMES


PROJECTION = "--what=projection"


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
        (["--workdir=RING", "--what=train"], ["--what=train is for images"]),
        (["--workdir=RUN", "--what=train", "--n=1438"], ["more than the 1,437 images of digits"]),
        (["--workdir=RUN", "--what=held-out", "--label=1"], ["--label has no effect"]),
        (["--workdir=RUN", "--data-dir=elsewhere"], ["--data-dir has no effect"]),
        (["--workdir=RUN", "--truncation=0"], ["--truncation must be a positive number, got 0.0"]),
        (["--workdir=RUN", "--truncation=nan"], ["--truncation must be a positive number"]),
        (["--workdir=RUN", "--truncation=1", "--what=gif"], ["--truncation has no effect"]),
        (["--workdir=RUN", "--truncation=1", "--what=train"], ["--truncation has no effect"]),
        (["--workdir=RUN", "--truncation=1", PROJECTION], ["--truncation has no effect with"]),
        (["--workdir=RUN", "--what=classes"], ["for a run with --num-classes"]),
        (["--workdir=RING", "--what=classes"], ["ring8 are points"]),
        (["--workdir=RUN", "--what=classes", "--label=1"], ["--label has no effect"]),
        (["--workdir=RUN", "--images=x.png"], ["--images has no effect with --what=grid"]),
        (["--workdir=RUN", PROJECTION, "--images=no.png"], ["--images=no.png: there is no such"]),
        (["--workdir=RUN", PROJECTION, "--images=no.npy"], ["no.npy' cannot be read as an array"]),
        (["--workdir=RUN", PROJECTION, "--images=x", "--data-dir=y"], ["no effect with --images"]),
        (["--workdir=RUN", PROJECTION, "--n=361"], ["more than the 360 of the held-out examples"]),
        (["--workdir=RUN", PROJECTION, "--label=1"], ["was trained without --num-classes"]),
        (["--workdir=RING", PROJECTION, "--images=x.png"], [".npz file", "of shape [2]"]),
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


def test_a_run_without_pictures_has_no_gif(ring_run, capsys):
    assert sample.main([f"--workdir={ring_run}", "--what=gif"]) == 2
    assert "no pictures of samples yet" in capsys.readouterr().err


# Classes.


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    flags = ["--loss=bce", "--model=mlp", "--num-classes=10", "--steps=2"]
    return trained(tmp_path_factory.mktemp("conditional"), *flags)


def test_a_run_with_classes_draws_the_class_that_is_asked_for(conditional, tmp_path):
    def draw(*flags):
        out = tmp_path / "samples.npz"
        command = [f"--workdir={conditional}", "--what=npz", "--n=20", f"--out={out}", *flags]
        assert sample.main(command) == 0
        with np.load(out) as file:
            return dict(file)

    of_three, mixed = draw("--label=3"), draw()
    assert of_three["labels"].tolist() == [3] * 20
    assert mixed["labels"].tolist() == [*range(10)] * 2
    run = jaxgan.load(conditional)
    expected = run.sample(jax.random.key(0), 20, labels=3)
    np.testing.assert_allclose(of_three["samples"], expected, rtol=1e-5)
    assert (of_three["samples"] != mixed["samples"]).any()
    for what in ("grid", "strips", "png"):
        assert sample.main([f"--workdir={conditional}", f"--what={what}", "--n=4"]) == 0


@pytest.mark.parametrize(
    ("label", "words"), [("10", "--label must be from 0 to 9; got 10"), ("x", "--label")]
)
def test_a_label_that_is_none_is_refused(label, words, conditional, capsys):
    assert sample.main([f"--workdir={conditional}", f"--label={label}"]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A run on a folder, whose classes are sub-folders."""
    root = tmp_path_factory.mktemp("shapes")
    for number, name in enumerate(("2", "circles", "crosses")):
        (root / name).mkdir()
        for i in range(8):
            Image.new("L", (8, 8), 60 * number + i).save(root / name / f"{i}.png")
    flags = ["--loss=bce", "--model=mlp", "--num-classes=3", "--steps=2", "--image-size=8"]
    return trained(root.parent / "run of shapes", *flags, f"--dataset=folder:{root}")


def test_a_class_is_asked_for_by_its_name_or_its_number(shapes, tmp_path, capsys):
    out = tmp_path / "samples.npz"
    for label, number in (("crosses", 2), ("circles", 1), ("1", 1), ("2", 0)):  # 2 is a name here
        flags = ["--what=npz", "--n=3", f"--out={out}", f"--label={label}"]
        assert sample.main([f"--workdir={shapes}", *flags]) == 0
        with np.load(out) as file:
            assert file["labels"].tolist() == [number] * 3
    assert sample.main([f"--workdir={shapes}", "--label=circle"]) == 2
    line = "--label=circle is no class of this run: 0 2, 1 circles, 2 crosses."
    assert line in capsys.readouterr().err


def test_a_run_knows_the_names_of_its_classes_and_one_from_before_does_not(shapes, tmp_path):
    assert jaxgan.load(shapes).class_names == ("2", "circles", "crosses")
    old = shutil.copytree(shapes, tmp_path / "old")
    record = json.loads((old / "data.json").read_text())
    assert record.pop("class_names") == ["2", "circles", "crosses"]
    (old / "data.json").write_text(json.dumps(record))
    assert jaxgan.load(old).class_names is None
    assert sample.main([f"--workdir={old}", "--label=1"]) == 0
    assert train.main([f"--workdir={old}", "--steps=3"]) == 0  # resumes


def test_labels_are_refused_where_there_are_no_classes(tmp_path, capsys):
    config = Config("bce", "ring8")
    with pytest.raises(ValueError, match="the run was trained without --num-classes"):
        sample.choose_labels("3", config.num_classes, 4)
    flags = [*SMALL, "--loss=bce", "--model=mlp", "--num-classes=5"]
    assert train.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 2
    assert "--num-classes=5 does not fit digits, which has 10 classes" in capsys.readouterr().err


def test_a_picture_of_classes_has_a_row_for_each_latent(conditional, tmp_path):
    out = tmp_path / "classes.png"
    run_command(f"--workdir={conditional}", "--what=classes", "--n=2", f"--out={out}")
    z = jnp.repeat(jax.random.normal(jax.random.key(0), (2, 4)), 10, axis=0)
    run = jaxgan.load(conditional)
    assert_shows(out, run.generate(z, labels=[*range(10)] * 2), columns=10)
    run_command(f"--workdir={conditional}", "--what=classes", "--truncation=0.1", f"--out={out}")
    with Image.open(out) as picture:
        assert picture.height < picture.width  # 8 rows of 10


# Projection.


def projected(folder, out, *flags):
    """What `--what=projection` writes: its arrays, and the picture's size."""
    run_command(f"--workdir={folder}", PROJECTION, f"--out={out}", *flags)
    with np.load(out.with_suffix(".npz")) as file, Image.open(out.with_suffix(".png")) as picture:
        return dict(file), picture.size


def test_a_projection_is_of_held_out_images_by_default(digits_run, tmp_path, capsys):
    arrays, (width, height) = projected(digits_run, tmp_path / "deep" / "p.png")
    digits = data.load("digits").test[:8]
    found = latents.project(jaxgan.load(digits_run), digits, key=jax.random.key(0))
    np.testing.assert_array_equal(arrays["images"], digits)
    for name in ("latents", "samples", "errors", "start_errors", "random_errors"):
        np.testing.assert_allclose(arrays[name], getattr(found, name), rtol=1e-5, atol=1e-6)
    assert "labels" not in arrays and width > 2 * height
    printed = capsys.readouterr().out
    assert f"{found.errors.mean():.3g} on average" in printed and "p.npz" in printed
    _, (_, taller) = projected(digits_run, tmp_path / "p.npz", "--n=9")  # a second row
    assert taller > 1.8 * height


def test_samples_that_were_written_are_projected_and_found_again(digits_run, tmp_path):
    flags = [f"--workdir={digits_run}", "--what=npz", "--n=10", f"--out={tmp_path / 'samples.npz'}"]
    run_command(*flags)
    source = f"--images={tmp_path / 'samples.npz'}"
    arrays, _ = projected(digits_run, tmp_path / "p.png", source, "--n=3")
    assert len(arrays["errors"]) == 3 and arrays["errors"].max() < 1e-3
    np.testing.assert_allclose(arrays["samples"], arrays["images"], atol=1e-2)


def test_a_folder_and_one_image_are_read_at_the_size_of_the_run(digits_run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    for name, image in zip("abc", pixels, strict=True):
        Image.fromarray(image).resize((16, 16), Image.Resampling.NEAREST).save(
            tmp_path / "in" / f"{name}.png"
        )
        Image.fromarray(image).convert("RGB").save(tmp_path / f"{name}.png")
    folder, _ = projected(digits_run, tmp_path / "p.png", f"--images={tmp_path / 'in'}")
    assert folder["images"].shape == (3, 8, 8, 1)
    one, _ = projected(digits_run, tmp_path / "p.png", f"--images={tmp_path / 'b.png'}")
    np.testing.assert_array_equal(one["images"], pixels[1:2, ..., None])


def test_the_classes_of_images_are_their_own_the_one_given_or_found(conditional, tmp_path):
    digits = data.load("digits")
    out = tmp_path / "p.png"
    np.savez(tmp_path / "x.npz", images=digits.test[:2])
    np.savez(tmp_path / "y.npz", images=digits.test[:2], labels=[4, 5])
    known, _ = projected(conditional, out, "--n=2")
    np.testing.assert_array_equal(known["labels"], digits.test_labels[:2])
    given, _ = projected(conditional, out, "--n=2", "--label=3")
    np.testing.assert_array_equal(given["labels"], [3, 3])
    read, _ = projected(conditional, out, f"--images={tmp_path / 'y.npz'}")
    np.testing.assert_array_equal(read["labels"], [4, 5])
    found, _ = projected(conditional, out, f"--images={tmp_path / 'x.npz'}")
    assert found["class_errors"].shape == (2, 10) and "class_errors" not in read
    np.testing.assert_array_equal(found["labels"], found["class_errors"].argmin(axis=1))


def test_points_are_projected_too(ring_run, tmp_path):
    points = np.random.RandomState(0).normal(size=(5, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", points)
    source = f"--images={tmp_path / 'x.npy'}"
    arrays, (width, height) = projected(ring_run, tmp_path / "p.png", source, "--seed-index=1")
    np.testing.assert_array_equal(arrays["images"], points)
    expected = jaxgan.load(ring_run).generate(arrays["latents"], 1)
    np.testing.assert_allclose(arrays["samples"], expected, atol=1e-5)
    assert width < height


def test_grey_images_without_a_channel_are_images(tmp_path):
    folder = save_zeros(tmp_path / "run", (6, 4), model="mlp", dataset="npy:grey.npy")
    np.save(tmp_path / "x.npy", np.full((2, 6, 4), 255, np.uint8))
    source = f"--images={tmp_path / 'x.npy'}"
    arrays, _ = projected(folder, tmp_path / "p.png", source)
    # A generator of zeros makes one grey, 1 away from white.
    np.testing.assert_allclose(arrays["errors"], 1)
    Image.new("L", (4, 6), "white").save(tmp_path / "white.png")
    source = f"--images={tmp_path / 'white.png'}"
    np.testing.assert_allclose(projected(folder, tmp_path / "p.png", source)[0]["errors"], 1)
    for what in ("grid", "strips", "png"):
        run_command(f"--workdir={folder}", f"--what={what}", "--n=3")


def test_of_points_that_no_picture_shows_arrays_are_written(tmp_path, capsys):
    folder = save_zeros(tmp_path / "run", (3,), model="mlp", dataset="npy:space.npy")
    np.save(tmp_path / "x.npy", np.full((2, 3), 2, np.float32))
    run_command(f"--workdir={folder}", PROJECTION, f"--images={tmp_path / 'x.npy'}")
    assert "picture: " not in capsys.readouterr().out
    assert [path.name for path in (folder / "generated").iterdir()] == ["projection.npz"]
    np.testing.assert_allclose(np.load(folder / "generated/projection.npz")["errors"], 2)
    assert sample.main([f"--workdir={folder}"]) == 2
    assert "--what=grid is for images, and the samples of npy:space.npy are points: --what=npz" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": np.zeros((3, 9, 9, 1), np.uint8)}, "of shape [B, 8, 8, 1]; got [3, 9, 9, 1]"),
        ({"images": np.zeros((3, 8, 8, 3), np.uint8)}, "got [3, 8, 8, 3]"),
        ({"images": np.full((3, 8, 8, 1), 255.0)}, "images must be in [-1, 1], got 255 to 255"),
        ({"images": np.zeros((3, 8, 8, 1), int)}, "must hold uint8 pixels or floats"),
        ({"pictures": np.zeros((3, 8, 8, 1))}, "holds pictures: name its examples images"),
        ({"images": np.zeros((0, 8, 8, 1))}, "at least one example"),
    ],
)
def test_arrays_that_do_not_fit_the_run_are_refused(digits_run, tmp_path, content, words, capsys):
    np.savez(tmp_path / "x.npz", **content)
    flags = [f"--workdir={digits_run}", PROJECTION, f"--images={tmp_path / 'x.npz'}"]
    assert sample.main([*flags, f"--out={tmp_path / 'p.png'}"]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1


def test_files_that_are_no_images_are_refused(digits_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_text("no image")
    flags = [f"--workdir={digits_run}", PROJECTION]
    for name, words in (
        ("empty", "empty holds no images; looked for .png"),
        ("broken.png", "broken.png cannot be read as an image: cannot identify"),
    ):
        assert sample.main([*flags, f"--images={tmp_path / name}"]) == 2
        assert words in capsys.readouterr().err


def test_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit):
        sample.main(["--help"])
    assert capsys.readouterr().out.count("\n") < 60
