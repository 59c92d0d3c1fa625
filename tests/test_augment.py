"""Augmentations of images: values by hand, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.augment import NAMES, adjust_color, augment, cut_out, parse, shift

KEY = jax.random.key(0)
EACH = pytest.mark.parametrize("name", NAMES)


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def keys(n):
    return jax.random.split(KEY, n)


# Values by hand.


def test_brightness_is_added():
    x = images(2, 2, 3)
    np.testing.assert_allclose(adjust_color(x, 0.25, 1, 1), x + 0.25, atol=1e-6)


def test_saturation_scales_the_distance_from_each_pixels_grey():
    x = np.array([[[0.0, 0.3, 0.6], [0.1, 0.1, 0.1]]], np.float32)
    np.testing.assert_allclose(
        adjust_color(x, 0, 2, 1), [[[-0.3, 0.3, 0.9], [0.1, 0.1, 0.1]]], atol=1e-6
    )
    np.testing.assert_allclose(adjust_color(x, 0, 0, 1), [[[0.3] * 3, [0.1] * 3]], atol=1e-6)


def test_contrast_scales_the_distance_from_the_images_mean():
    x = np.array([[[0.0, 0.3, 0.6], [0.1, 0.1, 0.1]]], np.float32)  # of mean 0.2
    np.testing.assert_allclose(
        adjust_color(x, 0, 1, 0.5), [[[0.1, 0.25, 0.4], [0.15, 0.15, 0.15]]], atol=1e-6
    )


def test_a_shift_moves_pixels_and_leaves_zeros():
    x = np.arange(1.0, 10).reshape(3, 3, 1)
    np.testing.assert_array_equal(shift(x, 1, -1)[..., 0], [[0, 4, 5], [0, 7, 8], [0, 0, 0]])
    np.testing.assert_array_equal(shift(x, -3, 0), np.zeros((3, 3, 1)))


def test_a_hole_has_half_of_each_side_and_is_cut_at_the_edges():
    x = np.ones((4, 6, 1), np.float32)
    hole = np.ones((4, 6))
    hole[1:3, 2:5] = 0  # 2 x 3, about (2, 3)
    np.testing.assert_array_equal(cut_out(x, 2, 3)[..., 0], hole)
    corner = np.ones((4, 6))
    corner[:1, :2] = 0
    np.testing.assert_array_equal(cut_out(x, 0, 0)[..., 0], corner)


def test_at_no_strength_an_image_stays():
    x = images(5, 4, 3)
    np.testing.assert_allclose(adjust_color(x, 0, 1, 1), x, atol=1e-6)
    np.testing.assert_array_equal(shift(x, 0, 0), x)
    np.testing.assert_array_equal(augment(x[None], KEY, p=0.0)[0], x)


# The draws. Of images of one colour, or of one bright pixel, what was drawn can be read off.


def test_brightness_is_uniform_within_a_half():
    x = augment(jnp.zeros((4000, 1, 1, 1)), keys(4000), "color")[:, 0, 0, 0]
    # Uniform: mean 0, variance 1/12; standard errors 0.0046 and 0.0012.
    assert -0.5 <= x.min() < -0.49 and 0.49 < x.max() <= 0.5
    assert abs(x.mean()) < 0.02 and x.var() == pytest.approx(1 / 12, abs=0.005)


def test_saturation_is_uniform_to_two_and_contrast_from_a_half_to_one_and_a_half():
    """Of the pixels (−1, 1) and (1, −1), s·c scales all; of (−1, −1) and (1, 1), c alone."""
    n = 4000
    pairs = np.array([[[[-1.0, 1, 0]], [[1, -1, 0]]], [[[-1.0] * 3], [[1.0] * 3]]], np.float32)
    both, contrast = (
        np.asarray(augment(jnp.broadcast_to(x, (n, *x.shape)), keys(n), "color")) for x in pairs
    )
    c = (contrast[:, 1, 0, 0] - contrast[:, 0, 0, 0]) / 2
    s = (both[:, 1, 0, 0] - both[:, 0, 0, 0]) / 2 / c
    assert 0.5 <= c.min() < 0.51 and 1.49 < c.max() <= 1.5
    assert s.min() < 0.01 and 1.99 < s.max() <= 2.0001
    assert c.mean() == pytest.approx(1, abs=0.02) and s.mean() == pytest.approx(1, abs=0.04)
    assert abs(np.corrcoef(s, c)[0, 1]) < 0.06  # 4 standard errors


def test_translation_is_uniform_to_an_eighth_of_each_side():
    n = 4000
    dot = np.zeros((n, 16, 24, 1), np.float32)
    dot[:, 8, 12] = 1
    moved = np.asarray(augment(dot, keys(n), "translation"))[..., 0]
    _, rows, columns = np.nonzero(moved)
    assert len(rows) == n
    for found, middle, most in ((rows, 8, 2), (columns, 12, 3)):
        counts = np.bincount(found - middle + most, minlength=2 * most + 1)
        assert len(counts) == 2 * most + 1
        share = 1 / (2 * most + 1)
        assert abs(counts / n - share).max() < 4 * (share / n) ** 0.5


@pytest.mark.parametrize(("side", "places"), [(4, 5), (6, 6)])
def test_a_holes_middle_is_uniform_so_that_it_may_leave_the_image(side, places):
    """A hole of even size has one place more, so that both edges are alike."""
    n, size = 6000, side // 2
    x = np.asarray(augment(jnp.ones((n, side, 1, 1)), keys(n), "cutout"))[..., 0, 0]
    share = [
        sum(0 <= row - (middle - size // 2) < size for middle in range(places)) / places
        for row in range(side)
    ]
    # Here the hole is 1 wide, of the one column, and always there.
    np.testing.assert_allclose(1 - x.mean(axis=0), share, atol=0.03)
    np.testing.assert_allclose(share, share[::-1])


def test_each_name_of_a_policy_has_a_coin_of_its_own():
    n, p = 4000, 0.3
    dot = np.zeros((n, 16, 16, 1), np.float32)
    dot[:, 8, 8] = 1
    moved = np.asarray(augment(dot, keys(n), "translation,color", p))[..., 0]
    bright = moved[:, 0, 0] != 0
    shifted = moved.reshape(n, -1).argmax(axis=1) != 8 * 16 + 8
    # A shift is by nothing in one of 25.
    for found, share in ((bright, p), (shifted, p * 24 / 25), (bright & shifted, p**2 * 24 / 25)):
        assert found.mean() == pytest.approx(share, abs=0.03)


def test_a_change_draws_the_same_alone_and_in_a_policy():
    x = images(6, 8, 8, 3)
    color = augment(x, keys(6), "color")
    np.testing.assert_array_equal(
        augment(x, keys(6), "color,cutout"), augment(color, keys(6), "cutout")
    )


# What images are.


@EACH
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 12, 1), (1, 1, 4), (5, 3, 2)])
def test_shapes_and_types_stay(name, dtype, shape):
    x = jnp.asarray(images(3, *shape), dtype)
    changed = augment(x, KEY, name)
    assert changed.shape == x.shape and changed.dtype == dtype
    assert jnp.isfinite(changed).all()


def test_saturation_leaves_grey_images_alone():
    x = images(4, 4, 1)
    np.testing.assert_allclose(adjust_color(x, 0, 1.7, 1), x, atol=1e-6)
    grey = np.broadcast_to(x, (4, 4, 3))
    np.testing.assert_allclose(adjust_color(grey, 0, 1.7, 1), grey, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 4])
def test_colour_leaves_alpha_alone_and_does_not_look_at_it(channels):
    x = images(6, 4, 4, channels)
    changed = augment(x, keys(6), "color")
    np.testing.assert_array_equal(changed[..., -1], x[..., -1])
    opaque = augment(x[..., :-1], keys(6), "color")
    np.testing.assert_allclose(changed[..., :-1], opaque, atol=1e-6)
    moved = augment(x, keys(6), "translation,cutout")
    assert (moved[..., -1] != x[..., -1]).any()


# Derivatives.


def test_a_shift_is_undone_by_its_derivative():
    """The adjoint of a shift is the shift back: ⟨shift x, y⟩ = ⟨x, shift⁻¹ y⟩."""
    x, y = images(6, 5, 2), images(6, 5, 2, seed=1)
    gradient = jax.grad(lambda x: jnp.sum(shift(x, 2, -1) * y))(jnp.asarray(x))
    np.testing.assert_array_equal(gradient, shift(y, -2, 1))


def test_a_hole_lets_no_gradient_through():
    gradient = jax.grad(lambda x: jnp.sum(cut_out(x, 2, 2)))(jnp.ones((4, 4, 1)))
    np.testing.assert_array_equal(gradient, cut_out(jnp.ones((4, 4, 1)), 2, 2))


@EACH
def test_each_change_is_affine_so_that_its_second_derivative_is_zero(name):
    x, v = jnp.asarray(images(3, 4, 4, 3)), jnp.asarray(images(3, 4, 4, 3, seed=1))

    def change(x):
        return augment(x, keys(3), name)

    _, slope = jax.jvp(change, (x,), (v,))
    np.testing.assert_allclose(slope, change(x + v) - change(x), atol=1e-5)
    _, bend = jax.jvp(lambda x: jax.jvp(change, (x,), (v,))[1], (x,), (v,))
    np.testing.assert_array_equal(bend, jnp.zeros_like(x))


# Randomness belongs to the example.


def test_an_image_becomes_the_same_in_any_batch():
    x = images(8, 8, 8, 3)
    whole = augment(x, keys(8))
    parts = [augment(x[rows], keys(8)[rows]) for rows in (slice(0, 3), slice(3, 8))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert len(np.unique(augment(np.ones((8, 8, 8, 3), np.float32), keys(8)), axis=0)) == 8


def test_devices_that_share_a_batch_change_it_as_one_does():
    x, devices = images(8, 8, 8, 3), jax.local_devices()[:2]
    mesh = jax.sharding.Mesh(devices, ("batch",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    placed = jax.device_put((x, keys(8)), split)
    np.testing.assert_allclose(jax.jit(augment)(*placed), augment(x, keys(8)), atol=1e-6)


# What is refused.


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("colr", "unknown augmentation 'colr': did you mean color"),
        ("color,Cutout", "unknown augmentation 'Cutout': did you mean cutout"),
        ("none", "unknown augmentation 'none': One of color, translation, cutout"),
        ("color,color", "each once; got 'color,color'"),
        ((), "a policy must name one or more of"),
    ],
)
def test_a_policy_that_is_none_is_refused(policy, words):
    with pytest.raises(ValueError, match=words):
        parse(policy)


def test_what_is_no_batch_of_images_is_refused():
    for x in (images(8, 2), images(8, 8, 3), np.zeros((2, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"floating-point images \[B, H, W, C\]; got"):
            augment(x, KEY)
