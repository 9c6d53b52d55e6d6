"""The code as it was before the newest migration came: the release before, as long as there is one release only."""

import shutil
import subprocess
from pathlib import Path

from marconi_api.processes.installation import CHECKOUT


class NoHistory(Exception):
    """The history of the code is not here; the text says what is missing."""


def unpack(directory: Path) -> None:
    """Put that code into a directory.

    :raises NoHistory: if git does not have it
    """
    if shutil.which('git') is None or not (CHECKOUT / '.git').exists():
        raise NoHistory('the history of the code is not here')
    [newest] = _git(
        'log', '-1', '--format=%H', '--diff-filter=A', '--', 'migrations/versions'
    ).split()
    try:
        archive = _git('archive', f'{newest.decode()}^')
    except subprocess.CalledProcessError:
        raise NoHistory(
            'the history of the code does not go back to the newest migration'
        ) from None
    subprocess.run(['tar', '-x', '-C', directory], input=archive, check=True)


def _git(*arguments: str) -> bytes:
    command = ['git', '-C', str(CHECKOUT), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout
