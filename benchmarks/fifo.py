"""What does the order of groups cost?

The same messages of 1 KiB are posted to a queue and to FIFO queues, claimed and deleted. The model is called
directly, in one thread; the queues take turns. In one FIFO queue a thousand groups take turns, and a
claim of ten messages takes them from ten groups; in the other one all messages are of one group. In the
fair queue ten groups take turns, and none is noisy; or one is. Figures are medians in microseconds of
the whole time, the database's included, but not the wait for the disk (`synchronous_commit` is off),
which all have alike.
"""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle

from sqlalchemy import make_url

from benchmarks.in_process import application
from benchmarks.operations import CLIENT_ID, KIBIBYTE, PROJECT
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import running_service
from benchmarks.turns import Took, in_turns
from marconi_api import model
from marconi_api.model import NewMessage, QueueKey

_BODY = json.dumps(KIBIBYTE)
_MANY = 1000

PLAIN = 'not FIFO'
FIFO = 'FIFO, 1,000 groups'
ONE_GROUP = 'FIFO, one group'
FAIR = 'not FIFO, 10 groups'
NOISY = 'the same, one is noisy'


class Line:
    """A queue, and the groups to which messages are posted in turn."""

    def __init__(self, name: str, groups: list[str | None], is_fifo: bool) -> None:
        self._queue = QueueKey.of(PROJECT, name)
        self._groups: Iterator[str | None] = cycle(groups)
        self._ids = map(str, count())
        self._is_fifo = is_fifo
        model.store.queues.create(self._queue, json.dumps({'_fifo': is_fifo}))

    def post(self, how_many: int = 1) -> Took:
        """Post messages."""
        messages = [
            NewMessage(
                *(_BODY, 3600, 0, False),
                group=next(self._groups),
                deduplication_id=next(self._ids) if self._is_fifo else None,
            )
            for _ in range(how_many)
        ]
        return _timed(lambda: model.store.messages.post(self._queue, CLIENT_ID, messages))

    def claim_and_delete(self) -> Took:
        """Post ten messages, which is not timed, then claim and delete ten."""
        self.post(10)

        def work() -> None:
            claim = model.store.claims.create(self._queue, 300, 60, 10)
            assert claim
            ids = [message.id for message in claim.messages]
            assert model.store.messages.delete_many(self._queue, ids) == 10

        return _timed(work)

    def make_noisy(self, group: str) -> None:
        """Let a group hold many messages."""
        messages = [NewMessage(_BODY, 3600, 0, group=group)] * 100
        model.store.messages.post(self._queue, CLIENT_ID, messages)
        model.store.claims.create(self._queue, 3600, 60, 100)


def _timed(work: Callable[[], object]) -> Took:
    started, own = time.perf_counter(), time.thread_time()
    work()
    own = time.thread_time() - own
    return Took(time.perf_counter() - started, own, own)


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    with running_service() as service:
        # For the disk all wait as long.
        url = make_url(service.url).update_query_dict({'options': '-c synchronous_commit=off'})
        application(url.render_as_string(hide_password=False))
        ten: list[str | None] = [f'group-{number}' for number in range(10)]
        lines = {
            PLAIN: Line('plain', [None], is_fifo=False),
            FIFO: Line('many', [f'group-{number}' for number in range(_MANY)], is_fifo=True),
            ONE_GROUP: Line('one', ['group'], is_fifo=True),
            FAIR: Line('fair', ten, is_fifo=False),
            NOISY: Line('noisy', ten, is_fifo=False),
        }
        lines[NOISY].make_noisy('noisy')
        rounds = plan.choose(2000, 200)
        posts = in_turns([line.post for line in lines.values()], rounds)
        claims = in_turns([line.claim_and_delete for line in lines.values()], rounds)
        model.store.database.close()
    table = Table(['queue', 'post 1', 'of that without', 'claim 10, delete 10', 'of that without'])
    for name, post, claim in zip(lines, posts, claims, strict=True):
        table.rows.append(
            [
                name,
                f'{post.elapsed * 1e6:.0f}',
                f'{post.elapsed / posts[0].elapsed:.2f}',
                f'{claim.elapsed * 1e6:.0f}',
                f'{claim.elapsed / claims[0].elapsed:.2f}',
            ]
        )
    return Answer('fifo', __doc__ or '', [table])
