"""What a network is: pure functions, whatever it is written in.

A network is a flax.linen module, a flax.nnx module given as a factory of rngs, or a plain pair of
functions (init, apply). `as_network` makes a `Network` of each. Nothing else of the library knows
how a network is written.
"""

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

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
# What never moves: a collection of this name.
CONSTANTS = "constants"

Inputs = tuple[chex.Array, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as pure functions. Two of equal sources are equal.

    Attributes:
      source: what it was made of.
      inputs: how many inputs it takes: 1, or 2 with labels.
      name: what messages call it.
      init: `init(key, inputs) -> (params, stats)`; stats are the variables that training moves
        without a gradient, such as running statistics.
      call: `call(params, stats, inputs, train, keywords) -> (output, stats)`.
      parameters: what a call takes beside its inputs, by name.
      told: whether it can do otherwise in training than when it samples.
      latent_dim: as the source says it; None where it says nothing.
      sample_range: the same.
      num_classes: the same.
      pack: how many examples of a batch are scored together.
    """

    source: Any
    inputs: int
    name: str = dataclasses.field(compare=False)
    init: Callable[[chex.PRNGKey, Inputs], tuple[chex.ArrayTree, chex.ArrayTree]] = (
        dataclasses.field(compare=False)
    )
    call: Callable[..., tuple[chex.Array, chex.ArrayTree]] = dataclasses.field(compare=False)
    parameters: dict[str, inspect.Parameter] = dataclasses.field(compare=False)
    told: bool = dataclasses.field(compare=False)
    latent_dim: Any = dataclasses.field(default=None)
    sample_range: Any = dataclasses.field(default=None, compare=False)
    num_classes: Any = dataclasses.field(default=None, compare=False)
    pack: int = 1

    def apply(
        self,
        params: chex.ArrayTree,
        stats: chex.ArrayTree,
        inputs: Inputs,
        axis_name: str | None = None,
        train: bool = True,
    ) -> tuple[chex.Array, chex.ArrayTree]:
        """The network's output and its updated statistics."""
        keywords = _keywords(self.parameters, train, axis_name)
        output, after = self.call(params, stats, inputs, train, keywords)
        if len(jax.tree.leaves(after)) == len(jax.tree.leaves(stats)):  # or `gan` refuses it
            after = jax.tree.map(_in_same_precision, after, stats)
        return output, after

    @property
    def takes_axis_name(self) -> bool:
        """Whether it is told over which devices its batch is split."""
        return "axis_name" in self.parameters

    @property
    def unknown_parameters(self) -> list[inspect.Parameter]:
        """What a call takes that training does not give it."""
        known = {*TRAINING_KEYWORDS, "axis_name", "labels"}
        return [p for p in self.parameters.values() if p.name not in known]


class Wrapper:
    """What makes a network of another, its `source`."""

    source: Any

    def wrap(self, network: Network) -> Network:
        """The network that is made of this one."""
        raise NotImplementedError


def as_network(role: str, source: Any, inputs: int = 1) -> Network:
    """Makes a network of a flax.linen module, a factory of a flax.nnx module, or a pair.

    Args:
      role: "generator" or "critic", for messages.
      source: the module, `factory(rngs) -> module`, or `(init, apply)`: `init(key, x) -> params`
        and `apply(params, x) -> output`; or one of these in a wrapper of `networks.wrappers`.
      inputs: 1, or 2 where it also takes labels.

    Raises:
      ValueError: if it is none of these, or needs an argument that training does not give.
    """
    if isinstance(source, Wrapper):
        return source.wrap(as_network(role, source.source, inputs))
    if isinstance(source, nn.Module):
        network = _of_linen(source, inputs)
    elif _is_pair(source):
        network = _of_pair(source, inputs)
    elif _is_factory(source):
        network = _of_nnx(role, source, inputs)
    else:
        raise ValueError(_no_network(role, source))
    needed = [
        p.name
        for p in network.parameters.values()
        if p.name not in {*TRAINING_KEYWORDS, "axis_name"}
        and p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        labels = " Labels are given where gan has num_classes." if inputs == 1 else ""
        raise ValueError(
            f"{network.name} needs {', '.join(needed)}, which training does not give. Give it a "
            f"default, or make it a field of the module. Training gives the input, axis_name, and "
            f"{', '.join(TRAINING_KEYWORDS)}.{labels}"
        )
    return network


def _of_linen(module, inputs):
    parameters = _parameters(module.__call__, inputs)
    sampling = _keywords(parameters, train=False, axis_name=None)

    def init(key, inputs):
        variables = dict(module.init(key, *inputs, **sampling))
        return variables.pop("params", {}), variables

    def call(params, stats, inputs, train, keywords):
        del train
        variables = {"params": params, **stats}
        return module.apply(variables, *inputs, mutable=list(stats), **keywords)

    return Network(
        source=module,
        inputs=inputs,
        name=type(module).__name__,
        init=init,
        call=call,
        parameters=parameters,
        told=bool(parameters.keys() & TRAINING_KEYWORDS),
        **_attributes(module),
    )


def _of_pair(pair, inputs):
    start, run = pair
    parameters = _parameters(run, 1 + inputs)

    def call(params, stats, inputs, train, keywords):
        del train
        return run(params, *inputs, **keywords), stats

    return Network(
        source=tuple(pair),
        inputs=inputs,
        name=getattr(run, "__name__", type(run).__name__),
        init=lambda key, inputs: (start(key, *inputs), {}),
        call=call,
        parameters=parameters,
        told=bool(parameters.keys() & TRAINING_KEYWORDS),
        **_attributes(run),
    )


def _of_nnx(role, factory, inputs):
    """`module.train()` and `module.eval()` tell its layers whether they train."""
    from flax import nnx  # here, since importing it takes a tenth of a second

    # A class of nnx hides the signature of its __init__.
    made: Any = getattr(factory, "func", factory)  # of a functools.partial
    made = inspect.getattr_static(made, "__init__") if isinstance(made, type) else made
    takes = inspect.signature(made).parameters.values()
    by_name = any(p.name == "rngs" or p.kind is p.VAR_KEYWORD for p in takes)

    def make(key):
        rngs = nnx.Rngs(key)
        return factory(rngs=rngs) if by_name else factory(rngs)

    try:
        abstract = nnx.eval_shape(lambda: make(jax.random.key(0)))
    except Exception as error:  # any: the function is the user's, and may be none for this
        reason = f" (it fails when it is given nnx.Rngs: {' '.join(str(error).split())[:200]})"
        raise ValueError(_no_network(role, factory) + reason) from error
    if not isinstance(abstract, nnx.Module):
        raise ValueError(_no_network(role, factory))
    graph, *states = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
    names = [_leaf_names(state) for state in states]
    parameters = _parameters(abstract.__call__, inputs)

    def to_trees(module):
        _, *parts = nnx.split(module, nnx.Param, nnx.RngState, ...)
        params, rngs, rest = (
            dict(zip(leaf_names, jax.tree.leaves(part), strict=True))
            for leaf_names, part in zip(names, parts, strict=True)
        )
        return params, rest | {f"{CONSTANTS}/{name}": leaf for name, leaf in rngs.items()}

    def to_module(params, stats):
        values = params, {name: stats[f"{CONSTANTS}/{name}"] for name in names[1]}, stats
        parts = [
            jax.tree.unflatten(jax.tree.structure(state), [tree[name] for name in leaf_names])
            for state, tree, leaf_names in zip(states, values, names, strict=True)
        ]
        return nnx.merge(graph, *parts)

    def call(params, stats, inputs, train, keywords):
        module = to_module(params, stats)
        (module.train if train else module.eval)()
        output = module(*inputs, **keywords)
        nnx.pop(module, nnx.Intermediate)  # sown, to be looked at
        _, after = to_trees(module)
        for name in names[1]:
            if after[f"{CONSTANTS}/{name}"] is not stats[f"{CONSTANTS}/{name}"]:
                raise ValueError(draws_random_numbers(type(module).__name__))
        return output, after

    return Network(
        source=factory,
        inputs=inputs,
        name=type(abstract).__name__,
        init=lambda key, inputs: to_trees(make(key)),
        call=call,
        parameters=parameters,
        told=True,
        **_attributes(abstract),
    )


def draws_random_numbers(name: str) -> str:
    """What to say of a network with Dropout."""
    return (
        f"{name} draws random numbers, as Dropout does, and the steps give a network none. Leave "
        "that layer out."
    )


def _no_network(role, source):
    if _is_class_of(source, nn.Module):
        hint = f"make one: {source.__name__}(...)"
    elif _is_nnx_module(source):
        name = type(source).__name__
        hint = f"give what makes one for each key, such as lambda rngs: {name}(..., rngs=rngs)"
    else:
        hint = "networks.mlp, dcgan, resnet and r3gan make a pair"
    return (
        f"the {role} must be a flax.linen module, a function from nnx.Rngs to a flax.nnx module, "
        f"or a pair of functions (init, apply); got {kind_of(source)}: {hint}."
    )


def kind_of(x: Any) -> str:
    """What an argument is, in a few words."""
    if callable(x) and hasattr(x, "__name__"):
        return f"the {'class' if isinstance(x, type) else 'function'} {x.__name__}"
    if x is None or isinstance(x, str | int | float):
        return repr(x)[:60]
    package = type(x).__module__.partition(".")[0]
    return f"a {package} {type(x).__name__}".replace("builtins ", "")


def _is_pair(source) -> bool:
    return isinstance(source, tuple) and len(source) == 2 and all(map(_is_function, source))


def _is_factory(source) -> bool:
    return callable(source) and not _is_nnx_module(source) and not _is_class_of(source, nn.Module)


def _is_function(x) -> bool:
    return callable(x) and not isinstance(x, nn.Module | type) and not _is_nnx_module(x)


def _is_nnx_module(x) -> bool:
    nnx = sys.modules.get("flax.nnx")  # which whoever made one has imported
    return nnx is not None and isinstance(x, nnx.Module)


def _is_class_of(source, kind) -> bool:
    return isinstance(source, type) and issubclass(source, kind)


def _attributes(source) -> dict[str, Any]:
    names = ("latent_dim", "sample_range", "num_classes")
    return {name: getattr(source, name, None) for name in names}


def _parameters(function, positional: int) -> dict[str, inspect.Parameter]:
    """What a function takes after its positional inputs.

    Raises:
      ValueError: if it does not take so many: it knows no labels.
    """
    parameters = list(inspect.signature(function).parameters.values())
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = [p.name for p in parameters if p.kind in kinds][:positional]
    inputs = [name for name in taken if name not in TRAINING_KEYWORDS]
    if len(inputs) < positional and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(
            f"{getattr(function, '__qualname__', function)} must take its {positional} inputs "
            f"first, by position, and takes {', '.join(taken) or 'none'}. Where gan has "
            "num_classes labels are the last of them: __call__(self, x, labels, train=False)."
        )
    return {p.name: p for p in parameters[positional:]}


def _keywords(parameters, train, axis_name) -> dict[str, Any]:
    """Those keywords that a call takes, with their values."""
    given: dict[str, Any] = {name: value == train for name, value in TRAINING_KEYWORDS.items()}
    given["axis_name"] = axis_name
    return {name: value for name, value in given.items() if name in parameters}


def _leaf_names(state) -> list[str]:
    """The path of each leaf, without the last step into a variable's own field.

    Raises:
      ValueError: if two of them read alike.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    fields = (jax.tree_util.GetAttrKey, jax.tree_util.FlattenedIndexKey)
    own = [path[:-1] if isinstance(path[-1], fields) else path for path in paths]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in own]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two variables are named {min(twice)}: leave out the / in their names.")
    return names


def _in_same_precision(new, old):
    """A state keeps its dtypes, also where jax_enable_x64 makes inputs and statistics wider."""
    floats = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in (new, old))
    return new.astype(old.dtype) if floats and new.dtype != old.dtype else new
