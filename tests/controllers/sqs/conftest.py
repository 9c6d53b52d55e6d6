"""A client of SQS, in trusted mode, whose access key names the project."""

import pytest
from webtest import TestApp

from tests.controllers.sqs.client import Sqs


@pytest.fixture(scope='session')
def _client(wsgi_app: TestApp) -> Sqs:
    """One for all tests: to make one takes boto3 a tenth of a second."""
    return Sqs(TestApp(wsgi_app, lint=False))


@pytest.fixture
def sqs(app: TestApp, _client: Sqs) -> Sqs:
    """A client of the service, whose tables are empty."""
    return _client
