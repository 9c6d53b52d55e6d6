"""Who listens is told of every message that became ready by a request, once it is committed."""

import re

import pytest

from marconi_api import model
from marconi_api.model import NewMessage, QueueKey, Verdict
from marconi_api.model.postgres import transitions
from tests.model.conftest import CLIENT, ids
from tests.model.test_rows_looked_at import statements_of_the_model

DEAD = QueueKey.of('project', 'dead')


@pytest.fixture
def told(queue):
    """What a listener hears: the queue, the number, and how many are ready there by then."""
    heard = []

    def listen(about, count):
        heard.append((about, count, len(model.store.messages.page(about, None, 20))))

    model.store.became_ready.append(listen)
    yield heard
    model.store.became_ready.remove(listen)


class Ways:
    """Each readies three messages of a queue, none of which was ready; the name says how."""

    def __init__(self, queue, post):
        self.queue = queue
        self._post = post

    def _claimed(self, ttl=60):
        self._post(3)
        return model.store.claims.create(self.queue, ttl, 60, 20)

    def _parked(self):
        claim = self._claimed()
        self._judge(claim, Verdict, 'park')
        return ids(claim)

    def _judge(self, claim, make, *terms):
        verdicts = [make(message.id, *terms) for message in claim.messages]
        model.store.verdicts.give(self.queue, claim.id, verdicts)

    def post(self):
        yield
        self._post(3)

    def post_of_which_one_is_delayed(self):
        yield
        messages = [NewMessage('1', 300, delay) for delay in (0, 0, 20, 0)]
        model.store.messages.post(self.queue, CLIENT, messages)

    def release(self):
        claim = self._claimed()
        yield
        model.store.claims.release(self.queue, claim.id)

    def claim_for_no_time(self):
        self._post(3)
        yield
        model.store.claims.create(self.queue, 0, 60, 20)

    def claim_across_queues_for_no_time(self):
        self._post(3)
        yield
        model.store.claims.create_across([model.ClaimSource(self.queue)], 0, 60, 20)

    def renewal_for_no_time(self):
        claim = self._claimed()
        yield
        model.store.claims.renew(self.queue, claim.id, 0, 60)

    def heartbeat_for_no_time(self):
        claim = self._claimed()
        yield
        model.store.verdicts.heartbeat(self.queue, claim.id, 0, 60)

    def verdict_release(self):
        claim = self._claimed()
        yield
        self._judge(claim, Verdict, 'release')

    def verdict_touch_for_no_time(self):
        claim = self._claimed()
        yield
        self._judge(claim, Verdict, 'touch')

    def verdict_kick(self):
        parked = self._parked()
        yield
        verdicts = [Verdict(message, 'kick') for message in parked]
        model.store.verdicts.give(self.queue, None, verdicts)

    def kick(self):
        self._parked()
        yield
        model.store.verdicts.kick(self.queue)

    def admin_release(self):
        claim = self._claimed()
        yield
        self._admin.release(claim.id)

    def admin_requeue(self):
        claim = self._claimed()
        yield
        self._admin.requeue(ids(claim))

    @property
    def _admin(self):
        return model.store.admin.queue(self.queue.name, self.queue.project)


@pytest.mark.parametrize('way', [name for name in vars(Ways) if not name.startswith('_')])
def test_a_listener_is_told_of_what_became_ready(queue, post, told, way):
    steps = getattr(Ways(queue, post), way)()
    next(steps)
    told.clear()

    next(steps, None)

    assert told == [(queue, 3, 3)]


def test_a_listener_is_told_of_dead_letters_by_the_queue_that_they_came_to(queue, post, told):
    model.store.queues.create(DEAD)
    metadata = '{"_max_claim_count": 1, "_dead_letter_queue": "dead"}'
    model.store.queues.set_metadata(queue, metadata)
    post(3)
    model.store.claims.release(queue, model.store.claims.create(queue, 60, 60, 20).id)
    told.clear()

    model.store.claims.create(queue, 60, 60, 20)

    assert told == [(DEAD, 3, 3)]


def test_a_listener_is_told_nothing_of_what_did_not_become_ready(queue, post, told):
    post(4)
    claim = model.store.claims.create(queue, 60, 60, 20)
    told.clear()

    model.store.messages.post(queue, CLIENT, [NewMessage('1', 300, 20)])
    model.store.claims.renew(queue, claim.id, 60, 60)
    verdicts = ('delete', 'park', 'touch', 'release')
    model.store.verdicts.give(
        queue,
        claim.id,
        [
            Verdict(message, verdict, seconds=20)
            for message, verdict in zip(ids(claim), verdicts, strict=True)
        ],
    )
    model.store.claims.release(QueueKey.of('project', 'missing'), claim.id)
    assert model.store.claims.create(queue, 60, 60, 20) is None
    model.store.messages.delete_unclaimed(queue)

    assert told == []


def test_within_a_transaction_it_is_told_once_that_is_committed(queue, post, claim, told):
    post(1)
    held = claim().id
    told.clear()

    with model.store.database.transaction():
        model.store.claims.release(queue, held)
        assert told == []
    assert told == [(queue, 1, 1)]


def test_what_is_undone_is_not_told(queue, post, claim, told):
    post(1)
    held = claim().id
    told.clear()

    def release_and_fail():
        with model.store.database.transaction():
            model.store.claims.release(queue, held)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        release_and_fail()
    assert told == []


def test_what_a_listener_raises_does_not_reach_the_client(queue, post):
    def fail(queue, count):
        raise RuntimeError('I am broken')

    model.store.became_ready.append(fail)
    try:
        assert post(1)
    finally:
        model.store.became_ready.remove(fail)


_WRITES_HELD_UNTIL = re.compile(
    r'UPDATE message_states(?:(?!WHERE|FROM).)*?held_until = '
    r'|INSERT INTO message_states \([^)]*held_until',
    re.DOTALL,
)


_WRITERS = {
    name: statement
    for name, statement in statements_of_the_model().items()
    if _WRITES_HELD_UNTIL.search(statement)
}


@pytest.mark.parametrize('name', _WRITERS)
def test_a_statement_that_changes_a_state_reads_the_clock_by_the_rule(name):
    assert transitions.CLOCK in _WRITERS[name]
    assert 'clock_timestamp()' not in _WRITERS[name].replace(transitions.CLOCK, '')
