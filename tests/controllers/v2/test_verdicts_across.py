"""Verdicts on messages of several queues and claims in one request."""

from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestResponse

from ..client import NO_CLAIM, NO_MESSAGE, LaterApi, id_of, refusal

Age = Callable[[int], None]


def give(api: LaterApi, *verdicts: dict[str, Any], **options: Any) -> TestResponse:
    return api.post('/v2/verdicts', {'verdicts': list(verdicts)}, **options)


def results(response: TestResponse) -> list[tuple[str, str]]:
    assert response.status_int == 200, response.text
    return [(entry['result'], entry['state']) for entry in response.json['verdicts']]


def claimed(api: LaterApi, *queues: str) -> list[dict[str, str]]:
    """What names each message of a claim across the queues, after three were posted to each."""
    for queue in queues:
        api.post_messages(1, 2, 3, queue=f'/v2/queues/{queue}')
    response = api.post('/v2/claims', {'queues': [{'name': name} for name in queues], 'ttl': 100})
    messages = response.json['messages']
    return [{name: held[name] for name in ('queue', 'claim_id', 'id')} for held in messages]


def test_messages_of_several_queues_are_settled_in_one_request(api: LaterApi) -> None:
    held = claimed(api, 'urgent', 'normal')
    kinds: list[dict[str, Any]] = [
        {'verdict': 'delete'},
        {'verdict': 'release', 'delay': 30},
        {'verdict': 'park', 'reason': 'odd'},
    ] * 2

    response = give(api, *({**one, **kind} for one, kind in zip(held, kinds, strict=True)))

    assert results(response) == [('done', 'gone'), ('done', 'delayed'), ('done', 'parked')] * 2
    assert response.json['verdicts'][3] == {
        'queue': 'normal',
        'claim_id': held[3]['claim_id'],
        'id': held[3]['id'],
        'verdict': 'delete',
        'result': 'done',
        'state': 'gone',
    }


def test_the_answers_stand_in_the_order_of_the_request(api: LaterApi) -> None:
    held = claimed(api, 'urgent', 'normal')
    mixed = [held[place] for place in (5, 0, 3, 2, 4, 1)]

    response = give(api, *({**one, 'verdict': 'delete'} for one in mixed))

    assert [entry['id'] for entry in response.json['verdicts']] == [one['id'] for one in mixed]
    assert set(results(response)) == {('done', 'gone')}


def test_messages_of_several_claims_of_a_queue_are_settled_by_the_claim_of_each(
    api: LaterApi,
) -> None:
    api.post_messages(1, 2, 3)
    claims = [api.claim(limit=1) for _ in range(3)]
    ids = [id_of(path) for claim in claims for path in claim.held]
    holders = [id_of(claim.href) for claim in claims]

    response = give(
        api,
        *(
            {'queue': 'jobs', 'claim_id': holder, 'id': message, 'verdict': 'delete'}
            for holder, message in zip([holders[0], holders[2], holders[2]], ids, strict=True)
        ),
    )

    assert results(response) == [('done', 'gone'), ('taken', 'claimed'), ('done', 'gone')]


def test_a_touch_lengthens_the_claim_of_its_message_alone(api: LaterApi, age: Age) -> None:
    api.post_messages(1, 2, ttl=1000)
    first, second = api.claim(limit=1), api.claim(limit=1)
    message = id_of(first.held[0])

    entry = {'queue': 'jobs', 'claim_id': id_of(first.href), 'id': message, 'ttl': 600}
    assert results(give(api, {**entry, 'verdict': 'touch'})) == [('done', 'claimed')]

    age(101)
    assert api.exists(first.href)
    assert not api.exists(second.href)


def test_an_entry_that_cannot_be_done_spoils_no_other(api: LaterApi, age: Age) -> None:
    stale = claimed(api, 'stale')
    age(101)
    held = claimed(api, 'urgent')
    good = {**held[0], 'verdict': 'delete'}

    response = give(
        api,
        {**held[1], 'queue': 'none', 'verdict': 'delete'},
        {**held[1], 'claim_id': NO_CLAIM, 'verdict': 'delete'},
        {**held[1], 'id': NO_MESSAGE, 'verdict': 'release'},
        {**held[2], 'claim_id': 'no claim', 'id': 'no message', 'verdict': 'park'},
        {**stale[0], 'verdict': 'delete'},
        {**held[2], 'verdict': 'kick'},
        good,
    )

    assert results(response) == [
        ('gone', 'gone'),
        ('taken', 'claimed'),
        ('gone', 'gone'),
        ('gone', 'gone'),
        ('expired', 'ready'),
        ('not_parked', 'claimed'),
        ('done', 'gone'),
    ]


def test_it_says_what_the_request_about_one_claim_says(api: LaterApi) -> None:
    held = claimed(api, 'urgent')
    kinds: list[dict[str, Any]] = [{'verdict': 'release'}, {'verdict': 'kick'}, {'verdict': 'park'}]
    asked = [{**one, **kind} for one, kind in zip(held, kinds, strict=True)]
    path = f'/v2/queues/urgent/claims/{held[0]["claim_id"]}/verdicts'

    across = give(api, *asked).json['verdicts']
    # A second time nothing is done, and both say why.
    again = give(api, *asked).json['verdicts']
    single = api.post(path, {'verdicts': asked}).json['verdicts']

    assert [entry['result'] for entry in across] == ['done', 'not_parked', 'done']
    assert [{name: entry[name] for name in single[0]} for entry in again] == single


def test_a_key_is_accepted_and_changes_nothing(api: LaterApi) -> None:
    [first, second, _] = claimed(api, 'urgent')
    key = {'Idempotency-Key': 'key'}

    for one, result in (first, 'done'), (first, 'gone'), (second, 'done'):
        response = give(api, {**one, 'verdict': 'delete'}, headers=key)
        assert results(response) == [(result, 'gone')]


def test_another_project_settles_nothing(api: LaterApi) -> None:
    [first, *_] = claimed(api, 'urgent')

    response = give(api, {**first, 'verdict': 'delete'}, project='another')

    assert results(response) == [('gone', 'gone')]
    assert results(give(api, {**first, 'verdict': 'delete'})) == [('done', 'gone')]


_ENTRY = {'queue': 'jobs', 'claim_id': NO_CLAIM, 'id': 'x', 'verdict': 'delete'}
MALFORMED: dict[str, Any] = {
    'none': [],
    'no queue': [{name: _ENTRY[name] for name in ('claim_id', 'id', 'verdict')}],
    'no claim': [{name: _ENTRY[name] for name in ('queue', 'id', 'verdict')}],
    'no message': [{name: _ENTRY[name] for name in ('queue', 'claim_id', 'verdict')}],
    'no verdict': [{name: _ENTRY[name] for name in ('queue', 'claim_id', 'id')}],
    'an unknown verdict': [{**_ENTRY, 'verdict': 'forget'}],
    'a delay that does not fit': [{**_ENTRY, 'delay': 5}],
    'a wrong delay': [{**_ENTRY, 'verdict': 'release', 'delay': 901}],
    'a bad name': [{**_ENTRY, 'queue': 'a b'}],
    'an empty name': [{**_ENTRY, 'queue': ''}],
    'two on one message': [_ENTRY, {**_ENTRY, 'claim_id': 'y'}],
    'too many': [{**_ENTRY, 'id': str(number)} for number in range(101)],
    'too many queues': [{**_ENTRY, 'queue': f'q{number}'} for number in range(21)],
}


@pytest.mark.parametrize('verdicts', MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_entry_is_refused_before_anything_is_done(
    api: LaterApi, verdicts: list[dict[str, Any]]
) -> None:
    [first, *_] = claimed(api, 'urgent')

    response = give(api, {**first, 'verdict': 'delete'}, *verdicts) if verdicts else give(api)

    assert refusal(response)[0] == 400
    assert results(give(api, {**first, 'verdict': 'delete'})) == [('done', 'gone')]


def test_one_message_id_may_be_named_in_two_queues(api: LaterApi) -> None:
    response = give(api, _ENTRY, {**_ENTRY, 'queue': 'other'})

    assert results(response) == [('gone', 'gone')] * 2
