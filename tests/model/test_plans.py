"""Statements take the index made for them, whatever the statistics say.

A queue fills and drains faster than PostgreSQL takes notice: it may think that a queue of
thousands holds one message, or that nothing was ever claimed. With the wrong index a claim
of ten messages reads the whole queue.
"""

import importlib
import json
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.model.hints import Hint
from tests.model.conftest import CLIENT

CLAIMS = importlib.import_module('marconi_api.model.claims')
MESSAGES = importlib.import_module('marconi_api.model.messages')


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
    model.claims.release(queue, claim(limit=100).id)
    if request.param == 'is up':
        sql('VACUUM ANALYZE message_states')


def scans_of(queue, statement):
    """How each table is read, under the name that the plan gives to its part."""
    parameters = {
        **queue.parameters,
        **{'fresh_hint': Hint().fresh_id, 'held_hint': Hint().held_until},
        **{'claim_id': str(uuid4()), 'ttl': 60, 'grace': 60, 'limit': 10},
        **{'after': -1, 'not_from': CLIENT, 'id': 1, 'ids': [1, 2, 3]},
    }
    [[[explained]]] = model.database.rows(f'EXPLAIN (FORMAT JSON) {statement}', parameters)
    found = []

    def walk(node, part):
        part = node.get('Subplan Name', part)
        if node.get('Relation Name') == 'message_states' and 'Scan' in node['Node Type']:
            found.append((part, node.get('Index Name', node['Node Type'])))
        assert node['Node Type'] not in ('Seq Scan', 'Bitmap Heap Scan'), json.dumps(node)
        for child in node.get('Plans', ()):
            walk(child, part)

    walk(explained['Plan'], '')
    return found


def test_a_claim_finds_by_index_and_updates_by_place(queue, statistics):
    found = scans_of(queue, CLAIMS._CREATE)

    assert [index for _, index in found] == [
        'message_states_held',
        'message_states_fresh',
        'Tid Scan',
        'message_states_fresh',
        'message_states_held',
    ]


@pytest.mark.parametrize('without_own', [False, True])
def test_a_list_walks_the_fresh_and_the_returned(queue, statistics, without_own):
    found = scans_of(queue, MESSAGES._LIST[False, without_own])

    assert [index for _, index in found] == ['message_states_fresh', 'message_states_held']


def test_a_list_with_claimed_messages_walks_the_key(queue, statistics):
    found = scans_of(queue, MESSAGES._LIST[True, False])

    assert [index for _, index in found] == ['message_states_pkey']


@pytest.mark.parametrize(
    'statement',
    [
        MESSAGES._GET,
        MESSAGES._DELETE_FREE,
        MESSAGES._DELETE_CLAIMED,
        MESSAGES._DELETE_MANY,
        CLAIMS._GET,
        CLAIMS._RENEW,
        CLAIMS._RELEASE,
    ],
    ids=['get', 'delete free', 'delete claimed', 'delete many', 'get claim', 'renew', 'release'],
)
def test_what_is_named_by_id_is_found_by_id(queue, statistics, statement):
    assert {index for _, index in scans_of(queue, statement)} == {'message_states_pkey'}
