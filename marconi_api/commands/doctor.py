"""``marconi doctor``."""

import argparse
from dataclasses import asdict

from marconi_api.commands import terminal
from marconi_api.commands.arguments import add_json
from marconi_api.processes import checkup
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.installation import database_url
from marconi_api.processes.settings import read_settings

_SOMETHING_IS_WRONG = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check what operators get wrong around the service, and say what to do.

    It looks at the settings, the schema, PostgreSQL's durability, autovacuum and timeouts, at
    connections, clocks, long transactions, prepared transactions, replication slots and the disk.
    It changes nothing. A note is something to know; a problem is to be mended.

    Exit code 1: there is a problem.

    For example: marconi doctor
    """
    settings = read_settings()
    url = database_url(settings)
    if url is None:
        raise ServiceError('no PostgreSQL is running: set MARCONI_DATABASE_URL, or make serve')
    findings = []
    for finding in checkup.examine(settings, url):
        findings.append(finding)
        if not arguments.json:
            terminal.show(
                terminal.printable(f'{finding.level:<8} {finding.subject}: {finding.text}')
            )
            if finding.advice:
                terminal.show(terminal.printable(f'{"":8} -> {finding.advice}'))
    if arguments.json:
        terminal.show_json([asdict(finding) for finding in findings])
    problems = [finding for finding in findings if finding.level == checkup.PROBLEM]
    return _SOMETHING_IS_WRONG if problems else 0
