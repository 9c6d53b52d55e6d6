"""The tour of a user of python-zaqarclient 3.0.1, API version 1; run in its own environment.

Usage: zaqarclient_v1.py URL. Logs its requests, and prints `ok` at the end; anything that
differs is an error.
"""

import logging
import sys
import uuid

from zaqarclient.queues import client
from zaqarclient.transport import errors


def main(url):
    options = {'auth_opts': {'backend': 'noauth', 'options': {'os_project_id': 'p1'}}}
    service = client.Client(url, version=1, conf=options)

    assert service.health()
    name = f'tour-{uuid.uuid4()}'
    queue = service.queue(name)
    assert queue.exists()

    queue.metadata({'purpose': 'tour'})
    assert queue.metadata() == {'purpose': 'tour'}
    assert name in [found.name for found in service.queues()]
    assert [found.name for found in service.queues(limit=1)] != []

    posted = queue.post([{'ttl': 300, 'body': {'number': number}} for number in range(5)])
    assert len(posted['resources']) == 5
    identities = [path.rsplit('/', 1)[1] for path in posted['resources']]

    paged = list(queue.messages(echo=True, limit=2))
    assert [message.body['number'] for message in paged] == [0, 1], paged
    pages = queue.messages(echo=True, limit=2)
    followed = []
    for message in pages.stream() if hasattr(pages, 'stream') else pages:
        followed.append(message.body['number'])
    assert followed == [0, 1, 2, 3, 4], followed

    assert queue.message(identities[0]).body == {'number': 0}
    named = queue.messages(*identities[:2])
    assert [message.body['number'] for message in named] == [0, 1]

    claim = queue.claim(ttl=60, grace=60, limit=2)
    held = list(claim)
    assert [message.body['number'] for message in held] == [0, 1]
    assert queue.stats['messages']['claimed'] == 2
    claim.update(ttl=400)
    assert claim.ttl == 400
    held[0].delete()
    still_held = queue.claim(id=claim.id)
    assert [message.body['number'] for message in still_held] == [1]
    claim.delete()
    assert queue.stats['messages']['claimed'] == 0
    assert queue.stats['messages']['free'] == 4

    queue.delete_messages(*identities[1:3])
    queue.message(identities[3]).delete()
    assert queue.stats['messages']['total'] == 1
    try:
        queue.message(identities[3])
    except errors.ResourceNotFound:
        pass
    else:
        raise AssertionError('a deleted message was found')

    queue.delete()
    try:
        queue.stats  # noqa: B018 - it is a request
    except errors.ResourceNotFound:
        pass
    else:
        raise AssertionError('a deleted queue was found')
    print('ok')


if __name__ == '__main__':
    logging.basicConfig(level=logging.DEBUG)
    main(sys.argv[1])
