"""``marconi expire``."""

import argparse
import logging.config

from marconi_api import model
from marconi_api.processes import schema
from marconi_api.processes.children import name_process
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument('--forever', action='store_true', help='go on until stopped')


def run(arguments: argparse.Namespace) -> None:
    """Remove what has expired: one round, or round after round with --forever.

    ``marconi serve`` does this by itself; it may run any number of times at once.
    """
    settings = read_settings()
    settings.database.url = database_url(settings)
    if settings.database.url is None:
        raise ServiceError('no PostgreSQL is running: set MARCONI_DATABASE_URL')
    schema.check(settings.database.url)
    logging.config.dictConfig(settings.logging.to_dict())
    model.init_model(settings)
    if arguments.forever:
        name_process('marconi-janitor')
        model.expiry.run_forever()
    else:
        model.expiry.run_once()
