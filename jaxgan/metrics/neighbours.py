"""Scores of samples by their nearest neighbours: fidelity, variety, and copies.

Everything runs on the host in float64, a block of distances at a time. All names are in `metrics`.

References:
  Kynkäänniemi et al., Improved Precision and Recall Metric, 2019. https://arxiv.org/abs/1904.06991
  Naeem et al., Reliable Fidelity and Diversity Metrics, 2020. https://arxiv.org/abs/2002.09797
  Meehan et al., A Non-Parametric Test to Detect Data-Copying, 2020. https://arxiv.org/abs/2004.05675
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxgan.distances.distributions import host_samples

_BLOCK = 2**23  # entries of a block of distances: 64 MB


class Manifold(NamedTuple):
    """Overlap of two manifolds, each a fraction but density, which may exceed 1.

    Attributes:
      precision: of fake samples, those within the real manifold.
      recall: of real samples, those within the fake manifold.
      density: how many real neighbourhoods a fake sample lies in, over k.
      coverage: of real neighbourhoods, those with a fake sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> Manifold:
    """Fidelity and diversity: a manifold is the union of the balls to each k-th neighbour.

    For two samples of n from one distribution density is 1 and coverage
    1 − (n−1)…(n−k)/((2n−1)…(2n−k)) in expectation, about 1 − 2⁻ᵏ.

    Args:
      real: features, `[n, d]`, more than k.
      fake: features, `[m, d]`, more than k.
      k: the neighbour that sets the radius; 3 in Kynkäänniemi 2019, 5 in Naeem 2020.

    Raises:
      ValueError: if k < 1, there are too few samples, they are not finite, or their dimensions
        differ.

    References:
      Kynkäänniemi 2019, eq. 1 and 2; Naeem 2020, sec. 3 and lemmas 1 and 2.
    """
    real, fake = host_samples(real=real, fake=fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(
            f"k must be at least 1 and below the number of samples, got {k} for {len(real)} real "
            f"and {len(fake)} fake"
        )
    real_radii, fake_radii = _neighbour_radii(real, k), _neighbour_radii(fake, k)
    precise, neighbourhoods = 0, 0
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, squared in _squared_distances(fake, real):
        inside = squared <= real_radii
        precise += inside.any(axis=1).sum()
        neighbourhoods += inside.sum()
        covered |= inside.any(axis=0)
        recalled |= (squared <= fake_radii[rows, None]).any(axis=0)
    return Manifold(
        precision=float(precise / len(fake)),
        recall=float(recalled.mean()),
        density=float(neighbourhoods / (k * len(fake))),
        coverage=float(covered.mean()),
    )


def nearest_neighbours(x: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Each sample's nearest neighbour in a reference set.

    Args:
      x: samples, `[n, ...]`.
      reference: `[m, ...]`.

    Returns:
      Euclidean distances, float64 `[n]`, and indices into reference, `[n]`. Copies have exactly 0;
      of two that are nearer to each other than 10⁻⁷ of the set's extent it may be the other one.

    Raises:
      ValueError: if samples are empty or not finite, or their dimensions differ.
    """
    x, reference = host_samples(x=x, reference=reference)
    blocks = [squared.argmin(axis=1) for _, squared in _squared_distances(x, reference)]
    index = np.concatenate(blocks)
    return np.linalg.norm(x - reference[index], axis=1), index


class Memorisation(NamedTuple):
    """How near samples are to the training set, against held-out data.

    Attributes:
      distance: samples' mean distance to their nearest training example.
      held_out_distance: the same of held-out data.
      closer: the probability that a sample is nearer to the training set than a held-out example
        is: about ½ for new samples of the data's distribution, 1 for copies, 0 for samples far
        from any data.
    """

    distance: float
    held_out_distance: float
    closer: float


def memorisation(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> Memorisation:
    """Tells copies of the training set from new samples, which held-out data are.

    Args:
      samples: `[n, ...]`.
      train: `[m, ...]`.
      held_out: `[h, ...]`.

    Raises:
      ValueError: if a set is empty or not finite, or dimensions differ.

    References:
      Meehan 2020: `closer` is 1 less their Mann–Whitney statistic, without its split into cells.
    """
    distance, _ = nearest_neighbours(samples, train)
    floor = np.sort(nearest_neighbours(held_out, train)[0])
    below = np.searchsorted(floor, distance, "left"), np.searchsorted(floor, distance, "right")
    return Memorisation(
        distance=float(distance.mean()),
        held_out_distance=float(floor.mean()),
        closer=float(1 - np.mean(below) / len(floor)),  # a tie counts half
    )


def _squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """|x_i − y_j|², a block of rows at a time, as a matrix product."""
    centre = y.mean(axis=0)  # |x|² − 2⟨x, y⟩ + |y|² cancels least about the centre
    x, y = x - centre, y - centre
    norms = np.sum(y**2, axis=1)
    size = max(1, _BLOCK // len(y))
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        block = x[rows]
        yield rows, np.sum(block**2, axis=1)[:, None] - 2 * block @ y.T + norms


def _neighbour_radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each point to its k-th neighbour, itself not counted, `[n]`."""
    radii = np.empty(len(x))
    for rows, squared in _squared_distances(x, x):
        squared[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = np.inf
        radii[rows] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii
