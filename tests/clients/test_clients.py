"""Real clients, unchanged, against the real service.

`make test` makes an environment for each generation of them: they cannot share the service's,
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

from marconi_api.installation import CHECKOUT
from tests.running_service import Service

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get('MARCONI_TEST_CLIENTS') or CHECKOUT / '.venv')
OF_VERSION_1, OF_VERSION_2 = ENVIRONMENTS / 'clients-v1/bin', ENVIRONMENTS / 'clients-v2/bin'


@pytest.fixture(scope='module', autouse=True)
def environments() -> None:
    for environment in (OF_VERSION_1, OF_VERSION_2):
        if not environment.exists():
            pytest.fail(f'{environment} is missing: run make test once, which installs the clients')


def requests_to(service: Service, log: str) -> list[str]:
    """What the service was asked, by the log of urllib3, which all clients use."""
    return re.findall(rf'127\.0\.0\.1:{service.port} "([A-Z]+ \S+) HTTP/1\.1"', log)


@pytest.mark.parametrize(
    ('environment', 'tour', 'requests'),
    [
        (OF_VERSION_1, 'zaqarclient_v1.py', 29),
        (OF_VERSION_1, 'zaqarclient_v1_1.py', 44),
        (OF_VERSION_2, 'zaqarclient_v2.py', 64),
        (OF_VERSION_2, 'openstacksdk_v2.py', 39),
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
    done = subprocess.run(
        [environment / 'python', HERE / tour, f'http://127.0.0.1:{service.port}'],
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


def test_the_openstack_command_makes_its_tour(keystone: str) -> None:
    """One process a command, as a person would type them."""
    client_id = '3381af92-2b9e-11e3-b191-71861300734c'

    def openstack(command: str, *more: str) -> str:
        options = f'--os-auth-type v3password --os-auth-url {keystone} --os-username u'
        options += ' --os-password p --os-user-domain-id default --os-project-id p1'
        done = subprocess.run(
            [OF_VERSION_2 / 'openstack', *options.split(), 'messaging', *command.split(), *more],
            env=os.environ | {'OS_MESSAGE_CLIENT_ID': client_id},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    openstack('queue create tour')
    openstack('queue set metadata tour', '{"purpose": "tour"}')
    assert 'tour' in openstack('queue list --detailed')
    openstack('message post tour', '[{"body": "one", "ttl": 100}, {"body": "two", "ttl": 100}]')
    assert 'one' in openstack('message list tour --echo --limit 2')
    claimed = openstack('claim create tour --ttl 300 --grace 300 --limit 1 -f json')
    claim = re.search(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', claimed)
    assert claim, claimed
    openstack(f'claim renew tour {claim[0]} --ttl 400')
    openstack(f'claim release tour {claim[0]}')
    assert json.loads(openstack('queue stats tour -f json'))
    signed = 'queue signed url tour --paths messages --ttl-seconds 600 --methods GET -f json'
    assert re.search(r'[0-9a-f]{64}', openstack(signed))
    openstack('queue purge tour')
    openstack('queue delete tour')
