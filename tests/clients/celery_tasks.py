"""Tasks of Celery, whose broker is SQS; run in an environment of its own.

Usage: with BROKER, a URL such as sqs://acme:any@127.0.0.1:8888, and DONE, a file that gets a line for
each task that ends well:

    celery --app celery_tasks worker
    python celery_tasks.py 200  sends 200 tasks and `at_a_time`, and prints the time of the latter
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta

from celery import Celery

# A worker that was killed has its messages for this time, seconds.
VISIBILITY = 8
ETA = 4

app = Celery('tasks', broker=os.environ['BROKER'])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        'region': 'us-east-1',
        'is_secure': False,
        'visibility_timeout': VISIBILITY,
        'wait_time_seconds': 2,
        # Between two receives while the worker has as much as it may fetch.
        'polling_interval': 0.1,
    },
)


def note(name):
    """Write that a task is done; one write is whole, whoever else writes."""
    line = f'{name} {time.time()}\n'.encode()
    descriptor = os.open(os.environ['DONE'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line)
    os.close(descriptor)


@app.task(bind=True, max_retries=3, name='numbered')
def numbered(self, number):
    """Take a moment; each tenth fails at the first try."""
    time.sleep(0.05)
    if number % 10 == 0 and not self.request.retries:
        raise self.retry(countdown=1)
    note(number)


@app.task(name='at_a_time')
def at_a_time():
    """Is run at a certain time."""
    note('eta')


def main():
    """Send all."""
    eta = datetime.now(UTC) + timedelta(seconds=ETA)
    at_a_time.apply_async(eta=eta)
    for number in range(int(sys.argv[1])):
        numbered.delay(number)
    print(eta.timestamp())


if __name__ == '__main__':
    main()
