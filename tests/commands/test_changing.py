"""`marconi post`, `claim`, `release` and `purge`, on the database and over HTTP."""

import json
import os
import pty
import subprocess

import pytest

from marconi_api import model
from tests.commands.conftest import COMMAND, environment

QUEUE = ('jobs', '--project', 'acme')


@pytest.fixture
def look(queue):
    """The states of the messages, by their ids."""
    admin = model.store.admin.queue(queue.name, queue.project)
    return lambda: {message.id: message.state for message in admin.peek(limit=10_000)}


def bodies_in(queue):
    admin = model.store.admin.queue(queue.name, queue.project)
    return [message.body for message in admin.peek(limit=10_000)]


def test_bodies_are_posted_in_order_and_their_ids_printed(marconi, queue, look, way):
    done = marconi('post', *QUEUE, '{"n": 1.50}', ' [1] ', '--ttl', '600', *way)

    assert done.stdout.split() == list(look())
    assert bodies_in(queue) == ['{"n": 1.50}', '[1]']


def test_a_queue_is_made_by_a_post(marconi, app, way):
    done = marconi('post', 'new', '--project', 'acme', '1', '--json', *way)

    [message] = model.store.admin.queue('new', 'acme').peek()
    assert json.loads(done.stdout) == [message.id]


def test_text_becomes_a_string(marconi, queue, way):
    marconi('post', *QUEUE, '--text', 'say "hello"\n', *way)

    assert bodies_in(queue) == ['"say \\"hello\\"\\n"']


def test_each_line_of_the_input_is_a_message(marconi, queue, way):
    lines = '\n\n'.join(map(str, range(250)))

    done = marconi('post', *QUEUE, *way, stdin=lines)

    assert len(done.stdout.split()) == 250
    assert bodies_in(queue) == list(map(str, range(250)))


@pytest.mark.parametrize('body', ['{', '1 2', '', '1}, {"body": 2'], ids=ascii)
def test_what_is_not_json_is_wrong_use_and_nothing_is_posted(marconi, queue, body):
    done = marconi('post', *QUEUE, '1', body)

    assert (done.returncode, done.stdout) == (2, '')
    assert 'message 2 is not JSON' in done.stderr
    assert bodies_in(queue) == []


@pytest.mark.parametrize('line', [b'"\0"', b'"\xff"', b'NaN'], ids=ascii)
def test_a_line_that_is_not_json_is_named(postgres, queue, line):
    done = subprocess.run(
        [*COMMAND, 'post', *QUEUE],
        env=environment(MARCONI_DATABASE_URL=postgres.url),
        input=b'1\n' + line,
        capture_output=True,
    )

    assert (done.returncode, done.stdout) == (2, b'')
    assert b'line 2 is not ' in done.stderr


def test_a_body_that_is_nested_too_deeply_is_refused_in_one_line(marconi, queue):
    done = marconi('post', *QUEUE, stdin='[' * 100_000)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_body_that_is_too_large_is_refused_in_one_line(marconi, queue, way):
    done = marconi('post', *QUEUE, *way, stdin=f'"{"x" * 300_000}"')

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert bodies_in(queue) == []


def test_a_ttl_out_of_range_is_refused_in_one_line(marconi, queue, way):
    done = marconi('post', *QUEUE, '1', '--ttl', '1', *way)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert 'between 60 and 1209600' in done.stderr


def test_an_empty_input_posts_nothing(marconi, queue):
    assert marconi('post', *QUEUE, stdin='\n').returncode == 1


def test_messages_are_claimed(marconi, queue, post, look, way):
    first, second, third = post('1', '2', '3')

    done = marconi('claim', *QUEUE, '--limit', '2', '--ttl', '90', '--json', *way)

    claim = json.loads(done.stdout)
    assert claim['ttl'] == 90
    assert [message['id'] for message in claim['messages']] == [first, second]
    assert look() == {first: 'claimed', second: 'claimed', third: 'ready'}


def test_where_nothing_can_be_claimed_the_exit_code_is_1(marconi, queue, way):
    done = marconi('claim', *QUEUE, *way)

    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == 'marconi: there is nothing to claim in queue jobs\n'


def test_a_claim_is_released(marconi, queue, post, look, way):
    post('1', '2')
    claim = model.store.claims.create(queue, 60, 60, 2)

    done = marconi('release', *QUEUE, claim.id, *way)

    assert done.stdout == 'released 2 messages\n'
    assert set(look().values()) == {'ready'}


def test_single_messages_are_released(marconi, queue, post, look, way):
    claimed, parked, other = post('1', '2', '3')
    model.store.claims.create(queue, 60, 60, 1)
    verdicts = [model.Verdict(message, 'park') for message in (parked, other)]
    model.store.verdicts.give(queue, None, verdicts)

    done = marconi('release', *QUEUE, claimed, parked, *way)

    assert done.stdout == 'released 2 messages\n'
    assert look() == {claimed: 'ready', parked: 'ready', other: 'parked'}


def test_all_parked_messages_are_released(marconi, queue, post, look, way):
    parked = post(*map(str, range(30)))
    model.store.verdicts.give(queue, None, [model.Verdict(message, 'park') for message in parked])

    tried = marconi('release', *QUEUE, '--parked', '--dry-run', *way)
    assert set(look().values()) == {'parked'}
    done = marconi('release', *QUEUE, '--parked', '--yes', *way)

    assert (tried.stdout, done.stdout) == ('would release 30 messages\n', 'released 30 messages\n')
    assert set(look().values()) == {'ready'}


@pytest.mark.parametrize(
    'identity', ['5b6c69d9-777f-482a-a5ad-b70e859b0e3a', '00d98e582a274004', 'nonsense', '../x']
)
def test_what_cannot_be_found_is_not_released(marconi, queue, way, identity):
    done = marconi('release', *QUEUE, identity, *way)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, '', 1)


def test_a_purge_spares_what_is_claimed(marconi, queue, post, look, way):
    claimed, *_ = post('1', '2', '3')
    model.store.claims.create(queue, 60, 60, 1)

    tried = marconi('purge', *QUEUE, '--dry-run', *way)
    assert len(look()) == 3
    done = marconi('purge', *QUEUE, '--yes', *way)

    assert (tried.stdout, done.stdout) == ('would delete 2 messages\n', 'deleted 2 messages\n')
    assert look() == {claimed: 'claimed'}


def test_parked_messages_are_purged_alone(marconi, queue, post, look, way):
    ready, parked = post('1', '2')
    model.store.verdicts.give(queue, None, [model.Verdict(parked, 'park')])

    done = marconi('purge', *QUEUE, '--parked', '--yes', '--json', *way)

    assert json.loads(done.stdout) == {'queue': 'jobs', 'messages': 1, 'purged': True}
    assert look() == {ready: 'ready'}


def test_all_is_purged_if_that_is_said(marconi, queue, post, look):
    post('1', '2')
    model.store.claims.create(queue, 60, 60, 1)

    done = marconi('purge', *QUEUE, '--claimed', '--yes')

    assert done.stdout == 'deleted 2 messages\n'
    assert look() == {}


@pytest.mark.parametrize(
    'verb', [('purge',), ('release', '--parked'), ('redrive', '--to', 'other')]
)
def test_without_a_terminal_what_changes_much_needs_yes(marconi, queue, post, look, verb):
    model.store.queues.create(model.QueueKey.of('acme', 'other'))
    post('1')

    done = marconi(verb[0], *QUEUE, *verb[1:], stdin='y\n')

    assert (done.returncode, done.stdout) == (2, '')
    assert 'Add --yes to do it' in done.stderr
    assert list(look().values()) == ['ready']


@pytest.mark.parametrize(('answer', 'exit_code', 'left'), [('n', 1, 1), ('', 1, 1), ('y', 0, 0)])
def test_at_a_terminal_it_asks(postgres, queue, post, look, answer, exit_code, left):
    post('1')
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [*COMMAND, 'purge', *QUEUE],
        env=environment(MARCONI_DATABASE_URL=postgres.url),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    os.write(ours, f'{answer}\n'.encode())
    _, err = command.communicate(timeout=60)

    assert err.startswith('Delete 1 messages of queue jobs? [y/N] ')
    assert (command.returncode, len(look())) == (exit_code, left)
    os.close(ours)
    os.close(theirs)
