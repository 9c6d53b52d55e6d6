"""A post hands its message to a claim that waits, in the transaction that stores it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from marconi_api import model
from marconi_api.errors import StorageUnavailable
from marconi_api.model import Claim, NewMessage, QueueKey, RequestKey
from marconi_api.model.claimants import Claimant, Claimants, Terms
from tests.model.conftest import CLIENT, ids


class Waits:
    """A request that waits for a claim, and notes what becomes of it."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.told: list[Any] = []
        #: What else is done when it is shown its claim.
        self.when_shown: Callable[[], object] = lambda: None

    def show(self, claim: Claim) -> None:
        self.told.append(claim)
        self.when_shown()

    def serve(self) -> None:
        self.told.append('served')

    def keep_waiting(self, is_more: bool) -> None:
        self.told.append('more' if is_more else 'nothing')

    def lose(self) -> None:
        self.told.append('lost')


class OneWaits(Claimants):
    """A place where one waits, for any queue."""

    def __init__(self, claimant: Waits) -> None:
        self._claimant = claimant
        self.borrowed: list[QueueKey] = []

    def borrow(self, queue: QueueKey, length: int) -> Claimant | None:
        self.borrowed.append(queue)
        return self._claimant


@pytest.fixture
def waits(queue: QueueKey, monkeypatch: pytest.MonkeyPatch) -> Waits:
    """A claim for a minute, with a grace of half a minute, waits for a message of the queue."""
    claimant = Waits(Terms(str(uuid4()), 60, 30))
    monkeypatch.setattr(model.store.messages, 'claimants', OneWaits(claimant))
    return claimant


def borrowed() -> list[QueueKey]:
    claimants = model.store.messages.claimants
    assert isinstance(claimants, OneWaits)
    return claimants.borrowed


def test_a_message_is_claimed_from_the_start(
    queue: QueueKey, waits: Waits, post: Any, claim: Any
) -> None:
    [posted] = post()

    [shown, served] = waits.told
    assert served == 'served'
    assert (shown.id, shown.ttl, shown.age) == (waits.terms.claim, 60, 0)
    assert model.store.claims.get(queue, waits.terms.claim) == Claim(
        shown.id, 60, 0, shown.messages
    )
    [message] = shown.messages
    assert (message.id, message.body, message.claim_count) == (posted, '0', 1)
    assert (message.ttl, message.age, message.claim) == (300, 0, shown.id)
    assert claim() is None


def test_the_claim_is_shown_before_the_commit_and_served_after_it(
    queue: QueueKey, waits: Waits, post: Any, session: Any
) -> None:
    other = session()
    seen = []

    def look() -> None:
        other.execute('SELECT count(*) FROM message_states')
        seen.append((*other.fetchone(), waits.told[-1] == 'served'))
        other.connection.commit()

    waits.when_shown = look
    post()
    look()

    assert seen == [(0, False), (1, True)]


@pytest.mark.parametrize('ttl', [60, 89, 91, 300])
def test_the_row_is_as_a_post_and_a_claim_would_leave_it(
    queue: QueueKey, make: Any, waits: Waits, monkeypatch: Any, sql: Any, ttl: int
) -> None:
    """A message that would expire before the claim ends outlives the claim by its grace."""
    [usual] = make('usual')
    trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    for key in (queue, usual):
        model.store.messages.post(key, CLIENT, [NewMessage('1', ttl, 0)], traceparent=trace)
        monkeypatch.setattr(model.store.messages, 'claimants', Claimants())
    model.store.claims.create(usual, 60, 30, 1)

    [handed_over, claimed] = sql(
        """
        SELECT state.ttl, client_id, claim_count, moved_in, came_from, group_key, first_received_at,
               claimed_before, park_reason, body, traceparent, claims.ttl,
               message_ids = ARRAY[state.id] AS is_its_message, claims.id = claim_id AS is_its_claim,
               round(extract(epoch FROM state.expires_at - created_at)) AS lives,
               round(extract(epoch FROM claims.expires_at - started_at)) AS holds,
               claims.expires_at = held_until AS ends_together,
               started_at - created_at < interval '10 s' AS began_then
          FROM message_states AS state
          JOIN messages USING (queue_id, id) JOIN claims USING (queue_id)
         ORDER BY state.id"""
    )
    assert handed_over == claimed


def ready(post: Any, claim: Any, age: Any) -> None:
    post()


def released(post: Any, claim: Any, age: Any) -> None:
    post()
    held = claim()
    model.store.claims.release(QueueKey.of('project', 'jobs'), held.id)


def lapsed(post: Any, claim: Any, age: Any) -> None:
    post()
    claim()
    age(61)


def due(post: Any, claim: Any, age: Any) -> None:
    model.store.messages.post(QueueKey.of('project', 'jobs'), CLIENT, [NewMessage('1', 300, 10)])
    age(11)


@pytest.mark.parametrize('before', [ready, released, lapsed, due])
def test_a_claimant_gets_no_message_before_an_older_one(
    queue: QueueKey, monkeypatch: Any, post: Any, claim: Any, age: Any, before: Any
) -> None:
    before(post, claim, age)
    claimant = Waits(Terms(str(uuid4()), 60, 30))
    monkeypatch.setattr(model.store.messages, 'claimants', OneWaits(claimant))
    [posted] = post()

    assert claimant.told == ['more']
    assert ids(claim())[1:] == [posted]


def test_what_cannot_be_claimed_is_not_in_the_way(
    queue: QueueKey, monkeypatch: Any, post: Any, claim: Any, fill: Any
) -> None:
    post()
    claim()
    fill(1, expires_at="now() - interval '1 s'")
    fill(1, held_until="now() + interval '1 h'")
    fill(1, held_until="'infinity'")
    claimant = Waits(Terms(str(uuid4()), 60, 30))
    monkeypatch.setattr(model.store.messages, 'claimants', OneWaits(claimant))
    post()

    assert claimant.told[1:] == ['served']


def test_behind_many_dead_messages_the_claimant_looks_by_itself(
    queue: QueueKey, waits: Waits, post: Any, claim: Any, fill: Any
) -> None:
    fill(200, expires_at="now() - interval '1 s'")
    [posted] = post()

    assert waits.told == ['more']
    assert ids(claim()) == [posted]


@pytest.mark.parametrize(
    'post_otherwise',
    [
        lambda queue: [NewMessage('1', 300, 0), NewMessage('2', 300, 0)],
        lambda queue: [NewMessage('1', 300, 5)],
        lambda queue: [NewMessage('1', 300, 0, True)],
        lambda queue: [NewMessage('1', 300, 0, group='a')],
    ],
    ids=['two', 'delayed', 'asks for a reply', 'in a group'],
)
def test_messages_that_are_not_plain_are_posted_as_usual(
    queue: QueueKey, waits: Waits, post_otherwise: Any
) -> None:
    model.store.messages.post(queue, CLIENT, post_otherwise(queue))

    assert borrowed() == []


def test_a_post_with_a_key_is_made_as_usual(queue: QueueKey, waits: Waits) -> None:
    key = RequestKey.of('key', b'')
    model.store.messages.post(queue, CLIENT, [NewMessage('1', 300, 0)], key=key)

    assert borrowed() == []


def test_a_queue_whose_messages_have_groups_hands_none_over(
    queue: QueueKey, waits: Waits, claim: Any, post: Any
) -> None:
    """Though the process may not know yet that they have."""
    model.store.messages.post(queue, CLIENT, [NewMessage('1', 300, 0, group='a')])
    claim()
    [posted] = post()

    assert waits.told in (['more'], [])
    assert ids(claim()) == [posted]


def test_a_post_to_a_missing_queue_lets_the_claimant_wait(app: Any, waits: Waits) -> None:
    model.store.queues.delete(QueueKey.of('project', 'jobs'))
    message = NewMessage('1', 300, 0)
    [posted] = model.store.messages.post(
        QueueKey.of('project', 'jobs'), CLIENT, [message], create=True
    )

    assert waits.told[0] == 'nothing'
    assert waits.told[1].messages[0].id == posted


def test_a_post_that_is_not_committed_loses_its_claimant_and_stores_nothing(
    queue: QueueKey, waits: Waits, post: Any, sql: Any, claim: Any
) -> None:
    waits.when_shown = lambda: sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    )
    with pytest.raises(StorageUnavailable):
        post()

    assert waits.told[1:] == ['lost']
    assert sql('SELECT count(*) FROM message_states') == [(0,)]
    assert sql('SELECT count(*) FROM claims') == [(0,)]


def test_a_post_within_a_transaction_hands_nothing_over(
    queue: QueueKey, waits: Waits, post: Any
) -> None:
    """It may not be committed for a while, or not at all."""
    with model.store.database.transaction():
        post()

    assert borrowed() == []


def test_a_post_within_a_limit_on_claims_counts(
    queue: QueueKey, waits: Waits, post: Any, claim: Any, age: Any
) -> None:
    model.store.queues.set_metadata(queue, '{"_max_claim_count": 1}')
    [posted] = post()
    age(61)

    # It was handed out once, as often as may be: it is parked.
    assert claim() is None
    [parked] = model.store.messages.peek(queue, None, 10, states={'parked'})
    assert parked.id == posted


def test_a_handed_over_message_is_deleted_by_its_claim(
    queue: QueueKey, waits: Waits, post: Any, sql: Any
) -> None:
    [posted] = post()
    model.store.messages.delete(queue, posted, waits.terms.claim)

    assert sql('SELECT count(*) FROM message_states') == [(0,)]


def test_a_handed_over_message_returns_when_its_claim_lapses(
    queue: QueueKey, waits: Waits, post: Any, claim: Any, age: Any
) -> None:
    [posted] = post()
    age(61)

    [message] = claim().messages
    assert (message.id, message.claim_count) == (posted, 2)
