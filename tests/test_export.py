"""Exported files make what the run makes: every network, every preset's, for any batch."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
import pytest
from flax import nnx

import jaxgan
from jaxgan import data, export, losses, networks
from jaxgan.commands import presets, settings
from jaxgan.commands.config import LOSSES, MODELS
from jaxgan.export.fidelity import classes_of
from jaxgan.gan import abstract_state
from jaxgan.training import Run

onnxruntime = pytest.importorskip("onnxruntime")

PAIRS = {
    "mlp": functools.partial(networks.mlp, (8, 8, 1), 5, 8, 2),
    "points": functools.partial(networks.mlp, (2,), 5, 8, 2),
    "dcgan": functools.partial(networks.dcgan, (14, 14, 1), 5, 4),
    "wide dcgan": functools.partial(networks.dcgan, (8, 8, 3), 5, 12, generator_norm=False),
    "resnet": functools.partial(networks.resnet, (8, 12, 3), 5, 4),
    "deep resnet": functools.partial(networks.resnet, (64, 64, 1), 5, 2, "sngan"),
    "r3gan": functools.partial(networks.r3gan, (16, 8, 3), 5, 4, group_size=2),
}


def run_of(generator, critic=None, num_classes=None, **options):
    """A run whose variables are all others than where training begins."""
    critic = critic or networks.mlp((1,), 1, 4, 1)[1]
    adam = optax.adam(1e-3)
    model = jaxgan.gan(
        generator, critic, losses.wgan(), adam, adam, 1, num_classes=num_classes, **options
    )
    state = model.init(jax.random.key(0))
    params = jax.tree.map(noisy, state.generator.params)
    stats = jax.tree.map(lambda x: jnp.abs(noisy(x)), state.generator.stats)  # variances too
    generator = state.generator._replace(params=params, stats=stats)
    state = state._replace(generator=generator, ema=params, ema_stats=stats)
    return Run(model, state, 1, [], True, {})


def noisy(x):
    """An array with other numbers, as training leaves it, whatever it was at first."""
    if x.dtype != jnp.float32:
        return x
    return x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape)


def inputs_of(run, n):
    """Latents, and labels where there are classes."""
    game = run.model.game
    latents = np.asarray(jax.random.normal(jax.random.key(n), (n, game.generator.latent_dim)))
    return latents, None if game.num_classes is None else np.arange(n) % game.num_classes


def drawn(content, latents, labels=None):
    """What onnxruntime makes."""
    given = {"latents": latents} | ({} if labels is None else {"labels": labels})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]


def largest_difference(run, content):
    """From the run's samples, of batches of three sizes."""
    differences = []
    for n in (1, 2, 7):
        latents, labels = inputs_of(run, n)
        ours, made = (
            np.asarray(run.generate(latents, labels=labels)),
            drawn(content, latents, labels),
        )
        assert made.shape == ours.shape and made.dtype == np.float32
        assert np.ptp(ours) > 0.1  # or two files of nothing would agree
        differences.append(np.abs(made - ours).max())
    return max(differences)


# Every network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_a_file_makes_what_the_run_makes(name, num_classes):
    run = run_of(*PAIRS[name](num_classes=num_classes), num_classes=num_classes)
    content = export.to_onnx(run)
    assert largest_difference(run, content) < 1e-5
    assert export.check_onnx(run, content) < 1e-5
    kinds = {node.op_type for node in onnx.load_from_string(content).graph.node}
    # Convolutions are ONNX's own, and what copies pixels or keeps a slope is one operation.
    if "dcgan" in name:
        assert "ConvTranspose" in kinds
    if "resnet" in name:
        assert {"Conv", "Resize"} <= kinds and "Expand" not in kinds
    if "r3gan" in name:
        assert {"Conv", "LeakyRelu"} <= kinds


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet", "r3gan"])
def test_arithmetic_in_16_bits_becomes_float32(name):
    run = run_of(*PAIRS[name](dtype=jnp.bfloat16))
    content = export.to_onnx(run)
    wide = dataclasses.replace(run, model=run_of(*PAIRS[name]()).model)
    assert largest_difference(wide, content) < 1e-5
    assert export.check_onnx(run, content) < 1e-5


def test_a_spectral_norm_is_divided_out():
    generator, critic = PAIRS["dcgan"]()
    run = run_of(networks.spectral_norm(generator), critic)
    content = export.to_onnx(run)
    assert largest_difference(run, content) < 1e-5
    held = {constant.name for constant in onnx.load_from_string(content).graph.initializer}
    assert "Dense_0/kernel" in held and not any("spectral" in name for name in held)


def test_the_averaged_generator_is_written_or_the_last_one():
    run = run_of(*PAIRS["mlp"]())
    last = jax.tree.map(lambda x: x + 0.1, run.state.generator.params)
    state = run.state._replace(generator=run.state.generator._replace(params=last))
    run = dataclasses.replace(run, state=state)
    assert largest_difference(run, export.to_onnx(run)) < 1e-5
    trained = run.without_average()
    assert largest_difference(trained, export.to_onnx(trained)) < 1e-5
    assert largest_difference(run, export.to_onnx(trained)) > 1e-2


def test_of_several_seeds_one_is_written():
    runs = [run_of(*PAIRS["points"]()), run_of(*PAIRS["points"]())]
    other = jax.tree.map(lambda x: x + 0.1, runs[1].state.ema)
    states = runs[0].state, runs[1].state._replace(ema=other)
    both = dataclasses.replace(
        runs[0], state=jax.tree.map(lambda *x: jnp.stack(x), *states), num_seeds=2
    )
    second = dataclasses.replace(runs[1], state=states[1])
    assert largest_difference(second, export.to_onnx(both, seed_index=1)) < 1e-5
    with pytest.raises(ValueError, match="seed_index must be from 0 to 1, got 2"):
        export.to_onnx(both, seed_index=2)


def test_a_label_out_of_range_is_no_other_class():
    run = run_of(*PAIRS["mlp"](num_classes=3), num_classes=3)
    content, latents = export.to_onnx(run), np.zeros((1, 5), np.float32)
    assert np.isnan(drawn(content, latents, np.array([-1]))).all()
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        drawn(content, latents, np.array([3]))


def test_a_file_says_what_it_holds():
    run = run_of(*PAIRS["dcgan"](num_classes=3), num_classes=3)
    run = dataclasses.replace(
        run,
        settings={"dataset": "mnist", "loss": "wgan", "model": "dcgan"},
        class_names=("cats", 'a "dog"', "Würmer"),
    )
    model = onnx.load_from_string(export.to_onnx(run))
    assert {each.key: each.value for each in model.metadata_props} == {
        "dataset": "mnist",
        "loss": "wgan",
        "model": "dcgan",
        "step": "0",
        "latent_dim": "5",
        "num_classes": "3",
        "class_names": '["cats", "a \\"dog\\"", "Würmer"]',
        "data_shape": "14,14,1",
        "jaxgan_version": jaxgan.__version__,
    }
    sizes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert sizes == {"latents": ["N", 5], "labels": ["N"], "samples": ["N", 14, 14, 1]}
    assert "ConvTranspose_0/kernel" in {constant.name for constant in model.graph.initializer}


# The presets' networks --------------------------------------------------------------------------

SHAPES = {
    **dict.fromkeys(data.TOYS, (2,)),
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "stacked_mnist": (28, 28, 3),
    "cifar10": (32, 32, 3),
}


def presets_with_other_generators():
    """Of all losses, data, networks and kinds of presets one for each generator, by its name.

    It is narrow: how wide it is changes no operation.
    """
    found = {}
    for dataset, shape in SHAPES.items():
        kinds = ("auto",) if dataset in (*data.TOYS, "digits") else presets.KINDS
        sizes = (None, 64, "48x96") if dataset == "cifar10" else (None,)
        for kind, loss, model, size in itertools.product(kinds, LOSSES, MODELS, sizes):
            if (
                (loss == "began" and model not in ("auto", "mlp"))  # it has an autoencoder
                or (len(shape) == 1 and model not in ("auto", "mlp"))
                or (model == "dcgan" and size == "48x96")  # it makes squares
            ):
                continue
            config = presets.preset(loss, dataset, model, kind=kind, image_size=size)
            config = dataclasses.replace(config, image_size=size, width=8, latent_dim=4)
            shape_of = (*data.height_and_width(size), 3) if size else shape
            words = [config.model, *shape_of]
            words += [config.depth] if config.model in ("auto", "mlp") else []
            words += ["sngan"] if config.model == "resnet" and config.spectral_norm else []
            found.setdefault("-".join(map(str, words)), (config, shape_of))
    return found


PRESETS = presets_with_other_generators()


@pytest.mark.parametrize("num_classes", [None, 10])
@pytest.mark.parametrize("name", PRESETS)
def test_each_presets_generator_is_exported(name, num_classes):
    """All its weights are the same number, as it takes long to draw them."""
    config, shape = PRESETS[name]
    model = settings.make_model(dataclasses.replace(config, num_classes=num_classes), shape)
    state = abstract_state(model)._replace(key=None, ema=None, ema_stats=None)
    state = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), state)
    content = export.to_onnx(Run(model, state, 1, [], True, {}))
    [output] = onnx.load_from_string(content).graph.output
    sizes = [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]
    assert sizes == ["N", *shape]
    latents, labels = np.ones((2, config.latent_dim), np.float32), np.arange(2)
    samples = drawn(content, latents, None if num_classes is None else labels)
    assert samples.shape == (2, *shape) and np.isfinite(samples).all()


# Users' own networks ----------------------------------------------------------------------------


class Linen(nn.Module):
    """Layers of flax.linen."""

    latent_dim = 5

    @nn.compact
    def __call__(self, z, train=False):
        x = nn.silu(nn.GroupNorm(2)(nn.Dense(64)(z).reshape(-1, 4, 4, 4)))
        x = nn.gelu(nn.LayerNorm()(nn.ConvTranspose(4, (4, 4), strides=(2, 2))(x)))
        batch, height, width, channels = x.shape
        tokens = x.reshape(batch, height * width, channels)
        x += nn.MultiHeadDotProductAttention(2)(tokens, tokens).reshape(x.shape)
        x = nn.elu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.softplus(nn.Conv(4, (3, 3), padding="CIRCULAR", kernel_dilation=2)(x))
        x = nn.avg_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"), (3, 3))
        x = nn.max_pool(x, (2, 2), padding="SAME")
        x = jax.image.resize(x, (batch, 12, 12, 4), "bilinear")
        x = nn.hard_swish(nn.Conv(4, (3, 3), feature_group_count=2)(x))
        x = nn.ConvTranspose(3, (3, 3), padding="VALID", transpose_kernel=True)(x)
        return jnp.tanh(jnp.flip(x[:, 1:-1, 1:-1], 1))


class Sorted(nn.Module):
    """What ONNX cannot express."""

    @nn.compact
    def __call__(self, x):
        return jnp.sort(x, 1)


class Sorting(nn.Module):
    latent_dim = 5

    @nn.compact
    def __call__(self, z):
        return Sorted(name="order")(nn.Dense(3)(z))


class Nnx(nnx.Module):
    """Layers of flax.nnx."""

    latent_dim = 5

    def __init__(self, rngs):
        self.linear = nnx.Linear(5, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.conv = nnx.ConvTranspose(4, 3, (4, 4), strides=(2, 2), rngs=rngs)

    def __call__(self, z):
        x = nn.leaky_relu(self.norm(self.linear(z).reshape(-1, 4, 4, 4)))
        return jnp.tanh(self.conv(x))


def recurrent(params, z):
    """A learnt image, a loop, and an array that is repeated for the batch."""
    steps = jnp.einsum("nd,de->ne", z, params["w"]).reshape(z.shape[0], 4, 3)
    state, seen = jax.lax.scan(
        lambda h, x: (jnp.tanh(h + x), h), jnp.zeros_like(steps[:, 0]), jnp.moveaxis(steps, 1, 0)
    )
    image = jnp.broadcast_to(params["image"], (z.shape[0], 4, 4, 3)) * jnp.cumsum(jnp.ones(3))
    return image + (state + seen.sum(0))[:, None, None]


OWN = {
    "linen": (Linen(), {}),
    "nnx": (lambda rngs: Nnx(rngs), {}),
    "pair": (
        (
            lambda key, z: {"w": jax.random.normal(key, (5, 12)), "image": jnp.ones((1, 4, 4, 3))},
            recurrent,
        ),
        {"latent_dim": 5},
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_a_network_of_ones_own_is_exported(name):
    generator, options = OWN[name]
    run = run_of(generator, **options)
    assert largest_difference(run, export.to_onnx(run)) < 1e-5
    assert export.check_stablehlo(run, export.to_stablehlo(run)) < 1e-5


NUMBERS = {
    "log1p": jnp.log1p,
    "expm1": lambda x: jnp.expm1(-x),
    "exp2": jnp.exp2,
    "cbrt": lambda x: jnp.cbrt(x - 1),
    "erfc": jax.scipy.special.erfc,
    "rem": lambda x: jnp.fmod(x - 1, 0.3),
    "round": jnp.round,
    "cube": lambda x: (x - 1) ** 3,
    "clamp": lambda x: jnp.clip(x, 0.2, 0.7),
    "choice": lambda x: jnp.where(jnp.isfinite(jnp.log(x - 1)) & (x != 1), x, -1),
    "sum": lambda x: jnp.cumsum(x, 1) + jnp.argmax(x, 1)[:, None] + jnp.any(x > 1, 1)[:, None],
    "tile": lambda x: jnp.tile(x, (1, 2)).reshape(x.shape[0], 2, -1)[:, ::-1].sum(1),
    "repeat": lambda x: jnp.repeat(x, 3, axis=1),
    "copies": lambda x: jnp.broadcast_to(x[:, None, None, None], (x.shape[0], 1, 3, 1, 7)).reshape(
        x.shape[0], 3, 1, 7
    ),
    "constants": lambda x: x[:, :1] + (jnp.ones((x.shape[0], 1)) * 2 + 1)[:, :, None].sum(1),
    "dilated": lambda x: jax.lax.pad(x, 0.5, [(0, 0, 0), (1, -1, 2)])[:, 2:9],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_an_operation_keeps_its_digits(name):
    """A single operation, also at numbers that are small or infinite."""

    def apply(params, z):
        return NUMBERS[name](jnp.abs(z) * params)

    run = run_of((lambda key, z: jax.random.uniform(key, (), minval=1), apply), latent_dim=7)
    content = export.to_onnx(run)
    scale = run.state.ema
    for x in (
        inputs_of(run, 3)[0],
        np.full((2, 7), 1e-6, np.float32),
        np.full((1, 7), 60, np.float32),
    ):
        want, made = NUMBERS[name](jnp.abs(x) * scale), drawn(content, x)
        np.testing.assert_allclose(made, want, rtol=1e-5, atol=1e-30 if "1" in name else 1e-6)


SQUARES = {
    "transposed low": lambda x: jnp.where(x > 0, x, 0.2 * x.swapaxes(1, 2)),
    "transposed comparison": lambda x: jnp.where(x.swapaxes(1, 2) > 0, x, 0.2 * x),
    "pad edge": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3)), "edge"),
    "pad maximum": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3)), "maximum"),
    "sums from the end": lambda x: jax.lax.cumsum(x, 1, reverse=True),
    "loop from the end": lambda x: jax.lax.scan(
        lambda h, row: (h + row, h * row), x[:, 0], x.swapaxes(0, 1), reverse=True
    )[1].swapaxes(0, 1),
    "three cases": lambda x: jax.lax.select_n((x > 0).astype(int) + (x > 1), x, 2 * x, -x),
    "dilated transpose": lambda x: nn.ConvTranspose(3, (3,), (2,), kernel_dilation=(2,))(x),
    "holes in a pool": lambda x: nn.avg_pool(x[..., None], (3, 2), (2, 2), "SAME"),
    "clipped places": lambda x: jnp.take(jnp.arange(5.0), (9 * x).astype(int), mode="clip"),
    "a half": lambda x: jax.lax.round(2 * jax.lax.round(x)) / 4 + jax.lax.round(jnp.rint(x) / 2),
    "largest pixel": lambda x: nn.Conv(4, (3, 3))(x[..., None]).argmax(1) * x,
    "cells": lambda x: nn.RNN(nn.GRUCell(5))(x),
}


@pytest.mark.parametrize("name", SQUARES)
def test_squares_are_exported(name):
    """An array and its transpose have one name in the file, and are not the same."""

    class Generator(nn.Module):
        latent_dim = 5

        @nn.compact
        def __call__(self, z):
            return SQUARES[name](nn.Dense(16)(z).reshape(-1, 4, 4))

    run = run_of(Generator())
    assert largest_difference(run, export.to_onnx(run)) < 1e-5


REFUSED = {
    "It rounds to 3 bits": lambda z: jax.lax.reduce_precision(z, 8, 3),
    "It has 300 steps, and up to 256": lambda z: jax.lax.fori_loop(0, 300, lambda i, x: 0.9 * x, z),
    "It goes through the batch": lambda z: jax.lax.map(jnp.tanh, z),
    "It cuts the batch": lambda z: jnp.concatenate([z, z])[: z.shape[0]],
}


@pytest.mark.parametrize("says", REFUSED)
def test_a_refusal_says_what_is_too_much(says):
    network = (lambda key, z: jax.random.normal(key), lambda params, z: REFUSED[says](params * z))
    with pytest.raises(ValueError, match=f"operation .* StableHLO.* {says}"):
        export.to_onnx(run_of(network, latent_dim=5))


def test_what_onnx_lacks_is_refused_by_name_and_place():
    run = run_of(Sorting())
    with pytest.raises(ValueError, match=r"operation sort in Sorting/order cannot.*StableHLO") as e:
        export.to_onnx(run)
    assert "\n" not in str(e.value)
    assert export.check_stablehlo(run, export.to_stablehlo(run)) == 0


ASKING = {
    "len": lambda z: z.reshape(len(z), 5),
    "range": lambda z: z + sum(range(z.shape[0])),
    "int": lambda z: z.reshape(int(z.shape[0]), 5),
    "comparison": lambda z: z if z.shape[0] > 4 else 2 * z,
}


@pytest.mark.parametrize("make", [export.to_onnx, export.to_stablehlo])
@pytest.mark.parametrize("name", ASKING)
def test_a_network_that_asks_for_its_batch_is_told_what_to_write(name, make):
    def apply(params, z):
        return ASKING[name](z) * params

    run = run_of((lambda key, z: jax.random.normal(key, (5,)), apply), latent_dim=5)
    with pytest.raises(ValueError, match=r"apply cannot be exported.*x\.shape\[0\] for len") as e:
        make(run)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("make", [export.to_onnx, export.to_stablehlo])
def test_another_mistake_of_a_network_is_raised_as_it_is(make):
    lost = []

    def apply(params, z):
        if lost:
            raise KeyError("the table is lost")
        return z * params

    run = run_of((lambda key, z: jax.random.normal(key, (5,)), apply), latent_dim=5)
    lost.append(True)
    with pytest.raises(KeyError, match="the table is lost"):
        make(run)


# The other forms --------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet", "r3gan"])
def test_stablehlo_makes_what_the_run_makes(name, num_classes):
    run = run_of(*PAIRS[name](num_classes=num_classes), num_classes=num_classes)
    content = export.to_stablehlo(run)
    assert export.check_stablehlo(run, content) < 1e-5
    exported = jax.export.deserialize(bytearray(content))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    for n in (1, 2, 8):
        latents, labels = inputs_of(run, n)
        inputs = (latents,) if labels is None else (latents, labels.astype(np.int32))
        ours = run.generate(latents, labels=labels)
        np.testing.assert_allclose(exported.call(*inputs), ours, atol=1e-5)


@pytest.mark.parametrize("name, num_classes", [("mlp", None), ("resnet", None), ("dcgan", 3)])
def test_torch_fidelity_gets_bytes_in_three_channels(name, num_classes):
    run = run_of(*PAIRS[name](num_classes=num_classes), num_classes=num_classes)
    content = export.to_torch_fidelity(run)
    assert export.check_torch_fidelity(run, content) <= 1
    size = export.z_size(run)
    assert size == 5 + (num_classes is not None)
    latents = np.asarray(jax.random.normal(jax.random.key(0), (11, size)))
    images = drawn(content, latents)
    height, width, channels = run.model.game.data_shape
    assert images.shape == (11, 3, height, width) and images.dtype == np.uint8
    labels = None if num_classes is None else classes_of(latents[:, 5], num_classes)
    ours = data.to_uint8(run.generate(latents[:, :5], labels=labels)).transpose(0, 3, 1, 2)
    differences = np.abs(images.astype(int) - ours)
    assert differences.max() <= 1 and differences.mean() < 0.01  # rounding at a half
    if channels == 1:
        assert (images == images[:, :1]).all()


def test_normal_numbers_choose_classes_equally_often():
    numbers = np.random.default_rng(0).normal(size=30_000)
    counts = np.bincount(classes_of(numbers, 3), minlength=3)
    np.testing.assert_allclose(counts, 10_000, rtol=0.03)
    assert list(classes_of(np.array([-9, -0.5, 0, 0.5, 9]), 3)) == [0, 0, 1, 2, 2]


def test_points_are_not_for_torch_fidelity():
    run = run_of(*PAIRS["points"]())
    with pytest.raises(ValueError, match=r"one or three channels.*shape \(2,\)"):
        export.to_torch_fidelity(run)


def test_a_file_that_makes_something_else_is_refused():
    run = run_of(*PAIRS["points"]())
    other = dataclasses.replace(
        run, state=run.state._replace(ema=jax.tree.map(lambda x: x * 1.001, run.state.ema))
    )
    for form in ("onnx", "stablehlo"):
        content = getattr(export, f"to_{form}")(other)
        with pytest.raises(ValueError, match="makes other samples than the run: they differ by"):
            getattr(export, f"check_{form}")(run, content)


def test_a_file_that_is_no_onnx_is_refused():
    run = run_of(*PAIRS["points"]())
    content = export.to_onnx(run)
    model = onnx.load_from_string(content)
    model.graph.node[0].op_type = "Divine"
    reshaped = onnx.load_from_string(content)
    reshaped.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    for check in (export.check_onnx, export.check_torch_fidelity):
        for bad in (content[:-9], model.SerializeToString(), reshaped.SerializeToString()):
            with pytest.raises(ValueError, match="the file is no valid ONNX") as e:
                check(run, bad)
            assert "\n" not in str(e.value)


def test_numbers_that_onnx_does_not_sum_are_refused():
    def apply(params, z):
        total = jnp.sum((z * params).astype(jnp.int8), 1, keepdims=True, dtype=jnp.int8)
        return total.astype(jnp.float32)

    run = run_of((lambda key, z: jax.random.normal(key, (5,)), apply), latent_dim=5)
    with pytest.raises(ValueError, match=r"no valid ONNX.*int8.*StableHLO, which holds any"):
        export.check_onnx(run, export.to_onnx(run))
    assert export.check_stablehlo(run, export.to_stablehlo(run)) == 0


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (lambda z: z + jax.random.normal(jax.random.key(3), (5,)), "draws random numbers"),
        (lambda z: z / jnp.asarray(z.shape[0], jnp.float32), "the operation dim_as_value"),
    ],
)
def test_random_numbers_and_the_size_of_the_batch_are_refused(samples, says):
    network = (lambda key, z: jax.random.normal(key), lambda params, z: samples(params * z))
    with pytest.raises(ValueError, match=f"{says}.* StableHLO"):
        export.to_onnx(run_of(network, latent_dim=5))


def test_what_onnxruntime_lacks_is_refused():
    """It finds no largest of uint32 numbers, as ONNX does."""

    def apply(params, z):
        whole = jnp.abs(z * params).astype(jnp.uint32)
        return jnp.argmax(whole, 1, keepdims=True).astype(jnp.float32)

    run = run_of((lambda key, z: jax.random.normal(key, (5,)), apply), latent_dim=5)
    with pytest.raises(ValueError, match=r"onnxruntime cannot run the file.*ArgMax.*StableHLO"):
        export.check_onnx(run, export.to_onnx(run))
    assert export.check_stablehlo(run, export.to_stablehlo(run)) == 0


@pytest.mark.parametrize("form", ["onnx", "stablehlo", "torch_fidelity"])
def test_numbers_that_broke_are_not_exported(form):
    run = run_of(*PAIRS["mlp"]())
    broken = run.state._replace(ema=jax.tree.map(lambda x: x * jnp.nan, run.state.ema))
    run = dataclasses.replace(run, state=broken)
    with pytest.raises(ValueError, match="not finite: its training has diverged"):
        getattr(export, f"check_{form}")(run, getattr(export, f"to_{form}")(run))
