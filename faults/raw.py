"""Bytes on a socket that are nearly HTTP: seeded, and sent to a service one after the other.

Each request is made of a line, headers and a body, of which most fit together and some do not. Some
are cut off, sent in pieces, or followed by another one on the same connection.
"""

import asyncio
import contextlib
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

# Requests that are sent at the same time.
_AT_ONCE = 16
# Seconds for which an answer is waited for. A request that seems unfinished gets none before the service
# gives it up, which takes longer.
_PATIENCE = 1.0
# Seconds between two pieces of a request.
_PAUSE = 0.002

_METHODS = (
    *('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'),
    'TRACE',
    'BREW',
    'get',
    '',
)
_TARGETS = (
    *('/v1/queues', '/v1.1/queues', '/v2/queues', '/v2/queues/jobs', '/v2/queues/jobs/messages'),
    *('/v1/queues/jobs/messages', '/v2/queues/jobs/claims', '/v2/queues/jobs/claims?limit=5'),
    *('/v2/queues/jobs/messages?ids=1,2', '/v2/queues/jobs/stats', '/v2/claims', '/v2/verdicts'),
    *('/', '*', '//', '/..', '/%00', '/%', '/%zz', '/v2/queues/%2F', '/v2/queues/a b', '/v2#x'),
    *('http://other/v2/queues', '/v2/queues/../queues', '/openapi.json', '/console', '/livez', ''),
    *('/v2/queues/jobs/messages?limit=-1', '/v2/queues?marker=%ff', '/v2/queues?limit=1&limit=2'),
)
_VERSIONS = (*('HTTP/1.1',) * 8, 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.1 ', 'http/1.1', '')
_HEADERS = (
    *('Host: test', 'Host: a, b', 'Host:', 'Host: test\r\nHost: other'),
    *('Client-ID: 3381af92-2b9e-11e3-b191-71861300734c', 'Client-ID: x', 'X-Project-Id: raw'),
    *('X-Project-Id: \xff\xfe', 'Accept: application/json', 'Accept: \x00', 'Accept: image/png'),
    *('Content-Type: application/json', 'Content-Type: text/plain', 'Content-Type'),
    *(
        'Expect: 100-continue',
        'Expect: x',
        'Connection: close',
        'Connection: upgrade',
        ' folded: x',
    ),
    *('X y: z', 'X\ty: z', ': nothing', 'X-Long: ' + 'x' * 9000, 'Range: bytes=0-', 'TE: trailers'),
    *('Idempotency-Key: k', 'Idempotency-Key: ' + 'k' * 300, 'Prefer: wait=1', 'Cookie: a=b; c'),
    *('Authorization: Bearer x', 'Upgrade: h2c', 'X-Auth-Token: \x7f', 'Accept-Encoding: gzip'),
)
_BODIES = (
    *(b'{"messages": [{"body": 1, "ttl": 60}]}', b'[{"body": 1, "ttl": 60}]', b'{"ttl": 60}'),
    *(b'{"ttl": 60, "grace": 60}', b'{}', b'[]', b'null', b'1e999', b'"\\ud800"', b'\xff\xfe', b''),
    *(b'[' * 600, b'{"a":' * 600, b'{"messages": [' + b'0,' * 999 + b'0]}', b'\x00' * 100),
    *(b'{"messages": [{"body": "' + b'x' * 300_000 + b'", "ttl": 60}]}', b'NaN', b'{"ttl": 1e400}'),
)
_LENGTHS = (
    '-1',
    '+5',
    '5, 5',
    '0x10',
    '',
    ' 7 ',
    '99999999999999999999',
    '5\r\nContent-Length: 6',
    '\xb2',
)
_CHUNKS = (
    b'zz\r\n',
    b'-1\r\n',
    b'5\r\nab',
    b'ffffffffffffffff\r\n',
    b'5;x=y\r\nhello\r\n0\r\n\r\n',
)

_STATUS = re.compile(rb'(?:^|\r\n\r\n|\n|\})HTTP/1\.[01] (\d{3})')


class Request(NamedTuple):
    """Bytes to send, in pieces."""

    pieces: list[bytes]


def requests(seed: str, count: int) -> Iterator[Request]:
    """Requests that the seed chooses."""
    chance = random.Random(f'{seed} raw')
    for _ in range(count):
        yield _request(chance)


def _request(chance: random.Random) -> Request:
    content = b''.join(_one(chance) for _ in range(chance.choice((1, 1, 1, 2, 3))))
    if chance.random() < 0.15:
        content = _mutated(chance, content)
    if chance.random() < 0.05:
        content = content[: chance.randint(0, len(content))]
    if chance.random() < 0.02:
        content = chance.randbytes(chance.randint(1, 2000))
    places = sorted(chance.randint(0, len(content)) for _ in range(chance.choice((0, 0, 0, 1, 3))))
    return Request(
        [content[i:j] for i, j in zip([0, *places], [*places, len(content)], strict=True)]
    )


def _one(chance: random.Random) -> bytes:
    end = chance.choice((b'\r\n',) * 12 + (b'\n', b'\r'))
    line = ' '.join((chance.choice(_METHODS), chance.choice(_TARGETS), chance.choice(_VERSIONS)))
    # Most are such that more than the first line is looked at.
    headers = ['Host: test', 'Client-ID: 3381af92-2b9e-11e3-b191-71861300734c']
    if chance.random() < 0.2:
        headers = []
    headers += chance.sample(_HEADERS, chance.choice((0, 1, 2, 5)))
    body, framing = _framed(chance, chance.choice(_BODIES))
    lines = [line, *headers, *framing]
    return end.join(it.encode('latin-1') for it in lines) + end + end + body


def _framed(chance: random.Random, body: bytes) -> tuple[bytes, list[str]]:
    """A body as it is sent, and the headers that say where it ends."""
    way = chance.random()
    if way < 0.5:
        return body, [f'Content-Length: {len(body)}']
    if way < 0.6:
        return body, [f'Content-Length: {chance.choice(_LENGTHS)}']
    if way < 0.65:
        return body, [f'Content-Length: {max(0, len(body) + chance.choice((-5, -1, 1, 5)))}']
    if way < 0.8:
        return _chunked(chance, body), ['Transfer-Encoding: chunked']
    if way < 0.85:
        return _chunked(chance, body), [
            f'Content-Length: {len(body)}',
            'Transfer-Encoding: chunked',
        ]
    if way < 0.9:
        return chance.choice(_CHUNKS), ['Transfer-Encoding: chunked']
    if way < 0.95:
        return body, [
            f'Transfer-Encoding: {chance.choice(("gzip", "chunked, gzip", "x", "Chunked"))}'
        ]
    return b'', []


def _chunked(chance: random.Random, body: bytes) -> bytes:
    size = chance.choice((1000, 7, 65536)) if len(body) < 5000 else 65536
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in parts) + b'0\r\n\r\n'


def _mutated(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 10))):
        place = chance.randrange(len(changed) or 1)
        # Most of what decides is at the beginning.
        place = min(place, chance.choice((80, 400, len(changed))))
        changed[place : place + chance.choice((0, 1, 4))] = chance.choice(
            (b'', b'\r', b'\n', b'\0', b' ', b':', b'\xff', b'\r\n', chance.randbytes(3))
        )
    return bytes(changed)


class Answers:
    """What came back: how often each status; and of each from 500 on the first request that got it."""

    def __init__(self) -> None:
        self.sent = 0
        self.statuses: Counter[int] = Counter()
        #: Requests after which the connection was closed, or left open, without an answer.
        self.unanswered = 0
        self.first: dict[int, Request] = {}

    def note(self, request: Request, content: bytes) -> None:
        """Take what came back after a request."""
        self.sent += 1
        found = [int(status) for status in _STATUS.findall(content)]
        self.unanswered += not found
        for status in found:
            self.statuses[status] += 1
            self.first.setdefault(status, request)


def send_all(port: int, seed: str, count: int) -> Answers:
    """Send requests to a service at this port; what it answers."""
    answers = Answers()
    asyncio.run(_send_all(port, requests(seed, count), answers))
    return answers


async def _send_all(port: int, to_come: Iterator[Request], answers: Answers) -> None:
    async def work() -> None:
        for request in to_come:
            answers.note(request, await _send(port, request))

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _send(port: int, request: Request) -> bytes:
    received = bytearray()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection('127.0.0.1', port)
            try:
                sending = asyncio.ensure_future(_write(writer, request))
                while content := await reader.read(65536):
                    received += content
                    if sending.done() and _is_answered(received):
                        break
                await sending
            finally:
                writer.transport.abort()
    return bytes(received)


async def _write(writer: asyncio.StreamWriter, request: Request) -> None:
    with contextlib.suppress(OSError):
        for piece in request.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(_PAUSE if len(request.pieces) > 1 else 0)


def _is_answered(received: bytearray) -> bool:
    """Whether one answer is there, with its body; further ones are not waited for."""
    head, _, body = bytes(received).partition(b'\r\n\r\n')
    length = re.search(rb'(?i)\r\ncontent-length: (\d+)', head)
    return bool(_STATUS.search(head)) and len(body) >= (int(length[1]) if length else 0)
