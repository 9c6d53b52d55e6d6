"""What a queue is: one file a noun, and all the SQL.

``init_model`` makes the repositories that the controllers call: ``queues``, ``messages``,
``claims``, ``verdicts``, the janitor, ``expiry``, and ``admin``, for those who type in
`pecan shell`.
"""

from typing import Any
from uuid import uuid4

from marconi_api.errors import StorageUnavailable
from marconi_api.model.admin import Admin
from marconi_api.model.attributes import Attributes, KnownAttributes
from marconi_api.model.claims import Claim, Claims
from marconi_api.model.janitor import Expiry
from marconi_api.model.messages import READY, STATES, Batch, Message, Messages, Page, PeekedMessage
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.hints import Hints
from marconi_api.model.postgres.tables import MOST_IN_A_POST, QueueKey
from marconi_api.model.queue_filter import QueueFilter
from marconi_api.model.queues import MessageSummary, Queue, Queues, Stats
from marconi_api.model.shares import Share
from marconi_api.model.verdicts import RESULTS, VERDICTS, Outcome, Verdict, Verdicts

__all__ = [
    'MOST_IN_A_POST',
    'READY',
    'RESULTS',
    'STATES',
    'VERDICTS',
    'Attributes',
    'Batch',
    'Claim',
    'KnownAttributes',
    'Message',
    'MessageSummary',
    'Outcome',
    'Page',
    'PeekedMessage',
    'Queue',
    'QueueFilter',
    'QueueKey',
    'Share',
    'Stats',
    'Verdict',
    'admin',
    'claims',
    'database',
    'expiry',
    'hints',
    'init_model',
    'is_healthy',
    'messages',
    'queues',
    'verdicts',
]

database: Database
hints: Hints
queues: Queues
messages: Messages
claims: Claims
verdicts: Verdicts
expiry: Expiry
admin: Admin


def init_model(config: Any) -> None:
    """Make the repositories; nothing is connected yet.

    :param config: Pecan's configuration, of which ``database`` and ``expiry`` are used;
        ``database.url`` must be set
    """
    global database, hints, queues, messages, claims, verdicts, expiry, admin
    database = Database(
        config.database.url,
        config.database.connect_timeout,
        config.database.statement_timeout,
        config.database.prepare_statements,
    )
    hints = Hints()
    database.on_connect.append(hints.forget)
    attributes = KnownAttributes(database)
    queues = Queues(database)
    messages = Messages(database, hints, queues, attributes)
    claims = Claims(database, hints, attributes)
    verdicts = Verdicts(database)
    expiry = Expiry(database, config.expiry.interval, config.expiry.batch_size)
    admin = Admin(database, queues, messages, claims, expiry)


def is_healthy() -> bool:
    """Whether messages can be stored.

    PostgreSQL is asked each time whether it takes a write, which writes nothing. It does not
    know beforehand that its disk is full: once a statement of this process has failed for that
    reason, a message is stored and removed again, until that succeeds.
    """
    try:
        database.check_writable()
        if database.lacks_space:
            _store_a_message()
            database.lacks_space = False
    except StorageUnavailable:
        return False
    return True


# Of each process its own, so that nobody else uses it, and one that could not be deleted is
# used again.
_TRIAL = f'health-{uuid4()}'


def _store_a_message() -> None:
    queue = QueueKey.of('', _TRIAL)
    queues.create(queue)
    messages.post(queue, str(uuid4()), [60], ['null'])
    queues.delete(queue)
