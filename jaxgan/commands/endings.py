"""How every program ends: with an exit status, and for a mistake in a line."""

import contextlib
import functools
import io
import os
import signal
import sys
from collections.abc import Callable

import jax

from jaxgan import places
from jaxgan.commands.names import as_typed
from jaxgan.training.checkpoints import is_out_of_memory

Main = Callable[[list[str]], int]  # from a program's arguments to its exit status

BAD_INPUT, DIVERGED = 2, 3
INTERRUPTED, CLOSED_PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE


def run(main: Main, arguments: list[str], cached: bool = True) -> None:
    """Runs a program, and ends with its exit status.

    Names of files that are no text are printed, whatever the terminal takes.

    Args:
      main: the program.
      arguments: the command line.
      cached: keep compiled programs in the user's cache, so that a second run starts in seconds.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="backslashreplace")
    if cached:
        _cache_programs()
    if status := main(arguments):  # a notebook takes even an exit with 0 for an end to show
        sys.exit(status)


def ends_in_a_line(
    program: str,
    without_memory: str = "use a machine with more",
    mistakes: tuple[type[Exception], ...] = (ValueError, OSError),
) -> Callable[[Main], Main]:
    """Makes a program's `main` report in a line what ends it early.

    It then returns 2 for bad input, for lack of memory and for a platform that is not here, 130 for
    Ctrl-C, and, in silence, 141 if what reads its output has closed the pipe, as `| head` does.

    Args:
      program: its name.
      without_memory: what to do where memory is lacking.
      mistakes: the exceptions that mean bad input.
    """

    def decorate(main):
        @functools.wraps(main)
        def ending(arguments, **options):
            try:
                status = main(arguments, **options)
                sys.stdout.flush()  # here a closed pipe is noticed
                return status
            except BrokenPipeError:
                _drop_output()
                return CLOSED_PIPE
            except KeyboardInterrupt:
                report(program, "interrupted")
                return INTERRUPTED
            except mistakes as error:
                report(program, error)
                return BAD_INPUT
            except Exception as error:
                if is_out_of_memory(error):
                    report(program, f"out of memory: {without_memory} ({str(error)[:200]})")
                elif platforms := _missing_platforms():
                    report(
                        program,
                        f"jax cannot start on JAX_PLATFORMS={platforms}: unset it, or set "
                        "JAX_PLATFORMS=cpu.",
                    )
                else:
                    raise
                return BAD_INPUT

        return ending

    return decorate


def report(program: str, message: object) -> None:
    """Prints a message as one line on standard error; values in it may hold line breaks."""
    with contextlib.suppress(BrokenPipeError):
        line = f"{program}: {' '.join(str(message).split())}"
        print(as_typed(line), file=sys.stderr)


def _missing_platforms() -> str | None:
    """The platforms that jax was told to run on, if it cannot."""
    platforms = os.environ.get("JAX_PLATFORMS")
    try:
        jax.devices() if platforms else None
    except (RuntimeError, AssertionError):  # the second without words, of a known one
        return platforms
    return None


def _drop_output():
    """Leaves nothing to write to a closed pipe: python would try again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _cache_programs():
    import warnings

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(places.cache("xla")))
    # Small programs too: a start needs some thirty, which take 20 ms each to compile, 2 to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # A kill or a full disk cuts an entry short; its program is compiled again.
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache entry")
