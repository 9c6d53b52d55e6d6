"""The hunt knows every route, and its requests do what they are meant to do.

How long others wait meanwhile is for ``python -m tests.standstill`` to say.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from benchmarks.service import running_service
from tests.controllers.openapi.document import OPERATIONS
from tests.standstill.costly import COSTLY, Costly
from tests.standstill.hunt import Connection, Hunt
from tests.standstill.world import PROJECT, World


@pytest.fixture(scope='module')
def hunt() -> Iterator[Hunt]:
    """A small world."""
    with running_service() as service, closing(World(service.url, 30, 60)) as world:
        world.make()
        yield Hunt(service.address, world, wait=0)


def test_every_route_has_a_costly_request() -> None:
    assert COSTLY.keys() == OPERATIONS.keys()


@pytest.mark.parametrize(
    ('route', 'costly'),
    [
        pytest.param(route, costly, id=f'{" ".join(route)} {number}')
        for route, requests in COSTLY.items()
        for number, costly in enumerate(requests)
    ],
)
def test_a_costly_request_is_carried_out(
    hunt: Hunt, route: tuple[str, str], costly: Costly
) -> None:
    hunt.prepare(costly)

    with closing(Connection(hunt.address, PROJECT)) as tenant:
        status, _ = hunt.send(tenant, route, costly)

    assert 200 <= status < 400 or (route[1].endswith('/kick'), status) == (True, 409)
