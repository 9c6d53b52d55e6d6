"""What the operator asks a running service for, by signals.

A signal's handler may run at any moment, also amid another handler, so it must not take a
lock that the interrupted code may hold, as ``threading.Event`` does. Here the interpreter
itself writes each signal's number to a pipe, and the handlers do nothing.
"""

import logging
import os
import select
import signal
import sys
import time

log = logging.getLogger(__name__)

STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class StopRequest:
    """Whether a signal has asked to stop; further signals change nothing.

    A flag, unlike an exception, cannot tear a start or a stop apart midway. Only the main
    thread may use it.

    SIGHUP asks to stop where the service was started from a terminal: it says that the terminal
    is gone. Elsewhere it is ignored.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._ends_with_terminal = sys.stdin is not None and os.isatty(0)
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        # A full pipe loses nothing that matters: it holds thousands of signals already.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGHUP):
            signal.signal(number, _do_nothing)

    def is_set(self) -> bool:
        """Whether it was asked to stop by now."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait until it is asked to stop, or until ``seconds`` are over; tell which."""
        deadline = time.monotonic() + seconds
        while not self._is_set:
            seconds_left = max(0.0, deadline - time.monotonic())
            arrived, _, _ = select.select([self._reader], [], [], seconds_left)
            if not arrived:
                return False
            for number in os.read(self._reader, 4096):
                self._note(number)
        return True

    def _note(self, number: int) -> None:
        if number in STOP_SIGNALS or (number == signal.SIGHUP and self._ends_with_terminal):
            self._is_set = True
        elif number == signal.SIGHUP:
            log.warning('SIGHUP is ignored: restart Marconi to apply changed settings')


def _do_nothing(*_: object) -> None:
    """Handle a signal that the interpreter has written to the pipe."""
