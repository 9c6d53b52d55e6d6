"""Messages that are received too often move to another queue, and back again."""

import json
from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import QueueKey
from tests.controllers.sqs.client import PROJECT, Sqs, json_of, refusal, refused


@pytest.fixture
def dead(sqs: Sqs) -> str:
    """The URL of the dead-letter queue."""
    return sqs.queue('dead')


@pytest.fixture
def url(sqs: Sqs, dead: str) -> str:
    """A queue whose messages are received twice at most."""
    return sqs.queue('jobs', RedrivePolicy=policy(sqs, dead, 2))


def policy(sqs: Sqs, target: str, most: Any) -> str:
    return json.dumps({'deadLetterTargetArn': sqs.arn(target), 'maxReceiveCount': most})


def receive_often(sqs: Sqs, url: str, times: int) -> list[dict[str, Any]]:
    return [message for _ in range(times) for message in sqs.receive(url, VisibilityTimeout=0)]


def test_a_message_is_handed_out_as_often_as_the_policy_says(sqs: Sqs, url: str, dead: str) -> None:
    sqs.send(url)

    assert len(receive_often(sqs, url, 5)) == 2
    assert len(sqs.receive(dead)) == 1


def test_a_dead_letter_is_the_same_message(sqs: Sqs, url: str, dead: str) -> None:
    attributes = {'n': {'DataType': 'Number', 'StringValue': '1'}}
    sqs.send(url, 'work', MessageAttributes=attributes)
    before = receive_often(sqs, url, 3)[-1]

    after = sqs.receive_one(dead)

    for member in (
        *('MessageId', 'Body', 'MD5OfBody', 'MessageAttributes', 'MD5OfMessageAttributes'),
    ):
        assert after[member] == before[member]
    for name in ('SentTimestamp', 'SenderId', 'ApproximateFirstReceiveTimestamp'):
        assert after['Attributes'][name] == before['Attributes'][name]
    assert after['Attributes']['DeadLetterQueueSourceArn'] == sqs.arn(url)
    assert 'DeadLetterQueueSourceArn' not in before['Attributes']


def test_the_count_of_receives_goes_on_in_the_dead_letter_queue(
    sqs: Sqs, url: str, dead: str
) -> None:
    sqs.send(url)
    receive_often(sqs, url, 3)

    seen = [one['Attributes']['ApproximateReceiveCount'] for one in receive_often(sqs, dead, 2)]

    assert seen == ['3', '4']


def test_a_dead_letter_is_kept_as_long_as_its_new_queue_says(sqs: Sqs, age: Any) -> None:
    dead = sqs.queue('dead', MessageRetentionPeriod=1000)
    url = sqs.queue('jobs', MessageRetentionPeriod=60, RedrivePolicy=policy(sqs, dead, 1))
    later = sqs.queue('later', MessageRetentionPeriod=60, RedrivePolicy=policy(sqs, dead, 1))
    sqs.send(url)
    receive_often(sqs, url, 2)
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={'MessageRetentionPeriod': '2000'})
    sqs.send(later)
    receive_often(sqs, later, 2)

    age(900)
    assert len(sqs.receive(dead, VisibilityTimeout=0)) == 2
    age(900)
    assert len(sqs.receive(dead)) == 1


def test_the_receive_that_moves_a_message_goes_on_to_the_next(
    sqs: Sqs, url: str, dead: str
) -> None:
    sqs.send(url, 'first')
    receive_often(sqs, url, 2)
    sqs.send(url, 'second')

    assert [one['Body'] for one in sqs.receive(url)] == ['second']
    assert [one['Body'] for one in sqs.receive(dead)] == ['first']


def test_the_delay_of_the_dead_letter_queue_does_not_matter(sqs: Sqs) -> None:
    dead = sqs.queue('dead', DelaySeconds=900)
    url = sqs.queue('jobs', RedrivePolicy=policy(sqs, dead, 1))
    sqs.send(url)

    receive_often(sqs, url, 2)

    assert len(sqs.receive(dead)) == 1


def test_messages_stay_where_they_are_if_the_dead_letter_queue_is_gone(
    sqs: Sqs, url: str, dead: str
) -> None:
    sqs.send(url)
    sqs.delete_queue(QueueUrl=dead)

    receive_often(sqs, url, 3)

    assert 'RedrivePolicy' in sqs.attributes(url)
    parked = model.store.messages.page(QueueKey.of(PROJECT, 'jobs'), None, 10, None, {'parked'})
    assert len(parked) == 1


def test_a_policy_is_shown_as_it_was_given(sqs: Sqs, dead: str) -> None:
    for most in (3, '3'):
        given = policy(sqs, dead, most).replace(',', ' ,')
        url = sqs.queue('jobs')
        sqs.set_queue_attributes(QueueUrl=url, Attributes={'RedrivePolicy': given})

        assert sqs.attributes(url, 'RedrivePolicy') == {'RedrivePolicy': given}
        assert sqs.queue('jobs', RedrivePolicy=policy(sqs, dead, '3')) == url


def test_a_policy_is_removed_by_an_empty_text(sqs: Sqs, url: str) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'RedrivePolicy': ''})

    assert 'RedrivePolicy' not in sqs.attributes(url)
    sqs.send(url)
    assert len(receive_often(sqs, url, 5)) == 5


@pytest.mark.parametrize(
    'wrong',
    [
        'x',
        '[]',
        '{}',
        '{"maxReceiveCount": 3}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:{account}:dead"}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:{account}:dead", "maxReceiveCount": 0}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:{account}:dead", "maxReceiveCount": 1001}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:{account}:dead", "maxReceiveCount": "x"}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:{account}:none", "maxReceiveCount": 1}',
        '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": 1}',
        '{"deadLetterTargetArn": "dead", "maxReceiveCount": 1}',
        '{"deadLetterTargetArn": 5, "maxReceiveCount": 1}',
    ],
)
def test_a_policy_that_cannot_be_is_refused(sqs: Sqs, dead: str, wrong: str) -> None:
    url = sqs.queue('other')
    account = model.store.accounts.of(PROJECT).number

    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(
            QueueUrl=url, Attributes={'RedrivePolicy': wrong.replace('{account}', account)}
        )


def test_dead_letters_do_not_go_in_a_circle(sqs: Sqs, url: str, dead: str) -> None:
    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(QueueUrl=dead, Attributes={'RedrivePolicy': policy(sqs, url, 1)})


def test_a_queue_says_whose_dead_letters_it_takes(sqs: Sqs, dead: str) -> None:
    friend, stranger = sqs.queue('friend'), sqs.queue('stranger')
    allow = json.dumps({'redrivePermission': 'byQueue', 'sourceQueueArns': [sqs.arn(friend)]})
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={'RedriveAllowPolicy': allow})
    wanted = {'RedrivePolicy': policy(sqs, dead, 1)}

    sqs.set_queue_attributes(QueueUrl=friend, Attributes=wanted)
    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(QueueUrl=stranger, Attributes=wanted)

    assert sqs.attributes(dead, 'RedriveAllowPolicy') == {'RedriveAllowPolicy': allow}
    denied = {'RedriveAllowPolicy': '{"redrivePermission": "denyAll"}'}
    sqs.set_queue_attributes(QueueUrl=dead, Attributes=denied)
    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(QueueUrl=friend, Attributes=wanted)
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={'RedriveAllowPolicy': ''})
    sqs.set_queue_attributes(QueueUrl=stranger, Attributes=wanted)


@pytest.mark.parametrize(
    'wrong',
    [
        '{"redrivePermission": "some"}',
        '{}',
        '{"redrivePermission": "byQueue"}',
        '{"redrivePermission": "byQueue", "sourceQueueArns": []}',
        json.dumps({'redrivePermission': 'byQueue', 'sourceQueueArns': ['x'] * 11}),
        '{"redrivePermission": "allowAll", "sourceQueueArns": ["x"]}',
    ],
)
def test_an_allow_policy_that_cannot_be_is_refused(sqs: Sqs, dead: str, wrong: str) -> None:
    with refused('InvalidParameterValue'):
        sqs.set_queue_attributes(QueueUrl=dead, Attributes={'RedriveAllowPolicy': wrong})


def test_a_dead_letter_queue_lists_its_sources(sqs: Sqs, url: str, dead: str) -> None:
    others = [sqs.queue(f'n{n}', RedrivePolicy=policy(sqs, dead, 5)) for n in range(2)]
    sqs.queue('without')

    found = sqs.list_dead_letter_source_queues(QueueUrl=dead)['queueUrls']
    page = sqs.list_dead_letter_source_queues(QueueUrl=dead, MaxResults=2)
    rest = sqs.list_dead_letter_source_queues(
        QueueUrl=dead, MaxResults=2, NextToken=page['NextToken']
    )

    assert found == sorted([url, *others])
    assert page['queueUrls'] + rest['queueUrls'] == found
    empty = sqs.call('ListDeadLetterSourceQueues', {'QueueUrl': url})
    assert json_of(empty) == {'queueUrls': []}


def test_a_queue_whose_name_is_a_number_lists_its_sources(sqs: Sqs) -> None:
    dead = sqs.queue('007')
    url = sqs.queue('jobs', RedrivePolicy=policy(sqs, dead, 5))

    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)['queueUrls'] == [url]


# ---------------------------------------------------------------- moves


def dead_letters(sqs: Sqs, url: str, count: int) -> None:
    """Have so many messages moved to the dead-letter queue."""
    for number in range(count):
        sqs.send(url, str(number))
    for _ in range(3):
        sqs.receive(url, VisibilityTimeout=0)


def start(sqs: Sqs, source: str, **members: Any) -> str:
    handle: str = sqs.start_message_move_task(SourceArn=sqs.arn(source), **members)['TaskHandle']
    return handle


def tasks(sqs: Sqs, source: str, most: int = 10) -> list[dict[str, Any]]:
    asked = {'SourceArn': sqs.arn(source), 'MaxResults': most}
    found: list[dict[str, Any]] = sqs.list_message_move_tasks(**asked).get('Results', [])
    return found


def test_dead_letters_go_back_to_where_they_came_from(sqs: Sqs, url: str, dead: str) -> None:
    dead_letters(sqs, url, 3)

    start(sqs, dead)

    [task] = tasks(sqs, dead)
    assert task['Status'] == 'COMPLETED'
    assert (
        task['ApproximateNumberOfMessagesMoved'] == task['ApproximateNumberOfMessagesToMove'] == 3
    )
    assert task['SourceArn'] == sqs.arn(dead)
    assert task['StartedTimestamp'] > 1e12
    assert 'TaskHandle' not in task
    back = sqs.receive(url)
    assert [one['Body'] for one in back] == ['0', '1', '2']
    assert {one['Attributes']['ApproximateReceiveCount'] for one in back} == {'1'}


def test_dead_letters_go_to_the_queue_that_is_named(sqs: Sqs, url: str, dead: str) -> None:
    other = sqs.queue('other')
    attributes = {'n': {'DataType': 'Number', 'StringValue': '1'}}
    sqs.send(url, MessageAttributes=attributes)
    receive_often(sqs, url, 3)

    start(sqs, dead, DestinationArn=sqs.arn(other), MaxNumberOfMessagesPerSecond=500)

    assert sqs.receive_one(other)['MessageAttributes'] == attributes
    [task] = tasks(sqs, dead)
    assert task['DestinationArn'] == sqs.arn(other)
    assert task['MaxNumberOfMessagesPerSecond'] == 500


def test_a_move_that_takes_longer_can_be_cancelled(sqs: Sqs, url: str, dead: str) -> None:
    dead_letters(sqs, url, 5)

    handle = start(sqs, dead, MaxNumberOfMessagesPerSecond=1)

    [task] = tasks(sqs, dead)
    assert (task['Status'], task['TaskHandle']) == ('RUNNING', handle)
    with refused('InvalidParameterValue'):
        start(sqs, dead)
    moved = sqs.cancel_message_move_task(TaskHandle=handle)['ApproximateNumberOfMessagesMoved']
    assert moved == 1
    [task] = tasks(sqs, dead)
    assert task['Status'] == 'CANCELLED'
    assert 'TaskHandle' not in task
    assert len(sqs.receive(url)) == 1


def test_the_newest_move_is_listed_first(sqs: Sqs, url: str, dead: str) -> None:
    for _ in range(3):
        start(sqs, dead)

    assert len(tasks(sqs, dead, 1)) == 1
    times = [task['StartedTimestamp'] for task in tasks(sqs, dead)]
    assert times == sorted(times, reverse=True)
    assert len(times) == 3


def test_a_queue_without_moves_has_no_list(sqs: Sqs, dead: str) -> None:
    response = sqs.call('ListMessageMoveTasks', {'SourceArn': sqs.arn(dead)})

    assert json_of(response) == {}


def test_a_move_begins_at_a_dead_letter_queue(sqs: Sqs, url: str, dead: str) -> None:
    with refused('InvalidParameterValue'):
        start(sqs, url)


def test_a_move_whose_target_is_deleted_fails(sqs: Sqs, url: str, dead: str) -> None:
    other = sqs.queue('other')
    dead_letters(sqs, url, 3)
    start(sqs, dead, DestinationArn=sqs.arn(other), MaxNumberOfMessagesPerSecond=1)
    sqs.delete_queue(QueueUrl=other)
    [redrive] = model.store.redrives.page(QueueKey.of(PROJECT, 'dead'))
    with model.store.database.transaction() as run:
        run('UPDATE redrives SET due_at = now()', {})

    model.store.redrives.step(QueueKey.of(PROJECT, 'dead'), redrive.id)

    [task] = tasks(sqs, dead)
    assert task['Status'] == 'FAILED'
    assert task['FailureReason'] == 'AWS.SimpleQueueService.NonExistentQueue'


def test_moves_of_queues_that_are_not_there_are_refused(sqs: Sqs, url: str, dead: str) -> None:
    none = sqs.arn(dead).replace(':dead', ':none')
    foreign = 'arn:aws:sqs:us-east-1:000000000000:dead'
    for members in (
        *({'SourceArn': none}, {'SourceArn': foreign}),
        {'SourceArn': sqs.arn(dead), 'DestinationArn': none},
    ):
        response = sqs.call('StartMessageMoveTask', members)
        assert refusal(response) == (404, 'ResourceNotFoundException', 'ResourceNotFoundException')
    assert refusal(sqs.call('ListMessageMoveTasks', {'SourceArn': none}))[0] == 404


@pytest.mark.parametrize('rate', [0, 501])
def test_a_move_has_a_rate(sqs: Sqs, url: str, dead: str, rate: int) -> None:
    with refused('InvalidParameterValue'):
        start(sqs, dead, MaxNumberOfMessagesPerSecond=rate)


@pytest.mark.parametrize('most', [0, 11])
def test_a_list_of_moves_has_a_size(sqs: Sqs, dead: str, most: int) -> None:
    with refused('InvalidParameterValue'):
        tasks(sqs, dead, most)


def test_a_handle_that_cannot_be_read_is_refused(sqs: Sqs, dead: str) -> None:
    for handle in ('x', 'ü', 'AAAA'):
        with refused('InvalidParameterValue'):
            sqs.cancel_message_move_task(TaskHandle=handle)


def test_a_move_that_is_not_there_cannot_be_cancelled(sqs: Sqs, url: str, dead: str) -> None:
    dead_letters(sqs, url, 2)
    handle = start(sqs, dead, MaxNumberOfMessagesPerSecond=1)
    sqs.cancel_message_move_task(TaskHandle=handle)
    with refused('InvalidParameterValue'):
        sqs.cancel_message_move_task(TaskHandle=handle)
    with model.store.database.transaction() as run:
        run('DELETE FROM redrives', {})

    with refused('ResourceNotFoundException', 404):
        sqs.cancel_message_move_task(TaskHandle=handle)


def test_a_move_from_a_queue_that_was_deleted_cannot_be_cancelled(
    sqs: Sqs, url: str, dead: str
) -> None:
    dead_letters(sqs, url, 2)
    handle = start(sqs, dead, MaxNumberOfMessagesPerSecond=1)
    sqs.delete_queue(QueueUrl=dead)

    with refused('ResourceNotFoundException', 404):
        sqs.cancel_message_move_task(TaskHandle=handle)


def test_an_arn_may_name_any_region(sqs: Sqs, dead: str) -> None:
    elsewhere = sqs.arn(dead).replace('us-east-1', 'eu-west-3')
    policy = json.dumps({'deadLetterTargetArn': elsewhere, 'maxReceiveCount': 1})
    url = sqs.queue('jobs', RedrivePolicy=policy)
    dead_letters(sqs, url, 1)

    sqs.start_message_move_task(SourceArn=elsewhere)

    assert len(sqs.receive(url)) == 1


def test_members_that_a_move_needs_are_named(sqs: Sqs) -> None:
    for operation in ('StartMessageMoveTask', 'ListMessageMoveTasks', 'CancelMessageMoveTask'):
        assert refusal(sqs.call(operation))[2] == 'MissingParameter'
    assert refusal(sqs.call('ListMessageMoveTasks', {'SourceArn': 'x'}))[2] == (
        'InvalidParameterValue'
    )


# ---------------------------------------------------------------- names of 65 to 80 characters


def test_names_of_80_characters_go_with_dead_letters_and_moves(sqs: Sqs) -> None:
    names = {letter: letter * 80 for letter in 'abc'}
    dead, other = sqs.queue(names['b']), sqs.queue(names['c'])
    url = sqs.queue(names['a'], RedrivePolicy=policy(sqs, dead, 2))
    dead_letters(sqs, url, 1)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)['queueUrls'] == [url]

    start(sqs, dead)
    assert len(receive_often(sqs, url, 3)) == 2
    start(sqs, dead, DestinationArn=sqs.arn(other))

    assert sqs.receive_one(other)['Body'] == '0'
    assert [task['Status'] for task in tasks(sqs, dead)] == ['COMPLETED'] * 2
