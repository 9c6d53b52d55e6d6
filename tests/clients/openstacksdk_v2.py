"""The tour of a user of openstacksdk, API version 2; run in its own environment.

Usage: openstacksdk_v2.py [URL [TOKEN PROJECT]]; the token of an admin. Without a URL it logs in as
the variables OS_... say, and is refused in the project OTHER_PROJECT. Logs its requests, and prints
`ok` at the end; anything that differs is an error.

The SDK has no call for pop, purge, share, stats, messages by ids or a change of metadata; it
follows no `links`, but pages by the last name or message id that it got.
"""

import logging
import os
import sys
import uuid

import openstack.connection
import openstack.exceptions
from keystoneauth1 import noauth, session, token_endpoint
from openstack.message.v2.claim import Claim


class Project(noauth.NoAuth):
    """No authentication, in a project of its own: the SDK asserts one."""

    project = f'tour-{uuid.uuid4()}'

    def get_project_id(self, session, **kwargs):
        """The project."""
        return self.project


class Token(token_endpoint.Token):
    """A token of the service's own, in a project that the SDK asserts to know."""

    def __init__(self, url, token, project):
        super().__init__(url, token)
        self.project = project

    def get_project_id(self, session, **kwargs):
        """The project."""
        return self.project


def main(url=None, token=None, project=None):
    if url:
        auth = Token(url, token, project) if token else Project(endpoint=url)
        transport = session.Session(auth=auth)
        cloud = openstack.connection.Connection(session=transport, message_endpoint_override=url)
        messaging = cloud.message
    else:
        messaging = openstack.connect().message
        refused = messaging.get('/queues', headers={'X-PROJECT-ID': os.environ['OTHER_PROJECT']})
        assert refused.status_code == 403, refused.text

    for name in ('tour', 'tour-2', 'tour-3'):
        messaging.create_queue(name=name, description='a tour', _default_message_ttl=600)
    messaging.create_queue(name='tour', description='it is there already')
    queue = messaging.get_queue('tour')
    assert (queue.id, queue.description, queue.default_message_ttl) == ('tour', 'a tour', 600)
    # Three pages, and an empty one.
    assert names(messaging.queues(limit=1)) == ['tour', 'tour-2', 'tour-3']
    assert names(messaging.queues(limit=2, marker='tour')) == ['tour-2', 'tour-3']

    posted = messaging.post_message(
        'tour', [{'ttl': 300, 'body': {'number': number}} for number in range(4)]
    )
    posted += messaging.post_message('tour', [{'body': {'number': 4}}])
    identities = [path.rsplit('/', 1)[1] for path in posted]
    # Three pages; the SDK knows that the third, which is not full, is the last.
    assert numbers(messaging.messages('tour', echo=True, limit=2)) == [0, 1, 2, 3, 4]
    assert numbers(messaging.messages('tour', echo=True, limit=2, marker=identities[2])) == [3, 4]
    message = messaging.get_message('tour', identities[4])
    assert (message.body, message.ttl) == ({'number': 4}, 600)

    # create_claim of the proxy loses the claim's id inside the SDK (4.22): the resource works.
    # It sends its limit in the body, where no service looks for it.
    claim = Claim.new(queue_name='tour', ttl=60, grace=60, limit=2).create(messaging)
    held = messaging.get_claim('tour', claim.id)
    assert [message['body']['number'] for message in held.messages] == [0, 1, 2, 3, 4]
    assert numbers(messaging.messages('tour', echo=True)) == []
    assert len(list(messaging.messages('tour', echo=True, include_claimed=True))) == 5
    nothing_left = Claim.new(queue_name='tour', ttl=60, grace=60).create(messaging)
    assert nothing_left.id is None
    messaging.update_claim('tour', claim.id, ttl=400, grace=60)
    assert messaging.get_claim('tour', claim.id).ttl == 400
    messaging.delete_message('tour', identities[0], claim=claim.id)
    messaging.delete_claim('tour', claim.id)
    assert_missing(lambda: messaging.get_claim('tour', claim.id))

    messaging.delete_message('tour', identities[1])
    assert_missing(lambda: messaging.get_message('tour', identities[1]))
    assert numbers(messaging.messages('tour', echo=True)) == [2, 3, 4]

    subscribe(messaging)
    for queue in ('tour', 'tour-2', 'tour-3'):
        messaging.delete_queue(queue)
    assert names(messaging.queues()) == []
    print('ok')


def subscribe(messaging):
    """Subscribe a webhook, and a queue that gets a copy of what is posted."""
    made = [
        messaging.create_subscription('tour', subscriber=subscriber, ttl=600, options={})
        for subscriber in ('http://hooks.example.com/', 'queue:tour-2')
    ]
    identities = [one.subscription_id for one in made]
    # Two pages, and an empty one.
    listed = [one.id for one in messaging.subscriptions('tour', limit=1)]
    assert listed == identities
    hook = messaging.get_subscription('tour', identities[0])
    assert (hook.subscriber, hook.ttl, hook.source) == ('http://hooks.example.com/', 600, 'tour')
    messaging.post_message('tour', [{'body': {'number': 7}}])
    assert numbers(messaging.messages('tour-2', echo=True)) == [7]
    for identity in identities:
        messaging.delete_subscription('tour', identity)
    assert_missing(lambda: messaging.get_subscription('tour', identities[0]))


def names(queues):
    """The names of queues."""
    return [queue.name for queue in queues]


def numbers(messages):
    """The numbers in the bodies of messages."""
    return [message.body['number'] for message in messages]


def assert_missing(call):
    """The service says that there is no such thing."""
    try:
        call()
    except openstack.exceptions.NotFoundException:
        return
    raise AssertionError('what was deleted was found')


if __name__ == '__main__':
    logging.basicConfig(level=logging.DEBUG)
    main(*sys.argv[1:])
