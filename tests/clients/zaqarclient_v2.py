"""The tour of a user of python-zaqarclient 4.7, API version 2; run in its own environment.

Usage: zaqarclient_v2.py [URL [TOKEN PROJECT]]; the token of an admin. Without a URL it logs in as the
variables OS_... say, and is refused in the project OTHER_PROJECT. Logs its requests, and prints
`ok` at the end; anything that differs is an error.
"""

import logging
import os
import sys
import uuid

from keystoneauth1 import session
from keystoneauth1.identity import v3
from zaqarclient.queues import client
from zaqarclient.transport import errors


def main(url=None, token=None, project_id=None):
    if not url:
        project_id = os.environ['OS_PROJECT_ID']
        service, other = logged_in(project_id), logged_in(os.environ['OTHER_PROJECT'])
        url = service.api_url
        assert_refused(errors.ForbiddenError, other.queues)
    project = {'os_project_id': project_id or f'tour-{uuid.uuid4()}'}
    if token:
        options = {'auth_opts': {'options': {'os_auth_token': token}}}
        service = client.Client(url, version=2, conf=options)
    elif not project_id:
        options = {'auth_opts': {'backend': 'noauth', 'options': project}}
        service = client.Client(url, version=2, conf=options)

    assert service.ping()
    assert 'resources' in service.homedoc()
    if project_id:
        assert service.health()['storage_reachable']
    else:
        assert_refused(errors.ForbiddenError, service.health)
    queue = service.queue('tour', force_create=True)
    assert queue.exists()

    queue.metadata(new_meta={'purpose': 'tour', '_default_message_ttl': 600})
    assert queue.metadata()['purpose'] == 'tour'
    assert queue.metadata()['_default_message_ttl'] == 600
    queue.metadata(new_meta={'purpose': 'changed'})
    assert queue.metadata(force_reload=True)['purpose'] == 'changed'
    assert queue.metadata()['_default_message_ttl'] == 3600

    others = [service.queue(name, force_create=True) for name in ('other', 'tour-2')]
    queues, count = service.queues(detailed=True, limit=1, with_count=True, name='tour')
    (found,) = queues
    assert (found.name, found.metadata()['purpose'], count) == ('tour', 'changed', 3)
    queues, _ = service.queues(limit=1, name='tour')
    assert names(queues.stream()) == ['tour', 'tour-2']
    queues, _ = service.queues(limit=2, marker='other')
    assert names(queues) == ['tour', 'tour-2']
    for other in others:
        other.delete()

    posted = queue.post([{'ttl': 300, 'body': {'number': number}} for number in range(5)])
    identities = [path.rsplit('/', 1)[1] for path in posted['resources']]
    assert numbers(queue.messages(echo=True, limit=2)) == [0, 1]
    assert numbers(queue.messages(echo=True, limit=2, marker=identities[1])) == [2, 3]
    assert numbers(queue.messages(echo=True, limit=2).stream()) == [0, 1, 2, 3, 4]
    assert numbers(queue.messages()) == []
    assert numbers(queue.messages(*identities[:2])) == [0, 1]
    assert queue.message(identities[0]).body == {'number': 0}

    claim = queue.claim(ttl=60, grace=60, limit=2)
    held = list(claim)
    assert [message.body['number'] for message in held] == [0, 1]
    assert queue.stats['messages']['claimed'] == 2
    assert numbers(queue.messages(echo=True)) == [2, 3, 4]
    assert numbers(queue.messages(echo=True, include_claimed=True)) == [0, 1, 2, 3, 4]
    claim.update(ttl=400, grace=60)
    assert queue.claim(id=claim.id).ttl == 400
    held[0].delete()
    assert numbers(queue.claim(id=claim.id)) == [1]
    claim.delete()
    assert queue.stats['messages']['claimed'] == 0
    by_default = queue.claim()
    assert len(list(by_default)) == 4
    by_default.delete()

    # Who has no other access than what was shared: it may read, and post, but not pop.
    shared = queue.signed_url(paths=['messages'], ttl_seconds=600, methods=['GET', 'POST'])
    signed = {'backend': 'signed-url', 'options': {**shared, **project}}
    guest = client.Client(url, version=2, conf={'auth_opts': signed}).queue('tour')
    assert numbers(guest.messages(echo=True, limit=3).stream()) == [1, 2, 3, 4]
    assert guest.message(identities[1]).body == {'number': 1}
    guest.post({'ttl': 300, 'body': {'number': 5}})
    assert_refused(errors.ResourceNotFound, lambda: guest.pop(1))
    assert_refused(errors.ResourceNotFound, guest.claim)

    assert numbers(queue.pop(1)) == [1]
    queue.delete_messages(identities[2])
    queue.message(identities[3]).delete()
    assert queue.stats['messages']['total'] == 2
    queue.purge(['messages'])
    assert queue.stats['messages']['total'] == 0
    queue.post({'body': 'of any type', 'delay': 60})
    assert list(queue.messages(echo=True)) == []
    assert len(list(queue.messages(echo=True, include_delayed=True))) == 1
    queue.purge()
    assert queue.stats['messages']['total'] == 0
    assert_refused(errors.ResourceNotFound, lambda: queue.message(identities[3]))

    subscribe(service, queue)
    queue.delete()
    queues, _ = service.queues()
    assert names(queues) == []
    print('ok')


def subscribe(service, queue):
    """Subscribe webhooks, and a queue that gets a copy of what is posted."""
    hook = service.subscription('tour', subscriber='http://hooks.example.com/', ttl=600)
    assert (hook.subscriber, hook.ttl, hook.confirmed, hook.options) == (
        *('http://hooks.example.com/', 600, True),
        {},
    )
    other = service.subscription(
        'tour', subscriber='https://hooks.example.com/', options={'post_data': 'x'}, ttl=60
    )
    assert other.options == {'post_data': 'x'}
    hook.update({'ttl': 1200, 'options': {'_timeout': 5}})
    found = service.subscription('tour', id=hook.id)
    assert (found.ttl, found.options) == (1200, {'_timeout': 5})
    listed = service.subscriptions('tour', limit=1)
    assert [one.id for one in listed.stream()] == [hook.id, other.id]
    again = {'subscriber': 'https://hooks.example.com/', 'ttl': 60}
    assert_refused(errors.ConflictError, lambda: service.subscription('tour', **again))
    other.delete()
    assert_refused(errors.ResourceNotFound, lambda: service.subscription('tour', id=other.id))

    copies = service.queue('copies', force_create=True)
    service.subscription('tour', subscriber='queue:copies', ttl=600)
    queue.post({'body': {'number': 7}})
    assert numbers(copies.messages(echo=True)) == [7]
    copies.delete()
    assert len(list(queue.subscriptions())) == 2
    queue.purge(['subscriptions'])
    assert list(queue.subscriptions()) == []


def logged_in(project):
    """A client for a project, with a login that may be for another one."""
    names = ('auth_url', 'username', 'password', 'user_domain_id', 'project_id')
    login = {name: os.environ[f'OS_{name.upper()}'] for name in names}
    # Without a session, it would log in for each request.
    transport = session.Session(auth=v3.Password(**login))
    url = transport.get_endpoint(service_type='messaging')
    options = {'backend': 'keystone', 'options': {'os_project_id': project}}
    return client.Client(url, version=2, conf={'auth_opts': options}, session=transport)


def names(queues):
    """The names of queues."""
    return [queue.name for queue in queues]


def numbers(messages):
    """The numbers in the bodies of messages."""
    return [message.body['number'] for message in messages]


def assert_refused(error, call):
    """The service refuses a call."""
    try:
        call()
    except error:
        return
    raise AssertionError(f'{error.__name__} expected')


if __name__ == '__main__':
    logging.basicConfig(level=logging.DEBUG)
    main(*sys.argv[1:])
