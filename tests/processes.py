"""Other processes, as /proc shows them: any of them may end while it is looked at."""

import contextlib
from pathlib import Path


def shown(pid: int, file: str) -> str:
    """A file of a process in /proc, ``comm`` for instance; empty if the process has ended."""
    # What has ended is not found; what ends between the opening and the reading has no such process.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f'/proc/{pid}/{file}').read_text(errors='surrogateescape')
    return ''


def name_of(pid: int) -> str:
    """What a process calls itself, in 15 characters at most; empty if it has ended."""
    return shown(pid, 'comm').removesuffix('\n')


def with_descendants(pid: int) -> list[int]:
    """A process and all that it, or they, have started."""
    found = [pid]
    for parent in found:
        for task in _tasks(parent):
            found += [int(child) for child in shown(parent, f'task/{task}/children').split()]
    return found


def _tasks(pid: int) -> list[str]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [path.name for path in Path(f'/proc/{pid}/task').iterdir()]
    return []


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has waited for it yet."""
    status = shown(pid, 'stat').rpartition(')')[2].split()
    return not status or status[0] == 'Z'
