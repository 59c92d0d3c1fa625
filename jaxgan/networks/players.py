"""One network and its optimizer: initialised, applied and updated by pure functions.

A network is a flax.linen module. What it takes besides its input, such as `train`, what it keeps
besides its parameters, such as running statistics, and what it does with a batch is found out here.
"""

import inspect
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

# The keywords by which modules are told that they train, and what training gives them.
TRAINING_KEYWORDS = {
    "train": True,
    "training": True,
    "is_training": True,
    "is_train": True,
    "update_stats": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}

# Networks of more are not run when they are looked at.
_MOST_WEIGHTS = 2**28


class Player(NamedTuple):
    """One network and its optimizer.

    Attributes:
      params: the parameters.
      stats: flax's other collections, such as BatchNorm's running statistics or the vectors of a
        spectral norm's power iteration; {} where there are none. Training moves them.
      opt_state: the optimizer's state.
    """

    params: chex.ArrayTree
    stats: chex.ArrayTree
    opt_state: optax.OptState


def init_player(
    module: nn.Module, key: chex.PRNGKey, x: chex.Array, tx: optax.GradientTransformation
) -> Player:
    """A network's first parameters and statistics, for inputs like x, and its optimizer's state."""
    params, stats = init_variables(module, key, x)
    return Player(params, stats, tx.init(params))


def init_variables(
    module: nn.Module, key: chex.PRNGKey, x: chex.Array
) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """A network's first parameters, and its other variables."""
    variables = dict(module.init(key, x, **_keywords(module, train=False, axis_name=None)))
    return variables.pop("params", {}), variables


def apply(
    module: nn.Module,
    params: chex.ArrayTree,
    stats: chex.ArrayTree,
    x: chex.Array,
    axis_name: str | None = None,
    train: bool = True,
) -> tuple[chex.Array, chex.ArrayTree]:
    """The network's output and its updated statistics."""
    keywords = _keywords(module, train, axis_name)
    variables = {"params": params, **stats}
    output, after = module.apply(variables, x, mutable=list(stats), **keywords)
    if len(jax.tree.leaves(after)) == len(jax.tree.leaves(stats)):  # or `gan` refuses the module
        after = jax.tree.map(_in_same_precision, after, stats)
    return output, after


def _in_same_precision(new, old):
    """A state keeps its dtypes, also where jax_enable_x64 makes inputs and statistics wider."""
    floats = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in (new, old))
    return new.astype(old.dtype) if floats and new.dtype != old.dtype else new


def update(player: Player, gradients: chex.ArrayTree, tx: optax.GradientTransformation) -> Player:
    """The player after a step of its optimizer."""
    updates, opt_state = tx.update(gradients, player.opt_state, player.params)
    return player._replace(params=optax.apply_updates(player.params, updates), opt_state=opt_state)


def unknown_parameters(module: nn.Module) -> list[inspect.Parameter]:
    """What the module's `__call__` takes besides its input that training does not give it."""
    known = {*TRAINING_KEYWORDS, "axis_name"}
    return [p for p in list(_parameters(module).values())[1:] if p.name not in known]


def is_told_of_training(module: nn.Module) -> bool:
    """Whether the module can do otherwise in training than when it samples."""
    return bool(_keywords(module, train=True, axis_name=None).keys() & TRAINING_KEYWORDS)


def takes_axis_name(module: nn.Module) -> bool:
    """Whether the module is told over which devices its batch is split."""
    return "axis_name" in _parameters(module)


def mixes_examples(
    module: nn.Module, variables: chex.ArrayTree, x: jax.ShapeDtypeStruct, train: bool = True
) -> bool:
    """Whether an example's output depends on the other examples of its batch, as BatchNorm's does.

    Two of four examples stay and the others change, also to NaN, which shows the least influence
    where no layer replaces it. The weights are random averages, not the network's own: none is
    zero, and all numbers stay near one. A network too large to try counts as one that does not.
    """
    if _size(variables) > _MOST_WEIGHTS:
        return False
    random = np.random.default_rng(0)
    same, others = random.normal(size=(2, 2, *x.shape[1:]))

    def average(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):  # a counter or a key
            return jnp.ones(leaf.shape, leaf.dtype)
        weights = random.random(leaf.shape, np.float32) + 0.5
        return jnp.asarray(weights * (leaf.shape[-1] / leaf.size if leaf.shape else 1), leaf.dtype)

    def run(weights, batch):
        params, stats = weights
        return apply(module, params, stats, batch.astype(x.dtype), train=train)[0][:2]

    # XLA would optimise for a second what runs for milliseconds.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    compiled = jax.jit(run, compiler_options=options)
    batches = [np.concatenate([same, factor * others]) for factor in (1, -3, np.nan)]
    with jax.ensure_compile_time_eval(), jax.debug_nans(False):
        weights = jax.tree.map(average, variables)
        first, *rest = (np.asarray(compiled(weights, batch), np.float32) for batch in batches)
    return not all(np.allclose(first, each, equal_nan=True) for each in rest)


def changed_variables(
    module: nn.Module, variables: chex.ArrayTree, x: jax.ShapeDtypeStruct, train: bool
) -> set[str]:
    """The names of the variables that a pass gives other values.

    One that the pass leaves alone is returned as the very tracer that went in. Inside a lifted
    transform, such as nn.remat, it is another tracer all the same: where both kinds of pass seem to
    change a variable, numbers decide.
    """

    def seem_changed(train):
        changed: set[str] = set()

        def run(params, stats):
            _, after = apply(module, params, stats, jnp.zeros(x.shape, x.dtype), train=train)
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
        params, stats = init_variables(module, key, jnp.zeros(x.shape, x.dtype))
        batch = jax.random.normal(key, x.shape, x.dtype)
        _, after = apply(module, params, stats, batch, train=train)
        return jax.tree.map(lambda old, new: jnp.any(old != new), stats, after)

    moved = {name for name, value in named_leaves(differ(jax.random.key(0))) if value}
    return changed - (doubtful - moved)


def named_leaves(tree: chex.ArrayTree) -> list[tuple[str, chex.Array]]:
    """The leaves, each with its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(p, simple=True, separator="/"), leaf) for p, leaf in leaves]


def _size(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def _keywords(module, train, axis_name):
    """Those keywords that the module takes, with their values."""
    given = {name: value == train for name, value in TRAINING_KEYWORDS.items()}
    given["axis_name"] = axis_name
    return {name: value for name, value in given.items() if name in _parameters(module)}


def _parameters(module):
    return inspect.signature(module.__call__).parameters
