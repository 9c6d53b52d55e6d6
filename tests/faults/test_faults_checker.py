"""The checker of the fault campaign sees each kind of fault, in logs that are written by hand."""

from pathlib import Path
from typing import Any

import pytest

from faults import client
from faults.client import Answer
from faults.log import PUT_OFF, REFUSED, UNKNOWN
from faults.numbers import first_number
from marconi_api.wire.failures import Overloaded
from tests.faults.story import CLAIM, DEAD, FEW, ID, NEXT_ID, ONE, WORK, Story


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_a_life_without_faults_is_good(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3, 'c0', count=1)
    # It lapses.
    story.claim(14, 15, count=2)
    story.say('touch', 16, 17, seconds=10)
    story.read(17, 18, ID)
    story.say('delete', 19, 20, 'over')

    report = story.checked()

    assert report.is_good
    assert (report.messages, report.acknowledged) == (1, 1)


def test_an_acknowledged_message_that_is_not_there_is_lost(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)

    assert story.found() == {'lost': 1}


def test_a_message_that_somebody_may_have_deleted_is_not_lost(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('delete', 4, None)

    assert story.found() == {}


def test_a_post_without_an_answer_may_be_there_or_not(story: Story) -> None:
    story.post(0, None)

    assert story.found() == {}

    story.kept(9)

    assert story.found() == {}


def test_a_message_that_nobody_posted_is_found(story: Story) -> None:
    story.kept(9)

    assert story.found() == {'never posted': 1}


def test_a_message_of_another_tenant_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3, queue='other/work')
    story.kept(9)

    assert story.found() == {'never posted': 1}


def test_a_post_that_was_refused_stores_nothing(story: Story) -> None:
    story.post(0, 1, outcome=REFUSED)
    story.kept(9)

    assert story.found() == {'never posted': 1}


def test_a_post_that_was_put_off_stores_nothing(story: Story) -> None:
    story.post(0, 1, outcome=PUT_OFF)

    assert story.found() == {}

    story.kept(9)

    assert story.found() == {'never posted': 1}


def test_a_verdict_that_was_put_off_was_neither_carried_out_nor_refused(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    told = [WORK, ID, ONE, CLAIM, 'delete', 0, 60]
    story.call('verdicts', 4, 5, PUT_OFF, verdicts=[told])
    story.kept(9)

    assert story.found() == {}


def test_only_who_has_too_much_to_do_puts_a_request_off() -> None:
    assert Answer(503, is_put_off=True).outcome == PUT_OFF
    # It may have been carried out, and its commit may not have been answered.
    assert Answer(503).outcome == UNKNOWN


def test_who_has_too_much_to_do_says_what_the_campaign_expects() -> None:
    assert client.NOTHING_WAS_DONE.decode() in str(Overloaded())


def test_a_key_that_stored_twice_is_found(story: Story) -> None:
    story.post(0, 1, has_key=True)
    story.kept(9)
    story.kept(9, id=NEXT_ID)

    # It has two ids, and it is there twice.
    assert story.found() == {'stored twice': 2}
    assert 'a post with a key' in story.checked().first['stored twice'].fault.why


def test_a_message_in_two_queues_is_found(story: Story) -> None:
    story.post(0, 1, queue=FEW)
    for place in range(2):
        story.claim(2 + 20 * place, 3 + 20 * place, f'c{place}', queue=FEW)
    story.kept(99, 'claimed', queue=FEW)
    story.kept(99, 'claimed', queue=DEAD)

    assert story.found() == {'stored twice': 1}


def test_a_claim_that_takes_what_another_holds_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.claim(4, 5, 'c2')
    story.kept(9)

    report = story.checked()

    assert dict(report.found) == {'two live claims': 1}
    assert 'for 7.000 s more' in report.first['two live claims'].fault.why


def test_a_claim_may_take_what_another_released(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('release', 4, None)
    story.claim(4, 5, 'c2')
    story.kept(9)

    assert story.found() == {}


def test_a_claim_holds_what_it_has_touched(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('touch', 10, 11, seconds=10)
    story.claim(14, 15, 'c2')
    story.kept(19)

    assert story.found() == {'two live claims': 1}


def test_a_claim_whose_touch_has_no_answer_may_have_lapsed(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('touch', 10, None, seconds=10)
    story.claim(14, 15, 'c2')
    story.kept(19)

    assert story.found() == {}


def test_two_claims_at_one_time_that_got_a_message_are_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 4)
    story.claim(3, 5, 'c2')
    story.kept(9)

    assert story.found() == {'two live claims': 1}


def test_two_pops_of_a_message_are_found(story: Story) -> None:
    story.post(0, 1)
    story.pop(2, 4)
    story.pop(3, 5)

    assert story.found() == {'two live claims': 1}


def test_a_redelivery_that_no_claim_explains_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3, count=2)
    story.kept(9, count=2)

    assert story.found() == {'redelivered without a reason': 2}


def test_a_claim_without_an_answer_explains_a_redelivery(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, None)
    story.claim(20, 21, 'c2', count=2)
    story.kept(29, count=2)

    assert story.found() == {}


def test_a_message_that_is_seen_after_its_delete_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('delete', 4, 5, 'over')
    story.read(6, 7, ID)

    assert story.found() == {'seen after its end': 1}


def test_a_message_that_is_seen_after_its_ttl_is_found(story: Story) -> None:
    story.post(0, 1, ttl=5)
    story.claim(8, 9)

    assert story.found() == {'seen after its end': 1}


def test_a_claim_prolongs_the_life_of_its_message(story: Story) -> None:
    story.post(0, 1, ttl=5)
    story.claim(2, 3)
    story.read(60, 61, ID)

    assert story.found() == {}


def test_a_delete_with_a_claim_that_has_lapsed_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('delete', 14, 15, 'over')

    assert story.found() == {'stale verdict took effect': 1}


def test_a_delete_of_what_another_deleted_may_come_late(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.claim(14, 15, 'c2')
    story.say('delete', 15, 16, 'over', claim='c2')
    story.say('delete', 17, 18, 'over')

    assert story.found() == {}


def test_a_touch_of_what_another_has_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('release', 4, 5)
    story.claim(6, 7, 'c2')
    story.say('touch', 8, 9, seconds=10)
    story.kept(19)

    assert story.found() == {'stale verdict took effect': 1}


def test_a_holder_to_whom_a_verdict_is_refused_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('delete', 4, 5, 'not_in_claim')
    story.kept(9)

    assert story.found() == {'refused to the holder': 1}


def test_a_message_that_comes_before_its_delay_is_found(story: Story) -> None:
    story.post(0, 1, delay=10)
    story.claim(2, 3)
    story.kept(9)

    assert story.found() == {'delivered early': 1}


def test_a_released_message_that_comes_before_its_delay_is_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('release', 4, 5, seconds=10)
    story.claim(6, 7, 'c2')
    story.kept(9)

    assert story.found() == {'delivered early': 1}


def test_a_message_that_a_reader_passes_is_skipped(story: Story) -> None:
    story.post(0, 1, ids=(ID, NEXT_ID))
    story.read(2, 3, NEXT_ID)
    story.kept(9)
    story.kept(9, number=ONE + 1, id=NEXT_ID)

    assert story.found() == {'skipped by a reader': 1}


def test_a_reader_that_comes_later_passes_nothing(story: Story) -> None:
    story.post(0, 1, ids=(ID, NEXT_ID))
    story.read(2, 3, ID)
    story.kept(9)
    story.kept(9, number=ONE + 1, id=NEXT_ID)

    assert story.found() == {}


def test_a_page_that_goes_back_is_found(story: Story) -> None:
    story.post(0, 1, ids=(ID, NEXT_ID))
    story.read(2, 3, ID, NEXT_ID)
    story.read(4, 5, NEXT_ID)
    story.kept(9)
    story.kept(9, number=ONE + 1, id=NEXT_ID)

    assert story.found() == {'misordered or repeated for a reader': 1}


def test_a_batch_of_which_half_is_there_is_found(story: Story) -> None:
    story.post(0, None, ids=(ID, NEXT_ID))
    story.kept(9)

    assert story.found() == {'batch half-stored': 1}


def test_an_id_of_two_messages_is_found(story: Story) -> None:
    story.post(0, 1)
    story.post(2, 3, first=first_number(1, 2))
    story.kept(9)
    story.kept(9, number=first_number(1, 2))

    assert story.found() == {'id given twice': 1}


def test_a_message_that_is_put_away_too_early_is_found(story: Story) -> None:
    story.post(0, 1, queue=FEW)
    story.claim(2, 3, queue=FEW)
    story.kept(20, queue=DEAD)

    assert story.found() == {'claims miscounted': 1}


def test_claims_that_are_not_counted_are_found(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.kept(9, count=0)

    assert story.found() == {'claims miscounted': 1}


def test_a_message_that_is_put_away_too_late_is_found(story: Story) -> None:
    story.post(0, 1, queue=FEW)
    for place in range(3):
        story.claim(2 + 20 * place, 3 + 20 * place, f'c{place}', queue=FEW)
    story.kept(99, queue=DEAD)

    assert story.found() == {'claims miscounted': 1}


def test_a_message_that_is_ready_after_all_was_claimed_is_withheld(story: Story) -> None:
    story.post(0, 1)
    story.kept(9, 'ready')

    assert story.found() == {'withheld': 1}


def test_a_message_that_is_held_for_longer_than_any_claim_is_withheld(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.kept(9, 'claimed', held_until=3600)

    assert story.found() == {'withheld': 1}


def wait(story: Story, began: float, ended: float) -> None:
    terms: dict[str, Any] = {'ttl': 10, 'grace': 60, 'limit': 1, 'wait': 10}
    answer = {'claims': [], 'waited': True}
    story.call('claim', began, ended, who='waiter', answer=answer, queues=[WORK], **terms)


def test_a_request_that_waits_though_there_is_a_message_is_found(story: Story) -> None:
    story.post(0, 1)
    wait(story, 2, 12)
    story.kept(20)

    assert story.found() == {'waited too long': 1}


def test_a_client_that_was_paused_may_wait(story: Story) -> None:
    story.post(0, 1)
    wait(story, 2, 12)
    story.call('paused', 3, 3, who='accidents', client='waiter', seconds=6)
    story.kept(20)

    assert story.found() == {}


def test_a_request_may_wait_though_a_message_was_popped_unseen(story: Story) -> None:
    story.post(0, 1)
    story.pop(1, None)
    wait(story, 2, 12)

    assert story.found() == {}


def test_a_request_may_wait_while_a_service_recovers(story: Story) -> None:
    story.post(0, 1)
    wait(story, 2, 12)
    story.call('accident', 3, 4, what='kill', whom=1, stops_service=True)
    story.kept(20)

    assert story.found() == {}


def test_a_webhook_that_never_took_a_message_is_found(story: Story) -> None:
    story.post(0, 1, queue='acme/news')
    story.call('delivered', 2, 3, REFUSED, queue='acme/news', number=ONE)
    story.kept(9, queue='acme/news')

    assert story.found() == {'webhook never delivered': 1}

    story.call('delivered', 4, 5, queue='acme/news', number=ONE)

    assert story.found() == {}


def test_statistics_that_differ_from_a_recount_are_found(story: Story) -> None:
    story.post(0, 1)
    story.kept(9)
    told = {'free': 1, 'claimed': 0, 'total': 1}
    story.call('stats', 10, 11, answer={'told': told}, queue=WORK)

    assert story.found() == {'statistics differ': 1}


def test_an_answer_500_is_found(story: Story) -> None:
    story.post(0, 1, ids=(), count=1, outcome='unknown', status=500)
    story.call('stats', 10, 11, 'unknown', answer={'status': 500}, queue=WORK)

    assert story.found() == {'answered 500': 1}


def test_the_history_of_the_first_bad_message_is_told(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.claim(4, 5, 'c2')
    story.kept(9)

    lines = list(story.checked().lines())

    assert '      1 two live claims' in lines
    assert [line.split()[2:5] for line in lines[-3:]] == [
        ['producer', '#1', 'post'],
        ['client', '#1', 'claim'],
        ['client', '#2', 'claim'],
    ]


def test_a_fault_is_seen_before_the_run_is_over(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.claim(4, 5, 'c2')

    assert story.checked_at(3.5).found['two live claims'] == 0
    assert story.checked_at(5.5).found['two live claims'] == 1


def test_a_call_that_is_under_way_has_no_end_yet(story: Story) -> None:
    story.post(0, 1)
    story.claim(2, 3)
    story.say('delete', 4, 6)
    story.claim(7, 8, 'c2')

    # Nobody knows at that moment that the delete was carried out.
    assert story.checked_at(5).found['seen after its end'] == 0
    assert story.checked_at(9).found['seen after its end'] == 1


def test_who_finds_a_dead_letter_gone_says_so_of_its_queue_alone(story: Story) -> None:
    story.post(0, 1, queue=FEW)
    for claim in ('c0', CLAIM):
        story.claim(2, 3, claim, queue=FEW, ttl=1)
    story.say('delete', 5, 6, 'gone', queue=FEW)
    story.claim(7, 8, 'c2', queue=DEAD)

    assert 'seen after its end' not in story.found()

    story.claim(7, 8, 'c3', queue=FEW)

    assert 'seen after its end' in story.found()
