"""How long do the pages of the console take, and what does it cost that they have rates and plots?

A service gets 10,000 queues, of which one has a million messages and the others another million, and
the last hour of each queue, minute by minute. "First" is the first request for a page, which has to
count; "later" are requests a moment after one another, as those of open pages. Where counting takes longer than a
tenth of a second, a page shows the figures of before, or that they are being counted; so "first" says nothing
of the time that counting takes, which is "counted after". Times are those of requests over HTTP.

Then "count" is what a request takes longer since it is counted for these pages, and "write" the
statement with which a service writes down a minute in which all queues had traffic.
"""

import contextlib
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.filling import fill_many
from benchmarks.measured import say
from benchmarks.operations import PROJECT
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import Service, connect, running_service
from marconi_api.model.minutes import Minutes
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import QueueKey
from marconi_api.model.traffic import KINDS, Traffic
from marconi_api.processes.tallies import Tally

QUEUES = 10_000

#: What a page says whose figures are not there yet.
BEING_COUNTED = b'Being counted'


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    with running_service() as service:
        queues = plan.choose(QUEUES, QUEUES // 20)
        messages = plan.choose(2_000_000, 100_000)
        say(f'filling {queues:,} queues with {messages:,} messages')
        with contextlib.closing(connect(service.url)) as connection:
            [deepest] = fill_many(connection, queues, messages, deep=1)
            with connection.cursor() as cursor:
                cursor.execute(_HOURS)
                cursor.execute('VACUUM ANALYZE queue_minutes')
        pages = _pages(plan, service, deepest)
        return Answer('console', __doc__ or '', [pages, _counting(service, queues)])


def _pages(plan: Plan, service: Service, deepest: str) -> Table:
    table = Table(
        ['page', 'first, ms', 'counted after, s', 'later, median, ms', 'longest, ms', 'KiB']
    )
    queue = f'/queues/{deepest}'
    for name, path in (
        ('all queues', f'?project={PROJECT}'),
        ('all queues, by rate', f'?project={PROJECT}&sort=in'),
        ('all queues, searched', f'?project={PROJECT}&search=99'),
        ('the deepest queue', f'{queue}?project={PROJECT}'),
        ('its messages', f'{queue}/messages?project={PROJECT}'),
        ('its parked messages', f'{queue}/messages?project={PROJECT}&state=parked'),
        ('its subscriptions', f'{queue}/subscriptions?project={PROJECT}'),
    ):
        began = time.monotonic()
        took, page = _timed(service, path)
        while BEING_COUNTED in page:
            time.sleep(0.1)
            _, page = _timed(service, path)
        counted_after = time.monotonic() - began
        times = []
        for _ in range(plan.choose(50, 10)):
            later, page = _timed(service, path)
            times.append(later)
            time.sleep(0.1)
        table.rows.append(
            [
                name,
                f'{took * 1000:.0f}',
                f'{counted_after:.1f}',
                f'{statistics.median(times) * 1000:.0f}',
                f'{max(times) * 1000:.0f}',
                f'{len(page) / 1024:.0f}',
            ]
        )
    return table


def _timed(service: Service, path: str) -> tuple[float, bytes]:
    """The seconds that a page takes, and the page."""
    began = time.monotonic()
    with urllib.request.urlopen(f'{service.address}/console{path}') as answer:
        page: bytes = answer.read()
    return time.monotonic() - began, page


def _counting(service: Service, queues: int) -> Table:
    table = Table(['measured', 'time'])
    traffic = Traffic()
    rows = [(1, 60, 5)] * 10
    with tempfile.TemporaryDirectory() as directory:
        nobody = _microseconds(lambda: traffic.came(7, 1))
        traffic.listener = Tally(Path(directory, 'tally-1')).count
        table.rows += [
            ['count, where nobody does', f'{nobody:.2f} µs'],
            ['count, post 1', f'{_microseconds(lambda: traffic.came(7, 1)):.2f} µs'],
            ['count, claim 10', f'{_microseconds(lambda: traffic.handed_out(7, rows)):.2f} µs'],
        ]
    counts = {QueueKey.of(PROJECT, f'many-{n}').id: [1] * KINDS for n in range(queues)}
    began = time.monotonic()
    Minutes(Database(service.url, 2, 60)).add(int(time.time() // 60), counts)
    table.rows.append([f'write, {queues:,} queues', f'{time.monotonic() - began:.2f} s'])
    return table


def _microseconds(call: Callable[[], None], rounds: int = 100_000) -> float:
    """The least of five times, without that of the loop."""

    def timed(called: Callable[[], None]) -> float:
        began = time.process_time()
        for _ in range(rounds):
            called()
        return time.process_time() - began

    return 1e6 / rounds * min(timed(call) - timed(lambda: None) for _ in range(5))


_HOURS = """
    INSERT INTO queue_minutes
    SELECT date_trunc('minute', now()) - minute * interval '1 minute', queue_id, minute, minute,
           array_fill(minute, ARRAY[13]), 1000 + minute, 10, 0, 0, minute
      FROM queues, generate_series(1, 70) AS minute
        ON CONFLICT DO NOTHING
"""
