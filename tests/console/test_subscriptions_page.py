"""Who gets what is posted to a queue, and what could not be delivered."""

import re
from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import QueueKey
from tests.console.conftest import Pages, failed_delivery, post, token
from tests.console.test_queue import figures
from tests.console.test_verbs import asked, carry_out, heading

JOBS = QueueKey.of('acme', 'jobs')


@pytest.fixture
def failed(pages: Pages, sql: Any) -> tuple[str, str]:
    """A subscription, and a delivery that failed."""
    return failed_delivery(post('jobs'), sql)


def subscription(identity: str) -> model.Subscription:
    return model.store.subscriptions.get(JOBS, identity)


def test_subscriptions_are_shown_with_what_is_still_to_be_delivered(
    pages: Pages, failed: tuple[str, str]
) -> None:
    post('copies')
    model.store.subscriptions.create(JOBS, 'queue:copies')
    post('jobs', '1', '2')

    page = pages.get('/queues/jobs/subscriptions?project=acme').text

    webhook, copies = page.split('<tr>')[2:]
    assert 'https://else.test/&lt;b&gt;' in webhook
    assert re.findall('number">([^<]*)<', webhook) == ['0', '2', '1', '0 s']
    assert 'queue:copies' in copies


def test_many_subscriptions_are_shown_page_after_page(pages: Pages) -> None:
    post('jobs')
    for number in range(25):
        model.store.subscriptions.create(JOBS, f'https://else.test/{number}')

    first = pages.get('/queues/jobs/subscriptions?project=acme').text
    [path] = re.findall('rel="next" href="/console([^"]*)"', first)
    second = pages.get(path.replace('&amp;', '&')).text

    assert [first.count('else.test'), second.count('else.test')] == [20, 5]


def test_a_subscription_has_its_deliveries_with_their_attempts(
    pages: Pages, failed: tuple[str, str]
) -> None:
    identity, delivery = failed
    post('jobs', '1')
    path = f'/queues/jobs/subscriptions/{identity}?project=acme'

    page = pages.get(path)

    assert figures(page)['Failed'] == '1'
    row = page.text.partition(delivery)[2].partition('</tr>')[0]
    assert '503' in row
    assert '&lt;i&gt;no' in row
    assert page.text.count('Send again …') == 2
    assert pages.get(f'{path}&state=failed').text.count('Send again …') == 1


def test_many_deliveries_are_shown_page_after_page(pages: Pages, failed: tuple[str, str]) -> None:
    post('jobs', *map(str, range(25)))
    path = f'/queues/jobs/subscriptions/{failed[0]}?project=acme'

    first = pages.get(path).text
    [path] = re.findall('rel="next" href="/console([^"]*)"', first)
    second = pages.get(path.replace('&amp;', '&')).text

    assert [first.count('Send again …'), second.count('Send again …')] == [20, 6]
    assert 'rel="next"' not in second


def test_a_delivery_is_sent_again(pages: Pages, failed: tuple[str, str]) -> None:
    identity, delivery = failed

    path = f'/queues/jobs/retry?project=acme&subscription={identity}&delivery={delivery}'
    question = pages.get(path)
    done = carry_out(pages, question)

    assert asked(question) == '1'
    assert heading(done) == '1 delivery was put up to be sent again'
    assert (subscription(identity).failed, subscription(identity).pending) == (0, 1)
    [entry] = model.store.audit.find()
    assert (entry.action, entry.way, entry.queue) == ('subscription retry', 'console', 'jobs')
    assert delivery in entry.details


def test_all_failed_deliveries_are_sent_again(pages: Pages, failed: tuple[str, str]) -> None:
    identity, _ = failed
    post('jobs', '1')

    question = pages.get(f'/queues/jobs/retry-all?project=acme&subscription={identity}')
    done = carry_out(pages, question)

    assert asked(question) == '1'
    assert heading(done) == '1 delivery was put up to be sent again'
    assert subscription(identity).pending == 2


def test_a_subscription_is_paused_and_resumed(pages: Pages, failed: tuple[str, str]) -> None:
    identity, _ = failed
    post('jobs', '1', '2')
    states = []

    for verb in ('pause', 'resume'):
        question = pages.get(f'/queues/jobs/{verb}?project=acme&subscription={identity}')
        assert asked(question) == '2'
        carry_out(pages, question)
        states.append((subscription(identity).state, subscription(identity).reason))

    assert states == [('paused', 'It was paused by request.'), ('active', None)]
    assert [one.action for one in model.store.audit.find()] == [
        'subscription resume',
        'subscription pause',
    ]


def test_a_queue_that_gets_copies_cannot_be_paused(pages: Pages) -> None:
    post('jobs')
    post('copies')
    identity = model.store.subscriptions.create(JOBS, 'queue:copies').id
    question = pages.get(f'/queues/jobs/pause?project=acme&subscription={identity}')

    assert carry_out(pages, question).status_int == 400
    assert subscription(identity).state == 'active'
    assert model.store.audit.find() == []


def test_a_subscription_that_is_not_there_is_told_as_a_page(pages: Pages) -> None:
    post('jobs')

    for path in ('/subscriptions/x', '/pause', '/retry-all'):
        response = pages.get(f'/queues/jobs{path}?project=acme&subscription=x')
        assert response.status_int == 404
        assert response.headers['Content-Type'].startswith('text/html')


def test_a_reader_sees_deliveries_and_is_offered_nothing(pages_by_token: Pages, sql: Any) -> None:
    identity, delivery = failed_delivery(post('jobs'), sql)
    pages_by_token.sign_in(token('reader'))

    page = pages_by_token.get(f'/queues/jobs/subscriptions/{identity}').text

    assert delivery in page
    assert ' …' not in page


def test_subscriptions_are_not_for_consumers(pages_by_token: Pages) -> None:
    post('jobs')
    pages_by_token.sign_in(token('consumer'))

    assert pages_by_token.get('/queues/jobs/subscriptions').status_int == 403
