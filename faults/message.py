"""A message, and what can be concluded from all that was told of it."""

from collections.abc import Iterable
from functools import cached_property

from faults.events import OVER, Event, is_over
from faults.log import DONE, NEVER, REFUSED, UNKNOWN
from faults.surroundings import Purge, Surroundings

#: Verdicts after which a claim does not hold the message any more.
_ENDS = ('delete', 'release', 'park')
#: By which messages leave their queue.
_DELETES = ('delete', 'pop')
# By how much two readings of one clock may seem to be in the wrong order: it is told in microseconds.
EPSILON = 0.002
# Seconds by which the service lets a message outlive the delay with which it is released.
_GRACE_OF_RELEASE = 60.0


class Message:
    """A message of a run: its number, and its events in the order in which they began."""

    def __init__(self, number: int, events: list[Event], surroundings: Surroundings) -> None:
        self.number = number
        self.events = events
        self.surroundings = surroundings

    @cached_property
    def post(self) -> Event | None:
        """The call that posted it, or where it was found in the beginning."""
        return next((event for event in self.events if event.kind in ('post', 'restored')), None)

    def former_claims(self, queue: str) -> int:
        """How often the queue had handed it out before the run began."""
        return sum(event.times for event in self._all('restored') if event.queue == queue)

    @cached_property
    def claims(self) -> list[Event]:
        """The claims that got it, each once though its answer may have come twice."""
        found: dict[tuple[str, str], Event] = {}
        for event in self._all('claim'):
            found.setdefault((event.queue, event.claim), event)
        return list(found.values())

    @cached_property
    def handed_out(self) -> list[Event]:
        """The claims and the pops that got it."""
        return sorted([*self.claims, *self._all('pop')])

    @cached_property
    def sights(self) -> list[Event]:
        """All that shows that it was stored."""
        return self._all('claim', 'pop', 'read', 'kept', 'restored')

    @cached_property
    def kept(self) -> list[Event]:
        """Where it was found in the end."""
        return self._all('kept')

    @cached_property
    def remained(self) -> list[Event]:
        """Where it was found once the database had gone back."""
        return self._all('remained')

    @cached_property
    def verdicts(self) -> list[Event]:
        """What was said of it, with a claim's id."""
        return self._all('delete', 'release', 'touch', 'park')

    def _all(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]

    @property
    def ids(self) -> set[str]:
        """The ids under which it was seen."""
        return {event.id for event in self.events if event.id}

    @property
    def was_stored(self) -> bool:
        """Whether there is proof of it."""
        return bool(self.sights) or any(event.outcome == DONE for event in self.verdicts)

    def verdicts_of(self, claim: Event) -> list[Event]:
        """What was said with the id of the claim, and was not refused."""
        return [
            event
            for event in self.verdicts
            if event.claim == claim.claim and event.outcome != REFUSED
        ]

    def earliest_end(self, handed_out: Event, by: float, but: Event | None = None) -> float:
        """When whoever got the message may first have let go of it; that of a pop is never.

        :param by: the instant of interest: what is known to have happened by then counts
        :param but: a verdict that is left out of account
        """
        if handed_out.kind == 'pop':
            return NEVER
        ends = handed_out.began + handed_out.seconds
        let_go = NEVER
        for verdict in self.verdicts_of(handed_out):
            if verdict is but:
                continue
            if verdict.kind in _ENDS:
                let_go = min(let_go, verdict.began)
            elif verdict.outcome == DONE and verdict.ended <= by:
                ends = verdict.began + verdict.seconds
            else:
                ends = min(ends, verdict.began + verdict.seconds)
        return min(ends, let_go)

    def latest_end(self, claim: Event) -> float:
        """Up to when the claim can have held the message."""
        touched = [
            NEVER if verdict.outcome == UNKNOWN else verdict.ended + verdict.seconds
            for verdict in self.verdicts_of(claim)
            if verdict.kind == 'touch'
        ]
        return max(claim.ended + claim.seconds, *touched, 0)

    def may_precede(self, first: Event, second: Event) -> bool:
        """Whether the message may have gone from the one to the other."""
        return (
            first.began <= second.ended
            and self.earliest_end(first, second.ended) <= second.ended + EPSILON
        )

    def may_be_deleted(self, by: float, but: Event | None = None) -> bool:
        """Whether some call may have deleted, popped or purged it by then."""
        return self.may_be_taken(by, but) or any(purge.began < by for purge in self.purges)

    def may_be_taken(self, by: float, but: Event | None = None) -> bool:
        """The same of deletes and pops alone."""
        return any(
            event.began < by
            for event in self.events
            if event.kind in _DELETES
            and event.outcome in (DONE, OVER, UNKNOWN)
            and event is not but
        )

    def may_be_expired(self, by: float) -> bool:
        """Whether its life may have been over by then."""
        return self.post is not None and by >= self.post.began + self.post.grace - EPSILON

    def may_have_left(self, by: float) -> bool:
        """Whether a claim may have put it away as a dead letter by then."""
        queue = self.surroundings.queues.get(self.post.queue) if self.post else None
        if queue is None or not queue.most_claims:
            return False
        return self.most_handed_out(queue.key, by) >= queue.most_claims

    def most_handed_out(self, queue: str, by: float) -> int:
        """How often at most the queue may have handed it out by then, with what nobody saw."""
        seen = sum(claim.queue == queue and claim.began <= by for claim in self.claims)
        return self.former_claims(queue) + seen + self.unseen_claims(queue, by)

    def unseen_claims(self, queue: str, by: float) -> int:
        """How many calls may have claimed it from the queue by then without a trace."""
        posted = self.post.began if self.post else 0.0
        return self.surroundings.unseen_claims(queue, posted, by)

    @cached_property
    def purges(self) -> list[Purge]:
        """The purges of its queue that may have come after its post."""
        post = self.post
        all_purges = self.surroundings.purges[post.queue] if post else []
        return [purge for purge in all_purges if post and purge.ended > post.began]

    def is_purged_by(self, purge: Purge) -> bool:
        """Whether a purge must have removed it: it was there, and no claim held it."""
        post = self.post
        if not (purge.is_done and post and post.outcome == DONE and post.ended < purge.began):
            return False
        if post.kind == 'restored' and post.began + post.seconds >= purge.began - EPSILON:
            # A claim of before the run may hold it.
            return False
        may_be_claimed = self.unseen_claims(post.queue, purge.ended) or any(
            claim.began <= purge.ended and self.latest_end(claim) >= purge.began - EPSILON
            for claim in self.claims
        )
        return not may_be_claimed

    def life_ends(self, by: float) -> float:
        """When its life was over at the latest, as claims known by then prolong it."""
        if self.post is None or self.post.ended >= NEVER or self.unseen_claims(self.post.queue, by):
            return NEVER
        ends = self.post.ended + self.post.grace
        for event in self.events:
            if event.began >= by:
                break
            if event.kind == 'park' and event.outcome != REFUSED:
                return NEVER
            if event.kind in ('claim', 'touch'):
                ends = max(ends, event.ended + event.seconds + event.grace)
            elif event.kind == 'release' and event.seconds:
                ends = max(ends, event.ended + event.seconds + _GRACE_OF_RELEASE)
        return ends

    def first(self, events: Iterable[Event]) -> Event | None:
        """The one of them that ended first."""
        return min(events, key=lambda event: event.ended, default=None)

    def surely_over(self) -> list[Event]:
        """The calls after which it was gone."""
        return [event for event in self.events if is_over(event) and not self._may_be_back(event)]

    def _may_be_back(self, over: Event) -> bool:
        # Who found it gone may have looked while it was a dead letter, which was redriven later.
        queue = self.surroundings.queues.get(over.queue)
        return bool(queue and queue.counts_anew and over.outcome != DONE)
