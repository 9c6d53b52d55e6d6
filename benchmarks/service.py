"""The service as its users have it: `marconi serve` with uwsgi and a PostgreSQL of its own.

fsync and synchronous_commit are on, as PostgreSQL has them: each commit is on the disk before
it is answered.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2

from benchmarks.processes import command_line, cpu_seconds, family
from marconi_api.processes.embedded.cluster import running_url


class Service:
    """A running service on a free port, and the PostgreSQL that it started."""

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str] | None = None,
        checkout: Path | None = None,
    ) -> None:
        """Start it.

        :param environment: variables with its settings
        :param checkout: whose service it is, with an environment of its own; else this one's
        """
        clean = {name: value for name, value in os.environ.items() if 'MARCONI' not in name}
        # What it says at its end is of no interest.
        self._said = tempfile.TemporaryFile('w+')  # noqa: SIM115 - closed by stop
        started = time.monotonic()
        self.process = subprocess.Popen(
            [*_program(checkout), 'serve'],
            cwd=checkout,
            env=clean
            | {'PORT': '0', 'HOST': '', 'MARCONI_DATA_DIR': str(data_dir)}
            | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        assert self.process.stdout is not None
        # It says so once it has answered a request.
        ready = self.process.stdout.readline()
        self.start_seconds = time.monotonic() - started
        url = running_url(data_dir) if checkout is None else _running_url_of(checkout, data_dir)
        if url is None:
            self.process.wait()
            self._said.seek(0)
            raise SystemExit(self._said.read())
        #: Where it answers.
        self.address = ready.split()[-1]
        #: Its database, for SQLAlchemy.
        self.url = url
        self.postmaster = int(Path(data_dir, 'data', 'postmaster.pid').read_text().split()[0])

    @property
    def metrics(self) -> str:
        """Where it tells its metrics."""
        self._said.seek(0)
        [found] = re.findall(r'the metrics are at (\S+)', self._said.read())
        return str(found)

    @property
    def uwsgi_options(self) -> list[str]:
        """The options of uwsgi, as this service runs it."""
        return [word for word in command_line(self._uwsgi_master()) if word.startswith('--')]

    @property
    def workers(self) -> list[int]:
        """The processes of uwsgi that run the application."""
        count = next(
            int(word[12:]) for word in self.uwsgi_options if word.startswith('--processes=')
        )
        # The master starts them before its router.
        return sorted(family(self._uwsgi_master())[1:])[:count]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far, by who spent it."""
        workers = sum(map(cpu_seconds, self.workers))
        return {
            'PostgreSQL': cpu_seconds(self.postmaster),
            'workers': workers,
            'routers': cpu_seconds(self._uwsgi_master()) - workers,
        }

    def _uwsgi_master(self) -> int:
        return next(
            pid
            for pid in family(self.process.pid)
            if any(word.endswith('/uwsgi') for word in command_line(pid))
        )

    def stop(self) -> None:
        """End it, and the PostgreSQL with it."""
        self.process.terminate()
        self.process.communicate()
        self._said.close()


def _program(checkout: Path | None) -> list[str]:
    if checkout is None:
        return [sys.executable, '-m', 'marconi_api.commands']
    return [str(checkout / '.venv' / 'bin' / 'marconi')]


# In any commit: the modules in which the code that knows the database of a directory has lived.
_RUNNING_URL = """
import importlib, pathlib, sys
for name in ('processes.embedded.cluster', 'embedded'):
    try:
        module = importlib.import_module(f'marconi_api.{name}')
    except ImportError:
        continue
    print(module.running_url(pathlib.Path(sys.argv[1])) or '')
    break
"""


def _running_url_of(checkout: Path, data_dir: Path) -> str | None:
    python = checkout / '.venv' / 'bin' / 'python'
    command = [str(python), '-c', _RUNNING_URL, str(data_dir)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    return done.stdout.strip() or None


@contextlib.contextmanager
def running_service(**environment: str) -> Iterator[Service]:
    """A service on an empty database, of which nothing remains.

    :param environment: variables with its settings
    """
    with data_directory() as directory:
        service = Service(directory, environment)
        try:
            yield service
        finally:
            service.stop()


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """A place for the data of services, which a PostgreSQL of another user can enter."""
    with tempfile.TemporaryDirectory(prefix='marconi-bench-') as path:
        os.chmod(path, 0o755)
        yield Path(path, 'state')


def connect(url: str) -> psycopg2.extensions.connection:
    """A session of our own beside those of the service, in autocommit."""
    connection = psycopg2.connect(url.replace('+psycopg2', ''))
    connection.autocommit = True
    return connection
