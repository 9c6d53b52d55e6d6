"""How long does a waiting worker wait for a message, once it is posted?

Workers wait for a claim of one message, each on a connection of its own. Then a message is posted to
one of the queues every 20 ms. Measured is the time from the answer to the post to the answer
to the claim, by one client process with one loop; a worker that was answered waits again. The
second service has the same database, and learns of posts by NOTIFY. Beside it: asking once a second,
which takes half a second on average, whatever else is done.
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
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.plan import Plan
from benchmarks.processes import cpu_seconds, family
from benchmarks.report import Answer, Table
from benchmarks.service import Service, running_service

HEAD = f'Host: bench\r\nClient-ID: {uuid4()}\r\n'
# No project may have all who wait.
PROJECTS = ('even', 'odd')
# Seconds between two posts.
PACE = 0.02
# New waits a second: the routers' queue of new connections must not overflow.
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
        body = json.dumps({'messages': [{'body': 'x' * 1024}]})
        head = f'POST /v2/queues/{queue}/messages HTTP/1.1\r\n{HEAD}'
        head += f'{_project_of(queue)}Content-Length: {len(body)}\r\n'
        self.socket.sendall(f'{head}\r\n{body}'.encode())
        reply = self.socket.recv(65536)
        assert b' 201 ' in reply.partition(b'\r\n')[0], reply


def latencies(waiting: Service, posting: str, waiters: int, posts: int) -> list[float]:
    """Milliseconds from the answer to a post to the answer to a waiter, in ascending order."""
    queues = [f'wait-{number}-{waiters}' for number in range(min(1000, waiters))]
    open_waiters = []
    poll = select.epoll()
    by_descriptor: dict[int, Waiter] = {}
    for number in range(waiters):
        waiter = Waiter(_address(waiting.address), queues[number % len(queues)])
        open_waiters.append(waiter)
        by_descriptor[waiter.socket.fileno()] = waiter
        poll.register(waiter.socket, select.EPOLLIN)
        time.sleep(1 / WAITS_A_SECOND)
    time.sleep(1.5)
    poster = Poster(_address(posting))
    taken = []
    for _ in range(posts):
        queue = random.choice(queues)
        poster.post(queue)
        posted_at = time.perf_counter()
        deadline = posted_at + 5
        is_answered = False
        while not is_answered and time.perf_counter() < deadline:
            for descriptor, _events in poll.poll(0.1):
                waiter = by_descriptor[descriptor]
                if waiter.answer():
                    taken.append(1000 * (time.perf_counter() - posted_at))
                    is_answered = True
                waiter.wait()
        time.sleep(max(0.0, posted_at + PACE - time.perf_counter()))
    for waiter in open_waiters:
        waiter.socket.close()
    time.sleep(2)
    return sorted(taken)


def cost(service: Service, waiters: int) -> tuple[float, float]:
    """MiB that so many waiters add to room and routers, and the CPU of a core while they wait."""
    pids = [pid for pid in family(service.process.pid) if _name(pid) in _ROOM_AND_ROUTERS]
    before = sum(map(_memory, pids))
    open_waiters = []
    for number in range(waiters):
        open_waiters.append(Waiter(_address(service.address), f'idle-{number % 1000}'))
        time.sleep(1 / WAITS_A_SECOND)
    time.sleep(2)
    began, spent = time.monotonic(), sum(map(cpu_seconds, pids))
    time.sleep(5)
    share = (sum(map(cpu_seconds, pids)) - spent) / (time.monotonic() - began)
    added = sum(map(_memory, pids)) - before
    for waiter in open_waiters:
        waiter.socket.close()
    time.sleep(3)
    return added, 100 * share


_ROOM_AND_ROUTERS = ('marconi-waiting', 'marconi-uwsgi')


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wakes = Table(['waiters', 'posted to', 'posts', 'p50, ms', 'p99, ms', 'longest, ms'])
    costs = Table(['waiters', 'MiB more (PSS)', 'CPU of a core, %'])
    posts = plan.choose(full=500, quick=50)
    with running_service() as service, _second(service) as other:
        counts = plan.choose(full=(1, 100, 1000, 5000), quick=(1, 100))
        for count in counts:
            for name, address in (('the same service', service.address), ('another', other)):
                taken = latencies(service, address, count, posts)
                figures = [_quantile(taken, 0.5), _quantile(taken, 0.99), taken[-1]]
                wakes.rows.append(
                    [str(count), name, f'{len(taken)}/{posts}', *(f'{x:.1f}' for x in figures)]
                )
        for count in counts[-2:]:
            added, share = cost(service, count)
            costs.rows.append([str(count), f'{added:.0f}', f'{share:.1f}'])
    return Answer('waiting', __doc__ or '', [wakes, costs])


def _quantile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _address(url: str) -> tuple[str, int]:
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
def _second(service: Service) -> Iterator[str]:
    """The address of a second service on the database of the first."""
    clean = {name: value for name, value in os.environ.items() if 'MARCONI' not in name}
    process = subprocess.Popen(
        [sys.executable, '-m', 'marconi_api.commands', 'serve'],
        env=clean | {'PORT': '0', 'HOST': '', 'MARCONI_DATABASE_URL': service.url},
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
