"""uwsgi: the workers that run the application, and the router in front of them."""

import collections
import contextlib
import http.client
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

from marconi_api.controllers.root import DOORS
from marconi_api.limits import Limits
from marconi_api.processes import tls
from marconi_api.processes.bodies import OVERSIZE_READ
from marconi_api.processes.children import (
    start_child,
    stop_child,
)
from marconi_api.processes.embedded.server_user import ServerUser
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.listener import Address, Listener, longest_listen_queue
from marconi_api.processes.signals import StopRequest

# Seconds.
READY_TIMEOUT = 60.0
POLL_INTERVAL = 0.05

# The router says so of every client that closes its connection early, which is no error.
CLIENT_WENT_AWAY = re.compile(rb'^\[uwsgi-http .*(Connection reset by peer|Broken pipe)')

# Seconds.
HEADERS_TIMEOUT = 10

# Seconds in which clients learn from an answer that their connection is about to be closed: a
# proxy that uses one at the moment at which it ends has to tell its client of an error.
FAREWELL = 0.5


class Uwsgi:
    """uwsgi's master with its workers and its router, which answer the requests."""

    def __init__(
        self,
        settings: Any,
        listener: Listener,
        sockets: Path,
        environment: dict[str, str],
        user: ServerUser | None,
    ) -> None:
        self._address = listener.address
        self._has_tls = tls.is_on(settings.server)
        self._stop_timeout = settings.server.stop_timeout
        own = [door.largest_body for door in DOORS if door.largest_body]
        most_announced = OVERSIZE_READ * max(Limits.from_config(settings.limits).largest_body, *own)
        self._is_ready = False
        # The output of uwsgi's start, which is shown only if the start fails.
        self._held: collections.deque[bytes] = collections.deque(maxlen=1000)
        self._listener = listener
        self._farewell = sockets / 'farewell'
        self._farewell.write_bytes(b'\0\0')
        listener.open()
        self._process = start_child(
            _uwsgi_command(settings.server, listener.fileno(), sockets, most_announced),
            environment | {'MARCONI_FAREWELL': str(self._farewell)},
            user,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, name='uwsgi-output', daemon=True)
        self._reader.start()

    def wait_until_ready(self, stop: StopRequest) -> None:
        """Return when a request is answered, or when ``stop`` is set."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not stop.wait(POLL_INTERVAL):
            if _is_healthy(self._address, self._has_tls):
                self._is_ready = True
                return
            if self._process.poll() is not None:
                raise self._failure('uwsgi could not start the application')
            if time.monotonic() > deadline:
                raise self._failure(f'no healthy answer within {READY_TIMEOUT:.0f} seconds')

    def look_after(self) -> None:
        """Make sure that uwsgi still runs, as it must until it is stopped."""
        if self._process.poll() is not None:
            raise ServiceError(f'uwsgi has ended by itself, with code {self._process.returncode}')

    def drain(self) -> None:
        """Have ``/readyz`` answered with 503 from now on; everything else goes on."""
        with self._farewell.open('r+b') as farewell:
            farewell.write(b'\0\1')

    def stop(self) -> None:
        """Take no new clients; let requests in flight finish, for ``server.stop_timeout`` seconds."""
        self._listener.refuse()
        if self._is_ready and self._process.poll() is None:
            with self._farewell.open('r+b') as farewell:
                farewell.write(b'\1\1')
            time.sleep(FAREWELL)
        # The master would wait for its workers without a limit. It ends a while after the last worker.
        stop_child(self._process, self._stop_timeout + 2)
        self._reader.join(timeout=1)

    def _failure(self, what: str) -> ServiceError:
        self.stop()
        for line in self._held:
            _write_to_stderr(line)
        return ServiceError(f'{what}: the lines above tell why')

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not self._is_ready:
                self._held.append(line)
            elif not CLIENT_WENT_AWAY.search(line):
                _write_to_stderr(line)


def _uwsgi_command(server: Any, listener: int, sockets: Path, most_announced: int) -> list[str]:
    """The program uwsgi and its options.

    :param most_announced: bytes of the largest body that a client may announce with ``Expect``

    A router stands between clients and workers. It keeps the clients' connections and reads the headers,
    so that an idle client, or one that drips its headers, holds no thread. Bodies it passes on as they
    come: wsgi.py takes what has arrived, and leaves slow bodies to the waiting room. uwsgi's fastrouter
    could keep bodies until they are whole, but a second router takes 60 us of CPU time a request, of 500.
    """
    listens, where = tls.router_option(server, f'fd://{listener}')
    options = {
        listens: where,
        'http-keepalive': server.keepalive_timeout,
        # Longer than a worker may take, so that the router never gives up first.
        'http-timeout': server.request_timeout + 10,
        # Of silence before a request's headers are complete; a connection that was used may
        # be idle for longer.
        'http-headers-timeout': HEADERS_TIMEOUT,
        # Clients such as curl wait for "100 Continue" before they send a large body; to one that
        # is larger than this the answer is 413.
        'http-manage-expect': most_announced,
        # Unix sockets, as who reaches uwsgi's own protocol may run code in the workers.
        'http-to': sockets / 'workers.sock',
        'socket': sockets / 'workers.sock',
        # Bytes passed on at once: more than the default of a page, so that most answers take
        # one turn. With 60,000 or more the router breaks off large bodies.
        'http-buffer-size': 32768,
        'wsgi': 'marconi_api.processes.wsgi',
        'processes': server.processes,
        'threads': server.threads,
        'listen': longest_listen_queue(),
        # Headers and the request's line may have that many bytes together.
        'buffer-size': 65535,
        'harakiri': server.request_timeout,
        # Otherwise SIGTERM restarts the workers, or ends them amid their requests.
        'hook-master-start': 'unix_signal:15 gracefully_kill_them_all',
    }
    flags = [
        'master',
        'enable-threads',
        # The router passes on bodies in chunks as they come; wsgi.py puts them together.
        'http-chunked-input',
        # The master loads the application, and then forks: it connects to nothing before it
        # is asked something. With lazy-apps, a worker that is told to stop while it still
        # loads misses that, and the master waits for it for ever.
        'need-app',
        # A worker's end would take a quarter of a second of CPU to free, object by object, memory
        # that it shares with the others.
        'skip-atexit-teardown',
        'no-orphans',
        'vacuum',
        'disable-logging',
        # A client that does not wait for its answer is not worth a traceback.
        'ignore-sigpipe',
        'ignore-write-errors',
        'disable-write-exception',
    ]
    return [
        uwsgi_program(),
        *(f'--{flag}' for flag in flags),
        *(f'--{name}={value}' for name, value in options.items()),
    ]


def uwsgi_program() -> str:
    """The program uwsgi: the one of this environment, else that of the system."""
    for directory in (Path(sys.executable).parent, Path(sysconfig.get_path('scripts'))):
        if (directory / 'uwsgi').exists():
            return str(directory / 'uwsgi')
    found = shutil.which('uwsgi')
    if found is None:
        raise ServiceError('found no uwsgi: install the package pyuwsgi')
    return found


def _is_healthy(address: Address, has_tls: bool) -> bool:
    where = address.reachable_host, address.port
    connection = http.client.HTTPConnection(*where, timeout=5)
    if has_tls:
        # It is ourselves, whatever name the certificate has.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(*where, timeout=5, context=context)
    try:
        connection.request('GET', '/v1/health')
        return connection.getresponse().status == 204
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _write_to_stderr(line: bytes) -> None:
    # Where nobody reads any more, uwsgi must still be able to write.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
