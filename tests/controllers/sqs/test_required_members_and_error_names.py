"""The names of errors, and the members that a request must have: as the models of SQS's SDKs have them."""

import json
from typing import Any

import pytest

from tests.controllers.sqs.client import Sqs, json_of, refusal

PREFIX = 'AWS.SimpleQueueService.'


def batch(*names: str) -> list[dict[str, str]]:
    return [{'Id': name, 'MessageBody': 'x'} for name in names]


#: An operation, its members, the shape and the code of its error; all of status 400.
ERRORS: list[tuple[str, dict[str, Any], str, str]] = [
    ('GetQueueUrl', {'QueueName': 'none'}, 'QueueDoesNotExist', f'{PREFIX}NonExistentQueue'),
    (
        'CreateQueue',
        {'QueueName': 'jobs', 'Attributes': {'DelaySeconds': '7'}},
        'QueueNameExists',
        'QueueAlreadyExists',
    ),
    (
        'SetQueueAttributes',
        {'Attributes': {'Unknown': '1'}},
        'InvalidAttributeName',
        'InvalidAttributeName',
    ),
    (
        'SetQueueAttributes',
        {'Attributes': {'DelaySeconds': '901'}},
        'InvalidAttributeValue',
        'InvalidAttributeValue',
    ),
    (
        'SendMessage',
        {'MessageBody': 'x', 'DelaySeconds': 901},
        'InvalidParameterValueException',
        'InvalidParameterValue',
    ),
    ('SendMessage', {}, 'MissingRequiredParameterException', 'MissingParameter'),
    ('SendMessage', {'MessageBody': '\0'}, 'InvalidMessageContents', 'InvalidMessageContents'),
    ('DeleteMessage', {'ReceiptHandle': 'x'}, 'ReceiptHandleIsInvalid', 'ReceiptHandleIsInvalid'),
    ('SendMessageBatch', {'Entries': []}, 'EmptyBatchRequest', f'{PREFIX}EmptyBatchRequest'),
    (
        'SendMessageBatch',
        {'Entries': batch('a', 'a')},
        'BatchEntryIdsNotDistinct',
        f'{PREFIX}BatchEntryIdsNotDistinct',
    ),
    (
        'SendMessageBatch',
        {'Entries': batch('')},
        'InvalidBatchEntryId',
        f'{PREFIX}InvalidBatchEntryId',
    ),
    (
        'SendMessageBatch',
        {'Entries': batch(*map(str, range(11)))},
        'TooManyEntriesInBatchRequest',
        f'{PREFIX}TooManyEntriesInBatchRequest',
    ),
    (
        'SendMessageBatch',
        {'Entries': [{'Id': 'a', 'MessageBody': 'x' * 1048577}]},
        'BatchRequestTooLong',
        f'{PREFIX}BatchRequestTooLong',
    ),
    (
        'CreateQueue',
        {'QueueName': 'other', 'Attributes': {'KmsMasterKeyId': 'alias/x'}},
        'UnsupportedOperation',
        f'{PREFIX}UnsupportedOperation',
    ),
    ('Unknown', {}, 'UnknownOperationException', 'InvalidAction'),
    ('SendMessage', {'MessageBody': []}, 'SerializationException', 'MalformedInput'),
]


@pytest.mark.parametrize(('operation', 'members', 'shape', 'code'), ERRORS)
def test_an_error_has_both_of_its_names(
    sqs: Sqs, operation: str, members: dict[str, Any], shape: str, code: str
) -> None:
    url = sqs.queue('jobs')

    response = sqs.call(operation, {'QueueUrl': url, **members})

    assert refusal(response) == (400, shape, code)


OPERATIONS = [
    *('CreateQueue', 'GetQueueUrl', 'DeleteQueue', 'GetQueueAttributes', 'SetQueueAttributes'),
    *('PurgeQueue', 'SendMessage', 'SendMessageBatch', 'ReceiveMessage', 'DeleteMessage'),
    *('DeleteMessageBatch', 'ChangeMessageVisibility', 'ChangeMessageVisibilityBatch', 'TagQueue'),
    *('UntagQueue', 'ListQueueTags', 'ListDeadLetterSourceQueues', 'StartMessageMoveTask'),
    *('ListMessageMoveTasks', 'CancelMessageMoveTask'),
]


def whole(sqs: Sqs) -> dict[str, Any]:
    """The members that operations need, by their names."""
    dead = sqs.queue('dead')
    policy = json.dumps({'deadLetterTargetArn': sqs.arn(dead), 'maxReceiveCount': 1})
    url = sqs.queue('jobs', RedrivePolicy=policy)
    for body in ('x', 'y'):
        sqs.send(url, body)
    for _ in range(2):
        sqs.receive(url, VisibilityTimeout=0)
    task = sqs.start_message_move_task(SourceArn=sqs.arn(dead), MaxNumberOfMessagesPerSecond=1)
    handle = sqs.receive_one(url)['ReceiptHandle']
    return {
        'QueueName': 'jobs',
        'QueueUrl': url,
        'Attributes': {'DelaySeconds': '0'},
        'MessageBody': 'x',
        'ReceiptHandle': handle,
        'VisibilityTimeout': 5,
        'Entries': [
            {'Id': 'a', 'MessageBody': 'x', 'ReceiptHandle': handle, 'VisibilityTimeout': 5}
        ],
        'Tags': {'a': 'b'},
        'TagKeys': ['a'],
        'SourceArn': sqs.arn(dead),
        'TaskHandle': task['TaskHandle'],
    }


@pytest.mark.parametrize('operation', OPERATIONS)
def test_members_that_boto3_requires_are_required(sqs: Sqs, operation: str) -> None:
    shape = sqs.client.meta.service_model.operation_model(operation).input_shape
    given = whole(sqs)
    members = {name: given[name] for name in shape.required_members}

    for name in members:
        response = sqs.call(operation, {one: members[one] for one in members if one != name})
        code = f'{PREFIX}EmptyBatchRequest' if name == 'Entries' else 'MissingParameter'
        assert refusal(response)[2] == code
    if operation == 'StartMessageMoveTask':
        sqs.cancel_message_move_task(TaskHandle=given['TaskHandle'])
    assert sqs.call(operation, members).status_int == 200


@pytest.mark.parametrize('operation', [one for one in OPERATIONS if one.endswith('Batch')])
def test_members_of_entries_that_boto3_requires_are_required(sqs: Sqs, operation: str) -> None:
    shape = sqs.client.meta.service_model.operation_model(operation).input_shape
    given = whole(sqs)
    [whole_entry] = given['Entries']
    for name in shape.members['Entries'].member.required_members:
        entry = {one: value for one, value in whole_entry.items() if one != name}
        response = sqs.call(operation, {'QueueUrl': given['QueueUrl'], 'Entries': [entry]})
        if name == 'Id':
            assert refusal(response)[2] == f'{PREFIX}InvalidBatchEntryId'
        else:
            [failed] = json_of(response)['Failed']
            assert (failed['Code'], failed['SenderFault']) == ('MissingParameter', True)
