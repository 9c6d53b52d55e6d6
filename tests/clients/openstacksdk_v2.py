"""The tour of a user of openstacksdk, API version 2; run in its own environment.

Usage: openstacksdk_v2.py URL. Prints `ok` at the end; anything that differs is an error.
"""

import sys
import uuid

import openstack.connection
from keystoneauth1 import noauth, session
from openstack.message.v2.claim import Claim


class Project(noauth.NoAuth):
    """No authentication, in a project: the SDK asserts one."""

    def get_project_id(self, session, **kwargs):
        """The project."""
        return 'p1'


def main(url):
    sent = []
    transport = session.Session(auth=Project(endpoint=url))
    transport.session.hooks['response'].append(lambda response, **_: sent.append(response.url))
    cloud = openstack.connection.Connection(session=transport, message_endpoint_override=url)
    name = f'tour-{uuid.uuid4()}'

    cloud.message.create_queue(name=name, description='a tour')
    assert cloud.message.get_queue(name).id == name
    assert name in [queue.name for queue in cloud.message.queues()]

    posted = cloud.message.post_message(
        name, [{'ttl': 300, 'body': {'number': number}} for number in range(5)]
    )
    identities = [path.rsplit('/', 1)[1] for path in posted]
    listed = list(cloud.message.messages(name, echo=True, limit=2))
    assert [message.body['number'] for message in listed] == [0, 1, 2, 3, 4], listed
    assert cloud.message.get_message(name, identities[0]).body == {'number': 0}

    # create_claim of the proxy loses the claim's id inside the SDK (4.22): the resource works.
    claim = Claim.new(queue_name=name, ttl=60, grace=60, limit=2).create(cloud.message)
    held = cloud.message.get_claim(name, claim.id)
    assert [message['body']['number'] for message in held.messages] == [0, 1, 2, 3, 4]
    cloud.message.update_claim(name, claim.id, ttl=400, grace=60)
    assert cloud.message.get_claim(name, claim.id).ttl == 400
    cloud.message.delete_message(name, identities[0], claim=claim.id)
    cloud.message.delete_claim(name, claim.id)
    cloud.message.delete_message(name, identities[1])
    assert len(list(cloud.message.messages(name, echo=True))) == 3

    cloud.message.delete_queue(name)
    assert name not in [queue.name for queue in cloud.message.queues()]
    print(f'ok, {len(sent)} requests')


if __name__ == '__main__':
    main(sys.argv[1])
