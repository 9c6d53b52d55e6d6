"""A delayed message is there, and waits for its time; and what else a queue can do at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from marconi_api import model
from marconi_api.model import NewMessage
from tests.model.conftest import CLIENT, ids
from tests.running_service import DEADLINE


def post_delayed(queue, *delays):
    return model.store.messages.post(
        queue, CLIENT, [NewMessage('1', 300, delay) for delay in delays]
    )


def test_a_delayed_message_is_not_claimed_before_its_time(queue, claim, age):
    [delayed] = post_delayed(queue, 20)
    assert claim() is None

    age(21)

    assert ids(claim()) == [delayed]


def test_a_delayed_message_is_listed_on_request_only(queue, age):
    now, delayed = post_delayed(queue, 0, 20)

    assert ids(model.store.messages.page(queue, None, 10)) == [now]
    assert ids(model.store.messages.page(queue, None, 10, states={'ready', 'claimed'})) == [now]
    assert ids(model.store.messages.page(queue, None, 10, states={'ready', 'delayed'})) == [
        now,
        delayed,
    ]

    age(21)

    assert ids(model.store.messages.page(queue, None, 10)) == [now, delayed]


def test_a_delayed_message_is_free_to_be_read_and_deleted_by_its_id(queue):
    [delayed] = post_delayed(queue, 20)

    assert model.store.messages.get(queue, delayed).id == delayed
    model.store.messages.delete(queue, delayed)
    assert model.store.messages.get_many(queue, [delayed]) == []


def test_delayed_messages_count_as_free(queue):
    post_delayed(queue, 0, 20)

    assert model.store.queues.stats(queue).free == 2


def test_eight_who_wait_get_a_delayed_message_once_and_never_early(queue, sql):
    [delayed] = post_delayed(queue, 2)
    [(due,)] = sql('SELECT held_until FROM message_states')
    is_taken = threading.Event()
    deadline = time.monotonic() + DEADLINE

    def wait_for_it(_):
        taken, is_over = [], False
        while not is_over:
            # Each tries once more when somebody has it.
            is_over = is_taken.is_set() or time.monotonic() > deadline
            if claim := model.store.claims.create(queue, 60, 60, 10):
                taken += ids(claim)
                is_taken.set()
            time.sleep(0.01)
        return taken

    with ThreadPoolExecutor(8) as pool:
        got = [taken for taken in pool.map(wait_for_it, range(8)) if taken]

    assert got == [[delayed]]
    [(claimed_at,)] = sql('SELECT started_at FROM claims')
    assert claimed_at >= due


def test_a_pop_takes_what_a_claim_would_take(queue, post, claim):
    first, second, third = post(3)
    model.store.claims.release(queue, claim(limit=1).id)
    held = claim(limit=1)
    assert ids(held) == [first]

    popped = model.store.messages.pop(queue, 1)

    assert ids(popped) == [second]
    assert ids(claim()) == [third]


def test_a_popped_message_is_gone_and_tells_how_often_it_was_handed_out(queue, post, claim):
    post(1)
    model.store.claims.release(queue, claim().id)

    [popped] = model.store.messages.pop(queue, 10)

    assert popped.claim_count == 1
    assert model.store.queues.stats(queue).free == 0
    assert model.store.messages.pop(queue, 10) == []


def test_of_many_who_pop_at_once_each_message_goes_to_one(queue, post):
    posted = post(400)

    def pop_all(_):
        taken = []
        while popped := model.store.messages.pop(queue, 7):
            taken += ids(popped)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [identity for mine in pool.map(pop_all, range(8)) for identity in mine]

    assert sorted(taken) == posted


def test_deleting_the_unclaimed_leaves_what_is_claimed(queue, post, claim):
    post(2500)
    post_delayed(queue, 20)
    held = claim(limit=20)

    model.store.messages.delete_unclaimed(queue)

    stats = model.store.queues.stats(queue)
    assert (stats.free, stats.claimed) == (0, 20)
    assert len(model.store.claims.get(queue, held.id).messages) == 20


def test_a_message_tells_the_live_claim_that_it_is_under(queue, post, claim, age):
    [message, _] = post(2)
    held = claim(limit=1, ttl=60)

    assert model.store.messages.get(queue, message).claim == held.id
    [listed, other] = model.store.messages.page(queue, None, 10, states={'ready', 'claimed'})
    assert (listed.claim, other.claim) == (held.id, None)

    age(61)

    assert model.store.messages.get(queue, message).claim is None
