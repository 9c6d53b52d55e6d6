"""The connection to PostgreSQL: one for each thread, kept, in autocommit.

A request's work is one statement, so there is nothing to begin or commit, and no pool to
ask: a thread's connection is made once, and psycopg2 sends the statement.

**What may be sent again** after a failure. Certain is that a statement did not run where
PostgreSQL says what it refuses: a read-only server (25006), a prepared statement that is not
there (26000, 42P05), a deadlock. Certain is also that nothing was sent where no connection
could be made; the server that starts or stops (57P03) says so at that point only. Such a
statement is repeated, whatever it does.

The end of a session is no such certainty. An administrator who ends it (57P01) may do so while
the transaction commits: PostgreSQL heeds that at its next message to the log, and with
log_min_duration_statement = 0 this is after the commit and before the answer (a test shows
it). A crash (57P02) is told at any moment, and as a mere notice. So after a session's end only
what is repeatable is repeated, as after a connection that broke without a word.
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
# A prepared statement is lost, or is there though we did not prepare it: it did not run.
_NOT_KEPT = (
    postgres_errors.InvalidSqlStatementName,
    postgres_errors.DuplicatePreparedStatement,
)
_NO_SPACE = (postgres_errors.DiskFull, postgres_errors.IoError)
# Transactions are numbered otherwise than this process knows (tables.py): it did not run.
_NUMBERED_OTHERWISE = postgres_errors.DivisionByZero
_TRIES = 3
_TRIES_LEFT = range(_TRIES - 1, -1, -1)
_PAUSE = 0.05  # seconds

# Seconds for which PostgreSQL may be late with saying that a statement took too long.
_GRACE = 0.5

# Changes nothing, but a server that is read-only refuses it.
_WRITE_NOTHING = 'DELETE FROM queues WHERE false'


class _Thread(threading.local):
    """What a thread has of its own."""

    connection: Connection | None = None
    has_been_connected = False
    #: Runs a statement in the transaction that is open; None where none is.
    run: Run | None = None
    #: What is to be called once that is committed.
    afterwards: list[Callable[[], None]] = []


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
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        # PostgreSQL ends a statement itself, and says so; who is silent for longer is gone.
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
        #: Whether PostgreSQL was silent when it was last asked something, until it answers.
        self.is_silent = False
        self._silences = 0
        # Held by the one thread that asks meanwhile.
        self._asking = threading.Lock()
        #: Whether a statement failed for lack of space; who sees one succeed sets it back.
        self.lacks_space = False
        #: What the calling thread has of its own: its connection, and its transaction if one is open.
        self.thread = _Thread()
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
        :raises StorageUnavailable: within ``statement_timeout`` and a second

        Within :meth:`transaction` of the same thread it is a part of that.
        """
        run = self.thread.run
        if run is not None:
            return run(statement, parameters() if callable(parameters) else parameters)
        if self.is_silent:
            with self._alone():
                return self._rows(statement, parameters, repeatable)
        return self._rows(statement, parameters, repeatable)

    def _rows(
        self,
        statement: str,
        parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        repeatable: bool,
    ) -> list[Row]:
        deadline = time.monotonic() + self._patience
        for tries_left in _TRIES_LEFT:
            try:
                with self._cursor(deadline) as cursor:
                    # First the base: what was learned under an older one is forgotten before
                    # there is a new one, so that the two belong together or the statement fails.
                    base = self.base
                    given = parameters() if callable(parameters) else parameters
                    return self._run(cursor, statement, given, base)
            except _NUMBERED_OTHERWISE as error:
                if not tries_left:
                    raise _unavailable(error) from error
                self._learn_base()
            except (*_UNDONE, NotConnected) as error:
                if not tries_left:
                    raise _unavailable(error) from error
                # Let the other one have its lock first, and a server that restarts begin.
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
                    # Lost again, on a connection that was new.
                    self._stop_preparing()
            except NoAnswer as error:
                raise self._silence(error) from error
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                self.lacks_space |= isinstance(error, _NO_SPACE)
                if not (repeatable and tries_left and self._lost()):
                    raise _unavailable(error) from error
            except postgres_errors.UniqueViolation as error:
                # What was to be done was done by somebody else at this moment.
                raise AlreadyThere from error
            except psycopg2.Error as error:
                raise _unavailable(error) from error
        raise AssertionError('unreachable')

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Several statements, all or none: yields a function that runs one and returns rows.

        Within another one of the same thread it is a part of that.
        """
        if self.thread.run is not None:
            yield self.thread.run
            return
        # What it does cannot be repeated, but to find a server that can be written to can.
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
                    # What went wrong is told; that the connection is gone, too, is not news.
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
        """Call it once this thread's transaction is committed; at once if it has none open."""
        if self.thread.run is None:
            call()
        else:
            self.thread.afterwards.append(call)

    def check_writable(self) -> None:
        """Raise ``StorageUnavailable`` if no host in reach can be written to; writes nothing."""
        self.rows(_WRITE_NOTHING, {}, repeatable=True)

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
        connection = cursor.connection
        if type(statement) is Prepared and self._prepares and not connection.settings:
            if not connection.prepared.issuperset(statement.definitions):
                self._prepare(cursor, statement)
            cursor.execute(statement.execution(given, connection))
        else:
            cursor.execute(statement, given)
        return cursor.fetchall() if cursor.description else []

    def _prepare(self, cursor: Cursor, statement: Prepared) -> None:
        prepared = cursor.connection.prepared
        for name, definition in statement.definitions.items():
            if name not in prepared:
                cursor.execute(definition)
                prepared.add(name)

    def _cursor(self, deadline: float = inf) -> Cursor:
        connection = self.thread.connection
        # Between statements PostgreSQL has nothing to say; if there is something to read, it
        # is its farewell. Seen now, a post can go over a new connection; seen after sending,
        # nobody would know whether it was stored.
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
            # PgBouncer's word, unless it is told to ignore the parameter.
            if 'unsupported startup parameter' not in str(error):
                raise
        self._parameters = {**self._parameters, 'options': ''}
        return connect(self._parameters, self._connect_timeout, deadline)

    def _bring_settings(self, connection: Connection) -> None:
        """Have the settings sent with each transaction if they were dropped on the way.

        Who drops them is a pooler. To set them once would not do behind one that hands on
        the server's connections: the next statement may run over another one, and the next
        client would have the settings. What is prepared would be lost likewise.
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
        """Ask, while PostgreSQL is silent, in one thread only; the others' requests fail at once.

        Else requests would wait in line for threads that all wait for PostgreSQL.
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


_BEGIN_AS_NUMBERED = f'BEGIN; SELECT {MAY_NUMBER}'


def _current_base(cursor: psycopg2.extensions.cursor) -> int:
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
    flows.tell(ERRORS, 1)
    expected = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    log.warning('storage: %s', error, exc_info=None if expected else error)
    if isinstance(error, psycopg2.DataError) and not isinstance(error, _NUMBERED_OTHERWISE):
        # A value that no column or cast takes will not do the next time either.
        return Fault()
    if isinstance(error, postgres_errors.QueryCanceled):
        return StorageTooSlow()
    return StorageUnavailable()
