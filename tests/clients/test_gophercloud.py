"""gophercloud's calls of openstack/messaging/v2, replayed as its source makes them.

It sends a body only where a call has one, adds `Client-ID` and what else its user gives as
extra headers to each request, knows which codes mean success, and decodes the answer into Go's
types: a member of another type is an error, and one that is null or absent a zero value. The
table CALLS has all its functions.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.running_service import Service

# Go's structs, by the names of their members in JSON.
LINK = {'href': str, 'rel': str}
QUEUE_DETAILS = {
    '_dead_letter_queue': str,
    '_dead_letter_queue_messages_ttl': int,
    '_default_message_delay': int,
    '_default_message_ttl': int,
    '_max_claim_count': int,
    '_max_messages_post_size': int,
    '_enable_encrypt_messages': bool,
    # One of those that it puts into Extra.
    'description': str,
}
QUEUE = {'href': str, 'name': str, 'metadata': QUEUE_DETAILS}
MESSAGE = {'body': dict, 'age': int, 'href': str, 'id': str, 'ttl': int, 'checksum': str}
POPPED = {'body': dict, 'age': int, 'id': str, 'ttl': int, 'claim_count': int, 'claim_id': str}
CLAIMED = {'age': float, 'href': str, 'ttl': int, 'body': dict}
SHARE = {'project': str, 'paths': [str], 'expires': str, 'methods': [str], 'signature': str}


class Call(NamedTuple):
    """What a function of gophercloud asks for, the codes that it takes, what it decodes."""

    method: str
    path: str
    accepted: set[int]
    answer: Any = None


CALLS = {
    'queues.Create': Call('PUT', '/v2/queues/{queue}', {201, 204}),
    'queues.List': Call(
        'GET', '/v2/queues', {200, 204, 300}, {'queues': [QUEUE], 'links': [LINK], 'count': int}
    ),
    'queues.Get': Call('GET', '/v2/queues/{queue}', {200}, QUEUE_DETAILS),
    'queues.Update': Call('PATCH', '/v2/queues/{queue}', {200, 201, 204}, QUEUE_DETAILS),
    'queues.GetStats': Call(
        'GET',
        '/v2/queues/{queue}/stats',
        {200},
        {'messages': {'claimed': int, 'total': int, 'free': int}},
    ),
    'queues.Share': Call('POST', '/v2/queues/{queue}/share', {200}, SHARE),
    'queues.Purge': Call('POST', '/v2/queues/{queue}/purge', {204}),
    'queues.Delete': Call('DELETE', '/v2/queues/{queue}', {204}),
    'messages.Create': Call('POST', '/v2/queues/{queue}/messages', {201}, {'resources': [str]}),
    'messages.List': Call(
        'GET',
        '/v2/queues/{queue}/messages',
        {200, 204, 300},
        {'messages': [MESSAGE], 'links': [LINK]},
    ),
    'messages.GetMessages': Call(
        'GET', '/v2/queues/{queue}/messages', {200}, {'messages': [MESSAGE]}
    ),
    'messages.Get': Call('GET', '/v2/queues/{queue}/messages/{message}', {200}, MESSAGE),
    'messages.PopMessages': Call(
        'DELETE', '/v2/queues/{queue}/messages', {200, 204}, {'messages': [POPPED]}
    ),
    'messages.DeleteMessages': Call('DELETE', '/v2/queues/{queue}/messages', {200, 204}),
    'messages.Delete': Call('DELETE', '/v2/queues/{queue}/messages/{message}', {204}),
    'claims.Create': Call('POST', '/v2/queues/{queue}/claims', {201, 204}, {'messages': [CLAIMED]}),
    'claims.Get': Call(
        'GET',
        '/v2/queues/{queue}/claims/{claim}',
        {200},
        {'age': float, 'href': str, 'messages': [CLAIMED], 'ttl': int},
    ),
    'claims.Update': Call('PATCH', '/v2/queues/{queue}/claims/{claim}', {204}),
    'claims.Delete': Call('DELETE', '/v2/queues/{queue}/claims/{claim}', {204}),
}


def decoded(value: Any, wanted: Any) -> Any:
    """What Go makes of a JSON value."""
    if isinstance(wanted, dict):
        assert value is None or type(value) is dict
        return {name: decoded((value or {}).get(name), kind) for name, kind in wanted.items()}
    if isinstance(wanted, list):
        assert value is None or type(value) is list
        return [decoded(item, wanted[0]) for item in value or []]
    if value is None:
        return wanted()
    # Only its floats take numbers of both kinds; a bool is no number.
    assert type(value) in ((float, int) if wanted is float else (wanted,)), (value, wanted)
    return value


class Gophercloud:
    """A service client of gophercloud, with the extra headers that its user gives to it."""

    def __init__(self, service: Service, headers: Mapping[str, str]) -> None:
        self.connection = service.connect()
        self.headers = {
            'User-Agent': 'gophercloud/v2.0.0',
            'Accept': 'application/json',
            'Accept-Encoding': 'gzip',
            'X-Auth-Token': 'a token',
            'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c',
            **headers,
        }
        self.made: list[str] = []

    def call(
        self, name: str, *, body: Any = None, query: Mapping[str, Any] | None = None, **at: str
    ) -> Any:
        """The decoded answer to one of its functions; `at` says of which queue or message."""
        url = CALLS[name].path.format(**at)
        # Its parameters stand in the order of their names, a list as one of them for each item.
        if query:
            url += '?' + urlencode(sorted(query.items()), doseq=True)
        return self._send(name, url, body)

    def pages(self, name: str, *, query: Mapping[str, Any], **at: str) -> Iterator[Any]:
        """Each page, the empty one excepted with which a list ends.

        The `next` link is a path, which gophercloud joins to the URL of the service.
        """
        page = self.call(name, query=query, **at)
        while page[name.split('.')[0]]:
            yield page
            (following,) = [link['href'] for link in page['links'] if link['rel'] == 'next']
            page = self._send(name, following, None)

    def _send(self, name: str, url: str, body: Any) -> Any:
        call = CALLS[name]
        headers = dict(self.headers)
        if body is not None:
            headers['Content-Type'] = 'application/json'
        if name == 'queues.Update':
            headers['Content-Type'] = 'application/openstack-messaging-v2.0-json-patch'
        self.made.append(name)
        self.connection.request(
            call.method, url, None if body is None else json.dumps(body), headers
        )
        response = self.connection.getresponse()
        content = response.read()
        if response.status not in call.accepted:
            raise UnexpectedResponseCode(response.status, content)
        # A 204 is not decoded; a page is, if this is its type.
        if response.status == 204:
            assert content == b''
            return decoded(None, call.answer) if call.answer else None
        if call.answer is None:
            return None
        assert response.headers['Content-Type'].startswith('application/json')
        return decoded(json.loads(content), call.answer)


class UnexpectedResponseCode(Exception):
    """The code is none of those that a function of gophercloud accepts."""


@pytest.fixture
def project() -> dict[str, str]:
    """The header that names a project: without Keystone, gophercloud sends none of its own."""
    return {'X-Project-Id': f'tour-{uuid4()}'}


@pytest.fixture
def gophercloud(service: Service, project: dict[str, str]) -> Iterator[Gophercloud]:
    client = Gophercloud(service, project)
    with contextlib.closing(client.connection):
        yield client


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message['body']['number'] for message in messages]


def post(gophercloud: Gophercloud, *of: int) -> list[str]:
    """Post messages with these numbers, and return their ids."""
    # What is not set, BatchCreateOpts leaves out.
    messages = [{'body': {'number': number}} for number in of]
    answer = gophercloud.call('messages.Create', queue='tour', body={'messages': messages})
    return [path.rpartition('/')[2] for path in answer['resources']]


def counts(gophercloud: Gophercloud) -> dict[str, int]:
    stats: dict[str, int] = gophercloud.call('queues.GetStats', queue='tour')['messages']
    return stats


def test_queues_from_creation_to_deletion(gophercloud: Gophercloud) -> None:
    call = gophercloud.call
    attributes = {
        '_dead_letter_queue': 'dead_letter',
        '_dead_letter_queue_messages_ttl': 3500,
        '_default_message_ttl': 3700,
        '_enable_encrypt_messages': False,
        '_max_claim_count': 10,
        '_max_messages_post_size': 262143,
        'description': 'A queue for a tour.',
    }

    call('queues.Create', queue='tour', body=attributes)
    # CreateOpts cannot be without a default ttl; that the queue is there is no error.
    call('queues.Create', queue='tour', body={'_default_message_ttl': 60})
    call('queues.Create', queue='tour-2', body={'_default_message_ttl': 60})
    assert call('queues.Get', queue='tour') == attributes | {'_default_message_delay': 0}

    patch = [
        {'op': 'replace', 'path': '/metadata/description', 'value': 'Changed.'},
        {'op': 'add', 'path': '/metadata/_max_claim_count', 'value': 20},
        # It has no operation without a value.
        {'op': 'remove', 'path': '/metadata/_default_message_ttl', 'value': None},
    ]
    updated = call('queues.Update', queue='tour', body=patch)
    assert updated == call('queues.Get', queue='tour')
    assert updated['description'] == 'Changed.'
    assert (updated['_max_claim_count'], updated['_default_message_ttl']) == (20, 3600)

    every = {'limit': 1, 'detailed': 'true', 'with_count': 'true'}
    pages = list(gophercloud.pages('queues.List', query=every))
    assert [[queue['name'] for queue in page['queues']] for page in pages] == [['tour'], ['tour-2']]
    assert [page['count'] for page in pages] == [2, 2]
    assert pages[0]['queues'][0]['metadata'] == updated

    for queue in ('tour', 'tour-2'):
        call('queues.Delete', queue=queue)
    assert call('queues.List')['queues'] == []
    assert len(gophercloud.made) == 12


def test_messages_from_post_to_purge(gophercloud: Gophercloud) -> None:
    call = gophercloud.call

    ids = post(gophercloud, 0, 1, 2, 3, 4, 5)
    every = {'limit': 2, 'echo': 'true'}
    pages = list(gophercloud.pages('messages.List', queue='tour', query=every))
    assert [numbers(page['messages']) for page in pages] == [[0, 1], [2, 3], [4, 5]]
    after = call('messages.List', queue='tour', query=every | {'marker': ids[2]})
    assert numbers(after['messages']) == [3, 4]
    message = call('messages.Get', queue='tour', message=ids[0])
    assert (message['id'], message['body'], message['ttl']) == (ids[0], {'number': 0}, 3600)
    assert message['href'] == f'/v2/queues/tour/messages/{ids[0]}'
    named = call('messages.GetMessages', queue='tour', query={'ids': ids[:2]})
    assert numbers(named['messages']) == [0, 1]

    (popped,) = call('messages.PopMessages', queue='tour', query={'pop': 1})['messages']
    assert (popped['id'], popped['body'], popped['claim_id']) == (ids[0], {'number': 0}, '')
    call('messages.DeleteMessages', queue='tour', query={'ids': ids[1:3]})
    call('messages.Delete', queue='tour', message=ids[3])
    assert counts(gophercloud) == {'claimed': 0, 'total': 2, 'free': 2}
    call('queues.Purge', queue='tour', body={'resource_types': ['messages', 'subscriptions']})
    assert counts(gophercloud) == {'claimed': 0, 'total': 0, 'free': 0}
    assert len(gophercloud.made) == 14


def test_claims_from_creation_to_release(gophercloud: Gophercloud) -> None:
    call = gophercloud.call
    ids = post(gophercloud, 0, 1, 2, 3, 4)

    # The claim's id is in the hrefs of its messages.
    claimed = call(
        'claims.Create', queue='tour', body={'ttl': 60, 'grace': 120}, query={'limit': 2}
    )['messages']
    assert numbers(claimed) == [0, 1]
    claim = claimed[0]['href'].rpartition('=')[2]
    call('claims.Update', queue='tour', claim=claim, body={'ttl': 600, 'grace': 1200})
    held = call('claims.Get', queue='tour', claim=claim)
    assert (held['ttl'], numbers(held['messages'])) == (600, [0, 1])
    assert held['href'] == f'/v2/queues/tour/claims/{claim}'
    assert counts(gophercloud) == {'claimed': 2, 'total': 5, 'free': 3}

    call('messages.Delete', queue='tour', message=ids[0], query={'claim_id': claim})
    call('claims.Delete', queue='tour', claim=claim)
    assert counts(gophercloud) == {'claimed': 0, 'total': 4, 'free': 4}
    assert len(gophercloud.made) == 8


def test_a_share_and_its_use_by_a_client_that_has_nothing_else(
    service: Service, project: dict[str, str], gophercloud: Gophercloud
) -> None:
    post(gophercloud, 0, 1)

    shared = gophercloud.call(
        'queues.Share',
        queue='tour',
        body={
            'paths': ['messages', 'claims', 'subscriptions'],
            'methods': ['GET', 'POST', 'PUT', 'PATCH'],
            'expires': f'{datetime.now(UTC) + timedelta(minutes=10):%Y-%m-%dT%H:%M:%S}',
        },
    )
    assert shared['project'] == project['X-Project-Id']

    signature = {
        'URL-Paths': ','.join(shared['paths']),
        'URL-Methods': ','.join(shared['methods']),
        'URL-Expires': shared['expires'],
        'URL-Signature': shared['signature'],
    }
    guest = Gophercloud(service, project | signature)
    with contextlib.closing(guest.connection):
        read = guest.call('messages.List', queue='tour', query={'echo': 'true'})
        assert numbers(read['messages']) == [0, 1]
        claimed = guest.call('claims.Create', queue='tour', body={'ttl': 60})
        assert numbers(claimed['messages']) == [0, 1]
        with pytest.raises(UnexpectedResponseCode, match='404'):
            guest.call('queues.Delete', queue='tour')
    assert (len(gophercloud.made), len(guest.made)) == (2, 3)


def test_what_a_queue_was_not_given_is_null_or_a_default(gophercloud: Gophercloud) -> None:
    gophercloud.call('queues.Create', queue='tour', body={'_default_message_ttl': 60})

    assert gophercloud.call('queues.Get', queue='tour') == {
        '_dead_letter_queue': '',
        '_dead_letter_queue_messages_ttl': 0,
        '_default_message_delay': 0,
        '_default_message_ttl': 60,
        '_max_claim_count': 0,
        '_max_messages_post_size': 262144,
        '_enable_encrypt_messages': False,
        'description': '',
    }


@pytest.mark.parametrize(
    ('name', 'more'),
    [
        ('messages.List', {'query': {'echo': 'true'}}),
        ('messages.PopMessages', {'query': {'pop': 1}}),
        ('claims.Create', {'body': {}}),
    ],
)
def test_a_queue_that_is_not_there_has_no_messages(
    gophercloud: Gophercloud, name: str, more: dict[str, Any]
) -> None:
    assert gophercloud.call(name, queue='nowhere', **more)['messages'] == []


def test_a_delayed_message_is_shown_only_on_request(gophercloud: Gophercloud) -> None:
    delayed = {'ttl': 300, 'delay': 20, 'body': {'number': 0}}
    gophercloud.call('messages.Create', queue='tour', body={'messages': [delayed]})

    at_first = gophercloud.call('messages.List', queue='tour', query={'echo': 'true'})
    on_request = gophercloud.call(
        'messages.List', queue='tour', query={'echo': 'true', 'include_delayed': 'true'}
    )

    assert (at_first['messages'], numbers(on_request['messages'])) == ([], [0])


def test_without_keystone_the_project_must_be_an_extra_header(service: Service) -> None:
    client = Gophercloud(service, {})

    with (
        contextlib.closing(client.connection),
        pytest.raises(UnexpectedResponseCode, match='X-Project-Id'),
    ):
        client.call('queues.List')
