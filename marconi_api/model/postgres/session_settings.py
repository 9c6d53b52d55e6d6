"""The settings of PostgreSQL under which all our statements run, and two ways to apply them."""

import re

#: A setting of our own, whose value shows that PostgreSQL has read our options.
MARK = 'marconi.options'

ARRIVED = f"SELECT current_setting('{MARK}', true) = 'arrived'"

_GIVEN = re.compile(r'(?:-c\s*|--)([\w.-]+)=((?:\\.|\S)*)')


class Settings:
    """The settings from the database's URL, and then those that Marconi needs, which win.

    :param options: the settings of the URL, as libpq takes them: ``-c name=value``
    :param statement_timeout: seconds
    """

    def __init__(self, options: str, statement_timeout: float) -> None:
        milliseconds = str(int(statement_timeout * 1000))
        self._options = options
        self._ours = {
            'default_transaction_isolation': 'read committed',
            'statement_timeout': milliseconds,
            'lock_timeout': milliseconds,
            'idle_in_transaction_session_timeout': milliseconds,
            # The ORDER BY of a statement thus chooses the index: PostgreSQL uses neither a
            # sequential scan, nor another index with a sort (steering.py).
            'enable_seqscan': 'off',
            'enable_bitmapscan': 'off',
            'enable_sort': 'off',
            'plan_cache_mode': 'force_generic_plan',
            'jit': 'off',
            'timezone': 'UTC',
        }

    def as_options(self) -> str:
        """The value of libpq's parameter ``options``, which holds for the whole session."""
        ours = {**self._ours, MARK: 'arrived'}
        written = [f'--{name}={value}'.replace(' ', '\\ ') for name, value in ours.items()]
        return ' '.join([self._options, *written]).strip()

    def as_statements(self) -> str:
        """``SET LOCAL`` statements, which hold for the transaction that begins with them."""
        found = _GIVEN.findall(self._options)
        given = {name.replace('-', '_'): re.sub(r'\\(.)', r'\1', value) for name, value in found}
        # default_transaction_isolation would only hold for the next transaction, but this one must
        # have it, from its start.
        local = {'transaction_isolation': 'read committed', **given, **self._ours}
        return ''.join(f'SET LOCAL {name} TO {_quoted(value)}; ' for name, value in local.items())


def _quoted(value: str) -> str:
    # An escape string, which means the same whatever standard_conforming_strings is.
    return "E'" + value.replace('\\', '\\\\').replace("'", "\\'") + "'"
