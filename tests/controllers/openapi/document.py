"""The document, as the table of resources makes it; and what it says about one reply."""

from typing import Any

from jsonschema import Draft202012Validator
from pecan.configuration import conf_from_file
from webtest import TestResponse

from marconi_api import limits
from marconi_api.controllers.root import RootController
from marconi_api.processes import installation
from marconi_api.wire import openapi
from marconi_api.wire.routes import Resource
from marconi_api.wire.waiting import EVENT_STREAM

METHODS = ('get', 'head', 'post', 'put', 'patch', 'delete')

#: What a reply may have without a word: what it has follows from its body.
_UNSAID = {'Content-Type', 'Content-Length'}


def _table() -> dict[str, Resource]:
    limits.init_limits(conf_from_file(str(installation.OPERATOR_FILES / 'config.py')).limits)
    resources = RootController()._routes.resources
    # The others are pages, for people.
    return {path: one for path, one in resources.items() if one.door.is_described}


RESOURCES = _table()
DOCUMENT = openapi.describe(RESOURCES, '0')

#: What is documented of each method of each path.
OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT['paths'].items()
    for method, operation in operations.items()
}


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    if '$ref' not in part:
        return part
    found: dict[str, Any] = DOCUMENT
    for name in part['$ref'].removeprefix('#/').split('/'):
        found = found[name]
    return found


def validate(schema: dict[str, Any], value: Any) -> None:
    """Raise what is wrong with a value."""
    Draft202012Validator({**schema, 'components': DOCUMENT['components']}).validate(value)


def check_status_and_headers(method: str, path: str, response: TestResponse) -> dict[str, Any]:
    """A reply has a status that is documented, and its headers; its part of the document."""
    responses = OPERATIONS[method, path]['responses']
    assert str(response.status_int) in responses, (
        f'{method} {path} replied {response.status}, {response.text[:200]}:'
        ' say so in replies or raises of expose()'
    )
    documented = resolved(responses[str(response.status_int)])
    headers = documented.get('headers', {})
    required = {name for name, header in headers.items() if resolved(header)['required']}
    assert required <= set(response.headers) - _UNSAID <= set(headers)
    return documented


def check_reply(method: str, path: str, response: TestResponse) -> None:
    """A reply has the status, the headers and the body that are documented, and no others."""
    documented = check_status_and_headers(method, path, response)
    if method == 'HEAD' or 'content' not in documented:
        assert response.body == b''
        return
    media_type, _, _ = response.headers['Content-Type'].partition('; charset=utf-8')
    content = documented['content'][media_type]
    if media_type == EVENT_STREAM:
        validate(content['schema'], response.text)
        return
    # Not every type that is JSON says so to WebTest.
    response.content_type = 'application/json'
    validate(content['schema'], response.json)
