"""Ctrl-C while the database is waited for.

libpq goes on to wait when a signal comes, and Python raises KeyboardInterrupt only afterwards: up
to five seconds later. So a thread is told of the signal, too. What a statement did not commit by
then, PostgreSQL undoes.
"""

import os
import signal
import threading
import time

from marconi_api.commands import ENDED_BY_CTRL_C

# Seconds in which the main thread may end by itself, if it does not wait for the database.
_PATIENCE = 0.3


def end_soon_at_ctrl_c() -> None:
    """From now on Ctrl-C ends this process within half a second. To be called once."""
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), name='ctrl-c', daemon=True).start()


def _watch(told: int) -> None:
    while signal.SIGINT not in os.read(told, 1):
        pass
    time.sleep(_PATIENCE)
    os._exit(ENDED_BY_CTRL_C)
