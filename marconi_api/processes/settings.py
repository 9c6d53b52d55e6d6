"""The settings in force: what config.py says, completed and found to make sense.

A file that MARCONI_CONFIG names need not say everything. What it lacks comes from the
config.py that Marconi ships, so that an old copy goes on working with a new Marconi.
"""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pecan.configuration import Config, conf_from_file

from marconi_api import limits
from marconi_api.controllers.access import modes, policy_file
from marconi_api.model import quotas
from marconi_api.processes import tracing
from marconi_api.processes.installation import OPERATOR_FILES, config_file
from marconi_api.webhooks import rules

# A section for Python's own logging.config: its members belong together, and have any name.
_TAKEN_WHOLE = 'logging'

# A section for keystonemiddleware, which may have more than ours says.
_EXTENDED = 'keystone'

#: What MARCONI_LOG_FORMAT may name.
LOG_FORMATS = ('plain', 'json')

# The types of settings. Other things in a settings file, such as modules and functions, are not checked.
_DATA = (Config, str, int, float, list, tuple, type(None))


class SettingsError(Exception):
    """The settings cannot be used; the message is one line that says what to change."""


def read_settings() -> Any:
    """The settings in force, as Pecan reads them; every setting has a value.

    :raises SettingsError: if the file cannot be read, or :func:`complete` refuses it
    """
    path = config_file()
    try:
        settings = conf_from_file(str(path))
    except Exception as error:
        # It is a Python file, which can fail in any way.
        reason = ' '.join(str(error).split())
        raise SettingsError(
            f'cannot read the settings in {path}: {type(error).__name__}: {reason}'
        ) from None
    complete(settings)
    return settings


def complete(settings: Any) -> None:
    """Give each setting that Pecan's ``settings`` lack the value that it has in our config.py.

    :raises SettingsError: if a name is unknown, a value is of the wrong kind, or two
        settings contradict each other
    """
    try:
        _merge(settings, conf_from_file(str(OPERATOR_FILES / 'config.py')))
        _check_log_format()
        if settings.metrics.interval <= 0:
            raise SettingsError('metrics.interval must be above 0: the database is asked so often')
        if contradiction := (
            limits.contradiction(settings)
            or modes.contradiction(settings)
            or policy_file.contradiction(settings.access.policy_file)
            or quotas.contradiction(settings)
            or tracing.contradiction(settings)
            or rules.contradiction(settings)
        ):
            raise SettingsError(contradiction)
    except SettingsError as error:
        where = settings.__file__ or 'the configuration'
        raise SettingsError(f'cannot use the settings in {where}: {error}') from None


def _merge(settings: Any, shipped: Any) -> None:
    sections = dict(shipped)
    for name, value in settings:
        if name not in sections and not name.startswith('_') and isinstance(value, _DATA):
            raise SettingsError(
                f'{_unknown(name, sections)}; a name of your own begins with an underscore'
            )
    for name, defaults in sections.items():
        section = settings.get(name)
        if section is None:
            settings[name] = defaults
        elif not isinstance(section, Config):
            raise SettingsError(f'{name} must be a dictionary, not {section!r}')
        elif name != _TAKEN_WHOLE:
            _merge_section(name, section, dict(defaults))


def _merge_section(name: str, section: Any, defaults: dict[str, Any]) -> None:
    for setting, value in dict(section).items():
        if setting not in defaults:
            if name == _EXTENDED:
                continue
            raise SettingsError(
                _unknown(f'{name}.{setting}', [f'{name}.{one}' for one in defaults])
            )
        if _is_number(defaults[setting]) and not (_is_number(value) and value >= 0):
            raise SettingsError(f'{name}.{setting} must be a number from 0, not {value!r}')
        if isinstance(defaults[setting], bool) and not isinstance(value, bool):
            raise SettingsError(f'{name}.{setting} must be True or False, not {value!r}')
    for setting, value in defaults.items():
        if setting not in dict(section):
            section[setting] = value


def _check_log_format() -> None:
    # config.py takes it as it is, so that a wrong one would be told by a traceback of Python's own.
    log_format = os.environ.get('MARCONI_LOG_FORMAT')
    if log_format and log_format not in LOG_FORMATS:
        raise SettingsError(
            f'MARCONI_LOG_FORMAT must be {" or ".join(LOG_FORMATS)}, not {log_format!r}'
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unknown(name: str, known: Iterable[str]) -> str:
    alike = get_close_matches(name, known, n=1)
    return f'{name} is not a setting' + (f': did you mean {alike[0]}?' if alike else '')
