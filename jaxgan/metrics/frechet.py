"""Distances between features: Fréchet's, of fitted Gaussians, a kernel's, and a sliced one.

References:
  Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. https://arxiv.org/abs/1706.08500
  Bińkowski et al., Demystifying MMD GANs, 2018. https://arxiv.org/abs/1801.01401
  Berthet et al., MIND: Monge Inception Distance for Generative Models Evaluation, 2026.
    https://arxiv.org/abs/2605.06797
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxgan.distances import sliced_wasserstein
from jaxgan.distances.distributions import flat_samples, host_samples


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """|μ_x − μ_y|² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½): W₂² between Gaussians fitted to features.

    On the features of Inception-v3 this is FID; on others call it something else. Few samples bias
    it upwards: compare values at one n and m only.

    Args:
      x: features, `[n, d]`, more than d.
      y: features, `[m, d]`, more than d.

    Raises:
      ValueError: if n or m is at most d, so that a covariance cannot have full rank and the
        distance would be an artefact of the sample size; if features are not finite or their
        dimensions differ.

    References:
      Heusel 2017, eq. 6; Dowson & Landau 1982.
    """
    x, y = host_samples(x=x, y=y)
    for name, a in (("x", x), ("y", y)):
        _check_rank(name, *a.shape)
    shift = x.mean(axis=0) - y.mean(axis=0)
    # With X = QR of the centred data Σ_x = RᵀR/(n − 1), and the trace of the square root is the
    # nuclear norm of R_x R_yᵀ: no square root is taken of a rounding error.
    root_x, root_y = (np.linalg.qr(a - a.mean(axis=0), "r") / np.sqrt(len(a) - 1) for a in (x, y))
    cross = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    return float(shift @ shift + np.sum(root_x**2) + np.sum(root_y**2) - 2 * cross)


class Moments(NamedTuple):
    """What the Fréchet distance asks of features, gathered batch by batch in float64.

    Attributes:
      n: how many features there are.
      mean: `[d]`.
      scatter: Σ (x − mean)(x − mean)ᵀ, `[d, d]`; over n − 1 the covariance.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray


def moments(batches: Iterable[ArrayLike]) -> Moments:
    """The moments of features that come in batches `[n, d]`. It holds one batch at a time.

    Raises:
      ValueError: if there are none, they are not finite, or their dimensions differ.

    References:
      Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm, 1979, eq. 2.1.
    """
    so_far = None
    for batch in batches:
        x = np.asarray(flat_samples(batch=batch)[0], np.float64)
        mean = x.mean(axis=0)
        now = Moments(len(x), mean, (x - mean).T @ (x - mean))
        so_far = now if so_far is None else _join(so_far, now)
    if so_far is None:
        raise ValueError("there are no features")
    return so_far


def _join(a: Moments, b: Moments) -> Moments:
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"batches have {len(a.mean)} features and {len(b.mean)}")
    count, shift = a.n + b.n, b.mean - a.mean
    apart = a.n * b.n / count * np.outer(shift, shift)
    return Moments(count, a.mean + shift * b.n / count, a.scatter + b.scatter + apart)


def frechet_of_moments(x: Moments, y: Moments) -> float:
    """`frechet_distance` of features of which only the moments are known.

    Raises:
      ValueError: if there are at most d features, or their dimensions differ.
    """
    if x.mean.shape != y.mean.shape:
        raise ValueError(f"x has {len(x.mean)} features, and y {len(y.mean)}")
    for name, a in (("x", x), ("y", y)):
        _check_rank(name, a.n, len(a.mean))
    cov_x, cov_y = (a.scatter / (a.n - 1) for a in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # tr (Σ_x Σ_y)^½ is that of the symmetric (Σ_x^½ Σ_y Σ_x^½)^½.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_y @ root), 0)).sum()
    shift = x.mean - y.mean
    return float(shift @ shift + np.trace(cov_x) + np.trace(cov_y) - 2 * cross)


def _check_rank(name, count, features):
    if count <= features:
        raise ValueError(
            f"{name} has {count} samples of {features} features: the Fréchet distance needs at "
            f"least {features + 1}"
        )


def monge_distance(
    x: ArrayLike, y: ArrayLike, key: jax.Array, projections: int = 1000
) -> jax.Array:
    """3d · SW₂², over random directions; on the features of Inception-v3, MIND.

    It fits no Gaussian, needs no covariance, and so fewer samples than the Fréchet distance: a few
    thousand. Between x and x + t it is 3|t|². Few samples bias it upwards too.

    Args:
      x: features, `[n, d]`.
      y: features, `[m, d]`.
      key: a typed PRNG key, for the directions.
      projections: how many directions the mean is over.

    Raises:
      ValueError: as `sliced_wasserstein`.

    References:
      Berthet 2026; the factor and the number of directions as torch-fidelity has them.
    """
    squared = sliced_wasserstein(x, y, key, projections, p=2) ** 2
    return 3 * flat_samples(x=x)[0].shape[1] * squared


class KernelDistance(NamedTuple):
    """An estimate and its standard error."""

    value: float
    standard_error: float


def kernel_distance(x: ArrayLike, y: ArrayLike, blocks: int = 10) -> KernelDistance:
    """Unbiased MMD² with the kernel (⟨x, y⟩/d + 1)³; on the features of Inception-v3, KID.

    Both samples are dealt into disjoint blocks. The mean of the blocks' estimates is unbiased
    (so it can be negative), and since they are independent their spread gives its standard error,
    as the overlapping subsets of the paper do not.

    Args:
      x: features, `[n, d]`, at least two for each block.
      y: features, `[m, d]`, likewise.
      blocks: at least 2.

    Raises:
      ValueError: if there are too few samples, they are not finite, or their dimensions differ.

    References:
      Bińkowski 2018, sec. 3 and 4; Zaremba et al., B-tests, 2013 (blocks).
    """
    x, y = host_samples(x=x, y=y)
    if blocks < 2 or min(len(x), len(y)) < 2 * blocks:
        raise ValueError(
            f"blocks must be at least 2, of two samples at least, got {blocks} blocks of "
            f"{len(x)} and {len(y)} samples"
        )

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a):
        k = kernel(a, a)
        return (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1))

    pairs = [(x[i::blocks], y[i::blocks]) for i in range(blocks)]
    estimates = [within(a) + within(b) - 2 * kernel(a, b).mean() for a, b in pairs]
    return KernelDistance(
        float(np.mean(estimates)), float(np.std(estimates, ddof=1) / np.sqrt(blocks))
    )
