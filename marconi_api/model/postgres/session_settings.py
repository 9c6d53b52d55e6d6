"""The settings of PostgreSQL under which all our statements run, and two ways to bring them there."""

import re

#: Tells whether PostgreSQL has read our options; no setting of its own has such a name.
MARK = 'marconi.options'

ARRIVED = f"SELECT current_setting('{MARK}', true) = 'arrived'"

_GIVEN = re.compile(r'(?:-c\s*|--)([\w.-]+)=((?:\\.|\S)*)')


class Settings:
    """Those that we need, after those that the database's URL has in ``options``.

    :param options: as libpq takes them, ``-c name=value``
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
            # What a statement scans is told by its order: an index gives it, and neither
            # a sequential scan nor another index with a sort (steering.py).
            'enable_seqscan': 'off',
            'enable_bitmapscan': 'off',
            'enable_sort': 'off',
            'plan_cache_mode': 'force_generic_plan',
            'jit': 'off',
            'timezone': 'UTC',
        }

    def as_options(self) -> str:
        """What PostgreSQL takes when a connection is made, and keeps for the session."""
        ours = {**self._ours, MARK: 'arrived'}
        written = [f'--{name}={value}'.replace(' ', '\\ ') for name, value in ours.items()]
        return ' '.join([self._options, *written]).strip()

    def as_statements(self) -> str:
        """What sets the same for the transaction that it begins."""
        found = _GIVEN.findall(self._options)
        given = {name.replace('-', '_'): re.sub(r'\\(.)', r'\1', value) for name, value in found}
        # The default would come too late: it is this transaction that must have it, and from
        # its start.
        local = {'transaction_isolation': 'read committed', **given, **self._ours}
        return ''.join(f'SET LOCAL {name} TO {_quoted(value)}; ' for name, value in local.items())


def _quoted(value: str) -> str:
    # An escape string, which means the same whatever standard_conforming_strings is.
    return "E'" + value.replace('\\', '\\\\').replace("'", "\\'") + "'"
