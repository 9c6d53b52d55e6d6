"""boto3 as it is, whose requests go to the application without a socket; and requests by hand."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from webtest import TestApp, TestResponse

from tests.controllers.client import Api

HOST = 'marconi.example'
PROJECT = 'acme'
TARGET = 'AmazonSQS.'


class _Raw(BytesIO):
    """A body as urllib3 hands it over."""

    def stream(self, **options: Any) -> Any:
        yield self.read()


def boto_client(app: TestApp | Api, key: str = PROJECT, secret: str = 'any') -> Any:
    """A client of boto3 with this access key; nothing of it is replaced but the socket."""
    client = boto3.client(
        'sqs',
        endpoint_url=f'http://{HOST}',
        region_name='us-east-1',
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={'total_max_attempts': 1}),
    )
    api = Api(app) if isinstance(app, TestApp) else app

    def send(request: Any, **options: Any) -> AWSResponse:
        parts = urlsplit(request.url)
        headers = {
            name: value if isinstance(value, str) else value.decode()
            for name, value in request.headers.items()
            if name.lower() != 'content-length'
        }
        headers.setdefault('Host', parts.netloc)
        response = api.request(request.method, parts.path or '/', request.body, headers=headers)
        return AWSResponse(
            request.url, response.status_int, dict(response.headers), _Raw(response.body)
        )

    client.meta.events.register('before-send.sqs', send)
    return client


class Sqs:
    """Client of a project's queues, through boto3, or with bodies that no SDK would send."""

    def __init__(self, app: TestApp | Api, key: str = PROJECT, secret: str = 'any') -> None:
        self.api = Api(app) if isinstance(app, TestApp) else app
        self.client = boto_client(app, key, secret)

    def __getattr__(self, operation: str) -> Any:
        return getattr(self.client, operation)

    def queue(self, name: str = 'jobs', **attributes: Any) -> str:
        """The URL of a new queue."""
        given = {key: str(value) for key, value in attributes.items()}
        url: str = self.client.create_queue(QueueName=name, Attributes=given)['QueueUrl']
        return url

    def attributes(self, url: str, *names: str) -> dict[str, str]:
        """The attributes of a queue, all if none is named."""
        asked = list(names or ('All',))
        response = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=asked)
        told: dict[str, str] = response.get('Attributes', {})
        return told

    def send(self, url: str, body: str = 'hello', **members: Any) -> Any:
        return self.client.send_message(QueueUrl=url, MessageBody=body, **members)

    def receive(self, url: str, most: int = 10, **members: Any) -> list[dict[str, Any]]:
        """What a receive gets, with all that can be told of it."""
        asked = {'MessageAttributeNames': ['All'], 'AttributeNames': ['All'], **members}
        response = self.client.receive_message(QueueUrl=url, MaxNumberOfMessages=most, **asked)
        found: list[dict[str, Any]] = response.get('Messages', [])
        return found

    def receive_one(self, url: str, **members: Any) -> dict[str, Any]:
        [message] = self.receive(url, 1, **members)
        return message

    def delete(self, url: str, handle: str) -> Any:
        return self.client.delete_message(QueueUrl=url, ReceiptHandle=handle)

    def hide(self, url: str, handle: str, seconds: int) -> Any:
        return self.client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=seconds
        )

    def arn(self, url: str) -> str:
        return self.attributes(url, 'QueueArn')['QueueArn']

    def call(
        self,
        operation: str,
        members: Any = None,
        path: str = '/',
        headers: Mapping[str, str] | None = None,
    ) -> TestResponse:
        """A request by hand, for a project that a proxy names."""
        body = members if isinstance(members, str | bytes) else json.dumps(members or {})
        given = {
            'X-Amz-Target': f'{TARGET}{operation}',
            'Content-Type': 'application/x-amz-json-1.0',
            'X-Project-Id': PROJECT,
            **(headers or {}),
        }
        return self.api.post(path, body, headers=given)


def json_of(response: TestResponse) -> Any:
    """The document of an answer; WebTest does not take its type for one of JSON."""
    assert response.headers['Content-Type'] == 'application/x-amz-json-1.0'
    return json.loads(response.body)


def refusal(response: TestResponse) -> tuple[int, str, str]:
    """The status, the shape and the code of an error, once it is seen to have the form of all."""
    document = json_of(response)
    assert document.keys() == {'__type', 'message'}
    assert document['message']
    prefix, _, shape = document['__type'].partition('#')
    assert prefix == 'com.amazonaws.sqs'
    code, _, whose = response.headers['x-amzn-query-error'].partition(';')
    assert whose == ('Sender' if response.status_int < 500 else 'Receiver')
    return response.status_int, shape, code


class refused:
    """A block in which boto3 must raise an error with this code."""

    def __init__(self, code: str, status: int = 400) -> None:
        self._wanted = code, status
        self._raises = pytest.raises(ClientError)

    def __enter__(self) -> Any:
        self._info = self._raises.__enter__()
        return self._info

    def __exit__(self, *raised: Any) -> bool | None:
        swallowed = self._raises.__exit__(*raised)
        response = self._info.value.response
        status = response['ResponseMetadata']['HTTPStatusCode']
        assert (response['Error']['Code'], status) == self._wanted, response
        return swallowed
