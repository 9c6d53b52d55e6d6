"""PostgreSQL's LISTEN and NOTIFY, on a connection of its own."""

import time
from typing import Any, cast

import psycopg2
from sqlalchemy import make_url

from marconi_api.model.postgres.connection import Connection, Cursor, connect

#: Bytes of the longest payload that is sent; PostgreSQL takes 7,999.
LONGEST = 7900

#: The errors of this module's methods.
Error = psycopg2.Error


class Notifications:
    """A session that receives notifications and sends them.

    :param url: the database's, in SQLAlchemy's form
    :param channel: the channel's name, an SQL identifier
    :param connect_timeout: seconds
    :param patience: seconds to wait for an answer of PostgreSQL's
    :raises Error: if the session cannot be opened
    """

    def __init__(self, url: str, channel: str, connect_timeout: float, patience: float) -> None:
        parsed = make_url(url)
        _, given = parsed.get_dialect()().create_connect_args(parsed)
        parameters: dict[str, Any] = {
            **given,
            'application_name': 'marconi waiting',
            'client_encoding': 'utf8',
            'target_session_attrs': 'read-write',
            'keepalives_idle': 3,
            'keepalives_interval': 1,
            'keepalives_count': 3,
            'tcp_user_timeout': 4000,
        }
        self._channel = channel
        deadline = time.monotonic() + patience
        self._connection: Connection = connect(parameters, connect_timeout, deadline)
        self._connection.patience = patience
        self._cursor = cast(Cursor, self._connection.cursor())
        try:
            self._cursor.execute(f'LISTEN {channel}')
            self._cursor.execute('SELECT pg_backend_pid()')
            [(pid,)] = self._cursor.fetchall()
        except Error:
            self.close()
            raise
        #: Whether the session is with PostgreSQL itself. A pooler sends LISTEN over one of its own
        #: connections, and passes on what arrives there only while that connection serves us.
        self.is_direct = pid == self._connection.info.backend_pid

    def fileno(self) -> int:
        """The descriptor of the socket, which becomes readable when a notification arrives."""
        return self._connection.fileno()

    def notify(self, payload: str) -> None:
        """Send a notification to all sessions that listen, this one included.

        :raises Error: if it cannot be sent
        """
        self._cursor.execute('SELECT pg_notify(%s, %s)', (self._channel, payload))

    def heard(self) -> list[str]:
        """The payloads that have arrived since the last call.

        :raises Error: if the connection is broken
        """
        self._connection.poll()
        payloads = [notice.payload for notice in self._connection.notifies]
        self._connection.notifies.clear()
        return payloads

    def close(self) -> None:
        """End the session."""
        self._connection.close()
