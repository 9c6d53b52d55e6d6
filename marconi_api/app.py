"""Puts the application together: the one file that imports from all floors below."""

import logging.config
from typing import Any

from marconi_api import limits, model, policy
from marconi_api.controllers.access import modes
from marconi_api.controllers.access.addresses import Addresses
from marconi_api.controllers.access.guessing import Guessing
from marconi_api.controllers.access.hook import AccessHook
from marconi_api.controllers.access.keystone import KeystoneAsks
from marconi_api.controllers.access.policy_file import rules_of
from marconi_api.controllers.access.tokens import TokenAsks, looked_up
from marconi_api.controllers.access.trusted import Asks, believing
from marconi_api.controllers.console.sessions import init_gate
from marconi_api.controllers.openstack import signed_urls
from marconi_api.controllers.openstack.documents import error_reply
from marconi_api.controllers.openstack.hooks import SignedUrlHook
from marconi_api.controllers.root import DOORS
from marconi_api.controllers.sqs import is_for_sqs
from marconi_api.controllers.sqs.addresses import init_addresses
from marconi_api.controllers.sqs.who import asks_of
from marconi_api.model import init_model
from marconi_api.processes import shell
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.installation import database_url, secret_keys
from marconi_api.processes.settings import SettingsError, complete
from marconi_api.webhooks import rules
from marconi_api.wire.doors import ErrorHook
from marconi_api.wire.routes import Marconi


def setup_app(config: Any) -> Marconi:
    """The WSGI application, as ``config.py`` sets it up. Pecan calls this.

    :raises SystemExit: if the settings cannot be used, or if they name no database and the embedded
        PostgreSQL is not running; the text says what to change
    """
    try:
        complete(config)
        prepare(config)
        access = config.access
        guessing = Guessing(access.failures_before_delay, Addresses(config.server.trusted_proxies))
        asks = _asks(config, guessing)
        mode = modes.mode_of(config, config.server.host) or modes.TRUSTED
        keys = [key for key in config.signed_urls.secret_keys.split(',') if key]
        init_gate(mode, asks, keys)
        of_sqs = asks_of(mode, asks, access.cache_seconds, guessing)
    except (SettingsError, ServiceError) as error:
        raise SystemExit(str(error)) from None
    shell.furnish()
    return Marconi(
        config.app.root,
        hooks=[
            SignedUrlHook(),
            AccessHook(asks, [(is_for_sqs, of_sqs)]),
            ErrorHook(error_reply, DOORS),
        ],
    )


def _asks(settings: Any, guessing: Guessing) -> Asks:
    """The function that learns who sends a request, by the mode of access."""
    mode = modes.mode_of(settings, settings.server.host)
    if mode is None:
        raise ServiceError('other machines reach HOST: set MARCONI_ACCESS')
    access, roles = settings.access, settings.access.roles.to_dict()
    if mode == modes.TRUSTED:
        return believing(roles)
    if mode == modes.TOKEN:
        return TokenAsks(
            lambda token: looked_up(token, model.store.tokens), access.cache_seconds, guessing
        )
    try:
        return KeystoneAsks(settings.keystone.to_dict(), roles, access.cache_seconds, guessing)
    except ValueError as error:
        raise SettingsError(f'cannot use the section keystone of the settings: {error}') from None


def prepare(settings: Any) -> None:
    """Set this process up by the settings, as each process of the service is.

    Sets up the log, the limits, the policy, the store and the keys for signatures; connects to
    nothing yet.

    :param settings: complete settings, in which the URL of the database in use is filled in
    :raises ServiceError: if no database is named and the embedded PostgreSQL is not running
    """
    logging.config.dictConfig(settings.logging.to_dict())
    # It tells each step by itself (see schema.py).
    logging.getLogger('alembic').setLevel(logging.WARNING)
    limits.init_limits(settings.limits)
    rules.init_rules(settings.eventing)
    policy.init_policy(rules_of(settings.access.policy_file))
    settings.sqs.secret_keys = secret_keys(settings)
    settings.database.url = database_url(settings)
    if settings.database.url is None:
        raise ServiceError('no PostgreSQL is running: set MARCONI_DATABASE_URL, or make serve')
    init_model(settings)
    signed_urls.init_signing([key for key in settings.signed_urls.secret_keys.split(',') if key])
    init_addresses(settings.sqs)
