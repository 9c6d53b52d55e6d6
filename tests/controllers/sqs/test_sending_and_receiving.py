"""Messages are sent, received, hidden and deleted by clients of SQS."""

import hashlib
from typing import Any

import pytest

from tests.controllers.sqs.client import Sqs, json_of, refusal, refused


@pytest.fixture
def url(sqs: Sqs) -> str:
    return sqs.queue()


def test_a_message_that_was_sent_is_received_and_deleted(sqs: Sqs, url: str) -> None:
    sent = sqs.send(url, 'grüße 🐇 漢字')

    message = sqs.receive_one(url)

    assert message['Body'] == 'grüße 🐇 漢字'
    assert message['MessageId'] == sent['MessageId']
    assert message['MD5OfBody'] == sent['MD5OfMessageBody'] == '9dd20f0eb401797f7dcedf497983f16a'
    sqs.delete(url, message['ReceiptHandle'])
    assert counts(sqs, url) == (0, 0, 0)


def test_a_receive_of_nothing_has_no_member_for_messages(sqs: Sqs, url: str) -> None:
    assert json_of(sqs.call('ReceiveMessage', {'QueueUrl': url})) == {}


def test_a_received_message_is_hidden_from_others(sqs: Sqs, url: str) -> None:
    sqs.send(url)

    sqs.receive_one(url)

    assert sqs.receive(url) == []
    assert counts(sqs, url) == (0, 1, 0)


def test_a_message_is_back_once_its_visibility_timeout_is_over(
    sqs: Sqs, url: str, age: Any
) -> None:
    sqs.send(url)
    first = sqs.receive_one(url, VisibilityTimeout=10)

    age(11)

    again = sqs.receive_one(url)
    assert again['MessageId'] == first['MessageId']
    assert again['ReceiptHandle'] != first['ReceiptHandle']
    assert again['Attributes']['ApproximateReceiveCount'] == '2'


def test_a_queue_says_for_how_long_its_messages_are_hidden(sqs: Sqs, age: Any) -> None:
    url = sqs.queue(VisibilityTimeout=100)
    sqs.send(url)
    sqs.receive_one(url)

    age(99)
    assert sqs.receive(url) == []

    age(2)
    assert len(sqs.receive(url)) == 1


def test_a_receive_with_no_timeout_leaves_the_message_visible(sqs: Sqs, url: str) -> None:
    sqs.send(url)

    receives = [sqs.receive_one(url, VisibilityTimeout=0) for _ in range(3)]

    seen = [message['Attributes']['ApproximateReceiveCount'] for message in receives]
    assert seen == ['1', '2', '3']
    sqs.delete(url, receives[-1]['ReceiptHandle'])
    assert counts(sqs, url) == (0, 0, 0)


def test_a_message_of_the_queue_is_delayed(sqs: Sqs, age: Any) -> None:
    url = sqs.queue(DelaySeconds=60)
    sqs.send(url)

    assert sqs.receive(url) == []
    assert counts(sqs, url) == (0, 0, 1)
    age(61)
    assert len(sqs.receive(url)) == 1


def test_a_message_has_a_delay_of_its_own_none_included(sqs: Sqs) -> None:
    url = sqs.queue(DelaySeconds=60)

    sqs.send(url, 'at once', DelaySeconds=0)
    sqs.send(url, 'later', DelaySeconds=900)

    assert [message['Body'] for message in sqs.receive(url)] == ['at once']


def test_visibility_0_gives_a_message_back_at_once(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    first = sqs.receive_one(url)

    sqs.hide(url, first['ReceiptHandle'], 0)

    assert len(sqs.receive(url)) == 1


def test_a_longer_visibility_counts_from_now(sqs: Sqs, url: str, age: Any) -> None:
    sqs.send(url)
    message = sqs.receive_one(url, VisibilityTimeout=30)
    age(20)

    sqs.hide(url, message['ReceiptHandle'], 30)

    age(20)
    assert sqs.receive(url) == []
    age(11)
    assert len(sqs.receive(url)) == 1


def test_the_next_receive_hides_a_message_for_as_long_as_the_queue_says(
    sqs: Sqs, url: str, age: Any
) -> None:
    sqs.send(url)
    sqs.hide(url, sqs.receive_one(url)['ReceiptHandle'], 3600)
    age(3601)
    sqs.receive_one(url)

    age(31)

    assert len(sqs.receive(url)) == 1


def test_a_message_that_was_given_back_has_its_old_place(sqs: Sqs, url: str) -> None:
    for number in range(3):
        sqs.send(url, str(number))
    first = sqs.receive_one(url)

    sqs.hide(url, first['ReceiptHandle'], 0)

    assert [message['Body'] for message in sqs.receive(url)] == ['0', '1', '2']


def test_a_receipt_is_short_and_of_one_line(sqs: Sqs) -> None:
    url = sqs.queue('x' * 80)
    sqs.send(url)

    handle = sqs.receive_one(url)['ReceiptHandle']

    assert handle.isascii()
    assert handle.isprintable()
    assert len(handle) < 1024


def test_a_message_is_hidden_for_12_hours_at_most(sqs: Sqs, url: str, age: Any) -> None:
    sqs.send(url)
    message = sqs.receive_one(url, VisibilityTimeout=43200)
    age(100)

    with refused('InvalidParameterValue') as error:
        sqs.hide(url, message['ReceiptHandle'], 43101)

    assert 'beyond the limit' in str(error.value)
    sqs.hide(url, message['ReceiptHandle'], 43099)


def test_a_change_of_visibility_after_the_deadline_has_no_effect(
    sqs: Sqs, url: str, age: Any
) -> None:
    sqs.send(url)
    message = sqs.receive_one(url, VisibilityTimeout=10)
    age(11)

    sqs.hide(url, message['ReceiptHandle'], 100)

    assert len(sqs.receive(url)) == 1


def test_the_visibility_of_a_message_that_was_deleted_cannot_be_changed(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    message = sqs.receive_one(url)
    sqs.delete(url, message['ReceiptHandle'])

    with refused('InvalidParameterValue'):
        sqs.hide(url, message['ReceiptHandle'], 10)


def test_a_message_is_deleted_after_its_deadline_if_nobody_took_it(
    sqs: Sqs, url: str, age: Any
) -> None:
    sqs.send(url)
    message = sqs.receive_one(url, VisibilityTimeout=10)
    age(11)

    sqs.delete(url, message['ReceiptHandle'])

    assert sqs.receive(url) == []


def test_a_message_is_deleted_by_its_receipt_after_it_was_given_back(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    message = sqs.receive_one(url)
    sqs.hide(url, message['ReceiptHandle'], 0)

    sqs.delete(url, message['ReceiptHandle'])

    assert sqs.receive(url) == []


def test_an_outdated_receipt_deletes_nothing_and_is_not_an_error(
    sqs: Sqs, url: str, age: Any
) -> None:
    sqs.send(url)
    outdated = sqs.receive_one(url, VisibilityTimeout=10)
    age(11)
    current = sqs.receive_one(url, VisibilityTimeout=10)

    sqs.delete(url, outdated['ReceiptHandle'])

    assert counts(sqs, url) == (0, 1, 0)
    sqs.delete(url, current['ReceiptHandle'])
    assert counts(sqs, url) == (0, 0, 0)


def test_a_second_delete_is_not_an_error(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    handle = sqs.receive_one(url)['ReceiptHandle']

    sqs.delete(url, handle)
    sqs.delete(url, handle)


def test_a_receipt_that_was_made_up_is_refused(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    handle = sqs.receive_one(url)['ReceiptHandle']
    forged = handle[:-6] + ('AAAA==' if not handle.endswith('AAAA==') else 'BBBB==')

    for made_up in ('x', 'ü', 'AAAA', forged, handle + 'AAAA'):
        with refused('ReceiptHandleIsInvalid'):
            sqs.delete(url, made_up)
        with refused('ReceiptHandleIsInvalid'):
            sqs.hide(url, made_up, 10)
    assert counts(sqs, url) == (0, 1, 0)


def test_a_receipt_of_another_queue_is_refused(sqs: Sqs, url: str) -> None:
    other = sqs.queue('other')
    sqs.send(url)
    handle = sqs.receive_one(url)['ReceiptHandle']

    with refused('ReceiptHandleIsInvalid'):
        sqs.delete(other, handle)


def test_a_receive_gets_as_many_as_it_asks_for(sqs: Sqs, url: str) -> None:
    for number in range(5):
        sqs.send(url, f'message {number}')

    assert len(sqs.client.receive_message(QueueUrl=url)['Messages']) == 1
    assert len(sqs.receive(url, 3)) == 3
    assert len(sqs.receive(url, 10)) == 1


def test_messages_come_in_the_order_in_which_they_were_sent(sqs: Sqs, url: str) -> None:
    for number in range(5):
        sqs.send(url, str(number))

    assert [message['Body'] for message in sqs.receive(url)] == ['0', '1', '2', '3', '4']


def test_a_message_expires_though_it_is_in_flight(sqs: Sqs, age: Any) -> None:
    url = sqs.queue(MessageRetentionPeriod=60)
    sqs.send(url)
    handle = sqs.receive_one(url, VisibilityTimeout=600)['ReceiptHandle']

    sqs.hide(url, handle, 1200)
    age(61)

    assert counts(sqs, url) == (0, 0, 0)
    sqs.delete(url, handle)


@pytest.mark.parametrize(
    ('members', 'member'),
    [
        ({'MaxNumberOfMessages': 0}, 'MaxNumberOfMessages'),
        ({'MaxNumberOfMessages': 11}, 'MaxNumberOfMessages'),
        ({'VisibilityTimeout': -1}, 'VisibilityTimeout'),
        ({'VisibilityTimeout': 43201}, 'VisibilityTimeout'),
        ({'WaitTimeSeconds': -1}, 'WaitTimeSeconds'),
        ({'WaitTimeSeconds': 21}, 'WaitTimeSeconds'),
    ],
)
def test_a_receive_that_asks_for_too_much_is_refused(
    sqs: Sqs, url: str, members: dict[str, int], member: str
) -> None:
    with refused('InvalidParameterValue') as error:
        sqs.client.receive_message(QueueUrl=url, **members)

    assert member in str(error.value)


@pytest.mark.parametrize('delay', [-1, 901])
def test_a_delay_has_a_range(sqs: Sqs, url: str, delay: int) -> None:
    with refused('InvalidParameterValue'):
        sqs.send(url, DelaySeconds=delay)


@pytest.mark.parametrize('seconds', [-1, 43201])
def test_a_new_visibility_has_a_range(sqs: Sqs, url: str, seconds: int) -> None:
    sqs.send(url)
    handle = sqs.receive_one(url)['ReceiptHandle']

    with refused('InvalidParameterValue'):
        sqs.hide(url, handle, seconds)


def test_a_message_without_a_body_is_refused(sqs: Sqs, url: str) -> None:
    with refused('MissingParameter'):
        sqs.send(url, '')


@pytest.mark.parametrize('character', ['\x00', '\x08', '\x0b', '\x1f', '\ufffe', '\uffff'])
def test_characters_that_xml_cannot_have_are_refused(sqs: Sqs, url: str, character: str) -> None:
    with refused('InvalidMessageContents') as error:
        sqs.send(url, f'a{character}b')

    assert type(error.value) is sqs.client.exceptions.InvalidMessageContents


@pytest.mark.parametrize('body', ['a\tb\r\nc', '\x7f', ' ', '\ud7ff\ue000\ufffd', '\U0010ffff'])
def test_all_other_characters_come_back_as_they_were_sent(sqs: Sqs, url: str, body: str) -> None:
    sent = sqs.send(url, body)

    message = sqs.receive_one(url)

    assert message['Body'] == body
    digest = hashlib.md5(body.encode()).hexdigest()
    assert message['MD5OfBody'] == sent['MD5OfMessageBody'] == digest


def test_a_message_has_one_mebibyte_at_most(sqs: Sqs, url: str) -> None:
    sqs.send(url, 'x' * 1048576)

    with refused('InvalidParameterValue') as error:
        sqs.send(url, 'x' * 1048577)

    assert '1048576' in str(error.value)
    assert len(sqs.receive_one(url)['Body']) == 1048576


def test_the_size_is_that_of_utf_8_with_the_attributes(sqs: Sqs) -> None:
    url = sqs.queue(MaximumMessageSize=1024)
    attributes = {'name': {'DataType': 'String', 'StringValue': 'value'}}
    room = 1024 - len('name' + 'String' + 'value')

    sqs.send(url, 'x' * room, MessageAttributes=attributes)
    with refused('InvalidParameterValue'):
        sqs.send(url, 'x' * (room - 1) + 'ü', MessageAttributes=attributes)


def test_a_trace_does_not_count_for_the_size(sqs: Sqs) -> None:
    url = sqs.queue(MaximumMessageSize=1024)
    trace = {'AWSTraceHeader': {'DataType': 'String', 'StringValue': 'Root=1'}}

    sqs.send(url, 'x' * 1024, MessageSystemAttributes=trace)


def test_a_message_that_is_too_long_is_told_before_its_characters(sqs: Sqs) -> None:
    url = sqs.queue(MaximumMessageSize=1024)

    with refused('InvalidParameterValue'):
        sqs.send(url, '\x00' * 1025)


def test_a_deduplication_id_does_not_go_with_a_standard_queue(sqs: Sqs, url: str) -> None:
    with refused('InvalidParameterValue'):
        sqs.send(url, MessageDeduplicationId='a')


@pytest.mark.parametrize(
    ('operation', 'members'),
    [
        ('SendMessage', {'MessageBody': 'x'}),
        ('SendMessageBatch', {'Entries': [{'Id': 'a', 'MessageBody': 'x'}]}),
        ('ReceiveMessage', {}),
        ('DeleteMessage', {'ReceiptHandle': 'x'}),
        ('DeleteMessageBatch', {'Entries': [{'Id': 'a', 'ReceiptHandle': 'x'}]}),
        ('ChangeMessageVisibility', {'ReceiptHandle': 'x', 'VisibilityTimeout': 1}),
        ('ChangeMessageVisibilityBatch', {'Entries': [{'Id': 'a', 'ReceiptHandle': 'x'}]}),
    ],
)
def test_a_queue_that_is_not_there_is_told(
    sqs: Sqs, url: str, operation: str, members: dict[str, Any]
) -> None:
    response = sqs.call(operation, {'QueueUrl': f'{url}-not', **members})

    assert refusal(response) == (
        400,
        'QueueDoesNotExist',
        'AWS.SimpleQueueService.NonExistentQueue',
    )


def counts(sqs: Sqs, url: str) -> tuple[int, int, int]:
    """Messages that are visible, in flight and delayed."""
    told = sqs.attributes(url)
    visible, hidden, delayed = (
        int(told[f'ApproximateNumberOfMessages{which}']) for which in ('', 'NotVisible', 'Delayed')
    )
    return visible, hidden, delayed
