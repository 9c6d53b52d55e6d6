"""Puts the pieces together: the one file that knows them all."""

import logging.config
from typing import Any

from marconi_api import limits
from marconi_api.controllers.openstack import signed_urls
from marconi_api.controllers.openstack.hooks import ErrorHook, SignedUrlHook
from marconi_api.model import init_model
from marconi_api.processes import shell
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import SettingsError, complete
from marconi_api.wire.routes import Marconi


def setup_app(config: Any) -> Marconi:
    """The WSGI application, as ``config.py`` sets it up. Pecan calls this.

    :raises SystemExit: if the settings cannot be used, or name no database while none of
        ours is running; it says what to change
    """
    try:
        complete(config)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    logging.config.dictConfig(config.logging.to_dict())
    limits.init_limits(config.limits)
    config.database.url = database_url(config)
    if config.database.url is None:
        raise SystemExit('no PostgreSQL is running: set MARCONI_DATABASE_URL, or make serve')
    init_model(config)
    signed_urls.init_signing([key for key in config.signed_urls.secret_keys.split(',') if key])
    shell.furnish()
    return Marconi(config.app.root, hooks=[SignedUrlHook(), ErrorHook()])
