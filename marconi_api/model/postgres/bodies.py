"""Bodies that outlive their message, because a webhook has not got it yet.

A message that is deleted leaves its body in ``messages`` for as long as a delivery names it
(``tables.deliveries``). Nobody but the deliveries sees such a body. It goes with the last of them,
or else the janitor finds it.

**The rule.** Who removes a body because neither a state nor a delivery needs it names the row by
its place (``ctid``), as ``REMOVE_UNNEEDED`` does. A message may return to the queue at that
moment, by a redrive (``BODY_IS_THERE``). That writes the row anew, at another place, so that it is left
alone. By its id the row would be removed from under the message.
"""

_WAITING = """EXISTS (
           SELECT FROM subscriptions AS subscription,
                  LATERAL (SELECT FROM deliveries AS delivery
                            WHERE delivery.queue_id = subscription.queue_id
                              AND delivery.subscription_id = subscription.id
                              AND delivery.message_id = {message} LIMIT 1) AS waiting
            WHERE subscription.queue_id = %(queue_id)s)"""

#: For a statement that deletes messages, to follow the condition for their bodies: no delivery
#: needs the body. Queues without subscribers pay for one look at their own row.
NOBODY_WAITS = f"""
           AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
                OR NOT {_WAITING.format(message='messages.id')})"""

#: To follow the insert of a body that may have stayed here.
BODY_IS_THERE = """
            ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at"""

#: Removes those of the bodies ``ids`` that neither a message nor a delivery needs. It must begin after
#: the transaction was committed that deleted the message or the delivery. So if both are deleted at
#: once, the later one of the two statements sees that the body is not needed.
REMOVE_UNNEEDED = f"""
    DELETE FROM messages
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM messages AS body
            WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
              AND (SELECT true FROM message_states AS state
                    WHERE state.queue_id = %(queue_id)s AND state.id = body.id LIMIT 1) IS NULL
              AND NOT {_WAITING.format(message='body.id')}))
"""
