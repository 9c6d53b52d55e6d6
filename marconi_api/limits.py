"""How much one request may ask for, as config.py says.

Every check raises :class:`~marconi_api.errors.InvalidRequest`, in words that name the range.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

from marconi_api.errors import InvalidQueueName, InvalidRequest

#: Characters of a queue's name and of a project's id, whatever config.py says: both are kept in
#: memory for thousands of queues, and an index holds them in one entry.
MOST_IN_A_NAME = 256
MOST_IN_A_PROJECT = 1000

#: The same of the name of a queue that a client of SQS makes.
MOST_IN_A_NAME_OF_SQS = 80

_QUEUE_NAME = re.compile(rf'[A-Za-z0-9_.-]{{1,{MOST_IN_A_NAME}}}')

#: Levels of nested lists and objects in a document, at most. A parser fails at some depth: those that
#: Marconi uses share Python's limit of 1,000, in which nested calls count, too.
MOST_LEVELS = 500

#: The greatest number of a column of type integer.
MOST_IN_A_COLUMN = 2**31 - 1


@dataclass(frozen=True)
class Range:
    """From ``least`` to ``most``; ``default`` where the client need not say."""

    least: int
    most: int
    default: int | None = None

    def check(self, what: str, value: int) -> None:
        """Refuse a value outside the range.

        :param what: the name of the value in the error
        :raises InvalidRequest: if the value is outside
        """
        if not self.least <= value <= self.most:
            raise InvalidRequest(
                f'{what} must be between {self.least} and {self.most}, not {value}.'
            )

    def asked_or_default(self, what: str, asked: int | None) -> int:
        """The client's number, or the default if it is None.

        :raises InvalidRequest: if the number is outside the range
        """
        if asked is None:
            assert self.default is not None
            return self.default
        if not self.least <= asked <= self.most:
            self.check(what, asked)
        return asked


#: Seconds until a token expires: from a minute to a hundred years.
TOKEN_LIFE = Range(60, 100 * 366 * 86400)


# Compared by identity, so that results of checks can be remembered by the limits they were made with.
@dataclass(frozen=True, eq=False)
class Limits:
    """The section ``limits`` of config.py; sizes in bytes, lifetimes in seconds."""

    default_queue_paging: int
    max_queues_per_page: int
    default_message_paging: int
    max_messages_per_page: int
    default_messages_per_claim: int
    max_messages_per_claim: int
    max_messages_post_size: int
    max_queue_metadata: int
    min_message_ttl: int
    max_message_ttl: int
    default_message_ttl: int
    max_message_delay: int
    min_claim_ttl: int
    max_claim_ttl: int
    default_claim_ttl: int
    min_claim_grace: int
    max_claim_grace: int
    default_claim_grace: int
    max_renewal_grace: int
    max_verdicts: int
    max_park_reason: int
    max_queues_per_request: int
    max_queue_weight: int
    max_wait: int
    max_waiters: int
    max_waiters_per_project: int
    max_stream_seconds: int
    max_queue_name_length: int
    max_project_length: int
    idempotency_window: int
    default_subscription_paging: int
    max_subscriptions_per_page: int
    min_subscription_ttl: int
    max_subscription_ttl: int
    default_subscription_ttl: int
    max_subscriptions_per_queue: int
    max_post_headers: int
    max_post_headers_size: int
    max_fan_out: int
    failed_delivery_retention: int
    reply_ttl: int

    @classmethod
    def from_config(cls, section: Mapping[str, int]) -> 'Limits':
        """The limits that ``section`` sets; a name that is missing is a ``KeyError``."""
        return cls(**{field.name: int(section[field.name]) for field in fields(cls)})

    # The ranges, by the names under which the types of ``wire`` refer to them.

    @cached_property
    def largest_body(self) -> int:
        """Bytes of a body that may be accepted, whatever it is for."""
        return max(self.max_messages_post_size, self.max_queue_metadata)

    @cached_property
    def queue_page(self) -> Range:
        """Queues on a page."""
        return Range(1, self.max_queues_per_page, self.default_queue_paging)

    @cached_property
    def message_page(self) -> Range:
        """Messages on a page."""
        return Range(1, self.max_messages_per_page, self.default_message_paging)

    @cached_property
    def ids(self) -> Range:
        """Messages that one request names."""
        return Range(1, self.max_messages_per_page)

    @cached_property
    def claim_size(self) -> Range:
        """Messages that a claim takes."""
        return Range(1, self.max_messages_per_claim, self.default_messages_per_claim)

    @cached_property
    def pop_size(self) -> Range:
        """Messages that are popped at once."""
        return Range(1, self.max_messages_per_claim)

    @cached_property
    def message_ttl(self) -> Range:
        """Seconds that a message lives; its queue has the default."""
        return Range(self.min_message_ttl, self.max_message_ttl)

    @cached_property
    def message_delay(self) -> Range:
        """Seconds that a message waits; its queue has the default."""
        return Range(0, self.max_message_delay)

    @cached_property
    def claim_ttl(self) -> Range:
        """Seconds that a claim lives."""
        return Range(self.min_claim_ttl, self.max_claim_ttl, self.default_claim_ttl)

    @cached_property
    def claim_grace(self) -> Range:
        """Seconds that a message outlives its claim."""
        return Range(self.min_claim_grace, self.max_claim_grace, self.default_claim_grace)

    @cached_property
    def renewal_grace(self) -> Range:
        """The same where a claim is renewed: far wider (docs/protocol-v1.md, 6.3)."""
        return Range(0, self.max_renewal_grace, self.default_claim_grace)

    @cached_property
    def verdicts(self) -> Range:
        """Verdicts in one request."""
        return Range(1, self.max_verdicts)

    @cached_property
    def queues_in_request(self) -> Range:
        """Queues that one request claims from or looks at."""
        return Range(1, self.max_queues_per_request)

    @cached_property
    def queue_weight(self) -> Range:
        """The weight of a queue among others."""
        return Range(1, self.max_queue_weight, 1)

    @property
    def token_life(self) -> Range:
        """Seconds until a token expires."""
        return TOKEN_LIFE

    @cached_property
    def wait(self) -> Range:
        """Seconds for which a request may wait for messages."""
        return Range(0, self.max_wait, 0)

    @cached_property
    def kick_size(self) -> Range:
        """Messages that are kicked at once; all if the client does not say."""
        return Range(1, MOST_IN_A_COLUMN)

    @cached_property
    def redrive_rate(self) -> Range:
        """Messages that a redrive moves a second."""
        return Range(1, MOST_IN_A_COLUMN)

    @cached_property
    def message_age(self) -> Range:
        """Seconds since a message was posted."""
        return Range(0, MOST_IN_A_COLUMN)

    @cached_property
    def subscription_page(self) -> Range:
        """Subscriptions on a page."""
        return Range(1, self.max_subscriptions_per_page, self.default_subscription_paging)

    @cached_property
    def subscription_ttl(self) -> Range:
        """Seconds that a subscription lives."""
        return Range(
            self.min_subscription_ttl, self.max_subscription_ttl, self.default_subscription_ttl
        )

    def check_park_reason(self, reason: str) -> None:
        """A reason is a remark, not a document; PostgreSQL's text holds no NUL."""
        if len(reason) > self.max_park_reason or '\0' in reason:
            raise InvalidRequest(
                f'The reason must not exceed {self.max_park_reason} characters, and must not have '
                'the character NUL.'
            )

    def check_queue_name(self, name: str) -> None:
        """A queue's name is of the form that all versions ask for."""
        if not self.is_queue_name(name):
            raise InvalidQueueName(f'The name of a queue must have {self.form_of_names}.')

    def check_other_queue_name(self, name: str) -> None:
        """A queue that a request names beside the one that it is about may be one of SQS."""
        if not self.is_other_queue_name(name):
            raise InvalidQueueName(f'The name of a queue must have {self.form_of_names}.')

    def is_other_queue_name(self, name: str) -> bool:
        """Whether it can be the name of a queue that clients made, be it through the door of SQS."""
        return can_be_a_name(name) and len(name) <= self.longest_other_queue_name

    @property
    def longest_other_queue_name(self) -> int:
        """Characters of such a name, at most."""
        return max(self.max_queue_name_length, MOST_IN_A_NAME_OF_SQS)

    def is_queue_name(self, name: str) -> bool:
        """Whether clients can name a queue so."""
        return can_be_a_name(name) and len(name) <= self.max_queue_name_length

    @property
    def form_of_names(self) -> str:
        """What a queue's name is made of, in words."""
        return f'1 to {self.max_queue_name_length} of the characters A-Z a-z 0-9 _ - and dot'

    def check_project(self, project: str) -> None:
        """A project's id is short enough to be kept with each queue."""
        if len(project) > self.max_project_length:
            raise InvalidQueueName(
                f'X-Project-Id must not exceed {self.max_project_length} characters.'
            )

    def queues_on_page(self, limit: int | None) -> int:
        """How many queues a page holds, given the client's ``limit`` or none."""
        return self.queue_page.asked_or_default('limit', limit)

    def subscriptions_on_page(self, limit: int | None) -> int:
        """How many subscriptions a page holds, given the client's ``limit`` or none."""
        return self.subscription_page.asked_or_default('limit', limit)

    def messages_on_page(self, limit: int | None) -> int:
        """How many messages a page holds, given the client's ``limit`` or none."""
        return self.message_page.asked_or_default('limit', limit)

    def messages_in_claim(self, limit: int | None) -> int:
        """How many messages a claim takes, given the client's ``limit`` or none."""
        return self.claim_size.asked_or_default('limit', limit)

    def messages_in_pop(self, limit: int) -> int:
        """How many messages are popped, given the client's number."""
        self.pop_size.check('pop', limit)
        return limit

    def check_ids(self, ids: list[str]) -> None:
        """One request names at least one id, and as many as a page holds."""
        self.ids.check('The number of ids', len(ids))

    def check_body(self, size: int, most: int) -> None:
        """A body is not longer than so many bytes."""
        if size > most:
            raise InvalidRequest(f'The body must not exceed {most} bytes; this one has {size}.')

    def check_message_ttls(self, ttls: Iterable[int]) -> None:
        """Each message lives within the range."""
        for ttl in ttls:
            self.message_ttl.check('The ttl of a message', ttl)

    def check_message_delays(self, delays: Iterable[int]) -> None:
        """No message waits longer than the range allows."""
        for delay in delays:
            self.message_delay.check('The delay of a message', delay)

    def check_claim(self, ttl: int | None, grace: int | None) -> None:
        """The terms of a claim that the client names are within their ranges."""
        # Mostly they are, and nothing is called.
        if ttl is not None and not self.min_claim_ttl <= ttl <= self.max_claim_ttl:
            self.check_claim_ttl(ttl)
        if grace is not None and not self.min_claim_grace <= grace <= self.max_claim_grace:
            self.claim_grace.check('The grace of a claim', grace)

    def check_renewal(self, ttl: int | None, grace: int | None) -> None:
        """The same of a claim that is renewed."""
        self.check_claim_ttl(ttl)
        if grace is not None:
            self.renewal_grace.check('The grace of a renewal', grace)

    def check_claim_ttl(self, ttl: int | None) -> None:
        """A claim lives within the range, if the client says how long."""
        if ttl is not None:
            self.claim_ttl.check('The ttl of a claim', ttl)


# A time of so many seconds, 31 years, fits into PostgreSQL's columns, and so does the sum of two.
_LONGEST = 10**9

#: Names of limits, and plain numbers: none may be above the one that comes after it.
IN_ORDER: tuple[tuple[str | int, ...], ...] = (
    (1, 'default_queue_paging', 'max_queues_per_page'),
    (1, 'default_message_paging', 'max_messages_per_page'),
    (1, 'default_messages_per_claim', 'max_messages_per_claim'),
    (1, 'max_messages_post_size'),
    (1, 'max_queue_metadata'),
    (1, 'min_message_ttl', 'default_message_ttl', 'max_message_ttl', _LONGEST),
    ('max_message_delay', _LONGEST),
    (1, 'min_claim_ttl', 'default_claim_ttl', 'max_claim_ttl', _LONGEST),
    ('min_claim_grace', 'default_claim_grace', 'max_claim_grace', _LONGEST),
    ('default_claim_grace', 'max_renewal_grace', _LONGEST),
    (1, 'max_verdicts'),
    ('max_park_reason',),
    (1, 'max_queues_per_request'),
    (1, 'max_queue_weight'),
    ('max_wait',),
    ('max_waiters_per_project', 'max_waiters'),
    (1, 'max_stream_seconds', _LONGEST),
    (1, 'max_queue_name_length', MOST_IN_A_NAME),
    (1, 'max_project_length', MOST_IN_A_PROJECT),
    (1, 'idempotency_window', _LONGEST),
    (1, 'default_subscription_paging', 'max_subscriptions_per_page'),
    (
        *(1, 'min_subscription_ttl', 'default_subscription_ttl'),
        *('max_subscription_ttl', _LONGEST),
    ),
    ('max_subscriptions_per_queue',),
    ('max_post_headers',),
    ('max_post_headers_size',),
    ('max_fan_out',),
    (1, 'failed_delivery_retention', _LONGEST),
    (1, 'reply_ttl', _LONGEST),
)


def can_be_a_name(name: str) -> bool:
    """Whether there can be a queue of that name, whatever config.py says."""
    return _QUEUE_NAME.fullmatch(name) is not None


def contradiction(settings: Any) -> str | None:
    """What makes no sense in the settings, taken together, in one line; None if nothing."""
    for name, value in settings.limits:
        if not isinstance(value, int):
            return f'limits.{name} must be a whole number, not {value!r}'
    for low, high in chain.from_iterable(map(pairwise, IN_ORDER)):
        if _value(settings, low) > _value(settings, high):
            return f'{_shown(settings, low)} must not be above {_shown(settings, high)}'
    if settings.limits.max_wait >= settings.server.request_timeout:
        # After request_timeout and ten seconds the router gives a request up.
        return 'limits.max_wait must be below server.request_timeout'
    return None


def _value(settings: Any, limit: str | int) -> int:
    return int(settings.limits[limit]) if isinstance(limit, str) else limit


def _shown(settings: Any, limit: str | int) -> str:
    return f'limits.{limit} ({settings.limits[limit]})' if isinstance(limit, str) else str(limit)


#: The limits of the running service; :func:`init_limits` sets them.
in_force: Limits


def init_limits(section: Mapping[str, int]) -> None:
    """Put the section ``limits`` of config.py in force."""
    global in_force
    in_force = Limits.from_config(section)
