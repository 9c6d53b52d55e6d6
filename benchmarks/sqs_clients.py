"""Clients of SQS, each in a process of its own; run by an environment that has boto3.

Usage: sqs_clients.py ADDRESS CLIENTS SECONDS

A cycle sends 10 messages of 1 KiB, receives 10 and deletes them. Prints how many cycles there were a second.
"""

import multiprocessing
import sys
import time
from typing import Any

import boto3

BATCH = 10
ENTRIES = [{'Id': str(number), 'MessageBody': 'x' * 1024} for number in range(BATCH)]


def cycle(sqs: Any, url: str) -> None:
    """Go through it once; other clients have the same queue."""
    sqs.send_message_batch(QueueUrl=url, Entries=ENTRIES)
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=BATCH, VisibilityTimeout=300)
    taken = [
        {'Id': str(place), 'ReceiptHandle': message['ReceiptHandle']}
        for place, message in enumerate(received.get('Messages', []))
    ]
    if taken:
        sqs.delete_message_batch(QueueUrl=url, Entries=taken)


def work(address: str, start: Any, seconds: float, done: Any) -> None:
    """Go through it for some seconds, once all clients are ready."""
    sqs = boto3.client(
        'sqs',
        endpoint_url=address,
        region_name='us-east-1',
        aws_access_key_id='bench',
        aws_secret_access_key='any',
    )
    url = sqs.create_queue(QueueName='bench')['QueueUrl']
    cycle(sqs, url)
    start.wait(60)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        cycle(sqs, url)
        count += 1
    done.put(count)


def main(address: str, clients: int, seconds: float) -> None:
    """Let all clients work at once."""
    start = multiprocessing.Barrier(clients)
    done: Any = multiprocessing.Queue()
    arguments = (address, start, seconds, done)
    processes = [multiprocessing.Process(target=work, args=arguments) for _ in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit('a client failed')
    print(sum(done.get() for _ in processes) / seconds)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
