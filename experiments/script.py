"""How every script starts and ends: Ctrl-C at any moment, closed pipes, mistakes, no memory.

Scripts import it before anything slow. From then on until `run` calls `main`, and again when python
ends, Ctrl-C ends the process in a line: python would print a traceback from the middle of an
import. In a notebook, which lives on, and where another program imports a script, nothing changes.
"""

import atexit
import contextlib
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable

Main = Callable[[list[str]], int]  # from a program's arguments to its exit status

BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE


def in_main_thread() -> bool:
    """Whether this thread is the one that python lets handle signals."""
    return threading.current_thread() is threading.main_thread()


def is_interactive() -> bool:
    """Whether the process is a notebook's or a prompt's, which must outlive the script."""
    return hasattr(sys, "ps1")


def run(main: Main, cached: bool = True) -> None:
    """Runs a script's `main`, and ends with its exit status.

    Names of files that are no text are printed, whatever the terminal takes.

    Args:
      main: the program.
      cached: keep compiled programs in the user's cache, so that a second run starts in seconds.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="backslashreplace")
    if cached:
        _cache_programs()
    if _guarded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit.register(signal.signal, signal.SIGINT, _leave)
    if status := main(sys.argv[1:]):  # a notebook takes even an exit with 0 for an end to show
        sys.exit(status)


def ends_in_a_line(
    program: str,
    without_memory: str = "use a machine with more",
    mistakes: tuple[type[Exception], ...] = (ValueError, OSError),
) -> Callable[[Main], Main]:
    """Makes a program's `main` report in a line what ends it early.

    It then returns 2 for bad input and for lack of memory, 130 for Ctrl-C, and, in silence, 141 if
    what reads its output has closed the pipe, as `| head` does.

    Args:
      program: its name.
      without_memory: what to do where memory is lacking.
      mistakes: the exceptions that mean bad input.
    """

    def decorate(main):
        @functools.wraps(main)
        def ending(arguments):
            try:
                status = main(arguments)
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
                from jaxgan.checkpoint import is_out_of_memory

                if not is_out_of_memory(error):
                    raise
                report(program, f"out of memory: {without_memory} ({str(error)[:200]})")
                return BAD_INPUT

        return ending

    return decorate


def report(program: str, message: object) -> None:
    """Prints a message as one line on standard error; values in it may hold line breaks."""
    with contextlib.suppress(BrokenPipeError):
        print(f"{program}: {' '.join(str(message).split())}", file=sys.stderr)


def _drop_output():
    """Leaves nothing to write to a closed pipe: python would try again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _cache_programs():
    import warnings

    import jax

    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "jaxgan", "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # A kill or a full disk cuts an entry short; its program is compiled again.
    warnings.filterwarnings("ignore", "Error .* persistent compilation cache entry")


def _leave(number, frame):
    # No exception: an import, or what python runs between two lines, may swallow one.
    report(os.path.basename(_started()), "interrupted")
    os._exit(INTERRUPTED)


def _started():
    """The file that the process runs."""
    return os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or "")


def _is_started_here():
    """Whether the process runs a script of this folder, and Ctrl-C does what python lets it do."""
    if os.path.dirname(_started()) != os.path.dirname(os.path.realpath(__file__)):
        return False
    if is_interactive() or not in_main_thread():
        return False
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


_guarded = _is_started_here()
if _guarded:
    signal.signal(signal.SIGINT, _leave)
