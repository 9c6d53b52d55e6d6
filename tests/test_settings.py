"""What an operator may write into a file of settings, and what is said of what makes no sense."""

from collections.abc import Callable
from dataclasses import fields
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from pecan.configuration import conf_from_file

from marconi_api import limits
from marconi_api.processes.installation import OPERATOR_FILES
from marconi_api.processes.settings import SettingsError, read_settings

Read = Callable[[str], Any]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads the settings in a file that has the text given."""

    def from_text(text: str) -> Any:
        path = tmp_path / 'settings.py'
        path.write_text(text)
        monkeypatch.setenv('MARCONI_CONFIG', str(path))
        return read_settings()

    return from_text


def refusal(read: Read, text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        read(text)
    line = str(refused.value)
    assert 'settings.py' in line
    assert '\n' not in line
    return line


def shipped() -> Any:
    return conf_from_file(str(OPERATOR_FILES / 'config.py'))


def test_a_copy_that_lacks_a_setting_has_the_shipped_one(read: Read) -> None:
    copy = (OPERATOR_FILES / 'config.py').read_text()
    lines = [line for line in copy.splitlines() if "'prepare_statements'" not in line]

    settings = read('\n'.join(lines))

    assert settings.to_dict() == shipped().to_dict()


def test_a_file_may_say_only_what_differs(read: Read) -> None:
    settings = read("limits = {'max_verdicts': 7}")

    assert settings.limits.max_verdicts == 7
    settings.limits.max_verdicts = shipped().limits.max_verdicts
    assert settings.to_dict() == shipped().to_dict()


def test_the_section_of_the_log_is_taken_whole(read: Read) -> None:
    settings = read("logging = {'version': 1}")

    assert settings.logging.to_dict() == {'version': 1}


def test_names_of_one_s_own_and_imports_do_not_matter(read: Read) -> None:
    text = "from pathlib import Path\n_DAY = 86400\nlimits = {'default_message_ttl': _DAY}"

    assert read(text).limits.default_message_ttl == 86400


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            "limits = {'max_verdict': 7}",
            'limits.max_verdict is not a setting: did you mean limits.max_verdicts?',
        ),
        ('limit = {}', 'limit is not a setting: did you mean limits?'),
        ('statement_timeout = 5', 'statement_timeout is not a setting'),
        ('limits = 5', 'limits must be a dictionary, not 5'),
        (
            "limits = {'max_verdicts': 'many'}",
            "limits.max_verdicts must be a number from 0, not 'm",
        ),
        ("limits = {'max_verdicts': 1.5}", 'limits.max_verdicts must be a whole number, not 1.5'),
        ("metrics = {'interval': 0}", 'metrics.interval must be above 0'),
        ("janitor = {'interval': -1}", 'janitor.interval must be a number from 0, not -1'),
        (
            "database = {'prepare_statements': 'no'}",
            "database.prepare_statements must be True or False, not 'no'",
        ),
        (
            "eventing = {'allowed_networks': ['10.0.0.1/8']}",
            "eventing.allowed_networks must be a list such as ['10.1.0.0/16']: 10.0.0.1/8 has host",
        ),
        (
            "eventing = {'allowed_networks': '10.0.0.0/8'}",
            'eventing.allowed_networks must be a list of networks',
        ),
        (
            "eventing = {'allowed_ports': [0]}",
            'eventing.allowed_ports must be a list of numbers from 1 to 65535, not [0]',
        ),
        ("eventing = {'smtp_url': 'http://mail'}", 'eventing.smtp_url must be of the form smtp://'),
        (
            "eventing = {'processes': 1.5}",
            'eventing.processes must be a whole number, not 1.5',
        ),
        (
            "eventing = {'require_confirmation': 1}",
            'eventing.require_confirmation must be True or False, not 1',
        ),
        (
            "database = {'url': 'postgresql://h/d'}; eventing = {'require_confirmation': True}",
            'eventing.require_confirmation needs a key to sign with: set MARCONI_SIGNING_KEYS',
        ),
        ('server = {', 'SyntaxError'),
    ],
)
def test_a_mistake_is_named_in_one_line(read: Read, text: str, said: str) -> None:
    assert said in refusal(read, text)


PAIRS = [pair for order in limits.IN_ORDER for pair in pairwise(order)]


@pytest.mark.parametrize(('low', 'high'), PAIRS)
def test_limits_that_contradict_each_other_are_named(
    read: Read, low: str | int, high: str | int
) -> None:
    least = low if isinstance(low, int) else shipped().limits[low]
    name, value = (low, high + 1) if isinstance(high, int) else (high, least - 1)

    line = refusal(read, f'limits = {{{name!r}: {value}}}')

    assert f'limits.{name} ({value})' in line
    assert 'must not be above' in line


def test_each_limit_has_its_place_in_an_order() -> None:
    ordered = {name for name in chain(*limits.IN_ORDER) if isinstance(name, str)}

    assert ordered == {field.name for field in fields(limits.Limits)}
