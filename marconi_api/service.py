"""The running service: a database, the companions, and uwsgi in front of the application.

They are started in this order and stopped in the reverse, whatever happens between.
"""

import collections
import contextlib
import errno
import functools
import http.client
import logging
import logging.config
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg2

from marconi_api import embedded, schema
from marconi_api.children import Companion, Restarts, name_process, start_child, stop_child
from marconi_api.controllers.openstack import signed_urls
from marconi_api.embedded import ServerUser
from marconi_api.installation import config_file, normalise_url
from marconi_api.limits import Limits
from marconi_api.signals import StopRequest

log = logging.getLogger(__name__)

# Seconds.
READY_TIMEOUT = 60.0
POLL_INTERVAL = 0.05
WATCH_INTERVAL = 0.2
# A killed predecessor takes a while to be gone from its port.
PORT_TIMEOUT = 5.0

# Each is a process that works beside those that answer requests: its name, and its command.
COMPANIONS = {
    'janitor': [sys.executable, '-m', 'marconi_api.commands', 'expire', '--forever'],
}

# Connections to an embedded PostgreSQL beside those of the workers: the janitor, alembic,
# pecan shell, psql, and the three that PostgreSQL keeps for its superuser.
SPARE_CONNECTIONS = 20

# The longest queue of connections that wait to be accepted; a burst of more is refused.
LISTEN_QUEUE = 1024

# The routers say so of every client that closes its connection early, which is no error.
CLIENT_WENT_AWAY = re.compile(
    rb'^\[uwsgi-(http|fastrouter) .*(Connection reset by peer|Broken pipe)'
)

# Seconds.
HEADERS_TIMEOUT = 10

# Seconds in which clients learn from an answer that their connection is about to be closed: a
# proxy that uses one at the moment at which it ends has to tell its client of an error.
FAREWELL = 0.5

# How many times as large as it may be a body can be to be answered, with 400. The connection of
# a client that sends more is closed: it would be kept on disk until it is whole.
OVERSIZE_ANSWERED = 4

# Files and connections that a process may have open.
MOST_DESCRIPTORS = 65536
ENOUGH_DESCRIPTORS = 4096


class ServiceError(Exception):
    """Marconi cannot run as it is set up; the message is one line that says what to change."""


class Part(Protocol):
    """A part of the running service."""

    def look_after(self) -> None:
        """Mend it if it has ended unasked; :raises ServiceError: if that cannot be mended."""


def serve(settings: Any) -> None:
    """Run Marconi until a signal asks to stop; then let requests in flight finish.

    :raises ServiceError: if it cannot start, or if uwsgi ended unasked.
    """
    stop = StopRequest()
    name_process('marconi')
    logging.config.dictConfig(settings.logging.to_dict())
    # It tells each step by itself (see schema.py).
    logging.getLogger('alembic').setLevel(logging.WARNING)
    _raise_descriptor_limit()
    with contextlib.closing(Listener(settings.server, stop)) as listener:
        database = _database(settings)
        with contextlib.ExitStack() as started:
            started.callback(database.stop)
            database.start(stop)
            if not stop.is_set():
                _answer_requests(settings, database, listener, started, stop)
    log.info('Marconi has stopped; the data stay in %s', database.place)


def _answer_requests(
    settings: Any,
    database: 'NamedPostgres | KeptPostgres',
    listener: 'Listener',
    started: contextlib.ExitStack,
    stop: StopRequest,
) -> None:
    """Start what answers requests, and look after it and the database until asked to stop.

    What is started later is stopped earlier, by ``started``.
    """
    environment = os.environ | {
        'MARCONI_DATABASE_URL': database.url,
        'MARCONI_CONFIG': str(config_file()),
        'MARCONI_SIGNING_KEYS': _signing_keys(settings),
    }
    log.info('%s keeps the data in %s', schema.version(database.url), database.place)
    user = _user_of_children(settings, database)
    parts: list[Part] = [database]
    for name, command in COMPANIONS.items():
        companion = Companion(name, command, environment, user)
        started.callback(companion.stop)
        parts.append(companion)
    sockets = started.enter_context(_private_directory(user))
    uwsgi = Uwsgi(settings, listener, sockets, environment, user)
    started.callback(uwsgi.stop)
    parts.append(uwsgi)
    uwsgi.wait_until_ready(stop)
    if not stop.is_set():
        print(f'Marconi is ready at http://{listener.address}', flush=True)
    while not stop.wait(WATCH_INTERVAL):
        for part in parts:
            part.look_after()


@dataclass(frozen=True)
class Address:
    """Where the API listens."""

    host: str
    port: int
    family: int = socket.AF_INET

    def __str__(self) -> str:
        host = f'[{self.host}]' if self.family == socket.AF_INET6 else self.host
        return f'{host}:{self.port}'

    @property
    def reachable_host(self) -> str:
        """A host to connect to, also where we listen on every interface."""
        return {'0.0.0.0': '127.0.0.1', '::': '::1'}.get(self.host, self.host)


class Listener:
    """The socket at which clients arrive; the port is ours from the start, and closed till uwsgi runs.

    We open it, as uwsgi need not be root then to have a port below 1024.
    """

    def __init__(self, server: Any, stop: StopRequest) -> None:
        """Take the address in the settings; port 0 becomes a free one.

        A predecessor that was killed a moment ago may still have it.
        """
        self._shown = f'{server.host}:{server.port}'
        family, name = _looked_up(server.host, server.port)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        # Connections that a former service closed a moment ago are no hindrance.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline = time.monotonic() + PORT_TIMEOUT
        while not self._bind(name, may_fail=time.monotonic() < deadline):
            if stop.wait(POLL_INTERVAL):
                break
        host, port = self._socket.getsockname()[:2]
        self.address = Address(host, port, family)

    def fileno(self) -> int:
        """The descriptor, for a child to inherit."""
        return self._socket.fileno()

    def open(self) -> None:
        """Let clients connect; they wait until their connection is accepted."""
        try:
            self._socket.listen(min(LISTEN_QUEUE, _longest_listen_queue()))
        except OSError as error:
            raise self._refusal(error) from None

    def refuse(self) -> None:
        """Let no further client connect, also where a child has inherited it."""
        # It is not connected, or closed already.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Close it here; a child that has inherited it goes on."""
        self._socket.close()

    def _bind(self, name: Any, may_fail: bool) -> bool:
        try:
            self._socket.bind(name)
        except OSError as error:
            if may_fail and error.errno == errno.EADDRINUSE:
                return False
            self.close()
            raise self._refusal(error) from None
        return True

    def _refusal(self, error: OSError) -> ServiceError:
        return ServiceError(
            f'cannot listen on {self._shown}: {error.strerror}: change HOST or PORT'
        )


def _looked_up(host: str, port: str) -> tuple[int, Any]:
    """The family of an address, and the address as ``bind`` takes it."""
    try:
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except ValueError:
        raise ServiceError(f'{port} is no port number: change PORT') from None
    except OSError:
        raise ServiceError(f'{host} is no address of a machine: change HOST') from None
    family, _, _, _, name = found[0]
    return family, name


class NamedPostgres:
    """The PostgreSQL that the settings name; others look after it."""

    def __init__(self, settings: Any) -> None:
        self.url = normalise_url(settings.database.url)
        self._user_name = settings.server.user

    @property
    def place(self) -> str:
        """Where the data lie, as it may be printed."""
        return schema.shown(self.url)

    @property
    def user(self) -> ServerUser | None:
        """As whom Marconi should run, if anybody said so."""
        return ServerUser.named(self._user_name) if self._user_name else None

    def start(self, stop: StopRequest) -> None:
        """Make sure that it can be used."""
        schema.check(self.url)

    def look_after(self) -> None:
        """Leave that to others."""

    def stop(self) -> None:
        """Leave it running."""


class KeptPostgres:
    """The embedded PostgreSQL, which is started again whenever it ends unasked."""

    def __init__(self, settings: Any) -> None:
        """Take the data for ours, before anything is done to a server that runs on them."""
        workers = settings.server.processes * settings.server.threads
        self._server = embedded.EmbeddedPostgres(
            _state_dir(settings),
            programs_dir=settings.database.programs_dir,
            options=[f'max_connections={workers + SPARE_CONNECTIONS}'],
            user=settings.server.user,
        )
        self._server.own()
        self._restarts = Restarts()
        self._is_down = False
        self._was_down = False

    @property
    def url(self) -> str:
        """The database's URL; the server must be running."""
        return self._server.url

    @property
    def place(self) -> str:
        """Where the data lie, as it may be printed."""
        return str(self._server.state_dir)

    @property
    def user(self) -> ServerUser:
        """As whom it runs."""
        return self._server.user

    def start(self, stop: StopRequest) -> None:
        """Start it, with the schema up to date; one that a killed service left is taken over."""
        self._server.start(give_up=stop.is_set)
        if not stop.is_set():
            schema.upgrade(self.url)

    def look_after(self) -> None:
        """Start it again if it has ended: soon at first, then after pauses that grow.

        A full disk may end it at every start, until there is space again.
        """
        self._server.shorten_log()
        try:
            if not self._is_down:
                self._note_readiness()
            elif self._restarts.is_due():
                self._server.start_again()
                self._is_down = False
        except embedded.EmbeddedPostgresError as error:
            self._is_down = self._was_down = True
            log.error('%s; it is started again in %g s', error, self._restarts.note_end())

    def stop(self) -> None:
        """End it, also one that a killed service left behind and that was taken over."""
        self._server.stop()
        self._server.disown()

    def _note_readiness(self) -> None:
        if self._server.is_ready() and self._was_down:
            self._was_down = False
            self._restarts.note_success()
            log.info('PostgreSQL takes connections again')


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
        self._stop_timeout = settings.server.stop_timeout
        kept = OVERSIZE_ANSWERED * Limits.from_config(settings.limits).largest_body
        self._is_ready = False
        # What uwsgi says at its start is of interest only if that fails.
        self._held: collections.deque[bytes] = collections.deque(maxlen=1000)
        self._listener = listener
        self._farewell = sockets / 'farewell'
        self._farewell.write_bytes(b'\0')
        listener.open()
        self._process = start_child(
            _uwsgi_command(settings.server, listener.fileno(), sockets, kept),
            environment | {'MARCONI_FAREWELL': str(self._farewell)},
            user,
            prepare=functools.partial(_limit_file_size, kept),
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
            if _is_healthy(self._address):
                self._is_ready = True
                return
            if self._process.poll() is not None:
                raise self._failure('uwsgi could not start the application')
            if time.monotonic() > deadline:
                raise self._failure(f'no healthy answer within {READY_TIMEOUT:.0f} seconds')

    def look_after(self) -> None:
        """Make sure that uwsgi still runs, as it must until it is stopped."""
        if self._process.poll() is not None:
            raise ServiceError(f'uwsgi ended unasked, with code {self._process.returncode}')

    def stop(self) -> None:
        """Take no new clients; let requests in flight finish, for ``server.stop_timeout`` seconds."""
        self._listener.refuse()
        if self._is_ready and self._process.poll() is None:
            with self._farewell.open('r+b') as farewell:
                farewell.write(b'\1')
            time.sleep(FAREWELL)
        # The master itself would wait for ever; it also takes a while to end after the last
        # of its workers.
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


def _uwsgi_command(server: Any, listener: int, sockets: Path, kept: int) -> list[str]:
    """The program uwsgi and its options.

    :param kept: bytes of the largest body that is kept until it is whole

    Two routers stand between clients and workers, so that a worker sees whole requests only.
    The http router keeps the clients' connections and reads the headers, the fastrouter then
    reads the body. Thus 200 idle connections, or 50 clients that drip a byte a second or
    hang after their headers, leave the others' p99 at 5 ms. Without the fastrouter a client
    that hangs in its body holds a thread (50 of them: 18 s); without both (http11-socket)
    every idle connection does. They cost about 50 us of CPU time a request, of 500 or more.
    """
    options = {
        'http': f'fd://{listener}',
        'http-keepalive': server.keepalive_timeout,
        # Longer than a worker may take, so that it is never a router that gives up.
        'http-timeout': server.request_timeout + 10,
        'fastrouter-timeout': server.request_timeout + 10,
        # Of silence before a request's headers are complete; a connection that was used may
        # be idle for longer.
        'http-headers-timeout': HEADERS_TIMEOUT,
        # Clients such as curl wait for "100 Continue" before they send a large body; to one that
        # is larger than this the answer is 413.
        'http-manage-expect': kept,
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
        # The routers pass on bodies in chunks as they come; wsgi.py puts them together.
        'http-chunked-input',
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


def _database(settings: Any) -> NamedPostgres | KeptPostgres:
    return NamedPostgres(settings) if settings.database.url else KeptPostgres(settings)


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
        return signed_urls.kept_key(_state_dir(settings))
    except OSError as error:
        raise ServiceError(
            f'cannot keep a key for signed URLs: {error.strerror}: {error.filename}: '
            'mend that, or set MARCONI_SIGNING_KEYS'
        ) from None


def _user_of_children(settings: Any, database: NamedPostgres | KeptPostgres) -> ServerUser | None:
    """The user as whom requests are answered, if not the one as whom we run.

    As root it is the one that is named, else the one as whom the embedded PostgreSQL runs.
    """
    user = database.user
    if user is None and os.geteuid() == 0:
        log.warning('requests are answered as root: set MARCONI_USER to a plain user')
    if user is None or not user.is_another:
        return None
    closed = [path for path in _files_of_children() if not user.can_read([path])]
    if not closed:
        return user
    refusal = f'user {user.name} cannot read {closed[0]}'
    if settings.server.user:
        raise ServiceError(f'{refusal}: let that user read it, or change MARCONI_USER')
    log.warning('%s, so requests are answered as root: let that user read it', refusal)
    return None


def _files_of_children() -> list[str]:
    """One file of each installation that must be readable for the workers and companions."""
    return [
        sys.executable,
        str(config_file()),
        *(found for found in (__file__, os.__file__, psycopg2.__file__) if found),
    ]


def _raise_descriptor_limit() -> None:
    """Let this process and its children open many files, as each client takes two of the routers'.

    uwsgi keeps tables as long as the limit, so that it should not be the billion that some
    containers grant.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < ENOUGH_DESCRIPTORS:
        log.warning(
            'only %d descriptors may be open, for about %d clients at once: raise the hard '
            'limit (ulimit -Hn, or LimitNOFILE of systemd) to %d',
            *(granted, granted // 2, ENOUGH_DESCRIPTORS),
        )


@contextlib.contextmanager
def _private_directory(user: ServerUser | None) -> Iterator[Path]:
    # Not in $TMPDIR: a socket's path may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix='marconi-', dir='/tmp') as path:
        if user is not None:
            os.chown(path, user.uid, user.gid)
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


def _limit_file_size(size: int) -> None:
    # Of the files in which the fastrouter keeps bodies, lest one client fills the disk. The
    # workers lift it for themselves (see wsgi.py).
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def _write_to_stderr(line: bytes) -> None:
    # Where nobody reads any more, uwsgi must still be able to write.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
