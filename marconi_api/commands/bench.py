"""``marconi bench``."""

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json, add_queue, add_way, whole_number
from marconi_api.commands.failures import CommandFailed, WrongUse
from marconi_api.commands.ways.client import Client, NotThere

_KINDS = ('post', 'claim', 'delete')

# Seconds for which a client rests whose request failed: it may have been told to wait.
_PAUSE = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_queue(parser)
    number = whole_number(1)
    parser.add_argument(
        '--clients', metavar='N', type=number, default=8, help='so many at once (8)'
    )
    parser.add_argument('--time', metavar='S', type=number, default=10, help='for S seconds (10)')
    parser.add_argument(
        '--batch', metavar='N', type=number, default=1, help='messages a request (1)'
    )
    parser.add_argument(
        '--size', metavar='BYTES', type=number, default=1024, help='bytes of a body (1024)'
    )
    parser.add_argument(
        '--rate',
        metavar='R',
        type=number,
        help='posts a second of all clients together (as many as are answered)',
    )
    add_way(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure a running service: how many messages it passes on, and how fast it answers.

    Each client posts messages to QUEUE, claims as many, and deletes what it got, over and over. The
    queue is made, and deleted at the end with all that is in it, so it must not be there before.
    With --rate a latency counts from the moment at which the request was due. All clients share one
    core: where that is busy, run this several times at once.
    Exit code 1: requests failed; what was measured is printed all the same.

    For example: marconi bench load-test --project acme --url http://127.0.0.1:8888 --clients 32
    """
    if not arguments.url:
        raise WrongUse('name a running service by --url, such as http://127.0.0.1:8888')
    load = _Load(
        *(arguments.url, arguments.token, arguments.project, arguments.queue),
        *(arguments.time, arguments.batch, arguments.size),
        arguments.rate and arguments.clients / arguments.rate,
    )
    with _queue(load):
        found = _measured(load, arguments.clients)
    if arguments.json:
        terminal.show_json(found.document(load.seconds))
    else:
        terminal.show_table(
            ('REQUEST', 'A SECOND', 'P50 MS', 'P95 MS', 'P99 MS', 'MAX MS'),
            found.rows(load.seconds),
        )
    if found.failures:
        failures = sum(found.failures.values())
        raise CommandFailed(f'{failures} requests failed: {next(iter(found.failures))}')


@dataclass(frozen=True)
class _Load:
    url: str
    token: str
    project: str
    queue: str
    seconds: int
    batch: int
    size: int
    #: Seconds between two posts of a client; None: none.
    period: float | None

    @property
    def path(self) -> str:
        return f'/v2/queues/{quote(self.queue, safe="")}'

    def client(self) -> Client:
        return Client(self.url, self.token, self.project)


@dataclass
class _Found:
    #: Seconds that requests took, by their kind.
    latencies: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    #: How many requests failed, by what was said.
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, other: '_Found') -> None:
        for kind, latencies in other.latencies.items():
            self.latencies[kind] += latencies
        for said, count in other.failures.items():
            self.failures[said] = self.failures.get(said, 0) + count

    def rows(self, seconds: int) -> list[list[str]]:
        return [
            [
                kind,
                f'{one["rate"]:.0f}',
                *(f'{one[name]:.1f}' for name in ('p50', 'p95', 'p99', 'max')),
            ]
            for kind, one in self.document(seconds)['requests'].items()
        ]

    def document(self, seconds: int) -> dict[str, Any]:
        """Requests a second, and milliseconds; a kind that was not answered is not there."""
        requests = {}
        for kind, latencies in self.latencies.items():
            if latencies:
                cuts = statistics.quantiles(latencies * 2, n=100, method='inclusive')
                requests[kind] = {
                    'count': len(latencies),
                    'rate': round(len(latencies) / seconds, 1),
                    **{f'p{cut}': round(cuts[cut - 1] * 1000, 3) for cut in (50, 95, 99)},
                    'max': round(max(latencies) * 1000, 3),
                }
        return {'requests': requests, 'failures': dict(self.failures)}


@contextlib.contextmanager
def _queue(load: _Load) -> Iterator[None]:
    """The queue, as long as it is needed."""
    client = load.client()
    with contextlib.suppress(NotThere):
        # Version 2 shows a queue that is not there like an empty one.
        client.call('GET', f'/v1/queues/{quote(load.queue, safe="")}')
        raise WrongUse(
            f'queue {load.queue} is there already: name another one, as it is deleted at the end'
        )
    client.call('PUT', load.path, {})
    try:
        yield
    finally:
        load.client().call('DELETE', load.path)


def _measured(load: _Load, clients: int) -> _Found:
    """What came of all clients."""
    # What the service refuses it refuses at once.
    _Client(load).cycle(time.monotonic())
    found = _Found()
    start = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        starts = [start + (load.period or 0.0) * place / clients for place in range(clients)]
        for one in pool.map(lambda begin: _Client(load).go(begin, start + load.seconds), starts):
            found.add(one)
    return found


class _Client:
    """Posts messages, claims as many, and deletes what it got."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._client = load.client()
        self._found = _Found()
        message = {'ttl': 3600, 'body': 'x' * max(0, load.size - 2)}
        self._posted = {'messages': [message] * load.batch}

    def go(self, begin: float, end: float) -> _Found:
        """Do so until the end; what came of it."""
        period = self._load.period
        for number in itertools.count():
            due = time.monotonic() if period is None else begin + number * period
            if max(due, time.monotonic()) >= end:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self.cycle(due)
            except CommandFailed as error:
                self._found.failures[str(error)] = self._found.failures.get(str(error), 0) + 1
                time.sleep(_PAUSE)
        return self._found

    def cycle(self, due: float) -> None:
        """Do so once; the post was due then."""
        path = self._load.path
        self._call('post', due, 'POST', f'{path}/messages', self._posted)
        claim = f'{path}/claims?limit={self._load.batch}'
        answer = self._call('claim', time.monotonic(), 'POST', claim, {'ttl': 300, 'grace': 60})
        if answer:
            ids = ','.join(one.id for one in self._client.read(answer, _Claimed).messages)
            self._call('delete', time.monotonic(), 'DELETE', f'{path}/messages?ids={ids}')

    def _call(self, kind: str, due: float, method: str, path: str, document: Any = None) -> bytes:
        _, answer = self._client.call(method, path, document)
        self._found.latencies[kind].append(time.monotonic() - due)
        return answer


class _Message(msgspec.Struct):
    id: str


class _Claimed(msgspec.Struct):
    messages: list[_Message]
