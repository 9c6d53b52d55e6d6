"""What uwsgi's router and the application make of bytes: raw sockets, real processes."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from marconi_api.processes.bodies import GRACE
from marconi_api.processes.waiting.slow_bodies import PATIENCE
from marconi_api.processes.web_server import HEADERS_TIMEOUT
from tests.running_service import DEADLINE, HEADERS, Service, services, wait_until

HEAD = ''.join(f'{name}: {value}\r\n' for name, value in HEADERS.items())
HEAD = f'Host: test\r\nX-Project-Id: acme\r\n{HEAD}'
QUEUE = '/v2/queues/jobs'


@pytest.fixture(scope='module')
def service() -> Iterator[Service]:
    with services() as start:
        yield start().wait_until_ready()


class Client:
    """Sends bytes, each time on a connection of its own."""

    def __init__(self, service: Service) -> None:
        self.address = ('127.0.0.1', service.port)

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.address, timeout=DEADLINE) as connection:
            yield connection

    def raw(self, sent: str | bytes) -> tuple[int, bytes]:
        """The status and body of the answer, once its first line is seen to be in order."""
        with self.connection() as connection:
            connection.sendall(sent if isinstance(sent, bytes) else sent.encode())
            return answer(connection)

    def request(self, method: str, target: str, body: object = None) -> tuple[int, bytes]:
        """The answer to a request as it should be."""
        content = '' if body is None else json.dumps(body)
        length = '' if body is None else f'Content-Length: {len(content)}\r\n'
        return self.raw(f'{method} {target} HTTP/1.1\r\n{HEAD}{length}\r\n{content}')

    def chunked(
        self, method: str, target: str, body: object, at_once: int = 7, protocol: str = 'HTTP/1.1'
    ) -> tuple[int, bytes]:
        """The same, with the body in chunks of so many bytes."""
        return self.raw(
            f'{method} {target} {protocol}\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n'
            + in_chunks(json.dumps(body), at_once)
        )


def in_chunks(content: str, at_once: int) -> str:
    parts = [content[start : start + at_once] for start in range(0, len(content), at_once)]
    return ''.join(f'{len(part):x}\r\n{part}\r\n' for part in [*parts, ''])


def answer(connection: socket.socket) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return response.status, response.read()


@pytest.fixture
def client(service: Service) -> Client:
    """A client, and the queue jobs with a message."""
    client = Client(service)
    client.request('DELETE', QUEUE)
    assert client.request('PUT', QUEUE)[0] == 201
    assert client.request('POST', f'{QUEUE}/messages', {'messages': [{'body': 1}]})[0] == 201
    return client


def messages_of(client: Client, query: str = '', count: int = 1) -> list[dict[str, object]]:
    """Those that a list shows, once there are ``count``.

    It does not show what was posted while an older transaction was open, such as one of the service.
    """
    shown: list[dict[str, object]] = []

    def are_there() -> bool:
        _, body = client.request('GET', f'{QUEUE}/messages?echo=true{query}')
        shown[:] = json.loads(body)['messages']
        return len(shown) >= count

    wait_until(are_there)
    return shown


# Bodies in chunks.


def test_a_post_in_chunks_is_stored(client: Client) -> None:
    status, body = client.chunked('POST', f'{QUEUE}/messages', {'messages': [{'body': 'chunks'}]})

    assert status == 201, body
    assert [message['body'] for message in messages_of(client, count=2)] == [1, 'chunks']


def test_a_purge_in_chunks_removes_only_what_its_body_names(client: Client) -> None:
    status, _ = client.chunked('POST', f'{QUEUE}/purge', {'resource_types': ['parked']})

    assert status == 204
    assert len(messages_of(client)) == 1


def test_a_claim_in_chunks_lives_as_long_as_its_body_says(client: Client) -> None:
    _, body = client.chunked('POST', f'{QUEUE}/claims', {'ttl': 4321, 'grace': 60})

    claim = json.loads(body)['messages'][0]['href'].partition('claim_id=')[2]
    _, body = client.request('GET', f'{QUEUE}/claims/{claim}')
    assert json.loads(body)['ttl'] == 4321


def test_metadata_in_chunks_is_stored(client: Client) -> None:
    client.request('DELETE', QUEUE)

    client.chunked('PUT', QUEUE, {'colour': 'blue'})

    assert json.loads(client.request('GET', QUEUE)[1])['colour'] == 'blue'


def test_a_large_body_in_chunks_is_stored(client: Client) -> None:
    posted = {'messages': [{'body': 'x' * 250_000}]}

    status, body = client.chunked('POST', f'{QUEUE}/messages', posted, at_once=8192)

    assert status == 201, body
    assert len(str(messages_of(client, count=2)[-1]['body'])) == 250_000


def test_chunks_that_arrive_one_by_one_are_put_together(client: Client) -> None:
    content = in_chunks(json.dumps({'resource_types': ['parked']}), 9)
    with client.connection() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n'
        sent = head + content
        for byte in sent[:-1]:
            connection.sendall(byte.encode())
        # The answer may come before the last line has ended, and the connection be closed.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(sent[-1].encode())
        status, _ = answer(connection)

    assert status == 204
    assert len(messages_of(client)) == 1


def test_trailers_after_the_last_chunk_are_ignored(client: Client) -> None:
    content = '1E\r\n{"resource_types": ["parked"]}\r\n0\r\nX-Trailer: 1\r\n\r\n'
    status, _ = client.raw(
        f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}Transfer-Encoding: Chunked\r\n\r\n{content}'
    )

    assert status == 204
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('size', [300_000, 3_000_000])
def test_chunks_that_are_too_large_are_refused_with_an_answer(client: Client, size: int) -> None:
    posted = {'messages': [{'body': 'x' * size}]}

    status, body = client.chunked('POST', f'{QUEUE}/messages', posted, at_once=8192)

    assert (status, json.loads(body)['title']) == (400, 'Invalid API request')
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize(
    'content',
    [
        '-1\r\n',
        '0x2\r\n{}\r\n0\r\n\r\n',
        '2\n{}\n0\n\n',
        '1\r\n{}\r\n0\r\n\r\n',
        'fffffffffffffffff\r\n',
    ],
)
def test_chunks_that_are_not_well_formed_are_refused_and_nothing_is_done(
    client: Client, content: str
) -> None:
    status, _ = client.raw(
        f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n{content}'
    )

    assert status == 400
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize(
    'header',
    [
        'Transfer-Encoding: gzip, chunked',
        'Transfer-Encoding: identity',
        'Transfer-Encoding: xchunked',
        'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked',
        'Transfer-Encoding: chunked\r\nContent-Length: 30',
        'Transfer-Encoding : chunked',
        'Content-Length : 30',
        'Content-Length:',
        'X-Other: x\nContent-Length: 30',
        'X-Other: x\r\n Content-Length: 30',
    ],
)
def test_a_body_whose_end_is_not_clear_is_refused_and_nothing_is_done(
    client: Client, header: str
) -> None:
    with client.connection() as connection:
        content = in_chunks('{"resource_types": ["parked"]}', 30)
        connection.sendall(
            f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}{header}\r\n\r\n{content}'.encode()
        )
        status, _ = answer(connection)

    assert status == 400
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('length', ['5 5', '0x3', '1e1', '+9', '+25', '-1', '5,5', '99 99'])
def test_a_length_that_is_not_a_number_is_refused_at_once_and_nothing_is_done(
    client: Client, length: str
) -> None:
    status, _ = client.raw(f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}Content-Length: {length}\r\n\r\n')

    assert status == 400
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('lengths', [(30, 30), (30, 5), (5, 30), (30, 99), (99, 30), (0, 30)])
def test_two_lengths_are_refused_at_once_and_nothing_is_done(
    client: Client, lengths: tuple[int, int]
) -> None:
    first, second = (f'Content-Length: {length}\r\n' for length in lengths)
    status, _ = client.raw(
        f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}{first}{second}\r\n{{"resource_types": ["parked"]}}'
    )

    assert status == 400
    assert len(messages_of(client)) == 1


def test_clients_that_hang_in_chunks_do_not_keep_others_waiting(
    service: Service, client: Client
) -> None:
    head = f'POST {QUEUE}/purge HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{{'
    with contextlib.ExitStack() as hanging:
        connections = [hanging.enter_context(client.connection()) for _ in range(20)]
        for connection in connections:
            connection.sendall(head.encode())

        assert len(messages_of(client)) == 1
        status, _ = client.chunked('POST', f'{QUEUE}/purge', {'resource_types': ['parked']})
        refused = [answer(connection)[0] for connection in connections]

    assert status == 204
    assert set(refused) == {408, 503}
    assert len(messages_of(client)) == 1


# Bodies that come later than their heads.


# Seconds for which no thread waits.
PAUSE = 10 * GRACE


class Late(NamedTuple):
    """A request whose head was sent, and the body that is still to be sent."""

    connection: socket.socket
    content: bytes

    def send(self, *until: int) -> int:
        """Send the body with pauses at these places; returns the status of the answer."""
        for start, end in itertools.pairwise((0, *until, len(self.content))):
            time.sleep(PAUSE)
            self.connection.sendall(self.content[start:end])
        return answer(self.connection)[0]


def late_post(client: Client, stack: contextlib.ExitStack, body: object) -> Late:
    """A post of one message, of which only the head was sent."""
    content = json.dumps({'messages': [{'body': body}]}).encode()
    connection = stack.enter_context(client.connection())
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        f'POST {QUEUE}/messages HTTP/1.1\r\n{HEAD}Content-Length: {len(content)}\r\n\r\n'.encode()
    )
    return Late(connection, content)


def test_a_body_that_comes_long_after_its_head_is_stored(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        assert late_post(client, stack, 'late').send() == 201

    assert [message['body'] for message in messages_of(client, count=2)] == [1, 'late']


def test_a_body_that_drips_is_stored(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        post = late_post(client, stack, 'drips')
        assert post.send(*range(1, len(post.content))) == 201

    assert [message['body'] for message in messages_of(client, count=2)] == [1, 'drips']


@pytest.mark.parametrize('size', [10, 65_000, 66_000, 200_000, 250_000])
@pytest.mark.parametrize('places', [(), (1,), (9, 30), (64_000,), (65_999, 199_999)])
def test_a_body_is_the_same_in_whatever_parts_it_comes(
    client: Client, size: int, places: tuple[int, ...]
) -> None:
    body = ''.join(chr(32 + number % 90) for number in range(size))

    with contextlib.ExitStack() as stack:
        post = late_post(client, stack, body)
        assert post.send(*(place for place in places if place < len(post.content))) == 201

    assert messages_of(client, count=2)[-1]['body'] == body


@pytest.mark.parametrize('size', [1, 60_000, 65_000, 66_000, 200_000])
def test_a_body_that_is_sent_with_its_head_is_stored_as_it_is(client: Client, size: int) -> None:
    body = ''.join(chr(32 + number % 90) for number in range(size))

    assert client.request('POST', f'{QUEUE}/messages', {'messages': [{'body': body}]})[0] == 201

    assert messages_of(client, count=2)[-1]['body'] == body


def test_a_body_that_comes_late_while_there_is_no_waiting_room_is_stored(
    client: Client, service: Service
) -> None:
    [room] = service.named('marconi-waiting')
    os.kill(room, signal.SIGKILL)
    # Until all its threads have ended it may take a request with it.
    wait_until(lambda: not Path(f'/proc/{room}').exists())

    try:
        with contextlib.ExitStack() as stack:
            posts = [late_post(client, stack, number) for number in range(2)]
            assert [post.send() for post in posts] == [201] * 2
    finally:
        wait_until(lambda: has_waited(client))


def has_waited(client: Client) -> bool:
    """Whether a request that can wait did so, and did not find that there is no waiting room."""
    with client.connection() as connection:
        connection.sendall(f'POST /v2/queues/none/claims?wait=1 HTTP/1.1\r\n{HEAD}\r\n'.encode())
        return b'\r\nPreference-Applied:' in connection.recv(65536)


def test_zeros_at_the_end_of_a_body_belong_to_it(client: Client) -> None:
    status, _ = client.raw(
        f'POST {QUEUE}/messages HTTP/1.1\r\n{HEAD}Content-Length: 30\r\n\r\n'
        '{"messages": [{"body": 2}]}\0\0\0'
    )

    assert status == 400
    assert len(messages_of(client)) == 1


def test_clients_that_hang_before_their_bodies_keep_nobody_waiting_and_are_served_later(
    client: Client,
) -> None:
    with contextlib.ExitStack() as hanging:
        posts = [late_post(client, hanging, number) for number in range(50)]
        for post in posts[25:]:
            post.connection.sendall(post.content[:5])

        begun = time.monotonic()
        assert len(messages_of(client)) == 1
        assert client.request('POST', f'{QUEUE}/messages', {'messages': [{'body': 2}]})[0] == 201
        # Far less than the time for which one of them may hang.
        assert time.monotonic() - begun < PATIENCE / 3

        for number, post in enumerate(posts):
            post.connection.sendall(post.content[5 if number >= 25 else 0 :])
        assert {answer(post.connection)[0] for post in posts} == {201}

    bodies = [message['body'] for message in messages_of(client, '&limit=20', 20)]
    assert bodies[:2] == [1, 2]
    assert len(bodies) == 20


def test_a_claim_whose_body_comes_late_waits_for_messages(client: Client) -> None:
    claim = f'POST {QUEUE}/claims?wait=20 HTTP/1.1\r\n{HEAD}Content-Length: 11\r\n\r\n'
    client.request('POST', f'{QUEUE}/purge')
    with client.connection() as connection:
        connection.sendall(claim.encode())
        time.sleep(PAUSE)
        connection.sendall(b'{"ttl":300}')
        time.sleep(PAUSE)
        client.request('POST', f'{QUEUE}/messages', {'messages': [{'body': 'awaited'}]})
        status, body = answer(connection)

    assert status == 201
    assert json.loads(body)['messages'][0]['body'] == 'awaited'


def test_of_a_client_that_goes_amid_its_body_nothing_is_stored(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        post = late_post(client, stack, 'gone')
        time.sleep(PAUSE)
        post.connection.sendall(post.content[:10])

    assert len(messages_of(client)) == 1


def test_the_client_of_a_late_body_that_is_refused_is_told_why(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        post = late_post(client, stack, 1)
        assert post._replace(content=b'x' * len(post.content)).send(3) == 400

    assert len(messages_of(client)) == 1


def test_a_connection_whose_body_came_late_serves_further_requests(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        post = late_post(client, stack, 2)
        assert post.send(4) == 201
        post.connection.sendall(f'GET {QUEUE}/messages HTTP/1.1\r\n{HEAD}\r\n'.encode())
        assert answer(post.connection)[0] == 200


def test_a_stop_refuses_requests_whose_bodies_have_not_come() -> None:
    with services() as start, contextlib.ExitStack() as stack:
        service = start().wait_until_ready()
        post = late_post(Client(service), stack, 1)
        time.sleep(PAUSE)
        service.process.send_signal(signal.SIGTERM)

        assert answer(post.connection)[0] == 503


# Bodies that are too large.


def test_clients_that_stop_within_their_headers_are_closed_soon(client: Client) -> None:
    """Each takes descriptors of the router, so that many of them would stop everybody else."""
    begun = time.monotonic()
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(client.connection()) for _ in range(3)]
        for connection in silent:
            connection.sendall(b'GET / HTTP/1.1\r\nHost: te')

        assert [connection.recv(1) for connection in silent] == [b''] * 3

    # Well before the keep-alive of idle clients, which is 60.
    assert time.monotonic() - begun < HEADERS_TIMEOUT + 30


def test_a_body_too_large_that_comes_late_is_refused_with_an_answer(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        assert late_post(client, stack, 'x' * 300_000).send(10, 200_000) == 400

    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('size', [300_000, 900_000])
def test_a_body_somewhat_too_large_is_refused_with_an_answer(client: Client, size: int) -> None:
    posted = {'messages': [{'body': 'x' * size}]}

    status, body = client.request('POST', f'{QUEUE}/messages', posted)

    assert (status, json.loads(body)['title']) == (400, 'Invalid API request')


def test_a_client_that_asks_to_send_a_far_too_large_body_is_told_not_to(client: Client) -> None:
    status, _ = client.raw(
        f'POST {QUEUE}/messages HTTP/1.1\r\n{HEAD}Content-Length: 50000000\r\n'
        'Expect: 100-continue\r\n\r\n'
    )

    assert status == 413


# What is taken for a request.


def test_the_rest_of_a_line_with_spaces_does_not_name_another_queue(client: Client) -> None:
    status, _ = client.raw(f'DELETE {QUEUE} /messages/x HTTP/1.1\r\n{HEAD}\r\n')

    assert status == 400
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize(
    'line',
    [
        f'DELETE {QUEUE}  HTTP/1.1',
        f'DELETE {QUEUE} HTTP/1.1 ',
        f'DELETE {QUEUE} x HTTP/1.1',
        f'DELETE {QUEUE} HTTP/1.1 HTTP/1.1',
        f'DELETE  {QUEUE} HTTP/1.1',
        f'DELETE {QUEUE} ',
        f'DELETE {QUEUE} FOO/9',
        f'DELETE {QUEUE} http/1.1',
        f'DELETE {QUEUE} HTTP/1.10',
        f'DELETE {QUEUE} HTTP/2',
        f'DELETE {QUEUE} HTTP/1.1\0',
        f'DELETE {QUEUE} HTTP/1.1\nX-Other: x',
        f'DELETE {QUEUE} HTTP/1.1\rX-Other: x\r',
        f'DELETE {QUEUE}\r\nX-Other: HTTP/1.1',
        f'DELETE {QUEUE}\0 HTTP/1.1',
        f'DELETE {QUEUE}\t HTTP/1.1',
        f'DELETE {QUEUE}\n HTTP/1.1',
        f'DELETE {QUEUE}?a=\n HTTP/1.1',
    ],
)
def test_a_line_that_is_not_in_order_is_refused_and_nothing_of_it_comes_back(
    client: Client, line: str
) -> None:
    with client.connection() as connection:
        connection.sendall(f'{line}\r\n{HEAD}\r\n'.encode())
        received = connection.recv(65536)

    # A router that does not understand it at all closes the connection.
    assert not received or received.startswith(b'HTTP/1.1 400 Bad Request\r\n'), received
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('version', ['v1', 'v1.1', 'v2'])
@pytest.mark.parametrize(
    'target',
    [
        '/{version}/queues/jobs%',
        '/{version}/queues/jobs%2',
        '/{version}/queues/jobs%g',
        '/{version}/queues/jobs%zz',
        '/{version}/queues/jobs%00',
        '/{version}/queues/jobs%0a',
        '/{version}/queues/jobs%256a',
        '/{version}/queues/jobs#',
        '/{version}/queues/jobs#x',
        '/{version}/queues/jobs?#x',
        '/{version}/queues/./jobs',
        '/{version}/queues/jobs/.',
        '/{version}/queues/x/../jobs',
        '/{version}/queues/jobs/messages/..',
        '/{version}/./queues/jobs',
        '/x/../{version}/queues/jobs',
        '/%2e/{version}/queues/jobs',
        '/{version}/queues/%2e/jobs',
        '/{version}/queues//jobs',
        '//{version}/queues/jobs',
        '/{version}//queues/jobs',
        '/{version}/queues%2fjobs',
        '/{version}%2Fqueues/jobs',
        '/{version}/queues/jobs%2F',
        '/{version}/queues/jobs%2f.',
        '/{version}/queues/jobs%20',
        '/{version}/queues/jobs\\',
        '/{version}/queues/jobs;x',
        '/{version}/queues/jobs%3Fx',
        '/{version}/queues/jobs%ff',
        '/{version}/queues/jobs\u00fc',
        '/{version}/queues/JOBS',
        '{version}/queues/jobs',
        'x/{version}/queues/jobs',
        'http://test/{version}/queues/jobs',
        'http:/{version}/queues/jobs',
        '?/{version}/queues/jobs',
    ],
)
def test_no_other_spelling_of_its_path_reaches_a_queue(
    client: Client, version: str, target: str
) -> None:
    target = target.format(version=version)

    status, _ = client.raw(f'DELETE {target} HTTP/1.1\r\n{HEAD}\r\n')

    # Some are names of other queues, which do not exist.
    assert status in (204, 400, 404, 405), status
    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('version', ['v1', 'v1.1', 'v2'])
@pytest.mark.parametrize(
    'ending', ['%', '%2', '%g', '%00', '%20', '#', '#x', '/.', '%2f', '//', '%25', '.', '%ff']
)
def test_no_other_spelling_of_its_id_reaches_a_message(
    client: Client, version: str, ending: str
) -> None:
    [message] = messages_of(client)
    path = f'/{version}/queues/jobs/messages/{message["id"]}'

    assert client.request('DELETE', f'{path}{ending}')[0] in (204, 400, 404)
    assert client.request('GET', f'{path}{ending}')[0] in (400, 404)

    assert len(messages_of(client)) == 1


@pytest.mark.parametrize('ending', ['%', '%2', '%g', '%ff', '%2F..%2Fjobs'])
def test_a_name_that_cannot_be_decoded_is_refused_as_a_name(client: Client, ending: str) -> None:
    status, body = client.request('DELETE', f'{QUEUE}{ending}')

    assert (status, json.loads(body)['title']) == (400, 'Invalid queue identification')


def test_a_path_is_decoded_once(client: Client) -> None:
    assert client.request('GET', '/v2/queues/%6Aob%73')[0] == 200
    assert client.request('GET', '/v2/queues/%256Aobs')[0] == 400


def test_a_query_is_not_a_path(client: Client) -> None:
    assert client.request('GET', f'{QUEUE}/messages?echo=true&x=/../..//%2e')[0] == 200


@pytest.mark.parametrize(
    'hosts', ['', 'Host: a\r\nHost: b\r\n', 'Host: test\r\nHost: test\r\n', 'Host: a b\r\n']
)
def test_http_1_1_needs_one_host(client: Client, hosts: str) -> None:
    head = HEAD.replace('Host: test\r\n', hosts)

    status, _ = client.raw(f'DELETE {QUEUE} HTTP/1.1\r\n{head}\r\n')

    assert status == 400
    assert len(messages_of(client)) == 1


def test_http_1_0_needs_no_host(client: Client) -> None:
    head = HEAD.replace('Host: test\r\n', '')

    status, _ = client.raw(f'GET {QUEUE} HTTP/1.0\r\n{head}\r\n')

    assert status == 200


@pytest.mark.parametrize('project', ['acme ', ' acme', '\tacme', 'acme \t '])
def test_white_space_around_a_project_is_not_part_of_it(client: Client, project: str) -> None:
    head = HEAD.replace('X-Project-Id: acme', f'X-Project-Id: {project}')

    status, _ = client.raw(f'GET {QUEUE} HTTP/1.1\r\n{head}\r\n')

    assert status == 200


@pytest.mark.parametrize(
    'header',
    [
        'X-Project-Id: acme\r\nX-Project-Id: acme',
        'X-Project-Id: acme\r\nx-project-id: other',
        'X-Project-Id: acme\r\nX_Project_Id: other',
        'X-Project-Id: acme,other',
        'X-Project-Id: acme\r\n other',
        'X-Project-Id: ac\tme',
        'X-Project-Id: acme\0',
        'X-Project-Id: acme\x7f',
        'X-Project-Id: acme\nX-Other: x',
        'X-Project-Id : acme',
        'X-Project-Id\t: acme',
    ],
)
@pytest.mark.parametrize('version', ['v1', 'v2'])
def test_a_project_that_is_not_one_text_is_refused(
    client: Client, version: str, header: str
) -> None:
    head = HEAD.replace('X-Project-Id: acme', header)

    status, body = client.raw(f'PUT /{version}/queues/jobs HTTP/1.1\r\n{head}\r\n')

    assert status == 400, body


# Signatures.


@pytest.mark.parametrize('method', ['GET', 'DELETE', 'OPTIONS', 'PATCH'])
@pytest.mark.parametrize(
    'path',
    [
        '/',
        '/openapi.json',
        '/v1/queues/jobs',
        '/v1/queues/jobs/messages',
        '/v1.1/queues/jobs',
        '/v1.1/queues/jobs/messages',
        '/v2',
        '/v2/queues/jobs',
        '/v2/queues/jobs/messages',
    ],
)
def test_a_signature_that_opens_nothing_is_a_404_on_every_path(
    client: Client, method: str, path: str
) -> None:
    status, _ = client.raw(f'{method} {path} HTTP/1.1\r\n{HEAD}URL-Signature: garbage\r\n\r\n')

    assert status == 404
    assert len(messages_of(client)) == 1
