"""Queues as clients name them, of those that their credential is for; for any door."""

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

    :raises InvalidQueueName: where the name, or the project's, breaks the rules
    :raises NotThisQueue: where the credential is for other queues
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
    """The name after which a list of queues starts, of those that the credential is for.

    Names are in the order of their bytes, so those of a pattern stand in one piece.
    """
    pattern = request.identity.queues
    first = (pattern or '').removesuffix('*')
    if not first:
        return marker
    # The last name before it: no name has a tilde, nor what comes after that.
    return max(marker, f'{first[:-1]}{chr(ord(first[-1]) - 1)}~')


def own_queues(request: Request, queues: Sequence[Queue]) -> list[Queue]:
    """Those of a list that the credential is for."""
    return [queue for queue in queues if request.identity.may_name(queue.name)]


class QueueName(Placeholder):
    """``{queue}`` in a path; an action is handed the queue's key."""

    #: It is a bad name, and not an unknown path (docs/protocol-v1.md, 1.3).
    may_be_empty = True
    raises = (NotThisQueue,)

    @property
    def schema(self) -> Mapping[str, Any]:
        """A name's, as a JSON Schema."""
        longest = limits.in_force.max_queue_name_length
        return {'type': 'string', 'pattern': f'^[A-Za-z0-9_.-]{{1,{longest}}}$'}

    #: The queue's key.
    read = staticmethod(queue_named)


#: What the paths of all versions hold that is more than a text.
PLACEHOLDERS = {'queue': QueueName()}
