"""How the model keeps messages that ask for a reply, below the wire."""

import re
import threading

import pytest

from marconi_api import limits, model
from marconi_api.errors import RequestNotFound, StorageUnavailable
from marconi_api.model import (
    Asked,
    NewMessage,
    QueueKey,
    Verdict,
    claims,
    deletes,
    pages,
    posting,
    verdicts,
)
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.model.postgres.tables import message_id
from marconi_api.model.replies import place_of, remove_old
from tests.model.conftest import CLIENT, new_messages

#: What is told of a request whose message can be claimed.
OPEN = Asked(None, 0, None, 'ready')

DEAD = QueueKey.of('project', 'dead')


@pytest.fixture
def ask(queue):
    """Posts messages that ask for a reply; returns their ids."""

    def post_requests(how_many=1, ttl=300):
        asking = [NewMessage('1', ttl, 0, reply=True)] * how_many
        return model.store.messages.post(queue, CLIENT, asking)

    return post_requests


#: What ordinary posts, claims and deletes send, and pages and verdicts.
ORDINARY = [
    *(statement for choice, statement in posting.POSTS.items() if not choice[-1]),
    *(*posting.POST_ONES.values(), deletes.POP, pages.GET),
    *(*deletes.DELETE_FREE.values(), *deletes.DELETE_CLAIMED.values()),
    *deletes.DELETE_MANY.values(),
    *(claims._CREATE, claims._CREATE_ONCE, claims._GET, claims._RENEW, claims._RELEASE),
    *(*pages.LIST.values(), *pages.LIST_READY.values()),
    *(verdicts._GIVE[False], verdicts._GIVE_BY_CLAIMS[False], verdicts._HEARTBEAT),
]


@pytest.mark.parametrize('statement', ORDINARY)
def test_a_statement_about_messages_that_do_not_ask_has_nothing_to_do_with_requests(
    statement: Prepared,
) -> None:
    assert not re.search(r'\brequests\b', statement)


def test_a_post_of_messages_that_do_not_ask_is_sent_as_before(queue, sql):
    model.store.messages.post(queue, CLIENT, new_messages(3), size=10)

    assert sql('SELECT count(*) FROM requests') == [(0,)]


def test_places_of_messages_differ_in_their_lowest_bits():
    """By these the map of the waiting room goes; a message's id ends with 14 zeros mostly."""
    ids = [transaction << 14 for transaction in range(2**30, 2**30 + 60_000)]

    places = [place_of(identity) for identity in ids]

    assert len({place & 65535 for place in places}) == len(ids)
    assert all(-(2**63) <= place < 2**63 for place in places)


def test_no_two_messages_have_the_same_place():
    ids = [transaction << 14 | position for transaction in range(1000) for position in range(200)]

    assert len({place_of(identity) for identity in ids}) == len(ids)


# ---------------------------------------------------------------- who listens


@pytest.fixture
def told():
    """What a listener hears of messages that ended."""
    heard = []
    model.store.ended.append(heard.extend)
    yield heard
    model.store.ended.remove(heard.extend)


def delete(queue, ids):
    for identity in ids:
        model.store.messages.delete(queue, identity)


def delete_many(queue, ids):
    model.store.messages.delete_many(queue, ids)


def pop(queue, ids):
    assert len(model.store.messages.pop(queue, 20)) == len(ids)


def give_verdicts(queue, ids):
    claim = model.store.claims.create(queue, 60, 60, 20)
    given = [Verdict.delete(identity, reply='1') for identity in ids]
    model.store.verdicts.give(queue, claim.id, given)


def give_across(queue, ids):
    claim = model.store.claims.create(queue, 60, 60, 20)
    given = [(queue, claim.id, Verdict.delete(identity)) for identity in ids]
    model.store.verdicts.give_across(given)


@pytest.mark.parametrize('way', [delete, delete_many, pop, give_verdicts, give_across])
def test_listeners_are_told_which_messages_were_deleted(queue, post, told, way):
    ids = post(3)

    way(queue, ids)

    assert sorted(told) == [message_id(identity) for identity in ids]


def test_nobody_is_told_of_verdicts_that_delete_nothing(queue, post, told):
    ids = post(3)
    claim = model.store.claims.create(queue, 60, 60, 20)
    judged = [Verdict.release(ids[0]), Verdict.park(ids[1]), Verdict.delete('nonsense')]

    model.store.verdicts.give(queue, claim.id, judged)

    assert told == []


def test_a_listener_that_fails_spoils_nothing(queue, post, caplog):
    def fail(messages):
        raise RuntimeError

    model.store.ended.append(fail)
    try:
        delete(queue, post(1))
    finally:
        model.store.ended.remove(fail)

    assert 'a listener for messages that ended failed' in caplog.text


# ---------------------------------------------------------------- what the janitor removes


def test_old_requests_are_removed_batch_by_batch(queue, ask, sql, age):
    delete(queue, ask(20))
    [kept] = ask(1, ttl=2000)
    age(300 + limits.in_force.reply_ttl + 1)

    # Once it is found that they ended, they are told of for a while.
    remove_old(model.store.database, batch_size=7)
    assert sql('SELECT count(*) FROM requests') == [(21,)]
    age(limits.in_force.reply_ttl + 1)
    remove_old(model.store.database, batch_size=7)

    assert sql('SELECT count(*) FROM requests') == [(1,)]
    assert model.store.replies.find(queue, kept) == OPEN


def test_a_look_tells_of_what_ended(queue, ask):
    open_one, deleted, replied = (ask(1)[0] for _ in range(3))
    model.store.messages.delete(queue, deleted)
    claim = model.store.claims.create(queue, 60, 60, 20)
    model.store.verdicts.give(queue, claim.id, [Verdict.delete(replied, reply='1')])
    never_asked = f'{2**61:016x}'
    awaited = {
        place: message_id(identity)
        for place, identity in enumerate([open_one, deleted, replied, never_asked])
    }

    sights = model.store.replies.look(awaited, ahead=1.2)
    assert {sight.queue_id: sight.is_more for sight in sights} == {1: True, 2: True, 3: True}


def test_a_look_tells_in_how_many_seconds_a_message_expires(ask, age):
    [expiring] = ask(1)
    age(299)

    [sight] = model.store.replies.look({7: message_id(expiring)}, ahead=1.2)

    assert not sight.is_more
    assert 0 < sight.due_in < 1


def test_a_look_passes_over_a_message_that_is_parked(queue, ask):
    [parked] = ask(1)
    model.store.verdicts.give(queue, None, [Verdict.park(parked)])

    assert model.store.replies.look({7: message_id(parked)}, ahead=1.2) == []


# ---------------------------------------------------------------- a message that is being moved

#: Moves a message to the queue for dead letters, as a claim does.
MOVE = """
    WITH gone AS (
        DELETE FROM message_states WHERE id = %(id)s
     RETURNING id, expires_at, client_id, ttl, id AS moved_in),
    followed AS (UPDATE requests SET lies_in = %(dead)s WHERE message_id = %(id)s)
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl, moved_in)
    SELECT %(dead)s, id, now(), expires_at, client_id, ttl, moved_in FROM gone"""


@pytest.fixture
def moving(queue, ask, session, sql):
    """A session that is moving a message at this moment, and the message's id."""
    model.store.queues.create(DEAD)
    sql('UPDATE queues SET floor = 0')
    [asked] = ask(1)
    sql("UPDATE requests SET kept_until = now() - interval '1 s'")
    cursor = session()
    cursor.execute(MOVE, {'id': message_id(asked), 'dead': DEAD.id})
    return cursor, asked


def test_the_janitor_passes_over_a_message_that_is_being_moved(queue, moving, sql):
    cursor, asked = moving

    remove_old(model.store.database, batch_size=10)
    cursor.connection.commit()

    remove_old(model.store.database, batch_size=10)
    assert model.store.replies.find(queue, asked) == OPEN
    assert sql('SELECT lies_in, ended_at, kept_until > now() FROM requests') == [
        (DEAD.id, None, True)
    ]


#: In one statement: what is locked is as new as can be, and is judged by an older snapshot.
NAIVE = """
    WITH due AS MATERIALIZED (
        SELECT message_id, lies_in FROM requests WHERE kept_until <= now() FOR UPDATE)
    UPDATE requests SET reason = 'deleted'
      FROM due
     WHERE requests.message_id = due.message_id
       AND NOT EXISTS (SELECT FROM message_states
                        WHERE queue_id = due.lies_in AND id = due.message_id)
 RETURNING reason"""


def test_a_janitor_that_locks_and_judges_in_one_statement_would_end_a_request_that_moves(
    moving, session, wait_for_lock
):
    cursor, _ = moving
    naive = session()
    ended = []
    thread = threading.Thread(target=lambda: (naive.execute(NAIVE), ended.extend(naive.fetchall())))
    thread.start()
    wait_for_lock(naive.connection)
    cursor.connection.commit()
    thread.join()

    assert ended == [('deleted',)]


@pytest.fixture
def wait_for_lock(sql):
    """Waits until a session waits for a lock."""

    def wait(connection):
        pid = connection.info.backend_pid
        while sql('SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s', pid) != [
            ('Lock',)
        ]:
            pass

    return wait


# ---------------------------------------------------------------- replies and their messages


def test_a_reply_is_stored_with_the_deletion_or_not_at_all(queue, ask, sql):
    """A reply that cannot be stored leaves the message, and its claim."""
    [asked] = ask(1)
    claim = model.store.claims.create(queue, 60, 60, 20)
    sql("ALTER TABLE requests ADD CONSTRAINT no_reply CHECK (reply <> '13')")
    try:
        with pytest.raises(StorageUnavailable):
            model.store.verdicts.give(queue, claim.id, [Verdict.delete(asked, reply='13')])
    finally:
        sql('ALTER TABLE requests DROP CONSTRAINT no_reply')

    assert model.store.messages.get(queue, asked).claim == claim.id
    assert model.store.replies.find(queue, asked).state == 'claimed'


def test_a_reply_is_given_once(queue, ask):
    [asked] = ask(1)
    claim = model.store.claims.create(queue, 60, 60, 20)
    results = []

    def give(number):
        given = [Verdict.delete(asked, reply=str(number))]
        results.append((number, model.store.verdicts.give(queue, claim.id, given)[0].result))

    threads = [threading.Thread(target=give, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [winner] = [number for number, result in results if result == 'done']
    assert model.store.replies.find(queue, asked).reply == str(winner)


def test_a_reply_of_another_queue_with_the_same_message_id_goes_nowhere(queue, ask, sql):
    """A copy of a message in another queue may have its id, and is another message."""
    [asked] = ask(1)
    model.store.queues.create(DEAD)
    sql('UPDATE queues SET floor = 0')
    sql(
        'INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)'
        ' SELECT %s, id, expires_at, client_id, ttl FROM message_states',
        DEAD.id,
    )
    sql(
        'INSERT INTO messages (queue_id, id, created_at, body)'
        ' SELECT %s, id, created_at, body FROM messages',
        DEAD.id,
    )
    claim = model.store.claims.create(DEAD, 60, 60, 20)

    [outcome] = model.store.verdicts.give(DEAD, claim.id, [Verdict.delete(asked, reply='1')])

    assert outcome.result == 'done'
    assert model.store.replies.find(queue, asked) == OPEN
    with pytest.raises(RequestNotFound):
        model.store.replies.find(DEAD, asked)


@pytest.mark.parametrize('is_webhook', [False, True])
def test_copies_and_deliveries_of_a_message_do_not_ask_and_it_does(queue, ask, sql, is_webhook):
    model.store.queues.create(DEAD)
    model.store.subscriptions.create(
        queue, 'http://hooks.example.com/' if is_webhook else 'queue:dead'
    )
    first, second = ask(2)
    assert sql('SELECT message_id FROM requests ORDER BY 1') == [
        (message_id(first),),
        (message_id(second),),
    ]
    # Copies are done before.
    while copies := model.store.claims.create(DEAD, 60, 60, 20):
        for copy in copies.messages:
            with pytest.raises(RequestNotFound):
                model.store.replies.find(DEAD, copy.id)
            model.store.verdicts.give(DEAD, copies.id, [Verdict.delete(copy.id, reply='0')])
    claim = model.store.claims.create(queue, 60, 60, 20)

    given = [Verdict.delete(first, reply='1'), Verdict.delete(second)]
    model.store.verdicts.give(queue, claim.id, given)

    assert model.store.replies.find(queue, first).reply == '1'
    assert model.store.replies.find(queue, second).reason == 'deleted'
    bodies = sql('SELECT count(*) FROM messages')
    assert bodies == [(2 if is_webhook else 0,)]
