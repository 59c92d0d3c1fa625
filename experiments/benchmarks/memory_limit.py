"""Running a function in a process of its own, which may have so much memory and no more.

The limit is that of a control group, which counts the pages of the files that it reads (the page
cache) beside its own memory. Others would measure something else: RLIMIT_AS counts addresses, so
that mapping a file of 4 GB breaks it before a page is read; RLIMIT_DATA leaves out mapped files,
and with the rest of the machine's memory as page cache the set would be in memory after all.
"""

import contextlib
import multiprocessing
import os
import pathlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

_ROOT = pathlib.Path("/sys/fs/cgroup")


@contextlib.contextmanager
def group(limit: int) -> Iterator[pathlib.Path | None]:
    """Makes a control group of so many bytes; None where this user may not."""
    made = None
    for parent, file in _parents():
        path = parent / f"jaxgan-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            continue
        try:
            (path / file).write_text(str(limit))
            made = path
            break
        except OSError:  # a group without the controller of memory
            path.rmdir()
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def call(function: Callable[..., Any], *arguments: Any, within: pathlib.Path | None = None) -> Any:
    """What the function returns in a new process, in that group.

    Raises:
      MemoryError: if it was ended, as where the group has no more memory.
      RuntimeError: if it raised something, which it has printed.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(theirs, within, function, arguments)
    )
    process.start()
    theirs.close()
    try:
        result = ours.recv()
    except EOFError:
        result = None
    process.join()
    if process.exitcode == 1:
        raise RuntimeError(f"{function.__name__} failed")
    if process.exitcode:
        raise MemoryError(f"{function.__name__} was ended by signal {-process.exitcode}")
    return result


def peak(within: pathlib.Path) -> int:
    """The most bytes that a group has had, page cache and all; 0 where the system does not tell."""
    for name in ("memory.peak", "memory.max_usage_in_bytes"):
        if (within / name).exists():
            return int((within / name).read_text())
    return 0


def drop_from_memory(path: pathlib.Path) -> None:
    """Writes a file's pages to the disk and forgets them, so that reading it reads the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def own_memory() -> int:
    """The most bytes that this process has had, without pages of files: they can be let go."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return 1024 * int(fields["RssAnon"].split()[0])


def bytes_read() -> int:
    """How many bytes this process has had read from the disk."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def _parents() -> Iterator[tuple[pathlib.Path, str]]:
    """Where a group may be made, this process's own group first, and the name of its limit."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, file = _ROOT / "memory", "memory.limit_in_bytes"
        elif not controllers:
            root, file = _ROOT, "memory.max"
        else:
            continue
        yield from ((parent, file) for parent in (root / path.strip("/"), root))


def _run(pipe, within, function, arguments):
    if within is not None:
        (within / "cgroup.procs").write_text(str(os.getpid()))
    try:
        pipe.send(function(*arguments))
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
