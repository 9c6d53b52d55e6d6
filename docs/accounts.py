"""Keeps accounts by the messages of queues; worker.md gives the reasons.

Usage: python accounts.py http://127.0.0.1:8888 PROJECT QUEUE...
"""

import signal
import sqlite3
import sys

from worker import NotNow, Worker

database = sqlite3.connect('accounts.sqlite', timeout=30)
database.executescript("""
    CREATE TABLE IF NOT EXISTS handled (job PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS accounts (owner PRIMARY KEY, balance);
""")


def handle(message):
    """The work, and the note that it is done, in one transaction."""
    body = message['body']
    owner, amount = body['owner'], body['amount']
    # A producer that posts a job twice gives it an id of its own.
    job = body.get('id', message['id'])
    try:
        with database:
            note = database.execute('INSERT OR IGNORE INTO handled VALUES (?)', [job])
            if note.rowcount:
                database.execute('INSERT OR IGNORE INTO accounts VALUES (?, 0)', [owner])
                change = 'UPDATE accounts SET balance = balance + ? WHERE owner = ?'
                database.execute(change, [amount, owner])
    except sqlite3.OperationalError as busy:
        raise NotNow(delay=5) from busy


if __name__ == '__main__':
    url, project, *names = sys.argv[1:]
    worker = Worker(url, project, [{'name': name} for name in names], handle)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.run()
