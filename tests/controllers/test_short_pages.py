"""A page that passed over too much is empty, and leads on; a client that follows misses nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestApp

from marconi_api.model import messages

from .client import CLIENT_ID, OTHER_CLIENT_ID, Api, LaterApi, bodies

VERSIONS = ('/v1', '/v1.1', '/v2')


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def pages(app: TestApp, sql: Callable[..., Any], version: str) -> Callable[[str], list[Any]]:
    """Follows a path's pages, in a queue with one message of another client behind 6,000 own."""
    api = Api(app) if version == '/v1' else LaterApi(app, version)
    api.make_queue()
    api.post_messages('own')
    for _ in range(2):
        sql('SELECT pg_current_xact_id()')
    sql("""
        INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
        SELECT queue_id, id + g, expires_at, client_id, ttl
          FROM message_states, generate_series(1, 6000) AS g""")
    api.post_messages('of another', client_id=OTHER_CLIENT_ID)

    def follow(path: str) -> list[Any]:
        found = []
        while (response := api.get(path, client_id=CLIENT_ID)).status_int == 200:
            found.append(bodies(response.json['messages']))
            if not response.json['links']:
                break
            path = response.json['links'][0]['href']
        return found

    return follow


def test_a_client_that_stops_at_an_empty_page_finds_what_lies_behind_its_own_messages(
    pages: Callable[[str], list[Any]], version: str
) -> None:
    [first, *_] = pages(f'{version}/queues/jobs/messages')

    assert first == ['of another']


def test_an_empty_page_leads_on_where_the_time_was_up(
    pages: Callable[[str], list[Any]], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, '_PATIENCE', 0)

    found = pages(f'{version}/queues/jobs/messages')

    assert found[:2] == [[], ['of another']]


@pytest.mark.parametrize('version', ['/v2'])
def test_a_look_at_several_queues_leads_on_where_all_are_empty(
    pages: Callable[[str], list[Any]],
) -> None:
    assert pages('/v2/messages?queue=jobs')[:2] == [[], ['of another']]
