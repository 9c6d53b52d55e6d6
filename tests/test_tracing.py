"""Spans of OpenTelemetry, as a collector gets them from a running service (docs/tracing.md)."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from marconi_api.processes.settings import SettingsError, read_settings
from marconi_api.processes.tracing import contradiction
from tests.running_service import HEADERS, Service, services, wait_until

PARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'


class Span(NamedTuple):
    """A span as it was sent; ids are hexadecimal."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    #: The trace and the span of each.
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    is_error: bool
    seconds: float
    resource: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, as any collector does."""

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Taking)
        self.spans: list[Span] = []

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'

    def wait_for(self, name: str, count: int = 1) -> list[Span]:
        """The spans of a name, once there are so many."""
        wait_until(lambda: len(self.named(name)) >= count)
        return self.named(name)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )
        from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
        from opentelemetry.proto.trace.v1.trace_pb2 import Status

        assert self.path == '/v1/traces'
        content = self.rfile.read(int(self.headers['Content-Length']))
        for of_resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            resource = _values(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self.server.spans += [
                    Span(
                        span.name,
                        Sent.SpanKind.Name(span.kind),
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                        _values(span.attributes),
                        span.status.code == Status.STATUS_CODE_ERROR,
                        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        resource,
                    )
                    for span in scope.spans
                ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def _values(attributes: Any) -> dict[str, Any]:
    return {
        attribute.key: getattr(attribute.value, attribute.value.WhichOneof('value'))
        for attribute in attributes
    }


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope='module')
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


@pytest.fixture(scope='module')
def service(collector: Collector) -> Iterator[Service]:
    with services() as start:
        yield start(
            MARCONI_TRACING='on',
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY='100',
            OTEL_RESOURCE_ATTRIBUTES='deployment.environment.name=test',
        ).wait_until_ready()


class Client:
    """Sends requests of version 2 about a queue, within a trace if it is told to."""

    def __init__(self, service: Service, queue: str) -> None:
        self._service = service
        self.queue = queue

    def __call__(
        self, method: str, path: str, body: Any = None, traceparent: str | None = None
    ) -> tuple[int, Any]:
        headers = {**HEADERS, 'X-Project-Id': 'acme'}
        if traceparent:
            headers['traceparent'] = traceparent
        connection = self._service.connect()
        content = None if body is None else json.dumps(body)
        connection.request(method, f'/v2/queues/{self.queue}{path}', content, headers)
        response = connection.getresponse()
        document = response.read()
        connection.close()
        return response.status, json.loads(document) if document else None

    def post(self, *bodies: Any, traceparent: str | None = None) -> list[str]:
        """The ids of new messages."""
        document = {'messages': [{'body': body} for body in bodies]}
        status, posted = self('POST', '/messages', document, traceparent)
        assert status == 201
        return [path.rpartition('/')[2] for path in posted['resources']]


@pytest.fixture
def client(service: Service, request: pytest.FixtureRequest) -> Client:
    """One whose queue no other test has."""
    return Client(service, f'{request.node.name[:50]}')


def test_a_consumer_is_linked_to_the_producers_of_its_messages(
    client: Client, collector: Collector
) -> None:
    client.post('a', 'b')
    client.post('c')
    client('POST', '/claims?limit=10', {})

    [claim] = collector.wait_for(f'claim {client.queue}')
    posts = collector.wait_for(f'post {client.queue}', 2)
    assert {post.kind for post in posts} == {'SPAN_KIND_PRODUCER'}
    assert claim.kind == 'SPAN_KIND_CONSUMER'
    assert claim.links == [(post.trace, post.id) for post in posts]
    assert claim.trace not in {post.trace for post in posts}


def test_a_span_says_what_was_done_by_the_conventions(client: Client, collector: Collector) -> None:
    [posted] = client.post('a')

    [post] = collector.wait_for(f'post {client.queue}')
    assert post.attributes == {
        'messaging.system': 'marconi',
        'messaging.operation.name': 'post',
        'messaging.operation.type': 'send',
        'messaging.destination.name': client.queue,
        'messaging.batch.message_count': 1,
        'messaging.message.id': posted,
        'messaging.client.id': HEADERS['Client-ID'],
        'marconi.project': 'acme',
        'http.request.method': 'POST',
        'http.route': '/v2/queues/{queue}/messages',
        'http.response.status_code': 201,
    }
    assert 0 < post.seconds < 60
    assert post.resource['service.name'] == 'marconi'
    assert post.resource['deployment.environment.name'] == 'test'


def test_a_post_within_a_trace_goes_on_with_it_and_the_consumer_is_linked_to_the_client(
    client: Client, collector: Collector
) -> None:
    client.post('a', traceparent=PARENT)
    other = PARENT.replace('4bf9', 'beef')
    client('POST', '/claims', {}, traceparent=other)

    _, trace, span, _ = PARENT.split('-')
    [post] = collector.wait_for(f'post {client.queue}')
    assert (post.trace, post.parent) == (trace, span)
    [claim] = collector.wait_for(f'claim {client.queue}')
    assert claim.links == [(trace, span)]
    assert claim.trace == other.split('-')[1]


def test_what_becomes_of_a_message_is_a_span_with_its_id(
    client: Client, collector: Collector
) -> None:
    client.post('a')
    _, claimed = client('POST', '/claims', {})
    [message] = claimed['messages']
    claim = message['href'].partition('=')[2]
    client('DELETE', f'/messages/{message["id"]}?claim_id={claim}')

    [delete] = collector.wait_for(f'delete {client.queue}')
    assert delete.kind == 'SPAN_KIND_SERVER'
    assert delete.attributes['messaging.operation.type'] == 'settle'
    assert delete.attributes['messaging.message.id'] == message['id']
    assert 'messaging.batch.message_count' not in delete.attributes


def test_a_pop_is_a_consumer_and_verdicts_settle(client: Client, collector: Collector) -> None:
    client.post('a', 'b')
    _, claimed = client('POST', '/claims?limit=1', {})
    [message] = claimed['messages']
    claim = message['href'].partition('=')[2]
    given = [{'id': message['id'], 'verdict': 'release'}]
    client('POST', f'/claims/{claim}/verdicts', {'verdicts': given})
    client('DELETE', '/messages?pop=2')

    [judge] = collector.wait_for(f'judge {client.queue}')
    assert judge.attributes['messaging.operation.type'] == 'settle'
    [pop] = collector.wait_for(f'pop {client.queue}')
    assert pop.attributes['messaging.operation.type'] == 'receive'
    assert pop.attributes['messaging.batch.message_count'] == 2
    assert len(pop.links) == 1


def test_a_claim_that_waited_is_one_span_that_began_with_the_request(
    client: Client, collector: Collector
) -> None:
    client('PUT', '')
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(client('POST', '/claims?wait=30', {}, PARENT))
    )
    waiting.start()
    client.post('a')
    waiting.join()

    assert answers[0][0] == 201
    [claim] = collector.wait_for(f'claim {client.queue}')
    [post] = collector.wait_for(f'post {client.queue}')
    assert claim.links == [(post.trace, post.id)]
    assert claim.parent == PARENT.split('-')[2]
    assert claim.attributes['messaging.batch.message_count'] == 1


def test_what_is_refused_is_told_with_its_status(client: Client, collector: Collector) -> None:
    assert client('POST', '/messages', {'messages': []})[0] == 400

    [post] = collector.wait_for(f'post {client.queue}')
    assert post.attributes['error.type'] == '400'
    assert post.attributes['messaging.batch.message_count'] == 0
    assert not post.is_error


def test_looks_and_claims_that_find_nothing_are_not_traced(
    client: Client, collector: Collector
) -> None:
    client('POST', '/claims', {})
    client('GET', '/messages', None, PARENT)
    client('GET', '/stats', None, PARENT)
    client.post('a')

    collector.wait_for(f'post {client.queue}')
    assert [span.name for span in collector.spans if client.queue in span.name] == [
        f'post {client.queue}'
    ]


def test_a_trace_that_its_client_does_not_record_is_not_recorded(
    client: Client, collector: Collector
) -> None:
    client.post('a', traceparent=f'{PARENT[:-2]}00')
    client.post('b')

    assert len(collector.wait_for(f'post {client.queue}')) == 1


@pytest.mark.slow
def test_a_stop_sends_what_was_not_sent() -> None:
    with collecting() as collector, services() as start:
        service = start(
            MARCONI_TRACING='on',
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY='3600000',
            OTEL_SERVICE_NAME='orders',
        ).wait_until_ready()
        Client(service, 'jobs').post('a')
        assert not collector.spans

        service.end(signal.SIGTERM)

        [post] = collector.named('post jobs')
        assert post.resource['service.name'] == 'orders'


@pytest.mark.slow
def test_a_collector_that_is_away_hinders_neither_requests_nor_a_stop() -> None:
    with services() as start:
        service = start(
            MARCONI_TRACING='on', OTEL_EXPORTER_OTLP_ENDPOINT='http://127.0.0.1:1'
        ).wait_until_ready()
        Client(service, 'jobs').post('a')

        service.end(signal.SIGTERM)

        assert service.process.returncode == 0


def test_without_it_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    program = (
        'import sys; from marconi_api.processes import settings, tracing, wsgi;'
        'assert tracing.tracer_of(settings.read_settings()) is None;'
        'print([name for name in sys.modules if name.startswith("opentelemetry")])'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={'MARCONI_DATABASE_URL': 'postgresql://127.0.0.1:1/none'},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ('[]\n', '')


@pytest.mark.parametrize(('ratio', 'is_right'), [(None, True), (0, True), (0.5, True), (2, False)])
def test_a_ratio_is_from_0_to_1(ratio: float | None, is_right: bool) -> None:
    settings = read_settings()
    settings.tracing.ratio = ratio

    assert (contradiction(settings) is None) == is_right


def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MARCONI_TRACING', 'yes')

    with pytest.raises(SettingsError, match="MARCONI_TRACING must be on or off, not 'yes'"):
        read_settings()


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MARCONI_TRACING', 'on')
    for name in ('opentelemetry.exporter', 'opentelemetry.exporter.otlp'):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(SettingsError, match=r'pip install "marconi-api\[tracing\]"'):
        read_settings()
