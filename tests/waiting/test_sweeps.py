"""What a look finds is told to those who wait, also to one who tries at that moment."""

import select
from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from marconi_api.model.postgres.prepared import OwnText
from marconi_api.model.readiness import Look, Sight, View
from marconi_api.processes.waiting.lines import Lines, Waiter
from marconi_api.processes.waiting.sweeps import Sweeps
from marconi_api.processes.waiting.timers import Timers

QUEUE = 7
VIEW = View(0, datetime.max, OwnText(datetime.max))


def look_at_nothing(
    queue_ids: Sequence[int],
    views: Mapping[int, View],
    existing: Container[int],
    horizon: float,
) -> list[Look]:
    """What a look tells once all queues are deleted: of those that were known to exist."""
    gone = [Sight(id, False, False, None, False) for id in queue_ids if id in existing]
    return [Look(queue_ids, gone, VIEW, is_settled=True)]


def test_a_waiter_that_tries_while_its_queue_is_deleted_is_told_by_the_next_look() -> None:
    ended: list[int] = []
    lines = Lines(on_warm=lambda queue_id: 0.0, on_left=lambda queue_id: None)
    sweeps = Sweeps(
        lines, Timers(), look_at_nothing, lambda awaited, ahead: [], lambda: 1.0, ended.append
    )
    lines.arrive(Waiter(1, (QUEUE,), takes=False, tried_at=1.0))

    def look() -> list[int]:
        sweeps.sweep()
        select.select([sweeps], [], [])
        sweeps.collect()
        told, ended[:] = list(ended), []
        return told

    sweeps.wake(QUEUE, 1)
    turn = lines.next_try()
    assert turn
    assert look() == [QUEUE]
    lines.finish(turn, {}, is_full=False, stays=True)
    assert look() == [QUEUE]
    assert look() == []
