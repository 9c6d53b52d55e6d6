"""Emptying a queue (docs/protocol-v2.md, 5.7)."""

from collections.abc import Callable
from typing import Any

import pytest

from ..client import LaterApi, bodies, is_empty, refusal

ALL = 'echo=true&include_delayed=true&include_claimed=true'
EMPTYING = pytest.mark.parametrize(
    'body',
    [
        None,
        '',
        {'resource_types': ['messages']},
        {'resource_types': ['messages', 'subscriptions']},
        {'resource_types': ['subscriptions', 'messages']},
    ],
    ids=['no-body', 'no-bytes', 'messages', 'both', 'both-reversed'],
)


@EMPTYING
def test_a_purge_deletes_all_messages(api: LaterApi, body: Any) -> None:
    paths = api.post_messages('a', 'b')

    response = api.post(f'{api.queue}/purge', body)

    assert response.status_int == 204
    assert is_empty(response)
    assert api.stats() == {'free': 0, 'claimed': 0, 'total': 0, 'parked': 0}
    assert api.listed(ALL) == []
    assert [api.get(path).status_int for path in paths] == [404, 404]
    assert api.post(f'{api.queue}/claims').status_int == 204
    assert api.popped() == []


@EMPTYING
def test_a_purge_of_a_missing_queue_does_nothing(api: LaterApi, body: Any) -> None:
    response = api.post(f'{api.queue}/purge', body)

    assert response.status_int == 204
    assert api.queue_names() == []


def test_a_purge_of_subscriptions_keeps_the_messages(api: LaterApi) -> None:
    api.post_messages('kept')

    response = api.post(f'{api.queue}/purge', {'resource_types': ['subscriptions']})

    assert response.status_int == 204
    assert bodies(api.listed()) == ['kept']


@pytest.mark.parametrize(
    'body',
    [
        '{}',
        '[]',
        '[',
        '.',
        '"messages"',
        '1',
        '["messages"]',
        '{"resource_types": ["queues"]}',
        '{"resource_types": ["messages", "queues"]}',
        '{"resource_types": ["Messages"]}',
        '{"resource_types": [1]}',
        '{"resource_types": [null]}',
        '{"resource_types": "messages"}',
        '{"resource_types": {"messages": true}}',
        '{"resources": ["messages"]}',
    ],
)
def test_what_a_purge_does_not_understand_it_refuses(api: LaterApi, body: str) -> None:
    api.post_messages('kept')

    response = api.post(f'{api.queue}/purge', body)

    assert refusal(response)[0] == 400
    assert bodies(api.listed()) == ['kept']


def test_what_is_claimed_survives_a_purge(api: LaterApi) -> None:
    held, _ = api.post_messages('held', 'free')
    claim = api.claim(limit=1)

    api.post(f'{api.queue}/purge')

    stats = api.stats()
    assert (stats['free'], stats['claimed'], stats['total']) == (0, 1, 1)
    assert stats['oldest']['href'] == stats['newest']['href'] == held
    assert bodies(api.get(claim.href).json['messages']) == ['held']
    assert api.patch(claim.href, {}).status_int == 204
    assert bodies(api.listed(ALL)) == ['held']
    api.delete(claim.href)
    assert bodies(api.listed()) == ['held']
    assert bodies(api.claim().messages) == ['held']


def test_what_survived_is_deleted_by_its_holder(api: LaterApi) -> None:
    api.post_messages('held', 'free')
    claim = api.claim(limit=1)
    api.post(f'{api.queue}/purge')

    assert api.delete(claim.messages[0]['href']).status_int == 204
    assert api.stats()['total'] == 0


def test_what_survived_is_purged_when_its_claim_has_lapsed(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('held')
    api.claim(ttl=60)
    api.post(f'{api.queue}/purge')
    age(61)

    api.post(f'{api.queue}/purge')

    assert api.stats()['total'] == 0


def test_claimed_messages_survive_between_those_that_do_not(api: LaterApi) -> None:
    api.post_messages(*range(6))
    claims = [api.claim(limit=1) for _ in range(6)]
    for claim in claims[::2]:
        api.delete(claim.href)

    api.post(f'{api.queue}/purge')

    assert bodies(api.listed(ALL)) == [1, 3, 5]


def test_delayed_messages_do_not_survive_a_purge(api: LaterApi, age: Callable[[int], None]) -> None:
    api.post_messages('later', delay=100)

    api.post(f'{api.queue}/purge')

    assert api.stats()['total'] == 0
    age(101)
    assert api.listed(ALL) == []


def test_returned_messages_do_not_survive_a_purge(api: LaterApi) -> None:
    api.post_messages('returned', 'fresh')
    api.delete(api.claim(limit=1).href)

    api.post(f'{api.queue}/purge')

    assert api.stats()['total'] == 0


def test_a_purge_is_not_a_page(api: LaterApi) -> None:
    api.post_messages(*range(250))

    api.post(f'{api.queue}/purge')

    assert api.stats()['total'] == 0


def test_a_purged_queue_works_as_before(api: LaterApi) -> None:
    api.make_queue(metadata={'a': 1, '_default_message_ttl': 90})
    api.post_messages('old')

    api.post(f'{api.queue}/purge')
    [path] = api.post_messages('new', ttl=None)

    assert api.get(api.queue).json['a'] == 1
    assert api.get(path).json['ttl'] == 90
    assert bodies(api.listed()) == ['new']
    assert bodies(api.claim().messages) == ['new']


def test_a_marker_outlives_a_purge(api: LaterApi) -> None:
    *_, last = api.post_messages('a', 'b')
    page = api.get(f'{api.queue}/messages?echo=true')

    api.post(f'{api.queue}/purge')
    api.post_messages('c')

    assert bodies(api.get(page.json['links'][0]['href']).json['messages']) == ['c']
    marker = last.rpartition('/')[2]
    assert bodies(api.listed(f'echo=true&marker={marker}')) == ['c']


def test_a_purge_touches_no_other_queue(api: LaterApi) -> None:
    api.post_messages('purged')
    api.post_messages('of another', queue=f'{api.version}/queues/other')
    api.post_messages('of a neighbour', project='neighbour')

    api.post(f'{api.queue}/purge')

    assert api.listed() == []
    assert bodies(api.listed(queue=f'{api.version}/queues/other')) == ['of another']
    assert bodies(api.listed(project='neighbour')) == ['of a neighbour']
