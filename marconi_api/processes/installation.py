"""Where the operator's files and the database are: config.py, alembic.ini, migrations/, the URL.

In a checkout the files stand beside the package; ``pip install .`` carries them
inside it (see setup.py), so that an installed Marconi works from any directory.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from marconi_api.processes.embedded.cluster import default_state_dir, running_url

PACKAGE = Path(__file__).resolve().parent.parent
CHECKOUT = PACKAGE.parent

#: The directory that holds config.py, alembic.ini and migrations/.
OPERATOR_FILES = CHECKOUT if (CHECKOUT / 'alembic.ini').is_file() else PACKAGE / 'operator_files'

ALEMBIC_INI = OPERATOR_FILES / 'alembic.ini'


def config_file() -> Path:
    """The settings in force: the file that MARCONI_CONFIG names, else our config.py."""
    return Path(os.environ.get('MARCONI_CONFIG') or OPERATOR_FILES / 'config.py').resolve()


def database_url(settings: Any) -> str | None:
    """The URL of the database in use, for SQLAlchemy.

    It is the URL in the settings, else that of the embedded PostgreSQL; None if that is not running.
    """
    if settings.database.url:
        return normalise_url(settings.database.url)
    return running_url(settings.database.data_dir or default_state_dir())


#: The file beside the embedded PostgreSQL's data with the key that encrypts secrets of access keys.
SECRET_KEY_FILE = 'secrets.key'


def secret_keys(settings: Any) -> str:
    """The keys that encrypt secrets of access keys: those that are set, else the one that is kept.

    :returns: '' if there are none, as with a database that is named
    """
    if settings.sqs.secret_keys or settings.database.url:
        return str(settings.sqs.secret_keys)
    state_dir = Path(settings.database.data_dir or default_state_dir())
    with contextlib.suppress(OSError):
        return (state_dir / SECRET_KEY_FILE).read_text().strip()
    return ''


# The parts of a URL before its path; in a password none but @ and % must be encoded.
_AUTHORITY = re.compile(r'(?P<user>[^:/?@]*(?::[^@]*)?@)?(?P<hosts>[^/?]*)')
_HOST = re.compile(r'(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>.*))?')


def normalise_url(url: str) -> str:
    """A PostgreSQL URL in the form that SQLAlchemy takes, with psycopg2 as its driver.

    libpq, and so psql, takes several hosts (``h1:5432,h2:5432``) and percent-encoded ones
    (``%2Fvar%2Frun%2Fpostgresql``); these become the parameters ``host`` and ``port``.
    """
    scheme, separator, rest = url.partition('://')
    if scheme not in ('postgres', 'postgresql'):
        return url
    authority = _AUTHORITY.match(rest)
    assert authority is not None
    hosts = authority['hosts']
    if ',' in hosts or '%' in hosts:
        path, _, query = rest[authority.end() :].partition('?')
        parameters = '&'.join(filter(None, [_host_parameters(hosts), query]))
        rest = f'{authority["user"] or ""}{path or "/"}?{parameters}'
    return f'postgresql+psycopg2{separator}{rest}'


def _host_parameters(hosts: str) -> str:
    found = [match for host in hosts.split(',') if (match := _HOST.fullmatch(host))]
    names = ','.join(unquote(match['host'].strip('[]')) for match in found)
    ports = ','.join(match['port'] or '' for match in found)
    # If no port is given, libpq takes its default, which PGPORT may change.
    return f'host={quote(names)}' + (f'&port={quote(ports)}' if ports.strip(',') else '')
