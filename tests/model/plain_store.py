"""Queues in plain Python, to be read as the specification of ``marconi_api.model``.

For one client at a time: there are no locks, fences or marks here. What time does is done
when it passes, where the store finds out when it looks. Answers are those of the store.
"""

import math
import operator
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from unittest.mock import ANY

from marconi_api.errors import (
    ClaimNotFound,
    DeadLetterCycle,
    HeldByAnotherClaim,
    InvalidRequest,
    NotHeldByThisClaim,
    QueueNotFound,
)
from marconi_api.model import (
    Claim,
    ClaimedMessage,
    Message,
    MessageSummary,
    Outcome,
    PeekedMessage,
    Stats,
    Verdict,
)
from marconi_api.model.admin import ClaimView, MessageView
from marconi_api.model.message import PoppedMessage


class About(int):
    """A number of seconds, give or take a few minutes."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and abs(int(self) - int(other)) < 450

    __hash__ = int.__hash__


#: In the model's time, in which each request comes a microsecond after the one before.
SECOND = 1_000_000


@dataclass
class Kept:
    """A message that has not expired."""

    id: str
    body: str
    client: str
    posted_at: int
    ttl: int
    expires_at: float
    state: str = 'ready'
    #: When it is ready again, if it is claimed or delayed.
    until: int = 0
    #: When it last became ready again; None while it is fresh.
    came_back: int | None = None
    #: The claim that holds it, or that let it lapse.
    claim: str | None = None
    claim_count: int = 0
    reason: str | None = None

    @property
    def holder(self) -> str | None:
        return self.claim if self.state == 'claimed' else None

    def come_back(self, at: int) -> None:
        self.state, self.came_back, self.claim, self.reason = 'ready', at, None, None

    def be_held(self, by: str, until: int) -> None:
        self.state, self.until, self.claim = 'claimed', until, by

    def wait(self, until: int) -> None:
        self.state, self.until, self.claim, self.reason = 'delayed', until, None, None

    def be_parked(self, reason: str | None) -> None:
        self.state, self.expires_at, self.claim, self.reason = 'parked', math.inf, None, reason

    def start_anew(self, at: int) -> None:
        """Have the whole ttl and all claims to come."""
        self.expires_at, self.claim_count = at + self.ttl * SECOND, 0

    def outlive(self, now: int, seconds: int, grace: int) -> None:
        """Be there for so long and the grace, if it would end before."""
        if self.expires_at < now + seconds * SECOND:
            self.ttl = seconds + grace
            self.expires_at = now + self.ttl * SECOND


@dataclass
class Reserved:
    """What is known of a claim until it is released, or the janitor finds nothing in it."""

    took: list[str]
    ttl: int
    started_at: int
    ends: int


@dataclass
class PlainQueue:
    messages: dict[str, Kept] = field(default_factory=dict)
    most_claims: int | None = None
    dead_letter_queue: str | None = None
    dead_letter_ttl: int | None = None
    #: Messages that have expired, and wait for the janitor.
    expired: int = 0

    def in_order(self, states: Set[str]) -> list[Kept]:
        """The messages in these states, in posting order."""
        by_id = sorted(self.messages.values(), key=lambda message: message.id)
        return [message for message in by_id if message.state in states]

    def line(self) -> list[Kept]:
        """Who is next: those that came back, the first of them first; then fresh ones."""
        ready = self.in_order({'ready'})
        returned = [message for message in ready if message.came_back is not None]
        return sorted(returned, key=lambda message: message.came_back or 0) + [
            message for message in ready if message.came_back is None
        ]


class PlainStore:
    def __init__(self) -> None:
        self.now = 0
        self.queues: dict[str, PlainQueue] = {}
        #: By queue and id. They survive their queue, but hold nothing then.
        self.claims: dict[tuple[str, str], Reserved] = {}
        #: Messages that went with their queue or were purged, and wait for the janitor.
        self.buried = 0

    # ------------------------------------------------------------ time

    def let_pass(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.see_what_is_over()

    def see_what_is_over(self) -> None:
        for queue in self.queues.values():
            for message in list(queue.messages.values()):
                if message.expires_at <= self.now:
                    del queue.messages[message.id]
                    queue.expired += 1
                elif message.state in ('claimed', 'delayed') and message.until <= self.now:
                    message.state, message.came_back = 'ready', message.until

    def lapse(self, name: str, claim: str) -> None:
        """The claim's time is over now."""
        if (name, claim) in self.claims:
            self.claims[name, claim].ends = min(self.now, self.claims[name, claim].ends)
        for message in self.messages(name).values():
            if message.holder == claim:
                message.until = self.now
        self.see_what_is_over()

    def come_due(self, name: str, ids: Sequence[str]) -> None:
        """The delay of the messages is over now."""
        for message in self.those(name, ids):
            if message.state == 'delayed':
                message.until = self.now
        self.see_what_is_over()

    def expire(self, name: str, ids: Sequence[str]) -> None:
        """The messages expire now, but for parked ones, which do not."""
        for message in self.those(name, ids):
            if message.state != 'parked':
                message.expires_at = self.now
        self.see_what_is_over()

    def run_janitor(self) -> int:
        removed = self.buried + sum(queue.expired for queue in self.queues.values())
        self.buried = 0
        for queue in self.queues.values():
            queue.expired = 0
        for (queue_name, claim), reserved in list(self.claims.items()):
            named = [m for m in self.messages(queue_name).values() if m.claim == claim]
            if reserved.ends <= self.now or not named:
                del self.claims[queue_name, claim]
        return removed

    # ------------------------------------------------------------ queues

    def create(self, name: str) -> bool:
        is_new = name not in self.queues
        self.queues.setdefault(name, PlainQueue())
        return is_new

    def delete_queue(self, name: str) -> None:
        if name in self.queues:
            self.purge(name)
            del self.queues[name]

    def purge(self, name: str) -> int:
        queue = self.queue(name)
        count = len(queue.messages)
        self.buried += count + queue.expired
        queue.messages.clear()
        queue.expired = 0
        return count

    def set_dead_letters(
        self, name: str, most_claims: int | None, to: str | None, ttl: int | None
    ) -> None:
        queue = self.queue(name)
        chain, target = [name], to
        while target:
            if target in chain:
                raise DeadLetterCycle([*chain, target])
            chain.append(target)
            target = self.queues[target].dead_letter_queue if target in self.queues else None
        queue.most_claims, queue.dead_letter_queue, queue.dead_letter_ttl = most_claims, to, ttl

    def stats(self, name: str) -> Stats:
        queue = self.queue(name)
        ends = [
            MessageSummary(message.id, self.since(message.posted_at), ANY)
            for message in queue.in_order({'ready', 'claimed', 'delayed'})
        ]
        return Stats(
            free=len(queue.in_order({'ready', 'delayed'})),
            claimed=len(queue.in_order({'claimed'})),
            parked=len(queue.in_order({'parked'})),
            oldest=ends[0] if ends else None,
            newest=ends[-1] if ends else None,
        )

    # ------------------------------------------------------------ messages

    def post(
        self,
        name: str,
        client: str,
        ttls: Sequence[int],
        bodies: Sequence[str],
        delays: Sequence[int],
        ids: list[str],
    ) -> list[str]:
        """Under the ids that the store gave."""
        if any(map(operator.le, ttls, delays)):
            raise InvalidRequest
        queue = self.queue(name)
        for id, body, ttl, delay in zip(ids, bodies, ttls, delays, strict=True):
            message = Kept(id, body, client, self.now, ttl, self.after(ttl))
            if delay:
                message.wait(self.after(delay))
            queue.messages[id] = message
        return ids

    def pop(self, name: str, limit: int) -> list[PoppedMessage]:
        """Also what a claim would put away."""
        popped = self.line(name)[:limit]
        for message in popped:
            del self.messages(name)[message.id]
        return [
            PoppedMessage(m.id, m.ttl, self.since(m.posted_at), m.body, m.claim_count)
            for m in by_id(popped)
        ]

    def peek(
        self,
        name: str,
        marker: str | None,
        limit: int,
        excluding_client: str | None,
        states: Set[str],
    ) -> list[PeekedMessage]:
        following = [
            message
            for message in self.queues.get(name, PlainQueue()).in_order(states)
            if message.id > (marker or '') and message.client != excluding_client
        ]
        return [
            PeekedMessage(*self.told(message), message.state, message.claim_count, message.reason)
            for message in following[:limit]
        ]

    def list_page(
        self,
        name: str,
        marker: str | None,
        limit: int,
        excluding_client: str | None,
        states: Set[str],
    ) -> list[Message]:
        page = self.peek(name, marker, limit, excluding_client, states)
        return [Message(m.id, m.ttl, m.age, m.body, m.claim) for m in page]

    def get_many(self, name: str, ids: Sequence[str]) -> list[Message]:
        return [Message(*self.told(message)) for message in self.those(name, ids)]

    def delete(self, name: str, id: str, claim: str | None) -> None:
        message = self.messages(name).get(id)
        if message is None:
            return
        if claim and not message.holder:
            raise NotHeldByThisClaim(id, claim)
        if claim != message.holder:
            raise HeldByAnotherClaim(id)
        del self.messages(name)[id]

    def delete_many(self, name: str, ids: Sequence[str]) -> int:
        found = self.those(name, ids)
        for message in found:
            del self.messages(name)[message.id]
        return len(found)

    def delete_unclaimed(self, name: str) -> None:
        unclaimed = [m.id for m in self.messages(name).values() if not m.holder]
        self.buried += self.delete_many(name, unclaimed)
        if name in self.queues:
            self.buried += self.queues[name].expired
            self.queues[name].expired = 0

    # ------------------------------------------------------------ claims

    def claim(self, name: str, ttl: int, grace: int, limit: int, claim: str) -> Claim | None:
        """Under the id that the store gave, if it gave any."""
        line = self.line(name)
        most = (line and self.queue(name).most_claims) or math.inf
        dead = [message for message in line if message.claim_count >= most]
        taken = by_id([message for message in line if message.claim_count < most][:limit])
        for message in dead:
            self.put_away(name, message)
        if not taken:
            return None
        for message in taken:
            message.outlive(self.now, ttl, grace)
            message.be_held(claim, self.after(ttl))
            message.claim_count += 1
        ids = [message.id for message in taken]
        self.claims[name, claim] = Reserved(ids, ttl, self.now, self.after(ttl))
        return Claim(claim, ttl, 0, self.claimed(taken))

    def claimed(self, messages: list[Kept]) -> list[ClaimedMessage]:
        """Messages of a claim, as it tells them."""
        return [ClaimedMessage(*self.told(message), message.claim_count) for message in messages]

    def put_away(self, name: str, message: Kept) -> None:
        """Move a dead letter to the queue that is named for it, or park it."""
        queue = self.queue(name)
        target = self.queues.get(queue.dead_letter_queue or '')
        if target is None:
            there_is_no = f'there is no queue {queue.dead_letter_queue or ""}'.rstrip()
            message.be_parked(
                f'claimed {queue.most_claims} times, and {there_is_no} for dead letters'
            )
            return
        del queue.messages[message.id]
        target.messages[message.id] = message
        message.come_back(self.now)
        # How often it was claimed here is of no account there.
        message.claim_count = 0
        if queue.dead_letter_ttl:
            message.ttl = queue.dead_letter_ttl
            message.expires_at = self.after(message.ttl)

    def get_claim(self, name: str, claim: str) -> Claim:
        held = self.held(name, claim)
        reserved = self.claims[name, claim]
        return Claim(claim, reserved.ttl, self.since(reserved.started_at), self.claimed(held))

    def renew(self, name: str, claim: str, ttl: int, grace: int) -> None:
        # One that holds nothing any more is refused, though known for longer.
        if (name, claim) in self.claims and self.claims[name, claim].ends > self.now:
            self.restart(name, claim, ttl)
        for message in self.held(name, claim):
            message.outlive(self.now, ttl, grace)
            message.be_held(claim, self.after(ttl))

    def release(self, name: str, claim: str) -> int:
        self.claims.pop((name, claim), None)
        held = [m for m in self.messages(name).values() if m.holder == claim]
        for message in held:
            message.come_back(self.now)
        return len(held)

    def restart(self, name: str, claim: str, ttl: int) -> None:
        reserved = self.claims[name, claim]
        reserved.started_at, reserved.ttl, reserved.ends = self.now, ttl, self.after(ttl)

    # ------------------------------------------------------------ verdicts

    def give(self, name: str, claim: str | None, verdicts: Sequence[Verdict]) -> list[Outcome]:
        return [self.carry_out(name, claim, asked) for asked in verdicts]

    def heartbeat(self, name: str, claim: str, ttl: int, grace: int) -> list[Outcome]:
        if (name, claim) not in self.claims:
            raise ClaimNotFound(claim, name, '')
        took = self.claims[name, claim].took
        outcomes = self.give(name, claim, [Verdict(id, 'touch', ttl, grace) for id in took])
        if any(outcome.result == 'done' for outcome in outcomes):
            self.restart(name, claim, ttl)
        return outcomes

    def carry_out(self, name: str, claim: str | None, asked: Verdict) -> Outcome:
        message = self.messages(name).get(asked.message)
        result = self.judge(name, claim, message, asked.verdict)
        if result == 'done':
            assert message
            until = self.after(asked.seconds)
            if asked.verdict == 'delete':
                del self.messages(name)[message.id]
                message.state = 'gone'
            elif asked.verdict == 'park':
                message.be_parked(asked.reason)
            elif asked.verdict == 'touch':
                assert claim
                message.outlive(self.now, asked.seconds, asked.grace)
                message.be_held(claim, until)
                reserved = self.claims[name, claim]
                reserved.ends = max(reserved.ends, until)
            else:
                if asked.verdict == 'kick':
                    message.start_anew(until)
                elif asked.seconds:
                    message.outlive(self.now, asked.seconds, asked.grace)
                if asked.seconds:
                    message.wait(until)
                else:
                    message.come_back(until)
        return Outcome(asked.message, asked.verdict, result, message.state if message else 'gone')

    def judge(self, name: str, claim: str | None, message: Kept | None, verdict: str) -> str:
        if message is None:
            return 'gone'
        if verdict == 'kick':
            return 'done' if message.state == 'parked' else 'not_parked'
        if message.state == 'claimed':
            return 'done' if message.claim == claim else 'taken'
        if claim is None:
            return 'done' if verdict == 'park' else 'not_in_claim'
        return 'expired' if message.claim == claim else 'not_in_claim'

    def kick(self, name: str, limit: int | None) -> tuple[int, bool]:
        parked = self.queues.get(name, PlainQueue()).in_order({'parked'})[:limit]
        for message in parked:
            message.start_anew(self.now)
            message.come_back(self.now)
        return len(parked), False

    def delete_parked(self, name: str) -> None:
        self.delete_many(name, [m.id for m in self.messages(name).values() if m.state == 'parked'])

    # ------------------------------------------------------------ what an administrator does

    def requeue(self, name: str, ids: Sequence[str]) -> int:
        self.queue(name)
        held = [message for message in self.those(name, ids) if message.state != 'ready']
        for message in held:
            if message.state == 'parked':
                message.start_anew(self.now)
            message.come_back(self.now)
        return len(held)

    def count(self, name: str) -> dict[str, int]:
        queue = self.queue(name)
        states = ('ready', 'claimed', 'delayed', 'parked')
        return {state: len(queue.in_order({state})) for state in states} | {
            'expired': queue.expired
        }

    def view(self, name: str) -> list[MessageView]:
        return [
            MessageView(
                id=message.id,
                state=message.state,
                age=self.since(message.posted_at),
                expires_in=None if message.state == 'parked' else self.until(message.expires_at),
                claim_count=message.claim_count,
                claim=message.holder,
                body=message.body,
                reason=message.reason,
            )
            for message in by_id(self.queue(name).messages.values())
        ]

    def view_claims(self, name: str) -> dict[str, ClaimView]:
        holders = Counter(message.holder for message in self.messages(name).values())
        return {
            claim: ClaimView(
                id=claim,
                age=self.since(reserved.started_at),
                expires_in=self.until(reserved.ends),
                holds=holders[claim],
            )
            for (queue, claim), reserved in self.claims.items()
            if queue == name and holders[claim]
        }

    # ------------------------------------------------------------ what the others say it with

    def queue(self, name: str) -> PlainQueue:
        if name not in self.queues:
            raise QueueNotFound(name, '')
        return self.queues[name]

    def messages(self, name: str) -> dict[str, Kept]:
        return self.queues[name].messages if name in self.queues else {}

    def those(self, name: str, ids: Iterable[str]) -> list[Kept]:
        """Those of the messages that there are, in posting order."""
        return by_id(m for m in self.messages(name).values() if m.id in ids)

    def line(self, name: str) -> list[Kept]:
        return self.queues[name].line() if name in self.queues else []

    def held(self, name: str, claim: str) -> list[Kept]:
        """What a claim holds, in posting order; one that holds nothing is no more."""
        held = by_id(m for m in self.messages(name).values() if m.holder == claim)
        if not held:
            raise ClaimNotFound(claim, name, '')
        return held

    def after(self, seconds: int) -> int:
        return self.now + seconds * SECOND

    def since(self, time: float) -> About:
        return About((self.now - time) // SECOND)

    def until(self, time: float) -> About:
        return About((time - self.now) // SECOND)

    def told(self, m: Kept) -> tuple[str, int, int, str, str | None]:
        return m.id, m.ttl, self.since(m.posted_at), m.body, m.holder


def by_id(messages: Iterable[Kept]) -> list[Kept]:
    return sorted(messages, key=lambda message: message.id)
