"""Scores of generated samples: how good, how varied, how near the data, how far from copies.

Every function takes samples `[n, ...]`, or features of them, and flattens all but the first axis.
Mode scores and sliced distances are JAX functions, which work under `jit` and over a `vmap` of
seeds; the others run on the host in float64 (exact transport on float32 points). Distances between
finite samples of one distribution are not 0: quote each beside its value between the training data
and the held-out data.
"""

from jaxgan.metrics.frechet import (
    KernelDistance,
    Moments,
    frechet_distance,
    frechet_of_moments,
    kernel_distance,
    moments,
    monge_distance,
)
from jaxgan.metrics.modes import ModeScore, mode_score, reverse_kl
from jaxgan.metrics.neighbours import (
    Manifold,
    Memorisation,
    memorisation,
    nearest_neighbours,
    precision_recall_density_coverage,
)
from jaxgan.metrics.transport import earth_movers_distance, sliced_wasserstein

__all__ = [
    "KernelDistance",
    "Manifold",
    "Memorisation",
    "ModeScore",
    "Moments",
    "earth_movers_distance",
    "frechet_distance",
    "frechet_of_moments",
    "kernel_distance",
    "memorisation",
    "mode_score",
    "moments",
    "monge_distance",
    "nearest_neighbours",
    "precision_recall_density_coverage",
    "reverse_kl",
    "sliced_wasserstein",
]
