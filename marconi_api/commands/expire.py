"""``marconi expire``."""

import argparse
import os

from marconi_api.commands.store import open_store
from marconi_api.processes.children import name_process
from marconi_api.processes.metrics.meters import meters_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument(
        '--forever', action='store_true', help='run a round every janitor.interval seconds'
    )


def run(arguments: argparse.Namespace) -> None:
    """Remove the rows of expired messages: one round, or round after round with --forever.

    `marconi serve` does this by itself. Several of these commands may run at once.
    """
    janitor = open_store().janitor
    if arguments.forever:
        name_process('marconi-janitor')
        meters_of(os.environ, 'janitor')
        janitor.run_forever()
    else:
        janitor.run_once()
