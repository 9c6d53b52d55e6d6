"""The real Zaqar on Redis, under the same uwsgi settings as our service.

Both have uwsgi's own routers in front, which keep the clients' connections; Zaqar runs as its
documentation has it, with Redis as its message and management store, without authentication.
"""

import contextlib
import http.client
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import free_port, program, running
from benchmarks.environments import environment
from benchmarks.operations import HEADERS

#: What Redis promises here, and thus Zaqar.
DURABILITY = 'Redis with an append-only file, flushed every second'


@dataclass(frozen=True)
class Release:
    """A release of Zaqar, and what it takes to install and run it today."""

    version: str
    api: str
    others: tuple[str, ...] = ()
    settings: str = ''


#: The newest for each version of the API.
RELEASES = (
    Release(
        '18.0.0',
        'v1',
        ('falcon<4', 'SQLAlchemy<2.1', 'setuptools<80'),
        'enable_deprecated_api_versions = 1,1.1',
    ),
    Release('23.0.1', 'v2'),
)

_SETTINGS = """
[DEFAULT]
{settings}
[drivers]
transport = wsgi
message_store = redis
management_store = redis
[drivers:message_store:redis]
uri = redis:{socket}
[drivers:management_store:redis]
uri = redis:{socket}
"""


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[Path]:
    """A Redis on a Unix socket."""
    server = program('redis-server', 'redis-server')
    directory.mkdir()
    socket = directory / 'redis.sock'
    durability = ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '']
    command = [server, '--port', '0', '--unixsocket', str(socket), '--dir', str(directory)]
    with running([*command, *durability], socket.exists, directory / 'redis.log'):
        yield socket


@contextlib.contextmanager
def zaqar(
    release: Release, redis_socket: Path, uwsgi_options: Sequence[str], directory: Path
) -> Iterator[str]:
    """A release of Zaqar; its address.

    :param uwsgi_options: those of our own service
    """
    installed = environment(
        f'zaqar-{release.version}', f'zaqar=={release.version}', 'redis', 'pyuwsgi', *release.others
    )
    # Zaqar looks for its settings below HOME, and uwsgi for the application on PYTHONPATH.
    home = directory / 'home'
    settings = home / '.zaqar' / 'zaqar.conf'
    settings.parent.mkdir(parents=True)
    settings.write_text(_SETTINGS.format(settings=release.settings, socket=redis_socket))
    shutil.copy(Path(__file__).with_name('zaqar_wsgi.py'), home)

    port = free_port()
    options = [_adapted(option, port, home) for option in uwsgi_options]
    command = [str(installed / 'bin/python'), str(installed / 'bin/uwsgi'), *options]
    paths = {'HOME': str(home), 'PYTHONPATH': str(home)}
    with running(command, lambda: _answers(port, release.api), home / 'log', paths):
        yield f'http://127.0.0.1:{port}'


def _adapted(option: str, port: int, sockets: Path) -> str:
    """One of our options, with Zaqar for Marconi."""
    name, _, value = option.partition('=')
    if name == '--wsgi':
        return '--wsgi=zaqar_wsgi'
    if name == '--http':
        return f'--http=127.0.0.1:{port}'
    return f'{name}={re.sub(r"^/.+/", f"{sockets}/", value)}' if value else option


def _answers(port: int, api: str) -> bool:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
    try:
        connection.request('GET', f'/{api}/queues', headers=HEADERS)
        return connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
