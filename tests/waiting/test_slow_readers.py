"""Clients that read a large answer slowly, or not at all, hold up nobody."""

import contextlib
import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from marconi_api.processes import large_answers
from marconi_api.processes.answers import Answer
from marconi_api.processes.waiting.writing import Writer
from tests.running_service import HEADERS, Service
from tests.waiting.waiters import PROJECT, ask, counters, post, unused

#: A message of a size of which a page of 20 has 4 MB.
LARGE = 'x' * 200_000


class SlowReader:
    """A client that reads nothing of its answer before it is told to."""

    def __init__(self, service: Service, path: str) -> None:
        self._connection = http.client.HTTPConnection('127.0.0.1', service.port)
        self._connection.sock = socket.socket()
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._connection.sock.settimeout(20)
        self._connection.sock.connect(('127.0.0.1', service.port))
        self._connection.request('GET', path, headers={**HEADERS, **PROJECT})

    def read(self) -> Any:
        """The whole answer."""
        with contextlib.closing(self._connection):
            return json.load(self._connection.getresponse())


@pytest.mark.slow
def test_clients_that_do_not_read_hold_no_thread_and_get_all_in_the_end(other: Service) -> None:
    queue = unused('large')
    for number in range(20):
        post(other, queue, f'{number}{LARGE}')
    path = f'/v2/queues/{queue}/messages?limit=20&echo=true'

    # Three times as many as the service has threads.
    slow = [SlowReader(other, path) for _ in range(6)]
    assert ask(other, 'GET', '/v2/ping').status == 204

    for reader in slow:
        bodies = [message['body'] for message in reader.read()['messages']]
        assert bodies == [f'{number}{LARGE}' for number in range(20)]


@pytest.mark.slow
def test_such_an_answer_may_have_waited(other: Service) -> None:
    queue = unused('large')
    before = counters(other).waiting
    slow = SlowReader(other, f'/v2/queues/{queue}/messages?echo=true&wait=10')
    while counters(other).waiting == before:
        pass
    post(other, queue, LARGE)

    assert [message['body'] for message in slow.read()['messages']] == [LARGE]


# ---------------------------------------------------------------- without a service


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The ends of a connection: of the one who answers, and of the client."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_where_there_is_no_room_a_thread_waits_for_a_client_that_reads(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    answer = Answer('200 OK', [], LARGE.encode() * 10)
    sending = threading.Thread(target=large_answers.send, args=(ours.fileno(), answer, None))
    sending.start()

    read = b''
    while len(read) < len(answer.content):
        read += theirs.recv(2**20)
    sending.join()

    assert read == answer.content


def test_a_client_that_went_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()

    large_answers.send(ours.fileno(), Answer('200 OK', [], LARGE.encode() * 10), None)


def test_what_is_kept_for_slow_clients_is_bounded_and_the_oldest_is_broken_off() -> None:
    ended: list[tuple[int, bool]] = []
    content = LARGE.encode() * 10
    with select.epoll() as poll, contextlib.ExitStack() as clients:
        writer = Writer(poll, lambda *end: ended.append(end), most_kept=2 * len(content))
        descriptors = []
        for _ in range(4):
            ours, theirs = socket.socketpair()
            clients.enter_context(theirs)
            descriptors.append(ours.detach())
            poll.register(descriptors[-1], 0)
            writer.send(descriptors[-1], content)
        assert ended == [(descriptors[0], False), (descriptors[1], False)]
        assert [descriptor in writer for descriptor in descriptors[2:]] == [True, True]
        writer.give_up(float('inf'))
    assert [descriptor for descriptor, _ in ended] == descriptors
