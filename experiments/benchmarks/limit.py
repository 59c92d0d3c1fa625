"""The machine's limit: a large matrix product, by whichever framework is faster at it."""

import time
from collections.abc import Callable

import jax
import numpy as np

SIZES = (1024, 2048, 4096, 8192)
LONGEST = 0.5  # seconds that one product may take


def best_jax_product(precision: str) -> tuple[Callable[[int], None], int]:
    """The size at which a product of square matrices runs at the highest rate.

    Returns:
      `run(n)`, which does n products, and the operations of each.
    """
    product = jax.jit(jax.numpy.matmul)

    def make(size):
        a = jax.numpy.asarray(_matrix(size), precision)

        def run(n):
            for _ in range(n):
                result = product(a, a)
            jax.block_until_ready(result)

        return run

    return _best(make)


def best_pytorch_product(precision: str) -> tuple[Callable[[int], None], int]:
    """The same in PyTorch, with the settings that `make_pytorch` chose."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def make(size):
        a = torch.from_numpy(_matrix(size)).to(device, getattr(torch, precision))
        result = torch.empty_like(a)

        def run(n):
            for _ in range(n):
                torch.mm(a, a, out=result)
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    return _best(make)


def _matrix(size):
    return np.random.default_rng(0).standard_normal((size, size), np.float32)


def _best(make):
    best = (0.0, None, 0)
    for size in SIZES:
        run = make(size)
        run(1)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            run(1)
            times.append(time.perf_counter() - began)
        best = max(best, (2 * size**3 / min(times), run, 2 * size**3), key=lambda each: each[0])
        if 8 * min(times) > LONGEST:
            break
    return best[1:]
