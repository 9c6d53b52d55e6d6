"""A PostgreSQL with a synchronous standby, which takes its place when it is killed."""

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
_OPTIONS = ('max_connections=120',)
_PATIENCE = 60.0


class Pair(Database):
    """Two servers; commits wait for both."""

    def __init__(self, folder: Path) -> None:
        self._servers = [EmbeddedPostgres(folder / name, options=_OPTIONS) for name in _NAMES]
        hosts = '&'.join(f'host={server.state_dir}' for server in self._servers)
        self.url = f'postgresql+psycopg2://{NAME}@/{NAME}?{hosts}'

    def start(self) -> None:
        """Start both."""
        for server in self._servers:
            server.start()
        schema.upgrade(self._primary.url)
        self._servers[1].stop()
        self._follow()

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
        killed = self.processes()
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._servers.reverse()
        with contextlib.closing(self.connect()) as session, session.cursor() as cursor:
            cursor.execute('SELECT pg_promote()')
            # There is nobody to wait for.
            cursor.execute('ALTER SYSTEM RESET synchronous_standby_names')
            cursor.execute('SELECT pg_reload_conf()')
        self._servers[1].stop()
        self._follow()
        return 1

    @property
    def _primary(self) -> EmbeddedPostgres:
        return self._servers[0]

    def _follow(self) -> None:
        """Make the second server a copy of the first, and have commits wait for it from then on."""
        standby = self._servers[1]
        shutil.rmtree(standby.data)
        program = programs_of(self._primary.state_dir) / 'pg_basebackup'
        options = ['-h', str(self._primary.state_dir), '-U', NAME, '-D', str(standby.data)]
        subprocess.run(
            [str(program), *options, '-R', '-c', 'fast', '--no-sync'], check=True, cwd='/'
        )
        self._give_away(standby.data)
        standby.start()
        with contextlib.closing(self.connect()) as session, session.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            cursor.execute('SELECT pg_reload_conf()')

            def is_followed() -> bool:
                cursor.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
                return cursor.fetchone() is not None

            _wait_until(is_followed)

    def _give_away(self, directory: Path) -> None:
        owner = self._primary.data.stat()
        for path in (directory, *directory.rglob('*')):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _connect(server: EmbeddedPostgres) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(host=str(server.state_dir), user=NAME, dbname=NAME)
    connection.autocommit = True
    return connection


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit('the standby does not follow: see its log')
        time.sleep(0.05)
