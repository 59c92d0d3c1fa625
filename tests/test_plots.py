import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan import data, plots
from jaxgan.plots import curves


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
