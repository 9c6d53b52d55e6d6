"""Amazon's SQS: the same queues, for the clients of Amazon (docs/sqs.md)."""

from marconi_api import policy
from marconi_api.controllers.sqs import aws_json
from marconi_api.controllers.sqs.operations import OPERATIONS, Operation
from marconi_api.controllers.sqs.who import AddressHook
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.doors import Door
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


#: The header that names an operation, as WSGI does it.
OPERATION_HEADER = 'HTTP_X_AMZ_TARGET'

DOOR = Door(
    operation_header=OPERATION_HEADER,
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
