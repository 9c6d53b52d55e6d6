"""Does the cost stay flat as queues grow?

Two services with a PostgreSQL each take turns: one whose only queue holds a thousand messages,
and one that is brought from state to state. A cycle posts 10 messages, claims 10 and deletes
them, so that the queue keeps its length; wrk does so over 2 connections. "CPU a cycle" is user
and system time of all processes of PostgreSQL, background ones as well. Bodies have 100 bytes;
waiting messages are put in by SQL.

The snapshot is that of a transaction which reads once and then does nothing, as a dump or a
forgotten psql does: nothing that is deleted meanwhile can be cleaned up. 8 connections work
beside it.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

from benchmarks import wrk
from benchmarks.filling import TABLES, fill, make_queues, settle
from benchmarks.in_process import application
from benchmarks.measured import Measured, quantities_in_rounds, say
from benchmarks.operations import PROJECT, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import Service, connect, running_service
from marconi_api import model

MESSAGE = {'event': 'benchmark', 'data': 'x' * 60}
FEW = 1000

P50, P99, CPU = 'claim p50, ms', 'claim p99, ms', 'CPU a cycle, ms'

#: The goal, and the least in brackets.
GOALS = (
    'The goal for the claim at 5 million waiting, and behind 10,000 claimed, is 1.1 times its '
    'latency at a thousand (1.3 at the most); for the CPU of a cycle after 60 s of a snapshot '
    '1.3 times that at its start (2 at the most).'
)


def cycle(queue: str) -> wrk.Steps:
    """What a connection does over and over."""
    at = Queue('v1', queue, MESSAGE)
    return [('post', at.post(10)), ('claim', at.claim(10)), ('delete', at.delete(''))]


class Side:
    """One of the services."""

    def __init__(self, service: Service, seconds: float) -> None:
        self.service = service
        self.connection = connect(service.url)
        self._seconds = seconds

    def fill(self, queue: str, waiting: int) -> str:
        """Have so many messages in a queue."""
        say(f'filling a queue with {waiting:,} messages')
        make_queues(self.connection, [queue])
        fill(self.connection, queue, waiting, MESSAGE)
        return queue

    def run(self, queue: str, queues: int | None = None, connections: int = 2) -> dict[str, float]:
        """Go through cycles; what one costs. '{queue}' in the name stands for a number."""
        before = self.service.cpu_seconds()['PostgreSQL']
        load = wrk.drive(
            self.service.address,
            cycle(queue),
            self._seconds,
            connections=connections,
            timed=True,
            queues=queues,
        )
        spent = self.service.cpu_seconds()['PostgreSQL'] - before
        claims = load.kinds['claim']
        return {
            P50: claims.p50 * 1000,
            P99: claims.p99 * 1000,
            CPU: spent / load.kinds['delete'].count * 1000,
        }

    def churn(self, queue: str, messages: int) -> None:
        """Let so many messages go through a queue."""
        gone = 0
        while gone < messages:
            load = wrk.drive(self.service.address, cycle(queue), 2 * self._seconds)
            gone += load.kinds['delete'].count * 10
            say(f'{gone:,} messages have gone through')

    def claim(self, queue: str, count: int) -> None:
        """Claim so many of the queue's first messages, for hours."""
        application(self.service.url)
        model.store.claims.create(model.QueueKey.of(PROJECT, queue), 40_000, 60, count)
        model.store.database.close()

    def sizes(self) -> dict[str, float]:
        """MiB of the tables and of their indexes."""
        found = {}
        with self.connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(
                    'SELECT pg_table_size(%(table)s), pg_indexes_size(%(table)s)', {'table': table}
                )
                [(found[table], found[f'indexes of {table}'])] = cursor.fetchall()
        return {name: size / 2**20 for name, size in found.items()}


def states(
    plan: Plan, side: Side, sizes: dict[str, dict[str, float]]
) -> Iterator[tuple[str, str, int | None]]:
    """Brings the service from state to state: what is in it, and the queue, or queues, to use."""
    churned = plan.choose(full=1_000_000, quick=5000)
    queue = side.fill('churned', FEW)
    sizes['before'] = side.sizes()
    side.churn(queue, churned)
    sizes[f'after {churned:,} messages'] = side.sizes()
    yield f'{churned:,} messages have gone through', queue, None

    claimed = plan.choose(full=10_000, quick=1000)
    queue = side.fill('claimed', claimed + FEW)
    side.claim(queue, claimed)
    yield f'{claimed:,} claimed at the head', queue, None

    queues = plan.choose(full=10_000, quick=1000)
    make_queues(side.connection, [f'many-{number}' for number in range(1, queues + 1)])
    yield f'{queues:,} queues, taken at random', 'many-{queue}', queues

    for waiting in plan.choose(full=[100_000, 1_000_000, 5_000_000], quick=[100_000]):
        yield f'{waiting:,} waiting', side.fill('deep', waiting), None


@contextlib.contextmanager
def old_snapshot(side: Side) -> Iterator[None]:
    """A transaction that has read something, and goes on to do nothing."""
    with contextlib.closing(connect(side.service.url)) as connection:
        with connection.cursor() as cursor:
            cursor.execute('BEGIN ISOLATION LEVEL REPEATABLE READ')
            cursor.execute('SELECT count(*) FROM queues')
        yield


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    if not wrk.is_there():
        raise SystemExit(wrk.HOW_TO_GET)
    seconds = plan.choose(full=5.0, quick=1.0)
    sizes: dict[str, dict[str, float]] = {}
    growth: dict[str, tuple[dict[str, Measured], dict[str, Measured]]] = {}
    with running_service() as first, running_service() as second:
        small, large = Side(first, seconds), Side(second, seconds)
        few = small.fill('few', FEW)
        for state, queue, queues in states(plan, large, sizes):
            settle(small.connection)
            settle(large.connection)
            found = quantities_in_rounds(
                plan.choose(full=5, quick=1),
                {
                    (state,): partial(large.run, queue, queues),
                    (f'{FEW:,} waiting',): partial(small.run, few),
                },
            )
            growth[state] = found[state,], found[f'{FEW:,} waiting',]

        pinned = small.fill('pinned', FEW)
        windows = plan.choose(full=12, quick=2)
        with old_snapshot(small):
            pins = [small.run(pinned, connections=8) for _ in range(windows)]

    table = Table(['state', P50, 'to 1,000 waiting', P99, CPU, 'to 1,000 waiting'])
    for state, (many, one) in growth.items():
        row = [many[P50], many[P50] / one[P50], many[P99], many[CPU], many[CPU] / one[CPU]]
        table.rows.append([state, *row])

    pin = Table(['seconds of the snapshot', P50, P99, CPU, 'to the first'], 'An old snapshot')
    for number, run in enumerate(pins):
        row = [Measured((run[what],)) for what in (P50, P99, CPU)]
        span = f'{number * seconds:.0f} to {(number + 1) * seconds:.0f}'
        pin.rows.append([span, *row, row[-1] / Measured((pins[0][CPU],))])

    room = Table(['MiB', *sizes], 'Room on the disk')
    for name in sizes['before']:
        room.rows.append([name, *(Measured((found[name],)) for found in sizes.values())])

    return Answer(
        'growth',
        __doc__,
        [table, pin, room],
        [
            Chart(
                'A claim, and a cycle, against those in a queue of 1,000',
                'ratio',
                {
                    'claim p50': {
                        state: many[P50] / one[P50] for state, (many, one) in growth.items()
                    },
                    'CPU a cycle': {
                        state: many[CPU] / one[CPU] for state, (many, one) in growth.items()
                    },
                },
            ),
            Chart(
                'Beside an old snapshot',
                'ms',
                {
                    what: {
                        (number + 1) * seconds: Measured((run[what],))
                        for number, run in enumerate(pins)
                    }
                    for what in (P50, CPU)
                },
                lines_over='seconds of the snapshot',
            ),
        ],
        [GOALS],
    )
