"""``marconi bench``: measures a running service by a queue of its own."""

import json

import pytest

from marconi_api import model
from marconi_api.model import QueueKey

KINDS = ['post', 'claim', 'delete']


def test_it_tells_how_often_and_how_fast_requests_were_answered(marconi, service_url):
    done = marconi(
        *(
            'bench',
            'load',
            '--project',
            'acme',
            '--url',
            service_url,
            '--time',
            '1',
            '--batch',
            '5',
        ),
        *('--clients', '3', '--json'),
    )

    assert (done.returncode, done.stderr) == (0, '')
    found = json.loads(done.stdout)
    assert list(found['requests']) == KINDS
    assert found['failures'] == {}
    for one in found['requests'].values():
        assert 0 < one['p50'] <= one['p95'] <= one['p99'] <= one['max']
        assert one['count'] == one['rate']


def test_people_get_a_table(marconi, service_url):
    done = marconi('bench', 'load', '--project', 'acme', '--url', service_url, '--time', '1')

    assert done.stderr == ''
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == [
        'REQUEST',
        'A',
        'SECOND',
        'P50',
        'MS',
        'P95',
        'MS',
        'P99',
        'MS',
        'MAX',
        'MS',
    ]
    assert [line.split()[0] for line in lines] == KINDS


def test_a_rate_is_kept_to(marconi, service_url):
    options = ['--time', '1', '--rate', '10', '--clients', '2', '--json']

    found = json.loads(
        marconi('bench', 'load', '--project', 'acme', '--url', service_url, *options).stdout
    )

    assert found['requests']['post']['count'] <= 10


def test_its_queue_is_gone_afterwards(marconi, service_url):
    marconi('bench', 'load', '--project', 'acme', '--url', service_url, '--time', '1')

    assert not model.store.queues.exists(QueueKey.of('acme', 'load'))


def test_a_queue_that_is_there_is_left_alone(marconi, service_url, post):
    [message] = post('1')

    done = marconi('bench', 'jobs', '--project', 'acme', '--url', service_url, '--time', '1')

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)
    [kept] = model.store.messages.page(QueueKey.of('acme', 'jobs'), None, 10)
    assert kept.id == message


@pytest.mark.parametrize('options', [['--batch', '1000'], ['--size', '300000']], ids=str)
def test_what_the_service_refuses_is_wrong_use_at_once(marconi, service_url, options):
    done = marconi(
        'bench', 'load', '--project', 'acme', '--url', service_url, '--time', '60', *options
    )

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)


def test_it_needs_a_running_service(marconi):
    done = marconi('bench', 'load', MARCONI_URL='')

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)
