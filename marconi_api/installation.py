"""Where an operator's things are: config.py, alembic.ini, migrations/, and the database.

In a checkout the files stand beside the package; ``pip install .`` carries them
inside it (see setup.py), so that an installed Marconi works from any directory.
"""

import os
from pathlib import Path
from typing import Any

from marconi_api import embedded

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent

#: The directory that holds config.py, alembic.ini and migrations/.
OPERATOR_FILES = CHECKOUT if (CHECKOUT / 'alembic.ini').is_file() else PACKAGE / 'operator_files'

ALEMBIC_INI = OPERATOR_FILES / 'alembic.ini'


def config_file() -> Path:
    """The settings in force: the file that MARCONI_CONFIG names, else our config.py."""
    return Path(os.environ.get('MARCONI_CONFIG') or OPERATOR_FILES / 'config.py').resolve()


def database_url(settings: Any) -> str | None:
    """The URL of the database in use, for SQLAlchemy.

    The one that is set, else that of the embedded PostgreSQL; None if that is not running.
    """
    if settings.database.url:
        return normalise_url(settings.database.url)
    return embedded.running_url(settings.database.data_dir or embedded.default_state_dir())


def normalise_url(url: str) -> str:
    """The URL with psycopg2 as its driver, which SQLAlchemy no longer takes by default."""
    scheme, separator, rest = url.partition('://')
    if scheme in ('postgres', 'postgresql'):
        return f'postgresql+psycopg2{separator}{rest}'
    return url
