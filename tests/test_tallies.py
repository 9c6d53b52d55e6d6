"""What processes count of each queue, and another reads."""

import time
from pathlib import Path
from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import QueueKey
from marconi_api.model.traffic import CAME, HANDED_OUT, KINDS, LEFT, traffic
from marconi_api.processes import tallies
from marconi_api.processes.minute_keeper import MinuteKeeper
from marconi_api.processes.tallies import Tally, read_all, tally_of
from marconi_api.processes.waiting.hand_over import DIRECTORY

JOBS = QueueKey.of('project', 'jobs')


class Clock:
    """Stands still until it is set."""

    minute = 29_000_000

    def time(self) -> float:
        return self.minute * 60.0 + 30


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(tallies, 'time', found)
    return found


def counts(**kinds: int) -> list[int]:
    places = {'came': CAME, 'left': LEFT, 'handed_out': HANDED_OUT}
    found = [0] * KINDS
    for kind, count in kinds.items():
        found[places[kind]] = count
    return found


def test_what_several_processes_count_is_summed(tmp_path: Path, clock: Clock) -> None:
    for place in ('1', '2'):
        tally = Tally(tmp_path / f'tally-{place}')
        tally.count(7, CAME, 2)
        tally.count(7, CAME, 1)
        tally.count(-8, LEFT, 5)
    tally.count(9, HANDED_OUT, 1)

    assert read_all(tmp_path, clock.minute) == {
        7: counts(came=6),
        -8: counts(left=10),
        9: counts(handed_out=1),
    }


def test_each_minute_begins_with_nothing(tmp_path: Path, clock: Clock) -> None:
    tally = Tally(tmp_path / 'tally-1')
    for number in range(1, 5):
        clock.minute += 1
        tally.count(7, CAME, number)
        tally.count(number, LEFT, 1)

    assert read_all(tmp_path, clock.minute) == {7: counts(came=4), 4: counts(left=1)}
    assert read_all(tmp_path, clock.minute - 1) == {7: counts(came=3), 3: counts(left=1)}
    assert read_all(tmp_path, clock.minute - 2) == {}


def test_a_process_goes_on_with_what_the_one_before_it_counted(
    tmp_path: Path, clock: Clock
) -> None:
    Tally(tmp_path / 'tally-1').count(7, CAME, 2)
    successor = Tally(tmp_path / 'tally-1')
    successor.count(8, CAME, 1)
    successor.count(7, CAME, 1)

    assert read_all(tmp_path, clock.minute) == {7: counts(came=3), 8: counts(came=1)}


def test_more_queues_than_there_are_places_are_not_counted(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, 'MOST_QUEUES', 3)
    tally = Tally(tmp_path / 'tally-1')
    for queue in (1, 2, 3, 4, 5, 1):
        tally.count(queue, CAME, 1)

    assert read_all(tmp_path, clock.minute) == {
        1: counts(came=2),
        2: counts(came=1),
        3: counts(came=1),
    }


def test_nothing_is_counted_where_nobody_would_read_it() -> None:
    assert tally_of({}, 1) is None


def test_a_minute_is_written_down_once_it_is_over(
    app: Any, tmp_path: Path, sql: Any, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(traffic, 'listener', None)
    clock.minute = int(time.time() // 60)
    end = (clock.minute + 1) * 60.0
    tally_of({DIRECTORY: str(tmp_path)}, 1)
    keeper = MinuteKeeper(model.store, tmp_path)
    traffic.came(JOBS.id, 3)

    written = []
    for now in (end - 1, end + 1, end + 3, end + 5):
        keeper.write_traffic(now)
        written.append(sql('SELECT came FROM queue_minutes'))

    assert written == [[], [], [(3,)], [(3,)]]


def test_what_the_queues_hold_is_written_down_by_whose_janitor_is_at_work(
    app: Any, sql: Any
) -> None:
    model.store.queues.create(JOBS)
    sql(
        'INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)'
        f" SELECT {JOBS.id}, (1::bigint << 60) + g, now() + interval '1 day', gen_random_uuid(), 60"
        '  FROM generate_series(1, 5) AS g'
    )
    keeper = MinuteKeeper(model.store, None)
    model.store.janitor.has_turn = False
    keeper.step()
    assert sql('SELECT * FROM queue_minutes') == []

    model.store.janitor.has_turn = True
    keeper.step()
    assert sql('SELECT queue_id, ready, parked FROM queue_minutes') == [(JOBS.id, 5, 0)]

    sql('DELETE FROM message_states')
    keeper.step()
    assert sql('SELECT queue_id, ready, parked FROM queue_minutes') == [(JOBS.id, 0, 0)]
