"""Claims: made, looked at, renewed, released, lapsed (docs/protocol-v1.md, 6)."""

from collections.abc import Callable
from typing import Any

import pytest

from ..client import CLIENT_ID, NO_CLAIM, OTHER_CLIENT_ID, Api, is_empty, refusal

BODY_REFUSED = (400, 'Invalid request body')
OUT_OF_RANGE = (400, 'Invalid API request')
MOST = 43200
BAD_IDS = (
    'unknown',
    '0',
    NO_CLAIM.upper().replace('1', 'A'),
    NO_CLAIM.replace('-', ''),
    '{' + NO_CLAIM + '}',
    f'urn:uuid:{NO_CLAIM}',
    '51db7067821e727dc24df754',
    '%00',
    '%0A',
    f'{NO_CLAIM}%0A',
    '%F0%9F%9A%80',
    '%FF',
    '%25s',
    '%27%20OR%201=1',
    'a' * 5000,
)


def bodies(messages: list[dict[str, Any]]) -> list[Any]:
    return [message['body'] for message in messages]


# ---------------------------------------------------------------- making one


def test_a_claim_answers_with_its_messages(api: Api, queue: str) -> None:
    [path] = api.post_messages({'event': 'x'}, ttl=300)

    response = api.post(f'{queue}/claims', {'ttl': 100, 'grace': 60})

    assert response.status_int == 201
    location = response.headers['Location']
    claim_id = location.removeprefix(f'{queue}/claims/')
    assert claim_id.replace('-', '').replace('_', '').isalnum()
    [message] = response.json
    assert message.keys() == {'href', 'ttl', 'age', 'body'}
    assert message['href'] == f'{path}?claim_id={claim_id}'
    assert message['ttl'] == 300
    assert message['age'] in (0, 1)
    assert message['body'] == {'event': 'x'}


def test_a_claim_of_an_empty_queue_is_a_204(api: Api, queue: str) -> None:
    response = api.post(f'{queue}/claims', {'ttl': 100, 'grace': 60})

    assert response.status_int == 204
    assert is_empty(response)
    assert 'Location' not in response.headers


def test_a_claim_on_a_missing_queue_is_a_204_and_makes_none(api: Api) -> None:
    response = api.post('/v1/queues/missing/claims', {'ttl': 100, 'grace': 60})

    assert response.status_int == 204
    assert is_empty(response)
    assert 'Location' not in response.headers
    assert api.get('/v1/queues/missing').status_int == 404


def test_a_claim_takes_10_by_default(api: Api, queue: str) -> None:
    api.post_messages(*range(11))

    assert bodies(api.claim().messages) == list(range(10))


@pytest.mark.parametrize('limit', [1, 7, 20])
def test_a_claim_takes_the_limit_at_most(api: Api, queue: str, limit: int) -> None:
    api.post_messages(*range(21))

    assert bodies(api.claim(limit=limit).messages) == list(range(limit))


def test_a_claim_takes_what_is_there(api: Api, queue: str) -> None:
    api.post_messages('a', 'b')

    assert bodies(api.claim(limit=20).messages) == ['a', 'b']


def test_a_limit_in_the_body_has_no_effect(api: Api, queue: str) -> None:
    api.post_messages('a', 'b')

    response = api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60, 'limit': 1, 'x': [None]})

    assert bodies(response.json) == ['a', 'b']


def test_a_claimed_message_is_not_claimed_again(api: Api, queue: str) -> None:
    api.post_messages('a', 'b', 'c')

    first, second = api.claim(limit=2), api.claim()

    assert bodies(first.messages) == ['a', 'b']
    assert bodies(second.messages) == ['c']
    assert api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60}).status_int == 204


@pytest.mark.parametrize('client_id', [None, CLIENT_ID, OTHER_CLIENT_ID])
def test_a_client_claims_messages_of_any_client(
    api: Api, queue: str, client_id: str | None
) -> None:
    api.post_messages('x', client_id=CLIENT_ID)

    response = api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60}, client_id=client_id)

    assert bodies(response.json) == ['x']


def test_the_message_that_was_released_first_is_claimed_first(api: Api, queue: str) -> None:
    api.post_messages('a', 'b', 'c')
    claim_on_a, claim_on_b = api.claim(limit=1), api.claim(limit=1)
    api.delete(claim_on_b.href)
    api.delete(claim_on_a.href)

    assert bodies(api.claim(limit=1).messages) == ['b']
    assert bodies(api.claim(limit=1).messages) == ['a']
    assert bodies(api.claim(limit=1).messages) == ['c']


def test_a_released_message_is_claimed_before_younger_ones(api: Api, queue: str) -> None:
    api.post_messages('a', 'b', 'c')
    api.delete(api.claim(limit=2).href)

    assert bodies(api.claim(limit=3).messages) == ['a', 'b', 'c']


@pytest.mark.parametrize(('ttl', 'grace'), [(60, 60), (MOST, MOST), (60, MOST), (MOST, 60)])
def test_terms_at_the_edge_are_taken(api: Api, queue: str, ttl: int, grace: int) -> None:
    api.post_messages('x', ttl=60)

    claim = api.claim(ttl=ttl, grace=grace)

    assert api.get(claim.href).json['ttl'] == ttl


@pytest.mark.parametrize('value', [59, MOST + 1, 0, -1, 2**31, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize('field', ['ttl', 'grace'])
def test_terms_out_of_range_are_refused(api: Api, queue: str, field: str, value: int) -> None:
    api.post_messages('x')

    response = api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60} | {field: value})

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['claimed'] == 0


@pytest.mark.parametrize(
    'value', ['"60"', '60.0', '6e1', 'null', '[60]', '{}', 'true', '10000000000000000000']
)
@pytest.mark.parametrize('field', ['ttl', 'grace'])
def test_terms_that_are_not_integers_are_refused(
    api: Api, queue: str, field: str, value: str
) -> None:
    other = 'grace' if field == 'ttl' else 'ttl'

    response = api.post(f'{queue}/claims', f'{{"{other}": 60, "{field}": {value}}}')

    assert refusal(response)[0] == 400
    if value != 'true':
        assert refusal(response) == BODY_REFUSED


@pytest.mark.parametrize(
    'document',
    ['{}', '{"ttl": 60}', '{"grace": 60}', '[]', '[{"ttl": 60, "grace": 60}]', '"fail"', '.', '['],
)
def test_the_terms_are_an_object_with_both_fields(api: Api, queue: str, document: str) -> None:
    response = api.post(f'{queue}/claims', document)

    assert refusal(response) == BODY_REFUSED


# ---------------------------------------------------------------- how long messages live


def test_a_claim_keeps_a_message_alive_until_its_grace_is_over(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x', ttl=60)

    claim = api.claim(ttl=100, grace=60)

    assert claim.messages[0]['ttl'] == 160
    assert api.get(path).json['ttl'] == 160
    age(157)
    assert api.exists(path)
    age(4)
    assert not api.exists(path)


def test_a_claim_prolongs_a_message_by_the_time_that_it_has_left(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x', ttl=1000)
    age(700)

    claim = api.claim(ttl=400, grace=60)

    assert claim.messages[0]['ttl'] == 460
    age(457)
    assert api.exists(path)
    age(4)
    assert not api.exists(path)


def test_a_message_that_outlives_the_claim_keeps_its_ttl(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x', ttl=300)

    claim = api.claim(ttl=290, grace=60)

    assert claim.messages[0]['ttl'] == 300
    age(301)
    assert not api.exists(path)


def test_only_messages_that_need_it_live_longer(api: Api, queue: str) -> None:
    api.post_messages('short', ttl=60)
    api.post_messages('long', ttl=1000)

    claim = api.claim(ttl=100, grace=70)

    assert [message['ttl'] for message in claim.messages] == [170, 1000]


@pytest.mark.parametrize('end', ['released', 'expired'])
def test_a_message_keeps_what_a_claim_gave_it(
    api: Api, queue: str, age: Callable[[int], None], end: str
) -> None:
    [path] = api.post_messages('x', ttl=60)
    claim = api.claim(ttl=100, grace=60)
    if end == 'released':
        api.delete(claim.href)
    else:
        age(103)

    assert api.get(path).json['ttl'] == 160
    assert api.listed()[0]['ttl'] == 160


# ---------------------------------------------------------------- looking at one


@pytest.mark.parametrize('query', ['', '?x=1&limit=z'])
def test_a_claim_shows_what_it_holds(api: Api, queue: str, query: str) -> None:
    paths = api.post_messages('a', 'b', ttl=300)
    claim = api.claim(ttl=100, grace=60)

    response = api.get(claim.href + query)

    assert response.status_int == 200
    assert response.headers['Content-Location'] == claim.href + query
    assert response.json.keys() == {'age', 'ttl', 'href', 'messages'}
    assert response.json['href'] == claim.href
    assert response.json['ttl'] == 100
    assert response.json['age'] in (0, 1)
    assert bodies(response.json['messages']) == ['a', 'b']
    for message, path in zip(response.json['messages'], paths, strict=True):
        assert message.keys() == {'href', 'ttl', 'age', 'body'}
        assert message['href'] == f'{path}?claim_id={claim.id}'


def test_a_claim_grows_older(api: Api, queue: str, age: Callable[[int], None]) -> None:
    api.post_messages('x', ttl=300)
    age(10)
    claim = api.claim(ttl=100)
    age(20)

    document = api.get(claim.href).json

    assert document['age'] in (20, 21)
    assert document['ttl'] == 100
    assert document['messages'][0]['age'] in (30, 31)


def test_a_claim_shows_only_what_is_left(api: Api, queue: str) -> None:
    api.post_messages('a', 'b', 'c')
    claim = api.claim()
    api.delete(claim.messages[1]['href'])

    assert bodies(api.get(claim.href).json['messages']) == ['a', 'c']


@pytest.mark.parametrize('how', ['one by one', 'in bulk'])
def test_a_claim_that_holds_no_message_is_a_404(api: Api, queue: str, how: str) -> None:
    paths = api.post_messages('a', 'b')
    claim = api.claim()
    if how == 'in bulk':
        api.delete(f'{queue}/messages?ids={",".join(path.rpartition("/")[2] for path in paths)}')
    else:
        for message in claim.messages:
            api.delete(message['href'])

    assert refusal(api.get(claim.href)) == (404, 'Not found')
    assert refusal(api.patch(claim.href, {'ttl': 60})) == (404, 'Not found')
    assert api.delete(claim.href).status_int == 204


# ---------------------------------------------------------------- renewing one


def test_a_renewed_claim_starts_anew(api: Api, queue: str, age: Callable[[int], None]) -> None:
    api.post_messages('x', ttl=3000)
    claim = api.claim(ttl=60)
    age(50)

    response = api.patch(claim.href, {'ttl': 300})

    assert response.status_int == 204
    assert is_empty(response)
    assert 'Location' not in response.headers
    document = api.get(claim.href).json
    assert document['ttl'] == 300
    assert document['age'] in (0, 1)
    age(297)
    assert api.exists(claim.href)
    assert api.listed() == []
    age(4)
    assert not api.exists(claim.href)
    assert bodies(api.listed()) == ['x']


def test_a_renewed_claim_may_end_earlier(api: Api, queue: str, age: Callable[[int], None]) -> None:
    api.post_messages('x', ttl=3000)
    claim = api.claim(ttl=1000)

    api.patch(claim.href, {'ttl': 60})

    age(61)
    assert not api.exists(claim.href)
    assert bodies(api.listed()) == ['x']


@pytest.mark.parametrize(
    ('terms', 'message_ttl'),
    [({'ttl': 1000}, 1000), ({'ttl': 1000, 'grace': 0}, 1000), ({'ttl': 1000, 'grace': 70}, 1070)],
)
def test_a_renewed_claim_keeps_its_messages_alive(
    api: Api,
    queue: str,
    age: Callable[[int], None],
    terms: dict[str, int],
    message_ttl: int,
) -> None:
    api.post_messages('short', ttl=60)
    api.post_messages('long', ttl=5000)
    claim = api.claim(ttl=60)

    api.patch(claim.href, terms)

    messages = api.get(claim.href).json['messages']
    assert [message['ttl'] for message in messages] == [message_ttl, 5000]
    age(997)
    assert len(api.get(claim.href).json['messages']) == 2


def test_a_renewal_does_not_touch_what_the_claim_no_longer_holds(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    api.post_messages('a', ttl=60)
    [other] = api.post_messages('b', ttl=60)
    claim = api.claim(limit=1, ttl=60)

    api.patch(claim.href, {'ttl': 1000, 'grace': 60})

    assert api.get(other).json['ttl'] == 60
    assert [message['href'] for message in api.listed()] == [other]


@pytest.mark.parametrize('ttl', [60, MOST])
@pytest.mark.parametrize('grace', [0, 1, 60, 99_999_999, 10**9])
def test_new_terms_at_the_edge_are_taken(api: Api, queue: str, ttl: int, grace: int) -> None:
    api.post_messages('x', ttl=60)
    claim = api.claim()

    response = api.patch(claim.href, {'ttl': ttl, 'grace': grace})

    assert response.status_int == 204
    document = api.get(claim.href).json
    assert document['ttl'] == ttl
    assert api.get(claim.held[0]).status_int == 200


@pytest.mark.parametrize('ttl', [59, MOST + 1, 0, -1, 2**63 - 1])
def test_a_new_ttl_out_of_range_is_refused(api: Api, queue: str, ttl: int) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=100)

    response = api.patch(claim.href, {'ttl': ttl})

    assert refusal(response) == OUT_OF_RANGE
    assert api.get(claim.href).json['ttl'] == 100


@pytest.mark.parametrize('grace', [-1, 10**9 + 1, 2**31, 2**63 - 1, -(2**63)])
def test_a_new_grace_out_of_range_is_refused(api: Api, queue: str, grace: int) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=100)

    response = api.patch(claim.href, {'ttl': 60, 'grace': grace})

    assert refusal(response) == OUT_OF_RANGE
    assert api.get(claim.href).json['ttl'] == 100


@pytest.mark.parametrize(
    'document',
    [
        '{}',
        '[]',
        '[',
        '',
        '"x"',
        'null',
        '{"grace": 60}',
        '{"ttl": "60"}',
        '{"ttl": 60.5}',
        '{"ttl": null}',
        '{"ttl": 60, "grace": "x"}',
        '{"ttl": 60, "grace": 1.5}',
        '{"ttl": 60, "grace": null}',
        '{"ttl": 10000000000000000000}',
        '[{"ttl": 60}]',
    ],
)
def test_new_terms_are_an_object_with_a_ttl(api: Api, queue: str, document: str) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=100)

    response = api.patch(claim.href, document)

    assert refusal(response) == BODY_REFUSED
    assert api.get(claim.href).json['ttl'] == 100


def test_a_renewal_ignores_unknown_members(api: Api, queue: str) -> None:
    api.post_messages('x')
    claim = api.claim()

    response = api.patch(claim.href, {'ttl': 60, 'limit': 'x', 'messages': None})

    assert response.status_int == 204


# ---------------------------------------------------------------- releasing one


def test_messages_of_a_released_claim_are_ready_at_once(api: Api, queue: str) -> None:
    paths = api.post_messages('a', 'b')
    claim = api.claim()

    response = api.delete(claim.href)

    assert response.status_int == 204
    assert is_empty(response)
    assert api.get(claim.href).status_int == 404
    assert [message['href'] for message in api.listed()] == paths
    assert api.claim().held == paths


def test_a_claim_may_be_released_again(api: Api, queue: str) -> None:
    api.post_messages('x')
    claim = api.claim()

    assert [api.delete(claim.href).status_int for _ in range(2)] == [204, 204]


def test_a_release_of_a_lapsed_claim_does_not_change_the_next_claim(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    api.post_messages('x')
    former = api.claim(ttl=60)
    age(63)
    holder = api.claim()

    assert api.delete(former.href).status_int == 204
    assert api.exists(holder.href)
    assert api.listed() == []


# ---------------------------------------------------------------- what is no claim


@pytest.mark.parametrize('identity', [*BAD_IDS, NO_CLAIM])
def test_an_unknown_claim_is_a_404_except_to_release(api: Api, queue: str, identity: str) -> None:
    path = f'{queue}/claims/{identity}'

    assert refusal(api.get(path)) == (404, 'Not found')
    assert refusal(api.patch(path, {'ttl': 60})) == (404, 'Not found')
    assert api.delete(path).status_int == 204


def test_a_missing_queue_has_no_claims(api: Api) -> None:
    path = f'/v1/queues/missing/claims/{NO_CLAIM}'

    assert refusal(api.get(path)) == (404, 'Not found')
    assert refusal(api.patch(path, {'ttl': 60})) == (404, 'Not found')
    assert api.delete(path).status_int == 204


def test_a_lapsed_claim_is_a_404(api: Api, queue: str, age: Callable[[int], None]) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=60)
    age(57)
    assert api.exists(claim.href)
    assert api.listed() == []
    age(4)

    assert refusal(api.get(claim.href)) == (404, 'Not found')
    assert refusal(api.patch(claim.href, {'ttl': 60})) == (404, 'Not found')
    assert api.delete(claim.href).status_int == 204
    assert bodies(api.listed()) == ['x']
    assert bodies(api.claim().messages) == ['x']


def test_messages_of_the_claim_that_lapsed_first_are_claimed_first(
    api: Api, queue: str, age: Callable[[int], None]
) -> None:
    api.post_messages('a', 'b', 'c', ttl=3000)
    api.claim(limit=1, ttl=200)
    api.claim(limit=1, ttl=100)
    age(201)

    assert bodies(api.claim(limit=1).messages) == ['b']
    assert bodies(api.claim(limit=2).messages) == ['a', 'c']
