"""How long does a waiting worker wait for a message, once it is posted?

Workers wait for a claim of one message, each on a connection of its own. Then a message is posted to
one of the queues every 20 ms. Measured is the time from the answer to the post to the answer
to the claim, by one client process with one loop; a worker that was answered waits again. The
second service has the same database, and learns of posts by NOTIFY; a third one hears no
notification, as behind PgBouncer, and only looks. "PostgreSQL itself" is a client that hears of a
row by LISTEN, takes it by one UPDATE, and commits: what a post and a claim take a table in two
transactions. The client then asks beanstalkd (`reserve`) and Redis (`BLPOP`). Their messages lie in
memory, and once more each is set to flush what is posted to the disk before it answers, as Marconi
does; Marconi flushes the claim with it. The last column is the median of the time from the sending of
the post to the answer to the claim. If the claim is answered before the post, the client still reads
the answer to the post first: then the time is what it takes to read the other one.

CPU is that of the waiting room and of uwsgi's router, while all wait and nobody posts, and with 50
posts a second. Posts are sent over 8 connections by one loop, each way in its turn.
"""

import contextlib
import json
import os
import random
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
import timeit
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.environments import Unavailable
from benchmarks.plan import Plan
from benchmarks.processes import family, own_cpu_seconds
from benchmarks.report import Answer, Table
from benchmarks.service import Service, running_service
from benchmarks.waiting_peers import PEERS, Inserting, Listening, make_table
from benchmarks.wrk import CONNECTIONS
from marconi_api.model import QueueKey
from marconi_api.processes.waiting.hand_over import MAP, RoomConnection
from marconi_api.processes.waiting.wake_map import WakeMap

HEAD = f'Host: bench\r\nClient-ID: {uuid4()}\r\n'
# No project may have all who wait.
PROJECTS = ('even', 'odd')
# Seconds between two posts.
PACE = 0.02
# Seconds after which nothing is left of many who waited: a room notices 500 a second who went, and
# their queues stay warm for ten seconds.
SETTLES = 22
# New waits a second: the router's queue of new connections must not overflow.
WAITS_A_SECOND = 500


class Waiter:
    """A worker that waits for a message of a queue, again and again."""

    def __init__(self, address: tuple[str, int], queue: str) -> None:
        self._queue = queue
        self.socket = socket.create_connection(address)
        self.wait()

    def wait(self) -> None:
        """Send the request."""
        path = f'/v2/queues/{self._queue}/claims?limit=1&wait=30'
        head = f'{HEAD}{_project_of(self._queue)}'
        self.socket.sendall(f'POST {path} HTTP/1.1\r\n{head}\r\n'.encode())

    def answer(self) -> bool:
        """Read the answer; whether it has a message."""
        return b' 201 ' in self.socket.recv(65536).partition(b'\r\n')[0]


def _project_of(queue: str) -> str:
    number = int(queue.split('-')[1])
    return f'X-Project-Id: {PROJECTS[number % 2]}\r\n'


class Poster:
    """Posts messages over one connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)

    def post(self, queue: str) -> None:
        """Post a message, and read the answer."""
        self.send(queue)
        self.receive()

    def send(self, queue: str, headers: str = '') -> None:
        """Post a message."""
        body = json.dumps({'messages': [{'body': 'x' * 1024}]})
        head = f'POST /v2/queues/{queue}/messages HTTP/1.1\r\n{HEAD}{headers}'
        head += f'{_project_of(queue)}Content-Length: {len(body)}\r\n'
        self.socket.sendall(f'{head}\r\n{body}'.encode())

    def receive(self) -> None:
        """Read the answer."""
        reply = self.socket.recv(65536)
        assert b' 201 ' in reply.partition(b'\r\n')[0], reply


class Waits(Protocol):
    """One who waits for a message of a queue, again and again."""

    @property
    def socket(self) -> 'Connected':
        """Its connection."""

    def wait(self) -> None:
        """Send the request."""

    def answer(self) -> bool:
        """Read the answer; whether it has a message."""


class Connected(Protocol):
    """A connection, over a socket or to PostgreSQL."""

    def fileno(self) -> int:
        """Its descriptor."""

    def close(self) -> None:
        """End it."""


class Posts(Protocol):
    """One who posts."""

    def post(self, queue: str) -> None:
        """Post a message, and read the answer."""


class Latencies(NamedTuple):
    """Milliseconds until waiters were answered, in ascending order."""

    #: From the answer to the post.
    taken: list[float]
    #: From the sending of the post.
    whole: list[float]
    #: The share of a core that was used meanwhile.
    cpu: float


def latencies(
    waits: Callable[[str], Waits],
    posts_to: Callable[[], Posts],
    waiters: int,
    posts: int,
    cpu: Callable[[], float] = lambda: 0.0,
) -> 'Latencies':
    """Post again and again while many wait, and see how long it takes until one is answered.

    :param cpu: CPU seconds so far
    """
    queues = [f'wait-{number}-{waiters}' for number in range(min(1000, waiters))]
    open_waiters = []
    poll = select.epoll()
    by_descriptor: dict[int, Waits] = {}
    for number in range(waiters):
        waiter = waits(queues[number % len(queues)])
        open_waiters.append(waiter)
        by_descriptor[waiter.socket.fileno()] = waiter
        poll.register(waiter.socket, select.EPOLLIN)
        time.sleep(1 / WAITS_A_SECOND)
    time.sleep(1.5)
    # Not before: a connection that is not used is closed after a minute.
    poster = posts_to()
    taken, whole = [], []
    began, spent = time.monotonic(), cpu()
    for _ in range(posts):
        queue = random.choice(queues)
        sent_at = time.perf_counter()
        poster.post(queue)
        posted_at = time.perf_counter()
        deadline = posted_at + 5
        is_answered = False
        while not is_answered and time.perf_counter() < deadline:
            for descriptor, _events in poll.poll(0.1):
                waiter = by_descriptor[descriptor]
                if waiter.answer():
                    answered_at = time.perf_counter()
                    taken.append(1000 * (answered_at - posted_at))
                    whole.append(1000 * (answered_at - sent_at))
                    is_answered = True
                waiter.wait()
        time.sleep(max(0.0, posted_at + PACE - time.perf_counter()))
    share = (cpu() - spent) / (time.monotonic() - began)
    for waiter in open_waiters:
        waiter.socket.close()
    time.sleep(2)
    return Latencies(sorted(taken), sorted(whole), share)


def order(service: Service, waiters: int, posts: int) -> float:
    """The share of the messages that went to the one who had waited longest, in one queue."""
    queue = 'order-0'
    address = address_of(service.address)
    poster, poll = Poster(address), select.epoll()
    line: OrderedDict[int, Waiter] = OrderedDict()
    for _ in range(waiters):
        waiter = Waiter(address, queue)
        line[waiter.socket.fileno()] = waiter
        poll.register(waiter.socket, select.EPOLLIN)
        time.sleep(1 / WAITS_A_SECOND)
    time.sleep(1.5)
    in_order = 0
    for _ in range(posts):
        oldest = next(iter(line))
        poster.post(queue)
        [(descriptor, _), *_] = poll.poll(5)
        in_order += descriptor == oldest
        waiter = line.pop(descriptor)
        waiter.answer()
        waiter.wait()
        line[descriptor] = waiter
        time.sleep(PACE)
    for waiter in line.values():
        waiter.socket.close()
    time.sleep(2)
    return in_order / posts


def cost(service: Service, waiters: int, settles: float) -> tuple[float, float]:
    """MiB that so many waiters add to room and routers, and the share of a core while they wait.

    :param settles: seconds until nothing is left of those who waited before
    """
    pids = _room_and_routers(service)
    time.sleep(settles)
    before = sum(map(_memory, pids))
    open_waiters = []
    for number in range(waiters):
        open_waiters.append(Waiter(address_of(service.address), f'idle-{number % 1000}'))
        time.sleep(1 / WAITS_A_SECOND)
    time.sleep(2)
    began, spent = time.monotonic(), sum(map(own_cpu_seconds, pids))
    time.sleep(5)
    share = (sum(map(own_cpu_seconds, pids)) - spent) / (time.monotonic() - began)
    added = sum(map(_memory, pids)) - before
    for waiter in open_waiters:
        waiter.socket.close()
    time.sleep(3)
    return added, share


def post_rates(service: Service, plan: Plan) -> dict[str, float]:
    """Posts a second of one message: as they are, with a key each, and while others wait."""
    address = address_of(service.address)
    ways = {
        'nobody waits': lambda: '',
        'each with an Idempotency-Key': lambda: f'Idempotency-Key: {uuid4()}\r\n',
    }
    rates: dict[str, list[float]] = defaultdict(list)
    rounds, seconds = plan.choose(full=4, quick=1), plan.choose(full=3.0, quick=0.5)
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            rates[name].append(_rate(address, ways[name], seconds))
    count = plan.choose(full=1000, quick=50)
    others = []
    for number in range(count):
        others.append(Waiter(address, f'others-{number}'))
        time.sleep(1 / WAITS_A_SECOND)
    for _ in range(rounds):
        name = f'{count} wait for other queues'
        rates[name].append(_rate(address, ways['nobody waits'], seconds))
    for waiter in others:
        waiter.socket.close()
    return {name: sorted(found)[len(found) // 2] for name, found in rates.items()}


def _rate(address: tuple[str, int], headers: Callable[[], str], seconds: float) -> float:
    """Posts a second to one queue, over some connections by one loop."""
    poll = select.epoll()
    posters = [Poster(address) for _ in range(CONNECTIONS)]
    by_descriptor = {poster.socket.fileno(): poster for poster in posters}
    for poster in posters:
        poll.register(poster.socket, select.EPOLLIN)
        poster.send('rate-0', headers())
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for descriptor, _ in poll.poll(1):
            by_descriptor[descriptor].receive()
            by_descriptor[descriptor].send('rate-0', headers())
            done += 1
    for poster in posters:
        poster.receive()
        poster.socket.close()
    return done / seconds


def _room_and_routers(service: Service) -> list[int]:
    return [pid for pid in family(service.process.pid) if _name(pid) in _ROOM_AND_ROUTERS]


# Where nobody listens.
_NOWHERE = 'postgresql://127.0.0.1:1/nowhere'

_ROOM_AND_ROUTERS = ('marconi-waiting', 'marconi-uwsgi')


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wakes = Table(
        [
            'waiters',
            'posted to',
            'posts',
            'p50, ms',
            'p99, ms',
            'longest, ms',
            'p50 from sending, ms',
        ]
    )
    costs = Table(['waiters', 'MiB more (PSS)', 'CPU at rest, %', 'CPU with 50 posts/s, %'])
    others = Table(['post 1', 'posts/s', 'to the first'])
    posts = plan.choose(full=500, quick=50)

    def add(waiters: int, name: str, found: Latencies, posts: int = posts) -> None:
        taken = found.taken
        figures = [_quantile(taken, 0.5), _quantile(taken, 0.99), taken[-1]]
        whole = _quantile(found.whole, 0.5)
        wakes.rows.append(
            [str(waiters), name, f'{len(taken)}/{posts}', *(f'{x:.2f}' for x in (*figures, whole))]
        )

    with running_service() as service, second_service(service) as other:
        address = address_of(service.address)
        pids = _room_and_routers(service)
        make_table(service.url)
        for count in (1, 10):
            found = latencies(
                partial(Listening, service.url), partial(Inserting, service.url), count, posts
            )
            add(count, 'PostgreSQL itself', found)
        counts = plan.choose(full=(1, 100, 1000, 5000), quick=(1, 100))
        active: dict[int, float] = {}
        for count in counts:
            for name, posting in (('the same service', service.address), ('another', other)):
                found = latencies(
                    partial(Waiter, address),
                    partial(Poster, address_of(posting)),
                    count,
                    posts,
                    lambda: sum(map(own_cpu_seconds, pids)),
                )
                add(count, name, found)
                active.setdefault(count, found.cpu)
        for count in counts[-2:]:
            added, share = cost(service, count, plan.choose(full=SETTLES, quick=0))
            figures = [f'{added:.0f}', f'{100 * share:.1f}', f'{100 * active[count]:.1f}']
            costs.rows.append([str(count), *figures])
        in_order = order(service, plan.choose(full=100, quick=10), posts)
        rates = post_rates(service, plan)
    # By itself: a database of ours has no connections for three services.
    with (
        running_service() as service,
        second_service(service, MARCONI_NOTIFICATIONS_URL=_NOWHERE) as deaf,
    ):
        looked_for = plan.choose(full=200, quick=10)
        found = latencies(
            partial(Waiter, address_of(deaf)),
            partial(Poster, address_of(service.address)),
            *(100, looked_for),
        )
        add(100, 'another, without notifications', found, looked_for)
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        others.rows.append([name, f'{rate:,.0f}', f'{rate / first:.2f}'])
    answer = Answer('waiting', __doc__ or '', [wakes, costs, others])
    for peer in PEERS:
        try:
            with peer.working() as address:
                count = plan.choose(full=1000, quick=100)
                found = latencies(
                    partial(peer.waiter, address), partial(peer.poster, address), count, posts
                )
                add(count, peer.name, found)
        except Unavailable as error:
            answer.notes.append(f'{peer.name}: {error}')
    answer.notes.append(
        f'Where nobody waits, a post looks at the map of those who do, which takes {_look():.2f} us.'
    )
    answer.notes.append(
        f'Of those who waited for one queue, the first was answered first in {in_order:.1%}.'
    )
    return answer


def _look() -> float:
    """Microseconds that a post takes to see that nobody waits."""
    with tempfile.TemporaryDirectory() as directory:
        WakeMap.make(Path(directory, MAP))
        room, queue = RoomConnection(Path(directory)), QueueKey.of('even', 'rate-0')
        return 1e6 * min(timeit.repeat(lambda: room.wake(queue, 1), number=10_000)) / 10_000


def _quantile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a service."""
    parsed = urlsplit(url)
    return parsed.hostname or '', parsed.port or 0


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f'/proc/{pid}/comm').read_text().strip()
    return ''


def _memory(pid: int) -> float:
    """MiB of a process, what it shares counted in parts."""
    with contextlib.suppress(OSError):
        for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def second_service(service: Service, **environment: str) -> Iterator[str]:
    """The address of a second service on the database of the first.

    :param environment: variables with its settings
    """
    clean = {name: value for name, value in os.environ.items() if 'MARCONI' not in name}
    process = subprocess.Popen(
        [sys.executable, '-m', 'marconi_api.commands', 'serve'],
        env=clean | {'PORT': '0', 'HOST': '', 'MARCONI_DATABASE_URL': service.url} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate()
