"""``marconi serve``."""

import argparse

from marconi_api.processes import supervisor
from marconi_api.processes.settings import read_settings


def run(arguments: argparse.Namespace) -> None:
    """Serve the API until Ctrl-C or SIGTERM.

    Without MARCONI_DATABASE_URL it starts an embedded PostgreSQL, and stops it at its end.
    """
    supervisor.serve(read_settings())
