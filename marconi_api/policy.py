"""Which role may do which action, written once.

An action has the name that it has in Zaqar's policies, if it is there. Which request does which action
stands in ``controllers/openstack/actions.py``, beside the tables of resources. The application does not
start if an action has no line here.

Rules in the form of oslo.policy can take rights away, but not give any. Only ``role:NAME or
role:NAME`` and ``!`` (nobody) are understood: the library would bring a dozen others along.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from marconi_api.errors import NotAuthorized

#: The roles of a project, from the narrowest, and that of the service's own people, who may name
#: any project.
PRODUCER = 'producer'
CONSUMER = 'consumer'
READER = 'reader'
WRITER = 'writer'
ADMIN = 'admin'
OPERATOR = 'operator'
ROLES = (PRODUCER, CONSUMER, READER, WRITER, ADMIN, OPERATOR)

#: In place of a role: the bearer of a signed URL. Path, method, project and time were checked against
#: the grant; nothing else need be checked.
SIGNED = 'signed'

#: In place of a role: in trusted mode, a client for whom the proxy names no role that Marconi knows. It
#: may do what an admin may, except the actions of ``_NEVER_UNNAMED``.
UNNAMED = 'unnamed'

#: In place of roles: the action is open to those who show no credential, too.
ANYBODY = None

#: The roles of a project that may do an action. An operator may do each of them.
ALLOWED: Mapping[str, tuple[str, ...] | None] = {
    # What says which versions there are, and whether the service works.
    'versions:get': ANYBODY,
    'ping:get': ANYBODY,
    # What there is to ask for, and whether a queue is there.
    'description:get': (PRODUCER, CONSUMER, READER, WRITER, ADMIN),
    'home:get': (PRODUCER, CONSUMER, READER, WRITER, ADMIN),
    'queues:get': (PRODUCER, CONSUMER, READER, WRITER, ADMIN),
    # Looks over all that is there.
    'queues:get_all': (READER, WRITER, ADMIN),
    'queues:stats': (READER, WRITER, ADMIN),
    'messages:get_all': (READER, WRITER, ADMIN),
    # What looks at messages or a claim whose id the client has.
    'messages:get': (CONSUMER, READER, WRITER, ADMIN),
    'claims:get': (CONSUMER, READER, WRITER, ADMIN),
    # The reply to a message, whose id its producer has.
    'replies:get': (PRODUCER, READER, WRITER, ADMIN),
    # What a producer does.
    'queues:create': (PRODUCER, WRITER, ADMIN),
    'messages:create': (PRODUCER, WRITER, ADMIN),
    # What a consumer does.
    'claims:create': (CONSUMER, WRITER, ADMIN),
    'claims:update': (CONSUMER, WRITER, ADMIN),
    'claims:delete': (CONSUMER, WRITER, ADMIN),
    'messages:pop': (CONSUMER, WRITER, ADMIN),
    'messages:delete': (CONSUMER, WRITER, ADMIN),
    'messages:release': (CONSUMER, WRITER, ADMIN),
    'messages:touch': (CONSUMER, WRITER, ADMIN),
    'messages:park': (CONSUMER, WRITER, ADMIN),
    'replies:create': (CONSUMER, WRITER, ADMIN),
    # The same with messages that no claim holds, or whatever claim holds them.
    'messages:delete_without_claim': (WRITER, ADMIN),
    'messages:park_without_claim': (WRITER, ADMIN),
    'messages:kick': (WRITER, ADMIN),
    # Who gets what is posted.
    'subscription:get_all': (READER, WRITER, ADMIN),
    'subscription:get': (READER, WRITER, ADMIN),
    'subscription:create': (WRITER, ADMIN),
    'subscription:update': (WRITER, ADMIN),
    'subscription:delete': (WRITER, ADMIN),
    'subscription:confirm': (WRITER, ADMIN),
    # A writer may claim the messages of one queue and post them to another anyway.
    'redrives:get': (READER, WRITER, ADMIN),
    'redrives:create': (WRITER, ADMIN),
    'redrives:delete': (WRITER, ADMIN),
    # What concerns all of a queue, or all of a project.
    'queues:update': (ADMIN,),
    'queues:delete': (ADMIN,),
    'queues:purge': (ADMIN,),
    'queues:share': (ADMIN,),
    'messages:delete_all': (ADMIN,),
    'health:get': (ADMIN,),
    'tokens:get_all': (ADMIN,),
    'tokens:create': (ADMIN,),
    'tokens:delete': (ADMIN,),
}

#: What says whether the service works. It is answered also while more requests come than can be.
PROBING = frozenset(('versions:get', 'ping:get', 'health:get'))

#: What ends work that was begun, or goes on with it: refused, it would have to be done again.
FINISHING = frozenset(
    (
        *('claims:update', 'claims:delete', 'messages:delete', 'messages:delete_all'),
        *('messages:release', 'messages:touch', 'messages:park', 'replies:create'),
        *('messages:delete_without_claim', 'messages:park_without_claim'),
    )
)

#: What looks for messages. If it is ready to wait for them, it comes once, and else again and again.
LOOKING = frozenset(('claims:create', 'messages:get_all', 'replies:get'))

#: The actions for which a client needs a named role in trusted mode, too.
_NEVER_UNNAMED = frozenset(('health:get', 'tokens:get_all', 'tokens:create', 'tokens:delete'))


def _in_place_of_a_role(action: str, allowed: Iterable[str]) -> Iterable[str]:
    """Those who have no role of a project, and may do what its admin may."""
    if ADMIN not in allowed:
        return ()
    return (OPERATOR, SIGNED) if action in _NEVER_UNNAMED else (OPERATOR, SIGNED, UNNAMED)


Rules = Mapping[str, frozenset[str] | None]


def _as_written() -> Rules:
    return {
        action: allowed
        if allowed is ANYBODY
        else frozenset((*allowed, *_in_place_of_a_role(action, allowed)))
        for action, allowed in ALLOWED.items()
    }


_in_force: Rules = _as_written()


def roles_that_may(action: str) -> frozenset[str] | None:
    """All roles that may do an action, and what counts in place of one; None if anybody may.

    :raises LookupError: if the action has no line in :data:`ALLOWED`
    """
    if action not in ALLOWED:
        raise LookupError(f'say in policy.ALLOWED who may do {action!r}')
    return _in_force[action]


def permit(roles: frozenset[str], actions: Iterable[str]) -> None:
    """Let those who have these roles do all of the actions.

    :raises NotAuthorized: if none of the roles is enough for one of them
    """
    for action in actions:
        allowed = _in_force[action]
        if allowed is not ANYBODY and allowed.isdisjoint(roles):
            raise NotAuthorized([role for role in ROLES if role in allowed])


# ---------------------------------------------------------------- taking rights away


class PolicyError(Exception):
    """Rules cannot be used; the message is one line that says what to change."""


def init_policy(rules: Mapping[str, str]) -> None:
    """Put the table in force, narrowed by these rules; see :func:`narrowed`.

    :raises PolicyError: if the rules cannot be used
    """
    global _in_force
    _in_force = narrowed(rules)


def narrowed(rules: Mapping[str, str]) -> Rules:
    """The table with fewer roles for the actions that the rules name.

    :param rules: a rule by the action, such as ``role:writer or role:admin``, or ``!`` for nobody
    :raises PolicyError: if a name is not known, or a rule would give a right
    """
    in_force = dict(_as_written())
    for action, rule in rules.items():
        if action not in ALLOWED:
            alike = get_close_matches(action, ALLOWED, n=1)
            raise PolicyError(
                f'{action} is not an action' + (f': did you mean {alike[0]}?' if alike else '')
            )
        named = _roles_in(action, rule)
        in_force[action] = frozenset((*named, *_in_place_of_a_role(action, named)))
    return in_force


def _roles_in(action: str, rule: str) -> frozenset[str]:
    may = _as_written()[action]
    if may is ANYBODY:
        raise PolicyError(f'{action} is open to everybody, and stays so')
    if rule.strip() == '!':
        return frozenset()
    roles = [check.strip().removeprefix('role:') for check in rule.split(' or ')]
    for role, check in zip(roles, rule.split(' or '), strict=True):
        if role not in ROLES or role == check.strip():
            raise PolicyError(
                f'{action}: a rule reads "role:writer or role:admin", or "!", not {rule!r};'
                f' the roles are {", ".join(ROLES)}'
            )
        if role not in may:
            raise PolicyError(
                f'{action}: the role {role} may not do it anyway; a file can only take rights away'
            )
    return frozenset(roles)
