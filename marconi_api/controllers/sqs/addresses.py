"""Queues as SQS addresses them: by name, by a URL, and by an ARN; and the accounts in the latter two."""

import re
from typing import Any, NamedTuple

from marconi_api import model
from marconi_api.controllers.sqs.failures import (
    InvalidParameterValue,
    MissingParameter,
    QueueDoesNotExist,
    ResourceNotFound,
)
from marconi_api.errors import NotThisQueue
from marconi_api.model import QueueKey
from marconi_api.model.queues import NAMES_OF_SQS
from marconi_api.wire.requests import Request

FIFO_SUFFIX = '.fifo'

#: The paths to which requests may be sent: the root, or that of a queue's URL.
PATH = re.compile('/?|/[0-9]{12}/[^/]+/?')

_NAME = re.compile(NAMES_OF_SQS)
_ARN = re.compile(r'arn:aws[a-z-]*:sqs:([a-z0-9-]*):([0-9]{12}):(.+)')


class Settings(NamedTuple):
    """The part of the section ``sqs`` of config.py that is about addresses."""

    public_url: str | None
    region: str


_settings = Settings(None, 'us-east-1')


def init_addresses(section: Any) -> None:
    """Put the section ``sqs`` of config.py in force."""
    global _settings
    _settings = Settings(section.public_url, section.region)


def is_name(text: str) -> bool:
    """Whether it can be the name of a queue here."""
    return _NAME.match(text) is not None and not text.endswith('\n')


def account_of(request: Request) -> str:
    """The account of the request's project."""
    return model.store.accounts.of(request.project).number


def url_of(request: Request, name: str) -> str:
    """The URL of a queue of the request's project, under which the client reaches this service."""
    base = _settings.public_url
    if base is None:
        environ = request.environ
        is_https = 'https' in (environ['wsgi.url_scheme'], environ.get('HTTP_X_FORWARDED_PROTO'))
        base = f'http{"s" if is_https else ""}://{environ["HTTP_HOST"]}'
    return f'{base.rstrip("/")}/{account_of(request)}/{name}'


def arn_of(request: Request, name: str) -> str:
    """The ARN of a queue of the request's project."""
    return f'arn:aws:sqs:{_settings.region}:{account_of(request)}:{name}'


def name_in_arn(request: Request, arn: str) -> str | None:
    """The name of the queue that an ARN names; None if that is not of the request's project."""
    found = _ARN.fullmatch(arn)
    if found is None or not is_name(found[3]) or found[2] != account_of(request):
        return None
    return found[3]


def queue_in_arn(request: Request, member: str, arn: str | None) -> QueueKey:
    """The queue that an ARN names.

    :param member: the member of the request that holds the ARN
    :raises MissingParameter: if there is none
    :raises InvalidParameterValue: if it is not an ARN of a queue
    :raises ResourceNotFound: if it is of another project
    :raises NotThisQueue: if the credential is for other queues
    """
    if not arn:
        raise MissingParameter(member)
    if not _ARN.fullmatch(arn):
        raise InvalidParameterValue(
            f'The value {arn[:200]!r} for {member} is not an ARN of a queue.'
        )
    name = name_in_arn(request, arn)
    if name is None:
        raise ResourceNotFound(f'The resource that you specified for the {member} does not exist.')
    return queue_named(request, name)


def queue_named(request: Request, name: str) -> QueueKey:
    """A queue of the request's project, which need not exist.

    :raises NotThisQueue: if the credential is for other queues
    """
    identity = request.identity
    if not identity.may_name(name):
        raise NotThisQueue(name, identity.queues or '')
    queue = QueueKey.of(request.project, name)
    # The log names the queue of a request by what its path holds.
    request.path_values = {'queue': queue}
    return queue


def queue_at(request: Request, url: str | None) -> QueueKey:
    """The queue of a URL; of that only the last two parts count: the account and the name.

    A URL that is only a name is taken for a queue of the request's project. A request without a URL is
    about the queue to which it was sent, if any.

    :raises MissingParameter: if no queue is named
    :raises QueueDoesNotExist: if it cannot be one of the project
    :raises NotThisQueue: if the credential is for other queues
    """
    if not url:
        url = request.path if request.path.count('/') == 2 else None
    if not url:
        raise MissingParameter('QueueUrl')
    *_, account, name = ('', *url.rstrip('/').split('/'))
    if '/' in url and account != account_of(request):
        raise QueueDoesNotExist
    if not is_name(name):
        raise QueueDoesNotExist
    return queue_named(request, name)


def new_name(name: str | None) -> str:
    """The name for a new queue.

    :raises MissingParameter: if there is none
    :raises InvalidParameterValue: if no queue can have it
    """
    if not name:
        raise MissingParameter('QueueName')
    if not is_name(name):
        raise InvalidParameterValue(
            'Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.'
        )
    return name
