"""How do others do on this machine, at the same moment?

Zaqar, whose API ours is: the real one, installed apart, on Redis, driven by wrk with the same
requests over 8 kept connections, behind the same uwsgi with the same settings (its options are
read from our running service). Bodies have 1 KiB.

Brokers with protocols of their own are driven by their Python clients, 8 processes; Marconi is,
too, by Python's own HTTP client. There a cycle puts 10 messages, takes 10 and removes them.

Marconi flushes each commit to the disk before it answers. What the others promise stands beside
their figures.
"""

import contextlib
import http.client
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import end_to_end, wrk
from benchmarks.brokers import BROKERS, Broker
from benchmarks.end_to_end import WORK_QUEUE
from benchmarks.environments import Unavailable
from benchmarks.measured import Measured, Name, in_rounds
from benchmarks.operations import HEADERS, Queue
from benchmarks.plan import Plan
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import Service, data_directory, running_service
from benchmarks.zaqar import DURABILITY, RELEASES, redis, zaqar

OURS = 'each commit flushed'
WORKS = ('post 1', 'post 10', 'list 10', WORK_QUEUE)

#: The goal, and the least in brackets: Marconi's speed as a multiple of Zaqar's.
GOALS = {
    ('v1', 'post 1'): '2 (1.3)',
    ('v1', 'post 10'): '2 (1.3)',
    ('v1', WORK_QUEUE): '2 (1.3)',
    ('v1', 'list 10'): '6 (4)',
    ('v2', 'post 1'): '2.5 (1.8)',
    ('v2', 'post 10'): '2.2 (1.5)',
    ('v2', WORK_QUEUE): '2 (1.4)',
    ('v2', 'list 10'): '6 (4)',
}


def queue_of(version: str, work: str) -> Queue:
    """Each work has a queue of its own."""
    return Queue(version, f'peers-{version}-{WORKS.index(work)}')


def workloads(version: str) -> dict[str, wrk.Steps]:
    """What a client does over and over, by name."""
    return {work: end_to_end.workloads(queue_of(version, work))[work] for work in WORKS}


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    answer = Answer('peers', __doc__)
    with data_directory() as directory, running_service() as service:
        directory.mkdir()
        if wrk.is_there():
            _beside_zaqar(answer, plan, service, directory)
        else:
            answer.notes.append(f'Nothing beside Zaqar: {wrk.HOW_TO_GET}.')
        _beside_brokers(answer, plan, service, directory)
    return answer


def _beside_zaqar(answer: Answer, plan: Plan, service: Service, directory: Path) -> None:
    seconds = plan.choose(full=5.0, quick=1.0)
    contenders: dict[Name, Callable[[], float]] = {}
    with contextlib.ExitStack() as running:
        releases = plan.choose(full=RELEASES, quick=RELEASES[-1:])
        for release in releases:
            try:
                store = running.enter_context(redis(directory / release.api))
                theirs = running.enter_context(
                    zaqar(release, store, service.uwsgi_options, directory / release.api)
                )
            except Unavailable as error:
                answer.notes.append(f'Zaqar {release.version} is not measured: {error}')
                continue
            for work, steps in workloads(release.api).items():
                for who, address in (('Marconi', service.address), ('Zaqar', theirs)):
                    prepare(address, release.api, work)
                    contenders[release.api, work, who] = partial(rate, address, steps, seconds)
        rates = in_rounds(plan.choose(full=5, quick=1), contenders)
    if not rates:
        return

    table = Table(
        [
            'API',
            'work',
            f'Marconi, a second ({OURS})',
            f'Zaqar, a second ({DURABILITY})',
            'ratio',
            'goal (least)',
        ],
        'Zaqar ' + ' and '.join(f'{release.version} for {release.api}' for release in releases),
    )
    ratios: dict[str, dict[str, Measured]] = {}
    for api, work in dict.fromkeys(name[:2] for name in rates):
        ours, theirs_rate = rates[api, work, 'Marconi'], rates[api, work, 'Zaqar']
        ratios.setdefault(api, {})[work] = ours / theirs_rate
        table.rows.append([api, work, ours, theirs_rate, ours / theirs_rate, GOALS[api, work]])
    answer.tables.append(table)
    answer.charts.append(Chart('Marconi as a multiple of Zaqar', 'ratio', ratios))


def prepare(address: str, version: str, work: str) -> None:
    """Make the queue of a workload, with something in it to look at."""
    queue = queue_of(version, work)
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    for request in (queue.make(), queue.post(10), queue.post(10)):
        connection.request(request.method, request.path, request.body, HEADERS)
        response = connection.getresponse()
        if response.status >= 300:
            raise SystemExit(f'{request.method} {request.path}: {response.status}')
        response.read()
    connection.close()


def rate(address: str, steps: wrk.Steps, seconds: float) -> float:
    """Cycles a second."""
    return wrk.drive(address, steps, seconds).rate(steps[-1][0])


def _beside_brokers(answer: Answer, plan: Plan, service: Service, directory: Path) -> None:
    ours = Broker(
        'Marconi',
        OURS,
        'marconi',
        lambda _: contextlib.nullcontext(urlsplit(service.address).netloc),
    )
    seconds = plan.choose(full=5.0, quick=1.0)
    contenders: dict[Name, Callable[[], float]] = {}
    with contextlib.ExitStack() as running:
        for broker in (ours, *BROKERS):
            place = directory / broker.kind
            place.mkdir()
            try:
                address = running.enter_context(broker.working(place))
            except Unavailable as error:
                answer.notes.append(f'{broker.name} is not measured: {error}')
                continue
            contenders[broker.name,] = partial(broker.cycles, address, seconds)
        try:
            rates = in_rounds(plan.choose(full=5, quick=1), contenders)
        except Unavailable as error:
            answer.notes.append(f'The brokers are not measured: {error}')
            return

    durability = {broker.name: broker.durability for broker in (ours, *BROKERS)}
    table = Table(
        ['broker', 'keeps messages by', 'cycles of 10 messages a second', 'Marconi, to it'],
        'Through Python clients',
    )
    for (name,), found in rates.items():
        table.rows.append([name, durability[name], found, rates['Marconi',] / found])
    answer.tables.append(table)
    answer.charts.append(
        Chart(
            'Cycles of 10 messages, by Python clients',
            'cycles a second',
            {
                'a second': {
                    f'{name} ({durability[name]})': found for (name,), found in rates.items()
                }
            },
        )
    )
