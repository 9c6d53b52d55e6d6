"""Statements take the index made for them, whatever the statistics say.

A queue fills and drains faster than PostgreSQL takes notice: it may think that a queue of
thousands holds one message, or that nothing was ever claimed. With the wrong index a claim
of ten messages reads the whole queue.
"""

import importlib
import json
import re
from collections import Counter
from unittest.mock import ANY
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.model import READY, RequestKey, dead_letters
from marconi_api.model.attributes import NO_ATTRIBUTES, Attributes
from marconi_api.model.postgres.low_water_marks import LowWaterMark
from marconi_api.model.postgres.prepared import Prepared
from tests.model.conftest import CLIENT, OTHER_CLIENT

CLAIMS = importlib.import_module('marconi_api.model.claims')
EXPIRY = importlib.import_module('marconi_api.model.janitor')
DELETES = importlib.import_module('marconi_api.model.deletes')
PAGES = importlib.import_module('marconi_api.model.pages')
HANDING_OVER = importlib.import_module('marconi_api.model.posting_claimed')
VERDICTS = importlib.import_module('marconi_api.model.verdicts')


@pytest.fixture
def known_bodies(statistics, sql):
    """PostgreSQL has looked at the bodies, as it does when there are some fifty.

    Up to version 16 it reads by the queue alone, while it knows nothing of them and they are few.
    """
    sql('ANALYZE messages')


@pytest.fixture(params=['never looked', 'saw nothing', 'saw all fresh', 'saw all claimed', 'is up'])
def statistics(request, queue, post, claim, sql):
    """What PostgreSQL knows of a queue of 3,000 messages, 1,000 claimed, 100 returned."""
    if request.param == 'saw nothing':
        sql('VACUUM ANALYZE message_states')
    post(3000)
    if request.param == 'saw all fresh':
        sql('VACUUM ANALYZE message_states')
    claim(limit=1000)
    if request.param == 'saw all claimed':
        sql('DELETE FROM message_states WHERE held_until IS NULL')
        sql('VACUUM ANALYZE message_states')
        post(2000)
    model.store.claims.release(queue, claim(limit=100).id)
    if request.param == 'is up':
        sql('VACUUM ANALYZE message_states')


def parameters_of(queue):
    """Parameters for any statement."""
    return {
        **queue.parameters,
        **LowWaterMark().parameters,
        **{
            'alive_mark': LowWaterMark().held_until,
            'alive_mark_id': 0,
            'is_first_look': True,
            'asks': False,
        },
        **{'claim_id': str(uuid4()), 'ttl': 60, 'claim_ttl': 60, 'grace': 60, 'limit': 10},
        **{'client_id': CLIENT, 'body': '1', 'traceparent': None},
        **{'after': -1, 'excluding_client': CLIENT, 'id': 1, 'ids': [1, 2, 3]},
        **{'verdicts': ['touch'], 'seconds': [60], 'graces': [60], 'reasons': [None]},
        **{'is_claimless': False, 'batch_size': 1000, 'claim_ids': [str(uuid4())]},
        **{'replies': ['1'], 'reply_ttl': 300},
        **{'known': [1] * 3, 'fresh_marks': [0] * 3, 'held_mark_ids': [0] * 3, 'horizons': [0] * 3},
        **{name: ','.join(['-infinity'] * 3) for name in ('held_marks', 'times')},
        'ahead': 1.2,
        **{**RequestKey.of('key', b'').parameters, 'operation': 1, 'key_lock': 1},
        **dead_letters.parameters(queue, Attributes.of('{"_max_claim_count": 2}')),
    }


def scans_of(queue, statement, table='message_states'):
    """How a table is read, by which index and on which condition."""
    [[[explained]]] = explain('FORMAT JSON', statement, parameters_of(queue))
    found = []

    def walk(node):
        if node.get('Relation Name') == table and 'Scan' in node['Node Type']:
            index = node.get('Index Name', node['Node Type'])
            found.append((index, node.get('Index Cond', '')))
        assert node['Node Type'] not in ('Seq Scan', 'Bitmap Heap Scan'), json.dumps(node)
        for child in node.get('Plans', ()):
            walk(child)

    walk(explained['Plan'])
    return found


def explain(options, statement, parameters):
    """The plan: of a prepared statement the one that is made for any parameters."""
    if not isinstance(statement, Prepared):
        return model.store.database.rows(f'EXPLAIN ({options}) {statement}', parameters)
    with model.store.database.transaction() as run:
        run('DEALLOCATE ALL', {})
        for definition in statement.definitions.values():
            run(definition, {})
        explained = run(f'EXPLAIN ({options}) {execution(statement, parameters)}', {})
        run('DEALLOCATE ALL', {})
    model.store.database.close()
    return explained


def execution(statement, parameters):
    connection = model.store.database._cursor().connection
    return statement.execution({**parameters, 'base': model.store.database.base}, connection)


def test_a_plan_that_was_made_when_there_was_nothing_serves_when_there_is_much(
    queue, post, claim, sql
):
    """A connection keeps its plans; nothing makes it look again but an ANALYZE."""
    claim()
    post(3000)
    held = claim(limit=1000)
    model.store.claims.release(queue, claim(limit=100).id)
    parameters = parameters_of(queue)
    plans = {}
    for statement in (
        CLAIMS._CREATE,
        PAGES.LIST_READY[False, False],
        DELETES.DELETE_MANY[False],
    ):
        model.store.database.rows(statement, parameters)
        explain_it = f'EXPLAIN (FORMAT JSON) {execution(statement, parameters)}'
        [[[explained]]] = model.store.database.rows(explain_it, {})
        plans[statement] = json.dumps(explained)

    for index in ('message_states_fresh', 'message_states_held', 'Tid Scan'):
        assert index in plans[CLAIMS._CREATE]
    assert 'message_states_pkey' not in plans[CLAIMS._CREATE]
    assert 'message_states_pkey' not in plans[PAGES.LIST_READY[False, False]]
    assert re.search(r'"Index Cond": "[^"]*\bid = ANY', plans[DELETES.DELETE_MANY[False]])
    assert len(held.messages) == 1000


def test_a_claim_finds_by_index_and_updates_by_place(queue, statistics):
    found = scans_of(queue, CLAIMS._CREATE)

    assert [index for index, _ in found] == [
        'message_states_held',
        'message_states_fresh',
        'Tid Scan',
        'Tid Scan',
    ]


@pytest.mark.parametrize('by_attributes', [False, True])
def test_a_post_to_a_claimant_looks_by_index(queue, statistics, by_attributes):
    found = scans_of(queue, HANDING_OVER.POST_CLAIMED[by_attributes])

    assert [index for index, _ in found] == ['message_states_held', 'message_states_fresh']


def test_a_claim_that_puts_dead_letters_away_touches_them_by_place(queue, known_bodies):
    found = scans_of(queue, CLAIMS._CREATE_WITHIN_LIMIT)

    by_index = [index for index, _ in found if index != 'Tid Scan']
    assert Counter(by_index) == {'message_states_fresh': 1, 'message_states_held': 2}
    assert len(found) - len(by_index) == 5
    for index, condition in scans_of(queue, CLAIMS._CREATE_WITHIN_LIMIT, 'messages'):
        assert index == 'messages_pkey'
        assert re.search(r'\bid = ', condition)


def test_a_pop_finds_by_index_and_deletes_by_place(queue, statistics):
    found = scans_of(queue, DELETES.POP)

    assert found[-1][0] == 'Tid Scan'
    assert 'message_states_pkey' not in {index for index, _ in found}


@pytest.mark.parametrize('without_own', [False, True])
def test_a_list_walks_the_fresh_and_the_returned(queue, statistics, without_own):
    found = scans_of(queue, PAGES.LIST_READY[without_own, False])

    assert [index for index, _ in found] == ['message_states_held', 'message_states_fresh']


def test_a_list_with_claimed_messages_walks_the_key(queue, statistics):
    found = scans_of(queue, PAGES.LIST[READY | {'claimed'}, False, False])

    assert [index for index, _ in found] == ['message_states_pkey']


def test_a_list_of_parked_messages_walks_those_alone(queue, statistics):
    found = scans_of(queue, PAGES.LIST[frozenset({'parked'}), False, False])

    assert [index for index, _ in found] == ['message_states_held']


@pytest.mark.parametrize(
    'statement',
    [*VERDICTS._GIVE.values(), *VERDICTS._GIVE_BY_CLAIMS.values(), VERDICTS._HEARTBEAT],
    ids=['give', 'give replies', 'give by claims', 'give replies by claims', 'heartbeat'],
)
def test_verdicts_find_by_id_and_change_by_place(queue, statistics, statement):
    claim, *messages = statement.split(';')

    assert scans_of(queue, claim, 'claims') == [('claims_pkey', ANY)]
    for part in map(Prepared, messages):
        found = scans_of(queue, part)
        by_index = [(index, condition) for index, condition in found if index != 'Tid Scan']
        assert {index for index, _ in by_index} == {'message_states_pkey'}
        assert all(re.search(r'\bid = ', condition) for _, condition in by_index)


@pytest.mark.parametrize(
    'statement', [VERDICTS._KICK, VERDICTS._DELETE_PARKED], ids=['kick', 'delete']
)
def test_parked_messages_are_found_by_their_index(queue, statistics, statement):
    found = [index for index, _ in scans_of(queue, statement)]

    assert found == ['message_states_held', 'Tid Scan']


BY_ID = pytest.mark.parametrize(
    'statement',
    [
        PAGES.GET,
        DELETES.DELETE_FREE[False],
        DELETES.DELETE_CLAIMED[False],
        DELETES.DELETE_MANY[False],
        CLAIMS._GET,
        CLAIMS._RENEW,
        CLAIMS._RELEASE,
    ],
    ids=['get', 'delete free', 'delete claimed', 'delete many', 'get claim', 'renew', 'release'],
)


@BY_ID
def test_what_is_named_by_id_is_found_by_id(queue, statistics, statement):
    found = scans_of(queue, statement)

    assert {index for index, _ in found} == {'message_states_pkey'}
    assert all(re.search(r'\bid = ', condition) for _, condition in found)


@BY_ID
def test_bodies_are_found_by_id(queue, known_bodies, statement):
    """A delete that looked a queue's bodies through took a second in one of 300,000."""
    for index, condition in scans_of(queue, statement, 'messages'):
        assert index == 'messages_pkey'
        assert re.search(r'\bid = ', condition)


def test_a_queue_that_was_filled_since_the_last_analyze_is_not_walked(queue, post, claim, sql):
    """PostgreSQL knows many queues of one message, and thinks that this is another."""
    sql("""
        INSERT INTO messages SELECT g, g, now(), '' FROM generate_series(1, 5000) g;
        INSERT INTO message_states SELECT g, g, NULL, now() + '1 h', NULL, gen_random_uuid(), 60
          FROM generate_series(1, 5000) g;
        ANALYZE messages, message_states""")
    post(10_000)
    taken = [message.id for message in claim(limit=20).messages]

    def removed_by(statement, **parameters):
        [[[explained]]] = model.store.database.rows(
            f'EXPLAIN (ANALYZE, FORMAT JSON) {statement}', {**queue.parameters, **parameters}
        )
        found = []

        def walk(node):
            found.append(node['Actual Rows'] + node.get('Rows Removed by Join Filter', 0))
            for child in node.get('Plans', ()):
                walk(child)

        walk(explained['Plan'])
        return max(found)

    ids = [int(identity, 16) for identity in taken]
    assert removed_by(DELETES.DELETE_MANY[False], ids=ids) < 100
    sql('UPDATE message_states SET expires_at = now() WHERE id < %s', ids[-1] + 500)
    expired = [ids[-1] + place for place in range(1, 400)]
    assert removed_by(EXPIRY._REMOVE_MESSAGES, ids=expired, reply_ttl=300) < 1000


PAST = "now() - interval '1 hour' + g * interval '1 ms'"
GONE = "now() - interval '1 second'"
OTHERS = {'excluding_client': OTHER_CLIENT}


def rows_looked_at(queue, statement, **parameters):
    """The rows of message_states that a statement reads, whether or not it has a use for them."""
    given = {**parameters_of(queue), 'digest': NO_ATTRIBUTES.digest, **parameters}
    [[[explained]]] = explain('ANALYZE, FORMAT JSON', statement, given)

    def count(node):
        found = sum(map(count, node.get('Plans', ())))
        if node.get('Relation Name') == 'message_states' and 'Scan' in node['Node Type']:
            read = node['Actual Rows'] + node.get('Rows Removed by Filter', 0)
            found += read * node['Actual Loops']
        return found

    return count(explained['Plan'])


@pytest.mark.parametrize('without_own', [False, True])
def test_a_page_of_returned_messages_does_not_read_all_of_them(queue, fill, without_own):
    fill(20_000, held_until=PAST)

    statements = [
        PAGES.LIST_READY[without_own, False],
        PAGES.LIST[READY, without_own, False],
    ]

    assert sum(rows_looked_at(queue, statement, **OTHERS) for statement in statements) < 1500


@pytest.mark.parametrize(
    'contents',
    [{}, {'held_until': PAST}, {'expires_at': GONE}, {'held_until': PAST, 'expires_at': GONE}],
    ids=['own', 'own, returned', 'expired', 'expired, returned'],
)
def test_a_page_passes_over_a_bounded_number_of_messages(queue, fill, contents):
    fill(20_000, **contents)

    for statement in (PAGES.LIST_READY[True, False], PAGES.LIST[READY, True, False]):
        assert rows_looked_at(queue, statement) <= 6001


@pytest.mark.parametrize('state', ['claimed', 'delayed', 'parked'])
def test_a_page_by_state_passes_over_a_bounded_number_of_messages(queue, fill, state):
    fill(20_000, held_until="'infinity'" if state == 'parked' else 'NULL')

    statement = PAGES.LIST[frozenset({state}), True, False]

    assert rows_looked_at(queue, statement) == 5000


@pytest.mark.parametrize('statement', [CLAIMS._CREATE, DELETES.POP], ids=['claim', 'pop'])
@pytest.mark.parametrize('held_until', ['NULL', PAST], ids=['fresh', 'returned'])
def test_what_takes_passes_over_a_bounded_number_of_expired_messages(
    queue, fill, statement, held_until
):
    fill(20_000, held_until, expires_at=GONE)

    assert rows_looked_at(queue, statement) == 5000


@pytest.mark.parametrize('claim_count', [0, 7], ids=['none is', 'all are'])
def test_a_claim_looks_at_a_bounded_number_of_messages_for_dead_letters(queue, fill, claim_count):
    model.store.queues.set_metadata(queue, '{"_max_claim_count": 2}')
    fill(20_000, held_until=PAST, claim_count=claim_count)

    digest = Attributes.of('{"_max_claim_count": 2}').digest

    # 5,000 looked at, 1,000 for dead letters, and these locked and changed by place.
    assert rows_looked_at(queue, CLAIMS._CREATE_WITHIN_LIMIT, digest=digest) <= 8000
