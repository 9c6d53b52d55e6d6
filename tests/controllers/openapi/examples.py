"""A request for each path, method and status of the document.

In the queue ``jobs`` a message is free and another one is held by a claim, and two webhooks are subscribed; a path's
placeholders stand for these unless an example says otherwise.
"""

from typing import Any, NamedTuple

from marconi_api.controllers.openstack.v2.queues import PATCH_TYPE

from ..client import NO_CLAIM, NO_MESSAGE
from .asked import ASKED, FORGOTTEN
from .redriven import REDRIVEN


class Example(NamedTuple):
    """What is sent, beside method, path and the usual headers."""

    query: str = ''
    body: Any = None
    headers: dict[str, str] = {}
    #: What the path's placeholders stand for.
    named: dict[str, str] = {}
    #: What is not as usual: a name in ``CIRCUMSTANCES``.
    given: str = ''


CIRCUMSTANCES = (
    'no storage',
    'a token for other queues',
    'no messages',
    'no queues',
    'a name whose hash is taken',
    'all messages are parked',
    'the key of another request',
    'the key of a request under way',
    *ASKED,
    FORGOTTEN,
    *REDRIVEN,
)

#: The webhooks; `{subscription}` is that of the first.
HOOK = 'https://hooks.example.com/jobs'
OTHER_HOOK = 'https://hooks.example.com/all'
SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

PLAIN = Example()
NOWHERE = Example(named={'queue': 'none'})
UNKNOWN = Example(named={'message': NO_MESSAGE, 'claim': NO_CLAIM})
HELD = {'message': '{held}'}

_KEY = {'Idempotency-Key': 'key'}


def _under_the_key(body: Any, query: str = '') -> dict[int, Example]:
    """How a request can fail by its key."""
    return {
        409: Example(query, body=body, headers=_KEY, given='the key of a request under way'),
        422: Example(query, body=body, headers=_KEY, given='the key of another request'),
    }


Table = dict[tuple[str, str], dict[int, Example]]

SERVICE: Table = {
    ('GET', '/'): {300: PLAIN},
    ('GET', '/openapi.json'): {200: PLAIN},
    ('GET', '/livez'): {200: PLAIN},
    ('GET', '/readyz'): {200: PLAIN, 503: Example(given='no storage')},
}

_TERMS = {'ttl': 60, 'grace': 60}
_ADMIN = {'X-Roles': 'admin'}

V1: Table = {
    ('GET', '/v1'): {200: PLAIN},
    ('GET', '/v1/health'): {204: PLAIN, 503: Example(given='no storage')},
    ('HEAD', '/v1/health'): {204: PLAIN},
    ('GET', '/v1/queues'): {
        200: Example('limit=1&detailed=true'),
        204: Example(given='no queues'),
        400: Example('limit=0'),
    },
    ('GET', '/v1/queues/{queue}'): {204: PLAIN, 404: NOWHERE},
    ('HEAD', '/v1/queues/{queue}'): {204: PLAIN, 404: NOWHERE},
    ('PUT', '/v1/queues/{queue}'): {
        201: NOWHERE,
        204: PLAIN,
        500: Example(given='a name whose hash is taken'),
    },
    ('DELETE', '/v1/queues/{queue}'): {204: PLAIN},
    ('GET', '/v1/queues/{queue}/metadata'): {200: PLAIN, 404: NOWHERE},
    ('PUT', '/v1/queues/{queue}/metadata'): {
        204: Example(body={'a': 1}),
        400: Example(body={'_a': 1}),
        404: Example(body={}, named={'queue': 'none'}),
    },
    ('GET', '/v1/queues/{queue}/stats'): {200: PLAIN, 404: NOWHERE},
    ('GET', '/v1/queues/{queue}/messages'): {
        200: Example('limit=1&echo=true&include_claimed=true'),
        204: NOWHERE,
        400: Example('limit=x'),
    },
    ('POST', '/v1/queues/{queue}/messages'): {
        201: Example(body=[{'ttl': 60, 'body': {'a': None}}]),
        400: Example(body={}),
        404: Example(body=[{'ttl': 60, 'body': 1}], named={'queue': 'none'}),
        **_under_the_key([{'ttl': 60, 'body': 1}]),
    },
    ('DELETE', '/v1/queues/{queue}/messages'): {204: Example('ids={message}'), 400: PLAIN},
    ('GET', '/v1/queues/{queue}/messages/{message}'): {200: PLAIN, 404: UNKNOWN},
    ('DELETE', '/v1/queues/{queue}/messages/{message}'): {
        204: PLAIN,
        400: Example(f'claim_id={NO_CLAIM}'),
        403: Example(named=HELD),
    },
    ('POST', '/v1/queues/{queue}/claims'): {
        201: Example('limit=1', body=_TERMS),
        204: Example(body=_TERMS, given='no messages'),
        400: Example(body={'ttl': 60}),
        **_under_the_key(_TERMS, 'limit=1'),
    },
    ('GET', '/v1/queues/{queue}/claims/{claim}'): {200: PLAIN, 404: UNKNOWN},
    ('PATCH', '/v1/queues/{queue}/claims/{claim}'): {
        204: Example(body={'ttl': 60}),
        400: Example(body={}),
        404: Example(body={'ttl': 60}, named={'claim': NO_CLAIM}),
    },
    ('DELETE', '/v1/queues/{queue}/claims/{claim}'): {204: PLAIN},
}


def _later(prefix: str) -> Table:
    """What versions 1.1 and 2 do alike."""
    queue = f'{prefix}/queues/{{queue}}'
    messages, claims = f'{queue}/messages', f'{queue}/claims'
    message, claim = messages + '/{message}', claims + '/{claim}'
    post = {'messages': [{'body': {'a': None}}, {'body': 1, 'ttl': 60}]}
    return {
        ('GET', prefix): {200: PLAIN},
        ('GET', f'{prefix}/ping'): {204: PLAIN, 503: Example(given='no storage')},
        ('HEAD', f'{prefix}/ping'): {204: PLAIN},
        ('GET', f'{prefix}/health'): {200: Example(headers=_ADMIN), 403: PLAIN},
        ('GET', f'{prefix}/queues'): {
            200: Example('limit=1&detailed=true'),
            400: Example('detailed=perhaps'),
        },
        ('GET', queue): {200: PLAIN},
        ('PUT', queue): {
            201: Example(body={'a': 1, '_max_claim_count': 5}, named={'queue': 'none'}),
            204: PLAIN,
            400: Example(body={'_default_message_ttl': 1}),
            500: Example(given='a name whose hash is taken'),
        },
        ('DELETE', queue): {204: PLAIN},
        ('GET', f'{queue}/stats'): {200: PLAIN},
        ('GET', messages): {
            200: Example('limit=1&echo=true&include_claimed=true'),
            400: Example(f'ids={",".join("x" * 21)}'),
            404: Example(f'ids={NO_MESSAGE}'),
        },
        ('POST', messages): {
            201: Example(body=post),
            400: Example(body={'messages': []}),
            500: Example(body=post, given='a name whose hash is taken'),
            **_under_the_key(post),
        },
        ('DELETE', messages): {200: Example('pop=2'), 204: Example('ids={message}'), 400: PLAIN},
        ('GET', message): {200: PLAIN, 404: UNKNOWN},
        ('DELETE', message): {
            204: Example('claim_id={claim}', named=HELD),
            400: Example(f'claim_id={NO_CLAIM}'),
            403: Example(named=HELD),
        },
        ('POST', claims): {
            201: Example('limit=1', body={'ttl': 60}),
            204: Example(given='no messages'),
            400: Example(body={'grace': 1}),
            **_under_the_key({}, 'limit=1'),
        },
        ('GET', claim): {200: PLAIN, 404: UNKNOWN},
        ('PATCH', claim): {
            204: Example(body={'ttl': 60}),
            400: Example(body=[]),
            404: Example(body={}, named={'claim': NO_CLAIM}),
        },
        ('DELETE', claim): {204: PLAIN},
    }


def _patch(*operations: dict[str, Any], queue: str = 'jobs') -> Example:
    return Example(
        body=list(operations), headers={'Content-Type': PATCH_TYPE}, named={'queue': queue}
    )


_QUEUE = '/v2/queues/{queue}'
_SUBSCRIPTION = f'{_QUEUE}/subscriptions/{{subscription}}'

V2: Table = {
    **_later('/v2'),
    ('GET', '/v2/queues'): {
        200: Example('limit=1&detailed=true&with_count=true&name=j&a=1'),
        400: Example('limit=21'),
    },
    ('GET', f'{_QUEUE}/messages'): {
        200: Example('state=claimed&echo=true'),
        400: Example('state=lost'),
        404: Example(f'ids={NO_MESSAGE}'),
    },
    ('PATCH', _QUEUE): {
        200: _patch({'op': 'add', 'path': '/metadata/b', 'value': 2}),
        400: _patch({'op': 'copy', 'path': '/metadata/a'}),
        404: _patch(queue='none'),
        409: _patch({'op': 'remove', 'path': '/metadata/b'}),
        415: Example(body=[]),
    },
    ('POST', f'{_QUEUE}/purge'): {
        204: Example(body={'resource_types': ['messages']}),
        400: Example(body={'resource_types': ['pools']}),
    },
    ('POST', f'{_QUEUE}/claims/{{claim}}/verdicts'): {
        200: Example(
            body={
                'verdicts': [
                    {'id': 'x', 'verdict': 'release', 'delay': 5},
                    {'id': 'y', 'verdict': 'touch', 'ttl': 60, 'grace': 60},
                    {'id': 'z', 'verdict': 'park', 'reason': 'odd'},
                ]
            }
        ),
        400: Example(body={'verdicts': [{'id': 'x', 'verdict': 'forget'}]}),
    },
    ('POST', f'{_QUEUE}/claims/{{claim}}/heartbeat'): {
        200: Example(body={'ttl': 60}),
        400: Example(body={'ttl': 1}),
        404: UNKNOWN,
    },
    **{
        ('POST', f'{_QUEUE}/messages/{{message}}/{action}'): {
            204: Example('claim_id={claim}', body=body, named=HELD),
            400: Example('claim_id={claim}', body=body),
            403: Example(f'claim_id={NO_CLAIM}', body=body, named=HELD),
            404: Example('claim_id={claim}', body=body, named={'message': NO_MESSAGE}),
        }
        for action, body in {
            'touch': {'ttl': 60},
            'release': {'delay': 5},
            'park': {'reason': 'odd'},
        }.items()
    },
    ('POST', f'{_QUEUE}/messages/{{message}}/kick'): {
        204: Example(given='all messages are parked'),
        404: UNKNOWN,
        409: PLAIN,
    },
    ('GET', f'{_QUEUE}/messages/{{message}}/reply'): {
        200: Example(given='a reply'),
        202: Example(given='all messages ask for a reply'),
        404: UNKNOWN,
        410: Example(given='a request that ended'),
        400: Example('wait=31'),
    },
    ('POST', f'{_QUEUE}/messages/{{message}}/reply'): {
        204: Example('claim_id={claim}', body={'a': None}, named=HELD),
        400: Example('claim_id={claim}', body={'a': None}),
        403: Example(f'claim_id={NO_CLAIM}', body=1, named=HELD),
        404: Example('claim_id={claim}', body=1, named={'message': NO_MESSAGE}),
    },
    ('POST', f'{_QUEUE}/requests'): {
        200: Example(body={'body': 1}, headers=_KEY, given='a reply'),
        202: Example(body={'body': {'a': 1}, 'ttl': 60, 'delay': 5, 'reply': True}),
        400: Example(body={'body': 1, 'reply': False}),
        404: Example(body={'body': 1}, headers=_KEY, given='a request that was forgotten'),
        410: Example(body={'body': 1}, headers=_KEY, given='a request that ended'),
        500: Example(body={'body': 1}, given='a name whose hash is taken'),
        **_under_the_key({'body': 1}),
    },
    ('GET', f'{_QUEUE}/subscriptions'): {200: Example('limit=1'), 400: Example('limit=21')},
    ('POST', f'{_QUEUE}/subscriptions'): {
        201: Example(
            body={
                'subscriber': 'https://hooks.example.com/other',
                'ttl': 600,
                'options': {'_timeout': 5, 'post_headers': {'X-Team': 'a'}, '_secret': SECRET},
            }
        ),
        400: Example(body={'subscriber': 'mailto:a@example.com'}),
        404: Example(body={'subscriber': 'queue:none'}),
        409: Example(body={'subscriber': HOOK}),
        500: Example(body={'subscriber': HOOK}, given='a name whose hash is taken'),
    },
    ('GET', _SUBSCRIPTION): {200: PLAIN, 404: Example(named={'subscription': NO_MESSAGE})},
    ('PATCH', _SUBSCRIPTION): {
        204: Example(body={'ttl': 60}),
        400: Example(body={'id': 1}),
        404: Example(body={'ttl': 60}, named={'subscription': NO_MESSAGE}),
        409: Example(body={'subscriber': OTHER_HOOK}),
    },
    ('DELETE', _SUBSCRIPTION): {204: PLAIN},
    ('PUT', f'{_SUBSCRIPTION}/confirm'): {
        204: Example(body={'confirmed': True}),
        400: Example(body={'confirmed': None}),
        404: Example(body={'confirmed': True}, named={'subscription': NO_MESSAGE}),
    },
    ('GET', f'{_SUBSCRIPTION}/deliveries'): {
        200: Example('state=failed&limit=1'),
        400: Example('state=over'),
        404: Example(named={'subscription': NO_MESSAGE}),
    },
    ('POST', f'{_SUBSCRIPTION}/deliveries/{{delivery}}/retry'): {
        202: PLAIN,
        404: Example(named={'delivery': NO_MESSAGE}),
    },
    **{
        ('POST', f'{_SUBSCRIPTION}/{verb}'): {
            status: PLAIN,
            404: Example(named={'subscription': NO_MESSAGE}),
        }
        for verb, status in (
            *(('retry', 202), ('pause', 202), ('resume', 202)),
            *(('rotate', 200), ('test', 200)),
        )
    },
    ('POST', f'{_QUEUE}/redrive'): {
        200: Example(body={'state': 'parked', 'to': None, 'dry_run': True}),
        202: Example(
            body={
                'state': 'parked',
                'min_age': 0,
                'max_age': 60,
                'reason': 'odd',
                'rate': 5,
            }
        ),
        400: Example(body={'state': 'claimed'}),
        404: NOWHERE,
        409: Example(body={'state': 'parked'}, given='a redrive under way'),
    },
    ('GET', f'{_QUEUE}/redrives'): {200: Example(given='a redrive')},
    ('GET', f'{_QUEUE}/redrives/{{redrive}}'): {
        200: Example(given='a redrive'),
        404: Example(named={'redrive': 'none'}),
    },
    ('DELETE', f'{_QUEUE}/redrives/{{redrive}}'): {
        200: Example(given='a redrive under way'),
        404: Example(named={'redrive': 'none'}),
    },
    ('POST', f'{_QUEUE}/kick'): {
        200: Example(body={'limit': 5}, given='all messages are parked'),
        400: Example(body={'limit': 0}),
    },
    ('POST', '/v2/claims'): {
        200: Example(body={'queues': [{'name': 'none'}]}),
        201: Example(
            body={
                'queues': [{'name': 'jobs', 'weight': 2}, {'name': 'none', 'limit': 1}],
                'limit': 5,
                'ttl': 60,
            }
        ),
        400: Example(body={'queues': []}),
        **_under_the_key({'queues': [{'name': 'jobs'}]}),
    },
    ('POST', '/v2/verdicts'): {
        200: Example(
            body={
                'verdicts': [
                    {'queue': 'jobs', 'claim_id': '{claim}', 'id': '{held}', 'verdict': 'delete'},
                    {'queue': 'none', 'claim_id': 'x', 'id': 'y', 'verdict': 'release', 'delay': 5},
                ]
            }
        ),
        400: Example(body={'verdicts': [{'queue': 'jobs', 'id': 'x', 'verdict': 'delete'}]}),
    },
    ('GET', '/v2/messages'): {
        200: Example('queue=jobs&queue=none:1&limit=5&echo=true&state=claimed'),
        400: PLAIN,
    },
    ('GET', '/v2/tokens'): {200: Example(headers=_ADMIN)},
    ('POST', '/v2/tokens'): {
        201: Example(
            body={'roles': ['producer'], 'name': 'shop', 'queues': 'orders-*', 'expires_in': 60},
            headers=_ADMIN,
        ),
        400: Example(body={'roles': []}, headers=_ADMIN),
    },
    ('DELETE', '/v2/tokens/{token}'): {
        204: Example(headers=_ADMIN),
        404: Example(headers=_ADMIN, named={'token': 'none'}),
    },
    ('POST', f'{_QUEUE}/share'): {
        200: Example(body={'paths': ['messages'], 'methods': ['GET'], 'expires': '2999-01-01'}),
        400: Example(body={'paths': ['pools']}),
    },
}

EXAMPLES: Table = {**SERVICE, **V1, **_later('/v1.1'), **V2}

#: How each operation of a version can fail whatever it does: the headers that make it fail.
COMMON_FAILURES: dict[int, Example] = {
    400: Example(headers={'Client-ID': 'nobody'}),
    406: Example(headers={'Accept': 'text/html'}),
}
COMMON_FAILURES_V2 = {404: Example(headers={'URL-Signature': 'forged'})}

#: What needs no storage, or has a status of its own for when there is none.
NEED_NO_STORAGE = {
    *SERVICE,
    *((method, path) for method, path in EXAMPLES if path.endswith(('/health', '/ping'))),
    *((method, path) for method, path in EXAMPLES if path in ('/v1', '/v1.1', '/v2')),
    ('POST', f'{_QUEUE}/share'),
}
