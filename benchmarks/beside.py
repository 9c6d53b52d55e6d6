"""Is it as fast as it was? This checkout beside a former commit, over HTTP.

Each runs as its users have it: `marconi serve` with uwsgi and a PostgreSQL of its own, fsync and
synchronous_commit on. wrk drives them in turns over 8 kept connections; messages have bodies of
1 KiB. The CPU time is that of the service and its PostgreSQL together, a cycle. The former
commit is checked out and installed into a temporary directory.

    BESIDE=COMMIT python -m benchmarks beside
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from psycopg2.extensions import connection as Connection

from benchmarks import wrk
from benchmarks.end_to_end import workloads
from benchmarks.filling import fill, make_queues
from benchmarks.measured import Name, quantities_in_rounds
from benchmarks.operations import KIBIBYTE, Queue
from benchmarks.plan import Plan
from benchmarks.processes import cpu_seconds
from benchmarks.report import Answer, Table
from benchmarks.service import Service, connect, data_directory

_CHECKOUT = Path(__file__).parents[1]
_WORKS = ('post 1', 'list 10', 'claim 10, delete 10')
_BACKLOG = 20_000
_RATE, _CPU = 'a second', 'CPU, ms'
_NOW, _THEN = 'now', 'then'


@dataclass
class _Contender:
    service: Service
    connection: Connection

    def drive(self, queue: Queue, steps: wrk.Steps, seconds: float) -> dict[str, float]:
        """Cycles a second, and milliseconds of CPU time of one."""
        fill(self.connection, queue.name, round(_BACKLOG * seconds), KIBIBYTE)
        before = self._cpu_seconds()
        load = wrk.drive(self.service.address, steps, seconds)
        kind = steps[-1][0]
        spent = (self._cpu_seconds() - before) * 1000 / load.kinds[kind].count
        return {_RATE: load.rate(kind), _CPU: spent}

    def _cpu_seconds(self) -> float:
        # PostgreSQL is a child of the service.
        return cpu_seconds(self.service.process.pid)


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    if not wrk.is_there():
        raise SystemExit(wrk.HOW_TO_GET)
    commit = os.environ.get('BESIDE')
    if not commit:
        raise SystemExit('name the former commit: BESIDE=COMMIT python -m benchmarks beside')
    seconds = plan.choose(full=3.0, quick=1.0)
    with contextlib.ExitStack() as stack:
        former = stack.enter_context(_checkout_of(commit))
        contenders = {
            _NOW: stack.enter_context(_contender(None)),
            _THEN: stack.enter_context(_contender(former)),
        }
        works: dict[Name, tuple[Queue, wrk.Steps]] = {}
        for version in plan.choose(full=('v1', 'v2'), quick=('v1',)):
            queue = Queue(version, f'beside-{version}')
            for one in contenders.values():
                make_queues(one.connection, [queue.name])
            works |= {(version, work): (queue, workloads(queue)[work]) for work in _WORKS}
        # Of one work, the two follow each other: what the machine does meanwhile hits both.
        runs = quantities_in_rounds(
            plan.choose(full=7, quick=1),
            {
                (*name, when): partial(one.drive, queue, steps, seconds)
                for name, (queue, steps) in works.items()
                for when, one in contenders.items()
            },
        )
    table = Table(
        ['API', 'work', 'now, a second', 'then', 'ratio', 'CPU now, ms', 'then', 'then / now']
    )
    for name in works:
        now, then = runs[*name, _NOW], runs[*name, _THEN]
        rates = [now[_RATE], then[_RATE], now[_RATE] / then[_RATE]]
        table.rows.append([*name, *rates, now[_CPU], then[_CPU], then[_CPU] / now[_CPU]])
    return Answer('beside', __doc__ or '', [table], notes=[f'The former commit is {commit}.'])


@contextlib.contextmanager
def _checkout_of(commit: str) -> Iterator[Path]:
    """A commit of this repository, installed into an environment of its own."""
    git = ['git', '-C', str(_CHECKOUT)]
    with tempfile.TemporaryDirectory(prefix='marconi-beside-') as parent:
        # PostgreSQL's user must be able to enter it.
        os.chmod(parent, 0o755)
        directory = Path(parent, 'checkout')
        subprocess.run(
            [*git, 'worktree', 'add', '--quiet', '--detach', directory, commit], check=True
        )
        try:
            subprocess.run(['make', '--silent', '-C', directory, '.venv/serve.stamp'], check=True)
            yield directory
        finally:
            subprocess.run([*git, 'worktree', 'remove', '--force', directory], check=True)


@contextlib.contextmanager
def _contender(checkout: Path | None) -> Iterator[_Contender]:
    with data_directory() as directory:
        service = Service(directory, checkout=checkout)
        try:
            with contextlib.closing(connect(service.url)) as connection:
                yield _Contender(service, connection)
        finally:
            service.stop()
