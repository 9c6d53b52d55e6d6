"""A client of one FIFO queue by the door of SQS, as Amazon's SDKs speak to it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from faults.client import Answer, Client, Held, held_by
from faults.groups import place_in
from faults.log import DONE, REFUSED
from faults.numbers import body_of, number_in

#: Messages of one request, at most.
MOST_AT_ONCE = 10
# How often a post is made until its outcome is known: a FIFO queue stores it once.
_TRIES = 7
# Seconds for which messages live, unless the queue says something else.
_TTL = 3600


class SqsClient:
    """Calls of one process, which go the way of its other calls, and into the same log.

    In trusted mode no signature is needed where a proxy names the project.
    """

    def __init__(self, client: Client, queue: str) -> None:
        self._client = client
        self._queue = queue
        self._project, self._name = queue.split('/')
        self._url = ''

    def send(self, first: int, groups: Sequence[str]) -> str:
        """Send a message to each of the groups, again and again until it is known what became of them."""
        call = self._client.begin_post(self._queue, first, len(groups), _TTL, 0, has_key=True)
        return self._end_send(call, self._send(first, groups, _TRIES))

    def send_again(self, first: int, groups: Sequence[str]) -> None:
        """Send once more what was stored, which must not be stored a second time."""
        given = {'queue': self._queue, 'first': first, 'count': len(groups)}
        self._end_send(self._client.log.begin('repeat', **given), self._send(first, groups, 1))

    def _send(self, first: int, groups: Sequence[str], tries: int) -> Answer:
        entries = [
            {
                'Id': str(place),
                'MessageBody': msgspec.json.encode(body_of(first + place)).decode(),
                'MessageGroupId': group,
                'MessageDeduplicationId': f'id-{first + place:x}',
            }
            for place, group in enumerate(groups)
        ]
        return self._ask('SendMessageBatch', {'Entries': entries}, tries=tries)

    def _end_send(self, call: int, answer: Answer) -> str:
        told: dict[str, Any] = {'status': answer.status}
        if answer.outcome == DONE:
            by_place = {int(sent['Id']): sent['MessageId'] for sent in answer.body['Successful']}
            told['ids'] = [by_place[place] for place in sorted(by_place)]
        self._client.log.end(call, answer.outcome, **told)
        return answer.outcome

    def receive(self, limit: int, visibility: int, wait: int) -> list[Held]:
        """Receive messages, each with a receipt in place of a claim."""
        terms = {'limit': limit, 'ttl': visibility, 'grace': 60, 'wait': wait}
        call = self._client.log.begin('claim', queues=[self._queue], **terms)
        document = {
            'MaxNumberOfMessages': limit,
            'VisibilityTimeout': visibility,
            'WaitTimeSeconds': wait,
            'AttributeNames': ['All'],
        }
        answer = self._ask('ReceiveMessage', document, wait)
        found = answer.body.get('Messages', []) if answer.outcome == DONE else []
        claims = [[self._queue, it['ReceiptHandle'], [_shown(it)]] for it in found]
        self._client.log.end(call, answer.outcome, status=answer.status, claims=claims)
        return held_by(claims)

    def delete(self, messages: Sequence[Held]) -> None:
        """Delete messages by their receipts."""
        call = self._client.begin_verdicts([(held, 'delete', 0) for held in messages])
        entries = [
            {'Id': str(place), 'ReceiptHandle': held[3]} for place, held in enumerate(messages)
        ]
        answer = self._ask('DeleteMessageBatch', {'Entries': entries})
        failed = {int(it['Id']) for it in (answer.body or {}).get('Failed', ())}
        # A success does not tell whether the message was there.
        results = [REFUSED if place in failed else 'over' for place in range(len(messages))]
        self._client.end_verdicts(call, answer, results)

    def _ask(
        self, operation: str, document: dict[str, Any], wait: int = 0, tries: int = 1
    ) -> Answer:
        if not self._url:
            found = self._call('GetQueueUrl', {'QueueName': self._name}, tries=_TRIES)
            if found.outcome != DONE:
                return Answer(0)
            self._url = found.body['QueueUrl']
        return self._call(operation, {'QueueUrl': self._url, **document}, wait, tries)

    def _call(
        self, operation: str, document: dict[str, Any], wait: int = 0, tries: int = 1
    ) -> Answer:
        headers = {
            'Content-Type': 'application/x-amz-json-1.0',
            'X-Amz-Target': f'AmazonSQS.{operation}',
        }
        return self._client.ask(self._project, 'POST', '/', document, headers, wait, tries=tries)


def _shown(message: dict[str, Any]) -> list[Any]:
    told = message['Attributes']
    place = place_in(told['MessageGroupId'], told['SequenceNumber'])
    number = number_in(message['Body']) or 0
    return [message['MessageId'], number, int(told['ApproximateReceiveCount']), place]
