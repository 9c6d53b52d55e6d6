"""Real clients, unchanged, against the real service.

`make test-slow` makes an environment for each generation of them: they cannot share the service's,
nor each other's. MARCONI_TEST_CLIENTS names another directory that holds these environments.
"""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.clients.openstack_tour import (
    HERE,
    OF_VERSION_1,
    OF_VERSION_2,
    Openstack,
    make_its_tour,
    requests_to,
    running_commands,
)
from tests.running_service import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', autouse=True)
def environments() -> None:
    for environment in (OF_VERSION_1, OF_VERSION_2):
        if not environment.exists():
            pytest.fail(
                f'{environment} is missing: run make test-slow once, which installs the clients'
            )


@pytest.mark.parametrize(
    ('environment', 'tour', 'requests'),
    [
        (OF_VERSION_1, 'zaqarclient_v1.py', 29),
        (OF_VERSION_1, 'zaqarclient_v1_1.py', 44),
        (OF_VERSION_2, 'zaqarclient_v2.py', 85),
        (OF_VERSION_2, 'openstacksdk_v2.py', 51),
    ],
    ids=[
        'python-zaqarclient 3.0.1, version 1',
        'python-zaqarclient 3.0.1, version 1.1',
        'python-zaqarclient 4.7',
        'openstacksdk',
    ],
)
def test_a_client_makes_its_tour(
    service: Service, environment: Path, tour: str, requests: int
) -> None:
    assert_tour(service, environment, tour, requests)


@pytest.mark.parametrize(
    ('tour', 'requests'), [('zaqarclient_v2.py', 85), ('openstacksdk_v2.py', 51)]
)
def test_a_client_makes_the_same_tour_with_a_token(
    token_service: Service, token: str, tour: str, requests: int
) -> None:
    assert_tour(token_service, OF_VERSION_2, tour, requests, token, 'acme')


def assert_tour(
    service: Service, environment: Path, tour: str, requests: int, *options: str
) -> None:
    """A client makes its tour without an error, by that many requests."""
    done = subprocess.run(
        [environment / 'python', HERE / tour, f'http://127.0.0.1:{service.port}', *options],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (0, 'ok\n'), done.stderr
    sent = requests_to(service, done.stderr)
    assert len(sent) == requests, '\n'.join(sent)


class Keystone(BaseHTTPRequestHandler):
    """As much of an identity service as the `openstack` command asks for."""

    messaging_url = ''

    def do_GET(self) -> None:
        """Tell which version of the identity API is here."""
        link = {'rel': 'self', 'href': f'http://{self.headers["Host"]}/v3/'}
        self._answer(200, {'version': {'id': 'v3.14', 'status': 'stable', 'links': [link]}})

    def do_POST(self) -> None:
        """Give anybody a token, with the messaging service in its catalog."""
        self.rfile.read(int(self.headers['Content-Length']))
        where = {'interface': 'public', 'region': 'R', 'region_id': 'R', 'id': 'e'}
        endpoint = {**where, 'url': self.messaging_url}
        domain = {'id': 'default', 'name': 'Default'}
        token = {
            'user': {'id': 'u', 'name': 'u', 'domain': domain},
            'project': {'id': 'p1', 'name': 'p1', 'domain': domain},
            'roles': [{'id': 'r', 'name': 'member'}],
            'methods': ['password'],
            'issued_at': '2026-01-01T00:00:00.000000Z',
            'expires_at': '2999-01-01T00:00:00.000000Z',
            'catalog': [{'type': 'messaging', 'name': 'zaqar', 'id': '1', 'endpoints': [endpoint]}],
        }
        self._answer(201, {'token': token}, ('X-Subject-Token', 't'))

    def _answer(self, status: int, document: Any, *headers: tuple[str, str]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in (*headers, ('Content-Length', str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def keystone(service: Service) -> Iterator[str]:
    """The URL of an identity service whose catalog holds ours."""
    handler = type('Handler', (Keystone,), {'messaging_url': f'http://127.0.0.1:{service.port}'})
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}/v3'
        server.shutdown()
        thread.join()


@pytest.fixture(scope='module')
def openstack_environment() -> dict[str, str]:
    return os.environ | {'OS_MESSAGE_CLIENT_ID': '3381af92-2b9e-11e3-b191-71861300734c'}


@pytest.fixture(scope='module')
def openstack_commands(openstack_environment: dict[str, str]) -> Iterator['subprocess.Popen[str]']:
    """A process that runs one `openstack` command after the other, on one service."""
    with running_commands(openstack_environment) as process:
        yield process


@pytest.fixture
def openstack(
    service: Service,
    keystone: str,
    openstack_commands: 'subprocess.Popen[str]',
    openstack_environment: dict[str, str],
) -> Openstack:
    options = f'--os-auth-type v3password --os-auth-url {keystone} --os-username u'
    options += ' --os-password p --os-user-domain-id default --os-project-id p1'
    return Openstack(service, options, openstack_commands, openstack_environment)


@pytest.fixture
def openstack_with_token(
    token_service: Service,
    token: str,
    openstack_environment: dict[str, str],
) -> Iterator[Openstack]:
    options = f'--os-auth-type admin_token --os-token {token}'
    options += f' --os-endpoint http://127.0.0.1:{token_service.port}'
    with running_commands(openstack_environment) as commands:
        yield Openstack(token_service, options, commands, openstack_environment)


def test_the_openstack_program_finds_the_service(service: Service, openstack: Openstack) -> None:
    status, output, errors = openstack.run_the_program('ping -f json')

    assert (status, requests_to(service, errors)) == (0, ['GET /v2/ping']), errors
    assert json.loads(output) == {'Pingable': True}


def test_the_openstack_command_makes_its_tour(service: Service, openstack: Openstack) -> None:
    make_its_tour(service, openstack)


def test_the_openstack_command_makes_the_same_tour_with_a_token(
    token_service: Service, openstack_with_token: Openstack
) -> None:
    make_its_tour(token_service, openstack_with_token)


def test_the_openstack_command_says_who_may_see_the_health(
    service: Service, openstack: Openstack
) -> None:
    status, _, errors = openstack.run('health')

    assert (status, requests_to(service, errors)) == (1, ['GET /v2/health'])
    assert (
        'Title: Not authorized. Description: One of these roles is required here: admin' in errors
    )


def test_the_readme_shows_how_each_client_sends_a_token(token_service: Service, token: str) -> None:
    readme = (CHECKOUT / 'README.md').read_text()
    [section] = re.findall(r'^## Letting others in$(.*?)^## ', readme, re.MULTILINE | re.DOTALL)
    shown = re.findall(r'^```(sh|python)\n(.*?)^```$', section, re.MULTILINE | re.DOTALL)
    environment = os.environ | {
        'TOKEN': token,
        'PATH': f'{OF_VERSION_2}{os.pathsep}{os.environ["PATH"]}',
    }
    printed = []
    for language, text in shown:
        program = ['bash', '-ec'] if language == 'sh' else ['python', '-c']
        done = subprocess.run(
            [*program, text.replace('127.0.0.1:8888', f'127.0.0.1:{token_service.port}')],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)

    assert [language for language, _ in shown] == ['sh', 'python', 'python', 'sh']
    assert printed[0].startswith('HTTP/1.1 201 Created')
    # What the two in between have posted.
    assert json.loads(printed[3])['Stats']['messages']['free'] == 2
