"""The running service: a database, uwsgi in front of the application, and the janitor.

They are started in this order and stopped in the reverse, whatever happens between.
"""

import collections
import contextlib
import ctypes
import http.client
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marconi_api import embedded, schema, signing
from marconi_api.installation import config_file, normalise_url

# Seconds.
READY_TIMEOUT = 60.0
POLL_INTERVAL = 0.05
WATCH_INTERVAL = 0.2
JANITOR_STOP_TIMEOUT = 5.0
JANITOR_PAUSE = 5.0

# Connections to an embedded PostgreSQL beside those of the workers: the janitor, alembic,
# pecan shell, psql, and the three that PostgreSQL keeps for its superuser.
SPARE_CONNECTIONS = 20

# The longest queue of connections that wait to be accepted; a burst of more is refused.
LISTEN_QUEUE = 1024

# The routers say so of every client that closes its connection early, which is no error.
CLIENT_WENT_AWAY = re.compile(
    rb'^\[uwsgi-(http|fastrouter) .*(Connection reset by peer|Broken pipe)'
)

# Bytes of a request's body; the connection of a client that sends more is closed, while one
# that is just beyond Marconi's own limits is still answered.
LARGEST_BODY = 16 * 1024 * 1024

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServiceError(Exception):
    """Marconi cannot run as it is set up; the message is one line that says what to change."""


def serve(settings: Any) -> None:
    """Run Marconi until a signal asks to stop; then let requests in flight finish.

    :raises ServiceError: if it cannot start, or if uwsgi ended unasked.
    """
    stop = _stop_event()
    address = Address.of(settings.server)
    with contextlib.ExitStack() as started:
        url = _start_database(settings, started)
        if stop.is_set():
            return
        sockets = started.enter_context(_private_directory())
        environment = os.environ | {
            'MARCONI_DATABASE_URL': url,
            'MARCONI_CONFIG': str(config_file()),
            'MARCONI_SIGNING_KEYS': _signing_keys(settings),
        }
        janitor = Janitor(environment)
        started.callback(janitor.stop)
        uwsgi = Uwsgi(settings.server, address, sockets, environment)
        started.callback(uwsgi.stop)
        uwsgi.wait_until_ready(stop)
        if not stop.is_set():
            print(f'Marconi is ready at http://{address}', flush=True)
        while not stop.wait(WATCH_INTERVAL):
            uwsgi.raise_if_ended()
            janitor.start_if_ended()


@dataclass(frozen=True)
class Address:
    """Where the API listens."""

    host: str
    port: int
    family: int = socket.AF_INET

    @classmethod
    def of(cls, server: Any) -> 'Address':
        """The address in the settings, made sure to be free; port 0 becomes a free one."""
        try:
            port = int(server.port)
            if not 0 <= port <= 65535:
                raise ValueError
            found = socket.getaddrinfo(
                server.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except ValueError:
            raise ServiceError(f'{server.port} is no port number: change PORT') from None
        except OSError:
            raise ServiceError(f'{server.host} is no address of a machine: change HOST') from None
        family, kind, _, _, name = found[0]
        try:
            with socket.socket(family, kind) as probe:
                # Connections that a former service closed a moment ago are no hindrance.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(name)
                probe.listen()
                host, port = probe.getsockname()[:2]
        except OSError as error:
            raise ServiceError(
                f'cannot listen on {server.host}:{server.port}: {error.strerror}: '
                'change HOST or PORT'
            ) from None
        return cls(host, port, family)

    def __str__(self) -> str:
        host = f'[{self.host}]' if self.family == socket.AF_INET6 else self.host
        return f'{host}:{self.port}'

    @property
    def reachable_host(self) -> str:
        """A host to connect to, also where we listen on every interface."""
        return {'0.0.0.0': '127.0.0.1', '::': '::1'}.get(self.host, self.host)


class Uwsgi:
    """uwsgi's master with its workers and its router, which answer the requests."""

    def __init__(
        self, server: Any, address: Address, sockets: Path, environment: dict[str, str]
    ) -> None:
        self._address = address
        self._stop_timeout = server.stop_timeout
        self._is_ready = False
        # What uwsgi says at its start is of interest only if that fails.
        self._held: collections.deque[bytes] = collections.deque(maxlen=1000)
        self._process = _start_child(
            _uwsgi_command(server, address, sockets),
            environment,
            stdin=subprocess.DEVNULL,
            prepare=_limit_file_size,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, name='uwsgi-output', daemon=True)
        self._reader.start()

    def wait_until_ready(self, stop: threading.Event) -> None:
        """Return when a request is answered, or when ``stop`` is set."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not stop.wait(POLL_INTERVAL):
            if _is_healthy(self._address):
                self._is_ready = True
                return
            if self._process.poll() is not None:
                raise self._failure('uwsgi could not start the application')
            if time.monotonic() > deadline:
                raise self._failure(f'no healthy answer within {READY_TIMEOUT:.0f} seconds')

    def raise_if_ended(self) -> None:
        """Tell whether uwsgi still runs, as it must until it is stopped."""
        if self._process.poll() is not None:
            raise ServiceError(f'uwsgi ended unasked, with code {self._process.returncode}')

    def stop(self) -> None:
        """Let requests in flight finish, for ``server.stop_timeout`` seconds at most."""
        # The master itself would wait for ever; it also takes a while to end after the last
        # of its workers.
        _stop_child(self._process, self._stop_timeout + 2)
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


class Janitor:
    """The process that removes what has expired; it is replaced if it dies."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._start()

    def start_if_ended(self) -> None:
        """Replace a dead janitor, though not faster than once in a while."""
        if self._process.poll() is not None and time.monotonic() > self._not_before:
            self._start()

    def stop(self) -> None:
        """End it; what it was removing is removed next time."""
        _stop_child(self._process, JANITOR_STOP_TIMEOUT)

    def _start(self) -> None:
        self._not_before = time.monotonic() + JANITOR_PAUSE
        command = [sys.executable, '-m', 'marconi_api.commands', 'expire', '--forever']
        self._process = _start_child(command, self._environment, stdin=subprocess.DEVNULL)


def _uwsgi_command(server: Any, address: Address, sockets: Path) -> list[str]:
    """The program uwsgi and its options.

    Two routers stand between clients and workers, so that a worker sees whole requests only.
    The http router keeps the clients' connections and reads the headers, the fastrouter then
    reads the body. Thus 200 idle connections, or 50 clients that drip a byte a second or
    hang after their headers, leave the others' p99 at 5 ms. Without the fastrouter a client
    that hangs in its body holds a thread (50 of them: 18 s); without both (http11-socket)
    every idle connection does. They cost about 50 us of CPU time a request, of 500 or more.
    """
    options = {
        'http': str(address),
        'http-keepalive': server.keepalive_timeout,
        # Longer than a worker may take, so that it is never a router that gives up.
        'http-timeout': server.request_timeout + 10,
        'fastrouter-timeout': server.request_timeout + 10,
        # Clients such as curl wait for "100 Continue" before they send a large body.
        'http-manage-expect': 1,
        # Unix sockets, as who reaches uwsgi's own protocol may run code in the workers.
        'http-to': sockets / 'router.sock',
        'fastrouter': sockets / 'router.sock',
        'fastrouter-to': sockets / 'workers.sock',
        'socket': sockets / 'workers.sock',
        # Bytes; a larger body waits in an unnamed file.
        'fastrouter-post-buffering': 65536,
        # Bytes passed on at once: more than the default of a page, so that most answers take
        # one turn. With 60,000 or more the http router breaks off large bodies.
        'http-buffer-size': 32768,
        'fastrouter-buffer-size': 32768,
        'wsgi': 'marconi_api.wsgi',
        'processes': server.processes,
        'threads': server.threads,
        'listen': min(LISTEN_QUEUE, _longest_listen_queue()),
        # Headers and the request's line may have that many bytes together.
        'buffer-size': 65535,
        'harakiri': server.request_timeout,
        # Otherwise SIGTERM restarts the workers, or ends them amid their requests.
        'hook-master-start': 'unix_signal:15 gracefully_kill_them_all',
    }
    flags = [
        'master',
        'enable-threads',
        # The master loads the application, and then forks: it connects to nothing before it
        # is asked something. With lazy-apps, a worker that is told to stop while it still
        # loads misses that, and the master waits for it for ever.
        'need-app',
        'no-orphans',
        'vacuum',
        'disable-logging',
        # A client that does not wait for its answer is not worth a traceback.
        'ignore-sigpipe',
        'ignore-write-errors',
        'disable-write-exception',
    ]
    return [
        _uwsgi_program(),
        *(f'--{flag}' for flag in flags),
        *(f'--{name}={value}' for name, value in options.items()),
    ]


def _uwsgi_program() -> str:
    for directory in (Path(sys.executable).parent, Path(sysconfig.get_path('scripts'))):
        if (directory / 'uwsgi').exists():
            return str(directory / 'uwsgi')
    found = shutil.which('uwsgi')
    if found is None:
        raise ServiceError('found no uwsgi: install the package pyuwsgi')
    return found


def _longest_listen_queue() -> int:
    # uwsgi refuses to start with more than the system grants.
    try:
        return int(Path('/proc/sys/net/core/somaxconn').read_text())
    except OSError:
        return 128


def _start_database(settings: Any, started: contextlib.ExitStack) -> str:
    """Have a database with the right schema, and its URL."""
    database = settings.database
    if database.url:
        schema.check(database.url)
        return normalise_url(database.url)
    workers = settings.server.processes * settings.server.threads
    server = embedded.EmbeddedPostgres(
        _state_dir(settings),
        programs_dir=database.programs_dir,
        options=[f'max_connections={workers + SPARE_CONNECTIONS}'],
    )
    server.own()
    started.callback(server.disown)
    # One that a killed service left behind is taken over, and stopped in the end as well.
    started.callback(server.stop)
    server.start()
    schema.upgrade(server.url)
    return server.url


def _state_dir(settings: Any) -> Path:
    """Where the embedded PostgreSQL has its data."""
    return Path(settings.database.data_dir or embedded.default_state_dir())


def _signing_keys(settings: Any) -> str:
    """The keys for pre-signed URLs: those that are set, else one kept with the embedded data.

    A database that is named may serve several Marconis, which must have the same keys.
    """
    if settings.signed_urls.secret_keys or settings.database.url:
        return str(settings.signed_urls.secret_keys)
    try:
        return signing.kept_key(_state_dir(settings))
    except OSError as error:
        raise ServiceError(
            f'cannot keep a key for signed URLs: {error.strerror}: {error.filename}: '
            'mend that, or set MARCONI_SIGNING_KEYS'
        ) from None


def _stop_event() -> threading.Event:
    """An event that is set by the first signal to stop; further ones change nothing.

    A handler, unlike an exception, cannot tear a start or a stop apart midway.
    """
    stop = threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextlib.contextmanager
def _private_directory() -> Iterator[Path]:
    # Not in $TMPDIR: a socket's path may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix='marconi-', dir='/tmp') as path:
        yield Path(path)


def _is_healthy(address: Address) -> bool:
    connection = http.client.HTTPConnection(address.reachable_host, address.port, timeout=5)
    try:
        connection.request('GET', '/v1/health')
        return connection.getresponse().status == 204
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _start_child(
    command: list[str],
    environment: dict[str, str],
    prepare: Callable[[], None] = lambda: None,
    **streams: Any,
) -> subprocess.Popen[bytes]:
    """Start a process that ends when we do, even when we are killed.

    Its session is its own, so that Ctrl-C reaches us alone and we end it in good order.
    ``prepare`` is called in it before its program starts.
    """

    def before_exec() -> None:
        if sys.platform == 'linux':
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        prepare()

    return subprocess.Popen(
        command, env=environment, start_new_session=True, preexec_fn=before_exec, **streams
    )


if sys.platform == 'linux':
    # Loaded beforehand: between fork and exec a child should do as little as it can.
    _libc = ctypes.CDLL(None, use_errno=True)
    _PR_SET_PDEATHSIG = 1


def _limit_file_size() -> None:
    # Of the files in which the fastrouter keeps bodies, lest one client fills the disk. The
    # workers lift it for themselves (see wsgi.py).
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_BODY, hard))


def _stop_child(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask the process to end, and end all of its session after ``seconds``."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _write_to_stderr(line: bytes) -> None:
    # Where nobody reads any more, uwsgi must still be able to write.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
