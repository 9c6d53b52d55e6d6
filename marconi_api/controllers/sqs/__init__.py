"""Amazon's SQS: the same queues, for the clients of Amazon (docs/sqs.md).

It has two protocols, AwsJson and the older query protocol: two doors, with the same operations.
"""

from collections.abc import Mapping
from typing import Any

from marconi_api import policy
from marconi_api.controllers.sqs import aws_json, query
from marconi_api.controllers.sqs.operations import OPERATIONS, Operation
from marconi_api.controllers.sqs.who import AddressHook
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.doors import Door, InHeader
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request


class OperationController:
    """One operation, as AwsJson writes it."""

    def __init__(self, operation: Operation) -> None:
        self._read = aws_json.reader(operation.reads)
        self._do = operation.do

    @expose(replies={200: Content(JsonObject, media_type=aws_json.CONTENT_TYPE)})
    def post(self, request: Request) -> Reply:
        """Carry it out."""
        return aws_json.reply(self._do(request, self._read(request)))


class QueryController:
    """One operation, as the query protocol writes it."""

    def __init__(self, name: str, operation: Operation) -> None:
        self._name = name
        self._read = query.reader(operation.reads)
        self._do = operation.do

    @expose(replies={200: Content(str, media_type=query.CONTENT_TYPE)})
    def post(self, request: Request) -> Reply:
        """Carry it out."""
        result = self._do(request, self._read(request))
        return query.reply(self._name, result, request.environ)

    get = post


DOOR = Door(
    naming=InHeader('HTTP_X_AMZ_TARGET'),
    operations={
        f'{aws_json.TARGET}{name}': OperationController(operation)
        for name, operation in OPERATIONS.items()
    },
    actions={
        f'POST {aws_json.TARGET}{name}': operation.actions for name, operation in OPERATIONS.items()
    },
    policy=policy,
    hooks=(AddressHook(),),
    error_reply=aws_json.error_reply,
    largest_body=aws_json.LONGEST_BODY,
    is_described=False,
)

QUERY_DOOR = Door(
    naming=query.InForm(),
    operations={name: QueryController(name, operation) for name, operation in OPERATIONS.items()},
    actions={
        f'{method} {name}': operation.actions
        for name, operation in OPERATIONS.items()
        for method in ('GET', 'POST')
    },
    policy=policy,
    hooks=(AddressHook(),),
    error_reply=query.error_reply,
    largest_body=aws_json.LONGEST_BODY,
    is_described=False,
)

#: A request that the first one knows for its own is not of the second.
DOORS = (DOOR, QUERY_DOOR)


_ARE_OURS = [door.naming.is_in for door in DOORS if door.naming]


def is_for_sqs(environ: Mapping[str, Any]) -> bool:
    """Whether a request is one of a client of SQS."""
    # Each request is asked twice, and a generator takes a microsecond.
    for is_in in _ARE_OURS:  # noqa: SIM110
        if is_in(environ):
            return True
    return False
