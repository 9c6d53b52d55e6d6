"""The metrics of a running service, as Prometheus reads them."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pecan.configuration import conf_from_file
from prometheus_client.parser import text_string_to_metric_families

from marconi_api.model import Store
from marconi_api.processes.embedded.cluster import running_url
from marconi_api.processes.installation import CHECKOUT, OPERATOR_FILES
from marconi_api.processes.metrics.exporter import signs
from marconi_api.processes.metrics.looking import Looking
from tests.processes import shown
from tests.running_service import HEADERS, Service, refused, services, wait_until

RULES = CHECKOUT / 'contrib' / 'prometheus' / 'marconi.rules.yml'
DASHBOARD = CHECKOUT / 'contrib' / 'grafana' / 'marconi.json'
DOCUMENT = CHECKOUT / 'docs' / 'metrics.md'

#: So many queues have figures of their own in the service of these tests.
SHOWN = 2


class Measured:
    """A service with metrics, and a client of it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        found = re.search(r'the metrics are at (http://\S+)', service.err.read_text())
        assert found
        self.url = found[1]

    def page(self) -> str:
        """What Prometheus reads."""
        with urllib.request.urlopen(self.url) as answer:
            text: str = answer.read().decode()
        return text

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric by those of its labels, in the order of the labels' names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == name
        }

    def value(self, name: str, *labels: str) -> float:
        """One of them; 0 if it is not there."""
        return self.samples(name).get(labels, 0.0)

    def requests(self, method: str, route: str, status: int) -> float:
        """How many such requests were answered."""
        return self.value('marconi_requests_total', method, route, str(status))

    def send(
        self, method: str, path: str, body: Any = None, project: str = 'acme'
    ) -> tuple[int, Any]:
        """Send a request; its status and document."""
        headers = {**HEADERS, 'X-Project-Id': project}
        with contextlib.closing(self.service.connect()) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None

    def post(self, queue: str, count: int, project: str = 'acme') -> None:
        """Post so many messages."""
        self.send('PUT', f'/v2/queues/{queue}', project=project)
        messages = {'messages': [{'body': number} for number in range(count)]}
        status, _ = self.send('POST', f'/v2/queues/{queue}/messages', messages, project)
        assert status == 201

    def claim(self, queue: str, count: int) -> tuple[str, list[str]]:
        """Claim so many; the ids of the claim and of the messages."""
        _, found = self.send('POST', f'/v2/queues/{queue}/claims?limit={count}', {})
        hrefs = [message['href'] for message in found['messages']]
        return hrefs[0].partition('claim_id=')[2], [
            re.findall(r'/messages/(\w+)', href)[0] for href in hrefs
        ]

    def workers(self) -> set[int]:
        """The processes that answer requests."""
        return set(self.service.named('marconi-worker'))


@pytest.fixture(scope='module')
def measured() -> Iterator[Measured]:
    with services() as start, _settings() as settings:
        service = start(MARCONI_CONFIG=settings, MARCONI_METRICS_ADDRESS='0').wait_until_ready()
        yield Measured(service)


@contextlib.contextmanager
def _settings() -> Iterator[str]:
    # The service's user must be able to read it.
    path = Path(f'/tmp/marconi-settings-{os.getpid()}.py')
    path.write_text(
        f"metrics = {{'queues': {SHOWN}, 'interval': 0.05}}\n"
        "janitor = {'interval': 0.1}\nlimits = {'min_message_ttl': 1}"
    )
    path.chmod(0o644)
    try:
        yield str(path)
    finally:
        path.unlink()


def test_requests_are_counted_by_route_method_and_status(measured: Measured) -> None:
    before = measured.requests('GET', '/v1/queues/{queue}/metadata', 404)

    measured.send('GET', '/v1/queues/none/metadata')
    measured.send('GET', '/v1/queues/none-either/metadata')

    assert measured.requests('GET', '/v1/queues/{queue}/metadata', 404) == before + 2
    assert (
        measured.value('marconi_request_seconds_count', 'GET', '/v1/queues/{queue}/metadata') >= 2
    )


def wake(measured: Measured) -> int:
    """Have a claim wait, and a command post, which does not know of the waiting room; its status."""
    measured.send('PUT', '/v2/queues/untold')
    answers: list[Any] = []
    waiter = threading.Thread(
        target=lambda: answers.append(measured.send('POST', '/v2/queues/untold/claims?wait=20', {}))
    )
    waiter.start()
    wait_until(lambda: measured.value('marconi_waiters') == 1)
    subprocess.run(
        [sys.executable, '-m', 'marconi_api.commands', 'post', 'untold', '1', '--project', 'acme'],
        env=os.environ | {'MARCONI_DATA_DIR': str(measured.service.data_dir)},
        check=True,
        capture_output=True,
    )
    waiter.join()
    status: int = answers[0][0]
    return status


def test_a_message_that_nobody_tells_of_is_a_fallback(measured: Measured) -> None:
    before = measured.value('marconi_wake_fallbacks_total')

    assert wake(measured) == 201

    assert measured.value('marconi_wake_fallbacks_total') > before


def test_no_counter_goes_back_when_the_waiting_room_is_killed(measured: Measured) -> None:
    wake(measured)
    names = ('wakes', 'wake_fallbacks', 'waiters_refused', 'waiters_gone')
    before = {name: measured.value(f'marconi_{name}_total') for name in names}
    assert before['wakes'] > 0
    [room] = measured.service.named('marconi-waiting')

    os.kill(room, signal.SIGKILL)

    def is_replaced() -> bool:
        return measured.service.named('marconi-waiting') not in ([], [room])

    wait_until(is_replaced)
    after = {name: measured.value(f'marconi_{name}_total') for name in names}
    assert all(after[name] >= before[name] for name in names)


def test_what_clients_make_up_is_no_label(measured: Measured) -> None:
    for number in range(3):
        measured.send('GET', f'/nonsense-{number}')
        measured.send(f'BREW{number}', '/v2/queues')

    assert measured.requests('GET', 'unmatched', 404) == 3
    assert measured.requests('other', '/v2/queues', 405) == 3
    assert not re.search('nonsense|BREW', measured.page())


def test_what_becomes_of_messages_is_counted(measured: Measured) -> None:
    names = ('posted', 'claimed', 'deleted', 'released', 'touched', 'parked')
    before = {name: measured.value(f'marconi_messages_{name}_total') for name in names}

    measured.post('counted', 10)
    claim, messages = measured.claim('counted', 6)
    path = f'/v2/queues/counted/claims/{claim}'
    measured.send('PATCH', path, {'ttl': 100})
    verdicts = [
        {'id': messages[0], 'verdict': 'delete'},
        {'id': messages[1], 'verdict': 'park'},
        {'id': messages[2], 'verdict': 'release'},
        {'id': messages[3], 'verdict': 'touch'},
    ]
    measured.send('POST', f'{path}/verdicts', {'verdicts': verdicts})
    measured.send('DELETE', path)
    measured.send('DELETE', '/v2/queues/counted/messages?pop=1')
    after = {name: measured.value(f'marconi_messages_{name}_total') for name in names}

    assert {name: after[name] - before[name] for name in names} == {
        'posted': 10,
        'claimed': 6 + 1,
        'deleted': 1 + 1,
        'released': 1 + 3,
        'touched': 6 + 1,
        'parked': 1,
    }


def test_a_repeated_post_counts_once(measured: Measured) -> None:
    measured.post('repeated', 1)
    before = measured.value('marconi_messages_posted_total')
    body = json.dumps({'messages': [{'body': 1}]})

    for _ in range(2):
        with contextlib.closing(measured.service.connect()) as connection:
            headers = {**HEADERS, 'X-Project-Id': 'acme', 'Idempotency-Key': 'once'}
            connection.request('POST', '/v2/queues/repeated/messages', body, headers)
            assert connection.getresponse().status == 201

    assert measured.value('marconi_messages_posted_total') == before + 1


def test_a_message_that_expired_counts_when_the_janitor_has_removed_it(measured: Measured) -> None:
    before = measured.value('marconi_messages_expired_total')
    measured.send('PUT', '/v2/queues/short')

    measured.send('POST', '/v2/queues/short/messages', {'messages': [{'body': 1, 'ttl': 1}]})

    wait_until(lambda: measured.value('marconi_messages_expired_total') == before + 1)


def test_messages_of_a_queue_that_was_deleted_count_as_deleted(measured: Measured) -> None:
    measured.post('doomed', 3)
    before = measured.value('marconi_messages_deleted_total')

    measured.send('DELETE', '/v2/queues/doomed')

    wait_until(lambda: measured.value('marconi_messages_deleted_total') == before + 3)


def test_a_request_that_waited_counts_when_it_is_answered(measured: Measured) -> None:
    route = '/v2/queues/{queue}/claims'
    before = measured.requests('POST', route, 204)
    waits = measured.value('marconi_wait_seconds_count')
    seconds = measured.value('marconi_request_seconds_sum', 'POST', route)

    measured.send('POST', '/v2/queues/nothing/claims?wait=1', {})

    assert measured.requests('POST', route, 204) == before + 1
    assert measured.value('marconi_wait_seconds_count') == waits + 1
    assert measured.value('marconi_request_seconds_sum', 'POST', route) < seconds + 1


def test_no_counter_goes_back_when_workers_are_killed(measured: Measured) -> None:
    measured.post('killed', 5)
    posted = measured.value('marconi_messages_posted_total')

    for _ in range(2):
        workers = measured.workers()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            assert measured.value('marconi_messages_posted_total') == posted
        _wait_for_others(measured, workers)
        assert measured.value('marconi_messages_posted_total') == posted
        for _ in range(8):
            measured.post('killed', 1)
        posted += 8
        assert measured.value('marconi_messages_posted_total') == posted


def _wait_for_others(measured: Measured, killed: set[int]) -> None:
    wait_until(lambda: len(measured.workers() - killed) == 2)


def test_who_takes_the_place_of_a_killed_process_goes_on_with_its_file(measured: Measured) -> None:
    [directory] = {
        path
        for path in Path('/tmp').glob('marconi-*/metrics')
        if path.parent.joinpath('workers.sock').exists() and _has(measured, path)
    }

    assert sorted(path.name for path in directory.glob('counter_*')) == [
        f'counter_{place}.db' for place in ('1', '2', 'janitor', 'waiting')
    ]


def _has(measured: Measured, directory: Path) -> bool:
    variable = f'MARCONI_METRICS={directory}'
    pids = measured.service.processes()[1:]
    return any(variable in shown(pid, 'environ') for pid in pids)


def test_the_deepest_and_the_oldest_queues_have_figures_and_the_rest_a_sum(
    measured: Measured,
) -> None:
    names = [f'depth-{number}' for number in range(6)]
    for number, name in enumerate(names):
        measured.post(name, 5 * number + 1, 'depths')

    def depths() -> dict[tuple[str, ...], float]:
        return measured.samples('marconi_queue_messages')

    wait_until(lambda: depths().get(('depths', 'depth-5', 'ready')) == 26)
    found = depths()
    shown = {labels[:2] for labels in found if labels[1]}
    assert len(shown) <= 2 * SHOWN
    assert ('depths', 'depth-0', 'ready') not in found
    assert found[('', '', 'ready')] >= 1 + 6
    ages = measured.samples('marconi_queue_oldest_message_age_seconds')
    assert set(ages) == shown


def test_a_project_of_any_name_is_told_as_it_is(measured: Measured) -> None:
    project = 'he"llo\\n {} \xe9 # HELP'
    for _ in range(6):
        measured.post('hostile', 10, project)

    wait_until(
        lambda: (
            60
            in [
                value
                for (name, queue, _), value in measured.samples('marconi_queue_messages').items()
                if queue == 'hostile' and name.startswith('he"llo\\n {} ')
            ]
        )
    )
    check(measured.page())
    measured.send('DELETE', '/v2/queues/hostile', project=project)


def check(page: str) -> None:
    """Have Prometheus' own program read the page, where it is installed."""
    if shutil.which('promtool'):
        done = subprocess.run(
            ['promtool', 'check', 'metrics'], input=page, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_prometheus_finds_nothing_wrong_with_the_page(measured: Measured) -> None:
    check(measured.page())


def _used_in(expression: str) -> set[str]:
    return set(re.findall(r'marconi_\w+', expression))


def _expressions(document: Any) -> Iterator[str]:
    """What a dashboard asks Prometheus, however deep it stands there."""
    if isinstance(document, dict):
        for name, member in document.items():
            if name in ('expr', 'query') and isinstance(member, str):
                yield member
            yield from _expressions(member)
    elif isinstance(document, list):
        for member in document:
            yield from _expressions(member)


def _names(measured: Measured) -> set[str]:
    families = text_string_to_metric_families(measured.page())
    return {sample.name for family in families for sample in family.samples}


def test_each_metric_of_the_alerts_is_there(measured: Measured) -> None:
    used = _used_in(RULES.read_text())

    assert len(used) > 10
    assert used <= _names(measured)


def test_prometheus_takes_the_alerts() -> None:
    if not shutil.which('promtool'):
        pytest.skip('promtool is not installed')
    done = subprocess.run(['promtool', 'check', 'rules', RULES], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_metric_of_the_dashboard_is_there(measured: Measured) -> None:
    expressions = list(_expressions(json.loads(DASHBOARD.read_text())))

    used = {name for expression in expressions for name in _used_in(expression)}
    assert len(used) > 20
    assert used <= _names(measured)


def test_prometheus_takes_what_the_dashboard_asks() -> None:
    if not shutil.which('promtool'):
        pytest.skip('promtool is not installed')
    expressions = list(_expressions(json.loads(DASHBOARD.read_text())))
    rules = [
        {'record': f'of_panel_{number}', 'expr': expression.replace('$__rate_interval', '1m')}
        for number, expression in enumerate(expressions)
        if 'marconi_' in expression and 'label_values' not in expression
    ]
    groups = json.dumps({'groups': [{'name': 'panels', 'rules': rules}]})

    done = subprocess.run(
        ['promtool', 'check', 'rules', '/dev/stdin'], input=groups, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_describes_each_metric_and_no_other(measured: Measured) -> None:
    families = {
        family.name + ('_total' if family.type == 'counter' else '')
        for family in text_string_to_metric_families(measured.page())
    }

    described = re.findall(r'^\| `(marconi_\w+)` \|', DOCUMENT.read_text(), re.M)

    assert sorted(described) == sorted(families)


def test_the_state_of_the_service_is_told(measured: Measured) -> None:
    assert measured.value('marconi_database_up') == 1
    assert measured.value('marconi_database_round_trips_total') > 0
    assert measured.value('marconi_read_horizon_lag_seconds') < 30
    wait_until(lambda: measured.value('marconi_janitor_last_round_age_seconds') < 30)


def test_a_transaction_that_holds_lists_back_is_told(measured: Measured) -> None:
    url = running_url(measured.service.data_dir)
    assert url
    with contextlib.closing(psycopg2.connect(url.replace('+psycopg2', ''))) as connection:
        with connection.cursor() as cursor:
            cursor.execute('SELECT pg_current_xact_id()')
        wait_until(lambda: measured.value('marconi_read_horizon_lag_seconds') > 0.2)

    wait_until(lambda: measured.value('marconi_read_horizon_lag_seconds') == 0)


def test_while_the_database_is_away_that_is_told_and_the_last_figures() -> None:
    config = conf_from_file(str(OPERATOR_FILES / 'config.py'))
    config.database.url = 'postgresql+psycopg2://marconi@/marconi?host=/nonexistent'
    looking = Looking(Store.of(config), interval=5, most=10)

    looking.look()
    rest = looking.step()

    [up] = [metric for metric in signs(looking.signs) if metric.name == 'marconi_database_up']
    assert up.samples[0].value == 0
    assert looking.depths is None
    assert rest >= 5


def test_a_process_that_counts_has_its_files_in_memory(measured: Measured) -> None:
    for pid in measured.workers():
        assert 'counter_' in shown(pid, 'maps')


def test_nothing_but_metrics_is_served(measured: Measured) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(measured.url.replace('/metrics', '/v2/queues'))

    with contextlib.closing(refusal.value):
        assert refusal.value.code == 404
    assert measured.send('GET', '/metrics')[0] == 404


def test_an_address_that_cannot_be_had_is_told_in_one_line(measured: Measured) -> None:
    with services() as start:
        for address in ('nonsense', 'no.such.host.invalid:9464'):
            assert 'change MARCONI_METRICS_ADDRESS' in refused(
                start(MARCONI_METRICS_ADDRESS=address)
            )
