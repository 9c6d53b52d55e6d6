"""The walk that counts what queues hold: whole, bounded, and true to what is stored."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from marconi_api import model
from marconi_api.model import QueueKey, depths
from marconi_api.model.depths import Depth, DepthWalk
from marconi_api.processes.metrics.exporter import of_depths
from tests.model.conftest import CLIENT


def fill(
    sql, name, held_until='NULL', count=1, claim='NULL', project='p', posted='now()', ttl=3600
):
    """Put messages into a queue, past the API."""
    queue = QueueKey.of(project, name)
    sql(
        'INSERT INTO queues (queue_id, project, name, floor) VALUES (%s, %s, %s, 0)'
        ' ON CONFLICT DO NOTHING',
        *queue,
    )
    sql(
        f"""
        WITH ids AS (
            SELECT coalesce(max(id), 0) + place AS id
              FROM message_states RIGHT JOIN generate_series(1, %(count)s) AS place ON true
             GROUP BY place),
        states AS (
            INSERT INTO message_states
                   (queue_id, id, held_until, expires_at, claim_id, client_id, ttl)
            SELECT %(queue)s, id, {held_until}, now() + {ttl} * interval '1 s', {claim}, '{CLIENT}',
                   3600
              FROM ids)
        INSERT INTO messages SELECT %(queue)s, id, {posted}, '1' FROM ids""".replace(
            '%(count)s', str(count)
        ).replace('%(queue)s', str(queue.id))
    )
    return queue


def walked(most=100):
    """What a whole round comes to, and in how many steps."""
    walk = DepthWalk(model.store.database, most)
    steps = 1
    while not walk.step():
        steps += 1
    return walk.depths, steps


def by_name(found):
    return {depth.name: depth for depth in found.queues}


@pytest.fixture(params=[1, 3, 10_000])
def in_steps(request, monkeypatch):
    """Steps of so many rows: a queue may begin and end in any of them."""
    monkeypatch.setattr(depths, 'STEP', request.param)
    return request.param


def test_messages_are_told_apart_by_their_state(app, sql, in_steps):
    claim = 'gen_random_uuid()'
    fill(sql, 'jobs', count=2)
    fill(sql, 'jobs', "now() - interval '1 s'", 1)
    fill(sql, 'jobs', "now() + interval '1 h'", 4, claim)
    fill(sql, 'jobs', "now() + interval '1 h'", 5)
    fill(sql, 'jobs', "'infinity'", 6)
    fill(sql, 'others', count=7)

    found, _ = walked()

    assert by_name(found) == {
        'jobs': Depth('p', 'jobs', {'ready': 3, 'claimed': 4, 'delayed': 5, 'parked': 6}, 0),
        'others': Depth('p', 'others', {'ready': 7, 'claimed': 0, 'delayed': 0, 'parked': 0}, 0),
    }
    assert found.filled == 2


def test_what_is_dead_is_no_message_but_is_counted(app, sql, in_steps):
    fill(sql, 'jobs', count=3)
    fill(sql, 'jobs', count=2, ttl=-60)
    fill(sql, 'gone', count=4)
    fill(sql, 'purged', count=5)
    sql("DELETE FROM queues WHERE name = 'gone'")
    sql("UPDATE queues SET floor = 1000000 WHERE name = 'purged'")

    found, _ = walked()

    assert [depth.messages['ready'] for depth in found.queues] == [3]
    assert found.dead == 2 + 4 + 5
    assert 60 <= found.dead_for < 120


def test_the_oldest_message_that_is_not_parked_has_the_age(app, sql, in_steps):
    fill(sql, 'jobs', "'infinity'", posted="now() - interval '3 h'")
    fill(sql, 'jobs', posted="now() - interval '2 h'")
    fill(sql, 'jobs', count=5)
    fill(sql, 'parked', "'infinity'")

    found = by_name(walked()[0])

    assert 7200 <= found['jobs'].age < 7260
    assert found['parked'].age is None


def test_the_deepest_and_the_oldest_are_told_apart_and_the_rest_is_summed(app, sql, in_steps):
    for number in range(1, 8):
        fill(sql, f'queue-{number}', count=number, posted=f"now() - interval '{8 - number} h'")

    found, _ = walked(most=2)

    assert set(by_name(found)) == {'queue-7', 'queue-6', 'queue-1', 'queue-2'}
    assert found.rest == {'ready': 3 + 4 + 5, 'claimed': 0, 'delayed': 0, 'parked': 0}
    assert found.filled == 7


def test_a_step_reads_so_many_rows_at_most(app, sql, monkeypatch):
    fill(sql, 'jobs', count=95)
    monkeypatch.setattr(depths, 'STEP', 10)

    found, steps = walked()

    assert steps == 10
    assert found.queues[0].messages['ready'] == 95


def test_a_round_begins_anew_when_one_has_ended(app, sql):
    queue = fill(sql, 'jobs', count=3)
    walk = DepthWalk(model.store.database, 10)
    walk.step()

    sql('DELETE FROM message_states WHERE queue_id = %s', queue.id)
    walk.step()

    assert walk.depths.queues == []


@pytest.mark.parametrize(
    'name', ['{"\\n\x07}', 'a\\b\\', 'né \U0001f9a9 \u2028 = # HELP', '\',\\"} 1\n', '\r\n']
)
def test_a_name_of_any_characters_is_a_label_as_it_is(app, sql, name):
    fill(sql, name, count=3, project=name)
    registry = CollectorRegistry()

    class Found:
        def collect(self):
            return of_depths(walked()[0])

    registry.register(Found())

    page = generate_latest(registry).decode()

    [messages] = [
        family
        for family in text_string_to_metric_families(page)
        if family.name == 'marconi_queue_messages'
    ]
    samples = {tuple(sample.labels.values()): sample.value for sample in messages.samples}
    assert samples[name, name, 'ready'] == 3
