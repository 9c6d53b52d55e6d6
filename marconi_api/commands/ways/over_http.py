"""The queues as a running service shows them, by version 2 of its protocol."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from marconi_api.commands.failures import NothingFound, WrongUse
from marconi_api.commands.terminal import progress
from marconi_api.commands.ways.client import Client, NotThere, Unfinished
from marconi_api.commands.ways.way import Details, End, QueueLine, Told
from marconi_api.model import (
    Claim,
    ClaimedMessage,
    Created,
    Delivery,
    Order,
    PeekedMessage,
    Preview,
    Redrive,
    Subscription,
)
from marconi_api.model.postgres.tables import message_id
from marconi_api.model.redrives import Target


class _Named(msgspec.Struct):
    name: str


class _Link(msgspec.Struct):
    rel: str
    href: str


class _Queues(msgspec.Struct):
    queues: list[_Named]
    links: list[_Link]


class _Summary(msgspec.Struct):
    href: str
    age: int


class _Counts(msgspec.Struct):
    free: int
    claimed: int
    parked: int
    oldest: _Summary | None = None
    newest: _Summary | None = None


class _Stats(msgspec.Struct):
    messages: _Counts


class _Message(msgspec.Struct):
    id: str
    href: str
    ttl: int
    age: int
    body: msgspec.Raw
    state: str = 'claimed'
    claim_count: int = 0
    reason: str | None = None
    group: str | None = None
    sequence: str | None = None


class _Messages(msgspec.Struct):
    messages: list[_Message]
    links: list[_Link] = []


class _Claim(msgspec.Struct):
    ttl: int
    age: int
    messages: list[_Message]


class _Posted(msgspec.Struct):
    resources: list[str]


class _Kicked(msgspec.Struct):
    kicked: int
    more: bool = False


class _Target(msgspec.Struct):
    queue: str
    messages: int


class _Preview(msgspec.Struct):
    messages: int
    targets: list[_Target]
    without_target: int
    more: bool = False


class _Redrive(msgspec.Struct):
    id: str
    status: str
    state: str
    to: str | None
    min_age: int | None
    max_age: int | None
    reason: str | None
    rate: int | None
    total: int | None
    moved: int
    without_target: int
    failure: str | None
    started: datetime
    ended: datetime | None

    def shown(self) -> Redrive:
        return Redrive(*msgspec.structs.astuple(self))


class _Redrives(msgspec.Struct):
    redrives: list[_Redrive]


class _DeliveryCounts(msgspec.Struct):
    delivered: int
    pending: int
    failed: int
    oldest_pending_age: int | None


class _Subscription(msgspec.Struct):
    id: str
    source: str
    subscriber: str
    ttl: int
    age: int
    options: msgspec.Raw
    confirmed: bool
    state: str
    reason: str | None
    deliveries: _DeliveryCounts

    def shown(self) -> Subscription:
        *members, counts = msgspec.structs.astuple(self)
        members[5] = _text(self.options)
        return Subscription(*members, *msgspec.structs.astuple(counts))


class _Subscriptions(msgspec.Struct):
    subscriptions: list[_Subscription]
    links: list[_Link]


class _Made(msgspec.Struct):
    subscription_id: str
    secret: str | None = None


class _Deliveries(msgspec.Struct):
    deliveries: list[Delivery]
    links: list[_Link]


class OverHttp:
    """The queues of one project at a service; see ``Way``.

    :param url: of the service, without a version
    :param project: '' if the token says it
    """

    def __init__(self, url: str, token: str, project: str) -> None:
        self._client = Client(url, token, project)
        self._project = project

    def queues(self, limit: int) -> list[QueueLine]:
        """The deepest queues first; a request for each queue of the project."""
        names = list(self._names())
        with progress(len(names), 'queues') as told:
            lines = []
            for name in names:
                lines.append(self._line(name, self._counts(name)))
                told(1)
        return sorted(lines, key=lambda line: (-line.total, line.name))[:limit]

    def _names(self) -> Iterator[str]:
        # A page is as long as the service has it by default: it may allow less than others.
        for page in self._pages('/v2/queues', _Queues):
            yield from (queue.name for queue in page.queues)

    def details(self, queue: str) -> Details:
        """What the service tells of a queue."""
        self._require(queue)
        counts = self._counts(queue)
        metadata = self._client.get(f'/v2/queues/{_segment(queue)}', msgspec.Raw)
        return Details(
            self._line(queue, counts), _end(counts.oldest), _end(counts.newest), _text(metadata)
        )

    def peek(
        self, queue: str, states: Sequence[str], limit: int, after: str | None
    ) -> list[PeekedMessage]:
        """The first messages in those states."""
        self._require(queue)
        found = [message for state in states for message in self._first(queue, state, limit, after)]
        return sorted(found, key=lambda message: message.id)[:limit]

    def line(self, queue: str) -> QueueLine:
        """A queue and how many messages it has."""
        self._require(queue)
        return self._line(queue, self._counts(queue))

    def post(
        self, queue: str, bodies: Sequence[str], ttl: int | None, delay: int | None
    ) -> list[str]:
        """Store messages."""
        terms = {'ttl': ttl, 'delay': delay}
        messages = [{'body': msgspec.Raw(body.encode()), **terms} for body in bodies]
        _, answer = self._client.call(
            'POST', f'/v2/queues/{_segment(queue)}/messages', {'messages': messages}
        )
        return [path.rpartition('/')[2] for path in self._client.read(answer, _Posted).resources]

    def claim(self, queue: str, ttl: int | None, grace: int | None, limit: int) -> Claim | None:
        """Reserve messages."""
        self._require(queue)
        path = f'/v2/queues/{_segment(queue)}/claims'
        terms = {'ttl': ttl, 'grace': grace}
        _, answer = self._client.call('POST', f'{path}?limit={limit}', terms)
        if not answer:
            return None
        found = [_peeked(message) for message in self._client.read(answer, _Messages).messages]
        messages = [
            ClaimedMessage(
                one.id,
                one.ttl,
                one.age,
                one.body,
                one.claim,
                one.claim_count,
                group=one.group,
                sequence=one.sequence,
            )
            for one in found
        ]
        claim = messages[0].claim or ''
        made = self._client.get(f'{path}/{_segment(claim)}', _Claim)
        return Claim(claim, made.ttl, made.age, messages)

    def release(self, queue: str, identity: str) -> int:
        """Let the messages of a claim, or one message, be claimed."""
        path = f'/v2/queues/{_segment(queue)}'
        with suppress(NotThere):
            if message_id(identity) is None:
                claim = f'{path}/claims/{_segment(identity)}'
                held: _Claim = self._client.get(claim, _Claim)
                self._client.call('DELETE', claim)
                return len(held.messages)
            return self._release_message(f'{path}/messages/{identity}')
        return 0

    def _release_message(self, path: str) -> int:
        claim = _claim_in(self._client.get(path, _Message).href)
        if claim:
            self._client.call('POST', f'{path}/release?{urlencode({"claim_id": claim})}')
        else:
            # Of a message that is delayed the service says that it is not parked.
            self._client.call('POST', f'{path}/kick')
        return 1

    def release_parked(self, queue: str, told: Told) -> int:
        """Let all parked messages be claimed."""
        self._require(queue)
        total = 0
        while True:
            _, answer = self._client.call('POST', f'/v2/queues/{_segment(queue)}/kick')
            kicked: _Kicked = self._client.read(answer, _Kicked)
            told(kicked.kicked)
            total += kicked.kicked
            if not kicked.more:
                return total

    def purge(self, queue: str, only_parked: bool, also_claimed: bool) -> None:
        """Delete messages; the service does not delete those that are claimed."""
        if also_claimed:
            raise WrongUse('over HTTP there is no --claimed')
        self._require(queue)
        kind = 'parked' if only_parked else 'messages'
        is_finished = False
        while not is_finished:
            with suppress(Unfinished):
                self._client.call(
                    'POST', f'/v2/queues/{_segment(queue)}/purge', {'resource_types': [kind]}
                )
                is_finished = True

    def preview_redrive(self, queue: str, order: Order) -> Preview:
        """What a redrive would do now."""
        self._require(queue)
        _, answer = self._client.call('POST', self._redrive(queue), _order(order, dry_run=True))
        found: _Preview = self._client.read(answer, _Preview)
        targets = [Target(target.queue, target.messages) for target in found.targets]
        return Preview(targets, found.without_target, found.more)

    def start_redrive(self, queue: str, order: Order) -> Redrive:
        """Let a redrive begin."""
        _, answer = self._client.call('POST', self._redrive(queue), _order(order, dry_run=False))
        started: _Redrive = self._client.read(answer, _Redrive)
        return started.shown()

    def go_on_with_redrive(self, queue: str, redrive: Redrive) -> Redrive:
        """Wait while the service carries it out."""
        time.sleep(_PAUSE)
        now: _Redrive = self._client.get(f'{self._redrive(queue)}s/{redrive.id}', _Redrive)
        return now.shown()

    def cancel_redrive(self, queue: str, redrive: str) -> Redrive:
        """Let a redrive move nothing more."""
        _, answer = self._client.call('DELETE', f'{self._redrive(queue)}s/{redrive}')
        cancelled: _Redrive = self._client.read(answer, _Redrive)
        return cancelled.shown()

    def redrives(self, queue: str) -> list[Redrive]:
        """The last redrives of a queue, the newest first."""
        self._require(queue)
        found: _Redrives = self._client.get(f'{self._redrive(queue)}s', _Redrives)
        return [redrive.shown() for redrive in found.redrives]

    def subscriptions(self, queue: str, limit: int) -> list[Subscription]:
        """The first subscriptions to a queue."""
        self._require(queue)
        pages = self._pages(self._subscriptions(queue), _Subscriptions)
        found = (one.shown() for page in pages for one in page.subscriptions)
        return list(islice(found, limit))

    def subscription(self, queue: str, identity: str) -> Subscription:
        """One subscription."""
        self._require(queue)
        found: _Subscription = self._client.get(self._subscriptions(queue, identity), _Subscription)
        return found.shown()

    def subscribe(
        self, queue: str, subscriber: str, ttl: int | None, options: str | None
    ) -> Created:
        """Subscribe to a queue."""
        document = {
            'subscriber': subscriber,
            'ttl': ttl,
            'options': None if options is None else msgspec.Raw(options.encode()),
        }
        _, answer = self._client.call('POST', self._subscriptions(queue), document)
        made: _Made = self._client.read(answer, _Made)
        return Created(made.subscription_id, made.secret is not None, made.secret)

    def unsubscribe(self, queue: str, identity: str) -> None:
        """End a subscription."""
        self._client.call('DELETE', self._subscriptions(queue, identity))

    def pause(self, queue: str, identity: str) -> None:
        """Call a webhook no more until it is resumed."""
        self._client.call('POST', self._subscriptions(queue, identity, 'pause'))

    def resume(self, queue: str, identity: str) -> None:
        """Let a subscription go on that is paused."""
        self._client.call('POST', self._subscriptions(queue, identity, 'resume'))

    def deliveries(
        self, queue: str, identity: str, state: str | None, limit: int
    ) -> list[Delivery]:
        """The first messages that a webhook has not taken."""
        self._require(queue)
        path = self._subscriptions(queue, identity, 'deliveries')
        asked = f'?{urlencode({"state": state})}' if state else ''
        pages = self._pages(path + asked, _Deliveries)
        return list(islice((one for page in pages for one in page.deliveries), limit))

    def retry(self, queue: str, identity: str, delivery: str) -> None:
        """Send a message to a webhook again now."""
        path = self._subscriptions(queue, identity, 'deliveries', delivery, 'retry')
        self._client.call('POST', path)

    def retry_all(self, queue: str, identity: str) -> None:
        """Send all that have failed again."""
        self._client.call('POST', self._subscriptions(queue, identity, 'retry'))

    def _subscriptions(self, queue: str, *below: str) -> str:
        return '/'.join(map(_segment, ('', 'v2', 'queues', queue, 'subscriptions', *below)))

    def _redrive(self, queue: str) -> str:
        return f'/v2/queues/{_segment(queue)}/redrive'

    def _first(
        self, queue: str, state: str, limit: int, after: str | None
    ) -> Iterator[PeekedMessage]:
        marked = queue if after is None else f'{queue}:{after}'
        asked = {'queue': marked, 'state': state, 'echo': 'true'}
        for page in self._pages(f'/v2/messages?{urlencode(asked)}', _Messages):
            for message in page.messages:
                yield _peeked(message)
                limit -= 1
                if limit == 0:
                    return

    def _pages(self, path: str, document: type[Any]) -> Iterator[Any]:
        """A page and those that its links lead to; a page without a link is the last.

        Of messages there is always a link behind some, as more may be posted.
        """
        while True:
            page = self._client.get(path, document)
            yield page
            if not page.links:
                return
            path = page.links[0].href

    def _require(self, queue: str) -> None:
        try:
            self._client.call('GET', f'/v1/queues/{_segment(queue)}')
        except NotThere:
            whose = f'project {self._project}' if self._project else 'this project'
            raise NothingFound(f'there is no queue {queue} of {whose}') from None

    def _counts(self, queue: str) -> _Counts:
        stats: _Stats = self._client.get(f'/v2/queues/{_segment(queue)}/stats', _Stats)
        return stats.messages

    def _line(self, queue: str, counts: _Counts) -> QueueLine:
        return QueueLine(self._project, queue, counts.free, counts.claimed, counts.parked)


def _peeked(message: _Message) -> PeekedMessage:
    return PeekedMessage(
        message.id,
        message.ttl,
        message.age,
        _text(message.body),
        _claim_in(message.href),
        message.state,
        message.claim_count,
        message.reason,
        group=message.group,
        sequence=int(message.sequence) if message.sequence else None,
    )


def _claim_in(href: str) -> str | None:
    return href.partition('?claim_id=')[2] or None


def _end(summary: _Summary | None) -> End | None:
    return None if summary is None else End(summary.href.rpartition('/')[2], summary.age)


def _text(value: msgspec.Raw) -> str:
    return bytes(value).decode()


def _order(order: Order, dry_run: bool) -> dict[str, Any]:
    return {
        'state': order.state,
        'to': order.to,
        'min_age': order.min_age,
        'max_age': order.max_age,
        'reason': order.reason,
        'rate': order.rate,
        'dry_run': dry_run,
    }


# Seconds between two looks at a redrive.
_PAUSE = 0.3


def _segment(name: str) -> str:
    return quote(name, safe='')
