"""Virtual environments for the peers, apart from ours: made when first needed, then kept."""

import subprocess
import sys
from pathlib import Path

from benchmarks.measured import say


class Unavailable(Exception):
    """A peer cannot be had on this machine; the message says what would help."""


def environment(name: str, *requirements: str, dependencies: bool = True) -> Path:
    """The environment with the packages; its directory.

    :param dependencies: whether they need those that they ask for
    """
    place = Path(sys.prefix, f'peers-{name}')
    stamp = place / 'requirements.txt'
    wanted = '\n'.join(requirements)
    if not (stamp.exists() and stamp.read_text() == wanted):
        say(f'making an environment for {name}, which takes a minute once')
        pip = [str(place / 'bin/python'), '-m', 'pip', 'install', '--quiet']
        options = ['--disable-pip-version-check', *([] if dependencies else ['--no-deps'])]
        _run([sys.executable, '-m', 'venv', '--clear', str(place)])
        _run([*pip, *options, *requirements])
        stamp.write_text(wanted)
    return place


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Unavailable(f'{" ".join(command[1:])}: {" ".join(last)}')
