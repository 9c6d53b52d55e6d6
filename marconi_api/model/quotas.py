"""How much a project may have, and how often it may ask.

What a project has is counted, at most every few seconds, in each process by itself. Between two
counts a process lets a project have its share of what is left: that, divided by the number of
processes. So a post costs no look at the database. The price is that a quota can be exceeded: by
what other processes admit by a count of theirs that is older, so within a few seconds of it, and
by what is in flight. A project is refused only by a count of this moment.

A rate is kept in each process by itself, too: the setting's value, divided by their number.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from marconi_api.errors import InvalidRequest, QuotaExceeded, RateExceeded, StorageUnavailable
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.tables import RETIRED

Value = int | None

#: Requests that wait for messages; who lets them wait goes by it.
WAITERS = 'quota.waiters'

#: What can be limited, by the names of the settings.
QUOTAS = ('quota.queues', 'quota.messages', 'quota.bytes', 'quota.subscriptions', WAITERS)
RATES = ('rate.requests', 'rate.messages')
SETTINGS = (*QUOTAS, *RATES)

#: Seconds for which a count serves, and for how many times as long as counting took: a large
#: project is counted less often.
_COUNT_SERVES = 5.0
_TIMES_AS_LONG = 50

#: Seconds after which a process looks again at what single projects may have.
_OVERRIDES_SERVE = 30.0

#: Projects about which a process remembers something.
_MOST_PROJECTS = 10_000


@dataclass(slots=True)
class _Bucket:
    """What is left of a rate: it fills by the rate, up to a burst."""

    level: float
    at: float


@dataclass(frozen=True, slots=True)
class _Rate:
    """A rate of a project: its value, this process's share of it, and what may come at once."""

    setting: str
    value: int
    share: float
    most: float


class _Terms(NamedTuple):
    """What a project may do and have, looked up once: to do so for a post took 10 us."""

    requests: _Rate | None
    messages: _Rate | None
    most: Value
    most_bytes: Value


@dataclass(slots=True)
class _Count:
    """What may still be added before it must be counted again, of messages and of bytes."""

    messages: float
    bytes: float
    until: float


class Quotas:
    """The limits of projects; those of a single project may differ from the settings.

    show(project)                 what a project may have and do, by the settings' names
    set(project, setting, value)  let it differ: a number, or None for as much as it likes
    reset(project, setting)       let it be as the settings say

    :param settings: the values by the names of SETTINGS; None is as much as one likes
    :param looks_at_projects: whether single projects may differ though no setting limits any
    :param burst: seconds' worth of a rate that may come at once
    :param processes: how many there are in all
    """

    def __init__(
        self,
        database: Database,
        settings: Mapping[str, Value],
        looks_at_projects: bool,
        burst: float,
        processes: int,
    ) -> None:
        self._database = database
        self._settings = dict(settings)
        self._burst = burst
        self._processes = processes
        #: Whether anything may be limited: else nobody need ask.
        self.is_on = looks_at_projects or any(value is not None for value in settings.values())
        self._overrides: dict[str, dict[str, Value]] = {}
        self._overrides_until = 0.0
        self._terms: dict[str, _Terms] = {}
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return '<quotas: show(project), set(project, setting, value), reset(project, setting)>'

    # ------------------------------------------------------------ for those who administer

    def show(self, project: str) -> dict[str, Value]:
        """What a project may have and do; None is as much as it likes."""
        rows = self._database.rows(_OF_PROJECT, {'project': project}, repeatable=True)
        return {**self._settings, **{setting: value for setting, value in rows}}

    def set(self, project: str, setting: str, value: Value) -> None:
        """Let a project differ from the settings; processes go by it half a minute later.

        :param value: None for as much as it likes
        """
        _check(project, setting)
        if value is not None and not 0 <= value < 2**63:
            raise InvalidRequest(f'{setting} must be a number from 0, not {value}.')
        given = {'project': project, 'setting': setting, 'value': value}
        self._database.rows(_SET, given, repeatable=True)

    def reset(self, project: str, setting: str) -> None:
        """Let a project be as the settings say."""
        _check(project, setting)
        given = {'project': project, 'setting': setting}
        self._database.rows(_RESET, given, repeatable=True)

    # ------------------------------------------------------------ for requests

    def limit(self, project: str, setting: str) -> Value:
        """What a project may have or do; None is as much as it likes."""
        # The health check works in the project without a name.
        if not self.is_on or not project:
            return None
        if time.monotonic() > self._overrides_until:
            self._read_overrides()
        own = self._overrides.get(project)
        if own is not None and setting in own:
            return own[setting]
        return self._settings[setting]

    def admit_request(self, project: str) -> None:
        """Let a project make a request.

        :raises RateExceeded: if it makes too many
        """
        rate = self._terms_of(project).requests
        if rate is not None:
            self._admit(rate, project, 1)

    def admit_post(self, project: str, messages: int, size: Callable[[], int]) -> None:
        """Let a project post so many messages.

        :param size: says how many bytes they have, if that matters
        :raises RateExceeded: if it posts too many a second
        :raises QuotaExceeded: if it would have too many
        """
        _, rate, most, most_bytes = self._terms_of(project)
        if rate is not None:
            self._admit(rate, project, messages)
        if most is None and most_bytes is None:
            return
        wanted = _Wanted(messages, 0 if most_bytes is None else size())
        with self._lock:
            count = self._counts.get(project)
            if count is not None and count.until > time.monotonic() and _take(count, wanted):
                return
        self._admit_by_count(project, wanted, most, most_bytes)

    def admit_queue(self, project: str, run: Callable[[str, Mapping[str, Any]], list[Row]]) -> None:
        """Let a project make one more queue.

        :param run: runs a statement in the transaction that makes it
        :raises QuotaExceeded: if it has as many as it may have
        """
        most = self.limit(project, 'quota.queues')
        if most is not None:
            given = {'project': project, 'most': most}
            [(number,)] = run(_COUNT_QUEUES_OF_PROJECT, given)
            if number >= most:
                raise exceeded('quota.queues', most)

    def admit_subscription(
        self, project: str, run: Callable[[str, Mapping[str, Any]], list[Row]]
    ) -> None:
        """Let a project make one more subscription.

        :param run: runs a statement in the transaction that makes it
        :raises QuotaExceeded: if it has as many as it may have
        """
        most = self.limit(project, 'quota.subscriptions')
        if most is not None:
            given = {'project': project, 'most': most}
            [(number,)] = run(_COUNT_SUBSCRIPTIONS, given)
            if number >= most:
                raise exceeded('quota.subscriptions', most)

    def _terms_of(self, project: str) -> _Terms:
        """What a project may do and have, by what was last read of it."""
        if time.monotonic() > self._overrides_until:
            self._read_overrides()
        # What another thread reads meanwhile has a place of its own.
        known = self._terms
        terms = known.get(project)
        if terms is None:
            terms = _Terms(
                self._rate(project, 'rate.requests'),
                self._rate(project, 'rate.messages'),
                self.limit(project, 'quota.messages'),
                self.limit(project, 'quota.bytes'),
            )
            with self._lock:
                _make_room(known)
                known[project] = terms
        return terms

    def _rate(self, project: str, setting: str) -> _Rate | None:
        value = self.limit(project, setting)
        if value is None:
            return None
        share = value / self._processes
        return _Rate(setting, value, share, max(1.0, share * self._burst))

    def _admit(self, rate: _Rate, project: str, amount: int) -> None:
        now = time.monotonic()
        share, most = rate.share, rate.most
        wanted = amount if amount < most else most
        with self._lock:
            bucket = self._buckets.get((project, rate.setting))
            if bucket is None:
                _make_room(self._buckets)
                bucket = self._buckets[project, rate.setting] = _Bucket(most, now)
            level = bucket.level + (now - bucket.at) * share
            bucket.level = level = level if level < most else most
            bucket.at = now
            # What is more than a burst passes, too, and is paid for afterwards.
            if rate.value and level >= wanted:
                bucket.level = level - amount
                return
        name = rate.setting.partition('.')[2]
        raise RateExceeded(name, rate.value, (wanted - level) / share if share else 60.0)

    def _admit_by_count(
        self, project: str, wanted: '_Wanted', most: Value, most_bytes: Value
    ) -> None:
        started = time.monotonic()
        # Beyond that it does not matter how many there are.
        given = {'project': project, 'most': _UNBOUNDED if most is None else most}
        statement = _COUNT_MESSAGES if most_bytes is None else _COUNT_BYTES
        [(number, size)] = self._database.rows(statement, given, repeatable=True)
        if most is not None and number + wanted.messages > most:
            raise exceeded('quota.messages', most)
        if most_bytes is not None and size + wanted.bytes > most_bytes:
            raise exceeded('quota.bytes', most_bytes)
        now = time.monotonic()
        count = _Count(
            self._share(most, number), self._share(most_bytes, size), now + _serves(now - started)
        )
        _take(count, wanted)
        with self._lock:
            _make_room(self._counts)
            self._counts[project] = count

    def _share(self, most: Value, number: int) -> float:
        return float('inf') if most is None else (most - number) / self._processes

    def _read_overrides(self) -> None:
        self._overrides_until = time.monotonic() + _OVERRIDES_SERVE
        try:
            rows = self._database.rows(_ALL, {}, repeatable=True)
        except StorageUnavailable:
            # What was known holds on.
            return
        found: dict[str, dict[str, Value]] = {}
        for project, setting, value in rows:
            found.setdefault(project, {})[setting] = value
        self._overrides = found
        self._terms = {}


class _Wanted(NamedTuple):
    messages: int
    bytes: int


def _take(count: _Count, wanted: _Wanted) -> bool:
    if count.messages < wanted.messages or count.bytes < wanted.bytes:
        return False
    count.messages -= wanted.messages
    count.bytes -= wanted.bytes
    return True


def _serves(took: float) -> float:
    return max(_COUNT_SERVES, took * _TIMES_AS_LONG)


def _make_room(entries: dict[Any, Any]) -> None:
    if len(entries) >= _MOST_PROJECTS:
        del entries[next(iter(entries))]


def exceeded(setting: str, most: int) -> QuotaExceeded:
    """What says that a project has as much as it may have."""
    what = 'requests that wait' if setting == WAITERS else setting.partition('.')[2]
    return QuotaExceeded(f'The project may have {most} {what}: {setting}.')


def _check(project: str, setting: str) -> None:
    if not project or '\0' in project:
        raise InvalidRequest('Name a project: the one without a name has no limits.')
    if setting not in SETTINGS:
        raise InvalidRequest(f'{setting} is not one of {", ".join(SETTINGS)}.')


def contradiction(settings: Any) -> str | None:
    """What is wrong with the sections ``quota`` and ``rate``, in one line; None if nothing is."""
    for name in SETTINGS:
        section, _, setting = name.partition('.')
        value = settings[section][setting]
        if value is not None and (type(value) is not int or value < 0):
            return f'{name} must be a whole number from 0, or None, not {value!r}'
    if settings.rate.hosts < 1:
        return f'rate.hosts must be 1 or more, not {settings.rate.hosts!r}'
    return None


_UNBOUNDED = 2**62

_ALL = 'SELECT project, setting, value FROM project_limits'

_OF_PROJECT = 'SELECT setting, value FROM project_limits WHERE project = %(project)s'

_SET = """
    INSERT INTO project_limits (project, setting, value)
    VALUES (%(project)s, %(setting)s, %(value)s)
    ON CONFLICT (project, setting) DO UPDATE SET value = excluded.value
"""

_RESET = 'DELETE FROM project_limits WHERE project = %(project)s AND setting = %(setting)s'

_COUNT_QUEUES_OF_PROJECT = f"""
    SELECT count(*) FROM (
        SELECT FROM queues WHERE project = %(project)s AND floor < {RETIRED}
         LIMIT %(most)s) AS counted
"""

_COUNT_SUBSCRIPTIONS = f"""
    SELECT count(*) FROM (
        SELECT FROM queues JOIN subscriptions USING (queue_id)
         WHERE project = %(project)s AND floor < {RETIRED} AND has_subscribers
           AND expires_at > now()
         LIMIT %(most)s) AS counted
"""

# The messages of a project that have not expired, up to those that it may have.
_MESSAGES = """
      FROM queues CROSS JOIN LATERAL (
           SELECT id FROM message_states
            WHERE message_states.queue_id = queues.queue_id
              AND expires_at > now() AND coalesce(moved_in, id) >= floor
            ORDER BY id LIMIT %(most)s) AS alive"""

_COUNT_MESSAGES = f"""
    SELECT count(*), 0 FROM (
        SELECT {_MESSAGES}
         WHERE project = %(project)s AND floor < {RETIRED}
         LIMIT %(most)s) AS counted
"""

# The length of a text is known without reading all of it.
_COUNT_BYTES = f"""
    SELECT count(*), coalesce(sum(size), 0)::bigint FROM (
        SELECT octet_length(body) AS size {_MESSAGES}
          JOIN messages ON messages.queue_id = queues.queue_id AND messages.id = alive.id
         WHERE project = %(project)s AND floor < {RETIRED}
         LIMIT %(most)s) AS counted
"""
