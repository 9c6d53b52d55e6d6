"""`python -m tests.standstill`: does any request of one tenant hold up the others?

For each costly request of each route, eight connections of one tenant send it over and over,
while another tenant posts, and waits for what it posts. A line each: what the others came to, and how
long the posts and the waits took.
"""

import argparse
from contextlib import closing
from itertools import chain
from math import inf

from benchmarks.service import running_service
from tests.standstill.costly import COSTLY, Costly
from tests.standstill.costly_sqs import SQS, SQS_BY_FORMS
from tests.standstill.hunt import Answers, Hunt, shown
from tests.standstill.world import World

#: Seconds within which 99 of 100 posts of the other tenant are answered.
GOAL = 1.0


def main() -> None:
    """Print a line for each request."""
    parser = argparse.ArgumentParser(prog='python -m tests.standstill', description=__doc__)
    parser.add_argument('only', nargs='*', help='parts of the lines that are wanted; else all')
    parser.add_argument('--queues', type=int, default=100_000, help='small queues of the tenant')
    parser.add_argument(
        '--messages', type=int, default=1_000_000, help='messages in each of its large queues'
    )
    parser.add_argument('--seconds', type=float, default=3.0, help='for each request')
    asked = parser.parse_args()
    with (
        running_service() as service,
        closing(World(service.url, asked.queues, asked.messages)) as world,
    ):
        world.make()
        hunt = Hunt(service.address, world)
        print(f'{asked.queues:,} queues, {asked.messages:,} messages in each of the large ones')
        print(
            'other tenant: p50, p99, worst, answers | its waits: p50, p99, worst | '
            'the costly: worst, answers | request'
        )
        quiet = hunt.measure(('', ''), None, asked.seconds)
        print(line('nobody', *quiet), flush=True)
        for route, requests in chain(COSTLY.items(), SQS.items(), SQS_BY_FORMS.items()):
            for costly in requests:
                name = said(route, costly)
                if not asked.only or any(part in name for part in asked.only):
                    hunt.prepare(costly)
                    print(line(name, *hunt.measure(route, costly, asked.seconds)), flush=True)


def said(route: tuple[str, str], costly: Costly) -> str:
    """A request in a line."""
    body = f' {len(costly.body):,} bytes {costly.body[:60]}' if costly.body else ''
    reading = {
        'whole': '',
        'stream': ' (a stream)',
        'never': ' (not read)',
        'late': ' (bodies come late)',
    }[costly.reading]
    return f'{" ".join(route)}: {costly.target[:120]}{body}{reading}'


def line(name: str, costly: Answers, other: Answers, woken: Answers) -> str:
    """What came of it, in milliseconds; marked where the goal is missed."""
    failed = set(other.statuses) != {201} or any(
        found.percentile(0.99) >= GOAL for found in (other, woken)
    )
    times, waits = (
        ' '.join(
            f'{1000 * seconds:6.0f}'
            for seconds in (
                found.percentile(0.5),
                found.percentile(0.99),
                max(found.seconds, default=inf),
            )
        )
        for found in (other, woken)
    )
    worst = 1000 * max(costly.seconds, default=0)
    return (
        f'{"!" if failed else " "} {times} {shown(other.statuses)} | {waits} | '
        f'{worst:6.0f} {shown(costly.statuses)} | {name}'
    )


if __name__ == '__main__':
    main()
