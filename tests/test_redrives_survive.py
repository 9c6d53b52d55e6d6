"""Redrives that services carry out, while the processes that do it are killed."""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from marconi_api.processes.embedded.cluster import running_url
from tests.running_service import HEADERS, Service, services, wait_until

pytestmark = pytest.mark.slow

MESSAGES = 4000
KILLS = int(os.environ.get('MARCONI_KILL_REDRIVE', '4'))

_HEADERS = {**HEADERS, 'X-Project-Id': 'acme'}

SMALL = "server = {'processes': 1, 'threads': 2}\n"


@pytest.fixture(scope='module')
def two_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """Two on one database."""
    config = tmp_path_factory.mktemp('settings') / 'small.py'
    for path in (config.parent, *config.parent.parents[:2]):
        with contextlib.suppress(PermissionError):
            os.chmod(path, 0o755)
    config.write_text(SMALL)
    with services() as start:
        first = start(MARCONI_CONFIG=str(config)).wait_until_ready()
        url = running_url(first.data_dir) or ''
        second = start(MARCONI_DATABASE_URL=url, MARCONI_CONFIG=str(config)).wait_until_ready()
        yield [first, second]
        second.process.terminate()
        second.process.wait()


def ask(service: Service, method: str, path: str, body: Any = None) -> Any:
    with contextlib.closing(service.connect()) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), _HEADERS)
        response = connection.getresponse()
        content = response.read()
        assert response.status < 300, content
        return json.loads(content or 'null')


def fill(service: Service, queue: str) -> None:
    for start in range(0, MESSAGES, 1000):
        messages = [{'body': number} for number in range(start, start + 1000)]
        ask(service, 'POST', f'/v2/queues/{queue}/messages', {'messages': messages})


def janitors(service: Service) -> list[int]:
    """The processes that carry redrives out."""
    return service.named('marconi-janitor')


def bodies(service: Service, *queues: str) -> list[int]:
    url = (running_url(service.data_dir) or '').replace('+psycopg2', '')
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            'SELECT body FROM queues JOIN message_states USING (queue_id)'
            ' JOIN messages USING (queue_id, id) WHERE name = ANY (%s)',
            ([*queues],),
        )
        return sorted(int(body) for (body,) in cursor.fetchall())


def test_two_services_whose_processes_are_killed_lose_nothing_and_double_nothing(
    two_services: list[Service],
) -> None:
    [first, second] = two_services
    chance = random.Random(2)
    ask(first, 'PUT', '/v2/queues/jobs')
    fill(first, 'dead')
    redrive = ask(first, 'POST', '/v2/queues/dead/redrive', {'to': 'jobs', 'rate': 400})
    path = f'/v2/queues/dead/redrives/{redrive["id"]}'
    assert redrive['status'] == 'running'

    for kill in range(KILLS):
        victim = two_services[kill % 2]
        wait_until(lambda victim=victim: bool(janitors(victim)))  # type: ignore[misc]
        time.sleep(chance.random())
        for pid in janitors(victim):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert bodies(first, 'dead', 'jobs') == list(range(MESSAGES))

    wait_until(lambda: ask(second, 'GET', path)['status'] != 'running')
    done = ask(first, 'GET', path)
    assert (done['status'], done['moved'], done['total']) == ('completed', MESSAGES, MESSAGES)
    assert bodies(first, 'jobs') == list(range(MESSAGES))
    assert bodies(first, 'dead') == []


def test_a_redrive_goes_on_after_all_that_carry_it_out_were_killed(
    two_services: list[Service],
) -> None:
    [first, second] = two_services
    ask(first, 'PUT', '/v2/queues/target')
    fill(first, 'source')
    redrive = ask(first, 'POST', '/v2/queues/source/redrive', {'to': 'target', 'rate': 100})
    path = f'/v2/queues/source/redrives/{redrive["id"]}'

    for service in (first, second):
        for pid in janitors(service):
            os.kill(pid, signal.SIGKILL)
    before = ask(first, 'GET', path)['moved']
    wait_until(lambda: ask(first, 'GET', path)['moved'] > before)
    cancelled = ask(second, 'DELETE', path)

    assert cancelled['status'] == 'cancelled'
    moved = len(bodies(first, 'target'))
    assert moved == cancelled['moved'] < MESSAGES
    # Longer than the pause between two looks.
    time.sleep(2)
    assert len(bodies(first, 'target')) == moved
