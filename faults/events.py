"""What happened to each message, made of the calls of all processes.

The events of a message follow one another when they are sorted by a program outside of Python: so
millions of messages need no memory.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import msgspec

from faults.log import DONE, NEVER, PUT_OFF, REFUSED, UNKNOWN, Call
from faults.numbers import number_of_copy, post_of

#: A verdict after which the message was gone, or had been gone before.
OVER = 'over'
#: One that met a message that was gone.
GONE = 'gone'


class Event(NamedTuple):
    """What one call had to do with a message.

    ``kind`` is post, repeat (the same post once more), claim, pop, read, look (whether there is a reply),
    delivered (to a webhook), kept (found in the database in the end),
    restored (found in the database that a run began with), remained (found after the database went back to
    what it was before) or a verdict: delete, release, touch or park. ``seconds`` is the delay of a post or a release, the ttl of a claim or a touch,
    or until when the database holds what is kept. ``grace`` is the ttl of a post, the grace of a claim or a touch, or
    the end of life of what is kept. ``times`` is how often the message was handed out, where that is
    told, else 0; of a post, 1 if it had a key. ``outcome`` of what is kept is its state, and that of a look
    is one of ``ENDS_OF_LOOKS``. ``note`` is of a message in a FIFO queue its place (``groups.place_in``), of
    a delete the reply that goes with it, and of a look the reply, or why there is none.
    """

    began: float
    ended: float
    kind: str
    outcome: str
    who: str
    queue: str
    id: str = ''
    claim: str = ''
    seconds: float = 0
    grace: float = 0
    times: int = 0
    note: str = ''


#: What was told to who looked for a reply, by the status: there is one, there is none yet, the message ended
#: without one, or is not known.
REPLIED, OPEN, ENDED, FORGOTTEN = 'replied', 'open', 'ended', 'forgotten'
ENDS_OF_LOOKS = {200: REPLIED, 202: OPEN, 410: ENDED, 404: FORGOTTEN}


def events_of(call: Call) -> Iterator[tuple[int, Event]]:
    """Each message that the call had to do with, by its number."""
    if call.outcome == PUT_OFF:
        # A post names messages that nobody may see; all else is as if it had not been asked for.
        return iter(()) if call.kind != 'post' else _of_post(call._replace(outcome=REFUSED))
    return _READINGS[call.kind](call) if call.kind in _READINGS else iter(())


def _of_post(call: Call) -> Iterator[tuple[int, Event]]:
    given = call.given
    ids = call.answer.get('ids') or [''] * given['count']
    terms = {'seconds': given['delay'], 'grace': given['ttl'], 'times': int(given['has_key'])}
    for place, id in enumerate(ids):
        yield given['first'] + place, _event(call, given['queue'], id=id, **terms)
        # The same post stores the copies; their ids are not told.
        for queue, copy in given.get('copies', ()):
            yield number_of_copy(given['first'] + place, copy), _event(call, queue, **terms)


def _of_repeat(call: Call) -> Iterator[tuple[int, Event]]:
    for place, id in enumerate(call.answer.get('ids', ())):
        yield call.given['first'] + place, _event(call, call.given['queue'], id=id)


def _of_look(call: Call) -> Iterator[tuple[int, Event]]:
    outcome = ENDS_OF_LOOKS.get(call.answer.get('status', 0), UNKNOWN)
    event = _event(call, call.given['queue'], note=call.answer.get('told', ''))
    yield call.given['number'], event._replace(outcome=outcome)


def _of_claim(call: Call) -> Iterator[tuple[int, Event]]:
    terms: dict[str, Any] = {'seconds': call.given['ttl'], 'grace': call.given['grace']}
    for queue, claim, messages in call.answer.get('claims', ()):
        for id, number, times, *place in messages:
            more = {'times': times, 'note': place[0] if place else ''}
            yield number, _event(call, queue, id=id, claim=claim, **more, **terms)


def _of_pop(call: Call) -> Iterator[tuple[int, Event]]:
    for id, number, times in call.answer.get('messages', ()):
        yield number, _event(call, call.given['queue'], id=id, times=times)


def _of_verdicts(call: Call) -> Iterator[tuple[int, Event]]:
    results = call.answer.get('results') or [call.outcome] * len(call.given['verdicts'])
    for verdict, result in zip(call.given['verdicts'], results, strict=True):
        queue, id, number, claim, kind, seconds, grace, *reply = verdict
        terms = {'seconds': seconds, 'grace': grace, 'note': reply[0] if reply else ''}
        event = _event(call, queue, id=id, claim=claim, **terms)
        yield number, event._replace(kind=kind, outcome=_RESULTS.get(result, REFUSED))


_RESULTS = {result: result for result in (DONE, UNKNOWN, OVER, GONE)}


def _of_read(call: Call) -> Iterator[tuple[int, Event]]:
    for id, number in call.answer.get('messages', ()):
        yield number, _event(call, call.given['queue'], id=id)


def _of_kept(call: Call) -> Iterator[tuple[int, Event]]:
    given = call.given
    event = _event(
        call,
        given['queue'],
        id=given['id'],
        seconds=given['held_until'],
        grace=given['expires_at'],
        times=given['count'],
        note=given.get('place', ''),
    )
    yield given['number'], event._replace(outcome=given['state'])


def _of_restored(call: Call) -> Iterator[tuple[int, Event]]:
    """As if it were posted with the rest of its delay and of its life."""
    for number, event in _of_kept(call):
        delay = max(0.0, event.seconds - event.began)
        life = event.grace - event.began if event.grace else NEVER
        yield number, event._replace(outcome=DONE, seconds=delay, grace=life)


def _of_delivered(call: Call) -> Iterator[tuple[int, Event]]:
    yield call.given['number'], _event(call, call.given['queue'])


def _event(call: Call, queue: str, **more: Any) -> Event:
    who = f'{call.who} #{call.number}'
    return Event(call.began, call.ended, call.kind, call.outcome, who, queue, **more)


_READINGS: dict[str, Callable[[Call], Iterator[tuple[int, Event]]]] = {
    'post': _of_post,
    'repeat': _of_repeat,
    'look': _of_look,
    'claim': _of_claim,
    'pop': _of_pop,
    'verdicts': _of_verdicts,
    'read': _of_read,
    'kept': _of_kept,
    'remained': _of_kept,
    'restored': _of_restored,
    'delivered': _of_delivered,
}


class Sorted:
    """Lines that are sorted by the program ``sort``, on disk if there are many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> 'Sorted':
        self._output: IO[bytes] = tempfile.TemporaryFile(dir=self._folder)
        self._process = subprocess.Popen(
            ['sort', '--buffer-size=256M', f'--temporary-directory={self._folder}'],
            env=os.environ | {'LC_ALL': 'C'},
            stdin=subprocess.PIPE,
            stdout=self._output,
            bufsize=2**20,
        )
        assert self._process.stdin is not None
        self.write = self._process.stdin.write
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def lines(self) -> IO[bytes]:
        """All of them in order, once all are written."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait():
            raise OSError('sort failed: it says why above')
        self._output.seek(0)
        return self._output


def line_of(number: int, event: Event) -> bytes:
    """An event as a line that is sorted by message, and then by time."""
    return b'%016x %017.6f %s\n' % (number, event.began, msgspec.json.encode(event))


_NUMBER_DIGITS = 16
_KEY = _NUMBER_DIGITS + 1 + 17 + 1


def posts_in(lines: IO[bytes]) -> Iterator[list[tuple[int, list[Event]]]]:
    """From sorted lines the messages of one post after the other: their numbers, and their events."""
    decode = msgspec.json.Decoder(Event).decode
    messages = groupby(lines, lambda line: line[:_NUMBER_DIGITS])
    told = (
        (int(number, 16), [decode(line[_KEY:]) for line in of_message])
        for number, of_message in messages
    )
    for _, of_post in groupby(told, lambda message: post_of(message[0])):
        yield list(of_post)


def ends_in(over: Event, queue: str) -> bool:
    """Whether the message was not in a queue any more, after a call after which it was over."""
    # Who found nothing says so of one queue: the message may have become a dead letter.
    return over.queue == queue or over.outcome == DONE


def is_over(event: Event) -> bool:
    """Whether the message was certainly gone when the call ended."""
    return event.ended < NEVER and (
        (event.kind == 'delete' and event.outcome in (DONE, OVER, GONE))
        or event.kind == 'pop'
        or event.outcome == GONE
    )
