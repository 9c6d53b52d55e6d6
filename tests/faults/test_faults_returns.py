"""The checker judges a database that went back to what it was by what it then was."""

from pathlib import Path
from typing import Any

import pytest

from faults.checker import Report, check
from tests.faults.story import FEW, ID, NEXT_ID, ONE, WORK, Story


class Return(Story):
    """A story in which the database goes back to what it was from 4 to 5 seconds after the start."""

    def goes_back(self, *ids: str) -> None:
        self.call('past', 20, 20, since=4, until=5, who='accidents')
        for id in ids:
            self.kept(21, id=id, kind='remained')

    def begins_with(self, count: int, held_until: float = 0, queue: str = WORK) -> None:
        more: dict[str, Any] = {'queue': queue, 'held_until': held_until, 'count': count}
        self.kept(0, state='ready', kind='restored', **more)


@pytest.fixture
def story(tmp_path: Path) -> Return:
    return Return(tmp_path)


def test_a_message_of_that_time_is_there_again(story: Return) -> None:
    story.post(0, 1)
    story.kept(9)
    story.goes_back()

    assert story.found() == {'wrongly restored': 1}

    story.goes_back(ID)

    assert story.found() == {}


def test_a_later_message_is_given_up(story: Return) -> None:
    story.post(6, 7)
    story.kept(9)
    story.goes_back()

    report = story.checked()
    assert (dict(report.found), report.given_up) == ({}, 1)

    story.goes_back(ID)

    assert story.found() == {'wrongly restored': 1}


def test_a_message_posted_meanwhile_may_be_there_or_not(story: Return) -> None:
    story.post(4.5, 4.6)
    story.kept(9)
    story.goes_back()

    assert story.found() == {}

    story.goes_back(ID)

    assert story.found() == {}


def test_a_message_that_was_deleted_later_is_there_again(story: Return) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('delete', 6, 7)
    story.goes_back(ID)

    assert story.found() == {}


def test_a_message_that_was_deleted_before_that_time_is_not_there_again(story: Return) -> None:
    story.post(0, 1)
    story.claim(2, 2.5)
    story.say('delete', 3, 3.5)
    story.goes_back(ID)

    assert story.found() == {'wrongly restored': 1}


def test_a_message_that_a_run_begins_with_can_be_lost(story: Return) -> None:
    story.begins_with(count=0)
    story.claim(2, 3, count=1)

    assert story.found() == {'lost': 1}


def test_a_message_that_is_held_in_the_beginning_comes_later(story: Return) -> None:
    story.begins_with(count=0, held_until=10)
    story.claim(2, 3)
    story.kept(9)

    assert story.found() == {'delivered early': 1}


def test_a_message_that_is_held_for_long_in_the_beginning_may_be_held_in_the_end(
    story: Return,
) -> None:
    story.begins_with(count=0, held_until=3600)
    story.kept(9, held_until=3600)

    assert story.found() == {}

    story.kept(9, held_until=3700)

    assert 'withheld' in story.found()


def test_a_purge_leaves_what_a_claim_of_before_the_run_holds(story: Return) -> None:
    story.begins_with(count=0, held_until=10)
    story.call('purge', 2, 3, who='tidier', queue=WORK)
    story.kept(9)

    assert story.found() == {}


def test_former_claims_count(story: Return) -> None:
    story.begins_with(count=1, queue=FEW)
    story.claim(2, 3, queue=FEW, count=2)
    story.kept(9, queue=FEW, count=2)

    assert story.found() == {}

    story.claim(20, 21, 'c2', queue=FEW)

    assert story.found()['claims miscounted'] >= 1


def test_an_id_is_above_all_former_ones(story: Return) -> None:
    story.post(0, 1, ids=(ID, NEXT_ID))
    for id in (ID, NEXT_ID):
        story.kept(9, id=id, number=int(id, 16) - int(ID, 16) + ONE)

    def above(former_id: str) -> Report:
        return check(story.folder, former_id=former_id)

    assert above('0000000000000900').is_good
    assert dict(above(ID).found) == {'id given twice': 1}
    assert dict(above(NEXT_ID).found) == {'id given twice': 2}
