"""The convolutions agree with JAX's own, at every order, and stay in the form that is fast."""

import itertools
import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxgan.networks import conv_maps, winograd
from jaxgan.networks.conv import Conv, ConvTranspose, conv, conv_transpose

LAYOUT = ("NHWC", "HWIO", "NHWC")
OPERATIONS = {"conv": conv, "conv_transpose": conv_transpose}


def lax_conv(x, k, strides, padding):
    return lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=LAYOUT)


JAX_OWN = {"conv": lax_conv, "conv_transpose": lax.conv_transpose}


def derivatives(f):
    """f(x, k); its gradients against u; the gradients of those against a and b.

    Each of the six is bilinear in the arguments, so `bound` below covers each.
    """

    def all_orders(x, k, u, a, b):
        def gradients(x, k, u):
            return jax.vjp(f, x, k)[1](u)

        first, pullback = jax.vjp(gradients, x, k, u)
        return f(x, k), *first, *pullback((a, b))

    return all_orders


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def one_by_one(f):
    """f for each of the stacked examples, in a plain program."""
    return jax.jit(lambda *xs: stack([f(*(x[i] for x in xs)) for i in range(len(xs[0]))]))


def in_scan(f):
    return jax.jit(lambda *xs: lax.scan(lambda _, each: (None, f(*each)), None, xs)[1])


def on_a_mesh(f):
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    own = lambda *xs: stack([f(*(x[0] for x in xs))])  # noqa: E731
    return jax.jit(jax.shard_map(own, mesh=mesh, in_specs=P("i"), out_specs=P("i")))


TRANSFORMS = {
    "jit": lambda f: one_by_one(derivatives(f)),
    "scan": lambda f: in_scan(derivatives(f)),
    "vmap": lambda f: jax.jit(jax.vmap(derivatives(f))),
    "pmap": lambda f: jax.pmap(derivatives(f)),
    "shard_map": lambda f: on_a_mesh(derivatives(f)),
    "remat": lambda f: one_by_one(derivatives(jax.checkpoint(f))),
}


@st.composite
def geometries(draw):
    side = partial(draw, st.integers(1, 9))
    padding = st.one_of(
        st.sampled_from(["SAME", "VALID"]),
        st.tuples(*2 * [st.tuples(st.integers(0, 4), st.integers(0, 4))]),
    )
    # Channels on either side of the number from which another lowering is chosen.
    c, o = draw(st.sampled_from([(1, 10), (3, 2), (9, 3), (10, 9)]))
    geometry = dict(
        x=(draw(st.integers(1, 3)), side(), side(), c),
        k=(draw(st.integers(1, 5)), draw(st.integers(1, 5)), c, o),
        strides=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=draw(padding),
    )
    assume(all(output_shape(name, geometry) for name in JAX_OWN))
    return geometry


def operation(name, geometry, of=OPERATIONS):
    return partial(of[name], strides=geometry["strides"], padding=geometry["padding"])


def output_shape(name, geometry):
    """The shape of the operation's output; None where nothing is left."""
    try:
        x, k = (jax.ShapeDtypeStruct(geometry[each], jnp.float32) for each in "xk")
        shape = jax.eval_shape(operation(name, geometry, JAX_OWN), x, k).shape
    except ValueError:  # jax.lax.conv_transpose computes a negative size
        return None
    return None if 0 in shape else shape


def examples(name, geometry, n=2):
    """n stacked sets of arguments for `derivatives` of the operation, as float64 numpy arrays.

    The values are whole 128ths, so float32 and bfloat16 hold them exactly.
    """
    x, k, y = geometry["x"], geometry["k"], output_shape(name, geometry)
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 129, (n, *shape)) / 128 for shape in (x, k, y, x, k)]


def exact(name, geometry, args):
    """All derivatives by JAX's own rules in float64, and the same with absolute values."""
    own = operation(name, geometry, JAX_OWN)
    with jax.enable_x64(True):
        # Quick to compile: these are few and tiny.
        f = jax.jit(
            jax.vmap(derivatives(own)), compiler_options={"xla_backend_optimization_level": "0"}
        )
        return jax.device_get((f(*args), f(*(np.abs(each) for each in args))))


def assert_within_rounding(found, name, geometry, args):
    """Each value is a sum of products, and at most two such sums; in whatever order n terms are
    added in float32, the error is below n·2⁻²⁴ Σ|terms|, and rounding the sums and their sum to
    the output's precision adds three half units in its last place (Higham, Accuracy and Stability
    of Numerical Algorithms, sec. 4.2).
    """
    values, magnitudes = exact(name, geometry, args)
    x, k, y = (each.shape[1:] for each in args[:3])
    # Terms in one value: a kernel's taps and channels, or all the pixels that share a tap.
    n = max(np.prod(k[:2]) * max(k[2:]), np.prod(x[:3]), np.prod(y[:3]))
    for order, (one, value, magnitude) in enumerate(zip(found, values, magnitudes, strict=True)):
        assert one.shape == value.shape
        error = np.abs(np.asarray(one, np.float64) - value)
        bound = ((n + 2) * 2.0**-24 + 1.5 * float(jnp.finfo(one.dtype).eps)) * magnitude
        assert np.all(error <= bound), f"output {order}: {np.max(error - bound)} over the bound"


few = settings(max_examples=4, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    "transform",
    [pytest.param(t, marks=[pytest.mark.slow] * (t in ("scan", "remat"))) for t in TRANSFORMS],
)
@pytest.mark.parametrize("name", OPERATIONS)
@few
@given(geometry=geometries())
def test_values_first_and_second_derivatives_are_jax_own(name, transform, geometry):
    args = examples(name, geometry)
    f = TRANSFORMS[transform](operation(name, geometry))
    found = f(*(each.astype(np.float32) for each in args))
    assert_within_rounding(found, name, geometry, args)


@pytest.mark.parametrize("name", OPERATIONS)
@few
@given(geometry=geometries(), batched=st.tuples(*5 * [st.booleans()]).filter(any))
def test_vmap_over_some_arguments(name, geometry, batched):
    args = [
        each if own else each[[0, 0]]
        for each, own in zip(examples(name, geometry), batched, strict=True)
    ]
    f = jax.vmap(derivatives(operation(name, geometry)), [0 if own else None for own in batched])
    given_args = [each if own else each[0] for each, own in zip(args, batched, strict=True)]
    found = jax.jit(f)(*(each.astype(np.float32) for each in given_args))
    assert_within_rounding(found, name, geometry, args)


# Padding beyond the kernel means cropping in the gradients, which XLA's own operation gets wrong.
BEYOND = dict(x=(1, 1, 3, 1), k=(2, 1, 1, 10), strides=(1, 2), padding=((2, 0), (0, 0)))


@pytest.mark.parametrize("name", OPERATIONS)
@few
@given(geometry=geometries())
@example(geometry=BEYOND)
def test_bfloat16_is_rounded_only_at_the_end(name, geometry):
    args = examples(name, geometry)
    f = TRANSFORMS["jit"](operation(name, geometry))
    found = f(*(each.astype(jnp.bfloat16) for each in args))
    assert all(each.dtype == jnp.bfloat16 for each in found)
    assert_within_rounding(found, name, geometry, args)


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 9])
def test_four_hundred_ones_add_up_in_bfloat16(channels):
    """Where each sum is rounded to eight bits, 256 and 1 are 256."""
    x = jnp.ones((1, 20, 20, channels), jnp.bfloat16)
    k = jnp.ones((20, 20, channels, 1), jnp.bfloat16)
    total, pullback = jax.vjp(partial(conv, padding="VALID"), x, k)
    assert total.item() == 400 * channels
    np.testing.assert_array_equal(pullback(jnp.ones_like(total))[0], 1)
    wide = jnp.ones((1, 39, 39, channels), jnp.bfloat16)
    _, pullback = jax.vjp(partial(conv, padding="VALID"), wide, k)
    assert pullback(jnp.ones((1, 20, 20, 1), jnp.bfloat16))[0][0, 19, 19, 0] == 400


@pytest.mark.parametrize("channels", [(9, 3), (3, 9), (9, 10)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_way_for_few_or_many_channels_at_stride_1(name, channels):
    """Kernels of several taps and unequal padding, where a kernel not turned around shows."""
    pads = (1, 0), (2, 1)
    geometry = dict(x=(2, 6, 5, channels[0]), k=(2, 4, *channels), strides=(1, 1), padding=pads)
    args = examples(name, geometry)
    found = TRANSFORMS["jit"](operation(name, geometry))(*map(np.float32, args))
    assert_within_rounding(found, name, geometry, args)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("case", ["few channels", "phases", "8x8"])
def test_a_broken_example_leaves_the_others_alone(case, bad):
    """Values, and gradients of the input, of each are of its own: the sums of no two mix."""
    geometry = FILTERED["8x8"] | dict(x=(4, 8, 8, 32))
    if case != "8x8":
        channels, stride = ((3, 9), 1) if case == "few channels" else ((10, 12), 2)
        shapes = dict(x=(4, 8, 8, channels[0]), k=(5, 5, *channels))
        geometry |= shapes | dict(strides=(stride, stride))
    for name in OPERATIONS:
        x, k, *_ = (each[0].astype(np.float32) for each in examples(name, geometry, 1))
        f = operation(name, geometry)
        both = jax.jit(lambda x, k, f=f: (f(x, k), jax.grad(lambda x: jnp.tanh(f(x, k)).sum())(x)))
        broken = x.copy()
        broken[1] = bad
        for one, other in zip(both(x, k), both(broken, k), strict=True):
            np.testing.assert_array_equal(other[jnp.array([0, 2, 3])], one[jnp.array([0, 2, 3])])


@pytest.mark.parametrize("name", OPERATIONS)
def test_batches_whose_input_gradient_is_made_in_parts(name):
    geometry = dict(x=(8, 6, 6, 12), k=(5, 5, 12, 10), strides=(2, 2), padding="SAME")
    args = examples(name, geometry)
    found = TRANSFORMS["jit"](operation(name, geometry))(*args)
    assert_within_rounding(found, name, geometry, args)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_large_batches_whose_kernel_gradient_is_added_up_in_parts(dtype, monkeypatch):
    monkeypatch.setattr(conv_maps, "_MOST", 0)
    geometry = dict(x=(34, 8, 8, 10), k=(3, 3, 10, 9), strides=(1, 1), padding="SAME")
    args = examples("conv", geometry)
    f = TRANSFORMS["shard_map"](operation("conv", geometry))
    found = f(*(each.astype(dtype) for each in args))
    assert_within_rounding(found, "conv", geometry, args)


# Wide enough for minimal filtering: sides that tiles of 4 fill, and sides that they don't.
FILTERED = {
    "16x16": dict(x=(2, 16, 16, 32), k=(3, 3, 32, 33), strides=(1, 1), padding="SAME"),
    "cut off": dict(x=(1, 19, 20, 33), k=(3, 3, 33, 32), strides=(1, 1), padding="VALID"),
    "lopsided": dict(x=(1, 17, 16, 32), k=(3, 3, 32, 32), strides=(1, 1), padding=((2, 1), (0, 3))),
    "8x8": dict(x=(3, 8, 8, 32), k=(3, 3, 32, 40), strides=(1, 1), padding="SAME"),
}


def count_filtered(dtype=jnp.float32, **geometry):
    """How many of the three maps of a convolution take products of many matrices at once."""
    args = [jnp.zeros(each.shape[1:], dtype) for each in examples("conv", geometry, 1)[:3]]

    def all_three(x, k, u):
        y, pullback = jax.vjp(operation("conv", geometry), x, k)
        return y, pullback(u)

    program = jax.jit(all_three).lower(*args).as_text()
    return len(re.findall(r"stablehlo\.dot_general.*batching_dims = \[0\]", program))


@pytest.mark.parametrize(
    ("case", "transform"),
    [*((case, "jit") for case in FILTERED), ("8x8", "shard_map"), ("8x8", "vmap")],
)
def test_minimal_filtering_rounds_little_more_than_adding_up(case, transform):
    geometry = FILTERED[case]
    args = examples("conv", geometry)
    found = TRANSFORMS[transform](operation("conv", geometry))(*map(np.float32, args))
    for one, value in zip(found, exact("conv", geometry, args)[0], strict=True):
        assert np.linalg.norm(one - value) <= 1e-6 * np.linalg.norm(value)


def assert_exact(f, name, geometry, args):
    with jax.enable_x64(True):
        found = f(*args)
    for one, value in zip(found, exact(name, geometry, args)[0], strict=True):
        np.testing.assert_allclose(one, value, rtol=0, atol=1e-13 * np.abs(value).max())


@pytest.mark.parametrize("name", OPERATIONS)
def test_minimal_filtering_is_exact_but_for_rounding(name):
    geometry = FILTERED["lopsided"]
    f = TRANSFORMS["jit"](operation(name, geometry))
    assert_exact(f, name, geometry, examples(name, geometry, 1))


def test_minimal_filtering_of_a_batch_in_parts_under_shard_map(monkeypatch):
    monkeypatch.setattr(winograd, "_PART", 2**10)
    geometry = FILTERED["16x16"] | dict(x=(3, 16, 16, 32))
    f = TRANSFORMS["shard_map"](operation("conv", geometry))
    assert_exact(f, "conv", geometry, examples("conv", geometry))


def test_minimal_filtering_of_no_images():
    assert conv(jnp.zeros((0, 16, 16, 32)), jnp.zeros((3, 3, 32, 33))).shape == (0, 16, 16, 33)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA's CPU backend")
def test_only_wide_3x3_convolutions_at_stride_1_are_filtered():
    wide = FILTERED["16x16"]
    assert count_filtered(**wide) == 3
    others = [
        dict(x=(2, 16, 16, 31), k=(3, 3, 31, 33)),
        dict(k=(3, 3, 32, 31)),
        dict(k=(5, 5, 32, 33)),
        dict(x=(2, 7, 16, 32)),
        dict(strides=(2, 1)),
    ]
    assert [count_filtered(**wide | other) for other in others] == [0] * len(others)
    # Sums of pixels would be rounded to 16 bits, and integers have no halves.
    for dtype in (jnp.bfloat16, jnp.float16, jnp.int32):
        assert count_filtered(dtype, **wide) == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_third_derivatives_are_jax_own(name):
    geometry = dict(x=(2, 7, 6, 3), k=(4, 3, 3, 9), strides=(2, 1), padding="SAME")
    x, k, _, a, b = (each[0] for each in examples(name, geometry))

    def third_derivatives(f):
        def g0(x, k):
            return jnp.sum(jnp.tanh(f(x, k)))

        def g1(x, k):
            return sum(map(jnp.vdot, jax.grad(g0, (0, 1))(x, k), (a, b)))

        def g2(x, k):
            return sum(map(jnp.vdot, jax.grad(g1, (0, 1))(x, k), (b_x, a_k)))

        b_x, a_k = jnp.cos(a), jnp.sin(b)
        return jax.jit(jax.grad(g2, (0, 1)))(x, k)

    with jax.enable_x64(True):
        found = third_derivatives(operation(name, geometry))
        expected = third_derivatives(operation(name, geometry, JAX_OWN))
        for one, other in zip(found, expected, strict=True):
            assert jnp.linalg.norm(one - other) <= 1e-12 * jnp.linalg.norm(other)


def penalty_descent(convolution, side):
    """The program that descends a gradient penalty of a three-layer critic, inside a scan."""

    def critic(ks, x):
        for k in ks:
            x = nn.leaky_relu(convolution(x, k, (2, 2), "SAME"), 0.2)
        return jnp.sum(x)

    def penalty(ks, x):
        g = jax.grad(critic, argnums=1)(ks, x)
        return jnp.mean((jnp.sqrt(jnp.sum(g**2, axis=(1, 2, 3))) - 1) ** 2)

    def descend(ks, xs):
        return lax.scan(
            lambda ks, x: (jax.tree.map(jnp.subtract, ks, jax.grad(penalty)(ks, x)), None), ks, xs
        )[0]

    channels = [3, 16, 24, 32]
    ks = [jnp.zeros((5, 5, c, o)) for c, o in itertools.pairwise(channels)]
    return jax.jit(descend).lower(ks, jnp.zeros((2, 8, side, side, 3))).compile().as_text()


def convolutions(program):
    """Each convolution of a compiled program, and whether XLA's CPU backend runs it fast."""
    shapes = dict(re.findall(r"(%[\w.-]+) = \w+\[([\d,]*)\]", program))
    found = []
    for line in program.splitlines():
        if operands := re.search(r" convolution\((%[\w.-]+), (%[\w.-]+)\)", line):
            x, k = (tuple(map(int, shapes[name].split(","))) for name in operands.groups())
            canonical = "dim_labels=b01f_01io->b01f" in line
            plain = not re.search("lhs_dilate|rhs_reversal|feature_group_count", line)
            fits = k[0] <= x[1] and k[1] <= x[2]
            found.append((line, canonical and plain and fits))
    return found


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA's CPU backend")
@pytest.mark.parametrize("side", [32, 4])  # at 4, kernels larger than their inputs
def test_gradient_of_a_gradient_penalty_has_only_fast_convolutions(side):
    found = convolutions(penalty_descent(conv, side))
    assert [line for line, fast in found if not fast] == []
    if side == 32:
        # Nothing twice and nothing unused: 3 forward, 3 input gradients (the first as one matrix
        # product, the others as 4 phases of 4 parts of the batch), and what differentiates those:
        # 2 forward (the last gradient is a constant) and 3 kernel gradients.
        assert len(found) == 3 + 2 * 4 * 4 + 2 + 3
        # JAX's own derivatives have slow ones: what the test looks for can be found.
        assert any(not fast for _, fast in convolutions(penalty_descent(lax_conv, side)))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@settings(few, max_examples=10)
@given(geometry=geometries())
def test_other_platforms_get_jax_own_operations(platform, geometry):
    shapes = geometry["x"], geometry["k"], output_shape("conv", geometry)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]

    def operations(f):
        both = jax.jit(lambda x, k, u: (f(x, k), jax.vjp(f, x, k)[1](u)))
        program = both.trace(*args).lower(lowering_platforms=(platform,)).as_text()
        return sorted(set(re.findall(r"stablehlo\.convolution\(.*?\) (dim_numbers.*)", program)))

    found, own = (operations(operation("conv", geometry, of)) for of in (OPERATIONS, JAX_OWN))
    assert found == own and len(own) > 0


LAYERS = [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)]


@pytest.mark.parametrize(("layer", "flax_layer"), LAYERS)
@pytest.mark.parametrize(
    "fields",
    [
        dict(kernel_size=(5, 5), strides=(2, 2)),
        dict(kernel_size=(4, 3), strides=(1, 2), padding="VALID", use_bias=False),
        dict(kernel_size=(2, 2), strides=(3, 3), padding=((1, 0), (0, 2))),
        dict(kernel_size=(3, 3), dtype=jnp.bfloat16, bias_init=nn.initializers.ones),
    ],
)
def test_layers_initialise_and_apply_as_flax_layers(layer, flax_layer, fields):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    ours, theirs = layer(features=9, **fields), flax_layer(features=9, **fields)
    variables, expected = (m.init(jax.random.key(1), x) for m in (ours, theirs))
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)

    y, y_flax = (m.apply(variables, x) for m in (ours, theirs))
    assert y.shape == y_flax.shape and y.dtype == y_flax.dtype
    y, y_flax = (each.astype(jnp.float32) for each in (y, y_flax))
    # Sums of 75 terms at most, then the rounding of the output.
    eps = 75 * 2.0**-24 + float(jnp.finfo(fields.get("dtype", jnp.float32)).eps)
    assert jnp.linalg.norm(y - y_flax) <= eps * jnp.linalg.norm(y_flax)


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_one_number_serves_for_both_axes(layer):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    pair = layer(4, (3, 3), strides=(2, 2))
    variables = pair.init(jax.random.key(1), x)
    np.testing.assert_array_equal(pair.apply(variables, x), layer(4, 3, 2).apply(variables, x))


@pytest.mark.parametrize("f", OPERATIONS.values())
@pytest.mark.parametrize(
    ("x", "k", "options", "message"),
    [
        ((8, 8, 3), (3, 3, 3, 4), {}, r"got shapes \(8, 8, 3\)"),
        ((2, 8, 8, 3), (3, 3, 4), {}, "got shapes"),
        ((2, 8, 8, 3), (3, 3, 4, 4), {}, "has 3 channels and the kernel expects 4"),
        ((2, 8, 8, 3), (3, 3, 3, 4), dict(strides=0), "strides must be"),
        ((2, 8, 8, 3), (3, 3, 3, 4), dict(strides=(1, 2, 3)), "strides must be"),
        ((2, 8, 8, 3), (3, 3, 3, 4), dict(padding="same?"), "padding must be"),
        ((2, 8, 8, 3), (3, 3, 3, 4), dict(padding=((1, 1),)), "explicit padding is"),
        ((2, 1, 1, 3), (4, 4, 3, 4), dict(padding=((0, 0), (0, 0))), "larger than|leaves nothing"),
    ],
)
def test_impossible_shapes_are_refused(f, x, k, options, message):
    with pytest.raises(ValueError, match=message):
        f(jnp.zeros(x), jnp.zeros(k), **options)


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_layers_refuse_an_input_that_is_no_batch_of_images(layer):
    with pytest.raises(ValueError, match=r"takes \[B, H, W, C\]; got shape \(8, 8, 3\)"):
        layer(4, (3, 3)).init(jax.random.key(0), jnp.zeros((8, 8, 3)))


def test_forward_mode_is_refused():
    x, k = jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(conv, (x, k), (x, k))
