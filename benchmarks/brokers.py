"""Other brokers, each with the durability that it has for messages that must not get lost."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import START_TIMEOUT, free_port, listens, program, running
from benchmarks.environments import Unavailable, environment
from benchmarks.service import connect
from marconi_api.processes.embedded.cluster import NAME, EmbeddedPostgres

CLIENTS = 8


@dataclass(frozen=True)
class Broker:
    """A broker, and how it keeps messages."""

    name: str
    durability: str
    #: Of broker_clients.py.
    kind: str
    run: Callable[[Path], AbstractContextManager[str]]

    @contextlib.contextmanager
    def working(self, directory: Path) -> Iterator[str]:
        """The broker, once it serves a client; its address."""
        with self.run(directory) as address:
            deadline = time.monotonic() + START_TIMEOUT
            # Some listen long before they can answer.
            while True:
                try:
                    self.cycles(address, seconds=0.1, clients=1)
                    break
                except Unavailable:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.5)
            yield address

    def cycles(self, address: str, seconds: float, clients: int = CLIENTS) -> float:
        """Cycles a second of all clients together."""
        # psycopg2 is ours, the other clients are in the brokers' environment.
        python = sys.executable if self.kind in ('pgmq', 'marconi') else _clients()
        script = str(Path(__file__).with_name('broker_clients.py'))
        done = subprocess.run(
            [python, script, self.kind, address, str(clients), str(seconds)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unavailable(f'its clients failed: {done.stderr.strip().splitlines()[-1]}')
        return float(done.stdout)


def _clients() -> str:
    return str(environment('brokers', 'greenstalk>=2,<3', 'pika>=1.3,<2') / 'bin/python')


@contextlib.contextmanager
def beanstalkd(directory: Path) -> Iterator[str]:
    """A beanstalkd; its address."""
    _clients()
    port = free_port()
    command = [program('beanstalkd', 'beanstalkd'), '-l', '127.0.0.1', '-p', str(port)]
    with running(
        # -f0: flushed at each write.
        [*command, '-b', str(directory), '-f0'],
        lambda: listens(port),
        directory / 'beanstalkd.log',
    ):
        yield f'127.0.0.1:{port}'


@contextlib.contextmanager
def rabbitmq(directory: Path) -> Iterator[str]:
    """A RabbitMQ with a port mapper of its own; its address."""
    server = program('rabbitmq-server', 'rabbitmq-server')
    # Not Debian's wrapper, which keeps to the system's directories.
    own = Path('/usr/lib/rabbitmq/bin/rabbitmq-server')
    port, mapper, distribution = free_port(), free_port(), free_port()
    _clients()
    environment = {
        'HOME': str(directory),
        'ERL_EPMD_PORT': str(mapper),
        'RABBITMQ_NODENAME': 'bench@localhost',
        'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
        'RABBITMQ_NODE_PORT': str(port),
        'RABBITMQ_DIST_PORT': str(distribution),
        'RABBITMQ_MNESIA_BASE': str(directory / 'mnesia'),
        'RABBITMQ_LOG_BASE': str(directory / 'log'),
        'RABBITMQ_ENABLED_PLUGINS_FILE': str(directory / 'plugins'),
        'RABBITMQ_CONF_ENV_FILE': str(directory / 'none'),
    }
    with (
        running(
            [program('epmd', 'erlang-base'), '-port', str(mapper)],
            lambda: listens(mapper),
            directory / 'epmd.log',
        ),
        running(
            [str(own) if own.exists() else server],
            lambda: listens(port),
            directory / 'rabbitmq.log',
            environment,
        ),
    ):
        yield f'127.0.0.1:{port}'


@contextlib.contextmanager
def pgmq(directory: Path) -> Iterator[str]:
    """A PostgreSQL with the SQL of PGMQ, which the package of its Python client brings along."""
    installed = environment('pgmq', 'pgmq>=1.1,<2', dependencies=False)
    [schema] = installed.glob('lib/*/site-packages/pgmq/sql/pgmq.sql')
    server = EmbeddedPostgres(directory / 'pgmq')
    server.start()
    try:
        with contextlib.closing(connect(server.url)) as connection:
            connection.cursor().execute(schema.read_text())
            connection.cursor().execute("SELECT pgmq.create('bench')")
        socket = server.url.partition('host=')[2]
        yield f'host={socket} user={NAME} dbname={NAME}'
    finally:
        server.stop()


BROKERS = (
    Broker('PGMQ', 'PostgreSQL, each commit flushed', 'pgmq', pgmq),
    Broker('beanstalkd', 'its log flushed at each write', 'beanstalkd', beanstalkd),
    Broker('RabbitMQ', 'a quorum queue of one node, confirmed', 'rabbitmq', rabbitmq),
)
