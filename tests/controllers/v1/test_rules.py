"""Rules that hold among the resources: tenants, and a message's whole life.

See docs/protocol-v1.md, 9.
"""

from typing import Any

import pytest

from ..client import CLIENT_ID, OTHER_CLIENT_ID, QUEUE, Api, refusal


def id_of(path: str) -> str:
    return path.partition('?')[0].rpartition('/')[2]


@pytest.mark.parametrize('project', [None, '480924', 'foo'])
def test_a_message_lives_from_post_to_delete(api: Api, project: str | None) -> None:
    api.make_queue(project=project)
    [path] = api.post_messages('x', project=project)

    claim = api.claim(project=project)

    assert api.listed(project=project) == []
    assert api.listed('echo=true&include_claimed=true', project=project)[0]['href'] == path
    assert refusal(api.delete(path, project=project)) == (403, 'Unable to delete')
    assert api.delete(claim.messages[0]['href'], project=project).status_int == 204
    assert api.get(path, project=project).status_int == 404
    assert api.get(claim.href, project=project).status_int == 404


STRANGERS = [
    pytest.param(QUEUE, None, id='no-project'),
    pytest.param(QUEUE, 'stranger', id='another-project'),
    pytest.param('/v1/queues/other', 'owner', id='another-queue'),
]


@pytest.fixture
def owned(api: Api) -> Any:
    """A claim, and a free message, of a project; strangers have queues and messages too."""
    for project in ('owner', 'stranger', None):
        for name in ('jobs', 'other'):
            api.make_queue(name, project=project)
    api.post_messages('claimed', project='owner')
    claim = api.claim(project='owner')
    [free] = api.post_messages('free', project='owner')
    return claim, free


@pytest.mark.parametrize(('queue', 'project'), STRANGERS)
def test_another_project_sees_nothing(
    api: Api, owned: Any, queue: str, project: str | None
) -> None:
    claim, free = owned
    message, claimed = (id_of(path) for path in (free, claim.held[0]))

    assert api.get(f'{queue}/messages/{message}', project=project).status_int == 404
    assert api.get(f'{queue}/messages/{claimed}', project=project).status_int == 404
    assert api.get(f'{queue}/messages?ids={message},{claimed}', project=project).status_int == 204
    assert api.listed('include_claimed=true&echo=true', queue=queue, project=project) == []
    assert api.get(f'{queue}/claims/{claim.id}', project=project).status_int == 404
    assert api.get(f'{queue}/stats', project=project).json['messages']['total'] == 0
    claimed_now = api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60}, project=project)
    assert claimed_now.status_int == 204


@pytest.mark.parametrize(('queue', 'project'), STRANGERS)
def test_another_project_changes_nothing(
    api: Api, owned: Any, queue: str, project: str | None
) -> None:
    claim, free = owned
    message, claimed = (id_of(path) for path in (free, claim.held[0]))

    statuses = [
        api.delete(f'{queue}/messages/{message}', project=project).status_int,
        api.delete(f'{queue}/messages/{claimed}?claim_id={claim.id}', project=project).status_int,
        api.delete(f'{queue}/messages?ids={message},{claimed}', project=project).status_int,
        api.delete(f'{queue}/claims/{claim.id}', project=project).status_int,
        api.patch(f'{queue}/claims/{claim.id}', {'ttl': 999}, project=project).status_int,
        api.delete(queue, project=project).status_int,
    ]

    assert statuses == [204, 204, 204, 204, 404, 204]
    assert api.get(free, project='owner').status_int == 200
    held = api.get(claim.href, project='owner').json
    assert held['ttl'] == 100
    assert [each['body'] for each in held['messages']] == ['claimed']


@pytest.mark.parametrize(('queue', 'project'), STRANGERS)
def test_a_marker_of_another_project_shows_only_own_messages(
    api: Api, owned: Any, queue: str, project: str | None
) -> None:
    page = api.get(f'{QUEUE}/messages?echo=true', client_id=CLIENT_ID, project='owner').json
    marker = page['links'][0]['href'].rpartition('=')[2]
    api.post_messages('own', queue=queue, project=project)

    messages = api.listed(f'echo=true&marker={marker}', queue=queue, project=project)

    assert [message['body'] for message in messages] in (['own'], [])


def test_each_queue_claims_its_own(api: Api) -> None:
    first, second = api.make_queue('first'), api.make_queue('second')
    api.post_messages('a', queue=first)
    api.post_messages('b', queue=second)

    claim = api.claim(queue=second)

    assert [message['body'] for message in claim.messages] == ['b']
    assert api.stats(first)['claimed'] == 0


def test_a_claim_holds_no_message_of_another_claim(api: Api, queue: str) -> None:
    api.post_messages('a', 'b')
    first, second = api.claim(limit=1), api.claim(limit=1)

    api.delete(first.href)

    assert [message['body'] for message in api.listed()] == ['a']
    assert [m['body'] for m in api.get(second.href).json['messages']] == ['b']


def test_a_read_or_a_list_claims_no_message(api: Api, queue: str) -> None:
    [path] = api.post_messages('x')

    for _ in range(2):
        assert api.get(path).status_int == 200
        assert len(api.listed('echo=false', client_id=OTHER_CLIENT_ID)) == 1
        assert len(api.get(f'{queue}/messages?ids={id_of(path)}').json) == 1

    assert api.stats()['free'] == 1
