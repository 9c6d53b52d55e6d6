"""Ready messages that are moved to another queue."""

import pytest

from marconi_api import model
from marconi_api.errors import InvalidRequest, QueueNotFound
from marconi_api.model import QueueKey
from marconi_api.model.redrive import redrive
from tests.model.conftest import ids


@pytest.fixture
def dead(queue):
    """The queue from which messages are moved."""
    key = QueueKey.of(queue.project, 'dead')
    model.store.queues.create(key)
    return key


@pytest.fixture
def move(queue, dead):
    """Moves the messages of ``dead`` to the queue."""

    def run(batch_size=100, told=None):
        store = model.store
        return redrive(store.database, store.became_ready, dead, queue, batch_size, told)

    return run


def test_messages_arrive_with_id_and_body_and_a_life_of_their_own(
    queue, dead, post, move, claim, age
):
    posted = post(3, to=dead, ttl=300)
    age(299)

    assert move() == 3

    claimed = claim()
    assert ids(claimed) == posted
    assert [message.body for message in claimed.messages] == ['0', '1', '2']
    assert [message.ttl for message in claimed.messages] == [300] * 3
    assert model.store.admin.queue('dead', queue.project).stats()['ready'] == 0


def test_they_are_claimed_in_the_order_of_posting_whatever_the_batch(
    queue, dead, post, move, claim
):
    posted = post(15, to=dead)
    told = []

    assert move(batch_size=4, told=told.append) == 15

    assert told == [4, 4, 4, 3]
    assert ids(claim()) == posted


def test_what_is_claimed_delayed_or_parked_stays(queue, dead, post, move, sql):
    _, claimed, delayed, parked, expired = post(5, to=dead)
    for message, change in (
        (claimed, "held_until = now() + '60 s', claim_id = gen_random_uuid()"),
        (delayed, "held_until = now() + '60 s'"),
        (parked, "held_until = 'infinity'"),
        (expired, 'expires_at = now()'),
    ):
        sql(f'UPDATE message_states SET {change} WHERE id = %s', int(message, 16))

    assert move(batch_size=2) == 1

    stayed = model.store.admin.queue('dead', queue.project).peek()
    assert [message.id for message in stayed] == [claimed, delayed, parked, expired]


def test_the_claims_of_a_message_are_counted_anew(queue, dead, post, move, sql):
    post(1, to=dead)
    sql('UPDATE message_states SET claim_count = 7')

    move()

    assert sql('SELECT claim_count FROM message_states') == [(0,)]


def test_a_message_that_was_posted_before_the_queue_was_purged_arrives(
    queue, dead, post, move, claim
):
    [old] = post(1, to=dead)
    model.store.queues.purge(queue)

    move()

    assert ids(claim()) == [old]


def test_a_worker_whose_mark_is_ahead_finds_what_was_moved(queue, dead, post, move, claim):
    [old] = post(1, to=dead)
    post(5)
    claim()

    move()

    assert ids(claim()) == [old]


def test_what_somebody_claims_at_this_moment_is_passed_over(queue, dead, post, move, session):
    first, _ = post(2, to=dead)
    other = session()
    other.execute('SELECT FROM message_states WHERE id = %s FOR UPDATE', (int(first, 16),))

    assert move() == 1

    other.connection.rollback()
    assert move() == 1


def test_who_waits_is_told(queue, dead, post, move):
    post(3, to=dead)
    told = []
    model.store.became_ready.append(lambda key, count: told.append((key, count)))
    try:
        move(batch_size=2)
    finally:
        model.store.became_ready.pop()

    assert told == [(queue, 2), (queue, 1)]


def test_a_queue_that_is_missing_is_named(queue, dead):
    admin = model.store.admin.queue('dead', queue.project)

    with pytest.raises(QueueNotFound, match='none'):
        admin.redrive('none')
    model.store.queues.delete(dead)
    with pytest.raises(QueueNotFound, match='dead'):
        admin.redrive(queue.name)


def test_a_queue_is_not_moved_to_itself(queue):
    with pytest.raises(InvalidRequest):
        model.store.admin.queue(queue.name, queue.project).redrive(queue.name)


def test_the_queues_whose_dead_letters_come_here_are_known(queue, dead):
    model.store.queues.set_metadata(queue, '{"_dead_letter_queue": "dead"}')

    assert model.store.admin.sources_of('dead', queue.project) == [queue.name]
    assert model.store.admin.sources_of('dead') == []
