"""A claim that is sent again under its key gets what it got the first time."""

import pytest

from marconi_api import limits, model
from marconi_api.errors import IdempotencyKeyInUse, IdempotencyKeyReused, IdempotentClaimEnded
from marconi_api.model import ClaimSource, QueueKey, RequestKey
from tests.model.conftest import CLIENT, new_messages
from tests.model.test_idempotency import at_once

KEY = RequestKey.of('key', b'content')
OF_OTHER_CONTENT = RequestKey.of('key', b'other')


@pytest.fixture
def claim_once(queue):
    """Claims five messages under a key."""

    def claim(key=KEY, limit=5):
        return model.store.claims.create(queue, 60, 60, limit, key)

    return claim


@pytest.fixture
def held(sql):
    """How many messages are claimed."""
    return lambda: sql('SELECT count(*) FROM message_states WHERE claim_id IS NOT NULL')[0][0]


def what(claim):
    return claim.id, [message.id for message in claim.messages]


def test_a_claim_that_is_sent_again_is_the_same_claim(claim_once, post, held):
    post(20)

    first = claim_once()

    assert what(claim_once()) == what(first)
    assert len(first.messages) == held() == 5


def test_it_has_what_it_still_holds(claim_once, post, queue):
    post(5)
    first = claim_once()
    model.store.messages.delete(queue, first.messages[0].id, first.id)

    assert what(claim_once()) == (first.id, [message.id for message in first.messages[1:]])


def test_one_that_found_nothing_may_find_something_the_next_time(claim_once, post):
    assert claim_once() is None
    post(5)

    assert len(claim_once().messages) == 5


def test_one_that_has_ended_is_told_so(claim_once, post, queue):
    post(20)
    model.store.claims.release(queue, claim_once().id)

    with pytest.raises(IdempotentClaimEnded):
        claim_once()


def test_one_that_lapsed_is_told_so(claim_once, post, age):
    post(20)
    claim_once()
    age(61)

    with pytest.raises(IdempotentClaimEnded):
        claim_once()


def test_one_of_another_content_is_refused(claim_once, post, held):
    post(20)
    claim_once()

    with pytest.raises(IdempotencyKeyReused):
        claim_once(OF_OTHER_CONTENT)

    assert held() == 5


def test_a_post_and_a_claim_may_have_the_same_key(claim_once, queue):
    model.store.messages.post(queue, CLIENT, new_messages(3), key=KEY)

    assert len(claim_once().messages) == 3


def test_a_claim_that_is_given_back_forgets_its_key(claim_once, post, queue, held):
    post(5)
    first = claim_once()
    model.store.claims.give_back(queue, first.id, KEY)
    assert held() == 0

    again = claim_once()

    assert again.id != first.id
    assert len(again.messages) == 5


@pytest.mark.parametrize('count', [5, 200], ids=['few', 'many'])
def test_twenty_at_once_are_one_claim(claim_once, post, held, count):
    post(count)

    answers = at_once(20, lambda: what(claim_once()))

    assert len({identity for identity, _ in answers}) == 1
    assert held() == 5


def test_twenty_at_once_without_the_key_are_twenty_claims(queue, post, held):
    post(200)

    at_once(20, lambda: model.store.claims.create(queue, 60, 60, 5))

    assert held() == 100


def test_a_key_is_forgotten_when_its_time_is_over(claim_once, post, age, queue):
    post(20)
    first = claim_once()
    age(limits.in_force.idempotency_window + 1)
    post(20)

    again = claim_once()

    assert again.id != first.id
    assert what(claim_once()) == what(again)


def test_a_purge_forgets_the_keys(claim_once, post, queue):
    post(20)
    first = claim_once()
    model.store.queues.purge(queue)
    post(20)

    again = claim_once()

    assert again.id != first.id
    assert what(claim_once()) == what(again)


def test_a_claim_of_a_queue_with_a_limit_of_claims_is_the_same_claim(claim_once, post, queue):
    model.store.queues.set_metadata(queue, '{"_max_claim_count": 3}')
    post(20)

    first = claim_once()

    assert what(claim_once()) == what(first)


def test_it_waits_for_the_first_no_longer_than_a_statement_may_run(
    claim_once, post, queue, session
):
    post(5)
    lock = KEY.parameters_of_claim(queue, 1)['key_lock']
    session().execute('SELECT pg_advisory_xact_lock(%s)', (lock,))
    model.store.database.rows("SET statement_timeout = '100ms'", {})

    with pytest.raises(IdempotencyKeyInUse):
        claim_once()

    model.store.database.close()


@pytest.fixture
def queues(queue):
    """Three queues with three messages each, the first of which is empty at first."""
    keys = [QueueKey.of('project', name) for name in 'abc']
    for key in keys[1:]:
        model.store.messages.post(key, CLIENT, new_messages(3), create=True)
    model.store.queues.create(keys[0])
    return keys


def across(queues, key=KEY, weight=None, limit=5):
    sources = [ClaimSource(queue, None, weight) for queue in queues]
    claims, _ = model.store.claims.create_across(sources, 60, 60, limit, key)
    return sorted((queue.name, *what(claim)) for queue, claim in claims)


@pytest.mark.parametrize('weight', [None, 1], ids=['by preference', 'by weight'])
def test_a_claim_across_queues_is_the_same_claims(queues, held, weight):
    first = across(queues, weight=weight)
    model.store.messages.post(queues[0], CLIENT, new_messages(3))

    assert across(queues, weight=weight) == first
    assert held() == 5


def test_a_claim_across_queues_has_those_that_have_not_ended(queues):
    first = across(queues)
    model.store.claims.release(queues[1], first[0][1])

    assert across(queues) == first[1:]
    model.store.claims.release(queues[2], first[1][1])
    with pytest.raises(IdempotentClaimEnded):
        across(queues)


def test_claims_across_queues_at_once_hold_no_more_than_is_told(queues, held):
    answers = at_once(10, lambda: across(queues, limit=6))

    assert sorted(max(answers, key=len)) == across(queues, limit=6)
    assert held() == 6


def test_another_content_of_a_claim_across_queues_is_refused(queues):
    across(queues)

    with pytest.raises(IdempotencyKeyReused):
        across(queues, OF_OTHER_CONTENT)
