"""The document is OpenAPI 3.1, and says of the API what the table of resources says."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from webtest import TestResponse

from marconi_api.wire.openapi import GLOSSARY

from ..client import Api
from .document import DOCUMENT, METHODS, OPERATIONS, RESOURCES, check_status_and_headers


def test_it_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_is_served_as_it_is_made(api: Api) -> None:
    response = api.get('/openapi.json')

    assert response.status_int == 200
    served = response.json
    assert served.pop('info')['version']
    assert served == {name: part for name, part in DOCUMENT.items() if name != 'info'}


def test_it_needs_neither_headers_nor_their_absence(api: Api) -> None:
    response = api.get('/openapi.json', client_id='x', project='', headers={'Accept': 'text/html'})

    assert response.status_int == 200


def test_every_action_of_the_table_is_in_it_but_those_that_refuse_whatever_is_asked() -> None:
    offered = {
        (method, path)
        for path, resource in RESOURCES.items()
        for method, action in resource.actions.items()
        if action.declaration.replies is not None
    }

    assert OPERATIONS.keys() == offered
    assert {method.lower() for method, _ in OPERATIONS} <= set(METHODS)


@pytest.mark.parametrize(('method', 'path'), OPERATIONS)
def test_every_action_says_what_it_replies(method: str, path: str) -> None:
    declared = RESOURCES[path].actions[method].declaration.replies

    assert declared, (
        f'the action for {method} {path} does not say what it replies: '
        'add expose(replies={200: Content(...)}) and, if it can fail, raises=(...)'
    )


@pytest.mark.parametrize(('method', 'path'), OPERATIONS)
def test_every_action_is_summed_up_in_a_sentence(method: str, path: str) -> None:
    summary = OPERATIONS[method, path]['summary']

    assert summary
    assert summary.endswith('.')
    assert 'docs/' not in summary
    assert '``' not in summary


@pytest.mark.parametrize(
    ('status', 'headers'), [(418, {}), (300, {'Location': '/v1'})], ids=['status', 'header']
)
def test_a_reply_that_is_not_declared_is_noticed(status: int, headers: dict[str, str]) -> None:
    """Each request of a test is looked at so (``client.check_declared``)."""
    check_status_and_headers('GET', '/', TestResponse(status=300))

    with pytest.raises(AssertionError):
        check_status_and_headers('GET', '/', TestResponse(status=status, headers=headers))


def test_operations_have_ids_of_their_own() -> None:
    ids = [operation['operationId'] for operation in OPERATIONS.values()]

    assert len(set(ids)) == len(ids)


def test_no_word_is_explained_that_nobody_uses() -> None:
    used = set(names_in(DOCUMENT))

    assert GLOSSARY.keys() <= used


def names_in(part: Any) -> Any:
    """All parameters and headers that a part of the document names."""
    if isinstance(part, dict):
        if 'in' in part:
            yield part['name']
        yield from part.get('headers', ())
        for member in part.values():
            yield from names_in(member)
    if isinstance(part, list):
        for member in part:
            yield from names_in(member)


def test_a_limit_in_force_is_the_limit_documented() -> None:
    schemas = DOCUMENT['components']['schemas']

    assert schemas['v1.NewMessage']['properties']['ttl'] == {
        'type': 'integer',
        'minimum': 60,
        'maximum': 1209600,
    }
    assert schemas['v1.1.NewClaim']['properties']['ttl'] == {
        'type': ['integer', 'null'],
        'minimum': 60,
        'maximum': 43200,
        'default': 300,
    }
