"""Clients of other brokers, each in a process of its own; run by the brokers' environment.

Usage: broker_clients.py KIND ADDRESS CLIENTS SECONDS

A cycle puts 10 messages of 1 KiB, takes 10 and removes them, in as few calls as the client
has for it. Prints how many cycles there were a second.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable

BATCH = 10
BODY = json.dumps({'event': 'benchmark', 'data': 'x' * 990})

Cycle = Callable[[], None]


def beanstalkd(address: str) -> Cycle:
    """By greenstalk; there are no batches."""
    import greenstalk

    host, _, port = address.rpartition(':')
    client = greenstalk.Client((host, int(port)))

    def cycle() -> None:
        for _ in range(BATCH):
            client.put(BODY)
        jobs = [client.reserve() for _ in range(BATCH)]
        for job in jobs:
            client.delete(job)

    return cycle


def rabbitmq(address: str) -> Cycle:
    """By pika, with persistent messages, each confirmed; ten are acknowledged at once."""
    import pika

    host, _, port = address.rpartition(':')
    queue = 'bench'
    channel = pika.BlockingConnection(pika.ConnectionParameters(host, int(port))).channel()
    channel.queue_declare(queue, durable=True, arguments={'x-queue-type': 'quorum'})
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=2)

    def cycle() -> None:
        for _ in range(BATCH):
            channel.basic_publish('', queue, BODY.encode(), persistent)
        taken = [channel.basic_get(queue)[0] for _ in range(BATCH)]
        last = max((method.delivery_tag for method in taken if method), default=None)
        if last is not None:
            channel.basic_ack(last, multiple=True)

    return cycle


def pgmq(address: str) -> Cycle:
    """By psycopg2, in batches."""
    import psycopg2

    connection = psycopg2.connect(address)
    connection.autocommit = True
    cursor = connection.cursor()

    def cycle() -> None:
        cursor.execute("SELECT pgmq.send_batch('bench', %s::jsonb[])", [[BODY] * BATCH])
        cursor.execute("SELECT msg_id, message::text FROM pgmq.read('bench', 300, %s)", [BATCH])
        taken = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT pgmq.delete('bench', %s::bigint[])", [taken])

    return cycle


def marconi(address: str) -> Cycle:
    """By Python's own HTTP client, in batches."""
    import http.client
    import re

    host, _, port = address.rpartition(':')
    connection = http.client.HTTPConnection(host, int(port))
    path = '/v1/queues/bench'
    headers = {
        'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c',
        'Content-Type': 'application/json',
    }
    messages = json.dumps([{'ttl': 3600, 'body': json.loads(BODY)}] * BATCH)

    def request(method: str, path: str, body: str | None = None) -> str:
        connection.request(method, path, body, headers)
        return connection.getresponse().read().decode()

    request('PUT', path)

    def cycle() -> None:
        request('POST', f'{path}/messages', messages)
        claimed = request('POST', f'{path}/claims?limit={BATCH}', '{"ttl": 300, "grace": 60}')
        if ids := re.findall(r'/messages/(\w+)\?claim_id', claimed):
            request('DELETE', f'{path}/messages?ids={",".join(ids)}')

    return cycle


KINDS = {function.__name__: function for function in (beanstalkd, rabbitmq, pgmq, marconi)}


def count(kind: str, address: str, seconds: float) -> int:
    """How many cycles one client makes."""
    cycle = KINDS[kind](address)
    cycle()
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        cycle()
        done += 1
    return done


def main(kind: str, address: str, clients: str, seconds: str) -> None:
    """Let all clients work at once."""
    with multiprocessing.Pool(int(clients)) as pool:
        work = [(kind, address, float(seconds))] * int(clients)
        print(sum(pool.starmap(count, work, chunksize=1)) / float(seconds))


if __name__ == '__main__':
    main(*sys.argv[1:])
