"""The checker of the fault campaign judges groups, copies, replies, redrives and purges, in logs that are written by hand."""

from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.groups import place_in
from faults.log import REFUSED
from faults.numbers import number_of_copy
from faults.world import Queue, World
from tests.faults.story import ID, NEXT_ID, ONE, WORK, Story

LINE = 'acme/line.fifo'
EVENTS, COPIES = 'acme/events', 'acme/copies'
AGAIN, AGAIN_DEAD = 'acme/again', 'acme/again-dead'
TWO = ONE + 1
COPY = number_of_copy(ONE, 1)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    story = Story(tmp_path)
    queues = [
        Queue('acme', 'work'),
        Queue('acme', 'line.fifo', is_fifo=True),
        Queue('acme', 'events'),
        Queue('acme', 'copies', copies_from='events', copy=1),
        Queue('acme', 'again', most_claims=1, dead_letters='again-dead', counts_anew=True),
        Queue('acme', 'again-dead', counts_anew=True),
    ]
    world.write(World(queues), tmp_path)
    return story


# ---------------------------------------------------------------- groups


def two_in_line(story: Story) -> None:
    story.post(0, 1, ids=(ID, NEXT_ID), queue=LINE, has_key=True)


def id_of(number: int) -> str:
    return f'{int(ID, 16) + number - ONE:016x}'


def take(story: Story, began: float, claim: str, *numbers: int, group: str = 'a') -> None:
    """Have a claim of ten seconds get these messages, in this order."""
    messages = [[id_of(number), number, 0, place_in(group, str(number))] for number in numbers]
    terms: dict[str, Any] = {'limit': 10, 'ttl': 10, 'grace': 60, 'wait': 0}
    answer = {'claims': [[LINE, claim, messages]], 'waited': False}
    story.call('claim', began, began + 1, answer=answer, queues=[LINE], **terms)


def delete(story: Story, began: float, claim: str, number: int) -> None:
    told = [LINE, id_of(number), number, claim, 'delete', 0, 60]
    story.call('verdicts', began, began + 1, answer={'results': ['over']}, verdicts=[told])


def test_messages_of_a_group_may_follow_one_another(story: Story) -> None:
    two_in_line(story)
    take(story, 2, 'c1', ONE)
    delete(story, 4, 'c1', ONE)
    take(story, 6, 'c2', TWO)
    delete(story, 8, 'c2', TWO)

    assert story.found() == {}


def test_one_claim_may_have_several_messages_of_a_group(story: Story) -> None:
    two_in_line(story)
    take(story, 2, 'c1', ONE, TWO)
    delete(story, 4, 'c1', ONE)
    delete(story, 6, 'c1', TWO)

    assert story.found() == {}


def test_a_later_message_that_is_given_out_while_an_earlier_one_is_held_is_found(
    story: Story,
) -> None:
    two_in_line(story)
    take(story, 2, 'c1', ONE)
    take(story, 4, 'c2', TWO)
    delete(story, 6, 'c1', ONE)
    delete(story, 8, 'c2', TWO)

    report = story.checked()

    assert dict(report.found) == {'overtaken in its group': 1}
    # The history shows both.
    history = report.first['overtaken in its group'].history
    assert [line.split()[1] for line in history if 'message' in line] == [f'{ONE:x}', f'{TWO:x}']


def test_a_later_message_that_is_given_out_before_an_earlier_one_is_found(story: Story) -> None:
    two_in_line(story)
    take(story, 2, 'c1', TWO)
    delete(story, 4, 'c1', TWO)
    take(story, 6, 'c2', ONE)
    delete(story, 8, 'c2', ONE)

    assert story.found() == {'overtaken in its group': 1}


def test_a_message_of_another_group_may_come_first(story: Story) -> None:
    two_in_line(story)
    take(story, 2, 'c1', TWO, group='b')
    delete(story, 4, 'c1', TWO)
    take(story, 6, 'c2', ONE)
    delete(story, 8, 'c2', ONE)

    assert story.found() == {}


def test_a_claim_that_has_lapsed_holds_up_nobody_who_got_its_messages(story: Story) -> None:
    two_in_line(story)
    take(story, 2, 'c1', ONE)
    take(story, 14, 'c2', ONE, TWO)
    delete(story, 16, 'c2', ONE)
    delete(story, 18, 'c2', TWO)

    assert story.found() == {}


def test_a_claim_whose_messages_are_not_in_order_is_found(story: Story) -> None:
    two_in_line(story)
    take(story, 2, 'c1', TWO, ONE)
    delete(story, 4, 'c1', ONE)
    delete(story, 6, 'c1', TWO)

    assert story.found() == {'overtaken in its group': 1}


def test_a_post_that_was_repeated_and_stored_again_is_found(story: Story) -> None:
    story.post(0, 1, queue=LINE, has_key=True)
    repeat: dict[str, Any] = {'queue': LINE, 'first': ONE, 'count': 1}
    story.call('repeat', 2, 3, who='producer', answer={'ids': [ID]}, **repeat)
    story.kept(20, queue=LINE)

    assert story.found() == {}

    story.call('repeat', 4, 5, who='producer', answer={'ids': [NEXT_ID]}, **repeat)

    assert story.found() == {'stored twice': 1}


# ---------------------------------------------------------------- copies


def test_a_copy_of_an_acknowledged_message_can_be_lost(story: Story) -> None:
    story.post(0, 1, queue=EVENTS, copies=[[COPIES, 1]])
    story.kept(9, queue=EVENTS)

    assert story.found() == {'lost': 1}

    story.kept(9, queue=COPIES, number=COPY, id=NEXT_ID, count=0)

    assert story.found() == {}


def test_a_post_that_stored_a_message_and_not_its_copy_is_found(story: Story) -> None:
    story.post(0, None, ids=(ID,), queue=EVENTS, copies=[[COPIES, 1]])
    story.kept(9, queue=EVENTS)

    assert story.found() == {'batch half-stored': 1}


# ---------------------------------------------------------------- purges


def purge(story: Story, began: float, ended: float | None) -> None:
    story.call('purge', began, ended, who='tidier', queue=WORK)


def test_a_purge_may_remove_what_was_posted_before(story: Story) -> None:
    story.post(0, 1)
    purge(story, 2, 3)

    assert story.found() == {}


def test_what_was_posted_after_a_purge_can_be_lost(story: Story) -> None:
    purge(story, 0, 1)
    story.post(2, 3)

    assert story.found() == {'lost': 1}


def test_what_a_purge_left_is_found(story: Story) -> None:
    story.post(0, 1)
    purge(story, 2, 3)
    story.claim(4, 5)
    story.kept(9)

    # In the claim, and in the end.
    assert story.found() == {'seen after its end': 2}


def test_a_purge_leaves_what_is_claimed(story: Story) -> None:
    story.post(0, 1)
    story.claim(1, 2)
    purge(story, 3, 4)
    story.kept(9)

    assert story.found() == {}


def test_a_purge_without_an_answer_may_have_removed_a_message_or_not(story: Story) -> None:
    story.post(0, 1)
    purge(story, 2, None)

    assert story.found() == {}

    story.kept(9, count=0)

    assert story.found() == {}


def test_a_purge_may_remove_what_is_claimed_at_that_moment(story: Story) -> None:
    story.post(0, 1)
    purge(story, 2, 4)
    story.claim(3, 5)
    story.say('delete', 6, 7, 'not_in_claim')

    assert story.found() == {}


def test_a_post_that_was_sent_again_after_a_purge_may_be_stored_anew(story: Story) -> None:
    story.post(0, 6, ids=(NEXT_ID,), has_key=True)
    story.read(1, 2, ID)
    purge(story, 3, 4)
    story.claim(7, 8, id=NEXT_ID)
    story.kept(9, id=NEXT_ID)

    assert story.found() == {}

    story.kept(9, id=ID)

    assert story.found() == {'stored twice': 1}


# ---------------------------------------------------------------- redrives


def test_a_dead_letter_that_is_redriven_is_claimed_as_often_as_before(story: Story) -> None:
    story.post(0, 1, queue=AGAIN)
    for at in (2, 40):
        story.claim(at, at + 1, f'c{at}', queue=AGAIN, count=1)
        story.claim(at + 15, at + 16, f'd{at}', queue=AGAIN_DEAD, count=1)
    story.kept(70, queue=AGAIN_DEAD, count=1)

    assert story.found() == {}


def test_who_found_a_dead_letter_gone_may_see_it_once_it_is_back(story: Story) -> None:
    story.post(0, 1, queue=AGAIN)
    story.claim(2, 3, queue=AGAIN)
    story.claim(14, 15, 'c2', queue=AGAIN_DEAD)
    story.say('delete', 16, 17, 'gone', queue=AGAIN)
    story.claim(30, 31, 'c3', queue=AGAIN)
    story.kept(32, queue=AGAIN, count=1)

    assert story.found() == {}


def test_a_redriven_message_can_be_lost(story: Story) -> None:
    story.post(0, 1, queue=AGAIN)
    story.claim(2, 3, queue=AGAIN)
    story.claim(14, 15, 'c2', queue=AGAIN_DEAD)

    assert story.found() == {'lost': 1}


# ---------------------------------------------------------------- replies


def asked(story: Story, reply: str = 'yes', result: str = 'done') -> None:
    """Post, claim, and reply from 4 to 5 seconds after the start."""
    story.post(0, 1)
    story.claim(2, 3)
    told = [WORK, ID, ONE, 'c1', 'delete', 0, 60, reply]
    story.call('verdicts', 4, 5, answer={'results': [result]}, verdicts=[told])


def look(story: Story, began: float, status: int, told: str = '') -> None:
    outcome = REFUSED if status >= 400 else 'done'
    answer = {'status': status, 'told': told}
    story.call('look', began, began + 1, outcome, 'asker', answer, queue=WORK, number=ONE, id=ID)


def test_who_asked_is_told_the_reply_at_each_look(story: Story) -> None:
    asked(story)
    look(story, 3.5, 202)
    look(story, 4.5, 202)
    look(story, 6, 200, 'yes')
    look(story, 8, 200, 'yes')

    assert story.found() == {}


@pytest.mark.parametrize(('status', 'told'), [(202, ''), (410, 'deleted'), (404, '')])
def test_a_reply_that_is_not_told_is_found(story: Story, status: int, told: str) -> None:
    asked(story)
    look(story, 6, status, told)

    assert 'wrong reply' in story.found()


def test_a_reply_of_nobody_is_found(story: Story) -> None:
    asked(story)
    look(story, 4.5, 200, 'no')

    assert story.found() == {'wrong reply': 1}


def test_a_reply_that_was_refused_is_not_told(story: Story) -> None:
    asked(story, result='not_in_claim')
    look(story, 4.5, 200, 'yes')
    story.kept(9)

    assert story.found()['wrong reply'] == 1


def test_a_message_that_was_deleted_without_a_reply_has_ended(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    look(story, 3, 410, 'deleted')
    story.say('delete', 3.5, 5)

    assert story.found() == {}


def test_a_message_that_nobody_ended_has_not_ended(story: Story) -> None:
    story.post(0, 1)
    look(story, 3, 410, 'deleted')
    story.kept(9)

    assert story.found() == {'wrong reply': 1}
