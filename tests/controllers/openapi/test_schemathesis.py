"""Requests that schemathesis makes from the document: no answer contradicts it.

Half of them fit the document and half do not; half name a queue, a message and a claim that
exist. The same in every run: see ``tests/controllers/conftest.py``.
"""

from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from webtest import TestApp

from marconi_api import model
from marconi_api.controllers.openstack import signed_urls
from marconi_api.model import QueueKey

from ..client import CLIENT_ID, JSON_PATCH, PROJECT, LaterApi, id_of
from .document import OPERATIONS
from .examples import HOOK

#: Of each operation and kind; a small part of what the profile allows, for there are many.
EXAMPLES = hypothesis.settings().max_examples // 30


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
        'subscription': model.store.subscriptions.create(QueueKey.of(PROJECT, 'jobs'), HOOK).id,
    }


class Schema:
    """The document as schemathesis has read it, and what it compares answers with."""

    def __init__(self, wsgi_app: Any) -> None:
        # It takes two seconds, which a process that only collects this file is spared.
        import schemathesis
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import (
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
            status_code_conformance,
        )

        schemathesis.serializer.alias(JSON_PATCH, 'application/json')
        self._read = schemathesis.openapi.from_wsgi('/openapi.json', wsgi_app)
        self.checks = [
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ]

    def cases(self, method: str, path: str, mode: str, **given: Any) -> Any:
        """Requests of an operation that fit the document, or do not."""
        from schemathesis import GenerationMode

        return self._read[path][method].as_strategy(generation_mode=GenerationMode(mode), **given)


@pytest.fixture(scope='module')
def schema(wsgi_app: Any) -> Schema:
    return Schema(wsgi_app)


#: Of what takes nothing, nothing can be wrong.
CASES = [
    (method, path, mode)
    for (method, path), operation in OPERATIONS.items()
    for mode in ('positive', 'negative')
    if mode == 'positive' or operation['parameters']
]


@pytest.mark.parametrize(('method', 'path', 'mode'), CASES)
def test_no_answer_contradicts_the_document(
    schema: Schema, known: dict[str, str], method: str, path: str, mode: str
) -> None:
    named = {name: value for name, value in known.items() if f'{{{name}}}' in path}
    anything = schema.cases(method, path, mode)
    what_is_there = schema.cases(
        method,
        path,
        mode,
        path_parameters=named,
        headers={'Client-ID': CLIENT_ID, 'X-Project-Id': PROJECT, 'X-Roles': 'admin'},
    )

    @hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=st.one_of(anything, what_is_there))
    def send(case: Any) -> None:
        case.call_and_validate(checks=schema.checks)

    send()
