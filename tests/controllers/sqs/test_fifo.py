"""FIFO queues, as clients of SQS use them."""

import json
from typing import Any

import pytest

from marconi_api import model
from tests.controllers.sqs.client import PROJECT, Sqs, json_of, refusal, refused

PREFIX = 'AWS.SimpleQueueService.'


@pytest.fixture
def url(sqs: Sqs) -> str:
    """A queue whose messages have a deduplication id of their own."""
    return sqs.queue('jobs.fifo', FifoQueue='true')


@pytest.fixture
def hashing(sqs: Sqs) -> str:
    """A queue that makes the deduplication id of the content."""
    return sqs.queue('hashing.fifo', FifoQueue='true', ContentBasedDeduplication='true')


def send(sqs: Sqs, url: str, body: str, group: str = 'a', **members: Any) -> Any:
    return sqs.send(url, body, MessageGroupId=group, **members)


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [message['Body'] for message in messages]


def test_a_group_comes_in_the_order_in_which_it_was_sent(sqs: Sqs, hashing: str) -> None:
    sent = [send(sqs, hashing, body) for body in ('1', '2', '3')]

    received = sqs.receive(hashing)

    assert bodies(received) == ['1', '2', '3']
    numbers = [message['Attributes']['SequenceNumber'] for message in received]
    assert numbers == [one['SequenceNumber'] for one in sent] == sorted(numbers)
    assert all(len(number) == 20 and number.isdigit() for number in numbers)


def test_a_group_gives_nothing_while_a_message_of_it_is_in_flight(sqs: Sqs, hashing: str) -> None:
    for body in ('1', '2'):
        send(sqs, hashing, body, 'a')
    send(sqs, hashing, '3', 'b')

    first = sqs.receive_one(hashing)

    assert bodies(sqs.receive(hashing)) == ['3']
    sqs.delete(hashing, first['ReceiptHandle'])
    assert bodies(sqs.receive(hashing)) == ['2']


def test_of_messages_in_flight_the_first_ones_come_back_alone(sqs: Sqs, hashing: str) -> None:
    for body in ('foo', 'bar', 'baz'):
        send(sqs, hashing, body)
    foo, bar, baz = sqs.receive(hashing)

    sqs.hide(hashing, baz['ReceiptHandle'], 0)
    assert sqs.receive(hashing) == []
    sqs.hide(hashing, foo['ReceiptHandle'], 0)
    assert bodies(sqs.receive(hashing, VisibilityTimeout=0)) == ['foo']
    sqs.hide(hashing, bar['ReceiptHandle'], 0)
    assert bodies(sqs.receive(hashing)) == ['foo', 'bar', 'baz']


def test_a_message_tells_its_group_and_its_deduplication_id(sqs: Sqs, url: str) -> None:
    attributes = {'n': {'DataType': 'Number', 'StringValue': '1'}}
    send(sqs, url, 'x', 'a', MessageDeduplicationId='d', MessageAttributes=attributes)

    message = sqs.receive_one(url)

    told = message['Attributes']
    assert (told['MessageGroupId'], told['MessageDeduplicationId']) == ('a', 'd')
    assert message['MessageAttributes'] == attributes


def test_a_duplicate_is_answered_with_the_first_message(sqs: Sqs, url: str) -> None:
    first = send(sqs, url, 'one', MessageDeduplicationId='d')

    second = send(sqs, url, 'two', MessageDeduplicationId='d')

    assert second['MessageId'] == first['MessageId']
    assert second['SequenceNumber'] == first['SequenceNumber']
    assert second['MD5OfMessageBody'] != first['MD5OfMessageBody']
    assert bodies(sqs.receive(url)) == ['one']


def test_a_duplicate_is_known_after_the_message_was_deleted(
    sqs: Sqs, hashing: str, age: Any
) -> None:
    send(sqs, hashing, 'x')
    sqs.delete(hashing, sqs.receive_one(hashing)['ReceiptHandle'])

    send(sqs, hashing, 'x')
    assert sqs.receive(hashing) == []

    age(301)
    send(sqs, hashing, 'x')
    assert len(sqs.receive(hashing)) == 1


def test_the_content_is_hashed_as_amazon_does_it(sqs: Sqs, hashing: str) -> None:
    send(sqs, hashing, 'x')

    told = sqs.receive_one(hashing)['Attributes']

    digest = '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881'
    assert told['MessageDeduplicationId'] == digest


def test_an_explicit_id_beats_the_hash(sqs: Sqs, hashing: str) -> None:
    send(sqs, hashing, 'x', MessageDeduplicationId='1')
    send(sqs, hashing, 'x', MessageDeduplicationId='2')

    assert len(sqs.receive(hashing)) == 2


def test_a_window_may_be_that_of_the_group(sqs: Sqs) -> None:
    url = sqs.queue(
        'scoped.fifo',
        FifoQueue='true',
        DeduplicationScope='messageGroup',
        FifoThroughputLimit='perMessageGroupId',
    )
    for group in ('a', 'b', 'a'):
        send(sqs, url, 'x', group, MessageDeduplicationId='d')

    assert len(sqs.receive(url)) == 2
    told = sqs.attributes(url)
    assert told['DeduplicationScope'] == 'messageGroup'
    assert told['FifoThroughputLimit'] == 'perMessageGroupId'


def test_a_message_must_have_a_group_and_an_id(sqs: Sqs, url: str) -> None:
    with refused('MissingParameter'):
        sqs.send(url)
    with refused('InvalidParameterValue') as error:
        send(sqs, url, 'x')
    assert 'ContentBasedDeduplication' in str(error.value)


def test_a_batch_with_an_entry_without_a_group_or_an_id_fails_as_a_whole(
    sqs: Sqs, url: str
) -> None:
    good = {
        'Id': 'a',
        'MessageBody': 'x',
        'MessageGroupId': 'a',
        'MessageDeduplicationId': 'a',
    }
    for missing in ('MessageGroupId', 'MessageDeduplicationId'):
        bad = {name: value for name, value in good.items() if name != missing} | {'Id': 'b'}
        with refused('InvalidParameterValue'):
            sqs.send_message_batch(QueueUrl=url, Entries=[good, bad])

    assert sqs.receive(url) == []
    answer = sqs.send_message_batch(QueueUrl=url, Entries=[good])
    assert len(answer['Successful'][0]['SequenceNumber']) == 20


@pytest.mark.parametrize('name', ['', 'a b', 'ü', 'x' * 129, 'a\n'])
def test_a_group_and_an_id_have_their_characters(sqs: Sqs, url: str, name: str) -> None:
    for member in ('MessageGroupId', 'MessageDeduplicationId'):
        given = {'MessageGroupId': 'a', 'MessageDeduplicationId': 'a', member: name}
        with refused('InvalidParameterValue'):
            sqs.send(url, **given)


def test_all_punctuation_and_128_characters_are_taken(sqs: Sqs, url: str) -> None:
    group = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
    send(sqs, url, 'x', group, MessageDeduplicationId='x' * 128)

    assert sqs.receive_one(url)['Attributes']['MessageGroupId'] == group


def test_a_delay_is_that_of_the_queue(sqs: Sqs, age: Any) -> None:
    url = sqs.queue(
        'late.fifo', FifoQueue='true', ContentBasedDeduplication='true', DelaySeconds=60
    )

    send(sqs, url, 'x', DelaySeconds=0)
    with refused('InvalidParameterValue'):
        send(sqs, url, 'y', DelaySeconds=1)

    assert sqs.receive(url) == []
    age(61)
    assert len(sqs.receive(url)) == 1


def test_an_outdated_receipt_is_refused_and_deletes_nothing(
    sqs: Sqs, hashing: str, age: Any
) -> None:
    send(sqs, hashing, 'x')
    outdated = sqs.receive_one(hashing, VisibilityTimeout=10)['ReceiptHandle']
    age(11)

    with refused('InvalidParameterValue'):
        sqs.delete(hashing, outdated)
    answer = sqs.delete_message_batch(
        QueueUrl=hashing, Entries=[{'Id': 'a', 'ReceiptHandle': outdated}]
    )
    assert answer['Failed'][0]['Code'] == 'InvalidParameterValue'
    current = sqs.receive_one(hashing)['ReceiptHandle']
    with refused('InvalidParameterValue'):
        sqs.delete(hashing, outdated)
    sqs.delete(hashing, current)
    sqs.delete(hashing, current)


def test_a_receipt_that_was_extended_in_time_deletes(sqs: Sqs, hashing: str, age: Any) -> None:
    send(sqs, hashing, 'x')
    handle = sqs.receive_one(hashing, VisibilityTimeout=10)['ReceiptHandle']
    sqs.hide(hashing, handle, 100)
    age(20)

    sqs.delete(hashing, handle)


def test_a_receive_of_the_same_attempt_gets_the_same_receipts(
    sqs: Sqs, hashing: str, age: Any
) -> None:
    for body in ('1', '2'):
        send(sqs, hashing, body)
    first = sqs.receive(hashing, ReceiveRequestAttemptId='try', VisibilityTimeout=30)
    age(20)

    again = sqs.receive(hashing, ReceiveRequestAttemptId='try', VisibilityTimeout=30)

    assert bodies(again) == ['1', '2']
    handles = [message['ReceiptHandle'] for message in again]
    assert handles == [message['ReceiptHandle'] for message in first]
    assert sqs.receive(hashing, ReceiveRequestAttemptId='other') == []
    age(20)
    assert sqs.receive(hashing) == []
    for handle in handles:
        sqs.delete(hashing, handle)


def test_an_attempt_is_a_new_one_once_a_message_of_it_was_deleted(sqs: Sqs, hashing: str) -> None:
    for body in ('1', '2'):
        send(sqs, hashing, body)
    first = sqs.receive(hashing, ReceiveRequestAttemptId='try')
    sqs.delete(hashing, first[0]['ReceiptHandle'])

    assert sqs.receive(hashing, ReceiveRequestAttemptId='try') == []


def test_an_attempt_is_a_new_one_once_a_message_of_it_was_hidden_for_longer(
    sqs: Sqs, hashing: str
) -> None:
    for body in ('1', '2'):
        send(sqs, hashing, body)
    first = sqs.receive(hashing, ReceiveRequestAttemptId='try')
    sqs.hide(hashing, first[0]['ReceiptHandle'], 100)

    assert sqs.receive(hashing, ReceiveRequestAttemptId='try') == []


def test_an_attempt_is_remembered_for_five_minutes(sqs: Sqs, hashing: str, age: Any) -> None:
    send(sqs, hashing, 'x')
    again: dict[str, Any] = {'ReceiveRequestAttemptId': 'try', 'VisibilityTimeout': 1000}
    assert len(sqs.receive(hashing, **again)) == 1

    age(301)

    assert sqs.receive(hashing, **again) == []


def test_an_attempt_is_named_by_128_characters_at_most(sqs: Sqs, hashing: str) -> None:
    for name in ('', 'x' * 129, 'a b'):
        with refused('InvalidParameterValue'):
            sqs.receive(hashing, ReceiveRequestAttemptId=name)


def test_an_attempt_does_not_matter_in_a_standard_queue(sqs: Sqs) -> None:
    url = sqs.queue('jobs')
    sqs.send(url)

    assert len(sqs.receive(url, ReceiveRequestAttemptId='try')) == 1
    assert sqs.receive(url, ReceiveRequestAttemptId='try') == []


# ---------------------------------------------------------------- queues


def test_a_fifo_queue_tells_what_it_is(sqs: Sqs, url: str) -> None:
    told = sqs.attributes(url)

    assert told['FifoQueue'] == 'true'
    assert told['ContentBasedDeduplication'] == 'false'
    assert told['DeduplicationScope'] == 'queue'
    assert told['FifoThroughputLimit'] == 'perQueue'
    assert told['QueueArn'].endswith(':jobs.fifo')
    assert sqs.list_queues()['QueueUrls'] == [url]
    assert sqs.get_queue_url(QueueName='jobs.fifo')['QueueUrl'] == url


def test_making_it_again_is_no_change(sqs: Sqs, url: str) -> None:
    assert sqs.queue('jobs.fifo', FifoQueue='true') == url
    assert sqs.queue('jobs.fifo', FifoQueue='True', ContentBasedDeduplication='False') == url
    with refused('QueueAlreadyExists'):
        sqs.queue('jobs.fifo', FifoQueue='true', ContentBasedDeduplication='true')


def test_the_type_of_a_queue_stays(sqs: Sqs, url: str) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'FifoQueue': 'true'})
    with refused('InvalidAttributeValue'):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={'FifoQueue': 'false'})


def test_deduplication_by_content_can_be_set_later(sqs: Sqs, url: str) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'ContentBasedDeduplication': 'true'})

    send(sqs, url, 'x')
    assert len(sqs.receive(url)) == 1


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('ContentBasedDeduplication', 'yes'),
        ('DeduplicationScope', 'group'),
        ('FifoThroughputLimit', 'none'),
    ],
)
def test_attributes_of_fifo_queues_have_their_values(
    sqs: Sqs, url: str, name: str, value: str
) -> None:
    with refused('InvalidAttributeValue'):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})


def test_a_fifo_name_has_80_characters_with_its_ending(sqs: Sqs) -> None:
    assert sqs.queue('x' * 75 + '.fifo', FifoQueue='true')
    for name in ('x' * 76 + '.fifo', '.fifo', 'a.b.fifo'):
        with refused('InvalidParameterValue'):
            sqs.queue(name, FifoQueue='true')


def test_dead_letters_of_a_fifo_queue_go_to_a_fifo_queue(sqs: Sqs, hashing: str) -> None:
    dead, standard = sqs.queue('dead.fifo', FifoQueue='true'), sqs.queue('dead')

    def policy(target: str) -> dict[str, str]:
        arn = sqs.arn(target)
        return {'RedrivePolicy': json.dumps({'deadLetterTargetArn': arn, 'maxReceiveCount': 1})}

    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(QueueUrl=hashing, Attributes=policy(standard))
    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(QueueUrl=standard, Attributes=policy(dead))
    sqs.set_queue_attributes(QueueUrl=hashing, Attributes=policy(dead))
    attributes = {'n': {'DataType': 'Number', 'StringValue': '1'}}
    sent = send(sqs, hashing, 'x', MessageAttributes=attributes)
    for _ in range(2):
        sqs.receive(hashing, VisibilityTimeout=0)

    letter = sqs.receive_one(dead)

    assert letter['MessageAttributes'] == attributes
    told = letter['Attributes']
    assert told['MessageGroupId'] == 'a'
    assert told['ApproximateReceiveCount'] == '2'
    assert told['DeadLetterQueueSourceArn'] == sqs.arn(hashing)
    assert told['MessageDeduplicationId'] == letter['MessageId'] == sent['MessageId']


def test_two_dead_letters_with_one_deduplication_id_are_both_kept(sqs: Sqs) -> None:
    dead = sqs.queue('dead.fifo', FifoQueue='true')
    policy = json.dumps({'deadLetterTargetArn': sqs.arn(dead), 'maxReceiveCount': 1})
    for name in ('one.fifo', 'other.fifo'):
        url = sqs.queue(name, FifoQueue='true', RedrivePolicy=policy)
        send(sqs, url, name, MessageDeduplicationId='same')
        for _ in range(2):
            sqs.receive(url, VisibilityTimeout=0)

    assert bodies(sqs.receive(dead)) == ['one.fifo', 'other.fifo']


def test_dead_letters_keep_the_order_of_their_group(sqs: Sqs, hashing: str) -> None:
    dead = sqs.queue('dead.fifo', FifoQueue='true')
    policy = json.dumps({'deadLetterTargetArn': sqs.arn(dead), 'maxReceiveCount': 1})
    sqs.set_queue_attributes(QueueUrl=hashing, Attributes={'RedrivePolicy': policy})
    for body in ('1', '2', '3'):
        send(sqs, hashing, body)
    for _ in range(2):
        sqs.receive(hashing, VisibilityTimeout=0)

    assert bodies(sqs.receive(dead)) == ['1', '2', '3']


def test_messages_of_a_fifo_queue_move_to_a_fifo_queue(sqs: Sqs, hashing: str) -> None:
    dead, standard = sqs.queue('dead.fifo', FifoQueue='true'), sqs.queue('standard')
    arn = sqs.arn(dead)
    policy = json.dumps({'deadLetterTargetArn': arn, 'maxReceiveCount': 1})
    sqs.set_queue_attributes(QueueUrl=hashing, Attributes={'RedrivePolicy': policy})
    send(sqs, hashing, 'x')
    for _ in range(2):
        sqs.receive(hashing, VisibilityTimeout=0)

    with refused('InvalidParameterValue'):
        sqs.start_message_move_task(SourceArn=arn, DestinationArn=sqs.arn(standard))
    sqs.start_message_move_task(SourceArn=arn)

    assert bodies(sqs.receive(hashing)) == ['x']


def test_a_purge_forgets_deduplication_ids(sqs: Sqs, hashing: str) -> None:
    send(sqs, hashing, 'x')
    sqs.purge_queue(QueueUrl=hashing)

    send(sqs, hashing, 'x')

    assert bodies(sqs.receive(hashing)) == ['x']


# ---------------------------------------------------------------- groups of standard queues


def test_a_message_of_a_standard_queue_may_have_a_group(sqs: Sqs) -> None:
    url = sqs.queue('jobs')

    sent = [sqs.send(url, body, MessageGroupId='tenant') for body in ('1', '2')]

    assert all('SequenceNumber' not in one for one in sent)
    first = sqs.receive_one(url)
    assert first['Attributes']['MessageGroupId'] == 'tenant'
    assert 'SequenceNumber' not in first['Attributes']
    assert bodies(sqs.receive(url)) == ['2']


def test_a_message_that_another_door_posted_to_a_fifo_queue_is_received(sqs: Sqs, url: str) -> None:
    queue = model.QueueKey.of(PROJECT, 'jobs.fifo')
    message = model.NewMessage('{"a": 1}', group='g', deduplication_id='d')
    model.store.messages.post(queue, '3381af92-2b9e-11e3-b191-71861300734c', [message])

    received = sqs.receive_one(url)

    assert received['Body'] == '{"a": 1}'
    assert received['Attributes']['MessageGroupId'] == 'g'


def test_a_queue_that_is_not_there_is_told(sqs: Sqs) -> None:
    response = sqs.call(
        'SendMessage', {'QueueUrl': 'none.fifo', 'MessageBody': 'x', 'MessageGroupId': 'a'}
    )

    assert refusal(response)[2] == f'{PREFIX}NonExistentQueue'
    assert json_of(response)
