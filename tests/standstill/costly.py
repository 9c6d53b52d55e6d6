"""For each route, the most expensive requests that one tenant may send.

Placeholders stand for something in the queue ``large``: ``{message}``, ``{held}`` for one that
``{claim}`` holds, ``{ids}`` of as many as one request may name; ``{new}`` stands for the name of
no queue, ``{full}`` for a queue that nobody has emptied yet, ``{wait}`` for some seconds.
"""

import json
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from marconi_api.controllers.openstack.v2.queues import PATCH_TYPE
from marconi_api.model import MOST_IN_A_POST
from marconi_api.model.attributes import DEFAULTS
from tests.standstill.world import CHAIN, QUEUES, WIDE, large_metadata

#: A client reads an answer to its end; or a stream for as long as it may; or leaves all of it unread,
#: and sends the next request over another connection; or sends many requests whose bodies come late.
Reading = Literal['whole', 'stream', 'never', 'late']


class Costly(NamedTuple):
    """A request to a route, whose version stands before ``target``."""

    target: str = ''
    body: str | None = None
    content_type: str = 'application/json'
    headers: dict[str, str] = {}
    #: Which of QUEUES ``{full}`` is like.
    refilled: str = ''
    #: What the client does with the answer.
    reading: Reading = 'whole'


#: Media types by the hundred, which must be looked at one by one.
_ACCEPT = {'Accept': ','.join(f'text/x{number};q=0.{number}' for number in range(150)) + ',*/*'}

#: The ids of a queue's first messages, as many as one request may name.
_FIRST = ','.join(f'{number:016x}' for number in range(1, 21))

_TERMS = '{"ttl": 60, "grace": 60}'

Table = dict[tuple[str, str], list[Costly]]


def _messages(version: str) -> list[str]:
    """Bodies of a POST: one message as large as can be, as many as can be, and nested ones."""
    few = [{'ttl': 60, 'body': 'x' * 262_000}]
    nested = '[' * 490 + ']' * 490
    deep = [f'{{"ttl": 60, "body": {nested}}}'] * 250
    # Version 1 demands a ttl, with which fewer fit into a body.
    many = ['{"ttl":60,"body":1}'] * 12_500 if version == '/v1' else ['{"body":1}'] * MOST_IN_A_POST
    lists = [json.dumps(few), f'[{",".join(many)}]', f'[{",".join(deep)}]']
    return lists if version == '/v1' else [f'{{"messages": {text}}}' for text in lists]


def _as_many_deliveries(version: str) -> str:
    """A body of a POST to 99 webhooks, with as many messages as it may have."""
    messages = ','.join(['{"ttl":60,"body":1}'] * (2**15 // 99))
    return f'[{messages}]' if version == '/v1' else f'{{"messages": [{messages}]}}'


def _of_all(version: str) -> Table:
    """What all versions have."""
    queue = f'{version}/queues/{{queue}}'
    messages, claims = f'{queue}/messages', f'{queue}/claims'
    message, claim = messages + '/{message}', claims + '/{claim}'
    pages = [
        Costly('/queues/fresh/messages?limit=20'),
        Costly('/queues/fresh/messages?limit=20&marker=0000000000000001'),
        Costly('/queues/returned/messages?limit=20&echo=true'),
        Costly('/queues/lapsed/messages?limit=20&echo=true&include_claimed=true'),
        Costly('/queues/large/messages?limit=20&echo=true'),
        Costly('/queues/large/messages?ids={ids}'),
    ]
    return {
        ('GET', version): [Costly(headers=_ACCEPT)],
        ('GET', f'{version}/health'): [Costly('/health', headers=_ACCEPT)],
        ('GET', f'{version}/queues'): [
            Costly('/queues?limit=20&detailed=true'),
            Costly('/queues?limit=20&marker=small-09'),
        ],
        ('GET', queue): [Costly(f'/queues/{WIDE[0]}')],
        ('DELETE', queue): [Costly('/queues/{full}', refilled='fresh')],
        ('GET', f'{queue}/stats'): [Costly(f'/queues/{name}/stats') for name in QUEUES],
        ('GET', messages): pages,
        ('POST', messages): [
            *(Costly('/queues/small-000000/messages', body) for body in _messages(version)),
            Costly('/queues/subscribed/messages', _as_many_deliveries(version)),
        ],
        ('DELETE', messages): [Costly(f'/queues/returned/messages?ids={_FIRST}')],
        ('GET', message): [Costly('/queues/large/messages/{message}')],
        ('DELETE', message): [Costly('/queues/large/messages/{held}?claim_id={claim}')],
        ('POST', claims): [
            Costly('/queues/{full}/claims?limit=20', _TERMS, refilled='large'),
            Costly('/queues/lapsed/claims?limit=20', _TERMS),
            Costly('/queues/dead/claims?limit=20', _TERMS),
        ],
        ('GET', claim): [Costly('/queues/large/claims/{claim}')],
        ('PATCH', claim): [Costly('/queues/large/claims/{claim}', _TERMS)],
        ('DELETE', claim): [Costly('/queues/large/claims/{claim}')],
    }


_V1: Table = {
    **_of_all('/v1'),
    ('HEAD', '/v1/health'): [Costly('/health', headers=_ACCEPT)],
    ('HEAD', '/v1/queues/{queue}'): [Costly('/queues/fresh')],
    ('PUT', '/v1/queues/{queue}'): [Costly('/queues/{new}')],
    ('GET', '/v1/queues/{queue}/metadata'): [Costly(f'/queues/{WIDE[0]}/metadata')],
    ('PUT', '/v1/queues/{queue}/metadata'): [
        Costly('/queues/small-000000/metadata', large_metadata())
    ],
}


def _later(version: str) -> Table:
    """What versions 1.1 and 2 have."""
    queue = f'{version}/queues/{{queue}}'
    of_all = _of_all(version)
    pops = [
        Costly('/queues/{full}/messages?pop=20', refilled='large'),
        Costly('/queues/lapsed/messages?pop=20'),
        Costly('/queues/dead/messages?pop=20'),
    ]
    return {
        **of_all,
        ('GET', f'{version}/ping'): [Costly('/ping', headers=_ACCEPT)],
        ('HEAD', f'{version}/ping'): [Costly('/ping', headers=_ACCEPT)],
        ('PUT', queue): [
            Costly('/queues/{new}', large_metadata()),
            Costly('/queues/{new}', large_metadata(_dead_letter_queue=CHAIN[1])),
        ],
        ('DELETE', f'{queue}/messages'): [*of_all['DELETE', f'{queue}/messages'], *pops],
    }


def _patches() -> list[str]:
    """Bodies of a PATCH: many small operations, and one that names a long chain."""
    one = {'op': 'add', 'path': '/metadata/m', 'value': 1}
    chain = {'op': 'add', 'path': '/metadata/_dead_letter_queue', 'value': CHAIN[1]}
    return [
        json.dumps([{**one, 'path': f'/metadata/m{n % 3500}'} for n in range(1200)]),
        json.dumps([chain]),
    ]


_QUEUE = '/v2/queues/{queue}'
_MESSAGE = f'{_QUEUE}/messages/{{message}}'
_SUBSCRIPTION = f'{_QUEUE}/subscriptions/{{subscription}}'
_SUBSCRIBED = '/queues/subscribed/subscriptions/0000000000000001'
_HELD = '/queues/large/messages/{held}'
# Those that have nothing to claim come first.
_MANY = [
    'lapsed',
    'dead',
    'parked',
    *CHAIN,
    *(f'small-{n:06}' for n in range(5)),
    'returned',
    'fresh',
]
_EMPTY = [f'small-{n:06}' for n in range(1, 21)]


def _streams() -> list[Costly]:
    """Streams of deep queues, some of which show nothing, and some of which are not read."""
    accept = {'Accept': 'text/event-stream'}
    from_start = 'echo=true&marker='
    return [
        Costly(f'/queues/fresh/messages?{from_start}', headers=accept, reading='stream'),
        Costly(f'/queues/large/messages?{from_start}', headers=accept, reading='stream'),
        Costly(
            f'/queues/fresh/messages?{from_start}&state=claimed', headers=accept, reading='stream'
        ),
        Costly(f'/queues/fresh/messages?{from_start}', headers=accept, reading='never'),
        Costly(f'/queues/large/messages?{from_start}', headers=accept, reading='never'),
    ]


_VERDICTS: list[dict[str, Any]] = [
    {'id': f'{number:016x}', 'verdict': 'park', 'reason': 'x' * 1000} for number in range(100)
]

_V2: Table = {
    **_later('/v2'),
    ('GET', '/v2/queues'): [
        *_later('/v2')['GET', '/v2/queues'],
        Costly('/queues?limit=1&foo=1'),
        Costly('/queues?limit=20&name=zzz'),
        Costly('/queues?limit=20&name=wide&deep=1&' + '&'.join(f'{name}=1' for name in DEFAULTS)),
        Costly('/queues?limit=20&with_count=true&detailed=true'),
    ],
    ('GET', f'{_QUEUE}/messages'): [
        *_later('/v2')['GET', f'{_QUEUE}/messages'],
        Costly('/queues/fresh/messages?limit=20&echo=true&state=claimed'),
        Costly('/queues/fresh/messages?limit=20&echo=true&state=delayed'),
        Costly('/queues/parked/messages?limit=20&include_claimed=true&include_delayed=true'),
        Costly('/queues/parked/messages?limit=20&state=parked'),
        Costly('/queues/fresh/messages?limit=20&echo=true&state=claimed&wait={wait}'),
        Costly('/queues/large/messages?limit=20&echo=true', reading='never'),
        *_streams(),
    ],
    ('DELETE', f'{_QUEUE}/messages'): [
        *_later('/v2')['DELETE', f'{_QUEUE}/messages'],
        Costly('/queues/dead/messages?pop=20&wait={wait}'),
    ],
    ('POST', f'{_QUEUE}/messages'): [
        *_later('/v2')['POST', f'{_QUEUE}/messages'],
        Costly('/queues/small-000000/messages', _messages('/v2')[0], reading='late'),
    ],
    ('POST', f'{_QUEUE}/claims'): [
        *_later('/v2')['POST', f'{_QUEUE}/claims'],
        Costly('/queues/lapsed/claims?limit=20&wait={wait}', _TERMS),
        Costly('/queues/{full}/claims?limit=20', _TERMS, refilled='large', reading='never'),
    ],
    ('PATCH', _QUEUE): [
        Costly(f'/queues/{WIDE[-1]}', body, content_type=PATCH_TYPE) for body in _patches()
    ],
    ('POST', f'{_QUEUE}/purge'): [
        Costly('/queues/{full}/purge', refilled='fresh'),
        Costly('/queues/{full}/purge', '{"resource_types": ["parked"]}', refilled='parked'),
    ],
    ('POST', f'{_QUEUE}/redrive'): [
        Costly('/queues/fresh/redrive', '{"to": "returned", "dry_run": true, "min_age": 1}'),
        Costly('/queues/parked/redrive', '{"state": "parked", "dry_run": true, "reason": "x"}'),
        Costly('/queues/{full}/redrive', '{"to": "small-000000"}', refilled='fresh'),
        Costly('/queues/{full}/redrive', '{"state": "parked"}', refilled='parked'),
    ],
    ('GET', f'{_QUEUE}/redrives'): [Costly('/queues/fresh/redrives')],
    ('GET', f'{_QUEUE}/redrives/{{redrive}}'): [Costly('/queues/fresh/redrives/{redrive}')],
    ('DELETE', f'{_QUEUE}/redrives/{{redrive}}'): [Costly('/queues/fresh/redrives/{redrive}')],
    ('POST', f'{_QUEUE}/share'): [
        Costly('/queues/fresh/share', json.dumps({'methods': ['GET'] * 30_000}))
    ],
    ('POST', f'{_QUEUE}/claims/{{claim}}/verdicts'): [
        Costly('/queues/fresh/claims/{claim}/verdicts', json.dumps({'verdicts': _VERDICTS}))
    ],
    ('POST', f'{_QUEUE}/claims/{{claim}}/heartbeat'): [
        Costly('/queues/large/claims/{claim}/heartbeat', _TERMS)
    ],
    ('POST', f'{_MESSAGE}/touch'): [Costly(f'{_HELD}/touch?claim_id={{claim}}', _TERMS)],
    ('POST', f'{_MESSAGE}/release'): [Costly(f'{_HELD}/release?claim_id={{claim}}')],
    ('POST', f'{_MESSAGE}/park'): [
        Costly(f'{_HELD}/park?claim_id={{claim}}', json.dumps({'reason': 'x' * 1000}))
    ],
    ('POST', f'{_MESSAGE}/kick'): [Costly(f'{_HELD}/kick')],
    ('GET', f'{_MESSAGE}/reply'): [Costly(f'{_HELD}/reply')],
    ('POST', f'{_MESSAGE}/reply'): [
        Costly(f'{_HELD}/reply?claim_id={{claim}}', json.dumps('x' * 262_000)),
        Costly(f'{_HELD}/reply?claim_id={{claim}}', '[' * 490 + ']' * 490),
    ],
    ('POST', f'{_QUEUE}/requests'): [
        Costly('/queues/small-000000/requests', json.dumps({'ttl': 60, 'body': 'x' * 262_000})),
        Costly('/queues/small-000000/requests', '{"ttl": 60, "body": 1}'),
    ],
    ('GET', f'{_QUEUE}/subscriptions'): [Costly('/queues/subscribed/subscriptions?limit=20')],
    ('POST', f'{_QUEUE}/subscriptions'): [
        Costly('/queues/subscribed/subscriptions', json.dumps({'subscriber': 'queue:fresh'})),
        Costly(
            '/queues/{new}/subscriptions',
            json.dumps({'subscriber': 'http://a.example/', 'options': {'post_data': 'x' * 65_000}}),
        ),
    ],
    ('GET', _SUBSCRIPTION): [Costly('/queues/subscribed/subscriptions/0000000000000001')],
    ('PATCH', _SUBSCRIPTION): [
        Costly(
            '/queues/subscribed/subscriptions/0000000000000001',
            json.dumps({'options': {'post_data': 'x' * 65_000}}),
        )
    ],
    ('DELETE', _SUBSCRIPTION): [Costly('/queues/subscribed/subscriptions/0000000000000000')],
    ('PUT', f'{_SUBSCRIPTION}/confirm'): [
        Costly('/queues/subscribed/subscriptions/0000000000000001/confirm', '{"confirmed": true}')
    ],
    ('GET', f'{_SUBSCRIPTION}/deliveries'): [
        # None of those that it walks over.
        Costly(f'{_SUBSCRIBED}/deliveries?state=pending&limit=20'),
        Costly(f'{_SUBSCRIBED}/deliveries?limit=20'),
    ],
    ('POST', f'{_SUBSCRIPTION}/deliveries/{{delivery}}/retry'): [
        Costly(f'{_SUBSCRIBED}/deliveries/0000000000000001/retry')
    ],
    ('POST', f'{_SUBSCRIPTION}/retry'): [Costly(f'{_SUBSCRIBED}/retry')],
    ('POST', f'{_SUBSCRIPTION}/pause'): [Costly(f'{_SUBSCRIBED}/pause')],
    ('POST', f'{_SUBSCRIPTION}/resume'): [Costly(f'{_SUBSCRIBED}/resume')],
    ('POST', f'{_SUBSCRIPTION}/rotate'): [Costly(f'{_SUBSCRIBED}/rotate')],
    # The webhook's address is one of a documentation network.
    ('POST', f'{_SUBSCRIPTION}/test'): [Costly(f'{_SUBSCRIBED}/test')],
    ('POST', f'{_QUEUE}/kick'): [
        Costly('/queues/{full}/kick', refilled='parked'),
        Costly('/queues/{full}/kick', '{"limit": 2147483647}', refilled='parked'),
    ],
    # As many as there can be are 300 KB.
    ('GET', '/v2/tokens'): [Costly('/tokens')],
    ('POST', '/v2/tokens'): [Costly('/tokens', json.dumps({'roles': ['reader'] * 20_000}))],
    ('DELETE', '/v2/tokens/{token}'): [Costly('/tokens/{token}')],
    ('POST', '/v2/claims'): [
        Costly('/claims', json.dumps({'queues': [{'name': name} for name in _MANY], 'limit': 20})),
        Costly(
            '/claims',
            json.dumps({'queues': [{'name': name, 'weight': 1000} for name in _MANY], 'limit': 20}),
        ),
        Costly(
            '/claims?wait={wait}',
            json.dumps(
                {'queues': [{'name': name, 'weight': 1000} for name in _EMPTY], 'limit': 20}
            ),
        ),
    ],
    ('POST', '/v2/verdicts'): [
        Costly(
            '/verdicts',
            json.dumps(
                {
                    'verdicts': [
                        {**verdict, 'queue': _MANY[place % len(_MANY)], 'claim_id': str(uuid4())}
                        for place, verdict in enumerate(_VERDICTS)
                    ]
                }
            ),
        )
    ],
    ('GET', '/v2/messages'): [
        Costly(f'/messages?queue={",".join(_MANY)}&limit=20&echo=true&state={state}')
        for state in ('ready', 'claimed', 'parked')
    ]
    + [
        Costly(f'/messages?queue={",".join(_MANY)}&limit=20'),
        Costly(f'/messages?queue={",".join(_EMPTY)}&limit=20&echo=true&wait={{wait}}'),
    ],
}

#: Those of each route, by its method and path.
COSTLY: Table = {
    ('GET', '/'): [Costly('/', headers=_ACCEPT)],
    ('GET', '/openapi.json'): [Costly('/openapi.json', headers=_ACCEPT)],
    ('GET', '/livez'): [Costly('/livez')],
    ('GET', '/readyz'): [Costly('/readyz')],
    **_V1,
    **_later('/v1.1'),
    **_V2,
}
