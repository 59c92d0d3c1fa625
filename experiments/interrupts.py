"""Signals while a run trains: it stops when it can be saved, and at the second Ctrl-C at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import script


class Interrupt:
    """The signal that asked a run to stop.

    Attributes:
      number: SIGINT or SIGTERM; 0 as long as none came.
    """

    number = 0

    def take(self, number, frame) -> None:
        """Handles a signal."""
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def noted() -> Iterator[Interrupt]:
    """Within it SIGINT and SIGTERM only leave their number; a SIGINT after one stops at once.

    Only the main thread may handle signals: in another, as a notebook's or a server's, nothing is
    noted.
    """
    interrupt = Interrupt()
    if not script.in_main_thread():
        yield interrupt
        return
    numbers = signal.SIGINT, signal.SIGTERM
    previous = {number: signal.signal(number, interrupt.take) for number in numbers}
    try:
        # In a notebook's process, which must live on, the second is served after the program.
        with contextlib.nullcontext() if script.is_interactive() else _second_at_once():
            yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _second_at_once():
    """Ends the process at a SIGINT after another signal.

    While python waits for a compiled program its handlers wait too, but what it writes to its
    wakeup file does not: a thread reads that.
    """
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    previous = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    def watch():
        before = False
        while got := os.read(signals, 1):
            if before and got[0] == signal.SIGINT:
                os._exit(script.INTERRUPTED)
            before = before or got[0] in (signal.SIGINT, signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(wakeup)  # at which the thread ends
        thread.join()
        os.close(signals)
