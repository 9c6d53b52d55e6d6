"""``marconi webhooks``."""

import argparse

import msgspec

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json
from marconi_api.commands.store import open_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Show the hosts that the webhooks of all projects lead to.

    For example: marconi webhooks --json

    FAILING counts the subscriptions whose last attempt failed, and PAUSED those to which nothing is
    sent any more, as all has failed for a day.
    """
    hosts = open_store().webhooks.hosts()
    if arguments.json:
        terminal.show_json({'hosts': msgspec.to_builtins(hosts)})
        return
    terminal.show_table(
        ['HOST', 'SUBSCRIPTIONS', 'PROJECTS', 'DELIVERED', 'FAILING', 'PAUSED'],
        [msgspec.structs.astuple(host) for host in hosts],
    )
