"""Who asks, as every door is told it."""

from dataclasses import dataclass

from marconi_api.model.tokens import is_within


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    :param project: the one that the request is about, '' where none was named
    :param roles: those of ``policy``, or what stands there in place of one; none at all where
        nobody need say who asks
    :param queues: a pattern such as ``orders-*`` that the queues' names must match; None is any
    :param token: the id of the token that was sent, which is not secret; for one of Keystone's,
        the id by which its audits name it
    """

    project: str
    roles: frozenset[str] = frozenset()
    queues: str | None = None
    token: str | None = None

    def may_name(self, queue: str) -> bool:
        """Whether the queue is one of those that the credential is for.

        One that is not is a 403, whether or not it is there.
        """
        return is_within(queue, self.queues)
