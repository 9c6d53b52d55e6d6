"""boto3, unchanged, against the real service: its client and its resource (docs/sqs.md).

Beside it the requests of KEDA and Shoryuken, as the SDKs of Go and Ruby send them.
"""

import contextlib
import json
import time
from pathlib import Path
from threading import Thread, Timer
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.clients.conftest import made_token
from tests.running_service import Service, services


@pytest.fixture(scope='module')
def options(service: Service) -> dict[str, Any]:
    """What boto3 must be told to use the service instead of Amazon."""
    return {
        'endpoint_url': f'http://127.0.0.1:{service.port}',
        'region_name': 'us-east-1',
        'aws_access_key_id': 'acme',
        'aws_secret_access_key': 'any',
    }


@pytest.fixture(scope='module')
def client(options: dict[str, Any]) -> Any:
    return boto3.client('sqs', **options)


def test_a_message_goes_from_a_producer_to_a_consumer(client: Any) -> None:
    url = client.create_queue(QueueName='jobs')['QueueUrl']
    sent = client.send_message(QueueUrl=url, MessageBody='hello')

    [message] = client.receive_message(QueueUrl=url, WaitTimeSeconds=5)['Messages']

    assert (message['Body'], message['MessageId']) == ('hello', sent['MessageId'])
    client.delete_message(QueueUrl=url, ReceiptHandle=message['ReceiptHandle'])
    told = client.get_queue_attributes(QueueUrl=url, AttributeNames=['All'])['Attributes']
    assert told['ApproximateNumberOfMessages'] == told['ApproximateNumberOfMessagesNotVisible']
    assert sent['ResponseMetadata']['RequestId']


def test_a_waiting_consumer_gets_a_message_that_is_sent_later(client: Any) -> None:
    url = client.create_queue(QueueName='waited-for')['QueueUrl']
    found: list[Any] = []

    def wait() -> None:
        found.append(client.receive_message(QueueUrl=url, WaitTimeSeconds=20))

    consumer = Thread(target=wait)
    consumer.start()
    time.sleep(0.3)
    client.send_message(QueueUrl=url, MessageBody='late')
    consumer.join(10)

    assert [message['Body'] for message in found[0]['Messages']] == ['late']


@pytest.fixture(scope='module')
def impatient(options: dict[str, Any]) -> Any:
    """A client that gives up long before a wait of twenty seconds is over."""
    config = Config(read_timeout=10, retries={'total_max_attempts': 1})
    return boto3.client('sqs', config=config, **options)


def test_a_wait_for_ten_messages_ends_with_the_first(client: Any, impatient: Any) -> None:
    url = client.create_queue(QueueName='ten')['QueueUrl']
    asked = {'QueueUrl': url, 'MaxNumberOfMessages': 10, 'WaitTimeSeconds': 20}
    client.send_message(QueueUrl=url, MessageBody='there')
    assert len(impatient.receive_message(**asked)['Messages']) == 1
    sending = Timer(0.3, lambda: client.send_message(QueueUrl=url, MessageBody='late'))
    sending.start()

    assert len(impatient.receive_message(**asked)['Messages']) == 1
    sending.join()


def test_a_queue_says_for_how_long_its_receives_wait(client: Any, impatient: Any) -> None:
    attributes = {'ReceiveMessageWaitTimeSeconds': '20'}
    url = client.create_queue(QueueName='waits', Attributes=attributes)['QueueUrl']
    assert 'Messages' not in impatient.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    sending = Timer(0.3, lambda: client.send_message(QueueUrl=url, MessageBody='late'))
    sending.start()

    assert len(impatient.receive_message(QueueUrl=url)['Messages']) == 1
    sending.join()


@pytest.mark.parametrize('suffix', ['', '.fifo'])
def test_a_wait_ends_when_a_message_is_shown_again(
    client: Any, impatient: Any, suffix: str
) -> None:
    attributes = {'FifoQueue': 'true', 'ContentBasedDeduplication': 'true'} if suffix else {}
    group = {'MessageGroupId': 'a'} if suffix else {}
    url = client.create_queue(QueueName=f'shown{suffix}', Attributes=attributes)['QueueUrl']
    client.send_message(QueueUrl=url, MessageBody='x', **group)
    client.receive_message(QueueUrl=url, VisibilityTimeout=1)

    [message] = impatient.receive_message(QueueUrl=url, WaitTimeSeconds=20)['Messages']

    hidden = {'ReceiptHandle': message['ReceiptHandle'], 'VisibilityTimeout': 0}
    shown = Timer(0.3, lambda: client.change_message_visibility(QueueUrl=url, **hidden))
    shown.start()
    assert impatient.receive_message(QueueUrl=url, WaitTimeSeconds=20)['Messages']
    shown.join()


def test_a_wait_of_a_fifo_queue_ends_when_the_message_before_is_deleted(
    client: Any, impatient: Any
) -> None:
    attributes = {'FifoQueue': 'true', 'ContentBasedDeduplication': 'true'}
    url = client.create_queue(QueueName='in-order.fifo', Attributes=attributes)['QueueUrl']
    for body in ('1', '2'):
        client.send_message(QueueUrl=url, MessageBody=body, MessageGroupId='a')
    [first] = client.receive_message(QueueUrl=url)['Messages']
    receipt = {'QueueUrl': url, 'ReceiptHandle': first['ReceiptHandle']}
    deleting = Timer(0.3, lambda: client.delete_message(**receipt))
    deleting.start()

    [second] = impatient.receive_message(QueueUrl=url, WaitTimeSeconds=20)['Messages']

    assert second['Body'] == '2'
    deleting.join()


def test_ten_messages_of_one_mebibyte_are_sent_and_received(client: Any) -> None:
    url = client.create_queue(QueueName='large')['QueueUrl']
    # Each character of it takes six bytes of JSON.
    body = 'ü' * 524288

    for _ in range(10):
        client.send_message(QueueUrl=url, MessageBody=body)

    received = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)['Messages']
    assert [message['Body'] == body for message in received] == [True] * 10
    with pytest.raises(ClientError) as raised:
        client.send_message(QueueUrl=url, MessageBody='x' * (5 * 2**20))
    assert raised.value.response['Error']['Code'] == 'InvalidParameterValue'


def test_an_error_is_the_exception_of_its_name_and_has_the_request_id(client: Any) -> None:
    with pytest.raises(client.exceptions.QueueDoesNotExist) as raised:
        client.get_queue_url(QueueName='none')

    response = raised.value.response
    assert response['Error']['Code'] == 'AWS.SimpleQueueService.NonExistentQueue'
    assert response['Error']['QueryErrorCode'] == 'QueueDoesNotExist'
    assert response['ResponseMetadata']['RequestId']


def test_the_resource_does_what_the_client_does(options: dict[str, Any]) -> None:
    sqs = boto3.resource('sqs', **options)
    queue = sqs.create_queue(QueueName='of-the-resource', Attributes={'DelaySeconds': '0'})
    entries = [{'Id': str(number), 'MessageBody': f'body {number}'} for number in range(3)]

    queue.send_messages(Entries=entries)

    messages = queue.receive_messages(MaxNumberOfMessages=10, MessageAttributeNames=['All'])
    assert [message.body for message in messages] == ['body 0', 'body 1', 'body 2']
    messages[0].change_visibility(VisibilityTimeout=100)
    for message in messages:
        message.delete()
    assert queue.attributes['ApproximateNumberOfMessages'] == '0'
    assert sqs.get_queue_by_name(QueueName='of-the-resource').url == queue.url
    assert queue.url in [one.url for one in sqs.queues.filter(QueueNamePrefix='of-the-')]
    queue.delete()


def test_keda_scales_by_the_numbers_of_messages(service: Service, client: Any) -> None:
    url = client.create_queue(QueueName='scaled')['QueueUrl']
    for _ in range(3):
        client.send_message(QueueUrl=url, MessageBody='x')
    client.receive_message(QueueUrl=url)
    # It takes the third part of the path for the queue's name, and refuses a longer or a shorter path.
    assert urlsplit(url).path.split('/')[2:] == ['scaled']

    for queue in (url, 'scaled'):
        told = sent_by_hand(
            service,
            'GetQueueAttributes',
            {
                'AttributeNames': [
                    'ApproximateNumberOfMessages',
                    'ApproximateNumberOfMessagesNotVisible',
                    'ApproximateNumberOfMessagesDelayed',
                ],
                'QueueUrl': queue,
            },
            headers={'Amz-Sdk-Request': 'attempt=1; max=3', 'Accept-Encoding': 'identity'},
        )

        assert told == {
            'Attributes': {
                'ApproximateNumberOfMessages': '2',
                'ApproximateNumberOfMessagesNotVisible': '1',
                'ApproximateNumberOfMessagesDelayed': '0',
            }
        }


def test_shoryuken_sends_its_requests_to_the_url_of_the_queue(service: Service) -> None:
    url = sent_by_hand(service, 'CreateQueue', {'QueueName': 'of-ruby'})['QueueUrl']
    of_queue, path = {'QueueUrl': url}, urlsplit(url).path
    sent = sent_by_hand(
        service,
        'SendMessage',
        {
            **of_queue,
            'MessageBody': '{"number": 1}',
            'MessageAttributes': {
                'shoryuken_class': {'StringValue': 'Worker', 'DataType': 'String'}
            },
        },
        path,
    )
    told = sent_by_hand(
        service, 'GetQueueAttributes', {**of_queue, 'AttributeNames': ['All']}, path
    )['Attributes']
    assert (told['VisibilityTimeout'], 'FifoQueue' in told) == ('30', False)

    asked = {'AttributeNames': ['All'], 'MessageAttributeNames': ['All'], 'MaxNumberOfMessages': 10}
    [message] = sent_by_hand(service, 'ReceiveMessage', {**of_queue, **asked}, path)['Messages']
    assert message['MessageAttributes']['shoryuken_class']['StringValue'] == 'Worker'
    assert message['MD5OfMessageAttributes'] == sent['MD5OfMessageAttributes']
    receipt = {'ReceiptHandle': message['ReceiptHandle']}
    hidden = {**of_queue, **receipt, 'VisibilityTimeout': 30}
    assert sent_by_hand(service, 'ChangeMessageVisibility', hidden, path) == {}
    deleted = {**of_queue, 'Entries': [{'Id': '0', **receipt}]}
    assert sent_by_hand(service, 'DeleteMessageBatch', deleted, path)['Successful'] == [{'Id': '0'}]


def sent_by_hand(
    service: Service,
    operation: str,
    members: Any,
    path: str = '/',
    headers: dict[str, str] | None = None,
) -> Any:
    """The result of an operation, whose request is written as SDKs of other languages do."""
    given = {
        'Content-Type': 'application/x-amz-json-1.0',
        'X-Amz-Target': f'AmazonSQS.{operation}',
        'X-Amz-Date': '20261127T120000Z',
        'Authorization': 'AWS4-HMAC-SHA256 Credential=acme/20261127/us-east-1/sqs/aws4_request, '
        f'SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={"0" * 64}',
        **(headers or {}),
    }
    with contextlib.closing(service.connect()) as connection:
        connection.request('POST', path, json.dumps(members), given)
        response = connection.getresponse()
        content = response.read()
    assert response.status == 200, content
    assert response.headers['x-amzn-RequestId']
    return json.loads(content)


def test_waiting_consumers_hold_no_worker(client: Any, options: dict[str, Any]) -> None:
    """There are more of them than the service has threads."""
    url = client.create_queue(QueueName='crowded')['QueueUrl']
    quick = client.create_queue(QueueName='quick')['QueueUrl']
    found: list[Any] = []

    def wait() -> None:
        own = boto3.session.Session().client('sqs', **options)
        found.append(own.receive_message(QueueUrl=url, WaitTimeSeconds=20).get('Messages'))

    consumers = [Thread(target=wait) for _ in range(12)]
    for consumer in consumers:
        consumer.start()
    time.sleep(1)

    client.send_message(QueueUrl=quick, MessageBody='x')
    assert len(client.receive_message(QueueUrl=quick)['Messages']) == 1
    entries = [{'Id': str(number), 'MessageBody': str(number)} for number in range(10)]
    client.send_message_batch(QueueUrl=url, Entries=entries)
    client.send_message_batch(QueueUrl=url, Entries=entries[:2])

    for consumer in consumers:
        consumer.join(30)
    assert len([messages for messages in found if messages]) == 12


def test_a_refusal_by_the_waiting_room_has_the_form_of_sqs(
    options: dict[str, Any], tmp_path: Path
) -> None:
    settings = tmp_path / 'settings.py'
    settings.write_text("limits = {'max_waiters': 1, 'max_waiters_per_project': 1}\n")
    with services() as start:
        service = start(MARCONI_CONFIG=str(settings)).wait_until_ready()
        given = {**options, 'endpoint_url': f'http://127.0.0.1:{service.port}'}
        one, other = (
            boto3.session.Session().client(
                'sqs', config=Config(retries={'total_max_attempts': 1}), **given
            )
            for _ in range(2)
        )
        url = one.create_queue(QueueName='jobs')['QueueUrl']
        waiting = Thread(target=lambda: one.receive_message(QueueUrl=url, WaitTimeSeconds=3))
        waiting.start()
        time.sleep(1)

        with pytest.raises(ClientError) as raised:
            other.receive_message(QueueUrl=url, WaitTimeSeconds=3)

        waiting.join(10)
        response = raised.value.response
        assert response['Error']['Code'] == 'ServiceUnavailable'
        assert response['ResponseMetadata']['RequestId']


def test_an_access_key_of_the_command_lets_boto3_in(token_service: Service) -> None:
    """The service and the command have the key for secrets from the same file."""
    key_id, secret = made_token(
        token_service, '--project', 'acme', '--role', 'admin', '--sqs'
    ).splitlines()

    def client_of(given: str) -> Any:
        return boto3.client(
            'sqs',
            endpoint_url=f'http://127.0.0.1:{token_service.port}',
            region_name='us-east-1',
            aws_access_key_id=key_id,
            aws_secret_access_key=given,
        )

    url = client_of(secret).create_queue(QueueName='jobs')['QueueUrl']
    client_of(secret).send_message(QueueUrl=url, MessageBody='hello')
    assert client_of(secret).receive_message(QueueUrl=url, WaitTimeSeconds=2)['Messages']
    with pytest.raises(ClientError) as raised:
        client_of('wrong').list_queues()
    assert raised.value.response['Error']['Code'] == 'SignatureDoesNotMatch'


def test_a_key_signs_while_its_request_waits(token_service: Service) -> None:
    """The waiting room runs a request again, some seconds after it was signed."""
    key_id, secret = made_token(
        token_service, '--project', 'acme', '--role', 'admin', '--sqs'
    ).splitlines()
    client = boto3.client(
        'sqs',
        endpoint_url=f'http://127.0.0.1:{token_service.port}',
        region_name='us-east-1',
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )
    url = client.create_queue(QueueName='signed')['QueueUrl']
    client.send_message(QueueUrl=url, MessageBody='late', DelaySeconds=2)

    [message] = client.receive_message(QueueUrl=url, WaitTimeSeconds=10)['Messages']

    assert message['Body'] == 'late'
