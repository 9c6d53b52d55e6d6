"""How examples come upon a delivery to a webhook."""

from marconi_api import model
from marconi_api.model import QueueKey
from marconi_api.model.postgres.tables import message_id

_MAKE = """
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at, due_at, attempts)
    VALUES (%(queue_id)s, %(subscription)s, %(message)s, now() + interval '1 hour', 'infinity', 18)
"""


def make_delivery(queue: QueueKey, subscription: str, message: str) -> str:
    """A message failed to be delivered; returns the delivery's id."""
    given = {
        'queue_id': queue.id,
        'subscription': message_id(subscription),
        'message': message_id(message),
    }
    model.store.database.rows(_MAKE, given)
    return message
