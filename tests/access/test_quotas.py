"""What a project may have, and how often it may ask."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pecan.configuration import conf_from_file
from webtest import TestApp

from marconi_api import model
from marconi_api.app import setup_app
from marconi_api.model import QueueKey, quotas
from marconi_api.processes import installation
from marconi_api.processes.settings import SettingsError, complete
from tests.access.conftest import counted
from tests.controllers.client import LaterApi, refusal
from tests.controllers.sqs.client import Sqs
from tests.controllers.sqs.client import refusal as sqs_refusal

#: A service with these limits, by the names of the settings.
Serve = Callable[..., LaterApi]


def settings(**limits: Any) -> Any:
    """The settings, but that some limits are set: ``quota_messages=3``."""
    config = conf_from_file(str(installation.OPERATOR_FILES / 'config.py'))
    config.logging = {'version': 1, 'disable_existing_loggers': False}
    config.server.processes = 1
    for name, value in limits.items():
        section, _, setting = name.partition('_')
        config[section][setting] = value
    return config


@pytest.fixture
def serve(app: TestApp, database_url: str) -> Iterator[Serve]:
    """Opens a service with the limits that are given."""
    of_the_first = model.store

    def open_one(**limits: Any) -> LaterApi:
        config = settings(**limits)
        config.database.url = database_url
        return LaterApi(TestApp(setup_app(config), lint=False), '/v2')

    try:
        yield open_one
    finally:
        if model.store is not of_the_first:
            model.store.database.close()
            model.store = of_the_first


def post(api: LaterApi, *bodies: Any, queue: str = 'jobs', **options: Any) -> Any:
    document = {'messages': [{'body': body} for body in bodies]}
    return api.post(f'/v2/queues/{queue}/messages', document, **options)


def test_nothing_is_limited_unless_somebody_says_so(app: TestApp) -> None:
    assert not model.store.quotas.is_on


def test_a_client_of_sqs_is_told_in_its_own_words(serve: Serve) -> None:
    sqs = Sqs(serve(quota_queues=1, rate_requests=10, rate_burst=1))
    sqs.queue('jobs')

    by_quota = sqs.call('CreateQueue', {'QueueName': 'other'})
    answers = (sqs.call('GetQueueUrl', {'QueueName': 'jobs'}) for _ in range(1000))
    by_rate = next(answer for answer in answers if answer.status_int != 200)

    assert sqs_refusal(by_quota) == (403, 'OverLimit', 'OverLimit')
    assert sqs_refusal(by_rate) == (403, 'RequestThrottled', 'RequestThrottled')


# Quotas.


def test_a_post_that_would_be_too_much_is_refused_whole(serve: Serve) -> None:
    api = serve(quota_messages=3)
    post(api, 1, 2)

    refused = post(api, 3, 4)

    assert refusal(refused) == (403, 'Quota exceeded')
    assert 'quota.messages' in refused.json['description']
    assert len(api.listed()) == 2
    assert post(api, 3).status_int == 201
    assert post(api, 4).status_int == 403


def test_what_was_deleted_has_expired_or_was_purged_makes_room(serve: Serve, age: Any) -> None:
    api = serve(quota_messages=2)
    post(api, 1, 2)
    assert post(api, 3).status_int == 403
    api.popped(1)

    assert post(api, 3).status_int == 201
    assert post(api, 4).status_int == 403
    age(4000)
    assert post(api, 4, 5).status_int == 201
    api.post('/v2/queues/jobs/purge', {'resource_types': ['messages']})
    assert post(api, 6, 7).status_int == 201


def test_messages_of_all_queues_count_and_of_no_other_project(serve: Serve) -> None:
    api = serve(quota_messages=2)
    post(api, 1, queue='one')
    post(api, 1, 2, project='other')

    assert post(api, 2, queue='two').status_int == 201
    assert post(api, 3, queue='three').status_int == 403


def test_bytes_are_those_of_the_bodies(serve: Serve) -> None:
    api = serve(quota_bytes=20)

    assert post(api, 'x' * 8).status_int == 201
    refused = post(api, 'é' * 5)

    assert refusal(refused) == (403, 'Quota exceeded')
    assert 'quota.bytes' in refused.json['description']
    assert post(api, 'x' * 8).status_int == 201


def test_a_queue_too_many_is_refused_however_it_is_made(serve: Serve) -> None:
    api = serve(quota_queues=1)
    api.make_queue('one')

    assert refusal(api.put('/v2/queues/two')) == (403, 'Quota exceeded')
    assert refusal(post(api, 1, queue='two')) == (403, 'Quota exceeded')
    assert api.put('/v2/queues/one').status_int == 204
    assert api.put('/v2/queues/two', project='other').status_int == 201
    api.delete('/v2/queues/one')
    assert api.put('/v2/queues/two').status_int == 201


def test_between_two_counts_a_post_costs_no_further_statement(serve: Serve) -> None:
    api = serve(quota_messages=1000, rate_messages=1000, rate_requests=1000)
    post(api, 1)
    post(api, 1)

    with counted() as sent:
        post(api, 2)

    assert len(sent) == 1


def test_a_process_admits_its_share_and_then_counts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = serve(quota_messages=8, server_processes=2)
    api.make_queue()
    post(api, 1)

    with counted() as sent:
        for number in range(3):
            post(api, number)
    with counted() as sent_beyond:
        post(api, 4)

    assert (len(sent), len(sent_beyond)) == (3, 2)


def test_the_health_check_has_no_quota(serve: Serve) -> None:
    api = serve(quota_queues=0, quota_messages=0, rate_requests=0)
    model.store.database.lacks_space = True

    assert api.get('/v1/health').status_int == 204


# Rates.


def test_beyond_a_burst_requests_are_refused_and_told_when_to_come_again(serve: Serve) -> None:
    api = serve(rate_requests=2, rate_burst=1)

    answers = [api.get('/v2/queues') for _ in range(4)]

    assert [answer.status_int for answer in answers[:2]] == [200, 200]
    assert refusal(answers[3]) == (429, 'Too many requests')
    assert answers[3].headers['Retry-After'] == '1'
    assert answers[3].headers['RateLimit-Policy'] == '"requests";q=2;w=1'
    assert answers[3].headers['RateLimit'] == '"requests";r=0;t=1'
    assert api.get('/v2/queues', project='other').status_int == 200
    assert api.get('/v2/ping').status_int == 204


def test_messages_have_a_rate_of_their_own(serve: Serve) -> None:
    api = serve(rate_messages=3, rate_burst=1)
    api.make_queue()

    assert post(api, 1, 2, 3).status_int == 201
    assert refusal(post(api, 4, 5)) == (429, 'Too many requests')
    assert len(api.listed('echo=true')) == 3


def test_a_post_larger_than_a_burst_passes_and_is_paid_for_afterwards(serve: Serve) -> None:
    api = serve(rate_messages=2, rate_burst=1)

    assert post(api, *range(10)).status_int == 201
    answer = post(api, 1)

    assert answer.status_int == 429
    assert 3 <= int(answer.headers['Retry-After']) <= 5


def test_a_rate_comes_back_with_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = model.store.quotas
    serve(rate_requests=10, rate_burst=1)
    limits = model.store.quotas
    for _ in range(10):
        limits.admit_request('acme')
    bucket = limits._buckets['acme', 'rate.requests']
    bucket.level, bucket.at = 0.0, bucket.at - 1

    for _ in range(10):
        limits.admit_request('acme')


def test_each_process_has_its_share_of_a_rate(serve: Serve) -> None:
    serve(rate_requests=8, rate_burst=1, server_processes=2, rate_hosts=2)
    model.store.quotas.admit_request('acme')
    model.store.quotas.admit_request('acme')

    assert model.store.quotas._buckets['acme', 'rate.requests'].level < 0.5


# Single projects.


def test_a_project_may_differ_from_the_settings(serve: Serve) -> None:
    api = serve(quota_messages=1)
    model.store.quotas.set('acme', 'quota.messages', 2)
    model.store.quotas.set('free', 'quota.messages', None)

    assert post(api, 1, 2).status_int == 201
    assert post(api, 3).status_int == 403
    assert post(api, *range(5), project='free').status_int == 201
    assert post(api, 1, 2, project='other').status_int == 403


def test_a_project_may_be_limited_where_no_other_is(serve: Serve) -> None:
    api = serve(quota_overrides=True)
    model.store.quotas.set('acme', 'quota.messages', 1)

    assert post(api, 1, 2).status_int == 403
    assert post(api, 1, 2, project='other').status_int == 201


def test_a_project_that_is_reset_is_as_the_settings_say(app: TestApp) -> None:
    model.store.quotas.set('acme', 'rate.requests', 5)
    model.store.quotas.set('acme', 'rate.requests', 6)
    assert model.store.quotas.show('acme')['rate.requests'] == 6

    model.store.quotas.reset('acme', 'rate.requests')

    assert model.store.quotas.show('acme') == dict.fromkeys(quotas.SETTINGS)


@pytest.mark.parametrize(
    ('limits', 'said'),
    [
        ({'quota_messages': 'many'}, 'quota.messages must be a whole number from 0, or None'),
        ({'rate_requests': -1}, 'rate.requests must be a whole number from 0, or None, not -1'),
        ({'rate_hosts': 0}, 'rate.hosts must be 1 or more, not 0'),
    ],
)
def test_a_mistake_in_the_settings_is_named(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        complete(settings(**limits))


def test_dead_messages_are_not_counted(serve: Serve) -> None:
    """Nor those of a queue that was deleted, which the janitor has not removed yet."""
    api = serve(quota_messages=2)
    post(api, 1, 2)
    model.store.queues.delete(QueueKey.of('acme', 'jobs'))

    assert post(api, 3, 4).status_int == 201
