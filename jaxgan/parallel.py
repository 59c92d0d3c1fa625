"""The same pure step on one device or many, and many steps in one dispatch.

`wrap` compiles a step for one device (`jit`), or splits its batches over several, by `pmap` or by
`shard_map` on a mesh. The state is replicated: each device computes the same update from averaged
gradients.
"""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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
      split: for each of args, the axis that holds the global batch, or None for what each device
        sees whole.
      devices: those to split the batch over; all local ones by default.

    Returns:
      A function of the same arguments, on global batches, that gives the same results on any
      number of devices up to rounding. It raises ValueError if a batch does not divide by them.
    """
    devices = list(devices or jax.local_devices())
    _check_mode(mode)
    if mode == "jit":
        return jax.jit(f, donate_argnums=0)

    def split_args(args):
        return [
            x if axis is None else _split_axis(x, axis, len(devices))
            for x, axis in zip(args, split, strict=True)
        ]

    per_device = functools.partial(f, axis_name=AXIS)
    if mode == "pmap":
        compiled = jax.pmap(
            per_device,
            axis_name=AXIS,
            in_axes=(None, *split),
            out_axes=None,
            devices=devices,
            donate_argnums=0,
        )
        return lambda state, *args: compiled(state, *split_args(args))

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

    def run(state, *args):
        for x, axis in zip(args, split, strict=True):
            if axis is not None:
                check_divides(x.shape[axis], len(devices))
        return compiled(state, *args)

    return run


def replicate(tree: chex.ArrayTree, mode: str, devices: Sequence[jax.Device] | None = None):
    """Puts a copy of each array on each device that `mode` uses."""
    devices = list(devices or jax.local_devices())
    _check_mode(mode)
    if mode == "jit":
        return jax.device_put(tree, devices[0])
    return jax.device_put(tree, NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec()))


def check_divides(batch: int, devices: int) -> None:
    """Raises ValueError unless the global batch divides by the number of devices."""
    if batch % devices:
        raise ValueError(
            f"the global batch of {batch} does not divide by {devices} devices. Use a multiple of "
            f"{devices}, such as {max(1, round(batch / devices)) * devices}, or fewer devices."
        )


def many_steps(step: Callable, fetch: Callable[[chex.ArrayTree, chex.Array], chex.Array]):
    """Makes one program of many iterations, so that dispatch costs nothing and nothing waits.

    The number of iterations is an argument of the program, not part of it: a short last chunk runs
    the code of all the others, with the same rounding.

    Args:
      step: `step(state, reals, axis_name) -> (state, metrics)`, a `GAN`'s step.
      fetch: `fetch(data, batch) -> reals`, from the whole data set on the device and one
        iteration's entry of `batches` to the float32 batches that `step` takes.

    Returns:
      `run(state, data, batches, count, axis_name=None) -> (state, metrics)`, which does the first
      `count` iterations, at most K, of batches `[K, n_critic, B, ...]`; metrics are `[K]` each,
      NaN from `count` on. With a count of 0 it compiles and changes nothing.
    """

    def run(state, data, batches, count, axis_name=None):
        def iteration(state, i):
            return step(state, fetch(data, batches[i]), axis_name=axis_name)

        def body(i, carry):
            state, log = carry
            state, metrics = iteration(state, i)
            return state, jax.tree.map(lambda column, m: column.at[i].set(m), log, metrics)

        _, metrics = jax.eval_shape(iteration, state, 0)
        log = jax.tree.map(lambda m: jnp.full((len(batches), *m.shape), jnp.nan), metrics)
        # Past the last batch an index is clamped, and the last would be trained on again.
        return jax.lax.fori_loop(0, jnp.minimum(count, len(batches)), body, (state, log))

    return run


def _split_axis(x, axis, parts):
    """Splits one axis in two, `[..., B, ...]` to `[..., parts, B / parts, ...]`, for pmap."""
    check_divides(x.shape[axis], parts)
    return x.reshape(*x.shape[:axis], parts, x.shape[axis] // parts, *x.shape[axis + 1 :])


def _check_mode(mode):
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}.")
