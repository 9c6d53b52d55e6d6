"""What the schema keeps ready: every key and every statement stays within one queue."""

import importlib
import re

import pytest

from marconi_api.model.postgres.tables import QueueKey, claim_id, message_id, metadata, public_id

DISTRIBUTED = ('messages', 'message_states', 'message_groups', 'claims', 'queues')
OF_SUBSCRIPTIONS = ('subscriptions', 'subscription_owners', 'deliveries', 'delivery_attempts')
# Those that look over all queues by design: a project's list, the janitor's walk, and what an
# administrator asks of all projects.
OVER_ALL_QUEUES = {
    '_VOLUME',
    '_PROJECTS',
    '_PROJECTS_WITH',
    '_COUNT_SLICE',
    '_NAMES',
    '_COUNT_QUEUES',
    '_LIST of queues',
    '_SEARCH',
    '_MAY_BE_SOURCES',
    '_METADATA_BY_NAMES',
    '_METADATA_OF_EACH',
    '_SET_METADATA_OF_EACH',
    '_NEXT_QUEUE',
    '_LOOK_AT_MESSAGES',
    '_LOOK_AT_CLAIMS',
    '_LOOK_AT_GROUPS',
    '_REMOVE_QUEUES',
    '_WIDEST',
    # Over those of a project, and those that are waited for.
    '_COUNT_QUEUES_OF_PROJECT',
    '_COUNT_MESSAGES',
    '_COUNT_BYTES',
    '_COUNT_SUBSCRIPTIONS',
    '_LOOK',
    # Those that dead letters came from.
    '_TARGETS',
    '_MOVE_READY',
    '_MOVE_PARKED',
    'COUNT 0',
    'COUNT 1',
    # Over the queue in which a message lies by now.
    '_FIND',
    '_KEEP_OTHERS',
}


_MODULES = (
    'queues',
    'posting',
    'posting_claimed',
    'pages',
    'deletes',
    'claims',
    'receives',
    'accounts',
    'verdicts',
    'replies',
    'janitor',
    'admin',
    'redrive',
    'redrives',
    'readiness',
    'quotas',
    'tokens',
    'idempotency',
    'subscriptions',
    'fifo',
    'groups',
    'grouped_posting',
)


def statements():
    """Every statement of the repositories, by name."""
    for module in _MODULES:
        for name, value in vars(importlib.import_module(f'marconi_api.model.{module}')).items():
            if isinstance(value, dict) and name.isupper():
                for place, statement in enumerate(value.values()):
                    if isinstance(statement, str):
                        yield f'{name} {place}', statement
            elif isinstance(value, str) and re.match(
                r'\s+(WITH|SELECT|INSERT|UPDATE|DELETE)', value
            ):
                yield (f'{name} of {module}' if name == '_LIST' else name), value


def test_a_queue_has_one_id_for_ever():
    """It is stored: another hash, or another way to join the names, would lose all queues."""
    assert QueueKey.of('', 'jobs').id == -5526807556716133493
    assert QueueKey.of('480924', 'jobs').id == -2839718757795531612


def test_names_that_join_to_the_same_text_are_two_queues():
    assert QueueKey.of('a', 'bc').id != QueueKey.of('ab', 'c').id


def test_ids_sort_as_text_as_they_do_as_numbers():
    numbers = [0, 1, 255, 2**14, 2**40 + 7, 2**62]

    assert sorted(map(public_id, numbers)) == list(map(public_id, numbers))
    assert [message_id(public_id(number)) for number in numbers] == numbers


@pytest.mark.parametrize('text', ['', 'x', 'f' * 16, '0' * 15, '0' * 17, '0' * 15 + 'A', '٠' * 16])
def test_what_is_no_id_of_a_message_is_told_apart(text):
    assert message_id(text) is None


@pytest.mark.parametrize(
    'text', ['', 'x', '3381AF92-2B9E-11E3-B191-71861300734C', '3381af922b9e11e3b19171861300734c']
)
def test_what_is_no_id_of_a_claim_is_told_apart(text):
    assert claim_id(text) is None


@pytest.mark.parametrize('table', DISTRIBUTED + OF_SUBSCRIPTIONS)
def test_every_key_holds_the_queue(table):
    columns = [column.name for column in metadata.tables[table].primary_key]

    assert columns[0] == 'queue_id'
    for index in metadata.tables[table].indexes:
        assert not index.unique


@pytest.mark.parametrize(('name', 'statement'), list(statements()))
def test_every_statement_names_its_queue_wherever_it_names_a_table(name, statement):
    """Each scan of a table that is distributed by queue is bound to one.

    Or goes by place (ctid), which a part of the same statement found for one queue. A claim
    that finds dead letters is bound to two: theirs, and the one that they are moved to; a post
    with copies to those that get them; a receive to those from which dead letters came.
    """
    if name in OVER_ALL_QUEUES:
        return
    scans = re.findall(
        rf'(?:FROM|UPDATE|JOIN)\s+(?:{"|".join(DISTRIBUTED)})\b'
        r'.*?\b(?:queue_id = (?:%\(queue_id\)s|batch.queue_id|reach.queue_id|taken.came_from|%\(target_id\)s)|ctid = (?:ANY|\w+\.(?:at|place)))',
        statement,
        re.DOTALL,
    )
    named = re.findall(rf'(?:FROM|UPDATE|JOIN)\s+(?:{"|".join(DISTRIBUTED)})\b', statement)

    assert len(scans) == len(named)


@pytest.mark.parametrize(('name', 'statement'), list(statements()))
def test_no_statement_locks_in_a_derived_table(name, statement):
    """UPDATE ... FROM (SELECT ... FOR UPDATE) has been seen to run away."""
    assert not re.search(r'FROM\s*\([^()]*FOR UPDATE', statement)
