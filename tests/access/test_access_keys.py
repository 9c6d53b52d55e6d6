"""Clients of SQS sign their requests by access keys, which are tokens whose secret is kept."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from marconi_api import model
from marconi_api.errors import InvalidRequest
from marconi_api.model.encryption import Cipher
from marconi_api.model.tokens import NewToken
from tests.access.conftest import Serve
from tests.controllers.client import Api
from tests.controllers.sqs.client import HOST, TARGET, Sqs, json_of, refusal, refused

ACME = 'acme'
BODY = b'{"QueueName": "jobs"}'


@pytest.fixture
def key(api: Api) -> NewToken:
    """The access key of an admin."""
    return make()


def make(role: str = 'admin', project: str = ACME, **options: Any) -> NewToken:
    return model.store.tokens.create(project, role, is_access_key=True, **options)


def client(api: Api, key: NewToken) -> Sqs:
    return Sqs(api, key.token.id, key.secret_key or '')


def signed(
    key: NewToken,
    body: bytes = BODY,
    operation: str = 'CreateQueue',
    at: timedelta = timedelta(),
    service: str = 'sqs',
    region: str = 'us-east-1',
    headers: Mapping[str, str] = {},
    path: str = '/',
) -> dict[str, str]:
    """The headers of a request that botocore has signed."""
    request = AWSRequest(
        'POST',
        f'http://{HOST}{path}',
        {
            'X-Amz-Target': f'{TARGET}{operation}',
            'Content-Type': 'application/x-amz-json-1.0',
            **headers,
        },
        body,
    )
    signer = SigV4Auth(Credentials(key.token.id, key.secret_key), service, region)
    moment = datetime.now(UTC) + at
    request.context['timestamp'] = moment.strftime('%Y%m%dT%H%M%SZ')
    request.headers['X-Amz-Date'] = request.context['timestamp']
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    signed_headers = signer.signed_headers(signer.headers_to_sign(request))
    request.headers['Authorization'] = (
        f'AWS4-HMAC-SHA256 Credential={signer.scope(request)}, '
        f'SignedHeaders={signed_headers}, Signature={signature}'
    )
    return {'Host': HOST, **request.headers}


def send(api: Api, headers: Mapping[str, str], body: bytes = BODY, path: str = '/') -> Any:
    return api.post(path, body, headers=headers)


UNSIGNED = (403, 'MissingAuthenticationTokenException', 'MissingAuthenticationToken')
INCOMPLETE = (400, 'IncompleteSignatureException', 'IncompleteSignature')
UNKNOWN = (403, 'UnrecognizedClientException', 'InvalidClientTokenId')
WRONG = (403, 'InvalidSignatureException', 'SignatureDoesNotMatch')
DENIED = (403, 'AccessDeniedException', 'AccessDenied')


# ---------------------------------------------------------------- who gets in


def test_boto3_signs_by_the_key_and_gets_in(api: Api, key: NewToken) -> None:
    sqs = client(api, key)
    url = sqs.queue('jobs')

    sqs.send(url, 'grüße', MessageAttributes={'n': {'DataType': 'Number', 'StringValue': '1'}})

    assert sqs.receive_one(url)['Body'] == 'grüße'
    assert model.store.queues.exists(model.QueueKey.of(ACME, 'jobs'))


def test_a_wrong_secret_does_not_get_in(api: Api, key: NewToken) -> None:
    sqs = Sqs(api, key.token.id, 'x' * 43)

    with refused('SignatureDoesNotMatch', 403):
        sqs.queue()
    with refused('InvalidClientTokenId', 403):
        Sqs(api, 'AKIAIOSFODNN7EXAMPLE', 'x').queue()


def test_a_request_without_a_signature_does_not_get_in(api: Api, key: NewToken) -> None:
    assert refusal(Sqs(api).call('ListQueues')) == UNSIGNED


def test_a_token_of_the_other_doors_is_not_a_signature(api: Api, key: NewToken) -> None:
    for headers in (
        {'Authorization': f'Bearer {key.text}'},
        {'Authorization': 'AWS4-HMAC-SHA256'},
        {'Authorization': 'AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=x'},
        {'Authorization': 'AWS4-HMAC-SHA256 Credential=a/20261127/r/sqs/aws4_request'},
    ):
        assert refusal(Sqs(api).call('ListQueues', headers=headers)) == INCOMPLETE
    assert refusal(Sqs(api).call('ListQueues', headers={'X-Auth-Token': key.text})) == UNSIGNED


def test_a_key_is_a_token_for_the_other_doors_too(api: Api, key: NewToken) -> None:
    headers = {'X-Auth-Token': key.text, 'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c'}

    assert api.get('/v2/queues', headers=headers).status_int == 200


def test_a_token_without_a_secret_is_not_a_key(api: Api) -> None:
    made = model.store.tokens.create(ACME, 'admin')

    assert made.secret_key is None
    with refused('InvalidClientTokenId', 403):
        Sqs(api, made.token.id, made.text).queue()


def test_a_key_ends_when_it_is_revoked_or_expires(serve: Serve, sql: Any) -> None:
    api = serve(cache_seconds=0)
    revoked, expired = make(), make(expires_in=60)
    for key in (revoked, expired):
        client(api, key).queue()
    model.store.tokens.revoke(revoked.token.id)
    sql('UPDATE tokens SET expires_at = now() WHERE id = %s', expired.token.id)

    for key in (revoked, expired):
        with refused('InvalidClientTokenId', 403):
            client(api, key).queue()


def test_the_use_of_a_key_is_noted(api: Api, key: NewToken) -> None:
    client(api, key).queue()

    assert model.store.tokens.get(key.token.id, ACME).last_used_at is not None


def test_the_secret_is_stored_encrypted(api: Api, key: NewToken, sql: Any) -> None:
    [row] = sql('SELECT tokens::text, encrypted_secret FROM tokens')

    assert (key.secret_key or 'none') not in row[0]
    assert Cipher(['a key']).decrypt(row[1]) == key.secret_key
    assert Cipher(['new', 'a key']).decrypt(row[1]) == key.secret_key
    assert Cipher(['new']).decrypt(row[1]) is None
    assert repr(key).count(key.secret_key or 'none') == 0


def test_a_key_whose_secret_cannot_be_decrypted_does_not_get_in(
    api: Api, key: NewToken, sql: Any
) -> None:
    sql('UPDATE tokens SET encrypted_secret = %s', Cipher(['lost']).encrypt('x'))

    with refused('InvalidClientTokenId', 403):
        client(api, key).queue()


def test_without_a_key_for_secrets_no_access_key_can_be_made(api: Api) -> None:
    tokens = model.store.tokens
    without = type(tokens)(model.store.database, Cipher())

    with pytest.raises(InvalidRequest, match='MARCONI_SECRET_KEYS'):
        without.create(ACME, 'admin', is_access_key=True)


def test_wrong_signatures_of_an_address_are_throttled(serve: Serve) -> None:
    api = serve(failures_before_delay=3)
    key = make()
    good = client(api, key)
    good.queue()
    for _ in range(3):
        with refused('SignatureDoesNotMatch', 403):
            Sqs(api, key.token.id, 'wrong').queue()

    with refused('RequestThrottled', 403):
        Sqs(api, key.token.id, 'wrong').queue()
    with refused('RequestThrottled', 403):
        Sqs(api, 'unknown', 'wrong').queue()
    # Keys that are in use at that address are still accepted.
    good.queue()


# ---------------------------------------------------------------- what is signed


def test_a_request_is_signed_as_botocore_does_it(api: Api, key: NewToken) -> None:
    assert json_of(send(api, signed(key)))['QueueUrl'].endswith('/jobs')


def test_a_request_to_a_queue_is_signed_with_its_path(api: Api, key: NewToken) -> None:
    path = f'/{model.store.accounts.of(ACME).number}/jobs'
    send(api, signed(key))
    body = b'{"MessageBody": "x"}'
    headers = signed(key, body, 'SendMessage', path=path)

    assert 'MessageId' in json_of(send(api, headers, body, path))
    assert refusal(send(api, headers, body)) == WRONG


def test_a_signature_for_any_region_counts(api: Api, key: NewToken) -> None:
    assert send(api, signed(key, region='eu-central-1')).status_int == 200


def test_a_hash_of_the_body_may_be_sent(api: Api, key: NewToken) -> None:
    right = '9eac2d7f5a9e4a2b'
    assert refusal(send(api, signed(key, headers={'X-Amz-Content-Sha256': right}))) == WRONG
    unsigned = signed(key, headers={'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD'})
    assert refusal(send(api, unsigned)) == WRONG


@pytest.mark.parametrize('minutes', [-4.9, 4.9])
def test_clocks_may_differ_by_five_minutes(api: Api, key: NewToken, minutes: float) -> None:
    headers = signed(key, at=timedelta(minutes=minutes))

    assert send(api, headers).status_int == 200


@pytest.mark.parametrize('minutes', [-5.1, 5.1, -1440, 1440])
def test_an_older_or_a_later_request_is_refused(api: Api, key: NewToken, minutes: float) -> None:
    assert refusal(send(api, signed(key, at=timedelta(minutes=minutes)))) == WRONG


def test_a_changed_request_is_refused(api: Api, key: NewToken) -> None:
    headers = signed(key)

    assert refusal(send(api, headers, BODY.replace(b'jobs', b'jabs'))) == WRONG
    for name, value in {
        'Host': 'other.example',
        'X-Amz-Target': f'{TARGET}DeleteQueue',
        'Content-Type': 'text/plain',
        'X-Amz-Extra': 'not signed',
    }.items():
        assert refusal(send(api, {**headers, name: value})) == WRONG
    moved = headers['X-Amz-Date'][:-3] + ('00Z' if headers['X-Amz-Date'][-3:-1] != '00' else '01Z')
    assert refusal(send(api, {**headers, 'X-Amz-Date': moved})) == WRONG
    assert send(api, headers).status_int == 200


def test_another_path_or_query_is_refused(api: Api, key: NewToken) -> None:
    headers = signed(key)

    assert refusal(send(api, headers, path='/?a=b')) == WRONG


def test_a_signature_for_another_service_is_refused(api: Api, key: NewToken) -> None:
    assert refusal(send(api, signed(key, service='s3'))) == WRONG


def test_a_request_without_a_date_is_incomplete(api: Api, key: NewToken) -> None:
    headers = signed(key)
    del headers['X-Amz-Date']

    assert refusal(send(api, headers)) == INCOMPLETE
    assert refusal(send(api, {**headers, 'X-Amz-Date': 'yesterday'})) == INCOMPLETE


def test_the_signature_comes_before_the_operation(api: Api, key: NewToken) -> None:
    assert refusal(Sqs(api).call('Unknown')) == UNSIGNED
    assert refusal(send(api, signed(key, operation='Unknown'))) == (
        400,
        'UnknownOperationException',
        'InvalidAction',
    )


# ---------------------------------------------------------------- what a key may do


ALLOWED = {
    'producer': {'CreateQueue', 'GetQueueUrl', 'GetQueueAttributes', 'SendMessage'},
    'consumer': {
        *('GetQueueUrl', 'GetQueueAttributes', 'ReceiveMessage', 'DeleteMessage'),
        'ChangeMessageVisibility',
    },
    'reader': {'GetQueueUrl', 'GetQueueAttributes', 'ListQueues', 'ListMessageMoveTasks'},
}
OPERATIONS: dict[str, dict[str, Any]] = {
    'CreateQueue': {'QueueName': 'jobs'},
    'GetQueueUrl': {'QueueName': 'jobs'},
    'GetQueueAttributes': {'QueueUrl': 'jobs', 'AttributeNames': ['All']},
    'ListQueues': {},
    'SendMessage': {'QueueUrl': 'jobs', 'MessageBody': 'x'},
    'ReceiveMessage': {'QueueUrl': 'jobs'},
    'DeleteMessage': {'QueueUrl': 'jobs', 'ReceiptHandle': 'x'},
    'ChangeMessageVisibility': {
        **{'QueueUrl': 'jobs', 'ReceiptHandle': 'x', 'VisibilityTimeout': 1}
    },
    'SetQueueAttributes': {'QueueUrl': 'jobs', 'Attributes': {'DelaySeconds': '0'}},
    'TagQueue': {'QueueUrl': 'jobs', 'Tags': {'a': 'b'}},
    'PurgeQueue': {'QueueUrl': 'jobs'},
    'ListMessageMoveTasks': {'SourceArn': 'x'},
    'StartMessageMoveTask': {'SourceArn': 'x'},
    'CancelMessageMoveTask': {'TaskHandle': 'x'},
    'DeleteQueue': {'QueueUrl': 'jobs'},
}
ALLOWED['writer'] = {
    *(ALLOWED['producer'] | ALLOWED['consumer'] | ALLOWED['reader']),
    *('StartMessageMoveTask', 'CancelMessageMoveTask'),
}
ALLOWED['admin'] = set(OPERATIONS)


@pytest.mark.parametrize('role', sorted(ALLOWED))
def test_a_key_may_do_what_its_role_may(api: Api, role: str) -> None:
    model.store.queues.create(model.QueueKey.of(ACME, 'jobs'))
    key = make(role)

    may = set()
    for operation, members in OPERATIONS.items():
        body = json.dumps(members).encode()
        response = send(api, signed(key, body, operation), body)
        if response.status_int == 200 or refusal(response) != DENIED:
            may.add(operation)

    assert may == ALLOWED[role]


def test_a_writer_makes_queues_without_attributes_alone(api: Api) -> None:
    sqs = client(api, make('writer'))

    sqs.queue('plain')
    with refused('AccessDenied', 403):
        sqs.queue('special', DelaySeconds=1)
    assert sqs.queue('plain', DelaySeconds=0)


def test_a_consumer_is_not_told_how_many_messages_there_are(api: Api) -> None:
    url = client(api, make()).queue()
    sqs = client(api, make('consumer'))

    assert 'ApproximateNumberOfMessages' not in sqs.attributes(url)
    with refused('AccessDenied', 403):
        sqs.attributes(url, 'ApproximateNumberOfMessages')


def test_a_key_is_for_the_queues_of_its_pattern(api: Api) -> None:
    everything = client(api, make())
    orders, other = everything.queue('orders-1'), everything.queue('other')
    sqs = client(api, make(queues='orders-*'))

    sqs.send(orders)
    with refused('AccessDenied', 403):
        sqs.send(other)
    with refused('AccessDenied', 403):
        sqs.queue('other-2')
    assert sqs.list_queues()['QueueUrls'] == [orders]
    assert sqs.list_queues(QueueNamePrefix='orders-1')['QueueUrls'] == [orders]
    assert 'QueueUrls' not in sqs.list_queues(QueueNamePrefix='oth')


def test_queues_of_another_project_are_not_there(api: Api, key: NewToken) -> None:
    url = client(api, make(project='other')).queue('jobs')

    with refused('AWS.SimpleQueueService.NonExistentQueue'):
        client(api, key).send(url)


def test_other_credentials_beside_a_signature_do_not_count(api: Api, key: NewToken) -> None:
    producer = make('producer')
    headers = signed(producer, b'{}', 'ListQueues')

    for more in (
        {'X-Auth-Token': key.text},
        {'X-Project-Id': ACME, 'X-Roles': 'admin'},
        {'URL-Signature': 'x', 'URL-Expires': 'x', 'URL-Methods': 'POST', 'URL-Paths': '/'},
    ):
        response = send(api, {**headers, **more}, b'{}')
        assert response.status_int in (403, 404)


def test_no_path_is_open_to_an_unsigned_request_of_sqs(api: Api) -> None:
    for path in ('/', '/livez', '/console/sign-in', '/v2/ping', '/v2/queues/jobs'):
        assert refusal(Sqs(api).call('ListQueues', path=path)) == UNSIGNED


# ---------------------------------------------------------------- the query protocol


def test_a_form_is_signed_as_any_request(api: Api, key: NewToken) -> None:
    body = b'Action=CreateQueue&QueueName=jobs'
    headers = {'Content-Type': 'application/x-www-form-urlencoded'}
    sent = signed(key, body, operation='', headers=headers)
    del sent['X-Amz-Target']

    assert send(api, sent, body).status_int == 403
    request = AWSRequest('POST', f'http://{HOST}/', headers, body)
    SigV4Auth(Credentials(key.token.id, key.secret_key), 'sqs', 'us-east-1').add_auth(request)
    sent = {'Host': HOST, **dict(request.headers.items())}
    assert send(api, sent, body).status_int == 200
    changed = send(api, sent, body + b'2')
    assert (changed.status_int, b'<Code>SignatureDoesNotMatch</Code>' in changed.body) == (
        403,
        True,
    )


def test_the_query_of_a_url_is_signed(api: Api, key: NewToken) -> None:
    query = 'Version=2012-11-05&Action=CreateQueue&QueueName=a%20b'
    request = AWSRequest('GET', f'http://{HOST}/?{query}')
    SigV4Auth(Credentials(key.token.id, key.secret_key), 'sqs', 'us-east-1').add_auth(request)
    headers = {'Host': HOST, **dict(request.headers.items())}

    response = api.get(f'/?{query}', headers=headers)
    changed = api.get(f'/?{query}2', headers=headers)

    assert (response.status_int, b'<Code>InvalidParameterValue</Code>' in response.body) == (
        400,
        True,
    )
    assert changed.status_int == 403
