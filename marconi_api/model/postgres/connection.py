"""A connection to PostgreSQL that never waits longer than it is told.

libpq itself waits for ever for an answer: a server that is frozen, or a proxy that accepts
and forwards nothing, would hold a thread until uwsgi kills its process. So each process has
one thread that watches its connections. It cuts the socket under a statement whose time is
over, by which libpq's waiting ends. The statements themselves are sent and waited for by libpq:
an asynchronous connection, for which Python waits, cost some 3 us more for a short answer and
some 9 us for one of 10 KB.
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

#: What libpq takes as a list, an element for each host.
_BY_HOST = ('host', 'hostaddr', 'port')

# Seconds between two looks of the watch: so late it may cut a connection.
_WATCH_INTERVAL = 0.2


class NotConnected(psycopg2.OperationalError):
    """No host accepted the connection: nothing was sent."""


class NoAnswer(psycopg2.OperationalError):
    """The deadline passed. The connection is closed, and what was sent may be done or not."""


class Cursor(_Cursor):
    """Runs statements, each within its connection's ``patience`` and ``deadline``.

    What it sends at once is one message of PostgreSQL's simple protocol, and so one transaction.
    """

    connection: 'Connection'

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send the statement, and wait for its end.

        :raises NoAnswer: when the time is over
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
    #: The time at which the statement under way is given up; none is under way: never.
    ends_at = inf
    #: Whether it was cut since a statement's time was over.
    is_cut = False
    #: Statements that set what PostgreSQL did not take when the connection was made, each with
    #: its semicolon: they precede the first statement of each transaction, in its message.
    settings = ''

    #: The names of the statements that are prepared on it.
    prepared: set[str]
    #: Short texts as literals, by the text: see prepared.py.
    quoted: dict[str, str]

    #: What PostgreSQL has sent unasked: nothing mostly. Takes the milliseconds to wait for it.
    arrivals: Callable[[int], list[tuple[int, int]]]

    # The same socket under a descriptor of ours, which nobody closes and reuses unseen.
    _socket: socket.socket | None = None

    def start(self) -> None:
        """Let statements be sent, and be watched."""
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
        """End the session from another thread, whatever this one is waiting for."""
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
        """Watch one more, until it is no longer used."""
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
        # Not part of the loop, which would keep what it saw last alive while it sleeps.
        now = time.monotonic()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            if connection.ends_at < now:
                connection.cut()


_watch = _Watch()


def _watch_anew() -> None:
    """Threads do not outlive a fork."""
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_watch_anew)


def connect(parameters: Mapping[str, Any], seconds: float, deadline: float) -> Connection:
    """A connection to the first host that accepts one.

    libpq would try one host after the other by itself, but would not heed the deadline.

    :param parameters: of libpq
    :param seconds: for which each host is waited, whole ones as libpq counts them
    :param deadline: the time of ``time.monotonic()`` after which none is
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
        # One port serves for all hosts.
        own = {name: given[min(place, len(given) - 1)] for name, given in lists.items()}
        yield {**parameters, **own}
