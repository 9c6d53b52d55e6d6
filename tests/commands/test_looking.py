"""`marconi queues`, `marconi show` and `marconi peek`, on the database and over HTTP."""

import json

import pytest

from marconi_api import model
from marconi_api.model import NewMessage, QueueKey
from tests.commands.conftest import CLIENT


def test_queues_are_listed_the_deepest_first(marconi, queue, post, way):
    model.store.queues.create(QueueKey.of('acme', 'idle'))
    post('1', '2')
    model.store.claims.create(queue, 60, 60, 1)

    done = marconi('queues', '--project', 'acme', '--json', *way)

    empty = {'free': 0, 'claimed': 0, 'parked': 0, 'total': 0}
    assert json.loads(done.stdout) == [
        {'project': 'acme', 'name': 'jobs', 'free': 1, 'claimed': 1, 'parked': 0, 'total': 2},
        {'project': 'acme', 'name': 'idle', **empty},
    ]
    assert (done.returncode, done.stderr) == (0, '')


def test_queues_of_all_projects_are_shown_in_a_table(marconi, post):
    model.store.queues.create(QueueKey.of('', 'nobody-s'))
    post('1')

    done = marconi('queues', '--all-projects')

    assert done.stdout.splitlines() == [
        'QUEUE     PROJECT  FREE  CLAIMED  PARKED  TOTAL',
        'jobs      acme        1        0       0      1',
        'nobody-s  -           0        0       0      0',
    ]


def test_a_limit_says_that_there_may_be_more(marconi, queue):
    model.store.queues.create(QueueKey.of('acme', 'idle'))

    done = marconi('queues', '--project', 'acme', '--limit', '1')

    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == 'There may be more than these 1: --limit shows more.\n'


def test_where_no_queue_is_the_exit_code_is_1(marconi, queue, way):
    done = marconi('queues', '--project', 'other', *way)

    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == 'marconi: project other has no queues\n'


def test_who_names_no_project_learns_how_to_see_all(marconi, queue):
    done = marconi('queues')

    assert done.returncode == 1
    assert done.stderr.endswith('name one with --project, or see all with --all-projects\n')


def test_a_queue_is_shown_with_its_ends_and_metadata(marconi, queue, post, way):
    model.store.queues.set_metadata(queue, '{"owner": "billing", "rate": 1.50}')
    first, last = post('1', '2')

    done = marconi('show', 'jobs', '--project', 'acme', '--json', *way)

    shown = json.loads(done.stdout)
    assert (shown['oldest']['id'], shown['newest']['id']) == (first, last)
    assert (shown['free'], shown['total']) == (2, 2)
    assert shown['metadata']['owner'] == 'billing'
    assert '"rate": 1.50' in done.stdout or '"rate":1.50' in done.stdout


def test_a_queue_is_shown_with_the_claims_on_it(marconi, queue, post):
    post('1', '2')
    claim = model.store.claims.create(queue, 60, 60, 1)

    done = marconi('show', 'jobs', '--project', 'acme')

    assert f'claim     {claim.id} holds 1, made or renewed ' in done.stdout
    assert 'ready     1\n' in done.stdout


def test_messages_are_looked_at_in_posting_order(marconi, queue, post, way):
    ids = post(*map(str, range(45)))
    [claimed] = model.store.claims.create(queue, 60, 60, 1).messages

    peek = ('peek', 'jobs', '--project', 'acme', '--json', *way)
    everything = json.loads(marconi(*peek, '--limit', '50').stdout)
    some = json.loads(marconi(*peek, '--state', 'ready', '--limit', '2', '--after', ids[9]).stdout)

    assert [message['id'] for message in everything] == ids
    assert [message['state'] for message in everything] == ['claimed'] + ['ready'] * 44
    assert everything[0]['claim'] == claimed.claim
    assert [message['body'] for message in some] == [10, 11]


def test_a_message_with_a_group_shows_it_and_others_show_none(marconi, way):
    for name, metadata, group in (('jobs', '{}', None), ('orders', '{"_fifo": true}', 'a')):
        queue = QueueKey.of('acme', name)
        model.store.queues.create(queue, metadata)
        new = NewMessage('1', group=group, deduplication_id=group)
        model.store.messages.post(queue, CLIENT, [new])

    plain, grouped = (
        json.loads(marconi('peek', name, '--project', 'acme', '--json', *way).stdout)[0]
        for name in ('jobs', 'orders')
    )

    assert grouped['group'] == 'a'
    assert grouped['sequence'] > 0
    assert grouped.keys() - plain.keys() == {'group', 'sequence'}


def test_bodies_are_printed_as_they_were_posted(marconi, post, way):
    post('{"n": 1.50, "n": 12345678901234567890123}')

    done = marconi('peek', 'jobs', '--project', 'acme', '--json', *way)

    assert '{"n": 1.50, "n": 12345678901234567890123}' in done.stdout


def test_the_reason_for_which_a_message_is_parked_is_shown(marconi, queue, post, way):
    [message] = post('1')
    model.store.verdicts.give(queue, None, [model.Verdict(message, 'park', reason='no picture')])

    done = marconi('peek', 'jobs', '--project', 'acme', '--state', 'parked', *way)

    heading, row = done.stdout.splitlines()
    assert heading.split() == ['ID', 'STATE', 'AGE', 'TTL', 'CLAIMS', 'CLAIM', 'REASON', 'BODY']
    assert row.startswith(f'{message}  parked')
    assert 'no picture  1' in row


def test_control_characters_of_a_client_do_not_reach_the_terminal(marconi, queue, post):
    [message] = post('"\x7f\u009b2J"')
    verdict = model.Verdict(message, 'park', reason='\x1b[2J\nred')
    model.store.verdicts.give(queue, None, [verdict])

    done = marconi('peek', 'jobs', '--project', 'acme')

    assert len(done.stdout.splitlines()) == 2
    assert '\\x1b[2J\\nred' in done.stdout
    assert '"\\x7f\\x9b2J"' in done.stdout


@pytest.mark.parametrize('verb', ['show', 'peek'])
def test_a_queue_that_is_missing_is_told_in_one_line(marconi, queue, way, verb):
    done = marconi(verb, 'none', '--project', 'acme', *way)

    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == 'marconi: there is no queue none of project acme\n'


def test_a_queue_of_another_project_is_named(marconi, queue):
    done = marconi('show', 'jobs')

    assert done.returncode == 1
    assert done.stderr == (
        "marconi: there is no queue jobs of no project; there is one with --project 'acme'\n"
    )


def test_a_queue_without_such_messages_is_exit_code_1(marconi, post, way):
    post('1')

    done = marconi('peek', 'jobs', '--project', 'acme', '--state', 'parked', *way)

    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == 'marconi: there is no parked message in queue jobs\n'
