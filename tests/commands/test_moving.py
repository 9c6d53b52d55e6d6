"""`marconi redrive`, also while it is killed."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from marconi_api import model
from marconi_api.model import QueueKey
from tests.commands.conftest import COMMAND, a_service, environment

JOBS = ('--to', 'jobs', '--project', 'acme')
#: How often the command is killed; more to look further.
KILLS = int(os.environ.get('MARCONI_KILL_REDRIVE', '4'))
MESSAGES = 2000 * KILLS


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


def test_dead_letters_go_back_to_where_they_came_from(marconi, sql, queue, dead, post):
    post('1', '2', '3', to=dead)
    sql('UPDATE message_states SET came_from = %s WHERE mod(id, 2) = 0', queue.id)

    tried = marconi('redrive', 'dead', '--project', 'acme', '--dry-run')
    assert bodies(sql, dead) == [1, 2, 3]
    done = marconi('redrive', 'dead', '--project', 'acme', '--yes')

    count = len(bodies(sql, queue))
    stays = (
        f'{3 - count} messages stay, as it is not known from which queue they came, or that is gone: '
        'name one with --to OTHER\n'
    )
    assert tried.stdout == f'would move {count} messages of dead back to jobs ({count})\n'
    assert (done.returncode, done.stdout) == (0, f'moved {count} messages back\n')
    assert (tried.stderr, done.stderr) == (stays, stays)


def test_messages_are_moved_to_the_queue_that_is_named(marconi, sql, queue, dead, post):
    post('1', '2', '3', to=dead)

    tried = marconi('redrive', 'dead', *JOBS, '--dry-run')
    assert bodies(sql, dead) == [1, 2, 3]
    done = marconi('redrive', 'dead', *JOBS, '--yes')

    assert tried.stdout == 'would move 3 messages of dead to jobs\n'
    assert (done.returncode, done.stdout, done.stderr) == (0, 'moved 3 messages to jobs\n', '')
    assert (bodies(sql, dead), bodies(sql, queue)) == ([], [1, 2, 3])


def test_parked_messages_become_ready_by_their_reason(marconi, sql, queue, post):
    odd, _ = post('1', '2')
    model.store.verdicts.give(queue, None, [model.Verdict.park(odd, 'timed out twice')])

    done = marconi(
        *('redrive', 'jobs', '--parked', '--reason', 'timed out', '--project', 'acme', '--yes')
    )

    assert done.stdout == 'moved 1 messages back\n'
    assert model.store.admin.queue('jobs', 'acme').stats()['ready'] == 2


@pytest.mark.parametrize(('option', 'left'), [('--min-age', [2]), ('--max-age', [1])])
def test_the_age_tells_which_are_moved(marconi, sql, queue, dead, post, age, option, left):
    post('1', to=dead)
    age(200)
    post('2', to=dead)

    marconi('redrive', 'dead', *JOBS, option, '2m', '--yes')

    assert bodies(sql, dead) == left


def test_nothing_to_move_is_no_failure(marconi, queue, dead):
    done = marconi('redrive', 'dead', *JOBS, '--yes', '--json')

    document = json.loads(done.stdout)
    assert (document['moved'], document['status'], document['to']) == (0, 'completed', 'jobs')


@pytest.mark.parametrize(
    ('arguments', 'exit_code'),
    [
        (['none', '--to', 'jobs'], 1),
        (['dead', '--to', 'none'], 1),
        (['dead', '--to', 'dead'], 2),
        (['dead', '--to', 'a/b'], 2),
        (['dead', '--to', 'jobs', '--rate', '0'], 2),
        (['dead', '--to', 'jobs', '--min-age', '5'], 2),
        (['dead', '--to', 'jobs', '--min-age', '2m', '--max-age', '1m'], 2),
        (['dead', '--to', 'jobs', '--url', 'http://127.0.0.1:1'], 1),
        (['dead', '--cancel'], 1),
        (['dead', '--status'], 1),
    ],
)
def test_what_cannot_be_done_is_one_line(marconi, sql, queue, dead, post, arguments, exit_code):
    post('1', to=dead)

    done = marconi('redrive', *arguments, '--project', 'acme', '--yes')

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (exit_code, '', 1)
    assert bodies(sql, dead) == [1]


def test_a_rate_makes_small_batches(marconi, sql, queue, dead, post):
    post('1', '2', '3', to=dead)

    marconi('redrive', 'dead', *JOBS, '--yes', '--rate', '2')

    assert bodies(sql, queue) == [1, 2, 3]
    [(transactions,)] = sql('SELECT count(DISTINCT moved_in) FROM message_states')
    assert transactions == 2


def test_the_same_command_goes_on_and_another_one_does_not(marconi, sql, queue, dead, post):
    post('1', '2', to=dead)
    under_way = model.store.redrives.start(dead, model.Order(to='jobs')).id

    another = marconi('redrive', 'dead', *JOBS, '--rate', '5', '--yes')
    same = marconi('redrive', 'dead', *JOBS, '--yes')

    assert (another.returncode, under_way in another.stderr) == (1, True)
    assert (same.stdout, under_way in same.stderr) == ('moved 2 messages to jobs\n', True)
    assert bodies(sql, queue) == [1, 2]


def test_the_last_redrives_are_shown_and_one_is_cancelled(marconi, sql, queue, dead, post):
    post('1', to=dead)
    under_way = model.store.redrives.start(dead, model.Order(to='jobs')).id
    whose = ('dead', '--project', 'acme')

    cancelled = marconi('redrive', *whose, '--cancel')
    shown = marconi('redrive', *whose, '--status')
    [document] = json.loads(marconi('redrive', *whose, '--status', '--json').stdout)

    assert cancelled.stdout == 'moved 0 messages to jobs\n'
    assert under_way in shown.stdout
    assert (document['id'], document['status'], document['total']) == (under_way, 'cancelled', 1)
    assert bodies(sql, dead) == [1]


@pytest.mark.slow
def test_over_http_the_service_moves_them(marconi, postgres, sql, queue, dead, post):
    post(*map(str, range(500)), to=dead)

    # Its own, which would carry out the redrives of the other tests, too.
    with a_service(postgres.url) as url:
        at = ('--url', url)
        tried = marconi('redrive', 'dead', *JOBS, *at, '--dry-run')
        done = marconi('redrive', 'dead', *JOBS, *at, '--rate', '400', '--yes', '--json')
        again = marconi('redrive', 'dead', *JOBS, *at, '--yes')

    assert tried.stdout == 'would move 500 messages of dead to jobs\n'
    document = json.loads(done.stdout)
    assert (document['moved'], document['status'], document['rate']) == (500, 'completed', 400)
    assert again.stdout == 'moved 0 messages to jobs\n'
    assert bodies(sql, queue) == list(range(500))


@pytest.mark.slow
def test_ctrl_c_cancels_it(postgres, sql, queue, dead, post):
    post(*map(str, range(1000)), to=dead)
    command = subprocess.Popen(
        [*COMMAND, 'redrive', 'dead', *JOBS, '--yes', '--rate', '50'],
        env=environment(MARCONI_DATABASE_URL=postgres.url),
        stderr=subprocess.PIPE,
        text=True,
    )
    while command.poll() is None and not bodies(sql, queue):
        time.sleep(0.01)

    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=60)

    count = len(bodies(sql, queue))
    assert command.returncode == 130
    assert f'the redrive is cancelled; {count} messages were moved' in err
    assert sql('SELECT status, moved FROM redrives') == [('cancelled', count)]


@pytest.mark.slow
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
            [*COMMAND, 'redrive', 'dead', *JOBS, '--yes'],
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
        # In one snapshot: what the command had sent may still be carried out.
        [(there, gone, counted)] = sql(
            """SELECT array_agg(body::int) FILTER (WHERE queue_id = %s),
                      array_agg(body::int) FILTER (WHERE queue_id = %s),
                      (SELECT sum(moved)::int FROM redrives)
                 FROM messages JOIN message_states USING (queue_id, id)""",
            queue.id,
            dead.id,
        )
        there, gone = there or [], gone or []
        assert sorted(there + gone) == list(range(MESSAGES))
        halfway += 0 < len(gone) < MESSAGES
        assert counted == len(there)

    assert (bodies(sql, dead), halfway >= KILLS / 2) == ([], True)
    claimed = model.store.claims.create(queue, 60, 60, 10)
    assert [message.body for message in claimed.messages] == list(map(str, range(10)))


def moved(sql, queue):
    [(count,)] = sql('SELECT count(*) FROM message_states WHERE queue_id = %s', queue.id)
    return count


def wait_until_it_is_gone(sql):
    """PostgreSQL may still run the last statement of a client that was killed, or its COMMIT."""
    while sql(
        "SELECT FROM pg_stat_activity WHERE state <> 'idle' AND datname = current_database()"
        ' AND pid <> pg_backend_pid()'
    ):
        time.sleep(0.01)
