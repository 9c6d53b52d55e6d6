"""Queues by the names that clients give, held to the client's credential. For any door."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from marconi_api import limits
from marconi_api.errors import NotThisQueue
from marconi_api.limits import Limits
from marconi_api.model import Queue, QueueKey
from marconi_api.wire.doors import Placeholder
from marconi_api.wire.requests import Request


def queue_named(request: Request, text: str) -> QueueKey:
    """The queue of that name in the project of the request.

    :raises InvalidQueueName: if the name of the queue or of the project breaks the rules
    :raises NotThisQueue: if the credential is for other queues
    """
    queue = _key(limits.in_force, request.project, text)
    identity = request.identity
    if identity.queues is not None and not identity.may_name(text):
        raise NotThisQueue(text, identity.queues)
    return queue


# The same few queues are named over and over, and names are short. A refusal is not remembered.
@lru_cache(maxsize=4096)
def _key(within: Limits, project: str, name: str) -> QueueKey:
    within.check_queue_name(name)
    within.check_project(project)
    return QueueKey.of(project, name)


def start_of_list(request: Request, marker: str) -> str:
    """The name after which a list starts: the marker, or the last name before the credential's queues.

    Lists are in the order of the names' bytes, so the names that match a pattern are consecutive.
    """
    pattern = request.identity.queues
    first = (pattern or '').removesuffix('*')
    if not first:
        return marker
    # A text between the pattern and all names before it: no name has a tilde or a higher character.
    return max(marker, f'{first[:-1]}{chr(ord(first[-1]) - 1)}~')


def own_queues(request: Request, queues: Sequence[Queue]) -> list[Queue]:
    """Those of a list that the credential is for."""
    return [queue for queue in queues if request.identity.may_name(queue.name)]


class QueueName(Placeholder):
    """``{queue}`` in a path; an action is handed the queue's key."""

    #: An empty segment is an invalid name, and not an unknown path (docs/protocol-v1.md, 1.3).
    may_be_empty = True
    raises = (NotThisQueue,)

    @property
    def schema(self) -> Mapping[str, Any]:
        """A name's, as a JSON Schema."""
        longest = limits.in_force.max_queue_name_length
        return {'type': 'string', 'pattern': f'^[A-Za-z0-9_.-]{{1,{longest}}}$'}

    #: The queue's key.
    read = staticmethod(queue_named)


#: The placeholders, in paths of all versions, that are more than a text.
PLACEHOLDERS = {'queue': QueueName()}
