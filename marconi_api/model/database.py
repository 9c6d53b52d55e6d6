"""The connection to PostgreSQL: one for each thread, kept, in autocommit.

A request's work is one statement, so there is nothing to begin or commit, and no pool to
ask: SQLAlchemy makes a thread's connection once, and psycopg2 sends the statement.
"""

import logging
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg2
from psycopg2 import errors as postgres_errors
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from marconi_api.errors import Fault, MarconiError, StorageUnavailable
from marconi_api.model.prepared import Prepared
from marconi_api.model.tables import POSITION_BITS, RETIRED

log = logging.getLogger(__name__)

Row = tuple[Any, ...]

# The database undid the whole statement, and says that it is worth trying again.
_UNDONE = (postgres_errors.DeadlockDetected, postgres_errors.SerializationFailure)
# A prepared statement is lost, or no longer fits the tables: it did not run.
_NOT_RUN = (postgres_errors.InvalidSqlStatementName, postgres_errors.FeatureNotSupported)
_TRIES = 3
_PAUSE = 0.05  # seconds


class _Thread(threading.local):
    """What a thread has of its own."""

    connection: Connection | None = None
    #: The names of what is prepared on it.
    prepared: set[str]
    #: Tells whether PostgreSQL has sent something over it.
    arrivals: select.poll


class Database:
    """Runs statements; whatever goes wrong below is a ``StorageUnavailable``.

    Only a value that PostgreSQL refuses is a ``Fault``: no repetition helps against that.

    :param url: of SQLAlchemy's form, ``postgresql+psycopg2://…``
    :param connect_timeout: seconds
    :param statement_timeout: seconds
    :param prepares: whether connections are ours alone, so that what we prepared stays there;
        not so behind a pooler that hands them on after each transaction
    """

    def __init__(
        self, url: str, connect_timeout: float, statement_timeout: float, prepares: bool = True
    ) -> None:
        self._prepares = prepares
        milliseconds = int(statement_timeout * 1000)
        parsed = make_url(url)
        self._engine = create_engine(
            parsed,
            poolclass=NullPool,
            connect_args={
                'connect_timeout': max(2, round(connect_timeout)),
                'application_name': 'marconi',
                'client_encoding': 'utf8',
                'target_session_attrs': 'read-write',
                # Without these a thread would wait minutes for a host that has vanished.
                'keepalives_idle': 3,
                'keepalives_interval': 1,
                'keepalives_count': 3,
                'tcp_user_timeout': 4000,
                # What a statement scans is told by its order: an index gives it, and neither
                # a sequential scan nor another index with a sort. Statistics are of no
                # use here, since a queue's fill changes faster than they do.
                'options': f'{parsed.query.get("options", "")}'
                f' -c statement_timeout={milliseconds} -c lock_timeout={milliseconds}'
                f' -c idle_in_transaction_session_timeout={milliseconds}'
                ' -c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off'
                ' -c plan_cache_mode=force_generic_plan -c jit=off -c timezone=UTC'
                ' -c default_transaction_isolation=read\\ committed',
            },
        )
        self._thread = _Thread()
        # Added to transaction ids to make message ids; see _read_base.
        self._base = 0
        #: Called after each connect: what was learned over another connection may not hold.
        self.on_connect: list[Callable[[], None]] = []

    def rows(
        self,
        statement: str,
        parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        repeatable: bool = False,
    ) -> list[Row]:
        """Run one statement in a transaction of its own, and return its rows.

        :param parameters: the statement's parameters, to which ``base`` is added; or a
            function that gives them, for those that only hold for the connection in use
        :param repeatable: whether running it twice does what running it once does; then a
            connection that broke under it is replaced and the statement sent again. Else
            its outcome is unknown, and only the client can decide.
        """
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._cursor() as cursor:
                    given = parameters() if callable(parameters) else parameters
                    return self._run(cursor, statement, given)
            except _UNDONE as error:
                if not tries_left:
                    raise _unavailable(error) from error
                # Let the other one have its lock first.
                time.sleep(_PAUSE)
            except _NOT_RUN as error:
                if not tries_left:
                    raise _unavailable(error) from error
                self._discard()
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                if not (repeatable and tries_left and self._lost()):
                    raise _unavailable(error) from error
            except psycopg2.Error as error:
                raise _unavailable(error) from error
        raise AssertionError('unreachable')

    @contextmanager
    def transaction(self) -> Iterator[Callable[[str, Mapping[str, Any]], list[Row]]]:
        """Several statements, all or none: yields a function that runs one and returns rows."""
        try:
            with self._cursor() as cursor:
                cursor.execute('BEGIN')
                try:
                    yield partial(self._run, cursor)
                    cursor.execute('COMMIT')
                except BaseException:
                    # What went wrong is told; that the connection is gone, too, is not news.
                    with suppress(psycopg2.Error):
                        cursor.execute('ROLLBACK')
                    raise
        except psycopg2.Error as error:
            raise _unavailable(error) from error

    def raise_base(self) -> None:
        """See that new message ids lie above all there are, as they do but after a restore."""
        try:
            with self._cursor() as cursor:
                self._base = _read_base(cursor.connection, is_stale=True)
        except psycopg2.Error as error:
            # It may be amid a transaction that failed.
            self._discard()
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close this thread's connection."""
        self._discard()

    def _run(self, cursor: Cursor, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        given = {**parameters, 'base': self._base}
        if self._prepares and isinstance(statement, Prepared):
            self._prepare(cursor, statement)
            cursor.execute(statement.execution(given, cursor.connection))
        else:
            cursor.execute(statement, given)
        return cursor.fetchall() if cursor.description else []

    def _prepare(self, cursor: Cursor, statement: Prepared) -> None:
        prepared = self._thread.prepared
        for name, definition in statement.definitions.items():
            if name not in prepared:
                cursor.execute(definition)
                prepared.add(name)

    def _cursor(self) -> Cursor:
        connection = self._thread.connection
        # Between statements PostgreSQL has nothing to say; if there is something to read, it
        # is its farewell. Seen now, a post can go over a new connection; seen after sending,
        # nobody would know whether it was stored.
        if connection is None or connection.closed or self._thread.arrivals.poll(0):
            connection = self._connect()
        return connection.cursor()

    def _lost(self) -> bool:
        """Whether there was a connection, and it broke."""
        connection = self._thread.connection
        return connection is not None and bool(connection.closed)

    def _connect(self) -> Connection:
        self._discard()
        try:
            pooled = self._engine.raw_connection()
        except DBAPIError as error:
            # SQLAlchemy's own first look at the server failed.
            raise error.orig or error from error
        connection = pooled.driver_connection
        assert isinstance(connection, Connection)
        pooled.detach()
        connection.autocommit = True
        self._thread.connection = connection
        self._thread.prepared = set()
        self._thread.arrivals = select.poll()
        self._thread.arrivals.register(connection.fileno(), select.POLLIN)
        try:
            self._base = _read_base(connection)
        except BaseException:
            self._discard()
            raise
        for forget in self.on_connect:
            forget()
        return connection

    def _discard(self) -> None:
        connection = self._thread.connection
        self._thread.connection = None
        if connection is not None:
            connection.close()


# Transaction ids order message ids, but a dump that is restored into another cluster meets
# lower ones there. So id_epoch says for which cluster its base holds; whoever connects to
# another one first raises the base above every id in use.
_BASE_OF_THIS_CLUSTER = """
    SELECT base FROM id_epoch
     WHERE cluster = (SELECT system_identifier FROM pg_control_system())
"""
_RAISE_BASE = f"""
    BEGIN;
    SET LOCAL statement_timeout = 0;
    LOCK TABLE id_epoch IN EXCLUSIVE MODE;
    UPDATE id_epoch
       SET cluster = (SELECT system_identifier FROM pg_control_system()),
           base = greatest(
               base,
               (SELECT coalesce(max(id), 0) >> {POSITION_BITS} FROM messages)
                   - pg_current_xact_id()::text::bigint + 1,
               (SELECT coalesce(max(moved_in), 0) >> {POSITION_BITS} FROM message_states)
                   - pg_current_xact_id()::text::bigint + 1,
               (SELECT coalesce(max(floor), 0) >> {POSITION_BITS} FROM queues
                 WHERE floor < {RETIRED})
                   - pg_current_xact_id()::text::bigint + 1);
    COMMIT;
"""


def _read_base(connection: Connection, is_stale: bool = False) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_BASE_OF_THIS_CLUSTER)
        if is_stale or cursor.rowcount == 0:
            cursor.execute(_RAISE_BASE)
            cursor.execute(_BASE_OF_THIS_CLUSTER)
        [(base,)] = cursor.fetchall()
    return int(base)


def _unavailable(error: Exception) -> MarconiError:
    # What breaks in a failing network or a busy database is a warning; a statement that
    # PostgreSQL refuses is a fault of ours, and wants its traceback.
    expected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    log.warning('storage: %s', error, exc_info=None if expected else error)
    if isinstance(error, psycopg2.DataError):
        # A value that no column or cast takes will not do the next time either.
        return Fault()
    return StorageUnavailable()
