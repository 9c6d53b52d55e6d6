"""The connection to PostgreSQL: one for each thread, kept, in autocommit.

A request's work is one statement, so there is nothing to begin or commit, and no pool to
ask: a thread's connection is made once, and psycopg2 sends the statement.

**What may be sent again** after a failure. A statement certainly did not run if PostgreSQL refuses
it: on a read-only server (25006), if its prepared statement is missing or there already (26000,
42P05), or after a deadlock. Nothing was sent if no connection could be made; a server that starts or
stops refuses connections (57P03), and says so at no other point. In these cases the statement is
sent again, whatever it does.

The end of a session proves nothing. An administrator may end it (57P01) while the transaction
commits: PostgreSQL notices that at its next message to the log, and with
log_min_duration_statement = 0 that message comes after the commit and before the answer (a test
shows it). A crash of the server (57P02) may come at any moment. So after the end of a session, as
after a connection that broke without a word, only a repeatable statement is sent again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from math import inf
from typing import Any

import psycopg2
from psycopg2 import errors as postgres_errors
from sqlalchemy import make_url

from marconi_api.errors import (
    AlreadyThere,
    Fault,
    MarconiError,
    StorageTooSlow,
    StorageUnavailable,
)
from marconi_api.model.flows import ERRORS, RECONNECTS, flows
from marconi_api.model.postgres import numbering
from marconi_api.model.postgres.connection import (
    Connection,
    Cursor,
    NoAnswer,
    NotConnected,
    connect,
)
from marconi_api.model.postgres.counted import CountRepeats
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.session_settings import ARRIVED, Settings
from marconi_api.model.postgres.tables import MAY_NUMBER

log = logging.getLogger(__name__)
log.addFilter(CountRepeats())

Row = tuple[Any, ...]

#: Runs one statement of a transaction, and returns its rows.
Run = Callable[[str, Mapping[str, Any]], list[Row]]

# The database undid the whole statement, and says that it is worth trying again.
_UNDONE = (postgres_errors.DeadlockDetected, postgres_errors.SerializationFailure)
# A prepared statement no longer fits the tables, or the server has become read-only (another
# host of the URL may not be): the statement did not run.
_NOT_RUN = (postgres_errors.FeatureNotSupported, postgres_errors.ReadOnlySqlTransaction)
# A prepared statement is lost, or is there though this process did not prepare it: it did not run.
_NOT_KEPT = (
    postgres_errors.InvalidSqlStatementName,
    postgres_errors.DuplicatePreparedStatement,
)
_NO_SPACE = (postgres_errors.DiskFull, postgres_errors.IoError)
# Transactions are numbered otherwise than this process knows (tables.py): the statement did not run.
_NUMBERED_OTHERWISE = postgres_errors.DivisionByZero
_TRIES = 3
_TRIES_LEFT = range(_TRIES - 1, -1, -1)
_PAUSE = 0.05  # seconds

# Seconds by which PostgreSQL may be late to say that a statement took too long.
_GRACE = 0.5

# Changes nothing, but a server that is read-only refuses it.
_WRITE_NOTHING = 'DELETE FROM queues WHERE false'


class _Thread(threading.local):
    """What a thread has of its own."""

    connection: Connection | None = None
    has_been_connected = False
    #: Runs a statement in the open transaction; None if no transaction is open.
    run: Run | None = None
    #: The functions to call once that transaction is committed.
    afterwards: list[Callable[[], None]] = []


class Database:
    """Runs statements; an error of PostgreSQL or of the network becomes a ``StorageUnavailable``.

    Only a value that PostgreSQL refuses becomes a ``Fault``, since to try again would not help.

    :param url: in SQLAlchemy's form, ``postgresql+psycopg2://…``
    :param connect_timeout: seconds
    :param statement_timeout: seconds
    :param prepares: whether statements are prepared; set it to False behind a pooler that hands a
        connection on to others after each transaction
    """

    def __init__(
        self, url: str, connect_timeout: float, statement_timeout: float, prepares: bool = True
    ) -> None:
        self._prepares = prepares
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        # PostgreSQL ends a statement itself at the timeout, and says so. If it is silent for longer,
        # it cannot be reached.
        self._patience = statement_timeout + _GRACE
        parsed = make_url(url)
        _, given = parsed.get_dialect()().create_connect_args(parsed)
        self._settings = Settings(given.get('options', ''), statement_timeout)
        self._parameters = {
            **given,
            'application_name': 'marconi',
            'client_encoding': 'utf8',
            'target_session_attrs': 'read-write',
            # Without these a thread would wait for a host that has vanished.
            'keepalives_idle': 3,
            'keepalives_interval': 1,
            'keepalives_count': 3,
            'tcp_user_timeout': 4000,
            'options': self._settings.as_options(),
        }
        #: Whether the last statement got no answer; it stays so until PostgreSQL answers again.
        self.is_silent = False
        self._silences = 0
        # Held by the one thread that may ask PostgreSQL while that is silent.
        self._asking = threading.Lock()
        #: Whether a statement failed for lack of space. ``Store`` sets it back once a post succeeds.
        self.lacks_space = False
        #: What the calling thread has of its own: its connection, and its transaction if one is open.
        self.thread = _Thread()
        #: Added to transaction ids to number them: see numbering.py.
        self.base = 0
        #: Functions that are called after each connect, and when transactions are numbered anew: what
        #: this process learned before may not hold any more.
        self.on_connect: list[Callable[[], None]] = []

    def rows(
        self,
        statement: str,
        parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        repeatable: bool = False,
        before_commit: Callable[[list[Row]], None] | None = None,
    ) -> list[Row]:
        """Run one statement in a transaction of its own, and return its rows.

        :param parameters: the statement's parameters, to which ``base`` is added; or a
            function that gives them, for those that only hold for the connection in use
        :param repeatable: whether the statement may run twice with the effect of running once. If
            the connection breaks, such a statement is sent again over a new one. The outcome of
            another one is unknown then, and only the client can decide what to do.
        :param before_commit: called once with the rows, before they are committed, which may still fail.
            It takes another round trip.
        :raises StorageUnavailable: within ``statement_timeout`` and a second
        :raises Fault: if PostgreSQL refuses a value

        If the thread has a :meth:`transaction` open, the statement joins it; ``before_commit`` is not for
        that case.
        """
        run = self.thread.run
        if run is not None:
            assert before_commit is None
            return run(statement, parameters() if callable(parameters) else parameters)
        if self.is_silent:
            with self._alone():
                return self._rows(statement, parameters, repeatable, before_commit)
        return self._rows(statement, parameters, repeatable, before_commit)

    def _rows(
        self,
        statement: str,
        parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        repeatable: bool,
        before_commit: Callable[[list[Row]], None] | None,
    ) -> list[Row]:
        deadline = time.monotonic() + self._patience
        for tries_left in _TRIES_LEFT:
            try:
                with self._cursor(deadline) as cursor:
                    # The base is read before the parameters. Another thread that learns a new base
                    # first drops the marks and then sets the base. So the parameters belong to this
                    # base, or to a newer one; in the latter case the statement fails.
                    base = self.base
                    given = parameters() if callable(parameters) else parameters
                    if before_commit is None:
                        return self._run(cursor, statement, given, base)
                    return self._run_and_commit(cursor, statement, given, base, before_commit)
            except _NUMBERED_OTHERWISE as error:
                if not tries_left:
                    raise _unavailable(error) from error
                self._learn_base()
            except (*_UNDONE, NotConnected) as error:
                if not tries_left:
                    raise _unavailable(error) from error
                # Give the other transaction time to get its lock, or the server time to restart.
                time.sleep(_PAUSE)
            except _NOT_RUN as error:
                if not tries_left:
                    raise _unavailable(error) from error
                self._discard()
            except _NOT_KEPT as error:
                if not tries_left:
                    raise _unavailable(error) from error
                self._discard()
                if tries_left < _TRIES - 1:
                    # It was lost again, on a new connection.
                    self._stop_preparing()
            except NoAnswer as error:
                raise self._silence(error) from error
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                self.lacks_space |= isinstance(error, _NO_SPACE)
                if not (repeatable and tries_left and self._lost()):
                    raise _unavailable(error) from error
            except postgres_errors.UniqueViolation as error:
                # Another request stored the same row at this moment.
                raise AlreadyThere from error
            except psycopg2.Error as error:
                raise _unavailable(error) from error
        raise AssertionError('unreachable')

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Run several statements, all or none; yields a function that runs one and returns its rows.

        If the thread has a transaction open, the statements join it.

        :raises StorageUnavailable: if a statement or the commit fails; nothing is then repeated
        """
        if self.thread.run is not None:
            yield self.thread.run
            return
        # The statements of a transaction are not repeated. This one may be, and so finds a server
        # that can be written to.
        self.check_writable()
        with self._alone() if self.is_silent else nullcontext():
            yield from self._transaction()

    def _transaction(self) -> Iterator[Run]:
        try:
            with self._cursor(time.monotonic() + self._patience) as cursor:
                try:
                    cursor.execute(_BEGIN_AS_NUMBERED, {'base': self.base})
                except _NUMBERED_OTHERWISE:
                    cursor.execute('ROLLBACK')
                    self._learn_base()
                    cursor.execute('BEGIN')
                afterwards: list[Callable[[], None]] = []
                try:
                    self.thread.run = partial(self._run, cursor, base=self.base)
                    self.thread.afterwards = afterwards
                    try:
                        yield self.thread.run
                    finally:
                        self.thread.run = None
                    cursor.execute('COMMIT')
                except BaseException:
                    # The error above is raised; that the connection is gone as well adds nothing.
                    with suppress(psycopg2.Error):
                        cursor.execute('ROLLBACK')
                    raise
        except NoAnswer as error:
            raise self._silence(error) from error
        except psycopg2.Error as error:
            self.lacks_space |= isinstance(error, _NO_SPACE)
            raise _unavailable(error) from error
        for call in afterwards:
            call()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call ``call`` once this thread's transaction is committed; at once if none is open."""
        if self.thread.run is None:
            call()
        else:
            self.thread.afterwards.append(call)

    def check_writable(self) -> None:
        """Raise ``StorageUnavailable`` if no host in reach can be written to; writes nothing."""
        self.rows(_WRITE_NOTHING, {}, repeatable=True)

    def raise_base(self) -> None:
        """Begin an epoch whose numbers lie above all ids that are stored.

        Call it only if stored ids are ahead of this cluster's, as after a restore of a dump. No post
        is possible until all statements that are under way have ended, mostly for milliseconds.

        :raises StorageUnavailable: if PostgreSQL fails
        """
        # By then each transaction that is under way now, and numbers messages, has ended.
        seconds = 2 * self._statement_timeout + 2
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
        """Begin a new epoch if one is due, and use the current epoch's base from now on."""
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

    def _run_and_commit(
        self,
        cursor: Cursor,
        statement: str,
        parameters: Mapping[str, Any],
        base: int,
        before_commit: Callable[[list[Row]], None],
    ) -> list[Row]:
        try:
            rows = self._run(cursor, statement, parameters, base, _BEGIN_BRIEFLY)
            before_commit(rows)
            cursor.execute('COMMIT')
        except BaseException:
            # The error above is raised; that the connection is gone as well adds nothing.
            with suppress(psycopg2.Error):
                cursor.execute('ROLLBACK')
            raise
        return rows

    def _run(
        self,
        cursor: Cursor,
        statement: str,
        parameters: Mapping[str, Any],
        base: int,
        first: str = '',
    ) -> list[Row]:
        given = {**parameters, 'base': base}
        connection = cursor.connection
        if type(statement) is Prepared and self._prepares and not connection.settings:
            if not connection.prepared.issuperset(statement.definitions):
                self._prepare(cursor, statement)
            cursor.execute(first + statement.execution(given, connection))
        else:
            cursor.execute(first + statement, given)
        return cursor.fetchall() if cursor.description else []

    def _prepare(self, cursor: Cursor, statement: Prepared) -> None:
        prepared = cursor.connection.prepared
        for name, definition in statement.definitions.items():
            if name not in prepared:
                cursor.execute(definition)
                prepared.add(name)

    def _cursor(self, deadline: float = inf) -> Cursor:
        connection = self.thread.connection
        # Between statements PostgreSQL sends nothing; if there is something to read, it has ended the
        # session. If that is noticed now, a post can go over a new connection. If it were noticed
        # after sending, nobody would know whether the post was stored.
        if connection is None or connection.closed or connection.arrivals(0):
            connection = self._connect(deadline)
        connection.deadline = deadline
        return connection.cursor()  # type: ignore[return-value]

    def _lost(self) -> bool:
        """Whether there was a connection, and it broke."""
        connection = self.thread.connection
        return connection is not None and bool(connection.closed)

    def _connect(self, deadline: float) -> Connection:
        self._discard()
        connection = self._open(deadline)
        connection.patience = self._patience
        connection.deadline = deadline
        self.thread.connection = connection
        flows.tell(RECONNECTS, int(self.thread.has_been_connected))
        self.thread.has_been_connected = True
        try:
            self._bring_settings(connection)
            with connection.cursor() as cursor:
                cursor.execute(numbering.BASE)
                [base] = cursor.fetchone() or [_current_base(cursor)]
        except BaseException:
            self._discard()
            raise
        self._forget()
        self.base = base
        return connection

    def _open(self, deadline: float) -> Connection:
        try:
            return connect(self._parameters, self._connect_timeout, deadline)
        except NotConnected as error:
            # PgBouncer says this of `options`, unless it is set to ignore that parameter.
            if 'unsupported startup parameter' not in str(error):
                raise
        self._parameters = {**self._parameters, 'options': ''}
        return connect(self._parameters, self._connect_timeout, deadline)

    def _bring_settings(self, connection: Connection) -> None:
        """Have the settings sent with each transaction if a pooler dropped them on the way.

        It is not enough to set them once. Such a pooler may run the next statement over another of its
        connections, which lacks the settings, and hand the first one to another client, which would
        get them. A prepared statement would be lost in the same way.
        """
        with connection.cursor() as cursor:
            cursor.execute(ARRIVED)
            if cursor.fetchall() == [(True,)]:
                return
        connection.settings = self._settings.as_statements()
        log.warning(
            'storage: a pooler drops our settings: each transaction sends them, and no statement '
            'is prepared (docs/poolers.md says what this costs)'
        )

    def _stop_preparing(self) -> None:
        self._prepares = False
        log.warning(
            'storage: prepared statements get lost, as behind a pooler: none is prepared any '
            'more (set database.prepare_statements to False; see docs/poolers.md)'
        )

    def _silence(self, error: NoAnswer) -> MarconiError:
        self._silences += 1
        self.is_silent = True
        return _unavailable(error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While PostgreSQL is silent, let one thread ask it; in others raise at once.

        Else all threads would wait for PostgreSQL, and requests would wait for a thread.

        :raises StorageUnavailable: if another thread is asking
        """
        if not self._asking.acquire(blocking=False):
            raise StorageUnavailable
        silences = self._silences
        try:
            yield
        finally:
            self.is_silent = self._silences > silences
            self._asking.release()

    def _discard(self) -> None:
        connection = self.thread.connection
        self.thread.connection = None
        if connection is not None:
            connection.close()


# While a transaction is open, lists everywhere show nothing newer. A process that is stopped amid one must
# not hold them back for long.
_BEGIN_BRIEFLY = "BEGIN; SET LOCAL idle_in_transaction_session_timeout TO '1s'; "

_BEGIN_AS_NUMBERED = f'BEGIN; SELECT {MAY_NUMBER}'


def _current_base(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute(numbering.BEGIN_EPOCH)
    cursor.execute(numbering.RESERVE)
    cursor.execute(numbering.BASE)
    for (base,) in cursor.fetchall():
        return int(base)
    # Another process ended the epoch just now, and statements with its base are still under way.
    raise psycopg2.OperationalError('transactions are being numbered anew')


def _unavailable(error: Exception) -> MarconiError:
    # A failure of the network or of a busy database is logged as one line. A statement that PostgreSQL
    # refuses is a fault of ours, and is logged with a traceback.
    flows.tell(ERRORS, 1)
    expected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    log.warning('storage: %s', error, exc_info=None if expected else error)
    if isinstance(error, psycopg2.DataError) and not isinstance(error, _NUMBERED_OTHERWISE):
        # A column or a cast that refuses a value refuses it the next time, too.
        return Fault()
    if isinstance(error, postgres_errors.QueryCanceled):
        return StorageTooSlow()
    return StorageUnavailable()
