"""``/v2/queues/{queue}/share``: access to a queue for who has no other (docs/protocol-v2.md, 9)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from marconi_api.controllers.openstack import signed_urls
from marconi_api.controllers.openstack.v1_1.controller import Controller
from marconi_api.controllers.openstack.v2.types import Grant, NewGrant
from marconi_api.errors import InvalidRequest
from marconi_api.model import QueueKey
from marconi_api.wire.actions import ByHand, Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.replies import Reply, json_reply
from marconi_api.wire.requests import Request

_SHAREABLE = ('messages', 'claims', 'subscriptions')
_LIFE = timedelta(days=1)


class ShareController(Controller):
    """``/v2/queues/{queue}/share``."""

    @expose(
        body=JsonObject,
        by_hand=ByHand(body=NewGrant),
        replies={200: Content(Grant)},
        needs_storage=False,
    )
    def post(self, request: Request, queue: QueueKey, body: JsonObject) -> Reply:
        """Sign what the client may hand on; nothing is stored."""
        if not signed_urls.signer.can_sign:
            raise InvalidRequest(
                'This service does not sign URLs: its operator must set MARCONI_SIGNING_KEYS first.'
            )
        wanted = json.loads(body.text)
        unknown = set(wanted) - {'paths', 'methods', 'expires'}
        if unknown:
            names = ', '.join(sorted(unknown))[:80]
            raise InvalidRequest(f'The body may have paths, methods and expires, not {names}.')
        paths = _texts('paths', wanted.get('paths', ['messages']))
        if not all(path in _SHAREABLE for path in paths):
            raise InvalidRequest(f'paths must be among {", ".join(_SHAREABLE)}.')
        if '\\' in request.project:
            raise InvalidRequest(
                'A project whose name has a backslash cannot give pre-signed access.'
            )
        grant = signed_urls.Grant(
            tuple(f'{self.href(queue)}/{path}' for path in paths),
            _texts('methods', wanted.get('methods', ['GET'])),
            request.project,
            _end(wanted.get('expires')),
        )
        return json_reply(
            {
                'paths': grant.paths,
                'methods': grant.methods,
                'project': grant.project,
                'expires': grant.expires.strftime(signed_urls.TIME_FORMAT),
                'signature': signed_urls.signer.sign(grant),
            }
        )


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """A list of words without commas: a word with a comma could be read as two.

    :raises InvalidRequest: if it is not such a list
    """
    if not isinstance(value, list) or not all(
        isinstance(text, str) and text.isascii() and text.isalpha() for text in value
    ):
        raise InvalidRequest(f'{name} must be a list of words.')
    return tuple(value)


def _end(sent: Any) -> datetime:
    """When a grant ends: UTC, whole seconds, in the future."""
    now = signed_urls.now()
    if sent is None:
        return (now + _LIFE).replace(microsecond=0)
    try:
        # The parser would read digits alone as a date.
        if not isinstance(sent, str) or sent.isdigit():
            raise ValueError
        end = datetime.fromisoformat(sent)
        end = end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        # A time in the years 1 or 9999 may lie beyond these years in UTC.
        raise InvalidRequest('expires must be a time such as 2030-01-31T12:00:00.') from None
    end = end.replace(microsecond=0)
    if end <= now:
        raise InvalidRequest('expires must be in the future.')
    return end
