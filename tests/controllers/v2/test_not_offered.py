"""What is left for later is refused in words, whatever is asked of it."""

import pytest

from ..client import LaterApi

PATHS = {
    '/v2/topics': 'topics',
    '/v2/topics/news': 'topics',
    '/v2/topics/news/messages': 'topics',
    '/v2/topics/news/subscriptions/1': 'topics',
    '/v2/pools': 'pools',
    '/v2/pools/one': 'pools',
    '/v2/flavors': 'flavors',
    '/v2/flavors/vanilla': 'flavors',
    '/v1.1/pools': 'pools',
    '/v1.1/flavors/vanilla': 'flavors',
}


@pytest.mark.parametrize('method', ['GET', 'PUT', 'POST', 'PATCH', 'DELETE'])
@pytest.mark.parametrize(('path', 'what'), PATHS.items())
def test_it_is_not_found_and_the_reason_is_given(
    api: LaterApi, method: str, path: str, what: str
) -> None:
    response = api.request(method, path)

    assert response.status_int == 404
    assert response.json['title'] == 'Not found'
    assert response.json['description'].startswith(f'This service does not offer {what}: ')


def test_headers_are_checked_first(api: LaterApi) -> None:
    response = api.get('/v2/topics', client_id=None)

    assert (response.status_int, response.json['title']) == (400, 'Missing header value')


def test_topics_are_refused_with_what_takes_their_place(api: LaterApi) -> None:
    description = api.get('/v2/topics').json['description']

    assert description.endswith('each gets a copy of what is posted.')
    assert 'queue:' in description
