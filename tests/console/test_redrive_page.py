"""Dead letters are moved back by the console."""

import re
from typing import Any

import pytest

from marconi_api import model
from marconi_api.model import Order, QueueKey
from tests.console.conftest import Pages, post, token
from tests.console.test_queue import tables

PATH = '/queues/jobs/redrive'
JOBS = QueueKey.of('acme', 'jobs')


def count(queue: str) -> int:
    """The messages of a queue of the project."""
    return len(model.store.messages.peek(QueueKey.of('acme', queue), None, 50))


def test_a_redrive_is_counted_before_it_moves_anything(pages: Pages, sql: Any) -> None:
    post('jobs', *'123')
    post('elsewhere')
    before = tables(sql)

    page = pages.get(f'{PATH}?project=acme&state=ready&to=elsewhere').text

    assert re.findall('<strong>([^<]*)</strong>', page) == ['3 messages']
    assert '3 to <bdi>elsewhere</bdi>' in page
    assert tables(sql) == before


def test_messages_are_moved(pages: Pages) -> None:
    post('jobs', *'123')
    post('elsewhere')
    question = pages.get(f'{PATH}?project=acme&state=ready&to=elsewhere')

    response = question.forms[max(question.forms, key=str)].submit()

    assert response.status_int == 303
    assert (count('jobs'), count('elsewhere')) == (0, 3)
    assert '<td>completed</td>' in response.follow().text
    [entry] = model.store.audit.find()
    assert (entry.action, entry.way, entry.count) == ('redrive', 'console', 3)


def test_a_redrive_has_a_rate(pages: Pages) -> None:
    post('jobs', *'123')
    post('elsewhere')
    question = pages.get(f'{PATH}?project=acme&state=ready&to=elsewhere&rate=1')

    question.forms[max(question.forms, key=str)].submit()

    [redrive] = model.store.redrives.page(JOBS)
    assert (redrive.rate, redrive.status) == (1, 'running')


@pytest.mark.parametrize('query', ['state=claimed', 'state=ready&to=x&rate=0', 'state=ready&to=x*'])
def test_a_redrive_that_cannot_be_is_refused(pages: Pages, query: str) -> None:
    post('jobs', '1')

    assert pages.get(f'{PATH}?project=acme&{query}').status_int == 400


def test_messages_are_moved_to_no_queue_that_the_token_is_not_for(pages_by_token: Pages) -> None:
    post('jobs', '1')
    post('letters')
    pages_by_token.sign_in(token('admin', queues='jobs*'))
    form = {'form_key': pages_by_token.form_key(), 'state': 'ready', 'to': 'letters'}

    assert pages_by_token.send(PATH, form).status_int == 403
    assert count('jobs') == 1


def test_a_reader_sees_redrives_and_begins_none(pages_by_token: Pages) -> None:
    post('jobs', '1')
    post('elsewhere')
    model.store.redrives.start(JOBS, Order('ready', 'elsewhere', rate=1))
    pages_by_token.sign_in(token('reader'))
    form = {'form_key': pages_by_token.form_key(), 'state': 'ready', 'to': 'elsewhere'}

    page = pages_by_token.get(f'{PATH}?state=ready&to=elsewhere').text

    assert '<td>running</td>' in page
    assert 'Move them' not in page
    assert 'Cancel' not in page
    assert pages_by_token.send(PATH, form).status_int == 403


@pytest.mark.parametrize(
    ('given', 'headers'),
    [({}, {}), ({'form_key': 'x'}, {}), (None, {'Sec-Fetch-Site': 'cross-site'})],
    ids=['no-key', 'wrong-key', 'other-site'],
)
def test_a_redrive_of_another_site_is_refused(
    pages: Pages, given: dict[str, str] | None, headers: dict[str, str]
) -> None:
    post('jobs', '1')
    post('elsewhere')
    key = {'form_key': pages.form_key(f'{PATH}?project=acme&state=ready&to=elsewhere')}
    form = {'state': 'ready', 'to': 'elsewhere', **(key if given is None else given)}

    assert pages.send(f'{PATH}?project=acme', form, headers=headers).status_int == 403
    assert count('jobs') == 1
