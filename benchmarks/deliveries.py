"""How many messages does Marconi deliver to a webhook in a second, and what does a slow one cost others?

The webhooks are a server of one loop in the benchmark's process, on the same machine, without TLS. A
service with one process that calls webhooks is posted messages of 1 KiB, 50 to a post. "Deliveries/s" is
their number by the time from the first one that arrives to the last. "CPU" is that of the process that
delivers, for one delivery.

Then a message is posted every 20 ms to queues in turn. Measured is the time from before the post to the
arrival at a webhook that answers at once. In the first queue it is alone, in the second a webhook beside
it answers at once, too, and in the third one that takes a second.
"""

import asyncio
import contextlib
import http.client
import json
import socket
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.plan import Plan
from benchmarks.processes import family, own_cpu_seconds
from benchmarks.report import Answer, Table
from benchmarks.service import Service, running_service

HEADERS = {'Client-ID': str(uuid4()), 'X-Project-Id': 'bench', 'Content-Type': 'application/json'}
AT_ONCE = 50
TEXT = 'x' * 1000
# Seconds.
PACE = 0.02
SLOW = 1.0

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    with Webhooks() as webhooks, _service(webhooks.port) as service:
        tables = [_rate(plan, service, webhooks), _effect(plan, service, webhooks)]
    return Answer('deliveries', __doc__ or '', tables)


@contextlib.contextmanager
def _service(port: int) -> Iterator[Service]:
    with tempfile.NamedTemporaryFile('w', suffix='.py') as settings:
        settings.write(
            f"eventing = {{'allowed_networks': ['127.0.0.0/8'], 'allowed_ports': [{port}]}}\n"
        )
        settings.flush()
        Path(settings.name).chmod(0o644)
        with running_service(MARCONI_CONFIG=settings.name) as service:
            yield service


class Webhooks(contextlib.AbstractContextManager['Webhooks']):
    """A server whose paths are webhooks: ``/slow`` answers late, all others at once."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port: int = listener.getsockname()[1]
        #: When messages arrived, and the numbers in their bodies, by the path.
        self.arrived: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._server = self._loop.create_server(lambda: _Connection(self), sock=listener)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(self._server)
        self._loop.run_forever()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, path: str, count: int) -> list[tuple[float, float]]:
        """What arrived at a webhook, once it is so many."""
        deadline = time.monotonic() + 300
        while len(self.arrived[path]) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f'{len(self.arrived[path])} of {count} messages arrived')
            time.sleep(0.02)
        return self.arrived[path]


class _Connection(asyncio.Protocol):
    """One call of a webhook."""

    _transport: asyncio.Transport

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._data = b''

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, _, body = self._data.partition(b'\r\n\r\n')
        _, _, length = head.lower().partition(b'content-length: ')
        if not length or len(body) < int(length.partition(b'\r\n')[0]):
            return
        path = head.split(b' ', 2)[1].decode()
        number = json.loads(body)['body']['number']
        self._webhooks.arrived[path].append((time.monotonic(), number))
        if path.startswith('/slow'):
            asyncio.get_running_loop().call_later(SLOW, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        self._transport.write(OK)
        self._transport.close()


class Client:
    """Posts, and subscribes, over one connection."""

    def __init__(self, service: Service) -> None:
        address = urlsplit(service.address)
        self._connection = http.client.HTTPConnection(address.netloc)

    def post(self, queue: str, numbers: list[float]) -> None:
        """Post a message for each number."""
        bodies = [{'number': number, 'text': TEXT} for number in numbers]
        self._send(f'{queue}/messages', {'messages': [{'body': body} for body in bodies]})

    def subscribe(self, queue: str, webhooks: Webhooks, path: str) -> None:
        """Have the queue's messages sent to a webhook."""
        url = f'http://127.0.0.1:{webhooks.port}{path}'
        self._send(f'{queue}/subscriptions', {'subscriber': url})

    def _send(self, path: str, document: object) -> None:
        self._connection.request('POST', f'/v2/queues/{path}', json.dumps(document), HEADERS)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 201:
            raise SystemExit(f'{path}: {answer.status} {content.decode()}')


def _rate(plan: Plan, service: Service, webhooks: Webhooks) -> Table:
    table = Table(['webhooks of the queue', 'messages', 'deliveries/s', 'CPU of each, ms'])
    client = Client(service)
    messages = plan.choose(5000, 500)
    for count in (1, 5):
        queue = f'rate-{count}'
        paths = [f'/{queue}/{number}' for number in range(count)]
        for path in paths:
            client.subscribe(queue, webhooks, path)
        client.post(queue, [0])
        for path in paths:
            webhooks.wait_for(path, 1)
        cpu = _cpu(service)
        for start in range(0, messages, AT_ONCE):
            client.post(queue, list(range(start, min(start + AT_ONCE, messages))))
        times = [at for path in paths for at, _ in webhooks.wait_for(path, messages + 1)[1:]]
        table.rows.append(
            [
                str(count),
                f'{messages:,}',
                f'{len(times) / (max(times) - min(times)):.0f}',
                f'{(_cpu(service) - cpu) / len(times) * 1000:.2f}',
            ]
        )
    return table


def _cpu(service: Service) -> float:
    return sum(
        own_cpu_seconds(pid)
        for pid in family(service.process.pid)
        if Path(f'/proc/{pid}/comm').read_text() == 'marconi-deliver\n'
    )


_BESIDE = {'none': None, 'one that answers at once': '/quick', 'one that takes a second': '/slow'}


def _effect(plan: Plan, service: Service, webhooks: Webhooks) -> Table:
    table = Table(['the webhook beside it', 'median, ms', '99 %, ms', 'messages'])
    client = Client(service)
    queues = {name: f'effect-{place}' for place, name in enumerate(_BESIDE)}
    for name, queue in queues.items():
        client.subscribe(queue, webhooks, f'/{queue}')
        if beside := _BESIDE[name]:
            client.subscribe(queue, webhooks, f'{beside}/{queue}')
        client.post(queue, [0])
        webhooks.wait_for(f'/{queue}', 1)
    count = plan.choose(500, 100)
    for _ in range(count):
        for queue in queues.values():
            client.post(queue, [time.monotonic()])
            time.sleep(PACE)
    for name, queue in queues.items():
        arrived = webhooks.wait_for(f'/{queue}', count + 1)[1:]
        times = [(at - posted) * 1000 for at, posted in arrived]
        table.rows.append(
            [
                name,
                f'{statistics.median(times):.1f}',
                f'{statistics.quantiles(times, n=100)[98]:.1f}',
                str(count),
            ]
        )
    return table
