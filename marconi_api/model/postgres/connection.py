"""A connection to PostgreSQL that never waits longer than it is told.

libpq itself waits for ever for an answer: a server that is frozen, or a proxy that accepts
and forwards nothing, would hold a thread until uwsgi kills its process. So connections are
asynchronous ones of psycopg2, and the waiting is done here, with a deadline. That costs a
short statement nothing that could be measured (9.7 us of CPU time either way), and 5 us for
an answer of 20 KB.
"""

import select
import time
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as _Connection
from psycopg2.extensions import cursor as _Cursor

#: What libpq takes as a list, an element for each host.
_BY_HOST = ('host', 'hostaddr', 'port')


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
        super().execute(query, vars)
        connection.wait(min(connection.deadline, time.monotonic() + connection.patience))


class Connection(_Connection):
    """A connection in autocommit. :func:`connect` opens it."""

    #: Seconds for which an answer to one statement is waited.
    patience = inf
    #: A time of ``time.monotonic()`` after which no answer is waited for.
    deadline = inf
    #: Statements that set what PostgreSQL did not take when the connection was made, each with
    #: its semicolon: they precede the first statement of each transaction, in its message.
    settings = ''

    _arrivals: select.poll

    def wait(self, deadline: float) -> None:
        """Return once all is done that was asked of PostgreSQL.

        :raises NoAnswer: when the time is over
        """
        while (state := self.poll()) != POLL_OK:
            wanted = select.POLLIN if state == POLL_READ else select.POLLIN | select.POLLOUT
            waiting = self._arrivals
            if wanted != select.POLLIN:
                waiting = select.poll()
                waiting.register(self.fileno(), wanted)
            milliseconds = max(0.0, deadline - time.monotonic()) * 1000
            if not waiting.poll(min(milliseconds, _LONGEST)):
                self.close()
                raise NoAnswer('PostgreSQL did not answer in time')

    def has_arrivals(self) -> bool:
        """Whether PostgreSQL has sent something unasked."""
        return bool(self._arrivals.poll(0))

    def wait_for_start(self, deadline: float) -> None:
        """Return once statements can be sent.

        :raises NoAnswer: when the time is over
        """
        while (state := self.poll()) != POLL_OK:
            # libpq tries one address after the other, each with a socket of its own.
            waiting = select.poll()
            waiting.register(self.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.close()
                raise NoAnswer('PostgreSQL did not accept a connection in time')
        self._arrivals = select.poll()
        self._arrivals.register(self.fileno(), select.POLLIN)


# Milliseconds: what poll(2) can take, about 24 days.
_LONGEST = 2**31 - 1


def connect(parameters: Mapping[str, Any], seconds: float, deadline: float) -> Connection:
    """A connection to the first host that accepts one.

    libpq would try one host after the other by itself, but an asynchronous connection would
    stay at the first one that is silent.

    :param parameters: of libpq
    :param seconds: for which each host is waited
    :param deadline: the time of ``time.monotonic()`` after which none is
    :raises NoAnswer: if the last host was silent
    :raises NotConnected: if all hosts refuse
    """
    hosts = list(_each_host(parameters))
    said = []
    for place, host in enumerate(hosts, 1):
        try:
            connection: Connection = psycopg2.connect(
                **host, async_=True, connection_factory=Connection, cursor_factory=Cursor
            )
            connection.wait_for_start(min(deadline, time.monotonic() + seconds))
        except psycopg2.OperationalError as error:
            said.append(str(error).strip())
            is_silent = isinstance(error, NoAnswer)
            if is_silent and (place == len(hosts) or time.monotonic() >= deadline):
                raise NoAnswer('; '.join(said)) from error
        else:
            return connection
    raise NotConnected('; '.join(said))


def _each_host(parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {name: str(parameters[name]).split(',') for name in _BY_HOST if parameters.get(name)}
    for place in range(max(map(len, lists.values()), default=1)):
        # One port serves for all hosts.
        own = {name: given[min(place, len(given) - 1)] for name, given in lists.items()}
        yield {**parameters, **own}
