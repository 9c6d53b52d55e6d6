"""``marconi expire``."""

import argparse

from marconi_api import model
from marconi_api.app import prepare
from marconi_api.processes import schema
from marconi_api.processes.children import name_process
from marconi_api.processes.settings import read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument(
        '--forever', action='store_true', help='run a round every janitor.interval seconds'
    )


def run(arguments: argparse.Namespace) -> None:
    """Remove the rows of expired messages: one round, or round after round with --forever.

    `marconi serve` does this by itself. Several of these commands may run at once.
    """
    settings = read_settings()
    prepare(settings)
    schema.check(settings.database.url)
    if arguments.forever:
        name_process('marconi-janitor')
        model.store.janitor.run_forever()
    else:
        model.store.janitor.run_once()
