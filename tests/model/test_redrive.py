"""Dead letters and parked messages that are moved back."""

import threading

import pytest

from marconi_api import model
from marconi_api.errors import (
    InvalidRequest,
    QueueNotFound,
    RedriveNotFound,
    RedriveUnderWay,
)
from marconi_api.model import Order, QueueKey
from marconi_api.model.redrives import MOST_KEPT
from tests.model.conftest import ids


@pytest.fixture
def dead(queue):
    """The queue to which dead letters go."""
    key = QueueKey.of(queue.project, 'dead')
    model.store.queues.create(key)
    return key


@pytest.fixture
def other(queue):
    """Another queue of the project."""
    key = QueueKey.of(queue.project, 'mails')
    model.store.queues.create(key)
    return key


@pytest.fixture
def redrive(dead):
    """Moves messages, of ``dead`` unless told otherwise, until there is nothing left to move."""

    def run(to=None, source=dead, **terms):
        redrives = model.store.redrives
        started = redrives.start(source, Order(to=to, **terms))
        return redrives.carry_out(source, started.id, 60)

    return run


@pytest.fixture
def die(dead):
    """Lets messages of a queue become dead letters; returns their ids."""

    def run(queue, bodies):
        store = model.store
        store.queues.set_metadata(queue, '{"_max_claim_count": 1, "_dead_letter_queue": "dead"}')
        posted = store.messages.post(queue, CLIENT, [model.NewMessage(b, 300, 0) for b in bodies])
        for _ in range(2):
            if claimed := store.claims.create(queue, 60, 60, 20):
                store.claims.release(queue, claimed.id)
        return posted

    return run


CLIENT = '3381af92-2b9e-11e3-b191-71861300734c'


def there(queue):
    """The ids of the messages of a queue, whatever their state."""
    return [message.id for message in model.store.admin.queue(queue.name, queue.project).peek()]


# ---------------------------------------------------------------- where they go


def test_dead_letters_go_back_to_the_queues_that_they_came_from(queue, other, dead, die, redrive):
    jobs, mails = die(queue, ['1', '2']), die(other, ['3'])
    assert sorted(there(dead)) == sorted(jobs + mails)

    done = redrive()

    assert (there(queue), there(other), there(dead)) == (jobs, mails, [])
    assert (done.status, done.total, done.moved, done.without_target) == ('completed', 3, 3, 0)


def test_dead_letters_go_to_a_queue_that_is_named(queue, other, dead, die, redrive):
    posted = die(queue, ['1', '2'])

    redrive(to='mails')

    assert (there(queue), there(other)) == ([], posted)


def test_what_came_from_no_queue_or_from_one_that_is_gone_stays(
    queue, other, dead, die, post, redrive
):
    back, lost = die(queue, ['1']), die(other, ['2'])
    direct = post(1, to=dead)
    model.store.queues.delete(other)

    done = redrive()

    assert (there(queue), there(dead)) == (back, lost + direct)
    assert (done.total, done.moved, done.without_target) == (1, 1, 2)


def test_what_came_back_is_no_dead_letter_any_more(queue, dead, die, redrive, sql):
    die(queue, ['1'])

    redrive()

    assert sql('SELECT came_from FROM message_states') == [(None,)]


def test_who_may_name_some_queues_only_moves_back_to_those(queue, other, dead, die, redrive):
    die(queue, ['1'])
    mails = die(other, ['2'])

    done = redrive(origins='mai*')

    assert (there(other), len(there(dead)), done.without_target) == (mails, 1, 1)


def test_parked_messages_become_ready_where_they_are(queue, post, redrive, claim, park):
    posted = post(3)
    park(*posted[:2])

    done = redrive(source=queue, state='parked')

    assert (done.moved, done.total) == (2, 2)
    assert sorted(ids(claim())) == posted


def test_parked_messages_go_to_a_queue_that_is_named(queue, other, post, redrive, park):
    posted = post(3)
    park(*posted[:2])

    redrive(to='mails', source=queue, state='parked')

    assert (there(other), there(queue)) == (posted[:2], posted[2:])


def test_a_queue_is_not_moved_to_itself(queue):
    with pytest.raises(InvalidRequest, match='in which they are'):
        model.store.redrives.start(queue, Order(to=queue.name))


# ---------------------------------------------------------------- what arrives


def test_messages_arrive_with_id_and_body_and_a_life_of_their_own(
    queue, dead, post, redrive, claim, age
):
    posted = post(3, to=dead, ttl=300)
    age(299)

    assert redrive(to='jobs').moved == 3

    claimed = claim()
    assert ids(claimed) == posted
    assert [message.body for message in claimed.messages] == ['0', '1', '2']
    assert [message.ttl for message in claimed.messages] == [300] * 3


def test_they_are_claimed_in_the_order_of_posting_whatever_the_batches(
    queue, dead, post, redrive, claim
):
    posted = post(150, to=dead)

    assert redrive(to='jobs').moved == 150

    assert [message for _ in range(8) for message in ids(claim())] == posted


def test_what_is_claimed_delayed_or_parked_stays(queue, dead, post, redrive, sql):
    _, claimed, delayed, parked, expired = post(5, to=dead)
    for message, change in (
        (claimed, "held_until = now() + '60 s', claim_id = gen_random_uuid()"),
        (delayed, "held_until = now() + '60 s'"),
        (parked, "held_until = 'infinity'"),
        (expired, 'expires_at = now()'),
    ):
        sql(f'UPDATE message_states SET {change} WHERE id = %s', int(message, 16))

    assert redrive(to='jobs').moved == 1

    assert there(dead) == [claimed, delayed, parked, expired]


def test_the_claims_of_a_message_are_counted_anew(queue, dead, post, redrive, sql):
    post(1, to=dead)
    sql('UPDATE message_states SET claim_count = 7')

    redrive(to='jobs')

    assert sql('SELECT claim_count FROM message_states') == [(0,)]


def test_a_message_that_was_posted_before_the_queue_was_purged_arrives(
    queue, dead, post, redrive, claim
):
    [old] = post(1, to=dead)
    model.store.queues.purge(queue)

    redrive(to='jobs')

    assert ids(claim()) == [old]


def test_a_worker_whose_mark_is_ahead_finds_what_was_moved(queue, dead, post, redrive, claim):
    [old] = post(1, to=dead)
    post(5)
    claim()

    redrive(to='jobs')

    assert ids(claim()) == [old]


def test_what_somebody_claims_at_this_moment_is_passed_over(queue, dead, post, redrive, session):
    first, _ = post(2, to=dead)
    other = session()
    other.execute('SELECT FROM message_states WHERE id = %s FOR UPDATE', (int(first, 16),))

    assert redrive(to='jobs').moved == 1

    other.connection.rollback()
    assert redrive(to='jobs').moved == 1


def test_who_waits_is_told(queue, other, dead, die, redrive):
    die(queue, ['1', '2'])
    die(other, ['3'])
    told = []
    model.store.became_ready.append(lambda key, count: told.append((key, count)))
    try:
        redrive()
    finally:
        model.store.became_ready.pop()

    assert sorted(told) == sorted([(queue, 2), (other, 1)])


def test_what_a_webhook_has_not_got_keeps_its_body(queue, other, dead, post, redrive, sql, claim):
    [waiting, _] = post(2, to=dead)
    sql('UPDATE queues SET has_subscribers = true WHERE queue_id = %s', dead.id)
    sql(
        "INSERT INTO subscriptions SELECT %s, 1, 'http://a/', NULL, now(), 60, now() + '1 h', '{}', true",
        dead.id,
    )
    sql("INSERT INTO deliveries SELECT %s, 1, %s, now() + '1 h'", dead.id, int(waiting, 16))

    redrive(to='jobs')

    assert [message.body for message in claim().messages] == ['0', '1']
    assert sql('SELECT id FROM messages WHERE queue_id = %s', dead.id) == [(int(waiting, 16),)]
    # And it comes back to where its body is.
    model.store.claims.release(queue, sql('SELECT id::text FROM claims')[0][0])
    assert redrive(to='dead', source=queue).moved == 2
    assert sql('SELECT count(*) FROM messages') == [(2,)]


# ---------------------------------------------------------------- which messages


@pytest.fixture
def park():
    """Parks messages, for a reason."""

    def run(*messages, reason=None, queue=None):
        verdicts = [model.Verdict.park(message, reason) for message in messages]
        model.store.verdicts.give(queue or QueueKey.of('project', 'jobs'), None, verdicts)

    return run


def test_a_part_of_the_reason_tells_which(queue, post, redrive, park, claim):
    odd, even = post(2)
    park(odd, reason='no such address: b@example')
    park(even, reason='timed out')

    assert redrive(source=queue, state='parked', reason='address').moved == 1

    assert ids(claim()) == [odd]


@pytest.mark.parametrize(
    ('terms', 'moved'),
    [({'min_age': 50}, '0'), ({'max_age': 50}, '1'), ({'min_age': 5, 'max_age': 200}, '0')],
)
def test_the_age_tells_which(queue, dead, post, redrive, age, claim, terms, moved):
    post(1, to=dead)
    age(100)
    post(1, to=dead)

    assert redrive(to='jobs', **terms).moved == 1

    assert [message.body for message in claim().messages] == [moved]


def test_what_comes_to_the_queue_later_stays(queue, dead, post):
    redrives = model.store.redrives
    before = post(2, to=dead)
    started = redrives.start(dead, Order(to='jobs'))
    later = post(2, to=dead)

    done = redrives.carry_out(dead, started.id, 60)

    assert (done.moved, there(queue), there(dead)) == (2, before, later)


def test_a_preview_says_how_many_would_go_where(queue, other, dead, die, post):
    die(queue, ['1', '2'])
    die(other, ['3'])
    post(1, to=dead)

    seen = model.store.redrives.preview(dead, Order())

    assert seen.targets == [('jobs', 2), ('mails', 1)]
    assert (seen.messages, seen.without_target, seen.has_more) == (3, 1, False)
    assert len(there(dead)) == 4


def test_a_preview_of_parked_messages_names_their_queue(queue, post, park):
    park(*post(2))

    assert model.store.redrives.preview(queue, Order('parked')).targets == [('jobs', 2)]


@pytest.mark.parametrize(
    'terms',
    [
        {'to': 'jobs', 'min_age': 40},
        {'to': 'jobs', 'max_age': 40},
        {'to': 'mails', 'state': 'parked', 'reason': 'odd'},
        {'state': 'parked'},
        {},
    ],
)
def test_what_a_preview_says_is_what_happens(
    queue, other, dead, die, post, park, redrive, age, terms
):
    die(queue, ['1', '2'])
    age(50)
    park(*post(3, to=dead)[1:], reason='odd one', queue=dead)
    seen = model.store.redrives.preview(dead, Order(**terms))

    done = redrive(**terms)

    assert (done.moved, done.without_target) == (seen.messages, seen.without_target)


def test_many_messages_are_counted_for_a_while_only(queue, dead, fill, monkeypatch, sql):
    monkeypatch.setattr('marconi_api.model.redrives._SLICE', 100)
    fill(250)

    cut_short = model.store.redrives.preview(queue, Order(to='dead'), 0)
    whole = model.store.redrives.preview(queue, Order(to='dead'))

    assert (cut_short.messages, cut_short.has_more) == (100, True)
    assert (whole.messages, whole.has_more) == (250, False)
    assert model.store.redrives.start(queue, Order(to='dead'), 0).total is None


@pytest.mark.parametrize(
    'terms',
    [
        {'state': 'claimed'},
        {'to': 'a/b'},
        {'min_age': -1},
        {'max_age': 2**31},
        {'min_age': 2, 'max_age': 1},
        {'rate': 0},
        {'reason': 'x' * 1001},
        {'reason': '\0'},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(dead, terms):
    with pytest.raises(Exception, match='must') as refused:
        model.store.redrives.start(dead, Order(**terms))

    assert refused.value.status == 400


# ---------------------------------------------------------------- how it goes on


def test_a_queue_that_is_missing_is_named(queue, dead):
    with pytest.raises(QueueNotFound, match='none'):
        model.store.redrives.start(dead, Order(to='none'))
    with pytest.raises(QueueNotFound, match='none'):
        model.store.redrives.start(QueueKey.of('project', 'none'), Order())


def test_of_a_queue_there_is_one_redrive_at_a_time(queue, dead, post):
    started = model.store.redrives.start(dead, Order(to='jobs'))

    with pytest.raises(RedriveUnderWay, match=started.id):
        model.store.redrives.start(dead, Order(to='jobs'))
    assert model.store.redrives.running(dead) == started.id

    model.store.redrives.carry_out(dead, started.id, 60)
    assert model.store.redrives.start(dead, Order(to='jobs')).id != started.id


def test_a_target_that_is_deleted_meanwhile_ends_it(queue, dead, post):
    redrives = model.store.redrives
    post(150, to=dead)
    started = redrives.start(dead, Order(to='jobs'))
    redrives.step(dead, started.id)
    model.store.queues.delete(queue)

    failed = redrives.carry_out(dead, started.id, 60)

    assert (failed.status, failed.moved) == ('failed', 100)
    assert failed.failure == 'Queue jobs does not exist in project project.'
    assert model.store.queues.stats(dead).free == 50


def test_with_its_queue_a_redrive_is_gone(queue, dead, post):
    started = model.store.redrives.start(dead, Order(to='jobs'))
    model.store.queues.delete(dead)

    with pytest.raises(RedriveNotFound):
        model.store.redrives.get(dead, started.id)


def test_a_target_that_is_purged_meanwhile_gets_the_rest(queue, dead, post):
    redrives = model.store.redrives
    post(150, to=dead)
    started = redrives.start(dead, Order(to='jobs'))
    redrives.step(dead, started.id)
    model.store.queues.purge(queue)

    assert redrives.carry_out(dead, started.id, 60).moved == 150
    assert model.store.queues.stats(queue).free == 50


def test_once_it_is_cancelled_nothing_more_is_moved(queue, dead, post):
    redrives = model.store.redrives
    post(250, to=dead)
    started = redrives.start(dead, Order(to='jobs'))
    redrives.step(dead, started.id)

    cancelled = redrives.cancel(dead, started.id)

    assert (cancelled.status, cancelled.moved, cancelled.is_running) == ('cancelled', 100, False)
    assert not redrives.step(dead, started.id)
    assert (len(sql_ids(dead)), redrives.running(dead)) == (150, None)
    # To do so again changes nothing.
    assert redrives.cancel(dead, started.id) == cancelled


def sql_ids(queue):
    rows = model.store.database.rows(
        'SELECT id FROM message_states WHERE queue_id = %(id)s', {'id': queue.id}
    )
    return [identity for (identity,) in rows]


def test_a_rate_lets_so_many_through_in_a_second(queue, dead, post, sql):
    redrives = model.store.redrives
    post(7, to=dead)
    started = redrives.start(dead, Order(to='jobs', rate=3))

    moved = [redrives.carry_out(dead, started.id, 1).moved]
    [(seconds,)] = sql("SELECT date_part('epoch', due_at - now()) FROM redrives")
    for _ in range(3):
        sql("UPDATE redrives SET due_at = due_at - interval '1 second'")
        moved.append(redrives.carry_out(dead, started.id, 1).moved)

    assert moved == [3, 6, 7, 7]
    assert 0.5 < seconds <= 1


def test_two_that_carry_it_out_do_not_take_the_same_batch(queue, dead, post, session):
    redrives = model.store.redrives
    post(2, to=dead)
    started = redrives.start(dead, Order(to='jobs'))
    another = session()
    another.execute('SELECT FROM redrives FOR NO KEY UPDATE')

    assert not redrives.step(dead, started.id)

    another.connection.rollback()
    assert redrives.step(dead, started.id)


def test_a_process_carries_out_the_redrives_of_all_queues(queue, other, dead, post):
    redrives = model.store.redrives
    post(150, to=dead)
    post(150, to=other)
    started = [(source, redrives.start(source, Order(to='jobs')).id) for source in (dead, other)]
    stop = threading.Event()
    thread = threading.Thread(target=redrives.run_forever, args=(stop,))
    thread.start()
    while any(redrives.get(*each).is_running for each in started):
        stop.wait(0.01)
    stop.set()
    thread.join()

    assert model.store.queues.stats(queue).free == 300


def test_the_last_redrives_are_kept(queue, dead, redrive, sql):
    for _ in range(MOST_KEPT + 3):
        last = redrive(to='jobs')

    page = model.store.redrives.page(dead)
    assert (len(page), page[0]) == (MOST_KEPT, last)
    sql("UPDATE redrives SET ended_at = ended_at - interval '31 days'")
    redrive(to='jobs')
    assert len(model.store.redrives.page(dead)) == 1


@pytest.mark.parametrize('unknown', ['x', '11111111-1111-1111-1111-111111111111'])
def test_a_redrive_that_is_not_there_is_told(dead, unknown):
    with pytest.raises(RedriveNotFound):
        model.store.redrives.get(dead, unknown)
    with pytest.raises(RedriveNotFound):
        model.store.redrives.cancel(dead, unknown)


def test_the_queues_whose_dead_letters_come_here_are_known(queue, dead):
    model.store.queues.set_metadata(queue, '{"_dead_letter_queue": "dead"}')

    assert model.store.admin.sources_of('dead', queue.project) == [queue.name]
    assert model.store.admin.sources_of('dead') == []
