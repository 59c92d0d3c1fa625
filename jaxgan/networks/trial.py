"""Tries a generator and a critic before they train: their shapes, variables, use of a batch."""

import contextlib
import functools
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.networks.network import CONSTANTS, TRAINING_KEYWORDS, Network, draws_random_numbers
from jaxgan.networks.players import named_leaves

# Networks of more are not run when they are looked at.
_MOST_WEIGHTS = 2**28


_OTHER_LAYERS = (
    flax.errors.ScopeParamNotFoundError,
    flax.errors.ScopeParamShapeError,
    flax.errors.ScopeCollectionNotFound,
    flax.errors.ScopeVariableNotFoundError,
)


def check_networks(
    generator: Network, critic: Network, per_example: bool
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
    try:
        hash((generator, critic))
    except TypeError:  # a module may have an array for a field
        return _check_pair.__wrapped__(generator, critic, per_example)
    return _check_pair(generator, critic, per_example)


@functools.lru_cache(maxsize=32)
def _check_pair(generator, critic, per_example):
    if generator.pack > 1:
        raise ValueError("the generator cannot be packed: it is the critic that sees several.")
    latent_dim = generator.latent_dim
    whole = isinstance(latent_dim, Integral) and not isinstance(latent_dim, bool)
    if not whole or int(latent_dim) < 1:
        raise ValueError(
            "the generator must say the size of its latent vector, a whole number from 1 up, in an "
            f"attribute latent_dim, or gan's argument of that name; {generator.name} has "
            f"{'none' if latent_dim is None else repr(latent_dim)}."
        )
    latents = jax.ShapeDtypeStruct((2, latent_dim), jnp.float32)
    fake, g_variables = _trace(generator, latents)
    if fake.shape[:1] != (2,) or not jnp.issubdtype(fake.dtype, jnp.floating):
        raise ValueError(
            f"the generator must make one floating-point sample for each latent; of 2 latents it "
            f"made {fake.dtype}{fake.shape}."
        )
    if _mixes_examples(generator, g_variables, latents, train=False):
        raise ValueError(
            f"{generator.name} normalises by the batch when it samples, so that samples "
            "depend on each other. Give its __call__ a keyword `train`, and its BatchNorm "
            "use_running_average=not train."
        )
    if per_example and critic.pack > 1:
        raise ValueError(
            "a loss with a penalty for each example needs a score of each: it takes no packed "
            "critic."
        )
    batch = 2 * critic.pack
    fake = jax.ShapeDtypeStruct((batch, *fake.shape[1:]), fake.dtype)
    scores, c_variables = _trace(critic, fake)
    if scores.shape != (batch,):
        raise ValueError(
            f"the critic must return one score per example, shape [B]; for a batch of {batch} it "
            f"returned shape {scores.shape}. Squeeze its last axis, or sum over it."
        )
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(f"the critic's scores must be floating point; got {scores.dtype}.")
    critic_mixes = (per_example or not critic.takes_axis_name) and _mixes_examples(
        critic, c_variables, fake
    )
    if critic_mixes and per_example:
        raise ValueError(
            "a critic with a gradient penalty must not use BatchNorm or anything else that makes a "
            "score depend on the whole batch, so that the penalty is no longer per example "
            f"(Gulrajani 2017, sec. 4); {critic.name} does. Drop it, or use LayerNorm."
        )
    generator_mixes = (
        generator.told
        and not generator.takes_axis_name
        and _mixes_examples(generator, g_variables, latents)
    )
    mixing = ((generator, generator_mixes), (critic, critic_mixes))
    return fake.shape[1:], tuple(network.name for network, mixes in mixing if mixes)


def _trace(network, x):
    """The output's shape and the variables' shapes, of a network that trains as it says."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    labels = jax.ShapeDtypeStruct(x.shape[:1], jnp.int32)
    with _explains_errors(network):
        started, variables = jax.make_jaxpr(
            lambda key, x: network.init(key, _inputs(network, x)), return_shape=True
        )(key, x)
        applied, (output, stats) = jax.make_jaxpr(
            lambda labels, both, x: network.apply(*both, _inputs(network, x, labels)),
            return_shape=True,
        )(labels, variables, x)
    params, before = variables
    if not jax.tree.leaves(params):
        raise ValueError(f"{network.name} has no parameters: there is nothing to train.")
    for name, leaf in named_leaves(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"{network.name}'s parameters must be floating point; {name} is {leaf.dtype}."
            )
    if not _reads_first(started):
        raise ValueError(
            f"{network.name}'s init does not use its key: every seed would begin with the same "
            "weights. Draw them from it, new ones at each call."
        )
    if network.inputs == 2 and not _reads_first(applied):
        raise ValueError(
            f"{network.name} takes labels and does not use them: join them to its input, as by "
            "nn.Embed."
        )
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), each) for each in (before, stats)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{network.name} changes the shapes of its variables in {', '.join(before)} "
            "when it trains. A state must keep its shapes: sow what you want to look at into "
            "'intermediates'."
        )
    stuck = _names(before) - _changed_variables(network, variables, x, train=True)
    if stuck:
        unknown = [p.name for p in network.unknown_parameters]
        raise ValueError(
            f"training does not move {network.name}'s {', '.join(sorted(stuck)[:3])}"
            f"{', ...' if len(stuck) > 3 else ''}: its __call__ must be told that it trains by one "
            f"of {', '.join(TRAINING_KEYWORDS)}"
            + (f"; it takes {', '.join(unknown)}" if unknown else "")
            + f". What is never to change belongs in a collection named {CONSTANTS!r}."
        )
    return output, variables


@contextlib.contextmanager
def _explains_errors(network) -> Iterator[None]:
    """Says in a line what flax and jax say at length; refuses Dropout that is off unasked, too."""
    name = network.name
    random = draws_random_numbers(name)
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
    if network.unknown_parameters and any(isinstance(r, Real) and float(r) > 0 for r in rates):
        raise ValueError(random)


def _names(stats) -> set[str]:
    return {name for name, _ in named_leaves(stats) if name.split("/")[0] != CONSTANTS}


def _inputs(network, x, labels=None):
    """The input, and labels, by default of class 0, where the network takes any."""
    if network.inputs == 1:
        return (x,)
    return x, jnp.zeros(x.shape[:1], jnp.int32) if labels is None else labels


def _reads_first(traced) -> bool:
    """Whether any operation of a traced function looks at its first argument."""
    first = traced.jaxpr.invars[0]
    return any(first is variable for each in traced.jaxpr.eqns for variable in each.invars)


def _mixes_examples(
    network: Network, variables: chex.ArrayTree, x: jax.ShapeDtypeStruct, train: bool = True
) -> bool:
    """Whether an example's output depends on the other examples of its batch, as BatchNorm's does.

    Two of four examples, or packs, stay and the others change, also to NaN, which shows the least
    influence where no layer replaces it. The weights are random averages, not the network's own:
    none is zero, and all numbers stay near one. A network too large to try counts as one that does
    not.
    """
    if _size(variables) > _MOST_WEIGHTS:
        return False
    random = np.random.default_rng(0)
    kept = 2 * network.pack
    same, others = random.normal(size=(2, kept, *x.shape[1:]))

    def average(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):  # a counter or a key
            return jnp.ones(leaf.shape, leaf.dtype)
        weights = random.random(leaf.shape, np.float32) + 0.5
        return jnp.asarray(weights * (leaf.shape[-1] / leaf.size if leaf.shape else 1), leaf.dtype)

    def run(weights, batch):
        inputs = _inputs(network, batch.astype(x.dtype))
        params, stats = weights
        return network.apply(params, stats, inputs, train=train)[0][:kept]

    # XLA would optimise for a second what runs for milliseconds.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    batches = [np.concatenate([same, factor * others]) for factor in (1, -3, np.nan)]
    with jax.ensure_compile_time_eval():
        weights = jax.tree.map(average, variables)
    # Traced out here: in there flax, which looks at the shapes of fresh weights, would draw them.
    compiled = jax.jit(run, compiler_options=options).lower(weights, batches[0]).compile()
    with jax.debug_nans(False):
        first, *rest = (np.asarray(compiled(weights, batch), np.float32) for batch in batches)
    return not all(np.allclose(first, each, equal_nan=True) for each in rest)


def _changed_variables(
    network: Network, variables: chex.ArrayTree, x: jax.ShapeDtypeStruct, train: bool
) -> set[str]:
    """The names of the variables that a pass gives other values.

    One that the pass leaves alone is returned as the very tracer that went in. Inside a lifted
    transform, such as nn.remat, it is another tracer all the same: where both kinds of pass seem to
    change a variable, numbers decide.
    """

    def seem_changed(train):
        changed: set[str] = set()

        def run(params, stats):
            inputs = _inputs(network, jnp.zeros(x.shape, x.dtype))
            _, after = network.apply(params, stats, inputs, train=train)
            pairs = zip(named_leaves(stats), named_leaves(after), strict=True)
            changed.update(name for (name, old), (_, new) in pairs if old is not new)

        jax.eval_shape(run, *variables)
        return changed

    changed = seem_changed(train)
    doubtful = changed and changed & seem_changed(not train)
    if not doubtful or _size(variables) > _MOST_WEIGHTS:
        return changed

    @jax.jit
    def differ(key):
        params, stats = network.init(key, _inputs(network, jnp.zeros(x.shape, x.dtype)))
        batch = jax.random.normal(key, x.shape, x.dtype)
        _, after = network.apply(params, stats, _inputs(network, batch), train=train)
        return jax.tree.map(lambda old, new: jnp.any(old != new), stats, after)

    moved = {name for name, value in named_leaves(differ(jax.random.key(0))) if value}
    return changed - (doubtful - moved)


def _size(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables))
