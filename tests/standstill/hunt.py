"""Many who send one costly request at a time over and over, and one who posts meanwhile."""

import http.client
import json
import multiprocessing
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.standstill.costly import Costly
from tests.standstill.world import CLIENT_ID, GATHERED, PROJECT, World

#: How many requests at once: as many as the service has threads, processes x threads.
AT_ONCE = 8
#: The project of the other tenant.
OTHER = 'other'

_TIMEOUT = 120.0  # seconds
_PAUSE = 0.02  # seconds between two posts of the other tenant
_FOLLOWED = 1.0  # seconds for which a stream is read
_MOST_UNREAD = 25  # answers that one client leaves unread
_MOST_LATE = 25  # requests of one client whose bodies come late
_LATE = 0.1  # seconds between their heads and their bodies
_SMALL = 4096  # bytes that the system keeps for a client that does not read


class Connection:
    """A kept connection to the service, for one project."""

    def __init__(self, address: str, project: str) -> None:
        self._at = urlsplit(address)
        self._project = project
        self._connection: http.client.HTTPConnection | None = None
        self._unread: deque[http.client.HTTPConnection] = deque()

    def send(
        self, method: str, target: str, body: str | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers; 0 where the connection ended without an answer."""
        if self._connection is None:
            self._connection = self._open()
        try:
            self._connection.request(method, target, body, {**self._usual(), **headers})
            response = self._connection.getresponse()
            return response.status, response.read(), dict(response.headers)
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, b'', {}

    def follow(self, method: str, target: str, **headers: str) -> int:
        """Read a stream for a while; its status, 0 where there was none."""
        with closing(self._open()) as connection, suppress(OSError, http.client.HTTPException):
            connection.request(method, target, headers={**self._usual(), **headers})
            # The connection forgets it once it has the head of an answer that its close ends.
            of_the_stream = connection.sock
            response = connection.getresponse()
            until = time.monotonic() + _FOLLOWED
            of_the_stream.settimeout(_FOLLOWED)
            with response, suppress(TimeoutError):
                while time.monotonic() < until and response.read1(65536):
                    pass
            return response.status
        return 0

    def leave(self, method: str, target: str, body: str | None, **headers: str) -> int:
        """Read nothing of an answer but its status, which is 0 where there was none."""
        connection = self._open()
        self._unread.append(connection)
        if len(self._unread) > _MOST_UNREAD:
            self._unread.popleft().close()
        with suppress(OSError):
            connection.sock = socket.socket()
            connection.sock.settimeout(_TIMEOUT)
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
            connection.sock.connect((self._at.hostname, self._at.port))
            connection.request(method, target, body, {**self._usual(), **headers})
            return int(connection.sock.recv(len('HTTP/1.1 200')).split()[-1])
        return 0

    def dawdle(self, method: str, target: str, body: str, **headers: str) -> int:
        """Send many requests at once, and their bodies a moment later; the status of the last one."""
        status = 0
        with ExitStack() as opened, suppress(OSError, http.client.HTTPException):
            late = [opened.enter_context(closing(self._open())) for _ in range(_MOST_LATE)]
            for connection in late:
                connection.putrequest(method, target)
                length = {'Content-Length': str(len(body))}
                for name, value in {**self._usual(), **headers, **length}.items():
                    connection.putheader(name, value)
                connection.endheaders()
            time.sleep(_LATE)
            for connection in late:
                connection.send(body.encode())
            for connection in late:
                with connection.getresponse() as response:
                    response.read()
                    status = response.status
        return status

    def _open(self) -> http.client.HTTPConnection:
        host = self._at.hostname or ''
        return http.client.HTTPConnection(host, self._at.port, timeout=_TIMEOUT)

    def _usual(self) -> dict[str, str]:
        return {
            'Client-ID': CLIENT_ID,
            'X-Project-Id': self._project,
            'X-Roles': 'admin',
            'Content-Type': 'application/json',
        }

    def close(self) -> None:
        """End it; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        while self._unread:
            self._unread.pop().close()


@dataclass
class Answers:
    """What came back: how often which status, and how many seconds each took."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        """Note one."""
        self.statuses[status] += 1
        self.seconds.append(seconds)

    def percentile(self, part: float) -> float:
        """The seconds within which that part of the answers came; for ever if there were none."""
        if not self.seconds:
            return inf
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(part * len(ranked)))]


def version_of(path: str) -> str:
    """The version before a route's path, such as ``/v2``; '' where there is none."""
    found = re.match(r'/v[\d.]+', path)
    return found[0] if found else ''


class Hunt:
    """Costly requests to one service.

    :param wait: seconds for which requests wait
    """

    def __init__(self, address: str, world: World, wait: int = 1) -> None:
        self.address = address
        self._world = world
        self._known = {'wait': str(wait)}

    def prepare(self, costly: Costly) -> None:
        """Have what a request needs, each time alike."""
        if costly.refilled:
            self._known['full'] = self._world.fill_another(costly.refilled)
        if 'large/' in costly.target:
            self._hold()
        if '{token}' in costly.target:
            self._make_token()
        if '{redrive}' in costly.target:
            self._make_redrive()
        if '{account}' in (costly.body or ''):
            self._known['account'] = self._sqs('GetQueueUrl', QueueName='dlq')['QueueUrl'].split(
                '/'
            )[3]
        if '{handle' in (costly.body or ''):
            self._receive()
        if '{task}' in (costly.body or ''):
            self._make_task()

    def _sqs(self, operation: str, **members: Any) -> Any:
        target = {'X-Amz-Target': f'AmazonSQS.{operation}'}
        with closing(Connection(self.address, PROJECT)) as tenant:
            status, body, _ = tenant.send('POST', '/', json.dumps(members), **target)
        assert status == 200, body
        return json.loads(body)

    def _receive(self) -> None:
        asked = {'QueueUrl': 'large', 'MaxNumberOfMessages': 10, 'VisibilityTimeout': 43200}
        for number, message in enumerate(self._sqs('ReceiveMessage', **asked)['Messages']):
            self._known[f'handle{number}'] = message['ReceiptHandle']

    def _make_task(self) -> None:
        url = self._sqs('GetQueueUrl', QueueName=GATHERED)['QueueUrl']
        arn = f'arn:aws:sqs:us-east-1:{url.split("/")[3]}:'
        source = {'SourceArn': f'{arn}{GATHERED}'}
        for task in self._sqs('ListMessageMoveTasks', **source).get('Results', []):
            if task['Status'] == 'RUNNING':
                self._sqs('CancelMessageMoveTask', TaskHandle=task['TaskHandle'])
        for _ in range(3):
            self._sqs('SendMessage', QueueUrl=GATHERED, MessageBody='x')
        target = {'DestinationArn': f'{arn}small-000000', 'MaxNumberOfMessagesPerSecond': 1}
        self._known['task'] = self._sqs('StartMessageMoveTask', **source, **target)['TaskHandle']

    def _make_token(self) -> None:
        with closing(Connection(self.address, PROJECT)) as tenant:
            _, body, _ = tenant.send('POST', '/v2/tokens', '{"roles": ["reader"]}')
        self._known['token'] = json.loads(body)['id']

    def _make_redrive(self) -> None:
        with closing(Connection(self.address, PROJECT)) as tenant:
            _, body, _ = tenant.send('POST', '/v2/queues/fresh/redrive', '{"state": "parked"}')
        self._known['redrive'] = json.loads(body)['id']

    def _hold(self) -> None:
        with closing(Connection(self.address, PROJECT)) as tenant:
            queue = '/v2/queues/large'
            if 'claim' in self._known:
                tenant.send('DELETE', f'{queue}/claims/{self._known["claim"]}')
            listed = json.loads(tenant.send('GET', f'{queue}/messages?limit=20&echo=true')[1])
            status, body, headers = tenant.send('POST', f'{queue}/claims?limit=2', '{"ttl": 43200}')
            assert status == 201, 'the queue "large" has nothing left to claim'
        ids = [message['id'] for message in listed['messages']]
        self._known |= {
            'claim': headers['Location'].rpartition('/')[2],
            'held': json.loads(body)['messages'][0]['id'],
            'message': ids[-1],
            'ids': ','.join(ids),
        }

    def send(self, tenant: Connection, route: tuple[str, str], costly: Costly) -> tuple[int, float]:
        """Send a request once; its status, and the seconds that it took."""
        method, path = route
        target, body = version_of(path) + costly.target, costly.body
        for name, value in {**self._known, 'new': f'new-{uuid4()}'}.items():
            target = target.replace(f'{{{name}}}', value)
            body = body and body.replace(f'{{{name}}}', value)
        headers = {'Content-Type': costly.content_type, **costly.headers}
        started = time.monotonic()
        if costly.reading == 'stream':
            status = tenant.follow(method, target, **headers)
        elif costly.reading == 'never':
            status = tenant.leave(method, target, body, **headers)
        elif costly.reading == 'late':
            assert body is not None
            status = tenant.dawdle(method, target, body, **headers)
        else:
            status, _, _ = tenant.send(method, target, body, **headers)
        return status, time.monotonic() - started

    def measure(
        self, route: tuple[str, str], costly: Costly | None, seconds: float
    ) -> tuple[Answers, Answers, Answers]:
        """The answers to the costly requests, to the other tenant's posts meanwhile, and to its waits.

        A wait counts for each message, from the beginning of its post.

        :param costly: None for nobody who disturbs
        """
        context = multiprocessing.get_context('fork')
        receiver, sender = context.Pipe(duplex=False)
        # In a process of their own, whose threads do not hold up who measures.
        attackers = context.Process(target=self._attack, args=(route, costly, seconds, sender))
        other, woken, is_over = Answers(), Answers(), threading.Event()
        waiting = threading.Thread(target=self._wait, args=(woken, is_over))
        with closing(Connection(self.address, OTHER)) as tenant:
            tenant.send('POST', '/v2/queues/jobs/messages', _timed_post())
            attackers.start()
            waiting.start()
            until = time.monotonic() + seconds
            while (attackers.is_alive() and not receiver.poll()) or time.monotonic() < until:
                started = time.monotonic()
                status, _, _ = tenant.send('POST', '/v2/queues/jobs/messages', _timed_post())
                other.add(status, time.monotonic() - started)
                time.sleep(_PAUSE)
        answered: Answers = receiver.recv()
        attackers.join()
        is_over.set()
        waiting.join()
        return answered, other, woken

    def _wait(self, woken: Answers, is_over: threading.Event) -> None:
        """Claim the other tenant's messages, each as soon as it is there."""
        began = time.monotonic()
        with closing(Connection(self.address, OTHER)) as tenant:
            while not is_over.is_set():
                path = '/v2/queues/jobs/claims?limit=20&wait=1'
                status, content, _ = tenant.send('POST', path)
                now = time.monotonic()
                for message in json.loads(content)['messages'] if status == 201 else ():
                    if message['body']['posted_at'] >= began:
                        woken.add(status, now - message['body']['posted_at'])

    def _attack(
        self, route: tuple[str, str], costly: Costly | None, seconds: float, sender: Any
    ) -> None:
        answers, lock = Answers(), threading.Lock()
        until = time.monotonic() + seconds

        def send_one_by_one() -> None:
            with closing(Connection(self.address, PROJECT)) as tenant:
                while costly and time.monotonic() < until:
                    status, took = self.send(tenant, route, costly)
                    with lock:
                        answers.add(status, took)

        threads = [threading.Thread(target=send_one_by_one) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sender.send(answers)


def _timed_post() -> str:
    body = {'posted_at': time.monotonic(), 'more': 'x' * 100}
    return json.dumps({'messages': [{'body': body, 'ttl': 60}]})


def shown(statuses: Mapping[int, int]) -> str:
    """How often which status came; 0 is none, as the connection was closed."""
    return ' '.join(f'{status}x{times}' for status, times in sorted(statuses.items()))
