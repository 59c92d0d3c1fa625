"""Every script's first import and last call: Ctrl-C ends a script in a line at any moment.

Scripts import this before anything slow. From then on until `run` calls `main`, and again when
python ends, Ctrl-C ends the process: python would print a traceback from the middle of an import.
In a notebook, and where another program imports a script, nothing changes.
"""

import atexit
import os
import signal
import sys
import threading


def run(main, cached: bool = True) -> None:
    """Runs a script's `main`, and ends with its exit status: see `jaxgan.commands.endings.run`."""
    from jaxgan.commands import endings

    if _guarded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit.register(signal.signal, signal.SIGINT, _leave)
    endings.run(main, sys.argv[1:], cached)


def _leave(number, frame):
    # No exception: an import, or what python runs between two lines, may swallow one.
    print(f"{os.path.basename(_started())}: interrupted", file=sys.stderr)
    os._exit(128 + signal.SIGINT)


def _started():
    """The file that the process runs."""
    return os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or "")


def _is_started_here():
    """Whether the process runs a script of this folder, and Ctrl-C does what python lets it do."""
    if os.path.dirname(_started()) != os.path.dirname(os.path.realpath(__file__)):
        return False
    if hasattr(sys, "ps1") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


_guarded = _is_started_here()
if _guarded:
    signal.signal(signal.SIGINT, _leave)
