"""What is sent to a subscriber: headers, and a body in Zaqar's form (docs/eventing.md).

A body is a JSON object that holds the message, or ``options.post_data`` with that object in it.
"""

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from marconi_api.webhooks.signatures import sign

NOTIFICATION = 'Notification'
TEST = 'Test'

#: The placeholder of the message in ``post_data``, with its quotes.
PLACE = '"$zaqar_message$"'

_TYPE = 'application/json'

# What HTTP needs to frame a call, and what proves that it is ours.
_NEVER_GIVEN = frozenset({'host', 'content-length', 'transfer-encoding', 'connection'})
_SIGNATURE = 'webhook-'


def notification(
    queue: str, message_id: str, ttl: int, body: str, kind: str = NOTIFICATION
) -> bytes:
    """The object that tells of a message.

    :param ttl: seconds
    :param body: JSON, which is passed on as it is
    """
    return msgspec.json.encode(
        {
            'Message_Type': kind,
            'queue_name': queue,
            'id': message_id,
            'ttl': ttl,
            'body': msgspec.Raw(body.encode()),
        }
    )


def filled(options: Mapping[str, Any], message: bytes) -> bytes:
    """The body of a call: the message, or the options' ``post_data`` with the message in it."""
    around = options.get('post_data')
    return message if around is None else str(around).encode().replace(PLACE.encode(), message)


def headers_of(
    options: Mapping[str, Any],
    secrets: Iterable[str],
    call_id: str,
    body: bytes,
    more: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The headers of a call, signed at this moment.

    :param call_id: the same for each attempt of one delivery
    :param more: further headers of ours
    """
    now = int(time.time())
    ours = {
        **more,
        'webhook-id': call_id,
        'webhook-timestamp': str(now),
        'webhook-signature': sign(secrets, call_id, now, body),
    }
    taken = {name.lower() for name in ours}
    given = {
        name: value
        for name, value in (options.get('post_headers') or {}).items()
        if name.lower() not in taken | _NEVER_GIVEN and not name.lower().startswith(_SIGNATURE)
    }
    if not any(name.lower() == 'content-type' for name in given):
        given['Content-Type'] = _TYPE
    if not any(name.lower() == 'user-agent' for name in given):
        given['User-Agent'] = 'Marconi'
    return {**given, **ours}
