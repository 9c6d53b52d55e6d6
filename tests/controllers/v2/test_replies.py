"""Request and reply: a message asks for a reply, and the worker that deletes it gives one."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestResponse

from marconi_api import limits, model
from marconi_api.model import QueueKey

from ..client import NO_CLAIM, NO_MESSAGE, PROJECT, Claim, LaterApi, bodies, id_of, refusal

Age = Callable[[int], None]


def asking(api: LaterApi, *questions: Any, queue: str | None = None, **members: Any) -> list[str]:
    """The paths of new messages that ask for a reply, one for each body."""
    messages = [{'body': body, 'reply': True, **members} for body in questions]
    response = api.post(f'{queue or api.queue}/messages', {'messages': messages})
    assert response.status_int == 201, response.text
    paths: list[str] = response.json['resources']
    return paths


def give(
    api: LaterApi, claim: Claim, message: str, answer: Any, queue: str | None = None
) -> TestResponse:
    """Delete a message of a claim with a reply."""
    return give_text(api, claim, message, json.dumps(answer), queue)


def give_text(
    api: LaterApi, claim: Claim, message: str, text: str | bytes, queue: str | None = None
) -> TestResponse:
    """The same with the reply's JSON text."""
    path = f'{queue or api.queue}/messages/{id_of(message)}/reply'
    return api.post(f'{path}?claim_id={id_of(claim.href)}', text)


def found(api: LaterApi, path: str, **options: Any) -> tuple[int, Any]:
    """What is said of the reply to a message."""
    response = api.get(f'{path}/reply', **options)
    return response.status_int, response.json


def ended(api: LaterApi, path: str) -> str:
    """Why there is no reply."""
    status, document = found(api, path)
    assert status == 410, document
    assert set(document) == {'title', 'description', 'reason'}
    reason: str = document['reason']
    return reason


def test_a_reply_reaches_who_asked(api: LaterApi) -> None:
    [question] = asking(api, {'what': 'time'})
    claim = api.claim()

    assert give(api, claim, question, {'time': [12, None]}).status_int == 204

    assert found(api, question) == (200, {'reply': {'time': [12, None]}, 'age': 0})
    assert not api.exists(question)


def test_the_answer_to_the_post_is_as_ever(api: LaterApi) -> None:
    message = {'body': 1, 'ttl': 300}

    asked = api.post(f'{api.queue}/messages', {'messages': [{**message, 'reply': True}]})
    other = api.post(f'{api.queue}/messages', {'messages': [message]})

    assert asked.status_int == other.status_int == 201
    assert set(asked.json) == set(other.json) == {'resources'}
    assert set(asked.headers) == set(other.headers)


def test_what_claims_lists_and_versions_show_of_a_message_does_not_tell_that_it_asks(
    api: LaterApi,
) -> None:
    [asks] = asking(api, 1, ttl=300)
    [other] = api.post_messages(1)

    def members(path: str) -> set[str]:
        return set(api.get(path).json)

    assert members(asks) == members(other)
    assert members(asks.replace('/v2/', '/v1.1/')) == members(other.replace('/v2/', '/v1.1/'))
    first, second = api.listed('echo=true')
    assert set(first) == set(second)
    first, second = api.claim().messages
    assert set(first) == set(second)


@pytest.mark.parametrize('metadata', [True, False, None])
@pytest.mark.parametrize('member', [True, False, None])
def test_a_message_asks_if_it_says_so_or_else_if_its_queue_does(
    api: LaterApi, metadata: bool | None, member: bool | None
) -> None:
    api.make_queue(metadata={'_default_reply': metadata})

    [path] = asking(api, 1, reply=member)

    asks = metadata if member is None else member
    assert found(api, path)[0] == (202 if asks else 404)


def test_the_default_of_a_queue_can_be_patched(api: LaterApi) -> None:
    add = {'op': 'add', 'path': '/metadata/_default_reply', 'value': True}
    api.make_queue()
    api.post_messages(1)
    assert api.change(add).json['_default_reply'] is True

    [path] = api.post_messages(1)
    assert found(api, path)[0] == 202

    assert api.change({'op': 'remove', 'path': '/metadata/_default_reply'}).status_int == 200
    [path] = api.post_messages(1)
    assert found(api, path)[0] == 404


def test_a_queue_that_sets_no_default_shows_none(api: LaterApi) -> None:
    api.make_queue()

    assert '_default_reply' not in api.get(api.queue).json


@pytest.mark.parametrize('value', ['true', 1, [True]])
def test_a_default_that_is_neither_true_nor_false_is_refused(api: LaterApi, value: Any) -> None:
    assert refusal(api.put(api.queue, {'_default_reply': value}))[0] == 400


@pytest.mark.parametrize('value', ['true', 1, 'null', []])
def test_a_message_says_truly_whether_it_asks(api: LaterApi, value: Any) -> None:
    message = {'body': 1, 'reply': value}

    assert refusal(api.post(f'{api.queue}/messages', {'messages': [message]}))[0] == 400


def test_some_messages_of_a_post_may_ask(api: LaterApi) -> None:
    messages = [{'body': body, 'reply': asks} for body, asks in ((1, True), (2, False), (3, True))]
    paths = api.post(f'{api.queue}/messages', {'messages': messages}).json['resources']

    assert [found(api, path)[0] for path in paths] == [202, 404, 202]


def test_messages_of_the_older_versions_ask_for_nothing(api: LaterApi) -> None:
    api.make_queue(metadata={'_default_reply': True})
    [first] = api.post('/v1/queues/jobs/messages', [{'ttl': 300, 'body': 1}]).json['resources']
    message = {'body': 1, 'reply': True}
    response = api.post('/v1.1/queues/jobs/messages', {'messages': [message]})
    [second] = response.json['resources']

    assert found(api, first.replace('/v1/', '/v2/'))[0] == 404
    assert found(api, second.replace('/v1.1/', '/v2/'))[0] == 404


# ---------------------------------------------------------------- to give a reply


@pytest.mark.parametrize('answer', [None, False, 0, '', 'text', [], {}, {'a': {'b': [1, None]}}])
def test_a_reply_is_any_json(api: LaterApi, answer: Any) -> None:
    [first, second] = asking(api, 1, 2)
    claim = api.claim()
    assert give(api, claim, first, answer).status_int == 204
    verdict = {'id': id_of(second), 'verdict': 'delete', 'reply': answer}
    api.post(f'{claim.href}/verdicts', {'verdicts': [verdict]})

    for path in (first, second):
        assert found(api, path) == (200, {'reply': answer, 'age': 0})


def test_a_reply_comes_back_as_it_was_sent(api: LaterApi) -> None:
    [question] = asking(api, 1)
    text = '{"b": 1.0, "a": [1e2, "\\u0000 \\u00e9 \u00e9"], "b": 2, "c":9007199254740993}'

    assert give_text(api, api.claim(), question, f' {text}\n').status_int == 204

    assert f'"reply":{text}' in api.get(f'{question}/reply').text


@pytest.mark.parametrize('text', ['{', '', 'NaN', '[1,]', '"\\ud800"', '1 2', b'"\xff"'])
def test_a_reply_that_is_not_json_is_refused_and_nothing_is_deleted(
    api: LaterApi, text: str | bytes
) -> None:
    [question] = asking(api, 1)
    claim = api.claim()

    assert refusal(give_text(api, claim, question, text)) == (400, 'Invalid request body')
    assert give(api, claim, question, True).status_int == 204


def test_the_verdict_delete_takes_a_reply(api: LaterApi) -> None:
    [question, other] = asking(api, 1, 2)
    claim = api.claim()
    verdicts = [
        {'id': id_of(question), 'verdict': 'delete', 'reply': {'a': 1}},
        {'id': id_of(other), 'verdict': 'release'},
    ]

    response = api.post(f'{claim.href}/verdicts', {'verdicts': verdicts})

    assert [entry['result'] for entry in response.json['verdicts']] == ['done', 'done']
    assert set(response.json['verdicts'][0]) == {'id', 'verdict', 'result', 'state'}
    assert found(api, question) == (200, {'reply': {'a': 1}, 'age': 0})
    assert found(api, other) == (202, {'state': 'waiting'})


def test_verdicts_across_queues_take_replies(api: LaterApi) -> None:
    questions = {name: asking(api, 1, queue=f'/v2/queues/{name}')[0] for name in ('a', 'b')}
    queues = [{'name': name} for name in questions]
    held = api.post('/v2/claims', {'queues': queues}).json['messages']
    verdicts = [
        {name: message[name] for name in ('queue', 'claim_id', 'id')}
        | {'verdict': 'delete', 'reply': message['queue']}
        for message in held
    ]

    assert api.post('/v2/verdicts', {'verdicts': verdicts}).status_int == 200

    for name, question in questions.items():
        assert found(api, question) == (200, {'reply': name, 'age': 0})


@pytest.mark.parametrize('verdict', ['release', 'touch', 'park', 'kick'])
def test_a_reply_goes_with_the_verdict_delete_alone(api: LaterApi, verdict: str) -> None:
    [question] = asking(api, 1)
    entry = {'id': id_of(question), 'verdict': verdict, 'reply': None}

    response = api.post(f'{api.claim().href}/verdicts', {'verdicts': [entry]})

    assert refusal(response)[0] == 400
    assert found(api, question) == (202, {'state': 'claimed'})


def test_a_reply_to_a_message_that_asks_for_none_is_dropped(api: LaterApi) -> None:
    [message] = api.post_messages(1)

    assert give(api, api.claim(), message, 1).status_int == 204

    assert not api.exists(message)
    assert found(api, message)[0] == 404


def test_a_stale_claim_replies_nothing(api: LaterApi, age: Age) -> None:
    [question] = asking(api, 1, ttl=1000)
    stale = api.claim()
    age(101)
    assert refusal(give(api, stale, question, 'late')) == (400, 'Unable to change')
    taker = api.claim()
    verdict = {'id': id_of(question), 'verdict': 'delete', 'reply': 'late'}

    assert refusal(give(api, stale, question, 'late')) == (403, 'Unable to change')
    api.post(f'{stale.href}/verdicts', {'verdicts': [verdict]})

    assert found(api, question) == (202, {'state': 'claimed'})
    assert give(api, taker, question, 'right').status_int == 204
    assert refusal(give(api, stale, question, 'late')) == (404, 'Not found')
    assert found(api, question) == (200, {'reply': 'right', 'age': 0})


def test_a_reply_needs_a_claim(api: LaterApi) -> None:
    [question] = asking(api, 1)

    assert refusal(api.post(f'{question}/reply', 1)) == (400, 'Missing parameter')
    response = api.post(f'{question}/reply?claim_id={NO_CLAIM}', 1)
    assert refusal(response) == (400, 'Unable to change')
    response = api.post(f'{api.queue}/messages/{NO_MESSAGE}/reply?claim_id={NO_CLAIM}', 1)
    assert refusal(response) == (404, 'Not found')
    assert found(api, question) == (202, {'state': 'waiting'})


def test_a_reply_is_no_longer_than_a_post_to_the_queue_may_be(api: LaterApi) -> None:
    api.make_queue(metadata={'_max_messages_post_size': 65536})
    [first, second] = asking(api, 1, 2)
    claim = api.claim()
    longest, longer = 'x' * 65534, 'x' * 65535
    verdict = {'id': id_of(second), 'verdict': 'delete', 'reply': longer}

    assert refusal(give(api, claim, first, longer))[0] == 400
    assert refusal(api.post(f'{claim.href}/verdicts', {'verdicts': [verdict]}))[0] == 400
    entry = {**verdict, 'queue': 'jobs', 'claim_id': id_of(claim.href)}
    assert refusal(api.post('/v2/verdicts', {'verdicts': [entry]}))[0] == 400

    assert give(api, claim, first, longest).status_int == 204
    assert found(api, first) == (200, {'reply': longest, 'age': 0})
    assert found(api, second) == (202, {'state': 'claimed'})


def test_the_limit_of_a_queue_for_replies_is_the_one_that_holds_now(api: LaterApi) -> None:
    api.make_queue(metadata={'_max_messages_post_size': 100})
    [question] = asking(api, 1)
    claim = api.claim()
    # As another process would, of which this one learns nothing.
    model.store.queues.set_metadata(QueueKey.of(PROJECT, 'jobs'), '{}')

    assert give(api, claim, question, 'x' * 200).status_int == 204


def test_a_reply_is_no_longer_than_a_post_may_be(api: LaterApi) -> None:
    [question] = asking(api, 1)
    claim = api.claim()

    response = give(api, claim, question, 'x' * limits.in_force.max_messages_post_size)

    assert refusal(response) == (400, 'Invalid API request')
    assert found(api, question) == (202, {'state': 'claimed'})


# ---------------------------------------------------------------- to look for it


def test_a_request_is_open_in_each_state_of_its_message(api: LaterApi) -> None:
    [question] = asking(api, 1, delay=60)
    assert found(api, question) == (202, {'state': 'delayed'})

    [question] = asking(api, 1)
    assert found(api, question) == (202, {'state': 'waiting'})

    claim = api.claim()
    assert found(api, question) == (202, {'state': 'claimed'})

    api.post(f'{claim.held[0].partition("?")[0]}/park?claim_id={id_of(claim.href)}')
    assert found(api, question) == (202, {'state': 'parked'})

    api.post(f'{question}/kick')
    assert found(api, question) == (202, {'state': 'waiting'})


def test_a_message_that_is_deleted_under_its_claim_ends_its_request(api: LaterApi) -> None:
    [question] = asking(api, 1)
    claim = api.claim()
    api.delete(f'{question}?claim_id={id_of(claim.href)}')

    assert ended(api, question) == 'deleted'


def test_a_verdict_without_a_reply_ends_the_request(api: LaterApi) -> None:
    [question] = asking(api, 1)
    verdict = {'id': id_of(question), 'verdict': 'delete'}
    api.post(f'{api.claim().href}/verdicts', {'verdicts': [verdict]})

    assert ended(api, question) == 'deleted'


@pytest.mark.parametrize('query', ['', '?ids={id}', '?pop=1'])
def test_a_message_that_is_deleted_unclaimed_ends_its_request(api: LaterApi, query: str) -> None:
    [question] = asking(api, 1)
    message = id_of(question)
    path = f'{api.queue}/messages{query.format(id=message)}' if query else question
    assert api.delete(path).status_int in (200, 204)

    assert ended(api, question) == 'deleted'


@pytest.mark.parametrize('janitor_came', [False, True])
def test_a_message_that_expires_ends_its_request(
    api: LaterApi, age: Age, janitor_came: bool
) -> None:
    [question] = asking(api, 1, ttl=60)
    age(61)
    if janitor_came:
        assert model.store.janitor.run_once() == 1

    assert ended(api, question) == 'expired'


@pytest.mark.parametrize('janitor_came', [False, True])
@pytest.mark.parametrize('how', ['purge', 'delete', 'delete and make'])
def test_a_queue_that_is_purged_or_deleted_ends_its_requests(
    api: LaterApi, how: str, janitor_came: bool
) -> None:
    [question] = asking(api, 1)
    if how == 'purge':
        assert api.post(f'{api.queue}/purge').status_int == 204
    else:
        assert api.delete(api.queue).status_int == 204
    if how == 'delete and make':
        assert api.put(api.queue).status_int == 201
    if janitor_came:
        assert model.store.janitor.run_once() == 1

    assert ended(api, question) == 'purged'


def test_a_purge_of_parked_messages_ends_their_requests(api: LaterApi) -> None:
    [question] = asking(api, 1)
    assert api.post(f'{question}/park').status_int == 204
    assert api.post(f'{api.queue}/purge', {'resource_types': ['parked']}).status_int == 204

    assert ended(api, question) == 'deleted'


def test_a_purge_leaves_the_requests_that_are_claimed(api: LaterApi) -> None:
    [question] = asking(api, 1)
    claim = api.claim()
    assert api.post(f'{api.queue}/purge').status_int == 204
    assert found(api, question) == (202, {'state': 'claimed'})

    assert give(api, claim, question, 'a').status_int == 204
    assert found(api, question) == (200, {'reply': 'a', 'age': 0})


def test_there_is_no_reply_where_there_never_was_a_request(api: LaterApi) -> None:
    [question] = asking(api, 1)
    asking(api, 1, queue='/v2/queues/other')

    for path in (
        f'{api.queue}/messages/{NO_MESSAGE}',
        f'{api.queue}/messages/nonsense',
        f'/v2/queues/none/messages/{id_of(question)}',
        f'/v2/queues/other/messages/{id_of(question)}',
    ):
        assert refusal(api.get(f'{path}/reply')) == (404, 'Not found')


def test_only_its_project_can_read_a_reply(api: LaterApi) -> None:
    [question] = asking(api, 1)
    assert refusal(api.get(f'{question}/reply', project='another')) == (404, 'Not found')
    give(api, api.claim(), question, 'secret')

    assert refusal(api.get(f'{question}/reply', project='another')) == (404, 'Not found')
    assert found(api, question)[0] == 200


def test_only_the_project_counts_where_two_names_have_the_same_hash(
    api: LaterApi, sql: Callable[..., Any]
) -> None:
    [question] = asking(api, 1)
    give(api, api.claim(), question, 'secret')
    sql("UPDATE requests SET project = 'another'")

    assert refusal(api.get(f'{question}/reply')) == (404, 'Not found')


def test_a_reply_lives_for_its_ttl_and_is_removed_then(
    api: LaterApi, age: Age, sql: Callable[..., Any]
) -> None:
    [question] = asking(api, 1)
    give(api, api.claim(), question, 'a')
    age(limits.in_force.reply_ttl - 5)
    model.store.janitor.run_once()

    assert found(api, question)[0] == 200
    assert found(api, question)[1]['age'] in range(295, 298)

    age(5)
    assert refusal(api.get(f'{question}/reply')) == (404, 'Not found')
    model.store.janitor.run_once()
    assert sql('SELECT count(*) FROM requests') == [(0,)]


def test_a_reply_outlives_its_queue(api: LaterApi) -> None:
    [question] = asking(api, 1)
    give(api, api.claim(), question, 'a')
    api.delete(api.queue)
    model.store.janitor.run_once()

    assert found(api, question) == (200, {'reply': 'a', 'age': 0})


def test_reading_a_reply_does_not_remove_it(api: LaterApi) -> None:
    [question] = asking(api, 1)
    give(api, api.claim(), question, 'a')

    assert [found(api, question) for _ in range(3)] == [(200, {'reply': 'a', 'age': 0})] * 3


@pytest.mark.parametrize('end', ['expired', 'deleted', 'purged'])
def test_what_ended_without_a_reply_is_told_for_a_while_and_then_forgotten(
    api: LaterApi, age: Age, sql: Callable[..., Any], end: str
) -> None:
    [question] = asking(api, 1, ttl=60)
    if end == 'deleted':
        api.delete(question)
    if end == 'purged':
        api.post(f'{api.queue}/purge')
        model.store.janitor.run_once()
    for _ in range(4):
        age(61)
        model.store.janitor.run_once()
        assert ended(api, question) == end
    for _ in range(3):
        age(limits.in_force.reply_ttl)
        model.store.janitor.run_once()

    assert found(api, question)[0] == 404
    assert sql('SELECT count(*) FROM requests') == [(0,)]


# ---------------------------------------------------------------- where a message goes


@pytest.fixture
def dead_letters(api: LaterApi) -> str:
    """The path of a queue to which a message goes that was claimed once before."""
    api.make_queue(metadata={'_max_claim_count': 1, '_dead_letter_queue': 'dead'})
    return api.make_queue('dead')


def give_up(api: LaterApi) -> None:
    """Claim what there is, release it, and have the next claim put it away."""
    api.delete(api.claim().href)
    assert api.post(f'{api.queue}/claims').status_int == 204


def test_the_worker_of_a_dead_letter_queue_answers_who_asked(
    api: LaterApi, dead_letters: str
) -> None:
    [question] = asking(api, 'hard')
    give_up(api)
    assert found(api, question) == (202, {'state': 'waiting'})
    claim = api.claim(queue=dead_letters)
    assert found(api, question) == (202, {'state': 'claimed'})

    assert give(api, claim, question, 'at last', queue=dead_letters).status_int == 204

    assert found(api, question) == (200, {'reply': 'at last', 'age': 0})


def test_a_dead_letter_is_asked_for_where_it_was_posted(api: LaterApi, dead_letters: str) -> None:
    [question] = asking(api, 'hard')
    give_up(api)

    path = f'{dead_letters}/messages/{id_of(question)}'
    assert found(api, path)[0] == 404
    api.delete(path)

    assert ended(api, question) == 'deleted'


def test_a_dead_letter_that_is_parked_stays_open(api: LaterApi, age: Age) -> None:
    api.make_queue(metadata={'_max_claim_count': 1})
    [question] = asking(api, 'hard', ttl=60)
    give_up(api)
    assert found(api, question) == (202, {'state': 'parked'})

    for _ in range(3):
        age(86400)
        model.store.janitor.run_once()
        assert found(api, question) == (202, {'state': 'parked'})

    api.change({'op': 'remove', 'path': '/metadata/_max_claim_count'})
    api.post(f'{question}/kick')
    give(api, api.claim(), question, 'at last')
    assert found(api, question) == (200, {'reply': 'at last', 'age': 0})


def test_a_message_that_was_moved_back_still_asks(api: LaterApi, dead_letters: str) -> None:
    [question] = asking(api, 'hard')
    give_up(api)
    assert api.post('/v2/queues/dead/redrive').json['moved'] == 1
    assert found(api, question) == (202, {'state': 'waiting'})

    give(api, api.claim(), question, 'at last')

    assert found(api, question) == (200, {'reply': 'at last', 'age': 0})


def test_a_purge_of_the_dead_letter_queue_ends_the_request(
    api: LaterApi, dead_letters: str
) -> None:
    [question] = asking(api, 'hard')
    give_up(api)
    api.post(f'{dead_letters}/purge')

    assert ended(api, question) == 'purged'


def test_a_claim_that_outlasts_the_message_keeps_the_request_open(api: LaterApi, age: Age) -> None:
    [question] = asking(api, 1, ttl=60)
    claim = api.claim(ttl=5000)
    for _ in range(4):
        age(1000)
        model.store.janitor.run_once()
        assert found(api, question) == (202, {'state': 'claimed'})

    assert give(api, claim, question, 'slow').status_int == 204
    assert found(api, question) == (200, {'reply': 'slow', 'age': 0})


# ---------------------------------------------------------------- the short form


def request(api: LaterApi, document: Any, query: str = '', **options: Any) -> TestResponse:
    return api.post(f'{api.queue}/requests{query}', document, **options)


def test_a_request_that_does_not_wait_says_where_the_reply_will_be(api: LaterApi) -> None:
    response = request(api, {'body': {'a': 1}, 'ttl': 300})

    assert response.status_int == 202
    message = response.json['id']
    assert response.json == {'id': message, 'state': 'waiting'}
    assert response.headers['Location'] == f'{api.queue}/messages/{message}/reply'
    claim = api.claim()
    assert bodies(claim.messages) == [{'a': 1}]
    give(api, claim, message, 'b')
    assert api.get(response.headers['Location']).json == {'reply': 'b', 'age': 0}


def test_a_request_is_a_message_with_a_ttl_and_a_delay(api: LaterApi) -> None:
    response = request(api, {'body': 1, 'ttl': 120, 'delay': 30})

    assert response.json['state'] == 'delayed'
    [message] = api.listed('state=delayed')
    assert (message['id'], message['ttl']) == (response.json['id'], 120)


@pytest.mark.parametrize(
    'document',
    [
        *(None, [], {}, {'ttl': 60}, {'messages': [{'body': 1}]}, '.'),
        *({'body': 1, 'ttl': 59}, {'body': 1, 'delay': 901}, {'body': 1, 'reply': False}),
    ],
)
def test_a_request_is_one_message(api: LaterApi, document: Any) -> None:
    assert refusal(request(api, document))[0] == 400


def test_a_request_makes_the_queue(api: LaterApi) -> None:
    response = api.post('/v2/queues/new/requests', {'body': 1})

    assert response.status_int == 202
    assert api.stats('/v2/queues/new')['total'] == 1


def test_a_request_with_a_key_can_be_sent_again(api: LaterApi) -> None:
    key, document = {'Idempotency-Key': 'key'}, {'body': 1}
    first, second = (request(api, document, headers=key) for _ in range(2))
    assert first.status_int == second.status_int == 202
    assert second.json == first.json
    assert api.stats()['total'] == 1

    give(api, api.claim(), first.json['id'], {'b': 2})

    third = request(api, document, headers=key)
    assert third.status_int == 200
    assert third.json == {'id': first.json['id'], 'reply': {'b': 2}}
    assert api.stats()['total'] == 0


def test_a_request_with_a_key_that_ended_is_told_so(api: LaterApi) -> None:
    key, document = {'Idempotency-Key': 'key'}, {'body': 1}
    message = request(api, document, headers=key).json['id']
    api.delete(f'{api.queue}/messages/{message}')

    response = request(api, document, headers=key)

    assert (response.status_int, response.json['reason']) == (410, 'deleted')


def test_the_keys_of_requests_are_apart_from_those_of_posts(api: LaterApi) -> None:
    key = {'Idempotency-Key': 'key'}
    posted = api.post(f'{api.queue}/messages', {'messages': [{'body': 1}]}, headers=key)
    assert posted.status_int == 201

    assert request(api, {'body': 1}, headers=key).status_int == 202
    assert refusal(request(api, {'body': 2}, headers=key)) == (422, 'Idempotency key reused')


def test_a_post_with_a_key_that_is_sent_again_asks_once(
    api: LaterApi, sql: Callable[..., Any]
) -> None:
    key, document = {'Idempotency-Key': 'key'}, {'messages': [{'body': 1, 'reply': True}]}
    for _ in range(2):
        assert api.post(f'{api.queue}/messages', document, headers=key).status_int == 201

    assert sql('SELECT count(*) FROM requests') == [(1,)]


@pytest.mark.parametrize('wait', ['31', '-1', 'soon'])
def test_a_wait_is_within_the_limit_and_nothing_is_posted_else(api: LaterApi, wait: str) -> None:
    assert refusal(request(api, {'body': 1}, f'?wait={wait}'))[0] == 400
    assert refusal(api.get(f'{api.queue}/messages/x/reply?wait={wait}'))[0] == 400
    assert api.stats()['total'] == 0


def test_no_client_can_name_the_message_that_a_request_posted(api: LaterApi) -> None:
    [question] = asking(api, 1)

    response = request(api, {'body': 2}, headers={'marconi.posted': id_of(question)})

    assert response.json['id'] != id_of(question)


# ---------------------------------------------------------------- what it costs others


def test_messages_that_do_not_ask_have_no_row(api: LaterApi, sql: Callable[..., Any]) -> None:
    api.post_messages(1, 2, 3)

    assert sql('SELECT count(*) FROM requests') == [(0,)]
