"""Messages that are posted now and due later (docs/protocol-v2.md, 2.2, 6.1, 6.3, 7.1).

Our own: ``delay`` is honoured on every queue, and no link gains ``include_delayed`` by itself.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from webtest import TestResponse

from ..client import CLIENT_ID, OTHER_CLIENT_ID, LaterApi, bodies, id_of, next_of, refusal

OUT_OF_RANGE = (400, 'Invalid API request')
ALL = 'echo=true&include_delayed=true&include_claimed=true'


def post(api: LaterApi, **message: Any) -> TestResponse:
    """Post one message."""
    return api.post(f'{api.queue}/messages', {'messages': [{'body': 'x', **message}]})


def is_due(api: LaterApi) -> bool:
    """Whether there is something to list, and to claim; released again, if so."""
    listed = bool(api.listed())
    response = api.post(f'{api.queue}/claims')
    assert response.status_int == (201 if listed else 204)
    if listed:
        api.delete(response.headers['Location'])
    return listed


# ---------------------------------------------------------------- before and after its time


def test_a_delayed_message_is_neither_listed_nor_claimed_before_its_time(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('x', delay=100)

    assert not is_due(api)
    age(97)
    assert not is_due(api)
    age(4)
    assert is_due(api)
    assert bodies(api.claim().messages) == ['x']


def test_a_delayed_message_is_not_popped_before_its_time(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('x', delay=100)

    assert api.popped() == []
    age(101)
    assert bodies(api.popped()) == ['x']


def test_a_delay_keeps_no_other_message_back(api: LaterApi) -> None:
    api.post_messages('later', delay=100)
    api.post_messages('now')

    assert bodies(api.listed()) == ['now']
    assert bodies(api.claim(limit=20).messages) == ['now']


def test_many_delayed_messages_keep_no_other_back(api: LaterApi) -> None:
    api.post_messages(*range(100), delay=100)
    api.post_messages('now')

    assert bodies(api.listed('echo=true&limit=1')) == ['now']
    assert bodies(api.claim(limit=1).messages) == ['now']


def test_each_message_of_a_post_has_its_own_delay(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    messages = [{'body': delay, 'delay': delay} for delay in (0, 200, 100)]
    api.post(f'{api.queue}/messages', {'messages': messages})

    assert bodies(api.listed()) == [0]
    age(101)
    assert bodies(api.listed()) == [0, 100]
    age(100)
    assert bodies(api.listed()) == [0, 200, 100]


def test_a_message_that_is_due_is_like_any_other(api: LaterApi, age: Callable[[int], None]) -> None:
    [path] = api.post_messages('x', ttl=300, delay=100)
    age(101)

    [listed] = api.listed()
    claim = api.claim(ttl=60)

    assert listed.keys() == {'id', 'href', 'ttl', 'age', 'body'}
    assert listed['href'] == path
    assert listed['ttl'] == 300
    assert listed['age'] in (101, 102)
    assert claim.held == [path]
    age(61)
    assert bodies(api.listed()) == ['x']
    api.delete(api.claim().messages[0]['href'])
    assert api.stats()['total'] == 0


def test_a_delayed_message_lives_from_its_posting(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    [path] = api.post_messages('x', ttl=120, delay=100)

    age(117)
    assert bodies(api.listed()) == ['x']
    age(4)
    assert not api.exists(path)


def test_a_reader_meets_due_messages_in_the_order_posted(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('a', delay=100)
    api.post_messages('b')
    api.post_messages('c', delay=50)
    age(101)

    assert bodies(api.listed()) == ['a', 'b', 'c']


# ---------------------------------------------------------------- looking at what is delayed


@pytest.mark.parametrize('spelling', ['true', 'True', '1'])
def test_delayed_messages_are_listed_on_request(api: LaterApi, spelling: str) -> None:
    later, now = [*api.post_messages('later', delay=100), *api.post_messages('now')]

    shown = api.listed(f'echo=true&include_delayed={spelling}')

    assert [message['href'] for message in shown] == [later, now]
    assert shown[0].keys() == {'id', 'href', 'ttl', 'age', 'body'}


@pytest.mark.parametrize('query', ['', '&include_delayed=false', '&include_delayed='])
def test_delayed_messages_are_not_listed_unasked(api: LaterApi, query: str) -> None:
    api.post_messages('later', delay=100)

    assert api.listed(f'echo=true{query}') == []


def test_delayed_is_not_claimed_and_claimed_is_not_delayed(api: LaterApi) -> None:
    api.post_messages('claimed')
    api.claim()
    api.post_messages('delayed', delay=100)

    assert bodies(api.listed('echo=true&include_delayed=true')) == ['delayed']
    assert bodies(api.listed('echo=true&include_claimed=true')) == ['claimed']
    assert bodies(api.listed(ALL)) == ['claimed', 'delayed']


def test_echo_hides_delayed_messages_too(api: LaterApi) -> None:
    api.post_messages('x', delay=100, client_id=CLIENT_ID)

    assert api.listed('include_delayed=true', client_id=CLIENT_ID) == []
    assert bodies(api.listed('include_delayed=true', client_id=OTHER_CLIENT_ID)) == ['x']


@pytest.mark.parametrize(
    ('query', 'repeated'),
    [
        ('', {}),
        ('&include_delayed=True', {'include_delayed': ['true']}),
        ('&include_delayed=no', {'include_delayed': ['false']}),
    ],
)
@pytest.mark.parametrize('default', [None, 60], ids=['plain-queue', 'delaying-queue'])
def test_next_repeats_include_delayed_if_it_was_sent(
    api: LaterApi, default: int | None, query: str, repeated: dict[str, list[str]]
) -> None:
    api.make_queue(metadata={'_default_message_delay': default})
    api.post_messages('now', delay=0)

    target = next_of(api.get(f'{api.queue}/messages?echo=true{query}'))

    asked = parse_qs(urlsplit(target).query)
    del asked['marker']
    assert asked == {'echo': ['true'], **repeated}


def test_pages_of_delayed_messages_follow_each_other(api: LaterApi) -> None:
    api.post_messages(*range(5), delay=100)
    target, met = f'{api.queue}/messages?limit=2&{ALL}', []

    while (response := api.get(target)).json['messages']:
        met.append(bodies(response.json['messages']))
        target = next_of(response)

    assert met == [[0, 1], [2, 3], [4]]


def test_whether_to_include_delayed_is_a_truth_value(api: LaterApi) -> None:
    response = api.get(f'{api.queue}/messages?include_delayed=maybe')

    assert refusal(response) == (400, 'Invalid parameter')


def test_delayed_messages_count_as_free(api: LaterApi) -> None:
    api.post_messages('now', 'claimed')
    api.claim(limit=1)
    [newest] = api.post_messages('later', delay=100)

    stats = api.stats()

    assert (stats['free'], stats['claimed'], stats['total']) == (2, 1, 3)
    assert stats['newest']['href'] == newest


def test_a_delayed_message_can_be_deleted(api: LaterApi) -> None:
    one, another = api.post_messages('a', 'b', delay=100)

    statuses = [
        api.delete(one).status_int,
        api.delete(f'{api.queue}/messages?ids={id_of(another)}').status_int,
    ]

    assert statuses == [204, 204]
    assert api.listed(ALL) == []


# ---------------------------------------------------------------- how long


@pytest.mark.parametrize('delay', [0, 1, 900])
def test_a_delay_at_the_edge_is_taken(
    api: LaterApi, age: Callable[[int], None], delay: int
) -> None:
    assert post(api, delay=delay).status_int == 201
    assert is_due(api) == (delay == 0)
    age(delay)
    assert is_due(api)


def test_no_delay_is_null(api: LaterApi) -> None:
    assert post(api, delay=None).status_int == 201
    assert is_due(api)


@pytest.mark.parametrize(
    'metadata', [{}, {'_default_message_delay': 60}], ids=['plain', 'delaying']
)
@pytest.mark.parametrize('delay', [-1, 901, 2**31, 2**63 - 1])
def test_a_delay_out_of_range_is_refused(api: LaterApi, metadata: Any, delay: int) -> None:
    api.make_queue(metadata=metadata)

    assert refusal(post(api, delay=delay)) == OUT_OF_RANGE
    assert api.stats()['total'] == 0


@pytest.mark.parametrize(
    'metadata', [{}, {'_default_message_delay': 60}], ids=['plain', 'delaying']
)
@pytest.mark.parametrize('delay', ['x', '5', 1.5, [5], {}, 10**19])
def test_a_delay_that_is_no_integer_is_refused(api: LaterApi, metadata: Any, delay: Any) -> None:
    api.make_queue(metadata=metadata)

    assert refusal(post(api, delay=delay))[0] == 400
    assert api.stats()['total'] == 0


@pytest.mark.parametrize(
    ('ttl', 'delay', 'status'),
    [(60, 59, 201), (60, 60, 400), (60, 61, 400), (900, 900, 400), (901, 900, 201), (60, 900, 400)],
)
def test_a_message_must_not_expire_before_it_is_due(
    api: LaterApi, ttl: int, delay: int, status: int
) -> None:
    response = post(api, ttl=ttl, delay=delay)

    assert response.status_int == status
    if status == 400:
        refusal(response)
        assert api.stats()['total'] == 0


@pytest.mark.parametrize(
    ('metadata', 'message'),
    [
        ({'_default_message_ttl': 60}, {'delay': 60}),
        ({'_default_message_delay': 60}, {'ttl': 60}),
        ({'_default_message_delay': 100, '_default_message_ttl': 60}, {}),
    ],
    ids=['ttl-of-the-queue', 'delay-of-the-queue', 'both-of-the-queue'],
)
def test_a_message_must_not_expire_before_it_is_due_by_default_either(
    api: LaterApi, metadata: Any, message: Any
) -> None:
    api.make_queue(metadata=metadata)

    assert refusal(post(api, **message))[0] == 400
    assert api.stats()['total'] == 0


def test_one_bad_delay_keeps_all_others_out(api: LaterApi) -> None:
    messages = [{'body': 1}, {'body': 2, 'delay': 901}, {'body': 3}]

    response = api.post(f'{api.queue}/messages', {'messages': messages})

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['total'] == 0


# ---------------------------------------------------------------- the delay of a queue


@pytest.mark.parametrize('message', [{}, {'delay': None}], ids=['absent', 'null'])
def test_a_message_without_a_delay_waits_as_long_as_its_queue_says(
    api: LaterApi, age: Callable[[int], None], message: Any
) -> None:
    api.make_queue(metadata={'_default_message_delay': 100})
    post(api, **message)

    assert not is_due(api)
    age(97)
    assert not is_due(api)
    age(4)
    assert is_due(api)


@pytest.mark.parametrize('delay', [0, 50])
def test_a_delay_of_its_own_outranks_that_of_the_queue(
    api: LaterApi, age: Callable[[int], None], delay: int
) -> None:
    api.make_queue(metadata={'_default_message_delay': 100})
    post(api, delay=delay)

    assert is_due(api) == (delay == 0)
    age(delay + 1)
    assert is_due(api)


def test_a_changed_default_is_that_of_later_messages(api: LaterApi) -> None:
    api.make_queue()
    api.post_messages('now')
    path = '/metadata/_default_message_delay'

    api.change({'op': 'add', 'path': path, 'value': 100})
    api.post_messages('later')
    api.change({'op': 'remove', 'path': path})
    api.post_messages('now again')

    assert bodies(api.listed()) == ['now', 'now again']


def test_the_order_of_claims_starts_with_what_was_returned(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('returned', 'fresh')
    api.delete(api.claim(limit=1).href)
    api.post_messages('delayed', delay=10)

    assert bodies(api.claim().messages) == ['returned', 'fresh']
    age(11)
    assert bodies(api.claim().messages) == ['delayed']
