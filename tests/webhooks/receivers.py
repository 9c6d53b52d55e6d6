"""Subscribers for tests: real servers on this machine, each with a way of its own to answer."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from marconi_api.webhooks.rules import Rules

#: What a receiver does with a connection of which it has read a request. False: it did not take it.
Answer = Callable[[socket.socket], bool | None]

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'


@dataclass(frozen=True)
class Call:
    """A request that arrived: its first line, its headers by small names, and its body."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server that keeps what arrives."""

    port: int
    calls: list[Call] = field(default_factory=list)
    #: Those that were taken, each with when it had arrived, in seconds since 1970.
    taken: list[tuple[float, Call]] = field(default_factory=list)
    #: Connections, also those on which nothing arrived.
    connections: int = 0

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}/hook?a=b'

    @property
    def rules(self) -> Rules:
        """Those by which this receiver may be called."""
        return Rules.from_config(
            {'allowed_networks': ['127.0.0.0/8'], 'allowed_ports': [self.port]}
        )


def says(data: bytes) -> Answer:
    """Answers so."""
    return lambda connection: connection.sendall(data)


def accepts(connection: socket.socket) -> None:
    """Answers that it has it."""
    connection.sendall(OK)


def status(code: int, *headers: str) -> Answer:
    """Answers with a status, and nothing in the body."""
    lines = [f'HTTP/1.1 {code} So', 'Content-Length: 0', *headers, '', '']
    return says('\r\n'.join(lines).encode())


def drips(start: bytes, drop: bytes, pause: float = 0.05) -> Answer:
    """Answers for ever, a drop at a time."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(pause)

    return answer


def hangs(connection: socket.socket) -> None:
    """Never answers, until the caller goes."""
    connection.recv(1)


def resets(connection: socket.socket) -> None:
    """Breaks the connection off without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')


@contextlib.contextmanager
def receiver(
    answer: Answer = accepts, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[Receiver]:
    """A server that answers every call in the same way.

    :param port: a free one if it is 0
    """
    with socket.create_server(('127.0.0.1', port), backlog=128) as server:
        receiving = Receiver(server.getsockname()[1])
        threading.Thread(target=_serve, args=(server, receiving, answer, tls), daemon=True).start()
        yield receiving
        # Wakes the thread up, whose accept then fails.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _serve(
    server: socket.socket, receiving: Receiver, answer: Answer, tls: ssl.SSLContext | None
) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            receiving.connections += 1
            threading.Thread(
                target=_receive, args=(connection, receiving, answer, tls), daemon=True
            ).start()


def _receive(
    connection: socket.socket, receiving: Receiver, answer: Answer, tls: ssl.SSLContext | None
) -> None:
    with contextlib.suppress(OSError), connection:
        talk = tls.wrap_socket(connection, server_side=True) if tls else connection
        with talk:
            if call := _read(talk):
                receiving.calls.append(call)
                arrived = time.time()
                if answer(talk) is not False:
                    receiving.taken.append((arrived, call))


def _read(connection: socket.socket) -> Call | None:
    data = b''
    while b'\r\n\r\n' not in data:
        if not (more := connection.recv(65536)):
            return None
        data += more
    head, _, body = data.partition(b'\r\n\r\n')
    line, *lines = head.decode().split('\r\n')
    headers = {
        name.lower(): value.strip() for name, _, value in (one.partition(':') for one in lines)
    }
    while len(body) < int(headers.get('content-length', 0)):
        body += connection.recv(65536)
    return Call(line, headers, body)


def one_after_the_other(*answers: Answer) -> Answer:
    """Answers so, the last way for ever."""
    left = list(answers)

    def answer(connection: socket.socket) -> bool | None:
        return (left.pop(0) if len(left) > 1 else left[0])(connection)

    return answer
