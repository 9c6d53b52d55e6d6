"""Which request is which action: by method, and by path below the prefix of the version.

What each action is for, and who may do it, stands in ``policy``.
"""

from collections.abc import Callable, Mapping
from functools import partial

from marconi_api.wire.actions import sends_parameter
from marconi_api.wire.doors import Names, Varying
from marconi_api.wire.requests import Request

# Bytes up to which a document is checked for an empty object; a longer one counts as not empty.
_EMPTY_OBJECT = 64


def _sends(parameter: str) -> Callable[[Request], bool]:
    return partial(sends_parameter, name=parameter)


def _has_metadata(request: Request) -> bool:
    """Whether the request makes a queue with metadata; an empty object counts as none."""
    if not request.content_size:
        return False
    if request.content_size > _EMPTY_OBJECT:
        return True
    return ''.join(request.read_text(_EMPTY_OBJECT).split()) != '{}'


_QUEUE = '/queues/{queue}'
_MESSAGES, _CLAIMS = f'{_QUEUE}/messages', f'{_QUEUE}/claims'
_SUBSCRIPTIONS = f'{_QUEUE}/subscriptions'
_SUBSCRIPTION = f'{_SUBSCRIPTIONS}/{{subscription}}'
_MESSAGE, _CLAIM = f'{_MESSAGES}/{{message}}', f'{_CLAIMS}/{{claim}}'

#: What all versions do alike.
_ALIKE: Mapping[str, Names] = {
    'GET': ('home:get',),
    'GET /queues': ('queues:get_all',),
    f'GET {_QUEUE}': ('queues:get',),
    f'DELETE {_QUEUE}': ('queues:delete',),
    f'GET {_QUEUE}/stats': ('queues:stats',),
    f'GET {_MESSAGES}': Varying(_sends('ids'), ('messages:get',), ('messages:get_all',)),
    f'POST {_MESSAGES}': ('messages:create',),
    f'DELETE {_MESSAGES}': Varying(_sends('ids'), ('messages:delete_all',), ('messages:pop',)),
    f'GET {_MESSAGE}': ('messages:get',),
    f'DELETE {_MESSAGE}': Varying(
        _sends('claim_id'),
        ('messages:delete',),
        ('messages:delete', 'messages:delete_without_claim'),
    ),
    f'POST {_CLAIMS}': ('claims:create',),
    f'GET {_CLAIM}': ('claims:get',),
    f'PATCH {_CLAIM}': ('claims:update',),
    f'DELETE {_CLAIM}': ('claims:delete',),
}

V1: Mapping[str, Names] = {
    **_ALIKE,
    'GET /health': ('ping:get',),
    'HEAD /health': ('ping:get',),
    f'HEAD {_QUEUE}': ('queues:get',),
    # The body is ignored: there is a path for metadata.
    f'PUT {_QUEUE}': ('queues:create',),
    f'GET {_QUEUE}/metadata': ('queues:get',),
    f'PUT {_QUEUE}/metadata': ('queues:update',),
}

V1_1: Mapping[str, Names] = {
    **_ALIKE,
    'GET /ping': ('ping:get',),
    'HEAD /ping': ('ping:get',),
    'GET /health': ('health:get',),
    f'PUT {_QUEUE}': Varying(_has_metadata, ('queues:create', 'queues:update'), ('queues:create',)),
}

V2: Mapping[str, Names] = {
    **V1_1,
    f'PATCH {_QUEUE}': ('queues:update',),
    f'POST {_QUEUE}/purge': ('queues:purge',),
    f'POST {_QUEUE}/share': ('queues:share',),
    f'POST {_QUEUE}/redrive': ('redrives:create',),
    f'GET {_QUEUE}/redrives': ('redrives:get',),
    f'GET {_QUEUE}/redrives/{{redrive}}': ('redrives:get',),
    f'DELETE {_QUEUE}/redrives/{{redrive}}': ('redrives:delete',),
    # Each verdict is an action of its own, which is checked once the body is read.
    f'POST {_CLAIM}/verdicts': ('claims:update',),
    f'POST {_CLAIM}/heartbeat': ('claims:update',),
    f'POST {_MESSAGE}/touch': ('messages:touch',),
    f'POST {_MESSAGE}/release': ('messages:release',),
    f'POST {_MESSAGE}/park': Varying(
        _sends('claim_id'), ('messages:park',), ('messages:park', 'messages:park_without_claim')
    ),
    f'POST {_MESSAGE}/kick': ('messages:kick',),
    f'GET {_MESSAGE}/reply': ('replies:get',),
    f'POST {_MESSAGE}/reply': ('messages:delete', 'replies:create'),
    f'POST {_QUEUE}/requests': ('messages:create', 'replies:get'),
    f'GET {_SUBSCRIPTIONS}': ('subscription:get_all',),
    f'POST {_SUBSCRIPTIONS}': ('subscription:create',),
    f'GET {_SUBSCRIPTION}': ('subscription:get',),
    f'PATCH {_SUBSCRIPTION}': ('subscription:update',),
    f'DELETE {_SUBSCRIPTION}': ('subscription:delete',),
    f'PUT {_SUBSCRIPTION}/confirm': ('subscription:confirm',),
    f'GET {_SUBSCRIPTION}/deliveries': ('subscription:get',),
    f'POST {_SUBSCRIPTION}/deliveries/{{delivery}}/retry': ('subscription:update',),
    f'POST {_SUBSCRIPTION}/retry': ('subscription:update',),
    f'POST {_SUBSCRIPTION}/pause': ('subscription:update',),
    f'POST {_SUBSCRIPTION}/resume': ('subscription:update',),
    f'POST {_SUBSCRIPTION}/rotate': ('subscription:update',),
    f'POST {_SUBSCRIPTION}/test': ('subscription:update',),
    f'POST {_QUEUE}/kick': ('messages:kick',),
    'POST /claims': ('claims:create',),
    'POST /verdicts': ('claims:update',),
    'GET /messages': ('messages:get_all',),
    'GET /tokens': ('tokens:get_all',),
    'POST /tokens': ('tokens:create',),
    'DELETE /tokens/{token}': ('tokens:delete',),
}
