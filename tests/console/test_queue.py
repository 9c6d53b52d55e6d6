"""One queue, and its messages."""

import re
from typing import Any

import pytest
from webtest import TestResponse

from marconi_api import model
from marconi_api.controllers.console.plots import _marks_up_to
from marconi_api.model import STATES, QueueKey, Verdict
from marconi_api.model.admin import LIVE_STATES
from marconi_api.model.depths import Depth
from marconi_api.model.traffic import STEPS
from tests.conftest import TABLES
from tests.console.conftest import Pages, failed_delivery, post, token


def figures(page: TestResponse) -> dict[str, str]:
    """What is written of the queue or the message."""
    pairs = re.findall('<dt>(.*?)</dt>\\s*<dd[^>]*>(.*?)</dd>', page.text, re.DOTALL)
    return {re.sub('<[^>]*>', '', name): re.sub('<[^>]*>', '', value) for name, value in pairs}


def ids(page: TestResponse) -> list[str]:
    """The messages of the table."""
    return re.findall('<th scope="row"><a [^>]*><code>([0-9a-f]{16})</code>', page.text)


def park(queue: QueueKey, reason: str) -> str:
    """Park the queue's first message; its id."""
    claim = model.store.claims.create(queue, 300, 60, 1)
    assert claim is not None
    message = claim.messages[0].id
    model.store.verdicts.give(queue, claim.id, [Verdict.park(message, reason)])
    return message


def test_a_queue_has_its_messages_by_state_and_the_age_of_the_oldest(
    pages: Pages, age: Any
) -> None:
    queue = post('jobs', *'12345')
    age(1800)
    park(queue, 'broken')
    model.store.claims.create(queue, 300, 60, 2)

    page = pages.get('/queues/jobs?project=acme')

    assert figures(page) == {
        'ready': '2',
        'claimed': '2',
        'delayed': '0',
        'parked': '1',
        'expired, to be removed': '0',
        'oldest, not parked': '30 min',
        **{f'{part} % were handed out within about': '–' for part in (50, 95, 99)},
    }


def test_a_queue_has_who_holds_claims_and_for_how_long(pages: Pages, age: Any) -> None:
    claim = model.store.claims.create(post('jobs', '1', '2', '3'), 300, 60, 2)
    age(60)

    page = pages.get('/queues/jobs?project=acme').text

    assert claim is not None
    [row] = [row for row in page.split('</tr>') if claim.id in row]
    assert re.findall('class="number">([^<]*)<', row) == ['2', '1 min ago', '3 min 59 s']


def test_a_queue_has_its_last_hour_as_plots_and_as_a_table(
    pages: Pages, sql: Any, amid_a_minute: None
) -> None:
    queue = post('jobs')
    sql("UPDATE queues SET created_at = now() - interval '1 hour'")
    last = model.store.minutes.of(queue)[-1].number
    counted = [1234, 7, 0, 5, *[0] * (STEPS - 2)]
    model.store.minutes.add(last, {queue.id: counted})
    model.store.minutes.note_held([Depth('acme', 'jobs', dict.fromkeys(LIVE_STATES, 3), 90)], ())

    page = pages.get('/queues/jobs?project=acme').text

    assert page.count('<svg') == 4
    first, *rows = page.partition('The same as a table')[2].split('<tr>')[2:]
    assert len(rows) == 59
    cells = re.findall('<t[hd][^>]*>([^<]*)</t', first)
    assert cells[1:6] == ['1,234', '7', '1.5 s', '1.9 s', '2.0 s']
    assert '50 % were handed out within about</dt><dd class="number">1.5 s' in page


def test_plots_have_neither_style_nor_script_of_their_own(pages: Pages) -> None:
    post('jobs', '1')

    page = pages.get('/queues/jobs?project=acme').text

    assert page.count('<svg') == 4
    assert ' style=' not in page
    assert '<style' not in page
    assert page.count('<script') == 1


def test_a_queue_has_its_metadata(pages: Pages) -> None:
    post('jobs')
    model.store.queues.set_metadata(QueueKey.of('acme', 'jobs'), '{"for":["you"]}')

    assert '&#34;for&#34;: [' in pages.get('/queues/jobs?project=acme').text


@pytest.mark.parametrize('path', ['', '/messages', '/messages/0000000000000001', '/messages/x'])
def test_what_is_not_there_is_told_as_a_page(pages: Pages, path: str) -> None:
    response = pages.get(f'/queues/nothing{path}?project=acme')

    assert response.status_int == 404
    assert response.headers['Content-Type'].startswith('text/html')
    assert "default-src 'none'" in response.headers['Content-Security-Policy']


def test_messages_are_shown_in_posting_order_page_after_page(pages: Pages) -> None:
    post('jobs', *map(str, range(45)))

    first = pages.get('/queues/jobs/messages?project=acme')
    [after] = re.findall('rel="next" href=".*?after=([0-9a-f]+)"', first.text)
    second = pages.get(f'/queues/jobs/messages?project=acme&after={after}')
    [after] = re.findall('rel="next" href=".*?after=([0-9a-f]+)"', second.text)
    third = pages.get(f'/queues/jobs/messages?project=acme&after={after}')

    shown = [*ids(first), *ids(second), *ids(third)]
    assert len(shown) == 45
    assert shown == sorted(shown)
    assert 'rel="next"' not in third.text


def test_messages_are_shown_by_their_state(pages: Pages) -> None:
    queue = post('jobs', *'123')
    parked = park(queue, 'broken <b>')

    page = pages.get('/queues/jobs/messages?project=acme&state=parked')

    assert ids(page) == [parked]
    assert 'broken &lt;b&gt;' in page.text
    assert len(ids(pages.get('/queues/jobs/messages?project=acme&state=ready'))) == 2
    assert len(ids(pages.get('/queues/jobs/messages?project=acme&state=nonsense'))) == 3


def test_a_message_has_all_that_is_known_of_it(pages: Pages, age: Any) -> None:
    parked = park(post('jobs', '{"to":"you","n":12345678901234567890.10}'), 'broken')
    age(90)

    page = pages.get(f'/queues/jobs/messages/{parked}?project=acme')

    assert figures(page) == {
        'State': 'parked',
        'Parked because': 'broken',
        'Handed out': '1 ×',
        'Posted': '1 min 30 s ago',
        'Time to live': '1 h, not while it is parked',
        'Size': '40 bytes',
    }
    # As it was sent: a number is not rounded.
    assert '&#34;n&#34;: 12345678901234567890.10' in page.text


def test_a_message_is_found_in_each_state(pages: Pages) -> None:
    queue = post('jobs', *'123')
    park(queue, 'broken')
    model.store.claims.create(queue, 300, 60, 1)

    found = model.store.messages.peek(queue, None, 10, states=STATES.keys())

    states = {
        figures(pages.get(f'/queues/jobs/messages/{one.id}?project=acme'))['State'] for one in found
    }
    assert states == {'parked', 'claimed', 'ready'}


def tables(sql: Any) -> list[Any]:
    """All that is stored but tokens, with the places of the rows, which a change would move.

    Of a token it is noted when it was used.
    """
    return [
        sql(f'SELECT ctid, xmin, t.* FROM {table} AS t ORDER BY ctid')
        for table in TABLES
        if table != 'tokens'
    ]


def test_to_look_changes_nothing(pages: Pages, sql: Any) -> None:
    queue = post('jobs', *'1234567')
    parked = park(queue, 'broken')
    model.store.claims.create(queue, 300, 60, 2)
    subscription = failed_delivery(queue, sql)[0]
    made = model.store.tokens.create('acme', 'reader').token.id
    before = tables(sql), sql('SELECT ctid, xmin, * FROM tokens')

    tour = [
        '',
        '?project=acme&sort=age&search=j',
        '/queues/jobs?project=acme',
        *(f'/queues/jobs/messages?project=acme&state={state}' for state in ('', *STATES)),
        f'/queues/jobs/messages/{parked}?project=acme',
        '/queues/jobs/subscriptions?project=acme',
        *(
            f'/queues/jobs/subscriptions/{subscription}?project=acme&state={state}'
            for state in ('', 'pending', 'failed')
        ),
        '/queues/jobs/redrive?project=acme&state=parked',
        '/tokens?project=acme',
        '/tokens/new?project=acme',
        f'/tokens/revoke?project=acme&token={made}',
        '/audit',
    ]
    admin = {'X-Project-Id': 'acme', 'X-Roles': 'admin'}
    statuses = [pages.get(path, headers=admin).status_int for path in tour]

    assert statuses == [200] * len(tour)
    assert (tables(sql), sql('SELECT ctid, xmin, * FROM tokens')) == before


def test_a_consumer_sees_a_message_that_it_can_name_but_no_list(pages_by_token: Pages) -> None:
    queue = post('jobs', '1')
    [message] = model.store.messages.peek(queue, None, 1)
    pages_by_token.sign_in(token('consumer'))

    assert pages_by_token.get(f'/queues/jobs/messages/{message.id}').status_int == 200
    assert pages_by_token.get('/queues/jobs/messages').status_int == 403
    assert pages_by_token.get('/queues/jobs').status_int == 403


@pytest.mark.parametrize('path', ['', '/messages', '/messages/0000000000000001'])
def test_a_queue_that_the_token_is_not_for_is_refused(pages_by_token: Pages, path: str) -> None:
    post('letters', '1')
    pages_by_token.sign_in(token('admin', queues='orders-*'))

    assert pages_by_token.get(f'/queues/letters{path}').status_int == 403


def test_a_dead_letter_has_the_queue_that_it_came_from(pages: Pages, age: Any) -> None:
    queue, dead = post('jobs', '1'), post('dead')
    model.store.queues.set_metadata(queue, '{"_max_claim_count": 1, "_dead_letter_queue": "dead"}')
    for _ in range(2):
        model.store.claims.create(queue, 60, 60, 1)
        age(61)
    [message] = model.store.messages.peek(dead, None, 1)

    page = pages.get(f'/queues/dead/messages/{message.id}?project=acme')

    assert figures(page)['Dead letter of'] == 'jobs'


def test_a_page_that_is_not_there_is_told_as_a_page(pages: Pages) -> None:
    response = pages.get('/nothing')

    assert response.status_int == 404
    assert response.headers['Content-Type'].startswith('text/html')


@pytest.mark.parametrize(
    ('top', 'is_time', 'marks'),
    [
        (0, False, [0, 1, 2, 3, 4, 5]),
        (7, False, [0, 2, 4, 6, 8]),
        (1234, False, [0, 500, 1000, 1500]),
        (200, True, [0, 60, 120, 180, 240]),
        (30 * 86400, True, [0, 10 * 86400, 20 * 86400, 30 * 86400]),
    ],
)
def test_the_marks_of_a_plot_are_round(top: float, is_time: bool, marks: list[float]) -> None:
    assert _marks_up_to(top, is_time) == marks
