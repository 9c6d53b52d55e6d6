"""Pecan still calls what ``wire/routes.py`` replaces, and as it expects."""

import inspect
from typing import Any

import pytest
from pecan.core import PecanBase, RoutingState
from pecan.hooks import PecanHook

from marconi_api.controllers.access.hook import AccessHook
from marconi_api.controllers.access.trusted import believing
from marconi_api.controllers.root import RootController
from marconi_api.wire.replies import Reply
from marconi_api.wire.requests import Request
from marconi_api.wire.routes import Marconi

from .client import environ_of

#: What is Python's or the constructor's, and not a step of a request.
_NOT_STEPS = {'__init__', '__module__', '__doc__', '__firstlineno__', '__static_attributes__'}

REPLACED = sorted(set(vars(Marconi)) - _NOT_STEPS)


class Watched(Marconi):
    """Keeps which of its steps are called."""

    called: list[str]

    def __getattribute__(self, name: str) -> Any:
        if name in REPLACED:
            object.__getattribute__(self, 'called').append(name)
        return super().__getattribute__(name)


@pytest.fixture
def watched() -> Watched:
    app = Watched(RootController(), [AccessHook(believing({}))])
    app.called = []
    return app


def test_steps_are_replaced() -> None:
    assert {'find_controller', 'invoke_controller'} <= set(REPLACED)


@pytest.mark.parametrize('name', REPLACED)
def test_pecan_has_each_step_that_is_replaced(name: str) -> None:
    theirs = inspect.signature(getattr(PecanBase, name)).parameters
    ours = inspect.signature(getattr(Marconi, name)).parameters

    assert len(ours) == len(theirs)


@pytest.mark.parametrize('name', REPLACED)
def test_pecan_calls_each_step_that_is_replaced(watched: Watched, name: str) -> None:
    """From its own ``__call__``, which is not replaced: our steps call one another, too."""
    source = inspect.getsource(PecanBase.__call__)

    b''.join(watched(environ_of('GET', '/'), lambda *started: None))

    assert f'self.{name}(' in source
    assert name in watched.called


def test_the_life_of_a_request_is_pecans() -> None:
    assert Marconi.__call__ is PecanBase.__call__


def test_a_request_and_its_reply_are_of_our_types(watched: Watched) -> None:
    seen: list[RoutingState] = []

    class Hook(PecanHook):
        def after(self, state: RoutingState) -> None:
            seen.append(state)

    watched.hooks.append(Hook())
    watched._occasions.add('after')

    watched(environ_of('GET', '/'), lambda *started: None)

    [state] = seen
    assert isinstance(state.request, Request)
    assert isinstance(state.response, Reply)


def test_what_is_raised_reaches_the_error_hooks(watched: Watched) -> None:
    seen: list[Exception] = []

    class Hook(PecanHook):
        def on_error(self, state: RoutingState, error: Exception) -> Reply:
            seen.append(error)
            return Reply(404)

    watched.hooks.append(Hook())
    watched._occasions.add('on_error')

    watched(environ_of('GET', '/nowhere'), lambda *started: None)

    assert [type(error).__name__ for error in seen] == ['UnknownPath']
