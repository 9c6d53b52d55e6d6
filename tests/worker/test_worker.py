"""The worker of docs/worker.py keeps what docs/worker.md promises."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.running_service import Service
from tests.tours import take_tour
from tests.worker.workshop import DOCS, TTL, Workshop, stop


@pytest.mark.parametrize('name', ['worker.py', 'accounts.py'])
def test_the_document_shows_the_very_programs(name: str) -> None:
    program = (DOCS / name).read_text()

    assert f'```python\n{program}```\n' in (DOCS / 'worker.md').read_text()


# The commands of the document are run as they stand there.
@pytest.mark.skipif(shutil.which('curl') is None, reason='the tour is made with curl')
def test_the_tour_shows_what_happens(service: Service, tmp_path: Path) -> None:
    assert take_tour((DOCS / 'worker.md').read_text(), service, tmp_path) == 17


def test_all_messages_are_handled_once_and_are_gone(workshop: Workshop) -> None:
    posted = workshop.post(*[{}] * 15) + workshop.post(*[{}] * 15, queue=1)
    worker = workshop.start()

    workshop.wait_for(30, 'done')
    stop(worker)

    assert sorted(handling.message for handling in workshop.handlings()) == sorted(posted)
    assert workshop.total() == 0


def test_queues_are_served_in_the_order_of_preference(workshop: Workshop) -> None:
    normal = workshop.post({}, {}, queue=1)
    urgent = workshop.post({}, {})
    worker = workshop.start()

    workshop.wait_for(4, 'done')
    stop(worker)

    by_time = sorted(workshop.handlings(), key=lambda handling: handling.start)
    assert [handling.message for handling in by_time] == urgent + normal


def test_a_job_that_takes_longer_than_its_claim_stays_its_worker_s(workshop: Workshop) -> None:
    workshop.post({'seconds': TTL * 1.75}, {})
    workers = [workshop.start(), workshop.start()]

    workshop.wait_for(2, 'done')
    stop(*workers)

    slow, waiting = workshop.handlings()
    assert slow.end
    assert slow.end - slow.start > TTL
    assert slow.end < slow.held_until
    # What waited behind it was kept by the same claim.
    assert (waiting.worker, waiting.claim) == (slow.worker, slow.claim)
    assert workshop.total() == 0


def test_a_stopped_worker_finishes_one_message_and_gives_the_others_back(
    workshop: Workshop,
) -> None:
    first, *others = workshop.post({'seconds': 0.5}, {}, {}) + workshop.post({}, queue=1)
    worker = workshop.start()

    workshop.wait_for(1, None)
    stop(worker)

    assert [(handling.message, handling.outcome) for handling in workshop.handlings()] == [
        (first, 'done')
    ]
    assert workshop.messages('claimed') == []
    assert [message['id'] for message in workshop.messages('ready')] == others


def test_an_idle_worker_stops_as_well(workshop: Workshop) -> None:
    worker = workshop.start()
    assert worker.stdout
    assert worker.stdout.readline() == 'ready\n'

    stop(worker)


def test_a_poison_message_is_parked_with_its_reason(workshop: Workshop) -> None:
    poison, _ = workshop.post({'outcome': 'broken'}, {})
    worker = workshop.start()

    workshop.wait_for(1, 'done')
    stop(worker)

    [parked] = workshop.messages('parked')
    assert (parked['id'], parked['reason']) == (poison, r"ValueError('no such account\x00')")
    assert workshop.total() == 1


def test_a_failure_that_may_pass_is_tried_again_later(workshop: Workshop) -> None:
    workshop.post({'outcome': 'later'})
    worker = workshop.start()

    workshop.wait_for(1, 'done')
    stop(worker)

    first, again = workshop.handlings()
    assert (first.outcome, again.outcome) == ('later', 'done')
    assert first.end
    assert again.start - first.end >= 1


def test_a_worker_does_not_begin_what_it_may_no_longer_hold(workshop: Workshop) -> None:
    # As after a long sleep of its machine.
    workshop.post({'seconds': 0.5}, {})
    sleeper = workshop.start()
    workshop.wait_for(1, None)
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(TTL)

    other = workshop.start()
    workshop.wait_for(2, 'done')
    sleeper.send_signal(signal.SIGCONT)
    stop(sleeper, other)

    by_sleeper = [handling for handling in workshop.handlings() if handling.worker == sleeper.pid]
    assert len(by_sleeper) == 1
    assert workshop.total() == 0


def test_a_queue_that_does_not_exist_is_named_once(workshop: Workshop) -> None:
    workshop.request('DELETE', f'/v2/queues/{workshop.queues[1]}')
    worker = workshop.start(stderr=subprocess.PIPE)

    for count in (1, 2):
        workshop.post({})
        workshop.wait_for(count, 'done')
    stop(worker)

    assert worker.stderr
    assert worker.stderr.read() == f'queue {workshop.queues[1]} does not exist in project acme\n'


def test_the_work_of_a_worker_that_died_before_its_verdict_is_not_done_again(
    workshop: Workshop,
) -> None:
    workshop.post({'owner': 'ann', 'amount': 5}, {'owner': 'ann', 'amount': 2})
    # It claims for the ttl of the tests, and dies when the first message is handled.
    dying = workshop.run(
        '-c',
        'import os; from accounts import *;'
        f'Worker({workshop.address!r}, "acme", [{{"name": {workshop.queues[0]!r}}}],'
        f' lambda message: (handle(message), os._exit(9)), {TTL}).run()',
    )
    assert dying.wait() == 9
    assert balance(workshop) == 5

    worker = workshop.run(str(DOCS / 'accounts.py'), workshop.address, 'acme', *workshop.queues)
    workshop.wait_until_empty()
    stop(worker)

    assert balance(workshop) == 7


def balance(workshop: Workshop) -> int:
    with contextlib.closing(
        sqlite3.connect(workshop.record.parent / 'accounts.sqlite')
    ) as accounts:
        amount: int
        [(amount,)] = accounts.execute("SELECT balance FROM accounts WHERE owner = 'ann'")
    return amount
