"""A PostgreSQL with a standby, which takes its place when it is killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2

from faults.instances import Database
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import NAME, EmbeddedPostgres, programs_of

# Each has its place as long as the run: clients name both hosts, and find the one that takes changes.
_NAMES = 'one', 'other'
# A server that was killed keeps what the standby still needs of its log.
_OPTIONS = ('max_connections=120', 'wal_keep_size=1GB')
_PATIENCE = 60.0


class Pair(Database):
    """Two servers; commits wait for both, unless the standby is asynchronous."""

    def __init__(self, folder: Path, is_synchronous: bool = True) -> None:
        self._is_synchronous = is_synchronous
        self._servers = [EmbeddedPostgres(folder / name, options=_OPTIONS) for name in _NAMES]
        hosts = '&'.join(f'host={server.state_dir}' for server in self._servers)
        self.url = f'postgresql+psycopg2://{NAME}@/{NAME}?{hosts}'

    def start(self) -> None:
        """Start both."""
        for server in self._servers:
            server.start()
        schema.upgrade(self._primary.url)
        self.follow()

    def stop(self) -> None:
        """Stop both."""
        for server in self._servers:
            server.stop()

    @property
    def postmaster(self) -> int:
        """The process of the server that takes changes."""
        return self.postmaster_of(self._primary.state_dir)

    def connect(self) -> psycopg2.extensions.connection:
        """A session with the server that takes changes, in autocommit."""
        return _connect(self._primary)

    def fail_over(self) -> int:
        """Kill the server, and have the other one take its place; then make a standby anew."""
        self.kill()
        self.promote()
        self.follow()
        return 1

    def kill(self) -> None:
        """Kill the server that takes changes, and all of its processes."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def promote(self) -> None:
        """Have the standby take the place of the other one."""
        self._servers.reverse()
        with contextlib.closing(self.connect()) as session, session.cursor() as cursor:
            cursor.execute('SELECT pg_promote()')
            # There is nobody to wait for.
            cursor.execute('ALTER SYSTEM RESET synchronous_standby_names')
            cursor.execute('SELECT pg_reload_conf()')

    @property
    def _primary(self) -> EmbeddedPostgres:
        return self._servers[0]

    @property
    def other(self) -> EmbeddedPostgres:
        """The standby, or the server that was killed."""
        return self._servers[1]

    def cut_off(self) -> float:
        """Have the standby lag from now on; since when it surely has all that was committed before."""
        with (
            contextlib.closing(self.connect()) as primary,
            primary.cursor() as here,
            contextlib.closing(_connect(self.other)) as standby,
            standby.cursor() as there,
        ):
            has_all = time.time()
            here.execute('SELECT pg_current_wal_flush_lsn()')
            [(place,)] = here.fetchall()
            has_come = f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{place}'::pg_lsn"
            _wait_until(lambda: _is_true(there, has_come))
            there.execute("ALTER SYSTEM SET primary_conninfo = ''")
            there.execute('SELECT pg_reload_conf()')
            is_alone = 'SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_wal_receiver)'
            _wait_until(lambda: _is_true(there, is_alone))
        return has_all

    def follow(self) -> None:
        """Make the second server a copy of the first, and have commits wait for it if they are to."""
        standby = self.other
        standby.stop()
        shutil.rmtree(standby.data, ignore_errors=True)
        program = programs_of(self._primary.state_dir) / 'pg_basebackup'
        options = ['-h', str(self._primary.state_dir), '-U', NAME, '-D', str(standby.data)]
        subprocess.run(
            [str(program), *options, '-R', '-c', 'fast', '--no-sync'], check=True, cwd='/'
        )
        self._give_away(standby.data)
        standby.start()
        with contextlib.closing(self.connect()) as session, session.cursor() as cursor:
            if self._is_synchronous:
                cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                cursor.execute('SELECT pg_reload_conf()')
            state = 'sync' if self._is_synchronous else 'async'
            follows = f"SELECT 1 FROM pg_stat_replication WHERE sync_state = '{state}'"
            _wait_until(lambda: _is_true(cursor, follows))

    def _give_away(self, directory: Path) -> None:
        owner = self._primary.data.stat()
        for path in (directory, *directory.rglob('*')):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _connect(server: EmbeddedPostgres) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=str(server.state_dir), user=NAME, dbname=NAME)
    connection.autocommit = True
    return connection


def _is_true(cursor: psycopg2.extensions.cursor, statement: str) -> bool:
    cursor.execute(statement)
    return cursor.fetchone() is not None


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit('the standby does not follow: see its log')
        time.sleep(0.05)
