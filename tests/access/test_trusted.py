"""What trusted mode makes of the headers."""

import pytest

from marconi_api.controllers.access.identity import Identity
from marconi_api.controllers.access.trusted import believing
from marconi_api.wire.requests import Request

KEYSTONES = {'reader': 'reader', 'member': 'writer', 'manager': 'admin', 'admin': 'admin'}


def identity(**headers: str) -> Identity:
    """Who asks by these headers, named as in a WSGI environment."""
    environ = {f'HTTP_{name}': value for name, value in headers.items()}
    return believing(KEYSTONES)(Request({'REQUEST_METHOD': 'GET', **environ}))


def test_the_project_is_the_one_that_is_named() -> None:
    assert identity(X_PROJECT_ID=' acme ').project == 'acme'
    assert identity().project == ''


@pytest.mark.parametrize(
    ('sent', 'roles'),
    [
        ('producer', {'producer'}),
        ('Reader, member', {'reader', 'writer'}),
        ('manager', {'admin'}),
        ('operator', {'operator'}),
        ('nobody,reader', {'reader'}),
        ('nobody', {'unnamed'}),
        ('', {'unnamed'}),
    ],
)
def test_roles_are_ours_or_stand_for_ours(sent: str, roles: set[str]) -> None:
    assert identity(X_ROLES=sent).roles == roles


def test_who_names_no_role_does_what_it_always_did() -> None:
    assert identity(X_PROJECT_ID='acme').roles == {'unnamed'}


def test_long_headers_are_not_remembered() -> None:
    long = identity(X_PROJECT_ID='acme', X_ROLES='reader,' + 'x' * 1000)

    assert long == Identity('acme', frozenset(('reader',)))


@pytest.mark.parametrize(
    ('pattern', 'queue', 'may'),
    [
        (None, 'anything', True),
        ('orders-*', 'orders-eu', True),
        ('orders-*', 'orders-', True),
        ('orders-*', 'order', False),
        ('orders', 'orders', True),
        ('orders', 'Orders', False),
    ],
)
def test_a_pattern_narrows_the_queues(pattern: str | None, queue: str, may: bool) -> None:
    assert Identity('acme', queues=pattern).may_name(queue) is may
