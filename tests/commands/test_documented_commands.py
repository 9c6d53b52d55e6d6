"""Each command that a document shows is run by a test, or stands here with the reason why not."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from marconi_api import model
from marconi_api.commands.command_line import _COMMANDS, parser_of
from marconi_api.model import QueueKey
from marconi_api.processes.installation import CHECKOUT

PAGES = [
    *(CHECKOUT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')),
    *sorted((CHECKOUT / 'docs').glob('*.md')),
]

#: Blocks with `$ COMMAND`, and what it prints: each page whose tour a test takes.
TOURS = {
    'README.md': 'tests/test_readme.py',
    'docs/eventing.md': 'tests/test_eventing_document.py',
    'docs/first-steps.md': 'tests/test_first_steps.py',
    'docs/message-life.md': 'tests/controllers/v2/test_following.py',
    'docs/operating.md': 'tests/test_operating.py',
    'docs/producer.md': 'tests/worker/test_producer.py',
    'docs/worker.md': 'tests/worker/test_worker.py',
}

#: Commands by their beginning, and the test that runs them, or does what they do.
RUN_BY = {
    'make serve': 'tests/test_readme.py::test_make_serve_is_what_these_tests_serve_with',
    'make help': 'tests/commands/test_documented_commands.py::test_make_lists_its_commands',
    'make test': '.ci/run',
    'make check': '.ci/run',
    'make docs': '.ci/run',
    'export TOKEN=': 'tests/clients/test_clients.py::'
    'test_the_readme_shows_how_each_client_sends_a_token',
    'curl -i -X PUT http://127.0.0.1:8888/v2/queues/jobs -H "Authorization': 'tests/clients/'
    'test_clients.py::test_the_readme_shows_how_each_client_sends_a_token',
    'openstack --os-auth-type admin_token': 'tests/clients/test_clients.py::'
    'test_the_readme_shows_how_each_client_sends_a_token',
    '.venv/bin/pecan shell config.py': 'tests/test_readme.py::'
    'test_the_transcript_of_the_shell_shows_what_happens',
    'export MARCONI_DATABASE_URL=': 'tests/test_readme.py::'
    'test_the_schema_is_made_as_the_dba_is_told',
    '.venv/bin/alembic upgrade head': 'tests/test_readme.py::'
    'test_the_schema_is_made_as_the_dba_is_told',
    'marconi serve': 'tests/test_packaging.py::'
    'test_the_installed_service_runs_anywhere_and_passes_the_health_check',
    'alembic -c "$(marconi paths alembic)" upgrade head': 'tests/test_packaging.py::'
    'test_the_commands_of_the_readme_work_from_any_directory',
    'pecan shell "$(marconi paths config)"': 'tests/test_packaging.py::'
    'test_the_commands_of_the_readme_work_from_any_directory',
    'source <(marconi completion bash)': 'tests/commands/test_completion.py::'
    'test_bash_completes_commands_and_options',
    'marconi completion ': 'tests/commands/test_completion.py::'
    'test_the_shell_can_read_what_is_printed',
    '$ python answer.py': 'tests/waiting/test_awaited_replies.py::'
    'test_the_programs_of_the_document_ask_and_answer',
    '$ python ask.py': 'tests/waiting/test_awaited_replies.py::'
    'test_the_programs_of_the_document_ask_and_answer',
    'export PATH="$PWD/.venv/bin:$PATH"': 'tests/test_first_steps.py::'
    'test_a_newcomer_gets_what_the_page_shows',
    'cp docs/worker.py .': 'tests/test_first_steps.py::test_a_newcomer_gets_what_the_page_shows',
    'python resize.py': 'tests/test_first_steps.py::test_a_newcomer_gets_what_the_page_shows',
    'MARCONI_ACCESS=token make serve': 'tests/test_first_steps.py::'
    'test_a_newcomer_gets_what_the_page_shows',
    'openstack messaging ': 'tests/keystone/test_keystone.py::'
    'test_the_openstack_command_works_as_the_document_shows',
    'openstack ': 'tests/keystone/test_keystone.py::place',
    'export MARCONI_ACCESS=keystone': 'tests/keystone/test_keystone.py::place',
    'export MARCONI_KEYSTONE_': 'tests/keystone/test_keystone.py::place',
    'export OS_': 'tests/keystone/test_keystone.py::'
    'test_the_openstack_command_works_as_the_document_shows',
    'MARCONI_METRICS_ADDRESS=9464 make serve': 'tests/test_metrics.py::measured',
    'curl http://127.0.0.1:9464/metrics': 'tests/test_metrics.py::'
    'test_nothing_but_metrics_is_served',
    '/opt/marconi/bin/pip install .': 'tests/test_packaging.py::environment',
    '/opt/marconi-new/bin/marconi migrate --yes': 'tests/commands/test_documented_commands.py::'
    'test_the_command_is_carried_out',
    'export MARCONI_DATA_DIR=/var/lib/marconi': 'tests/test_operating.py::run',
    'PATH=': 'tests/test_operating.py::run',
    'export PGHOST=': 'tests/test_operating.py::run',
    'export AWS_ACCESS_KEY_ID=': 'tests/clients/test_sqs_clients.py::',
    'pg_dump ': 'tests/test_operating.py::'
    'test_a_dump_is_restored_and_new_ids_are_above_all_former_ones',
    'pg_restore --file=': 'tests/test_operating.py::'
    'test_a_dump_is_restored_and_new_ids_are_above_all_former_ones',
    'pg_restore --no-owner': 'tests/test_operating.py::'
    'test_messages_move_to_a_postgresql_of_one_s_own',
    '/opt/marconi/bin/pecan shell': 'tests/test_operating.py::'
    'test_parked_messages_are_looked_at_as_the_transcript_shows',
    'python accounts.py': 'tests/worker/test_worker.py::'
    'test_the_work_of_a_worker_that_died_before_its_verdict_is_not_done_again',
    'MARCONI_TRACING=on ': 'tests/test_tracing.py::test_a_stop_sends_what_was_not_sent',
    "curl -X POST -H @headers 'http://127.0.0.1:8888/v2/queues/jobs/claims?wait=30'": 'tests/waiting/'
    'test_waiting.py::test_the_commands_of_the_document_wait_and_follow',
    "curl -N -H @headers -H 'Accept: text/event-stream'": 'tests/waiting/test_waiting.py::'
    'test_the_commands_of_the_document_wait_and_follow',
    'node resize.mjs': 'tests/worker/test_other_languages.py::test_the_program_of_the_page_works',
    'go run worker.go resize.go': 'tests/worker/test_other_languages.py::'
    'test_the_program_of_the_page_works',
    'pip install --force-reinstall --no-binary pyuwsgi': '.ci/run',
    'pip install --require-hashes': 'tests/test_packaging.py::environment',
    'pip install --no-index --no-deps': 'tests/test_packaging.py::environment',
}

#: Commands by their beginning that no test runs, and why.
NOT_RUN = {
    'HOST=0.0.0.0 MARCONI_ACCESS=token make serve': 'other machines could reach it',
    'make bench': 'it takes half an hour, and minutes if it is quick',
    'make faults': 'it takes minutes; tests of faults/ are shorter',
    'python -m faults': 'it takes minutes; tests of faults/ are shorter',
    'make constraints': 'it takes the newest releases of all packages',
    'make hashes': 'it asks the package index for the hashes of all files',
    "pip install 'marconi-api[keystone]'": 'it is not published; an installation of it is tested',
    'pip install "marconi-api[tracing]"': 'it is not published; an installation of it is tested',
    'useradd ': 'it changes the machine',
    'python3 -m venv /opt/marconi': 'it changes the machine',
    'cp docs/marconi.service /etc': 'it changes the machine; systemd checks the file',
    'systemctl ': 'it changes the machine',
    'sudo ': 'it changes the machine; a test does the same with other directories',
    "printf 'alice:%s\\n' \"$(openssl": 'it asks for a password at the terminal',
    # What differs from another one that is run by its URL alone.
    'export MARCONI_DATABASE_URL=postgresql://marconi:secret@pooler': 'the name is of nobody',
}

#: What a line of an indented block begins with if the block has commands.
PROGRAMS = re.compile(
    r'(\$ )?([A-Z_]+=\S+ )*(make|curl|python3?|pip|marconi|alembic|pecan|node|go|cp|export|printf'
    r'|useradd|systemctl|sudo|openstack|source|PATH=\S+|pg_dump|pg_restore|\.venv/\S+|/opt/\S+)( |$)'
)


class Shown(NamedTuple):
    """A command of a document."""

    page: str
    text: str


def blocks_of(text: str) -> Iterator[str]:
    """The blocks with commands, apart from those that show what is printed, too."""
    fences = r'^( *)```(\w*)\n(.*?)^ *```$'
    for indent, kind, block in re.findall(fences, text, re.MULTILINE | re.DOTALL):
        if kind in ('sh', 'bash'):
            yield re.sub(f'^{indent}', '', block, flags=re.MULTILINE)
    without = re.sub(fences, '', text, flags=re.MULTILINE | re.DOTALL)
    for block in re.findall(r'(?:(?<=\n\n)(?: {4,}\S.*\n)+)', without):
        if PROGRAMS.match(block.lstrip()):
            yield re.sub('^ +', '', block, flags=re.MULTILINE)


def commands_in(page: Path) -> list[Shown]:
    """The commands of a page, without comments."""
    name = str(page.relative_to(CHECKOUT))
    found = []
    for block in blocks_of(page.read_text()):
        for line in re.sub(r'\\\n +', '', block).splitlines():
            command = re.sub(r'(^|\s+)# .*', '', line).strip()
            if PROGRAMS.match(command):
                found.append(Shown(name, command))
    return found


COMMANDS = [command for page in PAGES for command in commands_in(page)]

#: Run here, one by one.
OF_MARCONI = sorted(
    {
        command.text
        for command in COMMANDS
        if command.text.startswith('marconi ')
        and not command.text.startswith(('marconi serve', 'marconi completion'))
    }
)


def known(command: str, table: dict[str, str]) -> list[str]:
    """The entries of a table that are for a command."""
    return [beginning for beginning in table if command.startswith(beginning)]


def test_commands_are_found() -> None:
    # As many as there were when this was written, at least: else the search has become blind.
    assert len(COMMANDS) > 90
    assert len(OF_MARCONI) > 25


@pytest.mark.parametrize('command', sorted({command.text for command in COMMANDS}))
def test_each_command_is_run_by_a_test_or_has_a_reason(command: str) -> None:
    assert command in OF_MARCONI or known(command, RUN_BY) or known(command, NOT_RUN)


def test_no_entry_is_left_over() -> None:
    for beginning in (*RUN_BY, *NOT_RUN):
        assert any(command.text.startswith(beginning) for command in COMMANDS), beginning


@pytest.mark.parametrize('named', sorted(set(RUN_BY.values())))
def test_the_tests_that_are_named_are_there(named: str) -> None:
    file, _, name = named.partition('::')

    assert not name or f'def {name}(' in (CHECKOUT / file).read_text()


def test_each_page_that_shows_what_is_printed_has_its_tour() -> None:
    with_tour = {
        str(page.relative_to(CHECKOUT)) for page in PAGES if '```console\n' in page.read_text()
    }

    assert with_tour == set(TOURS)
    for page, test in TOURS.items():
        source = (CHECKOUT / test).read_text()
        assert Path(page).name in source
        assert 'take_tour(' in source


def test_make_lists_its_commands() -> None:
    makefile = (CHECKOUT / 'Makefile').read_text()
    listed = set(re.findall(r'^([a-z-]*):.*##', makefile, re.MULTILINE))
    told = {
        match[1]
        for page in PAGES
        for match in re.finditer(r'(?:^|`|    )make ([a-z-]+)', page.read_text())
    }

    # A target that is a file has a point in its name.
    assert told <= listed


# ---------------------------------------------------------------- those of marconi


@pytest.fixture
def filled(app: Any, sql: Any, marconi: Any, tmp_path: Path) -> dict[str, str]:
    """The queues that the pages speak of; by what the pages call something how it is called here."""
    client = '3381af92-2b9e-11e3-b191-71861300734c'
    jobs, dead, events = (QueueKey.of('acme', name) for name in ('jobs', 'dead', 'events'))
    for queue in (jobs, dead, events):
        model.store.queues.create(queue)
        model.store.messages.post(
            queue, client, [model.NewMessage(str(number), 300, 0) for number in range(3)]
        )
    first = model.store.messages.peek(jobs, None, 1)[0].id
    model.store.verdicts.give(jobs, None, [model.Verdict.park(first, 'timed out')])
    sql('UPDATE message_states SET came_from = %s WHERE queue_id = %s', jobs.id, dead.id)
    order = model.Order('ready', 'events', None, None, 'no such reason', None)
    redrive = model.store.redrives.start(dead, order)
    model.store.redrives.cancel(dead, redrive.id)
    subscription = model.store.subscriptions.create(events, 'https://a.example.com/').id
    model.store.messages.post(events, client, [model.NewMessage('1', 300, 0)])
    sql("UPDATE deliveries SET due_at = 'infinity'")
    token = json.loads(
        marconi('token', 'create', '--project', 'acme', '--role', 'reader', '--json').stdout
    )
    model.store.audit.note('purge', jobs, count=1)
    return {'00066147a6e3d5c0': subscription, 'ID': token['id']}


@pytest.mark.parametrize('command', OF_MARCONI)
def test_the_command_is_carried_out(command: str, marconi: Any, filled: dict[str, str]) -> None:
    words = [filled.get(word, word) for word in shlex.split(command)[1:]]
    stdin = '{"resize": 1}\n{"resize": 2}\n' if '<' in words else ''
    if '<' in words or '>' in words:
        words = words[: words.index('<' if '<' in words else '>')]

    # Secrets of access keys are encrypted by it.
    secret = {'MARCONI_SECRET_KEYS': 'a key'}
    done = marconi(*words, stdin=stdin, **secret)
    if 'Add --yes' in done.stderr:
        done = marconi(*words, '--yes', **secret)

    assert (done.returncode, 'Traceback' in done.stderr) == (0, False), done.stderr


def mentioned() -> list[str]:
    """What the running text of the pages names of marconi, such as `marconi peek`."""
    found = set()
    for page in PAGES:
        text = re.sub(r'^ *```.*?^ *```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)
        found |= {' '.join(match.split()) for match in re.findall(r'`(marconi [^`]+)`', text)}
    return sorted(found)


@pytest.mark.parametrize('text', mentioned())
def test_what_the_text_names_is_there(text: str) -> None:
    words = re.split(r'\s+', text.partition(' | ')[0])
    named, options = words[1], [word.partition('=')[0] for word in words if word.startswith('--')]
    if named == 'COMMAND' or named.startswith('--'):
        return

    assert named in _COMMANDS
    parser: Any = parser_of([named])
    choices = parser._subparsers._group_actions[0].choices[named]
    verbs = [action.choices for action in choices._actions if action.dest == 'verb']
    if verbs and len(words) > 2:
        choices = verbs[0][words[2]]
    assert [option for option in options if option not in choices._option_string_actions] == []
