"""Who asks, as every door is told it."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

#: The roles of a project, which docs/security.md sets out, and that of the service's own people.
PRODUCER = 'producer'
CONSUMER = 'consumer'
READER = 'reader'
WRITER = 'writer'
ADMIN = 'admin'
OPERATOR = 'operator'

#: From the narrowest; an operator may name any project.
ROLES = (PRODUCER, CONSUMER, READER, WRITER, ADMIN, OPERATOR)

#: In place of a role: the bearer of a signed URL. Path, method, project and time have been
#: found to be what was granted; nothing else is to be asked.
SIGNED = 'signed'

#: In place of a role: in trusted mode, a client of whom the proxy in front names no role that
#: we know. It may do what an admin may, but for ``/v2/health``.
UNNAMED = 'unnamed'


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    :param project: the one that the request is about, '' where none was named
    :param roles: of ROLES, or SIGNED or UNNAMED; none at all on a path that is open to everybody
    :param queues: a pattern such as ``orders-*`` that the queues' names must match; None is any
    :param token: the id of the token of ours that was sent, which is not secret
    """

    project: str
    roles: frozenset[str] = frozenset()
    queues: str | None = None
    token: str | None = None

    def may_name(self, queue: str) -> bool:
        """Whether the queue is one of those that the credential is for.

        One that is not gets the answer of one that is missing.
        """
        return self.queues is None or fnmatchcase(queue, self.queues)


#: Who sends no credential, on a path that needs none.
NOBODY = Identity('')
