"""The processes that a service runs beside itself, and what they have in common.

A child ends when the service ends, even when the service is killed. As root, it runs as a
plain user. A companion is a child that is started again if it ends unasked.
"""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from marconi_api.processes.embedded.server_user import ServerUser

log = logging.getLogger(__name__)

# Seconds.
COMPANION_STOP_TIMEOUT = 5.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# Seconds after which the start of a companion counts as a success.
SETTLED_AFTER = 10.0


class Restarts:
    """When something that ended may be started again: after a pause that grows.

    The pause is ``FIRST_PAUSE`` at first, and doubles with each further end up to ``LONGEST_PAUSE``.
    """

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def note_end(self) -> float:
        """Put off the next start; return for how many seconds."""
        pause = self._pause
        self._not_before = time.monotonic() + pause
        self._pause = min(pause * 2, LONGEST_PAUSE)
        return pause

    def note_success(self) -> None:
        """Note that the last start succeeded, so that the next pause is short again."""
        self._pause = FIRST_PAUSE

    def is_due(self) -> bool:
        """Whether the pause is over."""
        return time.monotonic() >= self._not_before


class Companion:
    """A process that works beside those that answer requests; it is replaced if it ends.

    Nothing is lost when a companion is killed: its successor does again what was not finished.

    :param name: its name in the log
    :param pass_fds: descriptors that it inherits
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        user: ServerUser | None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._name = name
        self._command = command
        self._environment = environment
        self._user = user
        self._pass_fds = pass_fds
        self._restarts = Restarts()
        self._has_ended = False
        self._start()

    def look_after(self) -> None:
        """Replace it if it has ended, after a pause."""
        code = self._process.poll()
        if code is None:
            if time.monotonic() > self._started_at + SETTLED_AFTER:
                self._restarts.note_success()
        elif not self._has_ended:
            self._has_ended = True
            pause = self._restarts.note_end()
            log.error(
                'the %s has ended %s; it is started again in %g s',
                *(self._name, how_it_ended(code), pause),
            )
        elif self._restarts.is_due():
            self._start()

    def stop(self) -> None:
        """End it."""
        stop_child(self._process, COMPANION_STOP_TIMEOUT)

    def _start(self) -> None:
        self._has_ended = False
        self._started_at = time.monotonic()
        self._process = start_child(
            self._command,
            self._environment,
            self._user,
            stdin=subprocess.DEVNULL,
            pass_fds=self._pass_fds,
        )


def start_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    user: ServerUser | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a process that ends when this one does, even if this one is killed.

    The child has a session of its own, so that Ctrl-C reaches only this process, which then stops the
    child in good order.

    :param user: the user as whom it runs; None: the user of this process
    :param options: further options of :class:`subprocess.Popen`
    """

    def before_exec() -> None:
        # After the change of user, which would undo this setting. If the service is killed, its
        # children end at once: nobody waits for their answers, and the next service waits for the port.
        if sys.platform == 'linux':
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    if user is not None:
        options |= user.identity()
        environment = user.environment(environment)
    return subprocess.Popen(
        command, env=environment, start_new_session=True, preexec_fn=before_exec, **options
    )


if sys.platform == 'linux':
    # Loaded before the fork: between fork and exec a child should do as little as possible.
    _libc = ctypes.CDLL(None, use_errno=True)
    _PR_SET_PDEATHSIG = 1


def stop_child(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask the process to end, and end all of its session after ``seconds``."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def how_it_ended(code: int) -> str:
    """How a process ended, in words, for a line of the log."""
    return f'with code {code}' if code >= 0 else f'by signal {-code}'


def leave() -> NoReturn:
    """End this process. Python would free all that it has loaded, which takes a tenth of a second of CPU."""
    logging.shutdown()
    os._exit(0)


def name_process(name: str) -> None:
    """Give this process a name of at most 15 bytes, which ``ps -e``, top and pgrep show."""
    # Linux has this file; elsewhere the process keeps its program's name.
    with contextlib.suppress(OSError):
        Path('/proc/self/comm').write_text(name)
