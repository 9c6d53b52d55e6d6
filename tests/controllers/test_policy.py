"""Which role may do what (docs/protocol-v2.md, 2.4), where the header ``X-Roles`` is believed."""

import dataclasses
import re
from typing import Any

import pytest
from webtest import TestApp

from marconi_api import policy
from marconi_api.controllers.openstack import v2
from marconi_api.controllers.root import RootController
from marconi_api.model import VERDICTS
from marconi_api.policy import ALLOWED, ROLES, roles_that_may
from marconi_api.processes.installation import CHECKOUT
from marconi_api.wire.doors import alternatives

from .client import LaterApi, id_of, refusal
from .openapi.document import OPERATIONS, RESOURCES

NOT_AUTHORIZED = (403, 'Not authorized')


class Roles:
    """Sends requests of those who have certain roles."""

    def __init__(self, api: LaterApi) -> None:
        self._api = api

    def may(self, roles: str, method: str, target: str, body: Any = None) -> bool:
        """Whether they may; whatever else is wrong does not matter."""
        response = self._api.request(method, target, body, headers={'X-Roles': roles})
        if response.status_int != 403:
            return True
        assert refusal(response) == NOT_AUTHORIZED
        return False

    def that_may(self, method: str, target: str, body: Any = None) -> set[str]:
        return {role for role in ROLES if self.may(role, method, target, body)}


@pytest.fixture
def api(app: TestApp) -> LaterApi:
    api = LaterApi(app, '/v2')
    api.make_queue()
    return api


@pytest.fixture
def roles(api: LaterApi) -> Roles:
    return Roles(api)


QUEUE = '/v2/queues/jobs'
PRODUCERS = {'producer', 'writer', 'admin', 'operator'}
CONSUMERS = {'consumer', 'writer', 'admin', 'operator'}
READERS = {'reader', 'writer', 'admin', 'operator'}
WRITERS = {'writer', 'admin', 'operator'}
ADMINS = {'admin', 'operator'}


@pytest.mark.parametrize('version', ['/v1.1', '/v2'])
def test_metadata_is_for_admins_also_where_a_queue_is_made_with_it(
    roles: Roles, version: str
) -> None:
    path = f'{version}/queues/made'

    assert roles.that_may('PUT', path, {'a': 1}) == ADMINS
    assert roles.that_may('PUT', path, {'_default_message_ttl': 60}) == ADMINS
    assert roles.that_may('PUT', path, '{"a"' + ' ' * 100 + ': 1}') == ADMINS
    assert roles.that_may('PUT', path) == PRODUCERS
    assert roles.that_may('PUT', path, {}) == PRODUCERS
    assert roles.that_may('PUT', path, ' { } ') == PRODUCERS


def test_version_1_makes_a_queue_without_metadata_whatever_the_body(roles: Roles) -> None:
    assert roles.that_may('PUT', '/v1/queues/made', {'a': 1}) == PRODUCERS
    assert roles.that_may('PUT', '/v1/queues/made/metadata', {'a': 1}) == ADMINS


@pytest.mark.parametrize('version', ['/v1', '/v1.1', '/v2'])
def test_reading_by_ids_is_for_more_than_listing(roles: Roles, version: str) -> None:
    messages = f'{version}/queues/jobs/messages'

    assert roles.that_may('GET', messages) == READERS
    assert roles.that_may('GET', f'{messages}?ids=') == READERS
    assert roles.that_may('GET', f'{messages}?ids=a') == READERS | CONSUMERS
    assert roles.that_may('GET', f'{messages}?limit=1&ids=a&ids=b') == READERS | CONSUMERS


def test_deleting_by_ids_is_for_admins_and_popping_for_consumers(roles: Roles) -> None:
    assert roles.that_may('DELETE', f'{QUEUE}/messages?ids=a') == ADMINS
    assert roles.that_may('DELETE', f'{QUEUE}/messages?pop=1') == CONSUMERS
    assert roles.that_may('DELETE', f'{QUEUE}/messages?pop=1&ids=a') == ADMINS
    assert roles.that_may('DELETE', f'{QUEUE}/messages?pop=1&i%64s=a') == ADMINS


@pytest.mark.parametrize('version', ['/v1', '/v1.1', '/v2'])
def test_a_consumer_deletes_under_a_claim_alone(roles: Roles, version: str) -> None:
    message = f'{version}/queues/jobs/messages/a'

    assert roles.that_may('DELETE', message) == WRITERS
    assert roles.that_may('DELETE', f'{message}?claim_id=') == WRITERS
    assert roles.that_may('DELETE', f'{message}?claim_id=b') == CONSUMERS


def test_a_consumer_parks_under_a_claim_alone(roles: Roles) -> None:
    message = f'{QUEUE}/messages/a'

    assert roles.that_may('POST', f'{message}/park') == WRITERS
    assert roles.that_may('POST', f'{message}/park?claim_id=b') == CONSUMERS
    assert roles.that_may('POST', f'{message}/kick') == WRITERS


@pytest.mark.parametrize('verdict', VERDICTS)
def test_each_verdict_is_an_action_of_its_own(roles: Roles, verdict: str) -> None:
    body = {'verdicts': [{'id': 'x', 'verdict': 'touch'}, {'id': 'y', 'verdict': verdict}]}
    may = roles.that_may('POST', f'{QUEUE}/claims/c/verdicts', body)

    assert may == (WRITERS if verdict == 'kick' else CONSUMERS)
    for entry in body['verdicts']:
        entry.update(queue='jobs', claim_id='c')
    assert roles.that_may('POST', '/v2/verdicts', body) == may


def test_nothing_is_done_by_verdicts_of_which_one_is_not_allowed(
    api: LaterApi, roles: Roles
) -> None:
    [message] = api.post_messages('x')
    claim = api.claim()
    verdicts = [{'id': id_of(message), 'verdict': 'delete'}, {'id': 'y', 'verdict': 'kick'}]

    assert not roles.may('consumer', 'POST', f'{claim.href}/verdicts', {'verdicts': verdicts})
    assert api.exists(message)


def test_several_roles_are_worth_what_each_is(roles: Roles) -> None:
    post = {'messages': [{'body': 1}]}

    assert roles.may('producer,consumer', 'POST', f'{QUEUE}/messages', post)
    assert roles.may('producer,consumer', 'POST', f'{QUEUE}/claims')
    assert not roles.may('producer,consumer', 'GET', f'{QUEUE}/messages')


def test_a_refusal_names_the_roles_that_may(api: LaterApi) -> None:
    response = api.delete(QUEUE, headers={'X-Roles': 'writer'})

    assert response.json['description'] == 'One of these roles is required here: admin, operator.'
    assert api.exists(QUEUE)


def test_a_role_that_may_not_is_refused_before_the_request_is_read(api: LaterApi) -> None:
    response = api.post(f'{QUEUE}/messages?limit=x', 'no JSON', headers={'X-Roles': 'consumer'})

    assert refusal(response) == NOT_AUTHORIZED


def test_those_without_a_role_that_we_know_may_do_all_but_look_at_the_health(
    api: LaterApi, roles: Roles
) -> None:
    assert roles.may('somebody', 'DELETE', QUEUE)
    assert api.get('/v2/queues').status_int == 200
    assert not roles.may('somebody', 'GET', '/v2/health')


# ---------------------------------------------------------------- the table itself

IN_DOCUMENT = re.compile(r'^\| `(\w+:\w+)` \| [^|]* \| (.*) \|$', re.MULTILINE)


def test_the_table_of_the_document_is_the_one_in_force() -> None:
    text = (CHECKOUT / 'docs' / 'protocol-v2.md').read_text()
    columns = ROLES[:-1]

    documented = {
        action: [role for role, cell in zip(columns, cells.split('|'), strict=True) if cell.strip()]
        for action, cells in IN_DOCUMENT.findall(text)
    }

    assert documented == {
        action: [role for role in columns if allowed is None or role in allowed]
        for action, allowed in ALLOWED.items()
    }


def test_each_line_is_of_an_action_that_there_is() -> None:
    done = {
        action
        for method, path in OPERATIONS
        for names in alternatives(RESOURCES[path].names[method])
        for action in names
    }

    assert done == ALLOWED.keys()


def test_an_operator_may_do_everything() -> None:
    allowed = [roles_that_may(action) for action in ALLOWED]

    assert all(roles is None or 'operator' in roles for roles in allowed)


def test_an_action_without_a_line_does_not_start() -> None:
    actions = {**v2.DOOR.actions, 'POST /queues/{queue}/purge': ('queues:empty',)}

    with pytest.raises(LookupError, match='queues:empty'):
        RootController([dataclasses.replace(v2.DOOR, actions=actions)])


def test_a_request_that_is_no_action_does_not_start() -> None:
    actions = {**v2.DOOR.actions}
    del actions['POST /queues/{queue}/purge']

    with pytest.raises(LookupError, match='say in the actions'):
        RootController([dataclasses.replace(v2.DOOR, actions=actions)])


def test_what_is_open_to_everybody_is_short() -> None:
    open_to_all = [action for action, allowed in ALLOWED.items() if allowed is policy.ANYBODY]

    assert open_to_all == ['versions:get', 'ping:get']


def test_what_is_done_under_overload_are_actions() -> None:
    assert set(ALLOWED) >= policy.PROBING | policy.FINISHING | policy.LOOKING
