"""What a process remembers of a queue's attributes never decides: others may change them."""

import pytest

from ..client import LaterApi


@pytest.fixture
def change(sql, api: LaterApi):
    """Changes the queue's metadata behind the process's back, as another process would."""
    api.put(api.queue)
    api.post_messages('so that the attributes are known')

    def set_metadata(text: str) -> None:
        sql("UPDATE queues SET metadata = %s WHERE name = 'jobs'", text)

    return set_metadata


def test_a_post_gets_the_ttl_that_the_queue_has_now(api: LaterApi, change) -> None:
    change('{"_default_message_ttl": 77}')

    response = api.post(f'{api.queue}/messages', {'messages': [{'body': 1}]})

    assert api.get(response.json['resources'][0]).json['ttl'] == 77


def test_a_post_is_not_refused_by_a_size_that_no_longer_holds(api: LaterApi, change) -> None:
    change('{"_max_messages_post_size": 60}')
    too_long = {'messages': [{'body': 'x' * 100}]}
    assert api.post(f'{api.queue}/messages', too_long).status_int == 400

    change('{}')

    assert api.post(f'{api.queue}/messages', too_long).status_int == 201


def test_a_post_is_refused_by_a_size_that_was_set_since(api: LaterApi, change) -> None:
    change('{"_max_messages_post_size": 60}')

    response = api.post(f'{api.queue}/messages', {'messages': [{'body': 'x' * 100}]})

    assert response.status_int == 400
    assert api.stats()['total'] == 1


def test_a_post_to_a_queue_that_was_deleted_makes_it_anew(api: LaterApi, change, sql) -> None:
    change('{"_default_message_ttl": 77}')
    sql("DELETE FROM queues WHERE name = 'jobs'")

    response = api.post(f'{api.queue}/messages', {'messages': [{'body': 1}]})

    assert api.get(response.json['resources'][0]).json['ttl'] == 3600
