"""Who asks, as every door is told it."""

from dataclasses import dataclass

from marconi_api.model.tokens import is_within

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
    :param roles: of ``model.tokens.ROLES``, or SIGNED or UNNAMED; none at all where nobody need
        say who asks
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
        return is_within(queue, self.queues)
