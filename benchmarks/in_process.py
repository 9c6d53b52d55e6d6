"""The WSGI callable in this process, without a server: called directly, or listened to."""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple
from unittest import mock

import psycopg2
import psycopg2.extensions
from pecan.configuration import conf_from_file

from benchmarks.operations import HEADERS, Request
from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.model.postgres.connection import Connection
from marconi_api.processes.installation import OPERATOR_FILES


def application(url: str) -> Any:
    """Marconi's WSGI callable, as uwsgi would serve it, on the database at ``url``."""
    config = conf_from_file(str(OPERATOR_FILES / 'config.py'))
    config.database.url = url
    # Who measures has nothing to log.
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    return setup_app(config)


def environ(request: Request) -> dict[str, Any]:
    """What a WSGI server hands over for a request, but for the body's stream."""
    path, _, query = request.path.partition('?')
    headers = {f'HTTP_{name.upper().replace("-", "_")}': text for name, text in HEADERS.items()}
    content_type = headers.pop('HTTP_CONTENT_TYPE')
    length = {'CONTENT_LENGTH': str(len(request.body.encode()))} if request.body else {}
    return {
        **headers,
        **length,
        'REQUEST_METHOD': request.method,
        'SCRIPT_NAME': '',
        'REQUEST_URI': request.path,
        'PATH_INFO': path,
        'QUERY_STRING': query,
        'CONTENT_TYPE': content_type,
        'SERVER_NAME': 'bench',
        'SERVER_PORT': '80',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'HTTP_HOST': 'bench',
        'HTTP_ACCEPT': '*/*',
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': 'http',
        'wsgi.errors': io.StringIO(),
        'wsgi.multithread': True,
        'wsgi.multiprocess': True,
        'wsgi.run_once': False,
    }


def call(app: Any, request: Request) -> tuple[int, str]:
    """The status and body with which ``app`` answers."""
    statuses = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        statuses.append(int(status.split()[0]))

    given = {**environ(request), 'wsgi.input': io.BytesIO(request.body.encode())}
    body = b''.join(app(given, start_response)).decode()
    return statuses[-1], body


class Sent(NamedTuple):
    """A statement that was sent to PostgreSQL: one round trip."""

    statement: str
    parameters: Mapping[str, Any]
    connection: Connection


class Listener:
    """Marconi in this process, of which we hear what it sends to PostgreSQL.

    Thus the statements are those of real requests, whatever the repositories look like. What
    prepares them is not heard, nor what begins and ends a transaction of several.
    """

    def __init__(self, url: str) -> None:
        #: The settings with which it connects.
        self.options = ''
        self._app = application(url)
        self._database = model.store.database
        with mock.patch.object(psycopg2, 'connect', self._connect):
            call(self._app, Request('GET', '/v1/health'))
        # pgbench could not reserve more when it has used up what there is.
        self._database.rows(_RESERVE_PLENTY, {})

    def statements(self, request: Request, times: int = 2) -> tuple[list[Sent], str]:
        """What one request sends, and the reply's body.

        It is made twice, as a process may read once what it then knows of a queue.
        """
        for _ in range(1, times):
            call(self._app, request)
        heard = []
        run = self._database._run

        def hear(cursor: Any, statement: str, parameters: Mapping[str, Any], base: int) -> Any:
            heard.append(Sent(statement, {**parameters, 'base': base}, cursor.connection))
            return run(cursor, statement, parameters, base)

        with mock.patch.object(self._database, '_run', hear):
            status, reply = call(self._app, request)
        if status >= 300:
            raise SystemExit(f'{request.method} {request.path} is answered {status}: {reply}')
        return heard, reply

    def _connect(self, *args: Any, **kwargs: Any) -> Any:
        self.options = kwargs.get('options', '')
        return _connect(*args, **kwargs)


_RESERVE_PLENTY = f"""
    UPDATE id_epoch SET reserved = reserved + {2**40},
           written_by = pg_current_xact_id()::text::bigint & 4294967295"""

_connect = psycopg2.connect
