"""The same pure step on one device or many, and many steps in one dispatch.

`wrap` compiles a step for one device (`jit`), or splits its batches over several, by `pmap` or by
`shard_map` on a mesh. The state is replicated: each device computes the same update from averaged
gradients.

The devices may be those of several processes, on one machine or many, that `jax.distributed` has
joined. Each process calls the same functions in the same order, and gives its own rows of every
batch: `own_rows` says which.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

MODES = ("jit", "pmap", "mesh")
AXIS = "data"


def wrap(
    f: Callable,
    mode: str,
    split: Sequence[int | None],
    devices: Sequence[jax.Device] | None = None,
) -> Callable:
    """Compiles `f(state, *args, axis_name=...) -> (state, metrics)` for the devices.

    The state is donated: the caller must not use it again.

    Args:
      f: a pure function; its outputs must be the same on each device once it has averaged over
        `axis_name`, as those of a `GAN`'s steps are.
      mode: "jit" runs on one device, that of the state; "pmap" and "mesh" split the batch.
      split: for each of args, the axis that holds the batch, or None for what each device sees
        whole.
      devices: those to split the batch over; by default all, of all processes.

    Returns:
      A function of the same arguments, on this process's rows of global batches, that gives the
      same results on any number of devices up to rounding. It raises ValueError if a batch does
      not divide by them.
    """
    devices = list(devices or all_devices())
    _check_mode(mode)
    if mode == "jit":
        return jax.jit(f, donate_argnums=0)
    wrap_for = _wrap_for_pmap if mode == "pmap" else _wrap_for_mesh
    return wrap_for(functools.partial(f, axis_name=AXIS), split, devices)


@dataclasses.dataclass(frozen=True, eq=False)  # so that `jax.jit` takes it as a function
class _Split:
    """A compiled function that puts its arguments on several devices first."""

    compiled: Any
    place: Callable
    finish: Callable

    def __call__(self, state, *args):
        return self.finish(self.compiled(state, *self.place(args)))

    def lower(self, state, *args):
        """As `jax.jit`'s."""
        return self.compiled.lower(state, *self.place(args))


def _wrap_for_pmap(per_device, split, devices):
    own = len(_own(devices))
    compiled = jax.pmap(
        per_device,
        axis_name=AXIS,
        in_axes=(None, *split),
        out_axes=None,
        devices=devices,
        donate_argnums=0,
    )

    def place(args):
        return [
            x if axis is None else _split_axis(x, axis, own)
            for x, axis in zip(args, split, strict=True)
        ]

    # Where there are several processes pmap's results are each one's own.
    return _Split(compiled, place, lambda results: _join(results, devices, PartitionSpec()))


def _wrap_for_mesh(per_device, split, devices):
    own = len(_own(devices))
    specs = [
        PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS) for axis in split
    ]
    compiled = jax.jit(
        jax.shard_map(
            per_device,
            mesh=Mesh(devices, (AXIS,)),
            in_specs=(PartitionSpec(), *specs),
            out_specs=PartitionSpec(),
            # With the check on, gradients of replicated parameters arrive already summed over
            # the axis, and our own mean would make them `len(devices)` times too large.
            check_vma=False,
        ),
        donate_argnums=0,
    )

    def place(args):
        placed = []
        for x, axis, spec in zip(args, split, specs, strict=True):
            if axis is not None:
                for leaf in jax.tree.leaves(x):
                    check_divides(leaf.shape[axis], own)
                x = _join(x, devices, spec)
            placed.append(x)
        return placed

    return _Split(compiled, place, lambda results: results)


def wrap_seeds(f: Callable, split: Sequence[int | None], devices: Sequence[jax.Device]) -> Callable:
    """Compiles `f(state, *args) -> (state, results)` of several seeds, each on one of the devices.

    Every leaf of the state and of what it returns begins with the axis of the seeds. Nothing is
    averaged: the seeds know nothing of each other. The state is donated.

    Args:
      f: a pure function of as many seeds as there are.
      split: for each of args, its axis of the seeds, or None for what all share.
      devices: they must divide the number of seeds.
    """
    seeds = PartitionSpec(AXIS)
    specs = [
        PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS) for axis in split
    ]
    mapped = jax.shard_map(
        f,
        mesh=Mesh(list(devices), (AXIS,)),
        in_specs=(seeds, *specs),
        out_specs=seeds,
        check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=0)


def all_devices() -> list[jax.Device]:
    """The devices of all processes, those of each next to each other."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def own_rows(batch: int, devices: Sequence[jax.Device] | None = None) -> slice:
    """The rows of a global batch that this process gives to a function of `wrap`."""
    devices = list(devices or all_devices())
    own, rows = _own(devices), batch // len(devices)
    return slice(own[0] * rows, (own[-1] + 1) * rows)


def sharding(mode: str, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Sharding:
    """Where a state lives: on one device, on each, or split by its seeds over them."""
    devices = list(devices or all_devices())
    if mode != "seeds":
        _check_mode(mode)
    if mode == "jit":
        return SingleDeviceSharding(devices[_own(devices)[0]])
    split = (AXIS,) if mode == "seeds" else ()
    return NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec(*split))


def replicate(tree: chex.ArrayTree, mode: str, devices: Sequence[jax.Device] | None = None):
    """Puts a copy of each array on each device that `mode` uses.

    Of several processes each must give the same values.
    """
    devices = list(devices or all_devices())
    place = sharding(mode, devices)
    if place.is_fully_addressable:
        return jax.device_put(tree, place)
    return _join(tree, devices, PartitionSpec())


def own_copy(tree: chex.ArrayTree) -> chex.ArrayTree:
    """The arrays on the first of this process's devices alone."""

    def copy(x):
        if x.is_fully_replicated:
            return x.addressable_data(0)
        return jax.device_put(x, jax.local_devices()[0])

    return jax.tree.map(copy, tree)


def most_that_divide(seeds: int, devices: int) -> int:
    """The most devices, of so many, that can share seeds out evenly."""
    return max(n for n in range(1, devices + 1) if seeds % n == 0)


def check_divides(batch: int, devices: int) -> None:
    """Raises ValueError unless the global batch divides by the number of devices."""
    if batch % devices:
        raise ValueError(
            f"the global batch of {batch} does not divide by {devices} devices. Use a multiple of "
            f"{devices}, such as {max(1, round(batch / devices)) * devices}, or one device (jit)."
        )


def many_steps(step: Callable, fetch: Callable[[chex.ArrayTree, chex.Array], chex.Array]):
    """Makes one program of many iterations, so that dispatch costs nothing and nothing waits.

    The number of iterations is an argument of the program, not part of it: a short last chunk runs
    the code of all the others, with the same rounding.

    Args:
      step: `step(state, reals, axis_name) -> (state, metrics)`, a `GAN`'s step.
      fetch: `fetch(data, batch) -> reals`, from the whole data set on the device and one
        iteration's entry of `batches` to the float32 batches that `step` takes; or a tuple
        `(reals, labels)`.

    Returns:
      `run(state, data, batches, count, axis_name=None) -> (state, metrics)`, which does the first
      `count` iterations, at most K, of batches `[K, n_critic, B, ...]`, an array or a tree of
      them; metrics are `[K]` each,
      zero from `count` on. With a count of 0 it compiles and changes nothing.
    """

    def run(state, data, batches, count, axis_name=None):
        # numpy's take no tracer for an index, under disable_jit
        batches = jax.tree.map(jnp.asarray, batches)
        capacity = len(jax.tree.leaves(batches)[0])

        def at(i):
            return jax.tree.map(lambda each: each[i], batches)

        @jax.jit  # so that it is traced once, for its metrics' shapes and for the loop
        def iteration(state, data, batch):
            fetched = fetch(data, batch)
            arguments = fetched if isinstance(fetched, tuple) else (fetched,)
            return step(state, *arguments, axis_name=axis_name)

        def body(i, carry):
            state, log = carry
            state, metrics = iteration(state, data, at(i))
            return state, jax.tree.map(lambda column, m: column.at[i].set(m), log, metrics)

        _, metrics = jax.eval_shape(iteration, state, data, at(0))
        # Zeros and not NaN, which JAX_DEBUG_NANS would stop at.
        log = jax.tree.map(lambda m: jnp.zeros((capacity, *m.shape), m.dtype), metrics)
        # Past the last batch an index is clamped, and the last would be trained on again.
        return jax.lax.fori_loop(0, jnp.minimum(count, capacity), body, (state, log))

    return run


def _own(devices):
    """The places of this process's devices among the devices."""
    return [i for i, device in enumerate(devices) if device.process_index == jax.process_index()]


def _join(tree, devices, spec):
    """The global arrays of which each process has a part, or a copy."""
    if len(_own(devices)) == len(devices):
        return tree
    mesh = Mesh(devices, (AXIS,))

    def join(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        return multihost_utils.host_local_array_to_global_array(x, mesh, spec)

    return jax.tree.map(join, tree)


def _split_axis(tree, axis, parts):
    """Splits one axis in two, `[..., B, ...]` to `[..., parts, B / parts, ...]`, for pmap."""

    def split(x):
        check_divides(x.shape[axis], parts)
        return x.reshape(*x.shape[:axis], parts, x.shape[axis] // parts, *x.shape[axis + 1 :])

    return jax.tree.map(split, tree)


def _check_mode(mode):
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}.")
