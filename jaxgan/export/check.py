"""Whether a file makes what the run's generator makes."""

import functools
import importlib.util
import time

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from google.protobuf.message import DecodeError

from jaxgan import data
from jaxgan.export.fidelity import classes_of, z_size
from jaxgan.export.graph import Graph, known
from jaxgan.export.onnx_file import samples_of
from jaxgan.export.trace import generator_of, trace
from jaxgan.export.translate import has_16_bits
from jaxgan.training import Run

EXAMPLES = 7  # compared
# Of a number up to 1, and of the largest beyond. Sums in another order differ by some 1e-6.
TOLERANCE = 1e-4
# Arithmetic of 8 bits rounds by 4e-3, in each layer.
TOLERANCE_16_BITS = 0.05
_ILL_FORMED = (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)


def has_onnxruntime() -> bool:
    """Whether ONNX files can be compared with the run."""
    return importlib.util.find_spec("onnxruntime") is not None


def check_onnx(run: Run, content: bytes, seed_index: int = 0) -> float | None:
    """The largest difference between what a file of `to_onnx` and the run make of seven latents.

    Arithmetic in 16 bits is compared in float32, which the file has.

    Returns:
      The difference; None where onnxruntime is not installed, and the file's form alone is checked.

    Raises:
      ValueError: if it is more than 1e-4, times the largest number where that is above one; if the
        run's numbers are not finite; or if the file is not well formed, or onnxruntime refuses it.
    """
    _check_finite(run, seed_index)
    _check_form(content)
    if not has_onnxruntime():
        return None
    latents, labels = _inputs(run)
    [made] = _session(content).run(None, _given(latents, labels))
    ours = _ours(run, seed_index, latents, labels)
    return _difference(made, ours, TOLERANCE * _scale(ours))


def check_torch_fidelity(run: Run, content: bytes, seed_index: int = 0) -> float | None:
    """The same of a file of `to_torch_fidelity`, in levels of 0 to 255: rounding may make it one.

    Raises:
      ValueError: if it is more than one, or as `check_onnx`.
    """
    _check_finite(run, seed_index)
    _check_form(content)
    if not has_onnxruntime():
        return None
    latents = np.asarray(jax.random.normal(jax.random.key(0), (EXAMPLES, z_size(run))))
    labels, classes = None, run.model.game.num_classes
    if classes is not None:
        labels = classes_of(latents[:, -1], classes)
    own = latents[:, : run.model.game.generator.latent_dim]
    images = data.to_uint8(_ours(run, seed_index, own, labels)).transpose(0, 3, 1, 2)
    expected = np.broadcast_to(images, (len(images), 3, *images.shape[2:])).astype(float)
    [made] = _session(content).run(None, {"latents": latents})
    return _difference(made, expected, 1)


def check_stablehlo(run: Run, content: bytes, seed_index: int = 0) -> float:
    """The same of a file of `to_stablehlo`, which has the run's own precision.

    Raises:
      ValueError: if the difference is more than 1e-4, or in 16 bits 0.05, times the largest number
        where that is above one; or if the run's numbers are not finite.
    """
    _check_finite(run, seed_index)
    latents, labels = _inputs(run)
    made = _drawer(content)(*_to_call(latents, labels))
    ours = np.asarray(run.generate(latents, seed_index, labels))
    rough = has_16_bits(trace(run, seed_index).jaxpr.jaxpr)
    tolerance = TOLERANCE_16_BITS if rough else TOLERANCE
    return _difference(made, ours, tolerance * _scale(ours))


def seconds_to_draw(
    run: Run, content: bytes, is_onnx: bool, seed_index: int = 0, n: int = 64
) -> tuple[float, float]:
    """The shortest time that n samples take of ten: from a file, and by jaxgan.

    The file is one of `to_onnx`, of which onnxruntime draws with a thread for each core, as it has
    by default; or one of `to_stablehlo`, of which jax does.
    """
    latents, labels = _inputs(run, n)
    inputs = _to_call(latents, labels)
    generate, variables = generator_of(run, seed_index)
    if is_onnx:
        from_file = functools.partial(_session(content).run, None, _given(latents, labels))
    else:
        from_file = functools.partial(jax.jit(_drawer(content)), *inputs)
    return _shortest(from_file), _shortest(functools.partial(jax.jit(generate), variables, inputs))


def _shortest(f, times=10):
    f()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        jax.block_until_ready(f())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _inputs(run: Run, n: int = EXAMPLES) -> tuple[jax.Array, np.ndarray | None]:
    game = run.model.game
    latents = jax.random.normal(jax.random.key(0), (n, game.generator.latent_dim))
    return latents, None if game.num_classes is None else np.arange(n) % game.num_classes


def _check_finite(run, seed_index):
    latents, labels = _inputs(run)
    if not np.isfinite(run.generate(latents, seed_index, labels)).all():
        raise ValueError(
            "the run's generator makes numbers that are not finite: its training has diverged. "
            "Export its best state (--best), or another run."
        )


def _check_form(content):
    try:
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    except _ILL_FORMED as error:
        raise ValueError(
            f"the file is no valid ONNX ({_in_a_line(error)}). Export as StableHLO, which holds "
            "any network."
        ) from error


def _in_a_line(error):
    return " ".join(str(error).split())[:200]


def _to_call(latents, labels):
    """The inputs of a StableHLO file."""
    return (latents,) if labels is None else (latents, jnp.asarray(labels, jnp.int32))


def _drawer(content):
    """The function that a StableHLO file holds."""
    from jax import export  # at its first use, since importing it takes time

    return export.deserialize(bytearray(content)).call


def _given(latents, labels):
    """The inputs of an ONNX file."""
    latents = {"latents": np.asarray(latents)}
    return latents if labels is None else latents | {"labels": labels.astype(np.int64)}


def _session(content):
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:
        raise ValueError(
            f"onnxruntime cannot run the file ({_in_a_line(error)}). Export as StableHLO, which "
            "holds any network."
        ) from error


def _ours(run, seed_index, latents, labels):
    """What the run makes, at full precision."""
    traced = trace(run, seed_index, len(latents))
    with jax.default_matmul_precision("highest"):
        if not has_16_bits(traced.jaxpr.jaxpr):
            return np.asarray(run.generate(latents, seed_index, labels))
        inputs = [latents] if labels is None else [latents, np.asarray(labels, np.int32)]
        samples = samples_of(Graph(traced.batch), traced, list(map(known, inputs)))
        return np.broadcast_to(np.asarray(samples.known), samples.shape)


def _scale(samples):
    return max(1.0, float(np.max(np.abs(samples))))


def _difference(made, ours, allowed):
    made, ours = np.asarray(made, np.float64), np.asarray(ours, np.float64)
    difference = float(np.max(np.abs(made - ours))) if made.shape == ours.shape else np.inf
    if not difference <= allowed:
        raise ValueError(
            f"the file makes other samples than the run: they differ by {difference:.2g}, where "
            f"{allowed:.2g} is allowed. No file is written. Please report it, with the network."
        )
    return difference
