"""Spans of OpenTelemetry: what producers and consumers do with messages (docs/tracing.md).

They follow the semantic conventions for messaging. A request that posts is a span of a producer,
and one that gets messages is a span of a consumer, with a link to the trace of each message.

The packages of OpenTelemetry are imported only if tracing is on. A worker makes the sender of spans after
its fork, since that sender has a thread.
"""

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from marconi_api.processes.log_lines import NOTED, fields_of
from marconi_api.wire.tracing import OWN, TOLD, Told, traceparent_in

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, SpanKind

# The member of a WSGI environment with the span of a post.
_SPAN = 'marconi.span'

# Seconds for which the end of a process waits until the last spans are sent.
_PATIENCE = 2.0


class _Operation(NamedTuple):
    """What a request does with messages: a name of ours for it, and the type by the conventions."""

    name: str
    type: str


_SEND, _RECEIVE, _SETTLE = 'send', 'receive', 'settle'

_QUEUE = '/queues/{queue}'
_MESSAGE, _CLAIM = f'{_QUEUE}/messages/{{message}}', f'{_QUEUE}/claims/{{claim}}'

#: By method, and path below the prefix of the version.
_OPERATIONS = {
    f'POST {_QUEUE}/messages': _Operation('post', _SEND),
    f'POST {_QUEUE}/claims': _Operation('claim', _RECEIVE),
    'POST /claims': _Operation('claim', _RECEIVE),
    f'DELETE {_QUEUE}/messages': _Operation('delete', _SETTLE),
    f'DELETE {_MESSAGE}': _Operation('delete', _SETTLE),
    f'POST {_MESSAGE}/release': _Operation('release', _SETTLE),
    f'POST {_MESSAGE}/touch': _Operation('touch', _SETTLE),
    f'POST {_MESSAGE}/park': _Operation('park', _SETTLE),
    f'PATCH {_CLAIM}': _Operation('renew', _SETTLE),
    f'POST {_CLAIM}/heartbeat': _Operation('renew', _SETTLE),
    f'DELETE {_CLAIM}': _Operation('release', _SETTLE),
    f'POST {_CLAIM}/verdicts': _Operation('judge', _SETTLE),
}
_POP = _Operation('pop', _RECEIVE)


def _operation_of(fields: Mapping[str, Any], query: str) -> _Operation | None:
    """What a request does with messages; None if it is about something else."""
    version, _, path = (fields['route'] or '').removeprefix('/').partition('/')
    operation = _OPERATIONS.get(f'{fields["method"]} /{path}') if version else None
    is_pop = operation and operation.name == 'delete' and 'pop=' in query
    return _POP if is_pop else operation


def contradiction(settings: Any) -> str | None:
    """Why the settings for traces cannot be used; None if they can."""
    switch = os.environ.get('MARCONI_TRACING') or 'off'
    if switch not in ('on', 'off'):
        return f'MARCONI_TRACING must be on or off, not {switch!r}'
    ratio = settings.tracing.ratio
    if ratio is not None and not (type(ratio) in (int, float) and 0 <= ratio <= 1):
        return f'tracing.ratio must be None or a number from 0 to 1, not {ratio!r}'
    if settings.tracing.enabled and not _is_installed():
        return 'tracing.enabled needs further packages: pip install "marconi-api[tracing]"'
    return None


def _is_installed() -> bool:
    try:
        return find_spec('opentelemetry.exporter.otlp.proto.http') is not None
    except ModuleNotFoundError:
        return False


def tracer_of(settings: Any) -> 'Tracer | None':
    """What makes spans in this process, and sends them; None where tracing is off."""
    if not settings.tracing.enabled:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    ratio, endpoint = settings.tracing.ratio, settings.tracing.endpoint
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first.
    ours = Resource({'service.name': 'marconi'}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(
        sampler=None if ratio is None else ParentBasedTraceIdRatio(ratio),
        resource=Resource.create(ours.attributes),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracer(provider)


class Tracer:
    """Makes a span of each request that is about messages; an observer."""

    def __init__(self, provider: 'TracerProvider') -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer('marconi_api')
        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        self._kinds: Mapping[str, SpanKind] = {
            _SEND: trace.SpanKind.PRODUCER,
            _RECEIVE: trace.SpanKind.CONSUMER,
            _SETTLE: trace.SpanKind.SERVER,
        }

    def begin(self, environ: dict[str, Any]) -> None:
        """A request has come; the span of a post begins, as messages may keep it."""
        environ[TOLD] = []
        path = environ['PATH_INFO'].rstrip('/')
        if environ['REQUEST_METHOD'] == 'POST' and path.endswith('/messages'):
            span = self._start(_SEND, environ, time.time_ns())
            environ[_SPAN] = span
            if span.is_recording():
                carrier: dict[str, str] = {}
                self._propagator.inject(carrier, self._api.set_span_in_context(span))
                environ[OWN] = carrier['traceparent']

    def end(self, environ: Mapping[str, Any], status: str, began: float, messages: int) -> None:
        """This thread has answered it."""
        self._end(environ, fields_of(environ), environ[TOLD], status, began, messages)

    def end_noted(
        self,
        environ: Mapping[str, Any],
        status: str,
        began: float,
        messages: int,
        told: Sequence[Told],
    ) -> None:
        """One that waited is answered."""
        self._end(environ, json.loads(environ[NOTED]), told, status, began, messages)

    def close(self) -> None:
        """Send what has not been sent; it gives up after a while."""
        # A thread, since the shutdown waits without a limit for a collector that hangs.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_PATIENCE)

    def _end(
        self,
        environ: Mapping[str, Any],
        fields: Mapping[str, Any],
        told: Sequence[Told],
        status: str,
        began: float,
        messages: int,
    ) -> None:
        operation = _operation_of(fields, environ.get('QUERY_STRING', ''))
        if operation is None:
            return
        if operation.type == _RECEIVE and not messages and 'HTTP_TRACEPARENT' not in environ:
            # An idle consumer that asks every second is not worth a trace each time.
            return
        span = environ.get(_SPAN)
        if span is None:
            began_at = time.time_ns() - int((time.monotonic() - began) * 1e9)
            span = self._start(operation.type, environ, began_at, self._links_to(told))
        if span.is_recording():
            queue = fields['queue']
            span.update_name(f'{operation.name} {queue}' if queue else operation.name)
            span.set_attributes(_attributes(operation, environ, fields, told, status, messages))
            if status >= '500':
                span.set_status(self._api.StatusCode.ERROR)
            span.end()

    def _start(
        self,
        type: str,
        environ: Mapping[str, Any],
        began_at: int,
        links: 'Sequence[Link]' = (),
    ) -> 'Span':
        sent = {
            name: environ[member]
            for name, member in (
                ('traceparent', 'HTTP_TRACEPARENT'),
                ('tracestate', 'HTTP_TRACESTATE'),
            )
            if member in environ
        }
        # An empty context: whatever this thread had before is not of this request.
        parent = self._propagator.extract(sent, _nothing())
        return self._tracer.start_span(
            type, parent, self._kinds[type], links=links, start_time=began_at
        )

    def _links_to(self, told: Sequence[Told]) -> 'Sequence[Link]':
        """A link to each trace by which messages came here; several may have come by one."""
        traces = dict.fromkeys(traceparent for _, traceparent in told if traceparent)
        links = []
        for traceparent in traces:
            if traceparent_in(traceparent):
                there = self._propagator.extract({'traceparent': traceparent}, _nothing())
                links.append(self._api.Link(self._api.get_current_span(there).get_span_context()))
        return links


def _nothing() -> 'Context':
    from opentelemetry.context import Context

    return Context()


def _message_in(environ: Mapping[str, Any]) -> str | None:
    """The message that the path names, if it names one."""
    request = environ.get('pecan.locals', {}).get('request')
    message: str | None = request and request.path_values.get('message')
    return message


def _attributes(
    operation: _Operation,
    environ: Mapping[str, Any],
    fields: Mapping[str, Any],
    told: Sequence[Told],
    status: str,
    messages: int,
) -> dict[str, str | int]:
    message = _message_in(environ)
    attributes: dict[str, str | int | None] = {
        'messaging.system': 'marconi',
        'messaging.operation.name': operation.name,
        'messaging.operation.type': operation.type,
        'messaging.destination.name': fields['queue'],
        'messaging.message.id': message or (told[0][0] if len(told) == 1 else None),
        'messaging.client.id': environ.get('HTTP_CLIENT_ID'),
        'marconi.project': fields['project'],
        'http.request.method': fields['method'],
        'http.route': fields['route'],
        'http.response.status_code': int(status[:3]),
        # A request for one message, by its path, is not a batch.
        'messaging.batch.message_count': None if message else messages,
        'error.type': status[:3] if status >= '400' else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}
