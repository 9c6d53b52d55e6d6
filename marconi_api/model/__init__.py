"""What the service promises of queues and messages: a file for each noun, and all the SQL.

``init_model`` opens the :class:`Store`, whose repositories the controllers call.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from marconi_api import limits
from marconi_api.errors import StorageUnavailable
from marconi_api.model.accounts import Accounts
from marconi_api.model.admin import Admin
from marconi_api.model.attributes import Attributes, KnownAttributes
from marconi_api.model.audit import Actor, Audit
from marconi_api.model.became_ready import ReadyListeners
from marconi_api.model.claim_sources import ClaimSource
from marconi_api.model.claims import Claim, Claims
from marconi_api.model.deliveries import Deliveries
from marconi_api.model.encryption import Cipher
from marconi_api.model.ended import EndListeners
from marconi_api.model.figures import Figures
from marconi_api.model.groups import Posted
from marconi_api.model.health import Unhealthy, check_schema, explained
from marconi_api.model.idempotency import RequestKey
from marconi_api.model.janitor import Janitor
from marconi_api.model.message import (
    ClaimedMessage,
    Message,
    NewMessage,
    Page,
    PeekedMessage,
    PoppedMessage,
)
from marconi_api.model.messages import Messages
from marconi_api.model.minutes import Minutes
from marconi_api.model.noted import NotedWebhooks
from marconi_api.model.pages import READY, STATES
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.low_water_marks import LowWaterMarks
from marconi_api.model.postgres.tables import MOST_IN_A_POST, QueueKey
from marconi_api.model.queue_filter import QueueFilter
from marconi_api.model.queues import MessageSummary, Queue, Queues, Stats
from marconi_api.model.quotas import SETTINGS, Quotas
from marconi_api.model.readiness import Readiness
from marconi_api.model.receives import Receipt, Received, Receives
from marconi_api.model.redrives import STATUSES, Order, Preview, Redrive, Redrives
from marconi_api.model.replies import REASONS, Asked, Replies
from marconi_api.model.subscriptions import Created, Subscription, Subscriptions
from marconi_api.model.tokens import Tokens
from marconi_api.model.verdicts import RESULTS, VERDICTS, Outcome, Verdict, Verdicts
from marconi_api.model.webhooks import Delivery, Webhooks

__all__ = [
    'MOST_IN_A_POST',
    'READY',
    'REASONS',
    'RESULTS',
    'STATES',
    'STATUSES',
    'VERDICTS',
    'Accounts',
    'Actor',
    'Asked',
    'Attributes',
    'Audit',
    'Claim',
    'ClaimSource',
    'ClaimedMessage',
    'Created',
    'Delivery',
    'EndListeners',
    'KnownAttributes',
    'Message',
    'MessageSummary',
    'NewMessage',
    'Order',
    'Outcome',
    'Page',
    'PeekedMessage',
    'PoppedMessage',
    'Posted',
    'Preview',
    'Queue',
    'QueueFilter',
    'QueueKey',
    'ReadyListeners',
    'Receipt',
    'Received',
    'Receives',
    'Redrive',
    'Redrives',
    'Replies',
    'RequestKey',
    'Stats',
    'Store',
    'Subscription',
    'Subscriptions',
    'Unhealthy',
    'Verdict',
    'init_model',
    'store',
]


@dataclass(frozen=True)
class Store:
    """All that is kept, on one database: a repository for each noun.

    ``janitor`` removes dead rows. ``admin`` serves `pecan shell` and the commands, ``figures`` serves
    the pages of the console. Three members are lists of listeners, to which a process adds functions:
    ``became_ready`` tells of messages that became ready, ``ended`` of messages that a request deleted,
    ``became_deliverable`` of messages that webhooks are to get.
    """

    database: Database
    low_water_marks: LowWaterMarks
    attributes: KnownAttributes
    became_ready: ReadyListeners
    ended: EndListeners
    became_deliverable: ReadyListeners
    queues: Queues
    messages: Messages
    claims: Claims
    verdicts: Verdicts
    receives: Receives
    replies: Replies
    readiness: Readiness
    redrives: Redrives
    audit: Audit
    subscriptions: Subscriptions
    deliveries: Deliveries
    webhooks: Webhooks
    noted_webhooks: NotedWebhooks
    tokens: Tokens
    accounts: Accounts
    quotas: Quotas
    janitor: Janitor
    admin: Admin
    minutes: Minutes
    figures: Figures

    @classmethod
    def of(cls, config: Any) -> 'Store':
        """A store with these settings; nothing is connected yet.

        :param config: Pecan's configuration, of which ``database``, ``janitor`` and others are used;
            ``database.url`` must be set
        """
        database = Database(
            config.database.url,
            config.database.connect_timeout,
            config.database.statement_timeout,
            config.database.prepare_statements,
        )
        marks = LowWaterMarks()
        database.on_connect.append(marks.forget)
        attributes = KnownAttributes(database)
        became_ready = ReadyListeners(database)
        ended = EndListeners()
        became_deliverable = ReadyListeners()
        quotas = _quotas(database, config)
        queues = Queues(database, quotas)
        messages = Messages(
            *(database, marks, queues, attributes, became_ready, became_deliverable, quotas, ended)
        )
        claims = Claims(database, marks, attributes, became_ready)
        tokens = Tokens(database, Cipher([key for key in config.sqs.secret_keys.split(',') if key]))
        audit = Audit(database, config.audit.retention)
        redrives = Redrives(database, became_ready, audit)
        janitor = Janitor(database, config.janitor.interval, config.janitor.batch_size, audit)
        admin = Admin(
            *(database, queues, messages, claims, tokens, quotas, janitor, became_ready),
            *(redrives, audit),
        )
        minutes = Minutes(database)
        subscriptions = Subscriptions(
            database, queues, quotas, config.eventing.require_confirmation
        )
        webhooks = Webhooks(database, became_deliverable)
        return cls(
            database=database,
            low_water_marks=marks,
            attributes=attributes,
            became_ready=became_ready,
            ended=ended,
            became_deliverable=became_deliverable,
            queues=queues,
            messages=messages,
            claims=claims,
            verdicts=Verdicts(database, attributes, became_ready, ended),
            receives=Receives(database, claims, became_ready, ended),
            replies=Replies(database),
            readiness=Readiness(database, marks),
            redrives=redrives,
            audit=audit,
            subscriptions=subscriptions,
            deliveries=Deliveries(database),
            webhooks=webhooks,
            noted_webhooks=NotedWebhooks(database, subscriptions, webhooks, audit),
            tokens=tokens,
            accounts=Accounts(database),
            quotas=quotas,
            janitor=janitor,
            admin=admin,
            minutes=minutes,
            figures=Figures(database, admin, messages, minutes),
        )

    def is_healthy(self) -> bool:
        """Whether messages can be stored.

        Each call asks PostgreSQL whether it takes a write, by a statement that writes nothing.
        PostgreSQL learns of a full disk only when a write fails. So after a statement of this
        process has failed for lack of space, each call stores a message and removes it again,
        until that succeeds.
        """
        try:
            self._check_storage()
        except StorageUnavailable:
            return False
        return True

    def check_health(self) -> None:
        """Make sure that messages can be stored, and that the schema is as new as this code.

        :raises Unhealthy: if not; within ``statement_timeout`` and a second
        """
        with explained():
            self._check_storage()
            check_schema(self.database)

    def _check_storage(self) -> None:
        self.database.check_writable()
        if self.database.lacks_space:
            self._store_a_message()
            self.database.lacks_space = False

    def _store_a_message(self) -> None:
        queue = QueueKey.of('', _TRIAL)
        self.queues.create(queue)
        message = NewMessage('null', limits.in_force.min_message_ttl, 0)
        self.messages.post(queue, str(uuid4()), [message])
        self.queues.delete(queue)


def _quotas(database: Database, config: Any) -> Quotas:
    values = {name: config[name.partition('.')[0]][name.partition('.')[2]] for name in SETTINGS}
    processes = config.server.processes * config.rate.hosts
    return Quotas(database, values, config.quota.overrides, config.rate.burst, processes)


# The queue in which the health check stores a message. Each process has its own, so that nobody
# else uses it. If it could not be deleted, the next check uses it again.
_TRIAL = f'health-{uuid4()}'

#: The store of the running service; :func:`init_model` opens it.
store: Store


def init_model(config: Any) -> None:
    """Open the store that ``config`` describes, and make it :data:`store`; see :meth:`Store.of`."""
    global store
    store = Store.of(config)
