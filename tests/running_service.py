"""A running service, for tests that meet it as its users do: real processes, real HTTP."""

import atexit
import contextlib
import functools
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import LOCK_NAME, EmbeddedPostgres, running_url
from tests.directories import open_directory
from tests.processes import name_of, with_descendants

DEADLINE = 60.0
UNFINISHED = (
    b'POST /v1/queues/slow/messages HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n'
    b'Client-ID: 3381af92-2b9e-11e3-b191-71861300734c\r\nContent-Length: 100\r\n\r\n['
)
HEADERS = {
    'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c',
    'Content-Type': 'application/json',
}

# Few tests have webhooks, and a process that calls them takes half a second to start.
_SETTINGS = {'PORT': '0', 'MARCONI_DELIVERY_PROCESSES': '0'}

#: For a service that calls webhooks.
CALLS_WEBHOOKS = {'MARCONI_DELIVERY_PROCESSES': '1'}


class Service:
    """`marconi serve` on a free port, with a data directory of its own unless told else.

    :param cwd: the directory in which it is started; that of the tests if it is not named
    """

    def __init__(
        self,
        data_dir: Path,
        stdin: int = subprocess.DEVNULL,
        cwd: str | None = None,
        **environment: str,
    ) -> None:
        self.data_dir = data_dir
        # A file, as a pipe that nobody reads would stop it once it is full.
        err, path = tempfile.mkstemp(prefix='marconi-test-')
        self.err = Path(path)
        clean = {name: value for name, value in os.environ.items() if 'MARCONI' not in name}
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'marconi_api.commands', 'serve'],
            env=clean | _SETTINGS | {'MARCONI_DATA_DIR': str(data_dir)} | environment,
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
        os.close(err)
        self.port = 0

    def wait_until_ready(self) -> 'Service':
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        ready = re.fullmatch(r'Marconi is ready at http://127\.0\.0\.1:(\d+)\n', line)
        assert ready, line + self.end()[1]
        self.port = int(ready[1])
        return self

    def end(self, number: int | None = None) -> tuple[str, str]:
        """What it wrote besides the line that it is ready, once it has ended."""
        if number is not None:
            self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=DEADLINE)
        return out, self.err.read_text()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=DEADLINE)

    def request(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        with contextlib.closing(self.connect()) as connection:
            return request(connection, method, path, body)

    def processes(self) -> list[int]:
        """It and all processes that it, or they, have started."""
        return with_descendants(self.process.pid)

    def named(self, name: str) -> list[int]:
        """Those of them that call themselves so."""
        return [pid for pid in self.processes() if name_of(pid) == name]


def request(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
) -> tuple[int, bytes]:
    connection.request(method, path, body, HEADERS)
    response = connection.getresponse()
    return response.status, response.read()


Start = Callable[..., Service]


def refused(service: Service) -> str:
    """The one line with which a service says that it cannot run."""
    out, err = service.end()
    assert (service.process.returncode, out) == (1, '')
    assert re.fullmatch(r'marconi: .+\n', err), err
    return err


def postmaster(service: Service) -> int:
    """The process id of its embedded PostgreSQL; 0 while none has written it."""
    try:
        lines = (service.data_dir / 'data' / 'postmaster.pid').read_text().splitlines()
    except FileNotFoundError:
        return 0
    # Its last line is written when it is ready.
    return int(lines[0]) if len(lines) == 8 else 0


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@functools.cache
def prepared_data() -> Path:
    """The data directory of a stopped PostgreSQL with Marconi's tables; made once a test process."""
    kept_until_the_end = contextlib.ExitStack()
    atexit.register(kept_until_the_end.close)
    directory = kept_until_the_end.enter_context(open_directory())
    server = EmbeddedPostgres(directory / 'state', durable=False)
    server.start()
    try:
        schema.upgrade(server.url)
    finally:
        server.stop()
    return server.state_dir


def put_prepared_data(state_dir: Path) -> None:
    """Make the data directory of a service that is about to be started, in a fifth of its time."""
    state_dir.mkdir(mode=0o700)
    copied = [prepared_data() / name for name in ('data', LOCK_NAME)]
    subprocess.run(['cp', '-a', *copied, state_dir], check=True)
    shutil.copystat(prepared_data(), state_dir)
    owner = prepared_data().stat()
    os.chown(state_dir, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def services(prepared: bool = True) -> Iterator[Start]:
    """Starts services that have one data directory, and leaves nothing of them behind.

    :param prepared: whether the directory has the tables already; else the first start makes them
    """
    started: list[Service] = []
    with open_directory() as path:
        usual = path / 'state'

        def start(
            data_dir: Path | None = None, stdin: int = subprocess.DEVNULL, **environment: str
        ) -> Service:
            own = data_dir is None and 'MARCONI_DATABASE_URL' not in environment
            if prepared and own and not usual.exists():
                put_prepared_data(usual)
            started.append(Service(data_dir or usual, stdin, **environment))
            return started[-1]

        try:
            yield start
        finally:
            for service in started:
                if service.process.poll() is None:
                    service.process.terminate()
                service.process.communicate(timeout=DEADLINE)
                service.err.unlink()
            for data_dir in {service.data_dir for service in started}:
                if running_url(data_dir):
                    EmbeddedPostgres(data_dir).stop()
