"""A client of services that fail: it writes down each call before it makes it, and what it was told."""

import contextlib
import http.client
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from faults.groups import place_in
from faults.log import DONE, PUT_OFF, REFUSED, UNKNOWN, Log
from faults.numbers import body_of, number_in, number_of_copy
from faults.world import World

#: Of the program; a reader asks for what it posted itself, too.
CLIENT_ID = '3381af92-2b9e-11e3-b191-71861300734c'
#: Seconds for which an answer is waited for, besides what the request asks the service to wait.
PATIENCE = 12.0
# How often a call with a key is made until its outcome is known.
_TRIES = 7
# Seconds for which messages live that say nothing else.
_TTL = 3600
#: What a service says that has too much to do.
NOTHING_WAS_DONE = b'More requests come than can be answered'
# Seconds after which it goes on at the latest, when an answer was lost, or a request was put off.
_PAUSE = 0.5

#: A message that a claim got: its queue's key, its id, its number, and the claim's id.
Held = tuple[str, str, int, str]


class Answer(NamedTuple):
    """What a service answered; the status is 0 if there was no answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}
    #: Whether the service had too much to do, and changed nothing.
    is_put_off: bool = False

    @property
    def outcome(self) -> str:
        """Whether the request was carried out."""
        if 200 <= self.status < 300:
            return DONE
        if self.is_put_off:
            return PUT_OFF
        # What is in use, or comes too fast, may be or become true.
        return REFUSED if 400 <= self.status < 500 and self.status not in (408, 409) else UNKNOWN


class Client:
    """Calls of one process to any of several services, over connections that it keeps."""

    def __init__(self, log: Log, ports: Sequence[int], chance: random.Random, world: World) -> None:
        self.log = log
        self._world = world
        self._copies = {queue.key: queue.copy for queue in world.queues}
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
        call = self.begin_post(queue, first, count, ttl, delay, has_key)
        messages: Any = [{'body': body_of(first + place), 'ttl': ttl} for place in range(count)]
        for message in messages if delay else ():
            message['delay'] = delay
        document = messages if version == 'v1' else {'messages': messages}
        headers = {'Idempotency-Key': f'key-{first:x}'} if has_key else {}
        target = f'/{version}/queues/{name}/messages'
        answer = self.ask(
            project, 'POST', target, document, headers, tries=_TRIES if has_key else 1
        )
        return self._end_post(call, answer)

    def post_in_groups(
        self, queue: str, first: int, groups: Sequence[str], delay: int = 0, has_id: bool = True
    ) -> str:
        """Post a message to each of the groups, again and again until it is known what became of them.

        :param has_id: whether each has a deduplication id; else its body is what it is known by
        """
        call = self.begin_post(queue, first, len(groups), _TTL, delay, has_key=True)
        answer = self._send_to_groups(queue, first, groups, delay, has_id, _TRIES)
        return self._end_post(call, answer)

    def repeat_in_groups(
        self, queue: str, first: int, groups: Sequence[str], delay: int = 0, has_id: bool = True
    ) -> None:
        """Post once more what was stored, which must not be stored a second time."""
        call = self.log.begin('repeat', queue=queue, first=first, count=len(groups))
        self._end_post(call, self._send_to_groups(queue, first, groups, delay, has_id, tries=1))

    def _send_to_groups(
        self, queue: str, first: int, groups: Sequence[str], delay: int, has_id: bool, tries: int
    ) -> Answer:
        project, name = queue.split('/')
        messages: list[dict[str, Any]] = []
        for number, group in enumerate(groups, first):
            message = {'body': body_of(number), 'ttl': _TTL, 'group': group, 'delay': delay}
            messages.append(message | ({'deduplication_id': f'id-{number:x}'} if has_id else {}))
        target = f'/v2/queues/{name}/messages'
        return self.ask(project, 'POST', target, {'messages': messages}, tries=tries)

    def begin_post(
        self, queue: str, first: int, count: int, ttl: int, delay: int, has_key: bool
    ) -> int:
        """Note that messages are about to be posted; the call's number."""
        copies = [[copy.key, copy.copy] for copy in self._world.copies_of(queue)]
        given = {'queue': queue, 'first': first, 'count': count, 'ttl': ttl, 'delay': delay}
        return self.log.begin('post', has_key=has_key, copies=copies, **given)

    def _end_post(self, call: int, answer: Answer) -> str:
        told: dict[str, Any] = {'status': answer.status}
        if answer.outcome == DONE:
            told['ids'] = [_last(path) for path in answer.body['resources']]
        self.log.end(call, answer.outcome, **told)
        return answer.outcome

    def request(self, queue: str, number: int, wait: int, has_key: bool) -> tuple[str, bool]:
        """Post a message, and wait for the reply; the message's id, if it is known, and whether it ended."""
        project, name = queue.split('/')
        call = self.begin_post(queue, number, 1, _TTL, 0, has_key)
        headers = {'Idempotency-Key': f'key-{number:x}'} if has_key else {}
        target = f'/v2/queues/{name}/requests?wait={wait}'
        document = {'body': body_of(number), 'ttl': _TTL}
        tries = _TRIES if has_key else 1
        answer = self.ask(project, 'POST', target, document, headers, wait, tries=tries)
        # Of a message that has ended no id is told, but what became of it.
        id = (answer.body or {}).get('id', '')
        outcome = DONE if answer.status == 410 else answer.outcome
        self.log.end(call, outcome, status=answer.status, ids=[id])
        if answer.status in (200, 410):
            look = self.log.begin('look', queue=queue, number=number, id=id)
            self._end_look(look, answer)
        return id, answer.status in (200, 410)

    def look(self, queue: str, id: str, number: int, wait: int = 0) -> bool:
        """Look whether there is a reply; whether the message has ended."""
        project, name = queue.split('/')
        call = self.log.begin('look', queue=queue, number=number, id=id)
        waits = f'?wait={wait}' if wait else ''
        target = f'/v2/queues/{name}/messages/{id}/reply{waits}'
        answer = self.ask(project, 'GET', target, wait=wait)
        self._end_look(call, answer)
        return answer.status in (200, 410)

    def _end_look(self, call: int, answer: Answer) -> None:
        body = answer.body or {}
        # A reply is any JSON value; here it is a text.
        told = str(body.get('reply', body.get('reason', '')))
        self.log.end(call, answer.outcome, status=answer.status, told=told)

    def reply(self, held: Held, reply: str) -> str:
        """Give the reply to a message of a claim, which ends it."""
        queue, id, _, claim = held
        call = self.begin_verdicts([(held, 'delete', 0)], reply)
        project, name = queue.split('/')
        target = f'/v2/queues/{name}/messages/{id}/reply?claim_id={claim}'
        answer = self.ask(project, 'POST', target, reply)
        return self.end_verdicts(call, answer, ['done'])

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
        answer = self.ask(project, 'POST', target, document, wait=wait)
        claims = self._claims(queues[0], answer) if answer.status == 201 else []
        waited = 'preference-applied' in answer.headers
        self.log.end(call, answer.outcome, status=answer.status, claims=claims, waited=waited)
        if answer.outcome != DONE:
            return None
        return held_by(claims)

    def pop(self, queue: str, limit: int, wait: int = 0) -> int:
        """Pop messages; how many there were."""
        call = self.log.begin('pop', queue=queue, limit=limit, wait=wait)
        project, name = queue.split('/')
        waits = f'&wait={wait}' if wait else ''
        target = f'/v2/queues/{name}/messages?pop={limit}{waits}'
        answer = self.ask(project, 'DELETE', target, wait=wait)
        found = answer.body['messages'] if answer.status == 200 else []
        messages = [[it['id'], self._number(queue, it), it['claim_count']] for it in found]
        waited = 'preference-applied' in answer.headers
        self.log.end(call, answer.outcome, status=answer.status, messages=messages, waited=waited)
        return len(messages)

    def delete(self, held: Held, version: str = 'v2') -> str:
        """Delete one message of a claim."""
        queue, id, _, claim = held
        call = self.begin_verdicts([(held, 'delete', 0)])
        project, name = queue.split('/')
        target = f'/{version}/queues/{name}/messages/{id}?claim_id={claim}'
        answer = self.ask(project, 'DELETE', target)
        # A 204 does not tell whether it was there.
        return self.end_verdicts(call, answer, ['over'])

    def judge(self, verdicts: Sequence[tuple[Held, str, int]], reply: str = '') -> str:
        """Give verdicts on messages of one claim, or of several, in one request.

        Each is a message, the verdict, and a ttl or a delay.

        :param reply: goes with each delete
        """
        call = self.begin_verdicts(verdicts, reply)
        claims = {(held[0], held[3]) for held, _, _ in verdicts}
        project, name = verdicts[0][0][0].split('/')
        told = [_verdict(*verdict, reply) for verdict in verdicts]
        target = f'/v2/queues/{name}/claims/{verdicts[0][0][3]}/verdicts'
        if len(claims) > 1:
            target = '/v2/verdicts'
            for document, (held, _, _) in zip(told, verdicts, strict=True):
                document |= {'queue': held[0].split('/')[1], 'claim_id': held[3]}
        answer = self.ask(project, 'POST', target, {'verdicts': told})
        results = [it['result'] for it in answer.body['verdicts']] if answer.status == 200 else []
        return self.end_verdicts(call, answer, results)

    def renew(self, messages: Sequence[Held], ttl: int, version: str = 'v2') -> str:
        """Renew the claim of messages, which are all that it has got."""
        queue, _, _, claim = messages[0]
        call = self.begin_verdicts([(held, 'touch', ttl) for held in messages])
        project, name = queue.split('/')
        target = f'/{version}/queues/{name}/claims/{claim}'
        document = {'ttl': ttl, 'grace': 60}
        answer = self.ask(project, 'PATCH', target, document)
        return self.end_verdicts(call, answer, ['done'] * len(messages))

    def release(self, messages: Sequence[Held], version: str = 'v2') -> str:
        """Release a claim, whose messages are these."""
        queue, _, _, claim = messages[0]
        call = self.begin_verdicts([(held, 'release', 0) for held in messages])
        project, name = queue.split('/')
        answer = self.ask(project, 'DELETE', f'/{version}/queues/{name}/claims/{claim}')
        return self.end_verdicts(call, answer, ['over'] * len(messages))

    def read(self, queue: str, marker: str, sees_all: bool, version: str = 'v2') -> str | None:
        """Read a page behind a marker; the next marker, None if there was no answer."""
        call = self.log.begin('read', queue=queue, marker=marker, sees_all=sees_all)
        project, name = queue.split('/')
        target = f'/{version}/queues/{name}/messages?echo=true&limit=20'
        target += '&include_claimed=true' if sees_all else ''
        target += '&include_delayed=true' if sees_all and version == 'v2' else ''
        answer = self.ask(project, 'GET', f'{target}&marker={marker}' if marker else target)
        found = answer.body['messages'] if answer.status == 200 else []
        messages = [[_last(it['href']), self._number(queue, it)] for it in found]
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
        answer = self.ask(project, 'GET', f'/{version}/queues/{name}/stats')
        told = answer.body['messages'] if answer.status == 200 else {}
        told = {name: told[name] for name in told if isinstance(told[name], int)}
        self.log.end(call, answer.outcome, status=answer.status, told=told)

    def make_queue(self, queue: str, metadata: dict[str, Any]) -> int:
        """Make a queue; the status."""
        project, name = queue.split('/')
        return self.ask(project, 'PUT', f'/v2/queues/{name}', metadata).status

    def subscribe(self, queue: str, subscriber: str, options: dict[str, Any]) -> int:
        """Have what is posted sent to a webhook, or copied to a queue; the status."""
        project, name = queue.split('/')
        document = {'subscriber': subscriber, 'ttl': 86400, 'options': options}
        return self.ask(project, 'POST', f'/v2/queues/{name}/subscriptions', document).status

    def purge(self, queue: str) -> None:
        """Purge the messages of a queue."""
        self._tell('purge', queue, 'purge', {'resource_types': ['messages']})

    def redrive(self, queue: str) -> None:
        """Have dead letters go back to where they came from."""
        self._tell('redrive', queue, 'redrive', {})

    def kick(self, queue: str, limit: int) -> None:
        """Make parked messages ready."""
        self._tell('kick', queue, 'kick', {'limit': limit})

    def _tell(self, kind: str, queue: str, path: str, document: dict[str, Any]) -> None:
        call = self.log.begin(kind, queue=queue)
        project, name = queue.split('/')
        answer = self.ask(project, 'POST', f'/v2/queues/{name}/{path}', document)
        self.log.end(call, answer.outcome, status=answer.status)

    def is_healthy(self, port: int) -> bool:
        """Whether a service can store messages."""
        return self.ask('', 'GET', '/v1/health', port=port).status == 204

    # ------------------------------------------------------------ how they are made

    def begin_verdicts(self, verdicts: Iterable[tuple[Held, str, int]], reply: str = '') -> int:
        """Note verdicts that are about to be given; the call's number."""
        noted = [
            [*held, verdict, seconds, 60, reply if verdict == 'delete' else '']
            for held, verdict, seconds in verdicts
        ]
        return self.log.begin('verdicts', verdicts=noted)

    def end_verdicts(self, call: int, answer: Answer, results: list[str]) -> str:
        """Note what became of each verdict; the outcome of all."""
        told = {'results': results} if answer.outcome == DONE else {}
        self.log.end(call, answer.outcome, status=answer.status, **told)
        return answer.outcome

    def ask(
        self,
        project: str,
        method: str,
        target: str,
        document: Any = None,
        headers: dict[str, str] | None = None,
        wait: int = 0,
        port: int = 0,
        tries: int = 1,
    ) -> Answer:
        """Make a request, and again as long as it was put off, or nobody knows what became of it."""
        lost = None
        for _ in range(tries):
            answer = self._ask_once(project, method, target, document, headers, wait, port)
            if answer.outcome not in (UNKNOWN, PUT_OFF):
                return answer
            time.sleep(self._chance.uniform(0, _PAUSE))
            lost = answer if answer.outcome == UNKNOWN else lost
        # Though the last one was put off, a former one may be carried out.
        return lost or answer

    def _ask_once(
        self,
        project: str,
        method: str,
        target: str,
        document: Any,
        headers: dict[str, str] | None,
        wait: int,
        port: int,
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

    def _number(self, queue: str, message: dict[str, Any]) -> int:
        number = number_in(message['body'])
        return 0 if number is None else number_of_copy(number, self._copies.get(queue, 0))

    def _claims(self, queue: str, answer: Answer) -> list[Any]:
        """The claims of an answer: of each the queue's key, its id, and its messages."""
        if isinstance(answer.body, dict) and 'claims' in answer.body:
            project = queue.partition('/')[0]
            found = [(f'{project}/{it["queue"]}', it['id']) for it in answer.body['claims']]
            return [
                [
                    key,
                    claim,
                    [
                        self._shown(key, it)
                        for it in answer.body['messages']
                        if it['claim_id'] == claim
                    ],
                ]
                for key, claim in found
            ]
        messages = answer.body if isinstance(answer.body, list) else answer.body['messages']
        claim = _last(answer.headers['location'])
        return [[queue, claim, [self._shown(queue, it) for it in messages]]]

    def _shown(self, queue: str, message: dict[str, Any]) -> list[Any]:
        id, count = _last(message['href']), message.get('claim_count', 0)
        place = place_in(message.get('group', ''), message.get('sequence', ''))
        return [id, self._number(queue, message), count, place]


def held_by(claims: Sequence[Any]) -> list[Held]:
    """The messages of claims, as they are noted."""
    return [
        (queue, id, number, claim)
        for queue, claim, messages in claims
        for id, number, *_ in messages
    ]


def _answer(response: http.client.HTTPResponse) -> Answer:
    content = response.read()
    if not response.headers.get('content-length', '').isdigit():
        # It was cut off in its headers.
        raise http.client.IncompleteRead(content)
    # What has ended without a reply says why.
    is_document = content and (response.status < 300 or response.status == 410)
    body = msgspec.json.decode(content) if is_document else None
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_put_off = response.status == 503 and NOTHING_WAS_DONE in content
    return Answer(response.status, body, headers, is_put_off)


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


def _verdict(held: Held, verdict: str, seconds: int, reply: str = '') -> dict[str, Any]:
    terms = {'release': 'delay', 'touch': 'ttl'}
    document: dict[str, Any] = {'id': held[1], 'verdict': verdict}
    if reply and verdict == 'delete':
        document['reply'] = reply
    return document | ({terms[verdict]: seconds} if seconds and verdict in terms else {})


def _last(path: str) -> str:
    return urlsplit(path).path.rpartition('/')[2]


def _marker(href: str) -> str:
    return href.rpartition('marker=')[2]
