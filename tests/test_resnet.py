"""The residual pairs: the papers' sizes, blocks and conditions by hand, derivatives, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan
from jaxgan import losses, networks, parallel
from jaxgan.networks.resnet import DownBlock, UpBlock

KEY = jax.random.key(0)
SHAPES = [(8, 8, 1), (16, 16, 3), (28, 28, 1), (32, 32, 3), (48, 64, 3), (64, 64, 3), (24, 16, 4)]
VARIANTS = ("wgan-gp", "sngan")


def pair(shape, num_classes=None, **options):
    return networks.resnet(shape, 3, **{"width": 4} | options, num_classes=num_classes)


def labels_of(count, num_classes):
    return () if num_classes is None else (jnp.arange(count) % num_classes,)


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def parameters(module, *inputs):
    params = jax.eval_shape(lambda: module.init(KEY, *inputs))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


# Shapes and sizes.


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_latents_give_images_of_the_shape_and_images_a_score_each(shape, variant, num_classes):
    generator, critic = pair(shape, num_classes, variant=variant)
    labels = labels_of(5, num_classes)
    images, _ = jax.eval_shape(lambda: generator.init_with_output(KEY, drawn(5, 3), *labels))
    assert images.shape == (5, *shape) and images.dtype == jnp.float32
    scores, _ = jax.eval_shape(lambda: critic.init_with_output(KEY, images_like(5, shape), *labels))
    assert scores.shape == (5,) and scores.dtype == jnp.float32


def images_like(count, shape):
    return jnp.zeros((count, *shape))


def conv(inputs, outputs, side=3):
    return (side * side * inputs + 1) * outputs


NORM = 2  # a scale and a shift for each channel


def up(inputs, outputs):
    convs = conv(inputs, outputs) + conv(outputs, outputs) + conv(inputs, outputs, 1)
    return NORM * (inputs + outputs) + convs


def down(inputs, outputs, shortcut=True, hidden=None):
    hidden = hidden or inputs
    return conv(inputs, hidden) + conv(hidden, outputs) + shortcut * conv(inputs, outputs, 1)


def generator_of(*channels):
    """A dense layer of 128 latents to 4x4, blocks that double, BatchNorm, a convolution to RGB."""
    blocks = sum(up(*each) for each in itertools.pairwise(channels))
    first, last = channels[0], channels[-1]
    return (128 + 1) * 16 * first + blocks + NORM * last + conv(last, 3)


@pytest.mark.parametrize(
    ("variant", "side", "generator_size", "critic_size"),
    [
        # Gulrajani 2017, table 8: 128 filters, three blocks up; two down and two plain.
        (
            "wgan-gp",
            32,
            generator_of(128, 128, 128, 128),
            down(3, 128, hidden=128) + down(128, 128) + 2 * down(128, 128, shortcut=False) + 129,
        ),
        # Miyato 2018, table 4: 256 filters in the generator, 128 in the discriminator.
        (
            "sngan",
            32,
            generator_of(256, 256, 256, 256),
            down(3, 128, hidden=128) + down(128, 128) + 2 * down(128, 128, shortcut=False) + 129,
        ),
        # Miyato and Koyama 2018, 64x64: 64 channels at full size, twice as many at each half.
        (
            "sngan",
            64,
            generator_of(1024, 512, 256, 128, 64),
            down(3, 64, hidden=64)
            + sum(down(64 * 2**i, 128 * 2**i) for i in range(4))
            + (1024 + 1),
        ),
        # The generator of WGAN-GP's gan_64x64.py; the first kernels of blocks have biases here.
        ("wgan-gp", 64, generator_of(512, 512, 256, 128, 64), None),
    ],
)
def test_the_papers_networks_have_the_papers_parameters(variant, side, generator_size, critic_size):
    generator, critic = networks.resnet((side, side, 3), 128, variant=variant)
    assert parameters(generator, drawn(1, 128)) == generator_size
    if critic_size:
        assert parameters(critic, images_like(1, (side, side, 3))) == critic_size


def test_those_numbers_are_what_others_count():
    """In mimicry's tables of the same networks; its critic's last layer has no bias there."""
    assert generator_of(128, 128, 128, 128) == 1_204_483
    assert generator_of(256, 256, 256, 256) == 4_276_739


def test_larger_images_have_at_most_8_or_16_times_the_first_channels():
    for variant, most in (("wgan-gp", 8), ("sngan", 16)):
        generator, critic = pair((256, 256, 3), width=2, variant=variant)
        shapes = jax.eval_shape(lambda g=generator: g.init(KEY, drawn(1, 3)))["params"]
        assert [shapes[f"UpBlock_{i}"]["Dense_0"]["kernel"].shape[1] for i in range(6)] == [
            min(2**i, most) for i in reversed(range(6))
        ]
        shapes = jax.eval_shape(lambda c=critic: c.init(KEY, images_like(1, (256, 256, 3))))
        blocks = [shapes["params"][f"DownBlock_{i}"] for i in range(7)]
        assert [block["Conv_1"]["kernel"].shape[3] for block in blocks] == [
            min(2**i, most) for i in range(7)
        ]


# By hand.


def convolved(x, layer):
    y = jax.lax.conv(x.transpose(0, 3, 1, 2), layer["kernel"].transpose(3, 2, 0, 1), (1, 1), "SAME")
    return y.transpose(0, 2, 3, 1) + layer["bias"]


def halved(x):
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def doubled(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize(
    ("first", "down", "inputs", "features"),
    [(True, True, 3, 4), (False, True, 4, 4), (False, False, 4, 4), (False, False, 4, 6)],
)
def test_a_critics_block_is_two_convolutions_beside_a_shortcut(first, down, inputs, features):
    x = drawn(2, 6, 8, inputs)
    found, variables = DownBlock(features, first, down).init_with_output(KEY, x)
    layers = variables["params"]
    y = convolved(x if first else jax.nn.relu(x), layers["Conv_0"])
    y = convolved(jax.nn.relu(y), layers["Conv_1"])
    shortcut = x
    if down or inputs != features:  # the convolution before the mean, as the papers have it
        shortcut = x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]
    expected = halved(shortcut + y) if down else shortcut + y
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert ("Dense_0" in layers) == (down or inputs != features)


@pytest.mark.parametrize("num_classes", [None, 2])
def test_a_generators_block_has_a_scale_and_a_shift_for_each_class(num_classes):
    x, labels = drawn(3, 4, 5, 2), jnp.array([0, 1, 0])
    block = UpBlock(3, num_classes=num_classes)
    variables = block.init(KEY, x, labels, True, None)
    layers = variables["params"] = jax.tree.map(
        lambda leaf: leaf + 0.1 * drawn(*leaf.shape), variables["params"]
    )
    found, _ = block.apply(variables, x, labels, True, None, mutable=["batch_stats"])

    def norm(x, index):
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
        if num_classes is None:
            layer = layers[f"BatchNorm_{index}"]
            return layer["scale"] * x + layer["bias"]
        scale, shift = (layers[f"Embed_{2 * index + i}"]["embedding"][labels] for i in (0, 1))
        return scale[:, None, None] * x + shift[:, None, None]

    y = convolved(doubled(jax.nn.relu(norm(x, 0))), layers["Conv_0"])
    y = convolved(jax.nn.relu(norm(y, 1)), layers["Conv_1"])
    shortcut = doubled(x) @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]
    np.testing.assert_allclose(found, y + shortcut, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_classes", [None, 2])
def test_out_of_training_a_generators_block_does_not_look_at_the_batch(num_classes):
    x, labels = drawn(3, 4, 4, 2), jnp.array([0, 1, 0])
    block = UpBlock(3, num_classes=num_classes)
    variables = block.init(KEY, x, labels, True, None)
    together = block.apply(variables, x, labels, False, None)
    alone = block.apply(variables, x[1:2], labels[1:2], False, None)
    np.testing.assert_allclose(alone, together[1:2], rtol=1e-5, atol=1e-6)


def test_classes_begin_with_scale_one_and_shift_zero():
    block = UpBlock(3, num_classes=2)
    layers = block.init(KEY, drawn(3, 4, 4, 2), jnp.zeros(3, int), True, None)["params"]
    for index, value in enumerate((1, 0, 1, 0)):
        np.testing.assert_array_equal(layers[f"Embed_{index}"]["embedding"], value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_score_is_linear_in_the_pooled_features_and_a_label_adds_a_projection(variant):
    _, critic = pair((8, 8, 1), num_classes=3, variant=variant)
    x, labels = drawn(4, 8, 8, 1), jnp.array([2, 0, 1, 2])
    scores, variables = critic.init_with_output(KEY, x, labels)
    layers = variables["params"]
    for index, (first, down) in enumerate([(True, True), (False, False), (False, False)]):
        x = DownBlock(4, first, down).apply({"params": layers[f"DownBlock_{index}"]}, x)
    x = jax.nn.relu(x)
    pooled = x.mean((1, 2)) if variant == "wgan-gp" else x.sum((1, 2))
    projected = (pooled * layers["Embed_0"]["embedding"][labels]).sum(1)
    linear = pooled @ layers["Dense_0"]["kernel"][:, 0] + layers["Dense_0"]["bias"]
    np.testing.assert_allclose(scores, linear + projected, rtol=1e-4, atol=1e-5)


def test_the_generator_ends_in_norm_relu_convolution_and_tanh():
    generator, _ = pair((8, 8, 1))
    z = drawn(5, 3)
    images, variables = generator.init_with_output(KEY, z)
    assert float(jnp.abs(images).max()) < 1
    layers, stats = variables["params"], variables["batch_stats"]
    x = (z @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]).reshape(-1, 4, 4, 4)
    block = {"params": layers["UpBlock_0"], "batch_stats": stats["UpBlock_0"]}
    x = UpBlock(4).apply(block, x, None, False, None)
    x = jax.nn.relu(x / np.sqrt(1 + 1e-5))  # the first running statistics: mean 0, variance 1
    np.testing.assert_allclose(images, jnp.tanh(convolved(x, layers["Conv_0"])), atol=1e-5)


# Training.


@pytest.mark.parametrize("variant", VARIANTS)
def test_derivatives_of_the_slope_are_finite_and_not_all_zero(variant):
    _, critic = pair((16, 16, 1), variant=variant)
    x = drawn(2, 16, 16, 1)
    variables = critic.init(KEY, x)

    def slope(variables):
        return jnp.sum(jax.grad(lambda x: critic.apply(variables, x).sum())(x) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(slope))(variables)
    assert np.isfinite(value) and value > 0
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
    kernel = gradients["params"]["DownBlock_0"]["Conv_0"]["kernel"]
    assert float(jnp.abs(kernel).max()) > 0


def model_of(num_classes=None, **options):
    generator, critic = pair((8, 8, 1), num_classes, **options)
    if options.get("variant") == "sngan":
        critic, loss = networks.spectral_norm(critic), losses.hinge()
    else:
        loss = losses.wgan_gp()
    # Adam would hide a gradient that is too large.
    tx = optax.sgd(0.01)
    return jaxgan.gan(generator, critic, loss, tx, tx, n_critic=1, num_classes=num_classes)


def batch(num_classes, size=8):
    reals = np.random.default_rng(0).uniform(-1, 1, (1, size, 8, 8, 1)).astype(np.float32)
    labels = np.arange(size)[None] % (num_classes or 1)
    return (reals,) if num_classes is None else (reals, labels)


@pytest.mark.parametrize(
    "options", [{}, {"num_classes": 3, "variant": "sngan"}], ids=["wgan-gp", "conditional sngan"]
)
def test_a_step_moves_every_weight_and_two_devices_take_the_same(options):
    model = model_of(**options)
    init = jax.jit(model.init)
    start = init(KEY)
    one, metrics = jax.jit(model.step)(start, *batch(options.get("num_classes")))
    assert all(np.isfinite(value) for value in metrics.values())
    for player in ("generator", "critic"):
        before, after = (getattr(state, player).params for state in (start, one))
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
        still = [
            jax.tree_util.keystr(path)
            for path, each in jax.tree_util.tree_leaves_with_path(moved)
            if not each and "bias" not in jax.tree_util.keystr(path)
        ]
        assert still == []

    def step(state, batch, axis_name=None):
        return model.step(state, *batch, axis_name=axis_name)

    devices = jax.local_devices()[:2]
    compiled = parallel.wrap(step, "mesh", (1,), devices)
    data = batch(options.get("num_classes"))
    two, _ = compiled(parallel.replicate(init(KEY), "mesh", devices), data)
    for player in ("generator", "critic"):
        jax.tree.map(
            # Means over 8 images added in another order; a device's own statistics would show at
            # 1e-3 and above.
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            getattr(two, player).params,
            getattr(one, player).params,
        )


def test_bfloat16_is_of_the_arithmetic_only():
    generator, critic = pair((8, 8, 1), dtype=jnp.bfloat16)
    images, variables = generator.init_with_output(KEY, drawn(2, 3))
    scores, others = critic.init_with_output(KEY, images)
    for leaf in jax.tree.leaves((images, scores, variables, others)):
        assert leaf.dtype == jnp.float32


# Refusals.

MAKERS = {"resnet": networks.resnet, "r3gan": networks.r3gan}
each_maker = pytest.mark.parametrize("name", MAKERS)


@each_maker
@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((30, 30), "28x28 or 32x32"),
        ((100, 100), "96x96 or 112x112"),
        ((33, 64), "32x64 or 40x64"),
        ((64, 50), "64x48 or 64x56"),
        ((36, 30), "36x28 or 40x32"),
        ((7, 7), "8x8"),
        ((1, 20), "8x20"),
        ((218, 178), "192x160 or 224x192"),
    ],
    ids=str,
)
def test_sides_that_do_not_halve_are_refused_with_the_nearest_that_do(name, size, nearest):
    height, width = size
    with pytest.raises(ValueError) as error:
        MAKERS[name]((height, width, 3), 3, width=4)
    message = str(error.value)
    assert message.startswith(f"{name} makes images") and f"got {height}x{width} " in message
    assert f"The nearest that it makes: {nearest}. Resize them." in message
    for each in nearest.split(" or "):
        MAKERS[name]((*map(int, each.split("x")), 3), 3, width=4)


@each_maker
@pytest.mark.parametrize("shape", [(2,), (8, 8), (8, 8, 1, 1)], ids=str)
def test_what_is_no_image_is_refused(name, shape):
    with pytest.raises(ValueError, match=f"{name} makes images .*; got shape .* use an MLP"):
        MAKERS[name](shape, 3)


@each_maker
@pytest.mark.parametrize("bad", [0, -1, 2.5])
def test_sizes_are_positive_whole_numbers(name, bad):
    with pytest.raises(ValueError, match=f"width must be .* positive whole numbers; got {bad}"):
        MAKERS[name]((8, 8, 1), 3, width=bad)
    with pytest.raises(ValueError, match=f"num_classes must be .*; got {bad}"):
        MAKERS[name]((8, 8, 1), 3, num_classes=bad)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant must be one of wgan-gp, sngan; got 'biggan'"):
        networks.resnet((8, 8, 1), 3, variant="biggan")


def test_a_critic_alone_refuses_images_that_do_not_halve():
    _, critic = pair((8, 8, 1))
    with pytest.raises(ValueError, match=r"resnet makes images .* got 9x9"):
        critic.init(KEY, jnp.zeros((1, 9, 9, 1)))
