"""What an administrator can see and mend."""

import pytest

from marconi_api import model
from marconi_api.errors import InvalidRequest, QueueNotFound
from marconi_api.model import admin
from marconi_api.model.admin import QueueView
from tests.model.conftest import ids


@pytest.fixture
def jobs(queue):
    """The queue, as an administrator has it."""
    return model.store.admin.queue(queue.name, queue.project)


def test_projects_and_their_queues_are_listed(queue):
    model.store.queues.create(model.QueueKey.of('', 'nobody-s'))

    assert model.store.admin.projects() == ['', 'project']
    assert model.store.admin.queues('project') == ['jobs']
    assert model.store.admin.queues() == ['nobody-s']


def test_a_queue_that_does_not_exist_is_said_to_be_missing(queue):
    with pytest.raises(QueueNotFound, match='nope'):
        model.store.admin.queue('nope')


def test_every_state_is_counted_and_shown(jobs, post, claim, sql):
    ready, claimed, delayed, parked, expired = post(5)
    held = claim(limit=2)
    model.store.admin.queue('jobs', 'project').requeue(ready)
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


def test_all_states_can_be_asked_for_by_that_word(jobs, post, claim):
    post(3)
    claim(limit=1)

    assert jobs.peek('all') == jobs.peek()
    assert len(jobs.peek('all')) == 3


def test_an_unknown_state_is_refused_with_those_there_are(jobs):
    with pytest.raises(
        InvalidRequest, match='ready, claimed, delayed, parked, expired or all, not'
    ):
        jobs.peek('claimd')


@pytest.mark.parametrize('limit', [-1, 0, 10**19])
def test_a_limit_that_means_nothing_is_refused_with_its_range(jobs, limit):
    for look in (model.store.admin.overview, jobs.peek, jobs.claims):
        with pytest.raises(InvalidRequest, match=f'limit must be between 1 and 10000, not {limit}'):
            look(limit=limit)


def test_queues_are_shown_the_deepest_first(jobs, queue, post, claim, sql):
    shallow, empty = (model.QueueKey.of('', name) for name in ('shallow', 'empty'))
    model.store.queues.create(shallow)
    model.store.queues.create(empty)
    post(1, to=shallow)
    parked, delayed, expired, *_ = post(7)
    claim(limit=20)
    jobs.requeue(parked, delayed)
    for message, change in (
        (delayed, "held_until = now() + '60 s', claim_id = NULL"),
        (parked, "held_until = 'infinity'"),
        (expired, 'expires_at = now()'),
    ):
        sql(f'UPDATE message_states SET {change} WHERE id = %s', int(message, 16))
    post(3)

    assert model.store.admin.overview() == [
        QueueView('jobs', 'project', ready=3, claimed=4, delayed=1, parked=1),
        QueueView('shallow', '', ready=1, claimed=0, delayed=0, parked=0),
        QueueView('empty', '', ready=0, claimed=0, delayed=0, parked=0),
    ]
    assert [view.name for view in model.store.admin.overview(limit=2)] == ['jobs', 'shallow']
    assert repr(model.store.admin.overview()).count('\n') == 2


def test_an_overview_counts_slice_by_slice(jobs, post, monkeypatch):
    others = [model.QueueKey.of('', str(number)) for number in range(7)]
    for number, other in enumerate(others):
        model.store.queues.create(other)
        post(number + 1, to=other)
    model.store.queues.delete(others[3])
    in_one = model.store.admin.overview()

    for size in (1, 2, 3, 5, 24, 28, 29):
        monkeypatch.setattr(admin, '_SLICE', size)
        assert model.store.admin.overview() == in_one

    assert [view.ready for view in in_one] == [7, 6, 5, 3, 2, 1, 0]


def test_an_overview_passes_over_what_was_purged_or_deleted(jobs, queue, post):
    post(2)
    jobs.purge()
    post(1)
    gone = model.QueueKey.of('', 'gone')
    model.store.queues.create(gone)
    post(5, to=gone)
    model.store.queues.delete(gone)

    assert model.store.admin.overview() == [QueueView('jobs', 'project', 1, 0, 0, 0)]


def test_a_queue_of_another_project_is_marked_at(queue):
    with pytest.raises(QueueNotFound) as missing:
        model.store.admin.queue('jobs')

    assert missing.value.__notes__ == ["There is this one: admin.queue('jobs', 'project')"]
    jobs = eval(missing.value.__notes__[0].partition(': ')[2], {'admin': model.store.admin})
    assert jobs.stats()['ready'] == 0


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


def test_verbs_take_what_was_shown(jobs, post, claim, sql):
    posted = post(4)
    claim(limit=2)

    [held] = jobs.claims()
    assert jobs.release(held) == 2

    claim(limit=2)
    [first, second] = jobs.peek('claimed')
    assert jobs.requeue(first, second.id) == 2
    assert jobs.delete(jobs.peek(limit=2)) == 2
    assert jobs.delete(*jobs.peek(limit=1)) == 1
    assert [view.id for view in jobs.peek()] == posted[3:]


def test_what_names_no_message_is_refused_and_nothing_is_done(jobs, post, claim):
    [message] = post(1)
    claim()

    for verb in (jobs.requeue, jobs.delete):
        with pytest.raises(TypeError, match='name it by an id or a MessageView, not by ClaimView'):
            verb(message, jobs.claims()[0])
    with pytest.raises(TypeError, match='name it by an id or a ClaimView, not by MessageView'):
        jobs.release(jobs.peek()[0])

    assert jobs.stats()['claimed'] == 1


def test_a_purge_leaves_an_empty_queue_that_goes_on_working(jobs, queue, post, claim, sql):
    post(20)
    claim(limit=5)

    assert jobs.purge() == 20
    assert set(jobs.stats().values()) == {0}
    assert jobs.claims() == []

    posted = post(1)
    assert ids(claim()) == posted

    assert model.store.admin.expire() == 20
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
