"""One request of each kind, of versions 1.1 and 2: what is to be asked of all of them."""

from typing import Any

import pytest

from ..client import JSON_PATCH, NO_CLAIM, NO_MESSAGE

LATER_VERSIONS = ('/v1.1', '/v2')

#: Method, path below the version, body.
ALIKE: dict[str, tuple[str, str, Any]] = {
    'home': ('GET', '/', None),
    'ping': ('GET', '/ping', None),
    'ping-head': ('HEAD', '/ping', None),
    'list-queues': ('GET', '/queues', None),
    'create-queue': ('PUT', '/queues/jobs', None),
    'get-queue': ('GET', '/queues/jobs', None),
    'delete-queue': ('DELETE', '/queues/jobs', None),
    'stats': ('GET', '/queues/jobs/stats', None),
    'list-messages': ('GET', '/queues/jobs/messages', None),
    'get-messages': ('GET', f'/queues/jobs/messages?ids={NO_MESSAGE}', None),
    'post-messages': ('POST', '/queues/jobs/messages', {'messages': [{'body': 1}]}),
    'delete-messages': ('DELETE', f'/queues/jobs/messages?ids={NO_MESSAGE}', None),
    'pop': ('DELETE', '/queues/jobs/messages?pop=1', None),
    'get-message': ('GET', f'/queues/jobs/messages/{NO_MESSAGE}', None),
    'delete-message': ('DELETE', f'/queues/jobs/messages/{NO_MESSAGE}', None),
    'create-claim': ('POST', '/queues/jobs/claims', {}),
    'get-claim': ('GET', f'/queues/jobs/claims/{NO_CLAIM}', None),
    'renew-claim': ('PATCH', f'/queues/jobs/claims/{NO_CLAIM}', {}),
    'release-claim': ('DELETE', f'/queues/jobs/claims/{NO_CLAIM}', None),
}
OF_VERSION_2_ONLY: dict[str, tuple[str, str, Any]] = {
    'health': ('GET', '/health', None),
    'change-queue': ('PATCH', '/queues/jobs', []),
    'purge': ('POST', '/queues/jobs/purge', None),
}
HEADERS = {'change-queue': {'Content-Type': JSON_PATCH}}

REQUESTS = {
    (version, name): (method, version + path, body)
    for version in LATER_VERSIONS
    for name, (method, path, body) in (
        ALIKE if version == '/v1.1' else ALIKE | OF_VERSION_2_ONLY
    ).items()
}


def each(*, with_a_queue: bool = False) -> pytest.MarkDecorator:
    """Parametrize by all requests, or by those that name a queue."""
    return pytest.mark.parametrize(
        ('version', 'name'),
        [
            pytest.param(version, name, id=f'{version[1:]}-{name}')
            for (version, name), (_, path, _) in REQUESTS.items()
            if '/queues/jobs' in path or not with_a_queue
        ],
    )
