"""The services of a campaign, as their users start them: real processes, durable commits."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg2

from benchmarks.children import free_port
from benchmarks.processes import command_line, family
from faults.machine import Disk
from marconi_api.processes.embedded.cluster import EmbeddedPostgres, running_url
from marconi_api.processes.installation import CHECKOUT

#: Settings for all: claims that lapse, and messages that expire, within seconds.
_SETTINGS = """
server = {{'processes': {processes}, 'threads': 4}}
limits = {{'min_claim_ttl': 1, 'min_message_ttl': 1, 'max_messages_per_claim': 100}}
janitor = {{'interval': 5}}
eventing = {{'allowed_networks': ['127.0.0.0/8'], 'allowed_ports': list(range(1024, 65536))}}
"""
# How often it is tried to start a service that was killed.
_STARTS = 20

# Modules in here are found before all others: sitecustomize puts defects into the services.
_SWITCH = Path(__file__).parent / 'switch'


class Instance:
    """A service; the first one of a campaign has the PostgreSQL, which the others use."""

    def __init__(
        self, name: str, folder: Path, processes: int, defect: str = '', settings: str = ''
    ) -> None:
        self.name = name
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._code = CHECKOUT
        file = folder / f'{name}.py'
        file.write_text(_SETTINGS.format(processes=processes) + settings)
        self._environment = {
            'PORT': str(self.port),
            'MARCONI_CONFIG': str(file),
            'MARCONI_DATA_DIR': str(folder / 'state'),
            'MARCONI_DELIVERY_PROCESSES': '1',
        }
        if defect:
            self._environment |= {
                'FAULTS_DEFECT': defect,
                'FAULTS_INSTANCE': name,
                'PYTHONPATH': f'{_SWITCH}:{CHECKOUT}',
            }

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor of the service, once it was started."""
        assert self._process is not None
        return self._process

    def run_code_of(self, checkout: Path) -> None:
        """Have it run another release from its next start on."""
        self._code = checkout

    def start(self, more: Mapping[str, str] | None = None) -> None:
        """Start it, and wait until it is ready."""
        self._environment |= more or {}
        if not self._starts():
            raise SystemExit(f'{self.name} did not start: see {self._folder / self.name}.err')

    def start_again(self) -> None:
        """Start it as often as a service manager does, as its PostgreSQL may be away just then."""
        for _ in range(_STARTS):
            if self._starts():
                return
            self._wait()
            time.sleep(0.5)
        raise SystemExit(f'{self.name} does not start again: see {self._folder / self.name}.err')

    def _starts(self) -> bool:
        clean = {name: value for name, value in os.environ.items() if 'MARCONI' not in name}
        with open(self._folder / f'{self.name}.err', 'ab') as said:
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'marconi_api.commands', 'serve'],
                # Python looks for modules there first.
                cwd=self._code,
                env=clean | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        assert self.process.stdout is not None
        return bool(self.process.stdout.readline())

    def stop(self) -> None:
        """End it, and the PostgreSQL that it has, if it was started."""
        if self._process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        self._wait()

    def kill(self) -> None:
        """Kill it, and what it has started, but for the PostgreSQL."""
        self.process.kill()
        self._wait()

    def _wait(self) -> None:
        self.process.communicate()
        self._process = None

    def part(self, *words: str) -> list[int]:
        """Those of its processes whose command has one of the words."""
        found = []
        for pid in family(self.process.pid)[1:]:
            try:
                line = ' '.join(command_line(pid))
            except OSError:
                continue
            if any(word in line for word in words):
                found.append(pid)
        return found

    def workers(self) -> list[int]:
        """The processes of uwsgi that answer requests, each with threads for that."""
        return [pid for pid in self._servers() if _threads(pid) > 1]

    def routers(self) -> list[int]:
        """The processes of uwsgi that pass requests on."""
        return [pid for pid in self._servers() if _threads(pid) == 1]

    def _servers(self) -> list[int]:
        # The master comes first, as it is the parent of the others; their numbers may be lower.
        return self.part('/uwsgi')[1:]


def _threads(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f'/proc/{pid}/task'))
    return 0


class Database:
    """The PostgreSQL of the first instance, as an administrator sees it."""

    #: That of its data, if it can be filled.
    disk: Disk | None = None

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.disk = disk
        self._state = folder / 'state'
        url = running_url(self._state)
        assert url is not None
        #: For the other instances.
        self.url = url

    @property
    def postmaster(self) -> int:
        """Its process; 0 while there is none."""
        return self.postmaster_of(self._state)

    @staticmethod
    def postmaster_of(state: Path) -> int:
        """The process of the server with this directory; 0 while there is none."""
        try:
            return int((state / 'data' / 'postmaster.pid').read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def processes(self) -> list[int]:
        """The postmaster and its children."""
        return family(self.postmaster) if self.postmaster else []

    def connect(self) -> psycopg2.extensions.connection:
        """A session in autocommit."""
        connection = psycopg2.connect(self.url.replace('+psycopg2', ''))
        connection.autocommit = True
        return connection

    def fail_over(self) -> int:
        """Have a standby take its place; it has none. Returns how often that happened."""
        raise NotImplementedError

    def rows(self, statement: str) -> list[tuple[int, ...]]:
        """What a statement returns; nothing if the database is away."""
        try:
            connection = self.connect()
        except psycopg2.OperationalError:
            return []
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
        except psycopg2.Error:
            return []
        finally:
            connection.close()

    @staticmethod
    def stop_at(folder: Path) -> None:
        """Stop the one of a run, though its service may have failed to."""
        EmbeddedPostgres(folder / 'state').stop()
