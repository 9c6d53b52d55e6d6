"""Redrives over HTTP: dead letters and parked messages are moved back (docs/protocol-v2.md, 15.13)."""

import pytest

from marconi_api import model
from marconi_api.model import QueueKey

from ..client import CLIENT_ID, PROJECT

DEAD = '/v2/queues/dead'
REDRIVE = f'{DEAD}/redrive'


@pytest.fixture
def dead(api):
    """A dead-letter queue with the dead letters of two queues; the paths of these."""
    api.put(DEAD)
    for name, bodies in (('jobs', ['a', 'b']), ('mails', ['c'])):
        queue = f'/v2/queues/{name}'
        api.put(queue, {'_max_claim_count': 1, '_dead_letter_queue': 'dead'})
        api.post(f'{queue}/messages', {'messages': [{'body': body} for body in bodies]})
        claim = api.post(f'{queue}/claims').headers['Location']
        api.delete(claim)
        assert api.post(f'{queue}/claims').status_int == 204
    return DEAD


def bodies(api, name):
    """Those of the messages that can be claimed."""
    listed = api.get(f'/v2/queues/{name}/messages?echo=true')
    return [message['body'] for message in listed.json['messages']]


def test_a_small_redrive_is_completed_in_the_reply(api, dead):
    reply = api.post(REDRIVE)

    assert (reply.status_int, reply.json['status'], reply.json['moved']) == (202, 'completed', 3)
    assert (bodies(api, 'jobs'), bodies(api, 'mails'), bodies(api, 'dead')) == (
        ['a', 'b'],
        ['c'],
        [],
    )
    assert api.get(reply.headers['Location']).json == reply.json
    assert api.get(f'{DEAD}/redrives').json == {'redrives': [reply.json]}


def test_a_dry_run_says_what_then_happens(api, dead):
    api.post(f'{DEAD}/messages', {'messages': [{'body': 'd'}]})

    seen = api.post(REDRIVE, {'dry_run': True})
    done = api.post(REDRIVE, {'dry_run': False})

    assert (seen.status_int, seen.json) == (
        200,
        {
            'messages': 3,
            'targets': [{'queue': 'jobs', 'messages': 2}, {'queue': 'mails', 'messages': 1}],
            'without_target': 1,
        },
    )
    assert (done.json['total'], done.json['moved'], done.json['without_target']) == (3, 3, 1)
    assert bodies(api, 'dead') == ['d']


def test_messages_go_where_it_is_said(api, dead):
    assert api.post(REDRIVE, {'to': 'jobs'}).json['moved'] == 3

    assert bodies(api, 'jobs') == ['a', 'b', 'c']


def test_parked_messages_are_told_apart_by_their_reason(api):
    api.make_queue()
    odd, even = api.post_messages('odd', 'even')
    for message, reason in ((odd, 'no such address'), (even, 'timed out')):
        api.post(f'{message.replace("/v1.1/", "/v2/")}/park', {'reason': reason})

    reply = api.post('/v2/queues/jobs/redrive', {'state': 'parked', 'reason': 'address'})

    assert (reply.json['moved'], bodies(api, 'jobs')) == (1, ['odd'])


def test_at_a_rate_it_goes_on_after_the_reply_until_it_is_cancelled(api, dead):
    begun = api.post(REDRIVE, {'rate': 1})
    again = api.post(REDRIVE)
    cancelled = api.delete(begun.headers['Location'])

    assert (begun.json['status'], begun.json['moved'], begun.json['rate']) == ('running', 1, 1)
    assert (again.status_int, begun.json['id'] in again.json['description']) == (409, True)
    assert (cancelled.json['status'], cancelled.json['moved']) == ('cancelled', 1)
    assert api.delete(begun.headers['Location']).json == cancelled.json
    assert len(bodies(api, 'dead')) == 2


@pytest.mark.parametrize(
    ('body', 'status'),
    [
        ({'to': 'dead'}, 400),
        ({'to': 'a/b'}, 400),
        ({'to': 'none'}, 404),
        ({'rate': 0}, 400),
        ({'min_age': 5, 'max_age': 4}, 400),
        ({'reason': 'x' * 1001}, 400),
        ({'state': 'claimed'}, 400),
        ({'state': None}, 400),
        ([], 400),
    ],
)
def test_what_makes_no_sense_is_refused(api, dead, body, status):
    reply = api.post(REDRIVE, body)

    assert reply.status_int == status
    assert len(bodies(api, 'dead')) == 3
    assert api.get(f'{DEAD}/redrives').json == {'redrives': []}


def test_a_project_that_has_as_much_as_it_may_can_redrive(api, dead, monkeypatch):
    monkeypatch.setattr(model.store.quotas, 'is_on', True)
    model.store.quotas.set(PROJECT, 'quota.messages', 3)
    monkeypatch.setattr(model.store.quotas, '_overrides_until', 0.0)

    assert api.post(REDRIVE).json['moved'] == 3


# ---------------------------------------------------------------- who may


@pytest.fixture
def with_token(api, dead, api_with_tokens):
    """Sends a request with a token of these roles, for these queues."""
    client = api_with_tokens()

    def send(method, path, body=None, project=PROJECT, roles='writer', queues=None):
        token = model.store.tokens.create(project, roles, queues=queues).text
        headers = {'Client-ID': CLIENT_ID, 'X-Auth-Token': token, 'X-Project-Id': project}
        return client.request(method, path, body, headers=headers)

    return send


def test_another_tenant_s_token_sees_no_redrive_and_moves_nothing(api, dead, with_token):
    begun = api.post(REDRIVE, {'rate': 1})

    assert with_token('POST', REDRIVE, project='other').status_int == 404
    for method in ('GET', 'DELETE'):
        assert with_token(method, begun.headers['Location'], project='other').status_int == 404
    assert with_token('GET', f'{DEAD}/redrives', project='other').json == {'redrives': []}
    assert api.get(begun.headers['Location']).json['status'] == 'running'


def test_a_token_for_some_queues_moves_back_to_these_alone(api, dead, with_token):
    other = with_token('POST', REDRIVE, {'to': 'jobs'}, queues='dead')
    own = with_token('POST', REDRIVE, queues='dead')

    assert other.status_int == 403
    assert (own.json['moved'], own.json['without_target']) == (0, 3)


@pytest.mark.parametrize(('roles', 'status'), [('consumer', 403), ('reader', 403), ('writer', 202)])
def test_who_may_kick_may_redrive(api, dead, with_token, roles, status):
    assert with_token('POST', REDRIVE, roles=roles).status_int == status


def test_it_is_noted_whose_token_did_it(api, dead, with_token):
    begun = with_token('POST', REDRIVE, {'rate': 1})
    with_token('DELETE', begun.headers['Location'])
    with_token('POST', f'{DEAD}/purge', roles='admin')

    noted = model.store.audit.find()
    assert [entry.action for entry in noted] == ['purge', 'redrive cancel', 'redrive']
    assert {(entry.way, entry.project, entry.queue) for entry in noted} == {
        ('api', PROJECT, 'dead')
    }
    tokens = {f'token {token.id}' for token in model.store.tokens.list(PROJECT)}
    assert {entry.who for entry in noted} <= tokens


def test_what_ordinary_clients_do_is_not_noted(api, dead):
    api.delete('/v2/queues/jobs')

    assert model.store.audit.find() == []


def test_with_its_queue_the_redrives_are_gone(api, dead):
    location = api.post(REDRIVE).headers['Location']
    api.delete(DEAD)
    api.put(DEAD)

    assert api.get(location).status_int == 404
    assert not model.store.redrives.page(QueueKey.of(PROJECT, 'dead'))
