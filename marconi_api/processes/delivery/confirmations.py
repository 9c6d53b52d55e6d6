"""The message that asks a subscriber to confirm its subscription, or that it has ended.

See docs/protocol-v2.md, 8. The receiver sends a PUT to the path in the message, with the headers that the
message names.
"""

from datetime import timedelta

import msgspec

from marconi_api.controllers.openstack import signed_urls
from marconi_api.controllers.openstack.signed_urls import TIME_FORMAT, Grant, Signer
from marconi_api.model.deliveries import Owned
from marconi_api.model.postgres.tables import public_id

#: The time that a subscriber has to confirm.
_TIME = timedelta(days=1)

_SAID = {
    'SubscriptionConfirmation': 'You were subscribed to queue {queue} of project {project}. To '
    'confirm that you want its messages, send PUT to the path in URL-Paths, with the members '
    'URL-Signature, URL-Methods, URL-Paths, X-Project-ID and URL-Expires as headers and '
    'SubscribeBody as the body.',
    'UnsubscribeConfirmation': 'You get no more messages of queue {queue} of project {project}. To '
    'get them again, send PUT to the path in URL-Paths, with the members URL-Signature, '
    'URL-Methods, URL-Paths, X-Project-ID and URL-Expires as headers and SubscribeBody as the body.',
}


def confirmation(signer: Signer, owned: Owned, kind: str) -> bytes:
    """The body of the message.

    :param kind: SubscriptionConfirmation or UnsubscribeConfirmation
    """
    queue = owned.queue
    path = f'/v2/queues/{queue.name}/subscriptions/{public_id(owned.key.id)}/confirm'
    grant = Grant((path,), ('PUT',), queue.project, signed_urls.now() + _TIME)
    return msgspec.json.encode(
        {
            'Message_Type': kind,
            'Message': _SAID[kind].format(queue=queue.name, project=queue.project),
            'URL-Signature': signer.sign(grant),
            'URL-Methods': 'PUT',
            'URL-Paths': path,
            'X-Project-ID': queue.project,
            'URL-Expires': grant.expires.strftime(TIME_FORMAT),
            'SubscribeBody': {'confirmed': True},
            'UnsubscribeBody': {'confirmed': False},
            'queue_name': queue.name,
        }
    )
