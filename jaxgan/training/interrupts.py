"""Signals while a run trains: the first asks it to stop where it can be saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupt:
    """The signal that asked a run to stop.

    Attributes:
      number: SIGINT or SIGTERM; 0 as long as none came.
    """

    number = 0

    def take(self, number, frame) -> None:
        """Handles a signal. A SIGINT after another signal stops at once."""
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def noted() -> Iterator[Interrupt]:
    """Within it SIGINT and SIGTERM only leave their number.

    Python lets the main thread alone handle signals: in another, nothing is noted.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    numbers = signal.SIGINT, signal.SIGTERM
    previous = {number: signal.signal(number, interrupt.take) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
