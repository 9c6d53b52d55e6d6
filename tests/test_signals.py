"""Signals close together, as when `make serve`'s whole group gets one and make passes it on."""

import subprocess
import sys

import pytest

# Processes that wait as a service does, each of which gets two signals at once; prints how many
# of them end.
WAITERS = """
import os, select, signal, sys
from marconi_api.processes.signals import StopRequest

def wait_for_stop(started):
    stop = StopRequest()
    os.write(started, b'.')
    while not stop.wait(0.0005):
        pass
    os._exit(0)

ended = 0
for _ in range(int(sys.argv[1])):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        wait_for_stop(writer)
    os.read(reader, 1)
    for number in sys.argv[2:]:
        os.kill(pid, int(number))
    process = os.pidfd_open(pid)
    if select.select([process], [], [], 5)[0]:
        ended += 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for descriptor in (reader, writer, process):
        os.close(descriptor)
print(ended)
"""
TRIALS = 300
HUP, INT, TERM = '1', '2', '15'


@pytest.mark.parametrize('pair', [(TERM, TERM), (TERM, HUP), (INT, TERM)])
def test_two_signals_close_together_are_a_request_to_stop(pair: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, '-c', WAITERS, str(TRIALS), *pair],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )

    assert done.stdout == f'{TRIALS}\n', done.stderr
