"""Dead letters as a client of version 2 meets them (docs/protocol-v2.md, 7.2)."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ..client import JSON_PATCH, LaterApi

LIMITED = {'_max_claim_count': 2, '_dead_letter_queue': 'dead'}


def refusal(response: Any) -> tuple[int, str]:
    return response.status_int, response.json['description']


@pytest.fixture
def dead(api: LaterApi) -> str:
    """The path of the dead-letter queue of the queue `jobs`, which hands out twice."""
    assert api.put('/v2/queues/dead').status_int == 201
    assert api.put(api.queue, LIMITED).status_int == 201
    return '/v2/queues/dead'


def use_up(api: LaterApi, age: Callable[[int], None]) -> None:
    """Claim twice, and let the claims lapse."""
    for _ in range(2):
        api.claim(ttl=60)
        age(61)


def test_the_third_claim_gets_nothing_and_the_message_is_in_the_dead_letter_queue(
    api: LaterApi, dead: str, age: Callable[[int], None]
) -> None:
    [posted] = api.post_messages({'a': 1}, ttl=1000)
    use_up(api, age)

    assert api.post(f'{api.queue}/claims').status_int == 204

    [moved] = api.get(f'{dead}/messages?echo=true').json['messages']
    assert moved == {
        'id': posted.rpartition('/')[2],
        'href': posted.replace('jobs', 'dead'),
        'ttl': 1000,
        'age': moved['age'],
        'body': {'a': 1},
    }
    assert moved['age'] >= 122
    assert api.get(posted).status_int == 404


def test_a_claim_through_version_1_counts_and_moves_too(
    api: LaterApi, dead: str, age: Callable[[int], None]
) -> None:
    api.post_messages('x', ttl=1000)
    use_up(api, age)

    claimed = api.post('/v1/queues/jobs/claims', {'ttl': 60, 'grace': 60})

    assert claimed.status_int == 204
    assert len(api.get(f'{dead}/messages?echo=true').json['messages']) == 1


def test_without_a_dead_letter_queue_the_message_is_parked_counted_and_readable(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.put(api.queue, {'_max_claim_count': 2})
    [posted] = api.post_messages('x', ttl=1000)
    use_up(api, age)

    assert api.post(f'{api.queue}/claims').status_int == 204

    counts = {name: api.stats()[name] for name in ('free', 'claimed', 'parked', 'total')}
    assert counts == {'free': 0, 'claimed': 0, 'parked': 1, 'total': 1}
    assert api.get(posted).status_int == 200
    assert api.listed('echo=true') == []
    assert api.delete(posted).status_int == 204
    assert api.stats()['parked'] == 0


@pytest.mark.parametrize('limit', [2**31, 2**63 - 1, 10**30])
def test_a_stored_limit_beyond_what_can_be_counted_is_as_good_as_none(
    api: LaterApi, sql: Any, limit: int
) -> None:
    api.make_queue()
    sql('UPDATE queues SET metadata = %s', f'{{"_max_claim_count": {limit}}}')
    api.post_messages('x')

    assert len(api.claim().messages) == 1


@pytest.mark.parametrize('limit', [0, -1, None])
def test_a_limit_that_is_not_positive_is_none(
    api: LaterApi, age: Callable[[int], None], limit: int | None
) -> None:
    api.put(api.queue, {'_max_claim_count': limit, '_dead_letter_queue': 'dead'})
    api.post_messages('x', ttl=1000)
    use_up(api, age)

    assert len(api.claim(ttl=60).messages) == 1


def test_a_queue_cannot_be_its_own_dead_letter_queue(api: LaterApi) -> None:
    response = api.put(api.queue, {'_dead_letter_queue': 'jobs'})

    assert refusal(response) == (
        400,
        '_dead_letter_queue would lead in a circle, or too far: jobs -> jobs. Name another queue.',
    )
    assert api.queue_names() == []


def test_a_patch_that_would_close_a_circle_changes_nothing(api: LaterApi, dead: str) -> None:
    patch = [
        {'op': 'add', 'path': '/metadata/purpose', 'value': 'x'},
        {'op': 'add', 'path': '/metadata/_dead_letter_queue', 'value': 'jobs'},
    ]

    response = api.patch(dead, json.dumps(patch), headers={'Content-Type': JSON_PATCH})

    assert refusal(response)[0] == 400
    assert 'dead -> jobs -> dead' in refusal(response)[1]
    metadata = api.get(dead).json
    assert 'purpose' not in metadata
    assert metadata['_dead_letter_queue'] is None
