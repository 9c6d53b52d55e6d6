"""The database's schema, seen from outside: whether this Marconi can use that database.

Alembic does the work; every failure leaves as a :class:`SchemaError`, whose message is
one line that tells the operator what to do. Alembic is imported only by the functions that need it: the
import takes a quarter of a second, and most processes find a schema that is current.
"""

import contextlib
import io
import logging
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from marconi_api.model.postgres.tables import REVISION, metadata
from marconi_api.processes.installation import ALEMBIC_INI, normalise_url

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

OLDEST_POSTGRESQL = 13

log = logging.getLogger(__name__)

# What is done is told in words of ours.
logging.getLogger('alembic').setLevel(logging.WARNING)

# The comment on the table alembic_version: the oldest revision whose code works with the schema.
_WORKS_FROM = 'Marconi works with this schema from the code of revision '

# Seconds; a host that swallows packets would hold the start for minutes otherwise.
CONNECT_TIMEOUT = 5


class SchemaError(Exception):
    """The database cannot be used as it is; the message is one line that says why."""


@contextlib.contextmanager
def connection(url: str) -> Iterator[Connection]:
    """A connection to the database, of several hosts to the one that takes changes.

    :raises SchemaError: also for what goes wrong in the database while it is in use
    """
    try:
        engine = create_engine(
            normalise_url(url),
            poolclass=NullPool,
            connect_args={
                'connect_timeout': CONNECT_TIMEOUT,
                'target_session_attrs': 'read-write',
            },
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError):
        raise SchemaError(
            'the database URL cannot be used: write it as postgresql://user:password@host/name'
        ) from None
    if engine.dialect.name != 'postgresql':
        raise SchemaError(f'{shown(url)} is not PostgreSQL, which Marconi needs')
    try:
        opened = engine.connect()
    except DBAPIError as error:
        raise SchemaError(f'cannot reach {shown(url)}: {_first_line(error)}') from None
    with opened:
        try:
            yield opened
        except DBAPIError as error:
            raise SchemaError(f'cannot use {shown(url)}: {_first_line(error)}') from None


@dataclass(frozen=True)
class Step:
    """A migration, and what it does in one line."""

    revision: str
    what: str


@dataclass(frozen=True)
class Status:
    """Where the schema is, and what leads from there to the newest revision, in that order.

    ``present`` is None where there is no schema yet.
    """

    present: str | None
    newest: str
    pending: Sequence[Step]


def noting_oldest_code(scripts: 'ScriptDirectory', head: str) -> str:
    """The SQL that notes which code works with the schema at ``head``, for code that is older.

    It is the oldest revision after which all are ``additive``: they only add what older code does not use.
    """
    for script in scripts.iterate_revisions(head, 'base'):
        if not getattr(script.module, 'additive', False):
            break
    return f"COMMENT ON TABLE alembic_version IS '{_WORKS_FROM}{script.revision}'"


def status(url: str) -> Status:
    """Where the schema of the database is.

    :raises SchemaError: if it is unreachable or too old, or at a revision that is not known
    """
    with connection(url) as opened:
        _check_version(opened, url)
        _check_encoding(opened, url)
        present = _present_revisions(opened)
    scripts = _scripts(url)
    _check_known(scripts, present, url)
    pending = [
        Step(script.revision, script.doc.rstrip('.'))
        for script in scripts.iterate_revisions('head', max(present, default='base'))
    ]
    return Status(max(present, default=None), max(scripts.get_heads()), tuple(reversed(pending)))


def upgrading_sql(url: str) -> str:
    """The SQL that brings the schema up from where it is to the newest revision."""
    import alembic.command

    written = io.StringIO()
    config = _alembic_config(url)
    config.output_buffer = written
    start = status(url).present
    alembic.command.upgrade(config, f'{start}:head' if start else 'head', sql=True)
    return written.getvalue()


def upgrade(url: str) -> None:
    """Bring the schema up to the newest revision.

    :raises SchemaError: if the database is beyond what this Marconi knows.
    """
    with connection(url) as opened:
        if _is_current(opened) or _is_newer_and_works(opened, url):
            return

    import alembic.command
    from alembic.util.exc import CommandError

    try:
        alembic.command.upgrade(_alembic_config(url), 'head')
    except CommandError as error:
        if isinstance(error.__cause__, SchemaError):
            raise error.__cause__ from None
        raise SchemaError(f'cannot upgrade the schema of {shown(url)}: {error}') from None


def check(url: str) -> None:
    """Make sure that Marconi can work with this database; changes nothing in it.

    :raises SchemaError: if it is unreachable or too old, or if its schema is another.
    """
    with connection(url) as opened:
        _check_version(opened, url)
        _check_encoding(opened, url)
        _check_revision(opened, url)
        _check_not_distributed(opened, url)


def version(url: str) -> str:
    """Which PostgreSQL has the database: ``PostgreSQL 18.6``.

    :raises SchemaError: if it is unreachable.
    """
    with connection(url) as opened:
        number = opened.exec_driver_sql('SHOW server_version').scalar_one()
    return f'PostgreSQL {number}'


def _check_version(connection: Connection, url: str) -> None:
    # As a number: 130005 is 13.5.
    version = int(connection.exec_driver_sql('SHOW server_version_num').scalar_one())
    if version < OLDEST_POSTGRESQL * 10000:
        raise SchemaError(
            f'{shown(url)} is PostgreSQL {version // 10000}: '
            f'Marconi needs {OLDEST_POSTGRESQL} or newer'
        )


def _check_encoding(connection: Connection, url: str) -> None:
    encoding = connection.scalar(text('SHOW server_encoding'))
    if encoding != 'UTF8':
        raise SchemaError(
            f"{shown(url)} is encoded in {encoding}: make a database with ENCODING 'UTF8', "
            'in which every message can be stored'
        )


def _check_revision(connection: Connection, url: str) -> None:
    if _is_current(connection) or _is_newer_and_works(connection, url):
        return
    present = _present_revisions(connection)
    _check_known(_scripts(url), present, url)
    state = f'is at revision {", ".join(sorted(present))}' if present else 'is not made yet'
    raise SchemaError(
        f'the schema of {shown(url)} {state}, but revision {REVISION} is '
        f'needed: {_how_to_upgrade(url)}'
    )


def _present_revisions(connection: Connection) -> set[str]:
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return set()
    return set(connection.scalars(text('SELECT version_num FROM alembic_version')))


def _is_current(connection: Connection) -> bool:
    return _present_revisions(connection) == {REVISION}


def _is_newer_and_works(connection: Connection, url: str) -> bool:
    """Whether the schema is newer, and its migrations say that this code works with it."""
    present = max(_present_revisions(connection), default='')
    if present <= REVISION:
        return False
    noted = connection.scalar(
        text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")
    )
    if not noted or not noted.startswith(_WORKS_FROM):
        return False
    if noted.removeprefix(_WORKS_FROM) > REVISION:
        return False
    log.warning(
        'the schema of %s is at revision %s, newer than this Marconi, which works with it: '
        'upgrade Marconi',
        *(shown(url), present),
    )
    return True


def _check_known(scripts: 'ScriptDirectory', present: set[str], url: str) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if not present <= known:
        unknown = ', '.join(sorted(present - known))
        raise SchemaError(
            f'the schema of {shown(url)} is at revision {unknown}, which this Marconi does '
            'not know: it is newer, so upgrade Marconi'
        )


def _check_not_distributed(connection: Connection, url: str) -> None:
    """Refuse tables of ours that Citus has spread over several servers.

    Claims would fail there, and readers miss messages (docs/architecture.md).
    """
    if connection.scalar(text("SELECT to_regclass('pg_dist_partition')")) is None:
        return
    distributed = connection.scalars(
        text(
            'SELECT name FROM unnest(CAST(:names AS text[])) AS name'
            ' WHERE to_regclass(name) IN (SELECT logicalrelid FROM pg_dist_partition)'
            ' ORDER BY name'
        ),
        {'names': list(metadata.tables)},
    ).all()
    if distributed:
        raise SchemaError(
            f'Citus distributes tables of {shown(url)} ({", ".join(distributed)}), on which '
            'claims fail and readers miss messages: make them local by undistribute_table()'
        )


def _how_to_upgrade(url: str) -> str:
    """What to type, here and now, to bring the schema up; a password is not shown."""
    command = ['alembic']
    beside_python = Path(sys.executable).with_name('alembic')
    found = shutil.which('alembic')
    if beside_python.exists() and (found is None or not beside_python.samefile(found)):
        command = [str(beside_python)]
    if not Path('alembic.ini').exists() or not ALEMBIC_INI.samefile('alembic.ini'):
        command += ['-c', str(ALEMBIC_INI)]
    command += ['upgrade', 'head']
    if _hides(url):
        return f'with MARCONI_DATABASE_URL set as it is here, run  {shlex.join(command)}'
    return f'run  MARCONI_DATABASE_URL={shlex.quote(url)} {shlex.join(command)}'


def _scripts(url: str) -> 'ScriptDirectory':
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_alembic_config(url))


def _alembic_config(url: str) -> 'Config':
    from alembic.config import Config

    # Standard output is the service's own.
    config = Config(ALEMBIC_INI, stdout=sys.stderr)
    config.attributes['url'] = normalise_url(url)
    return config


# Parameters of a URL that hold secrets.
_SECRETS = ('password', 'sslpassword')


def shown(url: str) -> str:
    """The URL as it may be printed: without its password."""
    shown = make_url(normalise_url(url)).set(drivername='postgresql')
    hidden = {name: '***' for name in _SECRETS if name in shown.query}
    return shown.update_query_dict(hidden).render_as_string(hide_password=True)


def _hides(url: str) -> bool:
    """Whether :func:`shown` leaves something out."""
    parsed = make_url(normalise_url(url))
    return parsed.password is not None or any(name in parsed.query for name in _SECRETS)


def _first_line(error: DBAPIError) -> str:
    """What the driver said, without SQLAlchemy's lines around it."""
    lines = str(error.orig).strip().splitlines()
    return lines[0].strip() if lines else type(error.orig).__name__
