"""A client of services that fail: it writes down each call before it makes it, and what it was told."""

import contextlib
import http.client
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from faults.log import DONE, REFUSED, UNKNOWN, Log
from faults.numbers import body_of, number_in

#: Of the program; a reader asks for what it posted itself, too.
CLIENT_ID = '3381af92-2b9e-11e3-b191-71861300734c'
#: Seconds for which an answer is waited for, besides what the request asks the service to wait.
PATIENCE = 12.0
# How often a call with a key is made until its outcome is known.
_TRIES = 6
# Seconds after which it goes on at the latest, when an answer was lost.
_PAUSE = 0.5

#: A message that a claim got: its queue's key, its id, its number, and the claim's id.
Held = tuple[str, str, int, str]


class Answer(NamedTuple):
    """What a service answered; the status is 0 if there was no answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}

    @property
    def outcome(self) -> str:
        """Whether the request was carried out."""
        if 200 <= self.status < 300:
            return DONE
        # What is in use, or comes too fast, may be or become true.
        return REFUSED if 400 <= self.status < 500 and self.status not in (408, 409) else UNKNOWN


class Client:
    """Calls of one process to any of several services, over connections that it keeps."""

    def __init__(self, log: Log, ports: Sequence[int], chance: random.Random) -> None:
        self.log = log
        self._ports = ports
        self._chance = chance
        self._connections: dict[int, http.client.HTTPConnection] = {}

    # ------------------------------------------------------------ the calls

    def post(
        self,
        queue: str,
        first: int,
        count: int,
        ttl: int = 3600,
        delay: int = 0,
        has_key: bool = False,
        version: str = 'v2',
    ) -> str:
        """Post messages; with a key, again and again until it is known what became of them."""
        project, name = queue.split('/')
        given = {'queue': queue, 'first': first, 'count': count, 'ttl': ttl, 'delay': delay}
        call = self.log.begin('post', has_key=has_key, **given)
        messages: Any = [{'body': body_of(first + place), 'ttl': ttl} for place in range(count)]
        for message in messages if delay else ():
            message['delay'] = delay
        document = messages if version == 'v1' else {'messages': messages}
        headers = {'Idempotency-Key': f'key-{first:x}'} if has_key else {}
        target = f'/{version}/queues/{name}/messages'
        answer = self._ask(project, 'POST', target, document, headers)
        for _ in range(_TRIES if has_key else 0):
            if answer.outcome != UNKNOWN:
                break
            answer = self._ask(project, 'POST', target, document, headers)
        told: dict[str, Any] = {'status': answer.status}
        if answer.outcome == DONE:
            told['ids'] = [_last(path) for path in answer.body['resources']]
        self.log.end(call, answer.outcome, **told)
        return answer.outcome

    def claim(
        self,
        queues: Sequence[str],
        limit: int,
        ttl: int,
        grace: int = 60,
        wait: int = 0,
        version: str = 'v2',
    ) -> list[Held] | None:
        """Claim messages of one queue, or of several of a project; None without an answer."""
        terms = {'limit': limit, 'ttl': ttl, 'grace': grace, 'wait': wait}
        call = self.log.begin('claim', queues=list(queues), **terms)
        project, names = queues[0].split('/')[0], [queue.split('/')[1] for queue in queues]
        document: dict[str, Any] = {'ttl': ttl, 'grace': grace}
        waits = f'wait={wait}' if wait else ''
        if len(queues) == 1:
            target = f'/{version}/queues/{names[0]}/claims?limit={limit}&{waits}'
        else:
            target = f'/v2/claims?{waits}'
            document |= {'limit': limit, 'queues': [{'name': name} for name in names]}
        answer = self._ask(project, 'POST', target, document, wait=wait)
        claims = _claims(queues[0], answer) if answer.status == 201 else []
        waited = 'preference-applied' in answer.headers
        self.log.end(call, answer.outcome, status=answer.status, claims=claims, waited=waited)
        if answer.outcome != DONE:
            return None
        return [
            (queue, id, number, claim)
            for queue, claim, messages in claims
            for id, number, _ in messages
        ]

    def pop(self, queue: str, limit: int, wait: int = 0) -> int:
        """Pop messages; how many there were."""
        call = self.log.begin('pop', queue=queue, limit=limit, wait=wait)
        project, name = queue.split('/')
        waits = f'&wait={wait}' if wait else ''
        target = f'/v2/queues/{name}/messages?pop={limit}{waits}'
        answer = self._ask(project, 'DELETE', target, wait=wait)
        found = answer.body['messages'] if answer.status == 200 else []
        messages = [[it['id'], number_in(it['body']) or 0, it['claim_count']] for it in found]
        waited = 'preference-applied' in answer.headers
        self.log.end(call, answer.outcome, status=answer.status, messages=messages, waited=waited)
        return len(messages)

    def delete(self, held: Held, version: str = 'v2') -> str:
        """Delete one message of a claim."""
        queue, id, _, claim = held
        call = self._begin_verdicts([(held, 'delete', 0)])
        project, name = queue.split('/')
        target = f'/{version}/queues/{name}/messages/{id}?claim_id={claim}'
        answer = self._ask(project, 'DELETE', target)
        # A 204 does not tell whether it was there.
        return self._end_verdicts(call, answer, ['over'])

    def judge(self, verdicts: Sequence[tuple[Held, str, int]]) -> str:
        """Give verdicts on messages of one claim, or of several, in one request.

        Each is a message, the verdict, and a ttl or a delay.
        """
        call = self._begin_verdicts(verdicts)
        claims = {(held[0], held[3]) for held, _, _ in verdicts}
        project, name = verdicts[0][0][0].split('/')
        told = [_verdict(*verdict) for verdict in verdicts]
        target = f'/v2/queues/{name}/claims/{verdicts[0][0][3]}/verdicts'
        if len(claims) > 1:
            target = '/v2/verdicts'
            for document, (held, _, _) in zip(told, verdicts, strict=True):
                document |= {'queue': held[0].split('/')[1], 'claim_id': held[3]}
        answer = self._ask(project, 'POST', target, {'verdicts': told})
        results = [it['result'] for it in answer.body['verdicts']] if answer.status == 200 else []
        return self._end_verdicts(call, answer, results)

    def renew(self, messages: Sequence[Held], ttl: int, version: str = 'v2') -> str:
        """Renew the claim of messages, which are all that it has got."""
        queue, _, _, claim = messages[0]
        call = self._begin_verdicts([(held, 'touch', ttl) for held in messages])
        project, name = queue.split('/')
        target = f'/{version}/queues/{name}/claims/{claim}'
        document = {'ttl': ttl, 'grace': 60}
        answer = self._ask(project, 'PATCH', target, document)
        return self._end_verdicts(call, answer, ['done'] * len(messages))

    def release(self, messages: Sequence[Held], version: str = 'v2') -> str:
        """Release a claim, whose messages are these."""
        queue, _, _, claim = messages[0]
        call = self._begin_verdicts([(held, 'release', 0) for held in messages])
        project, name = queue.split('/')
        answer = self._ask(project, 'DELETE', f'/{version}/queues/{name}/claims/{claim}')
        return self._end_verdicts(call, answer, ['over'] * len(messages))

    def read(self, queue: str, marker: str, sees_all: bool, version: str = 'v2') -> str | None:
        """Read a page behind a marker; the next marker, None if there was no answer."""
        call = self.log.begin('read', queue=queue, marker=marker, sees_all=sees_all)
        project, name = queue.split('/')
        target = f'/{version}/queues/{name}/messages?echo=true&limit=20'
        target += '&include_claimed=true' if sees_all else ''
        target += '&include_delayed=true' if sees_all and version == 'v2' else ''
        answer = self._ask(project, 'GET', f'{target}&marker={marker}' if marker else target)
        found = answer.body['messages'] if answer.status == 200 else []
        messages = [[_last(it['href']), number_in(it['body']) or 0] for it in found]
        self.log.end(call, answer.outcome, status=answer.status, messages=messages)
        if answer.outcome != DONE:
            return None
        links = answer.body['links'] if answer.body else []
        return _marker(links[0]['href']) if links else marker

    def follow(self, queue: str, marker: str, seconds: float) -> str:
        """Follow a stream from behind a marker for a while; the id of the last message."""
        call = self.log.begin('read', queue=queue, marker=marker, sees_all=False)
        project, name = queue.split('/')
        connection = http.client.HTTPConnection(
            '127.0.0.1', self._chance.choice(self._ports), seconds
        )
        messages: list[list[Any]] = []
        headers = {'X-Project-Id': project, 'Client-ID': CLIENT_ID, 'Accept': 'text/event-stream'}
        try:
            target = f'/v2/queues/{name}/messages?echo=true&marker={marker}'
            connection.request('GET', target, headers=headers)
            response = connection.getresponse()
            if response.status == 200:
                messages += _followed(response, time.monotonic() + seconds)
        except (OSError, http.client.HTTPException):
            time.sleep(self._chance.uniform(0, _PAUSE))
        finally:
            connection.close()
        # What came is known, whatever broke the stream off.
        self.log.end(call, DONE, messages=messages)
        return messages[-1][0] if messages else marker

    def statistics(self, queue: str, version: str = 'v2') -> None:
        """Ask how many messages there are, and note it."""
        call = self.log.begin('stats', queue=queue, version=version)
        project, name = queue.split('/')
        answer = self._ask(project, 'GET', f'/{version}/queues/{name}/stats')
        told = answer.body['messages'] if answer.status == 200 else {}
        told = {name: told[name] for name in told if isinstance(told[name], int)}
        self.log.end(call, answer.outcome, status=answer.status, told=told)

    def make_queue(self, queue: str, metadata: dict[str, Any]) -> int:
        """Make a queue; the status."""
        project, name = queue.split('/')
        return self._ask(project, 'PUT', f'/v2/queues/{name}', metadata).status

    def subscribe(self, queue: str, url: str, options: dict[str, Any]) -> int:
        """Have what is posted sent to a webhook; the status."""
        project, name = queue.split('/')
        document = {'subscriber': url, 'ttl': 86400, 'options': options}
        return self._ask(project, 'POST', f'/v2/queues/{name}/subscriptions', document).status

    def is_healthy(self, port: int) -> bool:
        """Whether a service can store messages."""
        return self._ask('', 'GET', '/v1/health', port=port).status == 204

    # ------------------------------------------------------------ how they are made

    def _begin_verdicts(self, verdicts: Iterable[tuple[Held, str, int]]) -> int:
        noted = [[*held, verdict, seconds, 60] for held, verdict, seconds in verdicts]
        return self.log.begin('verdicts', verdicts=noted)

    def _end_verdicts(self, call: int, answer: Answer, results: list[str]) -> str:
        told = {'results': results} if answer.outcome == DONE else {}
        self.log.end(call, answer.outcome, status=answer.status, **told)
        return answer.outcome

    def _ask(
        self,
        project: str,
        method: str,
        target: str,
        document: Any = None,
        headers: dict[str, str] | None = None,
        wait: int = 0,
        port: int = 0,
    ) -> Answer:
        port = port or self._chance.choice(self._ports)
        all_headers = {'Client-ID': CLIENT_ID, 'Content-Type': 'application/json'}
        all_headers |= {'X-Project-Id': project} if project else {}
        body = None if document is None else msgspec.json.encode(document)
        try:
            connection = self._connection(port)
            assert connection.sock is not None
            connection.sock.settimeout(PATIENCE + wait)
            connection.request(method, target, body, all_headers | (headers or {}))
            answer = _answer(connection.getresponse())
        except (OSError, http.client.HTTPException, msgspec.DecodeError):
            self._drop(port)
            answer = Answer(0)
        if answer.outcome == UNKNOWN:
            time.sleep(self._chance.uniform(0, _PAUSE))
        return answer

    def _connection(self, port: int) -> http.client.HTTPConnection:
        if port not in self._connections:
            self._connections[port] = http.client.HTTPConnection('127.0.0.1', port, PATIENCE)
        connection = self._connections[port]
        if connection.sock is None:
            connection.connect()
        return connection

    def _drop(self, port: int) -> None:
        with contextlib.suppress(OSError, KeyError):
            self._connections.pop(port).close()


def _answer(response: http.client.HTTPResponse) -> Answer:
    content = response.read()
    if 'content-length' not in response.headers:
        # It was cut off in its headers.
        raise http.client.IncompleteRead(content)
    is_document = content and response.status < 300
    body = msgspec.json.decode(content) if is_document else None
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, body, headers)


def _followed(response: http.client.HTTPResponse, until: float) -> Iterator[list[Any]]:
    """The id and the number of each message of a stream, up to a time or its end."""
    while time.monotonic() < until:
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException):
            return
        if not line.endswith(b'\n'):
            return
        if line.startswith(b'data:'):
            message = msgspec.json.decode(line[5:])
            yield [message['id'], number_in(message['body']) or 0]


def _claims(queue: str, answer: Answer) -> list[Any]:
    """The claims of an answer: of each the queue's key, its id, and its messages."""
    if isinstance(answer.body, dict) and 'claims' in answer.body:
        project = queue.partition('/')[0]
        return [
            [
                f'{project}/{claim["queue"]}',
                claim['id'],
                [_shown(it) for it in answer.body['messages'] if it['claim_id'] == claim['id']],
            ]
            for claim in answer.body['claims']
        ]
    messages = answer.body if isinstance(answer.body, list) else answer.body['messages']
    return [[queue, _last(answer.headers['location']), [_shown(it) for it in messages]]]


def _shown(message: dict[str, Any]) -> list[Any]:
    number = number_in(message['body']) or 0
    return [_last(message['href']), number, message.get('claim_count', 0)]


def _verdict(held: Held, verdict: str, seconds: int) -> dict[str, Any]:
    terms = {'release': 'delay', 'touch': 'ttl'}
    document: dict[str, Any] = {'id': held[1], 'verdict': verdict}
    return document | ({terms[verdict]: seconds} if seconds and verdict in terms else {})


def _last(path: str) -> str:
    return urlsplit(path).path.rpartition('/')[2]


def _marker(href: str) -> str:
    return href.rpartition('marker=')[2]
