"""The models that are measured, and what is said of and to a program that trains one."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxgan.commands.config import Config
from jaxgan.commands.presets import preset

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


class Weights(NamedTuple):
    """Trees of arrays, as flax has them.

    Attributes:
      d_params, g_params: the parameters.
      average: those of the averaged generator.
      g_stats: the generator's running statistics, {} where there are none.
    """

    d_params: Any
    g_params: Any
    average: Any
    g_stats: Any


class Inputs(NamedTuple):
    """All that decides some iterations.

    Attributes:
      first: the weights that training begins with.
      reals: `[iterations, n_critic, B, *data_shape]`.
      d_latents: `[iterations, n_critic, B, latent_dim]`.
      g_latents: `[iterations, B, latent_dim]`.
      epsilon: the ε of the gradient penalty, `[iterations, n_critic, B]`.
    """

    first: Weights
    reals: Any
    d_latents: Any
    g_latents: Any
    epsilon: Any


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
    trained: list[Weights]


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
