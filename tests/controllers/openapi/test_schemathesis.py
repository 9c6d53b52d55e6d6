"""Requests that schemathesis makes from the document: no answer contradicts it.

Half of them fit the document and half do not; half name a queue, a message and a claim that
exist. The same in every run: see ``tests/controllers/conftest.py``.
"""

from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from webtest import TestApp

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls

from ..client import CLIENT_ID, JSON_PATCH, PROJECT, LaterApi, id_of
from .document import OPERATIONS

#: Of each operation and kind; a small part of what the profile allows, for there are many.
EXAMPLES = hypothesis.settings().max_examples // 30

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


schemathesis.serializer.alias(JSON_PATCH, 'application/json')


@pytest.fixture
def known(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the placeholders of paths may stand for."""
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['key']))
    api = LaterApi(app, '/v2')
    api.make_queue()
    api.post_messages('held', 'free')
    claim = api.claim(limit=1)
    [message] = api.listed()
    token = model.store.tokens.create(PROJECT, 'writer').token.id
    return {
        **{'queue': 'jobs', 'message': id_of(message['href']), 'claim': claim.id},
        'token': token,
    }


@pytest.fixture(scope='module')
def schema(wsgi_app: Any) -> Any:
    return schemathesis.openapi.from_wsgi('/openapi.json', wsgi_app)


#: Of what takes nothing, nothing can be wrong.
CASES = [
    (method, path, mode)
    for (method, path), operation in OPERATIONS.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or operation['parameters']
]


@pytest.mark.parametrize(('method', 'path', 'mode'), CASES)
def test_no_answer_contradicts_the_document(
    schema: Any, known: dict[str, str], method: str, path: str, mode: GenerationMode
) -> None:
    operation = schema[path][method]
    named = {name: value for name, value in known.items() if f'{{{name}}}' in path}
    anything = operation.as_strategy(generation_mode=mode)
    what_is_there = operation.as_strategy(
        generation_mode=mode,
        path_parameters=named,
        headers={'Client-ID': CLIENT_ID, 'X-Project-Id': PROJECT, 'X-Roles': 'admin'},
    )

    @hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=st.one_of(anything, what_is_there))
    def send(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    send()
