"""``/livez`` and ``/readyz``: probes of an orchestrator or a load balancer (docs/operating.md).

Neither needs a credential, and neither looks at one.
"""

import threading
from collections.abc import Iterator

from wsme import types as wtypes

from marconi_api import model
from marconi_api.model import Unhealthy
from marconi_api.wire.actions import Content, expose
from marconi_api.wire.documents import Document
from marconi_api.wire.replies import RETRY_AFTER, Reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.values import string

#: The member of a WSGI environment that says that the service is about to stop.
DRAINING = 'marconi.draining'

# Seconds for which a probe waits for an earlier one to end, which may itself wait for a statement.
_PATIENCE = 1.0

_NO_ANSWER_YET = f'PostgreSQL has not answered another probe for {_PATIENCE:g} s.'
_STOPPING = 'The service is about to stop.'


class Liveness(Document):
    """That the process answers."""

    live = wtypes.wsattr(bool, mandatory=True)


class Readiness(Document):
    """Whether requests should be sent here; if not, for which reasons."""

    ready = wtypes.wsattr(bool, mandatory=True)
    reasons = wtypes.wsattr([string], mandatory=True)


class LivenessController:
    """``/livez``: nothing but this process makes a difference to it."""

    @expose(replies={200: Content(Liveness)}, needs_storage=False)
    def get(self, request: Request) -> Reply:
        """That the process answers; the database is not asked."""
        return json_reply({'live': True})


class ReadinessController:
    """``/readyz``: whether requests should be sent here."""

    def __init__(self) -> None:
        # One probe asks the database at a time, so that probes never hold all threads.
        self._asking = threading.Lock()

    @expose(
        replies={200: Content(Readiness), 503: Content(Readiness, RETRY_AFTER[0])},
        needs_storage=False,
    )
    def get(self, request: Request) -> Reply:
        """Whether messages can be stored, the schema is current, and no stop is near."""
        reasons = list(self._reasons(request))
        if reasons:
            return json_reply({'ready': False, 'reasons': reasons}, 503, RETRY_AFTER)
        return json_reply({'ready': True, 'reasons': []})

    def _reasons(self, request: Request) -> Iterator[str]:
        if DRAINING in request.environ:
            yield _STOPPING
        if not self._asking.acquire(timeout=_PATIENCE):
            yield _NO_ANSWER_YET
            return
        try:
            model.store.check_health()
        except Unhealthy as error:
            yield str(error)
        finally:
            self._asking.release()
