"""No id is given out twice, and none below a reader's marker, whatever became of the database."""

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psycopg2
import pytest

from marconi_api import model
from marconi_api.errors import StorageUnavailable
from marconi_api.model.message import NewMessage
from marconi_api.model.postgres import numbering
from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.tables import POSITION_BITS
from marconi_api.model.posting import POST
from marconi_api.processes import schema
from marconi_api.processes.embedded.cluster import EmbeddedPostgres
from marconi_api.processes.embedded.programs import program_directories
from tests.conftest import Sql
from tests.directories import open_directory
from tests.model.conftest import CLIENT, ids, new_messages
from tests.running_service import wait_until

QUEUE = model.QueueKey.of('project', 'jobs')


@pytest.fixture
def process(postgres):
    """Makes what one process of the service has: connections, marks, known attributes."""
    opened = []

    def make(url=postgres.url):
        database = Database(url, connect_timeout=2, statement_timeout=5)
        opened.append(database)
        marks = model.LowWaterMarks()
        database.on_connect.append(marks.forget)
        queues, known = model.Queues(database), model.KnownAttributes(database)
        listeners = model.ReadyListeners()
        return SimpleNamespace(
            database=database,
            queues=queues,
            messages=model.Messages(database, marks, queues, known, listeners, listeners),
            claims=model.Claims(database, marks, known, listeners),
        )

    yield make
    for database in opened:
        database.close()


def post(process, count=1, queue=QUEUE):
    return process.messages.post(queue, CLIENT, new_messages(count))


def page(process, marker=None, queue=QUEUE):
    return ids(process.messages.page(queue, marker, 1000))


def number(message):
    return int(message, 16) >> POSITION_BITS


# ---------------------------------------------------------------- other servers


@pytest.fixture
def server():
    """Makes further servers; their directories are siblings, and gone afterwards."""
    made = []
    with open_directory() as directory:

        def make(name):
            programs = os.environ.get('MARCONI_TEST_PROGRAMS_DIR') or None
            options = ('fsync=off', 'full_page_writes=off')
            made.append(EmbeddedPostgres(directory / name, programs, options, durable=False))
            return made[-1]

        yield make
        for each in made:
            each.stop()


def restore(dumped, sql):
    """What a dump carries over, into tables that are otherwise empty."""
    sql('DELETE FROM id_epoch')
    for table, rows in dumped.items():
        for row in rows:
            sql(f'INSERT INTO {table} VALUES ({", ".join(["%s"] * len(row))})', *row)


def dump(sql):
    return {table: sql(f'SELECT * FROM {table}') for table in ('queues', 'id_epoch')}


def test_a_dump_of_a_drained_queue_is_restored_and_no_id_comes_again(server, process):
    """Nothing that is stored tells how far the ids had come."""
    first, second = server('first'), server('second')
    for each in (first, second):
        each.start()
        schema.upgrade(each.url)
    old, sql = process(first.url), Sql(first.url)
    old.queues.create(QUEUE)
    handled = [post(old)[0] for _ in range(50)]
    [marker] = post(old)
    assert page(old)[-1] == marker
    old.messages.delete_many(QUEUE, [*handled, marker])
    dumped = dump(sql)
    # It goes on after the dump, too.
    late = [post(old)[0] for _ in range(50)]
    restore(dumped, Sql(second.url))

    new = process(second.url)
    posted = [post(new)[0] for _ in range(100)]

    assert not {*handled, marker, *late} & set(posted)
    assert page(new, marker) == page(new, late[-1]) == posted


def test_what_is_acknowledged_after_a_failover_is_seen_and_claimed(server, process):
    """The standby was behind: transactions, and so numbers, are used a second time."""
    primary, standby = server('primary'), server('standby')
    primary.start()
    schema.upgrade(primary.url)
    old = process(primary.url)
    old.queues.create(QUEUE)
    back_up(primary, standby)
    lost = [post(old)[0] for _ in range(200)]
    marker = page(old)[-1]
    primary.stop()

    standby.start()
    Sql(standby.url)('SELECT pg_promote()')
    new = process(standby.url)
    posted = [post(new)[0] for _ in range(100)]

    assert page(new, marker) == posted
    assert not set(posted) & set(lost)
    assert ids(new.claims.create(QUEUE, 60, 60, 1000)) == posted


def test_an_older_copy_of_the_data_directory_gives_out_no_id_again(server, process):
    """Cluster and timeline are the same: only the start of its server tells it apart."""
    first, copy = server('first'), server('copy')
    first.start()
    schema.upgrade(first.url)
    process(first.url).queues.create(QUEUE)
    first.stop()
    subprocess.run(['cp', '-a', first.state_dir, copy.state_dir], check=True)
    first.start()
    handled = [post(process(first.url))[0] for _ in range(50)]
    first.stop()

    copy.start()
    new = process(copy.url)
    posted = [post(new)[0] for _ in range(50)]

    assert not set(handled) & set(posted)
    assert page(new, handled[-1]) == posted


def back_up(primary, standby):
    """Make ``standby`` one, as of now; it does not follow."""
    standby.start()
    standby.stop()
    shutil.rmtree(standby.data)
    owner = primary.data.stat()
    programs = next(iter(program_directories(os.environ.get('MARCONI_TEST_PROGRAMS_DIR'))))
    host = psycopg2.extensions.parse_dsn(primary.url.replace('+psycopg2', ''))['host']
    as_owner = {'user': owner.st_uid, 'group': owner.st_gid, 'extra_groups': []}
    subprocess.run(
        f'{programs}/pg_basebackup -h {host} -U marconi -D {standby.data} -c fast --no-sync'.split(),
        check=True,
        cwd='/',
        **(as_owner if os.geteuid() == 0 else {}),
    )
    (standby.data / 'standby.signal').touch()


# ---------------------------------------------------------------- one server, a new epoch


@pytest.fixture
def begin_epoch(queue, sql):
    """Lets the running server be another one than the row was written for."""

    def begin():
        sql('UPDATE id_epoch SET server_started_at = server_started_at - interval %s', '1 day')

    return begin


def test_a_process_with_an_old_base_posts_behind_the_markers_of_others(begin_epoch, process):
    one, two = process(), process()
    post(two)
    begin_epoch()
    [marker] = post(one)

    [posted] = post(two)

    assert page(one, marker) == page(two, marker) == [posted]
    assert ids(one.claims.create(QUEUE, 60, 60, 10))[-1] == posted


def test_marks_of_an_older_epoch_hide_no_message(begin_epoch, process, sql):
    """A failover may bring messages back that were claimed; a pooler may hide it."""
    one = process()
    [first, second] = post(one, 2)
    taken = one.claims.create(QUEUE, 60, 60, 2)
    assert one.claims.create(QUEUE, 60, 60, 2) is None
    assert ids(taken) == [first, second]
    sql('UPDATE message_states SET held_until = NULL, claim_id = NULL')
    begin_epoch()

    assert page(one) == [first, second]
    assert ids(one.claims.create(QUEUE, 60, 60, 2)) == [first, second]


def test_a_list_is_complete_in_a_new_epoch(begin_epoch, process):
    """The read horizon is drawn by the numbers of the epoch."""
    one, two = process(), process()
    page(one)
    begin_epoch()
    posted = post(two)

    assert page(one) == posted


def test_a_pop_goes_by_the_epoch(begin_epoch, process, sql):
    one = process()
    post(one, 2)
    one.claims.create(QUEUE, 60, 60, 2)
    one.claims.create(QUEUE, 60, 60, 2)
    sql('UPDATE message_states SET held_until = NULL, claim_id = NULL')
    begin_epoch()

    assert len(one.messages.pop(QUEUE, 2)) == 2


def test_a_queue_is_made_and_purged_in_a_new_epoch(begin_epoch, process, sql):
    one, two = process(), process()
    other = model.QueueKey.of('project', 'other')
    one.queues.exists(other)
    begin_epoch()
    two.queues.create(other)
    posted = post(two, queue=other)
    begin_epoch()

    one.queues.create(model.QueueKey.of('project', 'third'))
    assert one.queues.purge(other) == len(posted)

    assert page(two, queue=other) == []
    assert post(two, queue=other) == page(two, queue=other)


def test_one_of_many_processes_begins_the_epoch(begin_epoch, process):
    processes = [process() for _ in range(8)]
    for each in processes:
        page(each)
    begin_epoch()

    with ThreadPoolExecutor(8) as pool:
        posted = [message for [message] in pool.map(post, processes)]

    assert len(set(posted)) == 8
    assert set(page(processes[0])) == set(posted)
    for each in processes:
        post(each)
    assert len({each.database.base for each in processes}) == 1


@pytest.mark.parametrize(
    'clock', ['behind', 'right', 'far ahead'], ids=lambda clock: f'clock {clock}'
)
def test_an_epoch_starts_above_all_that_was_reserved(begin_epoch, process, sql, monkeypatch, clock):
    """Also where the clock is of no use, as on a machine that forgets the time."""
    right = numbering._BY_THE_CLOCK
    by_the_clock = {'behind': '(0)', 'right': right, 'far ahead': f'({2**47})'}[clock]
    begin = numbering.BEGIN_EPOCH.replace(right, by_the_clock)
    one = process()
    post(one)
    [(reserved,)] = sql('SELECT reserved FROM id_epoch')
    begin_epoch()
    monkeypatch.setattr(numbering, 'BEGIN_EPOCH', begin)

    [posted] = post(one)

    assert number(posted) >= reserved
    assert (number(posted) >= 2**47) == (clock == 'far ahead')
    assert (number(posted) >= reserved + numbering._STRIDE) == (clock != 'right')
    sql('UPDATE id_epoch SET base = 0, reserved = 0')


def test_numbers_are_reserved_before_they_are_given_out(queue, process, sql):
    one = process()
    post(one)
    sql('UPDATE id_epoch SET reserved = base + pg_current_xact_id()::text::bigint')
    # As if that had been written by ourselves.
    sql('UPDATE id_epoch SET written_by = pg_current_xact_id()::text::bigint & 4294967295')
    base = one.database.base

    [posted] = post(one)

    assert one.database.base == base
    [(reserved,)] = sql('SELECT reserved FROM id_epoch')
    assert reserved > number(posted)


def test_numbers_fit_into_ids_for_a_century(sql):
    [(now,)] = sql(f'SELECT {numbering._BY_THE_CLOCK}')
    [(in_a_century,)] = sql(
        'SELECT ' + numbering._BY_THE_CLOCK.replace('now()', "now() + interval '100 years'")
    )

    assert 0 < now < in_a_century < 2 ** (63 - POSITION_BITS)


# ---------------------------------------------------------------- rows from elsewhere


AHEAD = 2**47 << POSITION_BITS


@pytest.fixture
def restored(queue, sql):
    """A queue from a dump whose ids are ahead of ours, restored beside those in use."""
    sql('UPDATE queues SET floor = %s', AHEAD)
    yield QUEUE
    sql('UPDATE id_epoch SET base = 0, reserved = 0')


def test_a_queue_from_elsewhere_takes_messages(restored, process):
    one, two = process(), process()
    other = model.QueueKey.of('project', 'other')
    one.queues.create(other)
    [marker] = post(one, queue=other)

    [posted] = post(two)

    assert page(one) == [posted]
    assert post(one, queue=other) == page(two, marker, queue=other)


def test_no_message_is_numbered_as_before_once_the_new_numbers_are_in_use(
    restored, process, session
):
    """A statement that began before may end last: its message would lie below a marker."""
    late = late_post(session, process)
    one = process()

    with ThreadPoolExecutor(1) as pool:
        raising = pool.submit(post, one)
        wait_until(lambda: is_resting(session))
        late()
        [posted] = raising.result()

    assert number(posted) << POSITION_BITS > AHEAD


def test_without_the_rest_a_reader_would_miss_a_message(restored, process, session, monkeypatch):
    """So that the test above is known to be able to fail."""
    other = model.QueueKey.of('project', 'other')
    process().queues.create(other)
    late = late_post(session, process, other)
    monkeypatch.setattr(numbering, 'STILL_UNDER_WAY', 'SELECT 0::bigint')
    one = process()
    post(one)
    [marker] = post(one, queue=other)
    assert page(one, queue=other) == [marker]

    missed = late()

    assert missed
    assert page(one, marker, queue=other) == []


def late_post(session, process, queue=QUEUE):
    """A post whose statement has begun, and which takes its number when it is called."""
    statement = str(POST)
    base = process_base(process)
    late = session()
    late.execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    late.execute('SELECT 1')

    def finish():
        late.execute(
            statement,
            {**queue.parameters, 'base': base, 'client_id': CLIENT, 'traceparent': None}
            | {'ttls': [300], 'bodies': ['1'], 'delays': [0]},
        )
        rows = late.fetchall()
        late.connection.commit()
        return rows

    return finish


def process_base(process):
    one = process()
    one.queues.exists(QUEUE)
    return one.database.base


def is_resting(session):
    looker = session()
    looker.execute('SELECT rests_until IS NOT NULL FROM id_epoch')
    [(is_so,)] = looker.fetchall()
    looker.connection.close()
    return is_so


def test_a_queue_that_is_made_anew_again_and_again_takes_posts(queue, process, sql):
    """Neither is a post refused, nor is it taken for a sign of rows from elsewhere."""
    done = threading.Event()
    before = sql('SELECT * FROM id_epoch')

    def make_anew():
        one = process()
        while not done.is_set():
            one.queues.delete(QUEUE)
            one.queues.create(QUEUE)

    def keep_posting():
        one, failed = process(), 0
        for _ in range(150):
            try:
                one.messages.post(QUEUE, CLIENT, [NewMessage('1')], create=True)
            except StorageUnavailable:
                failed += 1
        return failed

    with ThreadPoolExecutor(4) as pool:
        makers = [pool.submit(make_anew) for _ in range(2)]
        posters = [pool.submit(keep_posting) for _ in range(2)]
        failed = [poster.result() for poster in posters]
        done.set()
        for maker in makers:
            maker.result()

    assert failed == [0, 0]
    assert sql('SELECT * FROM id_epoch') == before
