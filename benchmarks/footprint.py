"""How much memory does it take, and how long does it take to start?

The memory is that of each process after some thousand requests of all kinds over 8 connections:
resident (RSS), and with the pages that processes share divided among them (PSS). The start is a
warm one, on a data directory that exists: from the command `marconi serve` until it has answered
its first request; that of a new directory, with its initdb and migrations, stands beside it.
"""

import shutil
from collections.abc import Callable

from benchmarks import wrk
from benchmarks.end_to_end import WORK_QUEUE, workloads
from benchmarks.measured import Measured, Name, in_rounds
from benchmarks.operations import Queue
from benchmarks.plan import Plan
from benchmarks.processes import command_line, family, memory
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import Service, data_directory, running_service


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    starts = _starts(plan)
    start = Table(['start', 'seconds to the first answer'])
    for kind, seconds in starts.items():
        start.rows.append([kind, seconds])

    room = _memory(plan)
    table = Table(['MiB', 'RSS', 'PSS'])
    for what, (resident, proportional) in room.items():
        table.rows.append([what, resident, proportional])
    return Answer(
        'footprint',
        __doc__,
        [table, start],
        [
            Chart(
                'Memory after warm-up',
                'MiB',
                {
                    'RSS': {what: resident for what, (resident, _) in room.items()},
                    'PSS': {what: proportional for what, (_, proportional) in room.items()},
                },
            ),
            Chart('Time to the first answer', 'seconds', {'seconds': starts}),
        ],
        [] if wrk.is_there() else [f'Without warm-up: {wrk.HOW_TO_GET}.'],
    )


def _starts(plan: Plan) -> dict[str, Measured]:
    with data_directory() as directory:

        def started() -> float:
            service = Service(directory)
            service.stop()
            return service.start_seconds

        def started_anew() -> float:
            if directory.exists():
                shutil.rmtree(directory)
            return started()

        contenders: dict[Name, Callable[[], float]] = {('on a new directory',): started_anew}
        if not plan.quick:
            started()
            contenders['warm',] = started
        rounds = in_rounds(plan.choose(full=7, quick=1), contenders)
    return {kind: seconds for (kind,), seconds in rounds.items()}


def _memory(plan: Plan) -> dict[str, tuple[Measured, Measured]]:
    with running_service() as service:
        if wrk.is_there():
            _warm_up(service, plan.choose(full=20.0, quick=1.0))
        own = service.process.pid
        postgres, workers = family(service.postmaster), service.workers
        others = [pid for pid in family(own)[1:] if pid not in postgres and pid not in workers]
        janitors = [pid for pid in others if 'expire' in command_line(pid)]
        return {
            'a worker': _each(workers),
            "uwsgi's master and routers": _together(sorted({*others} - {*janitors})),
            'the janitor': _together(janitors),
            'marconi serve itself': _together([own]),
            'PostgreSQL': _together(postgres),
        }


def _each(pids: list[int]) -> tuple[Measured, Measured]:
    resident, proportional = zip(*map(memory, pids), strict=True)
    return Measured(resident), Measured(proportional)


def _together(pids: list[int]) -> tuple[Measured, Measured]:
    resident, proportional = zip(*map(memory, pids), strict=True)
    return Measured((sum(resident),)), Measured((sum(proportional),))


def _warm_up(service: Service, seconds: float) -> None:
    work = workloads(Queue('v2', 'warm-up'))
    for name in (WORK_QUEUE, 'list 10'):
        wrk.drive(service.address, work[name], seconds)
