"""AwsJson 1.0: what a request may look like, and each form of an answer."""

import json
from typing import Any

import pytest

from marconi_api import model
from marconi_api.controllers.sqs import aws_json
from marconi_api.controllers.sqs.failures import names_of
from marconi_api.controllers.sqs.operations import OPERATIONS
from marconi_api.errors import (
    Fault,
    MarconiError,
    NotAuthorized,
    QueueNotFound,
    QuotaExceeded,
    RateExceeded,
    StorageUnavailable,
)
from marconi_api.processes import log_lines
from marconi_api.wire.documents import struct_of
from marconi_api.wire.failures import BodyTooSlow, TooManySlowBodies, TooManyWaiters
from tests.controllers.client import Api
from tests.controllers.sqs.client import PROJECT, Sqs, json_of, refusal

SERIALIZATION = (400, 'SerializationException', 'MalformedInput')
UNKNOWN = (400, 'UnknownOperationException', 'InvalidAction')


@pytest.fixture
def url(sqs: Sqs) -> str:
    return sqs.queue()


def account() -> str:
    return model.store.accounts.of(PROJECT).number


# ---------------------------------------------------------------- requests


def test_a_request_goes_to_the_root_or_to_its_queue(sqs: Sqs, url: str) -> None:
    for path in ('/', f'/{account()}/jobs', f'/{account()}/jobs/'):
        response = sqs.call('SendMessage', {'QueueUrl': url, 'MessageBody': 'x'}, path)
        assert response.status_int == 200
    assert len(sqs.receive(url)) == 3


def test_a_request_to_a_queue_need_not_name_it(sqs: Sqs, url: str) -> None:
    path = f'/{account()}/jobs'

    assert json_of(sqs.call('SendMessage', {'MessageBody': 'x'}, path))['MessageId']


def test_other_paths_are_not_of_sqs(sqs: Sqs, url: str) -> None:
    for path in ('/v2/queues/jobs/messages', '/1/jobs', '/livez', f'/{account()}/jobs/x'):
        response = sqs.call('SendMessage', {'QueueUrl': url, 'MessageBody': 'x'}, path)
        assert refusal(response) == (404, 'InvalidAddress', 'InvalidAddress')
    assert sqs.receive(url) == []


def test_the_root_still_tells_the_versions_of_the_other_doors(sqs: Sqs) -> None:
    assert sqs.api.get('/').status_int == 300


def test_members_that_are_not_known_are_ignored(sqs: Sqs, url: str) -> None:
    body = {'QueueUrl': url, 'MessageBody': 'x', 'messageBody': 'y', 'Unknown': {'a': [1]}}

    assert sqs.call('SendMessage', body).status_int == 200
    assert sqs.receive_one(url)['Body'] == 'x'


def test_a_number_may_be_written_as_a_text(sqs: Sqs, url: str) -> None:
    sqs.send(url)
    body = {'QueueUrl': url, 'MaxNumberOfMessages': '10', 'VisibilityTimeout': '0'}

    assert len(json_of(sqs.call('ReceiveMessage', body))['Messages']) == 1


def test_a_member_that_is_null_counts_as_absent(sqs: Sqs, url: str) -> None:
    body = {
        'QueueUrl': url,
        'MessageBody': 'x',
        'DelaySeconds': None,
        'MessageAttributes': None,
        'MessageSystemAttributes': None,
    }

    assert sqs.call('SendMessage', body).status_int == 200


def test_an_absent_body_is_that_of_an_operation_without_members(sqs: Sqs) -> None:
    headers = {'X-Amz-Target': 'AmazonSQS.ListQueues', 'X-Project-Id': PROJECT}

    assert json_of(sqs.api.post('/', headers=headers)) == {}


@pytest.mark.parametrize(
    'body',
    [
        '',
        'x',
        '[]',
        '"x"',
        'null',
        '{',
        '{"QueueUrl": 5}',
        '{"QueueUrl": ["x"]}',
        '{"MessageBody": {}}',
        '{"MessageAttributes": []}',
        '{"MessageAttributes": {"a": "b"}}',
        '{"DelaySeconds": "x"}',
        '{"DelaySeconds": 1.5}',
        '{"DelaySeconds": true}',
        '{"DelaySeconds": 99999999999999999999}',
        '{"a": ' + '[' * 600 + ']' * 600 + '}',
        b'{"QueueUrl": "\xff"}',
        '{"MessageBody": "\\ud800"}',
    ],
)
def test_a_body_of_another_shape_is_refused(sqs: Sqs, body: str | bytes) -> None:
    response = sqs.call('SendMessage', body)

    if body == '':
        assert refusal(response)[2] == 'MissingParameter'
    else:
        assert refusal(response) == SERIALIZATION


def test_a_body_that_is_too_large_is_refused(sqs: Sqs) -> None:
    body = json.dumps({'QueueName': 'x' * aws_json.LONGEST_BODY})

    assert refusal(sqs.call('CreateQueue', body))[0] == 400


@pytest.mark.parametrize('operation', ['Unknown', '', 'sendMessage', 'SendMessage '])
def test_an_unknown_operation_is_told(sqs: Sqs, operation: str) -> None:
    assert refusal(sqs.call(operation)) == UNKNOWN


def test_the_name_of_an_operation_has_its_service(sqs: Sqs) -> None:
    for target in ('SendMessage', 'AmazonSNS.SendMessage', ''):
        response = sqs.call('', headers={'X-Amz-Target': target})
        assert refusal(response) == UNKNOWN


@pytest.mark.parametrize('method', ['GET', 'PUT', 'PATCH', 'DELETE'])
def test_an_operation_is_a_post(sqs: Sqs, method: str) -> None:
    headers = {'X-Amz-Target': 'AmazonSQS.ListQueues', 'X-Project-Id': PROJECT}

    response = sqs.api.request(method, '/', headers=headers)

    assert response.status_int == 405
    assert response.headers['Allow'] == 'POST, OPTIONS'


@pytest.mark.parametrize(
    'content_type', ['application/x-amz-json-1.0; charset=utf-8', 'text/plain', '']
)
def test_the_type_of_the_body_does_not_matter(sqs: Sqs, content_type: str) -> None:
    response = sqs.call('ListQueues', headers={'Content-Type': content_type})

    assert response.status_int == 200


# ---------------------------------------------------------------- answers


def test_an_answer_has_the_type_of_the_protocol(sqs: Sqs, url: str) -> None:
    response = sqs.call('DeleteQueue', {'QueueUrl': url})

    assert response.headers['Content-Type'] == 'application/x-amz-json-1.0'
    assert response.headers['Content-Length'] == '2'
    assert response.body == b'{}'


@pytest.mark.parametrize(
    ('error', 'names'),
    [
        (
            QueueNotFound('q', 'p'),
            ('QueueDoesNotExist', 'AWS.SimpleQueueService.NonExistentQueue', 400),
        ),
        (NotAuthorized(['admin']), ('AccessDeniedException', 'AccessDenied', 403)),
        (QuotaExceeded('too many'), ('OverLimit', 'OverLimit', 403)),
        (RateExceeded('requests', 5, 1.0), ('RequestThrottled', 'RequestThrottled', 403)),
        (StorageUnavailable(), ('ServiceUnavailable', 'ServiceUnavailable', 503)),
        (TooManyWaiters(), ('ServiceUnavailable', 'ServiceUnavailable', 503)),
        (TooManySlowBodies(), ('ServiceUnavailable', 'ServiceUnavailable', 503)),
        (BodyTooSlow(30), ('RequestTimeout', 'RequestTimeout', 408)),
        (Fault(), ('InternalFailure', 'InternalFailure', 500)),
    ],
)
def test_errors_of_the_house_have_names_of_sqs(
    error: MarconiError, names: tuple[str, str, int]
) -> None:
    assert tuple(names_of(error)) == names
    response = aws_json.error_reply(error, {})
    assert response.status_int == names[2]
    assert json.loads(response.body)['__type'] == f'com.amazonaws.sqs#{names[0]}'


def test_what_can_be_tried_again_says_when() -> None:
    for error in (StorageUnavailable(), RateExceeded('requests', 5, 1.0)):
        assert ('Retry-After', '1') in aws_json.error_reply(error, {}).headerlist


def test_an_outage_is_told_in_the_form_of_sqs(api_without_storage: Api) -> None:
    sqs = Sqs(api_without_storage)

    for operation in ('ListQueues', 'GetQueueUrl'):
        response = sqs.call(operation, {'QueueName': 'jobs'})
        assert refusal(response) == (503, 'ServiceUnavailable', 'ServiceUnavailable')


def test_a_request_that_is_not_well_formed_is_told_in_the_form_of_sqs(sqs: Sqs) -> None:
    response = sqs.call('ListQueues', headers={'Host': 'a,b'})

    assert refusal(response) == SERIALIZATION


def test_a_project_is_named_by_the_proxy_or_by_the_key(sqs: Sqs) -> None:
    other = Sqs(sqs.api, key='other')
    other.queue('of-the-key')

    assert 'of-the-key' in str(json_of(sqs.call('ListQueues', headers={'X-Project-Id': 'other'})))
    headers = {'X-Amz-Target': 'AmazonSQS.ListQueues'}
    unnamed = sqs.api.post('/', '{}', headers=headers)
    assert refusal(unnamed) == (
        403,
        'MissingAuthenticationTokenException',
        'MissingAuthenticationToken',
    )


def test_roles_of_the_proxy_hold_here_too(sqs: Sqs) -> None:
    response = sqs.call('CreateQueue', {'QueueName': 'jobs'}, headers={'X-Roles': 'reader'})

    assert refusal(response) == (403, 'AccessDeniedException', 'AccessDenied')


def test_the_log_names_the_operation_the_queue_and_the_key(sqs: Sqs, url: str) -> None:
    credential = 'Credential=acme/20261127/us-east-1/sqs/aws4_request'
    headers = {
        'X-Amz-Target': 'AmazonSQS.SendMessage',
        'Authorization': f'AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=secret',
    }
    response = sqs.api.post('/', {'QueueUrl': url, 'MessageBody': 'x'}, headers=headers)

    fields = log_lines.fields_of(response.request.environ)

    assert fields['route'] == 'AmazonSQS.SendMessage'
    assert (fields['project'], fields['queue'], fields['token']) == ('acme', 'jobs', 'acme')
    assert 'secret' not in str(fields)


def test_each_operation_is_one_that_boto3_has(sqs: Sqs) -> None:
    assert set(OPERATIONS) == set(sqs.client.meta.service_model.operation_names)


def test_each_document_has_the_members_that_boto3_sends(sqs: Sqs) -> None:
    for name, operation in OPERATIONS.items():
        shape = sqs.client.meta.service_model.operation_model(name).input_shape
        document: Any = operation.reads
        read: Any = struct_of(document).__struct_encode_fields__
        if name not in ('AddPermission', 'RemovePermission'):
            assert set(read) == set(shape.members), name
