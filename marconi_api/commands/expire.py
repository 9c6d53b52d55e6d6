"""``marconi expire``."""

import argparse
import os
import threading
from pathlib import Path

from marconi_api.commands.store import open_store
from marconi_api.processes.children import name_process
from marconi_api.processes.metrics.meters import meters_of
from marconi_api.processes.minute_keeper import MinuteKeeper
from marconi_api.processes.tallies import tally_of
from marconi_api.processes.waiting.hand_over import DIRECTORY, connection_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument(
        '--forever', action='store_true', help='run a round every janitor.interval seconds'
    )


def run(arguments: argparse.Namespace) -> None:
    """Remove the rows of expired messages: one round, or round after round with --forever.

    With --forever it also carries out the redrives that were started over HTTP, and writes down what
    queues hold, for the console's plots. `marconi serve` does this by itself. Several of these commands
    may run at once.
    """
    store = open_store()
    if not arguments.forever:
        store.admin.expire()
        return
    name_process('marconi-janitor')
    meters_of(os.environ, 'janitor')
    if room := connection_of(os.environ):
        store.became_ready.append(room.wake)
    tally_of(os.environ, 'janitor')
    directory = os.environ.get(DIRECTORY)
    keeper = MinuteKeeper(store, Path(directory) if directory else None)
    # A round of the janitor may take minutes.
    for name, work in (('redrives', store.redrives), ('minutes', keeper)):
        threading.Thread(target=work.run_forever, name=name, daemon=True).start()
    store.janitor.run_forever()
