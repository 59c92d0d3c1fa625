"""What counts as a distribution, or samples of one; errors that name what is wrong.

Values are checked wherever there are values to check: under `jit`, `vmap` and `grad` only shapes
are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

_TOLERANCE = 1e-4  # on a sum of probabilities: float32 rounding, and a grid's cut-off tails


def as_float(a: ArrayLike) -> jax.Array:
    """An array of floats: integers and half precision become float32, other floats stay."""
    a = jnp.asarray(a)
    dtype = jnp.result_type(float, a)
    return a.astype(dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)


def is_traced(a: ArrayLike) -> bool:
    """Whether a has no values yet, under `jit`, `vmap` or `grad`."""
    return isinstance(a, jax.core.Tracer)


def check_broadcast(**arrays: jax.Array) -> None:
    """Refuses arrays whose last axes differ or whose other axes do not broadcast."""
    shapes = [a.shape for a in arrays.values()]
    last = {shape[-1:] for shape in shapes}
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        last = set()
    if len(last) != 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in zip(arrays, shapes, strict=True))
        raise ValueError(f"shapes do not match: {listed}")


def check_values(
    rule: str, allowed: Callable[[np.ndarray], np.ndarray], **arrays: ArrayLike
) -> None:
    """Refuses arrays with values that are not allowed, where there are values to see."""
    for name, array in arrays.items():
        if not is_traced(array) and not (good := allowed(np.asarray(array))).all():
            index = tuple(np.argwhere(~good)[0].tolist())
            raise ValueError(f"{name} must {rule}, got {np.asarray(array)[index]} at {index}")


def check_probabilities(dx: ArrayLike, **arrays: ArrayLike) -> list[jax.Array]:
    """Refuses what is no distribution over the last axis; returns floats.

    Sums may miss 1 by 1e-4, those of a coarser type by two of its roundings: each probability has
    one, and so has the sum by which all were divided. In float16 that is 0.002, in bfloat16 0.016.
    """
    coarse = [max(_TOLERANCE, 2 * _epsilon(array), 2 * _epsilon(dx)) for array in arrays.values()]
    floats, dx = {name: as_float(array) for name, array in arrays.items()}, as_float(dx)
    for name, p in floats.items():
        if p.ndim == 0 or p.size == 0:
            raise ValueError(f"{name} must be probabilities [..., k], got shape {p.shape}")
        if dx.shape not in ((), p.shape[-1:]):
            raise ValueError(f"dx must be a scalar or {p.shape[-1:]}, got shape {dx.shape}")
    check_broadcast(**floats)
    check_values("be positive", lambda v: v > 0, dx=dx)
    check_values("be non-negative", lambda v: v >= 0, **floats)
    for (name, p), tolerance in zip(floats.items(), coarse, strict=True):
        if not is_traced(p) and not is_traced(dx):
            total = np.sum(np.asarray(p, np.float64) * np.asarray(dx), axis=-1)
            if not (good := np.abs(total - 1) <= tolerance).all():
                raise ValueError(f"{name} must sum to 1 (times dx), got {total[~good].flat[0]}")
    return list(floats.values())


def _epsilon(a: ArrayLike) -> float:
    """The distance from 1 to the next number of a's type, 0 for integers."""
    dtype = jnp.asarray(a).dtype
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0


def check_weights(n: int, **array: ArrayLike) -> jax.Array:
    """Refuses what is not n weights that sum to 1."""
    (name,), (weights,) = array, check_probabilities(1.0, **array)
    if weights.shape != (n,):
        raise ValueError(f"{name} must be ({n},), one per point, got shape {weights.shape}")
    return weights


def weights_or_even(n: int, **array: ArrayLike | None) -> jax.Array:
    """n weights that sum to 1, checked; all the same where there are none."""
    ((name, weights),) = array.items()
    return jnp.full(n, 1 / n) if weights is None else check_weights(n, **{name: weights})


def check_gaussians(mean_p, cov_p, mean_q, cov_q) -> tuple[jax.Array, ...]:
    """Checks two Gaussians; returns μ_q − μ_p, Σ_q − Σ_p, and Cholesky's factors of Σ_p and Σ_q."""
    means = {
        "mean_p": jnp.atleast_1d(as_float(mean_p)),
        "mean_q": jnp.atleast_1d(as_float(mean_q)),
    }
    covs = {"cov_p": jnp.atleast_2d(as_float(cov_p)), "cov_q": jnp.atleast_2d(as_float(cov_q))}
    d = means["mean_p"].shape[0]
    for name, array in (means | covs).items():
        wanted = (d,) if name in means else (d, d)
        if array.shape != wanted:
            raise ValueError(f"{name} must be {wanted} as mean_p, got {array.shape}")
    check_values("be finite", np.isfinite, **means)
    for name, cov in covs.items():
        # Cholesky would take the mean of cov and its transpose, and say nothing.
        if not is_traced(cov) and np.any(np.abs(cov - cov.T) > 1e-5 * np.abs(cov).max()):
            raise ValueError(f"{name} must be symmetric, got {cov.tolist()}")
    roots = {name: jnp.linalg.cholesky(cov) for name, cov in covs.items()}
    for name, root in roots.items():
        if not is_traced(root) and not np.isfinite(root).all():
            raise ValueError(f"{name} must be positive definite, got {covs[name].tolist()}")
    shift, spread = means["mean_q"] - means["mean_p"], covs["cov_q"] - covs["cov_p"]
    return shift, spread, roots["cov_p"], roots["cov_q"]


def flat_samples(**arrays: ArrayLike) -> list[jax.Array | np.ndarray]:
    """Refuses samples that are empty, not finite or of different dimensions; flattens them."""
    flat = []
    for name, array in arrays.items():
        a = array if isinstance(array, jax.Array) else np.asarray(array)
        if a.ndim < 2 or a.size == 0:
            raise ValueError(f"{name} must be samples [n, ...], got shape {a.shape}")
        if not is_traced(a) and not (good := np.isfinite(a)).all():
            raise ValueError(f"{name} must be finite, got {np.asarray(a)[~np.asarray(good)][0]}")
        flat.append(a.reshape(len(a), -1))
    if len({a.shape[1] for a in flat}) != 1:
        shapes = ", ".join(f"{name} {np.shape(array)}" for name, array in arrays.items())
        raise ValueError(f"samples must agree in dimension, got {shapes}")
    return flat


def host_samples(**arrays: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of samples, likewise, in float64 on the host."""
    x, y = (np.asarray(a, np.float64) for a in flat_samples(**arrays))
    return x, y
