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
from marconi_api.model import numbering
from marconi_api.model.prepared import Prepared
from marconi_api.model.tables import IS_NUMBERED_AS_KNOWN

log = logging.getLogger(__name__)

Row = tuple[Any, ...]

# The database undid the whole statement, and says that it is worth trying again.
_UNDONE = (postgres_errors.DeadlockDetected, postgres_errors.SerializationFailure)
# A prepared statement is lost, or no longer fits the tables: it did not run.
_NOT_RUN = (postgres_errors.InvalidSqlStatementName, postgres_errors.FeatureNotSupported)
# Transactions are numbered otherwise than this process knows (tables.py): it did not run.
_NUMBERED_OTHERWISE = postgres_errors.DivisionByZero
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
        self._statement_timeout = statement_timeout
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
        #: Added to transaction ids to number them: see numbering.py.
        self.base = 0
        #: Called after each connect, and when transactions are numbered anew: what was learned
        #: before may not hold.
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
                    # First the base: what was learned under an older one is forgotten before
                    # there is a new one, so that the two belong together or the statement fails.
                    base = self.base
                    given = parameters() if callable(parameters) else parameters
                    return self._run(cursor, statement, given, base)
            except _NUMBERED_OTHERWISE as error:
                if not tries_left:
                    raise _unavailable(error) from error
                self._learn_base()
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
                try:
                    cursor.execute(_BEGIN_AS_NUMBERED, {'base': self.base})
                except _NUMBERED_OTHERWISE:
                    cursor.execute('ROLLBACK')
                    self._learn_base()
                    cursor.execute('BEGIN')
                try:
                    yield partial(self._run, cursor, base=self.base)
                    cursor.execute('COMMIT')
                except BaseException:
                    # What went wrong is told; that the connection is gone, too, is not news.
                    with suppress(psycopg2.Error):
                        cursor.execute('ROLLBACK')
                    raise
        except psycopg2.Error as error:
            raise _unavailable(error) from error

    def raise_base(self) -> None:
        """Number transactions above all ids that are stored: some came from elsewhere.

        To be called only then. No message is numbered meanwhile, which takes milliseconds.
        """
        # A statement that is under way ends before that.
        seconds = self._statement_timeout + 1
        try:
            with self._cursor() as cursor:
                cursor.execute(numbering.END_EPOCH, {'seconds': seconds})
                for (ended_at,) in cursor.fetchall():
                    given = {'seconds': seconds, 'ended_at': ended_at}
                    cursor.execute(numbering.STILL_UNDER_WAY, given)
                    while cursor.fetchall() != [(0,)]:
                        time.sleep(_PAUSE)
                        cursor.execute(numbering.STILL_UNDER_WAY, given)
                    cursor.execute(numbering.END_REST)
        except psycopg2.Error as error:
            raise _unavailable(error) from error
        self._learn_base()

    def close(self) -> None:
        """Close this thread's connection."""
        self._discard()

    def _learn_base(self) -> None:
        """Begin a new epoch if one is due, and go by its base from now on."""
        try:
            with self._cursor() as cursor:
                base = _current_base(cursor)
        except psycopg2.Error as error:
            # It may be amid a transaction that failed.
            self._discard()
            raise _unavailable(error) from error
        if base != self.base:
            self._forget()
            self.base = base

    def _forget(self) -> None:
        for forget in self.on_connect:
            forget()

    def _run(
        self, cursor: Cursor, statement: str, parameters: Mapping[str, Any], base: int
    ) -> list[Row]:
        given = {**parameters, 'base': base}
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
            with connection.cursor() as cursor:
                cursor.execute(numbering.BASE)
                [base] = cursor.fetchone() or [_current_base(cursor)]
        except BaseException:
            self._discard()
            raise
        self._forget()
        self.base = base
        return connection

    def _discard(self) -> None:
        connection = self._thread.connection
        self._thread.connection = None
        if connection is not None:
            connection.close()


_BEGIN_AS_NUMBERED = f'BEGIN; SELECT {IS_NUMBERED_AS_KNOWN}'


def _current_base(cursor: Cursor) -> int:
    cursor.execute(numbering.BEGIN_EPOCH)
    cursor.execute(numbering.RESERVE)
    cursor.execute(numbering.BASE)
    for (base,) in cursor.fetchall():
        return int(base)
    # Somebody ended the epoch just now, and statements that know it are still under way.
    raise psycopg2.OperationalError('transactions are being numbered anew')


def _unavailable(error: Exception) -> MarconiError:
    # What breaks in a failing network or a busy database is a warning; a statement that
    # PostgreSQL refuses is a fault of ours, and wants its traceback.
    expected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    log.warning('storage: %s', error, exc_info=None if expected else error)
    if isinstance(error, psycopg2.DataError) and not isinstance(error, _NUMBERED_OTHERWISE):
        # A value that no column or cast takes will not do the next time either.
        return Fault()
    return StorageUnavailable()
