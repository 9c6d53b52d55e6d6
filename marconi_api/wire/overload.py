"""Which requests are refused while more come than can be answered.

The server around the application sees how many requests wait to be answered (``processes/overload.py``),
and says in the WSGI environment of a request that it is one too many. Whether that request is then
refused depends on what it is for. So it is decided once its path is known, and before anything is done for
it: before its credential is looked at, and before the database is asked.
"""

from marconi_api import policy
from marconi_api.wire.doors import actions_of
from marconi_api.wire.failures import Overloaded
from marconi_api.wire.requests import Request
from marconi_api.wire.waiting import is_ready_to_wait

#: The member of a WSGI environment that says that the request is one too many. A text, since the
#: environment of a request whose body arrives slowly is handed over to another process.
REFUSED = 'marconi.refused'

#: Its values: what brings further work is refused, or all that makes work.
NEW_WORK, ALL_WORK = 'new work', 'all work'


def refuse(request: Request) -> None:
    """Refuse a request that is one too many, now that its resource is known, unless it is spared.

    Never refused is what makes no work for the database, or says whether the service works. What ends
    work that was begun, and what is ready to wait for messages, is refused only with all work: without
    it there would be more work later.

    :raises Overloaded: if the request is refused
    """
    refused = request.environ.pop(REFUSED)
    resource, method = request.resource, request.environ['REQUEST_METHOD']
    action = resource.actions.get(method)
    if action is None or not action.declaration.needs_storage:
        return
    names = frozenset(actions_of(resource.names[method], request))
    if names <= policy.PROBING:
        return
    if refused == NEW_WORK and (
        names <= policy.FINISHING or (names <= policy.LOOKING and is_ready_to_wait(request))
    ):
        return
    raise Overloaded
