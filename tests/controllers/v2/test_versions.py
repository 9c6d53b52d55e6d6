"""One store behind three versions: what one writes, the others read and change."""

from collections.abc import Callable
from itertools import product

import pytest
from webtest import TestApp

from ..client import (
    CLIENT_ID,
    OTHER_CLIENT_ID,
    PROJECT,
    Api,
    LaterApi,
    bodies,
    id_of,
)
from .requests import LATER_VERSIONS

VERSIONS = ('/v1', *LATER_VERSIONS)


def media_type(name: str) -> dict[str, str]:
    return {'base': 'application/json', 'type': f'application/vnd.openstack.messaging-{name}+json'}


@pytest.fixture
def client_of(app: TestApp) -> Callable[[str], Api]:
    """A client of the version that is asked for."""
    return lambda version: Api(app) if version == '/v1' else LaterApi(app, version)


def jobs(version: str) -> str:
    return f'{version}/queues/jobs'


def test_the_root_lists_all_versions_as_clients_know_them(api: LaterApi) -> None:
    response = api.get('/', client_id=None, project=None)

    assert response.status_int == 300
    assert response.headers['Content-Type'] == 'application/json'
    assert response.json == {
        'versions': [
            {
                'id': '1',
                'status': 'DEPRECATED',
                'updated': '2014-9-11T17:47:05Z',
                'media-types': [media_type('v1')],
                'links': [{'href': '/v1/', 'rel': 'self'}],
            },
            {
                'id': '1.1',
                'status': 'DEPRECATED',
                'updated': '2016-7-29T02:22:47Z',
                'media-types': [media_type('v1_1')],
                'links': [{'href': '/v1.1/', 'rel': 'self'}],
            },
            {
                'id': '2',
                'status': 'CURRENT',
                'updated': '2014-9-24T04:06:47Z',
                'media-types': [media_type('v2')],
                'links': [{'href': '/v2/', 'rel': 'self'}],
            },
        ]
    }


@pytest.mark.parametrize(('poster', 'worker', 'reader'), [*product(VERSIONS, repeat=3)])
def test_a_message_lives_through_all_versions(
    client_of: Callable[[str], Api], poster: str, worker: str, reader: str
) -> None:
    client_of(poster).put(jobs(poster), project=PROJECT)
    [path] = client_of(poster).post_messages({'n': 1}, queue=jobs(poster), ttl=300, project=PROJECT)
    seen = f'{jobs(reader)}/messages/{id_of(path)}'

    [listed] = client_of(reader).listed(queue=jobs(reader), project=PROJECT)
    claim = client_of(worker).claim(queue=jobs(worker), project=PROJECT)
    held = client_of(reader).get(f'{jobs(reader)}/claims/{claim.id}', project=PROJECT)
    deleted = client_of(reader).delete(f'{seen}?claim_id={claim.id}', project=PROJECT)

    assert listed['href'] == seen
    assert (listed['body'], listed['ttl']) == ({'n': 1}, 300)
    assert bodies(claim.messages) == [{'n': 1}]
    assert claim.href.startswith(f'{jobs(worker)}/claims/')
    assert held.json['messages'][0]['href'] == f'{seen}?claim_id={claim.id}'
    assert held.json['ttl'] == 100
    assert deleted.status_int == 204
    assert client_of(poster).get(path, project=PROJECT).status_int == 404


@pytest.mark.parametrize(('maker', 'other'), [*product(VERSIONS, repeat=2)])
def test_a_claim_is_renewed_and_released_by_any_version(
    client_of: Callable[[str], Api], maker: str, other: str
) -> None:
    client_of(maker).put(jobs(maker), project=PROJECT)
    client_of(maker).post_messages('x', queue=jobs(maker), project=PROJECT)
    claim = client_of(maker).claim(queue=jobs(maker), project=PROJECT)
    seen = f'{jobs(other)}/claims/{claim.id}'

    renewed = client_of(other).patch(seen, {'ttl': 500}, project=PROJECT)
    ttl = client_of(maker).get(claim.href, project=PROJECT).json['ttl']
    released = client_of(other).delete(seen, project=PROJECT)

    assert [renewed.status_int, ttl, released.status_int] == [204, 500, 204]
    assert client_of(maker).get(claim.href, project=PROJECT).status_int == 404


@pytest.mark.parametrize(('poster', 'reader'), [*product(VERSIONS, repeat=2)])
def test_a_client_is_the_same_to_all_versions(
    client_of: Callable[[str], Api], poster: str, reader: str
) -> None:
    client_of(poster).put(jobs(poster), project=PROJECT)
    client_of(poster).post_messages('x', queue=jobs(poster), client_id=CLIENT_ID, project=PROJECT)

    for client_id, seen in ((CLIENT_ID, []), (OTHER_CLIENT_ID, ['x'])):
        messages = client_of(reader).listed(
            'echo=false', queue=jobs(reader), client_id=client_id, project=PROJECT
        )
        assert bodies(messages) == seen


@pytest.mark.parametrize('deleter', VERSIONS)
@pytest.mark.parametrize('reader', VERSIONS)
def test_a_queue_is_deleted_for_all_versions(
    client_of: Callable[[str], Api], deleter: str, reader: str
) -> None:
    client_of('/v2').put(jobs('/v2'), project=PROJECT)
    client_of('/v2').post_messages('x', queue=jobs('/v2'), project=PROJECT)

    client_of(deleter).delete(jobs(deleter), project=PROJECT)

    assert client_of(reader).listed(queue=jobs(reader), project=PROJECT) == []


@pytest.mark.parametrize('popper', LATER_VERSIONS)
@pytest.mark.parametrize('poster', VERSIONS)
def test_a_message_of_any_version_is_popped(
    client_of: Callable[[str], Api], poster: str, popper: str
) -> None:
    client_of(poster).put(jobs(poster), project=PROJECT)
    client_of(poster).post_messages('x', queue=jobs(poster), project=PROJECT)

    response = client_of(popper).delete(f'{jobs(popper)}/messages?pop=20')

    assert bodies(response.json['messages']) == ['x']
    assert client_of(poster).listed(queue=jobs(poster), project=PROJECT) == []


def test_metadata_of_version_1_is_that_of_the_others(client_of: Callable[[str], Api]) -> None:
    client_of('/v1').make_queue(project=PROJECT, metadata={'a': 1})

    assert client_of('/v1.1').get(jobs('/v1.1')).json == {'a': 1}
    assert client_of('/v2').get(jobs('/v2')).json['a'] == 1


@pytest.mark.parametrize('maker', LATER_VERSIONS)
def test_metadata_of_the_others_is_that_of_version_1(
    client_of: Callable[[str], Api], maker: str
) -> None:
    client_of(maker).make_queue(metadata={'a': 1})

    response = client_of('/v1').get('/v1/queues/jobs/metadata', project=PROJECT)

    assert response.json == {'a': 1}


@pytest.mark.parametrize('reader', VERSIONS)
def test_stats_are_the_same_in_all_versions(client_of: Callable[[str], Api], reader: str) -> None:
    client_of('/v2').put(jobs('/v2'))
    paths = client_of('/v2').post_messages('a', 'b', 'c', queue=jobs('/v2'), project=PROJECT)
    client_of('/v2').claim(limit=1, queue=jobs('/v2'), project=PROJECT)

    stats = client_of(reader).get(f'{jobs(reader)}/stats', project=PROJECT).json['messages']

    assert (stats['free'], stats['claimed'], stats['total']) == (2, 1, 3)
    assert stats['oldest']['href'] == f'{jobs(reader)}/messages/{id_of(paths[0])}'
    assert stats['newest']['href'] == f'{jobs(reader)}/messages/{id_of(paths[2])}'


@pytest.mark.parametrize('reader', VERSIONS)
def test_a_delayed_message_is_kept_from_all_versions(
    client_of: Callable[[str], Api], reader: str
) -> None:
    api = client_of('/v2')
    api.put(jobs('/v2'))
    api.post(f'{jobs("/v2")}/messages', {'messages': [{'body': 'later', 'delay': 100}]})

    claimed = client_of(reader).post(
        f'{jobs(reader)}/claims', {'ttl': 60, 'grace': 60}, project=PROJECT
    )

    assert claimed.status_int == 204
    assert client_of(reader).listed(queue=jobs(reader), project=PROJECT) == []


def test_a_queue_without_project_is_seen_by_version_1_only(client_of: Callable[[str], Api]) -> None:
    client_of('/v1').make_queue('shared')

    for version in LATER_VERSIONS:
        assert client_of(version).get(f'{version}/queues').json['queues'] == []


@pytest.mark.parametrize('reader', VERSIONS)
def test_statistics_leave_out_what_is_parked_but_for_a_count_of_its_own(
    client_of: Callable[[str], Api], reader: str, age: Callable[[int], None]
) -> None:
    """It would else be the oldest for ever, and an alarm on the oldest one's age ring for ever."""
    writer = client_of('/v2')
    [parked] = writer.post_messages('parked', ttl=3600)
    age(1000)
    assert writer.post(f'{parked}/park').status_int == 204
    writer.post_messages('claimed', 'free')
    writer.claim(limit=1)

    stats = client_of(reader).get(f'{jobs(reader)}/stats', project=PROJECT).json['messages']

    counted = {name: stats[name] for name in ('free', 'claimed', 'total')}
    if reader == '/v2':
        assert stats['parked'] == 1
        assert counted == {'free': 1, 'claimed': 1, 'total': 3}
    else:
        assert counted == {'free': 1, 'claimed': 1, 'total': 2}
    assert stats['oldest']['age'] < 1000


@pytest.mark.parametrize('reader', VERSIONS)
def test_a_queue_whose_messages_are_all_parked_has_no_oldest(
    client_of: Callable[[str], Api], reader: str
) -> None:
    writer = client_of('/v2')
    [parked] = writer.post_messages('parked')
    writer.post(f'{parked}/park')

    stats = client_of(reader).get(f'{jobs(reader)}/stats', project=PROJECT).json['messages']

    assert stats.keys() & {'oldest', 'newest'} == set()
