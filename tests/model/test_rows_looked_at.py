"""No statement reads more rows than it has to, whatever the statistics say.

Each statement of the model runs on a queue of 20,000 messages, and the rows that it looked at
are counted. PostgreSQL may know nothing of the queue: any burst comes before the next ANALYZE.
A plan that reads the whole queue is then not to be told from a good one by its time, but by
its rows.
"""

import importlib
import json
import pkgutil
import re
from uuid import UUID

import pytest

from marconi_api import model
from marconi_api.model import QueueFilter, QueueKey, RequestKey, deletes
from marconi_api.model.postgres.prepared import Prepared
from tests.model.conftest import CLIENT
from tests.model.test_plans import parameters_of

#: What a statement with a limit of 10, ten ids or a batch of 20 may look at.
MOST_ROWS = 250

COUNT = 20_000
CLAIM = '11111111-1111-1111-1111-111111111111'

#: Parts of statements that begin as a statement does.
PARTS = {
    'verdicts._BATCH',
    'idempotency.POST_REMEMBERED',
    'posting.POST_REMEMBERED',
    'webhooks._THE_SUBSCRIPTION',
    *('redrive._TARGETS', 'redrive._REACHED'),
}

#: Statements whose work is to look at a whole queue, or at all queues.
COUNTS_ALL = {
    'admin._COUNT',
    'admin._NAMES',
    'admin._PROJECTS_WITH',
    'admin._PEEK',
    'admin._PROJECTS',
    'admin._CLAIMS',
    'queues._COUNT',
    'queues._COUNT_QUEUES',
    'queues._STATES',
    'queues._STATS',
    'queues._VOLUME',
    # All webhooks.
    'webhooks._CALLED',
    'webhooks._COUNTS',
    # Deliveries, up to 10,000.
    'subscriptions._LIST',
    # As much as is claimed or delayed.
    'deletes.LOCK_CLAIMED',
    'deletes.PURGE_UNCLAIMED',
    'groups.WAKE_GROUPS',
    # Claimed messages, up to 10,000.
    'fair._NOISY',
}

#: What the statements about tokens take; none of those tells of queues.
A_TOKEN = {
    **{'id': 'none', 'hash': b'', 'roles': ['reader'], 'queues': None, 'expires_in': None},
    **{'most': 10, 'after': '', 'encrypted': None},
}

#: What the statements for clients of SQS take.
OF_SQS = {
    **{'account': '1' * 12, 'key': '00', 'prefix': '', 'pattern': '^[a-z]+$'},
    'is_included': False,
}

#: Pages and claims pass over what lies in the way: at most 5,000 messages of two kinds.
WALKS = ('claims._CREATE', 'claims._FAIR', 'receives._', 'messages.LIST', 'webhooks._PAGE')
MOST_ROWS_OF_A_WALK = 2 * 5000 + MOST_ROWS


def statements_of_the_model():
    """Every statement, by its module and name."""
    found = {}
    for module in pkgutil.iter_modules(model.__path__):
        # Its statements are about a table of one row.
        if module.name == 'numbering':
            continue
        values = vars(importlib.import_module(f'{model.__name__}.{module.name}'))
        for name, value in values.items():
            if isinstance(value, dict) and not name.startswith('__'):
                for key, member in value.items():
                    if isinstance(member, Prepared):
                        found[f'{module.name}.{name}[{_shown(key)}]'] = member
            elif isinstance(value, str) and _STATEMENT.match(value):
                found[f'{module.name}.{name}'] = value
    own = {}
    for name, statement in found.items():
        if name not in PARTS and statement not in own.values():
            own[name] = statement
    return own


_STATEMENT = re.compile(r'\s*(BEGIN|DELETE|INSERT|SELECT|UPDATE|WITH)\s')


def _shown(key):
    if not isinstance(key, tuple):
        return str(key)
    parts = key if isinstance(key, tuple) else (key,)
    return ', '.join(
        ','.join(sorted(part)) if isinstance(part, frozenset) else str(part) for part in parts
    )


#: What the statements about subscriptions take.
A_SUBSCRIPTION = {
    **{'subscriber': 'http://a/', 'target_id': 5, 'options': '{}', 'confirmed': True},
    **{'secret': None, 'new_secret': None, 'confirmation': None, 'last': 2**62, 'most': 10},
    **{'subscription_id': 3, 'message_id': COUNT - 5000, 'retention': 60},
}


#: What the statements about deliveries take.
A_DELIVERY = {
    **{'owner': CLAIM, 'lease': 5, 'queues': None, 'taken': [], 'due': 20, 'fresh': 20, 'kept': 60},
    **{'kind': '', 'attempts': 1, 'delay': 1.5, 'id': 3, 'ids': [3] * 10, 'afters': [-1] * 10},
    **{'message_ids': list(range(COUNT - 9, COUNT + 1)), 'delivered': [True] * 10},
}


#: What the statements about webhooks take.
A_WEBHOOK = {
    **{'id': 3, 'message_id': COUNT, 'state': 'failed', 'secret': '', 'after': -1, 'reason': ''}
}


#: What the statements about the minutes of queues take.
A_MINUTE = {'minute': 29_000_000, 'rows': '[]', 'kept': 4500, 'within': 10}


def a_delivery(queue):
    failure = {'queue_id': queue.id, 'id': 3, 'attempts': 0, 'delay': 5, 'is_attempt': True}
    failure |= {'milliseconds': 1}
    failures = [failure | {'message_id': n, 'at': '2026-01-01'} for n in A_DELIVERY['message_ids']]
    return A_DELIVERY | {'queue_ids': [queue.id] * 10, 'failures': json.dumps(failures)}


def a_redrive(queue):
    """What the statements about redrives and the audit log take."""
    target = QueueKey.of(queue.project, 'target')
    model.store.queues.create(target)
    return {
        **{'target_id': target.id, 'target_name': target.name, 'target': target.name, 'look': 20},
        **{'origins': None, 'before': 2**62, 'started_at': None, 'state': 'ready', 'kept': 5},
        **{'min_age': 0, 'max_age': None, 'reason': None, 'rate': None, 'total': 1, 'place': 1},
        **{'moved': 1, 'without_target': 0, 'seconds': 0.0, 'status': 'running', 'failure': None},
        **{'who': 'a', 'way': 'shell', 'action': 'purge', 'queue': 'jobs', 'count': 1, 'since': 1},
        **{'details': '{}', 'days': 1},
    }


def fill(sql, queue):
    """Claimed, delayed, returned, parked and fresh messages, in this order.

    The last ones are still to be delivered to a webhook, and there are other subscriptions.
    """
    sql(
        f"""
        INSERT INTO queues VALUES (%(id)s, %(project)s, %(name)s, '{{}}', now(), 0);
        INSERT INTO message_states (queue_id, id, held_until, expires_at, claim_id, client_id, ttl)
        SELECT %(id)s, g,
               CASE WHEN g <= 1500 THEN now() + '1 h'
                    WHEN g <= 2500 THEN now() - g * interval '1 ms'
                    WHEN g <= 3000 THEN 'infinity' END,
               CASE WHEN g BETWEEN 2501 AND 3000 THEN 'infinity' ELSE now() + '2 h' END,
               CASE WHEN g <= 10 THEN '{CLAIM}'
                    WHEN g <= 1000 THEN lpad(((g - 1) / 10)::text, 32, '0') END::uuid,
               '{CLIENT}', 7200
          FROM generate_series(1, {COUNT}) AS g;
        INSERT INTO messages
        SELECT %(id)s, g, now(), '1' FROM generate_series(1, {COUNT}) AS g;
        INSERT INTO claims
        SELECT %(id)s, CASE n WHEN 0 THEN '{CLAIM}' ELSE lpad(n::text, 32, '0') END::uuid, now(),
               now() + '1 h', 60, ARRAY(SELECT generate_series(n * 10 + 1, n * 10 + 10)::bigint)
          FROM generate_series(0, 99) AS n;
        INSERT INTO subscriptions
        SELECT %(id)s, n, 'http://a/' || n, NULL, now(), 60, now() + '1 h', '{{}}', true
          FROM generate_series(1, 5) AS n;
        INSERT INTO subscription_owners SELECT %(id)s, n FROM generate_series(1, 5) AS n;
        INSERT INTO deliveries SELECT %(id)s, 3, g, now() + '1 h'
          FROM generate_series({COUNT - 5000}, {COUNT}) AS g;
        INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
        SELECT g, %(id)s, %(id)s, %(project)s, now() + '1 h'
          FROM generate_series(1, {COUNT}) AS g""".replace('%(id)s', str(queue.id))
        .replace('%(project)s', f"'{queue.project}'")
        .replace('%(name)s', f"'{queue.name}'")
    )


FIFO_QUEUE = QueueKey.of('project', 'jobs.fifo')

#: What the statements about groups take.
OF_GROUPS = {
    **FIFO_QUEUE.parameters,
    **{'groups': ['g1'], 'deduplication_ids': ['1'], 'keys': ['0' * 32]},
}


def fill_groups(sql):
    """A FIFO queue with 1,000 groups; of half of them the first message is held."""
    sql(
        f"""
        INSERT INTO queues (queue_id, project, name, metadata, floor, grouping)
        VALUES (%(id)s, 'project', '{FIFO_QUEUE.name}', '{{"_max_claim_count": 2}}', 0, 2);
        INSERT INTO message_states
               (queue_id, id, held_until, expires_at, claim_id, client_id, ttl, group_key, sequence)
        SELECT %(id)s, g, CASE WHEN g <= 500 THEN now() + '1 h' END, now() + '2 h',
               CASE WHEN g <= 500 THEN '{CLAIM}' END::uuid, '{CLIENT}', 7200, 'g' || g % 1000, g
          FROM generate_series(1, {COUNT}) AS g;
        INSERT INTO messages (queue_id, id, created_at, body)
        SELECT %(id)s, g, now(), '1' FROM generate_series(1, {COUNT}) AS g;
        INSERT INTO message_groups
        SELECT %(id)s, 'g' || g, {COUNT}, 0, now() + CASE WHEN g <= 500 THEN 3600 ELSE -1 END * interval '1 s'
          FROM generate_series(0, 999) AS g""".replace('%(id)s', str(FIFO_QUEUE.id))
    )


@pytest.fixture(params=['of nothing', 'of small queues', 'of all'])
def full_queue(request, app, sql):
    """A queue of which PostgreSQL's statistics know nothing, the wrong thing, or all."""
    if request.param == 'of small queues':
        sql("""
            INSERT INTO queues SELECT g, 'other', g, '{}', now(), 0 FROM generate_series(1, 5000) g;
            INSERT INTO messages SELECT g, g, now(), '' FROM generate_series(1, 5000) g;
            INSERT INTO message_states SELECT g, g, NULL, now() + '1 h', NULL, gen_random_uuid(), 60
              FROM generate_series(1, 5000) g;
            INSERT INTO claims SELECT g, gen_random_uuid(), now(), now() + '1 h', 60, ARRAY[g]
              FROM generate_series(1, 5000) g""")
    if request.param != 'of all':
        sql('VACUUM ANALYZE queues, messages, message_states, message_groups, claims, requests')
    queue = QueueKey.of('project', 'jobs')
    fill(sql, queue)
    fill_groups(sql)
    if request.param == 'of all':
        sql('VACUUM ANALYZE queues, messages, message_states, message_groups, claims, requests')
    return queue


def rows_looked_at(statement, parameters):
    """How many rows of tables a statement reads, by which ways, undone afterwards."""
    looked = 0
    plans = []

    def walk(node):
        nonlocal looked
        if 'Relation Name' in node and 'Scan' in node['Node Type']:
            rows = sum(node.get(name, 0) for name in _LOOKED_AT) * node['Actual Loops']
            looked += rows
            way = node.get('Index Name', node['Node Type'])
            condition = node.get('Index Cond', node.get('TID Cond', ''))
            plans.append(f'{rows:.0f} rows of {node["Relation Name"]} by {way} {condition}')
        for child in node.get('Plans', ()):
            walk(child)

    with model.store.database.transaction() as run:
        run('SAVEPOINT before', {})
        calls = [statement]
        if isinstance(statement, Prepared):
            for definition in statement.definitions.values():
                run(definition, {})
            connection = model.store.database._cursor().connection
            execution = statement.execution(
                {**parameters, 'base': model.store.database.base}, connection
            )
            calls = execution.replace('%', '%%').split('; ')
        for call in calls:
            [[[explained]]] = run(f'EXPLAIN (ANALYZE, FORMAT JSON) {call}', parameters)
            walk(explained['Plan'])
        run('ROLLBACK TO before', {})
        run('DEALLOCATE ALL', {})
    return looked, plans


_LOOKED_AT = ('Actual Rows', 'Rows Removed by Filter', 'Rows Removed by Index Recheck')


def test_a_statement_looks_at_few_rows_whatever_the_statistics_say(full_queue, sql):
    parameters = {
        **parameters_of(full_queue),
        **{'claim_id': CLAIM, 'claim_ids': [CLAIM], 'ids': list(range(1, 11)), 'batch_size': 20},
        **{
            'client_id': CLIENT,
            'ttls': [60],
            'bodies': ['1'],
            'delays': [0],
            'body': '1',
            'traceparent': None,
            'asking': [1],
        },
        **{
            'metadata': '{}',
            **{'grouping': 0, 'is_fifo': False, 'names': ['jobs'], 'texts': ['{}']},
            'marker': '',
            'state': 'parked',
            'slice': 20,
            'me': CLAIM,
            'patience': 90,
            **{**RequestKey.of('key', b'').parameters, 'operation': 1, 'key_lock': 1},
        },
        **QueueFilter('a', {'a': '1'}).parameters,
    }
    model.store.database.close()
    too_many = {}
    for name, statement in statements_of_the_model().items():
        if name in COUNTS_ALL:
            continue
        given = dict(parameters)
        if '%(ids)s::uuid[]' in statement:
            given['ids'] = [str(UUID(int=n)) for n in range(1, 11)]
        if '::uuid)' in statement and name.startswith('janitor'):
            given['id'] = str(UUID(int=0))
        if '%(after)s::timestamptz' in statement:
            given['after'] = '-infinity'
        if name.startswith(('fifo', 'groups', 'grouped_posting')):
            given |= OF_GROUPS
        if name == 'janitor._REMOVE_GROUPS':
            given['ids'] = ['g1', 'g2']
        if name == 'janitor._LOOK_AT_GROUPS':
            given['id'] = ''
        if name.startswith(('claims._FAIR', 'receives._RECEIVE_FAIR')):
            sql('UPDATE queues SET grouping = 1 WHERE name = %s', FIFO_QUEUE.name)
            given |= OF_GROUPS | {'noisy': ['g600'], 'after_group': 'g7'}
        if name.startswith('tokens'):
            given |= A_TOKEN
        if name.startswith(('subscriptions', 'left_behind')):
            given |= A_SUBSCRIPTION
        if name.startswith(('redrive', 'audit')):
            given |= a_redrive(full_queue)
        if name.startswith('redrives'):
            given['id'] = CLAIM
        if name.startswith('deliveries'):
            given |= a_delivery(full_queue)
        if name.startswith('webhooks'):
            given |= A_WEBHOOK
        if name.startswith('minutes'):
            given |= A_MINUTE
        if name in ('accounts._FIND', 'accounts._INSERT', 'queues._NAMES'):
            given |= OF_SQS
        if name.startswith('receives'):
            given |= {'claim_ids': [CLAIM] * 10, 'seconds': [60] * 10, 'is_claimless': False}
        if '%(attributes)s' in statement:
            given['attributes'] = ['{}']
        if name.startswith('quotas'):
            given |= {'most': 10, 'setting': 'quota.bytes', 'value': 1}
        looked, plans = rows_looked_at(statement, given)
        if name.startswith(('deletes', 'verdicts', 'claims._RE')):
            of_groups, more_plans = rows_looked_at(statement, given | OF_GROUPS)
            looked, plans = max(looked, of_groups), plans + more_plans
        if looked > (MOST_ROWS_OF_A_WALK if name.startswith(WALKS) else MOST_ROWS):
            too_many[name] = plans
    model.store.database.close()

    assert too_many == {}


def test_a_purge_looks_at_what_is_claimed_or_delayed_alone(full_queue):
    for statement in (deletes.LOCK_CLAIMED, deletes.PURGE_UNCLAIMED):
        looked, plans = rows_looked_at(statement, full_queue.parameters)
        # 1,500 are held, and 1,000 of them claimed: looked up once more.
        assert looked <= 1500 + 1000 + 10, plans
