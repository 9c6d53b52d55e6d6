"""A door beside those of OpenStack's messaging API: its operations, hooks, errors and limits."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest
from webtest import TestApp

from marconi_api import limits
from marconi_api.controllers.access.hook import AccessHook
from marconi_api.controllers.access.trusted import believing
from marconi_api.controllers.openstack.documents import error_reply
from marconi_api.controllers.root import DOORS, RootController
from marconi_api.errors import InvalidRequest, MarconiError, NotAuthorized
from marconi_api.policy import ROLES
from marconi_api.wire.actions import EMPTY, Content, expose
from marconi_api.wire.documents import JsonObject
from marconi_api.wire.doors import Door, ErrorHook, Hook, InHeader, Placeholder
from marconi_api.wire.replies import Reply, empty_reply, json_reply
from marconi_api.wire.requests import Request
from marconi_api.wire.routes import Marconi

from .client import Api, refusal

LARGEST = 20


class Wait:
    """An operation of a protocol whose numbers have ranges of their own."""

    @expose(body=JsonObject, at_most='max_queue_metadata', replies={204: EMPTY})
    def post(self, request: Request, body: JsonObject) -> Reply:
        """Wait, for no time too."""
        request.door.limits().check_claim_ttl(int(bytes(body.members['seconds'])))
        return empty_reply()


class Shelf:
    """A resource whose path holds a number."""

    @expose(replies={200: Content(JsonObject)})
    def get(self, request: Request, number: int, book: str) -> Reply:
        """What the action was handed."""
        return json_reply([number, book])

    @expose(replies={204: EMPTY})
    def delete(self, request: Request, number: int, book: str) -> Reply:
        """Fail as nobody foresaw."""
        raise ZeroDivisionError


class Number(Placeholder):
    """A number in a path."""

    def read(self, request: Request, text: str) -> int:
        if not text.isdigit():
            raise InvalidRequest('a number is due')
        return int(text)


class Called(Hook):
    """Keeps in which order hooks are called."""

    order: ClassVar[list[str]] = []

    def __init__(self, name: str, priority: int = 100) -> None:
        self.name = name
        #: Pecan would sort its hooks by it.
        self.priority = priority

    def before(self, request: Request) -> None:
        self.order.append(self.name)
        if request.environ.get('HTTP_REFUSED_BY') == self.name:
            raise InvalidRequest(self.name)


def told_briefly(error: MarconiError, environ: Mapping[str, Any]) -> Reply:
    return json_reply({'__type': type(error).__name__}, error.status)


class AllButReaders:
    """A policy."""

    def roles_that_may(self, action: str) -> frozenset[str]:
        return frozenset(ROLES) - {'reader'}

    def permit(self, roles: frozenset[str], actions: Iterable[str]) -> None:
        if 'shelves:delete' in actions and 'reader' in roles:
            raise NotAuthorized(['admin'])


def own_limits() -> limits.Limits:
    return dataclasses.replace(limits.in_force, min_claim_ttl=0, max_queue_metadata=LARGEST)


DOOR = Door(
    resources={'/shelves/{number}/{book}': Shelf()},
    naming=InHeader('HTTP_X_TARGET'),
    operations={'Test.Wait': Wait()},
    actions={
        'GET /shelves/{number}/{book}': ('shelves:get',),
        'DELETE /shelves/{number}/{book}': ('shelves:delete',),
        'POST Test.Wait': ('tests:wait',),
    },
    policy=AllButReaders(),
    hooks=(Called('first', priority=2), Called('second', priority=1)),
    placeholders={'number': Number()},
    error_reply=told_briefly,
    limits=own_limits,
)


@pytest.fixture
def api(app: Any) -> Api:
    """A client of a service that has one more door."""
    Called.order.clear()
    root = RootController([*DOORS, DOOR])
    return Api(
        TestApp(Marconi(root, [AccessHook(believing({})), ErrorHook(error_reply)]), lint=False)
    )


def perform(api: Api, operation: str, body: Any = None, path: str = '/') -> Any:
    return api.post(path, body, headers={'X-Target': operation})


def test_an_operation_is_found_by_its_name_whatever_the_path(api: Api) -> None:
    assert perform(api, 'Test.Wait', {'seconds': 0}).status_int == 204
    assert perform(api, 'Test.Wait', {'seconds': 0}, path='/1/jobs').status_int == 204
    assert perform(api, 'Test.Wait', {'seconds': 0}, path='/v1/queues').status_int == 204


def test_an_unknown_operation_is_refused_in_the_form_of_its_door(api: Api) -> None:
    response = perform(api, 'Test.Sleep')

    assert (response.status_int, response.json) == (404, {'__type': 'UnknownOperation'})


def test_an_operation_has_a_method(api: Api) -> None:
    response = api.get('/', headers={'X-Target': 'Test.Wait'})

    assert (response.status_int, response.json) == (405, {'__type': 'MethodNotAllowed'})


def test_errors_have_the_form_of_the_door_that_was_asked(api: Api) -> None:
    ours = api.get('/shelves/x/b')
    others = api.get('/v1/queues/j*')

    assert (ours.status_int, ours.json) == (400, {'__type': 'InvalidRequest'})
    assert refusal(others) == (400, 'Invalid queue identification')


def test_a_fault_has_the_form_of_the_door_that_was_asked(api: Api) -> None:
    response = api.delete('/shelves/1/b')

    assert (response.status_int, response.json) == (500, {'__type': 'Fault'})


def test_an_unknown_path_is_told_in_the_usual_form(api: Api) -> None:
    assert refusal(api.get('/shelves')) == (404, '404 Not Found')


def test_hooks_are_called_in_the_order_of_their_list(api: Api) -> None:
    api.get('/shelves/1/b')

    assert Called.order == ['first', 'second']


def test_a_hook_that_refuses_a_request_is_the_last_one(api: Api) -> None:
    response = api.get('/shelves/1/b', headers={'Refused-By': 'first'})

    assert response.status_int == 400
    assert Called.order == ['first']


def test_hooks_look_at_the_requests_of_their_door_alone(api: Api) -> None:
    api.get('/v1/queues')

    assert Called.order == []


def test_a_placeholder_reads_what_the_path_holds(api: Api) -> None:
    assert api.get('/shelves/007/8').json == [7, '8']


def test_a_segment_that_may_not_be_empty_is_an_unknown_path(api: Api) -> None:
    assert api.get('/shelves//b').status_int == 404


def test_a_door_is_asked_whether_a_request_may_do_its_actions(api: Api) -> None:
    reader = {'X-Roles': 'reader'}

    response = api.delete('/shelves/1/b', headers=reader)

    assert (response.status_int, response.json) == (403, {'__type': 'NotAuthorized'})
    assert api.get('/shelves/1/b', headers=reader).status_int == 200


def test_an_action_of_which_nothing_is_said_is_not_served() -> None:
    door = dataclasses.replace(DOOR, actions={'POST Test.Wait': ('tests:wait',)})

    with pytest.raises(LookupError, match='GET /shelves'):
        RootController([door])


def test_the_limits_of_a_door_are_its_own(api: Api) -> None:
    queue = api.make_queue()

    assert perform(api, 'Test.Wait', {'seconds': 0}).status_int == 204
    assert perform(api, 'Test.Wait', {'seconds': 10**9}).status_int == 400
    assert api.post(f'{queue}/claims', {'ttl': 0, 'grace': 60}).status_int == 400


def test_the_largest_body_is_that_of_the_door(api: Api) -> None:
    queue = api.make_queue()
    body = {'seconds': 10, 'reason': 'x' * LARGEST}

    assert perform(api, 'Test.Wait', body).status_int == 400
    assert api.put(f'{queue}/metadata', body).status_int == 204
