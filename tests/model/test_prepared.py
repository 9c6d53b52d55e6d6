"""Parameters: whatever the value, PostgreSQL reads it back as what it was."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marconi_api.model.postgres.database import Database
from marconi_api.model.postgres.prepared import Prepared

#: All that PostgreSQL's text can hold.
TEXTS = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs'])) | st.text(
    '\'\\$%(){}[],;:\n-"aE?é'
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture(scope='module')
def database(postgres):
    database = Database(postgres.url, connect_timeout=2, statement_timeout=5)
    yield database
    database.close()


def read_back(database, value, of_type):
    [(read,)] = database.rows(Prepared(f'SELECT %(value)s::{of_type}'), {'value': value})
    return read


@given(TEXTS)
def test_text(database, text):
    assert read_back(database, text, 'text') == text


@given(INTEGERS)
def test_an_integer(database, integer):
    assert read_back(database, integer, 'bigint') == integer


@given(st.lists(INTEGERS))
def test_a_list_of_integers(database, integers):
    assert read_back(database, integers, 'bigint[]') == integers


@given(st.lists(TEXTS | st.none()))
def test_a_list_of_texts_and_nulls(database, texts):
    assert read_back(database, texts, 'text[]') == texts


@pytest.mark.parametrize('value', [None, True, False])
def test_null_and_truth_values(database, value):
    assert read_back(database, value, 'boolean') is value


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time(database, time):
    assert read_back(database, time, 'timestamptz') == time


def test_text_that_looks_like_sql_stays_text(database, sql):
    text = "'); DELETE FROM id_epoch; --"

    assert read_back(database, text, 'text') == text
    assert sql('SELECT count(*) FROM id_epoch') == [(1,)]


@pytest.mark.parametrize(
    'text', ['\0', "it's \0", '\ud800'], ids=['nul', 'quoted nul', 'surrogate']
)
def test_what_text_cannot_hold_is_refused_and_the_connection_still_serves(database, text):
    with pytest.raises(ValueError, match=r'NUL|surrogates'):
        read_back(database, text, 'text')

    assert read_back(database, 'as before', 'text') == 'as before'
