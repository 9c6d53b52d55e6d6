"""``access.policy_file`` takes rights away, and gives none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp

from marconi_api import policy
from marconi_api.controllers.access.policy_file import parse, rules_of
from marconi_api.controllers.root import DOORS, RootController
from marconi_api.policy import ROLES, PolicyError, init_policy, narrowed, roles_that_may
from marconi_api.processes.installation import CHECKOUT, OPERATOR_FILES
from marconi_api.processes.settings import SettingsError, complete
from marconi_api.wire import openapi
from tests.controllers.client import LaterApi, refusal

YAML = """---
# Only admins make queues.
"queues:create": "role:admin"

"messages:delete_all": "!"   # nobody
  "claims:create" : "role:consumer or role:admin"
"""


@pytest.fixture(autouse=True)
def as_written() -> Iterator[None]:
    yield
    init_policy({})


def test_a_file_is_yaml_with_a_rule_in_each_line() -> None:
    assert parse(YAML) == {
        'queues:create': 'role:admin',
        'messages:delete_all': '!',
        'claims:create': 'role:consumer or role:admin',
    }


def test_a_file_is_a_json_object() -> None:
    assert parse(' {"queues:create": "role:admin",\n"claims:create": "!"}\n') == {
        'queues:create': 'role:admin',
        'claims:create': '!',
    }


def test_an_empty_file_takes_nothing_away(tmp_path: Path) -> None:
    file = tmp_path / 'policy.yaml'
    file.write_text('# nothing\n')

    assert rules_of(str(file)) == rules_of(None) == {}


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('queues:create: role:admin', 'line 1 must read'),
        ('"queues:create": "role:admin" and more', 'line 1 must read'),
        ('"queues:create":\n  - "role:admin"', 'line 1 must read'),
        ('"queues:create": "!"\n"queues:create": "role:admin"', 'queues:create has two rules'),
        ('{"queues:create": "!", "queues:create": "role:admin"}', 'queues:create has two rules'),
        ('{"queues:create": "!"', 'not valid JSON'),
        ('{"queues:create": ["role:admin"]}', 'a rule is a text'),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ('action', 'rule', 'said'),
    [
        ('queues:creat', 'role:admin', 'did you mean queues:create?'),
        ('flavors:create', 'role:admin', 'flavors:create is not an action'),
        ('queues:create', 'role:boss', 'the roles are producer'),
        ('queues:create', 'role:', 'the roles are producer'),
        ('queues:create', 'admin', 'a rule reads'),
        ('queues:create', 'rule:admin_api', 'a rule reads'),
        ('queues:create', '@', 'a rule reads'),
        ('queues:create', '', 'a rule reads'),
        ('queues:create', 'role:admin and role:writer', 'a rule reads'),
        ('queues:create', 'not role:admin', 'a rule reads'),
        ('queues:create', 'role:admin or', 'a rule reads'),
        ('queues:create', 'role:consumer or role:admin', 'consumer may not do it anyway'),
        ('queues:delete', 'role:writer', 'writer may not do it anyway'),
        ('ping:get', 'role:admin', 'open to everybody'),
        ('ping:get', '!', 'open to everybody'),
    ],
)
def test_a_rule_that_is_not_understood_or_gives_a_right_is_refused(
    action: str, rule: str, said: str
) -> None:
    with pytest.raises(PolicyError, match=said.replace('?', r'\?')):
        narrowed({action: rule})


@pytest.mark.parametrize('action', [action for action, may in policy.ALLOWED.items() if may])
@pytest.mark.parametrize('rule', ['!', 'role:admin', 'role:operator'])
def test_no_rule_gives_a_right(action: str, rule: str) -> None:
    before = roles_that_may(action)
    after = narrowed({action: rule})

    assert before is not None
    assert after[action] is not None
    assert after[action] <= before  # type: ignore[operator]
    assert {name: roles_that_may(name) for name in after if name != action} == {
        name: roles for name, roles in after.items() if name != action
    }


def test_a_rule_without_the_admin_is_for_nobody_who_may_what_an_admin_may() -> None:
    for rule, roles in {
        'role:consumer': {'consumer'},
        'role:consumer or role:operator': {'consumer', 'operator'},
    }.items():
        assert set(narrowed({'claims:create': rule})['claims:create'] or ()) == roles


def test_a_right_that_is_taken_away_is_refused(app: TestApp) -> None:
    api = LaterApi(app, '/v2')
    init_policy({'queues:create': 'role:admin', 'queues:delete': '!'})

    assert refusal(api.put('/v2/queues/a', headers={'X-Roles': 'writer'}))[0] == 403
    assert api.put('/v2/queues/a', headers={'X-Roles': 'admin'}).status_int == 201
    assert api.put('/v2/queues/b').status_int == 201
    for role in (*ROLES, 'nobody'):
        refused = api.delete('/v2/queues/a', headers={'X-Roles': role})
        assert refused.json['description'] == 'The operator of this service lets nobody do this.'


def test_the_description_says_what_is_left() -> None:
    init_policy({'queues:create': 'role:admin', 'queues:delete': '!'})

    paths = openapi.describe(RootController(DOORS)._routes.resources, '0')['paths']

    queue = paths['/v1/queues/{queue}']
    assert queue['put']['security'] == [
        {'Authorization': ['admin']},
        {'Authorization': ['operator']},
        {'X-Auth-Token': ['admin']},
        {'X-Auth-Token': ['operator']},
    ]
    assert queue['delete']['security'] == [
        {'Authorization': ['nobody']},
        {'X-Auth-Token': ['nobody']},
    ]


def test_the_example_of_the_document_can_be_used() -> None:
    text = (CHECKOUT / 'docs' / 'security.md').read_text()
    _, _, after = text.partition('```yaml\n')

    rules = parse(after.partition('```')[0])

    assert len(rules) == 3
    assert narrowed(rules)['messages:delete_all'] == frozenset()


def test_the_settings_are_refused_with_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    settings = conf_from_file(str(OPERATOR_FILES / 'config.py'))
    settings.access.policy_file = str(tmp_path / 'policy.yaml')

    with pytest.raises(SettingsError, match=r'access.policy_file: .* cannot be read'):
        complete(settings)
    (tmp_path / 'policy.yaml').write_text('"queues:make": "!"')
    with pytest.raises(SettingsError, match='queues:make is not an action'):
        complete(settings)
