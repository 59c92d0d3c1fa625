"""The contract of a loss, and the checks that all losses share.

A loss is a NamedTuple of pure functions, as an `optax.GradientTransformation` is. Each takes the
critic as a function from a batch `[B, ...]` to scores `[B]`, so it never sees parameters: closing
`critic_fn` over them is what `jax.grad` needs.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp

Metrics = dict[str, chex.Array]
CriticFn = Callable[[chex.Array], chex.Array]


class LossFn(Protocol):
    """A scalar to minimise, and scalars to watch."""

    def __call__(
        self, critic_fn: CriticFn, real: chex.Array, fake: chex.Array, key: chex.PRNGKey, /
    ) -> tuple[chex.Array, Metrics]:
        """Evaluates the loss.

        Args:
          critic_fn: maps `[B, ...]` to one score per example, `[B]`.
          real: data, `[B, ...]`.
          fake: the generator's samples, of the same shape.
          key: a typed PRNG key, or one key per example, `[B]`.

        Returns:
          The loss, a scalar, and metrics, a dict of scalars, each a mean over the batch.

        Raises:
          ValueError: if the critic's scores are not `[B]`, or a critic's loss is given real and
            fake of different shapes.
        """


def _identity(params):
    return params


class Loss(NamedTuple):
    """What the two players minimise.

    Attributes:
      critic: the critic's loss.
      generator: the generator's loss. Only relativistic losses look at `real`.
      project: critic parameters to critic parameters, applied after each critic update; by default
        it changes nothing.
      per_example: whether the critic must score each example by itself, as a gradient penalty
        needs; a critic that normalises by its batch does not.
      scores_others: whether it also scores examples that are neither real nor fake. A model with
        labels has none for them, and refuses such a loss.
      lower_is_real: whether the critic scores data below samples, as BEGAN's does, by their errors.
    """

    critic: LossFn
    generator: LossFn
    project: Callable[[chex.ArrayTree], chex.ArrayTree] = _identity
    per_example: bool = False
    scores_others: bool = False
    lower_is_real: bool = False


class StatefulLoss(NamedTuple):
    """A loss that learns: each critic update moves its state, as BEGAN moves its balance k.

    Attributes:
      init: `init() -> state`, a pytree of arrays.
      at: `at(state, step) -> Loss`, the loss in that state; the step, a traced int32 scalar, counts
        generator updates.
      update: `update(state, metrics) -> state`, from the metrics of the critic's update, means over
        all devices. It keeps shapes and types.
    """

    init: Callable[[], chex.ArrayTree]
    at: Callable[[chex.ArrayTree, chex.Array], Loss]
    update: Callable[[chex.ArrayTree, Metrics], chex.ArrayTree]


def as_stateful(loss: Any) -> StatefulLoss:
    """A `Loss`, a function from the step to one, or a `StatefulLoss`, as the last of these."""
    if isinstance(loss, StatefulLoss):
        return loss
    at = (lambda step: loss) if hasattr(loss, "critic") else loss
    return StatefulLoss(lambda: None, lambda state, step: at(step), lambda state, metrics: state)


def scores(critic_fn: CriticFn, x: chex.Array) -> chex.Array:
    """The critic's scores, refused unless [B]: [B, 1] would broadcast against [B] in silence."""
    _check_batch("what the critic scores", x)
    values = critic_fn(x)
    if values.shape != x.shape[:1]:
        raise ValueError(
            f"the critic must return one score per example, shape {x.shape[:1]}; got shape "
            f"{values.shape} for input of shape {x.shape}. Squeeze its last axis, or sum over it."
        )
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(f"the critic's scores must be floating point; got {values.dtype}.")
    return values.astype(at_least_float32(values))


def at_least_float32(x: chex.Array) -> jnp.dtype:
    """The precision to compute a loss in: the array's own, float32 where that is less."""
    return jnp.promote_types(x.dtype, jnp.float32)


def check_key(key: chex.PRNGKey, many: tuple[int, ...] = ()) -> None:
    """Raises ValueError unless key is a typed PRNG key, or an array of them of shape `many`."""
    dtype, shape = getattr(key, "dtype", type(key)), getattr(key, "shape", ())
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key) or shape not in ((), many):
        or_many = f", or one for each of the {many[0]} examples" if many else ""
        raise ValueError(
            f"key must be a typed PRNG key (jax.random.key){or_many}; got dtype {dtype}, shape "
            f"{shape}."
        )


def check_same_shape(real: chex.Array, fake: chex.Array) -> None:
    """Raises ValueError unless both are batches, of one shape."""
    _check_batch("real", real)
    _check_batch("fake", fake)
    if real.shape != fake.shape:
        raise ValueError(
            f"real and fake must have the same shape [B, ...]; got {real.shape} and {fake.shape}."
        )


def _check_batch(name, x):
    """An empty batch has no mean, and would give NaN."""
    if not hasattr(x, "shape") or len(x.shape) < 1 or x.shape[0] < 1:
        got = f"shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"{name} must be an array [B, ...] of at least one example; got {got}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating point; got {x.dtype}.")


def generator_raises_scores(
    critic_fn: CriticFn, real: chex.Array, fake: chex.Array, key: chex.PRNGKey
) -> tuple[chex.Array, Metrics]:
    """The generator's loss −E f(G(z)), which WGAN and the hinge loss share."""
    del real, key
    loss = -jnp.mean(scores(critic_fn, fake))
    return loss, {"g_loss": loss}


def check_finite(name: str, value: Any) -> None:
    """Raises ValueError unless the value is a finite number; a traced one is taken."""
    if isinstance(value, jax.core.Tracer) and value.shape == ():
        return
    number = isinstance(value, Real | jax.Array) and not isinstance(value, bool)
    if not (number and jnp.shape(value) == () and math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number; got {value}.")


def check_count(name: str, value: Any) -> None:
    """Raises ValueError unless the value is a whole number from 1 up."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1 up; got {value!r}.")


def check_positive(name: str, value: Any, or_zero: bool = False) -> None:
    """Raises ValueError unless the value is a positive finite number, or zero where that is one.

    A scalar array counts as a number. A traced one is taken: its value is not known yet.
    """
    if isinstance(value, jax.core.Tracer) and value.shape == ():
        return
    number = isinstance(value, Real | jax.Array) and not isinstance(value, bool)
    known = number and jnp.shape(value) == () and math.isfinite(value)
    if not known or value < 0 or (value == 0 and not or_zero):
        kind = "a finite number, 0 or more" if or_zero else "a positive finite number"
        raise ValueError(f"{name} must be {kind}; got {value}.")
