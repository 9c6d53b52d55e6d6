"""The identity of the client that sends a request, in one form for all doors."""

from dataclasses import dataclass

from marconi_api.model.tokens import is_within


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request.

    :param project: the project that the request is about, '' if none was named
    :param roles: roles of ``policy``, or what it has in place of a role; empty on paths that need no
        credential
    :param queues: a pattern such as ``orders-*`` that the queues' names must match; None: any queue
    :param token: the id of the token that was sent, which is not secret; for a token of Keystone's the
        id by which Keystone's audits name it
    """

    project: str
    roles: frozenset[str] = frozenset()
    queues: str | None = None
    token: str | None = None

    def may_name(self, queue: str) -> bool:
        """Whether the credential is for the queue.

        If it is not, the answer is 403, whether or not the queue exists.
        """
        return is_within(queue, self.queues)
