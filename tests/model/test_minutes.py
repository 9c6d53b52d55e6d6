"""What came to a queue, was handed out of it and left it, and what it held, minute by minute."""

import json
from collections import Counter

import pytest

from marconi_api import model
from marconi_api.model import Order, QueueKey, Verdict
from marconi_api.model.depths import Depth
from marconi_api.model.minutes import Held, quantile
from marconi_api.model.traffic import BOUNDS, CAME, HANDED_OUT, KINDS, LEFT, traffic

OTHER = QueueKey.of('project', 'other')


# ---------------------------------------------------------------- what is told


@pytest.fixture
def told(app, monkeypatch):
    """What was told since this was last asked: came and left by queue, and ages of what was handed out."""
    found = Counter()

    def listen(queue_id, kind, count):
        found[queue_id, kind] += count

    monkeypatch.setattr(traffic, 'listener', listen)

    def look(queue, *kinds):
        counts = [found[queue.id, kind] for kind in kinds or (CAME, LEFT)]
        for key in [key for key in found if key[0] == queue.id]:
            del found[key]
        return counts

    return look


@pytest.fixture
def other(queue):
    model.store.queues.create(OTHER)
    return OTHER


def limit(queue, **metadata):
    model.store.queues.set_metadata(
        queue, json.dumps({f'_{name}': value for name, value in metadata.items()})
    )


def test_messages_come_by_a_post_and_leave_by_each_way_to_delete_them(queue, post, claim, told):
    posted = post(12)
    assert told(queue) == [12, 0]

    store = model.store
    store.messages.delete(queue, posted[0])
    store.messages.delete(queue, posted[0])
    store.messages.delete_many(queue, posted[1:3])
    assert told(queue) == [0, 3]
    store.messages.pop(queue, 4)
    assert told(queue) == [0, 4]
    taken = claim()
    verdicts = [Verdict.delete(taken.messages[0].id), Verdict.park(taken.messages[1].id, None)]
    store.verdicts.give(queue, taken.id, verdicts)
    assert told(queue) == [0, 1]
    store.verdicts.delete_parked(queue)
    assert told(queue) == [0, 1]


def test_messages_that_are_handed_out_are_told_with_their_age(queue, post, claim, age, told):
    post(3)
    claim(limit=2)
    assert told(queue, HANDED_OUT) == [2]
    age(70)

    claim(limit=1)
    model.store.messages.pop(queue, 5)

    assert told(queue, HANDED_OUT, HANDED_OUT + BOUNDS.index(120)) == [0, 3]


def test_a_copy_comes_to_its_queue(queue, post, other, told):
    model.store.subscriptions.create(queue, 'queue:other')

    post(3)

    assert told(queue) == told(other) == [3, 0]


def test_a_dead_letter_leaves_a_queue_and_comes_to_another(queue, post, claim, age, other, told):
    limit(queue, max_claim_count=1, dead_letter_queue='other')
    post(3)
    claim()
    age(61)
    told(queue)

    claim()

    assert told(queue) == [0, 3]
    assert told(other) == [3, 0]


def test_what_is_moved_back_leaves_a_queue_and_comes_to_another(queue, post, other, told):
    post(3)
    told(queue)

    task = model.store.redrives.start(queue, Order('ready', 'other'))
    model.store.redrives.carry_out(queue, task.id, 5)

    assert told(queue) == [0, 3]
    assert told(other) == [3, 0]


def test_what_is_made_ready_in_its_place_neither_leaves_nor_comes(queue, post, claim, told):
    post(1)
    taken = claim()
    model.store.verdicts.give(queue, taken.id, [Verdict.park(taken.messages[0].id, None)])
    told(queue)

    task = model.store.redrives.start(queue, Order('parked'))
    assert model.store.redrives.carry_out(queue, task.id, 5).moved == 1

    assert told(queue) == [0, 0]


def test_what_has_expired_leaves_when_the_janitor_removes_it(queue, post, age, told):
    post(2)
    told(queue)
    age(1000)

    model.store.janitor.run_once()

    assert told(queue) == [0, 2]


# ---------------------------------------------------------------- what is kept


@pytest.fixture
def now(queue, sql, amid_a_minute):
    """The number of the last whole minute that is shown; the queue was made before the hour."""
    sql("UPDATE queues SET created_at = now() - interval '1 day'")
    return model.store.minutes.of(queue)[-1].number


def counts(came=0, left=0, **handed_out):
    found = [came, left, *[0] * (KINDS - HANDED_OUT)]
    for step, count in handed_out.items():
        found[HANDED_OUT + int(step[1:])] = count
    return found


def test_a_queue_has_its_last_hour(queue, now):
    model.store.minutes.add(now, {queue.id: counts(5, 3, s0=4)})
    model.store.minutes.add(now - 59, {queue.id: counts(7, 0)})
    model.store.minutes.add(now - 60, {queue.id: counts(9, 0)})

    minutes = model.store.minutes.of(queue)

    assert [one.number for one in minutes] == list(range(now - 59, now + 1))
    assert [one.came for one in minutes] == [7, *[0] * 58, 5]
    assert (minutes[-1].gone, minutes[-1].handed_out[:2]) == (3, (4, 0))


def test_what_several_services_count_is_summed(queue, now):
    model.store.minutes.add(now, {queue.id: counts(5, 3, s0=4, s2=1), OTHER.id: counts(1)})
    model.store.minutes.add(now, {queue.id: counts(2, 1, s2=6)})

    last = model.store.minutes.of(queue)[-1]

    assert (last.came, last.gone, last.handed_out[:4]) == (7, 4, (4, 0, 7, 0))


def test_all_queues_of_the_last_minute_are_told(queue, now):
    model.store.minutes.add(now, {queue.id: counts(5, 3)})
    model.store.minutes.add(now - 1, {OTHER.id: counts(5, 3)})

    assert model.store.minutes.last() == {('project', 'jobs'): (5, 3)}


def held(name, *counts):
    states = ('ready', 'claimed', 'delayed', 'parked')
    return Depth('project', name, dict(zip(states, counts, strict=True)), 5)


def test_what_a_queue_held_stays_until_it_is_counted_again(queue, now, sql):
    minutes = model.store.minutes
    before = minutes.note_held([held('jobs', 1, 2, 3, 4), held('other', 1, 0, 0, 0)], ())
    sql("UPDATE queue_minutes SET minute = minute - interval '10 minutes'")
    # That one is empty meanwhile.
    assert minutes.note_held([held('other', 1, 0, 0, 0)], before) == {OTHER.id}
    sql("UPDATE queue_minutes SET minute = minute - interval '5 minutes'")

    found = [one.held for one in minutes.of(queue)]

    full, empty = Held(1, 2, 3, 4, 5), Held(0, 0, 0, 0, None)
    assert found[0] is None
    assert [one for one in found if one] == [full] * 10 + [empty] * found.count(empty)
    assert 3 <= found.count(empty) <= 5
    assert minutes.filled_lately() == {queue.id, OTHER.id}


def test_what_a_minute_held_and_what_came_stand_together(queue, now, sql):
    model.store.minutes.note_held([held('jobs', 1, 2, 3, 4)], ())
    [(minute,)] = sql("SELECT (date_part('epoch', minute) / 60)::bigint FROM queue_minutes")
    model.store.minutes.add(minute, {queue.id: counts(5)})

    assert sql('SELECT came, parked FROM queue_minutes') == [(5, 4)]


def test_a_queue_that_was_made_anew_has_no_part_in_what_was_before(queue, now, sql):
    model.store.minutes.add(now, {queue.id: counts(5)})
    model.store.queues.delete(queue)
    model.store.queues.create(queue)

    assert [one.came for one in model.store.minutes.of(queue)] == [0] * 60
    sql("UPDATE queues SET created_at = created_at + interval '2 minutes'")
    assert model.store.minutes.last() == {}


def test_what_is_older_than_an_hour_is_removed(queue, now, sql):
    model.store.minutes.add(now, {queue.id: counts(5)})
    model.store.minutes.add(now - 80, {queue.id: counts(5)})

    model.store.minutes.remove_old()

    assert sql('SELECT count(*) FROM queue_minutes') == [(1,)]


@pytest.mark.parametrize(
    ('handed_out', 'part', 'seconds'),
    [
        ((), 0.5, None),
        ((0, 0), 0.5, None),
        ((100,), 0.5, 0.5),
        ((50, 50), 0.95, 1.9),
        ((0, 0, 100), 0.99, 4.97),
        ((*[0] * len(BOUNDS), 7), 0.5, BOUNDS[-1]),
    ],
)
def test_the_time_in_the_queue_is_estimated_from_steps(handed_out, part, seconds):
    assert quantile(handed_out, part) == pytest.approx(seconds)
