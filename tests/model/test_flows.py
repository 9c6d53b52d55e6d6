"""What becomes of messages is told once, and with the right number, whoever did it."""

import json
from collections import Counter

import pytest

from marconi_api import model
from marconi_api.errors import StorageUnavailable
from marconi_api.model import QueueKey, Verdict
from marconi_api.model.flows import ERRORS, RECONNECTS, ROUND_TRIPS, flows
from tests.model.conftest import CLIENT, ids, new_messages


@pytest.fixture
def told(app):
    """What was told, by its name, from the moment at which the test first asks."""
    found = Counter()

    def listen(flow, count):
        found[flow] += count

    flows.append(listen)
    yield found
    flows.remove(listen)


@pytest.fixture
def of_messages(told):
    """The same without what was asked of PostgreSQL; it begins anew with each look."""

    def look():
        found = {flow: count for flow, count in told.items() if flow != ROUND_TRIPS}
        told.clear()
        return found

    return look


def limit(queue, **metadata):
    model.store.queues.set_metadata(
        queue, json.dumps({f'_{name}': value for name, value in metadata.items()})
    )


def test_messages_that_are_claimed_and_given_back_have_not_lapsed(queue, post, claim, of_messages):
    post(3)
    model.store.claims.release(queue, claim().id)
    claim()

    assert of_messages() == {'posted': 3, 'claimed': 6, 'released': 3}


def test_a_message_whose_claim_lapsed_is_told_when_it_is_claimed_again(
    queue, post, claim, age, of_messages
):
    post(5)
    claim(limit=3)
    age(61)
    of_messages()

    claim(limit=2)
    assert of_messages() == {'claimed': 2, 'lapsed': 2}

    claim()
    assert of_messages() == {'claimed': 3, 'lapsed': 1}


def test_a_message_whose_claim_lapsed_is_told_when_it_is_popped(
    queue, post, claim, age, of_messages
):
    post(2)
    claim(limit=1)
    age(61)
    of_messages()

    model.store.messages.pop(queue, 5)

    assert of_messages() == {'claimed': 2, 'deleted': 2, 'lapsed': 1}


def test_a_message_whose_claim_lapsed_is_told_when_it_has_expired(
    queue, post, claim, age, of_messages
):
    post(2)
    claim(limit=1)
    age(1000)
    of_messages()

    model.store.janitor.run_once()

    assert of_messages() == {'expired': 2, 'lapsed': 1}


def test_what_belonged_to_a_deleted_queue_is_told_as_deleted(queue, post, claim, of_messages):
    post(4)
    claim(limit=1)
    model.store.queues.delete(queue)
    of_messages()

    model.store.janitor.run_once()

    assert of_messages() == {'deleted': 4}


def test_what_was_deleted_is_told_once(queue, post, of_messages):
    posted = post(4)
    of_messages()

    for _ in range(2):
        model.store.messages.delete(queue, posted[0])
        model.store.messages.delete_many(queue, posted[1:3])

    assert of_messages() == {'deleted': 3}


def test_dead_letters_are_told_where_they_are_moved(queue, post, claim, age, of_messages):
    model.store.queues.create(QueueKey.of('project', 'dead'))
    limit(queue, max_claim_count=1, dead_letter_queue='dead')
    post(3)
    claim()
    age(61)
    of_messages()

    claim()

    assert of_messages() == {'dead_lettered': 3, 'lapsed': 3}


def test_dead_letters_are_told_where_they_are_parked(queue, post, claim, of_messages):
    limit(queue, max_claim_count=1)
    post(3)
    model.store.claims.release(queue, claim().id)
    of_messages()

    claim()

    assert of_messages() == {'dead_lettered': 3, 'parked': 3}


def test_verdicts_are_told_by_what_was_done(queue, post, claim, of_messages):
    post(6)
    made = claim(limit=5)
    of_messages()
    kinds = ('delete', 'release', 'touch', 'park', 'kick')
    verdicts = [Verdict.of(message, kind) for message, kind in zip(ids(made), kinds, strict=True)]

    model.store.verdicts.give(queue, made.id, verdicts)

    assert of_messages() == {'deleted': 1, 'released': 1, 'touched': 1, 'parked': 1}


def test_renewals_are_told_as_touches(queue, post, claim, of_messages):
    post(3)
    made = claim()
    of_messages()

    model.store.claims.renew(queue, made.id, 100, 60)
    model.store.verdicts.heartbeat(queue, made.id, 100, 60)

    assert of_messages() == {'touched': 6}


def test_a_post_of_one_round_trip_is_told_as_one(queue, post, told):
    post()
    told.clear()

    post()

    assert told[ROUND_TRIPS] == 1


def test_a_connection_that_replaces_a_broken_one_is_told(queue, post, told, sql):
    post()
    told.clear()
    sql(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
        " WHERE application_name = 'marconi' AND pid <> pg_backend_pid()"
    )

    model.store.queues.exists(queue)

    assert (told[RECONNECTS], told[ERRORS]) == (1, 0)


def test_a_statement_that_failed_is_told(queue, told, session):
    other = session()
    other.execute('BEGIN; LOCK messages')

    with pytest.raises(StorageUnavailable):
        model.store.messages.post(queue, CLIENT, new_messages())

    assert told[ERRORS] == 1
