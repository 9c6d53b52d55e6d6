"""What does a subscriber cost a post?

A message of 1 KiB is posted to queues that differ in who is subscribed: nobody, webhooks, queues that
get a copy. The application is called directly, in one thread; the queues take turns, a request each.
Instead of having three copies made, a client could post four times. The webhooks are paused, so that
nothing is sent meanwhile. Figures are medians in microseconds of the whole time, the database's
included, but not the wait for the disk (`synchronous_commit` is off), which all have alike.
"""

import contextlib
import json
from collections.abc import Callable

from sqlalchemy import make_url

from benchmarks.in_process import application
from benchmarks.operations import Queue, Request
from benchmarks.plan import Plan
from benchmarks.report import Answer, Table
from benchmarks.service import connect, running_service
from benchmarks.turns import Contender, Took, in_turns
from marconi_api import model

_COPIES = [Queue('v2', f'copy-{number}') for number in range(3)]

ALONE, ONE_WEBHOOK, THREE_QUEUES = 'nobody', 'a webhook', 'three queues'
FOUR_POSTS = 'nobody; four posts to four queues'

#: Who is subscribed, by what it is called.
SUBSCRIBERS: dict[str, list[str]] = {
    ALONE: [],
    ONE_WEBHOOK: ['http://hooks.example.com/0'],
    'five webhooks': [f'http://hooks.example.com/{number}' for number in range(5)],
    'a queue': ['queue:copy-0'],
    THREE_QUEUES: [f'queue:{queue.name}' for queue in _COPIES],
}


def ask(plan: Plan) -> Answer:
    """Measure, and say what came of it."""
    with running_service() as service:
        # For the disk all wait as long.
        url = make_url(service.url).update_query_dict({'options': '-c synchronous_commit=off'})
        contender = Contender(application(url.render_as_string(hide_password=False)))
        for queue in _COPIES:
            contender.call(queue.make())
        queues = {who: _subscribed(contender, who) for who in SUBSCRIBERS}
        with contextlib.closing(connect(service.url)) as owner, owner.cursor() as cursor:
            cursor.execute('UPDATE subscriptions SET paused_at = now()')
        posts = {who: _posts(contender, [queue]) for who, queue in queues.items()}
        posts[FOUR_POSTS] = _posts(contender, [queues[ALONE], *_COPIES])
        taken = in_turns(list(posts.values()), plan.choose(3000, 300))
        model.store.database.close()
    times = {who: took.elapsed for who, took in zip(posts, taken, strict=True)}
    table = Table(['subscribed', 'post 1', 'rate, of that without'])
    for who, seconds in times.items():
        table.rows.append([who, f'{seconds * 1e6:.0f}', f'{times[ALONE] / seconds:.2f}'])
    note = (
        f'A post with three copies is {times[FOUR_POSTS] / times[THREE_QUEUES]:.1f} times as fast as'
        ' four posts (at least 1.5), and one with a webhook has'
        f' {times[ALONE] / times[ONE_WEBHOOK]:.2f} of the rate without (at least 0.7).'
    )
    return Answer('subscriptions', __doc__ or '', [table], notes=[note])


def _subscribed(contender: Contender, who: str) -> Queue:
    """A queue with these subscribers."""
    queue = Queue('v2', who.replace(' ', '-'))
    contender.call(queue.make())
    for subscriber in SUBSCRIBERS[who]:
        terms = {'subscriber': subscriber, 'ttl': 86400}
        contender.call(Request('POST', f'{queue.path}/subscriptions', json.dumps(terms)))
    return queue


def _posts(contender: Contender, queues: list[Queue]) -> Callable[[], Took]:
    """Posts a message to each of the queues, and tells what that took in all."""

    def post() -> Took:
        taken = [contender.call(queue.post(1)) for queue in queues]
        return Took(*map(sum, zip(*taken, strict=True)))

    return post
