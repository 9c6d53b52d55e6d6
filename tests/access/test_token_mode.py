"""Who gets in with a token, who does not, and what a process remembers."""

import time
from typing import Any

import pytest
from webtest import TestResponse

from marconi_api import model
from marconi_api.controllers.access.addresses import Addresses
from marconi_api.controllers.access.guessing import Guessing
from marconi_api.model.tokens import NewToken
from marconi_api.wire.failures import TooManyFailures
from tests.access.conftest import Serve, bearing, counted
from tests.controllers.client import CLIENT_ID, Api, refusal

QUEUES = '/v2/queues'


def make(project: str = 'acme', roles: Any = 'admin', **options: Any) -> NewToken:
    return model.store.tokens.create(project, roles, **options)


def queues(api: Api, token: str | None = None, **headers: str) -> TestResponse:
    """List the queues."""
    sent = bearing(token) if token else {}
    return api.get(QUEUES, client_id=CLIENT_ID, headers={**sent, **headers})


def test_a_token_opens_its_project(api: Api) -> None:
    token = make().text
    api.put(f'{QUEUES}/jobs', client_id=CLIENT_ID, headers=bearing(token))

    assert [queue['name'] for queue in queues(api, token).json['queues']] == ['jobs']
    assert model.store.admin.queues('acme') == ['jobs']


def test_it_may_be_sent_as_openstack_s_clients_send_theirs(api: Api) -> None:
    token = make().text

    assert queues(api, X_Auth_Token=token).status_int == 200
    assert queues(api, token, X_Auth_Token=token).status_int == 200
    assert queues(api, Authorization=f'bearer  {token}').status_int == 200


def test_two_tokens_that_differ_are_refused(api: Api) -> None:
    assert refusal(queues(api, make().text, X_Auth_Token=make().text))[0] == 401


@pytest.mark.parametrize('sent', ['', 'Bearer', 'Basic YTpi', 'Bearer a b', 'mrc_x'])
def test_another_kind_of_credential_is_refused(api: Api, sent: str) -> None:
    assert refusal(queues(api, Authorization=sent))[0] == 401


def test_who_shows_nothing_is_told_what_to_show(api: Api) -> None:
    response = queues(api)

    assert refusal(response) == (401, 'Not authenticated')
    assert response.headers['WWW-Authenticate'] == 'Bearer'
    assert 'Authorization: Bearer' in response.json['description']


@pytest.mark.parametrize('path', ['/openapi.json', '/v1', '/v2', '/v1/queues', '/nowhere'])
def test_all_else_needs_a_token_whatever_the_path(api: Api, path: str) -> None:
    assert refusal(api.get(path))[0] == 401


@pytest.mark.parametrize(
    ('path', 'status'), [('/', 300), ('/v1/health', 204), ('/v1.1/ping', 204), ('/v2/ping', 204)]
)
def test_whether_the_service_works_is_open_to_everybody(api: Api, path: str, status: int) -> None:
    for headers in ({}, bearing('wrong')):
        response = api.get(path, client_id=CLIENT_ID, project='acme', headers=headers)
        assert response.status_int == status


def wrong_tokens(sql: Any) -> dict[str, str]:
    """A token of each kind that lets nobody in."""
    known, expired, revoked = make(), make(expires_in=60), make()
    sql("UPDATE tokens SET expires_at = now() - interval '1 s' WHERE id = %s", expired.token.id)
    model.store.tokens.revoke(revoked.token.id)
    other_secret = make()
    sql('UPDATE tokens SET secret_sha256 = %s WHERE id = %s', b'x' * 32, other_secret.token.id)
    unknown = make()
    sql('DELETE FROM tokens WHERE id = %s', unknown.token.id)
    return {
        'unknown': unknown.text,
        'expired': expired.text,
        'revoked': revoked.text,
        'with another secret': other_secret.text,
        'with a typing error': known.text[:-1] + ('a' if known.text[-1] != 'a' else 'b'),
        'malformed': 'secret',
        'empty': '',
    }


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(api: Api, sql: Any) -> None:
    answers = {
        (response.status, response.body, tuple(response.headers.items()))
        for token in wrong_tokens(sql).values()
        for response in (queues(api, X_Auth_Token=token), queues(api, X_Auth_Token=token))
    }

    assert len(answers) == 1
    [(status, _, headers)] = answers
    assert status == '401 Unauthorized'
    assert ('WWW-Authenticate', 'Bearer') in headers


def test_whatever_is_wrong_with_a_token_the_database_is_asked_as_often(api: Api, sql: Any) -> None:
    asked = set()
    for token in wrong_tokens(sql).values():
        with counted() as sent:
            queues(api, X_Auth_Token=token)
            queues(api, X_Auth_Token=token)
        asked.add(len(sent))

    assert asked == {1}


# What a process remembers.


def test_a_token_that_was_seen_is_not_looked_up_again(api: Api) -> None:
    token = make().text
    queues(api, token)

    with counted() as sent:
        queues(api, token)

    assert len(sent) == 1


def test_a_revoked_token_lets_in_for_as_long_as_it_is_remembered(serve: Serve) -> None:
    api = serve(cache_seconds=2)
    made = make()
    queues(api, made.text)

    model.store.tokens.revoke(made.token.id)
    remembered = queues(api, made.text)
    time.sleep(2)

    assert remembered.status_int == 200
    assert queues(api, made.text).status_int == 401


def test_a_token_is_not_remembered_beyond_its_end(api: Api, sql: Any) -> None:
    made = make(expires_in=60)
    sql("UPDATE tokens SET expires_at = now() + interval '2 s' WHERE id = %s", made.token.id)
    first = queues(api, made.text)
    time.sleep(2)

    assert (first.status_int, queues(api, made.text).status_int) == (200, 401)


def test_what_is_remembered_has_an_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('marconi_api.controllers.access.tokens.MOST_REMEMBERED', 2)
    first, *others = (make().text for _ in range(3))
    for token in (first, *others):
        queues(api, token)

    with counted() as sent:
        queues(api, others[0])
        queues(api, others[1])
    with counted() as sent_again:
        queues(api, first)

    assert (len(sent), len(sent_again)) == (2, 2)


def test_the_last_use_is_written_down_to_the_minute_and_once(serve: Serve, sql: Any) -> None:
    api = serve(cache_seconds=0)
    made = make()
    queues(api, made.text)
    [(first, place)] = sql('SELECT last_used_at, ctid FROM tokens')
    queues(api, made.text)

    assert (first.second, first.microsecond) == (0, 0)
    # Unless a minute began in between.
    [(second, place_again)] = sql('SELECT last_used_at, ctid FROM tokens')
    assert place_again == place or second > first


def test_without_a_database_what_is_remembered_goes_on_and_the_rest_waits(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = serve()
    known, unknown = make().text, make().text
    queues(api, known)

    monkeypatch.setattr(
        model.store.database, '_parameters', {**model.store.database._parameters, 'port': '1'}
    )
    model.store.database.close()

    assert api.get('/v2', client_id=CLIENT_ID, headers=bearing(known)).status_int == 200
    assert queues(api, unknown).status_int == 503
    assert queues(api, 'malformed').status_int == 503


# Projects.


def test_the_project_may_be_named_and_must_then_be_that_of_the_token(api: Api) -> None:
    token = make().text

    assert queues(api, token, X_Project_Id='acme').status_int == 200
    assert queues(api, token, X_Project_Id=' acme ').status_int == 200
    assert queues(api, token, X_Project_Id='').status_int == 200
    for other in ('other', 'acme,other', 'Acme'):
        assert refusal(queues(api, token, X_Project_Id=other)) == (403, 'Not authorized')


def test_roles_that_the_client_claims_are_not_believed(api: Api) -> None:
    token = make(roles='reader').text

    response = api.get(
        '/v2/health', client_id=CLIENT_ID, headers={**bearing(token), 'X-Roles': 'admin'}
    )

    assert response.status_int == 403


def test_an_operator_may_name_any_project(api: Api) -> None:
    token = make('', 'operator').text
    api.put(f'{QUEUES}/jobs', client_id=CLIENT_ID, project='other', headers=bearing(token))

    assert model.store.admin.queues('other') == ['jobs']


# Guessing.


def test_after_some_failures_nothing_more_is_looked_at_for_a_while(serve: Serve) -> None:
    api = serve(failures_before_delay=3)

    statuses = [queues(api, f'wrong{number}').status_int for number in range(5)]
    with counted() as sent:
        late = queues(api, make().text)

    assert statuses == [401, 401, 401, 429, 429]
    assert refusal(late) == (429, 'Too many requests')
    assert 0 < int(late.headers['Retry-After']) <= 60
    # That which made the token.
    assert len(sent) == 1


def test_tokens_that_are_in_use_at_that_address_go_on(serve: Serve) -> None:
    api = serve(failures_before_delay=1, cache_seconds=0)
    token = make().text
    queues(api, token)
    queues(api, 'wrong')

    assert queues(api, 'wrong again').status_int == 429
    assert queues(api, token).status_int == 200


def test_other_addresses_are_counted_by_themselves(serve: Serve) -> None:
    api = serve(failures_before_delay=1)
    queues(api, 'wrong')
    native = api._wsgi_app

    def from_elsewhere(environ: Any, start_response: Any) -> Any:
        environ['REMOTE_ADDR'] = '192.0.2.2'
        return native(environ, start_response)

    api._wsgi_app = from_elsewhere

    assert queues(api, 'wrong').status_int == 401


def test_who_shows_nothing_is_not_guessing(serve: Serve) -> None:
    api = serve(failures_before_delay=1)

    assert [queues(api).status_int for _ in range(3)] == [401, 401, 401]


PROXIES = ['127.0.0.0/8', '192.0.2.7', '2001:db8::/32']


@pytest.mark.parametrize(
    ('sent_by', 'forwarded', 'client'),
    [
        ('127.0.0.1', '203.0.113.5', '203.0.113.5'),
        # The client has written the first.
        ('127.0.0.1', '198.51.100.1, 203.0.113.5', '203.0.113.5'),
        ('127.0.0.1', '203.0.113.5, 192.0.2.7', '203.0.113.5'),
        ('2001:db8::1', '2001:db9::5', '2001:db9::5'),
        ('127.0.0.1', '', '127.0.0.1'),
        ('127.0.0.1', '203.0.113.5, unknown', '127.0.0.1'),
        ('127.0.0.1', '192.0.2.7', '192.0.2.7'),
        # Nobody who is not named is believed.
        ('203.0.113.9', '198.51.100.1', '203.0.113.9'),
        ('', '198.51.100.1', ''),
    ],
)
def test_a_proxy_that_is_named_tells_from_where_a_request_comes(
    sent_by: str, forwarded: str, client: str
) -> None:
    environ = {'REMOTE_ADDR': sent_by, 'HTTP_X_FORWARDED_FOR': forwarded}

    assert Addresses(PROXIES).of(environ) == client
    assert Addresses().of(environ) == sent_by


def test_who_guesses_behind_a_proxy_hinders_no_other() -> None:
    guessing = Guessing(1, Addresses(['192.0.2.7']))

    def request(client: str) -> dict[str, str]:
        return {'REMOTE_ADDR': '192.0.2.7', 'HTTP_X_FORWARDED_FOR': client}

    guessing.note_failure(request('203.0.113.5'))

    guessing.check(request('203.0.113.6'))
    with pytest.raises(TooManyFailures):
        guessing.check(request('203.0.113.5'))
