"""All figures of the service, as Prometheus reads them. docs/metrics.md says what each one is."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from marconi_api.model.depths import STATES, Depths
from marconi_api.processes.metrics.looking import Looking, Signs
from marconi_api.processes.waiting.wake_map import WakeMap

#: The project and name that stand for all queues that are not shown by name; no queue has these.
REST = ('', '')


class Exporter(Collector):
    """Collects what all processes have counted, and what was looked up.

    :param directory: of the files of :class:`~marconi_api.processes.metrics.meters.Meters`
    """

    def __init__(self, directory: Path, wake_map: WakeMap, looking: Looking) -> None:
        self._counted = MultiProcessCollector(None, str(directory))  # type: ignore[no-untyped-call]
        self._map = wake_map
        self._looking = looking

    def collect(self) -> Iterable[Metric]:
        """The metrics, each once. No statement is run."""
        counted = self._counted.collect()  # type: ignore[no-untyped-call]
        yield from sorted(counted, key=lambda metric: metric.name)
        yield from waiting(*self._map.counters)
        yield from signs(self._looking.signs)
        if depths := self._looking.depths:
            yield from of_depths(depths)


def waiting(waiters: int, refused: int, woken: int, gone: int, fallbacks: int) -> Iterator[Metric]:
    """What the waiting room counts."""
    yield _gauge('waiters', 'Requests that wait for messages now.', waiters)
    yield _counter(
        'waiters_refused', 'Requests that could not wait, as too many did (limits).', refused
    )
    yield _counter('wakes', 'Times that a request that waits was run again.', woken)
    yield _counter('waiters_gone', 'Requests that waited whose client had gone.', gone)
    yield _counter(
        'wake_fallbacks',
        'Times that only a look at the queues found messages for requests that wait: nobody had '
        'told of them.',
        fallbacks,
    )


def signs(found: Signs) -> Iterator[Metric]:
    """How the database and the janitor are."""
    yield _gauge('database_up', 'Whether PostgreSQL answered a moment ago.', found.is_up)
    if found.janitor is not None:
        yield _gauge(
            'janitor_last_round_age_seconds',
            'Seconds since a janitor began its last round.',
            found.janitor,
        )
    if found.horizon is not None:
        yield _gauge(
            'read_horizon_lag_seconds',
            'Seconds for which the oldest writing transaction has been open: lists show nothing '
            'that was posted since.',
            found.horizon,
        )
    if found.webhooks is not None:
        yield _gauge('webhooks', 'Subscriptions that have a webhook.', found.webhooks.all)
        yield _gauge('webhooks_failing', 'Webhooks whose last call failed.', found.webhooks.failing)
        yield _gauge(
            'webhooks_paused',
            'Webhooks that are not called any more, as all calls had failed for a day.',
            found.webhooks.paused,
        )


def of_depths(found: Depths) -> Iterator[Metric]:
    """What the queues hold."""
    messages = GaugeMetricFamily(
        'marconi_queue_messages',
        'Messages of the deepest and of the oldest queues, and with empty labels of all others.',
        labels=('project', 'queue', 'state'),
    )
    ages = GaugeMetricFamily(
        'marconi_queue_oldest_message_age_seconds',
        'Seconds since the oldest message was posted that is not parked.',
        labels=('project', 'queue'),
    )
    for depth in found.queues:
        for state in STATES:
            messages.add_metric((depth.project, depth.name, state), depth.messages[state])
        if depth.age is not None:
            ages.add_metric((depth.project, depth.name), depth.age)
    for state in STATES:
        messages.add_metric((*REST, state), found.rest[state])
    yield messages
    yield ages
    yield _gauge('queues_filled', 'Queues that hold messages.', found.filled)
    yield _gauge('dead_messages', 'Messages that the janitor has yet to remove.', found.dead)
    yield _gauge(
        'janitor_lag_seconds',
        'Seconds since the message expired that has been waiting longest for the janitor.',
        found.dead_for,
    )
    yield _gauge(
        'queue_figures_age_seconds',
        'Seconds since the round over all queues began that these figures are of.',
        time.monotonic() - found.began_at,
    )


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(f'marconi_{name}', said, value)


def _counter(name: str, said: str, value: float) -> Metric:
    return CounterMetricFamily(f'marconi_{name}', said, value)
