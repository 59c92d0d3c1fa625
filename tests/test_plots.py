import io
import itertools
import math
import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.colors
import numpy as np
import pytest
from cycler import cycler
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan import data, losses, plots
from jaxgan.plots import curves, samples, style


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.sampled_from([8, 16, 28, 32, 64]), st.sampled_from([1, 3]))
def test_a_grid_is_near_square_and_readable(count, size, channels):
    grid = plots.image_grid(noise(count, size, size, channels))
    assert grid.dtype == np.uint8 and grid.shape[-1] == channels
    height, width, _ = grid.shape
    assert 450 <= width <= 800
    assert width / 2 < height <= width


def test_tiles_run_row_by_row_and_enlarging_repeats_pixels():
    images = noise(5, 20, 30, 3)  # three columns of 30 pixels, enlarged 7 times
    grid = plots.image_grid(images)
    assert grid.shape == (2 * (7 * 20 + 2) + 2, 3 * (7 * 30 + 2) + 2, 3)
    second_row_first_column = grid[2 + 142 : 142 + 142, 2:212]
    np.testing.assert_array_equal(second_row_first_column[3::7, 3::7], images[3])
    np.testing.assert_array_equal(second_row_first_column[0::7, 6::7], images[3])
    assert (grid[2 + 142 :, -212:] == 128).all()  # the sixth tile is empty


def test_images_below_16_pixels_are_enlarged_smoothly():
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[:, :, 4:] = 255
    row = plots.image_grid(image)[300, 2:-2, 0].astype(int)
    assert row[0] == 0 and row[-1] == 255
    assert np.abs(np.diff(row)).max() < 10


@pytest.mark.parametrize(
    "images", [noise(0, 8, 8, 1), noise(8, 8, 1), np.zeros((2, 8, 8, 1), np.float32)]
)
def test_what_is_no_batch_of_images_is_refused(images):
    with pytest.raises(ValueError, match=r"uint8 images \[N, H, W, C\].*got (uint8|float32)"):
        plots.image_grid(images)


def read(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("channels", [1, 3])
def test_sampled_images_are_saved_as_their_grid(tmp_path, channels):
    images = noise(9, 16, 16, channels)
    dataset = data.Dataset("noise", images, images)
    plots.save_samples(tmp_path / "pixels.png", images, dataset)
    plots.save_samples(tmp_path / "floats.png", np.asarray(data.to_float(images)), dataset)
    expected = plots.image_grid(images)
    for name in ("pixels.png", "floats.png"):
        found = read(tmp_path / name)
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def green(image):
    red, green, blue = (image[..., i].astype(int) for i in range(3))
    return (green > red + 40) & (green > blue + 20)


def test_samples_of_different_steps_share_their_axes(tmp_path):
    """A sample is drawn at the same pixel, whatever the other samples do."""
    ring = data.load("ring8")
    frames = []
    for others in ([[0.0, 1.0]], [[900.0, 0.0], [np.nan, 0.0], [np.inf, 1.0]], []):
        samples = np.float32([[-0.5, 0.25], *others])
        plots.save_samples(tmp_path / "frame.png", samples, ring)
        frames.append(green(read(tmp_path / "frame.png"))[100:590, 60:310])
    assert frames[0].any()
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


@pytest.mark.parametrize("name", data.TOYS)
def test_points_that_all_diverged_are_still_drawn(tmp_path, name):
    plots.save_samples(tmp_path / "points.png", np.full((10, 2), np.nan), data.load(name))
    assert read(tmp_path / "points.png").shape[:2] == (680, 600)


def test_samples_that_are_neither_images_nor_points_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images \[N, H, W, C\] or points \[N, 2\], got \[4, 3\]"):
        plots.save_samples(tmp_path / "x.png", np.zeros((4, 3)), data.load("ring8"))
    assert not (tmp_path / "x.png").exists()


def test_curves_have_a_panel_for_every_metric_that_has_a_number():
    rows = [{"step": i, "d_loss": -1.0 / (i + 1), "note": "text", "ok": True} for i in range(5)]
    counts = []
    for extra in ({}, {"g_loss": 1.0}, {"g_loss": 1.0, "a": 1, "b": 2}):
        counts.append(titles(plots.draw_curves([*rows, {"step": 5, **extra}])))
    assert counts == [
        ["Critic's loss"],
        ["Critic's loss", "Generator's loss"],
        ["Critic's loss", "Generator's loss", "a", "b"],
    ]
    assert titles(plots.draw_curves(rows, metrics=["d_loss"], title="t")) == ["Critic's loss"]


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]


def test_standard_errors_are_a_band_around_the_mean(tmp_path):
    def shaded(error):
        rows = [{"step": i, "loss": i % 7, "loss_stderr": error} for i in range(50)]
        plots.save_curves(tmp_path / "curves.png", rows)
        pixels = read(tmp_path / "curves.png")[..., :3].astype(int)
        assert titles(plots.draw_curves(rows)) == ["loss"]  # the errors have no panel of their own
        pale = (pixels[..., 2] > 210) & (pixels[..., 0] < 200)  # blue, three tenths of it
        return pale.sum()

    line = shaded(0.0001)  # which is all there is
    assert shaded(1.0) > 1.3 * shaded(0.5) > 2 * line


def test_curves_without_metrics_write_nothing(tmp_path):
    plots.save_curves(tmp_path / "curves.png", [])
    plots.save_curves(tmp_path / "curves.png", [{"step": 1, "note": "text"}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 50, 150, 50_000])
def test_curves_take_whatever_numbers_a_run_leaves(tmp_path, count):
    random = np.random.default_rng(0)
    rows = [
        {
            "step": i,
            "constant": 1.0,
            "zero": 0,
            "noise": random.normal(),
            "decades": np.exp(random.normal() * 3),
            "diverged": [1.0, np.nan, np.inf, -np.inf][i % 4],
            "never": np.nan,
            "huge": 1e300 * random.normal(),
            **({"sparse": np.float32(i)} if i % 1000 == 0 else {}),
        }
        for i in range(count)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save_curves(tmp_path / "curves.png", rows)
    assert read(tmp_path / "curves.png").std() > 5


def test_a_moving_average_skips_what_is_not_finite():
    values = np.array([1.0, np.nan, 3.0, np.inf, np.nan, np.nan, np.nan, 5.0])
    expected = [1, 2, 3, 3, np.nan, np.nan, 5, 5]
    np.testing.assert_allclose(curves._moving_average(values, window=3), expected)


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        {"bce": [1.0, 1.2, math.inf], "wgan": [3e9], "diverged": [math.inf]},
        {"bce": [1.01]},
        {"none": []},
    ],
    ids=["far apart", "one", "nothing"],
)
def test_a_comparison_has_a_row_for_each_name(values, settings, tmp_path):
    plots.save_comparison(tmp_path / "c.png", values, "W1 / floor", settings)
    with Image.open(tmp_path / "c.png") as image:
        height = image.height
    assert height == pytest.approx(100 * (1.9 + 0.3 * len(values)), abs=1)
    [axes] = plots.draw_comparison(values, "W1 / floor", settings).axes
    assert {label.get_text() for label in axes.get_yticklabels()} == set(values)


def test_figures_leave_pyplot_alone(tmp_path):
    code = (
        "import sys; from jaxgan import plots;"
        "plots.save_curves(sys.argv[1], [{'step': 0, 'loss': 1.0}]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = str(tmp_path / "curves.png")
    subprocess.run([sys.executable, "-W", "error", "-c", code, path], check=True)
    assert read(path).std() > 5


# What is written in a picture.


def written(rows, **more):
    return plots.texts(plots.draw_curves(rows, **more))


@pytest.mark.parametrize("name", ["bce", "minimax"])
def test_curves_of_a_discriminator_say_where_it_cannot_tell(name):
    sign = 1 if name == "bce" else -1
    row = {"d_loss": 1.2, "g_loss": sign * 0.8, "js": 0.1, "d_real": 0.6, "d_fake": 0.3}
    rows = [{"step": step, "seconds": step, **row} for step in (1, 2)]
    figure = plots.draw_curves(rows, title="bce on digits: 2 steps")
    assert titles(figure) == [
        "Discriminator's loss",
        "Generator's loss",
        "Jensen–Shannon divergence, a lower bound",
        "How real the discriminator finds them",
    ]
    words = plots.texts(figure)
    assert {"bce on digits: 2 steps", "data", "samples", "½: it cannot tell"} <= set(words)
    assert "log 4: cannot tell data from samples" in words
    assert not any("_" in word or "seconds" in word for word in words)
    assert levels(figure) == [
        *(pytest.approx([math.log(4)]), pytest.approx([sign * math.log(2)])),
        *(pytest.approx([0, math.log(2)]), pytest.approx([0.5])),
    ]


def levels(figure):
    """The heights of the dashed lines of each panel."""
    shown = [axes for axes in figure.axes if axes.get_visible()]
    dashed = [[line for line in axes.lines if line.get_linestyle() == "--"] for axes in shown]
    return [[line.get_ydata()[0] for line in lines] for lines in dashed]


BY_NAME = {
    "bce": losses.bce(),
    "minimax": losses.minimax(),
    "wgan": losses.wgan(),
    "hinge": losses.hinge(),
    "rpgan": losses.rpgan(),
    **{f"f-gan {name}": losses.f_gan(name) for name in ("kl", "reverse_kl", "pearson", "js")},
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_level_is_the_best_loss_of_a_critic_that_gives_all_the_same_score(name):
    """And the generator's is its loss against that critic."""
    loss, x, key = BY_NAME[name], jnp.zeros((4, 2)), jax.random.key(0)

    def play(score):
        def critic(x):
            return jnp.full(len(x), score)

        value, metrics = loss.critic(critic, x, x, key)
        return float(value), metrics | loss.generator(critic, x, x, key)[1]

    tried = [play(score) for score in np.linspace(-2, 2, 401)]
    value, metrics = min(tried, key=lambda pair: pair[0])
    figure = plots.draw_curves([{"step": 1} | {k: float(v) for k, v in metrics.items()}])
    of_critic, of_generator = levels(figure)[:2]
    assert of_critic == pytest.approx([value], abs=1e-5)
    if of_generator:
        assert of_generator == pytest.approx([float(metrics["g_loss"])], abs=1e-6)


GAMES = BY_NAME | {
    "wgan-gp": losses.wgan_gp(),
    "wgan-lp": losses.wgan_lp(),
    "wgan-div": losses.wgan_div(),
    "lsgan": losses.lsgan(),
    "dragan": losses.dragan(),
    "r3gan": losses.with_r2(losses.with_r1(losses.rpgan(), 0.1), 0.1),
    "began": losses.began(),
}


@pytest.mark.parametrize("name", GAMES)
def test_every_metric_of_a_loss_is_described(name):
    loss, x, key = GAMES[name], jnp.ones((4, 2)), jax.random.key(0)
    if isinstance(loss, losses.StatefulLoss):
        loss = loss.at(loss.init(), 0)

    def critic(x):
        return jnp.sum(x**2, axis=1)

    metrics = loss.critic(critic, x, 2 * x, key)[1] | loss.generator(critic, x, 2 * x, key)[1]
    figure = plots.draw_curves([{"step": 1} | {k: float(v) for k, v in metrics.items()}])
    for axes in figure.axes:
        if axes.get_visible():
            assert axes.get_ylabel() and len(axes.get_title(loc="left")) < 50
    assert not any("_" in text for text in plots.texts(figure))


def test_a_metric_that_nobody_has_described_is_its_name():
    rows = [{"step": 1, "my_own_number": 1.0}]
    assert titles(plots.draw_curves(rows)) == ["my own number"]
    best = {"step": 1, "my_own_number": 1.0}
    assert {"a score: lower is better", "best: 1 at step 1"} <= set(written(rows, best=best))


def test_bands_are_said_to_be_of_how_many_seeds():
    row = {"loss": 1.0, "loss_stderr": 0.1}
    for seeds in (2, 100):
        of = {"loss_seeds": [1.0] * seeds}
        words = written([{"step": step, **row, **of} for step in range(3)])
        assert f"lines: mean over {seeds} seeds, bands: ± its standard error" in words
    assert not any("mean over" in word for word in written([{"step": 1, "loss": 1.0}]))


def test_averages_are_said_to_be_averages():
    rows = [{"step": step, "loss": step % 3} for step in range(1000)]
    assert "dark lines: moving averages over 20 logged steps" in written(rows)
    assert not any("average" in word for word in written(rows[:100]))


def test_curves_say_what_was_not_finite_and_where():
    rows = [{"step": 10 * i, "loss": None if 3 <= i < 5 else 1.0, "lost": None} for i in range(9)]
    words = written(rows)
    assert "red marks: not finite, first at step 0" in words and "never finite" in words
    [marked, _] = plots.draw_curves(rows).axes
    marks = [line for line in marked.lines if line.get_color() == style.BROKEN]
    np.testing.assert_array_equal(marks[0].get_xdata(), [30, 40])
    assert not any("finite" in word for word in written([{"step": 1, "loss": 1.0}]))


def test_curves_of_a_run_that_diverged_say_at_which_step():
    rows = [{"step": step, "loss": 1.0} for step in (10, 20)]
    figure = plots.draw_curves(rows, diverged=1234)
    assert any(text.startswith("diverged at step 1,234:") for text in plots.texts(figure))
    assert figure.axes[0].get_xlim()[1] > 1234


@pytest.mark.parametrize(
    ("channels", "size", "count"), [(1, 2, 1), (3, 2, 2), (4, 2, 5), (1, 9, 64), (4, 64, 3)]
)
def test_samples_lie_beside_as_many_real_examples_pixel_for_pixel(channels, size, count):
    images = noise(count, size, size, channels)
    dataset = data.Dataset("noise", 255 - images, images)
    figure = plots.draw_samples_and_data(images, dataset, "bce on noise, step 7")
    kind = f"{count:,} real examples, held out"
    assert plots.texts(figure) == ["bce on noise, step 7", f"{count:,} samples", kind]
    picture = np.asarray(Image.open(io.BytesIO(plots.png(figure))).convert("RGB"))
    grid = plots.image_grid(images)
    grid = np.broadcast_to(grid, (*grid.shape[:2], 3))
    height, width = grid.shape[:2]
    np.testing.assert_array_equal(picture[62 : 62 + height, 12 : 12 + width], grid)
    np.testing.assert_array_equal(picture[62 : 62 + height, 26 + width : 26 + 2 * width], grid)


def test_real_examples_are_of_the_classes_of_the_samples():
    digits = data.load("digits")
    labels = np.array([3, 7, 3, 3, 7, 7, 7, 3])
    rows, there = samples._held_out(digits, 8, labels)
    of = [digits.test_labels[(digits.test == row).all(axis=(1, 2, 3)).argmax()] for row in rows]
    np.testing.assert_array_equal(of, labels)
    assert there.all()
    assert not samples._held_out(digits, 8, np.full(8, 10))[1].any()  # there is no such class


def test_where_a_class_has_too_few_examples_places_of_its_rows_stay_empty():
    x = noise(7, 8, 8, 1) // 4  # darker than what is empty
    labels = np.array([0, 1, 0, 2, 0, 1, 0], np.int32)
    names = ("cats", "dogs", "a name too long for a row")
    dataset = data.Dataset("noise", x, x, labels, labels, class_names=names)
    asked = np.repeat([0, 1, 2], 3)
    figure = plots.draw_samples_and_data(noise(9, 8, 8, 1), dataset, "t", asked)
    words = plots.texts(figure)
    assert {"cats", "dogs", "a name too long…", "6 real examples, held out"} <= {*words}
    picture = np.asarray(Image.open(io.BytesIO(plots.png(figure))).convert("L"))
    grid = plots.image_grid(x[:9])
    real = picture[62 : 62 + len(grid), -12 - grid.shape[1] : -12]
    side = len(grid) // 3
    middles = real[side // 2 :: side, side // 2 :: side]  # a pixel of each
    np.testing.assert_array_equal(middles == 128, [[0, 0, 0], [0, 0, 1], [0, 1, 1]])


def test_a_row_of_one_class_says_which():
    digits = data.load("digits")
    labels = np.repeat(np.arange(4), 4)
    words = plots.texts(plots.draw_samples_and_data(digits.train[:16], digits, "t", labels))
    assert [word for word in words if word.isdigit()] == ["0", "1", "2", "3"]
    without = data.Dataset("digits", digits.train, digits.test)
    words = plots.texts(plots.draw_samples_and_data(digits.train[:16], without, "t", labels))
    assert not any(word.isdigit() for word in words)


def test_of_data_without_held_out_examples_those_trained_on_are_shown():
    images = noise(9, 8, 8, 1)
    dataset = data.Dataset("noise", images, images[:0])
    words = plots.texts(plots.draw_samples_and_data(images, dataset, "t"))
    assert "9 real examples, trained on" in words


class Counted:
    """An array that counts how many of its rows are read."""

    def __init__(self, array):
        self.array, self.read, self.shape = array, 0, array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        found = self.array[rows]
        self.read += len(found)
        return found


def test_of_data_larger_than_memory_only_what_is_drawn_is_read():
    images = Counted(noise(10_000, 4, 4, 1))
    dataset = data.Dataset("noise", images, images)
    plots.draw_samples_and_data(noise(64, 4, 4, 1), dataset, "t")
    assert images.read == 64
    points = Counted(np.random.default_rng(0).normal(size=(300_000, 2)))
    plots.draw_points(np.zeros((10, 2)), data.Dataset("p", points, points.array[:0]))
    assert points.read == samples.MOST + 1000


def test_points_are_named_and_have_equal_axes():
    ring = data.load("ring8")
    points = np.float32([[0, 0], [9, 9], [np.nan, 0]])
    figure = plots.draw_points(points, ring, "bce on ring8, step 5")
    words = plots.texts(figure)
    assert {"bce on ring8, step 5", "2 of 3 samples lie outside", "x₁", "x₂"} <= set(words)
    assert {"data, held out", "3 samples", "3σ around a mode"} <= set(words)
    [axes] = figure.axes
    assert axes.get_aspect() == 1
    pair = plots.draw_samples_and_data(points, ring, "t").axes
    assert pair[0].get_xlim() == pair[1].get_xlim() == axes.get_xlim()


def test_a_comparison_says_what_its_points_and_marks_are():
    values = {"bce": [1.1, 1.2, math.inf], "wgan": [1.0, 1.3]}
    seeds = plots.texts(plots.draw_comparison(values, "W1 / floor", False, "Losses on digits"))
    assert {"a seed", "their mean ± standard error", "training data", "1 diverged"} <= set(seeds)
    assert {"Losses on digits", "W1 / floor: 1 is what training data score, less is better"} <= set(
        seeds
    )
    of_settings = plots.texts(plots.draw_comparison(values, "W1 / floor", True))
    assert {"a setting", "their median"} <= set(of_settings)


NAMES = [
    "a" * 500,
    "W" * 70,
    "$x$ and $y_{",
    "{}%s\\",
    "猫🐈 和 чёрный",
    "two\nlines\t",
    "\udcff",
    "",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_can_be_drawn(name):
    """Without a warning, such as of a letter that the font lacks, and on the picture."""
    rows = [{"step": 1, f"loss {name}": 1.0}]
    dataset = data.load("ring8")._replace(name=name)
    with plots.look():
        for figure in (
            plots.draw_curves(rows, title=name),
            plots.draw_points(dataset.test, dataset),
            plots.draw_samples_and_data(dataset.test, dataset, name),
            plots.draw_neighbours(dataset.test, dataset.test, name),
            plots.draw_comparison({name: [1.0, 1.1]}, name, False, name),
        ):
            plots.png(figure)
            for text in figure.texts:
                box = text.get_window_extent()
                assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text


# One look, and nobody's settings but ours.


def every_picture():
    ring, digits = data.load("ring8"), data.load("digits")
    rows = [{"step": step, "d_loss": step % 5, "js": 0.1 + step} for step in range(150)]
    with plots.look():
        return [
            plots.png(figure)
            for figure in (
                plots.draw_curves(rows, title="t"),
                plots.draw_points(ring.test, ring),
                plots.draw_samples_and_data(digits.test[:9], digits, "t"),
                plots.draw_neighbours(digits.test, digits.test, "t"),
                plots.draw_comparison({"bce": [1, 2, 3]}, "W1 / floor", False),
            )
        ]


def test_pictures_are_the_same_whatever_matplotlib_is_set_to():
    expected = every_picture()
    dark = {"figure.facecolor": "black", "text.color": "white", "font.size": 30.0}
    strange = {"axes.prop_cycle": cycler(color="k"), "savefig.dpi": 17, "savefig.bbox": "tight"}
    with matplotlib.rc_context(dark | strange):
        before = dict(matplotlib.rcParams)
        assert every_picture() == expected
        assert dict(matplotlib.rcParams) == before


def test_in_a_notebook_settings_and_backend_stay_as_they_are(tmp_path):
    pytest.importorskip("matplotlib_inline")
    code = f"""
import matplotlib, numpy as np
from jaxgan import data, plots
matplotlib.rcParams["lines.linewidth"] = 7.0
before = dict(matplotlib.rcParams)
ring = data.load("ring8")
plots.save_curves("{tmp_path}/c.png", [{{"step": 0, "loss": 1.0}}])
plots.save_samples("{tmp_path}/s.png", ring.test, ring)
plots.save_samples_and_data("{tmp_path}/b.png", ring.test, ring, "t")
plots.save_comparison("{tmp_path}/d.png", {{"bce": [1.0]}}, "W1", False)
assert dict(matplotlib.rcParams) == before, "settings"
assert "inline" in matplotlib.get_backend(), matplotlib.get_backend()
"""
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_settings_are_those_of_before_after_a_drawing_that_fails():
    before = dict(matplotlib.rcParams)
    with pytest.raises(ZeroDivisionError), plots.look():
        1 / 0  # noqa: B018
    assert dict(matplotlib.rcParams) == before


# Machado et al. 2009, table 1 at severity 1, for linear light.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.052]],
    "deuteranopia": [[0.3673, 0.8606, -0.228], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def lightness_and_hue(color, seen_by):
    """CIE L*a*b* of a colour as someone sees it."""
    light = np.array(matplotlib.colors.to_rgb(color))
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(BLINDNESS[seen_by] @ light, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen_by", BLINDNESS)
def test_colour_blind_people_tell_all_colours_apart(seen_by):
    def least(colors):
        seen = [lightness_and_hue(color, seen_by) for color in colors]
        return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))

    assert least([*style.SAFE, style.DATA]) > 15  # a difference of 2 is just seen
    if seen_by == "deuteranopia":
        assert least(["tab:green", "tab:red"]) < 10  # matplotlib's own


def test_four_channels_are_shown_on_white():
    clear, solid = np.array([[[[9, 9, 9, 0]]], [[[9, 9, 9, 255]]]], np.uint8)
    grid = plots.image_grid(np.stack([clear, solid]).repeat(16, 1).repeat(16, 2))
    assert set(map(tuple, grid.reshape(-1, 3))) == {(255,) * 3, (9,) * 3, (128,) * 3}


def test_a_band_reaches_one_standard_error_each_way():
    rows = [{"step": i, "loss": 3.0, "loss_stderr": 0.5} for i in range(9)]
    [axes] = plots.draw_curves(rows, ["loss"]).axes
    ends = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == (2.5, 3.5)


def test_the_best_score_is_marked_at_its_step():
    rows = [{"step": i, "w1": 2.0 - i} for i in range(3)]
    [axes] = plots.draw_curves(rows, best={"step": 1, "w1": 1.0}).axes
    [mark] = [line for line in axes.lines if line.get_markersize() == 9]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([1], [1.0])


def test_samples_are_left_of_the_examples_nearest_to_them():
    one, other = np.zeros((4, 16, 16, 1), np.uint8), np.full((4, 16, 16, 1), 200, np.uint8)
    left, right = (np.asarray(x.get_array()) for x in plots.draw_neighbours(one, other, "t").images)
    assert left.min() == 0 and right.max() == 200 and 200 not in left


def test_samples_are_green_and_data_black_side_by_side():
    points, ring = np.zeros((5, 2), np.float32), data.load("ring8")
    first, second = plots.draw_samples_and_data(points, ring, "t").axes
    assert first.lines[0].get_color() == style.FAKE
    assert second.lines[0].get_color() == style.DATA
