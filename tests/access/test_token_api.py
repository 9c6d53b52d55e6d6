"""``/v2/tokens``: what an admin may make, see and revoke."""

from typing import Any

import pytest
from webtest import TestResponse

from marconi_api import model
from tests.access.conftest import bearing
from tests.controllers.client import CLIENT_ID, Api, refusal

TOKENS = '/v2/tokens'


def call(api: Api, method: str, token: str, target: str = TOKENS, body: Any = None) -> TestResponse:
    return api.request(method, target, body, client_id=CLIENT_ID, headers=bearing(token))


def admin(project: str = 'acme', **options: Any) -> str:
    return model.store.tokens.create(project, 'admin', **options).text


def test_an_admin_makes_a_token_that_works(api: Api) -> None:
    body = {'roles': ['reader'], 'name': 'watch', 'expires_in': 3600}

    made = call(api, 'POST', admin(), body=body).json

    assert (made['name'], made['roles'], made['queues']) == ('watch', ['reader'], None)
    assert call(api, 'GET', made['token'], '/v2/queues').status_int == 200
    assert refusal(call(api, 'GET', made['token']))[0] == 403


def test_the_list_has_no_secret_and_no_other_project(api: Api) -> None:
    mine, other = admin(), admin('other')

    response = call(api, 'GET', mine)

    assert [token['roles'] for token in response.json['tokens']] == [['admin']]
    assert mine.rpartition('_')[2] not in response.text
    assert other[4:16] not in response.text


def test_a_token_is_revoked_and_shown_as_such(api: Api) -> None:
    mine, victim = admin(), admin()

    assert call(api, 'DELETE', mine, f'{TOKENS}/{victim[4:16]}').status_int == 204
    assert call(api, 'DELETE', mine, f'{TOKENS}/{victim[4:16]}').status_int == 204

    revoked = [token['id'] for token in call(api, 'GET', mine).json['tokens'] if token['revoked']]
    assert revoked == [victim[4:16]]
    assert call(api, 'GET', victim).status_int == 401


def test_another_project_s_token_gets_the_answer_of_a_missing_one(api: Api) -> None:
    mine, other = admin(), admin('other')

    foreign = call(api, 'DELETE', mine, f'{TOKENS}/{other[4:16]}')
    missing = call(api, 'DELETE', mine, f'{TOKENS}/{"0" * 12}')

    assert foreign.status_int == missing.status_int == 404
    assert foreign.text.replace(other[4:16], '0' * 12) == missing.text
    assert call(api, 'GET', other).status_int == 200


@pytest.mark.parametrize(
    ('queues', 'wanted', 'status'),
    [
        ('orders-*', 'orders-eu-*', 201),
        ('orders-*', 'orders-eu', 201),
        ('orders-*', 'orders*', 403),
        ('orders-*', None, 403),
        (None, 'anything*', 201),
    ],
)
def test_no_admin_makes_a_token_for_more_queues_than_its_own(
    api: Api, queues: str | None, wanted: str | None, status: int
) -> None:
    body = {'roles': ['reader'], 'queues': wanted}

    assert call(api, 'POST', admin(queues=queues), body=body).status_int == status


def test_only_an_operator_makes_an_operator(api: Api) -> None:
    body = {'roles': ['operator']}
    operator = model.store.tokens.create('acme', 'operator').text

    assert refusal(call(api, 'POST', admin(), body=body)) == (403, 'Not authorized')
    assert call(api, 'POST', operator, body=body).status_int == 201


def test_an_admin_neither_sees_nor_revokes_who_may_do_more(api: Api) -> None:
    narrow = admin(queues='orders-*')
    wide, operator = admin(), model.store.tokens.create('acme', 'operator').text

    assert [one['id'] for one in call(api, 'GET', narrow).json['tokens']] == [narrow[4:16]]
    for token in (wide, operator):
        assert call(api, 'DELETE', narrow, f'{TOKENS}/{token[4:16]}').status_int == 404
    assert call(api, 'DELETE', wide, f'{TOKENS}/{operator[4:16]}').status_int == 404


def test_trusted_mode_asks_for_a_role_that_somebody_has_named(wsgi_app: Any, app: Any) -> None:
    api = Api(app)

    def listed(**headers: str) -> int:
        sent = api.get(TOKENS, client_id=CLIENT_ID, project='acme', headers=headers)
        return int(sent.status_int)

    assert (listed(), listed(**{'X-Roles': 'admin'})) == (403, 200)
