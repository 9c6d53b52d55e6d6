"""What was handed out too often is moved to the dead-letter queue, or parked; never lost."""

import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from marconi_api import model
from marconi_api.errors import DeadLetterCycle
from marconi_api.model import QueueKey
from tests.model.conftest import CLIENT, ids, new_messages

DEAD = QueueKey.of('project', 'dead')


def limit(queue, claims=2, to='dead', **more):
    """Let the queue's messages be claimed so many times."""
    metadata = {'_max_claim_count': claims, '_dead_letter_queue': to, **more}
    model.store.queues.set_metadata(queue, json.dumps(metadata))


def claim_and_release(queue, times=1):
    for _ in range(times):
        model.store.claims.release(queue, model.store.claims.create(queue, 60, 60, 20).id)


@pytest.fixture
def dead(app):
    model.store.queues.create(DEAD)
    return DEAD


@pytest.fixture
def parked(queue, sql):
    """The ids and reasons of parked messages."""
    return lambda: sql(
        "SELECT id, park_reason FROM message_states WHERE held_until = 'infinity' ORDER BY id"
    )


def test_a_message_is_handed_out_as_often_as_the_limit_says_and_then_moved(
    queue, dead, post, claim
):
    posted = post(3)
    limit(queue, 2)
    claim_and_release(queue, times=2)

    assert claim() is None

    assert model.store.queues.stats(queue).free == 0
    assert ids(model.store.messages.page(dead, None, 10)) == posted


def test_it_keeps_its_id_body_age_ttl_and_poster(queue, dead, post, claim, age):
    [posted] = post(1, ttl=300)
    limit(queue, 1)
    before = model.store.messages.get(queue, posted)
    claim_and_release(queue)
    age(50)

    claim()

    moved = model.store.messages.get(dead, posted)
    assert (moved.id, moved.body, moved.ttl) == (before.id, before.body, before.ttl)
    assert moved.age in (50, 51)
    assert model.store.messages.page(dead, None, 10, excluding_client=CLIENT) == []


def test_it_is_there_though_the_dead_letter_queue_is_younger(queue, post, claim, age):
    """An old id lies below the floor of a young queue, and below the marks of its claims."""
    posted = post(3)
    model.store.queues.create(DEAD)
    warm_up = model.store.messages.post(DEAD, CLIENT, new_messages(ttl=60))
    model.store.messages.delete(DEAD, *warm_up)
    assert model.store.claims.create(DEAD, 60, 60, 20) is None
    limit(queue, 1)
    claim_and_release(queue)

    claim()

    assert ids(model.store.messages.page(DEAD, None, 10)) == posted
    assert ids(model.store.messages.page(DEAD, None, 10, states={'ready', 'claimed'})) == posted
    assert model.store.queues.stats(DEAD).free == 3
    model.store.janitor.run_once()
    assert ids(model.store.claims.create(DEAD, 60, 60, 20)) == posted


def test_it_is_claimed_counted_and_deleted_there_like_any_other(queue, dead, post, claim):
    first, second = post(2)
    limit(queue, 1)
    claim_and_release(queue)
    claim()

    held = model.store.claims.create(dead, 60, 60, 1)
    assert ids(held) == [first]
    model.store.messages.delete(dead, first, held.id)

    [popped] = model.store.messages.pop(dead, 10)
    assert (popped.id, popped.claim_count) == (second, 0)


def test_a_purge_of_the_dead_letter_queue_removes_it(queue, dead, post, claim):
    post(2)
    limit(queue, 1)
    claim_and_release(queue)
    claim()

    assert model.store.queues.purge(dead) == 2

    assert model.store.messages.page(dead, None, 10, states={'ready', 'claimed'}) == []
    assert model.store.janitor.run_once() == 2


def test_a_dead_letter_queue_made_anew_does_not_show_what_the_old_one_held(
    queue, dead, post, claim
):
    post(2)
    limit(queue, 1)
    claim_and_release(queue)
    claim()
    model.store.queues.delete(dead)

    model.store.queues.create(dead)

    assert model.store.messages.page(dead, None, 10, states={'ready', 'claimed'}) == []
    assert model.store.claims.create(dead, 60, 60, 20) is None


def test_it_lives_there_as_long_as_the_attribute_says(queue, dead, post, claim, age):
    [posted] = post(1, ttl=300)
    limit(queue, 1, _dead_letter_queue_messages_ttl=1000)
    claim_and_release(queue)
    age(250)
    claim()

    age(900)

    assert model.store.messages.get(dead, posted).ttl == 1000
    age(101)
    assert model.store.messages.get_many(dead, [posted]) == []


def test_the_claim_that_finds_dead_letters_is_filled_by_those_behind_them(queue, dead, post, claim):
    spent = post(40)
    limit(queue, 1)
    claim_and_release(queue, times=2)
    fresh = post(2)

    assert ids(claim(limit=5)) == fresh
    assert ids(model.store.messages.page(dead, None, 50)) == spent


def test_lapses_count_as_claims(queue, dead, post, claim, age):
    [posted] = post(1)
    limit(queue, 2)
    for _ in range(2):
        assert ids(claim(ttl=60)) == [posted]
        age(61)

    assert claim() is None
    assert ids(model.store.messages.page(dead, None, 10)) == [posted]


@pytest.mark.parametrize('to', [None, 'missing', 5, 'a\0b'])
def test_without_a_dead_letter_queue_it_is_parked_and_visible(queue, post, claim, parked, to):
    [posted] = post(1)
    limit(queue, 1, to)
    claim_and_release(queue)

    assert claim() is None

    assert model.store.messages.get(queue, posted).id == posted
    stats = model.store.queues.stats(queue)
    assert (stats.free, stats.claimed, stats.parked) == (0, 0, 1)
    [(_, reason)] = parked()
    assert reason.startswith('claimed 1 times, and there is no queue')


def test_with_a_deleted_dead_letter_queue_it_is_parked(queue, dead, post, claim, parked):
    post(1)
    limit(queue, 1)
    claim_and_release(queue)
    model.store.queues.delete(dead)

    assert claim() is None

    assert len(parked()) == 1
    model.store.queues.create(dead)
    assert model.store.messages.page(dead, None, 10, states={'ready', 'claimed'}) == []


def test_one_that_an_administrator_requeues_gets_all_its_claims_again(queue, post, claim, parked):
    [posted] = post(1)
    limit(queue, 2, None)
    claim_and_release(queue, times=2)
    assert claim() is None

    model.store.admin.queue('jobs', 'project').requeue(posted)

    assert parked() == []
    claim_and_release(queue, times=2)
    assert claim() is None
    assert len(parked()) == 1


def test_the_limit_counts_from_the_next_claim_when_it_is_set_by_another_process(
    queue, dead, post, claim, sql
):
    """What this process remembers of the attributes never decides."""
    [posted] = post(1)
    claim_and_release(queue)

    sql("""UPDATE queues SET metadata = '{"_max_claim_count": 1, "_dead_letter_queue": "dead"}'
            WHERE name = 'jobs'""")

    assert claim() is None
    assert ids(model.store.messages.page(dead, None, 10)) == [posted]
    sql("UPDATE queues SET metadata = '{}' WHERE name = 'jobs'")
    [another] = post(1)
    claim_and_release(queue, times=3)
    assert ids(claim()) == [another]


def test_a_pop_takes_what_a_claim_would_put_away(queue, dead, post):
    [posted] = post(1)
    limit(queue, 1)
    claim_and_release(queue)

    assert ids(model.store.messages.pop(queue, 10)) == [posted]


def test_projects_have_their_own_dead_letter_queues(queue, post, claim, parked):
    other = QueueKey.of('other', 'dead')
    model.store.queues.create(other)
    post(1)
    limit(queue, 1)
    claim_and_release(queue)

    claim()

    assert model.store.queues.stats(other).free == 0
    assert len(parked()) == 1


def test_a_claim_that_meets_a_purge_of_the_dead_letter_queue_loses_nothing(
    queue, dead, post, claim, sql
):
    """Its transaction may be older than the floor; then the message stays where it is."""
    [posted] = post(1)
    limit(queue, 1)
    claim_and_release(queue)
    [(floor,)] = sql("SELECT floor FROM queues WHERE name = 'dead'")
    sql("UPDATE queues SET floor = %s WHERE name = 'dead'", floor + (1000 << 14))

    assert claim() is None
    assert model.store.messages.get(queue, posted)

    sql("UPDATE queues SET floor = %s WHERE name = 'dead'", floor)
    assert claim() is None
    assert ids(model.store.messages.page(dead, None, 10)) == [posted]


def test_chains_pass_messages_on(queue, dead, post, claim):
    [posted] = post(1)
    model.store.queues.create(QueueKey.of('project', 'grave'))
    limit(queue, 1)
    limit(dead, 1, 'grave')
    claim_and_release(queue)
    claim()

    claim_and_release(dead)
    assert model.store.claims.create(dead, 60, 60, 20) is None

    assert model.store.messages.get(QueueKey.of('project', 'grave'), posted)


CYCLES = pytest.mark.parametrize('others', [[], ['b'], ['b', 'c']], ids=len)


@CYCLES
def test_a_change_that_would_make_a_cycle_is_refused(queue, others):
    chain = [*others, 'jobs']
    for name, target in pairwise(chain):
        key = QueueKey.of('project', name)
        model.store.queues.create(key, json.dumps({'_dead_letter_queue': target}))

    with pytest.raises(DeadLetterCycle, match=' -> '.join(['jobs', *chain])):
        model.store.queues.change_metadata(
            queue, lambda _: json.dumps({'_dead_letter_queue': chain[0]})
        )

    assert model.store.queues.metadata(queue) == '{}'


@CYCLES
def test_a_queue_that_would_close_a_cycle_is_not_made(app, others):
    chain = [*others, 'last']
    for name, target in pairwise(chain):
        key = QueueKey.of('project', name)
        model.store.queues.create(key, json.dumps({'_dead_letter_queue': target}))
    last = QueueKey.of('project', 'last')

    with pytest.raises(DeadLetterCycle):
        model.store.queues.create(last, json.dumps({'_dead_letter_queue': chain[0]}))

    assert not model.store.queues.exists(last)


def test_two_queues_that_name_each_other_at_the_same_moment_make_no_cycle(app):
    pairs = [(QueueKey.of('p', f'a{n}'), QueueKey.of('p', f'b{n}')) for n in range(20)]
    for pair in pairs:
        for key in pair:
            model.store.queues.create(key)

    def point(at, to):
        try:
            model.store.queues.change_metadata(
                at, lambda _: json.dumps({'_dead_letter_queue': to.name})
            )
        except DeadLetterCycle:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        moves = [pool.submit(point, *way) for a, b in pairs for way in ((a, b), (b, a))]
        assert sum(move.result() for move in moves) == len(pairs)


def test_eight_workers_count_every_claim_and_lose_no_dead_letter(queue, dead, sql):
    """Claims lapse, are released, or end well, as it happens; the limit is three claims."""
    most = 3
    limit(queue, most)
    posted = model.store.messages.post(queue, CLIENT, new_messages(300))
    deadline = time.monotonic() + 60

    def work(seed):
        chance = random.Random(seed)
        handed_out, done = Counter(), []
        while time.monotonic() < deadline:
            claimed = model.store.claims.create(queue, 60, 60, chance.randint(1, 5))
            if claimed is None:
                if not any(free_and_claimed()):
                    break
                continue
            handed_out.update(ids(claimed))
            for message in ids(claimed):
                if chance.random() < 0.2:
                    model.store.messages.delete(queue, message, claimed.id)
                    done.append(message)
            if chance.random() < 0.5:
                model.store.claims.release(queue, claimed.id)
            else:
                lapse(claimed.id)
        return handed_out, done

    def free_and_claimed():
        stats = model.store.queues.stats(queue)
        return stats.free, stats.claimed

    def lapse(claim):
        # Its time has passed: for the store, nothing tells that from having waited.
        model.store.database.rows(
            """WITH over AS (
                   SELECT pg_current_xact_id(), clock_timestamp() AS at)
               UPDATE message_states SET held_until = (SELECT at FROM over)
                WHERE claim_id = %(claim)s::uuid AND held_until > now()""",
            {'claim': claim},
        )

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))

    handed_out = sum((counts for counts, _ in results), Counter())
    done = [message for _, finished in results for message in finished]
    dead_ones = [f'{row[0]:016x}' for row in sql('SELECT id FROM message_states ORDER BY id')]
    assert len(done) == len(set(done))
    assert sorted(done + dead_ones) == posted
    assert all(handed_out[message] == most for message in dead_ones)
    assert all(1 <= handed_out[message] <= most for message in done)
    assert sql('SELECT DISTINCT queue_id FROM message_states') == [(dead.id,)]
    assert sql('SELECT count(*) FROM messages') == [(len(dead_ones),)]


def test_thousands_of_dead_letters_cost_a_claim_no_more_than_one_statement(
    queue, dead, post, sql, monkeypatch
):
    spent = model.store.messages.post(queue, CLIENT, new_messages(3000))
    [fresh] = post(1)
    limit(queue, 1)
    sql(
        'UPDATE message_states SET held_until = now(), claim_count = 1 WHERE id <> %s',
        int(fresh, 16),
    )
    model.store.low_water_marks.forget()
    asked = []
    rows = model.store.database.rows
    monkeypatch.setattr(
        model.store.database, 'rows', lambda *given, **more: asked.append(1) or rows(*given, **more)
    )
    model.store.queues.metadata(queue)
    asked.clear()

    assert ids(model.store.claims.create(queue, 60, 60, 1)) == [fresh]

    # The first was made for the attributes as they were, the second read them.
    assert len(asked) <= 3
    while model.store.queues.stats(queue).free:
        assert model.store.claims.create(queue, 60, 60, 1) is None
    assert model.store.queues.stats(dead).free == len(spent)


def test_dead_letters_that_cannot_be_moved_yet_hide_nothing_behind_them(queue, dead, post, sql):
    sql("UPDATE queues SET floor = %s WHERE name = 'dead'", 2**60)
    spent = post(30)
    limit(queue, 1)
    claim_and_release(queue, times=2)
    fresh = post(2)

    assert ids(model.store.claims.create(queue, 60, 60, 20)) == fresh
    assert len(model.store.messages.get_many(queue, spent)) == 30


def test_a_chain_that_is_too_long_is_refused(queue):
    for number in range(10):
        key = QueueKey.of('project', f'q{number}')
        model.store.queues.create(key, json.dumps({'_dead_letter_queue': f'q{number + 1}'}))

    with pytest.raises(DeadLetterCycle, match='too far'):
        limit_by_patch(queue, 'q0')
    limit_by_patch(queue, 'q5')


def limit_by_patch(queue, to):
    model.store.queues.change_metadata(queue, lambda _: json.dumps({'_dead_letter_queue': to}))


PAST = "now() - interval '1 hour' + g * interval '1 ms'"


def test_a_claim_hands_out_what_returned_behind_thousands_of_dead_letters(queue, dead, fill, claim):
    limit(queue, 2)
    fill(12_000, PAST, claim_count=2)
    [alive] = fill(1, "now() - interval '1 minute'", claim_count=1)

    assert ids(claim()) == [alive]


def test_a_claim_puts_a_bounded_number_of_dead_letters_away_and_the_next_go_on(
    queue, dead, fill, claim, sql
):
    limit(queue, 2)
    fill(2500, PAST, claim_count=2)

    moved = []
    for _ in range(3):
        assert claim() is None
        moved += sql('SELECT count(*) FROM message_states WHERE queue_id = %s', dead.id)

    assert moved == [(1000,), (2000,), (2500,)]


def test_a_claim_that_looks_far_puts_no_more_of_them_away(queue, dead, fill, claim, sql):
    limit(queue, 2)
    fill(12_000, PAST, claim_count=2)

    assert claim() is None

    assert sql('SELECT count(*) FROM message_states WHERE queue_id = %s', dead.id) == [(1000,)]


def test_marks_do_not_pass_over_what_may_be_claimed_when_the_limit_is_raised(
    queue, dead, fill, claim
):
    limit(queue, 2)
    spent = fill(2500, PAST, claim_count=2)
    for _ in range(2):
        claim()

    limit(queue, 3)

    assert ids(claim(limit=500)) == spent[2000:]
