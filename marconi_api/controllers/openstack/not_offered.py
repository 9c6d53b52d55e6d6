"""Parts of the API that Marconi does not offer: each is refused with a reason.

The status is 404, as that of a Zaqar without these parts. Clients take a 404 for a failure, while some
take 405 or 501 for success (docs/protocol-v2.md, 13.1).
"""

from marconi_api.model import QueueKey
from marconi_api.wire.actions import expose
from marconi_api.wire.failures import NotOffered
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request

_TOPICS = (
    'topics: subscribe queues to a queue, with queue: and their names, '
    'and each gets a copy of what is posted'
)


class NotOfferedController:
    """Refuses whatever is asked, and says what is not offered."""

    def __init__(self, what: str) -> None:
        self._what = what

    @expose(replies=None, raises=(NotOffered,))
    def get(self, request: Request, *path_values: str | QueueKey) -> Reply:
        """Refuse."""
        raise NotOffered(self._what)

    head = post = put = patch = delete = get


def pools_and_flavors(prefix: str) -> dict[str, NotOfferedController]:
    """Where versions 1.1 and 2 have pools and flavors (docs/protocol-v2.md, 10)."""
    return {
        f'{prefix}/{kind}s{member}': NotOfferedController(
            f'{kind}s: all queues are in one database'
        )
        for kind in ('pool', 'flavor')
        for member in ('', f'/{{{kind}}}')
    }


def topics(prefix: str) -> dict[str, NotOfferedController]:
    """Where version 2 has topics (docs/protocol-v2.md, 11)."""
    subscriptions = ('/subscriptions', '/subscriptions/{subscription}')
    below_topic = ('', '/stats', '/purge', '/messages', '/messages/{message}', *subscriptions)
    return {
        f'{prefix}/topics': NotOfferedController(_TOPICS),
        **{
            f'{prefix}/topics/{{topic}}{path}': NotOfferedController(_TOPICS)
            for path in below_topic
        },
    }
