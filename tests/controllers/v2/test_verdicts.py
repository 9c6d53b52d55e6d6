"""Verdicts over HTTP: many in one request, one at a time, heartbeats, kicks."""

from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestResponse

from ..client import NO_CLAIM, NO_MESSAGE, Claim, LaterApi, id_of, is_empty, refusal

Age = Callable[[int], None]


def give(api: LaterApi, claim: Claim, *verdicts: dict[str, Any]) -> TestResponse:
    return api.post(f'{claim.href}/verdicts', {'verdicts': list(verdicts)})


def results(response: TestResponse) -> list[tuple[str, str]]:
    assert response.status_int == 200, response.text
    return [(entry['result'], entry['state']) for entry in response.json['verdicts']]


def states(api: LaterApi) -> dict[str, list[str]]:
    """The ids of the messages in each state."""
    return {
        state: [message['id'] for message in api.listed(f'echo=true&limit=20&state={state}')]
        for state in ('ready', 'claimed', 'delayed', 'parked')
    }


@pytest.fixture
def ids(api: LaterApi) -> list[str]:
    """Twenty messages in the queue."""
    return [id_of(path) for path in api.post_messages(*range(20), ttl=1000)]


def six_kinds(ids: list[str]) -> list[dict[str, Any]]:
    """Verdicts on a batch, the last three of which were parked before."""
    kinds: list[dict[str, Any]] = [
        {'verdict': 'delete'},
        {'verdict': 'release'},
        {'verdict': 'release', 'delay': 30},
        {'verdict': 'touch', 'ttl': 600},
        {'verdict': 'park', 'reason': 'odd'},
        {'verdict': 'kick'},
    ]
    per_kind = [3, 3, 3, 4, 4, 3]
    spread = [kind for kind, count in zip(kinds, per_kind, strict=True) for _ in range(count)]
    return [{'id': message, **kind} for message, kind in zip(ids, spread, strict=True)]


def test_a_batch_of_twenty_gets_six_kinds_of_verdict_in_one_request(
    api: LaterApi, ids: list[str], age: Age
) -> None:
    claim = api.claim(limit=20)
    give(api, claim, *({'id': message, 'verdict': 'park'} for message in ids[17:]))

    response = give(api, claim, *six_kinds(ids))

    after = ['gone'] * 3 + ['ready'] * 3 + ['delayed'] * 3 + ['claimed'] * 4
    after += ['parked'] * 4 + ['ready'] * 3
    assert results(response) == [('done', state) for state in after]
    assert [entry['id'] for entry in response.json['verdicts']] == ids
    assert response.json['verdicts'][5] == {
        'id': ids[5],
        'verdict': 'release',
        'result': 'done',
        'state': 'ready',
    }
    assert states(api) == {
        'ready': ids[3:6] + ids[17:],
        'claimed': ids[9:13],
        'delayed': ids[6:9],
        'parked': ids[13:17],
    }
    age(101)
    assert [id_of(path) for path in api.claim(limit=20).held] == ids[3:9] + ids[17:]


def test_after_the_claim_expired_and_another_took_half_no_verdict_changes_anything(
    api: LaterApi, ids: list[str], age: Age
) -> None:
    stale = api.claim(limit=20)
    age(101)
    other = api.claim(limit=10)
    taken = {id_of(path) for path in other.held}
    before = states(api)

    response = give(api, stale, *six_kinds(ids))

    expected = [('taken', 'claimed') if i in taken else ('expired', 'ready') for i in ids[:17]]
    expected += [('not_parked', 'claimed' if i in taken else 'ready') for i in ids[17:]]
    assert results(response) == expected
    assert states(api) == before


def test_an_entry_that_cannot_be_done_spoils_no_other(api: LaterApi, ids: list[str]) -> None:
    claim = api.claim(limit=1)

    response = give(
        api,
        claim,
        {'id': 'nonsense', 'verdict': 'delete'},
        {'id': ids[5], 'verdict': 'delete'},
        {'id': ids[0], 'verdict': 'delete'},
    )

    assert results(response) == [('gone', 'gone'), ('not_in_claim', 'ready'), ('done', 'gone')]


MALFORMED: dict[str, Any] = {
    'none': {'verdicts': []},
    'no list': {'verdicts': {}},
    'missing': {},
    'an array': [],
    'text': '.',
    'a number': {'verdicts': [1]},
    'no id': {'verdicts': [{'verdict': 'delete'}]},
    'no verdict': {'verdicts': [{'id': 'x'}]},
    'an unknown verdict': {'verdicts': [{'id': 'x', 'verdict': 'forget'}]},
    'a wrong delay': {'verdicts': [{'id': 'x', 'verdict': 'release', 'delay': 901}]},
    'a negative delay': {'verdicts': [{'id': 'x', 'verdict': 'release', 'delay': -1}]},
    'a delay in words': {'verdicts': [{'id': 'x', 'verdict': 'release', 'delay': '5'}]},
    'a delay that does not fit': {'verdicts': [{'id': 'x', 'verdict': 'touch', 'delay': 5}]},
    'a ttl that does not fit': {'verdicts': [{'id': 'x', 'verdict': 'delete', 'ttl': 60}]},
    'a wrong ttl': {'verdicts': [{'id': 'x', 'verdict': 'touch', 'ttl': 59}]},
    'a wrong grace': {'verdicts': [{'id': 'x', 'verdict': 'touch', 'grace': 59}]},
    'a long reason': {'verdicts': [{'id': 'x', 'verdict': 'park', 'reason': 'x' * 1001}]},
    'a reason with a NUL': {'verdicts': [{'id': 'x', 'verdict': 'park', 'reason': 'a\0'}]},
    'a reason that is no text': {'verdicts': [{'id': 'x', 'verdict': 'park', 'reason': 5}]},
    'two on one message': {'verdicts': [{'id': 'x', 'verdict': 'delete'}] * 2},
    'too many': {'verdicts': [{'id': str(n), 'verdict': 'delete'} for n in range(101)]},
}


@pytest.mark.parametrize('body', MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_refused(api: LaterApi, body: Any) -> None:
    response = api.post(f'{api.queue}/claims/{NO_CLAIM}/verdicts', body)

    assert refusal(response)[0] == 400


def test_a_malformed_entry_spoils_the_whole_request(api: LaterApi, ids: list[str]) -> None:
    claim = api.claim(limit=1)

    response = give(
        api, claim, {'id': ids[0], 'verdict': 'delete'}, {'id': ids[1], 'verdict': 'forget'}
    )

    assert response.status_int == 400
    assert response.json['description'] == (
        "verdict must be one of delete, release, touch, park, kick, not 'forget'."
    )
    assert states(api)['claimed'] == ids[:1]


def test_a_member_that_is_null_is_as_good_as_absent(api: LaterApi, ids: list[str]) -> None:
    claim = api.claim(limit=1)
    rest = {'delay': None, 'ttl': None, 'grace': None, 'reason': None}

    assert results(give(api, claim, {'id': ids[0], 'verdict': 'delete', **rest})) == [
        ('done', 'gone')
    ]


def test_other_projects_cannot_judge(api: LaterApi, ids: list[str]) -> None:
    claim = api.claim(limit=1)
    body = {'verdicts': [{'id': ids[0], 'verdict': 'delete'}]}

    response = api.post(f'{claim.href}/verdicts', body, project='another')

    assert results(response) == [('gone', 'gone')]
    assert states(api)['claimed'] == ids[:1]


# ---------------------------------------------------------------- heartbeat


def test_a_heartbeat_renews_and_tells_of_each_message(
    api: LaterApi, ids: list[str], age: Age
) -> None:
    claim = api.claim(limit=3)
    give(api, claim, {'id': ids[0], 'verdict': 'delete'})
    age(90)

    response = api.post(f'{claim.href}/heartbeat', {'ttl': 200})

    assert response.json['verdicts'] == [
        {'id': ids[0], 'verdict': 'touch', 'result': 'gone', 'state': 'gone'},
        {'id': ids[1], 'verdict': 'touch', 'result': 'done', 'state': 'claimed'},
        {'id': ids[2], 'verdict': 'touch', 'result': 'done', 'state': 'claimed'},
    ]
    age(190)
    assert states(api)['claimed'] == ids[1:3]
    assert api.get(claim.href).json['ttl'] == 200


def test_a_heartbeat_needs_no_body(api: LaterApi, ids: list[str]) -> None:
    claim = api.claim(limit=1)

    assert results(api.post(f'{claim.href}/heartbeat')) == [('done', 'claimed')]
    assert api.get(claim.href).json['ttl'] == 300


def test_a_heartbeat_of_a_claim_that_is_over_tells_so(
    api: LaterApi, ids: list[str], age: Age
) -> None:
    claim = api.claim(limit=1)
    age(101)

    assert results(api.post(f'{claim.href}/heartbeat')) == [('expired', 'ready')]


def test_a_heartbeat_of_no_claim_is_not_found(api: LaterApi) -> None:
    response = api.post(f'{api.queue}/claims/{NO_CLAIM}/heartbeat')

    assert refusal(response) == (404, 'Not found')


# ---------------------------------------------------------------- one message


def path_of(api: LaterApi, message: str, action: str, claim: Claim | None = None) -> str:
    query = f'?claim_id={claim.id}' if claim else ''
    return f'{api.queue}/messages/{message}/{action}{query}'


@pytest.mark.parametrize(
    ('action', 'body', 'state'),
    [
        ('touch', None, 'claimed'),
        ('touch', {'ttl': 600, 'grace': 60}, 'claimed'),
        ('release', None, 'ready'),
        ('release', {}, 'ready'),
        ('release', {'delay': 30}, 'delayed'),
        ('park', None, 'parked'),
        ('park', {'reason': 'odd'}, 'parked'),
    ],
)
def test_one_message_of_a_claim(
    api: LaterApi, ids: list[str], action: str, body: Any, state: str
) -> None:
    claim = api.claim(limit=2)

    response = api.post(path_of(api, ids[0], action, claim), body)

    assert response.status_int == 204
    assert is_empty(response)
    assert ids[0] in states(api)[state]
    assert ids[1] in states(api)['claimed']


def test_the_href_of_a_claimed_message_leads_to_its_verdicts(api: LaterApi, ids: list[str]) -> None:
    """As `DELETE href` is a worker's delete, so is `POST href` with the verdict put in."""
    [message] = api.claim(limit=1).messages
    path, _, query = message['href'].partition('?')

    assert api.post(f'{path}/release?{query}').status_int == 204


def test_a_parked_message_is_kicked(api: LaterApi, ids: list[str]) -> None:
    assert api.post(path_of(api, ids[0], 'park')).status_int == 204

    assert api.post(path_of(api, ids[0], 'kick')).status_int == 204

    assert ids[0] in states(api)['ready']


def test_parking_twice_is_parking(api: LaterApi, ids: list[str]) -> None:
    claim = api.claim(limit=1)

    for _ in range(2):
        assert api.post(path_of(api, ids[0], 'park', claim)).status_int == 204


@pytest.mark.parametrize('action', ['touch', 'release', 'park'])
def test_who_does_not_hold_a_message_is_told_why(
    api: LaterApi, ids: list[str], age: Age, action: str
) -> None:
    mine = api.claim(limit=1)

    wrong = mine._replace(href=mine.href[:-36] + NO_CLAIM)
    assert refusal(api.post(path_of(api, ids[0], action, wrong))) == (403, 'Unable to change')
    assert refusal(api.post(path_of(api, ids[5], action, mine))) == (400, 'Unable to change')
    assert refusal(api.post(path_of(api, NO_MESSAGE, action, mine))) == (404, 'Not found')
    age(101)
    assert refusal(api.post(path_of(api, ids[0], action, mine))) == (400, 'Unable to change')


@pytest.mark.parametrize('action', ['touch', 'release'])
def test_a_claim_must_be_named(api: LaterApi, ids: list[str], action: str) -> None:
    assert refusal(api.post(path_of(api, ids[0], action))) == (400, 'Missing parameter')


def test_only_parked_messages_are_kicked(api: LaterApi, ids: list[str]) -> None:
    assert refusal(api.post(path_of(api, ids[0], 'kick'))) == (409, 'Resource conflict')
    assert refusal(api.post(path_of(api, NO_MESSAGE, 'kick'))) == (404, 'Not found')


@pytest.mark.parametrize(
    ('action', 'body'),
    [
        ('touch', {'ttl': 59}),
        ('touch', {'grace': 59}),
        ('touch', []),
        ('release', {'delay': 901}),
        ('release', {'delay': 'x'}),
        ('park', {'reason': 'x' * 1001}),
        ('park', '['),
    ],
)
def test_terms_out_of_range_change_nothing(
    api: LaterApi, ids: list[str], action: str, body: Any
) -> None:
    claim = api.claim(limit=1)

    assert refusal(api.post(path_of(api, ids[0], action, claim), body))[0] == 400

    assert states(api)['claimed'] == ids[:1]


# ---------------------------------------------------------------- parked ones in bulk


@pytest.fixture
def parked(api: LaterApi, ids: list[str]) -> list[str]:
    for message in ids[:5]:
        api.post(path_of(api, message, 'park'), {'reason': f'not {message}'})
    return ids[:5]


def test_parked_messages_are_counted_and_listed_on_request(
    api: LaterApi, ids: list[str], parked: list[str]
) -> None:
    counts = api.stats()

    assert (counts['free'], counts['parked'], counts['total']) == (15, 5, 20)
    assert [message['id'] for message in api.listed('echo=true&limit=20')] == ids[5:]
    assert states(api)['parked'] == parked


def test_a_page_of_parked_messages_tells_why_they_are(
    api: LaterApi, ids: list[str], parked: list[str]
) -> None:
    api.post(path_of(api, ids[5], 'park'))
    whole = {'id', 'href', 'ttl', 'age', 'body'}

    page = api.listed('echo=true&state=parked')

    assert [message['reason'] for message in page] == [f'not {id}' for id in parked] + [None]
    assert all(message.keys() == whole | {'claim_count', 'reason'} for message in page)
    [other, *_] = api.listed('echo=true&state=ready')
    assert other.keys() == whole | {'claim_count'}
    [without_state, *_] = api.listed('echo=true')
    assert without_state.keys() == whole


def test_all_of_them_are_kicked(api: LaterApi, parked: list[str]) -> None:
    response = api.post(f'{api.queue}/kick')

    assert response.json == {'kicked': 5}
    assert states(api)['parked'] == []


def test_the_oldest_of_them_are_kicked(api: LaterApi, parked: list[str]) -> None:
    response = api.post(f'{api.queue}/kick', {'limit': 2})

    assert response.json == {'kicked': 2}
    assert states(api)['parked'] == parked[2:]


def test_a_kick_of_very_many_says_that_there_are_more(
    api: LaterApi, ids: list[str], sql: Callable[..., Any]
) -> None:
    park_many(sql)

    assert api.post(f'{api.queue}/kick').json == {'kicked': 10_000, 'more': True}
    assert api.post(f'{api.queue}/kick').json == {'kicked': 100}


def test_a_purge_of_very_many_parked_messages_says_that_it_is_not_finished(
    api: LaterApi, ids: list[str], sql: Callable[..., Any]
) -> None:
    park_many(sql)
    parked_ones = {'resource_types': ['parked']}

    unfinished = api.post(f'{api.queue}/purge', parked_ones)
    assert unfinished.status_int == 503
    assert 'send the same request again' in unfinished.json['description']
    assert api.stats()['parked'] == 100
    assert api.post(f'{api.queue}/purge', parked_ones).status_int == 204
    assert api.stats()['parked'] == 0


def park_many(sql: Callable[..., Any]) -> None:
    """Park more messages than one request changes, by 100."""
    sql("""
        INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
        SELECT queue_id, floor + g, 'infinity', 'infinity', gen_random_uuid(), 60
          FROM queues, generate_series(1, 10100) AS g;
        INSERT INTO messages SELECT queue_id, id, now(), '1' FROM message_states
            ON CONFLICT DO NOTHING""")


def test_a_kick_in_a_queue_that_is_missing_finds_none(api: LaterApi) -> None:
    assert api.post('/v2/queues/none/kick').json == {'kicked': 0}


def test_a_purge_can_be_of_them_alone(api: LaterApi, ids: list[str], parked: list[str]) -> None:
    response = api.post(f'{api.queue}/purge', {'resource_types': ['parked']})

    assert response.status_int == 204
    assert states(api)['parked'] == []
    assert states(api)['ready'] == ids[5:]


def test_a_purge_of_messages_takes_them_too(api: LaterApi, parked: list[str]) -> None:
    api.post(f'{api.queue}/purge')

    assert api.stats()['total'] == 0
