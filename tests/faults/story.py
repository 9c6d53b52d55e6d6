"""Logs of a campaign that are written by hand."""

from collections import Counter
from pathlib import Path
from typing import Any

from faults import world
from faults.checker import Report, check
from faults.log import DONE, Log
from faults.numbers import first_number
from faults.world import Queue, World

WORK = 'acme/work'
FEW = 'acme/few'
DEAD = 'acme/dead'
ONE = first_number(1, 1)
ID = '0000000000000a00'
NEXT_ID = '0000000000000a01'
CLAIM = 'c1'


class Story:
    """Calls of one process after the other, each with its times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._now = 0.0
        self._logs: dict[str, Log] = {}
        self._claims: Counter[str] = Counter()
        world.write(
            World(
                [
                    Queue('acme', 'work'),
                    Queue('acme', 'few', most_claims=2, dead_letters='dead'),
                    Queue('acme', 'dead'),
                    Queue('acme', 'news', has_webhook=True),
                ]
            ),
            folder,
        )

    def call(
        self,
        kind: str,
        began: float,
        ended: float | None = None,
        outcome: str = DONE,
        who: str = 'client',
        answer: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Note a call; without an end nobody knows what became of it."""
        log = self._logs.get(who)
        if log is None:
            log = self._logs[who] = Log(self.folder / f'{who}.log', lambda: self._now)
        self._now = began
        number = log.begin(kind, **given)
        if ended is not None:
            self._now = ended
            log.end(number, outcome, **(answer or {}))

    def post(
        self, began: float, ended: float | None, ids: tuple[str, ...] = (ID,), **more: Any
    ) -> None:
        given: dict[str, Any] = {
            'queue': WORK,
            'first': ONE,
            'delay': 0,
            'ttl': 3600,
            'has_key': False,
        } | more
        outcome = given.pop('outcome', DONE)
        answer = {'ids': list(ids)} if outcome == DONE else {}
        count = given.pop('count', len(ids))
        self.call('post', began, ended, outcome, 'producer', answer, count=count, **given)

    def claim(self, began: float, ended: float | None, claim: str = CLAIM, **more: Any) -> None:
        given: dict[str, Any] = {
            'queue': WORK,
            'ttl': 10,
            'number': ONE,
            'id': ID,
            'count': 0,
        } | more
        self._claims[given['queue']] += 1
        message = [given['id'], given['number'], given['count']]
        answer = {'claims': [[given['queue'], claim, [message]]], 'waited': False}
        terms: dict[str, Any] = {'ttl': given['ttl'], 'grace': 60, 'limit': 1, 'wait': 0}
        self.call('claim', began, ended, answer=answer, queues=[given['queue']], **terms)

    def say(
        self, verdict: str, began: float, ended: float | None, result: str = 'done', **more: Any
    ) -> None:
        given: dict[str, Any] = {'queue': WORK, 'claim': CLAIM, 'seconds': 0} | more
        told = [given['queue'], ID, ONE, given['claim'], verdict, given['seconds'], 60]
        self.call('verdicts', began, ended, answer={'results': [result]}, verdicts=[told])

    def pop(self, began: float, ended: float | None) -> None:
        messages = [[ID, ONE, 0]] if ended else []
        self.call('pop', began, ended, answer={'messages': messages}, queue=WORK, limit=1)

    def read(self, began: float, ended: float, *ids: str, who: str = 'reader') -> None:
        messages = [[id, ONE + int(id, 16) - int(ID, 16)] for id in ids]
        answer = {'messages': messages}
        self.call('read', began, ended, who=who, answer=answer, queue=WORK, sees_all=True)

    def kept(self, at: float, state: str = 'claimed', number: int = ONE, **more: Any) -> None:
        given: dict[str, Any] = {'queue': WORK, 'id': ID, 'held_until': at + 5} | more
        given |= {'number': number, 'state': state, 'expires_at': at + 99}
        given.setdefault('count', self._claims[given['queue']])
        self.call(given.pop('kind', 'kept'), at, at, who='database', **given)

    def checked(self) -> Report:
        return check(self.folder)

    def checked_at(self, moment: float) -> Report:
        return check(self.folder, moment)

    def found(self) -> dict[str, int]:
        return dict(self.checked().found)
