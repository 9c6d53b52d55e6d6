"""Servers of others, as processes of our own on ports of their own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.environments import Unavailable

START_TIMEOUT = 60.0  # seconds


def program(name: str, package: str) -> str:
    """Where a program of the system is."""
    # Debian keeps some out of the PATH of users who are not root.
    found = shutil.which(name, path=f'{os.environ.get("PATH", "")}:/usr/sbin:/usr/lib/rabbitmq/bin')
    if found is None:
        raise Unavailable(f'no {name} (Debian: apt-get install {package})')
    return found


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    try:
        socket.create_connection(('127.0.0.1', port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def running(
    command: list[str],
    is_ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """A server, once it is ready; it is ended in the end."""
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors='replace').splitlines()[-10:]
                    raise Unavailable('\n'.join([f'{command[0]} did not start:', *said]))
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()
