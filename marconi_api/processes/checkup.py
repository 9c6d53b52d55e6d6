"""A checkup: what operators get wrong around a service, and what to do about it.

A check changes nothing. If a check has no permission to see something, it says so in a note.
"""

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from marconi_api.controllers.access import modes
from marconi_api.model.postgres.tables import metadata
from marconi_api.processes import schema
from marconi_api.processes.schema import SchemaError

OK = 'ok'
#: Something to know; all works.
NOTE = 'note'
#: Something that is to be mended.
PROBLEM = 'problem'

# From when on something is a problem; times in seconds, sizes in bytes.
_CLOCK_DIFFERENCE = 2
_WRITING_TRANSACTION = 60
_OLD_SNAPSHOT = 3600
_RETAINED_WAL = 2**30
_FREE_SHARE = 0.1
_FREE_SPACE = 5 * 2**30
_AGE_OF_IDS = 1_000_000_000
_DEAD_ROWS = 1_000_000
_DESCRIPTORS = 4096
_ROUNDS_MISSED = 10
# Connections that an administrator may need beside ours.
_SPARE_CONNECTIONS = 3
_CONNECTIONS_OF_JANITOR = 2


@dataclass(frozen=True)
class Finding:
    """What a check found: its ``level``, and what to do about it, '' if nothing."""

    level: str
    subject: str
    text: str
    advice: str = ''


Rows = Callable[..., list[Any]]


def examine(settings: Any, url: str) -> Iterator[Finding]:
    """Run all checks; yields each finding as soon as it is made.

    :raises SchemaError: if the database cannot be reached
    """
    yield from _settings(settings)
    with schema.connection(url) as connection:
        yield Finding(OK, 'database', f'{schema.shown(url)} is {_version(connection)}')
        yield _schema(url)
        for check in _CHECKS:
            yield from _guarded(check, connection, settings)
    yield from _descriptors()


def _guarded(
    check: Callable[[Rows, Any], Iterator[Finding]], connection: Connection, settings: Any
) -> Iterator[Finding]:
    """The findings of one check; a statement that PostgreSQL refuses becomes a note."""

    def rows(statement: str, **parameters: Any) -> list[Any]:
        return list(connection.execute(text(statement), parameters).all())

    subject = check.__name__.removeprefix('_').replace('_', ' ')
    try:
        findings = list(check(rows, settings))
    except DBAPIError as error:
        reason = str(error.orig).partition('\n')[0]
        findings = [Finding(NOTE, subject, f'could not be looked at: {reason}')]
    finally:
        # End the transaction, so that the next check does not find it among the open ones.
        connection.rollback()
    yield from findings or [Finding(OK, subject, 'nothing found')]


def _version(connection: Connection) -> str:
    number = connection.execute(text('SHOW server_version')).scalar_one()
    connection.rollback()
    return f'PostgreSQL {number}'


def _schema(url: str) -> Finding:
    try:
        schema.check(url)
    except SchemaError as error:
        return Finding(PROBLEM, 'schema', str(error), 'see marconi migrate')
    return Finding(OK, 'schema', 'current')


def _settings(settings: Any) -> Iterator[Finding]:
    place = settings.__file__
    mode = modes.mode_of(settings, settings.server.host)
    if mode is None:
        yield Finding(
            PROBLEM,
            'settings',
            f'nobody said who gets in at {settings.server.host}: the service does not start',
            'set access.mode (MARCONI_ACCESS), or HOST=127.0.0.1',
        )
    elif mode == modes.TRUSTED and not modes.is_loopback(settings.server.host):
        yield Finding(
            NOTE,
            'settings',
            f'whoever reaches {settings.server.host} is believed to be who it says',
            'let nobody but the proxy that authenticates reach it',
        )
    else:
        yield Finding(OK, 'settings', f'{place} can be used; access: {mode}')


def _durability(rows: Rows, settings: Any) -> Iterator[Finding]:
    for name in ('fsync', 'full_page_writes', 'synchronous_commit'):
        if _setting(rows, name) == 'off':
            yield Finding(
                PROBLEM,
                'durability',
                f'{name} is off: messages that were answered with 201 can be lost in a crash',
                f'set {name} = on in PostgreSQL',
            )
    [(names, standbys)] = rows(
        "SELECT current_setting('synchronous_standby_names'),"
        " (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))"
    )
    if names and not standbys:
        yield Finding(
            PROBLEM,
            'durability',
            f'synchronous_standby_names is {names!r}, and no such standby is connected: '
            'each post waits until its timeout',
            'start the standby, or empty synchronous_standby_names',
        )


def _autovacuum(rows: Rows, settings: Any) -> Iterator[Finding]:
    for name in ('autovacuum', 'track_counts'):
        if _setting(rows, name) == 'off':
            yield Finding(
                PROBLEM,
                'autovacuum',
                f'{name} is off: the rows of deleted messages are never removed',
                f'set {name} = on in PostgreSQL',
            )
    ours = {'names': list(metadata.tables)}
    for (name,) in rows(_NOT_VACUUMED, **ours):
        yield Finding(
            PROBLEM,
            'autovacuum',
            f'it is switched off for the table {name}',
            f'ALTER TABLE {name} RESET (autovacuum_enabled)',
        )
    for name, dead in rows(_BLOATED, dead=_DEAD_ROWS, **ours):
        yield Finding(
            NOTE,
            'autovacuum',
            f'{name} has {dead} dead rows, more than live ones',
            f'see below for what holds them; then VACUUM {name}',
        )
    [(age,)] = rows('SELECT max(age(datfrozenxid)) FROM pg_database')
    if age > _AGE_OF_IDS:
        yield Finding(
            PROBLEM,
            'autovacuum',
            f'the oldest transaction id is {age} transactions old; at two billion PostgreSQL stops',
            'see below for what holds it; then VACUUM in each database',
        )


def _timeouts(rows: Rows, settings: Any) -> Iterator[Finding]:
    # Those of the service are set by itself, for each connection.
    if _setting(rows, 'idle_in_transaction_session_timeout') == '0':
        yield Finding(
            NOTE,
            'timeouts',
            'idle_in_transaction_session_timeout is 0: a transaction that another program forgets '
            'holds back what lists show, for ever',
            "set it in PostgreSQL, for example to '5min'",
        )


def _connections(rows: Rows, settings: Any) -> Iterator[Finding]:
    server = settings.server
    needed = server.processes * server.threads + _CONNECTIONS_OF_JANITOR
    [(most, used, ours, of_role, of_database)] = rows(_CONNECTIONS)
    free = most - used + ours
    if free < needed + _SPARE_CONNECTIONS:
        yield Finding(
            PROBLEM,
            'connections',
            f'the service needs {needed} (server.processes x server.threads and '
            f'{_CONNECTIONS_OF_JANITOR}), and {free} are left of {most}',
            'raise max_connections in PostgreSQL, or lower server.threads',
        )
    for whose, limit in (('role', of_role), ('database', of_database)):
        if 0 <= limit < needed:
            yield Finding(
                PROBLEM,
                'connections',
                f'the service needs {needed}, and its {whose} may have {limit}',
                f'raise the CONNECTION LIMIT of the {whose}',
            )


def _clock(rows: Rows, settings: Any) -> Iterator[Finding]:
    before = time.time()
    [(theirs,)] = rows("SELECT date_part('epoch', clock_timestamp())")
    after = time.time()
    # The time of the round trip does not count as a difference.
    difference = theirs - min(max(theirs, before), after)
    if abs(difference) > _CLOCK_DIFFERENCE:
        yield Finding(
            PROBLEM,
            'clock',
            f"PostgreSQL's clock is {abs(difference):.0f} s "
            f'{"ahead of" if difference > 0 else "behind"} that of this machine: '
            'signatures and tokens end too early or too late',
            'let both machines follow the same time servers (NTP)',
        )


def _transactions(rows: Rows, settings: Any) -> Iterator[Finding]:
    for pid, who, seconds, state, writes in rows(
        _LONG_TRANSACTIONS, writing=_WRITING_TRANSACTION, reading=_OLD_SNAPSHOT
    ):
        effect = (
            'lists show no message that was posted since'
            if writes
            else 'rows that were deleted since cannot be removed'
        )
        yield Finding(
            PROBLEM,
            'transactions',
            f'process {pid} ({who}) has a transaction open for {seconds} s, {state}: {effect}',
            f'end it there, or by SELECT pg_terminate_backend({pid})',
        )
    [(hidden,)] = rows(_HIDDEN_SESSIONS)
    if hidden:
        yield Finding(
            NOTE,
            'transactions',
            f'{hidden} sessions of other roles could not be looked into',
            'GRANT pg_read_all_stats to the role of Marconi',
        )


def _prepared_transactions(rows: Rows, settings: Any) -> Iterator[Finding]:
    for gid, database, seconds in rows(_PREPARED, seconds=_WRITING_TRANSACTION):
        yield Finding(
            PROBLEM,
            'prepared transactions',
            f'{gid!r} of database {database} was prepared {seconds} s ago: lists show no message '
            'that was posted since',
            f"in that database COMMIT PREPARED or ROLLBACK PREPARED '{gid}'",
        )


def _replication_slots(rows: Rows, settings: Any) -> Iterator[Finding]:
    for name, is_active, retained, status in rows(_SLOTS):
        is_lost = status in ('lost', 'unreserved')
        if is_lost or (retained or 0) > _RETAINED_WAL:
            size = f'{(retained or 0) / 2**20:.0f} MB'
            yield Finding(
                PROBLEM,
                'replication slots',
                f'{name} is {"in use" if is_active else "not in use"} and holds {size} of the log '
                f'({status}): the disk fills up',
                f"let its standby catch up, or SELECT pg_drop_replication_slot('{name}')",
            )
        elif not is_active:
            yield Finding(
                NOTE,
                'replication slots',
                f'{name} is not in use: it holds the log, and may hold dead rows',
                'start its standby, or drop it',
            )


def _disk(rows: Rows, settings: Any) -> Iterator[Finding]:
    [(directory, is_local)] = rows(
        "SELECT current_setting('data_directory', true), inet_server_addr() IS NULL"
        ' OR inet_server_addr() = inet_client_addr()'
    )
    if not directory or not is_local or not os.access(directory, os.F_OK):
        yield Finding(NOTE, 'disk', "PostgreSQL's disk cannot be looked at from here")
        return
    for place in (Path(directory), Path(directory, 'pg_wal')):
        usage = shutil.disk_usage(place)
        if usage.free < min(_FREE_SPACE, usage.total * _FREE_SHARE):
            yield Finding(
                PROBLEM,
                'disk',
                f'{place} has {usage.free / 2**20:.0f} MB left: posts fail when it is full',
                'make space, or move PostgreSQL to a larger disk',
            )
            return
    yield Finding(OK, 'disk', f'{shutil.disk_usage(directory).free / 2**30:.0f} GB are left')


def _janitor(rows: Rows, settings: Any) -> Iterator[Finding]:
    for (seconds,) in rows("SELECT date_part('epoch', now() - round_at) FROM janitor"):
        if seconds is None or seconds > _ROUNDS_MISSED * settings.janitor.interval:
            when = 'never' if seconds is None else f'{seconds:.0f} s ago'
            yield Finding(
                NOTE,
                'janitor',
                f'its last round was {when}: what has expired stays on the disk',
                'start the service, or marconi expire --forever',
            )


def _descriptors() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS:
        yield Finding(
            NOTE,
            'descriptors',
            f'a process may open {hard} files here: the service serves about half as many clients',
            'raise the hard limit (ulimit -Hn, LimitNOFILE of systemd)',
        )
    else:
        yield Finding(OK, 'descriptors', 'enough')


def _setting(rows: Rows, name: str) -> str:
    """The value of a setting for all sessions, not only for this one."""
    [(value,)] = rows('SELECT setting FROM pg_settings WHERE name = :name', name=name)
    return str(value)


_NOT_VACUUMED = """
    SELECT relname FROM pg_class
     WHERE oid IN (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name)
       AND 'autovacuum_enabled=false' = ANY (reloptions)
     ORDER BY relname
"""

_BLOATED = """
    SELECT relname, n_dead_tup FROM pg_stat_user_tables
     WHERE relid IN (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name)
       AND n_dead_tup > :dead AND n_dead_tup > n_live_tup
     ORDER BY relname
"""

_CONNECTIONS = """
    SELECT current_setting('max_connections')::int
               - current_setting('superuser_reserved_connections')::int,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
           (SELECT count(*) FROM pg_stat_activity
             WHERE application_name = 'marconi' AND datname = current_database()),
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
           (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
"""

# A transaction that has an id may write; one that only has a snapshot reads.
_LONG_TRANSACTIONS = """
    SELECT pid, coalesce(nullif(application_name, ''), usename::text, backend_type),
           date_part('epoch', clock_timestamp() - xact_start)::bigint AS seconds,
           coalesce(state, 'active'), backend_xid IS NOT NULL
      FROM pg_stat_activity
     WHERE pid <> pg_backend_pid()
       AND (backend_xid IS NOT NULL
            AND xact_start < clock_timestamp() - :writing * interval '1 second'
            OR backend_xmin IS NOT NULL
            AND xact_start < clock_timestamp() - :reading * interval '1 second')
     ORDER BY xact_start LIMIT 10
"""

_HIDDEN_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
     WHERE query = '<insufficient privilege>' AND backend_type IS NULL
"""

_PREPARED = """
    SELECT gid, database, date_part('epoch', clock_timestamp() - prepared)::bigint
      FROM pg_prepared_xacts
     WHERE prepared < clock_timestamp() - :seconds * interval '1 second'
     ORDER BY prepared LIMIT 10
"""

_SLOTS = """
    SELECT slot_name, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, wal_status
      FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name
"""

_CHECKS = (
    _durability,
    _autovacuum,
    _timeouts,
    _connections,
    _clock,
    _transactions,
    _prepared_transactions,
    _replication_slots,
    _disk,
    _janitor,
)
