"""The machine's limit: a large matrix product, by whichever framework is faster at it."""

import time
from collections.abc import Callable

import jax
import numpy as np

SIZES = (1024, 2048, 4096, 8192)
LONGEST = 0.5  # seconds that one product may take
TIMED = 0.01  # a time is that of so many products as take so long: a GPU's take microseconds


def products(precision: str, with_pytorch: bool) -> dict[str, tuple[Callable[[int], None], int]]:
    """Each framework's product of square matrices, of the size with the highest rate.

    PyTorch's has the settings that `pytorch.choose_device` made.

    Returns:
      `run(n)`, which does n products, and the operations of each.
    """
    makers = {"jax": _in_jax} | ({"pytorch": _in_pytorch} if with_pytorch else {})
    return {name: _best(make, precision) for name, make in makers.items()}


def products_in(platform: str, precision: str) -> str:
    """What multiplies: on a GPU TF32, 10 bits of each factor, unless jax is told otherwise.

    JAX_DEFAULT_MATMUL_PRECISION=highest measures float32 in full, in PyTorch too.
    """
    told = jax.config.jax_default_matmul_precision
    if precision == "float32" and platform in ("gpu", "cuda") and told in (None, "default"):
        return "TF32"
    return precision


def _in_jax(matrix, precision):
    a, product = jax.numpy.asarray(matrix, precision), jax.jit(jax.numpy.matmul)

    def run(n):
        for _ in range(n):
            result = product(a, a)
        jax.block_until_ready(result)

    return run


def _in_pytorch(matrix, precision):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.from_numpy(matrix).to(device, getattr(torch, precision))
    result = torch.empty_like(a)

    def run(n):
        for _ in range(n):
            torch.mm(a, a, out=result)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _best(make, precision):
    best = (0.0, None, 0)
    for size in SIZES:
        run = make(np.random.default_rng(0).standard_normal((size, size), np.float32), precision)
        run(1)
        n, took = 1, _seconds(run, 1)
        while took < TIMED:
            n *= 2
            took = _seconds(run, n)
        each = min([took, *(_seconds(run, n) for _ in range(2))]) / n
        best = max(best, (2 * size**3 / each, run, 2 * size**3), key=lambda each: each[0])
        if 8 * each > LONGEST:
            break
    return best[1:]


def _seconds(run, n):
    began = time.perf_counter()
    run(n)
    return time.perf_counter() - began
