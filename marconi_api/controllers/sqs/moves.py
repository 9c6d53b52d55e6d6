"""The operations on moves of messages: dead letters go back, as redrives of the model."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from marconi_api import model
from marconi_api.controllers.sqs import queue_attributes as attributes
from marconi_api.controllers.sqs.addresses import arn_of, queue_in_arn
from marconi_api.controllers.sqs.failures import (
    InvalidParameterValue,
    MissingParameter,
    ResourceNotFound,
)
from marconi_api.errors import RedriveNotFound, RedriveUnderWay
from marconi_api.model import Actor, Order, QueueKey, Redrive
from marconi_api.model.audit import API
from marconi_api.wire.requests import Request

Result = Mapping[str, Any] | None

_MOST_RATE = 500
_MOST_LISTED = 10
_NO_QUEUE = 'AWS.SimpleQueueService.NonExistentQueue'
# Seconds for which messages are counted at the start, and for which the request carries the move out.
_COUNTS_FOR = 0.5
_AT_ONCE = 0.1


def start_message_move_task(request: Request, body: Any) -> Result:
    """Move dead letters to another queue, or back to where they came from."""
    source = queue_in_arn(request, 'SourceArn', body.SourceArn)
    target = None
    if body.DestinationArn:
        target = queue_in_arn(request, 'DestinationArn', body.DestinationArn)
    _check_exists(source, 'SourceArn')
    rate = body.MaxNumberOfMessagesPerSecond
    if rate is not None and not 1 <= rate <= _MOST_RATE:
        raise InvalidParameterValue(
            f'Value {rate} for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: it must be '
            f'between 1 and {_MOST_RATE}.'
        )
    if target is not None:
        _check_exists(target, 'DestinationArn')
    if not model.store.queues.sources_of_dead_letters(source, '', 1):
        raise InvalidParameterValue('Source queue must be configured as a Dead Letter Queue.')
    if target is not None and _is_fifo(source) != _is_fifo(target):
        raise InvalidParameterValue('Source and destination must be queues of the same type.')
    redrives = model.store.redrives
    order = Order(to=target and target.name, rate=rate, origins=request.identity.queues)
    try:
        started = redrives.start(source, order, seconds=_COUNTS_FOR, by=_actor(request))
    except RedriveUnderWay:
        raise InvalidParameterValue(
            'There is already a task running. Only one active task is allowed for a source queue arn '
            'at a given time.'
        ) from None
    redrives.carry_out(source, started.id, _AT_ONCE)
    return {'TaskHandle': _handle(source, started)}


def list_message_move_tasks(request: Request, body: Any) -> Result:
    """The last moves from a queue, the newest first."""
    source = queue_in_arn(request, 'SourceArn', body.SourceArn)
    _check_exists(source, 'SourceArn')
    most = 1 if body.MaxResults is None else body.MaxResults
    if not 1 <= most <= _MOST_LISTED:
        raise InvalidParameterValue(
            f'Value {most} for parameter MaxResults is invalid. Reason: it must be between 1 and '
            f'{_MOST_LISTED}.'
        )
    found = model.store.redrives.page(source)[:most]
    return {'Results': [_document(request, source, one) for one in found] or None}


def cancel_message_move_task(request: Request, body: Any) -> Result:
    """Let a move end; what was moved stays so."""
    source, task = _opened(request, body.TaskHandle)
    _check_exists(source, 'TaskHandle')
    redrives = model.store.redrives
    missing = ResourceNotFound('Task does not exist.')
    try:
        if not redrives.get(source, task).is_running:
            raise InvalidParameterValue('Only active tasks can be cancelled.')
        return {
            'ApproximateNumberOfMessagesMoved': redrives.cancel(
                source, task, by=_actor(request)
            ).moved
        }
    except RedriveNotFound:
        raise missing from None


def _document(request: Request, source: QueueKey, redrive: Redrive) -> dict[str, Any]:
    failure = redrive.failure and (
        _NO_QUEUE if 'does not exist' in redrive.failure else redrive.failure
    )
    told = {
        'TaskHandle': _handle(source, redrive) if redrive.is_running else None,
        'Status': redrive.status.upper(),
        'SourceArn': arn_of(request, source.name),
        'DestinationArn': arn_of(request, redrive.to) if redrive.to else None,
        'MaxNumberOfMessagesPerSecond': redrive.rate,
        'ApproximateNumberOfMessagesMoved': redrive.moved,
        'ApproximateNumberOfMessagesToMove': redrive.total,
        'FailureReason': failure,
        'StartedTimestamp': int(redrive.started_at.timestamp() * 1000),
    }
    return {name: value for name, value in told.items() if value is not None}


def _check_exists(queue: QueueKey, member: str) -> None:
    if not model.store.queues.exists(queue):
        raise ResourceNotFound(f'The resource that you specified for the {member} does not exist.')


def _is_fifo(queue: QueueKey) -> bool:
    return attributes.is_fifo(attributes.parsed(model.store.queues.metadata(queue)))


def _handle(source: QueueKey, redrive: Redrive) -> str:
    return urlsafe_b64encode(f'{source.name}/{redrive.id}'.encode()).decode()


def _opened(request: Request, handle: str | None) -> tuple[QueueKey, str]:
    """The queue and the redrive of a handle.

    :raises InvalidParameterValue: if it is not a handle
    """
    if not handle:
        raise MissingParameter('TaskHandle')
    try:
        name, _, task = urlsafe_b64decode(handle.encode()).decode().partition('/')
    except ValueError:
        name = task = ''
    if not (name and task):
        raise InvalidParameterValue('Value for parameter TaskHandle is invalid.')
    return queue_in_arn(request, 'TaskHandle', arn_of(request, name)), task


def _actor(request: Request) -> Actor:
    return Actor(f'token {request.identity.token}', API)
