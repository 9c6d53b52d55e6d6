"""For each operation of SQS, the most expensive requests that one tenant may send.

Placeholders, also in bodies, are those of costly.py, and ``{account}`` for the tenant's account, and
``{handle0}`` to ``{handle9}`` for the receipts of ten messages of the queue ``large``.
"""

import json
from typing import Any
from urllib.parse import urlencode

from marconi_api.controllers.sqs.aws_json import CONTENT_TYPE, LONGEST_BODY, TARGET
from tests.standstill.costly import Costly, Reading, Table
from tests.standstill.world import CHAIN, GATHERED

_MOST = 1024 * 1024  # bytes of the messages of a request
_FORM = 'application/x-www-form-urlencoded'
_GROUPS = 'grouped.fifo'

#: Ten attributes, as long as ten can be together.
_ATTRIBUTES = {
    f'{number:0256}': {'DataType': 'Binary.' + 'x' * 249, 'BinaryValue': 'A' * 4096}
    for number in range(10)
}
_OF_ATTRIBUTES = 10 * (512 + 3072)

#: As many names as fit into a body, all different.
_NAMES = [f'{number}.*' for number in range(LONGEST_BODY // 14)]


def _asking(
    operation: str, *, refilled: str = '', reading: Reading = 'whole', **members: Any
) -> Costly:
    return Costly(
        '/',
        json.dumps(members),
        CONTENT_TYPE,
        {'X-Amz-Target': f'{TARGET}{operation}'},
        refilled,
        reading,
    )


def _arn(queue: str) -> str:
    return f'arn:aws:sqs:us-east-1:{{account}}:{queue}'


def _policy(queue: str) -> str:
    return json.dumps({'deadLetterTargetArn': _arn(queue), 'maxReceiveCount': 5})


def _entries(count: int, **members: Any) -> list[dict[str, Any]]:
    return [{'Id': f'{number:080}', **members} for number in range(count)]


def _held(**members: Any) -> list[dict[str, Any]]:
    return [
        {**entry, 'ReceiptHandle': f'{{handle{number}}}', **members}
        for number, entry in enumerate(_entries(10))
    ]


# A letter that a client writes as an escape of six bytes.
_LETTERS = 'ü' * (_MOST // 2)
_TENTH = 'x' * (_MOST // 10 - _OF_ATTRIBUTES)
_GROUPED = [
    {**entry, 'MessageGroupId': f'g-{number}', 'MessageDeduplicationId': f'{{new}}-{number}'}
    for number, entry in enumerate(_entries(10, MessageBody='x'))
]


def _receives() -> list[Costly]:
    most: dict[str, Any] = {
        'MaxNumberOfMessages': 10,
        'VisibilityTimeout': 0,
        'AttributeNames': ['All'],
    }
    return [
        _asking('ReceiveMessage', QueueUrl='{full}', refilled='large', **most),
        _asking('ReceiveMessage', QueueUrl='{full}', refilled='large', reading='never', **most),
        _asking('ReceiveMessage', QueueUrl='attributed', MessageAttributeNames=_NAMES, **most),
        _asking('ReceiveMessage', QueueUrl='lapsed', **most),
        _asking('ReceiveMessage', QueueUrl='lapsed', WaitTimeSeconds='{wait}', **most),
        _asking('ReceiveMessage', QueueUrl='dead', **most),
        _asking('ReceiveMessage', QueueUrl=_GROUPS, ReceiveRequestAttemptId='{new}', **most),
        _asking('ReceiveMessage', QueueUrl=_GROUPS, ReceiveRequestAttemptId='one', **most),
        _asking('ReceiveMessage', QueueUrl='one-group.fifo', **most),
        _asking('ReceiveMessage', QueueUrl='expired.fifo', **most),
        _asking('ReceiveMessage', QueueUrl='expired.fifo', WaitTimeSeconds='{wait}', **most),
    ]


#: Those of each operation, by AwsJson.
SQS: Table = {
    ('POST', f'{TARGET}{operation}'): requests
    for operation, requests in {
        'CreateQueue': [
            _asking(
                'CreateQueue',
                QueueName='{new}',
                Attributes={'RedrivePolicy': _policy(CHAIN[1])},
                tags={f'{number:0128}': 'ü' * 256 for number in range(50)},
            )
        ],
        'GetQueueUrl': [_asking('GetQueueUrl', QueueName='fresh')],
        'ListQueues': [
            _asking('ListQueues', MaxResults=1000),
            _asking('ListQueues', QueueNamePrefix='small-00000z'),
        ],
        'DeleteQueue': [_asking('DeleteQueue', QueueUrl='{full}', refilled='fresh')],
        'GetQueueAttributes': [
            *(
                _asking('GetQueueAttributes', QueueUrl=queue, AttributeNames=['All'])
                for queue in ('fresh', 'lapsed', _GROUPS)
            ),
            _asking(
                'GetQueueAttributes',
                QueueUrl='fresh',
                AttributeNames=['QueueArn'] * (LONGEST_BODY // 14),
            ),
        ],
        'SetQueueAttributes': [
            _asking(
                'SetQueueAttributes',
                QueueUrl=GATHERED,
                Attributes={'MessageRetentionPeriod': '345600'},
            ),
            _asking(
                'SetQueueAttributes',
                QueueUrl='small-000000',
                Attributes={'RedrivePolicy': _policy(CHAIN[1])},
            ),
        ],
        'PurgeQueue': [_asking('PurgeQueue', QueueUrl='{full}', refilled='fresh')],
        'SendMessage': [
            _asking('SendMessage', QueueUrl='small-000000', MessageBody=_LETTERS),
            _asking(
                'SendMessage', QueueUrl='small-000000', MessageBody='x' * _MOST, reading='late'
            ),
            _asking(
                'SendMessage',
                QueueUrl='small-000000',
                MessageBody='x',
                MessageAttributes=_ATTRIBUTES,
            ),
        ],
        'SendMessageBatch': [
            _asking(
                'SendMessageBatch',
                QueueUrl='small-000000',
                Entries=_entries(10, MessageBody=_TENTH, MessageAttributes=_ATTRIBUTES),
            ),
            _asking('SendMessageBatch', QueueUrl=_GROUPS, Entries=_GROUPED),
        ],
        'ReceiveMessage': _receives(),
        'DeleteMessage': [
            _asking('DeleteMessage', QueueUrl='large', ReceiptHandle='{handle0}'),
        ],
        'DeleteMessageBatch': [_asking('DeleteMessageBatch', QueueUrl='large', Entries=_held())],
        'ChangeMessageVisibility': [
            _asking(
                'ChangeMessageVisibility',
                QueueUrl='large',
                ReceiptHandle='{handle0}',
                VisibilityTimeout=43000,
            )
        ],
        'ChangeMessageVisibilityBatch': [
            _asking(
                'ChangeMessageVisibilityBatch',
                QueueUrl='large',
                Entries=_held(VisibilityTimeout=0),
            )
        ],
        'TagQueue': [
            _asking(
                'TagQueue',
                QueueUrl='small-000000',
                Tags={f'{number:0128}': 'ü' * 256 for number in range(50)},
            )
        ],
        'UntagQueue': [_asking('UntagQueue', QueueUrl='small-000000', TagKeys=_NAMES)],
        'ListQueueTags': [_asking('ListQueueTags', QueueUrl='small-000000')],
        'ListDeadLetterSourceQueues': [
            _asking('ListDeadLetterSourceQueues', QueueUrl=GATHERED),
            _asking('ListDeadLetterSourceQueues', QueueUrl='fresh'),
        ],
        # Not to the queue of the redrives: the world's messages have the same ids in each queue.
        'StartMessageMoveTask': [
            _asking(
                'StartMessageMoveTask',
                SourceArn=_arn(GATHERED),
                DestinationArn=_arn('small-000001'),
            )
        ],
        'ListMessageMoveTasks': [
            _asking('ListMessageMoveTasks', SourceArn=_arn(GATHERED), MaxResults=10)
        ],
        'CancelMessageMoveTask': [_asking('CancelMessageMoveTask', TaskHandle='{task}')],
    }.items()
}


def _form(action: str, **members: Any) -> Costly:
    return Costly('/', urlencode({'Action': action, **members}), _FORM)


def _as_members(name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        f'{name}.{number}.{member}': value
        for number, entry in enumerate(entries, 1)
        for member, value in entry.items()
    }


#: Some by the query protocol.
SQS_BY_FORMS: Table = {
    ('POST', 'SendMessage'): [
        _form('SendMessage', QueueUrl='small-000000', MessageBody=_LETTERS),
    ],
    ('POST', 'SendMessageBatch'): [
        _form(
            'SendMessageBatch',
            QueueUrl='small-000000',
            **_as_members('SendMessageBatchRequestEntry', _entries(10, MessageBody='ü' * 52_000)),
        )
    ],
    ('POST', 'ListQueues'): [
        _form('ListQueues', **{f'{number}.a.b.c.d.e.f.g': 'x' * 500 for number in range(1990)})
    ],
    ('POST', 'ReceiveMessage'): [
        Costly(
            '/',
            urlencode(
                {
                    'Action': 'ReceiveMessage',
                    'QueueUrl': '{full}',
                    'MaxNumberOfMessages': '10',
                    'VisibilityTimeout': '0',
                },
                safe='{}',
            ),
            _FORM,
            refilled='large',
        )
    ],
}
