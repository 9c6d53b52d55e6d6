"""Where the files of an operator lie: config.py, alembic.ini and migrations/.

In a checkout they stand beside the package; ``pip install .`` carries them
inside it (see setup.py), so that an installed Marconi works from any directory.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent

#: The directory that holds config.py, alembic.ini and migrations/.
OPERATOR_FILES = CHECKOUT if (CHECKOUT / 'alembic.ini').is_file() else PACKAGE / 'operator_files'

ALEMBIC_INI = OPERATOR_FILES / 'alembic.ini'


def config_file() -> Path:
    """The settings in force: the file that MARCONI_CONFIG names, else our config.py."""
    return Path(os.environ.get('MARCONI_CONFIG') or OPERATOR_FILES / 'config.py').resolve()
