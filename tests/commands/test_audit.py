"""`marconi audit`: what people did, and the commands that note it."""

import getpass
import json
import socket

import pytest

from marconi_api import model
from marconi_api.model import Actor

WHO = f'{getpass.getuser()}@{socket.gethostname()}'
ACME = ('--project', 'acme')


@pytest.fixture
def noted(marconi):
    """What ``marconi audit`` shows, without the times."""

    def read(*arguments):
        entries = json.loads(marconi('audit', *arguments, '--json').stdout)
        return [
            (entry['action'], entry['project'], entry['queue'], entry['messages'])
            for entry in entries
        ]

    return read


def test_commands_that_mend_are_noted_the_last_first(marconi, noted, queue, post, sql):
    post('1', '2', '3')
    claim = model.store.claims.create(queue, 60, 60, 1)
    sql(
        "UPDATE message_states SET held_until = 'infinity' WHERE claim_id IS NULL AND mod(id, 2) = 0"
    )

    marconi('release', 'jobs', claim.id, *ACME)
    marconi('release', 'jobs', '--parked', *ACME, '--yes')
    marconi('redrive', 'jobs', '--parked', *ACME, '--yes')
    marconi('purge', 'jobs', *ACME, '--yes')
    marconi('expire')

    [expired, purged, redriven, parked, released] = noted()
    assert released == ('release', 'acme', 'jobs', 1)
    assert parked[:3] == ('release', 'acme', 'jobs')
    assert redriven == ('redrive', 'acme', 'jobs', 0)
    assert purged == ('purge', 'acme', 'jobs', 3)
    assert expired == ('expire', None, None, 3)


def test_tokens_and_limits_are_noted_without_secrets(marconi, sql):
    token = marconi('token', 'create', *ACME, '--role', 'writer').stdout.strip()
    marconi('quota', 'set', *ACME, 'quota.messages', '5')
    marconi('token', 'revoke', token)

    entries = json.loads(marconi('audit', '--json').stdout)
    assert [entry['action'] for entry in entries] == ['token revoke', 'quota set', 'token create']
    token_id = token.split('_')[1]
    assert entries[0]['details'] == {'token': token_id}
    assert entries[1]['details'] == {'setting': 'quota.messages', 'value': 5}
    assert entries[2]['details'] == {'token': token_id, 'roles': ['writer']}
    assert token.split('_')[2] not in str(sql('SELECT audit::text FROM audit'))


def test_who_did_it_is_a_user_of_a_host(marconi):
    marconi('expire')

    [entry] = json.loads(marconi('audit', '--json').stdout)
    assert (entry['who'], entry['way']) == (WHO, 'command')


def test_of_root_by_sudo_it_is_known_who_called_that(marconi, monkeypatch):
    monkeypatch.setenv('SUDO_USER', 'alice')
    monkeypatch.setattr('os.getuid', lambda: 0)

    assert Actor.of_this_process('command').name == f'alice as root@{socket.gethostname()}'


def test_what_failed_is_not_noted(marconi, queue):
    marconi('release', 'jobs', 'x', *ACME, '--dry-run')
    marconi('purge', 'none', *ACME, '--yes')
    marconi('token', 'revoke', 'none')
    marconi('redrive', 'jobs', '--to', 'none', *ACME, '--yes')

    done = marconi('audit')
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        '',
        'marconi: nothing of that kind was done\n',
    )


@pytest.mark.parametrize(
    ('options', 'found'),
    [
        (('--action', 'purge'), 2),
        (('--action', 'token'), 1),
        (('--action', 'token create'), 1),
        (('--action', 'tok'), 0),
        (('--project', 'acme'), 2),
        (('--queue', 'jobs'), 2),
        (('--project', 'other', '--queue', 'jobs'), 1),
        (('--since', '30m'), 2),
        (('--limit', '1'), 1),
    ],
)
def test_filters(marconi, queue, sql, options, found):
    audit = model.store.audit
    audit.note('purge', queue)
    audit.note('token create', project='acme')
    audit.note('purge', model.QueueKey.of('other', 'jobs'))
    sql("UPDATE audit SET at = at - interval '1 hour' WHERE project = 'other'")

    done = marconi('audit', *options, '--json')

    assert len(json.loads(done.stdout)) == found


def test_people_get_a_table(marconi, queue):
    model.store.audit.note('purge', queue, count=5, state='parked')

    shown = marconi('audit').stdout.splitlines()

    assert shown[0].split() == [
        'WHEN',
        'WHO',
        'BY',
        'ACTION',
        'PROJECT',
        'QUEUE',
        'MESSAGES',
        'DETAILS',
    ]
    assert shown[1].split()[2:] == ['shell', 'purge', 'acme', 'jobs', '5', 'state=parked']


def test_the_prompt_notes_and_shows_it(queue, post):
    admin = model.store.admin
    jobs = admin.queue('jobs', 'acme')
    [message] = post('1')

    jobs.delete(message)
    admin.tokens.revoke(admin.tokens.create('acme', 'writer').token.id)

    assert [entry.action for entry in admin.audit()] == ['token revoke', 'token create', 'delete']
    assert len(admin.audit(action='token')) == 2
    assert {entry.way for entry in admin.audit()} == {'shell'}


def test_what_is_undone_is_not_noted(queue, post, monkeypatch):
    post('1')
    jobs = model.store.admin.queue('jobs', 'acme')

    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(model.store.audit, 'note', fail)
    with pytest.raises(ZeroDivisionError):
        jobs.purge()

    assert jobs.stats()['ready'] == 1


def test_the_janitor_removes_what_is_old(queue, sql):
    for _ in range(3):
        model.store.audit.note('purge', queue)
    sql("UPDATE audit SET at = at - interval '91 days' WHERE id < (SELECT max(id) FROM audit)")

    model.store.janitor.run_once()

    assert sql('SELECT count(*) FROM audit') == [(1,)]
