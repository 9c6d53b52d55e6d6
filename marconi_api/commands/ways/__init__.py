"""The two ways to the queues: on the database directly, and over HTTP to a running service."""

import argparse

from marconi_api.commands.ways.over_http import OverHttp
from marconi_api.commands.ways.way import Way


def way_of(arguments: argparse.Namespace) -> Way:
    """The way that ``--url`` says."""
    if arguments.url:
        return OverHttp(arguments.url, arguments.token, arguments.project)
    # Without a service it takes the whole of Marconi, which takes its time to import.
    from marconi_api.commands.ways.direct import Direct

    return Direct(arguments.project)
