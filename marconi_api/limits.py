"""How much one request may ask for, as config.py says.

Every check raises :class:`~marconi_api.errors.OutOfRange`, in words that name the range.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from marconi_api.errors import OutOfRange


@dataclass(frozen=True)
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
    max_queue_name_length: int
    max_project_length: int

    @classmethod
    def from_config(cls, section: Mapping[str, int]) -> 'Limits':
        """The limits that ``section`` sets; a name that is missing is a ``KeyError``."""
        return cls(**{field.name: int(section[field.name]) for field in fields(cls)})

    def queues_on_page(self, limit: int | None) -> int:
        """How many queues a page holds, given the client's ``limit`` or none."""
        return _page('limit', limit, self.default_queue_paging, self.max_queues_per_page)

    def messages_on_page(self, limit: int | None) -> int:
        """How many messages a page holds, given the client's ``limit`` or none."""
        return _page('limit', limit, self.default_message_paging, self.max_messages_per_page)

    def messages_in_claim(self, limit: int | None) -> int:
        """How many messages a claim takes, given the client's ``limit`` or none."""
        return _page('limit', limit, self.default_messages_per_claim, self.max_messages_per_claim)

    def messages_in_pop(self, limit: int) -> int:
        """How many messages are popped, given the client's number."""
        return _page('pop', limit, 1, self.max_messages_per_claim)

    def check_ids(self, ids: list[str]) -> None:
        """One request names at least one id, and as many as a page holds."""
        _check('The number of ids', len(ids), 1, self.max_messages_per_page)

    def check_message_ttls(self, ttls: Iterable[int]) -> None:
        """Each message lives within the range."""
        for ttl in ttls:
            _check('The ttl of a message', ttl, self.min_message_ttl, self.max_message_ttl)

    def check_message_delays(self, delays: Iterable[int]) -> None:
        """No message waits longer than the range allows."""
        for delay in delays:
            _check('The delay of a message', delay, 0, self.max_message_delay)

    def check_claim_ttl(self, ttl: int) -> None:
        """A claim lives within the range."""
        _check('The ttl of a claim', ttl, self.min_claim_ttl, self.max_claim_ttl)

    def check_claim_grace(self, grace: int) -> None:
        """A new claim's grace is within the range."""
        _check('The grace of a claim', grace, self.min_claim_grace, self.max_claim_grace)

    def check_renewal_grace(self, grace: int) -> None:
        """A renewal's grace is within the range, which is far wider (contract 6.3)."""
        _check('The grace of a renewal', grace, 0, self.max_renewal_grace)


def contradiction(settings: Any) -> str | None:
    """What makes no sense in the settings, taken together; None if there is nothing."""
    if settings.database.statement_timeout >= settings.limits.min_claim_ttl:
        # A claim must not have lapsed before it is committed: model/hints.py relies on it.
        return 'database.statement_timeout must be below limits.min_claim_ttl'
    return None


#: The limits of the running service; :func:`init_limits` sets them.
in_force: Limits


def init_limits(section: Mapping[str, int]) -> None:
    """Put the section ``limits`` of config.py in force."""
    global in_force
    in_force = Limits.from_config(section)


def _page(what: str, asked: int | None, default: int, most: int) -> int:
    if asked is None:
        return default
    _check(what, asked, 1, most)
    return asked


def _check(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise OutOfRange(f'{what} must be between {least} and {most}, not {value}.')
