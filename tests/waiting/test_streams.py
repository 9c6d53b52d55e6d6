"""A queue is followed as a stream of server-sent events."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from tests.controllers.openapi.document import OPERATIONS, resolved, validate
from tests.running_service import Service, services, wait_until
from tests.waiting.waiters import PROJECT, Reached, ask, claim, counters, post, room_of, unused

PAGE = OPERATIONS['GET', '/v2/queues/{queue}/messages']['responses']['200']['content']
#: What a page shows of a message, as a schema.
MESSAGE = resolved(PAGE['application/json']['schema'])['properties']['messages']['items']


class Follower:
    """Reads a stream, event by event, as the HTML standard says."""

    def __init__(self, service: Reached, queue: str, query: str = 'echo=true', **headers: str):
        self.connection = service.connect()
        sent = {'Client-ID': str(uuid4()), 'Accept': 'text/event-stream', **PROJECT}
        sent |= {name.replace('_', '-'): value for name, value in headers.items()}
        self.connection.request('GET', f'/v2/queues/{queue}/messages?{query}', headers=sent)
        self.response = self.connection.getresponse()
        self.comments = 0
        self.retries: list[str] = []

    def event(self) -> dict[str, str] | None:
        """The next event; None at the end of the stream."""
        found: dict[str, str] = {}
        while line := self.response.readline().decode():
            name, _, value = line.rstrip('\n').partition(': ')
            if name == 'retry':
                self.retries.append(value)
            elif name.startswith(':'):
                self.comments += 1
            elif name == 'data' and 'data' in found:
                found['data'] += f'\n{value}'
            elif name:
                found[name] = value
            elif 'data' in found:
                return found
            else:
                # An id alone is kept by a browser, and is no event.
                found = {}
        return None

    def bodies(self, count: int) -> list[Any]:
        """The bodies of the next messages."""
        found = []
        for _ in range(count):
            event = self.event()
            assert event is not None
            assert event['event'] == 'message'
            message = json.loads(event['data'])
            validate(MESSAGE, message)
            assert message['id'] == event['id']
            found.append(message['body'])
        return found

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@contextlib.contextmanager
def following(service: Service, queue: str, query: str = 'echo=true', **headers: str):
    """A follower that the room has."""
    before = counters(service).waiting
    with contextlib.closing(Follower(service, queue, query, **headers)) as follower:
        assert follower.response.status == 200
        wait_until(lambda: counters(service).waiting == before + 1)
        yield follower


@pytest.fixture
def queue(told: Service) -> Iterator[str]:
    # Clients of another test that went are noticed within a second.
    wait_until(lambda: counters(told).waiting == 0)
    yield unused('jobs')
    wait_until(lambda: counters(told).waiting == 0)


def test_it_begins_with_what_comes_from_now_on(told: Service, queue: str) -> None:
    post(told, queue, 'before')

    with following(told, queue) as follower:
        post(told, queue, 1, 2)
        post(told, queue, 3)
        assert follower.bodies(3) == [1, 2, 3]
        assert follower.retries == ['1000']
        assert follower.response.headers['Content-Type'] == 'text/event-stream; charset=utf-8'


def test_it_begins_after_a_marker(told: Service, queue: str) -> None:
    paths = post(told, queue, *range(50))
    marker = paths[9].rpartition('/')[2]

    with following(told, queue, f'echo=true&marker={marker}') as follower:
        post(told, queue, 50)
        assert follower.bodies(41) == list(range(10, 51))


def test_with_an_empty_marker_it_begins_at_the_start(told: Service, queue: str) -> None:
    post(told, queue, 'first')

    with following(told, queue, 'echo=true&marker=') as follower:
        assert follower.bodies(1) == ['first']


def test_a_browser_that_comes_again_goes_on_where_it_was_cut_off(told: Service, queue: str) -> None:
    with following(told, queue) as follower:
        post(told, queue, 1, 2, 3)
        events = [follower.event() for _ in range(2)]
    assert events[1]
    post(told, queue, 4)

    wait_until(lambda: counters(told).waiting == 0)
    with following(told, queue, 'echo=true&marker=', Last_Event_ID=events[1]['id']) as follower:
        assert follower.bodies(2) == [3, 4]


def test_a_text_with_line_ends_comes_whole(told: Service, queue: str) -> None:
    with following(told, queue) as follower:
        body = '{"messages": [{"body": {"a":\r\n 1,\r"b":\n\n2}}]}'
        headers = {'Client-ID': str(uuid4()), 'Content-Type': 'application/json', **PROJECT}
        with contextlib.closing(told.connect()) as connection:
            connection.request('POST', f'/v2/queues/{queue}/messages', body, headers)
            assert connection.getresponse().status == 201
        assert follower.bodies(1) == [{'a': 1, 'b': 2}]


def test_it_misses_nothing_that_an_older_transaction_held_back(
    told: Service, queue: str, database: str
) -> None:
    with following(told, queue) as follower:
        older = psycopg2.connect(database)
        with older.cursor() as cursor:
            cursor.execute('SELECT pg_current_xact_id()')
        post(told, queue, 1)
        post(told, queue, 2)
        older.commit()
        older.close()
        post(told, queue, 3)
        assert follower.bodies(3) == [1, 2, 3]


def test_it_shows_what_a_list_shows(told: Service, queue: str) -> None:
    own = str(uuid4())
    with following(told, queue, '', Client_ID=own) as follower:
        document = {'messages': [{'body': 'own'}]}
        ask(told, 'POST', f'/v2/queues/{queue}/messages', document, Client_ID=own)
        post(told, queue, 'theirs')
        assert follower.bodies(1) == ['theirs']


def test_it_changes_nothing(told: Service, queue: str) -> None:
    with following(told, queue) as follower:
        post(told, queue, 'a')
        assert follower.bodies(1) == ['a']
        assert claim(told, queue, wait=0).answer().status == 201


def test_two_thousand_messages_come_in_order_and_once(told: Service, queue: str) -> None:
    with following(told, queue) as follower:
        for start in range(0, 2000, 100):
            post(told, queue, *range(start, start + 100))
        assert follower.bodies(2000) == list(range(2000))


def test_a_slow_reader_gets_all_and_holds_nobody_up(told: Service, queue: str) -> None:
    with following(told, queue) as slow:
        for number in range(20):
            post(told, queue, *[f'{number}' + 'x' * 10_000] * 20)
        other = claim(told, queue)
        assert other.answer().status == 201
        read = slow.bodies(400)
    assert [int(body[: body.index('x')]) for body in read] == [
        n for n in range(20) for _ in range(20)
    ]


def test_the_end_of_the_queue_ends_it(deaf: Service) -> None:
    queue = unused('jobs')
    ask(deaf, 'PUT', f'/v2/queues/{queue}')
    with following(deaf, queue) as follower:
        post(deaf, queue, 'a')
        assert follower.bodies(1) == ['a']
        # By now a sweep has seen the queue.
        assert ask(deaf, 'DELETE', f'/v2/queues/{queue}').status == 204
        assert follower.event() is None


def test_other_versions_and_paths_do_not_offer_it(told: Service) -> None:
    for path in ('/v1/queues/jobs/messages', '/v1.1/queues/jobs/messages', '/v2/queues'):
        assert ask(told, 'GET', path, Accept='text/event-stream').status == 406


def test_a_marker_that_is_no_id_is_refused(told: Service) -> None:
    path = '/v2/queues/jobs/messages?marker=x'
    assert ask(told, 'GET', path, Accept='text/event-stream').status == 400


with_curl = pytest.mark.skipif(shutil.which('curl') is None, reason='there is no curl')


@contextlib.contextmanager
def curl(service: Service, queue: str, query: str, *headers: str) -> Iterator[Any]:
    """What `curl -N` writes of a stream, while it runs."""
    sent = ['Accept: text/event-stream', f'Client-ID: {uuid4()}', 'X-Project-Id: acme', *headers]
    url = f'http://127.0.0.1:{service.port}/v2/queues/{queue}/messages?echo=true{query}'
    command = ['curl', '-sN', *(part for header in sent for part in ('-H', header)), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout
        process.terminate()


@with_curl
def test_curl_shows_it(told: Service, queue: str) -> None:
    post(told, queue, 'a')
    with curl(told, queue, '&marker=') as written:
        lines = [written.readline() for _ in range(5)]
    assert lines[:2] == ['retry: 1000\n', '\n']
    assert lines[2].startswith('id: ')
    assert lines[3] == 'event: message\n'
    assert '"body":"a"' in lines[4]


@with_curl
@pytest.mark.slow
def test_curl_that_was_cut_off_goes_on_after_the_last_id(told: Service, queue: str) -> None:
    with curl(told, queue, '') as written:
        wait_until(lambda: counters(told).waiting == 1)
        os.kill(room_of(told), signal.SIGKILL)
        # It ends, as nothing more comes.
        start = written.read()
    post(told, queue, 'a', 'b')
    ids = re.findall('^id: (.*)$', start, flags=re.MULTILINE)
    events = ''
    while 'event' not in events:
        # It ends at once as long as there is no room.
        with curl(told, queue, '', f'Last-Event-ID: {ids[-1]}') as written:
            events = ''.join(written.readline() for _ in range(10))
    assert re.findall('"body":"(.)"', events) == ['a', 'b']


def test_it_ends_at_a_stop_and_at_its_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = tmp_path_factory.mktemp('settings') / 'short.py'
    settings.write_text("limits = {'max_stream_seconds': 2}\n")
    with services() as start:
        service = start(MARCONI_CONFIG=str(settings)).wait_until_ready()
        with following(service, 'jobs') as follower:
            assert follower.event() is None
        wait_until(lambda: counters(service).waiting == 0)
        with following(service, 'jobs') as follower:
            os.kill(room_of(service), signal.SIGTERM)
            assert follower.event() is None
