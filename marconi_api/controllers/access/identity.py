"""Who asks, once it is known: the request's ``identity``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and what is known of them; the roles are those of ``policy``.

    :param project: the tenant whose queues are meant, '' where none was named
    :param roles: what they may do is what any of these roles may
    :param queues: a pattern such as ``orders-*`` that a queue's name must match; None for all
    :param token: the id of the token that they showed, if it was one
    """

    project: str
    roles: frozenset[str]
    queues: str | None = None
    token: str | None = None
