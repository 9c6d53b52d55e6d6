"""What an administrator can see and mend."""

import pytest

from marconi_api import model
from marconi_api.errors import QueueNotFound
from tests.model.conftest import ids


@pytest.fixture
def jobs(queue):
    """The queue, as an administrator has it."""
    return model.admin.queue(queue.name, queue.project)


def test_projects_and_their_queues_are_listed(queue):
    model.queues.create(model.QueueKey.of('', 'nobody-s'))

    assert model.admin.projects() == ['', 'project']
    assert model.admin.queues('project') == ['jobs']
    assert model.admin.queues() == ['nobody-s']


def test_a_queue_that_does_not_exist_is_said_to_be_missing(queue):
    with pytest.raises(QueueNotFound, match='nope'):
        model.admin.queue('nope')


def test_every_state_is_counted_and_shown(jobs, post, claim, sql):
    ready, claimed, delayed, parked, expired = post(5)
    held = claim(limit=2)
    model.admin.queue('jobs', 'project').requeue(ready)
    for message, change in (
        (delayed, "held_until = now() + '60 s'"),
        (parked, "held_until = 'infinity'"),
        (expired, 'expires_at = now()'),
    ):
        sql(f'UPDATE message_states SET {change} WHERE id = %s', int(message, 16))

    seen = {message.id: message.state for message in jobs.peek()}

    assert seen == {
        ready: 'ready',
        claimed: 'claimed',
        delayed: 'delayed',
        parked: 'parked',
        expired: 'expired',
    }
    assert jobs.stats() == dict.fromkeys(seen.values(), 1)
    for message, state in seen.items():
        assert [view.id for view in jobs.peek(state)] == [message]
    assert [view.claim for view in jobs.peek('claimed')] == [held.id]


def test_an_unknown_state_is_refused_with_those_there_are(jobs):
    with pytest.raises(ValueError, match='ready, claimed, delayed, parked, expired'):
        jobs.peek('claimd')


def test_live_claims_are_shown_with_what_they_hold(jobs, queue, post, claim):
    post(3)
    long, short = claim(limit=2, ttl=300), claim(limit=1, ttl=60)

    assert [(view.id, view.holds) for view in jobs.claims()] == [(short.id, 1), (long.id, 2)]


def test_looking_changes_nothing(jobs, post, claim, sql):
    post(3)
    claim(limit=1)
    before = sql('SELECT * FROM message_states ORDER BY id')

    repr(jobs)
    jobs.stats()
    jobs.peek()
    jobs.claims()
    jobs.metadata()

    assert sql('SELECT * FROM message_states ORDER BY id') == before


def test_a_claim_is_released(jobs, post, claim):
    posted = post(2)

    assert jobs.release(claim().id) == 2
    assert ids(claim()) == posted


@pytest.mark.parametrize('held_until', ["now() + '60 s'", "'infinity'"])
def test_a_message_that_is_held_is_requeued(jobs, post, claim, sql, held_until):
    [message] = post(1)
    sql(f'UPDATE message_states SET held_until = {held_until}')
    assert claim() is None

    assert jobs.requeue(message) == 1
    assert ids(claim()) == [message]


def test_a_claimed_message_is_deleted(jobs, post, claim):
    [message, kept] = post(2)
    claim(limit=1)

    assert jobs.delete(message) == 1
    assert [view.id for view in jobs.peek()] == [kept]


def test_a_purge_leaves_an_empty_queue_that_goes_on_working(jobs, queue, post, claim, sql):
    post(20)
    claim(limit=5)

    assert jobs.purge() == 20
    assert set(jobs.stats().values()) == {0}
    assert jobs.claims() == []

    posted = post(1)
    assert ids(claim()) == posted

    assert model.admin.expire() == 20
    assert sql('SELECT count(*) FROM messages') == [(1,)]


def test_a_purge_does_not_wait_for_a_post_that_is_under_way(jobs, queue, post, session):
    slow = session()
    slow.execute('SELECT FROM queues FOR KEY SHARE')
    post(3)

    assert jobs.purge() == 3


def test_a_purge_never_lowers_what_it_purged_up_to(jobs, queue, post, sql):
    high = 2**60
    sql(f'UPDATE queues SET floor = {high}')

    jobs.purge()

    assert sql('SELECT floor FROM queues') == [(high,)]
