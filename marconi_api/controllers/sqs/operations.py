"""The operations of SQS: what each reads, which actions of the policy it is, and what carries it out.

How a request is written, and its answer, is a matter of the protocol (``aws_json.py``): the same table
serves any.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wsme import types as wtypes

from marconi_api.controllers.sqs import messages, moves, queues, types
from marconi_api.controllers.sqs.failures import UnsupportedOperation
from marconi_api.wire.requests import Request


class Operation(NamedTuple):
    """An operation.

    :param do: carries it out; gets the request and its document, and returns the members of the result,
        or None for none
    """

    reads: type[wtypes.Base]
    do: Callable[[Request, Any], Mapping[str, Any] | None]
    actions: tuple[str, ...]


def _refuse(request: Request, body: Any) -> None:
    raise UnsupportedOperation(
        'This service does not offer permissions of queues: make an access key for each client instead.'
    )


_READ_QUEUE, _CHANGE_QUEUE = ('queues:get',), ('queues:update',)
_DELETE, _HIDE = ('messages:delete',), ('messages:touch', 'messages:release')

OPERATIONS: Mapping[str, Operation] = {
    # Attributes of a new queue need a further action, which is checked once the body is read.
    'CreateQueue': Operation(types.CreateQueue, queues.create_queue, ('queues:create',)),
    'GetQueueUrl': Operation(types.GetQueueUrl, queues.get_queue_url, _READ_QUEUE),
    'ListQueues': Operation(types.ListQueues, queues.list_queues, ('queues:get_all',)),
    'DeleteQueue': Operation(types.OfQueue, queues.delete_queue, ('queues:delete',)),
    # So do the numbers of messages.
    'GetQueueAttributes': Operation(
        types.GetQueueAttributes, queues.get_queue_attributes, _READ_QUEUE
    ),
    'SetQueueAttributes': Operation(
        types.SetQueueAttributes, queues.set_queue_attributes, _CHANGE_QUEUE
    ),
    'PurgeQueue': Operation(types.OfQueue, queues.purge_queue, ('queues:purge',)),
    'SendMessage': Operation(types.SendMessage, messages.send_message, ('messages:create',)),
    'SendMessageBatch': Operation(
        types.SendMessageBatch, messages.send_message_batch, ('messages:create',)
    ),
    'ReceiveMessage': Operation(types.ReceiveMessage, messages.receive_message, ('claims:create',)),
    'DeleteMessage': Operation(types.DeleteMessage, messages.delete_message, _DELETE),
    'DeleteMessageBatch': Operation(
        types.DeleteMessageBatch, messages.delete_message_batch, _DELETE
    ),
    'ChangeMessageVisibility': Operation(
        types.ChangeMessageVisibility, messages.change_message_visibility, _HIDE
    ),
    'ChangeMessageVisibilityBatch': Operation(
        types.ChangeMessageVisibilityBatch, messages.change_message_visibility_batch, _HIDE
    ),
    'TagQueue': Operation(types.TagQueue, queues.tag_queue, _CHANGE_QUEUE),
    'UntagQueue': Operation(types.UntagQueue, queues.untag_queue, _CHANGE_QUEUE),
    'ListQueueTags': Operation(types.OfQueue, queues.list_queue_tags, _READ_QUEUE),
    'ListDeadLetterSourceQueues': Operation(
        types.ListDeadLetterSourceQueues,
        queues.list_dead_letter_source_queues,
        ('queues:get_all',),
    ),
    'StartMessageMoveTask': Operation(
        types.StartMessageMoveTask, moves.start_message_move_task, ('redrives:create',)
    ),
    'ListMessageMoveTasks': Operation(
        types.ListMessageMoveTasks, moves.list_message_move_tasks, ('redrives:get',)
    ),
    'CancelMessageMoveTask': Operation(
        types.CancelMessageMoveTask, moves.cancel_message_move_task, ('redrives:delete',)
    ),
    'AddPermission': Operation(types.Nothing, _refuse, _CHANGE_QUEUE),
    'RemovePermission': Operation(types.Nothing, _refuse, _CHANGE_QUEUE),
}
