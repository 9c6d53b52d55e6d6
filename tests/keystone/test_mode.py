"""Who gets in with a token of a real Keystone, and as what."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.processes import installation
from tests.controllers.client import CLIENT_ID, Api, refusal
from tests.keystone.running_keystone import Keystone


class People(NamedTuple):
    """The users of the tests, and the project that most of them are in."""

    project: str
    other: str


@pytest.fixture(scope='module')
def people(keystone: Keystone) -> People:
    """Ann is a member of a project, Ron reads there, Max administers; Oz has the whole system."""
    project = keystone.create('project', name='orders')
    other = keystone.create('project', name='others')
    for name, role in (('ann', 'member'), ('ron', 'reader'), ('max', 'manager')):
        user = keystone.create('user', name=name, password=name)
        keystone.assign(role, user, project)
    operator = keystone.create('user', name='oz', password='oz')
    keystone.assign('admin', operator)
    return People(project, other)


@pytest.fixture
def api(app: TestApp, database_url: str, keystone: Keystone, people: People) -> Iterator[Api]:
    """A service in keystone mode."""
    of_the_first = model.store
    config = conf_from_file(str(installation.OPERATOR_FILES / 'config.py'))
    config.database.url = database_url
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    config.access.mode = 'keystone'
    config.keystone.auth_url = config.keystone.www_authenticate_uri = keystone.url
    config.keystone.username = config.keystone.password = 'admin'
    config.keystone.project_name = 'admin'
    try:
        yield Api(TestApp(setup_app(config), lint=False))
    finally:
        model.store.database.close()
        model.store = of_the_first


def queues(api: Api, token: str, **headers: str) -> TestResponse:
    sent = {'X-Auth-Token': token, **headers}
    return api.get('/v2/queues', client_id=CLIENT_ID, headers=sent)


def test_a_member_works_in_the_project_of_the_token(
    api: Api, keystone: Keystone, people: People
) -> None:
    token = keystone.log_in('ann', 'ann', project='orders')

    made = api.put('/v2/queues/jobs', client_id=CLIENT_ID, headers={'X-Auth-Token': token})

    assert made.status_int == 201
    assert model.store.admin.queues(people.project) == ['jobs']
    assert queues(api, token, X_Project_Id=people.project).status_int == 200
    assert queues(api, token, Authorization=f'Bearer {token}').status_int == 200


def test_another_project_is_refused(api: Api, keystone: Keystone, people: People) -> None:
    token = keystone.log_in('ann', 'ann', project='orders')

    assert refusal(queues(api, token, X_Project_Id=people.other)) == (403, 'Not authorized')


def test_roles_of_the_client_s_own_are_not_believed(
    api: Api, keystone: Keystone, people: People
) -> None:
    token = keystone.log_in('ron', 'ron', project='orders')
    headers = {'X-Auth-Token': token, 'X-Roles': 'admin'}

    assert api.get('/v2/health', client_id=CLIENT_ID, headers=headers).status_int == 403


def test_a_manager_is_an_admin_here(api: Api, keystone: Keystone, people: People) -> None:
    token = keystone.log_in('max', 'max', project='orders')

    response = api.get('/v2/health', client_id=CLIENT_ID, headers={'X-Auth-Token': token})

    assert response.status_int == 200


def test_who_administers_the_whole_system_may_name_any_project(
    api: Api, keystone: Keystone, people: People
) -> None:
    token = keystone.log_in('oz', 'oz')

    assert queues(api, token, X_Project_Id=people.other).status_int == 200


def test_whatever_is_wrong_the_answer_says_where_to_log_in(
    api: Api, keystone: Keystone, people: People
) -> None:
    revoked = keystone.log_in('ann', 'ann', project='orders')
    keystone.revoke(revoked)

    answers = {queues(api, token).body for token in ('wrong', revoked, 'mrc_x')}
    response = queues(api, 'wrong')

    assert len(answers) == 1
    assert response.status_int == 401
    assert response.headers.getall('WWW-Authenticate') == [
        f'Keystone uri="{keystone.url}"',
        'Bearer',
    ]


def test_a_token_that_was_seen_is_not_asked_for_again(
    api: Api, keystone: Keystone, people: People
) -> None:
    token = keystone.log_in('ann', 'ann', project='orders')
    queues(api, token)
    unknown = keystone.log_in('ann', 'ann', project='orders')
    keystone.stop()
    try:
        assert queues(api, token).status_int == 200
        assert refusal(queues(api, unknown))[0] == 503
    finally:
        keystone.start()


def test_nobody_is_asked_for_what_is_open(api: Api, keystone: Keystone, people: Any) -> None:
    assert api.get('/v1/health').status_int == 204
    assert api.get('/openapi.json').status_int == 401
