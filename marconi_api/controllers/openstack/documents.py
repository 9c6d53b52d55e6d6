"""What all versions of the API write alike."""

from collections.abc import Mapping
from typing import Any

from wsme import types as wtypes

from marconi_api import model
from marconi_api.errors import MarconiError
from marconi_api.model import READY, MessageSummary, Stats
from marconi_api.wire.actions import EMPTY, Content
from marconi_api.wire.documents import Document
from marconi_api.wire.failures import MethodNotAllowed
from marconi_api.wire.replies import RETRY_AFTER, Reply, empty_reply, json_reply
from marconi_api.wire.values import String, any_object, natural, string

#: The states of the messages on a page that includes claimed ones.
WITH_CLAIMED = READY | {'claimed'}


class Link(Document):
    """Where a page leads on."""

    rel = wtypes.wsattr(string, mandatory=True)
    href = wtypes.wsattr(string, mandatory=True)


class QueueEntry(Document):
    """A queue, with its metadata if the client asked for details."""

    name = wtypes.wsattr(string, mandatory=True)
    href = wtypes.wsattr(string, mandatory=True)
    metadata = wtypes.wsattr(any_object)


class QueuePage(Document):
    """A page of queues, with a link unless it is empty."""

    queues = wtypes.wsattr([QueueEntry], mandatory=True)
    links = wtypes.wsattr([Link], mandatory=True)


class EndOfLine(Document):
    """The oldest or the newest message of a queue."""

    href = wtypes.wsattr(string, mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)
    created = wtypes.wsattr(String({'format': 'date-time'}), mandatory=True)


class Counts(Document):
    """Messages of a queue by state; used again for a while if counting takes over 0.1 s."""

    free = wtypes.wsattr(natural, mandatory=True)
    claimed = wtypes.wsattr(natural, mandatory=True)
    total = wtypes.wsattr(natural, mandatory=True)
    oldest = wtypes.wsattr(EndOfLine)
    newest = wtypes.wsattr(EndOfLine)


class Statistics(Document):
    """The statistics of a queue."""

    messages = wtypes.wsattr(Counts, mandatory=True)


class Home(Document):
    """What a version offers, as JSON Home."""

    resources = wtypes.wsattr(any_object, mandatory=True)


class Versions(Document):
    """The versions of the API."""

    versions = wtypes.wsattr([any_object], mandatory=True)


# Bytes of a Location; proxies commonly take 4 KiB for all headers together.
LONGEST_LOCATION = 3072


def posted_location(path: str, ids: list[str]) -> str:
    """Where messages can be read that were posted to ``path`` (docs/protocol-v1.md, 5.3).

    For hundreds of ids it is the collection itself: with so many ids uwsgi garbles the header, proxies
    refuse it, and no request may name them all. The reply's body has each id.
    """
    location = f'{path}?ids={",".join(ids)}'
    return location if len(location) <= LONGEST_LOCATION else path


def stats_document(queue_href: str, stats: Stats) -> dict[str, Any]:
    """How many messages a queue has, and the ends of the line (docs/protocol-v1.md, 4.7).

    Parked messages are left out: nobody can claim them, and one of them could be the oldest for ever.
    """
    counts: dict[str, Any] = {
        'free': stats.free,
        'claimed': stats.claimed,
        'total': stats.free + stats.claimed,
    }
    if stats.oldest and stats.newest:
        counts['oldest'] = _summary(queue_href, stats.oldest)
        counts['newest'] = _summary(queue_href, stats.newest)
    return {'messages': counts}


def _summary(queue_href: str, message: MessageSummary) -> dict[str, Any]:
    return {
        'href': f'{queue_href}/messages/{message.id}',
        'age': message.age,
        'created': message.created,
    }


def relation(template: str, variables: dict[str, str], *allow: str) -> dict[str, Any]:
    """One relation of a home document (JSON Home)."""
    hints: dict[str, Any] = {'allow': list(allow), 'formats': {'application/json': {}}}
    if 'POST' in allow:
        hints['accept-post'] = ['application/json']
    return {'href-template': template, 'href-vars': variables, 'hints': hints}


#: The replies of :func:`health_reply`, for ``wire.expose``.
HEALTH_REPLIES = {204: EMPTY, 503: Content(None, RETRY_AFTER[0])}


def health_reply() -> Reply:
    """204 if messages can be stored, else 503."""
    return empty_reply() if model.store.is_healthy() else empty_reply(503, RETRY_AFTER)


def error_reply(error: MarconiError, environ: Mapping[str, Any]) -> Reply:
    """An error, as all versions tell it (docs/protocol-v1.md, 1.7): 503 with ``Retry-After``."""
    document = {'title': error.title}
    if str(error):
        document['description'] = str(error)
    headers = [('Vary', 'Accept'), *error.headers]
    if isinstance(error, MethodNotAllowed):
        headers.append(('Allow', ', '.join(error.allowed)))
    if error.status == 503:
        headers.append(RETRY_AFTER)
    return json_reply(document, error.status, *headers)
