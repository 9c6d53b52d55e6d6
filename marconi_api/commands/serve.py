"""``marconi serve``."""

import argparse

from marconi_api.processes import supervisor
from marconi_api.processes.settings import read_settings


def run(arguments: argparse.Namespace) -> None:
    """Serve the API until it is stopped by Ctrl-C or SIGTERM.

    Without MARCONI_DATABASE_URL a PostgreSQL is started for it, and stopped with it.
    """
    supervisor.serve(read_settings())
