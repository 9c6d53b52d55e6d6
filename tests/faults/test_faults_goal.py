"""A long run of the fault campaign has an end, and its counts outlive a stop."""

from pathlib import Path

import msgspec

from faults import goal
from faults.checker import Report
from faults.goal import ACKNOWLEDGED, WANTED, Counts
from faults.log import DONE, Call
from faults.surroundings import Surroundings
from faults.world import World


def report(acknowledged: int = 0, **happened: int) -> Report:
    made = Report()
    made.acknowledged = made.messages = acknowledged
    made.surroundings = Surroundings(World([]))
    for what, befallen in happened.items():
        given = {'what': what.replace('_', ' '), 'stops_service': True}
        made.surroundings.note(
            Call('accidents', 1, 0, 1, 'accident', given, DONE, {'befallen': befallen})
        )
    return made


def enough() -> Counts:
    return Counts(
        acknowledged=ACKNOWLEDGED,
        happened={what: wanted.times for wanted in WANTED.values() for what in wanted.accidents},
    )


def test_rounds_add_up() -> None:
    counts = Counts()
    counts.add(report(10, kill_worker=1), 60)
    counts.add(report(5, kill_worker=2, end_sessions=3), 60)

    assert (counts.rounds, counts.seconds, counts.acknowledged) == (2, 120, 15)
    assert counts.happened == {'kill worker': 3, 'end sessions': 3}


def test_an_accident_that_befell_nobody_is_not_counted() -> None:
    counts = Counts()
    counts.add(report(kill_backend=0), 60)

    assert counts.came_to(WANTED['backend kills']) == 0


def test_it_is_enough_once_all_has_happened() -> None:
    assert enough().is_enough()
    for name in enough().happened:
        lacking = enough()
        lacking.happened[name] = 0
        assert not lacking.is_enough()


def test_most_of_a_round_is_what_is_missing() -> None:
    counts = enough()
    counts.happened['kill postmaster'] = 0

    weights = goal._weights(counts, has_standby=False)

    assert weights['kill postmaster'] > 5 * sum(
        weight for what, weight in weights.items() if what != 'kill postmaster'
    )


def test_counts_that_are_kept_are_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / 'counts.json').write_bytes(msgspec.json.encode(enough()))

    counts = goal.go_on(tmp_path, 'seed', 1, until=float('inf'))

    assert (counts.rounds, counts.acknowledged) == (0, ACKNOWLEDGED)


def test_no_round_begins_once_the_time_is_over(tmp_path: Path) -> None:
    assert goal.go_on(tmp_path, 'seed', 1, until=0) == Counts()
