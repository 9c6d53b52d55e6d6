"""One claim over several queues: strict where there are no weights, fair where there are."""

from collections import Counter

import pytest

from marconi_api import model
from marconi_api.errors import StorageUnavailable
from marconi_api.model import ClaimSource, QueueKey
from tests.model.conftest import CLIENT, ids, new_messages


@pytest.fixture
def queues(app):
    """Three queues with 100 messages each."""
    keys = [QueueKey.of('project', name) for name in ('urgent', 'normal', 'idle')]
    for key in keys:
        model.store.queues.create(key)
        model.store.messages.post(key, CLIENT, new_messages(100))
    return keys


def claim_across(*sources, limit=10):
    """How many messages each queue gave, and the names of the missing."""
    claims, missing = model.store.claims.create_across(sources, 60, 60, limit)
    counts = Counter({})
    for queue, claim in claims:
        assert ids(model.store.claims.get(queue, claim.id)) == ids(claim)
        counts[queue.name] += len(claim.messages)
    return dict(counts), [queue.name for queue in missing]


def test_without_weights_the_first_queue_comes_first(queues):
    assert claim_across(*map(ClaimSource, queues)) == ({'urgent': 10}, [])


def test_what_the_first_does_not_have_the_next_gives(queues):
    model.store.messages.pop(queues[0], 97)

    assert claim_across(*map(ClaimSource, queues)) == ({'urgent': 3, 'normal': 7}, [])


def test_a_queue_gives_no_more_than_its_limit(queues):
    urgent, normal, idle = queues

    sources = [ClaimSource(urgent, limit=2), ClaimSource(normal, limit=3), ClaimSource(idle)]

    assert claim_across(*sources) == ({'urgent': 2, 'normal': 3, 'idle': 5}, [])


def test_limits_may_leave_a_claim_short(queues):
    assert claim_across(ClaimSource(queues[0], limit=2)) == ({'urgent': 2}, [])


def test_it_stops_asking_when_it_has_enough(queues, monkeypatch):
    asked = []
    rows = model.store.database.rows
    monkeypatch.setattr(
        model.store.database, 'rows', lambda *given, **more: asked.append(1) or rows(*given, **more)
    )
    claim_across(*map(ClaimSource, queues))
    asked.clear()

    model.store.claims.create_across([*map(ClaimSource, queues)], 60, 60, 10)

    assert len(asked) == 1


def test_a_queue_that_does_not_exist_is_named_and_spoils_nothing(queues):
    missing = QueueKey.of('project', 'missing')

    assert claim_across(ClaimSource(missing), ClaimSource(queues[0])) == (
        {'urgent': 10},
        ['missing'],
    )


def test_nothing_anywhere_is_no_claim(queues):
    for queue in queues:
        model.store.queues.purge(queue)

    assert claim_across(*map(ClaimSource, queues)) == ({}, [])


def test_by_weight_each_message_is_drawn_in_proportion(queues):
    urgent, normal, idle = queues
    sources = [
        ClaimSource(urgent, weight=6),
        ClaimSource(normal, weight=3),
        ClaimSource(idle, weight=1),
    ]
    total = Counter()
    for _ in range(40):
        for queue in queues:
            model.store.messages.post(queue, CLIENT, new_messages(10))
        counts, _ = claim_across(*sources)
        total.update(counts)

    assert sum(total.values()) == 400
    # The expectation is 240, 120 and 40, with deviations of about 10, 9 and 6.
    assert 190 < total['urgent'] < 290
    assert 75 < total['normal'] < 165
    assert 10 < total['idle'] < 70


def test_by_weight_what_one_does_not_have_the_others_give(queues):
    urgent, normal, _ = queues
    model.store.queues.purge(urgent)
    sources = [ClaimSource(urgent, weight=1000), ClaimSource(normal, weight=1)]

    assert claim_across(*sources) == ({'normal': 10}, [])


def test_by_weight_limits_hold(queues):
    urgent, normal, _ = queues
    sources = [ClaimSource(urgent, limit=2, weight=1000), ClaimSource(normal, limit=3, weight=1)]

    assert claim_across(*sources) == ({'urgent': 2, 'normal': 3}, [])


def test_what_was_claimed_is_returned_though_a_later_queue_cannot_be_asked(queues, monkeypatch):
    urgent, normal, _ = queues
    model.store.messages.pop(urgent, 96)
    rows = model.store.database.rows

    def fail_for_the_second(statement, parameters, *more):
        given = parameters() if callable(parameters) else parameters
        if given.get('queue_id') == normal.id and 'limit' in given:
            raise StorageUnavailable
        return rows(statement, given, *more)

    claim_across(*map(ClaimSource, queues), limit=1)
    with monkeypatch.context() as broken:
        broken.setattr(model.store.database, 'rows', fail_for_the_second)
        claims, _ = model.store.claims.create_across([*map(ClaimSource, queues)], 60, 60, 10)
        with pytest.raises(StorageUnavailable):
            model.store.claims.create_across([ClaimSource(normal)], 60, 60, 10)

    assert sum(len(claim.messages) for _, claim in claims) >= 3
