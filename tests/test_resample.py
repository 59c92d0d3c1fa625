"""Resampling and grouped convolutions: values and two derivatives, and what a CPU runs of them."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.networks import conv_maps, resample
from jaxgan.networks.conv import Conv, conv
from jaxgan.networks.geometry import Axis

# Of float64 against float64, relative: sums of some hundred terms.
CLOSE = dict(rtol=1e-12, atol=1e-12)


def drawn(*shapes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


# Resampling, each beside the matrix of either axis that its docstring tells.

MAPS = {
    # Rows: what one pixel becomes.
    "nearest_up": lambda n: np.kron(np.eye(n), [1, 1]),
    "average_down": lambda n: np.kron(np.eye(n // 2), [[1], [1]]) / 2,
    "bilinear_up": lambda n: taps(n),
    "bilinear_down": lambda n: taps(n // 2).T / 2,
}
SIZES = [(2, 2), (4, 6), (6, 2)]


def taps(n):
    """[n, 2n]: 1, 3, 3, 1 quarters from a pixel before each pair on, cut off at the borders."""
    matrix = np.zeros((n, 2 * n + 2))
    for i in range(n):
        matrix[i, 2 * i : 2 * i + 4] = np.array([1, 3, 3, 1]) / 4
    return matrix[:, 1:-1]


def expected_of(name, x):
    _, height, width, _ = x.shape
    return np.einsum("bhwc,hi,wj->bijc", x, MAPS[name](height), MAPS[name](width))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAPS)
def test_resampling_is_its_matrix_along_either_axis(name, size):
    (x,) = drawn((2, *size, 3))
    with jax.enable_x64(True):
        found = getattr(resample, name)(jnp.asarray(x))
    np.testing.assert_allclose(found, expected_of(name, x), **CLOSE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAPS)
def test_derivatives_of_resampling_are_its_transpose_and_itself(name, size):
    x, a = drawn((2, *size, 3), (2, *size, 3))
    y = expected_of(name, x)
    (u,) = drawn(y.shape)
    f = getattr(resample, name)

    def gradient(u):
        return jax.vjp(f, jnp.asarray(x))[1](u)[0]

    with jax.enable_x64(True):
        first, pullback = jax.vjp(gradient, jnp.asarray(u))
        (second,) = pullback(jnp.asarray(a))
    # ⟨f(a), u⟩ = ⟨a, fᵀ(u)⟩, for all a: u against each unit image.
    _, height, width, _ = x.shape
    transposed = np.einsum("bijc,hi,wj->bhwc", u, MAPS[name](height), MAPS[name](width))
    np.testing.assert_allclose(first, transposed, **CLOSE)
    np.testing.assert_allclose(second, expected_of(name, a), **CLOSE)


@pytest.mark.parametrize("name", MAPS)
def test_float32_resampling_is_float64s_to_rounding(name):
    (x,) = drawn((2, 6, 4, 3))
    found = getattr(resample, name)(x.astype(np.float32))
    assert found.dtype == np.float32
    # Sixteen terms of weight one in all, of numbers below four.
    np.testing.assert_allclose(found, expected_of(name, x), atol=16 * 4 * 2.0**-24)


def test_a_constant_image_stays_one_but_for_the_borders_of_the_filter():
    ones = jnp.ones((1, 8, 8, 1))
    for name in MAPS:
        y = getattr(resample, name)(ones)
        np.testing.assert_array_equal(y[:, 1:-1, 1:-1], 1)


@pytest.mark.parametrize("name", ["average_down", "bilinear_down"])
def test_odd_sides_are_not_halved(name):
    with pytest.raises(ValueError, match=r"only even sides can be halved; got .* \(1, 5, 4, 1\)"):
        getattr(resample, name)(jnp.zeros((1, 5, 4, 1)))


@pytest.mark.parametrize("name", MAPS)
def test_resampling_takes_batches_of_images(name):
    with pytest.raises(ValueError, match=r"takes images \[B, H, W, C\]; got shape \(4, 4, 1\)"):
        getattr(resample, name)(jnp.zeros((4, 4, 1)))


# Grouped convolutions.

GEOMETRIES = {
    "two groups": dict(x=(2, 5, 6, 4), k=(3, 3, 2, 6), groups=2, strides=1, padding="SAME"),
    "of sixteen": dict(x=(2, 4, 4, 32), k=(3, 3, 16, 32), groups=2, strides=1, padding="SAME"),
    "strided": dict(x=(4, 7, 6, 6), k=(2, 3, 2, 9), groups=3, strides=2, padding="VALID"),
    "each channel": dict(x=(2, 4, 4, 5), k=(4, 4, 1, 5), groups=5, strides=1, padding="VALID"),
}
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def grouped(g):
    return partial(
        conv, strides=g["strides"], padding=g["padding"], feature_group_count=g["groups"]
    )


def own(g):
    strides = (g["strides"],) * 2

    def f(x, k):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x,
            k,
            strides,
            g["padding"],
            dimension_numbers=layout,
            feature_group_count=g["groups"],
        )

    return f


def derivatives(f):
    """f(x, k); its gradients against u; the gradients of those against a and b."""

    def all_orders(x, k, u, a, b):
        first, pullback = jax.vjp(lambda x, k, u: jax.vjp(f, x, k)[1](u), x, k, u)
        return f(x, k), *first, *pullback((a, b))

    return jax.jit(all_orders)


def arguments(g):
    y = jax.eval_shape(own(g), *(jax.ShapeDtypeStruct(g[name], jnp.float32) for name in "xk"))
    return drawn(g["x"], g["k"], y.shape, g["x"], g["k"])


@each_geometry
def test_grouped_convolutions_and_two_derivatives_are_jax_own(geometry):
    with jax.enable_x64(True):
        found, expected = (derivatives(f(geometry))(*arguments(geometry)) for f in (grouped, own))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


@each_geometry
def test_float32_grouped_convolutions_are_float64s_to_rounding(geometry):
    args = arguments(geometry)
    with jax.enable_x64(True):
        expected = derivatives(own(geometry))(*args)
    found = derivatives(grouped(geometry))(*(each.astype(np.float32) for each in args))
    for one, other in zip(found, expected, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == np.float32
        # Sums of 288 terms at most, whose roundings mostly cancel.
        assert np.linalg.norm(one - other) <= 1e-6 * np.linalg.norm(other)


@pytest.mark.parametrize("axis", [0, None])
def test_vmap_over_grouped_convolutions(axis):
    g = GEOMETRIES["two groups"]
    x, k = drawn((3, *g["x"]), (3, *g["k"]) if axis == 0 else g["k"])
    with jax.enable_x64(True):
        found = jax.vmap(grouped(g), (0, axis))(x, k)
        expected = jax.vmap(own(g), (0, axis))(x, k)
    np.testing.assert_allclose(found, expected, **CLOSE)


@each_geometry
def test_the_maps_of_other_platforms_are_those_of_a_cpu(geometry):
    x, k, y, *_ = arguments(geometry)
    strides, groups = geometry["strides"], geometry["groups"]
    pads = lax.padtype_to_pads(x.shape[1:3], k.shape[:2], (strides, strides), geometry["padding"])
    g = tuple(
        Axis(size, h, strides, *pad)
        for size, h, pad in zip(x.shape[1:3], k.shape[:2], pads, strict=True)
    )
    for name, args in (
        ("convolution", (x, k)),
        ("input_gradient", (y, k)),
        ("kernel_gradient", (x, y)),
    ):
        native, cpu = (getattr(conv_maps, f"{each}_{name}") for each in ("native", "cpu"))
        with jax.enable_x64(True):
            one = native(g, *args, groups=groups)
            other = conv_maps.by_group(partial(cpu, g), groups)(*map(jnp.asarray, args))
        np.testing.assert_allclose(one, other, **CLOSE)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_one_grouped_operation(platform):
    g = GEOMETRIES["two groups"]
    args = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in arguments(g)[:3]]

    def operations(f):
        both = jax.jit(lambda x, k, u: (f(x, k), jax.vjp(f, x, k)[1](u)))
        program = both.trace(*args).lower(lowering_platforms=(platform,)).as_text()
        found = re.findall(r"stablehlo\.convolution\(.*?\) (dim_numbers.*)", program)
        return sorted(found)

    found = operations(grouped(g))
    assert len(found) == 3 and found == operations(own(g))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA's CPU backend")
def test_a_cpu_gets_one_plain_convolution_a_group():
    g = GEOMETRIES["of sixteen"]
    args = [each.astype(np.float32) for each in arguments(g)]
    program = derivatives(grouped(g)).lower(*args).compile().as_text()
    found = [line for line in program.splitlines() if " convolution(" in line]
    slow = [line for line in found if re.search("group_count|lhs_dilate|rhs_reversal", line)]
    # y, its two gradients, and two derivatives of each of these: seven maps, of two groups each.
    assert len(found) == 2 * 7 and slow == []


def test_a_grouped_layer_is_flax_own():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 6))
    ours, theirs = (layer(9, (3, 3), feature_group_count=3) for layer in (Conv, nn.Conv))
    variables = ours.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), x))
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-6)


@pytest.mark.parametrize(
    ("x", "k", "groups", "words"),
    [
        (
            (1, 4, 4, 6),
            (3, 3, 3, 5),
            2,
            "feature_group_count=2 must divide the kernel's 5 features",
        ),
        ((1, 4, 4, 6), (3, 3, 3, 5), 0, "feature_group_count=0 must divide"),
        ((1, 4, 4, 6), (3, 3, 2, 4), 2, "has 6 channels and the kernel expects 4: .* 2 groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(x, k, groups, words):
    with pytest.raises(ValueError, match=words):
        conv(jnp.zeros(x), jnp.zeros(k), feature_group_count=groups)


def test_a_layer_refuses_groups_that_do_not_divide_its_channels():
    layer = Conv(8, 3, feature_group_count=4)
    with pytest.raises(ValueError, match="=4 must divide the input's 6 channels and the layer's 8"):
        layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 6)))
