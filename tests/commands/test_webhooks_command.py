"""``marconi webhooks`` shows whom the service calls."""

import json

import pytest

from marconi_api import model
from marconi_api.model import QueueKey


@pytest.fixture
def hooks(app, sql):
    for project, path in (('acme', 'a'), ('acme', 'b'), ('other', 'a')):
        queue = QueueKey.of(project, 'events')
        model.store.queues.create(queue)
        model.store.subscriptions.create(queue, f'https://Hooks.example.com:8443/{path}')
    model.store.subscriptions.create(queue, 'http://other.example.com/')
    sql('UPDATE subscription_owners SET delivered = 7, failing_since = now()')
    sql("UPDATE subscriptions SET paused_at = now() WHERE subscriber LIKE '%other%'")


def test_all_hosts_are_shown_with_their_figures(hooks, marconi):
    assert marconi('webhooks').stdout.splitlines() == [
        'HOST                    SUBSCRIPTIONS  PROJECTS  DELIVERED  FAILING  PAUSED',
        'hooks.example.com:8443              3         2         21        3       0',
        'other.example.com                   1         1          7        1       1',
    ]


def test_programs_read_it_as_json(hooks, marconi):
    shown = json.loads(marconi('webhooks', '--json').stdout)

    assert [host['host'] for host in shown['hosts']] == [
        'hooks.example.com:8443',
        'other.example.com',
    ]


def test_no_webhooks_are_no_hosts(app, marconi):
    assert json.loads(marconi('webhooks', '--json').stdout) == {'hosts': []}
