"""A real Keystone, and what its administrator does with it."""

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marconi_api.processes.installation import CHECKOUT

#: Where `make test-slow` makes an environment for it and for its clients.
ENVIRONMENTS = Path(os.environ.get('MARCONI_TEST_CLIENTS') or CHECKOUT / '.venv')
KEYSTONE, CLIENTS = ENVIRONMENTS / 'keystone/bin', ENVIRONMENTS / 'clients-v2/bin'


def why_not() -> str | None:
    """Why there can be no Keystone here; None if there can be."""
    failed = ENVIRONMENTS / 'keystone.failed'
    if failed.exists():
        return f'Keystone cannot be installed: {failed.read_text().strip()[-200:]}'
    if not (KEYSTONE / 'keystone-manage').exists():
        return 'Keystone is not installed: run make test-slow once, which installs it'
    return None


class Keystone:
    """Keystone on a free port, with the user `admin`.

    :param directory: where it keeps what it knows
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0

    def start(self) -> None:
        """Start it; if it has been stopped, on the port where it was."""
        serve = Path(__file__).with_name('serve.py')
        with open(self._directory / 'stderr', 'a') as err:
            self._process = subprocess.Popen(
                [KEYSTONE / 'python', serve, self._directory, str(self._port)],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, (self._directory / 'stderr').read_text()
        self._port = urlsplit(self.url).port or 0

    def stop(self) -> None:
        """Nothing listens there any more."""
        self._process.terminate()
        self._process.communicate()

    def log_in(
        self, user: str, password: str, project: str | None = None, system: bool = False
    ) -> str:
        """A token of a user for a project, for the system as a whole, or for neither."""
        domain = {'id': 'default'}
        who = {'name': user, 'password': password, 'domain': domain}
        identity = {'methods': ['password'], 'password': {'user': who}}
        scope: Any = {'system': {'all': True}} if system else 'unscoped'
        if project:
            scope = {'project': {'name': project, 'domain': domain}}
        auth = {'identity': identity, 'scope': scope}
        return self._call('POST', 'auth/tokens', {'auth': auth}, {})[0]['X-Subject-Token']

    def log_in_with_a_credential(self, token: str, **fields: Any) -> str:
        """A token of a new application credential that belongs to the user of a token."""
        user = self.look_up(token)['user']['id']
        wanted = {'application_credential': {'name': str(uuid.uuid4()), **fields}}
        path = f'users/{user}/application_credentials'
        made = self._call('POST', path, wanted, {'X-Auth-Token': token})[1]
        credential = {name: made['application_credential'][name] for name in ('id', 'secret')}
        identity = {'methods': ['application_credential'], 'application_credential': credential}
        body = {'auth': {'identity': identity}}
        return self._call('POST', 'auth/tokens', body, {})[0]['X-Subject-Token']

    @cached_property
    def _administrator(self) -> dict[str, str]:
        """The header that its administrator sends."""
        return {'X-Auth-Token': self.log_in('admin', 'admin', project='admin')}

    def login(self, user: str, password: str, project: str) -> dict[str, str]:
        """The variables by which clients log in to a project, by its id."""
        return {
            'OS_AUTH_TYPE': 'v3password',
            'OS_AUTH_URL': self.url,
            'OS_USERNAME': user,
            'OS_PASSWORD': password,
            'OS_USER_DOMAIN_ID': 'default',
            'OS_PROJECT_ID': project,
        }

    def look_up(self, token: str) -> dict[str, Any]:
        """What a token says of its bearer, the catalogue included."""
        document = self._administer('GET', 'auth/tokens', headers={'X-Subject-Token': token})
        said: dict[str, Any] = document['token']
        return said

    def revoke(self, token: str) -> None:
        self._administer('DELETE', 'auth/tokens', headers={'X-Subject-Token': token})

    def expired(self, token: str) -> str:
        """The same token, had it been made two hours earlier."""
        expire = Path(__file__).with_name('expire.py')
        done = subprocess.run(
            [KEYSTONE / 'python', expire, self._directory, token],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def find(self, kind: str, name: str) -> str:
        """The id of a user, a project or the like."""
        (found,) = self._administer('GET', f'{kind}s?name={name}')[f'{kind}s']
        identity: str = found['id']
        return identity

    def create(self, kind: str, name: str, **fields: Any) -> str:
        """Make a user, a project or the like; its id."""
        document = self._administer('POST', f'{kind}s', {kind: {'name': name, **fields}})
        made: str = document[kind]['id']
        return made

    def assign(self, role: str, user: str, project: str | None = None) -> None:
        """Give a role to a user (both by id) in a project; without one, in the whole system."""
        where = f'projects/{project}' if project else 'system'
        self._administer('PUT', f'{where}/users/{user}/roles/{self._roles[role]}')

    @cached_property
    def _roles(self) -> dict[str, str]:
        return {role['name']: role['id'] for role in self._administer('GET', 'roles')['roles']}

    def run(self, *commands: str) -> None:
        """Run commands of `openstack`, as its administrator would, but all in one process."""
        done = subprocess.run(
            [CLIENTS / 'openstack'],
            env=os.environ | self.login('admin', 'admin', self.find('project', 'admin')),
            input=''.join(f'{command.removeprefix("openstack ")}\n' for command in commands),
            capture_output=True,
            text=True,
        )
        # Its status is 1 at the end of any session.
        assert not done.stderr, done.stderr

    def _administer(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        return self._call(method, path, body, self._administrator | (headers or {}))[1]

    def _call(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPMessage, Any]:
        connection = http.client.HTTPConnection('127.0.0.1', self._port, timeout=60)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            sent = {'Content-Type': 'application/json', **headers}
            connection.request(method, f'/v3/{path}', content, sent)
            response = connection.getresponse()
            text = response.read()
            assert response.status < 300, text
            return response.headers, json.loads(text) if text else None


@contextlib.contextmanager
def running_keystone() -> Iterator[Keystone]:
    """A new one, gone in the end with all that it kept."""
    with tempfile.TemporaryDirectory(prefix='marconi-keystone-') as directory:
        keystone = Keystone(Path(directory))
        keystone.start()
        try:
            yield keystone
        finally:
            keystone.stop()
