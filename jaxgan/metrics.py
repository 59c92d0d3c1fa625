"""Scores of generated samples: how good, how varied, how near the data, how far from copies.

Every function takes samples `[n, ...]`, or features of them, and flattens all but the first axis.
Mode scores and sliced distances are JAX functions, which work under `jit` and over a `vmap` of
seeds; the others run on the host in float64 (exact transport on float32 points). Distances between
finite samples of one distribution are not 0: quote each beside its value between the training data
and the held-out data.

Scores by nearest neighbours are in `neighbours`; all names are here.

References:
  Srivastava et al., VEEGAN, 2017. https://arxiv.org/abs/1705.07761
  Lin et al., PacGAN, 2018. https://arxiv.org/abs/1712.04086
  Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. https://arxiv.org/abs/1706.08500
  Bińkowski et al., Demystifying MMD GANs, 2018. https://arxiv.org/abs/1801.01401
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgan import divergences
from jaxgan.distributions import flat_samples, host_samples, is_traced
from jaxgan.neighbours import (
    Manifold,
    Memorisation,
    memorisation,
    nearest_neighbours,
    precision_recall_density_coverage,
)

__all__ = [
    "KernelDistance",
    "Manifold",
    "Memorisation",
    "ModeScore",
    "earth_movers_distance",
    "frechet_distance",
    "kernel_distance",
    "memorisation",
    "mode_score",
    "nearest_neighbours",
    "precision_recall_density_coverage",
    "reverse_kl",
    "sliced_wasserstein",
]


class ModeScore(NamedTuple):
    """How samples spread over the modes of a mixture.

    Attributes:
      covered: how many modes have a high-quality sample, a scalar.
      high_quality: the fraction of samples that are near a mode, a scalar.
      reverse_kl: `reverse_kl` of the histogram, a scalar.
      histogram: samples by nearest mode, high-quality or not, `[k]`.
      near: those of high quality only, `[k]`, of which PacGAN takes the reverse KL on its mixtures.
    """

    covered: jax.Array
    high_quality: jax.Array
    reverse_kl: jax.Array
    histogram: jax.Array
    near: jax.Array


def mode_score(
    samples: ArrayLike, modes: ArrayLike, sigma: ArrayLike, radius: float = 3.0
) -> ModeScore:
    """Modes covered, high-quality fraction and mode balance, as VEEGAN and PacGAN count them.

    A sample is of high quality within `radius` standard deviations of its nearest mode, a mode is
    covered if some sample is that near. The papers score 2,500 samples. Of the data itself a
    fraction 1 − exp(−radius²/2) is of high quality in the plane: 98.9% at 3.

    Args:
      samples: `[n, d]`. Traced ones that are not finite count towards n only.
      modes: the centres, `[k, d]`.
      sigma: the standard deviation of each mode, a scalar.
      radius: in standard deviations.

    Raises:
      ValueError: if samples or modes are empty or not finite, their dimensions differ, or sigma is
        not positive.

    References:
      VEEGAN, sec. 4.1; PacGAN, sec. 4.1. PacGAN's published code leaves samples of low quality
      out of the histogram, as `near` does; in `histogram` they count, as in its stacked MNIST, so
      that it is never empty.
    """
    samples, modes = (
        jnp.asarray(a, jnp.result_type(a, jnp.float32))
        for a in flat_samples(samples=samples, modes=modes)
    )
    if not is_traced(sigma) and not np.all(np.asarray(sigma) > 0):
        raise ValueError(f"sigma must be positive, got {sigma}")
    squared = jnp.sum((samples[:, None] - modes) ** 2, axis=-1)  # [n, k]
    nearest = jax.nn.one_hot(jnp.argmin(squared, axis=1), len(modes))
    nearest = nearest * jnp.isfinite(squared)
    near = nearest * (squared <= (radius * sigma) ** 2)
    histogram = jnp.sum(nearest, axis=0)
    return ModeScore(
        covered=jnp.sum(jnp.any(near > 0, axis=0)),
        high_quality=jnp.sum(near) / len(samples),
        reverse_kl=reverse_kl(histogram),
        histogram=histogram,
        near=jnp.sum(near, axis=0),
    )


def reverse_kl(counts: ArrayLike, reference: ArrayLike | None = None) -> jax.Array:
    """KL(counts‖reference) over modes or classes, the generator's histogram first: finite though
    modes are missing, where KL(reference‖counts) is not.

    It is log(k/j) for samples that spread evenly over j of k modes. Even a perfect generator
    scores about (k − 1)/(2n) from n samples: 0.005 on 25 modes from 2,500.

    Args:
      counts: samples by mode, `[..., k]`.
      reference: the data's counts, `[..., k]`; uniform if absent.

    Returns:
      `[...]`, in nats; NaN where there are no samples.

    Raises:
      ValueError: if counts are negative or NaN, or reference is of another length.

    References:
      PacGAN, sec. 4.1 and table 1.
    """
    counts = jnp.asarray(counts, float)
    reference = jnp.ones(counts.shape[-1:]) if reference is None else jnp.asarray(reference, float)
    if counts.shape[-1:] != reference.shape[-1:]:
        raise ValueError(f"reference must be {counts.shape[-1:]}, got shape {reference.shape}")
    for name, array in (("counts", counts), ("reference", reference)):
        if not is_traced(array) and not (array >= 0).all():
            raise ValueError(f"{name} must be at least 0, got {array.tolist()}")
    p, q = (a / jnp.sum(a, axis=-1, keepdims=True) for a in (counts, reference))
    empty = jnp.isnan(p).any(axis=-1)
    value = divergences.kl(jnp.where(empty[..., None], 1 / p.shape[-1], p), q)
    return jnp.where(empty, jnp.nan, value)


def earth_movers_distance(x: ArrayLike, y: ArrayLike) -> jax.Array:
    """`divergences.earth_movers_distance` between samples of any shape, `[n, ...]`, `[m, ...]`."""
    return divergences.earth_movers_distance(*flat_samples(x=x, y=y))


def sliced_wasserstein(
    x: ArrayLike, y: ArrayLike, key: jax.Array, projections: int = 512, p: float = 1
) -> jax.Array:
    """SW_p = (E_θ W_p^p(⟨θ, x⟩, ⟨θ, y⟩))^(1/p) over directions θ uniform on the sphere.

    At most W_p, and cheap: sorting instead of transport. Between x and x + t in d dimensions
    SW₂ = |t|/√d.

    Args:
      x: samples, `[n, ...]`.
      y: samples, `[m, ...]`.
      key: a typed PRNG key, for the directions.
      projections: how many directions the mean is over; its relative error is about their root.
      p: at least 1.

    Returns:
      A scalar.

    Raises:
      ValueError: if samples are empty or not finite, their dimensions differ, p < 1, or there are
        no projections.

    References:
      Rabin et al., Wasserstein Barycenter and Its Application to Texture Mixing, 2011; Bonneel
      et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015.
    """
    if projections < 1:
        raise ValueError(f"projections must be at least 1, got {projections}")
    x, y = (jnp.asarray(a, float) for a in flat_samples(x=x, y=y))
    directions = jax.random.normal(key, (x.shape[1], projections))
    directions /= jnp.linalg.norm(directions, axis=0)
    # In full precision, which a GPU's default is not: TF32 keeps three digits.
    x, y = (jnp.matmul(a, directions, precision="highest").T for a in (x, y))
    distances = divergences.wasserstein_1d(x, y, p)
    return jnp.mean(distances**p) ** (1 / p)


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
        if len(a) <= a.shape[1]:
            raise ValueError(
                f"{name} has {len(a)} samples of {a.shape[1]} features: "
                f"the Fréchet distance needs at least {a.shape[1] + 1}"
            )
    shift = x.mean(axis=0) - y.mean(axis=0)
    # With X = QR of the centred data Σ_x = RᵀR/(n − 1), and the trace of the square root is the
    # nuclear norm of R_x R_yᵀ: no square root is taken of a rounding error.
    root_x, root_y = (np.linalg.qr(a - a.mean(axis=0), "r") / np.sqrt(len(a) - 1) for a in (x, y))
    cross = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    return float(shift @ shift + np.sum(root_x**2) + np.sum(root_y**2) - 2 * cross)


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
