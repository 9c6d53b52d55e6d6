"""``marconi quota`` shows and sets what one project may have."""

import json

import pytest

QUOTA = ('--project', 'acme', 'quota.messages')


def test_a_project_differs_from_the_settings_until_it_is_set_back(marconi):
    assert 'quota.messages 100\n' in marconi('quota', 'set', *QUOTA, '100').stdout
    assert 'quota.messages 100\n' in marconi('quota', 'show', '--project', 'acme').stdout
    assert 'quota.messages none\n' in marconi('quota', 'show', '--project', 'other').stdout
    assert 'quota.messages none\n' in marconi('quota', 'set', *QUOTA, 'default').stdout


def test_programs_read_it_as_json(marconi):
    marconi('quota', 'set', *QUOTA, '100')

    shown = json.loads(marconi('quota', 'show', '--project', 'acme', '--json').stdout)

    assert (shown['quota.messages'], shown['rate.requests']) == (100, None)


@pytest.mark.parametrize('value', ['x', '-1', '1.5', '٣', '9' * 5000])
def test_a_value_that_is_not_a_number_is_wrong_use(marconi, value):
    # argparse takes what begins with a minus for an option.
    done = marconi('quota', 'set', *QUOTA, value)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, '', 1)


def test_services_that_look_at_no_limits_are_named(marconi):
    assert 'set quota.overrides' in marconi('quota', 'show', '--project', 'acme').stderr
