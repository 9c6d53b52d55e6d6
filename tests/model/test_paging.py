"""A reader that follows the markers sees every message once, in posting order."""

import importlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from marconi_api import model
from marconi_api.model.tables import public_id
from tests.model.conftest import CLIENT, OTHER_CLIENT, ids

# `model.messages` is the repository; this is the module of its statements.
MESSAGES = importlib.import_module('marconi_api.model.messages')


def read_on(queue, marker=None, limit=20):
    """Everything from a marker to the end of the queue, page by page."""
    seen = []
    while page := model.messages.list(queue, marker, limit):
        seen += ids(page)
        marker = seen[-1]
    return seen


def test_pages_follow_one_another_without_gap_or_repetition(queue, post):
    posted = post(25)

    assert read_on(queue, limit=4) == posted


def test_a_marker_holds_good_after_its_message_is_gone(queue, post):
    posted = post(5)

    model.messages.delete(queue, posted[1])

    assert read_on(queue, marker=posted[1]) == posted[2:]


def test_what_is_posted_later_is_found_behind_the_last_marker(queue, post):
    marker = post(3)[-1]

    later = post(2)

    assert read_on(queue, marker=marker) == later


def test_returned_and_fresh_messages_are_listed_in_one_order(queue, post, claim):
    posted = post(6)
    first, second = claim(limit=2), claim(limit=2)
    model.claims.release(queue, second.id)
    model.claims.release(queue, first.id)

    assert read_on(queue, limit=4) == posted


def test_claimed_messages_are_listed_on_request_only(queue, post, claim):
    posted = post(3)
    claim(limit=1)

    assert read_on(queue) == posted[1:]
    assert ids(model.messages.list(queue, None, 20, states={'ready', 'claimed'})) == posted


def test_a_reader_need_not_see_its_own_messages(queue, post):
    post(2, client=CLIENT)
    others = post(2, client=OTHER_CLIENT)

    assert ids(model.messages.list(queue, None, 20, not_from=CLIENT)) == others


def read_around_a_late_commit(queue, post, session):
    """Two posts, of which the first commits last; a reader looks before that and after."""
    late = session()
    late.execute(MESSAGES._POST, parameters_of_a_post(queue))
    [(first_id,)] = late.fetchall()
    [quick] = post(1)

    before = read_on(queue)
    late.connection.commit()
    after = read_on(queue, marker=before[-1] if before else None)

    return before + after, [public_id(first_id), quick]


def parameters_of_a_post(queue):
    return {
        **queue.parameters,
        'base': model.database.base,
        'client_id': CLIENT,
        'ttls': [300],
        'bodies': ['1'],
        'delays': [0],
    }


def test_a_message_that_commits_late_is_not_passed_by(queue, post, session):
    seen, posted = read_around_a_late_commit(queue, post, session)

    assert seen == posted


@pytest.fixture
def naive_marker(monkeypatch):
    """The marker that this service must not have: it heeds no unfinished transactions."""
    naive = {
        key: statement.replace('pg_snapshot_xmin(pg_current_snapshot())', "'9000000000'")
        for key, statement in MESSAGES._LIST.items()
    }
    monkeypatch.setattr(MESSAGES, '_LIST', naive)


def test_the_naive_marker_would_pass_it_by(queue, post, session, naive_marker):
    """So that the test above is known to be able to fail."""
    seen, posted = read_around_a_late_commit(queue, post, session)

    assert seen == posted[1:]


def test_listing_stops_short_of_a_transaction_that_is_not_finished(queue, post, session):
    earlier = post(1)
    unfinished = session()
    unfinished.execute('SELECT pg_current_xact_id()')
    post(1)

    assert read_on(queue) == earlier

    unfinished.connection.rollback()

    assert len(read_on(queue)) == 2


def posters_and_a_reader(queue, seconds):
    """Posters that commit in any order and a reader of the markers; what each saw."""
    done = threading.Event()
    posted, seen = [], []

    def keep_posting(seed):
        dice, mine = random.Random(seed), []
        while not done.is_set():
            with model.database.transaction() as run:
                [(first_id,)] = run(MESSAGES._POST, parameters_of_a_post(queue))
                time.sleep(dice.random() / 100)
            mine.append(public_id(first_id))
        posted.extend(mine)

    def keep_reading():
        while not done.is_set():
            seen.extend(read_on(queue, seen[-1] if seen else None, limit=1000))

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(keep_reading)
        posters = [pool.submit(keep_posting, seed) for seed in range(8)]
        time.sleep(seconds)
        done.set()
        for future in (reader, *posters):
            future.result()
    seen.extend(read_on(queue, seen[-1] if seen else None, limit=1000))
    return posted, seen


def test_a_reader_misses_nothing_while_eight_post_and_commit_in_any_order(queue):
    posted, seen = posters_and_a_reader(queue, seconds=3)

    assert seen == sorted(posted)


def test_the_naive_marker_misses_messages_in_that_crowd(queue, naive_marker):
    posted, seen = posters_and_a_reader(queue, seconds=3)

    assert set(posted) - set(seen)
