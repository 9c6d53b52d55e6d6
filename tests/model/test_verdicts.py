"""A verdict for each message of a claim; what a stale claim says changes nothing."""

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from marconi_api import model
from marconi_api.errors import ClaimNotFound, NotFinished
from marconi_api.model import QueueKey, Verdict
from tests.model.conftest import CLIENT, ids, new_messages

VERDICTS = importlib.import_module('marconi_api.model.verdicts')

EVERY_STATE = frozenset(model.STATES)


@pytest.fixture
def give(queue):
    """Gives verdicts under a claim; returns each message's result and state."""

    def give_verdicts(claim, *verdicts):
        outcomes = model.store.verdicts.give(queue, claim and claim.id, verdicts)
        assert [(outcome.message, outcome.verdict) for outcome in outcomes] == [
            (verdict.message, verdict.verdict) for verdict in verdicts
        ]
        return [(outcome.result, outcome.state) for outcome in outcomes]

    return give_verdicts


@pytest.fixture
def states(queue):
    """The state of each message that is there, by its id."""
    return lambda: {
        message.id: message.state
        for message in model.store.messages.peek(queue, None, 100, states=EVERY_STATE)
    }


def test_six_kinds_of_verdict_on_a_batch_of_twenty(queue, post, claim, give, states, sql, age):
    posted = post(20)
    held = claim(limit=20)
    assert ids(held) == posted
    assert (
        give(held, *[Verdict(message, 'park') for message in posted[15:]])
        == [('done', 'parked')] * 5
    )

    results = give(
        held,
        *[Verdict(message, 'delete') for message in posted[:3]],
        *[Verdict(message, 'release') for message in posted[3:6]],
        *[Verdict(message, 'release', seconds=30) for message in posted[6:9]],
        *[Verdict(message, 'touch', seconds=600, grace=60) for message in posted[9:12]],
        *[Verdict(message, 'park', reason='odd') for message in posted[12:15]],
        *[Verdict(message, 'kick') for message in posted[15:18]],
    )

    after = ['gone', 'ready', 'delayed', 'claimed', 'parked', 'ready']
    assert results == [('done', state) for state in after for _ in range(3)]
    expected = dict(zip(posted[:18], [state for state in after for _ in range(3)], strict=True))
    expected |= dict.fromkeys(posted[18:], 'parked')
    assert states() == {message: state for message, state in expected.items() if state != 'gone'}
    age(61)
    assert ids(model.store.claims.get(queue, held.id)) == posted[9:12]
    assert ids(claim()) == sorted(posted[3:9] + posted[15:18])
    assert sql('SELECT count(*) FROM messages') == [(17,)]


def test_when_the_claim_expired_and_another_took_half_nothing_is_changed(
    queue, post, claim, give, states, age
):
    posted = post(20)
    stale = claim(limit=20)
    age(61)
    other = claim(limit=10)
    taken, free = ids(other), [message for message in posted if message not in ids(other)]
    before = states()
    kinds = [
        ('delete', 0),
        ('release', 0),
        ('release', 30),
        ('touch', 600),
        ('park', 0),
    ]
    verdicts = [
        Verdict(message, *kinds[place % 5])
        for half in (taken, free)
        for place, message in enumerate(half)
    ]

    results = give(stale, *verdicts)

    assert results == [('taken', 'claimed')] * 10 + [('expired', 'ready')] * 10
    assert states() == before
    assert ids(model.store.claims.get(queue, other.id)) == taken


def test_a_message_that_is_not_there_is_gone(post, claim, give, age):
    deleted, expired = post(1), post(1, ttl=60)
    held = claim(grace=60)
    age(59)

    assert give(held, Verdict(deleted[0], 'delete')) == [('done', 'gone')]
    assert give(held, Verdict(deleted[0], 'delete')) == [('gone', 'gone')]
    assert give(held, Verdict('nonsense', 'delete')) == [('gone', 'gone')]
    age(62)
    assert give(held, Verdict(expired[0], 'touch', 60)) == [('gone', 'gone')]


def test_a_message_of_another_claim_is_taken_one_of_none_is_not_in_this_one(
    post, claim, give, states
):
    _, second, third = post(3)
    mine, _ = claim(limit=1), claim(limit=1)

    results = give(mine, Verdict(second, 'delete'), Verdict(third, 'delete'))

    assert results == [('taken', 'claimed'), ('not_in_claim', 'ready')]
    assert len(states()) == 3


@pytest.mark.parametrize('claim_id', ['nonsense', '11111111-2222-4333-8444-555555555555'])
def test_a_claim_that_is_not_there_changes_nothing(queue, post, claim, claim_id):
    free, held = post(2)
    model.store.claims.create(queue, 60, 60, 1)

    outcomes = model.store.verdicts.give(
        queue, claim_id, [Verdict(free, 'delete'), Verdict(held, 'park'), Verdict(held, 'kick')]
    )

    assert [outcome.result for outcome in outcomes] == ['taken', 'not_in_claim', 'not_parked']


def test_what_a_verdict_gave_back_is_no_longer_in_the_claim(post, claim, give):
    released, parked = post(2)
    held = claim()
    give(held, Verdict(released, 'release'), Verdict(parked, 'park'))

    results = give(held, Verdict(released, 'delete'), Verdict(parked, 'delete'))

    assert results == [('not_in_claim', 'ready'), ('not_in_claim', 'parked')]


def test_one_bad_entry_does_not_spoil_the_others(post, claim, give):
    [posted] = post(1)
    held = claim()

    results = give(held, Verdict('f' * 16, 'delete'), Verdict(posted, 'delete'))

    assert results == [('gone', 'gone'), ('done', 'gone')]


def test_a_released_message_is_claimed_next_and_counts_its_claims(queue, post, claim, give):
    first, _ = post(2)
    give(claim(limit=1), Verdict(first, 'release'))

    [again] = model.store.messages.pop(queue, 1)

    assert (again.id, again.claim_count) == (first, 1)


def test_a_delayed_release_comes_back_when_its_time_is_over(post, claim, give, age):
    [posted] = post(1)
    give(claim(), Verdict(posted, 'release', seconds=100))
    assert claim() is None
    age(99)
    assert claim() is None

    age(2)

    assert ids(claim()) == [posted]


def test_a_delayed_release_is_outlived_by_its_message(queue, post, claim, give, age):
    [posted] = post(1, ttl=60)
    give(claim(), Verdict(posted, 'release', seconds=900, grace=60))

    age(901)

    assert ids(claim()) == [posted]


def test_a_touch_holds_one_message_longer_than_the_rest(queue, post, claim, give, age):
    first, second = post(2)
    held = claim(ttl=60)
    give(held, Verdict(first, 'touch', seconds=200, grace=60))

    age(61)

    assert ids(model.store.claims.get(queue, held.id)) == [first]
    assert ids(claim()) == [second]
    model.store.messages.delete(queue, first, held.id)


def test_a_touch_can_shorten(queue, post, claim, give, age):
    [posted] = post(1)
    held = claim(ttl=600)
    give(held, Verdict(posted, 'touch', seconds=60))

    age(61)

    assert ids(claim()) == [posted]


def test_a_parked_message_waits_for_as_long_as_it_takes(queue, post, claim, give, age, states):
    [posted] = post(1, ttl=60)
    give(claim(), Verdict(posted, 'park', reason='not before Monday'))

    age(10_000_000)

    assert model.store.janitor.run_once() == 0
    assert claim() is None
    assert model.store.messages.page(queue, None, 10, states={'ready', 'claimed', 'delayed'}) == []
    [parked] = model.store.messages.peek(queue, None, 10, states={'parked'})
    assert (parked.id, parked.state, parked.reason) == (posted, 'parked', 'not before Monday')
    assert model.store.queues.stats(queue).parked == 1


def test_a_kicked_message_has_its_ttl_and_its_claims_before_it(queue, post, claim, give, age):
    [posted] = post(1, ttl=100)
    give(claim(), Verdict(posted, 'park', reason='why'))
    age(10_000)

    assert give(None, Verdict(posted, 'kick')) == [('done', 'ready')]

    age(99)
    [kicked] = model.store.messages.peek(queue, None, 10)
    assert (kicked.id, kicked.claim_count, kicked.reason) == (posted, 0, None)
    age(2)
    assert claim() is None


def test_only_parked_messages_can_be_kicked(post, claim, give):
    held, free = post(2)
    mine = claim(limit=1)

    results = give(mine, Verdict(held, 'kick'), Verdict(free, 'kick'))

    assert results == [('not_parked', 'claimed'), ('not_parked', 'ready')]


def test_a_free_message_can_be_parked_by_anybody_a_claimed_one_by_its_claim(post, claim, give):
    held, free = post(2)
    claim(limit=1)

    results = give(None, Verdict(held, 'park'), Verdict(free, 'park'), Verdict(free, 'delete'))

    assert results[:2] == [('taken', 'claimed'), ('done', 'parked')]


def test_without_a_claim_only_parking_and_kicking_do_anything(post, give, states):
    posted = post(3)
    before = states()

    results = give(
        None,
        Verdict(posted[0], 'delete'),
        Verdict(posted[1], 'release'),
        Verdict(posted[2], 'touch', 60),
    )

    assert results == [('not_in_claim', 'ready')] * 3
    assert states() == before


def test_a_verdict_waits_for_who_is_at_the_message_and_sees_what_became_of_it(
    queue, post, claim, give, session
):
    """Judged by what was there before the wait, the message would be deleted twice over."""
    [posted] = post(1)
    held = claim()
    other = session()
    other.execute('DELETE FROM message_states')
    results = []
    judging = threading.Thread(
        target=lambda: results.extend(give(held, Verdict(posted, 'release')))
    )
    judging.start()
    judging.join(0.3)
    assert judging.is_alive()

    other.execute('COMMIT')
    judging.join()

    assert results == [('gone', 'gone')]


def test_two_who_judge_the_same_messages_at_once_do_each_thing_once(queue, post, claim):
    posted = post(20)
    held = claim(limit=20)

    def delete_all(backwards):
        order = posted[::-1] if backwards else posted
        outcomes = model.store.verdicts.give(queue, held.id, [Verdict(m, 'delete') for m in order])
        return sum(outcome.result == 'done' for outcome in outcomes)

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(delete_all, [False, True] * 4))

    assert sum(counts) == 20


def test_verdicts_stay_within_their_queue(queue, post, claim):
    [posted] = post(1)
    held = claim()
    elsewhere = QueueKey.of('project', 'elsewhere')
    model.store.queues.create(elsewhere)

    [outcome] = model.store.verdicts.give(elsewhere, held.id, [Verdict(posted, 'delete')])

    assert outcome.result == 'gone'
    assert model.store.messages.get(queue, posted)


# ---------------------------------------------------------------- heartbeats


def heartbeat(queue, claim, ttl=60, grace=60):
    outcomes = model.store.verdicts.heartbeat(queue, claim.id, ttl, grace)
    return [(outcome.message, outcome.result) for outcome in outcomes]


def test_a_heartbeat_renews_all_that_is_held(queue, post, claim, age):
    posted = post(3)
    held = claim(ttl=60)
    age(50)

    assert heartbeat(queue, held, ttl=100) == [(message, 'done') for message in posted]

    age(99)
    renewed = model.store.claims.get(queue, held.id)
    assert (ids(renewed), renewed.ttl, renewed.age) == (posted, 100, 99)
    assert claim() is None
    age(2)
    assert ids(claim()) == posted


def test_a_heartbeat_tells_what_became_of_each_message(queue, post, claim, give, age):
    kept, deleted, released, parked = post(4)
    held = claim(ttl=100)
    give(
        held,
        Verdict(deleted, 'delete'),
        Verdict(released, 'release'),
        Verdict(parked, 'park'),
    )

    assert heartbeat(queue, held) == [
        (kept, 'done'),
        (deleted, 'gone'),
        (released, 'not_in_claim'),
        (parked, 'not_in_claim'),
    ]


def test_a_heartbeat_that_comes_too_late_revives_nothing(queue, post, claim, age):
    posted = post(4)
    late = claim(ttl=60)
    age(61)
    other = claim(limit=2)

    results = heartbeat(queue, late)

    assert dict(results) == {
        **dict.fromkeys(ids(other), 'taken'),
        **dict.fromkeys([m for m in posted if m not in ids(other)], 'expired'),
    }
    with pytest.raises(ClaimNotFound):
        model.store.claims.get(queue, late.id)
    assert len(ids(claim())) == 2


@pytest.mark.parametrize('claim_id', ['nonsense', '11111111-2222-4333-8444-555555555555'])
def test_a_heartbeat_of_no_claim_is_refused(queue, claim_id):
    with pytest.raises(ClaimNotFound):
        model.store.verdicts.heartbeat(queue, claim_id, 60, 60)


def test_a_heartbeat_keeps_messages_that_would_end_before_the_claim(queue, post, claim, age):
    [posted] = post(1, ttl=60)
    held = claim(ttl=60, grace=60)
    heartbeat(queue, held, ttl=1000, grace=60)

    age(1001)

    assert model.store.messages.get(queue, posted)


# ---------------------------------------------------------------- parked ones in bulk


@pytest.fixture
def park(queue, give):
    def park_messages(messages):
        for at in range(0, len(messages), 100):
            give(None, *[Verdict(message, 'park') for message in messages[at : at + 100]])
        return messages

    return park_messages


def test_all_parked_messages_are_kicked_at_once(queue, post, claim, park):
    posted = park(post(30))
    [another] = post(1)

    assert model.store.verdicts.kick(queue) == (30, False)

    assert ids(claim(limit=50)) == [*posted, another]


def test_some_are_kicked_the_oldest_first(queue, post, claim, park):
    posted = park(post(5))

    assert model.store.verdicts.kick(queue, 2) == (2, False)

    assert ids(claim()) == posted[:2]


def test_thousands_are_kicked_in_batches(queue, park, claim):
    messages = model.store.messages.post(queue, CLIENT, new_messages(2500))
    park(messages)

    assert model.store.verdicts.kick(queue) == (2500, False)
    assert model.store.verdicts.kick(queue) == (0, False)
    assert model.store.queues.stats(queue).free == 2500


@pytest.fixture
def many_parked(queue, sql):
    """More parked messages than one call changes."""
    sql(
        """
        INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
        SELECT %s, floor + g, 'infinity', 'infinity', gen_random_uuid(), 60
          FROM queues, generate_series(1, 10500) AS g;
        INSERT INTO messages SELECT queue_id, id, now(), '1' FROM message_states""",
        queue.id,
    )


def test_a_kick_of_very_many_says_that_there_are_more(queue, many_parked):
    assert model.store.verdicts.kick(queue) == (10_000, True)
    assert model.store.verdicts.kick(queue) == (500, False)


def test_a_kick_says_that_there_are_more_only_if_they_were_asked_for(queue, many_parked):
    assert model.store.verdicts.kick(queue, 10_400) == (10_000, True)
    assert model.store.verdicts.kick(queue, 400) == (400, False)


def test_a_deletion_of_very_many_parked_messages_says_that_it_is_not_finished(queue, many_parked):
    with pytest.raises(NotFinished, match='10000 parked messages were deleted'):
        model.store.verdicts.delete_parked(queue)

    model.store.verdicts.delete_parked(queue)
    assert model.store.queues.stats(queue).parked == 0


def test_a_batch_of_parked_messages_starts_where_the_last_one_ended(queue, many_parked, sql):
    """Under an old snapshot the index keeps what was kicked: each batch would walk over it."""
    [(first,)] = sql('SELECT min(id) FROM message_states')
    parameters = {**queue.parameters, 'after': first + 99, 'batch_size': 10}

    for statement in (VERDICTS._KICK, VERDICTS._DELETE_PARKED):
        changed = model.store.database.rows(statement, parameters)
        assert min(changed) > (first + 99,)


def test_parked_messages_are_deleted_in_bulk_and_no_others(queue, post, claim, park):
    park(post(5))
    kept = post(2)

    model.store.verdicts.delete_parked(queue)

    assert ids(model.store.messages.page(queue, None, 10, states=EVERY_STATE)) == kept


def test_a_heartbeat_and_a_release_at_once_do_not_lock_each_other_out(queue, post, claim, session):
    """Both lock the claim first. In another order PostgreSQL ends one of them, a second later."""
    post(5)
    held = claim()
    other = session()
    other.execute('SELECT FROM claims FOR UPDATE')
    beat = threading.Thread(target=model.store.verdicts.heartbeat, args=(queue, held.id, 60, 60))
    beat.start()
    beat.join(0.3)
    assert beat.is_alive()

    other.execute("SET lock_timeout = '500ms'")
    other.execute('SELECT FROM message_states FOR UPDATE')
    other.execute('COMMIT')
    beat.join()

    assert len(model.store.claims.get(queue, held.id).messages) == 5


def test_parking_a_parked_message_again_gives_it_another_reason(queue, post, give):
    [posted] = post(1)
    give(None, Verdict(posted, 'park', reason='first'))

    assert give(None, Verdict(posted, 'park', reason='second')) == [('done', 'parked')]

    [parked] = model.store.messages.peek(queue, None, 10, states={'parked'})
    assert parked.reason == 'second'


def test_a_claim_lasts_as_long_as_what_it_holds_not_as_what_is_delayed(queue, post, claim, give):
    first, second = post(2)
    held = claim(ttl=60)

    give(held, Verdict(first, 'release', seconds=900), Verdict(second, 'touch', seconds=100))

    [view] = model.store.admin.queue('jobs', 'project').claims()
    assert view.expires_in in (99, 100)
