"""The requests of the API that are measured, in the words of versions 1 and 2."""

import json
import re
from dataclasses import dataclass

CLIENT_ID = '3381af92-2b9e-11e3-b191-71861300734c'
PROJECT = 'bench'
HEADERS = {
    'Client-ID': CLIENT_ID,
    'X-Project-Id': PROJECT,
    'Content-Type': 'application/json',
}

#: The body of a message: 1 KiB of JSON, unless a question says otherwise.
KIBIBYTE = {'event': 'benchmark', 'data': 'x' * 990}


@dataclass(frozen=True)
class Request:
    """One request; ``path`` with its query."""

    method: str
    path: str
    body: str = ''


@dataclass(frozen=True)
class Queue:
    """A queue as one version of the API reaches it."""

    version: str
    name: str
    message: object = None

    @property
    def path(self) -> str:
        """Where the queue is."""
        return f'/{self.version}/queues/{self.name}'

    def make(self) -> Request:
        """Make it, as version 1 demands before the first post."""
        return Request('PUT', self.path)

    def post(self, count: int) -> Request:
        """Put messages into it."""
        messages = [{'ttl': 3600, 'body': self.message or KIBIBYTE}] * count
        document = messages if self.version == 'v1' else {'messages': messages}
        return Request('POST', f'{self.path}/messages', json.dumps(document))

    def claim(self, count: int) -> Request:
        """Reserve messages."""
        return Request('POST', f'{self.path}/claims?limit={count}', '{"ttl": 300, "grace": 60}')

    def list(self, count: int) -> Request:
        """Look at the first messages, one's own included."""
        return Request('GET', f'{self.path}/messages?limit={count}&echo=true')

    def delete(self, ids: str) -> Request:
        """Delete messages by their ids, separated by commas; claimed ones as well."""
        return Request('DELETE', f'{self.path}/messages?ids={ids}')

    def delete_one(self, message: str, claim: str) -> Request:
        """Delete one message that a claim holds."""
        return Request('DELETE', f'{self.path}/messages/{message}?claim_id={claim}')

    def pop(self, count: int) -> Request:
        """Take messages for good; not in version 1."""
        return Request('DELETE', f'{self.path}/messages?pop={count}')


def claimed(reply: str) -> list[tuple[str, str]]:
    """The ids of message and claim in the reply to a claim."""
    return re.findall(r'/messages/([\w-]+)\?claim_id=([\w-]+)', reply)
