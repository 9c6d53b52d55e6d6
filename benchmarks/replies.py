"""How long does a remote procedure call take, from the request to the reply?

A client posts a request and waits for its reply (`POST .../requests?wait=30`). A worker waits for a claim of
one message, replies (`POST .../reply`), and waits again. Each has a connection of its own; one process
with one loop is both, and asks every 20 ms. Measured is the time from the request to its reply at the
client: a post, a claim and a delete with the reply, which PostgreSQL flushes to the disk one after the
other. The second service has the same database. Redis (`RPUSH` and `BLPOP`, a list for each direction)
and beanstalkd (a tube for each) do the same without a flush.

CPU is that of the service with its PostgreSQL, in milliseconds for each call.
"""

import contextlib
import json
import resource
import select
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.environments import Unavailable
from benchmarks.measured import Measured
from benchmarks.plan import Plan
from benchmarks.processes import cpu_seconds
from benchmarks.report import Answer, Table
from benchmarks.service import Service, running_service
from benchmarks.waiting import HEAD, PACE, WAITS_A_SECOND, address_of, second_service
from benchmarks.waiting_peers import PEERS, Peer

_PROJECT = 'X-Project-Id: even\r\n'
_QUESTION = json.dumps({'body': 'x' * 1024})
_REPLY = json.dumps('x' * 1024)


class Connection:
    """Sends requests, one after the other."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self._file = self.socket.makefile('rb')

    def send(self, path: str, body: str = '', method: str = 'POST') -> None:
        """Send a request of the project."""
        head = f'{method} /v2/queues/{path} HTTP/1.1\r\n{HEAD}{_PROJECT}Content-Length: {len(body)}'
        self.socket.sendall(f'{head}\r\n\r\n{body}'.encode())

    def receive(self) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline().strip().lower()) != b'':
            if line.startswith(b'content-length:'):
                length = int(line.partition(b':')[2])
        return status, self._file.read(length)


class Worker:
    """Replies to each message of a queue."""

    def __init__(self, address: tuple[str, int], queue: str) -> None:
        self._queue = queue
        self._connection = Connection(address)
        self.socket = self._connection.socket
        self.wait()

    def wait(self) -> None:
        """Send a claim."""
        self._connection.send(f'{self._queue}/claims?limit=1&wait=30')

    def reply(self) -> None:
        """Take the answer to the claim, reply to the message if there is one, and claim again."""
        status, content = self._connection.receive()
        if status == 201:
            href = json.loads(content)['messages'][0]['href']
            path, _, claim = href.removeprefix('/v2/queues/').partition('?claim_id=')
            self._connection.send(f'{path}/reply?claim_id={claim}', _REPLY)
            assert self._connection.receive()[0] == 204
        self.wait()


def round_trips(
    asks_at: tuple[str, int], works_at: tuple[str, int], queue: str, calls: int
) -> list[float]:
    """Milliseconds that each call took."""
    worker = Worker(works_at, queue)
    asker = Connection(asks_at)
    poll = select.poll()
    for one in (worker.socket, asker.socket):
        poll.register(one, select.POLLIN)
    time.sleep(1.5)
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        asker.send(f'{queue}/requests?wait=30', _QUESTION)
        is_answered = False
        while not is_answered:
            for descriptor, _ in poll.poll(5000):
                if descriptor == asker.socket.fileno():
                    assert asker.receive()[0] == 200
                    taken.append(1000 * (time.perf_counter() - began))
                    is_answered = True
                else:
                    worker.reply()
        time.sleep(max(0.0, began + PACE - time.perf_counter()))
    for end in (worker.socket, asker.socket):
        end.close()
    time.sleep(1)
    return taken


@contextlib.contextmanager
def _others_ask(address: tuple[str, int], count: int) -> Iterator[None]:
    """Clients that wait for replies which nobody gives."""
    others = []
    for _ in range(count):
        other = Connection(address)
        other.send('nobody/requests?wait=30', _QUESTION)
        others.append(other)
        time.sleep(1 / WAITS_A_SECOND)
    time.sleep(1.5)
    yield
    for other in others:
        other.socket.close()
    time.sleep(1.5)


def peer_round_trips(peer: Peer, address: tuple[str, int], calls: int) -> list[float]:
    """The same by two queues of a peer."""
    worker, asker = (peer.waiter(address, name) for name in ('rpc', 'reply'))
    posters: Any = [peer.poster(address) for _ in range(2)]
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        posters[0].post('rpc')
        worker.answer()
        posters[1].post('reply')
        asker.answer()
        taken.append(1000 * (time.perf_counter() - began))
        worker.wait()
        asker.wait()
        time.sleep(max(0.0, began + PACE - time.perf_counter()))
    return taken


def _row(name: str, taken: list[float], cpu: float | None) -> list[str | Measured]:
    ascending = sorted(taken)
    figures = [
        statistics.median(ascending),
        ascending[int(0.99 * len(ascending))],
        ascending[-1],
    ]
    spent = '' if cpu is None else f'{1000 * cpu / len(taken):.1f}'
    return [name, str(len(taken)), *(f'{figure:.1f}' for figure in figures), spent]


def _cpu(service: Service) -> float:
    return cpu_seconds(service.process.pid) + cpu_seconds(service.postmaster)


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    table = Table(['call', 'number', 'p50, ms', 'p99, ms', 'longest, ms', 'CPU, ms'])
    calls = plan.choose(full=500, quick=50)

    def measure(service: Service, name: str, call: Callable[[], list[float]]) -> None:
        before = _cpu(service)
        taken = call()
        table.rows.append(_row(name, taken, _cpu(service) - before))

    with running_service() as service, second_service(service) as other:
        here, there = address_of(service.address), address_of(other)
        same = partial(round_trips, here, here, 'rpc', calls)
        measure(service, 'asker and worker at one service', same)
        elsewhere = partial(round_trips, here, there, 'rpc', calls)
        table.rows.append(_row('worker at another service', elsewhere(), None))
        count = plan.choose(full=1000, quick=100)
        with _others_ask(here, count):
            measure(service, f'{count} others wait for replies', same)
    answer = Answer('replies', __doc__ or '', [table])
    for peer in PEERS:
        try:
            with peer.working() as address:
                table.rows.append(_row(peer.name, peer_round_trips(peer, address, calls), None))
        except Unavailable as error:
            answer.notes.append(f'{peer.name}: {error}')
    return answer
