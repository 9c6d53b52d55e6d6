"""Whether the database can be worked with and, if not, why, in words that anybody may read."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import errors as postgres_errors

from marconi_api.errors import StorageUnavailable
from marconi_api.model.postgres.connection import NoAnswer, NotConnected
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import REVISION

_PRESENT_REVISIONS = 'SELECT version_num FROM alembic_version'


class Unhealthy(Exception):
    """The database cannot be worked with; the message is a sentence that says why.

    Whoever asks may see it: it names no host, no user and no statement.
    """


@contextmanager
def explained() -> Iterator[None]:
    """Turn a :class:`StorageUnavailable` into an :class:`Unhealthy` that says its cause."""
    try:
        yield
    except StorageUnavailable as error:
        raise Unhealthy(_reason(error.__cause__)) from error


def check_schema(database: Database) -> None:
    """Make sure that the schema has all that this code needs; a newer schema has.

    :raises Unhealthy: if a migration is missing
    :raises StorageUnavailable: if that cannot be known
    """
    present = [revision for (revision,) in database.rows(_PRESENT_REVISIONS, {}, repeatable=True)]
    newest = max(present, default='(none)')
    if not present or newest < REVISION:
        raise Unhealthy(
            f'The schema of the database is at revision {newest}, but {REVISION} is needed:'
            ' upgrade the schema.'
        )


def _reason(cause: BaseException | None) -> str:
    if isinstance(cause, postgres_errors.UndefinedTable):
        return 'The database lacks tables of Marconi: upgrade the schema.'
    if isinstance(cause, postgres_errors.DiskFull | postgres_errors.IoError):
        return 'PostgreSQL has no space on its disk, or cannot write to it.'
    # libpq says so of a server that is not the one that the session asked for.
    if isinstance(cause, postgres_errors.ReadOnlySqlTransaction) or 'read-only' in str(cause):
        return 'PostgreSQL takes no changes: it is read-only.'
    if isinstance(cause, NotConnected):
        return 'PostgreSQL is out of reach.'
    # Without a cause: another thread has been waiting for an answer (see Database._alone).
    if cause is None or isinstance(cause, NoAnswer | postgres_errors.QueryCanceled):
        return 'PostgreSQL does not answer.'
    if isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
        return 'The connection to PostgreSQL broke.'
    return 'PostgreSQL refuses a statement of Marconi: the log has it.'
