"""The networks: shapes, widths, initial distributions, ranges, precision, refusals."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from absl.testing import parameterized

from jaxgan import networks

KEY = jax.random.key(0)


def latents(batch, dim):
    return jax.random.normal(jax.random.key(1), (batch, dim))


def images(batch, *shape):
    return jax.random.uniform(jax.random.key(2), (batch, *shape), minval=-1, maxval=1)


def shapes(module, x):
    """Output and parameters of a module, as shapes: nothing is computed."""
    variables = jax.eval_shape(lambda: module.init(KEY, x))
    return jax.eval_shape(module.apply, variables, x), variables["params"]


PAIRS = {
    "points": ((2,), lambda: networks.mlp((2,), 3, width=8, depth=2)),
    "small images": ((4, 4, 1), lambda: networks.mlp((4, 4, 1), 3, width=8, depth=2)),
    "dcgan": ((8, 8, 1), lambda: networks.dcgan((8, 8, 1), 3, width=4)),
}


PLAYERS = {
    "mlp generator": lambda **options: networks.mlp((2,), 3, width=8, depth=2, **options)[0],
    "mlp critic": lambda **options: networks.mlp((2,), 3, width=8, depth=2, **options)[1],
    "dcgan generator": lambda **options: networks.dcgan((8, 8, 1), 3, width=4, **options)[0],
    "dcgan critic": lambda **options: networks.dcgan(
        (16, 16, 1), 3, width=4, critic_norm=True, **options
    )[1],
}


def input_of(name):
    if "generator" in name:
        return latents(4, 3)
    return images(4, 2) if "mlp" in name else images(4, 16, 16, 1)


class Forward(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(*((name, name) for name in PAIRS))
    def test_latents_give_samples_and_samples_give_a_finite_score_each(self, name):
        data_shape, make = PAIRS[name]
        generator, critic = make()

        @self.variant
        def f(key, z):
            samples = generator.apply(generator.init(key, z), z)
            return samples, critic.apply(critic.init(key, samples), samples)

        samples, scores = f(KEY, latents(5, 3))
        chex.assert_shape(samples, (5, *data_shape))
        chex.assert_shape(scores, (5,))
        chex.assert_type([samples, scores], jnp.float32)
        chex.assert_tree_all_finite((samples, scores))


# Shapes.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("side", "base", "layers"),
    [(8, 4, 1), (10, 5, 1), (12, 6, 1), (14, 7, 1), (16, 4, 2), (28, 7, 2), (32, 4, 3), (64, 4, 4)],
)
def test_dcgan_halves_the_side_to_the_smallest_from_4_and_doubles_the_width(
    side, base, layers, channels
):
    data_shape, width = (side, side, channels), 6
    generator, critic = networks.dcgan(data_shape, latent_dim=10, width=width)

    scores, params = shapes(critic, jnp.zeros((3, *data_shape)))
    chex.assert_shape(scores, (3,))
    widths = [width * 2**i for i in range(layers)]  # width, 2·width, 4·width, …
    assert [params[f"Conv_{i}"]["kernel"].shape for i in range(layers)] == [
        (5, 5, *pair) for pair in zip([channels, *widths], widths, strict=False)
    ]
    # Then one linear score, of all that is left.
    assert params["Dense_0"]["kernel"].shape == (base * base * widths[-1], 1)
    assert len(params) == layers + 1

    samples, params = shapes(generator, jnp.zeros((3, 10)))
    chex.assert_shape(samples, (3, *data_shape))
    # The generator mirrors it.
    assert params["Dense_0"]["kernel"].shape == (10, base * base * widths[-1])
    assert [params[f"ConvTranspose_{i}"]["kernel"].shape for i in range(layers)] == [
        (5, 5, *pair) for pair in zip(widths[::-1], [*widths[-2::-1], channels], strict=True)
    ]
    # BatchNorm in every layer but the last.
    assert [params[f"BatchNorm_{i}"]["scale"].shape for i in range(layers)] == [
        (w,) for w in widths[::-1]
    ]
    assert len(params) == 2 * layers + 1


def test_dcgan_critic_norm_is_in_every_layer_but_the_first():
    _, critic = networks.dcgan((32, 32, 3), 10, width=6, critic_norm=True)
    _, params = shapes(critic, jnp.zeros((2, 32, 32, 3)))
    assert [name for name in params if name.startswith("BatchNorm")] == [
        "BatchNorm_0",
        "BatchNorm_1",
    ]
    assert params["BatchNorm_0"]["scale"].shape == (12,)


@pytest.mark.parametrize("networks_of", [networks.mlp, networks.dcgan])
def test_networks_without_norm_have_no_statistics(networks_of):
    options = {"generator_norm": False} if networks_of is networks.dcgan else {}
    generator, critic = networks_of((8, 8, 1), 3, width=4, **options)
    assert list(jax.eval_shape(generator.init, KEY, jnp.zeros((1, 3)))) == ["params"]
    assert list(jax.eval_shape(critic.init, KEY, jnp.zeros((1, 8, 8, 1)))) == ["params"]


@pytest.mark.parametrize("data_shape", [(2,), (8, 8, 3)])
def test_mlp_has_depth_hidden_layers_of_one_width(data_shape):
    generator, critic = networks.mlp(data_shape, latent_dim=5, width=7, depth=3)
    size = math.prod(data_shape)
    samples, params = shapes(generator, jnp.zeros((4, 5)))
    chex.assert_shape(samples, (4, *data_shape))
    kernels = [params[f"Dense_{i}"]["kernel"].shape for i in range(len(params))]
    assert kernels == [(5, 7), (7, 7), (7, 7), (7, size)]
    scores, params = shapes(critic, jnp.zeros((4, *data_shape)))
    chex.assert_shape(scores, (4,))
    kernels = [params[f"Dense_{i}"]["kernel"].shape for i in range(len(params))]
    assert kernels == [(size, 7), (7, 7), (7, 7), (7, 1)]


@pytest.mark.parametrize("networks_of", [networks.mlp, networks.dcgan])
def test_generators_carry_the_sizes_of_their_latents_and_samples(networks_of):
    generator, _ = networks_of([8, 8, 1], latent_dim=5)
    assert generator.latent_dim == 5
    assert generator.data_shape == (8, 8, 1)


# The networks written out, at weights that leave nothing in the linear part of an activation.


def at_random_weights(module, x):
    """The output in training, and the layers' parameters by name."""
    rng = np.random.default_rng(0)
    variables = jax.eval_shape(lambda: module.init(KEY, x))
    variables = jax.tree.map(lambda s: rng.normal(0, 0.4, s.shape).astype(np.float32), variables)
    keywords = {"train": True, "mutable": ["batch_stats"]} if "batch_stats" in variables else {}
    output = jax.jit(lambda v, x: module.apply(v, x, **keywords))(variables, x)
    return (output[0] if keywords else output), variables["params"]


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def relu(x):
    return np.maximum(x, 0)


def leaky_relu(x):
    return np.where(x > 0, x, 0.2 * x)


def batch_norm(x, layer):
    mean, variance = np.mean(x, (0, 1, 2)), np.var(x, (0, 1, 2))
    return (x - mean) / np.sqrt(variance + 1e-5) * layer["scale"] + layer["bias"]


def convolution(x, layer):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, layer["kernel"], (2, 2), "SAME", dimension_numbers=numbers)
    return y + layer["bias"]


def transposed_convolution(x, layer):
    return jax.lax.conv_transpose(x, layer["kernel"], (2, 2), "SAME") + layer["bias"]


def assert_same_function(found, expected):
    # Sums of a hundred terms of order 1, in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.std(expected))


def test_dcgan_generator_is_batch_norms_relus_and_transposed_convolutions_up_to_a_tanh():
    generator, _ = networks.dcgan((16, 16, 1), 3, width=4)
    z = latents(6, 3)
    samples, layers = at_random_weights(generator, z)
    x = dense(z, layers["Dense_0"]).reshape(6, 4, 4, 8)
    x = relu(batch_norm(x, layers["BatchNorm_0"]))
    x = relu(
        batch_norm(transposed_convolution(x, layers["ConvTranspose_0"]), layers["BatchNorm_1"])
    )
    x = transposed_convolution(x, layers["ConvTranspose_1"])
    assert np.mean(np.abs(x) > 1) > 0.1
    assert_same_function(samples, np.tanh(x))


def test_dcgan_critic_is_convolutions_and_leaky_relus_and_norms_all_but_the_first():
    _, critic = networks.dcgan((32, 32, 1), 3, width=4, critic_norm=True)
    x = images(6, 32, 32, 1)
    scores, layers = at_random_weights(critic, x)
    x = leaky_relu(convolution(x, layers["Conv_0"]))
    x = leaky_relu(batch_norm(convolution(x, layers["Conv_1"]), layers["BatchNorm_0"]))
    x = leaky_relu(batch_norm(convolution(x, layers["Conv_2"]), layers["BatchNorm_1"]))
    assert_same_function(scores, dense(x.reshape(6, -1), layers["Dense_0"])[:, 0])


def test_mlp_is_relu_layers_and_of_images_a_tanh():
    generator, critic = networks.mlp((4, 4, 1), 3, width=8, depth=2)
    z = latents(6, 3)
    samples, layers = at_random_weights(generator, z)
    x = relu(dense(relu(dense(z, layers["Dense_0"])), layers["Dense_1"]))
    x = dense(x, layers["Dense_2"])
    assert np.mean(np.abs(x) > 1) > 0.1
    assert_same_function(samples, np.tanh(x).reshape(6, 4, 4, 1))
    scores, layers = at_random_weights(critic, samples)
    x = samples.reshape(6, -1)
    x = relu(dense(relu(dense(x, layers["Dense_0"])), layers["Dense_1"]))
    assert_same_function(scores, dense(x, layers["Dense_2"])[:, 0])


# Initial distributions.


def assert_drawn_from(samples, distribution):
    # Of a right distribution, one key in a thousand fails; the key here is fixed.
    assert scipy.stats.kstest(np.ravel(samples), distribution.cdf).pvalue > 1e-3


def test_dcgan_weights_are_normal_of_standard_deviation_0_02_and_scales_around_one():
    generator, critic = networks.dcgan((16, 16, 1), 16, width=32, critic_norm=True)
    scales = []
    for module, x in ((generator, latents(1, 16)), (critic, images(1, 16, 16, 1))):
        for layer in jax.jit(module.init)(KEY, x)["params"].values():
            np.testing.assert_array_equal(layer["bias"], 0)
            if "kernel" in layer:
                assert_drawn_from(layer["kernel"], scipy.stats.norm(0, 0.02))
            else:
                scales.append(layer["scale"])
    assert len(scales) == 3
    assert_drawn_from(np.concatenate(scales), scipy.stats.norm(1, 0.02))


def test_mlp_hidden_weights_are_he_uniform_and_the_last_glorot():
    generator, critic = networks.mlp((6,), latent_dim=16, width=32, depth=2)
    for module, x, outputs in ((generator, latents(1, 16), 6), (critic, images(1, 6), 1)):
        params = jax.jit(module.init)(KEY, x)["params"]
        for name, bound in {
            "Dense_0": math.sqrt(6 / x.shape[1]),
            "Dense_1": math.sqrt(6 / 32),
            "Dense_2": math.sqrt(6 / (32 + outputs)),
        }.items():
            assert_drawn_from(params[name]["kernel"], scipy.stats.uniform(-bound, 2 * bound))
            np.testing.assert_array_equal(params[name]["bias"], 0)


# Ranges and dependence.


@pytest.mark.parametrize("name", ["small images", "dcgan"])
def test_images_lie_in_minus_one_to_one_whatever_the_latents(name):
    generator, _ = PAIRS[name][1]()
    z = 1e4 * latents(4, 3)
    samples = generator.apply(generator.init(KEY, z), z)
    assert np.max(np.abs(samples)) <= 1
    assert np.max(np.abs(samples)) > 0.99


def test_points_are_not_squashed():
    generator, _ = networks.mlp((2,), 3, width=8, depth=2)
    z = 1e4 * latents(4, 3)
    assert np.max(np.abs(generator.apply(generator.init(KEY, z), z))) > 100


@pytest.mark.parametrize("name", ["points", "small images", "dcgan"])
def test_a_critic_without_norm_scores_each_example_by_itself(name):
    data_shape, make = PAIRS[name]
    _, critic = make()
    x = images(4, *data_shape)
    params = critic.init(KEY, x)
    # Another batch size may take another kernel, with other rounding.
    np.testing.assert_allclose(
        critic.apply(params, x[1:3]), critic.apply(params, x)[1:3], rtol=1e-5, atol=1e-7
    )


# Batch normalisation.


@pytest.fixture(scope="module")
def normed():
    """A generator with BatchNorm, its variables, latents, and what training on them gives."""
    generator, _ = networks.dcgan((8, 8, 1), latent_dim=3, width=4)
    z = latents(6, 3)
    variables = jax.jit(generator.init)(KEY, z)
    samples, updated = generator.apply(variables, z, train=True, mutable=["batch_stats"])
    return generator, variables, z, samples, updated["batch_stats"]


def test_training_moves_the_statistics_a_tenth_of_the_way_to_the_batchs(normed):
    _, variables, z, _, stats = normed
    before = variables["batch_stats"]["BatchNorm_0"]
    np.testing.assert_array_equal(before["mean"], 0)
    np.testing.assert_array_equal(before["var"], 1)
    dense = variables["params"]["Dense_0"]
    x = np.reshape(z @ dense["kernel"] + dense["bias"], (-1, 4))
    np.testing.assert_allclose(stats["BatchNorm_0"]["mean"], 0.1 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(stats["BatchNorm_0"]["var"], 0.9 + 0.1 * x.var(0), rtol=1e-4)


def test_training_normalises_by_the_batch_and_sampling_by_the_statistics(normed):
    generator, variables, z, trained, stats = normed
    part, _ = generator.apply(variables, z[:3], train=True, mutable=["batch_stats"])
    assert np.max(np.abs(part - trained[:3])) > 1e-3
    # Without `train` a sample does not depend on those around it, only on the statistics.
    whole = generator.apply(variables, z)
    np.testing.assert_allclose(generator.apply(variables, z[:3]), whole[:3], rtol=1e-5, atol=1e-7)
    moved = generator.apply({**variables, "batch_stats": stats}, z)
    assert np.max(np.abs(moved - whole)) > 1e-4


@pytest.mark.parametrize("name", ["dcgan generator", "dcgan critic"])
def test_statistics_over_an_axis_are_those_of_the_whole_batch(name):
    module, x = PLAYERS[name](), input_of(name)
    variables = jax.jit(module.init)(KEY, x)

    def apply(x, axis_name=None):
        return module.apply(variables, x, train=True, axis_name=axis_name, mutable=["batch_stats"])

    whole, stats = jax.jit(apply)(x)
    mapped = jax.jit(jax.vmap(lambda x: apply(x, "data"), axis_name="data"))
    parts, parts_stats = mapped(x.reshape(2, 2, *x.shape[1:]))
    np.testing.assert_allclose(parts.reshape(whole.shape), whole, rtol=1e-4, atol=1e-5)
    for half in range(2):
        ours = jax.tree.map(lambda s, half=half: s[half], parts_stats)
        chex.assert_trees_all_close(ours, stats, rtol=1e-4, atol=1e-6)


# Precision.


@pytest.mark.parametrize("name", PLAYERS)
def test_half_precision_is_of_the_arithmetic_only(name):
    half, single = PLAYERS[name](dtype=jnp.bfloat16), PLAYERS[name]()

    @jax.jit
    def f(x):
        variables = half.init(KEY, x)
        output, inner = half.apply(variables, x, capture_intermediates=True)
        return variables, output, inner["intermediates"], single.apply(variables, x)

    variables, output, layers, exact = f(input_of(name))
    chex.assert_type(jax.tree.leaves((variables, output)), jnp.float32)
    for layer in set(layers) - {"__call__"}:
        chex.assert_type(layers[layer]["__call__"], jnp.bfloat16)
    # bfloat16 keeps 8 bits; a few layers of it lose two or three.
    np.testing.assert_allclose(output, exact, atol=0.04 * np.max(np.abs(exact)))


# Refusals: each names the sizes at fault.


@pytest.mark.parametrize(
    "data_shape",
    [(7, 7, 1), (9, 9, 1), (4, 4, 1), (100, 100, 3), (20, 24, 3), (8, 8), (2,), (8, 8, 1, 1)],
    ids=str,
)
def test_dcgan_refuses_a_size_that_it_cannot_make(data_shape):
    with pytest.raises(ValueError) as error:
        networks.dcgan(data_shape, 8)
    assert str(data_shape) in str(error.value)
    assert "Resize" in str(error.value)


@pytest.mark.parametrize("networks_of", [networks.mlp, networks.dcgan])
@pytest.mark.parametrize("bad", [0, -1, 2.5, 2.0, math.nan, math.inf])
def test_sizes_must_be_positive_whole_numbers(networks_of, bad):
    with pytest.raises(ValueError, match=f"width must be .* positive whole numbers; got {bad}"):
        networks_of((8, 8, 1), 8, width=bad)
    with pytest.raises(ValueError, match=f"latent_dim must be .*; got {bad}"):
        networks_of((8, 8, 1), bad)
    with pytest.raises(ValueError, match=rf"data_shape must be .*; got \(8, 8, {bad}\)"):
        networks_of((8, 8, bad), 8)


def test_mlp_refuses_no_layers_and_no_data():
    with pytest.raises(ValueError, match=r"depth must be .*; got 0"):
        networks.mlp((2,), 2, depth=0)
    with pytest.raises(ValueError, match=r"data_shape must be .*; got \(\)"):
        networks.mlp((), 2)
