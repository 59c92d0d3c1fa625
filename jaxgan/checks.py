"""What the arguments of `gan` and its data must be; anything else is refused in one line."""

import contextlib
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.losses import Loss, Metrics
from jaxgan.networks.players import TRAINING_KEYWORDS, apply, init_variables, unknown_parameters

_MOST_WEIGHTS = 2**28
CONSTANTS = "constants"


def check_networks(generator: nn.Module, critic: nn.Module, loss: Loss) -> tuple[int, ...]:
    """Traces both networks on a batch of two.

    Returns:
      The shape of one sample.

    Raises:
      ValueError: if they are no generator and critic, they would train otherwise than they say,
        or the critic is none for this loss.
    """
    for role, module in (("generator", generator), ("critic", critic)):
        _check_module(role, module)
    latent_dim: Any = getattr(generator, "latent_dim", None)
    whole = isinstance(latent_dim, Integral) and not isinstance(latent_dim, bool)
    if not whole or int(latent_dim) < 1:
        raise ValueError(
            "the generator must say the size of its latent vector, a whole number from 1 up, in an "
            f"attribute latent_dim; {type(generator).__name__} has "
            f"{'none' if latent_dim is None else repr(latent_dim)}."
        )
    latents = jax.ShapeDtypeStruct((2, latent_dim), jnp.float32)
    fake, variables = _trace(generator, latents)
    if fake.shape[:1] != (2,) or not jnp.issubdtype(fake.dtype, jnp.floating):
        raise ValueError(
            f"the generator must make one floating-point sample for each latent; of 2 latents it "
            f"made {fake.dtype}{fake.shape}."
        )
    if _changed(generator, variables, latents, train=False) and mixes_examples(
        lambda both, z: apply(generator, both[0], both[1], z, train=False)[0], variables, latents
    ):
        raise ValueError(
            f"{type(generator).__name__} normalises by the batch when it samples, so that samples "
            "depend on each other. Give its __call__ a keyword `train`, and its BatchNorm "
            "use_running_average=not train."
        )
    scores, variables = _trace(critic, fake)
    if scores.shape != (2,):
        raise ValueError(
            f"the critic must return one score per example, shape [B]; for a batch of 2 it "
            f"returned shape {scores.shape}. Squeeze its last axis, or sum over it."
        )
    if loss.per_example and mixes_examples(
        lambda both, x: apply(critic, both[0], both[1], x)[0], variables, fake
    ):
        raise ValueError(
            "a critic with a gradient penalty must not use BatchNorm or anything else that makes a "
            "score depend on the whole batch, so that the penalty is no longer per example "
            f"(Gulrajani 2017, sec. 4); {type(critic).__name__} does. Drop it, or use LayerNorm."
        )
    return fake.shape[1:]


def check_loss(loss: Any) -> None:
    """Raises ValueError unless it is a `Loss`."""
    if isinstance(loss, str) or not hasattr(loss, "critic"):
        name = getattr(loss, "__name__", None)
        hint = f"call it, {name}()" if name else "call one of its functions, as in losses.wgan_gp()"
        raise ValueError(
            f"loss must be a Loss, as the functions of jaxgan.losses return; got {_kind(loss)}: "
            f"{hint}."
        )
    for name in ("critic", "generator", "project"):
        function = getattr(loss, name, None)
        if not callable(function):
            hint = " (lambda params: params changes nothing)" if name == "project" else ""
            raise ValueError(f"the loss's {name} must be a function{hint}; got {function!r}.")


def check_optimizer(name: str, tx: Any) -> None:
    """Raises ValueError unless it is an optax optimizer."""
    if not isinstance(tx, optax.GradientTransformation):
        called = getattr(tx, "__name__", None)
        hint = f"call it, optax.{called}(1e-4)" if called else "for example optax.adam(1e-4)"
        raise ValueError(f"{name} must be an optax optimizer; got {_kind(tx)}: {hint}.")


def check_value(player: str, result: Any) -> tuple[chex.Array, Metrics]:
    """What a loss returned, a scalar and a dict of scalars; raises ValueError for anything else."""
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(
            f"the loss's {player} must return (loss, metrics), metrics a dict of scalars to watch, "
            f"which may be empty; it returned {_kind(result)}."
        )
    value, metrics = result
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


def mixes_examples(
    apply: Callable[[chex.ArrayTree, chex.Array], chex.Array],
    variables: chex.ArrayTree,
    x: jax.ShapeDtypeStruct,
) -> bool:
    """Whether an example's output depends on the other examples of its batch, as BatchNorm's does.

    One example of two is NaN, which spreads to whatever it has an influence on. The weights are
    averages, not the network's own, so that all other numbers stay near one whatever its size.

    Args:
      apply: `apply(variables, x)`, from `[B, ...]` to `[B, ...]`.
      variables: the network's, or their shapes.
      x: the shape of a batch of two.

    Returns:
      Whether it does; False, unseen, of a network too large to try.
    """
    if _size(variables) > _MOST_WEIGHTS:
        return False

    @jax.jit
    def is_nan(other):
        weights = jax.tree.map(_average, variables)
        batch = jnp.full(x.shape, 0.5, x.dtype).at[1].set(other)
        return jnp.any(jnp.isnan(apply(weights, batch)[0]))

    with jax.debug_nans(False):
        return bool(is_nan(jnp.nan)) and not bool(is_nan(0.25))


def _check_module(role, module):
    if isinstance(module, nn.Module):
        needed = [p.name for p in unknown_parameters(module) if p.default is p.empty]
        if needed:
            raise ValueError(
                f"{type(module).__name__}.__call__ needs {', '.join(needed)}, which training does "
                f"not give. Give it a default, or make it a field of the module. Training gives "
                f"the input, axis_name, and {', '.join(TRAINING_KEYWORDS)}."
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
    with _refuses_randomness(module):
        variables = jax.eval_shape(lambda x: init_variables(module, jax.random.key(0), x), x)
        output, stats = jax.eval_shape(
            lambda both, x: apply(module, both[0], both[1], x), variables, x
        )
    params, before = variables
    if not params:
        raise ValueError(f"{type(module).__name__} has no parameters: there is nothing to train.")
    if jax.tree.map(_kind_of_leaf, before) != jax.tree.map(_kind_of_leaf, stats):
        raise ValueError(
            f"{type(module).__name__} changes the shapes of its variables in {', '.join(before)} "
            "when it trains. A state must keep its shapes: sow what you want to look at into "
            "'intermediates'."
        )
    stuck = _names(before) - _changed(module, variables, x, train=True)
    if stuck:
        unknown = [p.name for p in unknown_parameters(module)]
        raise ValueError(
            f"training does not move {type(module).__name__}'s {', '.join(sorted(stuck)[:3])}"
            f"{', ...' if len(stuck) > 3 else ''}: its __call__ must be told that it trains by one "
            f"of {', '.join(TRAINING_KEYWORDS)}"
            + (f"; it takes {', '.join(unknown)}" if unknown else "")
            + f". What is never to change belongs in a collection named {CONSTANTS!r}."
        )
    return output, variables


@contextlib.contextmanager
def _refuses_randomness(module) -> Iterator[None]:
    """Refuses Dropout and its like, also where an unknown keyword leaves it turned off."""
    idle = []

    def look(method, arguments, keywords, context):
        if isinstance(context.module, nn.Dropout) and context.module.rate > 0:
            idle.append(context.module.name)
        return method(*arguments, **keywords)

    random = (
        f"{type(module).__name__} draws random numbers, as Dropout does, and the steps give a "
        "network none. Leave that layer out."
    )
    try:
        with nn.intercept_methods(look):
            yield
    except flax.errors.InvalidRngError as error:
        raise ValueError(random) from error
    if idle and unknown_parameters(module):
        raise ValueError(random)


def _changed(module, variables, x, train) -> set[str]:
    """The names of the variables that a pass gives other values.

    One that the pass leaves alone is returned as the very tracer that went in. Inside a lifted
    transform, such as nn.remat, it is another tracer all the same: where both kinds of pass seem to
    change a variable, numbers decide.
    """

    def seem_changed(train):
        changed: set[str] = set()

        def run(params, stats):
            _, after = apply(module, params, stats, jnp.zeros(x.shape, x.dtype), train=train)
            pairs = zip(_named_leaves(stats), _named_leaves(after), strict=True)
            changed.update(name for (name, old), (_, new) in pairs if old is not new)

        jax.eval_shape(run, *variables)
        return changed

    changed = seem_changed(train)
    doubtful = changed and changed & seem_changed(not train)
    if not doubtful or _size(variables) > _MOST_WEIGHTS:
        return changed

    @jax.jit
    def differ(key):
        params, stats = init_variables(module, key, jnp.zeros(x.shape, x.dtype))
        batch = jax.random.normal(key, x.shape, x.dtype)
        _, after = apply(module, params, stats, batch, train=train)
        return jax.tree.map(lambda old, new: jnp.any(old != new), stats, after)

    moved = {name for name, value in _named_leaves(differ(jax.random.key(0))) if value}
    return changed - (doubtful - moved)


def _named_leaves(stats):
    leaves = jax.tree_util.tree_leaves_with_path(stats)
    return [(jax.tree_util.keystr(p, simple=True, separator="/"), leaf) for p, leaf in leaves]


def _names(stats) -> set[str]:
    return {name for name, _ in _named_leaves(stats) if name.split("/")[0] != CONSTANTS}


def _size(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def _kind_of_leaf(leaf):
    return leaf.shape, leaf.dtype


def _average(leaf):
    value = leaf.shape[-1] / leaf.size if leaf.shape else 1
    return jnp.full(leaf.shape, value, leaf.dtype)


def _kind(x) -> str:
    """What an argument is, in a few words."""
    if callable(x) and hasattr(x, "__name__"):
        return f"the {'class' if isinstance(x, type) else 'function'} {x.__name__}"
    if x is None or isinstance(x, str | int | float):
        return repr(x)[:60]
    package = type(x).__module__.partition(".")[0]
    return f"a {package} {type(x).__name__}".replace("builtins ", "")
