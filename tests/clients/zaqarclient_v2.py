"""The tour of a user of python-zaqarclient 4.7, API version 2; run in its own environment.

Usage: zaqarclient_v2.py URL. Prints `ok` at the end; anything that differs is an error.
"""

import sys
import uuid

import requests.sessions
from zaqarclient.queues import client
from zaqarclient.transport import errors


def main(url):
    sent = count_requests()
    options = {'auth_opts': {'backend': 'noauth', 'options': {'os_project_id': 'p1'}}}
    service = client.Client(url, version=2, conf=options)
    name = f'tour-{uuid.uuid4()}'

    assert service.ping()
    assert 'resources' in service.homedoc()
    queue = service.queue(name, force_create=True)
    assert queue.exists()

    queue.metadata(new_meta={'purpose': 'tour', '_default_message_ttl': 600})
    assert queue.metadata()['purpose'] == 'tour'
    assert queue.metadata()['_default_message_ttl'] == 600
    queue.metadata(new_meta={'purpose': 'changed'})
    assert 'tour' not in queue.metadata().values()
    queues, count = service.queues(detailed=True, limit=1, with_count=True, name=name)
    assert [found.name for found in queues] == [name]
    assert count >= 1

    posted = queue.post([{'ttl': 300, 'body': {'number': number}} for number in range(5)])
    identities = [path.rsplit('/', 1)[1] for path in posted['resources']]
    assert numbers(queue.messages(echo=True, limit=2)) == [0, 1]
    assert [message.body['number'] for message in queue.messages(echo=True, limit=2).stream()] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert numbers(queue.messages(*identities[:2])) == [0, 1]
    assert queue.message(identities[0]).body == {'number': 0}

    claim = queue.claim(ttl=60, grace=60, limit=2)
    held = list(claim)
    assert [message.body['number'] for message in held] == [0, 1]
    assert queue.stats['messages']['claimed'] == 2
    claim.update(ttl=400, grace=60)
    held[0].delete()
    assert [message.body['number'] for message in queue.claim(id=claim.id)] == [1]
    claim.delete()
    assert queue.stats['messages']['claimed'] == 0
    by_default = queue.claim()
    assert len(list(by_default)) == 4
    by_default.delete()

    shared = queue.signed_url(paths=['messages'], ttl_seconds=600, methods=['GET'])
    signed = {'backend': 'signed-url', 'options': {**shared, 'os_project_id': 'p1'}}
    guest = client.Client(url, version=2, conf={'auth_opts': signed}).queue(name)
    assert len(list(guest.messages(echo=True))) == 4
    try:
        guest.pop(1)
    except errors.ResourceNotFound:
        pass
    else:
        raise AssertionError('a signature to read opened more')

    assert len(list(queue.pop(1))) == 1
    queue.delete_messages(identities[2])
    queue.message(identities[3]).delete()
    assert queue.stats['messages']['total'] == 1
    queue.purge()
    assert queue.stats['messages']['total'] == 0
    try:
        queue.message(identities[3])
    except errors.ResourceNotFound:
        pass
    else:
        raise AssertionError('a deleted message was found')
    queue.delete()
    print(f'ok, {len(sent)} requests')


def numbers(messages):
    """The numbers in the bodies of a page."""
    return [message.body['number'] for message in messages]


def count_requests():
    """Note every request that the client sends from here on."""
    sent = []
    send = requests.sessions.Session.send

    def noting(session, request, **kwargs):
        sent.append((request.method, request.url))
        return send(session, request, **kwargs)

    requests.sessions.Session.send = noting
    return sent


if __name__ == '__main__':
    main(sys.argv[1])
