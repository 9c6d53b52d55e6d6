"""The process that calls webhooks: one loop, in which all calls are under way at once.

**Who does what.** Each second, or when a bell rings, the office takes the subscriptions that have
something to do (model/deliveries.py). For each subscription that it owns, a *courier* (courier.py)
knows the deliveries under way. While there is something to read, a task reads it for the courier. Each
delivery is sent by a task of its own. Outcomes are stored in batches.

**Calls do not hold up each other.** A call that hangs only takes up one of the calls that its own
subscription may have under way. Statements run in a few threads, in which no call waits. So no
connection to the database is held while the process waits for a subscriber.

**Nothing is lost.** A delivery's row is removed once the webhook has answered with 2xx, and not
before. If a process is killed in between, the row stays, and the message is sent again. The same
happens to a message whose outcome could not be stored.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from marconi_api.errors import InvalidRequest, MarconiError, StorageUnavailable
from marconi_api.model import NewMessage, RequestKey, Store
from marconi_api.model.deliveries import (
    EXPIRED,
    GONE,
    LEASE,
    Delivery,
    Done,
    Failure,
    Owned,
    SubscriptionKey,
    call_id,
)
from marconi_api.model.postgres.tables import QueueKey, public_id
from marconi_api.model.retry_schedule import DEFAULT
from marconi_api.processes.delivery import THREADS
from marconi_api.processes.delivery.bell import Ear
from marconi_api.processes.delivery.courier import Courier
from marconi_api.webhooks.calling import FORBIDDEN, Attempt, Caller, TooLate
from marconi_api.webhooks.forms import filled, notification
from marconi_api.webhooks.rules import Rules
from marconi_api.webhooks.sending import Subscriber, send

log = logging.getLogger(__name__)

P = ParamSpec('P')
T = TypeVar('T')

# Seconds between two looks at all subscriptions, at least; and how many times as long as the last
# one took.
_SWEEP_EVERY = 1.0
_RESTS = 10

# Seconds before the end of a lease at which this process stops to send.
_MARGIN = 1.0

# Seconds for which a stop waits for calls under way: the supervisor waits for five.
_DRAIN = 3.5

# Seconds for which an idle subscription is remembered, with the id up to which it was read.
_REMEMBERED_FOR = 600.0

# Seconds until what could not be stored is tried again.
_PAUSE = 0.5

# Seconds until what a queue for dead letters could not take is tried again.
_PUT_AWAY_AGAIN = 5.0

# Delays of a retry that are waited for here, in seconds; longer ones are found by a sweep.
_WAITED_FOR = 60.0

_GONE_FOR_EVER = 410

#: Makes the body of a confirmation's message, from the subscription and the kind of the message.
Confirmation = Callable[[Owned, str], bytes]


class Office:
    """Owns subscriptions, and sends their deliveries.

    :param owner: a UUID that names this process, and those that take its place when it has ended
    :param confirmation: None where the service cannot sign
    """

    def __init__(
        self,
        store: Store,
        caller: Caller,
        rules: Rules,
        owner: str,
        ear: Ear,
        confirmation: Confirmation | None,
    ) -> None:
        self._store = store
        self._deliveries = store.deliveries
        self._caller = caller
        self._rules = rules
        self._owner = owner
        self._ear = ear
        self._confirmation = confirmation
        self._couriers: dict[SubscriptionKey, Courier] = {}
        self._of_queue: dict[int, set[SubscriptionKey]] = {}
        self._threads = ThreadPoolExecutor(THREADS, 'statements')
        self._taking = asyncio.Lock()
        self._rung: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._done: list[Done] = []
        self._failures: list[Failure] = []
        self._has_outcomes = asyncio.Event()
        self._is_stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set; then let calls under way end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ear.fileno(), self._hear)
        looking = self._begin(self._look())
        noting = self._begin(self._note())
        await stop.wait()
        self._is_stopping = True
        loop.remove_reader(self._ear.fileno())
        looking.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_DRAIN)
        # The outcome of calls that are still under way is not known; their rows stay.
        noting.cancel()
        try:
            await self._note_all()
            await self._in_thread(self._deliveries.release, self._owner)
        except StorageUnavailable:
            log.warning('what was delivered last could not be stored: it is sent again')

    # ------------------------------------------------------------ what there is to do

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            await self._take(None)
            for courier in list(self._couriers.values()):
                if courier.has_been_idle_for(_REMEMBERED_FOR):
                    self._drop(courier)
            took = time.monotonic() - began
            await asyncio.sleep(max(_SWEEP_EVERY, _RESTS * took))

    def _hear(self) -> None:
        is_first = not self._rung
        self._rung |= self._ear.heard()
        if is_first:
            self._begin(self._answer_bell())

    async def _answer_bell(self) -> None:
        # Queues for which a bell rings meanwhile are looked at together.
        async with self._taking:
            rung, self._rung = self._rung, set()
        unknown = []
        for queue_id in rung:
            couriers = [self._couriers[key] for key in self._of_queue.get(queue_id, ())]
            if couriers and all(courier.is_ours_for_long for courier in couriers):
                for courier in couriers:
                    self._wake(courier)
            else:
                unknown.append(queue_id)
        if unknown:
            await self._take(unknown)

    async def _take(self, queues: list[int] | None) -> None:
        """Own what has something to do, and wake its couriers."""
        async with self._taking:
            seen = {
                key: courier.after
                for key, courier in self._couriers.items()
                if queues is None or key.queue_id in queues
            }
            until = time.monotonic() + LEASE - _MARGIN
            try:
                found = await self._in_thread(self._deliveries.take, self._owner, seen, queues)
            except StorageUnavailable:
                # The log has it; the next look is soon.
                return
        for owned in found:
            courier = self._courier(owned.key)
            courier.renew(owned, until)
            self._wake(courier)
            if owned.confirmation and not courier.is_confirming:
                courier.is_confirming = True
                self._begin_call(self._confirm(courier, owned, owned.confirmation))

    def _courier(self, key: SubscriptionKey) -> Courier:
        if key not in self._couriers:
            self._couriers[key] = Courier(key)
            self._of_queue.setdefault(key.queue_id, set()).add(key)
        return self._couriers[key]

    def _drop(self, courier: Courier) -> None:
        """Forget a subscription that is over."""
        courier.give_up()
        self._couriers.pop(courier.key, None)
        keys = self._of_queue.get(courier.key.queue_id, set())
        keys.discard(courier.key)
        if not keys:
            self._of_queue.pop(courier.key.queue_id, None)

    def _wake(self, courier: Courier) -> None:
        """Read what there is to send, unless that is done already."""
        courier.has_news = True
        if courier.reader is None and courier.is_active and not self._is_stopping:
            courier.reader = self._begin(self._read(courier))

    async def _read(self, courier: Courier) -> None:
        try:
            while courier.has_news and courier.is_ours and not self._is_stopping:
                courier.has_news = False
                due, fresh = courier.begin_read()
                read = await self._in_thread(
                    self._deliveries.read, courier.key, courier.after, courier.taken, due, fresh
                )
                if read is None:
                    self._drop(courier)
                    return
                courier.has_news |= len(read.deliveries) >= min(due, max(fresh, 1))
                for over in courier.put(read):
                    self._fail(courier, over, None, None, GONE if over.body is None else EXPIRED)
                self._send_waiting(courier)
                await courier.wait_for_room()
        except StorageUnavailable:
            # The log has it, and the next look finds it again.
            pass
        finally:
            courier.reader = None

    # ------------------------------------------------------------ sending

    def _send_waiting(self, courier: Courier) -> None:
        while not self._is_stopping and (delivery := courier.next()):
            self._begin_call(self._deliver(courier, delivery))

    async def _deliver(self, courier: Courier, delivery: Delivery) -> None:
        has_succeeded: bool | None = None
        try:
            attempt = await self._attempt(courier, delivery)
            has_succeeded = attempt.has_delivered
            if has_succeeded:
                self._note_done(courier, delivery, True)
            elif attempt.status == _GONE_FOR_EVER:
                await self._end(courier)
                courier.note_settled(delivery.message_id)
            else:
                await self._note_failure(courier, delivery, attempt)
        except TooLate:
            courier.note_settled(delivery.message_id)
        finally:
            courier.note_end(has_succeeded)
            self._send_waiting(courier)

    async def _attempt(self, courier: Courier, delivery: Delivery) -> Attempt:
        owned = courier.owned
        assert owned is not None
        assert delivery.body is not None
        message = notification(
            owned.queue.name, public_id(delivery.message_id), delivery.ttl, delivery.body
        )
        body = filled(courier.options, message)
        identity = call_id(courier.key, delivery.message_id)
        return await self._call(courier, owned, identity, body, delivery.traceparent)

    async def _call(
        self,
        courier: Courier,
        owned: Owned,
        identity: str,
        body: bytes,
        traceparent: str | None = None,
    ) -> Attempt:
        to = Subscriber(owned.subscriber, courier.options, owned.secrets)
        trace = {'traceparent': traceparent} if traceparent else {}
        try:
            return await send(
                *(self._caller, self._rules, to, identity, body, courier.timeout),
                may_send=lambda: courier.is_ours,
                headers=trace,
            )
        except InvalidRequest:
            # The operator allowed this address once, and does not any more.
            return Attempt.now(FORBIDDEN)

    async def _note_failure(self, courier: Courier, delivery: Delivery, attempt: Attempt) -> None:
        delay = courier.schedule.delay_after(delivery.attempts + 1, attempt.retry_after)
        name = courier.options.get('_dead_letter_queue')
        if delay is None and name:
            try:
                await self._put_away(courier, str(name), delivery)
            except StorageUnavailable:
                delay = _PUT_AWAY_AGAIN
            except MarconiError as error:
                log.warning('queue %s takes no message that cannot be delivered: %s', name, error)
            else:
                self._note_done(courier, delivery, False)
                return
        self._fail(courier, delivery, attempt, delay, attempt.error)

    async def _put_away(self, courier: Courier, name: str, delivery: Delivery) -> None:
        """Post a message to the queue for what cannot be delivered; once, however often tried."""
        assert courier.owned is not None
        assert delivery.body is not None
        identity = call_id(courier.key, delivery.message_id)
        await self._in_thread(
            self._store.messages.post,
            QueueKey.of(courier.owned.queue.project, name),
            str(uuid4()),
            [NewMessage(delivery.body)],
            create=True,
            key=RequestKey.of(f'delivery {identity}', delivery.body.encode()),
            traceparent=delivery.traceparent,
        )

    async def _end(self, courier: Courier) -> None:
        """End a subscription whose subscriber has answered that it is gone for ever."""
        assert courier.owned is not None
        queue = courier.owned.queue
        try:
            await self._in_thread(
                self._store.subscriptions.delete, queue, public_id(courier.key.id)
            )
        except StorageUnavailable:
            # The subscriber will answer so again.
            courier.give_up()
            return
        log.info(
            'subscription %s of queue %s has ended: its webhook answered 410',
            *(public_id(courier.key.id), queue.name),
        )
        self._drop(courier)

    async def _confirm(self, courier: Courier, owned: Owned, kind: str) -> None:
        """Send the message by which a subscriber confirms that it is one."""
        try:
            if self._confirmation is None:
                log.error('no confirmation can be sent: set MARCONI_SIGNING_KEYS')
                return
            attempts = owned.confirmation_attempts + 1
            identity = f'{public_id(owned.key.id)}-{kind}'
            attempt = await self._call(courier, owned, identity, self._confirmation(owned, kind))
            delay = (
                None
                if attempt.has_delivered
                else DEFAULT.delay_after(attempts, attempt.retry_after)
            )
            await self._in_thread(
                self._deliveries.note_confirmation, owned.key, kind, attempts, delay
            )
        except (TooLate, StorageUnavailable):
            # It is sent again.
            pass
        finally:
            courier.is_confirming = False

    # ------------------------------------------------------------ what came of it

    def _note_done(self, courier: Courier, delivery: Delivery, has_delivered: bool) -> None:
        self._done.append(Done(courier.key, delivery.message_id, has_delivered))
        self._has_outcomes.set()

    def _fail(
        self,
        courier: Courier,
        delivery: Delivery,
        attempt: Attempt | None,
        delay: float | None,
        error: str | None,
    ) -> None:
        told = attempt or Attempt.now(error)
        self._failures.append(
            Failure(
                *(courier.key, delivery.message_id, delivery.attempts, delay),
                *(told.at, told.ms, told.status, error),
                is_attempt=attempt is not None,
            )
        )
        self._has_outcomes.set()

    async def _note(self) -> None:
        while True:
            await self._has_outcomes.wait()
            self._has_outcomes.clear()
            try:
                await self._note_all()
            except StorageUnavailable:
                self._has_outcomes.set()
                await asyncio.sleep(_PAUSE)

    async def _note_all(self) -> None:
        """Store the outcomes that are known by now; those that cannot be stored are kept."""
        if done := self._done[:]:
            await self._in_thread(self._deliveries.note_done, done)
            del self._done[: len(done)]
            self._settle((one.subscription, one.message_id, None) for one in done)
        if failures := self._failures[:]:
            paused = await self._in_thread(self._deliveries.note_failures, failures)
            del self._failures[: len(failures)]
            for key in paused:
                log.warning(
                    'subscription %s is paused: all its deliveries have failed for a day',
                    public_id(key.id),
                )
                self._courier(key).give_up()
            self._settle((one.subscription, one.message_id, one.delay) for one in failures)

    def _settle(self, settled: Iterable[tuple[SubscriptionKey, int, float | None]]) -> None:
        """Note which outcomes are stored, so that retries are read when they are due."""
        loop = asyncio.get_running_loop()
        for key, message_id, delay in settled:
            courier = self._couriers.get(key)
            if courier is None:
                continue
            courier.note_settled(message_id)
            if delay is not None and delay <= _WAITED_FOR:
                loop.call_later(delay, self._wake, courier)
            if courier.pause:
                loop.call_later(courier.pause, self._wake, courier)

    # ------------------------------------------------------------ tasks

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_task)
        return task

    def _begin_call(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._begin(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _note_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error('a delivery failed in a way that was not foreseen', exc_info=error)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a statement beside the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
