"""FIFO queues do what their model in plain Python does, in random steps of three consumers.

MARCONI_FIFO_STEPS says how many, if the 4,000 of a slow run are not enough.
"""

import json
import os
import random
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest

from marconi_api import model
from marconi_api.errors import MarconiError
from marconi_api.model import NewMessage, QueueKey, Verdict
from marconi_api.model.groups import Posted
from tests.model.conftest import CLIENT
from tests.model.plain_fifo import InLine, PlainFifoStore

JOBS, DEAD = 'jobs.fifo', 'dead.fifo'
CONSUMERS = 3
NO_CLAIM = '00000000-0000-0000-0000-000000000000'

# Seconds of a step of time. No other time is a multiple of it, so a few seconds do not matter.
PASSING = 61
STEPS = int(os.environ.get('MARCONI_FIFO_STEPS') or 4000)
TTLS = (91, 152, 396, 3000)
VISIBILITIES = (0, 30, 30, 91, 152, 640)


class Steps:
    """Does the same to the store and to its model, and compares."""

    def __init__(self, seed: int, sql: Any, age: Any) -> None:
        self.random = random.Random(seed)
        self.sql, self.age = sql, age
        self.plain = PlainFifoStore()
        self.store = model.store
        self.claims: list[list[str]] = [[] for _ in range(CONSUMERS)]
        self.numbers = 0
        self.duplicates = self.taken = self.put_away = 0
        self.make(DEAD)
        self.make(JOBS)

    def run(self, steps: int) -> None:
        rules: list[tuple[Callable[[], None], int]] = [
            *((self.post, 20), (self.claim, 24), (self.finish, 20), (self.let_pass, 7)),
            *((self.release, 4), (self.renew, 4), (self.delete_some, 2), (self.pop, 2)),
            *((self.kick, 3), (self.park, 2), (self.requeue, 2), (self.run_janitor, 2)),
            *((self.clear, 1), (self.redrive, 2)),
        ]
        choices, weights = zip(*rules, strict=True)
        for rule in self.random.choices(choices, weights, k=steps):
            self.plain.now += 1
            rule()
            self.plain.see_what_is_over()
            self.compare()

    # ------------------------------------------------------------ what is done

    def make(self, name: str) -> None:
        self.plain.create(name)
        metadata: dict[str, Any] = {'_fifo': True}
        if name == JOBS:
            metadata |= {'_max_claim_count': 4, '_dead_letter_queue': DEAD}
            self.plain.set_dead_letters(JOBS, 4, DEAD, None)
        assert self.store.queues.create(self.key(name), json.dumps(metadata))

    def post(self) -> None:
        name = self.queue()
        messages = [self.new_message() for _ in range(self.random.choice([1, 1, 2, 5]))]
        stored: list[Posted] = []

        def of_store(key: QueueKey) -> list[Posted]:
            stored.extend(self.store.messages.post_each(key, CLIENT, messages))
            return stored

        self.same(
            of_store,
            lambda name: self.plain.post_each(name, CLIENT, messages, stored or [_NOT_POSTED] * 5),
            name,
        )
        self.duplicates += sum(posted.is_duplicate for posted in stored)

    def new_message(self) -> NewMessage:
        self.numbers += 1
        id = (
            f'again-{self.random.randrange(6)}' if self.random.random() < 0.2 else f'{self.numbers}'
        )
        delay = self.random.choice([0] * 12 + [30, 91])
        ttl = self.random.choice(TTLS)
        group = f'group-{self.random.randrange(5)}'
        return NewMessage(f'{self.numbers}', ttl, delay, group=group, deduplication_id=id)

    def claim(self) -> None:
        name, limit = self.queue(), self.random.choice([1, 2, 3, 10, 10])
        ttl, grace = self.random.choice(VISIBILITIES), self.random.choice([0, 60])
        claim = self.store.claims.create(self.key(name), ttl, grace, limit)
        claimed = claim.messages if claim else []
        put_away = self.note_put_away(name)
        taken = self.plain.take(name, limit, [message.id for message in claimed], put_away)
        if claim:
            self.plain.claim_these(name, ttl, grace, claim.id, taken)
            self.random.choice(self.claims).append(claim.id)
        for message in sorted((self.kept(name, id) for id in put_away), key=attrgetter('sequence')):
            self.put(name, message)
        for one, own in zip(claimed, taken, strict=True):
            told = one.group, one.sequence, one.deduplication_id, one.body, one.claim_count
            assert told == (
                *(own.group, own.sequence, own.deduplication_id, own.body, own.claim_count),
            )
        self.taken += len(taken)
        self.put_away += len(put_away)

    def note_put_away(self, name: str) -> list[str]:
        """Messages that the store has moved away or parked, and the model has not."""
        if name not in self.plain.queues:
            return []
        rows = self.sql(
            "SELECT lpad(to_hex(id), 16, '0') FROM message_states"
            f" WHERE queue_id = {self.key(name).id} AND held_until IS DISTINCT FROM 'infinity'"
        )
        there = {id for (id,) in rows}
        return [
            message.id
            for message in self.plain.messages(name).values()
            if message.state != 'parked' and message.id not in there
        ]

    def put(self, name: str, message: InLine) -> None:
        """Do with a dead letter what the store did."""
        if DEAD not in self.plain.queues:
            self.plain.put_away(name, message)
            return
        del self.plain.queues[name].messages[message.id]
        message.come_back(self.plain.now)
        message.claim_count = 0
        message.deduplication_id = message.id
        message.came_from = name
        self.plain.arrive(DEAD, message, self.sequence_of(DEAD, message.id))

    def finish(self) -> None:
        """Verdicts on some messages of a claim."""
        name, claim = self.claimed()
        held = [m.id for m in self.plain.messages(name).values() if m.claim == claim]
        if not held:
            return
        chosen = self.random.sample(held, self.random.randint(1, len(held)))
        verdicts = [
            Verdict(
                id,
                verdict,
                self.random.choice({'release': [0, 30], 'touch': [30, 91]}.get(verdict, [0])),
                60,
                'odd' if verdict == 'park' else None,
            )
            for id in chosen
            for verdict in self.random.choices(
                ['delete', 'release', 'touch', 'park', 'kick'], [12, 4, 3, 1, 1]
            )
        ]
        self.same(self.store.verdicts.give, self.plain.give, name, claim, verdicts)
        if self.random.random() < 0.3:
            for id in held[:1]:
                self.same(self.store.messages.delete, self.plain.delete, name, id, claim)

    def release(self) -> None:
        name, claim = self.claimed()
        self.same(self.store.claims.release, self.plain.release, name, claim)

    def renew(self) -> None:
        name, claim = self.claimed()
        ttl, way = self.random.choice([30, 91, 640]), self.random.random()
        if way < 0.5:
            self.same(self.store.claims.renew, self.plain.renew, name, claim, ttl, 60)
        else:
            self.same(self.store.verdicts.heartbeat, self.plain.heartbeat, name, claim, ttl, 60)

    def delete_some(self) -> None:
        name = self.queue()
        ids = self.some(name, 2)
        if self.random.random() < 0.5:
            self.same(self.store.messages.delete_many, self.plain.delete_many, name, ids)
        for id in ids:
            self.same(self.store.messages.delete, self.plain.delete, name, id, None)

    def pop(self) -> None:
        name, limit = self.queue(), self.random.choice([1, 3])
        # A pop also takes what a claim would put away.
        most, self.plain.queues[name].most_claims = self.plain.queues[name].most_claims, None
        popped = self.store.messages.pop(self.key(name), limit)
        taken = self.plain.take(name, limit, [message.id for message in popped])
        self.plain.queues[name].most_claims = most
        told = [(message.group, message.sequence, message.body) for message in popped]
        assert told == [(message.group, message.sequence, message.body) for message in taken]
        for message in taken:
            del self.plain.messages(name)[message.id]

    def kick(self) -> None:
        limit = self.random.choice([None, 1])
        self.same(self.store.verdicts.kick, self.plain.kick, self.queue(), limit)

    def park(self) -> None:
        name = self.queue()
        verdicts = [Verdict(id, 'park') for id in self.some(name, 2)]
        self.same(self.store.verdicts.give, self.plain.give, name, None, verdicts)

    def requeue(self) -> None:
        name = self.queue()
        admin = self.store.admin.queue(name, 'project')
        ids = self.some(name, 2)
        assert admin.requeue(*ids) == self.plain.requeue(name, ids)

    def redrive(self) -> None:
        going = self.plain.redrive(DEAD)
        assert self.store.admin.queue(DEAD, 'project').redrive().moved == len(going)
        for message, name in going:
            self.plain.arrive(name, message, self.sequence_of(name, message.id))

    def clear(self) -> None:
        name = self.queue()
        way = self.random.randrange(4)
        if way == 0:
            self.same(self.store.queues.purge, self.plain.purge, name)
        elif way == 1:
            self.same(self.store.messages.delete_unclaimed, self.plain.delete_unclaimed, name)
        elif way == 2:
            self.same(self.store.verdicts.delete_parked, self.plain.delete_parked, name)
        else:
            self.same(self.store.queues.delete, self.plain.delete_queue, name)
            for messages in self.plain.queues.values():
                for message in messages.messages.values():
                    assert isinstance(message, InLine)
            self.make(name)

    def let_pass(self) -> None:
        self.age(PASSING)
        self.plain.let_pass(PASSING)

    def run_janitor(self) -> None:
        assert self.store.janitor.run_once() == self.plain.run_janitor()

    # ------------------------------------------------------------ what is compared

    def compare(self) -> None:
        for name in (JOBS, DEAD):
            admin = self.store.admin.queue(name, 'project')
            shown = [view for view in admin.peek(limit=10_000) if view.state != 'expired']
            assert sorted(shown, key=attrgetter('id')) == self.plain.view(name)
            rows = self.sql(
                "SELECT lpad(to_hex(id), 16, '0'), group_key, sequence FROM message_states"
                f' WHERE queue_id = {self.key(name).id}'
            )
            stored = {id: place for id, *place in rows}
            for message in self.plain.queues[name].messages.values():
                assert isinstance(message, InLine)
                assert stored[message.id] == [message.group, message.sequence]
        assert self.sql(GROUPS_THAT_ARE_LATE) == []

    # ------------------------------------------------------------ what is drawn

    def key(self, name: str) -> QueueKey:
        return QueueKey.of('project', name)

    def queue(self) -> str:
        return self.random.choice([JOBS, JOBS, JOBS, DEAD])

    def claimed(self) -> tuple[str, str]:
        """A claim of a consumer, and its queue."""
        own = self.random.choice(self.claims)
        claim = self.random.choice(own[-4:]) if own else NO_CLAIM
        names = [name for name, known in self.plain.claims if known == claim]
        return names[0] if names else JOBS, claim

    def some(self, name: str, count: int) -> list[str]:
        ids = list(self.plain.messages(name))
        return self.random.sample(ids, min(count, len(ids)))

    def kept(self, name: str, id: str) -> InLine:
        message = self.plain.messages(name)[id]
        assert isinstance(message, InLine)
        return message

    def sequence_of(self, name: str, id: str) -> int:
        [(sequence,)] = self.sql(
            'SELECT sequence FROM message_states'
            f' WHERE queue_id = {self.key(name).id} AND id = {int(id, 16)}'
        )
        return int(sequence)

    def same(
        self, of_store: Callable[..., Any], of_plain: Callable[..., Any], name: str, *given: Any
    ) -> None:
        def outcome(request: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return request(*arguments)
            except MarconiError as error:
                return type(error)

        answer = outcome(of_store, self.key(name), *given)
        assert answer == outcome(of_plain, name, *given)


_NOT_POSTED = Posted('')

#: The rule of groups.py, and that of ``first_sequence``.
GROUPS_THAT_ARE_LATE = """
    SELECT state.queue_id, state.group_key, state.sequence, state.held_until, known.*, now()
      FROM queues, message_states AS state
           LEFT JOIN message_groups AS known USING (queue_id, group_key)
     WHERE queues.queue_id = state.queue_id AND coalesce(moved_in, id) >= floor
       AND expires_at > now() AND state.held_until IS DISTINCT FROM 'infinity'
       AND NOT EXISTS (
           SELECT FROM message_states AS before
            WHERE before.queue_id = state.queue_id AND before.group_key = state.group_key
              AND before.sequence < state.sequence AND before.expires_at > now()
              AND coalesce(before.moved_in, before.id) >= floor
              AND before.held_until IS DISTINCT FROM 'infinity')
       AND (known.available_at IS NULL OR known.first_sequence > state.sequence
            OR known.available_at > greatest(
                now(), least(coalesce(state.held_until, now()), state.expires_at)))
"""


@pytest.fixture
def steps(app: Any, sql: Any, age: Any, request: pytest.FixtureRequest) -> Steps:
    """A store and its model, with two queues."""
    return Steps(request.param, sql, age)


@pytest.mark.parametrize('steps', [1], indirect=True)
def test_fifo_queues_do_what_their_model_does(steps: Steps) -> None:
    steps.run(600)

    assert min(steps.duplicates, steps.taken, steps.put_away) > 0


@pytest.mark.slow
@pytest.mark.parametrize('steps', [2, 3, 4, 5], indirect=True)
def test_fifo_queues_do_what_their_model_does_in_many_steps(steps: Steps) -> None:
    steps.run(STEPS // 4)

    assert min(steps.duplicates, steps.taken, steps.put_away) > 0
