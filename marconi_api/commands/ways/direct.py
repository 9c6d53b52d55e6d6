"""The queues as the database has them; no service needs to run."""

import logging
from collections.abc import Sequence
from typing import Any

from marconi_api import limits, model
from marconi_api.app import prepare
from marconi_api.commands.failures import NothingFound
from marconi_api.commands.interrupts import end_soon_at_ctrl_c
from marconi_api.commands.ways.way import Details, End, QueueLine
from marconi_api.errors import InvalidQueueName
from marconi_api.model import PeekedMessage, QueueKey, Store
from marconi_api.model.queues import MessageSummary
from marconi_api.processes import schema
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import read_settings

# As of a project's that clients cannot name.
_SEPARATOR = ','


def open_store() -> Store:
    """The store that the settings name, whose schema is current."""
    settings = read_settings()
    # What goes wrong is told in the one line with which the command ends.
    logging.disable(logging.WARNING)
    end_soon_at_ctrl_c()
    if url := database_url(settings):
        schema.check(url)
    prepare(settings)
    return model.store


class Direct:
    """The queues of one project on the database; see ``Way``."""

    def __init__(self, project: str) -> None:
        self._store = open_store()
        limits.in_force.check_project(project)
        if _SEPARATOR in project or not project.isprintable():
            raise InvalidQueueName('A project is named without commas and control characters.')
        self._project = project

    def queues(self, limit: int) -> list[QueueLine]:
        """The deepest queues first."""
        return [_line(view) for view in self._store.admin.overview(limit, self._project)]

    def queues_of_all_projects(self, limit: int) -> list[QueueLine]:
        """The same, whosever they are."""
        return [_line(view) for view in self._store.admin.overview(limit)]

    def projects(self) -> list[str]:
        """The projects that have queues."""
        return self._store.admin.projects()

    def details(self, queue: str) -> Details:
        """All that is known of a queue."""
        key = self.key(queue)
        admin = self._store.admin.queue(queue, self._project)
        stats = self._store.queues.stats(key)
        states = admin.stats()
        return Details(
            QueueLine(self._project, queue, stats.free, stats.claimed, stats.parked),
            _end(stats.oldest),
            _end(stats.newest),
            admin.metadata(),
            states['ready'],
            states['delayed'],
            admin.claims(),
        )

    def peek(
        self, queue: str, states: Sequence[str], limit: int, after: str | None
    ) -> list[PeekedMessage]:
        """The first messages in those states."""
        key = self.key(queue)
        found: list[PeekedMessage] = []
        while len(found) < limit:
            page = self._store.messages.peek(
                key, after, min(limit - len(found), _PAGE), states=frozenset(states)
            )
            found += page
            after = page.next
            if after is None:
                break
        return found

    def key(self, queue: str) -> QueueKey:
        """The key of a queue that is there."""
        limits.in_force.check_queue_name(queue)
        key = QueueKey.of(self._project, queue)
        if not self._store.queues.exists(key):
            raise NothingFound(self._not_found(queue))
        return key

    def _not_found(self, queue: str) -> str:
        whose = f'project {self._project}' if self._project else 'no project'
        others = self._store.admin.projects_with(queue)
        hint = ', '.join(f'--project {other!r}' for other in others)
        missing = f'there is no queue {queue} of {whose}'
        return f'{missing}; there is one with {hint}' if hint else missing


# Messages that one statement shows.
_PAGE = 1000


def _line(view: Any) -> QueueLine:
    return QueueLine(view.project, view.name, view.ready + view.delayed, view.claimed, view.parked)


def _end(summary: MessageSummary | None) -> End | None:
    return None if summary is None else End(summary.id, summary.age)
