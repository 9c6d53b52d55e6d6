"""The JSON documents of version 2 beyond those of version 1.1."""

from wsme import types as wtypes

from marconi_api.controllers.openstack import documents
from marconi_api.controllers.openstack.v1_1 import types
from marconi_api.model import MOST_IN_A_POST, REASONS, RESULTS, STATES, STATUSES, VERDICTS
from marconi_api.policy import ROLES
from marconi_api.wire.documents import Document
from marconi_api.wire.values import (
    Json,
    ListOf,
    NullableInteger,
    String,
    Texts,
    any_json,
    any_object,
    natural,
    nullable_boolean,
    nullable_string,
    string,
)

#: The states of a request's message; a message that can be claimed is called waiting here.
_STATE_OF_REQUEST = String({'enum': ['waiting', *sorted(STATES.keys() - {'ready'})]})

_SEQUENCE = String({'pattern': '^[0-9]{20}$'})

_SHAREABLE = {'enum': ['messages', 'claims', 'subscriptions']}


class NewMessage(types.NewMessage):
    """A message to post; without a ``delay`` (seconds) it gets the queue's.

    ``reply``: whether it asks for a reply; without it as the queue says. ``group`` and
    ``deduplication_id``: a FIFO queue needs them.
    """

    delay = wtypes.wsattr(NullableInteger('message_delay'), default=None)
    reply = wtypes.wsattr(nullable_boolean, default=None)
    group = wtypes.wsattr(nullable_string, default=None)
    deduplication_id = wtypes.wsattr(nullable_string, default=None)


class NewMessages(types.NewMessages):
    """A POST of messages."""

    messages = wtypes.wsattr(ListOf(NewMessage, at_least=1, at_most=MOST_IN_A_POST))


class MessageInGroup(types.Message):
    """A message; with its group if it has one, and in a FIFO queue with its number in it."""

    group = wtypes.wsattr(string)
    sequence = wtypes.wsattr(_SEQUENCE)


class FoundMessage(MessageInGroup):
    """A message; in a list by state with its count, and with why it is parked if it is."""

    claim_count = wtypes.wsattr(natural)
    reason = wtypes.wsattr(nullable_string)


class FoundMessages(types.Messages):
    """Messages; those of a page come with a link, unless there are none."""

    messages = wtypes.wsattr([FoundMessage], mandatory=True)


class PoppedMessageInGroup(types.PoppedMessage):
    """A message that is no more; with its group if it had one."""

    group = wtypes.wsattr(string)
    sequence = wtypes.wsattr(_SEQUENCE)


class PoppedMessagesInGroups(types.PoppedMessages):
    """What a pop took: the oldest first, and in a FIFO queue group after group."""

    messages = wtypes.wsattr([PoppedMessageInGroup], mandatory=True)


class ClaimedMessages(types.ClaimedMessages):
    """What a new claim holds."""

    messages = wtypes.wsattr([MessageInGroup], mandatory=True)


class ClaimInGroups(types.Claim):
    """A claim, and what it still holds."""

    messages = wtypes.wsattr([MessageInGroup], mandatory=True)


class Operation(Document):
    """One operation of a JSON patch (docs/protocol-v2.md, 5.4)."""

    op = wtypes.wsattr(String({'enum': ['add', 'replace', 'remove']}), mandatory=True)
    path = wtypes.wsattr(String({'pattern': '^/metadata/[^/]+$'}), mandatory=True)
    value = wtypes.wsattr(any_json)


class Purge(Document):
    """What a purge removes."""

    resource_types = wtypes.wsattr(
        Json({'type': 'array', 'items': {'enum': ['messages', 'parked', 'subscriptions']}}),
        mandatory=True,
    )


class NewGrant(Document):
    """What a signature is to allow; unless it says otherwise, to read messages for a day."""

    paths = wtypes.wsattr(Json({'type': 'array', 'items': _SHAREABLE}))
    methods = wtypes.wsattr(
        Json({'type': 'array', 'items': {'type': 'string', 'pattern': '^[A-Za-z]+$'}})
    )
    expires = wtypes.wsattr(string)


class Grant(Document):
    """What the holder of a signature may do, and the signature: see the headers URL-…."""

    paths = wtypes.wsattr([string], mandatory=True)
    methods = wtypes.wsattr([string], mandatory=True)
    project = wtypes.wsattr(string, mandatory=True)
    expires = wtypes.wsattr(string, mandatory=True)
    signature = wtypes.wsattr(string, mandatory=True)


class QueuePage(documents.QueuePage):
    """A page of queues, with a link unless it is empty; and how many there are, if asked."""

    count = wtypes.wsattr(natural)


class Counts(documents.Counts):
    """Parked ones, too; used again for a while if counting takes over 0.1 s."""

    parked = wtypes.wsattr(natural, mandatory=True)


class Statistics(documents.Statistics):
    """The statistics of a queue."""

    messages = wtypes.wsattr(Counts, mandatory=True)


_OPTIONS = Json({'type': ['object', 'null']})


class NewSubscription(Document):
    """A subscriber: a URL, or ``queue:`` and the name of a queue."""

    subscriber = wtypes.wsattr(string, mandatory=True)
    ttl = wtypes.wsattr(NullableInteger('subscription_ttl'), default=None)
    options = wtypes.wsattr(_OPTIONS, default=None)


class SubscriptionChange(Document):
    """What is to be other than it was."""

    subscriber = wtypes.wsattr(nullable_string, default=None)
    ttl = wtypes.wsattr(NullableInteger('subscription_ttl'), default=None)
    options = wtypes.wsattr(_OPTIONS, default=None)


class MadeSubscription(Document):
    """The id of a subscription, and of a new webhook the secret, which is not shown again."""

    subscription_id = wtypes.wsattr(string, mandatory=True)
    secret = wtypes.wsattr(string)


class PendingDeliveries(Document):
    """Deliveries of a webhook: what it has taken, and what it has not; ages in seconds."""

    delivered = wtypes.wsattr(natural, mandatory=True)
    pending = wtypes.wsattr(natural, mandatory=True)
    failed = wtypes.wsattr(natural, mandatory=True)
    oldest_pending_age = wtypes.wsattr(NullableInteger(), mandatory=True)


class Subscription(Document):
    """A subscription, without its secret."""

    id = wtypes.wsattr(string, mandatory=True)
    source = wtypes.wsattr(string, mandatory=True)
    subscriber = wtypes.wsattr(string, mandatory=True)
    ttl = wtypes.wsattr(natural, mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)
    options = wtypes.wsattr(any_object, mandatory=True)
    confirmed = wtypes.wsattr(nullable_boolean, mandatory=True)
    state = wtypes.wsattr(String({'enum': ['active', 'paused']}), mandatory=True)
    reason = wtypes.wsattr(nullable_string, mandatory=True)
    deliveries = wtypes.wsattr(PendingDeliveries, mandatory=True)


class SubscriptionPage(Document):
    """A page of subscriptions, with a link unless it is empty."""

    subscriptions = wtypes.wsattr([Subscription], mandatory=True)
    links = wtypes.wsattr([documents.Link], mandatory=True)


class Confirmation(Document):
    """Whether the webhook is to get what is posted."""

    confirmed = wtypes.wsattr(nullable_boolean, mandatory=True)


class NewVerdict(Document):
    """What is to become of a message.

    ``delay`` goes with release, ``reason`` with park, ``reply`` with delete.
    """

    id = wtypes.wsattr(string, mandatory=True)
    verdict = wtypes.wsattr(String({'enum': list(VERDICTS)}), mandatory=True)
    delay = wtypes.wsattr(NullableInteger('message_delay'), default=None)
    ttl = wtypes.wsattr(NullableInteger('claim_ttl'), default=None)
    grace = wtypes.wsattr(NullableInteger('claim_grace'), default=None)
    reason = wtypes.wsattr(nullable_string, default=None)
    reply = wtypes.wsattr(any_json)


class NewVerdicts(Document):
    """Verdicts on the messages of a claim, one a message."""

    verdicts = wtypes.wsattr(ListOf(NewVerdict, at_least=1), mandatory=True)


class NewVerdictInQueue(NewVerdict):
    """A verdict that says in which queue its message is, and which claim holds that."""

    queue = wtypes.wsattr(string, mandatory=True)
    claim_id = wtypes.wsattr(string, mandatory=True)


class NewVerdictsAcrossQueues(Document):
    """Verdicts on messages of several queues and claims, one a message."""

    verdicts = wtypes.wsattr(ListOf(NewVerdictInQueue, at_least=1), mandatory=True)


class NewRelease(Document):
    """How a message goes back to the queue: at once, or after ``delay`` seconds."""

    delay = wtypes.wsattr(NullableInteger('message_delay'), default=None)


class NewParking(Document):
    """Why a message is parked."""

    reason = wtypes.wsattr(nullable_string, default=None)


class NewKick(Document):
    """How many parked messages go back to the queue; all if it does not say."""

    limit = wtypes.wsattr(NullableInteger('kick_size'), default=None)


class NewClaimSource(Document):
    """A queue's part in a claim across several: ``limit`` messages at most.

    If any of them has a ``weight``, messages are drawn in proportion to the weights.
    """

    name = wtypes.wsattr(string, mandatory=True)
    limit = wtypes.wsattr(NullableInteger('claim_size'), default=None)
    weight = wtypes.wsattr(NullableInteger('queue_weight'), default=None)


class NewClaimAcrossQueues(types.NewClaim):
    """The terms of a claim across several queues, in the order of preference."""

    queues = wtypes.wsattr(ListOf(NewClaimSource, at_least=1), mandatory=True)
    limit = wtypes.wsattr(NullableInteger('claim_size'), default=None)


class VerdictOutcome(Document):
    """What became of a verdict, and the message's state after it."""

    id = wtypes.wsattr(string, mandatory=True)
    verdict = wtypes.wsattr(string, mandatory=True)
    result = wtypes.wsattr(String({'enum': list(RESULTS)}), mandatory=True)
    state = wtypes.wsattr(String({'enum': [*STATES, 'gone']}), mandatory=True)


class VerdictOutcomes(Document):
    """What became of each verdict, in the order in which they were given."""

    verdicts = wtypes.wsattr([VerdictOutcome], mandatory=True)


class VerdictOutcomeInQueue(VerdictOutcome):
    """What became of a verdict, with the queue and the claim that it named."""

    queue = wtypes.wsattr(string, mandatory=True)
    claim_id = wtypes.wsattr(string, mandatory=True)


class VerdictOutcomesAcrossQueues(Document):
    """What became of each verdict, in the order in which they were given."""

    verdicts = wtypes.wsattr([VerdictOutcomeInQueue], mandatory=True)


class Kicked(Document):
    """How many messages went back to the queue, and whether the next request finds more."""

    kicked = wtypes.wsattr(natural, mandatory=True)
    more = bool


class NewRedrive(Document):
    """Which messages go back to where they came from, or ``to`` a queue; ``rate`` is a second's.

    ``min_age`` and ``max_age`` are in seconds; with ``dry_run`` none is moved.
    """

    state = wtypes.wsattr(String({'enum': ['ready', 'parked']}), default='ready')
    to = wtypes.wsattr(nullable_string, default=None)
    min_age = wtypes.wsattr(NullableInteger('message_age'), default=None)
    max_age = wtypes.wsattr(NullableInteger('message_age'), default=None)
    reason = wtypes.wsattr(nullable_string, default=None)
    rate = wtypes.wsattr(NullableInteger('redrive_rate'), default=None)
    dry_run = wtypes.wsattr(nullable_boolean, default=None)


class RedriveTarget(Document):
    """How many messages would go to a queue."""

    queue = wtypes.wsattr(string, mandatory=True)
    messages = wtypes.wsattr(natural, mandatory=True)


class RedrivePreview(Document):
    """What a redrive would move, and what would stay, as it has no queue to go to.

    With ``more`` there are more messages than were counted.
    """

    messages = wtypes.wsattr(natural, mandatory=True)
    targets = wtypes.wsattr([RedriveTarget], mandatory=True)
    without_target = wtypes.wsattr(natural, mandatory=True)
    more = bool


class Redrive(Document):
    """A redrive as it is now: what was asked, and how many messages were moved."""

    id = wtypes.wsattr(string, mandatory=True)
    status = wtypes.wsattr(String({'enum': list(STATUSES)}), mandatory=True)
    state = wtypes.wsattr(String({'enum': ['ready', 'parked']}), mandatory=True)
    to = wtypes.wsattr(nullable_string, mandatory=True)
    min_age = wtypes.wsattr(NullableInteger(), mandatory=True)
    max_age = wtypes.wsattr(NullableInteger(), mandatory=True)
    reason = wtypes.wsattr(nullable_string, mandatory=True)
    rate = wtypes.wsattr(NullableInteger(), mandatory=True)
    total = wtypes.wsattr(NullableInteger(), mandatory=True)
    moved = wtypes.wsattr(natural, mandatory=True)
    without_target = wtypes.wsattr(natural, mandatory=True)
    failure = wtypes.wsattr(nullable_string, mandatory=True)
    started = wtypes.wsattr(string, mandatory=True)
    ended = wtypes.wsattr(nullable_string, mandatory=True)


class Redrives(Document):
    """The last redrives of a queue, the newest first."""

    redrives = wtypes.wsattr([Redrive], mandatory=True)


class MessageOfQueue(MessageInGroup):
    """A claimed message that says to which queue and which claim it belongs."""

    queue = wtypes.wsattr(string, mandatory=True)
    claim_id = wtypes.wsattr(string, mandatory=True)
    claim_count = wtypes.wsattr(natural, mandatory=True)


class ClaimOfQueue(Document):
    """A claim on one of several queues."""

    queue = wtypes.wsattr(string, mandatory=True)
    id = wtypes.wsattr(string, mandatory=True)
    href = wtypes.wsattr(string, mandatory=True)


class ClaimedAcrossQueues(Document):
    """What was claimed from several queues, and those of them that do not exist."""

    messages = wtypes.wsattr([MessageOfQueue], mandatory=True)
    claims = wtypes.wsattr([ClaimOfQueue], mandatory=True)
    missing = wtypes.wsattr([string], mandatory=True)


class PeekedMessage(MessageInGroup):
    """A message with its queue and all that is known of it."""

    queue = wtypes.wsattr(string, mandatory=True)
    state = wtypes.wsattr(String({'enum': list(STATES)}), mandatory=True)
    claim_count = wtypes.wsattr(natural, mandatory=True)
    reason = wtypes.wsattr(nullable_string, mandatory=True)


class PeekedMessages(Document):
    """Messages of several queues, those of them that do not exist, and a link if there is more."""

    messages = wtypes.wsattr([PeekedMessage], mandatory=True)
    links = wtypes.wsattr([documents.Link], mandatory=True)
    missing = wtypes.wsattr([string], mandatory=True)


class GivenReply(Document):
    """A reply, and how many seconds ago it was given."""

    reply = wtypes.wsattr(any_json, mandatory=True)
    age = wtypes.wsattr(natural, mandatory=True)


class OpenRequest(Document):
    """There is no reply yet: where the message is."""

    state = wtypes.wsattr(_STATE_OF_REQUEST, mandatory=True)


class EndedRequest(Document):
    """There will be no reply: why the message ended without one."""

    title = wtypes.wsattr(string, mandatory=True)
    description = wtypes.wsattr(string, mandatory=True)
    reason = wtypes.wsattr(String({'enum': list(REASONS)}), mandatory=True)


class AnsweredRequest(Document):
    """The id of a message that was posted, and the reply to it."""

    id = wtypes.wsattr(string, mandatory=True)
    reply = wtypes.wsattr(any_json, mandatory=True)


class PostedRequest(Document):
    """The id of a message that was posted, to which there is no reply yet."""

    id = wtypes.wsattr(string, mandatory=True)
    state = wtypes.wsattr(_STATE_OF_REQUEST, mandatory=True)


class NewToken(Document):
    """A token to make: what it may do, for which queues (a name, or its beginning and ``*``)."""

    roles = wtypes.wsattr(
        Texts({'type': 'array', 'items': {'enum': list(ROLES)}, 'minItems': 1}), mandatory=True
    )
    name = wtypes.wsattr(nullable_string, default=None)
    queues = wtypes.wsattr(nullable_string, default=None)
    expires_in = wtypes.wsattr(NullableInteger('token_life'), default=None)


class Token(Document):
    """A token, without its secret; times are null where there is none."""

    id = wtypes.wsattr(string, mandatory=True)
    name = wtypes.wsattr(string, mandatory=True)
    roles = wtypes.wsattr([string], mandatory=True)
    queues = wtypes.wsattr(nullable_string, mandatory=True)
    created = wtypes.wsattr(string, mandatory=True)
    expires = wtypes.wsattr(nullable_string, mandatory=True)
    last_used = wtypes.wsattr(nullable_string, mandatory=True)
    revoked = wtypes.wsattr(nullable_string, mandatory=True)


class MadeToken(Token):
    """A token that was made just now; this is the only time that it is shown."""

    token = wtypes.wsattr(string, mandatory=True)


class Tokens(Document):
    """The tokens of a project, with those that ended in the last 30 days."""

    tokens = wtypes.wsattr([Token], mandatory=True)
