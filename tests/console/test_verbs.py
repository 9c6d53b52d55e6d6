"""What mends a queue: first a question that says how many messages, then the deed."""

import re
from typing import Any

import pytest
from webtest import TestResponse

from marconi_api import model
from marconi_api.controllers.console.verbs import VERBS
from marconi_api.model import STATES, Order, QueueKey
from tests.console.conftest import Pages, failed_delivery, post, token
from tests.console.test_queue import park, tables

JOBS = QueueKey.of('acme', 'jobs')


def states() -> list[str]:
    """Those of the messages of the queue, in posting order."""
    return [one.state for one in model.store.messages.peek(JOBS, None, 50, states=STATES.keys())]


def ids() -> list[str]:
    """The messages of the queue, in posting order."""
    return [one.id for one in model.store.messages.peek(JOBS, None, 50, states=STATES.keys())]


def claimed(count: int) -> str:
    """A claim of so many messages; its id."""
    claim = model.store.claims.create(JOBS, 300, 60, count)
    assert claim is not None
    return claim.id


def named(*messages: str, **fields: str) -> list[tuple[str, str]]:
    """The fields of a form about messages."""
    return [*(('id', message) for message in messages), *fields.items()]


def begun_redrive() -> str:
    """A redrive of the ready messages that has moved none yet; its id."""
    post('elsewhere')
    return model.store.redrives.start(JOBS, Order('ready', 'elsewhere', rate=1)).id


def all_named(sql: Any) -> list[tuple[str, str]]:
    """A form that names all that the queue has: each verb could be carried out with it."""
    post('jobs', *'123')
    park(JOBS, 'broken')
    messages, claim, redrive = ids(), claimed(1), begun_redrive()
    subscription, delivery = failed_delivery(JOBS, sql)
    return named(
        *messages, claim=claim, redrive=redrive, subscription=subscription, delivery=delivery
    )


def asked(page: TestResponse) -> str:
    """How many messages a question says that it is about."""
    assert page.status_int == 200, page.text
    [count] = re.findall('<strong>([0-9,]+) [a-z]+</strong>', page.text)
    return str(count)


def carry_out(pages: Pages, page: TestResponse, **fields: str) -> TestResponse:
    """Send the form of a question as it is."""
    form = page.forms[max(page.forms, key=str)]
    for name, value in fields.items():
        form[name] = value
    return form.submit(expect_errors=True)


def heading(page: TestResponse) -> str:
    [text] = re.findall('<h1>(.*?)</h1>', page.text)
    return str(text)


def test_all_messages_are_deleted(pages: Pages) -> None:
    post('jobs', *'12345')
    claimed(2)

    question = pages.get('/queues/jobs/purge?project=acme')
    done = carry_out(pages, question)

    assert asked(question) == '5'
    assert heading(done) == '5 messages were deleted'
    assert states() == []


def test_parked_messages_are_made_ready(pages: Pages) -> None:
    post('jobs', *'123')
    park(JOBS, 'broken')
    park(JOBS, 'broken')

    question = pages.get('/queues/jobs/kick?project=acme')
    done = carry_out(pages, question)

    assert asked(question) == '2'
    assert heading(done) == '2 messages were made ready'
    assert states() == ['ready'] * 3


def test_a_claim_is_ended(pages: Pages) -> None:
    post('jobs', *'12345')
    claim = claimed(3)
    claimed(1)

    question = pages.get(f'/queues/jobs/release?project=acme&claim={claim}')
    done = carry_out(pages, question)

    assert asked(question) == '3'
    assert heading(done) == '3 messages were released'
    assert sorted(states()) == ['claimed'] + ['ready'] * 4


def test_a_claim_that_has_ended_is_not_ended_again(pages: Pages) -> None:
    post('jobs', '1')
    claim = claimed(1)
    question = pages.get(f'/queues/jobs/release?project=acme&claim={claim}')
    model.store.claims.release(JOBS, claim)

    assert carry_out(pages, question).status_int == 404


def test_named_messages_are_deleted(pages: Pages) -> None:
    post('jobs', *'1234')
    claimed(1)
    first, second, *_ = ids()

    question = pages.get(f'/queues/jobs/delete?project=acme&id={first}&id={second}')
    done = carry_out(pages, question)

    assert asked(question) == '2'
    assert heading(done) == '2 messages were deleted'
    assert len(ids()) == 2


def test_named_messages_are_made_ready(pages: Pages) -> None:
    post('jobs', *'123')
    park(JOBS, 'broken')
    claimed(1)
    first, second, third = ids()

    question = pages.get(f'/queues/jobs/requeue?project=acme&id={first}&id={second}&id={third}')
    done = carry_out(pages, question)

    assert asked(question) == '3'
    assert heading(done) == '2 messages were made ready'
    assert states() == ['ready'] * 3


def test_named_messages_are_parked_for_a_reason(pages: Pages) -> None:
    post('jobs', *'123')
    first, second, _ = ids()

    question = pages.get(f'/queues/jobs/park?project=acme&id={first}&id={second}')
    done = carry_out(pages, question, reason='look <at> these')

    assert asked(question) == '2'
    assert heading(done) == '2 messages were parked'
    parked = model.store.messages.peek(JOBS, None, 10, states={'parked'})
    assert [one.reason for one in parked] == ['look <at> these'] * 2


def test_a_message_that_is_gone_is_not_counted(pages: Pages) -> None:
    post('jobs', *'12')
    first, second = ids()
    model.store.messages.delete_many(JOBS, [first])

    question = pages.get(f'/queues/jobs/delete?project=acme&id={first}&id={second}&id=x')

    assert asked(question) == '1'
    assert heading(carry_out(pages, question)) == '1 message was deleted'


def test_nothing_is_done_where_no_message_is_selected(pages: Pages) -> None:
    post('jobs', '1')

    response = pages.get('/queues/jobs/delete?project=acme')

    assert response.status_int == 400
    assert 'No message is selected' in response.text


def test_a_reason_that_is_too_long_is_refused(pages: Pages) -> None:
    post('jobs', '1')
    question = pages.get(f'/queues/jobs/park?project=acme&id={ids()[0]}')

    assert carry_out(pages, question, reason='x' * 1001).status_int == 400
    assert states() == ['ready']


def test_a_question_changes_nothing(pages: Pages, sql: Any) -> None:
    post('jobs', *'1234')
    park(JOBS, 'broken')
    claim, redrive = claimed(1), begun_redrive()
    subscription, delivery = failed_delivery(JOBS, sql)
    before = tables(sql)

    for verb in VERBS:
        given = f'claim={claim}&redrive={redrive}&id={ids()[0]}'
        given += f'&subscription={subscription}&delivery={delivery}'
        path = f'/queues/jobs/{verb}?project=acme&{given}'
        assert pages.get(path).status_int == 200

    assert tables(sql) == before


@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize(
    'headers',
    [{'Sec-Fetch-Site': 'cross-site'}, {'Origin': 'https://else.test'}],
    ids=['by-sec-fetch-site', 'by-origin'],
)
def test_no_verb_is_carried_out_for_another_site(
    pages: Pages, sql: Any, verb: str, headers: dict[str, str]
) -> None:
    form = [*all_named(sql), ('form_key', _key(pages))]
    before = tables(sql)

    response = pages.send(f'/queues/jobs/{verb}?project=acme', form, headers=headers)

    assert response.status_int == 403
    assert tables(sql) == before


def _key(pages: Pages) -> str:
    return pages.form_key('/queues/jobs/purge?project=acme')


@pytest.mark.parametrize('verb', VERBS)
def test_no_verb_is_carried_out_without_the_key_of_a_form(
    pages: Pages, sql: Any, verb: str
) -> None:
    form = all_named(sql)
    _key(pages)
    before = tables(sql)

    assert pages.send(f'/queues/jobs/{verb}?project=acme', form).status_int == 403
    forged = [*form, ('form_key', '0' * 64)]
    assert pages.send(f'/queues/jobs/{verb}?project=acme', forged).status_int == 403
    assert tables(sql) == before


@pytest.mark.parametrize('verb', VERBS)
def test_no_verb_is_carried_out_for_a_reader(pages_by_token: Pages, sql: Any, verb: str) -> None:
    form = all_named(sql)
    pages_by_token.sign_in(token('reader'))
    form.append(('form_key', pages_by_token.form_key()))
    before = tables(sql)

    assert pages_by_token.send(f'/queues/jobs/{verb}', form).status_int == 403
    assert pages_by_token.get(f'/queues/jobs/{verb}?id={ids()[0]}').status_int == 403
    assert tables(sql) == before


def test_a_reader_is_offered_no_verb(pages_by_token: Pages) -> None:
    post('jobs', *'123')
    claimed(1)
    pages_by_token.sign_in(token('reader'))

    shown = [
        pages_by_token.get(path).text
        for path in ('/queues/jobs', '/queues/jobs/messages', f'/queues/jobs/messages/{ids()[0]}')
    ]

    assert not [page for page in shown if ' …' in page]


def test_a_verb_of_another_project_is_refused(pages_by_token: Pages, sql: Any) -> None:
    post('jobs', *'123', project='globex')
    post('jobs')
    pages_by_token.sign_in(token('admin'))
    form = [('form_key', pages_by_token.form_key())]

    assert pages_by_token.send('/queues/jobs/purge?project=globex', form).status_int == 403
    assert sql('SELECT count(*) FROM message_states WHERE expires_at > now()') == [(3,)]


@pytest.mark.parametrize(('verb', 'action'), [('requeue', 'release'), ('delete', 'delete')])
def test_who_did_it_is_noted_with_the_messages(
    pages_by_token: Pages, verb: str, action: str
) -> None:
    post('jobs', *'123')
    park(JOBS, 'broken')
    made = model.store.tokens.create('acme', 'admin')
    pages_by_token.sign_in(made.text)
    [message, *_] = ids()

    carry_out(pages_by_token, pages_by_token.get(f'/queues/jobs/{verb}?id={message}'))

    [entry] = model.store.audit.find()
    assert (entry.who, entry.way) == (f'token {made.token.id}', 'console')
    assert (entry.action, entry.project, entry.queue, entry.count) == (action, 'acme', 'jobs', 1)
    assert message in entry.details


@pytest.mark.parametrize(('verb', 'count'), [('purge', 3), ('kick', 1)])
def test_who_changed_a_queue_as_a_whole_is_noted(pages: Pages, verb: str, count: int) -> None:
    post('jobs', *'123')
    park(JOBS, 'broken')

    carry_out(pages, pages.get(f'/queues/jobs/{verb}?project=acme'))

    [entry] = model.store.audit.find()
    assert (entry.who, entry.way, entry.action) == ('no token', 'console', verb)
    assert entry.count == count


def test_who_parks_and_releases_is_noted(pages: Pages) -> None:
    post('jobs', *'123')
    claim = claimed(1)
    carry_out(pages, pages.get(f'/queues/jobs/release?project=acme&claim={claim}'))
    carry_out(pages, pages.get(f'/queues/jobs/park?project=acme&id={ids()[0]}'), reason='no')

    assert [(one.action, one.count) for one in model.store.audit.find()] == [
        ('park', 1),
        ('release', 1),
    ]


def test_the_audit_log_is_shown_of_a_project(pages_by_token: Pages) -> None:
    model.store.audit.note('purge', JOBS, count=1234, reason='<script>')
    model.store.audit.note('purge', QueueKey.of('globex', 'theirs'), count=1)
    pages_by_token.sign_in(token('admin'))

    page = pages_by_token.get('/audit').text

    assert '1,234' in page
    assert '&lt;script&gt;' in page
    assert 'theirs' not in page


def test_the_audit_log_is_not_for_readers(pages_by_token: Pages) -> None:
    pages_by_token.sign_in(token('reader'))

    assert pages_by_token.get('/audit').status_int == 403
    assert 'Audit log' not in pages_by_token.get().text


def test_a_redrive_is_cancelled(pages: Pages) -> None:
    post('jobs', *'123')
    redrive = begun_redrive()

    question = pages.get(f'/queues/jobs/cancel?project=acme&redrive={redrive}')
    done = carry_out(pages, question)

    assert asked(question) == '3'
    assert heading(done) == '3 messages were left to be moved, and stay'
    assert model.store.redrives.get(JOBS, redrive).status == 'cancelled'
