"""A reader that follows the markers sees every message once, in posting order."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from marconi_api import model
from marconi_api.model import messages, posting
from marconi_api.model.postgres.tables import public_id
from tests.model.conftest import CLIENT, OTHER_CLIENT, ids


def read_on(queue, marker=None, limit=20):
    """Everything from a marker to the end of the queue, page by page."""
    seen = []
    while page := model.store.messages.page(queue, marker, limit):
        seen += ids(page)
        marker = seen[-1]
    return seen


def test_pages_follow_one_another_without_gap_or_repetition(queue, post):
    posted = post(25)

    assert read_on(queue, limit=4) == posted


def test_a_marker_holds_good_after_its_message_is_gone(queue, post):
    posted = post(5)

    model.store.messages.delete(queue, posted[1])

    assert read_on(queue, marker=posted[1]) == posted[2:]


def test_what_is_posted_later_is_found_behind_the_last_marker(queue, post):
    marker = post(3)[-1]

    later = post(2)

    assert read_on(queue, marker=marker) == later


def test_returned_and_fresh_messages_are_listed_in_one_order(queue, post, claim):
    posted = post(6)
    first, second = claim(limit=2), claim(limit=2)
    model.store.claims.release(queue, second.id)
    model.store.claims.release(queue, first.id)

    assert read_on(queue, limit=4) == posted


def test_claimed_messages_are_listed_on_request_only(queue, post, claim):
    posted = post(3)
    claim(limit=1)

    assert read_on(queue) == posted[1:]
    assert ids(model.store.messages.page(queue, None, 20, states={'ready', 'claimed'})) == posted


def test_a_reader_need_not_see_its_own_messages(queue, post):
    post(2, client=CLIENT)
    others = post(2, client=OTHER_CLIENT)

    assert ids(model.store.messages.page(queue, None, 20, excluding_client=CLIENT)) == others


PAST = "now() - interval '1 hour' + g * interval '1 ms'"


def follow(queue, **query):
    """Everything that the pages have to which one leads the other."""
    seen, marker = [], None
    while (page := model.store.messages.page(queue, marker, **query)).next:
        seen += ids(page)
        marker = page.next
    assert page == []
    return seen


def test_what_is_posted_by_others_is_found_behind_thousands_of_ones_own(queue, fill):
    fill(12_000)
    others = fill(1, client=OTHER_CLIENT)

    assert ids(model.store.messages.page(queue, None, 10, excluding_client=CLIENT)) == others


def test_a_page_that_passed_over_too_much_is_short_and_leads_on(queue, fill, monkeypatch):
    monkeypatch.setattr(messages, '_PATIENCE', 0)
    first = fill(1, client=OTHER_CLIENT)
    own = fill(12_000)
    last = fill(1, client=OTHER_CLIENT)

    pages = [model.store.messages.page(queue, None, 10, excluding_client=CLIENT)]
    while pages[-1].next:
        pages.append(model.store.messages.page(queue, pages[-1].next, 10, excluding_client=CLIENT))

    assert [ids(page) for page in pages] == [first, [], last, []]
    assert [page.next for page in pages] == [own[4998], own[9998], *last, None]


def test_returned_messages_do_not_fill_a_page_before_its_walk_has_come_to_them(
    queue, fill, monkeypatch
):
    monkeypatch.setattr(messages, '_PATIENCE', 0)
    fill(6000)
    others = fill(1, client=OTHER_CLIENT) + fill(20, PAST, client=OTHER_CLIENT)

    assert follow(queue, limit=10, excluding_client=CLIENT) == others


def test_thousands_of_returned_messages_are_listed_in_order_with_the_others(queue, fill):
    backwards = "now() - g * interval '1 ms'"
    listed = fill(2000, backwards)
    fill(500, "now() + interval '1 hour'")
    listed += fill(500) + fill(1000, backwards)
    fill(6000, "'infinity'")
    listed += fill(10)

    assert follow(queue, limit=700) == listed


@pytest.mark.parametrize('state', ['claimed', 'delayed', 'parked'])
def test_what_is_in_a_state_is_found_behind_thousands_that_are_not(queue, fill, post, claim, state):
    fill(12_000, expires_at="now() - interval '1 minute'")
    [posted] = post(1)
    if state == 'parked':
        fill(12_000, "'infinity'", client=CLIENT)
        [posted] = fill(1, "'infinity'", client=OTHER_CLIENT)
    elif state == 'claimed':
        assert ids(claim()) == [posted]
    else:
        [posted] = fill(1, "now() + interval '1 hour'")

    page = model.store.messages.peek(
        queue, None, 10, states={state}, excluding_client=CLIENT if state == 'parked' else None
    )

    assert [(message.id, message.state) for message in page] == [(posted, state)]


def read_around_a_late_commit(queue, post, session):
    """Two posts, of which the first commits last; a reader looks before that and after."""
    late = session()
    late.execute(posting.POST, parameters_of_a_post(queue))
    [(first_id,)] = late.fetchall()
    [quick] = post(1)

    before = read_on(queue)
    late.connection.commit()
    after = read_on(queue, marker=before[-1] if before else None)

    return before + after, [public_id(first_id), quick]


def parameters_of_a_post(queue):
    return {
        **queue.parameters,
        'base': model.store.database.base,
        'client_id': CLIENT,
        'traceparent': None,
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
        for key, statement in messages.LIST_READY.items()
    }
    monkeypatch.setattr(messages, 'LIST_READY', naive)


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
            with model.store.database.transaction() as run:
                [(first_id,)] = run(posting.POST, parameters_of_a_post(queue))
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
