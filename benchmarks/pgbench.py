"""PostgreSQL alone: pgbench sends the statements that Marconi sends, and does nothing else.

It sends the same text: each connection prepares a statement once, and then executes it with the
parameters of the moment. Only the rows of what is taken are gathered into one.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from psycopg2.extensions import AsIs

from benchmarks.in_process import Listener
from benchmarks.operations import Request, claimed
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.processes.embedded.cluster import NAME
from marconi_api.processes.embedded.programs import program_directories

CLIENTS = 8


def program() -> str:
    """The pgbench that belongs to the PostgreSQL in use."""
    for directory in program_directories(None):
        if (directory / 'pgbench').exists():
            return str(directory / 'pgbench')
    return 'pgbench'


def measure(url: str, script: str, options: str, seconds: float) -> float:
    """How often a second the script was run.

    :param options: the settings of the session, as the service has them
    """
    said = _run(url, script, options, f'-c{CLIENTS}', '-j2', f'-T{max(1, round(seconds))}')
    rate = re.search(r'tps = ([\d.]+)', said)
    assert rate, said
    return float(rate[1])


def run_once(url: str, script: str, options: str) -> None:
    """See that the script runs."""
    _run(url, script, options, '-t1')


def _run(url: str, script: str, options: str, *arguments: str) -> str:
    socket = parse_qs(urlsplit(url).query)['host'][0]
    with tempfile.NamedTemporaryFile('w', suffix='.sql') as file:
        file.write(script)
        file.flush()
        settings = f'-n -h {socket} -U {NAME} -D fresh_mark=0 -D is_prepared=0'.split()
        done = subprocess.run(
            [program(), *settings, *arguments, '-f', file.name, NAME],
            env=os.environ | {'PGOPTIONS': options},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(f'pgbench failed:\n{done.stdout}{done.stderr}')
    return done.stdout


def script_of(listener: Listener, steps: Sequence[tuple[str, Request]]) -> str:
    """What the service sends for the steps, for pgbench to repeat.

    It is sent as it was heard, but for what must be another each time: the id of a claim, the
    place where its scan starts (as Marconi remembers it, see model/postgres/low_water_marks.py), and the
    ids that 'delete' deletes: those that the last 'claim' took. To get at these, pgbench needs what a
    'claim' or a 'pop' returns in one row.
    """
    definitions: list[str] = []
    executions = []
    ids = ''
    for kind, request in steps:
        if kind == 'delete':
            request = Request(request.method, request.path + ids, request.body)
        statements, reply = listener.statements(request)
        if kind == 'claim':
            ids = ','.join(message for message, _ in claimed(reply))
        for sent in statements:
            assert isinstance(sent.statement, Prepared), sent.statement
            takes = kind in ('claim', 'pop')
            statement = Prepared(_one_row(sent.statement)) if takes else sent.statement
            definitions += (
                ' '.join(definition.split()) + ';' for definition in statement.definitions.values()
            )
            parameters = {**sent.parameters, **_CHANGING[kind]}
            executions.append(
                statement.execution(parameters, sent.connection) + (' \\gset' if takes else ';')
            )
    return '\n'.join(
        [
            '\\set claim random(100000000000, 999999999999)',
            '\\if :is_prepared',
            '\\else',
            *dict.fromkeys(definitions),
            '\\set is_prepared 1',
            '\\endif',
            *executions,
        ]
    )


#: The parameters that are another each time.
_CHANGING: dict[str, dict[str, Any]] = {
    'post': {},
    'list': {},
    'claim': {
        'claim_id': AsIs("'00000000-0000-4000-8000-:claim'"),
        'fresh_mark': AsIs(':fresh_mark'),
    },
    'delete': {'ids': AsIs(':ids')},
    'pop': {'fresh_mark': AsIs(':fresh_mark')},
}


def _one_row(taking: str) -> str:
    place = _main_select(taking)
    return f"""{taking[:place].rstrip()}, reply AS ({taking[place:]})
        SELECT quote_literal(coalesce(array_agg(id) FILTER (WHERE id IS NOT NULL), '{{}}')) AS ids,
               array_agg(body) AS bodies, coalesce(min(sight[1]), %(fresh_mark)s) AS fresh_mark
          FROM reply"""


def _main_select(statement: str) -> int:
    """Where the first SELECT outside of all brackets begins: behind the parts that WITH names."""
    depth = 0
    for found in re.finditer(r"'[^']*'|\(|\)|\bSELECT\b", statement):
        depth += {'(': 1, ')': -1}.get(found[0], 0)
        if found[0] == 'SELECT' and depth == 0:
            return found.start()
    raise ValueError('no SELECT outside of brackets')
