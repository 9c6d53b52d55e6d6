"""OpenStack's identity service, as it is, says who asks (docs/keystone.md)."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest

from marconi_api.controllers.access.guessing import Guessing
from marconi_api.controllers.access.keystone import KeystoneAsks
from marconi_api.processes.installation import CHECKOUT
from marconi_api.wire.failures import InvalidCredential
from marconi_api.wire.requests import Request
from tests import processes
from tests.clients.openstack_tour import (
    HERE,
    OF_VERSION_2,
    Openstack,
    bodies_for_a_guest,
    make_its_tour,
    requests_to,
    running_commands,
)
from tests.keystone.running_keystone import Keystone
from tests.running_service import HEADERS, Service, services
from tests.tours import blocks

pytestmark = pytest.mark.slow

DOCUMENT = (CHECKOUT / 'docs/keystone.md').read_text()
PASSWORD = 'PASSWORD'


class Place(NamedTuple):
    """The service, in Keystone mode, and two projects by their ids."""

    service: Service
    orders: str
    billing: str


def exported(prefix: str, keystone: Keystone) -> dict[str, str]:
    """The variables of that prefix which the document sets, with the real place of Keystone."""
    lines = '\n'.join(re.findall('^export (.*)', DOCUMENT, re.MULTILINE))
    found = re.findall(rf'({prefix}\w+)=(\S+)', lines)
    return {
        name: value.replace('http://keystone.example:5000/v3', keystone.url)
        for name, value in found
    }


class Answer(NamedTuple):
    status: int
    headers: Any
    document: Any


@pytest.fixture(scope='module')
def place(keystone: Keystone) -> Iterator[Place]:
    """All is set up as the document says: Ann manages `orders`. Others have other roles."""
    with services() as start, tempfile.NamedTemporaryFile('w', suffix='.py') as settings:
        # So that it is known which process remembers a token.
        settings.write("server = {'processes': 1}\n")
        settings.flush()
        os.chmod(settings.name, 0o644)
        environment = exported('MARCONI_', keystone) | {'MARCONI_CONFIG': settings.name}
        service = start(MARCONI_SIGNING_KEYS='a key', **environment).wait_until_ready()
        commands = ''.join(blocks('sh', DOCUMENT)).replace(':8888', f':{service.port}')
        keystone.run(*commands.splitlines())
        orders, billing = keystone.find('project', 'orders'), keystone.create('project', 'billing')
        keystone.create('role', 'auditor')
        for user, role, project in (
            ('reed', 'reader', orders),
            ('mel', 'member', orders),
            ('adam', 'admin', orders),
            ('audrey', 'auditor', orders),
            ('bill', 'member', billing),
            ('oz', 'admin', None),
            ('sid', 'reader', None),
        ):
            made = keystone.create('user', user, password=PASSWORD)
            keystone.assign(role, made, project)
        yield Place(service, orders, billing)


#: Gives a token of a user for a project, for the system, or, if that is None, for neither.
TokenOf = Callable[..., str]


@pytest.fixture(scope='module')
def token_of(keystone: Keystone, place: Place) -> TokenOf:
    """Gives the same token again; to log in anew takes a while."""

    @cache
    def token_of(user: str, scope: str | None = 'orders') -> str:
        if scope == 'system':
            return keystone.log_in(user, PASSWORD, system=True)
        return keystone.log_in(user, PASSWORD, project=scope)

    return token_of


@pytest.fixture(scope='module')
def openstack(keystone: Keystone, place: Place) -> Iterator[Openstack]:
    """The command of Ann, who has set the variables that the document shows."""
    login = {**os.environ, **exported('OS_', keystone)}
    login['OS_MESSAGE_CLIENT_ID'] = HEADERS['Client-ID']
    with running_commands(login) as commands:
        yield Openstack(place.service, '', commands, login)


def ask(
    place: Place,
    method: str,
    path: str,
    token: str | None = None,
    body: Any = None,
    **headers: str,
) -> Answer:
    """What the service answers; headers are named with underscores."""
    sent = HEADERS | {name.replace('_', '-'): value for name, value in headers.items()}
    if token is not None:
        sent['X-Auth-Token'] = token
    with contextlib.closing(place.service.connect()) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read()
        return Answer(response.status, response.headers, json.loads(text) if text else None)


def test_the_catalogue_says_where_the_service_is(
    keystone: Keystone, place: Place, token_of: TokenOf
) -> None:
    catalogue = keystone.look_up(token_of('ann'))['catalog']

    [entry] = [entry for entry in catalogue if entry['type'] == 'messaging']
    [endpoint] = entry['endpoints']
    assert endpoint['url'] == f'http://127.0.0.1:{place.service.port}'


# Who gets in, and where.


@pytest.mark.parametrize('header', ['X-Auth-Token', 'Authorization'])
def test_a_login_opens_the_project_that_it_is_for(
    token_of: TokenOf, place: Place, header: str
) -> None:
    token = token_of('ann')
    sent = {header: token if header == 'X-Auth-Token' else f'Bearer {token}'}

    assert ask(place, 'PUT', f'/v2/queues/{header}', **sent).status == 201
    assert ask(place, 'GET', '/v2/queues', X_Project_Id=place.orders, **sent).status == 200


def test_a_queue_of_one_project_is_missing_in_another(token_of: TokenOf, place: Place) -> None:
    ask(place, 'PUT', '/v2/queues/theirs', token_of('ann'))

    token = token_of('bill', 'billing')

    assert ask(place, 'GET', '/v1/queues/theirs/metadata', token).status == 404


@pytest.mark.parametrize('path', ['/v1/queues', '/v1.1/queues', '/v2/queues', '/openapi.json'])
def test_another_project_than_that_of_the_token_is_refused(
    token_of: TokenOf, place: Place, path: str
) -> None:
    token = token_of('ann')

    answer = ask(place, 'GET', path, token, X_Project_Id=place.billing)

    assert (answer.status, answer.document['title']) == (403, 'Not authorized')


@pytest.mark.parametrize('path', ['/', '/v1/health', '/v1.1/ping', '/v2/ping'])
def test_whether_the_service_works_is_told_to_everybody(place: Place, path: str) -> None:
    for token in (None, 'wrong'):
        assert ask(place, 'GET', path, token, X_Project_Id='any').status in (204, 300)


def test_who_has_no_token_is_told_where_to_log_in(keystone: Keystone, place: Place) -> None:
    answer = ask(place, 'GET', '/v2/queues')

    assert answer.status == 401
    assert answer.headers.get_all('WWW-Authenticate') == [
        f'Keystone uri="{keystone.url}"',
        'Bearer',
    ]


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(
    keystone: Keystone, place: Place
) -> None:
    token, revoked = (keystone.log_in('ann', PASSWORD, 'orders') for _ in range(2))
    keystone.revoke(revoked)
    wrong = {
        'expired': keystone.expired(token),
        'revoked': revoked,
        'cut off': token[:-5],
        'no token': 'secret',
        'no token of Keystone': 'mrc_x',
        'two words': 'two words',
        'not ASCII': 'schlüssel',
        'long': 'x' * 3000,
    }

    answers = {name: ask(place, 'GET', '/v2/queues', token) for name, token in wrong.items()}

    for name, answer in answers.items():
        assert (name, answer.status, answer.document) == (name, 401, answers['expired'].document)
        assert answer.headers.items() == answers['expired'].headers.items()


def test_a_revoked_token_lets_in_for_as_long_as_it_is_remembered(
    keystone: Keystone, place: Place
) -> None:
    options = {
        'auth_type': 'password',
        'auth_url': keystone.url,
        'interface': 'public',
        'username': 'marconi',
        'password': 'SECRET',
        'project_name': 'service',
        'user_domain_id': 'default',
        'project_domain_id': 'default',
    }
    forgetful = KeystoneAsks(options, {'manager': 'admin'}, seconds=0, guessing=Guessing(0))
    token = keystone.log_in('ann', PASSWORD, 'orders')
    request = Request({'REQUEST_METHOD': 'GET', 'HTTP_X_AUTH_TOKEN': token})
    ask(place, 'GET', '/v2/queues', token)
    assert forgetful(request).project == place.orders

    keystone.revoke(token)

    assert ask(place, 'GET', '/v2/queues', token).status == 200
    with pytest.raises(InvalidCredential):
        forgetful(request)


def test_an_application_credential_lets_in_unless_it_is_for_some_requests_only(
    keystone: Keystone, place: Place, token_of: TokenOf
) -> None:
    reads = {'service': 'messaging', 'method': 'GET', 'path': '/v2/**'}

    whole = keystone.log_in_with_a_credential(token_of('ann'))
    part = keystone.log_in_with_a_credential(token_of('ann'), access_rules=[reads])

    assert ask(place, 'GET', '/v2/queues', whole).status == 200
    assert ask(place, 'GET', '/v2/queues', part).status == 401


# Roles.


def may(place: Place, token: str, **headers: str) -> set[str]:
    """What a token opens, of three things: one for readers, one for writers, one for admins."""
    asked = {
        'read': ('GET', '/v2/queues', None),
        'post': ('POST', '/v2/queues/roles/messages', {'messages': [{'body': 1}]}),
        'see the health': ('GET', '/v2/health', None),
    }
    answers = {
        what: ask(place, method, path, token, body, **headers)
        for what, (method, path, body) in asked.items()
    }
    assert all(answer.status in (200, 201, 403) for answer in answers.values()), answers
    return {what for what, answer in answers.items() if answer.status != 403}


@pytest.mark.parametrize(
    ('user', 'allowed'),
    [
        ('reed', {'read'}),
        ('mel', {'read', 'post'}),
        ('ann', {'read', 'post', 'see the health'}),
        ('adam', {'read', 'post', 'see the health'}),
        ('audrey', set()),
    ],
    ids=['reader', 'member', 'manager', 'admin', 'a role of their own'],
)
def test_a_role_in_a_project_is_one_of_ours(
    token_of: TokenOf, place: Place, user: str, allowed: set[str]
) -> None:
    token = token_of(user)

    assert may(place, token) == allowed
    assert may(place, token, X_Roles='admin') == allowed


def test_an_administrator_of_the_system_may_name_any_project(
    token_of: TokenOf, place: Place
) -> None:
    ask(place, 'PUT', '/v2/queues/seen', token_of('bill', 'billing'))

    token = token_of('oz', 'system')
    answer = ask(place, 'GET', '/v2/queues', token, X_Project_Id=place.billing)

    assert 'seen' in [queue['name'] for queue in answer.document['queues']]


@pytest.mark.parametrize('path', ['/v1/queues', '/v2/queues', '/openapi.json'])
@pytest.mark.parametrize(('user', 'scope'), [('ann', None), ('sid', 'system')])
def test_a_token_for_no_project_opens_none(
    token_of: TokenOf, place: Place, user: str, scope: str | None, path: str
) -> None:
    token = token_of(user, scope)

    for headers in ({}, {'X_Project_Id': place.orders}):
        assert ask(place, 'GET', path, token, **headers).status == 403


def test_a_signed_url_needs_no_token(token_of: TokenOf, place: Place) -> None:
    token = token_of('ann')
    ask(place, 'POST', '/v2/queues/shared/messages', token, {'messages': [{'body': 'one'}]})
    shared = ask(place, 'POST', '/v2/queues/shared/share', token, {'paths': ['messages']}).document

    names = ('project', 'paths', 'methods', 'expires', 'signature')
    as_shown = {'project': 'Project ID'} | {name: name.capitalize() for name in names[1:]}
    texts = {
        as_shown[name]: ','.join(value) if isinstance(value, list) else value
        for name, value in shared.items()
    }
    assert bodies_for_a_guest(place.service, texts) == ['one']


# Real clients.


def test_the_openstack_command_works_as_the_document_shows(openstack: Openstack) -> None:
    shown = re.findall('^openstack messaging (.*)', DOCUMENT, re.MULTILINE)

    ended = [openstack.run(command) for command in shown]

    assert [status for status, _, _ in ended] == [0, 0, 0], ended
    assert '| jobs' in ended[2][1]


def test_the_openstack_command_makes_its_tour(place: Place, openstack: Openstack) -> None:
    make_its_tour(place.service, openstack)


def test_the_openstack_command_is_refused_where_its_user_has_no_role(
    place: Place, openstack: Openstack
) -> None:
    elsewhere = Openstack(
        place.service, '--os-project-name billing', openstack.commands, openstack.environment
    )

    status, _, errors = elsewhere.run('queue list')

    assert (status, requests_to(place.service, errors)) == (1, [])
    assert 'HTTP 401' in errors


@pytest.mark.parametrize(
    ('tour', 'requests'), [('zaqarclient_v2.py', 86), ('openstacksdk_v2.py', 52)]
)
def test_a_client_logs_in_and_makes_its_tour(
    keystone: Keystone, place: Place, tour: str, requests: int
) -> None:
    fresh = f'tour of {tour}'
    project = keystone.create('project', fresh)
    keystone.assign('manager', keystone.find('user', 'ann'), project)

    done = subprocess.run(
        [OF_VERSION_2 / 'python', HERE / tour],
        env=os.environ
        | keystone.login('ann', PASSWORD, project)
        | {'OTHER_PROJECT': place.billing},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, 'ok\n'), done.stderr
    sent = requests_to(place.service, done.stderr)
    assert len(sent) == requests, '\n'.join(sent)


# Keystone fails.


def test_while_keystone_is_down_it_serves_whom_it_remembers(
    keystone: Keystone, place: Place
) -> None:
    known, unknown = (keystone.log_in('ann', PASSWORD, 'orders') for _ in range(2))
    ask(place, 'GET', '/v2/queues', known)
    said_before = place.service.err.read_text()

    keystone.stop()
    try:
        assert ask(place, 'GET', '/v2/queues', known).status == 200
        assert ask(place, 'GET', '/v1/health').status == 204
        refused = ask(place, 'GET', '/v2/queues', unknown)
    finally:
        keystone.start()

    assert ask(place, 'GET', '/v2/queues', unknown).status == 200
    assert (refused.status, refused.headers['WWW-Authenticate']) == (503, None)
    assert int(refused.headers['Retry-After']) > 0
    said = place.service.err.read_text().removeprefix(said_before)
    assert re.search(r'Unable to establish connection to http://127\.0\.0\.1:\d+/v3', said)


def test_no_secret_is_in_the_log_or_in_the_list_of_processes(
    keystone: Keystone, place: Place, token_of: TokenOf
) -> None:
    token = token_of('ann')
    ask(place, 'GET', '/v2/queues', token)
    ask(place, 'GET', '/v2/queues', keystone.expired(token))

    shown = place.service.err.read_text()
    for pid in place.service.processes():
        shown += processes.shown(pid, 'cmdline')

    for secret in ('SECRET', PASSWORD, 'gAAAAA'):
        assert secret not in shown
