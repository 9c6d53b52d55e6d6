"""docs/statements.sql holds each statement that is sent prepared, under its name.

Where a statement was changed, `python -m tests.model.test_statements` writes the page anew.
"""

import pkgutil
import textwrap
from collections.abc import Iterator
from importlib import import_module

import pytest

from marconi_api import model
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.processes.installation import CHECKOUT

PAGE = CHECKOUT / 'docs' / 'statements.sql'

#: What each does, by its name.
PURPOSES = {
    'attributes': 'What a process knows of a queue: its metadata, and what it is.',
    'account': 'The account of a project, for clients of SQS.',
    'claim': 'Reserves messages: finds, locks and marks them, and stores the claim.',
    'claim_fair': 'Reserves messages; those of groups that hold few come first.',
    'claim_fair_once': 'The same under an Idempotency-Key.',
    'claim_fair_once_within_limit': 'The same in a queue with _max_claim_count.',
    'claim_fair_within_limit': 'The same in a queue with _max_claim_count.',
    'claim_fifo': 'Reserves messages of a FIFO queue: locks groups, and takes from the front of each.',
    'claim_fifo_in_turn': 'The same, for who lost all groups to others: first waits for one.',
    'claim_fifo_once': 'Reserves messages of a FIFO queue under a key.',
    'claim_fifo_once_in_turn': 'The same, for who lost all groups to others.',
    'claim_fifo_once_within_limit': 'The same in a queue with _max_claim_count.',
    'claim_fifo_once_within_limit_in_turn': 'The same, for who lost all groups to others.',
    'claim_fifo_within_limit': 'The same in a queue with _max_claim_count.',
    'claim_fifo_within_limit_in_turn': 'The same, for who lost all groups to others.',
    'claim_within_limit': 'The same in a queue with _max_claim_count: puts dead letters away, too.',
    'claim_grouped': 'Reserves messages that have groups, of which none is noisy.',
    'claim_grouped_once': 'The same under an Idempotency-Key.',
    'claim_grouped_once_within_limit': 'The same in a queue with _max_claim_count.',
    'claim_grouped_within_limit': 'The same in a queue with _max_claim_count.',
    'claim_once': 'Reserves messages under an Idempotency-Key; fails if that has a claim already.',
    'claim_once_within_limit': 'The same in a queue with _max_claim_count.',
    'delete_claimed': 'Deletes a message by the claim that holds it.',
    'delete_claimed_with_subscribers': 'The same in a queue with subscribers, or a FIFO queue.',
    'delete_many': 'Deletes the messages that are named, claimed or not.',
    'delete_many_with_subscribers': 'The same in a queue with subscribers, or a FIFO queue.',
    'delete_unclaimed': 'Deletes a message that no claim holds.',
    'delete_unclaimed_with_subscribers': 'The same in a queue with subscribers, or a FIFO queue.',
    'delete_by_receipts': 'Deletes the messages of receipts of SQS that are not out of date.',
    'delete_by_receipts_fifo': 'The same in a FIFO queue.',
    'deliveries_done': 'Removes deliveries that are over, and counts them.',
    'deliveries_failed': 'Remembers attempts that failed, and when the next are due.',
    'find_reply': 'What became of a message that asks for a reply.',
    'get_claim': 'A claim, and what it still holds.',
    'get_messages': 'The messages that are named.',
    'groups_of': 'The groups of the messages that are named.',
    'heartbeat': 'Renews a claim, and tells of each message whether it still holds that.',
    'kick': 'Puts parked messages back into the queue, a batch at a time.',
    'hide_by_receipts': 'Keeps messages of receipts of SQS from others for longer, or not any more.',
    'known_claim': 'The claim that a request with an Idempotency-Key made, if there was one.',
    'known_claims_across': 'The same of a claim across several queues.',
    'known_post': 'The same of a post, for one that would be refused by now.',
    'list': 'A page of the messages that can be claimed now.',
    'look_for_waiting': 'Whether queues that are waited for have something; with each sweep.',
    'look_for_replies': 'Which messages ended, of those to which a reply is awaited.',
    'list_by_state': 'A page of the messages in the states that are asked for.',
    'metadata': "A queue's metadata.",
    'noisy_groups': 'The groups that hold much of what is claimed in a queue.',
    'pop': 'Takes messages for good.',
    'pop_fifo': 'Takes messages of a FIFO queue for good, from the front of each group.',
    'pop_fifo_in_turn': 'The same, for who lost all groups to others: first waits for one.',
    'post': 'Stores messages, all or none.',
    'post_claimed': 'Stores a message with the claim of a request that waits for one.',
    'post_claimed_by_attributes': 'The same, as long as the metadata is what the process knows.',
    'post_fair': 'Stores messages that have groups, in a queue that is not FIFO.',
    'post_fair_requests': 'The same for messages of which some ask for a reply.',
    'post_fair_requests_to_subscribers': 'The same in a queue with subscribers.',
    'post_fair_to_subscribers': 'The same in a queue with subscribers.',
    'post_fifo': 'Stores messages in a FIFO queue: numbers them, and leaves out duplicates.',
    'post_fifo_requests': 'The same for messages of which some ask for a reply.',
    'post_fifo_requests_to_subscribers': 'The same in a queue with subscribers.',
    'post_fifo_to_subscribers': 'The same in a queue with subscribers.',
    'post_one': 'Stores a message that is ready at once.',
    'post_one_by_attributes': 'The same, as long as the metadata is what the process knows.',
    'post_by_attributes': 'The same, as long as the metadata is what the process knows.',
    'post_once': 'Stores messages under an Idempotency-Key, unless they were stored before.',
    'post_once_by_attributes': 'The same, as long as the metadata is what the process knows.',
    'post_one_to_subscribers': 'The same of one message, ready at once, to a queue with subscribers.',
    'post_one_by_attributes_to_subscribers': 'The same, as long as the metadata is known.',
    'post_to_subscribers': 'Stores messages, copies for queues, and what webhooks are to get.',
    'post_by_attributes_to_subscribers': 'The same, as long as the metadata is what is known.',
    'post_once_to_subscribers': 'The same under an Idempotency-Key.',
    'post_once_by_attributes_to_subscribers': 'The same, as long as the metadata is known.',
    'post_requests_with_attributes': 'Stores messages with attributes of SQS, some of which ask for a reply.',
    'post_requests_with_attributes_to_subscribers': 'The same in a queue with subscribers.',
    'post_with_attributes': 'Stores messages of which some have attributes of SQS.',
    'post_with_attributes_to_subscribers': 'The same in a queue with subscribers.',
    'read_deliveries': 'What a webhook is to get now: what is due again, and what is new.',
    'post_requests': 'The same for messages of which some ask for a reply.',
    'post_requests_once': 'The same under an Idempotency-Key.',
    'post_requests_to_subscribers': 'The same in a queue with subscribers.',
    'post_requests_once_to_subscribers': 'The same in a queue with subscribers.',
    'receive': 'Reserves messages for a client of SQS.',
    'receive_fair': 'Reserves messages for an SQS client; those of groups that hold few come first.',
    'receive_fair_within_limit': 'The same in a queue with _max_claim_count.',
    'receive_anew': 'Holds what a receive took for another while, unless that was changed.',
    'receive_fifo': 'Reserves messages of a FIFO queue for a client of SQS.',
    'receive_fifo_in_turn': 'The same, for who lost all groups to others.',
    'receive_fifo_once': 'Reserves messages of a FIFO queue for a client of SQS, under an attempt.',
    'receive_fifo_once_in_turn': 'The same, for who lost all groups to others.',
    'receive_fifo_once_within_limit': 'The same in a queue with _max_claim_count.',
    'receive_fifo_once_within_limit_in_turn': 'The same, for who lost all groups to others.',
    'receive_fifo_within_limit': 'The same in a queue with _max_claim_count.',
    'receive_fifo_within_limit_in_turn': 'The same, for who lost all groups to others.',
    'receive_within_limit': 'The same in a queue with _max_claim_count.',
    'receive_grouped': 'The same where messages have groups, of which none is noisy.',
    'receive_grouped_within_limit': 'The same in a queue with _max_claim_count.',
    'received_before': 'What a receive took, for one that is made again under its attempt.',
    'release': 'Gives back what a claim still holds.',
    'remove_unneeded_bodies': 'Removes bodies whose message is gone and that nobody waits for.',
    'renew': 'Starts a claim anew.',
    'renew_if_intact': 'The same, unless a message of it was deleted or changed.',
    'stats': 'Counts the messages of a queue.',
    'take_subscriptions': 'Owns the subscriptions that have something to deliver.',
    'token': 'What a token says of who shows it, unless a process remembers that.',
    'undo_claim': 'Gives back what a claim holds that nobody has seen, and does not count it.',
    'verdicts': 'Carries out verdicts on messages, one by one.',
    'verdicts_by_claims': 'The same with messages of several claims of a queue.',
    'verdicts_by_claims_with_replies': 'The same, with replies to some of them.',
    'verdicts_with_replies': 'Carries out verdicts, and stores replies to messages that it deletes.',
}


def statements() -> Iterator[tuple[str, Prepared]]:
    """The prepared statements of the model, by name; of several forms the first."""
    for module in pkgutil.iter_modules(model.__path__):
        if module.name == 'postgres':
            continue
        for value in vars(import_module(f'{model.__name__}.{module.name}')).values():
            for statement in value.values() if isinstance(value, dict) else [value]:
                if isinstance(statement, Prepared):
                    yield name_of(statement), statement


def name_of(statement: Prepared) -> str:
    return next(iter(statement.definitions)).removeprefix('marconi_').rpartition('_')[0]


def page() -> str:
    """What docs/statements.sql has to be."""
    first = dict(reversed(list(statements())))
    head = (
        '-- The statements that Marconi sends prepared. pg_stat_activity and pg_stat_statements\n'
        '-- show them as marconi_NAME_HASH; the hash is that of the text, so it changes with a\n'
        '-- release. Of statements in several forms the first is shown. Parameters are written as\n'
        '-- %(name)s. Made by `python -m tests.model.test_statements`.\n'
    )
    return head + ''.join(
        f'\n\n-- marconi_{name}: {PURPOSES[name]}\n{as_text(first[name])};\n'
        for name in sorted(first)
    )


def as_text(statement: str) -> str:
    lines = (line.rstrip() for line in textwrap.dedent(statement).strip().splitlines())
    return '\n'.join(line for line in lines if line)


def test_the_page_shows_the_statements_as_they_are() -> None:
    assert PAGE.read_text() == page()


@pytest.mark.parametrize('name', sorted({name for name, _ in statements()}))
def test_a_statement_has_a_name_and_a_purpose(name: str) -> None:
    assert PURPOSES[name]


if __name__ == '__main__':
    PAGE.write_text(page())
