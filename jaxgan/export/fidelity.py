"""A run's generator as an ONNX file in the form that torch-fidelity's `fidelity` command reads."""

import math

import numpy as np

from jaxgan.export.arrays import cut, joined
from jaxgan.export.elementwise import apply, cast, number
from jaxgan.export.graph import Graph, Value
from jaxgan.export.onnx_file import file_of, samples_of
from jaxgan.export.trace import Traced, trace
from jaxgan.training import Run


def to_torch_fidelity(run: Run, seed_index: int = 0) -> bytes:
    """A run's generator for torch-fidelity: latents to uint8 `[N, 3, H, W]`, grey images in colour.

    The input is `latents`, float32 `[N, z_size(run)]`. Where there are classes the last number of a
    latent chooses one, each as often: torch-fidelity 0.4.0 draws labels by `numpy.int`, which numpy
    has not had since 1.24.

    Args:
      run: the run, of `jaxgan.fit` or `jaxgan.load`.
      seed_index: which of its seeds, from 0 on.

    Raises:
      ValueError: as `to_onnx`, or if the samples are no images of one or three channels.
    """
    shape = run.model.game.data_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            "torch-fidelity takes images of one or three channels, and the samples of this run "
            f"have the shape {tuple(shape)}. Export it as ONNX or StableHLO."
        )
    traced = trace(run, seed_index)
    graph = Graph(traced.batch)
    samples = samples_of(graph, traced, _inputs(run, graph, traced))
    graph.place = ""
    return file_of(run, graph, _in_bytes(graph, samples), "images")


def z_size(run: Run) -> int:
    """How many numbers its latents have: --input1-model-z-size."""
    game = run.model.game
    return game.generator.latent_dim + (game.num_classes is not None)


def classes_of(numbers: np.ndarray, num_classes: int) -> np.ndarray:
    """The classes that normal numbers choose: floor(num_classes · Φ(number))."""
    phi = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in numbers])
    return np.minimum(np.floor(num_classes * phi), num_classes - 1).astype(np.int64)


def _inputs(run: Run, graph: Graph, traced: Traced) -> list[Value]:
    game, size = run.model.game, z_size(run)
    latents = graph.input("latents", np.float32, (traced.batch, size))
    if game.num_classes is None:
        return [latents]
    numbers = graph.reshaped(cut(graph, latents, 1, size - 1, size), (traced.batch,))
    doubled = apply(graph, "Erf", apply(graph, "Mul", numbers, number(math.sqrt(0.5), numbers)))
    share = apply(graph, "Add", doubled, number(1, numbers))
    which = apply(graph, "Mul", share, number(game.num_classes / 2, numbers))
    which = apply(graph, "Min", which, number(game.num_classes - 1, numbers))
    return [cut(graph, latents, 1, 0, size - 1), cast(graph, which, np.int32)]


def _in_bytes(graph: Graph, samples: Value) -> Value:
    """Images in [-1, 1] as `data.to_uint8` has them, colours first."""
    for kind, bound in (("Max", -1), ("Min", 1)):
        samples = apply(graph, kind, samples, number(bound, samples))
    light = apply(graph, "Add", samples, number(1, samples))
    light = apply(graph, "Mul", light, number(127.5, light))
    images = cast(graph, apply(graph, "Round", light), np.uint8)
    if images.shape[3] == 1:
        images = joined(graph, [images] * 3, 3)
    name = graph.full(images, (0, 3, 1, 2))
    return graph.like(name, (images.shape[0], 3, *images.shape[1:3]), np.uint8)
