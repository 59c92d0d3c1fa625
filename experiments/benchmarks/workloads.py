"""The models that are measured, and the arithmetic that each needs."""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxgan.commands.config import Config
from jaxgan.commands.presets import preset
from jaxgan.networks.layers import halvings

EXAMPLES = 2048


class Workload(NamedTuple):
    """A model and the shape of its data.

    Attributes:
      name: what `--only` takes.
      config: the model, its optimizers and its batch.
      data_shape: of one example.
    """

    name: str
    config: Config
    data_shape: tuple[int, ...]


class Program(NamedTuple):
    """A training program that is compiled and ready.

    Attributes:
      run: `run(n)` does n iterations, n_critic critic updates and one generator update each, and
        waits for their results.
      compile_seconds: from the model to the first iteration; None where nothing is compiled.
      memory: bytes held at once: see each program's own description.
    """

    run: Callable[[int], None]
    compile_seconds: float | None
    memory: int | None


class Inputs(NamedTuple):
    """First weights, and the data and noise of some iterations.

    Attributes:
      d_params, g_params: the parameters, as flax has them.
      g_stats: the generator's running statistics, {} where there are none.
      reals: `[iterations, n_critic, B, *data_shape]`.
      d_latents: `[iterations, n_critic, B, latent_dim]`.
      g_latents: `[iterations, B, latent_dim]`.
      epsilon: the ε of the gradient penalty, `[iterations, n_critic, B]`.
    """

    d_params: Any
    g_params: Any
    g_stats: Any
    reals: Any
    d_latents: Any
    g_latents: Any
    epsilon: Any


class Trained(NamedTuple):
    """What an iteration leaves, as flax has it.

    Attributes:
      d_params, g_params: the parameters.
      average: those of the averaged generator.
      g_stats: the generator's running statistics, {} where there are none.
    """

    d_params: Any
    g_params: Any
    average: Any
    g_stats: Any


class Answer(NamedTuple):
    """What a program makes of inputs.

    Attributes:
      d_loss, d_gradients, g_loss, g_gradients: of the first weights.
      trained: what each iteration leaves.
    """

    d_loss: Any
    d_gradients: Any
    g_loss: Any
    g_gradients: Any
    trained: list[Trained]


def workloads(precision: str) -> list[Workload]:
    """Those of the benchmark's table: `train.py`'s presets, with what counts for speed pinned.

    A preset tuned for better samples is to leave the figures comparable.
    """

    def workload(name, data_shape, config, **changes):
        pinned = {"precision": precision, "batch_size": 64, "decay_steps": 0, **changes}
        return Workload(name, dataclasses.replace(config, **pinned), data_shape)

    dcgan = {"width": 64, "latent_dim": 128}
    resnet = {"model": "resnet", "width": 128, "latent_dim": 128}
    mlp = {"width": 512, "depth": 3, "batch_size": 256}

    return [
        workload("mlp", (2,), preset("wgan-gp", "grid25"), **mlp, n_critic=5),
        workload("dcgan32-bce", (32, 32, 3), preset("bce", "cifar10"), **dcgan),
        *(
            workload(f"dcgan32-{loss}", (32, 32, 3), preset(loss, "cifar10"), **dcgan, n_critic=5)
            for loss in ("wgan", "wgan-gp")
        ),
        # One critic update for each of the generator, not five: it takes seconds on a CPU.
        workload(
            "resnet32-wgan-gp", (32, 32, 3), preset("wgan-gp", "cifar10"), **resnet, n_critic=1
        ),
        workload("dcgan28", (28, 28, 1), preset("wgan-gp", "mnist"), **dcgan, n_critic=5),
        workload("digits", (8, 8, 1), preset("wgan", "digits"), n_critic=5),
    ]


def make_data(workload: Workload) -> np.ndarray:
    """Random examples of the type in which `jaxgan.data` holds them."""
    rng = np.random.default_rng(0)
    shape = (EXAMPLES, *workload.data_shape)
    if len(workload.data_shape) == 3:
        return rng.integers(0, 256, shape, np.uint8)
    return rng.standard_normal(shape, np.float32)


def count_cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_operations(workload: Workload, padding: bool = True) -> int:
    """Floating-point operations of one iteration's matrix products and convolutions.

    A layer's forward pass, its gradient with respect to its input and that with respect to its
    weights are each as large, F: two operations for each product of a weight and an input. For a
    generator G and a critic C, whose first layers take G₁ and C₁ of F:

        critic update       G                  the samples; nothing is derived from here on
                            2 (3C − C₁)        real and fake: forward and both gradients, of which
                                               the first layer's input needs none
                            4C                 with a gradient penalty: forward, input gradient,
                                               and the derivative of that one, a forward pass and a
                                               weight gradient. ReLU's second derivative is 0, so
                                               nothing flows back through the forward pass
        generator update    G + C              forward
                            C + 2G − G₁        back through the critic to the samples, then both
                                               gradients of the generator

    Element-wise work, normalisation, noise and optimizers are left out, a few per cent of the whole
    in the models here.

    Args:
      workload: the model.
      padding: count a kernel's products with the zeros around the image, as is usual for
        convolutions and as every kernel here computes them; else only those with pixels.
    """
    config = workload.config
    batch = config.batch_size
    generator, critic = (
        [2 * batch * products for products in layers] for layers in _products(workload, padding)
    )
    g, g_first, c, c_first = sum(generator), generator[0], sum(critic), critic[0]
    d_step = g + 2 * (3 * c - c_first) + (4 * c if config.loss == "wgan-gp" else 0)
    g_step = (g + c) + (c + 2 * g - g_first)
    return config.n_critic * d_step + g_step


def _products(workload, padding):
    """Products of a weight and an input in each layer of the generator and of the critic.

    What sees the data, a layer or two, comes first in the critic.
    """
    config, shape = workload.config, workload.data_shape
    if config.model == "mlp":
        hidden = [config.width] * config.depth
        return [
            [a * b for a, b in itertools.pairwise(sizes)]
            for sizes in (
                [config.latent_dim, *hidden, math.prod(shape)],
                [math.prod(shape), *hidden, 1],
            )
        ]
    side, _, channels = shape
    if config.model == "resnet":
        return _products_of_residual_blocks(config, side, channels, padding)
    convolutions, out = [], config.width
    while side > 7:
        side //= 2
        # An image of 2·side under 5×5 kernels at stride 2, one column more padding after than
        # before: the first kernel misses one column of it and the last one two.
        taps = 5 * side if padding else 5 * side - 3
        convolutions.append(taps * taps * channels * out)
        channels, out = out, 2 * out
    features = side * side * channels
    return [config.latent_dim * features, *reversed(convolutions)], [*convolutions, features]


def _products_of_residual_blocks(config, side, channels, padding):
    """Of the pair of `networks.resnet` with up to three halvings."""
    width, (base, doublings) = config.width, halvings(side)

    def conv3x3(side, inputs):
        taps = 3 * side if padding else 3 * side - 2
        return taps * taps * inputs

    generator = [config.latent_dim * width * base**2]
    for i in range(doublings):
        small = base * 2**i
        generator += [conv3x3(2 * small, width) * width] * 2 + [small**2 * width * width]
    generator.append(conv3x3(side, width) * channels)

    down, sees_data, critic = min(doublings, 2), 0, []
    for index in range(down + 2):
        inputs = width if index else channels
        first = conv3x3(side, inputs) * width
        critic.append(conv3x3(side, width) * width)
        if index < down:
            side //= 2
            first += side**2 * inputs * width  # the shortcut
        if index:
            critic.append(first)
        else:
            sees_data = first
    return generator, [sees_data, *critic, width]
