"""The queues as a running service shows them, by version 2 of its protocol."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from marconi_api.commands.failures import NothingFound
from marconi_api.commands.terminal import progress
from marconi_api.commands.ways.client import Client, NotThere
from marconi_api.commands.ways.way import Details, End, QueueLine
from marconi_api.model import PeekedMessage

# What the service allows at most, unless it is set up otherwise.
_PAGE = 20


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


class _Messages(msgspec.Struct):
    messages: list[_Message]
    links: list[_Link] = []


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
        for page in self._pages(f'/v2/queues?limit={_PAGE}', _Queues):
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

    def _first(
        self, queue: str, state: str, limit: int, after: str | None
    ) -> Iterator[PeekedMessage]:
        marked = queue if after is None else f'{queue}:{after}'
        asked = {'queue': marked, 'state': state, 'echo': 'true', 'limit': min(limit, _PAGE)}
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
    )


def _claim_in(href: str) -> str | None:
    return href.partition('?claim_id=')[2] or None


def _end(summary: _Summary | None) -> End | None:
    return None if summary is None else End(summary.href.rpartition('/')[2], summary.age)


def _text(value: msgspec.Raw) -> str:
    return bytes(value).decode()


def _segment(name: str) -> str:
    return quote(name, safe='')
