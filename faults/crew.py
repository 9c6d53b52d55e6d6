"""The client processes of a campaign: started, and started again when they were killed."""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from faults.roles import Hand, Work

# Seconds for which a process may finish what it is at.
_PATIENCE = 30.0


class Crew:
    """Processes, each of which is a fork of this one."""

    def __init__(
        self,
        hands: Sequence[Hand],
        folder: Path,
        ports: Sequence[int],
        proxies: Sequence[int],
        seed: str,
        first_life: int = 0,
    ) -> None:
        self._hands = hands
        self._folder = folder
        self._ports = ports
        self._proxies = proxies
        self._seed = seed
        self._first_life = first_life
        self._lives: dict[str, int] = {}
        self._processes: dict[int, Hand] = {}

    def start(self) -> None:
        """Start all."""
        for hand in self._hands:
            self._start(hand)

    def start_again(self) -> None:
        """Start those again that were killed."""
        for pid, hand in list(self._processes.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._processes[pid]
                if not os.WIFSIGNALED(status):
                    raise SystemExit(f'{hand.name} has failed: it says above why')
                self._start(hand)

    def pids(self, *roles: str) -> list[int]:
        """The processes of these roles."""
        return [pid for pid, hand in self._processes.items() if hand.role.__name__ in roles]

    def name_of(self, pid: int) -> str:
        """As whom a process writes its log."""
        name = self._processes[pid].name
        return f'{name}.{self._lives[name]}'

    def stop(self, *roles: str) -> None:
        """Let processes of these roles finish; of all roles if none is named."""
        pids = self.pids(*roles) if roles else list(self._processes)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        for pid in pids:
            while not os.waitpid(pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)
            del self._processes[pid]

    def _start(self, hand: Hand) -> None:
        life = self._lives[hand.name] = self._lives.get(hand.name, self._first_life - 1) + 1
        self._processes[forked(partial(self._work, hand, life))] = hand

    def _work(self, hand: Hand, life: int) -> None:
        ports = self._ports if hand.is_direct else [*self._ports, *self._proxies]
        hand.role(Work(hand, life, self._folder, ports, self._seed))


def forked(work: Callable[[], None]) -> int:
    """Have a process of its own do the work; its id."""
    pid = os.fork()
    if pid:
        return pid
    # Until it says something else, a process is ended by this at once, and not by an error.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)
