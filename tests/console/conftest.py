"""The console as a browser that keeps cookies meets it, without the browser."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp, TestResponse

from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.controllers.access.modes import TRUSTED
from marconi_api.controllers.access.trusted import believing
from marconi_api.controllers.console import sessions
from marconi_api.controllers.console.sessions import Gate
from marconi_api.model import NewMessage, QueueKey
from marconi_api.model.deliveries import Failure, SubscriptionKey
from marconi_api.processes.installation import OPERATOR_FILES

CLIENT = '3381af92-2b9e-11e3-b191-71861300734c'


class Pages:
    """Looks at pages, and sends their forms."""

    def __init__(self, app: Any) -> None:
        self._app = TestApp(app, lint=False)

    def get(self, path: str = '', **options: Any) -> TestResponse:
        """A page as it is now, not as it was a moment ago."""
        model.store.figures.forget()
        while 'being counted' in (page := self.look(path, **options)).text.lower():
            pass
        return page

    def look(self, path: str = '', **options: Any) -> TestResponse:
        """A page, which may be too early to have figures."""
        return self._app.get(f'/console{path}', expect_errors=True, **options)

    def send(self, path: str, form: Any, **options: Any) -> TestResponse:
        return self._app.post(f'/console{path}', form, expect_errors=True, **options)

    def form_key(self, path: str = '') -> str:
        """What the forms of a page send along."""
        [key, *_] = re.findall('name="form_key" value="([0-9a-f]+)"', self.get(path).text)
        return str(key)

    def sign_in(self, token: str, **fields: str) -> TestResponse:
        form = {'form_key': self.form_key('/sign-in'), 'token': token, **fields}
        return self.send('/sign-in', form)


@pytest.fixture
def pages(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> Pages:
    """In trusted mode, over an empty database."""
    # Another application may have been set up in this process, in another mode.
    monkeypatch.setattr(sessions, 'gate', Gate(TRUSTED, believing({}), []))
    return Pages(app.app)


@pytest.fixture
def pages_by_token(app: TestApp, database_url: str) -> Iterator[Pages]:
    """In token mode, over an empty database."""
    store, gate = model.store, sessions.gate
    config = conf_from_file(str(OPERATOR_FILES / 'config.py'))
    config.database.url = database_url
    config.access.mode = 'token'
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    try:
        yield Pages(setup_app(config))
    finally:
        model.store.database.close()
        model.store, sessions.gate = store, gate


def post(name: str, *bodies: str, project: str = 'acme') -> QueueKey:
    """Post messages to a queue, which is made if need be."""
    queue = QueueKey.of(project, name)
    model.store.queues.create(queue)
    if bodies:
        model.store.messages.post(queue, CLIENT, [NewMessage(body, 3600, 0) for body in bodies])
    return queue


def failed_delivery(queue: QueueKey, sql: Any) -> tuple[str, str]:
    """A subscription of a webhook, and a delivery of a new message that failed twice, for good."""
    subscription = model.store.subscriptions.create(queue, 'https://else.test/<b>').id
    [message] = model.store.messages.post(queue, CLIENT, [NewMessage('1', 3600, 0)])
    key = SubscriptionKey(queue.id, int(subscription, 16))
    at = datetime.now(UTC)
    attempts: tuple[tuple[float | None, int | None, str | None], ...] = (
        (1.0, 503, None),
        (None, None, '<i>no'),
    )
    for before, (delay, status, error) in enumerate(attempts):
        failure = Failure(key, int(message, 16), before, delay, at, 12, status, error)
        model.store.deliveries.note_failures([failure])
    return subscription, message


def token(*roles: str, project: str = 'acme', **more: Any) -> str:
    """A new token."""
    return model.store.tokens.create(project, roles, **more).text
