"""Claims: made, looked at, renewed, released, lapsed.

See docs/protocol-v2.md, 7; docs/protocol-v1.md, 6.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ..client import CLIENT_ID, OTHER_CLIENT_ID, Claim, LaterApi, bodies, id_of, is_empty, refusal
from ..v1.test_claims import BAD_IDS, MOST
from .requests import LATER_VERSIONS

BODY_REFUSED = (400, 'Invalid request body')
OUT_OF_RANGE = (400, 'Invalid API request')
NO_TERMS = ('{}', '{"ttl": null}', '{"grace": null}', '{"ttl": null, "grace": null}')

pytestmark = pytest.mark.parametrize('version', LATER_VERSIONS)


def claimed_by(api: LaterApi, body: Any) -> Claim:
    """A claim made with that body."""
    response = api.post(f'{api.queue}/claims', body)
    assert response.status_int == 201, response.text
    return Claim(response.headers['Location'], response.json['messages'])


# ---------------------------------------------------------------- making one


def test_a_claim_answers_with_its_messages(api: LaterApi) -> None:
    [path] = api.post_messages({'event': 'x'}, ttl=300)

    response = api.post(f'{api.queue}/claims', {'ttl': 100, 'grace': 60})

    assert response.status_int == 201
    assert response.json.keys() == {'messages'}
    location = response.headers['Location']
    claim_id = location.removeprefix(f'{api.queue}/claims/')
    assert claim_id.replace('-', '').replace('_', '').isalnum()
    [message] = response.json['messages']
    assert message.keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert message['id'] == id_of(path)
    assert message['href'] == f'{path}?claim_id={claim_id}'
    assert message['ttl'] == 300
    assert message['age'] in (0, 1)
    assert message['body'] == {'event': 'x'}


@pytest.mark.parametrize('existing', [True, False], ids=['existing', 'missing'])
def test_nothing_to_claim_is_a_204(api: LaterApi, existing: bool) -> None:
    if existing:
        api.make_queue()

    response = api.post(f'{api.queue}/claims', {'ttl': 100, 'grace': 60})

    assert response.status_int == 204
    assert is_empty(response)
    assert 'Location' not in response.headers
    assert api.queue_names() == ['jobs'] * existing


@pytest.mark.parametrize('body', [None, '', *NO_TERMS, '{"x": 1}'])
def test_a_claim_without_terms_is_for_5_minutes_and_a_minute_of_grace(
    api: LaterApi, age: Callable[[int], None], body: str | None
) -> None:
    api.post_messages('x', ttl=60)

    claim = claimed_by(api, body)

    assert claim.messages[0]['ttl'] == 360
    assert api.get(claim.href).json['ttl'] == 300
    age(297)
    assert api.exists(claim.href)
    age(4)
    assert not api.exists(claim.href)


@pytest.mark.parametrize(
    ('body', 'ttl', 'message_ttl'),
    [
        ({'ttl': 100}, 100, 160),
        ({'grace': 100}, 300, 400),
        ({'ttl': 100, 'grace': None}, 100, 160),
        ({'ttl': None, 'grace': 100}, 300, 400),
        ({'ttl': 100, 'grace': 200}, 100, 300),
    ],
)
def test_each_of_the_terms_may_be_left_out(
    api: LaterApi, body: Any, ttl: int, message_ttl: int
) -> None:
    api.post_messages('x', ttl=60)

    claim = claimed_by(api, body)

    assert claim.messages[0]['ttl'] == message_ttl
    assert api.get(claim.href).json['ttl'] == ttl


@pytest.mark.parametrize(('ttl', 'grace'), [(60, 60), (MOST, MOST), (60, MOST), (MOST, 60)])
def test_terms_at_the_edge_are_taken(api: LaterApi, ttl: int, grace: int) -> None:
    api.post_messages('x', ttl=60)

    claim = api.claim(ttl=ttl, grace=grace)

    assert api.get(claim.href).json['ttl'] == ttl
    assert claim.messages[0]['ttl'] == ttl + grace


@pytest.mark.parametrize(
    ('ttl', 'grace'),
    [(59, 60), (60, 59), (60, MOST + 1), (MOST + 1, 60), (0, 60), (60, 0), (-1, 60), (60, -1)],
)
def test_terms_out_of_range_are_refused(api: LaterApi, ttl: int, grace: int) -> None:
    api.post_messages('x')

    response = api.post(f'{api.queue}/claims', {'ttl': ttl, 'grace': grace})

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['claimed'] == 0


@pytest.mark.parametrize('value', ['"60"', '60.5', '6e1', '[60]', '{}', 'true', '10' * 10])
@pytest.mark.parametrize('field', ['ttl', 'grace'])
def test_terms_that_are_no_integers_are_refused(api: LaterApi, field: str, value: str) -> None:
    api.post_messages('x')

    response = api.post(f'{api.queue}/claims', f'{{"{field}": {value}}}')

    assert refusal(response)[0] == 400
    assert api.stats()['claimed'] == 0


@pytest.mark.parametrize(
    'document', ['[', '[]', '.', '"fail"', '"x"', '1', '[{"ttl": 60, "grace": 60}]', '{', b'\xff']
)
def test_terms_are_an_object(api: LaterApi, document: str | bytes) -> None:
    api.post_messages('x')

    response = api.post(f'{api.queue}/claims', document)

    assert refusal(response) == BODY_REFUSED
    assert api.stats()['claimed'] == 0


def test_bad_terms_are_refused_for_a_missing_queue_too(api: LaterApi) -> None:
    assert refusal(api.post(f'{api.queue}/claims', '[]')) == BODY_REFUSED


@pytest.mark.parametrize(('query', 'count'), [('', 10), ('?limit=1', 1), ('?limit=20', 20)])
def test_a_claim_takes_10_and_at_most_20(api: LaterApi, query: str, count: int) -> None:
    api.post_messages(*range(21))

    response = api.post(f'{api.queue}/claims{query}')

    assert bodies(response.json['messages']) == list(range(count))


@pytest.mark.parametrize(
    ('query', 'title'),
    [
        ('limit=0', 'Invalid API request'),
        ('limit=21', 'Invalid API request'),
        ('limit=-1', 'Invalid API request'),
        ('limit=x', 'Invalid parameter'),
        ('limit=1.5', 'Invalid parameter'),
    ],
)
def test_a_claim_that_no_one_gets(api: LaterApi, query: str, title: str) -> None:
    api.post_messages('x')

    response = api.post(f'{api.queue}/claims?{query}')

    assert refusal(response) == (400, title)
    assert api.stats()['claimed'] == 0


@pytest.mark.parametrize('extra', [{'limit': 1}, {'limit': None}, {'id': 'x', 'messages': [None]}])
def test_other_members_have_no_effect(api: LaterApi, extra: dict[str, Any]) -> None:
    api.post_messages('a', 'b')

    claim = claimed_by(api, {'ttl': 60, 'grace': 60, **extra})

    assert bodies(claim.messages) == ['a', 'b']


def test_what_is_claimed_is_not_claimed_again(api: LaterApi) -> None:
    api.post_messages('a', 'b', 'c')

    first, second = api.claim(limit=2), api.claim()

    assert bodies(first.messages) == ['a', 'b']
    assert bodies(second.messages) == ['c']
    assert api.post(f'{api.queue}/claims').status_int == 204


@pytest.mark.parametrize('client_id', [CLIENT_ID, OTHER_CLIENT_ID], ids=['poster', 'other'])
def test_anyone_claims_anything(api: LaterApi, client_id: str) -> None:
    api.post_messages('x', client_id=CLIENT_ID)

    response = api.post(f'{api.queue}/claims', client_id=client_id)

    assert bodies(response.json['messages']) == ['x']


def test_a_released_message_is_claimed_before_younger_ones(api: LaterApi) -> None:
    api.post_messages('a', 'b', 'c')
    api.delete(api.claim(limit=2).href)

    assert bodies(api.claim(limit=3).messages) == ['a', 'b', 'c']


def test_a_message_that_outlives_the_claim_keeps_its_ttl(api: LaterApi) -> None:
    [path] = api.post_messages('x', ttl=300)

    claim = api.claim(ttl=290, grace=60)

    assert claim.messages[0]['ttl'] == 300
    assert api.get(path).json['ttl'] == 300


def test_a_claim_keeps_a_message_alive_until_its_grace_is_over(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x', ttl=60)
    api.claim(ttl=100, grace=60)

    age(157)
    assert api.exists(path)
    age(4)
    assert not api.exists(path)


# ---------------------------------------------------------------- looking at one


def test_a_claim_shows_what_it_holds(api: LaterApi, age: Callable[[int], None]) -> None:
    paths = api.post_messages('a', 'b', ttl=300)
    claim = api.claim(ttl=100, grace=60)
    age(20)

    response = api.get(claim.href)

    assert response.status_int == 200
    document = response.json
    assert document.keys() == {'age', 'ttl', 'href', 'messages'}
    assert document['age'] in (20, 21)
    assert document['ttl'] == 100
    assert document['href'] == claim.href
    assert [message.keys() for message in document['messages']] == [
        {'id', 'href', 'ttl', 'age', 'body'}
    ] * 2
    assert [message['href'] for message in document['messages']] == [
        f'{path}?claim_id={claim.id}' for path in paths
    ]
    assert bodies(document['messages']) == ['a', 'b']


def test_a_claim_shows_what_is_left_of_it(api: LaterApi) -> None:
    api.post_messages('a', 'b')
    claim = api.claim()
    api.delete(claim.messages[0]['href'])

    assert bodies(api.get(claim.href).json['messages']) == ['b']


def test_a_claim_of_which_nothing_is_left_is_a_404(api: LaterApi) -> None:
    api.post_messages('a')
    claim = api.claim()
    api.delete(claim.messages[0]['href'])

    assert refusal(api.get(claim.href)) == (404, 'Not found')


@pytest.mark.parametrize('identity', BAD_IDS)
def test_an_unknown_claim_is_not_found(api: LaterApi, identity: str) -> None:
    api.make_queue()
    path = f'{api.queue}/claims/{identity}'

    assert refusal(api.get(path)) == (404, 'Not found')
    assert refusal(api.patch(path, {'ttl': 60})) == (404, 'Not found')
    assert api.delete(path).status_int == 204


def test_a_claim_of_a_missing_queue_is_not_found(api: LaterApi) -> None:
    path = f'{api.queue}/claims/{BAD_IDS[2]}'

    assert refusal(api.get(path)) == (404, 'Not found')
    assert refusal(api.patch(path, {})) == (404, 'Not found')
    assert api.delete(path).status_int == 204
    assert api.queue_names() == []


def test_a_claim_of_another_queue_is_not_found(api: LaterApi) -> None:
    api.post_messages('x')
    claim = api.claim()
    path = f'{api.make_queue("other")}/claims/{claim.id}'

    assert api.get(path).status_int == 404
    assert api.patch(path, {}).status_int == 404
    assert api.delete(path).status_int == 204
    assert api.exists(claim.href)


# ---------------------------------------------------------------- renewing one


def test_a_renewal_starts_the_claim_anew(api: LaterApi, age: Callable[[int], None]) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=100)
    age(90)

    response = api.patch(claim.href, {'ttl': 200, 'grace': 60})

    assert response.status_int == 204
    assert is_empty(response)
    assert 'Location' not in response.headers
    document = api.get(claim.href).json
    assert document['ttl'] == 200
    assert document['age'] in (0, 1)
    age(190)
    assert api.exists(claim.href)


@pytest.mark.parametrize('body', [*NO_TERMS, '{"x": 1}'])
def test_a_renewal_without_terms_is_for_5_minutes_and_a_minute_of_grace(
    api: LaterApi, body: str
) -> None:
    [path] = api.post_messages('x', ttl=60)
    claim = api.claim(ttl=60, grace=60)

    response = api.patch(claim.href, body)

    assert response.status_int == 204
    assert api.get(claim.href).json['ttl'] == 300
    assert api.get(path).json['ttl'] == 360


@pytest.mark.parametrize(
    ('body', 'ttl', 'message_ttl'),
    [
        ({'ttl': 1000}, 1000, 1060),
        ({'ttl': 1000, 'grace': None}, 1000, 1060),
        ({'grace': 100}, 300, 400),
        ({'ttl': None, 'grace': 100}, 300, 400),
        ({'ttl': 1000, 'grace': 0}, 1000, 1000),
        ({'ttl': 1000, 'grace': 1}, 1000, 1001),
        ({'ttl': 1000, 'grace': 43201}, 1000, 44201),
    ],
)
def test_new_terms_of_a_claim(api: LaterApi, body: Any, ttl: int, message_ttl: int) -> None:
    [path] = api.post_messages('x', ttl=60)
    claim = api.claim(ttl=60, grace=60)

    response = api.patch(claim.href, body)

    assert response.status_int == 204
    assert api.get(claim.href).json['ttl'] == ttl
    assert api.get(path).json['ttl'] == message_ttl


@pytest.mark.parametrize('grace', [0, 1, 59, MOST + 1, 99_999_999])
def test_a_new_grace_has_no_narrow_range(api: LaterApi, grace: int) -> None:
    api.post_messages('x')
    claim = api.claim()

    assert api.patch(claim.href, {'ttl': 60, 'grace': grace}).status_int == 204


@pytest.mark.parametrize('ttl', [59, MOST + 1, 0, -1, 2**63 - 1])
def test_a_new_ttl_out_of_range_is_refused(api: LaterApi, ttl: int) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=100)

    assert refusal(api.patch(claim.href, {'ttl': ttl})) == OUT_OF_RANGE
    assert api.get(claim.href).json['ttl'] == 100


@pytest.mark.parametrize(
    'document',
    [
        None,
        '',
        '[',
        '[]',
        '.',
        '"fail"',
        '1',
        '[{"ttl": 60}]',
        '{"ttl": "60"}',
        '{"ttl": 60.5}',
        '{"ttl": 60, "grace": "x"}',
        '{"ttl": 60, "grace": 1.5}',
        '{"ttl": 10000000000000000000}',
    ],
)
def test_new_terms_are_an_object_of_integers(api: LaterApi, document: str | None) -> None:
    api.post_messages('x')
    claim = api.claim(ttl=100)

    assert refusal(api.patch(claim.href, document)) == BODY_REFUSED
    assert api.get(claim.href).json['ttl'] == 100


def test_a_renewal_ignores_other_members(api: LaterApi) -> None:
    api.post_messages('x')
    claim = api.claim()

    response = api.patch(claim.href, {'ttl': 70, 'id': claim.id, 'limit': 'x', 'messages': None})

    assert response.status_int == 204
    assert api.get(claim.href).json['ttl'] == 70


# ---------------------------------------------------------------- its end


def test_a_released_claim_gives_its_messages_back_at_once(api: LaterApi) -> None:
    paths = api.post_messages('a', 'b')
    claim = api.claim()

    response = api.delete(claim.href)

    assert response.status_int == 204
    assert is_empty(response)
    assert refusal(api.get(claim.href)) == (404, 'Not found')
    assert refusal(api.patch(claim.href, {})) == (404, 'Not found')
    assert api.delete(claim.href).status_int == 204
    assert [message['href'] for message in api.listed()] == paths
    assert api.claim().held == paths


def test_a_claim_that_lapses_gives_its_messages_back(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    paths = api.post_messages('a', 'b')
    claim = api.claim(ttl=60)
    age(61)

    assert refusal(api.get(claim.href)) == (404, 'Not found')
    assert refusal(api.patch(claim.href, {})) == (404, 'Not found')
    assert [message['href'] for message in api.listed()] == paths
    assert api.claim().held == paths
    assert api.delete(claim.href).status_int == 204
    assert api.stats()['claimed'] == 2


def test_a_message_keeps_what_a_claim_gave_it(api: LaterApi) -> None:
    [path] = api.post_messages('x', ttl=60)

    api.delete(api.claim(ttl=100, grace=60).href)

    assert api.get(path).json['ttl'] == 160
