"""The operations on queues: they are made, found, described, changed, purged and deleted."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from marconi_api import model, policy
from marconi_api.controllers.sqs import queue_attributes as attributes
from marconi_api.controllers.sqs.addresses import (
    FIFO_SUFFIX,
    account_of,
    arn_of,
    name_in_arn,
    new_name,
    queue_at,
    queue_named,
    url_of,
)
from marconi_api.controllers.sqs.failures import (
    InvalidAttributeName,
    InvalidParameterValue,
    MissingParameter,
    PurgeQueueInProgress,
    QueueDoesNotExist,
    QueueNameExists,
)
from marconi_api.model import QueueKey
from marconi_api.wire.requests import Request

Result = Mapping[str, Any] | None

#: Queues on a page, at most.
_MOST_LISTED = 1000

_MOST_TAGS = 50
_LONGEST_KEY, _LONGEST_VALUE = 128, 256
_RESERVED_TAG = 'aws:'


def create_queue(request: Request, body: Any) -> Result:
    """Make a queue; one that has the given attributes already is the same one."""
    name = new_name(body.QueueName)
    given = {
        key: value.lower() if key in attributes.BOOLEANS else value
        for key, value in (body.Attributes or {}).items()
    }
    as_fifo = _is_fifo(name, given)
    queue = queue_named(request, name)
    while True:
        metadata = model.store.queues.find_metadata(queue)
        if metadata is not None:
            return _existing(request, name, metadata, given)
        if given or body.tags:
            # It is what a PUT with metadata does.
            policy.permit(request.identity.roles, ('queues:update',))
        made = attributes.of_new_queue(given, _target_of(request, name, as_fifo), as_fifo)
        if body.tags:
            made = attributes.with_facts(made, tags=_checked_tags(body.tags))
        if model.store.queues.create(queue, attributes.text_of(made)):
            return {'QueueUrl': url_of(request, name)}


def _is_fifo(name: str, given: Mapping[str, str]) -> bool:
    """Whether a new queue is a FIFO queue: its name and an attribute must both say so."""
    is_fifo = given.get(attributes.FIFO_QUEUE) == 'true'
    if name.endswith(FIFO_SUFFIX) != is_fifo:
        raise InvalidParameterValue(
            f'The name of a FIFO queue must end in {FIFO_SUFFIX}, and its attribute '
            f'{attributes.FIFO_QUEUE} must be true.'
        )
    return is_fifo


def _existing(request: Request, name: str, metadata: str, given: Mapping[str, str]) -> Result:
    present = attributes.parsed(metadata)
    told = attributes.shown(present, lambda target: arn_of(request, target))
    # Wrong names and values are refused whether or not the queue is there.
    attributes.changed(present, given, lambda arn: attributes.Target(arn, 0))
    differs = attributes.first_difference(given, told)
    if differs is not None:
        raise QueueNameExists(differs)
    return {'QueueUrl': url_of(request, name)}


def _target_of(request: Request, source: str, is_fifo: bool) -> attributes.TargetOf:
    """A function that tells a dead-letter queue by its ARN, and checks it.

    :param source: the name of the queue whose dead letters go there
    :param is_fifo: whether that is a FIFO queue
    """

    def target_of(arn: str) -> attributes.Target:
        name = name_in_arn(request, arn)
        metadata = name and model.store.queues.find_metadata(QueueKey.of(request.project, name))
        if not (name and metadata):
            raise InvalidParameterValue(
                'Value for parameter RedrivePolicy is invalid. Reason: Dead letter target does not '
                'exist.'
            )
        target = attributes.parsed(metadata)
        if attributes.is_fifo(target) != is_fifo:
            raise InvalidParameterValue(
                'Value for parameter RedrivePolicy is invalid. Reason: Dead-letter queue must be same '
                'type of queue as the source.'
            )
        if not attributes.allows_source(target, arn_of(request, source)):
            raise InvalidParameterValue(
                'Value for parameter RedrivePolicy is invalid. Reason: the RedriveAllowPolicy of the '
                'dead letter target does not allow this queue.'
            )
        return attributes.Target(name, attributes.retention_of(target))

    return target_of


def get_queue_url(request: Request, body: Any) -> Result:
    """The URL of a queue that exists."""
    if not body.QueueName:
        raise MissingParameter('QueueName')
    owner = body.QueueOwnerAWSAccountId
    if owner and owner != account_of(request):
        raise QueueDoesNotExist
    queue = queue_at(request, body.QueueName.replace('/', ''))
    _metadata_of(queue)
    return {'QueueUrl': url_of(request, queue.name)}


def list_queues(request: Request, body: Any) -> Result:
    """The queues of the project, by their names."""
    after = _place_in(body.NextToken)
    names, has_more = _page_of_names(request, body.QueueNamePrefix or '', after, body.MaxResults)
    result: dict[str, Any] = {}
    if names:
        result['QueueUrls'] = [url_of(request, name) for name in names]
    if has_more and body.MaxResults is not None:
        result['NextToken'] = _token_at(names[-1])
    return result


def list_dead_letter_source_queues(request: Request, body: Any) -> Result:
    """The queues whose dead letters come to a queue."""
    queue = queue_at(request, body.QueueUrl)
    _metadata_of(queue)
    after = _place_in(body.NextToken)
    limit = _most_on_page(body.MaxResults)
    found = model.store.queues.sources_of_dead_letters(queue, after, limit + 1)
    own = [name for name in found[:limit] if request.identity.may_name(name)]
    result: dict[str, Any] = {'queueUrls': [url_of(request, name) for name in own]}
    if len(found) > limit and body.MaxResults is not None:
        result['NextToken'] = _token_at(found[limit - 1])
    return result


def _page_of_names(
    request: Request, prefix: str, after: str, most: int | None
) -> tuple[list[str], bool]:
    """The names of the next queues that the credential is for, and whether there are more."""
    limit = _most_on_page(most)
    pattern = request.identity.queues
    if pattern is not None:
        # Of two beginnings of names the longer one counts, if it begins with the other.
        own = pattern.removesuffix('*')
        if not (own.startswith(prefix) or (pattern.endswith('*') and prefix.startswith(own))):
            return [], False
        prefix = max(prefix, own, key=len)
    found = model.store.queues.names(request.project, prefix, after, limit + 1)
    own_names = [name for name in found[:limit] if request.identity.may_name(name)]
    return own_names, len(found) > limit


def _most_on_page(asked: int | None) -> int:
    if asked is None:
        return _MOST_LISTED
    if not 1 <= asked <= _MOST_LISTED:
        raise InvalidParameterValue(
            f'Value {asked} for parameter MaxResults is invalid. Reason: it must be between 1 and '
            f'{_MOST_LISTED}.'
        )
    return asked


def _token_at(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode()


def _place_in(token: str | None) -> str:
    """The name after which a page begins."""
    if not token:
        return ''
    try:
        place = urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        place = ''
    if not re.fullmatch('[A-Za-z0-9_.-]{1,80}', place):
        raise InvalidParameterValue('Invalid or expired next token.')
    return place


def delete_queue(request: Request, body: Any) -> Result:
    """Delete a queue with its messages."""
    queue = queue_at(request, body.QueueUrl)
    _metadata_of(queue)
    model.store.queues.delete(queue)
    return None


def get_queue_attributes(request: Request, body: Any) -> Result:
    """What a client wants to know of a queue."""
    queue = queue_at(request, body.QueueUrl)
    wanted = frozenset(body.AttributeNames or ())
    for name in wanted - attributes.NAMES:
        raise InvalidAttributeName(name)
    described = model.store.queues.described(queue)
    if described is None:
        raise QueueDoesNotExist
    if not wanted:
        return None
    metadata = attributes.parsed(described.metadata)
    told = attributes.shown(metadata, lambda name: arn_of(request, name))
    told[attributes.ARN] = arn_of(request, queue.name)
    told[attributes.CREATED] = str(described.created_at)
    modified = attributes.own_facts(metadata).get(attributes.MODIFIED)
    told[attributes.LAST_MODIFIED] = str(modified or described.created_at)
    told |= _counts(request, queue, wanted)
    if 'All' not in wanted:
        told = {name: value for name, value in told.items() if name in wanted}
    return {'Attributes': told} if told else None


def _counts(request: Request, queue: QueueKey, wanted: frozenset[str]) -> dict[str, str]:
    """The numbers of messages, if they are wanted; for all attributes only if they may be known.

    :raises NotAuthorized: if they are asked for by name, and may not be known
    """
    by_name = not wanted.isdisjoint(attributes.COUNTS)
    if not by_name:
        may_know = policy.roles_that_may('queues:stats')
        if 'All' not in wanted or (may_know and may_know.isdisjoint(request.identity.roles)):
            return {}
    policy.permit(request.identity.roles, ('queues:stats',))
    counted = model.store.queues.states(queue)
    return {name: str(counted[state]) for name, state in attributes.COUNTS.items()}


def set_queue_attributes(request: Request, body: Any) -> Result:
    """Change some attributes of a queue, or none if one of the values is wrong."""
    queue = queue_at(request, body.QueueUrl)
    is_fifo = attributes.is_fifo(attributes.parsed(_metadata_of(queue)))
    given = body.Attributes
    if not given:
        raise MissingParameter('Attributes')
    target_of = _target_of(request, queue.name, is_fifo)
    _change(queue, lambda metadata: attributes.changed(metadata, given, target_of))
    if attributes.RETENTION in given:
        _tell_sources(queue, int(given[attributes.RETENTION]))
    return None


def _tell_sources(queue: QueueKey, retention: int) -> None:
    """Have the queues whose dead letters come here keep them for as long as this one says."""
    sources = model.store.queues.sources_of_dead_letters(queue, '', _MOST_LISTED)
    model.store.queues.change_metadata_of_each(
        queue.project,
        sources,
        lambda metadata: attributes.text_of(
            attributes.with_dead_letters_for(attributes.parsed(metadata), retention)
        ),
    )


def purge_queue(request: Request, body: Any) -> Result:
    """Delete all messages of a queue, once a minute at most."""
    queue = queue_at(request, body.QueueUrl)
    _metadata_of(queue)
    if not model.store.queues.purge_once_a_minute(queue):
        raise PurgeQueueInProgress(queue.name)
    return None


def tag_queue(request: Request, body: Any) -> Result:
    """Add tags to a queue, or give them other values."""
    queue = queue_at(request, body.QueueUrl)
    _metadata_of(queue)
    if not body.Tags:
        raise MissingParameter('Tags')
    _change(queue, lambda metadata: _retagged(metadata, {**_tags_of(metadata), **body.Tags}))
    return None


def untag_queue(request: Request, body: Any) -> Result:
    """Remove tags."""
    queue = queue_at(request, body.QueueUrl)
    _metadata_of(queue)
    if not body.TagKeys:
        raise MissingParameter('TagKeys')
    gone = set(body.TagKeys)

    def change(metadata: attributes.Metadata) -> attributes.Metadata:
        kept = {key: value for key, value in _tags_of(metadata).items() if key not in gone}
        return _retagged(metadata, kept)

    _change(queue, change)
    return None


def list_queue_tags(request: Request, body: Any) -> Result:
    """The tags of a queue."""
    queue = queue_at(request, body.QueueUrl)
    tags = _tags_of(attributes.parsed(_metadata_of(queue)))
    return {'Tags': tags} if tags else None


def _tags_of(metadata: attributes.Metadata) -> dict[str, str]:
    tags = attributes.own_facts(metadata).get(attributes.TAGS)
    # A client of another door can write anything there.
    items = tags.items() if isinstance(tags, dict) else ()
    return {key: value for key, value in items if isinstance(value, str)}


def _retagged(metadata: attributes.Metadata, tags: Mapping[str, str]) -> attributes.Metadata:
    return attributes.with_facts(metadata, tags=_checked_tags(tags) or None)


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > _MOST_TAGS:
        raise InvalidParameterValue(f'Too many tags added for queue: {_MOST_TAGS} are allowed.')
    for key, value in tags.items():
        if not 1 <= len(key) <= _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            raise InvalidParameterValue(
                f'The tag {key[:80]!r} is invalid: a key has 1 to {_LONGEST_KEY} characters, a value '
                f'{_LONGEST_VALUE} at most.'
            )
        if key.lower().startswith(_RESERVED_TAG):
            raise InvalidParameterValue(f'The key of a tag cannot begin with {_RESERVED_TAG}')
    return dict(tags)


def _change(queue: QueueKey, change: Callable[[attributes.Metadata], attributes.Metadata]) -> None:
    model.store.queues.change_metadata(
        queue, lambda metadata: attributes.text_of(change(attributes.parsed(metadata)))
    )


def _metadata_of(queue: QueueKey) -> str:
    """The metadata of a queue that exists.

    :raises QueueDoesNotExist: if it does not
    """
    metadata = model.store.queues.find_metadata(queue)
    if metadata is None:
        raise QueueDoesNotExist
    return metadata
