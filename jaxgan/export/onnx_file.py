"""The ONNX file of a run's generator."""

import json
from typing import Any

import numpy as np
from onnx import helper

import jaxgan
from jaxgan.export.elementwise import cast
from jaxgan.export.graph import IR_VERSION, OPSET, Graph, Value, known, onnx_type
from jaxgan.export.trace import Traced, trace
from jaxgan.export.translate import Translator
from jaxgan.training import Run

MOST_BYTES = 2**31 - 2**20  # of a file, less what is no weight


def to_onnx(run: Run, seed_index: int = 0) -> bytes:
    """A run's generator as an ONNX file, for batches of any size N.

    Its inputs are `latents`, float32 `[N, latent_dim]`, and where there are classes `labels`, int64
    `[N]`; its output is `samples`, float32 `[N, *data_shape]`: what `run.generate` makes of them,
    images as NHWC in [-1, 1]. Of several seeds it is one. The generator is the averaged one, where
    there is one, unless the run is `run.without_average()`. Arithmetic in 16 bits becomes float32.
    The metadata say dataset, loss, model, step, latent_dim, num_classes, class_names (a list as
    JSON), data_shape and the version of jaxgan, as far as the run knows them.

    Args:
      run: the run, of `jaxgan.fit` or `jaxgan.load`.
      seed_index: which of its seeds, from 0 on.

    Raises:
      ValueError: if the run has no such seed, or the generator has an operation that ONNX lacks; it
        names the operation and its module.
    """
    traced, game = trace(run, seed_index), run.model.game
    graph = Graph(traced.batch)
    inputs = [graph.input("latents", np.float32, (traced.batch, game.generator.latent_dim))]
    if game.num_classes is not None:
        labels = graph.input("labels", np.int64, (traced.batch,))
        inputs.append(cast(graph, labels, np.int32))
    return file_of(run, graph, samples_of(graph, traced, inputs), "samples")


def samples_of(graph: Graph, traced: Traced, inputs: list[Value]) -> Value:
    """What a traced generator makes of its inputs."""
    variables = [known(array, name) for name, array in traced.variables]
    program = traced.jaxpr
    [samples] = Translator(graph).program(program.jaxpr, program.consts, [*variables, *inputs])
    return samples


def file_of(run: Run, graph: Graph, output: Value, name: str) -> bytes:
    """The file of a graph with one output, of this name.

    Raises:
      ValueError: if it is larger than the 2 GB that such a file can have.
    """
    graph.place = ""
    last = graph.full(output)
    graph.nodes.append(helper.make_node("Identity", [last], [name], name))
    sizes = ["N" if size == graph.batch else size for size in output.shape]
    made = helper.make_tensor_value_info(name, onnx_type(output.dtype), sizes)
    nodes, constants = graph.needed(name)
    size = sum(len(constant.raw_data) for constant in constants)
    if size >= MOST_BYTES:
        raise ValueError(
            f"an ONNX file holds 2 GB at most, and these weights take {size / 1e9:.1f} GB. Export "
            "as StableHLO."
        )
    content = helper.make_graph(nodes, "generator", graph.inputs, [made], constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        content,
        opset_imports=opset,
        ir_version=IR_VERSION,
        producer_name="jaxgan",
        producer_version=jaxgan.__version__,
    )
    helper.set_model_props(model, describe(run))
    return model.SerializeToString()


def describe(run: Run) -> dict[str, str]:
    """What a file says of the run that it is made of, as text."""
    game, settings = run.model.game, run.settings
    facts: dict[str, Any] = {name: settings.get(name) for name in ("dataset", "loss", "model")}
    facts |= {
        "step": run.step,
        "latent_dim": game.generator.latent_dim,
        "num_classes": game.num_classes,
        "class_names": run.class_names and json.dumps(run.class_names, ensure_ascii=False),
        "data_shape": ",".join(map(str, game.data_shape)),
        "jaxgan_version": jaxgan.__version__,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}
