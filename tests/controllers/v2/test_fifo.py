"""FIFO queues: groups in order, and one message of each deduplication id."""

from collections.abc import Callable
from typing import Any

import pytest

from ..client import JSON_PATCH, LaterApi, bodies, id_of, refusal

Age = Callable[[int], None]


@pytest.fixture
def fifo(api: LaterApi) -> LaterApi:
    """A client whose queue is FIFO."""
    api.make_queue(metadata={'_fifo': True})
    return api


def post(api: LaterApi, *messages: dict[str, Any]) -> Any:
    return api.post(f'{api.queue}/messages', {'messages': list(messages)})


def new(body: Any, group: str = 'a', id: str | None = None, **more: Any) -> dict[str, Any]:
    return {'body': body, 'group': group, 'deduplication_id': id or str(body), **more}


def test_messages_of_a_group_come_in_order_as_far_as_they_go(fifo: LaterApi) -> None:
    post(fifo, new(1, 'a'), new(2, 'b'), new(3, 'a'))
    post(fifo, new(4, 'b'), new(5, 'a'))

    assert bodies(fifo.claim(limit=4).messages) in ([1, 3, 5, 2], [2, 4, 1, 3])


def test_a_group_of_which_a_message_is_claimed_gives_nothing(fifo: LaterApi) -> None:
    post(fifo, new(1, 'a'), new(2, 'a'), new(3, 'b'))
    fifo.claim(limit=1)

    assert bodies(fifo.claim(limit=10).messages) in ([3], [1, 2])
    assert fifo.post(f'{fifo.queue}/claims').status_int == 204


def test_the_next_message_comes_when_the_first_is_deleted(fifo: LaterApi) -> None:
    post(fifo, new(1), new(2))
    claim = fifo.claim(limit=1)

    assert fifo.delete(claim.messages[0]['href']).status_int == 204

    assert bodies(fifo.claim(limit=1).messages) == [2]


def test_of_messages_that_are_partly_released_the_first_come_alone(fifo: LaterApi) -> None:
    post(fifo, new('foo'), new('bar'), new('baz'))
    claim = fifo.claim(limit=10)
    released = {'verdicts': [{'id': claim.messages[0]['id'], 'verdict': 'release'}]}
    assert fifo.post(f'{claim.href}/verdicts', released).status_int == 200

    assert bodies(fifo.claim(limit=10).messages) == ['foo']
    released['verdicts'][0]['id'] = claim.messages[2]['id']
    assert fifo.post(f'{claim.href}/verdicts', released).status_int == 200
    assert fifo.post(f'{fifo.queue}/claims').status_int == 204


def test_the_rest_of_a_group_waits_for_a_message_that_is_delayed(fifo: LaterApi, age: Age) -> None:
    post(fifo, new(1, delay=30), new(2))
    assert fifo.post(f'{fifo.queue}/claims').status_int == 204

    age(31)

    assert bodies(fifo.claim(limit=10).messages) == [1, 2]


def test_a_group_does_not_wait_for_a_parked_message(fifo: LaterApi) -> None:
    post(fifo, new(1), new(2))
    claim = fifo.claim(limit=1)
    fifo.post(f'{claim.held[0]}/park?claim_id={claim.id}')

    assert bodies(fifo.claim(limit=10).messages) == [2]


def test_a_parked_message_comes_back_to_its_place(fifo: LaterApi) -> None:
    post(fifo, new(1), new(2))
    claim = fifo.claim(limit=1)
    fifo.post(f'{claim.held[0]}/park?claim_id={claim.id}')
    fifo.claim(limit=10)
    fifo.post(f'{fifo.queue}/kick')

    assert bodies(fifo.claim(limit=10).messages) == [1]


@pytest.mark.parametrize('look', ['claim', 'of the claim', 'list', 'list by state', 'get', 'pop'])
def test_messages_tell_their_group_and_their_sequence(fifo: LaterApi, look: str) -> None:
    post(fifo, new(1), new(2))
    if look == 'claim':
        found = fifo.claim().messages
    elif look == 'of the claim':
        found = fifo.get(fifo.claim().href).json['messages']
    elif look == 'pop':
        found = fifo.popped()
    elif look == 'get':
        found = [fifo.get(f'{fifo.queue}/messages/{one["id"]}').json for one in fifo.listed()]
    else:
        found = fifo.listed('echo=true' if look == 'list' else 'state=ready')

    assert [message['group'] for message in found] == ['a', 'a']
    first, second = (message['sequence'] for message in found)
    assert first < second
    assert len(first) == len(second) == 20


def test_a_message_is_stored_once_and_its_repetitions_get_its_path(
    fifo: LaterApi, age: Age
) -> None:
    first = post(fifo, new('first', id='x')).json['resources']

    assert post(fifo, new('again', id='x')).json['resources'] == first
    age(290)
    assert post(fifo, new('again', 'b', id='x')).json['resources'] == first
    assert bodies(fifo.listed()) == ['first']
    age(20)
    assert post(fifo, new('later', id='x')).json['resources'] != first


def test_a_message_that_was_deleted_is_not_stored_again(fifo: LaterApi) -> None:
    [path] = first = post(fifo, new('first', id='x')).json['resources']
    fifo.delete(path)

    assert post(fifo, new('again', id='x')).json['resources'] == first
    assert fifo.listed() == []


def test_of_messages_in_one_post_the_first_is_stored(fifo: LaterApi) -> None:
    paths = post(fifo, new(1, id='x'), new(2, id='y'), new(3, id='x')).json['resources']

    assert paths[0] == paths[2] != paths[1]
    assert bodies(fifo.claim().messages) == [1, 2]


def test_a_message_is_known_by_its_content_if_the_queue_says_so(api: LaterApi) -> None:
    api.make_queue(metadata={'_fifo': True, '_content_based_deduplication': True})

    first = post(api, {'body': {'a': 1}, 'group': 'a'}).json['resources']
    again = post(api, {'body': {'a': 1}, 'group': 'b'}).json['resources']
    other = post(api, {'body': {'a': 1}, 'group': 'a', 'deduplication_id': 'x'}).json['resources']

    assert again == first != other


def test_each_group_has_deduplication_ids_of_its_own_if_the_queue_says_so(api: LaterApi) -> None:
    api.make_queue(metadata={'_fifo': True, '_deduplication_scope': 'group'})

    first = post(api, new(1, 'a', 'x')).json['resources']

    assert post(api, new(1, 'a', 'x')).json['resources'] == first
    assert post(api, new(1, 'b', 'x')).json['resources'] != first


@pytest.mark.parametrize(
    ('message', 'told'),
    [
        ({'body': 1, 'deduplication_id': 'x'}, 'must have a group'),
        ({'body': 1, 'group': 'a'}, 'must have a deduplication_id'),
        ({'body': 1, 'group': '', 'deduplication_id': 'x'}, 'group must have 1 to 128'),
        ({'body': 1, 'group': 'a b', 'deduplication_id': 'x'}, 'group must have 1 to 128'),
        ({'body': 1, 'group': 'ä', 'deduplication_id': 'x'}, 'group must have 1 to 128'),
        ({'body': 1, 'group': 'a', 'deduplication_id': 'x' * 129}, 'deduplication_id must have'),
    ],
)
def test_a_message_without_what_the_queue_needs_is_refused(
    fifo: LaterApi, message: dict[str, Any], told: str
) -> None:
    response = post(fifo, new('good'), message)

    assert refusal(response)[0] == 400
    assert told in response.json['description']
    assert fifo.listed() == []


def test_an_idempotency_key_is_refused(fifo: LaterApi) -> None:
    headers = {'Idempotency-Key': 'x'}
    response = fifo.post(f'{fifo.queue}/messages', {'messages': [new(1)]}, headers=headers)

    assert refusal(response)[0] == 400


def test_versions_without_groups_cannot_post_to_a_fifo_queue(fifo: LaterApi) -> None:
    response = fifo.post('/v1.1/queues/jobs/messages', {'messages': [{'body': 1}]})

    assert refusal(response)[0] == 400


@pytest.mark.parametrize(
    'metadata',
    [
        {'_fifo': 1},
        {'_fifo': True, '_content_based_deduplication': 'yes'},
        {'_fifo': True, '_deduplication_scope': 'messageGroup'},
    ],
)
def test_a_malformed_attribute_is_refused(api: LaterApi, metadata: dict[str, Any]) -> None:
    assert refusal(api.put(api.queue, metadata))[0] == 400


@pytest.mark.parametrize('was_fifo', [True, False])
def test_a_queue_stays_as_it_was_made(api: LaterApi, was_fifo: bool) -> None:
    api.make_queue(metadata={'_fifo': was_fifo})
    change = [{'op': 'replace', 'path': '/metadata/_fifo', 'value': not was_fifo}]

    refused = api.patch(api.queue, change, headers={'Content-Type': JSON_PATCH})
    replaced = api.put(
        '/v1/queues/jobs/metadata', {} if was_fifo else {'_fifo': True}, project='acme'
    )

    assert refusal(refused)[0] == replaced.status_int == 400
    assert api.get(api.queue).json['_fifo'] is was_fifo


def test_dead_letters_keep_their_group_and_their_order(api: LaterApi) -> None:
    dead = api.make_queue('dead', metadata={'_fifo': True})
    api.make_queue(metadata={'_fifo': True, '_max_claim_count': 1, '_dead_letter_queue': 'dead'})
    post(api, new(1, id='x'), new(2), new(3))
    api.delete(api.claim(limit=2).href)

    assert bodies(api.claim(limit=10).messages) == [3]
    letters = api.claim(queue=dead).messages
    assert bodies(letters) == [1, 2]
    assert [message['group'] for message in letters] == ['a', 'a']


def test_dead_letters_are_parked_if_their_queue_is_not_fifo(api: LaterApi) -> None:
    api.make_queue('dead')
    api.make_queue(metadata={'_fifo': True, '_max_claim_count': 1, '_dead_letter_queue': 'dead'})
    post(api, new(1), new(2))
    api.delete(api.claim(limit=1).href)

    assert bodies(api.claim(limit=10).messages) == [2]
    assert bodies(api.listed('state=parked')) == [1]


def test_a_fifo_queue_gets_no_copies(api: LaterApi) -> None:
    target = api.make_queue('target', metadata={'_fifo': True})
    api.make_queue()
    api.post(f'{api.queue}/subscriptions', {'subscriber': 'queue:target'})

    api.post_messages(1)

    assert api.listed(queue=target) == []


def test_copies_of_what_is_posted_to_a_fifo_queue_have_no_group(api: LaterApi) -> None:
    target = api.make_queue('target')
    api.make_queue(metadata={'_fifo': True})
    api.post(f'{api.queue}/subscriptions', {'subscriber': 'queue:target'})

    post(api, new(1), new(2), new(1))

    copies = api.listed(queue=target)
    assert bodies(copies) == [1, 2]
    assert 'group' not in copies[0]
    assert bodies(api.claim().messages) == [1, 2]


def test_a_message_in_a_fifo_queue_can_ask_for_a_reply(fifo: LaterApi) -> None:
    [path] = post(fifo, new('question', reply=True)).json['resources']
    claim = fifo.claim()
    fifo.post(f'{path}/reply?claim_id={id_of(claim.href)}', '"answer"')

    assert fifo.get(f'{path}/reply').json['reply'] == 'answer'


def test_a_group_does_no_more_than_to_be_shown_in_another_queue(api: LaterApi) -> None:
    api.make_queue()
    post(api, {'body': 1, 'group': 'a'}, {'body': 2}, {'body': 3, 'group': 'a'})
    api.claim(limit=1)

    messages = api.claim(limit=10).messages
    assert bodies(messages) == [2, 3]
    assert [message.get('group') for message in messages] == [None, 'a']
    assert 'sequence' not in messages[1]


def test_a_deduplication_id_is_refused_in_another_queue(api: LaterApi) -> None:
    api.make_queue()

    assert refusal(post(api, new(1)))[0] == 400


def test_what_was_purged_is_not_waited_for(fifo: LaterApi) -> None:
    post(fifo, new(1), new(2))
    fifo.claim(limit=1)
    post(fifo, new(3, 'b', delay=30))
    fifo.post(f'{fifo.queue}/purge', {'resource_types': ['messages']})
    post(fifo, new(4, 'b'))

    assert bodies(fifo.claim().messages) == [4]


def test_a_queue_that_is_made_anew_begins_anew(fifo: LaterApi) -> None:
    first = post(fifo, new(1)).json['resources']
    fifo.claim()
    fifo.delete(fifo.queue)
    fifo.make_queue(metadata={'_fifo': True})

    assert post(fifo, new(1)).json['resources'] != first
    assert bodies(fifo.claim().messages) == [1]
