"""Other queues whose workers can wait, spoken to over plain sockets, as Marconi is."""

import contextlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import free_port, listens, program, running
from benchmarks.service import connect

BODY = 'x' * 1024
Address = tuple[str, int]


# What a queue in a table comes to at the least: a row is locked, and marked as taken.
_TABLE = """
    CREATE TABLE bench_jobs (
        id bigint GENERATED ALWAYS AS IDENTITY, queue text, taken_at timestamptz, body text);
    CREATE INDEX ON bench_jobs (queue, id) WHERE taken_at IS NULL"""
_POST = """
    WITH posted AS (INSERT INTO bench_jobs (queue, body) VALUES (%s, %s))
    SELECT pg_notify(%s, '')"""
_CLAIM = """
    UPDATE bench_jobs SET taken_at = now()
     WHERE id = (SELECT id FROM bench_jobs WHERE queue = %s AND taken_at IS NULL
                  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING body"""


class Listening:
    """Waits for rows of a table of PostgreSQL by LISTEN, and commits what it takes."""

    def __init__(self, url: str, queue: str) -> None:
        self._queue = queue
        self.socket = connect(url)
        self._cursor = self.socket.cursor()
        self._cursor.execute(f'LISTEN "{queue}"')

    def wait(self) -> None:
        """Have nothing to send."""

    def answer(self) -> bool:
        """Take a row."""
        self.socket.poll()
        if not self.socket.notifies:
            return False
        self.socket.notifies.clear()
        self._cursor.execute(_CLAIM, (self._queue,))
        return self._cursor.fetchone() is not None


class Inserting:
    """Puts rows into a table of PostgreSQL, and notifies."""

    def __init__(self, url: str) -> None:
        self._cursor = connect(url).cursor()

    def post(self, queue: str) -> None:
        """Post a message, and read the answer."""
        self._cursor.execute(_POST, (queue, BODY, queue))


def make_table(url: str) -> None:
    """Make what they need."""
    with contextlib.closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLE)


class Reserving:
    """Waits for jobs of a tube of beanstalkd."""

    def __init__(self, address: Address, queue: str) -> None:
        self.socket = socket.create_connection(address)
        self._ask(f'watch {queue}')
        self._ask('ignore default')
        self.wait()

    def _ask(self, command: str) -> None:
        self.socket.sendall(f'{command}\r\n'.encode())
        self.socket.recv(4096)

    def wait(self) -> None:
        """Send the request."""
        self.socket.sendall(b'reserve\r\n')

    def answer(self) -> bool:
        """Read the job, and delete it."""
        head = self.socket.recv(65536)
        if not head.startswith(b'RESERVED'):
            return False
        while not head.endswith(b'x\r\n'):
            head += self.socket.recv(65536)
        self._ask(f'delete {head.split()[1].decode()}')
        return True


class Putting:
    """Puts jobs into tubes of beanstalkd."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address)

    def post(self, queue: str) -> None:
        """Post a message, and read the answer."""
        put = f'use {queue}\r\nput 0 0 60 {len(BODY)}\r\n{BODY}\r\n'
        self._socket.sendall(put.encode())
        reply = b''
        while b'INSERTED' not in reply or not reply.endswith(b'\r\n'):
            reply += self._socket.recv(4096)


class Popping:
    """Waits for elements of a list of Redis."""

    def __init__(self, address: Address, queue: str) -> None:
        self._queue = queue
        self.socket = socket.create_connection(address)
        self.wait()

    def wait(self) -> None:
        """Send the request."""
        self.socket.sendall(f'BLPOP {self._queue} 0\r\n'.encode())

    def answer(self) -> bool:
        """Read the element."""
        reply = self.socket.recv(65536)
        while not reply.endswith(b'x\r\n'):
            reply += self.socket.recv(65536)
        return True


class Pushing:
    """Puts elements into lists of Redis."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address)

    def post(self, queue: str) -> None:
        """Post a message, and read the answer."""
        self._socket.sendall(f'RPUSH {queue} {BODY}\r\n'.encode())
        assert self._socket.recv(4096).startswith(b':')


@dataclass(frozen=True)
class Peer:
    """A queue that is a program of Debian's."""

    name: str
    program: str
    options: Callable[[int, Path], list[str]]
    waiter: Callable[[Address, str], 'Reserving | Popping']
    poster: Callable[[Address], 'Putting | Pushing']

    @contextlib.contextmanager
    def working(self) -> Iterator[Address]:
        """Run it; its address."""
        with tempfile.TemporaryDirectory(prefix='marconi-bench-') as name:
            port, directory = free_port(), Path(name)
            command = [program(self.program, self.program), *self.options(port, directory)]
            with running(command, lambda: listens(port), directory / 'log'):
                yield '127.0.0.1', port


def _beanstalkd(port: int) -> list[str]:
    return ['-l', '127.0.0.1', '-p', str(port)]


def _redis(port: int, directory: Path) -> list[str]:
    return [*('--bind', '127.0.0.1', '--port', str(port)), *('--save', '', '--dir', str(directory))]


PEERS = (
    Peer('beanstalkd', 'beanstalkd', lambda port, _: _beanstalkd(port), Reserving, Putting),
    Peer(
        'beanstalkd, flushed',
        'beanstalkd',
        lambda port, directory: [*_beanstalkd(port), '-b', str(directory), '-f', '0'],
        Reserving,
        Putting,
    ),
    Peer('Redis', 'redis-server', _redis, Popping, Pushing),
    Peer(
        'Redis, flushed',
        'redis-server',
        lambda port, directory: [
            *_redis(port, directory),
            *('--appendonly', 'yes', '--appendfsync', 'always'),
        ],
        Popping,
        Pushing,
    ),
)
