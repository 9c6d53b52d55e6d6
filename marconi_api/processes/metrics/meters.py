"""What a process of the service counts, in files that the exporter reads (exporter.py).

A file is named after the process's place in the service, not after its process id. So the process that
takes the place of a killed one goes on with its file: no counter goes back, and there are as many files
as places. All files are removed when the service ends.
"""

import json
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marconi_api.model import flows
from marconi_api.processes.log_lines import NOTED
from marconi_api.processes.metrics.count_file import CountFile
from marconi_api.wire.routes import METHODS
from marconi_api.wire.tracing import Told

#: The variable of the environment with the directory of the files; without it nothing is counted.
DIRECTORY = 'MARCONI_METRICS'
#: The same with the descriptor of the socket at which the exporter is asked.
LISTENER = 'MARCONI_METRICS_LISTENER'

#: The counters of what the model tells: the metric's name and its help, by the name of the flow.
COUNTERS = {
    flows.POSTED: ('messages_posted', 'Messages that were stored by a post.'),
    flows.CLAIMED: ('messages_claimed', 'Messages that were handed out by a claim or a pop.'),
    flows.DELETED: (
        'messages_deleted',
        'Messages that were deleted or popped; those that a purge or the deletion of their queue '
        'made invisible count once the janitor has removed them.',
    ),
    flows.RELEASED: (
        'messages_released',
        'Messages that were given back before their claim ended.',
    ),
    flows.TOUCHED: ('messages_touched', 'Messages whose claim was renewed, each time.'),
    flows.PARKED: ('messages_parked', 'Messages that were taken out of circulation.'),
    flows.EXPIRED: ('messages_expired', 'Messages that had expired when the janitor removed them.'),
    flows.DEAD_LETTERED: (
        'messages_dead_lettered',
        'Messages that were handed out too often, and so moved to another queue or parked.',
    ),
    flows.REDRIVEN: (
        'messages_redriven',
        'Messages that a redrive moved back from a dead-letter queue, or made ready again.',
    ),
    flows.LAPSED: (
        'claims_lapsed',
        'Messages that a claim let lapse, each counted when it is handed out again, put away as a '
        'dead letter, or removed since it has expired.',
    ),
    flows.DELIVERED: ('deliveries', 'Messages that a webhook has taken.'),
    flows.DELIVERY_ATTEMPTS_FAILED: (
        'delivery_attempts_failed',
        'Calls of webhooks that failed; most are repeated.',
    ),
    flows.DELIVERIES_FAILED: (
        'deliveries_failed',
        'Messages for a webhook that are not sent any more, as all attempts failed or they expired.',
    ),
    flows.ROUND_TRIPS: ('database_round_trips', 'Statements that were sent to PostgreSQL.'),
    flows.ERRORS: ('database_errors', 'Statements and connects that failed for good.'),
    flows.RECONNECTS: ('database_reconnects', 'Connections to PostgreSQL that replaced others.'),
}

#: The metrics of requests: the names, and what they say.
REQUESTS = ('requests', 'Requests that were answered.')
SECONDS = (
    'request_seconds',
    'Seconds for which a worker was at a request; those that then waited do not count.',
)
WAITS = (
    'wait_seconds',
    'Seconds for which requests waited for messages until they were answered.',
)

#: Upper bounds of the buckets of times, in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
WAIT_BUCKETS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 600, 3600)

#: The label for all unknown paths and methods, so that clients cannot make up labels.
NO_ROUTE = 'unmatched'
NO_METHOD = 'other'
_METHODS = frozenset((*METHODS, 'OPTIONS'))


def meters_of(environment: Mapping[str, str], place: object) -> 'Meters | None':
    """What this process counts; None where nothing is to be counted.

    :param place: the place of this process in the service, which no other has at the same time
    """
    directory = environment.get(DIRECTORY)
    if not directory:
        return None
    meters = Meters(Path(directory), place)
    flows.flows.append(meters.count)
    return meters


class _Request(NamedTuple):
    """The places of what is counted of requests with one route, method and status."""

    requests: int
    seconds: 'Buckets'


class Buckets(NamedTuple):
    """The places of a histogram's sum and of its buckets, the last of which has no bound."""

    bounds: tuple[float, ...]
    sum: int
    buckets: list[int]


class Meters:
    """What this process counts; see :func:`meters_of`."""

    def __init__(self, directory: Path, place: object) -> None:
        self._counters = CountFile(directory / f'counter_{place}.db')
        self._histograms = CountFile(directory / f'histogram_{place}.db')
        self._lock = threading.Lock()
        self._flows = {flow: self._counter(*named, {}) for flow, named in COUNTERS.items()}
        self._waits = self._histogram(*WAITS, {}, WAIT_BUCKETS)
        self._known: dict[tuple[str, str, str], _Request] = {}

    def count(self, flow: str, count: int) -> None:
        """So much more of a flow came about: a listener for ``flows``."""
        with self._lock:
            self._counters.values[self._flows[flow]] += count

    def begin(self, environ: dict[str, Any]) -> None:
        """Nothing is to be done when a request comes."""

    def end(self, environ: Mapping[str, Any], status: str, began: float, messages: int) -> None:
        """Count a request that this thread has answered.

        :param status: as in its first line
        :param began: a time of ``time.monotonic()``
        """
        took = time.monotonic() - began
        # Pecan keeps it there; before it was called there was none.
        request = environ.get('pecan.locals', _NOTHING).get('request')
        resource = request and request.resource
        route = resource.path if resource else NO_ROUTE
        known = self._of(route, environ['REQUEST_METHOD'], status)
        with self._lock:
            self._counters.values[known.requests] += 1
            self._observe(known.seconds, took)

    def end_noted(
        self,
        environ: Mapping[str, Any],
        status: str,
        began: float,
        messages: int,
        told: Sequence[Told],
    ) -> None:
        """Count a request that waited, now that it is answered; see :func:`log_lines.note`."""
        noted = json.loads(environ[NOTED])
        known = self._of(noted['route'] or NO_ROUTE, noted['method'], status)
        with self._lock:
            self._counters.values[known.requests] += 1
            self._observe(self._waits, time.monotonic() - began)

    def _observe(self, seconds: Buckets, took: float) -> None:
        values = self._histograms.values
        values[seconds.sum] += took
        values[seconds.buckets[bisect_left(seconds.bounds, took)]] += 1

    def _of(self, route: str, method: str, status: str) -> _Request:
        method = method if method in _METHODS else NO_METHOD
        key = (route, method, status)
        known = self._known.get(key)
        if known is None:
            labels = {'route': route, 'method': method}
            with self._lock:
                known = self._known[key] = _Request(
                    self._counter(*REQUESTS, {**labels, 'status': status[:3]}),
                    self._histogram(*SECONDS, labels, BUCKETS),
                )
        return known

    def _counter(self, name: str, said: str, labels: Mapping[str, str]) -> int:
        metric = f'marconi_{name}'
        return self._counters.place(metric, f'{metric}_total', labels, said)

    def _histogram(
        self, name: str, said: str, labels: Mapping[str, str], bounds: tuple[float, ...]
    ) -> Buckets:
        metric = f'marconi_{name}'
        ends = [*map(str, map(float, bounds)), '+Inf']
        return Buckets(
            bounds,
            self._histograms.place(metric, f'{metric}_sum', labels, said),
            [
                self._histograms.place(metric, f'{metric}_bucket', {**labels, 'le': end}, said)
                for end in ends
            ],
        )


_NOTHING: Mapping[str, Any] = {}
