"""The pictures that training leaves in a run's folder."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import jaxgan
from jaxgan import data, losses, networks, plots
from jaxgan.training import pictures

FAST = {"batch_size": 8, "log_every": 1, "sample_every": 0, "checkpoint_every": 0}


def model_of(shape=(4, 4, 1), loss=None, **more):
    pair = networks.mlp(shape, 2, width=8, depth=1, **more)
    loss = losses.wgan_gp() if loss is None else loss
    tx = optax.sgd(1e-3)
    return jaxgan.gan(*pair, loss, tx, tx, n_critic=1, **more)


def images(count=32, channels=1):
    shape = count, 4, 4, channels
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def drawn(monkeypatch):
    """What is written in each picture that is saved, by the picture's name."""
    found = {}
    kept = plots.style.png, plots.style.write
    words = []

    def png(figure):
        words.append(plots.texts(figure))
        return kept[0](figure)

    def write(path, content):
        found[str(path).rsplit("/", 1)[-1]] = words.pop() if words else []
        kept[1](path, content)

    monkeypatch.setattr(plots.style, "png", png)
    monkeypatch.setattr(plots.style, "write", write)
    return found


def test_a_run_ends_with_samples_beside_data_and_curves_that_name_them(tmp_path, drawn):
    settings = {"loss": "wgan-gp"}
    dataset = data.Dataset("noise", images(), images()[:8])
    jaxgan.fit(model_of(), dataset, 3, workdir=tmp_path, settings=settings, **FAST)
    assert set(drawn["samples.png"]) == {
        *("wgan-gp on noise, step 3", "64 samples", "8 real examples, held out"),
    }
    [title] = [text for text in drawn["curves.png"] if "noise" in text]
    assert title.startswith("wgan-gp on noise: 3 steps in ")
    # Bare, so that pictures of a run can be laid over each other.
    assert drawn["step_00000003.png"] == []
    grid = np.asarray(Image.open(tmp_path / "samples" / "step_00000003.png"))
    beside = np.asarray(Image.open(tmp_path / "samples.png").convert("L"))
    height, width = grid.shape
    np.testing.assert_array_equal(beside[62 : 62 + height, 12 : 12 + width], grid)


def test_pictures_of_several_seeds_say_whose_they_are(tmp_path, drawn):
    points = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
    more = {"workdir": tmp_path, "seed": 5, "num_seeds": 2}
    jaxgan.fit(model_of((2,)), points, 2, **more, **FAST)
    for name in ("step_00000002.png", "samples.png"):
        assert "array, step 2, seed 5 of 2 seeds" in drawn[name]
    assert "lines: mean over 2 seeds, bands: ± its standard error" in drawn["curves.png"]


def test_an_interrupted_run_and_its_resumption_draw_what_a_whole_one_does(tmp_path):
    def train(folder, steps):
        jaxgan.fit(model_of(), images(), steps, workdir=tmp_path / folder, **FAST)

    train("whole", 4)
    train("parts", 2)
    train("parts", 4)
    pair = [(tmp_path / folder / "samples.png").read_bytes() for folder in ("whole", "parts")]
    assert pair[0] == pair[1]


def breaks_at_step_five(step):
    """A loss that is not finite in the fifth iteration."""
    loss = losses.wgan_gp()

    def critic(*arguments):
        value, metrics = loss.critic(*arguments)
        value = jnp.where(step < 4, value, jnp.nan)
        return value, metrics | {"d_loss": value}

    return loss._replace(critic=critic)


def test_curves_of_a_run_that_diverges_say_where(tmp_path, drawn):
    with pytest.raises(jaxgan.DivergedError) as caught:
        jaxgan.fit(model_of(loss=breaks_at_step_five), images(), 50, workdir=tmp_path, **FAST)
    assert caught.value.step == 5
    assert "diverged at step 5: numbers were no longer finite" in drawn["curves.png"]
    assert "samples.png" not in drawn


def test_a_full_disk_does_not_hide_that_a_run_diverged(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "save_curves", full)
    with pytest.raises(jaxgan.DivergedError):
        jaxgan.fit(model_of(loss=breaks_at_step_five), images(), 50, workdir=tmp_path, **FAST)


def test_the_best_score_is_marked_in_the_curves(tmp_path, drawn):
    def closeness(samples):
        return float(np.abs(samples).mean())

    more = {"score_every": 1, "score": closeness}
    jaxgan.fit(model_of(), images(), 3, workdir=tmp_path, **more, **FAST)
    assert any(text.startswith("best: ") for text in drawn["curves.png"])
    assert "a score: lower is better" in drawn["curves.png"]


def test_samples_of_classes_lie_beside_examples_of_the_same(tmp_path, drawn):
    labels = np.repeat(np.arange(2), 100).astype(np.int32)
    x = images(200)
    dataset = data.Dataset("noise", x, x, labels, labels)
    jaxgan.fit(model_of(num_classes=2), dataset, 1, workdir=tmp_path, **FAST)
    rows = [text for text in drawn["samples.png"] if text.isdigit()]
    assert rows == ["0"] * 5 + ["1"] * 5


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 seconds"), (90, "90 seconds"), (7200, "2.0 hours")]
)
def test_times_are_in_the_unit_that_suits_them(seconds, words):
    assert plots.words.duration(seconds) == words
