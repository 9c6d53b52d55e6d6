"""What can be wrong with a message: one function for each verdict of the checker.

Each yields when the fault was seen, and why it is one. A call took effect at one instant between its
begin and its end; if its end is not known, at any instant after its begin, or never. A judge speaks
only if no choice of these instants makes all answers true.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise
from typing import NamedTuple

from faults.events import ENDED, FORGOTTEN, GONE, OPEN, OVER, REPLIED, Event, ends_in
from faults.log import DONE, NEVER, REFUSED
from faults.message import EPSILON, Message


class Fault(NamedTuple):
    """When a fault was seen, and what it is."""

    at: float
    why: str


Judge = Callable[[Message], Iterator[Fault]]

# More hand-outs of one message are only compared with the next one each.
_MANY = 30


def never_posted(message: Message) -> Iterator[Fault]:
    """It was seen, and nobody posted it; or it was seen where it does not belong."""
    if message.post is None:
        yield Fault(message.events[0].began, 'it was seen, but no process posted it')
        return
    queue = message.surroundings.queues.get(message.post.queue)
    home = {message.post.queue, queue.key_of_dead_letters if queue else ''}
    if queue and queue.counts_anew:
        # A run may begin with it among dead letters, which are redriven.
        queues = message.surroundings.queues.values()
        home |= {other.key for other in queues if other.key_of_dead_letters == queue.key}
    for event in message.sights:
        if event.queue not in home:
            yield Fault(
                event.ended, f'it was posted to {message.post.queue}, seen in {event.queue}'
            )
    if message.post.outcome == REFUSED and message.was_stored:
        yield Fault(message.sights[0].ended, 'its post was refused, but it was stored')


def lost(message: Message) -> Iterator[Fault]:
    """Its post was answered with success, it is not there, and nobody deleted it."""
    post, end = message.post, message.surroundings.ended
    if post is None or message.kept or not (post.outcome == DONE or message.was_stored):
        return
    if message.may_be_deleted(NEVER) or message.may_be_expired(end):
        return
    if not message.surroundings.unseen_pops[post.queue]:
        yield Fault(end, 'it is not in the database, and nobody deleted it')


def stored_twice(message: Message) -> Iterator[Fault]:
    """It has two ids, or is in two queues."""
    post = message.post
    # A purge forgets keys: who sends the post again then stores it anew.
    is_forgotten = post and any(purge.began < post.ended for purge in message.purges)
    if len(message.ids) > 1 and not is_forgotten:
        has_key = post and post.kind == 'post' and post.times
        key = 'a post with a key' if has_key else 'a post'
        yield Fault(message.events[-1].began, f'{key} stored it as {sorted(message.ids)}')
    if len(message.kept) > 1:
        places = [event.queue for event in message.kept]
        yield Fault(message.kept[-1].began, f'it is in the database {len(places)} times: {places}')


def two_at_once(message: Message) -> Iterator[Fault]:
    """Two claims held it at the same time, or it was handed out again after a pop."""
    handed_out = message.handed_out
    pairs = combinations(handed_out, 2) if len(handed_out) < _MANY else pairwise(handed_out)
    for one, other in pairs:
        if not (message.may_precede(one, other) or message.may_precede(other, one)):
            ends = message.earliest_end(one, other.ended)
            left = 'for ever' if ends >= NEVER else f'for {ends - other.ended:.3f} s more, at least'
            yield Fault(
                other.ended, f'{one.who} held it {left}, when {other.who} was given it, too'
            )


def redelivered_without_reason(message: Message) -> Iterator[Fault]:
    """It was handed out more often than all claims explain, seen ones and unseen ones."""
    for event in _counted(message):
        most = message.most_handed_out(event.queue, event.ended)
        if event.times > most:
            yield Fault(
                event.ended,
                f'{event.queue} has handed it out {event.times} times, where calls explain {most}',
            )


def miscounted(message: Message) -> Iterator[Fault]:
    """It was handed out more often than its queue may, or was put away too early."""
    for event in _counted(message):
        if _counts_anew(message, event.queue):
            continue
        before = sum(
            claim.queue == event.queue and claim.ended <= event.began for claim in message.claims
        )
        # What is kept tells what was; who claims counts that claim, too.
        least = message.former_claims(event.queue) + before + (event.kind == 'claim')
        if event.times < least:
            yield Fault(event.ended, f'it was handed out {least} times, but {event.times} are told')
    yield from _dead_letter(message)


def _counted(message: Message) -> list[Event]:
    # Most claims do not tell it; what a pop tells is how often it was claimed before.
    return [event for event in message.claims if event.times] + message.kept


def _counts_anew(message: Message, queue: str) -> bool:
    known = message.surroundings.queues.get(queue)
    return known is not None and known.counts_anew


def _dead_letter(message: Message) -> Iterator[Fault]:
    queue = message.surroundings.queues.get(message.post.queue) if message.post else None
    if queue is None or not queue.most_claims or queue.counts_anew:
        return
    own = [claim for claim in message.claims if claim.queue == queue.key]
    former = message.former_claims(queue.key)
    times = former + len(own)
    if own and times > queue.most_claims:
        yield Fault(
            own[max(0, queue.most_claims - former)].ended,
            f'{queue.key} gave it to {times} claims, and may to {queue.most_claims}',
        )
    was_parked = any(
        event.kind == 'park' and event.outcome != REFUSED for event in message.verdicts
    )
    away = [
        event
        for event in message.sights
        if event.queue != queue.key or (event.outcome == 'parked' and not was_parked)
    ]
    first = message.first(away)
    if first and message.most_handed_out(queue.key, first.ended) < queue.most_claims:
        yield Fault(
            first.ended,
            f'it was put away after {times} claims of {queue.key}, not {queue.most_claims}',
        )


def seen_after_its_end(message: Message) -> Iterator[Fault]:
    """It was seen after it was deleted, popped or purged, or after its ttl was over."""
    for over in message.surely_over():
        for sight in message.sights:
            if sight.began >= over.ended and ends_in(over, sight.queue):
                yield Fault(
                    sight.ended, f'{over.who} has ended it, and {sight.who} saw it after that'
                )
    for purge in filter(message.is_purged_by, message.purges):
        for sight in message.sights:
            if sight.began >= purge.ended:
                yield Fault(
                    sight.ended, f'{purge.who} has purged it, and {sight.who} saw it after that'
                )
    for sight in message.sights:
        ends = message.life_ends(sight.began)
        if sight.kind != 'kept' and sight.began > ends + EPSILON:
            yield Fault(
                sight.ended, f'{sight.who} saw it {sight.began - ends:.3f} s after its life'
            )


def stale_verdict(message: Message) -> Iterator[Fault]:
    """A verdict was carried out with a claim that did not hold the message any more."""
    claims = {claim.claim: claim for claim in message.claims}
    for verdict in message.verdicts:
        claim = claims.get(verdict.claim)
        is_told = verdict.outcome == DONE or (verdict.kind == 'delete' and verdict.outcome == OVER)
        if claim is None or not is_told:
            continue
        why = _why_stale(message, claim, verdict)
        if why and not (verdict.outcome == OVER and _may_be_gone(message, verdict)):
            yield Fault(verdict.ended, f'{verdict.who} was carried out, though {why}')


def _why_stale(message: Message, claim: Event, verdict: Event) -> str:
    late = verdict.began - message.latest_end(claim)
    if late > EPSILON:
        return f'its claim had lapsed {late:.3f} s before'
    for other in message.handed_out:
        if other.began >= claim.ended and other.ended <= verdict.began and other is not claim:
            return f'{other.who} had been given the message'
    for earlier in message.verdicts_of(claim):
        is_end = earlier.kind in ('release', 'park') and earlier.outcome == DONE
        if is_end and earlier.ended <= verdict.began:
            return f'{earlier.who} had ended its claim'
    return ''


def _may_be_gone(message: Message, verdict: Event) -> bool:
    by = verdict.ended
    return (
        message.may_be_deleted(by, but=verdict)
        or message.may_be_expired(by)
        or message.may_have_left(by)
    )


def refused_to_holder(message: Message) -> Iterator[Fault]:
    """A verdict was refused to the claim that held the message, or the message was gone."""
    claims = {claim.claim: claim for claim in message.claims}
    for verdict in message.verdicts:
        claim = claims.get(verdict.claim)
        if claim is None or verdict.began < claim.ended:
            continue
        is_gone = verdict.outcome == GONE and not message.may_be_taken(verdict.ended, but=verdict)
        if verdict.outcome != REFUSED and not is_gone:
            continue
        # A purge may remove what is claimed at this moment.
        if any(
            purge.began <= claim.ended and claim.began <= purge.ended for purge in message.purges
        ):
            continue
        if verdict.ended + EPSILON < message.earliest_end(claim, verdict.ended, but=verdict):
            yield Fault(
                verdict.ended, f'{verdict.who} was refused, though its claim held the message'
            )


def delivered_early(message: Message) -> Iterator[Fault]:
    """It was handed out before its delay was over."""
    post = message.post
    for event in message.handed_out:
        if post and event.ended + EPSILON < post.began + post.seconds:
            early = post.began + post.seconds - event.ended
            yield Fault(event.ended, f'{event.who} was given it {early:.3f} s too early')
        for release in message.verdicts:
            is_delayed = release.kind == 'release' and release.outcome == DONE and release.seconds
            if (
                is_delayed
                and event.began >= release.ended
                and event.ended + EPSILON < release.began + release.seconds
            ):
                early = release.began + release.seconds - event.ended
                yield Fault(
                    event.ended,
                    f'{event.who} was given it {early:.3f} s before the delay of {release.who}',
                )


def skipped(message: Message) -> Iterator[Fault]:
    """A reader behind a marker passed its place without seeing it."""
    if message.post is None or not message.was_stored:
        return
    seen_by = {event.who.partition(' ')[0] for event in message.events if event.kind == 'read'}
    for reader in message.surroundings.readers[message.post.queue]:
        for id in message.ids if reader.who not in seen_by else ():
            passed = reader.passed(id)
            if passed is not None and not _may_be_unseen(message, passed, reader.sees_all):
                yield Fault(passed, f'{reader.who} passed its place and was not shown it')


def _may_be_unseen(message: Message, by: float, sees_all: bool) -> bool:
    assert message.post
    if message.surroundings.unseen_pops[message.post.queue] or message.may_be_deleted(by):
        return True
    if message.may_be_expired(by) or message.may_have_left(by):
        return True
    if any(event.kind == 'park' and event.began < by for event in message.verdicts):
        return True
    if sees_all:
        return False
    # What is claimed or delayed is left out by some readers.
    was_claimed = message.unseen_claims(message.post.queue, by) or any(
        claim.began < by for claim in message.claims
    )
    return bool(was_claimed) or message.post.seconds > 0


def withheld(message: Message) -> Iterator[Fault]:
    """It was ready, or should have been, and was not handed out to those who claimed all."""
    for event in message.kept:
        queue = message.surroundings.queues.get(event.queue)
        if queue is None or not queue.is_drained:
            continue
        if event.outcome == 'ready':
            yield Fault(event.began, f'it is ready in {queue.key}, and no claim was given it')
        held = event.seconds - event.began
        longest = max((other.seconds for other in message.claims), default=_LONGEST)
        if message.post and message.post.kind == 'restored':
            # Once its clock was set back, a database holds what it held for longer.
            longest = max(longest, message.post.began + message.post.seconds - event.began)
        if event.outcome in ('claimed', 'delayed') and held > max(longest, _LONGEST) + 1:
            yield Fault(event.began, f'it is {event.outcome} for {held:.0f} s more in {queue.key}')


# Seconds for which some message may be held that nobody saw being claimed.
_LONGEST = 60.0


def waited_too_long(message: Message) -> Iterator[Fault]:
    """A request waited for messages of the queue, while this one was ready all the time."""
    post = message.post
    if post is None or post.outcome != DONE or message.purges:
        return
    queue = message.surroundings.queues.get(post.queue)
    if queue is not None and queue.is_fifo:
        # It may have stood behind another one.
        return
    ready = post.ended + post.seconds
    taken = min(
        (event.began for event in message.events if event.kind not in _CHANGES_NOTHING),
        default=message.surroundings.ended,
    )
    patience = message.surroundings.world.patience
    if taken - ready < patience or message.unseen_claims(post.queue, taken):
        return
    for wait in message.surroundings.waits[post.queue]:
        began, ended = max(wait.began, ready), min(wait.ended, taken, ready + post.grace)
        is_long = ended - began > patience and not message.surroundings.was_paused(wait)
        if is_long and message.surroundings.is_calm(began, ended):
            yield Fault(ended, f'{wait.who} waited for {ended - began:.1f} s while it was ready')


_CHANGES_NOTHING = ('post', 'repeat', 'restored', 'remained', 'read', 'look', 'delivered')


def never_delivered(message: Message) -> Iterator[Fault]:
    """A webhook never took it."""
    queue = message.surroundings.queues.get(message.post.queue) if message.post else None
    if message.post is None or queue is None or not queue.has_webhook:
        return
    was_stored = message.was_stored or message.post.outcome == DONE
    was_taken = any(event.kind == 'delivered' and event.outcome == DONE for event in message.events)
    if was_stored and not was_taken:
        yield Fault(message.surroundings.ended, f'the webhook of {queue.key} never took it')


def wrongly_restored(message: Message) -> Iterator[Fault]:
    """The database went back to what it was, and has not what it had then, or has what it had not."""
    post, past, end = message.post, message.surroundings.past, message.surroundings.ended
    if post is None or past is None:
        return
    began, ended = past
    for remained in message.remained:
        if post.began > ended + EPSILON:
            yield Fault(end, 'the database went back to what it was before its post, and has it')
        for over in message.surely_over():
            if over.ended < began and ends_in(over, remained.queue):
                yield Fault(end, f'{over.who} had ended it, and the database has it again')
    if message.remained or post.outcome != DONE or post.ended >= began:
        return
    if message.may_be_deleted(ended) or message.may_be_expired(end):
        return
    if not message.surroundings.unseen_pops[post.queue]:
        yield Fault(end, 'the database went back to what it was after its post, and lacks it')


def wrong_reply(message: Message) -> Iterator[Fault]:
    """Who looked was not told the one reply that a worker gave, or the reason why there is none."""
    looks = [event for event in message.events if event.kind == 'look']
    given = [event for event in message.verdicts if event.note and event.outcome != REFUSED]
    replies = {event.note for event in looks if event.outcome == REPLIED}
    if len(replies) > 1:
        yield Fault(looks[-1].ended, f'looks were told several replies: {sorted(replies)}')
    for look in looks:
        if look.outcome == REPLIED and not any(
            reply.note == look.note and reply.began <= look.ended for reply in given
        ):
            yield Fault(look.ended, f'{look.who} was told {look.note!r}, which no worker replied')
        for reply in given:
            is_known = reply.outcome == DONE and reply.ended <= look.began
            if is_known and look.outcome in (OPEN, ENDED, FORGOTTEN):
                yield Fault(look.ended, f'{look.who} was not told what {reply.who} replied')
        if look.outcome == FORGOTTEN and message.post and message.post.outcome == DONE:
            yield Fault(look.ended, f'{look.who} was told that there was no such message')
        if look.outcome == ENDED and not _may_have_ended(message, look):
            yield Fault(look.ended, f'{look.who} was told that it was {look.note}, and it was not')


def _may_have_ended(message: Message, look: Event) -> bool:
    """Whether it may have ended without a reply, and for the reason that was told."""
    if look.note == 'expired':
        return message.may_be_expired(look.ended)
    if look.note == 'purged':
        return any(purge.began < look.ended for purge in message.purges)
    return any(
        event.kind in ('delete', 'pop')
        and not event.note
        and event.outcome != REFUSED
        and event.began < look.ended
        for event in message.events
    )


def overtaken(
    queue: str, messages: Iterable[tuple[str, Message]]
) -> Iterator[tuple[Fault, list[Message]]]:
    """Faults of a group of a FIFO queue: one message was handed out while an earlier one was there.

    The earlier one may be in the same claim. One that is parked may be passed over: none is, in such a
    queue of a campaign.

    :param messages: those of the group with their places, in the order of these
    :returns: each fault with the message that was overtaken, and the one that was handed out
    """
    # Until when each earlier one was certainly there, and the calls that were given it.
    earlier: list[tuple[float, int, set[str], Message]] = []
    for place, message in messages:
        own = [it for it in message.handed_out if it.queue == queue and it.note == place]
        for event in own:
            for until, _, calls, other in reversed(earlier):
                if until <= event.ended + EPSILON:
                    break
                if event.who not in calls:
                    why = f'{event.who} was given it, though {other.number:x} stood before it in its group'
                    yield Fault(event.ended, why), [other, message]
                    break
        until = _there_until(message, queue, place, own)
        insort(
            earlier, (until, message.number, {it.who for it in own}, message), key=lambda it: it[:2]
        )


def _there_until(message: Message, queue: str, place: str, handed_out: list[Event]) -> float:
    """Until when a message certainly was at its place."""
    seen = [it.began for it in message.sights if it.queue == queue and it.note == place]
    claims = [it for it in handed_out if it.kind == 'claim']
    ids = {claim.claim for claim in claims}
    judged = [it.began for it in message.verdicts if it.outcome == DONE and it.claim in ids]
    held = [message.earliest_end(claim, NEVER) for claim in claims]
    return max([0.0, *seen, *judged, *held])


#: The judges, by the name of what they find.
JUDGES: dict[str, Judge] = {
    'never posted': never_posted,
    'lost': lost,
    'stored twice': stored_twice,
    'two live claims': two_at_once,
    'redelivered without a reason': redelivered_without_reason,
    'seen after its end': seen_after_its_end,
    'stale verdict took effect': stale_verdict,
    'refused to the holder': refused_to_holder,
    'delivered early': delivered_early,
    'skipped by a reader': skipped,
    'claims miscounted': miscounted,
    'withheld': withheld,
    'waited too long': waited_too_long,
    'webhook never delivered': never_delivered,
    'wrongly restored': wrongly_restored,
    'wrong reply': wrong_reply,
}
