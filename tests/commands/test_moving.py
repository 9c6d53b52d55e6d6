"""`marconi redrive`, also while it is killed."""

import json
import os
import random
import subprocess
import time

import pytest

from marconi_api import model
from marconi_api.model import QueueKey
from tests.commands.conftest import COMMAND, environment

pytestmark = pytest.mark.slow


JOBS = ('--to', 'jobs', '--project', 'acme')
# So that there are many transactions in which it can be killed.
SMALL = ('--batch', '7')

#: How often the command is killed; more to look further.
KILLS = int(os.environ.get('MARCONI_KILL_REDRIVE', '4'))
MESSAGES = 1000 * KILLS


@pytest.fixture
def dead(app):
    """A dead-letter queue."""
    key = QueueKey.of('acme', 'dead')
    model.store.queues.create(key)
    return key


def bodies(sql, queue):
    rows = sql(
        'SELECT body FROM messages JOIN message_states USING (queue_id, id) WHERE queue_id = %s',
        queue.id,
    )
    return sorted(int(body) for (body,) in rows)


def test_messages_are_moved_to_the_queue_that_is_named(marconi, sql, queue, dead, post):
    post('1', '2', '3', to=dead)

    tried = marconi('redrive', 'dead', '--to', 'jobs', '--project', 'acme', '--dry-run')
    assert bodies(sql, dead) == [1, 2, 3]
    done = marconi('redrive', 'dead', '--to', 'jobs', '--project', 'acme', '--yes')

    assert tried.stdout == 'would move 3 messages to jobs\n'
    assert (done.returncode, done.stdout, done.stderr) == (0, 'moved 3 messages to jobs\n', '')
    assert (bodies(sql, dead), bodies(sql, queue)) == ([], [1, 2, 3])


def test_nothing_to_move_is_no_failure(marconi, queue, dead):
    done = marconi('redrive', 'dead', '--to', 'jobs', '--project', 'acme', '--yes', '--json')

    assert json.loads(done.stdout) == {'moved': 0, 'ready': 0, 'to': 'jobs'}


def test_the_queue_to_move_to_must_be_named_and_those_that_may_be_meant_are(marconi, queue, dead):
    model.store.queues.set_metadata(queue, '{"_dead_letter_queue": "dead"}')

    done = marconi('redrive', 'dead', '--project', 'acme', '--yes')

    assert done.returncode == 2
    assert done.stderr.endswith('with --to OTHER; dead letters of jobs come here\n')


@pytest.mark.parametrize(
    ('arguments', 'exit_code'),
    [
        (['none', '--to', 'jobs'], 1),
        (['dead', '--to', 'none'], 1),
        (['dead', '--to', 'dead'], 2),
        (['dead', '--to', 'a/b'], 2),
        (['dead', '--to', 'jobs', '--rate', '0'], 2),
        (['dead', '--to', 'jobs', '--batch', '100000'], 2),
        (['dead', '--to', 'jobs', '--url', 'http://127.0.0.1:1'], 2),
    ],
)
def test_what_cannot_be_done_is_one_line(marconi, sql, queue, dead, post, arguments, exit_code):
    post('1', to=dead)

    done = marconi('redrive', *arguments, '--project', 'acme', '--yes')

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (exit_code, '', 1)
    assert bodies(sql, dead) == [1]


def test_a_rate_makes_small_batches(marconi, sql, queue, dead, post):
    post('1', '2', '3', to=dead)

    marconi('redrive', 'dead', '--to', 'jobs', '--project', 'acme', '--yes', '--rate', '2')

    assert bodies(sql, queue) == [1, 2, 3]
    [(transactions,)] = sql('SELECT count(DISTINCT moved_in) FROM message_states')
    assert transactions == 2


def test_a_redrive_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing(
    postgres, sql, queue, dead, post
):
    for start in range(0, MESSAGES, 1000):
        post(*map(str, range(start, start + 1000)), to=dead)
    chance = random.Random(1)
    halfway = 0

    for kill in range(KILLS + 1):
        before = len(bodies(sql, queue))
        command = subprocess.Popen(
            [*COMMAND, 'redrive', 'dead', *JOBS, '--yes', *(SMALL if kill < KILLS else ())],
            env=environment(MARCONI_DATABASE_URL=postgres.url),
        )
        if kill < KILLS:
            # Once it moves messages, at any point of a transaction.
            while command.poll() is None and moved(sql, queue) == before:
                time.sleep(0.001)
            time.sleep(chance.random() / 20)
            command.kill()
        command.wait(timeout=60)
        wait_until_it_is_gone(sql)
        there, gone = bodies(sql, queue), bodies(sql, dead)
        assert sorted(there + gone) == list(range(MESSAGES))
        halfway += 0 < len(gone) < MESSAGES

    assert (bodies(sql, dead), halfway >= KILLS / 2) == ([], True)
    claimed = model.store.claims.create(queue, 60, 60, 10)
    assert [message.body for message in claimed.messages] == list(map(str, range(10)))


def moved(sql, queue):
    [(count,)] = sql('SELECT count(*) FROM message_states WHERE queue_id = %s', queue.id)
    return count


def wait_until_it_is_gone(sql):
    """PostgreSQL may still run the last statement of a client that was killed."""
    while sql(
        "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%looked_at%'"
        ' AND pid <> pg_backend_pid()'
    ):
        time.sleep(0.01)
