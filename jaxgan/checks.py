"""What the arguments of `gan` and its data must be; anything else is refused in one line."""

import inspect
from numbers import Integral, Real
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.losses.base import Metrics, StatefulLoss, as_stateful, check_count
from jaxgan.networks.network import Network, kind_of


def check_loss(loss: Any, num_classes: int | None = None) -> bool:
    """Whether it is one whose critic must score each example by itself.

    Raises:
      ValueError: unless it is a `Loss`, a function of the step that returns one, or a
        `StatefulLoss` whose update keeps shapes and types; or if there are classes and it scores
        examples that have none.
    """
    if isinstance(loss, StatefulLoss):
        for name in StatefulLoss._fields:
            if not callable(getattr(loss, name)):
                got = kind_of(getattr(loss, name))
                raise ValueError(f"the loss's {name} must be a function; got {got}.")
    elif not hasattr(loss, "critic") and not _is_function_of_step(loss):
        raise ValueError(_no_loss(loss))
    found: list[Any] = []

    def look(step):
        grown = as_stateful(loss)
        state = grown.init()
        found.append(grown.at(state, step))
        return state

    try:
        jax.eval_shape(look, jax.ShapeDtypeStruct((), jnp.int32))
    except jax.errors.TracerBoolConversionError as error:
        raise ValueError(
            "a loss that is a function of the step gets a traced step: choose numbers by "
            "jnp.where(step < 100, a, b), not by if."
        ) from error
    if not hasattr(found[0], "critic"):
        raise ValueError(_no_loss(found[0]))
    for name in ("critic", "generator", "project"):
        function = getattr(found[0], name, None)
        if not callable(function):
            hint = " (lambda params: params changes nothing)" if name == "project" else ""
            raise ValueError(f"the loss's {name} must be a function{hint}; got {function!r}.")
    if num_classes is not None and getattr(found[0], "scores_others", False):
        raise ValueError(
            f"with num_classes={num_classes} every score needs a label, and the loss also scores "
            "other images than the batch's, as losses.adaptive does with held_out. Leave held_out "
            "out: it then goes by the signs of scores, which bce, minimax, hinge and dragan allow."
        )
    return bool(getattr(found[0], "per_example", False))


def _no_loss(loss) -> str:
    name = None if isinstance(loss, str) else getattr(loss, "__name__", None)
    hint = f"call it, {name}()" if name else "call one of its functions, as in losses.wgan_gp()"
    return (
        f"loss must be a Loss, as the functions of jaxgan.losses return; got {kind_of(loss)}: "
        f"{hint}."
    )


def _is_function_of_step(loss) -> bool:
    """Whether it is called with one argument that it cannot do without: `losses.wgan` can."""
    if not callable(loss) or isinstance(loss, type):
        return False
    needed = [p for p in inspect.signature(loss).parameters.values() if p.default is p.empty]
    return len(needed) == 1


def check_loss_state(before: Any, after: Any) -> None:
    """Raises ValueError unless a loss's update keeps the shapes and types of its state."""
    was, now = (
        jax.tree.map(lambda x: f"{jnp.result_type(x)}{jnp.shape(x)}", each)
        for each in (before, after)
    )
    if was != now:
        raise ValueError(
            "the loss's update must keep the shapes and types of its state; "
            f"it was given {was} and returned {now}."
        )


def check_optimizer(name: str, tx: Any) -> None:
    """Raises ValueError unless it is an optax optimizer."""
    if not isinstance(tx, optax.GradientTransformation):
        called = getattr(tx, "__name__", None)
        hint = f"call it, optax.{called}(1e-4)" if called else "for example optax.adam(1e-4)"
        raise ValueError(f"{name} must be an optax optimizer; got {kind_of(tx)}: {hint}.")


def check_settings(n_critic: int, ema_decay: float) -> None:
    """Raises ValueError unless both are numbers in their range."""
    if not (isinstance(n_critic, Integral) and n_critic >= 1) or isinstance(n_critic, bool):
        raise ValueError(f"n_critic must be a whole number from 1 up; got {n_critic}.")
    if not (isinstance(ema_decay, Real) and 0 <= ema_decay < 1) or isinstance(ema_decay, bool):
        raise ValueError(f"ema_decay must be in [0, 1), where 0 turns it off; got {ema_decay}.")


def check_value(player: str, result: Any) -> tuple[chex.Array, Metrics]:
    """What a loss returned, a scalar and a dict of scalars; raises ValueError for anything else."""
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(
            f"the loss's {player} must return (loss, metrics), metrics a dict of scalars to watch, "
            f"which may be empty; it returned {kind_of(result)}."
        )
    value, metrics = result
    if taken := metrics.keys() & {"step", "seconds", "skipped"}:
        raise ValueError(
            f"the loss's {player} reports {', '.join(sorted(taken))}, a name that the log itself "
            "uses. Give it another."
        )
    for name, number in {f"{player} loss": value, **metrics}.items():
        shape = jnp.shape(number)
        if shape != ():
            raise ValueError(
                f"the loss's {player} must return scalars; {name!r} has shape {shape}: take its "
                "mean over the batch."
            )
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise ValueError(
            f"the loss's {player} must return a floating-point loss; got {jnp.result_type(value)}."
        )
    return value, {name: jnp.asarray(number, float) for name, number in metrics.items()}


def check_names(both: set[str]) -> None:
    """Raises ValueError if there are metrics that both of the loss's functions report."""
    if both:
        raise ValueError(
            f"the loss's critic and generator both report {', '.join(sorted(both))}, so that one "
            "would hide the other. Give them different names, such as d_loss and g_loss."
        )


def check_array(name: str, x: Any) -> None:
    """Raises ValueError unless it is an array of numpy or jax."""
    if not isinstance(x, jax.Array | np.ndarray):
        raise ValueError(
            f"{name} must be an array of numpy or jax, such as numpy.asarray makes; got "
            f"{kind_of(x)}."
        )


def check_range(name: str, x: chex.Array, generator: Network) -> None:
    """Raises ValueError if x leaves the range that the generator says its samples have."""
    limits = generator.sample_range
    if limits is None or not x.size:
        return
    low, high = float(jnp.nanmin(x)), float(jnp.nanmax(x))
    if low < limits[0] - 1e-3 or high > limits[1] + 1e-3:
        raise ValueError(
            f"{name} must lie in [{limits[0]:g}, {limits[1]:g}], the range of what "
            f"{generator.name} makes; got values from {low:g} to {high:g}. Give uint8 "
            "pixels to jaxgan.data.to_float, which maps 0 to -1 and 255 to 1."
        )


def check_real(real: Any, data_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless it is a batch of floating-point samples of that shape."""
    shape: tuple = getattr(real, "shape", ())
    if len(shape) < 1 or shape[1:] != data_shape or shape[0] < 1:
        raise ValueError(
            f"real must be a batch of what the generator makes, shape "
            f"[B, {', '.join(map(str, data_shape))}]; got {shape}."
        )
    if not jnp.issubdtype(real.dtype, jnp.floating):
        raise ValueError(
            f"real must be floating point, images in [-1, 1]; got {real.dtype}. "
            "jaxgan.data.to_float converts."
        )


def check_num_classes(num_classes: Any, *made: Network) -> None:
    """Raises ValueError unless it is a number of classes, that of the networks, or None."""
    if num_classes is not None:
        check_count("num_classes", num_classes)
    for network in made:
        if num_classes is not None and network.num_classes not in (None, num_classes):
            raise ValueError(
                f"{network.name} has num_classes={network.num_classes}, and gan {num_classes}: "
                "give both the same."
            )


def check_labels(labels: Any, num_classes: int | None) -> None:
    """Raises ValueError unless there are labels just where there are classes, and name those.

    Of traced labels the values are not known: a label out of range has an embedding of NaN.
    """
    if num_classes is None and labels is None:
        return
    if labels is None:
        raise ValueError(
            f"a model of num_classes={num_classes} trains on labels too, integers of shape [B]; "
            "got none."
        )
    if num_classes is None:
        raise ValueError("labels are for models with classes: gan(..., num_classes=10).")
    check_array("labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, as labels.astype(int) is; got {labels.dtype}.")
    if isinstance(labels, jax.core.Tracer) or not labels.size:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, of num_classes={num_classes}; got {low} "
            f"to {high}."
        )


def check_rows(x: chex.Array, labels: chex.Array) -> None:
    """Raises ValueError unless there is a label for each example that a network is given."""
    if labels.shape != x.shape[:1]:
        raise ValueError(
            f"a batch of {x.shape[0]} has labels of shape {labels.shape}. Give one for each "
            "example; a loss must score real and fake apart, each with the batch's labels."
        )


def check_reals(reals: Any, labels: Any, n_critic: int) -> None:
    """Raises ValueError unless there is a batch for each of the critic's updates."""
    if labels is not None and jnp.shape(labels) != jnp.shape(reals)[:2]:
        raise ValueError(
            f"labels must be one for each example of reals, shape {jnp.shape(reals)[:2]}; got "
            f"{jnp.shape(labels)}."
        )
    if jnp.ndim(reals) < 1 or len(reals) != n_critic:
        raise ValueError(
            f"reals must hold a fresh batch for each of the n_critic = {n_critic} critic "
            f"updates, shape [{n_critic}, B, ...]; got {jnp.shape(reals)}."
        )


def check_axis(
    axis_name: Any,
    mixing: tuple[str, ...],
    loss: StatefulLoss,
    player: str,
    data_shape: tuple[int, ...],
) -> None:
    """Raises ValueError if several devices would mix what one device mixes of the whole batch."""
    devices = jax.lax.psum(1, axis_name)
    if devices > 1 and _is_no_mean(loss, player, data_shape):
        raise ValueError(
            "the loss is no mean over the batch, as one that compares an example with the mean of "
            f"others is not, and {devices} devices would take the mean of theirs alone. Train on "
            "one device (jit)."
        )
    if mixing and devices > 1:
        raise ValueError(
            f"{mixing[0]} mixes the examples of a batch when it trains, as BatchNorm does, and on "
            f"{devices} devices it would mix those of each device alone. Give its __call__ a "
            "keyword axis_name=None, and pass that on, as in nn.BatchNorm(axis_name=axis_name)."
        )


def _is_no_mean(grown, player, data_shape) -> bool:
    """Whether a player's loss of a batch is another than the mean of the losses of its halves.

    Of a critic that any smooth function stands in for: the loss sees nothing else of it. Its scores
    are positive, as those of an autoencoder are.
    """
    random = np.random.default_rng(0)
    real, fake, weights = random.normal(size=(3, 4, *data_shape)).astype(np.float32)

    def critic_fn(x):
        return 2 + 2 * jnp.tanh(
            jnp.mean(x * weights[0], axis=tuple(range(1, x.ndim))) * x[0].size ** 0.5
        )

    @jax.jit
    def evaluate(*batch):
        loss = grown.at(grown.init(), jnp.zeros((), jnp.int32))
        return getattr(loss, player)(critic_fn, *batch)[0]

    with jax.ensure_compile_time_eval(), jax.debug_nans(False):
        batch = real, fake, jax.random.split(jax.random.key(0), 4)
        whole, first, last = (
            np.asarray(evaluate(*(x[rows] for x in batch)))
            for rows in (slice(0, 4), slice(0, 2), slice(2, 4))
        )
    return not np.allclose(whole, (first + last) / 2, rtol=1e-4, atol=1e-5)
