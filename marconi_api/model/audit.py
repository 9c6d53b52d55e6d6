"""The audit log: what people did to queues, tokens and limits by command, and by whom.

What a person does is noted in the transaction in which it is done, so that neither is there without
the other. Requests of clients are not noted, but for those that change a queue as a whole
(docs/commands.md).
"""

import os
import pwd
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import QueueKey

#: The ways by which somebody can do something.
COMMAND = 'command'
SHELL = 'shell'
API = 'api'
CONSOLE = 'console'


class Actor(NamedTuple):
    """Somebody who does something.

    :param name: of the operating system's user, ``user@host``; over HTTP that of the credential,
        ``token ID``
    :param way: one of the above
    """

    name: str
    way: str

    @classmethod
    def of_this_process(cls, way: str) -> 'Actor':
        """The user as whom this process runs; of root by sudo also who called that."""
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
        caller = os.environ.get('SUDO_USER')
        by = f'{caller} as ' if caller and os.getuid() == 0 else ''
        return cls(_printable(f'{by}{user}@{socket.gethostname()}'), way)


def _printable(text: str) -> str:
    return ''.join(character if character.isprintable() else '?' for character in text)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was done.

    ``count`` is the number of messages, None where they were not counted, or where it was not about
    any; ``project`` and ``queue`` are None where it was not about one. ``details`` is JSON.
    """

    id: int
    at: datetime
    who: str
    way: str
    action: str
    project: str | None
    queue: str | None
    count: int | None
    details: str


class Audit:
    """What people did.

    :param retention: days for which it is kept
    """

    def __init__(self, database: Database, retention: float) -> None:
        self._database = database
        self._retention = retention
        #: Who does what this process notes, unless that says otherwise; None: the user of a prompt.
        self.actor: Actor | None = None

    def note(
        self,
        action: str,
        queue: QueueKey | None = None,
        project: str | None = None,
        count: int | None = None,
        by: Actor | None = None,
        **details: Any,
    ) -> int:
        """Note that something was done, in the transaction of this thread if there is one.

        :param action: in a word or two, such as ``purge`` or ``token create``
        :param project: if there is no queue
        :returns: what :meth:`add` takes
        """
        actor = by or self.actor or Actor.of_this_process(SHELL)
        parameters = {
            'who': actor.name,
            'way': actor.way,
            'action': action,
            'project': queue.project if queue else project,
            'queue': queue.name if queue else None,
            'count': count,
            'details': msgspec.json.encode(
                {name: value for name, value in details.items() if value is not None}
            ).decode(),
        }
        [(entry,)] = self._database.rows(_NOTE, parameters)
        return int(entry)

    def add(self, entry: int, count: int) -> None:
        """So many more messages were changed by what was noted."""
        self._database.rows(_ADD, {'id': entry, 'count': count})

    def find(
        self,
        since: float | None = None,
        project: str | None = None,
        queue: str | None = None,
        action: str | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """What was done, the last first.

        :param since: so many seconds ago at most
        :param action: its first word, or all of it
        """
        parameters = {
            'since': since,
            'project': project,
            'queue': queue,
            'action': action,
            'limit': limit,
        }
        return [Entry(*row) for row in self._database.rows(_FIND, parameters, repeatable=True)]

    def remove_old(self, batch_size: int) -> int:
        """Remove what need not be kept any longer; how many entries those were."""
        removed = 0
        while True:
            parameters = {'days': self._retention, 'batch_size': batch_size}
            gone = len(self._database.rows(_REMOVE_OLD, parameters))
            removed += gone
            if gone < batch_size:
                return removed


_NOTE = """
    INSERT INTO audit (who, way, action, project, queue, count, details)
    VALUES (%(who)s, %(way)s, %(action)s, %(project)s, %(queue)s, %(count)s, %(details)s)
 RETURNING id
"""

_ADD = """
    UPDATE audit SET count = coalesce(count, 0) + %(count)s WHERE id = %(id)s
"""

_FIND = """
    SELECT id, at, who, way, action, project, queue, count, details FROM audit
     WHERE (%(since)s::float8 IS NULL OR at >= now() - %(since)s::float8 * interval '1 second')
       AND (%(project)s::text IS NULL OR project = %(project)s)
       AND (%(queue)s::text IS NULL OR queue = %(queue)s)
       AND (%(action)s::text IS NULL OR action = %(action)s
            OR starts_with(action, %(action)s || ' '))
     ORDER BY at DESC, id DESC LIMIT %(limit)s
"""

_REMOVE_OLD = """
    DELETE FROM audit
     WHERE id IN (
           SELECT id FROM audit
            WHERE at < now() - %(days)s * interval '1 day'
            ORDER BY at LIMIT %(batch_size)s
              FOR UPDATE SKIP LOCKED)
 RETURNING id
"""
