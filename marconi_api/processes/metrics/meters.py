"""What a process of the service counts, in files that the exporter reads (exporter.py).

It is prometheus_client's multiprocess mode: a process has a file, mapped into memory. The file has
the name of the process's place in the service, not of its number. So whoever takes the place of a
process that was killed goes on with its file. No counter goes back, and there are as many files as
places. All of them end with the service.

An increment takes 1.5 us. Only :func:`meters_of` imports prometheus_client, if it is to be used.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from marconi_api.model import flows
from marconi_api.processes.log_lines import NOTED
from marconi_api.wire.routes import METHODS

#: The variable of the environment with the directory of the files; without it nothing is counted.
DIRECTORY = 'MARCONI_METRICS'
#: The same with the descriptor of the socket at which the exporter is asked.
LISTENER = 'MARCONI_METRICS_LISTENER'

#: Counters of what the model tells: by its word for it, the metric's name and what that says.
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
    flows.ROUND_TRIPS: ('database_round_trips', 'Statements that were sent to PostgreSQL.'),
    flows.ERRORS: ('database_errors', 'Statements and connects that failed for good.'),
    flows.RECONNECTS: ('database_reconnects', 'Connections to PostgreSQL that replaced others.'),
}

#: Upper bounds of the buckets of times, in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
WAIT_BUCKETS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 600, 3600)

#: Stands for all paths that lead nowhere, and for all methods that HTTP does not know: what clients
#: make up is no label.
NO_ROUTE = 'unmatched'
NO_METHOD = 'other'
_METHODS = frozenset((*METHODS, 'OPTIONS'))


def meters_of(environment: Mapping[str, str], place: Callable[[], object]) -> 'Meters | None':
    """What this process counts; None where nothing is to be counted.

    :param place: the place of this process in the service, which no other has at the same time;
        in a process that forks, it is asked anew after the fork
    """
    directory = environment.get(DIRECTORY)
    if not directory:
        return None
    # By this name prometheus_client finds it.
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = directory
    meters = Meters(place)
    flows.flows.append(meters.count)
    return meters


class _Request(NamedTuple):
    """What is counted of the requests with one route, method and status."""

    requests: Any
    seconds: Any


class Meters:
    """What this process counts; see :func:`meters_of`."""

    def __init__(self, place: Callable[[], object]) -> None:
        import prometheus_client
        from prometheus_client import Counter, Histogram

        values = prometheus_client.values
        values.ValueClass = values.MultiProcessValue(place)  # type: ignore[no-untyped-call]
        self._requests = Counter(
            'marconi_requests',
            'Requests that were answered.',
            ['route', 'method', 'status'],
            registry=None,
        )
        self._seconds = Histogram(
            'marconi_request_seconds',
            'Seconds for which a worker was at a request; those that then waited do not count.',
            ['route', 'method'],
            buckets=BUCKETS,
            registry=None,
        )
        self._waits = Histogram(
            'marconi_wait_seconds',
            'Seconds for which requests waited for messages until they were answered.',
            buckets=WAIT_BUCKETS,
            registry=None,
        )
        counters = {
            flow: Counter(f'marconi_{name}', said, registry=None)
            for flow, (name, said) in COUNTERS.items()
        }
        self._increments = {flow: counter.inc for flow, counter in counters.items()}
        self._known: dict[tuple[str, str, str], _Request] = {}

    def count(self, flow: str, count: int) -> None:
        """So much more of a flow came about: a listener for ``flows``."""
        self._increments[flow](count)

    def begin(self, environ: dict[str, Any]) -> None:
        """Nothing is to be done when a request comes."""

    def end(self, environ: Mapping[str, Any], status: str, began: float) -> None:
        """Count a request that this thread has answered.

        :param status: as in its first line
        :param began: a time of ``time.monotonic()``
        """
        request = environ.get('pecan.locals', {}).get('request')
        resource = request and request.resource
        known = self._of(resource.path if resource else None, environ['REQUEST_METHOD'], status)
        known.requests.inc()
        known.seconds.observe(time.monotonic() - began)

    def end_noted(
        self, environ: Mapping[str, Any], status: str, began: float, messages: int
    ) -> None:
        """Count a request that waited, now that it is answered; see :func:`log_lines.note`."""
        noted = json.loads(environ[NOTED])
        self._of(noted['route'], noted['method'], status).requests.inc()
        self._waits.observe(time.monotonic() - began)

    def _of(self, route: str | None, method: str, status: str) -> _Request:
        key = (route or NO_ROUTE, method if method in _METHODS else NO_METHOD, status)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Request(
                self._requests.labels(*key[:2], key[2][:3]), self._seconds.labels(*key[:2])
            )
        return known
