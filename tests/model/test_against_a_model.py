"""Whatever is asked of the store, it answers as queues in plain Python do (plain_store.py).

Hypothesis makes up requests, some dozens in a row. After each the answers are compared, and
all that is in the queues. A failure is shrunk to a short story that shows it, and printed as
the rules that were run, with a line that plays them again if it stands above their class.

The same two to three thousand steps everywhere. ``MARCONI_TEST_STEPS=50000`` makes up as many
others; ``pytest -rP`` shows them being counted.
"""

import dataclasses
import json
import os
import random
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run

from marconi_api import limits, model
from marconi_api.errors import MarconiError
from marconi_api.model import ClaimSource, NewMessage, QueueKey, Verdict
from marconi_api.model.claim_sources import divide
from tests.conftest import TRUNCATE_ALL
from tests.model.conftest import CLIENT, OTHER_CLIENT
from tests.model.plain_store import PlainStore

STEPS = int(os.environ.get('MARCONI_TEST_STEPS', 0))
SETTINGS = settings(
    # After ten stories Hypothesis would go on with variations, which mostly repeat one request.
    max_examples=10,
    stateful_step_count=40,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

# Messages live for whole hours, claims and delays last for hours and a half, grace adds a
# quarter, and time passes by hours and five seconds, forty times in a row at most. So what was
# due is overdue by five seconds, and what is not has minutes left, however long a step takes;
# and of two things to come the one that is first is first by minutes.
MINUTE = 60
QUARTER = 15 * MINUTE
HOUR = 60 * MINUTE
LIVES = st.sampled_from([10 * HOUR, 2 * HOUR, 50 * HOUR])
TERMS = st.sampled_from([HOUR + 2 * QUARTER, 2 * QUARTER, 3 * HOUR + 2 * QUARTER])
DELAYS = st.just(0) | TERMS
GRACES = st.sampled_from([QUARTER, HOUR + QUARTER])
PASSINGS = st.sampled_from([HOUR + 5, 2 * HOUR + 5, 4 * HOUR + 5])

QUEUES = ['jobs', 'mail', 'dead']
QUEUE = st.sampled_from(['jobs', *QUEUES])
SOME_QUEUES = st.lists(QUEUE, min_size=1, unique=True)
TTLS = st.lists(LIVES, min_size=1, max_size=6)
LIMITS = st.integers(1, 5)
MORE_LIMITS = st.tuples(*[st.none() | LIMITS] * len(QUEUES))
CLIENTS = st.sampled_from([CLIENT, OTHER_CLIENT])
EVERY_STATE = frozenset(model.STATES)
STATES = st.frozensets(st.sampled_from(sorted(EVERY_STATE)), min_size=1)
VERDICTS = st.one_of(
    st.tuples(st.sampled_from(['delete', 'park']), st.just(0)),
    st.tuples(st.just('release'), DELAYS),
    st.tuples(st.just('kick'), DELAYS),
    st.tuples(st.just('touch'), TERMS),
)

# What nobody was ever given.
NO_MESSAGE = '7' + 15 * 'f'
NO_CLAIM = '11111111-2222-4333-8444-555555555555'

_projects = count()


class Requests(RuleBasedStateMachine):
    """All that can be asked of a store is asked of both."""

    sql: Any
    age: Any
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        # It also ends an autovacuum that began before there was to be none.
        self.sql(TRUNCATE_ALL)
        # Of other names than before, since the process remembers marks and attributes.
        self.project = f'project-{next(_projects)}'
        self.plain = PlainStore()
        self.ids: list[str] = []
        self.claims: list[tuple[str, str]] = []
        self.changed: set[str] = set()

    def key(self, queue):
        return QueueKey.of(self.project, queue)

    def admin(self, queue):
        return model.store.admin.queue(queue, self.project)

    def same(self, of_store, of_plain, queue, *more):
        """Both give the same answer about a queue, or refuse in the same way."""
        answer = outcome(of_store, self.key(queue), *more)
        self.plain.now += 1
        assert answer == outcome(of_plain, queue, *more)
        self.changed.add(queue)

    @invariant()
    def everything_is_the_same(self):
        type(self).steps += 1
        everything = None, 1000, None, EVERY_STATE
        for queue in QUEUES:
            peeked = model.store.messages.peek(self.key(queue), *everything)
            assert peeked == self.plain.peek(queue, *everything)
        for queue in sorted(self.changed & {*self.plain.queues}):
            assert model.store.queues.stats(self.key(queue)) == self.plain.stats(queue)
            admin = self.admin(queue)
            views = [view for view in admin.peek(limit=1000) if view.state != 'expired']
            assert views == self.plain.view(queue)
            claims = {view.id: view for view in admin.claims(1000)}
            assert claims == self.plain.view_claims(queue)
        self.changed.clear()

    # A step is mostly about what there is, rather than about what has been: few would make a
    # difference otherwise.

    def draw_claim(self, data):
        if not self.named_claims('claimed') and not self.named_claims('ready'):
            note('# There is no claim, so some messages are posted and claimed.')
            self.create('jobs')
            self.post('jobs', CLIENT, [10 * HOUR] * 3)
            self.claim('jobs', HOUR + 2 * QUARTER, QUARTER, 5)
        live, lapsed = self.named_claims('claimed'), self.named_claims('ready')
        wrong = [('jobs', NO_CLAIM)] + [('mail', claim) for _, claim in live[:1]]
        return data.draw(st.sampled_from([*live * 6, *lapsed * 2, *self.claims[-2:], *wrong]))

    def named_claims(self, state):
        """The claims that messages in this state name."""
        named = {
            (name, message.claim)
            for name, queue in self.plain.queues.items()
            for message in queue.in_order({state})
        }
        return [claim for claim in self.claims if claim in named]

    def draw_messages(self, data, queue, claim=None):
        if not self.plain.messages(queue) and queue in self.plain.queues:
            note('# There is no message, so some are posted.')
            self.post(queue, CLIENT, [10 * HOUR] * 3)
        ids = self.message_ids(queue, claim)
        return data.draw(st.lists(ids, min_size=1, max_size=4, unique=True))

    def message_ids(self, queue, claim=None):
        messages = self.plain.messages(queue).values()
        named = [message.id for message in messages if message.claim == claim]
        others = sorted({message.id for message in messages} - {*named})
        reserved = self.plain.claims.get((queue, claim))
        taken = reserved.took if reserved else []
        return st.sampled_from([*named * 10, *taken[:2], *others * 2, *self.ids[-1:], NO_MESSAGE])

    # ------------------------------------------------------------ queues

    @initialize(
        most_claims=st.sampled_from([1, 2, None]), to=st.sampled_from(['dead', 'dead', None])
    )
    def start(self, most_claims, to):
        self.create('jobs')
        self.create('mail')
        self.post('jobs', CLIENT, [2 * HOUR] * 6)
        # Younger than messages that may come there.
        self.create('dead')
        self.set_dead_letters('jobs', most_claims, to, None)
        self.claim('jobs', HOUR + 2 * QUARTER, QUARTER, 3)

    def create(self, queue):
        self.same(model.store.queues.create, self.plain.create, queue)

    @rule(
        queue=QUEUE,
        most_claims=st.sampled_from([1, 2, 3, None]),
        to=st.sampled_from(['dead', None, 'mail', 'jobs', 'missing']),
        ttl=st.none() | LIVES,
    )
    def set_dead_letters(self, queue, most_claims, to, ttl):
        metadata = {
            '_max_claim_count': most_claims,
            '_dead_letter_queue': to,
            '_dead_letter_queue_messages_ttl': ttl,
        }

        def of_store(key, *_):
            model.store.queues.change_metadata(key, lambda _: json.dumps(metadata))

        self.same(of_store, self.plain.set_dead_letters, queue, most_claims, to, ttl)

    @rule(
        queue=QUEUE,
        how=st.sampled_from(['unclaimed', 'parked', 'purge', 'make', 'delete', 'make anew']),
    )
    def clear(self, queue, how):
        if how == 'purge':
            self.same(model.store.queues.purge, self.plain.purge, queue)
        elif how == 'unclaimed':
            self.same(model.store.messages.delete_unclaimed, self.plain.delete_unclaimed, queue)
        elif how == 'parked':
            self.same(model.store.verdicts.delete_parked, self.plain.delete_parked, queue)
        if how in ('delete', 'make anew'):
            self.same(model.store.queues.delete, self.plain.delete_queue, queue)
        if how in ('make', 'make anew'):
            self.create(queue)

    # ------------------------------------------------------------ messages

    @rule(queue=QUEUE, client=CLIENTS, ttls=TTLS)
    def post(self, queue, client, ttls):
        self.post_batch(queue, client, ttls, [0] * len(ttls))

    @rule(queue=QUEUE, client=CLIENTS, ttls=TTLS, delays=st.tuples(*[DELAYS] * 6))
    def post_with_delays(self, queue, client, ttls, delays):
        self.post_batch(queue, client, ttls, delays[: len(ttls)])

    @rule(queue=QUEUE, client=CLIENTS, ttls=TTLS)
    def post_to_a_queue_made_for_it(self, queue, client, ttls):
        self.plain.create(queue)
        # Its size makes the post depend on the attributes.
        self.post_batch(queue, client, ttls, [0] * len(ttls), size=1, create=True)

    def post_batch(self, queue, client, ttls, delays, **how):
        bodies = [str(len(self.ids) + place) for place in range(len(ttls))]
        ids = []

        def of_store(key, client, *batch):
            messages = list(map(NewMessage, bodies, ttls, delays))
            ids.extend(model.store.messages.post(key, client, messages, **how))
            return ids

        def of_plain(*batch):
            return self.plain.post(*batch, ids)

        self.same(of_store, of_plain, queue, client, ttls, bodies, delays)
        assert [*self.ids, *ids] == sorted([*self.ids, *ids])
        self.ids += ids

    @rule(queue=QUEUE, limit=LIMITS)
    def pop(self, queue, limit):
        self.same(model.store.messages.pop, self.plain.pop, queue, limit)

    @rule(data=st.data())
    def delete(self, data):
        queue, claim = self.draw_claim(data)
        messages = self.draw_messages(data, queue, claim)
        claim = data.draw(st.sampled_from([claim, claim, None]))
        for message in messages[:2]:
            self.same(model.store.messages.delete, self.plain.delete, queue, message, claim)

    @rule(data=st.data(), queue=QUEUE)
    def delete_many(self, data, queue):
        ids = self.draw_messages(data, queue)
        self.same(model.store.messages.delete_many, self.plain.delete_many, queue, ids)

    # ------------------------------------------------------------ claims

    @rule(queue=QUEUE, ttl=TERMS, grace=GRACES, limit=LIMITS)
    def claim(self, queue, ttl, grace, limit):
        claim = model.store.claims.create(self.key(queue), ttl, grace, limit)
        identity = claim.id if claim else NO_CLAIM
        self.same(
            lambda *_: claim,
            lambda *terms: self.plain.claim(*terms, identity),
            queue,
            ttl,
            grace,
            limit,
        )
        self.claims += [(queue, identity)] if claim else []

    @rule(queues=SOME_QUEUES, limits=MORE_LIMITS, ttl=TERMS, grace=GRACES, limit=LIMITS)
    def claim_in_order_of_preference(self, queues, limits, ttl, grace, limit):
        sources = [
            ClaimSource(self.key(queue), most) for queue, most in zip(queues, limits, strict=False)
        ]
        self.claim_across_queues(sources, ttl, grace, limit)

    @rule(
        queues=SOME_QUEUES,
        limits=MORE_LIMITS,
        weights=st.tuples(*[st.integers(1, 3)] * len(QUEUES)),
        ttl=TERMS,
        grace=GRACES,
        limit=LIMITS,
    )
    def claim_by_weight(self, queues, limits, weights, ttl, grace, limit):
        terms = zip(queues, limits, weights, strict=False)
        sources = [ClaimSource(self.key(queue), most, weight) for queue, most, weight in terms]
        self.claim_across_queues(sources, ttl, grace, limit)

    def claim_across_queues(self, sources, ttl, grace, limit):
        lots = random.getstate()
        claims, missing = model.store.claims.create_across(sources, ttl, grace, limit)
        # A queue may be asked twice.
        ids = {
            source.queue: [c.id for key, c in claims if key == source.queue] for source in sources
        }
        expected, expected_missing = [], []

        def take(key, count):
            self.plain.now += 1
            self.changed.add(key.name)
            if key.name not in self.plain.queues:
                expected_missing.append(key)
                return 0
            identity = ids[key].pop(0) if ids[key] else NO_CLAIM
            claim = self.plain.claim(key.name, ttl, grace, count, identity)
            if claim is None:
                return 0
            expected.append((key, claim))
            return len(claim.messages)

        # Who gets how many is told by test_claim_sources.py; here the same lots are drawn again.
        random.setstate(lots)
        divide(sources, limit, take)
        assert (claims, missing) == (expected, expected_missing)
        self.claims += [(key.name, claim.id) for key, claim in claims]

    @rule(data=st.data(), ttl=TERMS, grace=GRACES)
    def renew(self, data, ttl, grace):
        queue, claim = self.draw_claim(data)
        self.same(model.store.claims.renew, self.plain.renew, queue, claim, ttl, grace)

    @rule(data=st.data())
    def release(self, data):
        queue, claim = self.draw_claim(data)
        self.same(model.store.claims.release, self.plain.release, queue, claim)

    @rule(data=st.data(), verdict=VERDICTS, ttl=TERMS, grace=GRACES)
    def come_too_late(self, data, verdict, ttl, grace):
        """All that can be said under a claim is said under one that is over."""
        live, lapsed = self.named_claims('claimed'), self.named_claims('ready')
        over = [claim for claim in self.claims if claim not in live]
        queue, claim = data.draw(st.sampled_from([*lapsed[-3:], *over[-3:], ('jobs', NO_CLAIM)]))
        messages = self.draw_messages(data, queue, claim)
        self.give(queue, claim, messages, [verdict] * 4, grace)
        for message in messages:
            self.same(model.store.messages.delete, self.plain.delete, queue, message, claim)
        self.same(model.store.verdicts.heartbeat, self.plain.heartbeat, queue, claim, ttl, grace)
        self.same(model.store.claims.renew, self.plain.renew, queue, claim, ttl, grace)
        self.same(model.store.claims.get, self.plain.get_claim, queue, claim)

    # ------------------------------------------------------------ verdicts

    @rule(data=st.data(), verdicts=st.tuples(*[VERDICTS] * 4), grace=GRACES)
    def give_verdicts(self, data, verdicts, grace):
        queue, claim = self.draw_claim(data)
        messages = self.draw_messages(data, queue, claim)
        claim = data.draw(st.sampled_from([claim, claim, claim, None]))
        self.give(queue, claim, messages, verdicts, grace)

    @rule(data=st.data(), verdict=VERDICTS, grace=GRACES)
    def give_all_the_same_verdict(self, data, verdict, grace):
        self.give_verdicts(data, [verdict] * 4, grace)

    @rule(data=st.data(), queue=QUEUE)
    def park(self, data, queue):
        self.give(queue, None, self.draw_messages(data, queue), [('park', 0)] * 4, 0)

    def give(self, queue, claim, messages, verdicts, grace):
        asked = [
            Verdict(message, verdict, seconds, grace, 'odd' if verdict == 'park' else None)
            for message, (verdict, seconds) in zip(messages, verdicts, strict=False)
        ]
        self.same(model.store.verdicts.give, self.plain.give, queue, claim, asked)

    @rule(data=st.data(), ttl=TERMS, grace=GRACES)
    def heartbeat(self, data, ttl, grace):
        queue, claim = self.draw_claim(data)
        self.same(model.store.verdicts.heartbeat, self.plain.heartbeat, queue, claim, ttl, grace)

    @rule(queue=QUEUE, limit=st.none() | LIMITS)
    def kick(self, queue, limit):
        self.same(model.store.verdicts.kick, self.plain.kick, queue, limit)

    @rule(data=st.data(), queue=QUEUE)
    def requeue(self, data, queue):
        ids = self.draw_messages(data, queue)
        self.same(
            lambda key, ids: self.admin(key.name).requeue(*ids), self.plain.requeue, queue, ids
        )

    # ------------------------------------------------------------ looking, and the janitor

    @rule(
        data=st.data(),
        limit=LIMITS,
        states=STATES | st.just(model.READY),
        excluding_client=st.none() | CLIENTS,
    )
    def look(self, data, limit, states, excluding_client):
        queue, claim = self.draw_claim(data)
        self.same(model.store.claims.get, self.plain.get_claim, queue, claim)
        ids = self.draw_messages(data, queue, claim)
        self.same(model.store.messages.get_many, self.plain.get_many, queue, ids)
        page = (data.draw(st.sampled_from([None, *ids])), limit, excluding_client, states)
        self.same(model.store.messages.page, self.plain.list_page, queue, *page)
        self.same(model.store.messages.peek, self.plain.peek, queue, *page)
        self.same(lambda key: self.admin(key.name).stats(), self.plain.count, queue)

    @rule()
    def run_janitor(self):
        assert model.store.janitor.run_once() == self.plain.run_janitor()
        self.changed.update(QUEUES)


class AsTimePasses(Requests):
    """Rows move back in time, and marks are dropped."""

    @rule(seconds=PASSINGS)
    def let_pass(self, seconds):
        self.age(seconds)
        self.plain.let_pass(seconds)
        self.changed.update(QUEUES)


class AtOnce(Requests):
    """What was to happen at some time happens now, and the marks go on as in a real process."""

    @rule(data=st.data())
    def lapse(self, data):
        queue, claim = self.draw_claim(data)
        self.happen_now('message_states', 'held_until', queue, 'claim_id = %s::uuid', claim)
        self.happen_now('claims', 'expires_at', queue, 'id = %s::uuid', claim)
        self.plain.lapse(queue, claim)

    @rule(data=st.data(), queue=QUEUE)
    def come_due(self, data, queue):
        ids = self.draw_messages(data, queue)
        condition = 'claim_id IS NULL AND id = ANY (%s)'
        self.happen_now('message_states', 'held_until', queue, condition, numbers(ids))
        self.plain.come_due(queue, ids)

    @rule(data=st.data(), queue=QUEUE)
    def expire(self, data, queue):
        ids = self.draw_messages(data, queue)
        self.happen_now('message_states', 'expires_at', queue, 'id = ANY (%s)', numbers(ids))
        self.plain.expire(queue, ids)

    def happen_now(self, table, column, queue, condition, value):
        # As the store does it, and low_water_marks.py wants it: the clock is read by a transaction that
        # has its id. Apart from that, nothing tells it from having waited.
        self.sql(
            f"""WITH transaction AS MATERIALIZED (
                    SELECT pg_current_xact_id(), clock_timestamp() AS at)
                UPDATE {table} SET {column} = (SELECT at FROM transaction)
                 WHERE queue_id = %s AND {column} > now() AND {column} < 'infinity'
                   AND {condition}""",
            self.key(queue).id,
            value,
        )
        self.plain.now += 1
        self.changed.add(queue)


def outcome(request, *arguments):
    """The answer, or the kind of error."""
    try:
        return request(*arguments)
    except MarconiError as error:
        return type(error)


def numbers(ids):
    return [int(id, 16) for id in ids]


@pytest.fixture
def no_autovacuum(sql):
    """A listing stops at what an unfinished transaction might add, and ANALYZE is one."""
    sql('ALTER SYSTEM SET autovacuum = off')
    sql('SELECT pg_reload_conf()')
    yield
    sql('ALTER SYSTEM RESET autovacuum')
    sql('SELECT pg_reload_conf()')


@pytest.fixture
def long_delays(monkeypatch):
    """Delays of hours are let pass."""
    longest = max(HOUR * 4, limits.in_force.max_message_delay)
    long = dataclasses.replace(limits.in_force, max_message_delay=longest)
    monkeypatch.setattr(limits, 'in_force', long)


@pytest.mark.usefixtures('no_autovacuum', 'long_delays')
@pytest.mark.parametrize('requests', [AsTimePasses, AtOnce])
def test_the_store_does_what_its_model_does(requests, sql, age):
    requests.sql, requests.age, requests.steps = sql, staticmethod(age), 0
    for number in count(random.SystemRandom().getrandbits(32) if STEPS else 0):
        print(f'after {requests.steps} steps: seed {number}')
        run(seed(number)(requests), settings=SETTINGS)
        if requests.steps >= (STEPS or 2500) / 2:
            break
