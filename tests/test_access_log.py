"""A line of the log for each request, and lines as JSON."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import shown
from tests.running_service import HEADERS, Service, refused, services, wait_until

BODY = 'a-secret-in-a-body'
QUERY = 'a-secret-in-a-query'
SIGNATURE = 'a-secret-signature'
PATH = 'a-secret-in-a-path'

_TOKEN_CREATE = ('token', 'create', '--project', 'acme', '--role', 'admin')


class Logged:
    """A service in token mode that logs requests as JSON, and a client that has a token."""

    def __init__(self, service: Service, token: str) -> None:
        self.service = service
        self.token = token
        self._read = 0

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, str | None]:
        """Send a request with the token; its status, and the id that it was told."""
        sent = {**HEADERS, 'X-Auth-Token': self.token}
        sent.update({name.replace('_', '-'): value for name, value in headers.items()})
        with contextlib.closing(self.service.connect()) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, sent)
            response = connection.getresponse()
            response.read()
            return response.status, response.headers['X-Openstack-Request-Id']

    def text(self) -> str:
        """All that was logged."""
        return self.service.err.read_text()

    def line(self, request_id: str | None) -> dict[str, Any]:
        """The line of a request."""
        assert request_id
        wait_until(lambda: request_id in self.text())
        [line] = [json.loads(line) for line in self.text().splitlines() if request_id in line]
        found: dict[str, Any] = line
        return found


@pytest.fixture(scope='module')
def logged() -> Iterator[Logged]:
    with services() as start, _settings() as settings:
        service = start(
            MARCONI_CONFIG=settings, MARCONI_LOG_FORMAT='json', MARCONI_ACCESS='token'
        ).wait_until_ready()
        made = subprocess.run(
            [sys.executable, '-m', 'marconi_api.commands', *_TOKEN_CREATE],
            env=os.environ | {'MARCONI_DATA_DIR': str(service.data_dir)},
            capture_output=True,
            text=True,
            check=True,
        )
        [token] = re.findall(r'mrc_\w+', made.stdout)
        yield Logged(service, token)


@contextlib.contextmanager
def _settings() -> Iterator[str]:
    # The service's user must be able to read it.
    path = Path(f'/tmp/marconi-settings-{os.getpid()}.py')
    path.write_text("server = {'access_log': True}")
    path.chmod(0o644)
    try:
        yield str(path)
    finally:
        path.unlink()


def test_a_line_says_what_was_asked_and_what_came_of_it(logged: Logged) -> None:
    logged.send('PUT', '/v2/queues/jobs')
    messages = {'messages': [{'body': 1}, {'body': 2}]}

    status, request_id = logged.send('POST', '/v2/queues/jobs/messages', messages)

    assert status == 201
    line = logged.line(request_id)
    assert line.pop('milliseconds') > 0
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z', line.pop('time'))
    assert line == {
        'level': 'INFO',
        'logger': 'marconi_api.access',
        'request_id': request_id,
        'method': 'POST',
        'route': '/v2/queues/{queue}/messages',
        'project': 'acme',
        'queue': 'jobs',
        'token': logged.token.split('_')[1],
        'status': 201,
        'messages': 2,
    }


@pytest.mark.parametrize(
    ('method', 'path', 'body', 'messages'),
    [
        ('GET', '/v2/queues/counted/messages', None, 3),
        ('POST', '/v2/queues/counted/claims?limit=2', {}, 2),
        ('DELETE', '/v2/queues/counted/messages?pop=1', None, 1),
        ('GET', '/v2/queues/counted', None, 0),
    ],
)
def test_a_line_says_how_many_messages_were_handled(
    logged: Logged, method: str, path: str, body: Any, messages: int
) -> None:
    logged.send('DELETE', '/v2/queues/counted')
    posted = {'messages': [{'body': number} for number in range(3)]}
    logged.send('POST', '/v2/queues/counted/messages', posted)

    _, request_id = logged.send(method, f'{path}{"&" if "?" in path else "?"}echo=true', body)

    assert logged.line(request_id)['messages'] == messages


def test_a_request_that_waits_is_one_line_when_it_is_answered(logged: Logged) -> None:
    _, request_id = logged.send('POST', '/v2/queues/nothing/claims?wait=1', {})

    line = logged.line(request_id)
    assert line['status'] == 204
    assert line['route'] == '/v2/queues/{queue}/claims'
    assert line['project'] == 'acme'
    assert line['milliseconds'] >= 1000


@pytest.mark.parametrize('header', ['X_Openstack_Request_Id', 'X_Request_Id'])
def test_an_id_that_the_client_sends_is_used(logged: Logged, header: str) -> None:
    sent = f'req-{header.count("_")}-of-the-client'

    _, request_id = logged.send('GET', '/v2/ping', **{header: sent})

    assert request_id == sent
    assert logged.line(sent)['route'] == '/v2/ping'


@pytest.mark.parametrize('sent', ['', 'a b', 'x' * 129, 'mrc_123456789012_secret', '"}'])
def test_an_id_that_is_not_well_formed_is_replaced(logged: Logged, sent: str) -> None:
    _, request_id = logged.send('GET', '/v2/ping', X_Request_Id=sent)

    assert request_id
    assert re.fullmatch(r'req-[0-9a-f-]{36}', request_id)


def test_no_line_has_a_body_a_credential_a_query_or_a_path(logged: Logged) -> None:
    secret = logged.token.rpartition('_')[2]
    body = {'messages': [{'body': BODY}]}
    requests = [
        logged.send('POST', f'/v2/queues/jobs/messages?x={QUERY}', body),
        logged.send('GET', f'/v2/{PATH}'),
        logged.send('GET', f'/v2/queues/{PATH}!'),
        logged.send('GET', '/v2/queues', Authorization=f'Bearer {logged.token}'),
        logged.send('GET', '/v2/queues', X_Auth_Token=f'{logged.token}{BODY}'),
        logged.send('GET', '/v2/queues', URL_Signature=SIGNATURE, URL_Expires=SIGNATURE),
        logged.send('POST', '/v2/queues/jobs/messages', BODY),
        logged.send('POST', '/v2/queues/jobs/claims?wait=1', {'ttl': BODY}),
    ]

    for _, request_id in requests:
        logged.line(request_id)

    text = logged.text()
    for what in (secret, BODY, QUERY, SIGNATURE, PATH):
        assert what not in text


def test_mistakes_of_clients_are_no_errors(logged: Logged) -> None:
    mistakes = [
        logged.send('GET', '/nonsense'),
        logged.send('BREW', '/v2/queues'),
        logged.send('POST', '/v2/queues/jobs/messages', 'no messages'),
        logged.send('GET', '/v2/queues', X_Auth_Token='wrong'),
        logged.send('GET', '/v2/queues?limit=x'),
    ]

    statuses = {status for status, _ in mistakes}

    assert statuses == {400, 401, 404, 405}
    for _, request_id in mistakes:
        assert logged.line(request_id)['level'] == 'INFO'
    levels = {json.loads(line)['level'] for line in _lines_of_marconi(logged)}
    assert levels <= {'INFO', 'WARNING'}


def _lines_of_marconi(logged: Logged) -> list[str]:
    return [line for line in logged.text().splitlines() if line.startswith('{')]


def test_all_lines_are_json(logged: Logged) -> None:
    lines = logged.text().splitlines()

    assert any('keeps the data in' in json.loads(line).get('message', '') for line in lines)


def test_requests_are_neither_logged_nor_counted_unless_that_is_set() -> None:
    with services() as start:
        service = start().wait_until_ready()
        files = ''.join(shown(pid, 'maps') for pid in service.processes())
        with contextlib.closing(service.connect()) as connection:
            connection.request('GET', '/v2/ping', headers={**HEADERS, 'X-Project-Id': 'acme'})
            response = connection.getresponse()
            response.read()
        _, err = service.end(15)

    assert response.headers['X-Openstack-Request-Id'] is None
    assert 'marconi_api.access' not in err
    # Those in which a process counts.
    assert 'counter_' not in files


def test_a_format_that_there_is_not_is_told_in_one_line() -> None:
    with services() as start:
        line = refused(start(MARCONI_LOG_FORMAT='xml'))

    assert "MARCONI_LOG_FORMAT must be plain or json, not 'xml'" in line
