"""Batches: each entry succeeds or fails by itself, unless the batch as a whole is wrong."""

from typing import Any

import pytest

from tests.controllers.sqs.client import Sqs, json_of, refusal, refused

PREFIX = 'AWS.SimpleQueueService.'


@pytest.fixture
def url(sqs: Sqs) -> str:
    return sqs.queue()


def send(sqs: Sqs, url: str, *entries: Any) -> Any:
    return sqs.send_message_batch(QueueUrl=url, Entries=list(entries))


def entry(name: str, body: str = 'x', **members: Any) -> dict[str, Any]:
    return {'Id': name, 'MessageBody': body, **members}


def test_all_messages_of_a_batch_are_sent(sqs: Sqs, url: str) -> None:
    sent = send(sqs, url, entry('a', 'one'), entry('b', 'two'))

    assert [one['Id'] for one in sent['Successful']] == ['a', 'b']
    received = sqs.receive(url)
    assert [one['MessageId'] for one in received] == [
        one['MessageId'] for one in sent['Successful']
    ]
    assert [one['Body'] for one in received] == ['one', 'two']
    assert 'Failed' not in sent


def test_an_entry_that_is_wrong_fails_alone(sqs: Sqs, url: str) -> None:
    wrong = [
        entry('empty', ''),
        entry('characters', 'a\x00'),
        entry('delay', DelaySeconds=901),
        entry('attribute', MessageAttributes={'aws.x': {'DataType': 'String', 'StringValue': '1'}}),
    ]

    answer = send(sqs, url, entry('good', 'good'), *wrong)

    assert [one['Id'] for one in answer['Successful']] == ['good']
    assert {one['Id']: one['Code'] for one in answer['Failed']} == {
        'empty': 'MissingParameter',
        'characters': 'InvalidMessageContents',
        'delay': 'InvalidParameterValue',
        'attribute': 'InvalidParameterValue',
    }
    assert all(one['SenderFault'] is True and one['Message'] for one in answer['Failed'])
    assert [one['Body'] for one in sqs.receive(url)] == ['good']


def test_a_batch_of_which_all_entries_fail_has_no_successful_ones(sqs: Sqs, url: str) -> None:
    answer = json_of(
        sqs.call('SendMessageBatch', {'QueueUrl': url, 'Entries': [entry('a', '\x00')]})
    )

    assert answer.keys() == {'Failed'}


def test_an_entry_that_is_too_long_for_the_queue_fails_alone(sqs: Sqs) -> None:
    url = sqs.queue(MaximumMessageSize=1024)

    answer = send(sqs, url, entry('short', 'x' * 1024), entry('long', 'x' * 1025))

    assert [one['Id'] for one in answer['Successful']] == ['short']
    [failed] = answer['Failed']
    assert (failed['Id'], failed['Code'], failed['SenderFault']) == (
        'long',
        'InvalidParameterValue',
        True,
    )


def test_the_messages_of_a_batch_have_one_mebibyte_taken_together(sqs: Sqs, url: str) -> None:
    half = 'x' * 524288

    send(sqs, url, entry('a', half), entry('b', half))
    with refused(f'{PREFIX}BatchRequestTooLong'):
        send(sqs, url, entry('a', half), entry('b', half + 'x'))

    assert sum(len(one['Body']) for one in sqs.receive(url)) == 1048576


@pytest.mark.parametrize(
    ('entries', 'code'),
    [
        ([], 'EmptyBatchRequest'),
        ([entry(f'n{number}') for number in range(11)], 'TooManyEntriesInBatchRequest'),
        ([entry('a'), entry('')], 'InvalidBatchEntryId'),
        ([entry('a'), entry('b.c')], 'InvalidBatchEntryId'),
        ([entry('x' * 81)], 'InvalidBatchEntryId'),
        ([{'MessageBody': 'x'}], 'InvalidBatchEntryId'),
        ([entry('a'), entry('b'), entry('a')], 'BatchEntryIdsNotDistinct'),
    ],
)
@pytest.mark.parametrize(
    'operation', ['SendMessageBatch', 'DeleteMessageBatch', 'ChangeMessageVisibilityBatch']
)
def test_a_batch_that_is_wrong_as_a_whole_does_nothing(
    sqs: Sqs, url: str, operation: str, entries: list[Any], code: str
) -> None:
    response = sqs.call(operation, {'QueueUrl': url, 'Entries': entries})

    assert refusal(response) == (400, code, f'{PREFIX}{code}')
    assert sqs.receive(url) == []


def test_ten_messages_are_deleted_at_once(sqs: Sqs, url: str) -> None:
    send(sqs, url, *(entry(f'n{number}') for number in range(10)))
    received = sqs.receive(url, VisibilityTimeout=0) and sqs.receive(url)

    answer = sqs.delete_message_batch(
        QueueUrl=url,
        Entries=[
            {'Id': f'n{number}', 'ReceiptHandle': one['ReceiptHandle']}
            for number, one in enumerate(received)
        ],
    )

    assert len(answer['Successful']) == 10
    assert sqs.attributes(url)['ApproximateNumberOfMessagesNotVisible'] == '0'


def test_messages_of_several_receives_are_deleted_at_once(sqs: Sqs, url: str) -> None:
    send(sqs, url, *(entry(f'n{number}') for number in range(3)))
    handles = [sqs.receive_one(url)['ReceiptHandle'] for _ in range(3)]

    sqs.delete_message_batch(
        QueueUrl=url,
        Entries=[
            {'Id': str(number), 'ReceiptHandle': handle} for number, handle in enumerate(handles)
        ],
    )

    assert sqs.attributes(url)['ApproximateNumberOfMessagesNotVisible'] == '0'


def test_a_receipt_that_was_made_up_fails_alone(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    handle = sqs.receive_one(url)['ReceiptHandle']
    entries: list[Any] = [
        {'Id': 'good', 'ReceiptHandle': handle},
        {'Id': 'bad', 'ReceiptHandle': 'x'},
    ]

    answer = sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    assert answer['Successful'] == [{'Id': 'good'}]
    [failed] = answer['Failed']
    assert (failed['Id'], failed['Code'], failed['SenderFault']) == (
        'bad',
        'ReceiptHandleIsInvalid',
        True,
    )


def test_visibilities_are_changed_each_by_itself(sqs: Sqs, url: str) -> None:
    send(sqs, url, *(entry(name, name) for name in 'abcde'))
    handles = {one['Body']: one['ReceiptHandle'] for one in sqs.receive(url)}
    sqs.delete(url, handles['d'])
    seconds = {'a': 0, 'b': 100, 'c': 43201, 'd': 10}

    answer = json_of(
        sqs.call(
            'ChangeMessageVisibilityBatch',
            {
                'QueueUrl': url,
                'Entries': [
                    *(
                        {
                            'Id': name,
                            'ReceiptHandle': handles[name],
                            'VisibilityTimeout': seconds[name],
                        }
                        for name in 'abcd'
                    ),
                    {'Id': 'e', 'ReceiptHandle': handles['e']},
                ],
            },
        )
    )

    assert answer['Successful'] == [{'Id': 'a'}, {'Id': 'b'}]
    assert {one['Id']: one['Code'] for one in answer['Failed']} == {
        'c': 'InvalidParameterValue',
        'd': 'InvalidParameterValue',
        'e': 'MissingParameter',
    }
    assert [one['Body'] for one in sqs.receive(url)] == ['a']


def test_an_entry_of_a_fifo_queue_has_no_delay_of_its_own(sqs: Sqs) -> None:
    url = sqs.queue('jobs.fifo', FifoQueue='true', ContentBasedDeduplication='true')
    entries = [entry(str(delay), MessageGroupId='a', DelaySeconds=delay) for delay in (0, 1)]

    answer = send(sqs, url, *entries)

    assert [one['Id'] for one in answer['Successful']] == ['0']
    assert [(one['Id'], one['Code']) for one in answer['Failed']] == [
        ('1', 'InvalidParameterValue')
    ]


def test_a_group_that_lacks_counts_before_what_else_is_wrong_with_an_entry(sqs: Sqs) -> None:
    url = sqs.queue('jobs.fifo', FifoQueue='true', ContentBasedDeduplication='true')

    with refused('InvalidParameterValue'):
        send(sqs, url, entry('good', MessageGroupId='a'), entry('bad', 'a\x00'))

    assert sqs.receive(url) == []


def test_receipts_that_are_out_of_date_fail_in_a_fifo_queue_alone(sqs: Sqs, age: Any) -> None:
    urls = {'standard': sqs.queue(), 'fifo': sqs.queue('jobs.fifo', FifoQueue='true')}
    sqs.send(urls['standard'])
    sqs.send(urls['fifo'], MessageGroupId='a', MessageDeduplicationId='a')
    entries = {
        kind: [{'Id': 'a', 'ReceiptHandle': sqs.receive_one(url)['ReceiptHandle']}]
        for kind, url in urls.items()
    }
    age(31)

    answers = {
        kind: sqs.delete_message_batch(QueueUrl=url, Entries=entries[kind])
        for kind, url in urls.items()
    }

    assert answers['standard']['Successful'] == [{'Id': 'a'}]
    assert answers['fifo']['Failed'][0]['Code'] == 'InvalidParameterValue'
