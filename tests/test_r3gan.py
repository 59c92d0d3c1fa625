"""R3GAN's pair: the authors' parameter counts, identity at first, conditions, derivatives."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.networks import resample
from jaxgan.networks.r3gan import Bottleneck

KEY = jax.random.key(0)


def pair(shape, num_classes=None, **options):
    options = {"width": 4, "blocks": 1, "group_size": 4} | options
    return networks.r3gan(shape, 3, **options, num_classes=num_classes)


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def perturbed(variables):
    """The blocks' last kernels are zeros: other ones show what they do."""
    return jax.tree.map(lambda leaf: leaf + 0.3 * drawn(*leaf.shape), variables)


# Shapes and sizes.


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize(
    "shape",
    [(16, 16, 1), (28, 28, 1), (32, 32, 3), (48, 64, 3), (64, 64, 3), (256, 256, 3), (24, 16, 4)],
    ids=str,
)
def test_latents_give_images_of_the_shape_and_images_a_score_each(shape, num_classes):
    generator, critic = pair(shape, num_classes)
    labels = () if num_classes is None else (jnp.zeros(5, int),)
    images, _ = jax.eval_shape(lambda: generator.init_with_output(KEY, drawn(5, 3), *labels))
    assert images.shape == (5, *shape) and images.dtype == jnp.float32
    x = jnp.zeros((5, *shape))
    scores, _ = jax.eval_shape(lambda: critic.init_with_output(KEY, x, *labels))
    assert scores.shape == (5,) and scores.dtype == jnp.float32


def sizes_of(widths, classes=None):
    """Weights of both networks, from train.py and Networks.py of the authors' code.

    Two blocks a size; twice the channels in a block, in groups of 16; 64 latents, and with classes
    64 more for the label; widths are from the smallest size on.
    """

    def block(c):
        return c * 2 * c + 3 * 3 * 16 * 2 * c + 2 * c * c + 2 * (2 * c)  # kernels; two biases

    blocks = sum(2 * block(c) for c in widths)
    blocks += sum(a * b for a, b in itertools.pairwise(widths) if a != b)
    first, last = widths[0], widths[-1]
    inputs, outputs = (64, 1) if classes is None else (64 + 64, first)
    embeddings = (0, 0) if classes is None else (classes * 64, classes * outputs)
    generator = (inputs + 4 * 4) * first + blocks + 3 * last + embeddings[0]
    critic = 3 * last + blocks + (4 * 4 + outputs) * first + embeddings[1]
    return generator, critic


@pytest.mark.parametrize(
    ("side", "widths", "classes", "counted"),
    [
        (32, [768] * 4, 10, (20_781_952, 21_280_512)),  # CIFAR-10
        (64, [768] * 4 + [384], None, (22_429_824, 22_381_440)),  # FFHQ-64
        (256, [768] * 4 + [384, 192, 96], None, (23_057_952, 23_009_568)),  # FFHQ-256
    ],
)
def test_the_papers_networks_have_the_papers_parameters(side, widths, classes, counted):
    """`counted` are the weights of the authors' PyTorch modules, made as their train.py does."""
    assert sizes_of(widths, classes) == counted
    shape = (side, side, 3)
    labels = () if classes is None else (jnp.zeros(1, int),)
    inputs = jnp.zeros((1, 64)), jnp.zeros((1, *shape))
    for network, x, size in zip(
        networks.r3gan(shape, 64, width=768, num_classes=classes), inputs, counted, strict=True
    ):
        params = jax.eval_shape(lambda n=network, x=x: n.init(KEY, x, *labels))["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size


@pytest.mark.parametrize(
    ("width", "group_size", "channels"), [(16, 16, 16), (6, 16, 4), (5, 16, 2), (8, 1, 1)]
)
def test_groups_have_as_many_channels_or_what_divides_twice_the_width(width, group_size, channels):
    _, critic = pair((8, 8, 1), width=width, group_size=group_size)
    params = jax.eval_shape(lambda: critic.init(KEY, jnp.zeros((1, 8, 8, 1))))["params"]
    kernel = params["Bottleneck_0"]["Conv_0"]["kernel"]
    assert kernel.shape == (3, 3, channels, 2 * width)


# By hand.


def leaky(x):
    return jnp.where(x > 0, x, 0.2 * x)


def test_a_block_is_three_convolutions_between_biased_leaky_relus_beside_its_input():
    x = drawn(2, 4, 5, 4)
    block = Bottleneck(3, group_size=2)
    variables = perturbed(block.init(KEY, x))
    layers = variables["params"]
    y = leaky(x @ layers["Dense_0"]["kernel"] + layers["bias_0"])
    kernel, groups = layers["Conv_0"]["kernel"], []
    for part in range(4):  # eight channels in groups of two
        own = slice(2 * part, 2 * part + 2)
        one = jax.lax.conv(
            y[..., own].transpose(0, 3, 1, 2),
            kernel[..., own].transpose(3, 2, 0, 1),
            (1, 1),
            "SAME",
        )
        groups.append(one.transpose(0, 2, 3, 1))
    y = leaky(jnp.concatenate(groups, -1) + layers["bias_1"])
    expected = x + y @ layers["Dense_1"]["kernel"]
    np.testing.assert_allclose(block.apply(variables, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8, 1), (64, 64, 2)], ids=str)
def test_at_first_blocks_are_the_identity(shape):
    """So that both networks are linear: in the latent, in the image."""
    generator, critic = pair(shape, width=8)
    cases = (generator, drawn(3, 3), {"train": True}), (critic, drawn(3, *shape), {})
    for network, x, options in cases:
        variables = network.init(KEY, x)
        blocks = [name for name in variables["params"] if name.startswith("Bottleneck")]
        assert len(blocks) == {8: 2, 64: 5}[shape[0]]  # sizes 4 to 8, and 4 to 64
        for name in blocks:
            assert not variables["params"][name]["Dense_1"]["kernel"].any()
        one, double = (network.apply(variables, each, **options) for each in (x, -2 * x))
        np.testing.assert_allclose(double, -2 * one, rtol=1e-4, atol=1e-5)
        other = perturbed(variables)
        one, double = (network.apply(other, each, **options) for each in (x, -2 * x))
        assert not np.allclose(double, -2 * one)


def test_kernels_in_a_block_are_scaled_for_the_number_of_blocks():
    """Fixup: L^(-1/4) for blocks of three layers, times the gain of a leaky ReLU of slope 0.2."""
    x = jnp.zeros((1, 4, 4, 256))
    layers = Bottleneck(16, group_size=64).init(KEY, x)["params"]
    gain = math.sqrt(2 / 1.04) / 2
    for kernel, fan_in in ((layers["Dense_0"], 256), (layers["Conv_0"], 9 * 64)):
        # 131,072 numbers and more: their deviation's own is 0.2%.
        assert np.std(kernel["kernel"]) == pytest.approx(gain / math.sqrt(fan_in), rel=0.01)
    assert not layers["bias_0"].any() and not layers["bias_1"].any()


def test_the_generator_is_a_weighted_basis_doubled_and_the_critic_the_way_back():
    generator, critic = pair((8, 12, 2))
    z, x = drawn(3, 3), drawn(3, 8, 12, 2)
    made, variables = generator.init_with_output(KEY, z, train=True)
    layers = variables["params"]  # blocks are the identity
    expected = layers["basis"] * (z @ layers["Dense_0"]["kernel"])[:, None, None]
    assert layers["basis"].shape == (4, 6, 4)
    expected = resample.bilinear_up(expected) @ layers["Dense_1"]["kernel"]
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)

    scores, variables = critic.init_with_output(KEY, x)
    layers = variables["params"]
    features = resample.bilinear_down(x @ layers["Dense_0"]["kernel"])
    features = (features * layers["basis"]).sum((1, 2))
    expected = (features @ layers["Dense_1"]["kernel"])[:, 0]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_label_joins_the_latent_and_its_vector_weighs_the_features():
    generator, critic = pair((8, 8, 1), num_classes=3)
    labels = jnp.array([2, 0, 1, 2])
    z, x = drawn(4, 3), drawn(4, 8, 8, 1)
    made, variables = generator.init_with_output(KEY, z, labels, train=True)
    layers = variables["params"]
    joined = jnp.concatenate([z, layers["Embed_0"]["embedding"][labels]], axis=1)
    plain = {"params": {name: each for name, each in layers.items() if name != "Embed_0"}}
    alone = networks.r3gan((8, 8, 1), 6, width=4, blocks=1, group_size=4)[0]
    np.testing.assert_allclose(made, alone.apply(plain, joined, train=True), rtol=1e-4, atol=1e-5)

    scores, variables = critic.init_with_output(KEY, x, labels)
    layers = variables["params"]
    features = resample.bilinear_down(x @ layers["Dense_0"]["kernel"]) * layers["basis"]
    features = features.sum((1, 2)) @ layers["Dense_1"]["kernel"]
    expected = (features * layers["Embed_0"]["embedding"][labels]).sum(1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_samples_are_clipped_to_the_range_of_images_and_what_trains_is_not():
    generator, _ = pair((8, 8, 1))
    z = 10 * drawn(5, 3)
    variables = generator.init(KEY, z)
    unbounded, clipped = (generator.apply(variables, z, train=train) for train in (True, False))
    assert float(jnp.abs(unbounded).max()) > 2
    np.testing.assert_array_equal(clipped, jnp.clip(unbounded, -1, 1))


def test_embeddings_have_the_authors_variances():
    generator, critic = networks.r3gan((8, 8, 1), 100, width=64, num_classes=400)
    for network, x, deviation in (
        (generator, jnp.zeros((1, 100)), 1 / 20),
        (critic, jnp.zeros((1, 8, 8, 1)), 1 / 20 / 8),
    ):
        params = network.init(KEY, x, jnp.zeros(1, int))["params"]
        # 25,600 numbers and more: their deviation's own is 0.5%.
        assert np.std(params["Embed_0"]["embedding"]) == pytest.approx(deviation, rel=0.02)


# Training.


def test_derivatives_of_the_slope_are_finite_and_not_all_zero():
    _, critic = pair((16, 16, 1))
    x = drawn(2, 16, 16, 1)
    variables = perturbed(critic.init(KEY, x))

    def slope(variables):
        return jnp.sum(jax.grad(lambda x: critic.apply(variables, x).sum())(x) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(slope))(variables)
    assert np.isfinite(value) and value > 0
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
    kernel = gradients["params"]["Bottleneck_0"]["Conv_0"]["kernel"]
    assert float(jnp.abs(kernel).max()) > 0


def test_three_steps_of_its_loss_move_every_weight_and_two_devices_take_the_same():
    generator, critic = pair((8, 8, 1), num_classes=3)
    loss = losses.with_r2(losses.with_r1(losses.rpgan(), 1.0), 1.0)
    tx = optax.sgd(0.1)
    model = jaxgan.gan(generator, critic, loss, tx, tx, n_critic=1, num_classes=3)
    reals = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 8, 1)).astype(np.float32)
    labels = np.arange(8)[None] % 3
    init = jax.jit(model.init)

    def step(state, batch, axis_name=None):
        return model.step(state, *batch, axis_name=axis_name)

    states = []
    for count in (1, 2):
        devices = jax.local_devices()[:count]
        compiled = parallel.wrap(step, "mesh", (1,), devices)
        state = parallel.replicate(init(KEY), "mesh", devices)
        for _ in range(3):  # the first moves last kernels only, and these then let others move
            state, metrics = compiled(state, (reals, labels))
        assert all(np.isfinite(value).all() for value in metrics.values())
        states.append(state)
    start, (one, two) = init(KEY), states
    for player in ("generator", "critic"):
        before, after, other = (getattr(state, player).params for state in (start, one, two))
        moved = jax.tree.map(
            lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), before, after
        )
        assert all(jax.tree.leaves(moved)), moved
        jax.tree.map(
            # Means over 8 images added in another order.
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            after,
            other,
        )


def test_bfloat16_is_of_the_arithmetic_only():
    generator, critic = pair((8, 8, 1), dtype=jnp.bfloat16)
    images, variables = generator.init_with_output(KEY, drawn(2, 3))
    scores, others = critic.init_with_output(KEY, images)
    for leaf in jax.tree.leaves((images, scores, variables, others)):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize("option", ["blocks", "group_size"])
def test_blocks_and_groups_are_positive_whole_numbers(option):
    with pytest.raises(ValueError, match=f"{option} must be .* positive whole numbers; got 0"):
        networks.r3gan((8, 8, 1), 3, **{option: 0})
