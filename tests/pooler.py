"""A PgBouncer in front of a PostgreSQL, which hands on its connections after each transaction."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from tests.running_service import wait_until

#: Its program; None where it is not installed.
PROGRAM = shutil.which('pgbouncer') or shutil.which('/usr/sbin/pgbouncer')

# Two connections of the server's for all clients, so that each client meets both.
_SETTINGS = """
[databases]
marconi = host={server} dbname=marconi user=marconi
[pgbouncer]
listen_addr =
unix_socket_dir = {directory}
logfile = {directory}/log
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 200
{further}
"""


@contextmanager
def pgbouncer(url: str, directory: Path, further: str = '') -> Iterator[str]:
    """The URL of a PgBouncer in front of ``url``; ``further`` are lines of its settings."""
    assert PROGRAM is not None
    server = Path(url.partition('?host=')[2])
    settings = directory / 'pgbouncer.ini'
    settings.write_text(_SETTINGS.format(server=server, directory=directory, further=further))
    # It does not run as root, and the directory of the socket is the server's user's.
    owner = server.stat().st_uid
    os.chown(directory, owner, -1)
    process = subprocess.Popen(
        [PROGRAM, str(settings)],
        user=owner if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pooled = url.replace(str(server), str(directory)) + '&port=6432'
        wait_until(lambda: process.poll() is None and _answers(pooled))
        yield pooled
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url.replace('+psycopg2', '')).close()
    except psycopg2.OperationalError:
        return False
    return True
