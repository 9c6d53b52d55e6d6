"""What do metrics cost, and what does it cost to read them?

Marconi's WSGI callable is called directly, as a worker of uwsgi calls it, in one thread, on a real
PostgreSQL that keeps what it stores. Metrics are on for every second request: "post 1" is a post of a
message, "claim 10 + delete 10" a claim and the deletion of what it took, with bodies of 1 KiB, of version 2.
"CPU" is the time of Marconi's own process, "whole" also that for which it waits for PostgreSQL. Figures
are medians, in microseconds. A ratio is what is left with metrics: 1 is as quick. The routers, which
take some 70 us of each request, would bring it closer to 1.

Then a service with metrics gets 10,000 queues with a million messages, of which 20 queues hold half.
"Scrape" is a request for the page, over HTTP. No statement belongs to it: the figures of queues come
from a walk, of which "step" is one statement. It rests for twenty times as long after each.
"""

import contextlib
import io
import os
import re
import statistics
import tempfile
import time
import urllib.request
from typing import Any

from benchmarks.filling import fill_many
from benchmarks.in_process import environ
from benchmarks.measured import say
from benchmarks.operations import Queue, Request
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import Service, connect, running_service
from marconi_api.model.depths import DepthWalk
from marconi_api.model.flows import flows
from marconi_api.model.postgres.database import Database
from marconi_api.processes.metrics.meters import DIRECTORY, meters_of
from marconi_api.processes.observers import Observers

QUEUES = 10_000
DEEP = 20

#: Calls before those that count.
WARM_UP = 200


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    with running_service(MARCONI_METRICS_ADDRESS='0') as service:
        costs = _costs(service.url, plan.choose(5000, 300))
        return Answer('metrics', __doc__ or '', [costs, _reading(plan, service)])


def _costs(url: str, rounds: int) -> Table:
    table = Table(
        ['request', 'CPU without', 'CPU with', 'whole without', 'whole with', 'ratio of the whole']
    )
    with tempfile.TemporaryDirectory() as directory:
        worker = _Worker(url, directory)
        for kind in ('post 1', 'claim 10 + delete 10'):
            off, on = worker.timed(kind, rounds)
            cells = [
                f'{1e6 * seconds:.0f}' for pair in zip(off, on, strict=True) for seconds in pair
            ]
            table.rows.append([kind, *cells, f'{off[1] / on[1]:.3f}'])
    return table


class _Worker:
    """The application as a worker has it, twice: with metrics and without."""

    def __init__(self, url: str, directory: str) -> None:
        os.environ['MARCONI_DATABASE_URL'] = url
        # It makes the application when it is imported.
        from marconi_api.processes import wsgi

        self._meters = meters_of({DIRECTORY: directory}, 'benchmark')
        self._listeners = list(flows)
        self._without, self._with = (
            wsgi.BehindRouter(wsgi._application, 4, bytes(2), None, Observers(False, meters))
            for meters in (None, self._meters)
        )
        self._queue = Queue('v2', 'metrics')

    def timed(self, kind: str, rounds: int) -> tuple[list[float], list[float]]:
        """Medians of CPU and of the whole, in seconds, without metrics and with."""
        times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for number in range(-WARM_UP, rounds):
            for is_on in (number % 2 == 0, number % 2 == 1):
                took = self._time(kind, is_on)
                if number >= 0:
                    times[is_on].append(took)
        return tuple(  # type: ignore[return-value]
            [statistics.median(column) for column in zip(*times[is_on], strict=True)]
            for is_on in (False, True)
        )

    def _time(self, kind: str, is_on: bool) -> tuple[float, float]:
        flows[:] = self._listeners if is_on else []
        if kind == 'post 1':
            _, *took = self._call(self._queue.post(1), is_on)
            return took[0], took[1]
        self._call(self._queue.post(10), is_on)
        content, cpu, whole = self._call(self._queue.claim(10), is_on)
        ids = ','.join(re.findall(r'/messages/(\w+)', content))
        _, more_cpu, more = self._call(self._queue.delete(ids), is_on)
        return cpu + more_cpu, whole + more

    def _call(self, request: Request, is_on: bool) -> tuple[str, float, float]:
        given: dict[str, Any] = {
            **environ(request),
            'wsgi.input': io.BytesIO(request.body.encode()),
        }
        statuses: list[str] = []
        application = self._with if is_on else self._without
        cpu, whole = time.thread_time(), time.perf_counter()
        content = b''.join(application(given, lambda status, *_: statuses.append(status)))
        took = time.thread_time() - cpu, time.perf_counter() - whole
        if not statuses[0].startswith('2'):
            raise SystemExit(f'{request.path}: {statuses[0]} {content.decode()}')
        return content.decode(), *took


def _reading(plan: Plan, service: Service) -> Table:
    queues = plan.choose(QUEUES, QUEUES // 20)
    messages = plan.choose(1_000_000, 50_000)
    say(f'filling {queues:,} queues with {messages:,} messages')
    with contextlib.closing(connect(service.url)) as connection:
        fill_many(connection, queues, messages, DEEP)
    scrapes, steps = [], _steps(service.url)
    say('waiting for the walk of the service')
    while f'marconi_queues_filled {queues:.1f}'.encode() not in _scrape(service):
        time.sleep(1)
    for _ in range(plan.choose(100, 10)):
        began = time.monotonic()
        size = len(_scrape(service))
        scrapes.append(time.monotonic() - began)
        time.sleep(0.1)
    table = Table(['measured', 'median, ms', 'longest, ms', 'number'])
    for name, times in ((f'scrape, {size / 1024:.0f} KiB', scrapes), ('step', steps)):
        table.rows.append(
            [
                f'{name}, {queues:,} queues, {messages:,} messages',
                f'{statistics.median(times) * 1000:.1f}',
                f'{max(times) * 1000:.1f}',
                str(len(times)),
            ]
        )
    return table


def _scrape(service: Service) -> bytes:
    with urllib.request.urlopen(service.metrics) as answer:
        page: bytes = answer.read()
    return page


def _steps(url: str) -> list[float]:
    """The seconds that each step of a round takes."""
    walk = DepthWalk(Database(url, 2, 60), 100)
    times, is_end = [], False
    while not is_end:
        began = time.monotonic()
        is_end = walk.step()
        times.append(time.monotonic() - began)
    return times
