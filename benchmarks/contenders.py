"""Other frameworks with the handler of the founders' benchmark.

It reads a JSON body, one query parameter and one path parameter, checks nothing, and answers
with a small JSON document.
"""

import json
from collections.abc import Callable
from importlib import metadata
from typing import Any
from urllib.parse import parse_qs

import bottle
import falcon
import flask
import pecan
import pecan.rest
import wsmeext.pecan
from wsme import types as wtypes

#: Where each of them listens to a POST.
PATH = '/queues/{queue}/messages'


def _answer(queue: str, limit: str, body: Any) -> dict[str, Any]:
    return {'queue': queue, 'limit': limit, 'count': len(body), 'ttl': body[0]['ttl']}


def bare_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """No framework at all."""
    body = json.loads(environ['wsgi.input'].read(int(environ['CONTENT_LENGTH'])))
    limit = parse_qs(environ['QUERY_STRING'])['limit'][0]
    reply = json.dumps(_answer(environ['PATH_INFO'].split('/')[2], limit, body)).encode()
    length = str(len(reply))
    start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', length)])
    return [reply]


def falcon_app() -> Any:
    """Falcon."""

    class Messages:
        def on_post(self, request: Any, response: Any, queue: str) -> None:
            response.media = _answer(queue, request.get_param('limit'), request.get_media())

    app = falcon.App()
    app.add_route(PATH, Messages())
    return app


def bottle_app() -> Any:
    """Bottle."""

    def post(queue: str) -> dict[str, Any]:
        return _answer(queue, bottle.request.query.limit, bottle.request.json)

    app = bottle.Bottle()
    app.route(PATH.replace('{', '<').replace('}', '>'), 'POST', post)
    return app


def flask_app() -> Any:
    """Flask."""

    def post(queue: str) -> dict[str, Any]:
        return _answer(queue, flask.request.args['limit'], flask.request.get_json())

    app = flask.Flask('contender')
    app.add_url_rule(PATH.replace('{', '<').replace('}', '>'), view_func=post, methods=['POST'])
    return app


class _Queue:
    def __init__(self, name: str) -> None:
        self._name = name

    def messages(self, limit: str, **_: Any) -> dict[str, Any]:
        return _answer(self._name, limit, pecan.request.json_body)

    messages = pecan.expose('json')(messages)


class _Queues:
    def _lookup(self, name: str, *rest: str) -> tuple[Any, tuple[str, ...]]:
        return _Queue(name), rest

    _lookup = pecan.expose()(_lookup)


def pecan_app() -> Any:
    """Pecan as its documentation has it."""
    return _pecan(_Queues)


class _Anything(wtypes.UserType):
    basetype = object
    name = 'anything'

    def validate(self, value: object) -> object:
        return value

    frombasetype = tobasetype = validate


class _Message(wtypes.Base):
    ttl = wtypes.wsattr(int, mandatory=True)
    body = wtypes.wsattr(_Anything(), mandatory=True)


class _Answer(wtypes.Base):
    queue = str
    limit = int
    count = int
    ttl = int


class _TypedMessages(pecan.rest.RestController):
    def __init__(self, queue: str) -> None:
        self._queue = queue

    def post(self, limit: int, body: list[_Message]) -> _Answer:
        first = body[0]
        return _Answer(queue=self._queue, limit=limit, count=len(body), ttl=first.ttl)

    post = wsmeext.pecan.wsexpose(_Answer, int, body=[_Message])(post)


class _TypedQueue:
    def __init__(self, name: str) -> None:
        self.messages = _TypedMessages(name)


class _TypedQueues:
    def _lookup(self, name: str, *rest: str) -> tuple[Any, tuple[str, ...]]:
        return _TypedQueue(name), rest

    _lookup = pecan.expose()(_lookup)


def pecan_wsme_app() -> Any:
    """Pecan with WSME, likewise: body and reply have types."""
    return _pecan(_TypedQueues)


def _pecan(queues: type) -> Any:
    return pecan.Pecan(type('Root', (), {'queues': queues()}))


def applications() -> dict[str, Any]:
    """All of them, by name and version."""
    made = {
        'Falcon': falcon_app(),
        'Bottle': bottle_app(),
        'Flask': flask_app(),
        'Pecan': pecan_app(),
    }
    named = {f'{name} {metadata.version(name)}': app for name, app in made.items()}
    wsme_name = f'Pecan {metadata.version("pecan")} with WSME {metadata.version("WSME")}'
    return {'bare WSGI': bare_wsgi, **named, wsme_name: pecan_wsme_app()}
