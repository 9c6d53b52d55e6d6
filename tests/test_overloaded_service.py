"""A service to which more requests come than it can answer, as its clients and its operator meet it."""

import contextlib
import functools
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import DEADLINE, HEADERS, Service, services, wait_until

#: Two threads, and a post that takes one of them so many seconds: 40 posts in a second.
SETTINGS = """
server = {'processes': 1, 'threads': 2, 'access_log': True}
"""
SLOW_POSTS = """
    CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$;
    CREATE TRIGGER take_long AFTER INSERT ON messages EXECUTE FUNCTION take_long();
"""

IN_PROJECT = {**HEADERS, 'X-Project-Id': 'acme'}
BODY = '{"messages": [{"body": 1, "ttl": 300}]}'

#: What the log says when the first request is refused, and when none is any more.
SAID = 'more requests come than can be answered'
ENDED = 'requests are not refused any more'

#: Posts that come in a second.
RATE = 200


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Flood:
    """Clients that post whether others were answered or not, from a thread of its own."""

    def __init__(self, service: Service, queue: str) -> None:
        self._service = service
        self._content = (
            f'POST /v2/queues/{queue}/messages HTTP/1.1\r\nConnection: close\r\nHost: test\r\n'
            + ''.join(f'{name}: {value}\r\n' for name, value in IN_PROJECT.items())
            + f'Content-Length: {len(BODY)}\r\n\r\n{BODY}'
        ).encode()
        self._clients: list[socket.socket] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> Counter[bytes]:
        """The answers of all, by the status."""
        self._ends.set()
        self._thread.join()
        return self.answers()

    def send(self) -> None:
        """Let one more come."""
        client = socket.create_connection(('127.0.0.1', self._service.port), timeout=DEADLINE)
        client.sendall(self._content)
        self._clients.append(client)

    def answers(self) -> Counter[bytes]:
        found: Counter[bytes] = Counter()
        for client in self._clients:
            with client:
                found[client.recv(12)[9:]] += 1
        return found

    def _send(self) -> None:
        while not self._ends.wait(1 / RATE):
            self.send()


def ask(
    service: Service, method: str, path: str, body: str | None = None, **headers: str
) -> Answer:
    sent = IN_PROJECT | {name.replace('_', '-'): value for name, value in headers.items()}
    with contextlib.closing(service.connect()) as connection:
        connection.request(method, path, body, sent)
        return answer_on(connection)


def answer_on(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    return Answer(response.status, dict(response.getheaders()), response.read())


def until_refused(send: Callable[[], Answer]) -> Answer:
    """The answer to a request that is refused: it is sent until it is."""
    deadline = time.monotonic() + DEADLINE
    while (answer := send()).status != 503:
        assert time.monotonic() < deadline, answer
    return answer


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = tmp_path_factory.mktemp('settings') / 'settings.py'
    settings.write_text(SETTINGS)
    for path in (settings.parent, *settings.parents[1:3]):
        with contextlib.suppress(PermissionError):
            path.chmod(0o755)
    with services() as start:
        service = start(MARCONI_CONFIG=str(settings)).wait_until_ready()
        url = (running_url(service.data_dir) or '').replace('+psycopg2', '')
        with contextlib.closing(psycopg2.connect(url)) as connection, connection:
            connection.cursor().execute(SLOW_POSTS)
        yield service


def test_a_burst_is_not_refused(service: Service) -> None:
    burst = Flood(service, 'burst')
    for _ in range(50):
        burst.send()

    assert burst.answers() == {b'201': 50}


#: A request for each form of an error.
DOORS: dict[str, Any] = {
    'v1': ('GET', '/v1/queues', None, {}),
    'v1.1': ('POST', '/v1.1/queues/jobs/claims', '{}', {}),
    'v2': ('POST', '/v2/queues/jobs/messages', BODY, {}),
    'console': ('GET', '/console', None, {}),
    'sqs': (
        'POST',
        '/',
        '{"QueueName": "jobs"}',
        {'X_Amz_Target': 'AmazonSQS.GetQueueUrl', 'Content_Type': 'application/x-amz-json-1.0'},
    ),
    'sqs query': (
        'POST',
        '/',
        'Action=GetQueueUrl&QueueName=jobs',
        {'Content_Type': 'application/x-www-form-urlencoded'},
    ),
}
PROBES = ('/livez', '/readyz', '/v1/health', '/v2/ping', '/', '/console/static/console.css')


class Overload:
    """What a service did while more came than it could answer."""

    def __init__(self, service: Service) -> None:
        queue = '/v2/queues/held'
        body = json.dumps({'messages': [{'body': 1, 'ttl': 300}] * 10})
        assert ask(service, 'POST', f'{queue}/messages', body).status == 201
        claimed = ask(service, 'POST', f'{queue}/claims?limit=10', '{"ttl": 300}')
        held = [message['href'] for message in json.loads(claimed.body)['messages']]
        claim = claimed.headers['Location']

        flood = Flood(service, 'flooded')
        flood.begin()
        try:
            wait_until(lambda: SAID in service.err.read_text())
            self.refusals = {
                door: until_refused(functools.partial(ask, service, *asked, **headers))
                for door, (*asked, headers) in DOORS.items()
            }
            self.late = self._with_a_late_body(service)
            self.probes = [ask(service, 'GET', path).status for path in PROBES]
            self.ends = [ask(service, 'PATCH', claim, '{"ttl": 300}').status]
            self.ends += [ask(service, 'DELETE', path).status for path in held]
            self.waiter = ask(service, 'POST', f'{queue}/claims?wait=1', '{}')
        finally:
            self.posts = flood.end()

    @staticmethod
    def _with_a_late_body(service: Service) -> list[Answer]:
        """The answers to a request whose body comes late, and to another one on its connection."""
        with contextlib.closing(service.connect()) as connection:

            def send() -> Answer:
                connection.putrequest('POST', '/v2/queues/late/messages')
                for name, value in (IN_PROJECT | {'Content-Length': str(len(BODY))}).items():
                    connection.putheader(name, value)
                connection.endheaders()
                time.sleep(0.1)
                connection.send(BODY.encode())
                return answer_on(connection)

            refused = until_refused(send)
            first = connection.sock.getsockname()
            connection.request('GET', '/livez')
            after = answer_on(connection)
            assert connection.sock.getsockname() == first
            return [refused, after]


@pytest.fixture(scope='module')
def overload(service: Service) -> Overload:
    return Overload(service)


@pytest.mark.parametrize('door', DOORS)
def test_what_is_too_much_is_refused_with_the_time_at_which_to_come_again(
    overload: Overload, door: str
) -> None:
    assert overload.refusals[door].headers['Retry-After'] == '1'


def test_a_refusal_has_the_form_of_its_protocol(overload: Overload) -> None:
    said = 'More requests come than can be answered: wait a moment, and try again.'
    bodies = {door: answer.body.decode() for door, answer in overload.refusals.items()}

    document = {'title': 'Service temporarily unavailable', 'description': said}
    assert [json.loads(bodies[door]) for door in ('v1', 'v1.1', 'v2')] == [document] * 3
    assert json.loads(bodies['sqs']) == {
        '__type': 'com.amazonaws.sqs#ServiceUnavailable',
        'message': said,
    }
    assert f'<Code>ServiceUnavailable</Code><Message>{said}' in bodies['sqs query']
    assert said in bodies['console']


def test_each_post_is_answered_and_those_that_are_refused_are_not_stored(
    service: Service, overload: Overload
) -> None:
    stats = json.loads(ask(service, 'GET', '/v2/queues/flooded/stats').body)

    assert set(overload.posts) == {b'201', b'503'}
    assert stats['messages']['total'] == overload.posts[b'201']


def test_probes_are_answered_meanwhile(overload: Overload) -> None:
    assert overload.probes == [200, 200, 204, 204, 300, 200]


def test_what_ends_work_is_done_meanwhile(overload: Overload) -> None:
    assert overload.ends == [204] * 11


def test_who_is_ready_to_wait_may_do_so_meanwhile(overload: Overload) -> None:
    assert overload.waiter.status == 204
    assert overload.waiter.headers['Preference-Applied'] == 'wait=1'


def test_a_refusal_before_the_body_has_arrived_leaves_the_connection_in_order(
    overload: Overload,
) -> None:
    assert [answer.status for answer in overload.late] == [503, 200]


def test_refusals_are_logged(service: Service, overload: Overload) -> None:
    lines = [line for line in service.err.read_text().splitlines() if ' status=503 ' in line]

    assert len(lines) >= overload.posts[b'503']
    assert any('route=/v2/queues/{queue}/messages' in line for line in lines)


def test_all_is_taken_again_once_it_is_over(service: Service, overload: Overload) -> None:
    answers = [ask(service, 'POST', '/v2/queues/after/messages', BODY).status for _ in range(20)]

    assert answers == [201] * 20
    assert ENDED in service.err.read_text()
