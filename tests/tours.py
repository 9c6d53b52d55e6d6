"""Tours that a document makes with curl, taken line by line."""

import os
import re
import subprocess
from pathlib import Path

from tests.running_service import Service

# A UUID; or a message's id, which may follow a colon that is written %3A.
ID = r'(?<![0-9a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16})(?![0-9a-f])'


def blocks(kind: str, text: str) -> list[str]:
    """The examples of one kind in a document, in order."""
    return re.findall(rf'```{kind}\n(.*?)```', text, re.DOTALL)


def what_varies_masked(text: str) -> str:
    """The text with ids, times and lengths that depend on them replaced by their names."""
    for pattern, name in (
        (ID, 'ID'),
        (r'mrc_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}', 'TOKEN'),
        (r'(/tokens/|"id": ?")[0-9A-Za-z]{12}\b', r'\1TOKEN-ID'),
        (r'\btoken [0-9A-Za-z]{12}\b', 'token TOKEN-ID'),
        (r'\d{4}-\d\d-\d\dT[\d:]{8}Z', 'TIME'),
        (r'whsec_[A-Za-z0-9+/=]{32,88}', 'SECRET'),
        (r'("sequence": ?")\d{20}', r'\1SEQUENCE'),
        (r'("ms": ?)\d+', r'\1MILLISECONDS'),
        (r'("age":|age=|expires_in=)\d+', r'\1SECONDS'),
        (r'\r', ''),
    ):
        text = re.sub(pattern, name, text)
    return text.strip()


def take_tour(text: str, service: Service, directory: Path, **environment: str) -> int:
    """Run what a document shows, see that each step replies as shown; how many steps there were.

    The ids in a command are those that the document has shown before; they stand for those that
    were really replied.
    """
    examples = ''.join(blocks('console', text))
    steps = re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', examples, re.MULTILINE)
    ids: dict[str, str] = {}
    for command, shown in steps:
        here = command.replace('127.0.0.1:8888', f'127.0.0.1:{service.port}')
        # Quiet: with its output in a pipe, curl would draw its progress.
        here = here.replace('curl ', 'curl --silent --show-error ')
        here = re.sub(ID, lambda match: ids.get(match[0], match[0]), here)
        done = subprocess.run(
            ['bash', '-c', here],
            cwd=directory,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        was, should = what_varies_masked(done.stdout), what_varies_masked(shown)
        assert was == should, f'{command}\n{was}'
        ids.update(zip(re.findall(ID, shown), re.findall(ID, done.stdout), strict=True))
    return len(steps)
