"""What the arguments of `gan` and its data must be; anything else is refused in one line."""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.losses.base import Metrics, StatefulLoss, as_stateful
from jaxgan.networks import players

CONSTANTS = "constants"
_OTHER_LAYERS = (
    flax.errors.ScopeParamNotFoundError,
    flax.errors.ScopeParamShapeError,
    flax.errors.ScopeCollectionNotFound,
    flax.errors.ScopeVariableNotFoundError,
)


def check_networks(
    generator: nn.Module, critic: nn.Module, per_example: bool
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Traces both networks on a batch of two, and tries them on one of four.

    Equal networks are tried once: a sweep over settings makes the same ones again and again.

    Returns:
      The shape of one sample, and the names of the networks that cannot train on several devices:
      those that mix the examples of a batch and take no `axis_name`.

    Raises:
      ValueError: if they are no generator and critic, they would train otherwise than they say,
        or the critic is none for this loss.
    """
    for role, module in (("generator", generator), ("critic", critic)):
        _check_module(role, module)
    try:
        hash((generator, critic))
    except TypeError:  # a module may have an array for a field
        return _check_pair.__wrapped__(generator, critic, per_example)
    return _check_pair(generator, critic, per_example)


@functools.lru_cache(maxsize=32)
def _check_pair(generator, critic, per_example):
    latent_dim: Any = getattr(generator, "latent_dim", None)
    whole = isinstance(latent_dim, Integral) and not isinstance(latent_dim, bool)
    if not whole or int(latent_dim) < 1:
        raise ValueError(
            "the generator must say the size of its latent vector, a whole number from 1 up, in an "
            f"attribute latent_dim; {type(generator).__name__} has "
            f"{'none' if latent_dim is None else repr(latent_dim)}."
        )
    latents = jax.ShapeDtypeStruct((2, latent_dim), jnp.float32)
    fake, g_variables = _trace(generator, latents)
    if fake.shape[:1] != (2,) or not jnp.issubdtype(fake.dtype, jnp.floating):
        raise ValueError(
            f"the generator must make one floating-point sample for each latent; of 2 latents it "
            f"made {fake.dtype}{fake.shape}."
        )
    if players.mixes_examples(generator, g_variables, latents, train=False):
        raise ValueError(
            f"{type(generator).__name__} normalises by the batch when it samples, so that samples "
            "depend on each other. Give its __call__ a keyword `train`, and its BatchNorm "
            "use_running_average=not train."
        )
    scores, c_variables = _trace(critic, fake)
    if scores.shape != (2,):
        raise ValueError(
            f"the critic must return one score per example, shape [B]; for a batch of 2 it "
            f"returned shape {scores.shape}. Squeeze its last axis, or sum over it."
        )
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(f"the critic's scores must be floating point; got {scores.dtype}.")
    critic_mixes = (per_example or not players.takes_axis_name(critic)) and players.mixes_examples(
        critic, c_variables, fake
    )
    if critic_mixes and per_example:
        raise ValueError(
            "a critic with a gradient penalty must not use BatchNorm or anything else that makes a "
            "score depend on the whole batch, so that the penalty is no longer per example "
            f"(Gulrajani 2017, sec. 4); {type(critic).__name__} does. Drop it, or use LayerNorm."
        )
    generator_mixes = (
        players.is_told_of_training(generator)
        and not players.takes_axis_name(generator)
        and players.mixes_examples(generator, g_variables, latents)
    )
    mixing = ((generator, generator_mixes), (critic, critic_mixes))
    return fake.shape[1:], tuple(type(module).__name__ for module, mixes in mixing if mixes)


def check_loss(loss: Any) -> bool:
    """Whether it is one whose critic must score each example by itself.

    Raises:
      ValueError: unless it is a `Loss`, a function of the step that returns one, or a
        `StatefulLoss` whose update keeps shapes and types.
    """
    if isinstance(loss, StatefulLoss):
        for name in StatefulLoss._fields:
            if not callable(getattr(loss, name)):
                got = _kind(getattr(loss, name))
                raise ValueError(f"the loss's {name} must be a function; got {got}.")
    elif not hasattr(loss, "critic") and not _is_function_of_step(loss):
        raise ValueError(_no_loss(loss))
    found: list[Any] = []

    def look(step):
        grown = as_stateful(loss)
        state = grown.init()
        found.append(grown.at(state, step))
        return state

    jax.eval_shape(look, jax.ShapeDtypeStruct((), jnp.int32))
    if not hasattr(found[0], "critic"):
        raise ValueError(_no_loss(found[0]))
    for name in ("critic", "generator", "project"):
        function = getattr(found[0], name, None)
        if not callable(function):
            hint = " (lambda params: params changes nothing)" if name == "project" else ""
            raise ValueError(f"the loss's {name} must be a function{hint}; got {function!r}.")
    return bool(getattr(found[0], "per_example", False))


def _no_loss(loss) -> str:
    name = None if isinstance(loss, str) else getattr(loss, "__name__", None)
    hint = f"call it, {name}()" if name else "call one of its functions, as in losses.wgan_gp()"
    return (
        f"loss must be a Loss, as the functions of jaxgan.losses return; got {_kind(loss)}: {hint}."
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
        raise ValueError(f"{name} must be an optax optimizer; got {_kind(tx)}: {hint}.")


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
            f"which may be empty; it returned {_kind(result)}."
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
            f"{name} must be an array of numpy or jax, such as numpy.asarray makes; got {_kind(x)}."
        )


def check_range(name: str, x: chex.Array, generator: nn.Module) -> None:
    """Raises ValueError if x leaves the range that the generator says its samples have."""
    limits = getattr(generator, "sample_range", None)
    if limits is None or not x.size:
        return
    low, high = float(jnp.nanmin(x)), float(jnp.nanmax(x))
    if low < limits[0] - 1e-3 or high > limits[1] + 1e-3:
        raise ValueError(
            f"{name} must lie in [{limits[0]:g}, {limits[1]:g}], the range of what "
            f"{type(generator).__name__} makes; got values from {low:g} to {high:g}. Give uint8 "
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


def check_reals(reals: Any, n_critic: int) -> None:
    """Raises ValueError unless there is a batch for each of the critic's updates."""
    if jnp.ndim(reals) < 1 or len(reals) != n_critic:
        raise ValueError(
            f"reals must hold a fresh batch for each of the n_critic = {n_critic} critic "
            f"updates, shape [{n_critic}, B, ...]; got {jnp.shape(reals)}."
        )


def check_axis(
    axis_name: Any, mixing: tuple[str, ...], loss: Loss, data_shape: tuple[int, ...]
) -> None:
    """Raises ValueError if several devices would mix what one device mixes of the whole batch."""
    devices = jax.lax.psum(1, axis_name)
    if devices > 1 and _is_no_mean(loss, data_shape):
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


def _is_no_mean(loss, data_shape) -> bool:
    """Whether the loss of a batch is another than the mean of the losses of its halves.

    Of a critic that any smooth function stands in for: the loss sees nothing else of it.
    """
    random = np.random.default_rng(0)
    real, fake, weights = random.normal(size=(3, 4, *data_shape)).astype(np.float32)

    def critic_fn(x):
        return 2 * jnp.tanh(
            jnp.mean(x * weights[0], axis=tuple(range(1, x.ndim))) * x[0].size ** 0.5
        )

    @jax.jit
    def both(*batch):
        return jnp.stack([loss.critic(critic_fn, *batch)[0], loss.generator(critic_fn, *batch)[0]])

    with jax.ensure_compile_time_eval(), jax.debug_nans(False):
        batch = real, fake, jax.random.split(jax.random.key(0), 4)
        whole, first, last = (
            np.asarray(both(*(x[rows] for x in batch)))
            for rows in (slice(0, 4), slice(0, 2), slice(2, 4))
        )
    return not np.allclose(whole, (first + last) / 2, rtol=1e-4, atol=1e-5)


def _check_module(role, module):
    if isinstance(module, nn.Module):
        needed = [
            p.name
            for p in players.unknown_parameters(module)
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if needed:
            raise ValueError(
                f"{type(module).__name__}.__call__ needs {', '.join(needed)}, which training does "
                f"not give. Give it a default, or make it a field of the module. Training gives "
                f"the input, axis_name, and {', '.join(players.TRAINING_KEYWORDS)}."
            )
        return
    if isinstance(module, type) and issubclass(module, nn.Module):
        hint = f"make one: {module.__name__}(...)"
    elif any(base.__module__.startswith("flax.nnx") for base in type(module).__mro__):
        hint = "write it with flax.linen; modules of flax.nnx keep their weights in themselves"
    else:
        hint = "networks.mlp and networks.dcgan make a pair"
    raise ValueError(f"the {role} must be a flax.linen module; got {_kind(module)}: {hint}.")


def _trace(module, x):
    """The output's shape and the variables' shapes, of a network that trains as it says."""
    with _explains_errors(module):
        variables = jax.eval_shape(
            lambda x: players.init_variables(module, jax.random.key(0), x), x
        )
        output, stats = jax.eval_shape(
            lambda both, x: players.apply(module, both[0], both[1], x), variables, x
        )
    params, before = variables
    if not params:
        raise ValueError(f"{type(module).__name__} has no parameters: there is nothing to train.")
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), each) for each in (before, stats)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{type(module).__name__} changes the shapes of its variables in {', '.join(before)} "
            "when it trains. A state must keep its shapes: sow what you want to look at into "
            "'intermediates'."
        )
    stuck = _names(before) - players.changed_variables(module, variables, x, train=True)
    if stuck:
        unknown = [p.name for p in players.unknown_parameters(module)]
        raise ValueError(
            f"training does not move {type(module).__name__}'s {', '.join(sorted(stuck)[:3])}"
            f"{', ...' if len(stuck) > 3 else ''}: its __call__ must be told that it trains by one "
            f"of {', '.join(players.TRAINING_KEYWORDS)}"
            + (f"; it takes {', '.join(unknown)}" if unknown else "")
            + f". What is never to change belongs in a collection named {CONSTANTS!r}."
        )
    return output, variables


@contextlib.contextmanager
def _explains_errors(module) -> Iterator[None]:
    """Says in a line what flax and jax say at length; refuses Dropout that is off unasked, too."""
    name = type(module).__name__
    random = (
        f"{name} draws random numbers, as Dropout does, and the steps give a network none. Leave "
        "that layer out."
    )
    rates: list[Any] = []

    def look(method, arguments, keywords, context):
        rate = "rate" if isinstance(context.module, nn.Dropout) else "dropout_rate"
        rates.append(getattr(context.module, rate, 0))
        return method(*arguments, **keywords)

    try:
        with nn.intercept_methods(look):
            yield
    except flax.errors.InvalidRngError as error:
        raise ValueError(random) from error
    except jax.errors.TracerBoolConversionError as error:
        raise ValueError(
            f"{name} branches on a traced value; inside nn.remat and nn.jit its keyword `train` is "
            "one. Lift blocks that have it as a field instead, as in nn.remat(Block)(train)(x)."
        ) from error
    except _OTHER_LAYERS as error:
        raise ValueError(
            f"{name} must have the same layers whether it trains or not; flax says: "
            f"{str(error).partition(' (http')[0]} Call each layer in both cases."
        ) from error
    # An unknown keyword may be what would turn it on.
    if players.unknown_parameters(module) and any(
        isinstance(r, Real) and float(r) > 0 for r in rates
    ):
        raise ValueError(random)


def _names(stats) -> set[str]:
    return {name for name, _ in players.named_leaves(stats) if name.split("/")[0] != CONSTANTS}


def _kind(x) -> str:
    """What an argument is, in a few words."""
    if callable(x) and hasattr(x, "__name__"):
        return f"the {'class' if isinstance(x, type) else 'function'} {x.__name__}"
    if x is None or isinstance(x, str | int | float):
        return repr(x)[:60]
    package = type(x).__module__.partition(".")[0]
    return f"a {package} {type(x).__name__}".replace("builtins ", "")
