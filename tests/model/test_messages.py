"""What a message promises, below the wire."""

import importlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from marconi_api import model
from marconi_api.errors import (
    HeldByAnotherClaim,
    InvalidRequest,
    MessageNotFound,
    NotHeldByThisClaim,
    QueueNotFound,
    StorageUnavailable,
)
from marconi_api.model import NewMessage, QueueKey
from tests.model.conftest import CLIENT, ids, new_messages

CLAIMS = importlib.import_module('marconi_api.model.claims')


def test_a_post_is_one_round_trip(queue, monkeypatch):
    statements = []
    rows = model.store.database.rows
    monkeypatch.setattr(
        model.store.database,
        'rows',
        lambda *args, **kw: statements.append(args) or rows(*args, **kw),
    )

    model.store.messages.post(queue, CLIENT, new_messages(10, ttl=60))

    assert len(statements) == 1


def test_a_message_alone_is_stored_like_one_among_others(queue, sql):
    alone, *_ = model.store.messages.post(queue, CLIENT, new_messages(1, ttl=60))
    among_others, *_ = model.store.messages.post(queue, CLIENT, new_messages(2, ttl=60))

    rows = sql(
        """SELECT id, held_until, claim_id, claim_count, park_reason, moved_in, client_id::text, ttl,
                  expires_at - created_at, body
             FROM message_states JOIN messages USING (queue_id, id) ORDER BY id LIMIT 2"""
    )
    assert [f'{row[0]:016x}' for row in rows] == [alone, among_others]
    assert rows[0][1:] == rows[1][1:]


def test_a_message_alone_may_be_delayed(queue, claim):
    model.store.messages.post(queue, CLIENT, [NewMessage('1', 60, 30)])

    assert claim() is None


def test_posting_to_a_queue_that_does_not_exist_stores_nothing(app, sql):
    with pytest.raises(QueueNotFound):
        model.store.messages.post(QueueKey.of('project', 'missing'), CLIENT, new_messages(ttl=60))

    assert sql('SELECT count(*) FROM messages') == [(0,)]
    assert sql('SELECT count(*) FROM message_states') == [(0,)]


def test_a_post_that_fails_half_way_stores_nothing(queue, sql):
    sql("ALTER TABLE messages ADD CONSTRAINT no_poison CHECK (body <> 'poison')")
    try:
        with pytest.raises(StorageUnavailable):
            model.store.messages.post(
                queue, CLIENT, [NewMessage('"fine"', 60, 0), NewMessage('poison', 60, 0)]
            )
    finally:
        sql('ALTER TABLE messages DROP CONSTRAINT no_poison')

    assert sql('SELECT count(*) FROM messages') == [(0,)]
    assert sql('SELECT count(*) FROM message_states') == [(0,)]


def test_a_post_of_more_messages_than_ids_can_number_is_refused(queue):
    too_many = 2**14 + 1

    with pytest.raises(InvalidRequest, match='16384'):
        model.store.messages.post(queue, CLIENT, new_messages(too_many, ttl=60))


def test_a_post_of_as_many_messages_as_ids_can_number_is_stored(queue):
    most = 2**14

    posted = model.store.messages.post(queue, CLIENT, new_messages(most, ttl=60))

    assert len(set(posted)) == model.store.queues.stats(queue).free == most


def test_looking_changes_nothing(queue, post, claim, sql):
    post(3)
    claim(limit=1)
    before = sql('SELECT * FROM message_states ORDER BY id')

    model.store.messages.page(queue, None, 10, states={'ready', 'claimed'})
    model.store.messages.get_many(queue, ['0000000000000001'])
    model.store.queues.stats(queue)

    assert sql('SELECT * FROM message_states ORDER BY id') == before


@pytest.mark.parametrize(
    'unparsable',
    ['', 'x', '5', '000000000000000G', '00000000000000001', 'ffffffffffffffff', '-000000000000001'],
)
def test_an_id_that_cannot_be_one_is_that_of_no_message(queue, unparsable):
    with pytest.raises(MessageNotFound):
        model.store.messages.get(queue, unparsable)

    assert model.store.messages.page(queue, unparsable, 10) == []
    model.store.messages.delete(queue, unparsable)
    model.store.messages.delete_many(queue, [unparsable])


def test_a_message_of_another_queue_is_not_found_and_not_deleted(queue, post):
    [message] = post(1)
    elsewhere = QueueKey.of('elsewhere', queue.name)
    model.store.queues.create(elsewhere)

    model.store.messages.delete(elsewhere, message)
    model.store.messages.delete_many(elsewhere, [message])

    assert model.store.messages.get_many(elsewhere, [message]) == []
    assert model.store.messages.get(queue, message).id == message


def test_a_claimed_message_is_deleted_by_its_claim_only(queue, post, claim):
    [message] = post(1)
    held = claim()

    with pytest.raises(HeldByAnotherClaim):
        model.store.messages.delete(queue, message)
    with pytest.raises(NotHeldByThisClaim):
        model.store.messages.delete(queue, message, 'garbage')
    model.store.messages.delete(queue, message, held.id)

    assert model.store.messages.get_many(queue, [message]) == []


def test_a_lapsed_claim_deletes_nothing(queue, post, claim, age):
    [message] = post(1)
    held = claim(ttl=60)
    age(61)

    with pytest.raises(NotHeldByThisClaim):
        model.store.messages.delete(queue, message, held.id)

    assert model.store.messages.get(queue, message).id == message


def test_a_stale_claim_deletes_nothing_that_another_holds_now(queue, post, claim, age):
    [message] = post(1)
    stale = claim(ttl=60)
    age(61)
    claim(ttl=60)

    with pytest.raises(HeldByAnotherClaim):
        model.store.messages.delete(queue, message, stale.id)


def test_a_message_that_is_claimed_while_its_delete_waits_is_kept(queue, post, session):
    """The delete looks at the claim when it has the row, not when it set out."""
    [message] = post(1)
    claimer = session()
    claimer.execute(
        "UPDATE message_states SET claim_id = gen_random_uuid(), held_until = now() + '60 s'"
    )

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.store.messages.delete, queue, message)
        wait_for_a_lock(session)
        claimer.connection.commit()
        with pytest.raises(HeldByAnotherClaim):
            waiting.result()


def test_a_claim_that_lapses_while_its_delete_waits_deletes_nothing(queue, post, claim, session):
    [message] = post(1)
    held = claim()
    thief = session()
    thief.execute(
        "UPDATE message_states SET claim_id = gen_random_uuid(), held_until = now() + '60 s'"
    )

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.store.messages.delete, queue, message, held.id)
        wait_for_a_lock(session)
        thief.connection.commit()
        with pytest.raises(HeldByAnotherClaim):
            waiting.result()


def test_bulk_deletes_of_the_same_messages_do_not_lock_each_other_out(queue, post):
    posted = post(200)

    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda turn: model.store.messages.delete_many(
                    queue, posted[:: 1 if turn % 2 else -1]
                ),
                range(32),
            )
        )

    assert model.store.queues.stats(queue).free == 0


def test_a_claim_makes_a_message_outlive_it_by_the_grace(queue, post, claim):
    post(1, ttl=60)

    [message] = claim(ttl=100, grace=60).messages

    assert message.ttl == 160


def test_a_claim_leaves_a_message_that_outlives_it_as_it_is(queue, post, claim):
    post(1, ttl=300)

    [message] = claim(ttl=100, grace=60).messages

    assert message.ttl == 300


def test_the_life_that_a_claim_gave_is_real(queue, post, claim, age):
    [message] = post(1, ttl=60)
    claim(ttl=100, grace=60)

    age(159)
    assert ids(model.store.messages.get_many(queue, [message])) == [message]

    age(2)
    assert model.store.messages.get_many(queue, [message]) == []


def wait_for_a_lock(session):
    """Wait until a statement of the service waits for somebody's row lock."""
    looker = session()
    for _ in range(2000):
        looker.execute(
            'SELECT pg_sleep(0.005), count(*) FROM pg_stat_activity'
            " WHERE application_name = 'marconi' AND wait_event_type = 'Lock'"
        )
        if looker.fetchone()[1]:
            return
        looker.connection.rollback()
    pytest.fail('nothing waited for a lock')


def test_a_body_comes_back_as_it_was_posted(queue):
    body = '{"b": 1.10, "a":  1e2, "\\u0000": "\\ud83d\\ude00 ü 😀", "c": [ ]}'

    [message] = model.store.messages.post(queue, CLIENT, [NewMessage(body, 60, 0)])

    assert model.store.messages.get(queue, message).body == body


def test_no_statement_needs_the_clock_of_this_process():
    for module in ('claims', 'messages', 'queues', 'janitor'):
        names = vars(importlib.import_module(f'marconi_api.model.{module}'))
        assert 'datetime' not in names
        assert 'time' not in names


def test_a_post_is_made_anew_as_often_as_the_attributes_change(queue, monkeypatch):
    """A change is no sign that ids are too low: to look for that reads all messages there are."""
    raised = []
    monkeypatch.setattr(model.store.database, 'raise_base', lambda: raised.append(1))
    known = model.store.messages._attributes
    monkeypatch.setattr(known, '_known', {})
    read, seen = known.read, []

    def read_what_changes_at_once(queue):
        attributes = read(queue)
        seen.append(attributes.default_message_ttl)
        if len(seen) <= 5:
            change = f'{{"_default_message_ttl": {60 + len(seen)}}}'
            model.store.queues.set_metadata(queue, change)
        return attributes

    monkeypatch.setattr(known, 'read', read_what_changes_at_once)

    [posted] = model.store.messages.post(queue, CLIENT, [NewMessage('1')])

    assert seen == [None, 61, 62, 63, 64, 65]
    assert model.store.messages.get(queue, posted).ttl == 65
    assert raised == []


def test_a_purge_leaves_the_rows_to_the_janitor(queue, post, claim, sql):
    """It takes as long for a million messages as for one."""
    post(20)
    held = claim(limit=2)

    model.store.messages.delete_unclaimed(queue)

    assert ids(model.store.claims.get(queue, held.id)) == ids(held)
    assert model.store.queues.stats(queue).free == 0
    assert sql('SELECT count(*) FROM message_states') == [(20,)]
    assert model.store.janitor.run_once() == 18


def test_a_purge_waits_for_a_renewal_and_keeps_what_it_renewed(queue, post, claim, session):
    """The renewed row is another version: to mark the one before would mark nothing."""
    post(3)
    held = claim(limit=2)
    renewing = session()
    terms = {'claim_id': held.id, 'ttl': 300, 'grace': 60, 'base': 0}
    renewing.execute(CLAIMS._RENEW, {**queue.parameters, **terms})

    with ThreadPoolExecutor(1) as pool:
        purging = pool.submit(model.store.messages.delete_unclaimed, queue)
        with pytest.raises(TimeoutError):
            purging.result(timeout=0.3)
        renewing.connection.commit()
        purging.result()

    assert ids(model.store.claims.get(queue, held.id)) == ids(held)
    assert model.store.queues.stats(queue).free == 0


def test_what_survived_a_purge_does_not_survive_its_queue(queue, post, claim):
    post(3)
    claim(limit=2)
    model.store.messages.delete_unclaimed(queue)

    model.store.queues.delete(queue)
    model.store.queues.create(queue)

    assert model.store.queues.stats(queue).claimed == 0


def test_many_purges_at_once_keep_what_is_claimed(queue, post, claim):
    post(60)
    held = [claim(limit=5) for _ in range(4)]

    def renew_and_purge(number):
        model.store.claims.renew(queue, held[number % 4].id, 300, 60)
        model.store.messages.delete_unclaimed(queue)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(renew_and_purge, range(40)))

    assert [ids(model.store.claims.get(queue, one.id)) for one in held] == [
        ids(one) for one in held
    ]
    assert model.store.queues.stats(queue).free == 0
