"""What a reader sees that follows a queue by its links, as docs/message-life.md says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.running_service import services
from tests.tours import take_tour

from ..client import LaterApi, bodies, next_of

ALL = '&include_claimed=true&include_delayed=true'


class Reader:
    """Follows a queue; ``seen`` are the bodies of all that it was shown, in order."""

    def __init__(self, api: LaterApi, including: str = '') -> None:
        self._api = api
        self._next = f'{api.queue}/messages?echo=true&limit=2{including}'
        self.seen: list[str] = []

    def follow(self) -> list[str]:
        """Read on until a page is empty; all that was seen so far."""
        while (page := self._api.get(self._next)).json['messages']:
            self.seen += bodies(page.json['messages'])
            self._next = next_of(page)
        return self.seen


@pytest.mark.skipif(shutil.which('curl') is None, reason='the tour is made with curl')
def test_the_example_in_the_document_shows_what_happens(tmp_path: Path) -> None:
    with services() as start:
        document = (CHECKOUT / 'docs' / 'message-life.md').read_text()

        assert take_tour(document, start().wait_until_ready(), tmp_path) == 7


def test_a_reader_does_not_see_what_was_claimed_or_delayed_as_it_passed(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('claimed')
    claim = api.claim()
    api.post_messages('delayed', delay=60)
    api.post_messages('free')
    reader = Reader(api)

    assert reader.follow() == ['free']
    api.delete(claim.href)
    age(61)
    api.post_messages('new')
    assert reader.follow() == ['free', 'new']
    assert bodies(api.claim().messages) == ['claimed', 'delayed', 'free', 'new']


def test_a_reader_who_includes_claimed_and_delayed_ones_sees_each_message_once(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.post_messages('claimed')
    claim = api.claim()
    api.post_messages('delayed', delay=60)
    api.post_messages('free')
    reader = Reader(api, ALL)

    assert reader.follow() == ['claimed', 'delayed', 'free']
    api.delete(claim.href)
    age(61)
    api.post_messages('new')
    assert reader.follow() == ['claimed', 'delayed', 'free', 'new']


def test_what_was_parked_as_a_reader_passed_is_in_a_list_of_its_own(api: LaterApi) -> None:
    [parked, _] = api.post_messages('parked', 'free')
    assert api.post(f'{parked}/park').status_int == 204
    reader = Reader(api, ALL)

    assert reader.follow() == ['free']
    assert bodies(api.listed('echo=true&state=parked')) == ['parked']
    assert api.post(f'{parked}/kick').status_int == 204
    assert reader.follow() == ['free']
    assert bodies(api.claim().messages) == ['parked', 'free']


def test_a_dead_letter_arrives_behind_a_reader_s_marker(
    api: LaterApi, age: Callable[[int], None]
) -> None:
    api.make_queue(metadata={'_max_claim_count': 1, '_dead_letter_queue': 'dead'})
    dead = api.make_queue('dead')
    api.post_messages('letter')
    api.claim()
    api.post_messages('newer', queue=dead)
    api.queue = dead
    reader = Reader(api, ALL)
    assert reader.follow() == ['newer']

    age(101)
    assert api.post(f'{api.version}/queues/jobs/claims').status_int == 204

    assert reader.follow() == ['newer']
    assert bodies(api.claim().messages) == ['letter', 'newer']
