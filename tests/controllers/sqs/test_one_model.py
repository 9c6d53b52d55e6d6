"""SQS and OpenStack's API are doors to the same queues: what one does, the other sees."""

import json
from typing import Any

import pytest
from webtest import TestApp

from tests.controllers.client import LaterApi, id_of
from tests.controllers.sqs.client import PROJECT, Sqs


@pytest.fixture
def native(app: TestApp) -> LaterApi:
    """A client of version 2, of the same project."""
    return LaterApi(app, '/v2')


def set_natively(native: LaterApi, **metadata: Any) -> None:
    """Set members of the metadata of the queue ``jobs``."""
    response = native.change(
        *(
            {'op': 'add', 'path': f'/metadata/{name}', 'value': value}
            for name, value in metadata.items()
        )
    )
    assert response.status_int == 200, response.text


@pytest.fixture
def url(sqs: Sqs) -> str:
    return sqs.queue('jobs')


@pytest.mark.parametrize('body', ['hello', 'grüße 🐇', '{"a": 1}', '5', '"', 'a\tb\\'])
def test_a_text_of_sqs_is_a_json_string_of_the_other_door(
    sqs: Sqs, native: LaterApi, url: str, body: str
) -> None:
    sent = sqs.send(url, body)

    [message] = native.listed()

    assert message['body'] == body
    assert message['id'] == sent['MessageId']
    assert message['ttl'] == 345600


@pytest.mark.parametrize(
    ('body', 'text'),
    [
        ('"hello"', 'hello'),
        ('"gr\\u00fc\\u00dfe"', 'grüße'),
        ('{"a":  [1, 2.50, null]}', '{"a":  [1, 2.50, null]}'),
        ('5', '5'),
        ('null', 'null'),
    ],
)
def test_a_json_value_of_the_other_door_is_its_text_here(
    sqs: Sqs, native: LaterApi, url: str, body: str, text: str
) -> None:
    native.post_text(body)

    message = sqs.receive_one(url)

    assert message['Body'] == text
    assert message['Attributes']['SenderId']


def test_a_message_that_is_claimed_through_one_door_is_hidden_from_the_other(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    sqs.send(url, 'one')
    claim = native.claim()
    assert sqs.receive(url) == []
    sqs.send(url, 'two')
    received = sqs.receive_one(url)

    assert [message['body'] for message in claim.messages] == ['one']
    assert native.post(f'{native.queue}/claims', {'ttl': 60, 'grace': 60}).status_int == 204
    assert native.stats()['claimed'] == 2
    told = sqs.attributes(url)
    assert told['ApproximateNumberOfMessagesNotVisible'] == '2'
    assert received['Body'] == 'two'


def test_a_message_is_deleted_through_the_door_by_which_it_was_claimed(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    native.post_messages('native')
    sqs.delete(url, sqs.receive_one(url)['ReceiptHandle'])
    assert native.stats()['total'] == 0

    sqs.send(url)
    [held] = native.claim().messages
    assert native.delete(held['href']).status_int == 204
    assert sqs.attributes(url)['ApproximateNumberOfMessagesNotVisible'] == '0'


def test_a_receipt_is_out_of_date_once_another_door_has_released_the_message(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    sent = sqs.send(url)
    handle = sqs.receive_one(url, VisibilityTimeout=0)['ReceiptHandle']
    native.claim()

    sqs.delete(url, handle)

    assert native.get(f'{native.queue}/messages/{sent["MessageId"]}').status_int == 200


def test_counts_of_receives_are_those_of_claims(sqs: Sqs, native: LaterApi, url: str) -> None:
    sqs.send(url)
    claim = native.claim()
    native.delete(claim.href)

    assert sqs.receive_one(url)['Attributes']['ApproximateReceiveCount'] == '2'


def test_attributes_of_a_queue_are_stored_once(sqs: Sqs, native: LaterApi, url: str) -> None:
    sqs.queue('dead')
    policy = {'deadLetterTargetArn': sqs.arn('dead'), 'maxReceiveCount': 3}
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={
            'MessageRetentionPeriod': '600',
            'DelaySeconds': '5',
            'MaximumMessageSize': '2048',
            'RedrivePolicy': json.dumps(policy),
        },
    )

    metadata = native.get(native.queue).json

    assert metadata['_default_message_ttl'] == 600
    assert metadata['_default_message_delay'] == 5
    assert metadata['_max_messages_post_size'] == 2048
    assert metadata['_dead_letter_queue'] == 'dead'
    assert metadata['_max_claim_count'] == 3


def test_attributes_that_the_other_door_sets_are_told_here(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    sqs.queue('dead')
    set_natively(
        native,
        _default_message_ttl=700,
        _default_message_delay=6,
        _max_messages_post_size=4096,
        _dead_letter_queue='dead',
        _max_claim_count=4,
    )

    told = sqs.attributes(url)

    assert told['MessageRetentionPeriod'] == '700'
    assert told['DelaySeconds'] == '6'
    assert told['MaximumMessageSize'] == '4096'
    assert json.loads(told['RedrivePolicy']) == {
        'deadLetterTargetArn': sqs.arn('dead'),
        'maxReceiveCount': 4,
    }


def test_a_queue_of_the_other_door_has_its_defaults(sqs: Sqs, native: LaterApi) -> None:
    native.make_queue('native')

    told = sqs.attributes('native')

    assert told['MessageRetentionPeriod'] == '3600'
    assert told['VisibilityTimeout'] == '30'
    assert told['MaximumMessageSize'] == '1048576'


def test_metadata_of_other_doors_stays_as_it_was_written(
    sqs: Sqs, native: LaterApi, url: str, sql: Any
) -> None:
    sql(
        """UPDATE queues SET metadata = '{"team":  [1.50, "\\u00fc"], "n": 12345678901234567890}'"""
    )

    sqs.set_queue_attributes(QueueUrl=url, Attributes={'DelaySeconds': '5'})
    sqs.tag_queue(QueueUrl=url, Tags={'a': 'b'})

    [(metadata,)] = sql('SELECT metadata FROM queues')
    assert '[1.50, "\\u00fc"]' in metadata
    assert '12345678901234567890' in metadata


@pytest.mark.parametrize(
    'wrong',
    [
        5,
        None,
        [],
        {'VisibilityTimeout': 'x', 'tags': 5, 'RedrivePolicy': 5, 'modified': 'x'},
        {'VisibilityTimeout': -1, 'ReceiveMessageWaitTimeSeconds': 99999, 'RedrivePolicy': 'x'},
        {'Policy': 5, 'RedriveAllowPolicy': [], 'MaximumMessageSize': 'x', 'tags': {'a': 5}},
    ],
)
def test_what_the_other_door_writes_there_does_no_harm(
    sqs: Sqs, native: LaterApi, url: str, wrong: Any
) -> None:
    set_natively(native, _sqs=wrong, _dead_letter_queue='dead', _max_claim_count=2)

    told = sqs.attributes(url)
    sqs.send(url)
    assert len(sqs.receive(url)) == 1
    sqs.call('ListQueueTags', {'QueueUrl': url})
    sqs.tag_queue(QueueUrl=url, Tags={'a': 'b'})
    assert sqs.list_queue_tags(QueueUrl=url)['Tags'] == {'a': 'b'}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'VisibilityTimeout': '7'})
    assert told['VisibilityTimeout'] == '30'
    assert sqs.attributes(url)['VisibilityTimeout'] == '7'


def test_a_queue_of_sqs_is_deleted_and_purged_by_the_other_door(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    sqs.send(url)
    assert native.post(f'{native.queue}/purge').status_int == 204
    assert sqs.receive(url) == []
    assert native.delete(native.queue).status_int == 204
    assert 'QueueUrls' not in sqs.list_queues()


def test_attributes_of_messages_go_with_copies_to_subscribers(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    copy = sqs.queue('copy')
    response = native.post(
        f'{native.queue}/subscriptions', {'subscriber': 'queue:copy', 'ttl': 600}
    )
    assert response.status_int == 201, response.text
    attributes = {'n': {'DataType': 'Number', 'StringValue': '1'}}

    sqs.send(url, 'x', MessageAttributes=attributes)

    assert sqs.receive_one(copy)['MessageAttributes'] == attributes
    assert sqs.receive_one(url)['MessageAttributes'] == attributes


def test_a_dead_letter_of_the_other_door_keeps_its_count_here(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    dead = sqs.queue('dead')
    set_natively(native, _dead_letter_queue='dead', _max_claim_count=1)
    [path] = native.post_messages('x')
    assert native.delete(native.claim().href).status_int == 204
    assert native.post(f'{native.queue}/claims', {'ttl': 60, 'grace': 60}).status_int == 204

    letter = sqs.receive_one(dead)

    assert letter['MessageId'] == id_of(path)
    assert letter['Attributes']['ApproximateReceiveCount'] == '2'
    assert letter['Attributes']['DeadLetterQueueSourceArn'] == sqs.arn(url)


def test_a_message_larger_than_the_other_door_takes_is_listed_there(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    sqs.send(url, 'x' * 1048576)

    [message] = native.listed()

    assert len(message['body']) == 1048576
    assert PROJECT


def test_a_dead_letter_queue_with_a_name_of_80_characters_hinders_no_other_change(
    sqs: Sqs, native: LaterApi, url: str
) -> None:
    """The other doors take names of 64 characters."""
    dead = sqs.queue('x' * 80)
    policy = json.dumps({'deadLetterTargetArn': sqs.arn(dead), 'maxReceiveCount': 3})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'RedrivePolicy': policy})

    set_natively(native, team='a')

    metadata = native.get(native.queue).json
    assert (metadata['team'], metadata['_dead_letter_queue']) == ('a', 'x' * 80)
