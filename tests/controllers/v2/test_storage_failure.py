"""What clients of versions 1.1 and 2 are told while there is no storage.

See docs/protocol-v2.md, 4.2, 14.1.
"""

import pytest

from marconi_api.processes.embedded.cluster import EmbeddedPostgres

from ..client import CLIENT_ID, PROJECT, Api, refusal
from .requests import HEADERS, REQUESTS

ANSWERED = ('home', 'ping', 'ping-head', 'health')


@pytest.fixture
def broken_api(mortal_api: Api, other_postgres: EmbeddedPostgres) -> Api:
    """A client of a service whose storage is gone."""
    other_postgres.stop()
    return mortal_api


@pytest.mark.parametrize(
    ('version', 'name'),
    [
        pytest.param(version, name, id=f'{version[1:]}-{name}')
        for version, name in REQUESTS
        if name not in ANSWERED
    ],
)
def test_without_storage_every_operation_is_a_503(broken_api: Api, version: str, name: str) -> None:
    response = broken_api.request(
        *REQUESTS[version, name],
        client_id=CLIENT_ID,
        project=PROJECT,
        headers=HEADERS.get(name),
    )

    assert refusal(response) == (503, 'Service temporarily unavailable')


@pytest.mark.parametrize('version', ['/v1.1', '/v2'])
def test_ping_follows_the_storage(
    mortal_api: Api, other_postgres: EmbeddedPostgres, version: str
) -> None:
    def ping(method: str) -> int:
        response = mortal_api.request(
            method, f'{version}/ping', client_id=CLIENT_ID, project=PROJECT
        )
        status: int = response.status_int
        return status

    assert [ping('GET'), ping('HEAD')] == [204, 204]
    other_postgres.stop()
    assert [ping('GET'), ping('HEAD')] == [503, 204]
    other_postgres.start()
    assert [ping('GET'), ping('HEAD')] == [204, 204]


@pytest.mark.parametrize('version', ['/v1.1', '/v2'])
def test_home_needs_no_storage(broken_api: Api, version: str) -> None:
    response = broken_api.get(f'{version}/', client_id=CLIENT_ID, project=PROJECT)

    assert response.status_int == 200
