"""What does one request for many messages, or many queues, save?

One client on one connection does the same work in a request for each message or queue, and in
one for all. Each round takes the median of some repetitions; what prepares them is not measured.
The round trips to PostgreSQL are those that the service makes. Messages are of 1 KiB.
"""

import http.client
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from benchmarks.in_process import Listener
from benchmarks.measured import Measured, in_rounds
from benchmarks.operations import HEADERS, Queue, Request, claimed
from benchmarks.plan import Plan
from benchmarks.report import Answer, Chart, Table
from benchmarks.service import running_service

QUEUES = [Queue('v2', f'verdicts-{number}') for number in range(5)]

#: Verdicts of several kinds on ten messages.
MIXED: list[dict[str, Any]] = [
    *[{'verdict': 'delete'}] * 5,
    {'verdict': 'release'},
    {'verdict': 'release', 'delay': 30},
    *[{'verdict': 'touch', 'ttl': 300}] * 2,
    {'verdict': 'park', 'reason': 'no such account'},
]
DELETES = [{'verdict': 'delete'}] * 10

#: Sends a request; the body of the reply.
Send = Callable[[Request], str]

#: Prepares some work, and returns the requests that do it.
Work = Callable[[Send], list[Request]]


def ten_claimed(send: Send) -> list[tuple[str, str]]:
    """Ids of message and claim, for ten messages of a new claim."""
    [queue, *_] = QUEUES
    empty(send, queue)
    send(queue.post(10))
    return claimed(send(queue.claim(10)))


def empty(send: Send, queue: Queue) -> None:
    """See that there is a queue, and nothing to claim in it."""
    send(queue.make())
    send(Request('POST', f'{queue.path}/purge'))


def singly(verdicts: list[dict[str, Any]], send: Send) -> list[Request]:
    """Each verdict in a request to its message."""
    [queue, *_] = QUEUES
    requests = []
    for (message, claim), verdict in zip(ten_claimed(send), verdicts, strict=True):
        if verdict['verdict'] == 'delete':
            requests.append(queue.delete_one(message, claim))
        else:
            terms = {name: value for name, value in verdict.items() if name != 'verdict'}
            path = f'{queue.path}/messages/{message}/{verdict["verdict"]}?claim_id={claim}'
            requests.append(Request('POST', path, json.dumps(terms)))
    return requests


def together(verdicts: list[dict[str, Any]], send: Send) -> list[Request]:
    """All of them in one."""
    held = ten_claimed(send)
    path = f'{QUEUES[0].path}/claims/{held[0][1]}/verdicts'
    entries = [
        {'id': message, **verdict} for (message, _), verdict in zip(held, verdicts, strict=True)
    ]
    return [Request('POST', path, json.dumps({'verdicts': entries}))]


def five_claims(filled: int, send: Send) -> list[Request]:
    """A claim of four on each of five queues, which hold so many messages."""
    fill(send, filled)
    return [queue.claim(4) for queue in QUEUES]


def claim_across_five(filled: int, send: Send) -> list[Request]:
    """All of it in one."""
    fill(send, filled)
    queues = [{'name': queue.name, 'limit': 4} for queue in QUEUES]
    terms = {'queues': queues, 'limit': 20, 'ttl': 300}
    return [Request('POST', '/v2/claims', json.dumps(terms))]


def fill(send: Send, count: int) -> None:
    """See that so many messages wait in each queue."""
    for queue in QUEUES:
        empty(send, queue)
        if count:
            send(queue.post(count))


SINGLY, TOGETHER = 'a request each', 'one request'

WORK: dict[str, dict[str, Work]] = {
    'deletes of 10 messages': {
        SINGLY: partial(singly, DELETES),
        TOGETHER: partial(together, DELETES),
    },
    'deletes, releases, touches, a park of 10': {
        SINGLY: partial(singly, MIXED),
        TOGETHER: partial(together, MIXED),
    },
    'claims of 4 on 5 queues': {
        SINGLY: partial(five_claims, 4),
        TOGETHER: partial(claim_across_five, 4),
    },
    'claims on 5 queues that are empty': {
        SINGLY: partial(five_claims, 0),
        TOGETHER: partial(claim_across_five, 0),
    },
}


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    table = Table(['work', 'in', 'requests', 'round trips', 'milliseconds', 'times as long'])
    series: dict[str, dict[str, Measured]] = {SINGLY: {}, TOGETHER: {}}
    with running_service() as service:
        listener = Listener(service.url)
        send = over_http(service.address)
        repetitions = plan.choose(full=30, quick=3)
        taken = in_rounds(
            plan.choose(full=9, quick=1),
            {
                (what, how): partial(milliseconds, send, work, repetitions)
                for what, ways in WORK.items()
                for how, work in ways.items()
            },
        )
        for what, ways in WORK.items():
            for how, work in ways.items():
                # At first a process reads what it then knows of a queue.
                round_trips(listener, work(send))
                requests = work(send)
                count = round_trips(listener, requests)
                series[how][what] = taken[what, how]
                ratio = taken[what, how] / taken[what, TOGETHER] if how == SINGLY else ''
                figures = [taken[what, how], ratio]
                table.rows.append([what, how, str(len(requests)), str(count), *figures])
    chart = Chart('One request for many', 'milliseconds', series)
    return Answer('verdicts', __doc__, [table], [chart])


def round_trips(listener: Listener, requests: list[Request]) -> int:
    """How many statements go to PostgreSQL."""
    return sum(len(listener.statements(request, times=1)[0]) for request in requests)


def milliseconds(send: Send, work: Work, repetitions: int) -> float:
    """How long it takes, once it is prepared."""
    taken = []
    for _ in range(repetitions):
        requests = work(send)
        started = time.perf_counter()
        for request in requests:
            send(request)
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def over_http(address: str) -> Send:
    """Sends over one connection that is kept."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)

    def send(request: Request) -> str:
        connection.request(request.method, request.path, request.body or None, HEADERS)
        reply = connection.getresponse()
        body = reply.read().decode()
        if reply.status >= 300:
            raise SystemExit(f'{request.method} {request.path}: {reply.status}: {body}')
        return body

    return send
