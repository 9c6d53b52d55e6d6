"""``/console/audit``: what people did, and who."""

from marconi_api import model
from marconi_api.controllers.console.pages import page
from marconi_api.controllers.console.sessions import may_name_projects, query_of
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

#: Entries that are shown, at most.
MOST_ENTRIES = 200


class AuditController:
    """``/console/audit``."""

    @expose(replies={200: Content()})
    def get(self, request: Request) -> Reply:
        """The last entries of a project or, for those who may see all, of all projects."""
        shows_all = may_name_projects(request) and not (
            request.identity.project or 'project' in query_of(request)
        )
        entries = model.store.audit.find(
            project=None if shows_all else request.project, limit=MOST_ENTRIES
        )
        return page(
            request,
            'audit.html',
            shows_all=shows_all,
            entries=[
                entry
                for entry in entries
                if entry.queue is None or request.identity.may_name(entry.queue)
            ],
            most=MOST_ENTRIES,
        )
