"""All queues at a glance."""

import re
from typing import Any

from webtest import TestResponse

from marconi_api import model
from marconi_api.model import NewMessage
from marconi_api.model.depths import STATES, Depth
from marconi_api.model.figures import Figures
from marconi_api.model.traffic import STEPS
from tests.console.conftest import CLIENT, Pages, post


def names(page: TestResponse) -> list[str]:
    """The queues of the table, in its order."""
    return re.findall('<th scope="row"><a [^>]*><bdi>([^<]*)</bdi>', page.text)


def cells(page: TestResponse, name: str) -> list[str]:
    """The figures of a queue."""
    [row] = [row for row in page.text.split('<tr>') if f'<bdi>{name}</bdi></a></th>' in row]
    return re.findall('<td class="number">([^<]*)</td>', row)


def test_a_queue_has_its_depth_by_state_and_the_age_of_its_oldest_message(
    pages: Pages, age: Any
) -> None:
    queue = post('jobs', *'12345')
    model.store.messages.post(queue, CLIENT, [NewMessage('6', 3600, 900)] * 3)
    model.store.claims.create(queue, 300, 60, 2)
    age(90)

    page = pages.get()

    assert cells(page, 'jobs') == ['8', '3', '2', '3', '0', '1 min 30 s', '0', '0']


def test_a_queue_without_messages_is_shown_too(pages: Pages) -> None:
    post('empty')

    assert cells(pages.get(), 'empty') == ['0', '0', '0', '0', '0', '–', '0', '0']


def test_the_deepest_queue_comes_first(pages: Pages) -> None:
    post('a', '1')
    post('b', '1', '2', '3')
    post('c', '1', '2')

    assert names(pages.get()) == ['b', 'c', 'a']


def test_queues_can_be_sorted_by_each_column(pages: Pages, age: Any) -> None:
    post('c', '1')
    age(60)
    post('b', '1', '2', '3')
    model.store.claims.create(post('a', '1', '2'), 300, 60, 2)

    assert names(pages.get('?sort=name')) == ['a', 'b', 'c']
    assert names(pages.get('?sort=ready')) == ['b', 'c', 'a']
    assert names(pages.get('?sort=claimed')) == ['a', 'b', 'c']
    assert names(pages.get('?sort=age'))[0] == 'c'
    assert names(pages.get('?sort=nonsense')) == names(pages.get())


def test_queues_can_be_searched_by_a_part_of_their_names(pages: Pages) -> None:
    post('orders-new')
    post('letters')

    assert names(pages.get('?search=ers-')) == ['orders-new']
    assert 'There is no such queue.' in pages.get('?search=nothing').text


def test_many_queues_are_shown_page_after_page(pages: Pages, sql: Any) -> None:
    sql(
        'INSERT INTO queues (queue_id, project, name, metadata, floor)'
        " SELECT n, 'acme', 'q' || to_char(n, 'FM000'), '{}', 0 FROM generate_series(1, 120) n"
    )

    pages_shown = [pages.get(f'?sort=name&page={number}') for number in (1, 2, 3)]

    assert [len(names(page)) for page in pages_shown] == [50, 50, 20]
    assert names(pages_shown[2])[-1] == 'q120'
    assert 'page=2' in pages_shown[0].text
    assert names(pages.get('?sort=name&page=99')) == names(pages_shown[2])
    assert names(pages.get('?sort=name&page=-1')) == names(pages_shown[0])


def test_who_is_too_early_gets_figures_that_were_written_down(pages: Pages, sql: Any) -> None:
    post('jobs')
    post('empty')
    sql("UPDATE queues SET created_at = now() - interval '1 hour'")
    held = dict(zip(STATES, (1234, 2, 3, 4), strict=True))
    model.store.minutes.note_held([Depth('acme', 'jobs', held, 90)], ())
    sql("UPDATE queue_minutes SET minute = minute - interval '5 minutes'")
    sql('BEGIN; LOCK TABLE message_states IN ACCESS EXCLUSIVE MODE')
    try:
        model.store.figures.forget()
        while 'Being counted' in (page := pages.look()).text:
            pass
    finally:
        sql('ROLLBACK')

    assert names(page) == ['jobs', 'empty']
    assert cells(page, 'jobs')[:6] == ['1,243', '1,234', '2', '3', '4', '1 min 30 s']
    assert re.search('Counted [56] min', page.text)


def test_figures_are_used_again_for_seconds(pages: Pages) -> None:
    store = model.store
    figures = Figures(store.database, store.admin, store.messages, store.minutes)
    while (first := figures.overview()) is None:
        pass
    post('jobs')

    second = figures.overview()

    assert second is not None
    assert second.figures is first.figures


def test_who_is_too_early_gets_a_page_without_figures(pages: Pages, sql: Any) -> None:
    post('jobs')
    sql('BEGIN; LOCK TABLE message_states IN ACCESS EXCLUSIVE MODE')
    try:
        model.store.figures.forget()
        page = pages.look()
    finally:
        sql('ROLLBACK')

    assert page.status_int == 200
    assert 'Being counted' in page.text
    assert names(pages.get()) == ['jobs']


def test_a_queue_has_what_came_and_left_in_the_last_minute(
    pages: Pages, sql: Any, amid_a_minute: None
) -> None:
    jobs, letters = post('jobs'), post('letters')
    sql("UPDATE queues SET created_at = now() - interval '1 hour'")
    last = model.store.minutes.of(jobs)[-1].number
    nothing = [0] * STEPS
    model.store.minutes.add(last, {jobs.id: [1234, 5, *nothing], letters.id: [7, 60, *nothing]})

    page = pages.get()

    assert cells(page, 'jobs')[-2:] == ['1,234', '5']
    assert names(pages.get('?sort=in')) == ['jobs', 'letters']
    assert names(pages.get('?sort=out')) == ['letters', 'jobs']
