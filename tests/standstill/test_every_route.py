"""The hunt knows every route, and its requests do what they are meant to do.

How long others wait meanwhile is for ``python -m tests.standstill`` to say.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import chain

import pytest

from benchmarks.service import running_service
from marconi_api.controllers import sqs
from marconi_api.controllers.sqs.aws_json import TARGET
from tests.controllers.openapi.document import OPERATIONS
from tests.standstill.costly import COSTLY, Costly
from tests.standstill.costly_sqs import SQS, SQS_BY_FORMS
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


def test_every_operation_of_sqs_has_a_costly_request() -> None:
    refused = {f'{TARGET}{name}' for name in ('AddPermission', 'RemovePermission')}

    assert {name for _, name in SQS} == sqs.DOOR.operations.keys() - refused


@pytest.mark.parametrize(
    ('route', 'costly'),
    [
        pytest.param(route, costly, id=f'{" ".join(route)} {number}')
        for route, requests in chain(COSTLY.items(), SQS.items(), SQS_BY_FORMS.items())
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
