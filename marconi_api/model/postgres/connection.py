"""A connection to PostgreSQL that never waits longer than it is told.

libpq waits for an answer without a limit. A server that is frozen, or a proxy that accepts
connections and forwards nothing, would hold a thread until uwsgi kills its process. So each process
has one thread that watches its connections. When the time of a statement is over, that thread shuts
down the connection's socket, and libpq stops waiting. The connections are not asynchronous: if
Python waited instead of libpq, a short answer would take 3 us longer, and one of 10 KB 9 us.
"""

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from select import POLLIN, poll
from typing import Any
from weakref import WeakSet

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as _Connection
from psycopg2.extensions import cursor as _Cursor

from marconi_api.model.flows import ROUND_TRIPS, flows

#: The parameters of libpq that are lists, with an element for each host.
_BY_HOST = ('host', 'hostaddr', 'port')

# Seconds between two looks of the watch. A connection may be cut by so much too late.
_WATCH_INTERVAL = 0.2


class NotConnected(psycopg2.OperationalError):
    """No host accepted the connection: nothing was sent."""


class NoAnswer(psycopg2.OperationalError):
    """The deadline passed. The connection is closed; whether the statement ran is not known."""


class Cursor(_Cursor):
    """Runs statements, each within its connection's ``patience`` and ``deadline``.

    The statements of one call go out in one message of PostgreSQL's simple query protocol, and so are
    one transaction.
    """

    connection: 'Connection'

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send the statement, and wait for its end.

        :raises NoAnswer: if it has not ended by the deadline, or within ``patience``
        """
        connection = self.connection
        if connection.settings and connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            query, vars = connection.settings.encode() + self.mogrify(query, vars), None
        if flows:
            flows.tell(ROUND_TRIPS, 1)
        connection.ends_at = min(connection.deadline, time.monotonic() + connection.patience)
        try:
            _Cursor.execute(self, query, vars)
        except psycopg2.Error as error:
            if connection.is_cut:
                raise NoAnswer('PostgreSQL did not answer in time') from error
            raise
        finally:
            connection.ends_at = inf


class Connection(_Connection):
    """A connection in autocommit. :func:`connect` opens it."""

    #: Seconds for which an answer to one statement is waited.
    patience = inf
    #: A time of ``time.monotonic()`` after which no answer is waited for.
    deadline = inf
    #: The time at which the watch cuts the connection; infinite while no statement is under way.
    ends_at = inf
    #: Whether the watch has cut the connection.
    is_cut = False
    #: ``SET LOCAL`` statements for a connection on which a pooler dropped our settings, else ''.
    #: They go out in front of the first statement of each transaction, in the same message.
    settings = ''

    #: The names of the statements that are prepared on the connection.
    prepared: set[str]
    #: The literals of short texts, by the text: see prepared.py.
    quoted: dict[str, str]

    #: Whether there is something to read: ``poll`` of the socket, which takes milliseconds to wait.
    #: Between statements the list is empty, unless PostgreSQL has ended the session.
    arrivals: Callable[[int], list[tuple[int, int]]]

    # The same socket under a descriptor of our own: libpq cannot close it, so its number cannot come
    # to mean another file before the watch cuts it.
    _socket: socket.socket | None = None

    def start(self) -> None:
        """Prepare a new connection for statements, and have it watched; :func:`connect` calls it."""
        self.autocommit = True
        self.prepared, self.quoted = set(), {}
        looking = poll()
        looking.register(self.fileno(), POLLIN)
        self.arrivals = looking.poll
        self._socket = socket.socket(fileno=os.dup(self.fileno()))
        _watch.add(self)

    def close(self) -> None:
        """End the session."""
        super().close()
        if self._socket:
            self._socket.close()

    def __del__(self) -> None:
        """Leave no descriptor behind when a thread has ended."""
        if self._socket:
            self._socket.close()

    def cut(self) -> None:
        """Shut down the socket, from another thread than the one that waits for an answer."""
        self.is_cut = True
        if self._socket:
            # It may have been closed just now.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _Watch:
    """Cuts the connections of this process whose statements take too long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: WeakSet[Connection] = WeakSet()
        self._is_running = False

    def add(self, connection: Connection) -> None:
        """Watch a connection for as long as it exists."""
        with self._lock:
            self._connections.add(connection)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name='watch', daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(_WATCH_INTERVAL)
            self._look()

    def _look(self) -> None:
        # A method of its own: a local variable of the loop would keep a connection alive while it
        # sleeps.
        now = time.monotonic()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            if connection.ends_at < now:
                connection.cut()


_watch = _Watch()


def _watch_anew() -> None:
    """Start with a new watch after a fork, in which the thread of the old one is gone."""
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_watch_anew)


def connect(parameters: Mapping[str, Any], seconds: float, deadline: float) -> Connection:
    """A connection to the first host that accepts one.

    libpq can try one host after the other by itself, but does not heed a deadline.

    :param parameters: of libpq; ``host``, ``hostaddr`` and ``port`` may be lists with commas
    :param seconds: how long to wait for each host; libpq counts whole seconds
    :param deadline: the time of ``time.monotonic()`` after which no host is waited for
    :raises NoAnswer: if the last host was silent
    :raises NotConnected: if all hosts refuse
    """
    hosts = list(_each_host(parameters))
    said = []
    for place, host in enumerate(hosts, 1):
        begun = time.monotonic()
        timeout = max(1, math.ceil(min(seconds, deadline - begun)))
        try:
            connection: Connection = psycopg2.connect(
                **host,
                connect_timeout=timeout,
                connection_factory=Connection,
                cursor_factory=Cursor,
            )
        except psycopg2.OperationalError as error:
            said.append(str(error).strip())
            # A refusal comes at once. libpq reckons in whole seconds, and may be a second early.
            is_silent = time.monotonic() - begun > timeout / 2
            if is_silent and (place == len(hosts) or time.monotonic() >= deadline):
                raise NoAnswer('; '.join(said)) from error
        else:
            connection.start()
            return connection
    raise NotConnected('; '.join(said))


def _each_host(parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {name: str(parameters[name]).split(',') for name in _BY_HOST if parameters.get(name)}
    for place in range(max(map(len, lists.values()), default=1)):
        # A list that is shorter than the others, such as one port for all hosts, repeats its last
        # element.
        own = {name: given[min(place, len(given) - 1)] for name, given in lists.items()}
        yield {**parameters, **own}
