"""Several queues in one request: a claim over them, a look at them."""

from typing import Any

import pytest

from ..client import OTHER_CLIENT_ID, LaterApi, id_of, refusal


@pytest.fixture
def queues(api: LaterApi) -> dict[str, list[str]]:
    """The ids of the messages in two queues."""
    return {
        name: [id_of(path) for path in api.post_messages(1, 2, 3, queue=f'/v2/queues/{name}')]
        for name in ('urgent', 'normal')
    }


def claim(api: LaterApi, *queues: dict[str, Any], **terms: Any) -> Any:
    return api.post('/v2/claims', {'queues': list(queues), **terms})


def test_each_message_says_which_queue_and_claim_it_belongs_to(
    api: LaterApi, queues: dict[str, list[str]]
) -> None:
    response = claim(api, {'name': 'urgent'}, {'name': 'normal'}, limit=5, ttl=100)

    assert response.status_int == 201
    document = response.json
    urgent, normal = document['claims']
    assert [(message['queue'], message['id']) for message in document['messages']] == [
        *(('urgent', message) for message in queues['urgent']),
        *(('normal', message) for message in queues['normal'][:2]),
    ]
    assert document['messages'][0] == {
        'id': queues['urgent'][0],
        'href': f'/v2/queues/urgent/messages/{queues["urgent"][0]}?claim_id={urgent["id"]}',
        'ttl': 300,
        'age': 0,
        'body': 1,
        'queue': 'urgent',
        'claim_id': urgent['id'],
        'claim_count': 1,
    }
    assert normal == {
        'queue': 'normal',
        'id': normal['id'],
        'href': f'/v2/queues/normal/claims/{normal["id"]}',
    }
    assert document['missing'] == []


def test_its_claims_are_like_any_other(api: LaterApi, queues: dict[str, list[str]]) -> None:
    document = claim(api, {'name': 'urgent'}, ttl=100).json
    [made] = document['claims']

    assert api.get(made['href']).json['ttl'] == 100
    verdicts = [{'id': message, 'verdict': 'delete'} for message in queues['urgent']]
    given = api.post(f'{made["href"]}/verdicts', {'verdicts': verdicts})
    assert {entry['result'] for entry in given.json['verdicts']} == {'done'}


def test_a_queue_that_does_not_exist_is_named_and_spoils_nothing(
    api: LaterApi, queues: dict[str, list[str]]
) -> None:
    response = claim(api, {'name': 'none'}, {'name': 'urgent'})

    assert response.status_int == 201
    assert response.json['missing'] == ['none']
    assert len(response.json['messages']) == 3


def test_with_nothing_to_claim_there_is_no_claim(api: LaterApi) -> None:
    api.make_queue('empty')

    response = claim(api, {'name': 'empty'}, {'name': 'none'})

    assert response.status_int == 200
    assert response.json == {'messages': [], 'claims': [], 'missing': ['none']}


def test_limits_and_weights_are_heeded(api: LaterApi, queues: dict[str, list[str]]) -> None:
    response = claim(
        api,
        {'name': 'urgent', 'weight': 9, 'limit': 1},
        {'name': 'normal', 'weight': 1, 'limit': 2},
    )

    names = [message['queue'] for message in response.json['messages']]
    assert sorted(names) == ['normal', 'normal', 'urgent']


def test_other_projects_have_other_queues(api: LaterApi, queues: dict[str, list[str]]) -> None:
    response = api.post('/v2/claims', {'queues': [{'name': 'urgent'}]}, project='another')

    assert response.json['missing'] == ['urgent']


MALFORMED: dict[str, Any] = {
    'no body': None,
    'no queues': {},
    'none': {'queues': []},
    'names': {'queues': ['urgent']},
    'a queue without a name': {'queues': [{'limit': 1}]},
    'a bad name': {'queues': [{'name': 'a b'}]},
    'an empty name': {'queues': [{'name': ''}]},
    'a long name': {'queues': [{'name': 'x' * 65}]},
    'one twice': {'queues': [{'name': 'a'}, {'name': 'a'}]},
    'too many': {'queues': [{'name': f'q{n}'} for n in range(21)]},
    'no limit': {'queues': [{'name': 'a'}], 'limit': 0},
    'too high a limit': {'queues': [{'name': 'a'}], 'limit': 21},
    'no limit of a queue': {'queues': [{'name': 'a', 'limit': 0}]},
    'no weight': {'queues': [{'name': 'a', 'weight': 0}]},
    'too high a weight': {'queues': [{'name': 'a', 'weight': 1001}]},
    'a broken weight': {'queues': [{'name': 'a', 'weight': 0.5}]},
    'a short ttl': {'queues': [{'name': 'a'}], 'ttl': 59},
    'a short grace': {'queues': [{'name': 'a'}], 'grace': 59},
}


@pytest.mark.parametrize('body', MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_claim_is_refused(
    api: LaterApi, queues: dict[str, list[str]], body: Any
) -> None:
    assert refusal(api.post('/v2/claims', body))[0] == 400

    assert api.stats('/v2/queues/urgent')['claimed'] == 0


# ---------------------------------------------------------------- looking


def test_a_look_shows_a_page_of_each_queue_and_changes_nothing(
    api: LaterApi, queues: dict[str, list[str]]
) -> None:
    response = api.get('/v2/messages?queue=urgent&queue=normal&limit=2&echo=true')

    assert response.status_int == 200
    document = response.json
    assert [(message['queue'], message['id']) for message in document['messages']] == [
        *(('urgent', message) for message in queues['urgent'][:2]),
        *(('normal', message) for message in queues['normal'][:2]),
    ]
    first = queues['urgent'][0]
    assert document['messages'][0] == {
        'id': first,
        'href': f'/v2/queues/urgent/messages/{first}',
        'ttl': 300,
        'age': 0,
        'body': 1,
        'queue': 'urgent',
        'state': 'ready',
        'claim_count': 0,
        'reason': None,
    }
    assert api.stats('/v2/queues/urgent')['claimed'] == 0


def test_its_link_goes_on_from_a_marker_of_each(
    api: LaterApi, queues: dict[str, list[str]]
) -> None:
    seen, target = [], '/v2/messages?queue=urgent,normal,none&limit=2&echo=true'
    while True:
        document = api.get(target).json
        assert document['missing'] == ['none']
        if not document['links']:
            break
        seen += [message['id'] for message in document['messages']]
        [link] = document['links']
        target = link['href']

    assert sorted(seen) == sorted(queues['urgent'] + queues['normal'])


def test_a_look_shows_one_state(api: LaterApi, queues: dict[str, list[str]]) -> None:
    claim(api, {'name': 'urgent'}, limit=1)
    held, parked = queues['urgent'][:2]
    api.post(f'/v2/queues/urgent/messages/{parked}/park', {'reason': 'odd'})

    def look(state: str) -> list[Any]:
        messages: list[Any] = api.get(f'/v2/messages?queue=urgent&echo=true&state={state}').json[
            'messages'
        ]
        return [(m['id'], m['state'], m['claim_count'], m['reason']) for m in messages]

    assert look('claimed') == [(held, 'claimed', 1, None)]
    assert look('parked') == [(parked, 'parked', 0, 'odd')]
    assert look('ready') == [(queues['urgent'][2], 'ready', 0, None)]
    assert look('delayed') == []


def test_without_echo_one_does_not_see_ones_own(
    api: LaterApi, queues: dict[str, list[str]]
) -> None:
    target = '/v2/messages?queue=urgent'

    assert api.get(target).json['messages'] == []
    assert len(api.get(target, client_id=OTHER_CLIENT_ID).json['messages']) == 3


@pytest.mark.parametrize(
    'query',
    [
        '',
        'queue=',
        'queue=a%20b',
        'queue=a&queue=a',
        'queue=' + ','.join(f'q{n}' for n in range(21)),
        'queue=a&limit=0',
        'queue=a&state=lost',
        'queue=:1',
    ],
)
def test_a_malformed_look_is_refused(api: LaterApi, query: str) -> None:
    assert refusal(api.get(f'/v2/messages?{query}'))[0] == 400


# ---------------------------------------------------------------- one queue by state


@pytest.mark.parametrize('state', ['ready', 'claimed', 'delayed', 'parked'])
def test_a_list_shows_one_state(api: LaterApi, state: str) -> None:
    held, parked, ready = map(id_of, api.post_messages(1, 2, 3))
    [delayed] = map(id_of, api.post_messages(4, delay=100))
    api.claim(limit=1)
    api.post(f'{api.queue}/messages/{parked}/park')
    expected = {'ready': ready, 'claimed': held, 'delayed': delayed, 'parked': parked}

    response = api.get(f'{api.queue}/messages?echo=true&state={state}')

    assert [message['id'] for message in response.json['messages']] == [expected[state]]
    assert f'state={state}' in response.json['links'][0]['href']


def test_an_unknown_state_is_refused(api: LaterApi) -> None:
    response = api.get(f'{api.queue}/messages?state=lost')

    assert refusal(response) == (400, 'Invalid parameter')
    assert 'one of ready, claimed, delayed, parked is required' in response.text


def test_a_claim_across_queues_tells_how_often_each_message_was_handed_out(api: LaterApi) -> None:
    api.make_queue()
    api.post_messages('a')
    api.delete(api.claim().href)

    claimed = api.post('/v2/claims', {'queues': [{'name': 'jobs'}]}).json

    assert [message['claim_count'] for message in claimed['messages']] == [2]


@pytest.mark.parametrize('path', ['/v2/messages?queue=jobs&', '/v2/queues/jobs/messages?'])
def test_a_list_by_state_shows_ones_own_messages_unless_echo_is_false(
    api: LaterApi, path: str
) -> None:
    api.make_queue()
    api.post_messages('a')

    def shown(query: str) -> list[int]:
        return [message['claim_count'] for message in api.get(path + query).json['messages']]

    assert shown('state=ready') == shown('state=ready&echo=true') == [0]
    assert shown('state=ready&echo=false') == []
    assert api.get(path).json['messages'] == []
