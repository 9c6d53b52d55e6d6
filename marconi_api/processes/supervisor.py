"""The running service: a database, uwsgi in front of the application, and its companions.

They are started in this order and stopped in the reverse, whatever happens between.
"""

import contextlib
import logging
import logging.config
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psycopg2

from marconi_api.controllers.access import modes
from marconi_api.controllers.openstack import signed_urls
from marconi_api.processes import schema, tls
from marconi_api.processes.children import Companion, name_process
from marconi_api.processes.databases import KeptPostgres, NamedPostgres, database_of, state_dir_of
from marconi_api.processes.delivery import bell
from marconi_api.processes.embedded.server_user import ServerUser
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.installation import SECRET_KEY_FILE, config_file, secret_keys
from marconi_api.processes.listener import Address, Listener, Place
from marconi_api.processes.metrics.meters import DIRECTORY as DIRECTORY_OF_METRICS
from marconi_api.processes.metrics.meters import LISTENER as LISTENER_FOR_METRICS
from marconi_api.processes.signals import StopRequest
from marconi_api.processes.waiting.hand_over import ADDRESS, DIRECTORY, JOURNAL, MAP, SOCKET
from marconi_api.processes.waiting.journal import Journal
from marconi_api.processes.waiting.wake_map import WakeMap
from marconi_api.processes.web_server import Uwsgi, uwsgi_program

log = logging.getLogger(__name__)
WATCH_INTERVAL = 0.2

# Seconds for which the start waits for the waiting room; it is not essential.
_ROOM_PATIENCE = 10.0

# Each is a process that works beside those that answer requests: its name, and its command.
COMPANIONS = {
    'janitor': [sys.executable, '-m', 'marconi_api.commands', 'expire', '--forever'],
    'waiting room': [sys.executable, '-m', 'marconi_api.processes.waiting'],
}

# Those that call webhooks: as many as the settings say.
DELIVERY = [sys.executable, '-m', 'marconi_api.processes.delivery']

# The one that runs only if metrics are wanted.
EXPORTER = [sys.executable, '-m', 'marconi_api.processes.metrics']

# The companions that end before uwsgi: they answer their requests over uwsgi's connections.
_END_FIRST = {'waiting room'}

# Files and connections that a process may have open.
MOST_DESCRIPTORS = 65536
ENOUGH_DESCRIPTORS = 4096


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
    _raise_descriptor_limit()
    with (
        contextlib.closing(Listener(settings.server, stop)) as listener,
        _listener_for_metrics(settings.server, stop) as for_metrics,
    ):
        mode = mode_of_access(settings, listener.address)
        tls.check(settings.server, uwsgi_program())
        database = database_of(settings)
        with contextlib.ExitStack() as started:
            started.callback(database.stop)
            database.start(stop)
            if not stop.is_set():
                _answer_requests(settings, mode, database, listener, for_metrics, started, stop)
    log.info('Marconi has stopped; the data stay in %s', database.place)


def _answer_requests(
    settings: Any,
    mode: str,
    database: 'NamedPostgres | KeptPostgres',
    listener: 'Listener',
    for_metrics: 'Listener | None',
    started: contextlib.ExitStack,
    stop: StopRequest,
) -> None:
    """Start what answers requests, and look after it and the database until asked to stop.

    What is started later is stopped earlier, by ``started``.
    """
    environment = os.environ | {
        'MARCONI_DATABASE_URL': database.url,
        'MARCONI_CONFIG': str(config_file()),
        'MARCONI_ACCESS': mode,
        'MARCONI_SIGNING_KEYS': _signing_keys(settings),
        'MARCONI_SECRET_KEYS': _secret_keys(settings),
        ADDRESS: f'{listener.address.host} {listener.address.port}',
    }
    log.info('%s keeps the data in %s', schema.version(database.url), database.place)
    user = _user_of_children(settings, database)
    parts: list[Part] = [database]
    sockets = started.enter_context(_private_directory(user))
    environment[DIRECTORY] = str(sockets)
    environment[bell.PROCESSES] = str(settings.eventing.processes)
    for name, make in ((MAP, WakeMap.make), (JOURNAL, Journal.make)):
        make(sockets / name)
        if user is not None:
            os.chown(sockets / name, user.uid, user.gid)
    if for_metrics:
        parts.append(_export(for_metrics, sockets / 'metrics', environment, user, started))
    companions = {}
    for name, command in COMPANIONS.items():
        companions[name] = companion = Companion(name, command, environment, user)
        started.callback(companion.stop)
        parts.append(companion)
    for place in range(settings.eventing.processes):
        # Whoever takes the place of one that was killed owns what that did.
        own = {bell.PLACE: str(place), bell.OWNER: str(uuid4())}
        courier = Companion('delivery', DELIVERY, environment | own, user)
        started.callback(courier.stop)
        parts.append(courier)
    uwsgi = Uwsgi(settings, listener, sockets, environment, user)
    started.callback(uwsgi.stop)
    for name in _END_FIRST:
        started.callback(companions[name].stop)
    parts.append(uwsgi)
    uwsgi.wait_until_ready(stop)
    _wait_for_room(sockets / SOCKET, stop)
    if stop.is_set():
        return
    scheme = 'https' if tls.is_on(settings.server) else 'http'
    print(f'Marconi is ready at {scheme}://{listener.address}', flush=True)
    while not stop.wait(WATCH_INTERVAL):
        _look_after(parts)
    _drain(uwsgi, parts, settings.server.drain_seconds)


def _look_after(parts: Sequence[Part]) -> None:
    for part in parts:
        part.look_after()


def _drain(uwsgi: Uwsgi, parts: Sequence[Part], seconds: float) -> None:
    """Answer as before for some seconds, while ``/readyz`` says that no more requests should come."""
    uwsgi.drain()
    deadline = time.monotonic() + seconds
    if seconds:
        log.info('Marconi is not ready any more, and stops in %g s', seconds)
    while (seconds_left := deadline - time.monotonic()) > 0:
        time.sleep(min(WATCH_INTERVAL, seconds_left))
        _look_after(parts)


def mode_of_access(settings: Any, address: Address) -> str:
    """The mode that the settings name; else ``trusted`` if only this machine can connect.

    :raises ServiceError: if no mode is named, and other machines can connect
    """
    mode = modes.mode_of(settings, address.host)
    if mode is None:
        raise ServiceError(
            f'any program that reaches {address} could use any project: set MARCONI_ACCESS to '
            'token or keystone; or to trusted, if a proxy authenticates the clients; or leave HOST '
            'at 127.0.0.1'
        )
    if mode == modes.TRUSTED and not modes.is_loopback(address.host):
        warning = f'any program that reaches {address} may use any project'
        log.warning('%s (MARCONI_ACCESS=trusted)', warning)
        if not _log_is_on_stderr():
            print(f'marconi: {warning}', file=sys.stderr, flush=True)
    return mode


def _log_is_on_stderr() -> bool:
    handlers = logging.getLogger().handlers
    return any(getattr(handler, 'stream', None) is sys.stderr for handler in handlers)


def _signing_keys(settings: Any) -> str:
    """The keys for pre-signed URLs: those that are set, else one kept with the embedded data.

    A database that is named may serve several Marconis, which must have the same keys.
    """
    if settings.signed_urls.secret_keys or settings.database.url:
        return str(settings.signed_urls.secret_keys)
    try:
        return signed_urls.kept_key(state_dir_of(settings))
    except OSError as error:
        raise ServiceError(
            f'cannot keep a key for signed URLs: {error.strerror}: {error.filename}: '
            'mend that, or set MARCONI_SIGNING_KEYS'
        ) from None


def _secret_keys(settings: Any) -> str:
    """The keys that encrypt secrets of access keys: as those for pre-signed URLs."""
    if (known := secret_keys(settings)) or settings.database.url:
        return known
    try:
        return signed_urls.kept_key(state_dir_of(settings), SECRET_KEY_FILE)
    except OSError as error:
        raise ServiceError(
            f'cannot keep a key for the secrets of access keys: {error.strerror}: {error.filename}: '
            'mend that, or set MARCONI_SECRET_KEYS'
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
    """Let this process and its children open many files, as each client takes two of the router's.

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


def _wait_for_room(socket: Path, stop: StopRequest) -> None:
    """Return when requests can wait for messages, or when they should be answered without."""
    deadline = time.monotonic() + _ROOM_PATIENCE
    while not (socket.exists() or time.monotonic() > deadline or stop.wait(WATCH_INTERVAL / 4)):
        pass


@contextlib.contextmanager
def _listener_for_metrics(server: Any, stop: StopRequest) -> Iterator[Listener | None]:
    """The socket at which metrics are told, if they are wanted."""
    if not server.metrics_address:
        yield None
        return
    setting = 'MARCONI_METRICS_ADDRESS'
    place = Place.of(str(server.metrics_address))
    with contextlib.closing(Listener(place, stop, (setting, setting))) as listener:
        if not modes.is_loopback(listener.address.host):
            log.warning(
                'any program that reaches %s can read the metrics, with names of projects and '
                'queues (%s)',
                *(listener.address, setting),
            )
        yield listener


def _export(
    listener: Listener,
    directory: Path,
    environment: dict[str, str],
    user: ServerUser | None,
    started: contextlib.ExitStack,
) -> Companion:
    """Have all processes that are started from now on count, and one tell what they count."""
    directory.mkdir(mode=0o700)
    if user is not None:
        os.chown(directory, user.uid, user.gid)
    environment[DIRECTORY_OF_METRICS] = str(directory)
    listener.open()
    log.info('the metrics are at http://%s/metrics', listener.address)
    exporter = Companion(
        'metrics exporter',
        EXPORTER,
        environment | {LISTENER_FOR_METRICS: str(listener.fileno())},
        user,
        pass_fds=[listener.fileno()],
    )
    started.callback(exporter.stop)
    return exporter


@contextlib.contextmanager
def _private_directory(user: ServerUser | None) -> Iterator[Path]:
    # Not in $TMPDIR: a socket's path may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix='marconi-', dir='/tmp') as path:
        if user is not None:
            os.chown(path, user.uid, user.gid)
        yield Path(path)
