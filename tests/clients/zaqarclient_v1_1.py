"""The tour of a user of python-zaqarclient 3.0.1, API version 1.1; run in its own environment.

Usage: zaqarclient_v1_1.py URL. Logs its requests, and prints `ok` at the end; anything that
differs is an error.

Version 1.1 has no purge and no share. Its metadata are given when the queue is made, and
never change; the client's `queue()` cannot give any, but `core`, on which it stands, can.
"""

import logging
import sys
import uuid

from zaqarclient.queues import client
from zaqarclient.queues.v1 import core
from zaqarclient.transport import errors


def main(url):
    project = {'os_project_id': f'tour-{uuid.uuid4()}'}
    options = {'auth_opts': {'backend': 'noauth', 'options': project}}
    service = client.Client(url, version=1.1, conf=options)

    # Queues: made with metadata, made with none, and made by the first post.
    request, transport = service._request_and_transport()
    core.queue_create(transport, request, 'tour-1', metadata={'purpose': 'tour'})
    queue = service.queue('tour-1')
    assert queue.metadata() == {'purpose': 'tour'}
    plain = service.queue('tour-2', force_create=True)
    assert plain.metadata() == {}
    by_post = service.queue('tour-3')
    assert by_post.stats['messages']['total'] == 0
    by_post.post({'body': 'of any type'})
    assert by_post.stats['messages']['total'] == 1

    assert names(service.queues(limit=2)) == ['tour-1', 'tour-2']
    assert names(service.queues(limit=2, marker='tour-2')) == ['tour-3']
    assert names(service.queues(limit=2).stream()) == ['tour-1', 'tour-2', 'tour-3']

    # Messages: posted, read in pages, by the links and by the last message, and by their ids.
    posted = queue.post([{'ttl': 300, 'body': {'number': number}} for number in range(5)])
    identities = [path.rsplit('/', 1)[1] for path in posted['resources']]
    assert len(identities) == 5
    assert numbers(queue.messages(echo=True, limit=2)) == [0, 1]
    assert numbers(queue.messages(echo=True, limit=2, marker=identities[1])) == [2, 3]
    assert numbers(queue.messages(echo=True, limit=2).stream()) == [0, 1, 2, 3, 4]
    assert numbers(queue.messages()) == []
    assert queue.message(identities[0]).body == {'number': 0}
    assert numbers(queue.messages(*identities[:2])) == [0, 1]

    # Claims: taken, renewed, a message deleted by its claim, released.
    claim = queue.claim(ttl=60, grace=60, limit=2)
    held = list(claim)
    assert [message.body['number'] for message in held] == [0, 1]
    assert queue.stats['messages']['claimed'] == 2
    claim.update(ttl=400)
    assert queue.claim(id=claim.id).ttl == 400
    held[0].delete()
    assert numbers(queue.claim(id=claim.id)) == [1]
    claim.delete()
    assert queue.stats['messages']['claimed'] == 0
    by_default = queue.claim()
    assert numbers(by_default) == [1, 2, 3, 4]
    by_default.delete()

    # Gone: popped, deleted by ids, deleted alone.
    assert numbers(queue.pop(1)) == [1]
    queue.delete_messages(identities[2])
    queue.message(identities[3]).delete()
    assert queue.stats['messages']['total'] == 1
    assert_gone(lambda: queue.message(identities[3]))
    assert_gone(lambda: queue.messages(*identities[:4]))

    for made in (queue, plain, by_post):
        made.delete()
    assert queue.stats['messages']['total'] == 0
    assert names(service.queues()) == []
    print('ok')


def names(queues):
    """The names of queues."""
    return [queue.name for queue in queues]


def numbers(messages):
    """The numbers in the bodies of messages."""
    return [message.body['number'] for message in messages]


def assert_gone(call):
    """Nothing is found by a call."""
    try:
        call()
    except errors.ResourceNotFound:
        return
    raise AssertionError('what was deleted was found')


if __name__ == '__main__':
    logging.basicConfig(level=logging.DEBUG)
    main(sys.argv[1])
