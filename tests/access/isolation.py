"""What each request is, to somebody who thinks about who may send it: a row for each.

It is written from the rules for people (docs/protocol-v2.md, 2.4), not from the code that
carries them out.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.controllers.openapi.examples import EXAMPLES, Example

#: Groups of roles, from the widest. An operator belongs to all of them.
EVERYBODY = 'everybody, with a credential or without'
ANY_ROLE = ('producer', 'consumer', 'reader', 'writer', 'admin')
WHO_HAS_THE_ID = ('consumer', 'reader', 'writer', 'admin')
WHO_ASKS = ('producer', 'reader', 'writer', 'admin')
READERS = ('reader', 'writer', 'admin')
PRODUCERS = ('producer', 'writer', 'admin')
CONSUMERS = ('consumer', 'writer', 'admin')
WRITERS = ('writer', 'admin')
ADMINS = ('admin',)


class Row(NamedTuple):
    """A request, the status that those get who may send it, and who they are."""

    method: str
    path: str
    status: int
    example: Example
    who: Any

    @property
    def names_a_queue(self) -> bool:
        """Whether it is about one queue or some, which it names."""
        return '{queue}' in self.path or self.path in (
            '/v2/claims',
            '/v2/verdicts',
            '/v2/messages',
        )

    @property
    def can_be_shared(self) -> bool:
        """Whether a grant for the messages and the claims of the queue opens it."""
        below = self.path.removeprefix('/v2/queues/{queue}/')
        return below in ('messages', 'messages/{message}', 'claims', 'claims/{claim}')

    @property
    def name(self) -> str:
        """For the report of a test."""
        return f'{self.method} {self.path}{"?" if self.example.query else ""}{self.example.query}'


_QUEUE = '/queues/{queue}'
_MESSAGES, _MESSAGE = f'{_QUEUE}/messages', f'{_QUEUE}/messages/{{message}}'
_CLAIMS, _CLAIM = f'{_QUEUE}/claims', f'{_QUEUE}/claims/{{claim}}'
_SUBSCRIPTION = f'{_QUEUE}/subscriptions/{{subscription}}'

#: Who may send the first example of each request.
_ALIKE = {
    ('GET', ''): ANY_ROLE,
    ('GET', '/queues'): READERS,
    ('GET', _QUEUE): ANY_ROLE,
    ('DELETE', _QUEUE): ADMINS,
    ('GET', f'{_QUEUE}/stats'): READERS,
    ('GET', _MESSAGES): READERS,
    ('POST', _MESSAGES): PRODUCERS,
    ('GET', _MESSAGE): WHO_HAS_THE_ID,
    ('POST', _CLAIMS): CONSUMERS,
    ('GET', _CLAIM): WHO_HAS_THE_ID,
    ('PATCH', _CLAIM): CONSUMERS,
    ('DELETE', _CLAIM): CONSUMERS,
}
_V1 = {
    **_ALIKE,
    ('GET', '/health'): EVERYBODY,
    ('HEAD', '/health'): EVERYBODY,
    ('HEAD', _QUEUE): ANY_ROLE,
    ('PUT', _QUEUE): PRODUCERS,
    ('GET', f'{_QUEUE}/metadata'): ANY_ROLE,
    ('PUT', f'{_QUEUE}/metadata'): ADMINS,
    ('DELETE', _MESSAGES): ADMINS,
    # Without its claim.
    ('DELETE', _MESSAGE): WRITERS,
}
_V1_1 = {
    **_ALIKE,
    ('GET', '/ping'): EVERYBODY,
    ('HEAD', '/ping'): EVERYBODY,
    ('GET', '/health'): ADMINS,
    # With metadata.
    ('PUT', _QUEUE): ADMINS,
    # A pop.
    ('DELETE', _MESSAGES): CONSUMERS,
    # Under its claim.
    ('DELETE', _MESSAGE): CONSUMERS,
}
_V2 = {
    **_V1_1,
    ('PATCH', _QUEUE): ADMINS,
    ('POST', f'{_QUEUE}/purge'): ADMINS,
    ('POST', f'{_QUEUE}/share'): ADMINS,
    ('POST', f'{_QUEUE}/redrive'): WRITERS,
    ('GET', f'{_QUEUE}/redrives'): READERS,
    ('GET', f'{_QUEUE}/redrives/{{redrive}}'): READERS,
    ('DELETE', f'{_QUEUE}/redrives/{{redrive}}'): WRITERS,
    ('POST', f'{_CLAIM}/verdicts'): CONSUMERS,
    ('POST', f'{_CLAIM}/heartbeat'): CONSUMERS,
    ('POST', f'{_MESSAGE}/touch'): CONSUMERS,
    ('POST', f'{_MESSAGE}/release'): CONSUMERS,
    ('POST', f'{_MESSAGE}/park'): CONSUMERS,
    ('POST', f'{_MESSAGE}/kick'): WRITERS,
    ('GET', f'{_MESSAGE}/reply'): WHO_ASKS,
    ('POST', f'{_MESSAGE}/reply'): CONSUMERS,
    ('POST', f'{_QUEUE}/requests'): PRODUCERS,
    ('GET', f'{_QUEUE}/subscriptions'): READERS,
    ('POST', f'{_QUEUE}/subscriptions'): WRITERS,
    ('GET', _SUBSCRIPTION): READERS,
    ('PATCH', _SUBSCRIPTION): WRITERS,
    ('DELETE', _SUBSCRIPTION): WRITERS,
    ('PUT', f'{_SUBSCRIPTION}/confirm'): WRITERS,
    ('GET', f'{_SUBSCRIPTION}/deliveries'): READERS,
    ('POST', f'{_SUBSCRIPTION}/deliveries/{{delivery}}/retry'): WRITERS,
    ('POST', f'{_SUBSCRIPTION}/retry'): WRITERS,
    ('POST', f'{_SUBSCRIPTION}/pause'): WRITERS,
    ('POST', f'{_SUBSCRIPTION}/resume'): WRITERS,
    ('POST', f'{_SUBSCRIPTION}/rotate'): WRITERS,
    ('POST', f'{_SUBSCRIPTION}/test'): WRITERS,
    ('POST', f'{_QUEUE}/kick'): WRITERS,
    ('POST', '/claims'): CONSUMERS,
    ('POST', '/verdicts'): CONSUMERS,
    ('GET', '/messages'): READERS,
    ('GET', '/tokens'): ADMINS,
    ('POST', '/tokens'): ADMINS,
    ('DELETE', '/tokens/{token}'): ADMINS,
}
WHO: dict[tuple[str, str], Any] = {
    ('GET', '/'): EVERYBODY,
    ('GET', '/openapi.json'): ANY_ROLE,
    ('GET', '/livez'): EVERYBODY,
    ('GET', '/readyz'): EVERYBODY,
    **{(method, f'/v1{path}'): who for (method, path), who in _V1.items()},
    **{(method, f'/v1.1{path}'): who for (method, path), who in _V1_1.items()},
    **{(method, f'/v2{path}'): who for (method, path), who in _V2.items()},
}

#: Other forms of the same requests, for which it is others who may.
FORMS: tuple[tuple[str, str, int, Example, Any], ...] = (
    ('GET', _MESSAGES, 200, Example('ids={message}'), WHO_HAS_THE_ID),
    ('DELETE', _MESSAGES, 204, Example('ids={message}'), ADMINS),
    ('DELETE', _MESSAGE, 204, Example(), WRITERS),
    ('DELETE', _MESSAGE, 204, Example('claim_id={claim}', named={'message': '{held}'}), CONSUMERS),
)
_FORMS_OF_1_1 = (('PUT', _QUEUE, 201, Example(named={'queue': 'none'}), PRODUCERS),)
_FORMS_OF_2 = (
    ('POST', f'{_QUEUE}/redrive', 202, Example(body={'state': 'parked'}), WRITERS),
    ('POST', f'{_QUEUE}/requests', 202, Example(body={'body': 1}), PRODUCERS),
    ('POST', f'{_MESSAGE}/park', 204, Example(body={'reason': 'odd'}), WRITERS),
    (
        'POST',
        f'{_CLAIM}/verdicts',
        200,
        Example(body={'verdicts': [{'id': '{message}', 'verdict': 'kick'}]}),
        WRITERS,
    ),
    (
        'POST',
        f'{_CLAIM}/verdicts',
        200,
        Example(body={'verdicts': [{'id': '{held}', 'verdict': 'delete'}]}),
        CONSUMERS,
    ),
    (
        'POST',
        f'{_CLAIM}/verdicts',
        200,
        Example(body={'verdicts': [{'id': '{held}', 'verdict': 'delete', 'reply': 1}]}),
        CONSUMERS,
    ),
)


def rows() -> Iterator[Row]:
    """Of each request in :data:`EXAMPLES` one that succeeds, and its other forms."""
    for (method, path), by_status in EXAMPLES.items():
        status = min(by_status)
        if (method, path) in WHO:
            yield Row(method, path, status, by_status[status], WHO[method, path])
    for prefix, forms in (
        ('/v1', FORMS),
        ('/v1.1', FORMS + _FORMS_OF_1_1),
        ('/v2', FORMS + _FORMS_OF_1_1 + _FORMS_OF_2),
    ):
        for method, path, form_status, example, who in forms:
            yield Row(method, f'{prefix}{path}', form_status, example, who)


ROWS = list(rows())
