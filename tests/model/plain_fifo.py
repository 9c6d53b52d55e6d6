"""FIFO queues in plain Python, to be read as the specification of groups.

What does not depend on groups is in ``plain_store.py``. From which groups a claim takes messages is not
said here: the store chooses, and is asked whether what it chose is allowed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from marconi_api.errors import InvalidRequest
from marconi_api.model import NewMessage
from marconi_api.model.groups import DEDUPLICATION_WINDOW, Posted
from tests.model.plain_store import SECOND, Kept, PlainQueue, PlainStore, Reserved


@dataclass
class InLine(Kept):
    """A message in a group."""

    group: str = ''
    sequence: int = 0
    deduplication_id: str = ''
    came_from: str | None = None


class PlainFifoStore(PlainStore):
    def __init__(self) -> None:
        super().__init__()
        # By queue and deduplication id.
        self._posted: dict[tuple[str, str], tuple[Posted, int]] = {}
        # The highest sequence of each group so far, by queue and group.
        self._last: dict[tuple[str, str], int] = {}

    # ------------------------------------------------------------ posts

    def post_each(
        self, name: str, client: str, messages: Sequence[NewMessage], stored: Sequence[Posted]
    ) -> list[Posted]:
        """Under the ids and sequences that the store gave."""
        queue = self.queue(name)
        if any((new.ttl or 0) <= (new.delay or 0) for new in messages):
            raise InvalidRequest
        answers = []
        for new, posted in zip(messages, stored, strict=True):
            assert new.group
            assert new.deduplication_id
            assert posted.sequence
            assert new.ttl
            first, until = self._posted.get((name, new.deduplication_id), (None, 0))
            if first and until > self.now:
                answers.append(first._replace(is_duplicate=True))
                continue
            self.note_sequence(name, new.group, posted.sequence)
            message = InLine(
                *(posted.id, new.body, client, self.now, new.ttl, self.after(new.ttl)),
                group=new.group,
                sequence=posted.sequence,
                deduplication_id=new.deduplication_id,
            )
            if new.delay:
                message.wait(self.after(new.delay))
            queue.messages[posted.id] = message
            own = Posted(posted.id, posted.sequence, is_duplicate=False)
            self._posted[name, new.deduplication_id] = own, self.after(DEDUPLICATION_WINDOW)
            answers.append(own)
        return answers

    def note_sequence(self, name: str, group: str, sequence: int) -> None:
        """A sequence that was given out is higher than any before it in the group."""
        assert sequence > self._last.get((name, group), 0)
        self._last[name, group] = sequence

    def purge(self, name: str) -> int:
        # Of a message that was purged the deduplication id is forgotten.
        self._posted = {key: value for key, value in self._posted.items() if key[0] != name}
        return super().purge(name)

    def delete_unclaimed(self, name: str) -> None:
        self._posted = {key: value for key, value in self._posted.items() if key[0] != name}
        super().delete_unclaimed(name)

    # ------------------------------------------------------------ taking

    def groups(self, name: str) -> dict[str, list[InLine]]:
        """The messages of each group that are alive and not parked, in order."""
        groups: dict[str, list[InLine]] = {}
        for message in self.queues.get(name, PlainQueue()).messages.values():
            assert isinstance(message, InLine)
            if message.state != 'parked':
                groups.setdefault(message.group, []).append(message)
        for messages in groups.values():
            messages.sort(key=lambda message: message.sequence)
        return groups

    def front(self, name: str) -> dict[str, list[InLine]]:
        """Of each group the messages that can be taken: up to the first that cannot."""
        fronts = {}
        for group, messages in self.groups(name).items():
            ready = [message.state == 'ready' for message in messages]
            fronts[group] = messages[: [*ready, False].index(False)]
        return {group: messages for group, messages in fronts.items() if messages}

    def take(
        self, name: str, limit: int, taken: Sequence[str], put_away: Iterable[str] = ()
    ) -> list[InLine]:
        """What the store took, if it may, in the order in which it took it.

        :param put_away: the dead letters that it put away beside
        """
        fronts = self.front(name)
        most = self.queues[name].most_claims if name in self.queues else None
        by_id = {message.id: message for front in fronts.values() for message in front}
        messages = [by_id[id] for id in taken]
        dead = [by_id[id] for id in put_away]
        assert len(messages) <= limit
        assert messages or dead or not fronts
        assert all(not most or message.claim_count < most for message in messages)
        assert all(most and message.claim_count >= most for message in dead)
        in_order: dict[str, list[InLine]] = {}
        for message in messages:
            in_order.setdefault(message.group, []).append(message)
        assert [message for group in in_order.values() for message in group] == messages
        for group, own in in_order.items():
            assert own == sorted(own, key=lambda message: message.sequence)
            gone = [message for message in fronts[group] if message in own or message in dead]
            assert gone == fronts[group][: len(gone)]
        return messages

    def claim_these(
        self, name: str, ttl: int, grace: int, claim: str, messages: Sequence[InLine]
    ) -> None:
        for message in messages:
            message.outlive(self.now, ttl, grace)
            message.be_held(claim, self.after(ttl))
            message.claim_count += 1
        ids = [message.id for message in messages]
        self.claims[name, claim] = Reserved(sorted(ids), ttl, self.now, self.after(ttl))

    def arrive(self, name: str, message: InLine, sequence: int) -> None:
        """Come to a queue from another one."""
        self.note_sequence(name, message.group, sequence)
        message.sequence = sequence
        self.queues[name].messages[message.id] = message

    def redrive(self, name: str) -> list[tuple[InLine, str]]:
        """The dead letters that go back to where they came from, if that is there, in order."""
        going = []
        for message in self.queues[name].in_order({'ready'}):
            assert isinstance(message, InLine)
            if message.came_from in self.queues:
                going.append((message, message.came_from))
        for message, _ in going:
            del self.queues[name].messages[message.id]
            message.came_from = None
            message.start_anew(self.now)
            message.come_back(self.now)
        return sorted(going, key=lambda one: one[0].sequence)


__all__ = ['SECOND', 'InLine', 'PlainFifoStore']
