"""What the kernel tells of processes: whose child, how much memory, how much CPU time."""

import os
import re
import subprocess
from pathlib import Path

_TICKS = os.sysconf('SC_CLK_TCK')


def family(pid: int) -> list[int]:
    """A process and all that it, or they, have started and that live."""
    found = [pid]
    for parent in found:
        for task in Path(f'/proc/{parent}/task').glob('*/children'):
            found += [int(child) for child in task.read_text().split()]
    return found


def command_line(pid: int) -> list[str]:
    """The program of a process and its arguments."""
    return Path(f'/proc/{pid}/cmdline').read_text().split('\0')[:-1]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its family, those included that have ended."""
    return sum(map(own_cpu_seconds, family(pid)))


def own_cpu_seconds(pid: int) -> float:
    """The same of a process and its children that have ended."""
    try:
        # The name, in brackets, may hold anything; what follows it is numbers.
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def memory(pid: int) -> tuple[float, float]:
    """MiB in RAM: resident (Rss), and with what is shared divided by its sharers (Pss)."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    sizes = dict(re.findall(r'^(\w+): +(\d+) kB', text, re.M))
    return int(sizes['Rss']) / 1024, int(sizes['Pss']) / 1024


def output(*command: str) -> str:
    """What a program prints; '' if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ''
    return done.stdout
