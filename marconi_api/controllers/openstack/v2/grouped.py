"""Messages as version 2 shows them: with their group, in a queue whose messages have groups."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from msgspec.structs import asdict

from marconi_api.controllers.openstack.v1_1.messages import MessageDocument, message_documents
from marconi_api.model import Message
from marconi_api.model.message import InGroup

_GROUP = attrgetter('group')


def place_of(message: InGroup) -> dict[str, str]:
    """The members that tell of a message's group; none if it has no group."""
    if message.group is None:
        return {}
    if message.sequence is None:
        return {'group': message.group}
    # Of twenty digits, as text: many readers of JSON cannot keep such a number.
    return {'group': message.group, 'sequence': f'{message.sequence:020}'}


def documents_with_groups(
    queue_href: str, messages: Sequence[Message]
) -> Sequence[MessageDocument | dict[str, Any]]:
    """Messages as version 2 shows them (docs/protocol-v2.md, 6.1)."""
    shown = message_documents(queue_href, messages)
    if not any(map(_GROUP, messages)):
        return shown
    return [
        asdict(document) | place_of(message)
        for document, message in zip(shown, messages, strict=True)
    ]


def members_of(document: MessageDocument | dict[str, Any]) -> dict[str, Any]:
    """The members of such a document."""
    return document if isinstance(document, dict) else asdict(document)
