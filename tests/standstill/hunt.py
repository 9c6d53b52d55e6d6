"""Many who send one costly request at a time over and over, and one who posts meanwhile."""

import http.client
import json
import multiprocessing
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.standstill.costly import Costly
from tests.standstill.world import CLIENT_ID, PROJECT, World

#: How many requests at once: as many as the service has threads, processes x threads.
AT_ONCE = 8
#: The project of the other tenant.
OTHER = 'other'

_TIMEOUT = 120.0  # seconds
_PAUSE = 0.02  # seconds between two posts of the other tenant


class Connection:
    """A kept connection to the service, for one project."""

    def __init__(self, address: str, project: str) -> None:
        self._at = urlsplit(address)
        self._project = project
        self._connection: http.client.HTTPConnection | None = None

    def send(
        self, method: str, target: str, body: str | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers; 0 where the connection ended without an answer."""
        usual = {
            'Client-ID': CLIENT_ID,
            'X-Project-Id': self._project,
            'X-Roles': 'admin',
            'Content-Type': 'application/json',
        }
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._at.hostname or '', self._at.port, timeout=_TIMEOUT
            )
        try:
            self._connection.request(method, target, body, {**usual, **headers})
            response = self._connection.getresponse()
            return response.status, response.read(), dict(response.headers)
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, b'', {}

    def close(self) -> None:
        """End it; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


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
        """The seconds within which that part of the answers came."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(part * len(ranked)))]


def version_of(path: str) -> str:
    """The version before a route's path, such as ``/v2``; '' where there is none."""
    found = re.match(r'/v[\d.]+', path)
    return found[0] if found else ''


class Hunt:
    """Costly requests to one service."""

    def __init__(self, address: str, world: World) -> None:
        self.address = address
        self._world = world
        self._known: dict[str, str] = {}

    def prepare(self, costly: Costly) -> None:
        """Have what a request needs, each time alike."""
        if costly.refilled:
            self._known['full'] = self._world.fill_another(costly.refilled)
        if 'large/' in costly.target:
            self._hold()
        if '{token}' in costly.target:
            self._make_token()

    def _make_token(self) -> None:
        with closing(Connection(self.address, PROJECT)) as tenant:
            _, body, _ = tenant.send('POST', '/v2/tokens', '{"roles": ["reader"]}')
        self._known['token'] = json.loads(body)['id']

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
        target = version_of(path) + costly.target
        for name, value in {**self._known, 'new': f'new-{uuid4()}'}.items():
            target = target.replace(f'{{{name}}}', value)
        headers = {'Content-Type': costly.content_type, **costly.headers}
        started = time.monotonic()
        status, _, _ = tenant.send(method, target, costly.body, **headers)
        return status, time.monotonic() - started

    def measure(
        self, route: tuple[str, str], costly: Costly | None, seconds: float
    ) -> tuple[Answers, Answers]:
        """The answers to the costly requests, and those to the other tenant's posts meanwhile.

        :param costly: None for nobody who disturbs
        """
        context = multiprocessing.get_context('fork')
        receiver, sender = context.Pipe(duplex=False)
        # In a process of their own, whose threads do not hold up who measures.
        attackers = context.Process(target=self._attack, args=(route, costly, seconds, sender))
        other = Answers()
        body = json.dumps({'messages': [{'body': 'x' * 100, 'ttl': 60}]})
        with closing(Connection(self.address, OTHER)) as tenant:
            tenant.send('POST', '/v2/queues/jobs/messages', body)
            attackers.start()
            until = time.monotonic() + seconds
            while (attackers.is_alive() and not receiver.poll()) or time.monotonic() < until:
                started = time.monotonic()
                status, _, _ = tenant.send('POST', '/v2/queues/jobs/messages', body)
                other.add(status, time.monotonic() - started)
                time.sleep(_PAUSE)
        answered: Answers = receiver.recv()
        attackers.join()
        return answered, other

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


def shown(statuses: Mapping[int, int]) -> str:
    """How often which status came; 0 is none, as the connection was closed."""
    return ' '.join(f'{status}x{times}' for status, times in sorted(statuses.items()))
