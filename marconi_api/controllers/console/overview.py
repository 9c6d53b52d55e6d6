"""``/console``: all queues at a glance."""

import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from marconi_api import model
from marconi_api.controllers.console import plots
from marconi_api.controllers.console.pages import page
from marconi_api.controllers.console.sessions import may_name_projects, query_of
from marconi_api.model.figures import QueueLine
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

#: Queues on a page.
ON_A_PAGE = 50

#: What the queues can be sorted by, the first of them where nothing is said.
SORTS: Mapping[str, Callable[[QueueLine], Any]] = {
    'messages': lambda queue: -queue.messages,
    'name': lambda queue: (queue.name, queue.project),
    'project': lambda queue: (queue.project, queue.name),
    'ready': lambda queue: -queue.ready,
    'claimed': lambda queue: -queue.claimed,
    'delayed': lambda queue: -queue.delayed,
    'parked': lambda queue: -queue.parked,
    'in': lambda queue: -queue.came,
    'out': lambda queue: -queue.gone,
    'age': lambda queue: -1 if queue.age is None else -queue.age,
}


class OverviewController:
    """``/console``."""

    @expose(replies={200: Content()})
    def get(self, request: Request) -> Reply:
        """The queues of a project or, for those who may see all, of all projects."""
        _expect_a_queue()
        query = query_of(request)
        shows_all = may_name_projects(request) and not (
            request.identity.project or 'project' in query
        )
        search = query.get('search', '').strip()
        sort = query.get('sort', '')
        if sort not in SORTS:
            sort = next(iter(SORTS))
        seen = model.store.figures.overview()
        found = [
            queue
            for queue in (seen.figures.queues if seen else ())
            if (shows_all or queue.project == request.project)
            and request.identity.may_name(queue.name)
            and search in queue.name
        ]
        # They are in the order of their names, which decides where the figures are equal.
        found.sort(key=SORTS[sort])
        number = _page_number(query.get('page', ''), len(found))
        return page(
            request,
            'overview.html',
            seen=seen,
            queues=found[(number - 1) * ON_A_PAGE : number * ON_A_PAGE],
            found=len(found),
            messages=sum(queue.messages for queue in found),
            projects=len({queue.project for queue in found}),
            shows_all=shows_all,
            # In links: it says which project, where not all are shown.
            within=None if shows_all else request.project,
            search=search,
            sort=sort,
            number=number,
            pages=_pages(len(found)),
        )


@cache
def _expect_a_queue() -> None:
    """Get ready to draw, once in a process: next somebody looks at a queue."""
    threading.Thread(target=plots.load, name='plots', daemon=True).start()


def _pages(found: int) -> int:
    return max(1, -(-found // ON_A_PAGE))


def _page_number(sent: str, found: int) -> int:
    """The page that is asked for, or the nearest that there is."""
    number = int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 10 else 1
    return min(max(1, number), _pages(found))
