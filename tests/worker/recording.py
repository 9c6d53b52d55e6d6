"""The worker of docs/worker.py with a handler that records all it does.

Usage: python recording.py URL TTL HEART RECORD QUEUE...

If its HEART is still, it sends no heartbeats, and takes a claim to last as long as it works.

The body of a message says what comes of it: {"seconds": 0.1, "outcome": "done"}, where the
outcome may also be "broken", or "later", which is "done" when the message comes again.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from worker import NotNow, Worker

url, ttl, heart, path, *names = sys.argv[1:]
record = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(event, message):
    """Add a line that survives this process whole: one write, which is on disk when it is done."""
    line = {
        'event': event,
        'message': message['id'],
        'claim': message['claim_id'],
        'worker': os.getpid(),
        'at': time.monotonic(),
        'held_until': worker.batch[1][message['id']] + (3600 if heart == 'still' else 0),
    }
    os.write(record, f'{json.dumps(line)}\n'.encode())
    os.fsync(record)


def handle(message):
    outcome = message['body'].get('outcome', 'done')
    if outcome == 'later' and message['id'] in Path(path).read_text():
        outcome = 'done'
    note('start', message)
    time.sleep(message['body'].get('seconds', 0))
    note(outcome, message)
    if outcome == 'later':
        raise NotNow(delay=1)
    if outcome == 'broken':
        raise ValueError('no such account\0')


if __name__ == '__main__':
    if heart == 'still':
        Worker.beat = lambda worker: None
    worker = Worker(url, 'acme', [{'name': name} for name in names], handle, int(ttl))
    signal.signal(signal.SIGTERM, worker.stop)
    print('ready', flush=True)
    worker.run()
