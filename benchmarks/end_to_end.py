"""How much of what PostgreSQL can do arrives at the client?

wrk drives a real service (uwsgi in its default configuration, PostgreSQL with fsync and
synchronous_commit on) over 8 kept connections; messages have bodies of 1 KiB. Beside it, in the
same round on the same server, pgbench sends with 8 clients the very text that the service was
heard to send for these requests, but gathers the rows of a claim or a pop into one. Client,
service and database share the machine's cores.

The latencies are those of a load at half of what was reached: each connection sends at its own
times, as wrk's delay() says, and a latency counts from the moment at which the request was due.
What was put into the queue for it is on the disk before it begins.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from psycopg2.extensions import connection as Connection

from benchmarks import pgbench, wrk
from benchmarks.filling import fill, settle
from benchmarks.in_process import Listener
from benchmarks.measured import Measured, Name, quantities_in_rounds
from benchmarks.operations import KIBIBYTE, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import Service, connect, running_service

#: Messages that wait when a measurement begins, for each second that it takes.
BACKLOG = 30_000

#: The goal, and the least in brackets: answers over HTTP as a share of pgbench.
GOALS = {
    'post 1': '0.40 (0.25)',
    'post 10': '0.40 (0.25)',
    'list 10': '0.30 (0.18)',
    'claim 10, delete 10': '0.60 (0.35)',
}
PERCENTILES = ('p50', 'p95', 'p99')
RATE = 'a second'
HALF = 'half'
WORK_QUEUE = 'post 10, claim 10, delete 10'


def workloads(queue: Queue) -> dict[str, wrk.Steps]:
    """What a client does over and over, by name."""
    claim_and_delete = [('claim', queue.claim(10)), ('delete', queue.delete(''))]
    found: dict[str, wrk.Steps] = {
        'post 1': [('post', queue.post(1))],
        'post 10': [('post', queue.post(10))],
        'list 10': [('list', queue.list(10))],
        'claim 10, delete 10': claim_and_delete,
        WORK_QUEUE: [('post', queue.post(10)), *claim_and_delete],
    }
    if queue.version == 'v2':
        found['pop 10'] = [('pop', queue.pop(10))]
    return found


@dataclass
class Workload:
    """One load, on the service and on its database."""

    queue: Queue
    steps: wrk.Steps
    service: Service
    connection: Connection
    listener: Listener
    seconds: float

    def over_http(self) -> dict[str, float]:
        """Cycles a second, and milliseconds of CPU time that one took, by who spent it."""
        self._fill()
        before = self.service.cpu_seconds()
        load = self._drive()
        after = self.service.cpu_seconds()
        kind = self.steps[-1][0]
        spent = {who: (after[who] - before[who]) * 1000 / load.kinds[kind].count for who in after}
        return {RATE: load.rate(kind), **spent}

    def by_pgbench(self) -> dict[str, float]:
        """The same by PostgreSQL alone."""
        self._fill()
        script = pgbench.script_of(self.listener, self.steps)
        rate = pgbench.measure(self.service.url, script, self.listener.options, self.seconds)
        return {RATE: rate}

    def latencies(self, cycles: float | None) -> dict[str, float]:
        """Milliseconds at each percentile of each kind of request, at so many cycles a second."""
        rate = None if cycles is None else cycles * len(self.steps)
        self._fill()
        settle(self.connection)
        # After that PostgreSQL writes each page whole that it touches first.
        self._drive(rate, seconds=1.0)
        kinds = self._drive(rate, timed=True).kinds
        return {
            f'{kind} {percentile}': getattr(latency, percentile) * 1000
            for kind, latency in kinds.items()
            for percentile in PERCENTILES
        }

    def _drive(
        self, rate: float | None = None, timed: bool = False, seconds: float | None = None
    ) -> wrk.Load:
        taken = seconds or self.seconds
        return wrk.drive(self.service.address, self.steps, taken, rate=rate, timed=timed)

    def _fill(self) -> None:
        fill(self.connection, self.queue.name, round(BACKLOG * self.seconds), KIBIBYTE)


@contextlib.contextmanager
def service_under_load(
    seconds: float, versions: Sequence[str], left_out: Collection[str]
) -> Iterator[dict[Name, Workload]]:
    """Loads, by version and name, and a service to bear them.

    :param left_out: the names of those that are not wanted
    """
    with running_service() as service:
        listener = Listener(service.url)
        with contextlib.closing(connect(service.url)) as connection:
            found: dict[Name, Workload] = {}
            for version in versions:
                queue = Queue(version, f'end-to-end-{version}')
                listener.statements(queue.make())
                for name, steps in workloads(queue).items():
                    if name not in left_out:
                        found[version, name] = Workload(
                            queue, steps, service, connection, listener, seconds
                        )
            yield found


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    if not wrk.is_there():
        raise SystemExit(wrk.HOW_TO_GET)
    seconds = plan.choose(full=3.0, quick=1.0)
    versions = plan.choose(full=('v1', 'v2'), quick=('v2',))
    left_out = plan.choose(full=(), quick=('pop 10',))
    with service_under_load(seconds, versions, left_out) as loads:
        contenders: dict[Name, Callable[[], Mapping[str, float]]] = {}
        for name, load in loads.items():
            contenders[*name, 'over HTTP'] = load.over_http
            contenders[*name, 'pgbench'] = load.by_pgbench
        runs = quantities_in_rounds(plan.choose(full=3, quick=1), contenders)
        rates = {name: run[RATE] for name, run in runs.items()}

        speeds = Table(['API', 'work', 'over HTTP, a second', 'pgbench', 'ratio', 'goal (least)'])
        ratios: dict[str, dict[str, Measured]] = {}
        for version, work in loads:
            served, possible = (rates[version, work, way] for way in ('over HTTP', 'pgbench'))
            ratios.setdefault(version, {})[work] = served / possible
            goal = GOALS.get(work, '')
            speeds.rows.append([version, work, served, possible, served / possible, goal])

        who = ('workers', 'routers', 'PostgreSQL')
        costs = Table(['API', 'work', *who], 'CPU time of a cycle over HTTP, ms')
        for version, work in loads:
            run = runs[version, work, 'over HTTP']
            costs.rows.append([version, work, *(run[name] for name in who)])

        percentiles = (f'{percentile}, ms' for percentile in PERCENTILES)
        latencies = Table(['API', 'work', 'load, cycles a second', 'request', *percentiles])
        p99s: dict[str, dict[str, Measured]] = {}
        for (version, work, share), found in quantities_in_rounds(
            plan.choose(full=3, quick=1), dict(_paced(plan, loads, rates))
        ).items():
            for kind in dict.fromkeys(kind for kind, _ in loads[version, work].steps):
                row = [found[f'{kind} {percentile}'] for percentile in PERCENTILES]
                latencies.rows.append([version, work, share, kind, *row])
                if share.endswith(HALF):
                    p99s.setdefault(version, {})[f'{kind} ({work})'] = row[-1]
    return Answer(
        'end_to_end',
        __doc__,
        [speeds, costs, latencies],
        [
            Chart('Over HTTP, as a share of pgbench with the same SQL', 'ratio', ratios),
            Chart('Latency at half of the saturation load', 'p99, ms', p99s),
        ],
        ['The goal for p99 at half of the load is 10 ms, at the least 25 ms.'],
    )


def _paced(
    plan: Plan, loads: Mapping[Name, Workload], rates: Mapping[Name, Measured]
) -> Iterator[tuple[Name, Callable[[], dict[str, float]]]]:
    """What tells latencies: each load at half its rate, and the work queue's at all it takes."""
    for name, load in loads.items():
        full = rates[*name, 'over HTTP'].median
        yield (*name, f'{full / 2:,.0f}, {HALF}'), partial(load.latencies, full / 2)
        if name[-1] == WORK_QUEUE and not plan.quick:
            yield (*name, f'{full:,.0f}, all it takes'), partial(load.latencies, None)
