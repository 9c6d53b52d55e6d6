"""Tokens, limits and webhooks for people who mend: each change is noted in the audit log."""

from collections.abc import Collection

from marconi_api.model.audit import Actor, Audit
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import QueueKey
from marconi_api.model.quotas import Quotas, Value
from marconi_api.model.subscriptions import Subscriptions
from marconi_api.model.tokens import MOST_TOKENS, NewToken, Token, Tokens
from marconi_api.model.webhooks import Webhooks


class NotedTokens:
    """All tokens.

    create(project, roles, name, queues, expires_in)  a new one; print(it.text) shows it
    list(project)                                     those of a project
    revoke(id)                                        end one
    """

    def __init__(self, database: Database, tokens: Tokens, audit: Audit) -> None:
        self._database = database
        self._tokens = tokens
        self._audit = audit

    def __repr__(self) -> str:
        return '<tokens: create(project, roles), list(project), revoke(id)>'

    def create(
        self,
        project: str,
        roles: str | Collection[str],
        name: str = '',
        queues: str | None = None,
        expires_in: int | None = None,
        is_access_key: bool = False,
    ) -> NewToken:
        """Make a token; see :meth:`Tokens.create`."""
        with self._database.transaction():
            made = self._tokens.create(project, roles, name, queues, expires_in, is_access_key)
            self._audit.note(
                'token create',
                project=project,
                token=made.token.id,
                roles=made.token.roles,
                name=name or None,
                queues=queues,
                expires_in=expires_in,
            )
        return made

    def list(self, project: str, after: str = '', limit: int = MOST_TOKENS) -> list[Token]:
        """A project's tokens by id, from the one after ``after`` on, the ended ones too."""
        return self._tokens.list(project, after, limit)

    def revoke(self, token_id: str) -> None:
        """End a token; a process that remembers it goes on for ``access.cache_seconds``.

        :raises TokenNotFound: if there is none of this id
        """
        with self._database.transaction():
            self._tokens.revoke(token_id)
            self._audit.note('token revoke', token=token_id)


class NotedQuotas:
    """The limits of projects; those of a single project may differ from the settings.

    show(project)                 what a project may have and do, by the settings' names
    set(project, setting, value)  let it differ: a number, or None for as much as it likes
    reset(project, setting)       let it be as the settings say
    """

    def __init__(self, database: Database, quotas: Quotas, audit: Audit) -> None:
        self._database = database
        self._quotas = quotas
        self._audit = audit

    def __repr__(self) -> str:
        return '<quotas: show(project), set(project, setting, value), reset(project, setting)>'

    @property
    def is_on(self) -> bool:
        """Whether anything may be limited: else nobody looks at them."""
        return self._quotas.is_on

    def show(self, project: str) -> dict[str, Value]:
        """What a project may have and do; None is as much as it likes."""
        return self._quotas.show(project)

    def set(self, project: str, setting: str, value: Value) -> None:
        """Let a project differ from the settings; processes go by it half a minute later.

        :param value: None for as much as it likes
        """
        with self._database.transaction():
            self._quotas.set(project, setting, value)
            self._audit.note(
                'quota set',
                project=project,
                setting=setting,
                value='none' if value is None else value,
            )

    def reset(self, project: str, setting: str) -> None:
        """Let a project be as the settings say."""
        with self._database.transaction():
            self._quotas.reset(project, setting)
            self._audit.note('quota set', project=project, setting=setting, value='default')


class NotedWebhooks:
    """The webhooks that are subscribed to a queue.

    :raises SubscriptionNotFound: each method, if the subscription is not there
    """

    def __init__(
        self, database: Database, subscriptions: Subscriptions, webhooks: Webhooks, audit: Audit
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._webhooks = webhooks
        self._audit = audit

    def pause(self, queue: QueueKey, subscription: str, by: Actor | None = None) -> None:
        """Call a webhook no more until it is resumed."""
        with self._database.transaction():
            self._webhooks.pause(queue, subscription)
            self._audit.note('subscription pause', queue, by=by, subscription=subscription)

    def resume(self, queue: QueueKey, subscription: str, by: Actor | None = None) -> None:
        """Let a subscription go on that is paused."""
        with self._database.transaction():
            self._webhooks.resume(queue, subscription)
            self._audit.note('subscription resume', queue, by=by, subscription=subscription)

    def retry(
        self, queue: QueueKey, subscription: str, delivery: str, by: Actor | None = None
    ) -> None:
        """Send a delivery again now.

        It also raises what ``Webhooks.retry`` raises.
        """
        details = {'subscription': subscription, 'delivery': delivery}
        with self._database.transaction():
            self._webhooks.retry(queue, subscription, delivery)
            self._audit.note('subscription retry', queue, count=1, by=by, **details)

    def retry_all(self, queue: QueueKey, subscription: str, by: Actor | None = None) -> int:
        """Send all that have failed again; return how many there were.

        It is noted before, as it takes many transactions: with the number that a subscription shows.

        :raises StorageTooSlow: if there are more than can be changed in time
        """
        failed = self._subscriptions.get(queue, subscription).failed
        self._audit.note(
            'subscription retry', queue, count=failed, by=by, subscription=subscription
        )
        return self._webhooks.retry_all(queue, subscription)
