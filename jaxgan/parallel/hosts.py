"""The processes of one run, on one machine or many: joining them, agreeing, ending together.

Each process holds some of the devices and runs the same program. With one process there is nobody
to ask or to wait for, and all of this is free.
"""

import contextlib
import functools
import os
import re
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# After so long without a sign of life a process is taken for dead, and jax ends the others.
HEARTBEAT_SECONDS = 60
# The exit status after another process was lost: sysexits.h's EX_TEMPFAIL, "try again".
LOST = 75
# The exit status where files cannot be written any more.
UNWRITABLE = 4


class LostError(Exception):
    """Another process of the run has ended or is out of reach."""


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes, once; must come before anything that uses a device.

    The arguments are those of `jax.distributed.initialize`, which finds them by itself on Cloud
    TPU, under Slurm, Open MPI and in Kubernetes.

    Raises:
      ValueError: if an argument is wrong, or one is missing where it cannot be found.
    """
    if jax.distributed.is_initialized():
        return
    check(coordinator_address, num_processes, process_id)
    # The trainer takes SIGTERM itself, and all agree where to stop: see `start_vote`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"--distributed cannot join the other processes: {reason} Off Cloud TPU and clusters "
            "that jax knows, give each --coordinator-address, --num-processes and --process-id."
        ) from error


def check(address: str | None, count: int | None, index: int | None) -> None:
    """Raises ValueError for an argument that `join` cannot take."""
    if address is not None and not re.fullmatch(r".+:\d{1,5}", address):
        raise ValueError(f"--coordinator-address must be HOST:PORT; got {address!r}.")
    if count is not None and count < 1:
        raise ValueError(f"--num-processes must be at least 1; got {count}.")
    if index is not None and not 0 <= index < (count or index + 1):
        raise ValueError(f"--process-id must be from 0 to --num-processes - 1; got {index}.")


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return jax.process_index() == 0


def say(line: str) -> None:
    """Prints what one process says for all."""
    if is_first():
        print(line)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raises ValueError in every process if the body raises it in any.

    Raises:
      LostError: if another process has ended.
    """
    mistake = None
    try:
        yield
    except ValueError as error:
        mistake = error
    failed = _gather(mistake is not None)
    if mistake is not None:
        raise mistake
    if failed.any():
        raise ValueError(f"process {int(failed.argmax())} could not start: its own line says why.")


def check_same(settings: str) -> None:
    """Raises ValueError unless every process was started with the same settings."""
    if len(np.unique(_gather(zlib.crc32(settings.encode())))) > 1:
        raise ValueError(
            "the processes were started with different settings. Give all of them the same flags, "
            "but for --process-id."
        )


def all_true(value: bool) -> bool:
    """Whether it is true in every process."""
    return bool(_gather(value).all())


def start_vote(wishes: list[int]) -> Callable[[], list[int]]:
    """Begins to find the largest of all processes' wishes, entry by entry.

    It goes behind what the devices have been given to do, and before what they are given next, so
    that nothing waits for it.

    Returns:
      A function that waits for the result. With one process the result is what its wishes are when
      it is asked for; with several, what they were when the vote began.
    """
    if jax.process_count() == 1:
        return lambda: wishes
    mesh = _mesh()
    ballots = np.tile(np.array(wishes, np.int32), (jax.local_device_count(), 1))
    votes = multihost_utils.host_local_array_to_global_array(ballots, mesh, PartitionSpec("all"))
    largest = _largest(mesh)(votes)
    return lambda: np.asarray(largest).tolist()


@contextlib.contextmanager
def guard(program: str, *passing: type[Exception]) -> Iterator[None]:
    """Ends this process at once if the body fails and others wait for it.

    It ends with a line and status `LOST` where jax cannot go on, which is how the loss of another
    process shows; else with the traceback and status 1. While Python waits inside jax or orbax it
    sees no error. Then jax prints its own message and aborts (SIGABRT) after `HEARTBEAT_SECONDS`.

    Args:
      program: whose line it is.
      passing: exceptions that all processes raise, and that the caller handles.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, passing) or jax.process_count() == 1:
            raise
        status = _report(program, error)
        sys.stdout.flush()
        sys.stderr.flush()
        # Until all have said why they end: jax aborts those that miss the first process.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.distributed.shutdown()
        os._exit(status)


def _report(program, error):
    if isinstance(error, KeyboardInterrupt):
        return 130
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, OSError):
        print(f"{program}: {reason}. Put that right, and start all of them again.", file=sys.stderr)
        return UNWRITABLE
    if not isinstance(error, LostError | jax.errors.JaxRuntimeError):
        traceback.print_exception(error)
        return 1
    print(
        f"{program}: jax cannot go on, as where another process of this run has ended: {reason}. "
        "Start all of them again: they resume from the newest checkpoint.",
        file=sys.stderr,
    )
    return LOST


def of_first(value: np.ndarray) -> np.ndarray:
    """The first process's value, in every process."""
    return value if jax.process_count() == 1 else _gather(value)[0]


def _gather(value):
    """The value of each process."""
    try:
        return multihost_utils.process_allgather(np.asarray(value))
    except (ValueError, RuntimeError) as error:
        raise LostError(str(error)) from error


def _mesh():
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(devices, ("all",))


@functools.cache
def _largest(mesh):
    return jax.jit(lambda x: x.max(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
