"""Queues are made, found, listed, described, changed, purged, tagged and deleted."""

import json
from threading import Barrier, Thread
from typing import Any

import pytest

from marconi_api import model
from tests.controllers.sqs.client import HOST, PROJECT, Sqs, json_of, refusal, refused

DEFAULTS = {
    'VisibilityTimeout': '30',
    'DelaySeconds': '0',
    'MessageRetentionPeriod': '345600',
    'MaximumMessageSize': '1048576',
    'ReceiveMessageWaitTimeSeconds': '0',
}

FIFO = {'FifoQueue': 'true', 'ContentBasedDeduplication': 'true'}


def account() -> str:
    return model.store.accounts.of(PROJECT).number


# ---------------------------------------------------------------- names and addresses


def test_a_url_has_an_account_of_twelve_digits_and_the_name(sqs: Sqs) -> None:
    url = sqs.queue('jobs')

    assert url == f'http://{HOST}/{account()}/jobs'
    assert len(account()) == 12
    assert account().isdigit()


def test_an_account_stays_that_of_its_project(sqs: Sqs) -> None:
    model.store.accounts._known.clear()
    first = sqs.queue('a').split('/')[3]
    model.store.accounts._known.clear()

    assert sqs.queue('b').split('/')[3] == first


def test_of_a_url_the_last_two_parts_count(sqs: Sqs) -> None:
    sqs.queue('jobs')

    for url in (
        f'https://sqs.eu-west-1.amazonaws.com/{account()}/jobs',
        f'http://other.example:8888/some/path/{account()}/jobs',
        'jobs',
    ):
        sqs.send(url, url)
    assert len(sqs.receive('jobs')) == 3


def test_an_account_of_somebody_else_has_no_such_queue(sqs: Sqs) -> None:
    sqs.queue('jobs')

    with refused('AWS.SimpleQueueService.NonExistentQueue'):
        sqs.send(f'http://{HOST}/000000000000/jobs')
    with refused('AWS.SimpleQueueService.NonExistentQueue'):
        sqs.get_queue_url(QueueName='jobs', QueueOwnerAWSAccountId='000000000000')


def test_a_url_that_cannot_be_read_is_of_no_queue(sqs: Sqs) -> None:
    for url in ('http://', f'http://{HOST}/', f'http://{HOST}/{account()}/no*name', 'no name'):
        with refused('AWS.SimpleQueueService.NonExistentQueue'):
            sqs.send(url)


def test_a_queue_is_found_by_its_name(sqs: Sqs) -> None:
    url = sqs.queue('jobs')

    assert sqs.get_queue_url(QueueName='jobs')['QueueUrl'] == url
    assert sqs.get_queue_url(QueueName='jobs', QueueOwnerAWSAccountId=account())
    with refused('AWS.SimpleQueueService.NonExistentQueue'):
        sqs.get_queue_url(QueueName='Jobs')


@pytest.mark.parametrize('name', ['a', 'A-b_9', 'x' * 80])
def test_a_name_has_80_characters_at_most(sqs: Sqs, name: str) -> None:
    url = sqs.queue(name)

    assert url.endswith(f'/{name}')
    sqs.send(url)
    assert len(sqs.receive(url)) == 1


@pytest.mark.parametrize('name', ['x' * 81, 'a.b', 'a b', 'ü', 'a/b', 'a\n'])
def test_another_name_is_refused(sqs: Sqs, name: str) -> None:
    with refused('InvalidParameterValue'):
        sqs.queue(name)


def test_the_name_of_a_fifo_queue_goes_with_its_attribute(sqs: Sqs) -> None:
    with refused('InvalidParameterValue'):
        sqs.queue('a.fifo')
    with refused('InvalidParameterValue'):
        sqs.queue('a', FifoQueue='true')


# ---------------------------------------------------------------- making


def test_a_queue_with_the_same_attributes_is_the_same_queue(sqs: Sqs) -> None:
    url = sqs.queue('jobs', DelaySeconds=5)

    assert sqs.queue('jobs', DelaySeconds=5) == url
    assert sqs.queue('jobs') == url
    assert sqs.queue('jobs', DelaySeconds='05', VisibilityTimeout=30) == url


def test_a_queue_with_another_attribute_is_refused_by_the_name_of_that(sqs: Sqs) -> None:
    sqs.queue('jobs', DelaySeconds=5)

    with refused('QueueAlreadyExists') as error:
        sqs.queue('jobs', DelaySeconds=6, VisibilityTimeout=30)

    assert 'attribute DelaySeconds' in str(error.value)
    assert type(error.value) is sqs.client.exceptions.QueueNameExists


def test_a_wrong_attribute_is_refused_though_the_queue_is_there(sqs: Sqs) -> None:
    sqs.queue('jobs')

    with refused('InvalidAttributeName'):
        sqs.queue('jobs', Unknown='1')
    with refused('InvalidAttributeValue'):
        sqs.queue('jobs', DelaySeconds=901)


def test_tags_of_an_existing_queue_are_not_compared(sqs: Sqs) -> None:
    url = sqs.client.create_queue(QueueName='jobs', tags={'a': '1'})['QueueUrl']

    assert sqs.client.create_queue(QueueName='jobs', tags={'b': '2'})['QueueUrl'] == url
    assert sqs.list_queue_tags(QueueUrl=url)['Tags'] == {'a': '1'}


def test_eight_clients_that_make_one_queue_at_once_get_the_same(sqs: Sqs) -> None:
    model.store.accounts.of(PROJECT)
    barrier = Barrier(8)
    answers: list[Any] = []

    def make() -> None:
        barrier.wait()
        answers.append(json_of(sqs.call('CreateQueue', {'QueueName': 'jobs'})))
        model.store.database.close()

    threads = [Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [{'QueueUrl': f'http://{HOST}/{account()}/jobs'}] * 8


def test_a_queue_is_deleted_once(sqs: Sqs) -> None:
    url = sqs.queue()
    sqs.send(url)

    sqs.delete_queue(QueueUrl=url)

    with refused('AWS.SimpleQueueService.NonExistentQueue'):
        sqs.delete_queue(QueueUrl=url)
    with refused('AWS.SimpleQueueService.NonExistentQueue'):
        sqs.send(url)


def test_a_queue_may_be_made_anew_at_once(sqs: Sqs) -> None:
    url = sqs.queue(VisibilityTimeout=1)
    sqs.send(url)
    sqs.delete_queue(QueueUrl=url)

    assert sqs.queue() == url
    assert sqs.receive(url) == []
    assert sqs.attributes(url)['VisibilityTimeout'] == '30'


# ---------------------------------------------------------------- attributes


def test_a_new_queue_has_the_attributes_that_amazon_gives_it(sqs: Sqs) -> None:
    url = sqs.queue()

    told = sqs.attributes(url)

    created = told['CreatedTimestamp']
    assert created.isdigit()
    assert told == {
        **DEFAULTS,
        'QueueArn': f'arn:aws:sqs:us-east-1:{account()}:jobs',
        'CreatedTimestamp': created,
        'LastModifiedTimestamp': created,
        'ApproximateNumberOfMessages': '0',
        'ApproximateNumberOfMessagesNotVisible': '0',
        'ApproximateNumberOfMessagesDelayed': '0',
    }


def test_without_names_no_attribute_is_told(sqs: Sqs) -> None:
    url = sqs.queue()

    assert json_of(sqs.call('GetQueueAttributes', {'QueueUrl': url})) == {}
    asked = {'QueueUrl': url, 'AttributeNames': ['RedrivePolicy']}
    assert json_of(sqs.call('GetQueueAttributes', asked)) == {}


def test_attributes_are_told_by_their_names(sqs: Sqs) -> None:
    url = sqs.queue()

    assert sqs.attributes(url, 'DelaySeconds', 'QueueArn').keys() == {'DelaySeconds', 'QueueArn'}


def test_an_unknown_attribute_cannot_be_asked_for(sqs: Sqs) -> None:
    with refused('InvalidAttributeName'):
        sqs.attributes(sqs.queue(), 'Unknown')


RANGES = [
    ('VisibilityTimeout', 0, 43200),
    ('DelaySeconds', 0, 900),
    ('MessageRetentionPeriod', 60, 1209600),
    ('MaximumMessageSize', 1024, 1048576),
    ('ReceiveMessageWaitTimeSeconds', 0, 20),
]


@pytest.mark.parametrize(('name', 'least', 'most'), RANGES)
def test_a_number_is_set_within_its_range(sqs: Sqs, name: str, least: int, most: int) -> None:
    url = sqs.queue()

    for value in (least, most):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(value)})
        assert sqs.attributes(url, name) == {name: str(value)}
    for wrong in (str(least - 1), str(most + 1), '', 'x', '1.5', '9' * 30, '٣'):
        with refused('InvalidAttributeValue') as error:
            sqs.set_queue_attributes(QueueUrl=url, Attributes={name: wrong})
        assert name in str(error.value)
        with refused('InvalidAttributeValue'):
            sqs.queue('other', **{name: wrong})
    assert sqs.attributes(url, name) == {name: str(most)}


@pytest.mark.parametrize(
    'name',
    [
        *('Unknown', 'delayseconds', 'QueueArn', 'CreatedTimestamp', 'LastModifiedTimestamp'),
        *('ApproximateNumberOfMessages', 'FifoQueue', 'ContentBasedDeduplication', 'All'),
        *('DeduplicationScope', 'FifoThroughputLimit', 'tags', 'modified'),
    ],
)
def test_an_attribute_that_cannot_be_set_is_refused(sqs: Sqs, name: str) -> None:
    url = sqs.queue()

    with refused('InvalidAttributeName'):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: '1'})


def test_nothing_is_changed_when_one_value_is_wrong(sqs: Sqs) -> None:
    url = sqs.queue()

    with refused('InvalidAttributeValue'):
        sqs.set_queue_attributes(
            QueueUrl=url, Attributes={'DelaySeconds': '5', 'VisibilityTimeout': 'x'}
        )

    assert sqs.attributes(url, 'DelaySeconds') == {'DelaySeconds': '0'}


def test_attributes_that_are_not_given_stay(sqs: Sqs) -> None:
    url = sqs.queue(DelaySeconds=5, VisibilityTimeout=6)

    sqs.set_queue_attributes(QueueUrl=url, Attributes={'VisibilityTimeout': '7'})

    told = sqs.attributes(url, 'DelaySeconds', 'VisibilityTimeout')
    assert told == {'DelaySeconds': '5', 'VisibilityTimeout': '7'}


def test_the_time_of_the_last_change_is_told(sqs: Sqs, sql: Any) -> None:
    url = sqs.queue()
    sql("UPDATE queues SET created_at = created_at - interval '1 hour'")

    sqs.set_queue_attributes(QueueUrl=url, Attributes={'DelaySeconds': '5'})

    told = sqs.attributes(url)
    assert int(told['LastModifiedTimestamp']) >= int(told['CreatedTimestamp']) + 3590


@pytest.mark.parametrize(('before', 'after', 'is_there'), [(600, 60, True), (60, 600, False)])
def test_a_new_retention_period_is_that_of_later_messages(
    sqs: Sqs, age: Any, before: int, after: int, is_there: bool
) -> None:
    url = sqs.queue(MessageRetentionPeriod=before)
    sqs.send(url, 'earlier')
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'MessageRetentionPeriod': str(after)})
    sqs.send(url, 'later')

    age(61)

    assert [one['Body'] for one in sqs.receive(url)] == ['earlier' if is_there else 'later']


@pytest.mark.parametrize(('name', 'of_queue'), [('jobs', {}), ('jobs.fifo', FIFO)])
def test_a_new_delay_is_that_of_later_messages(
    sqs: Sqs, age: Any, name: str, of_queue: dict[str, str]
) -> None:
    url = sqs.queue(name, DelaySeconds=60, **of_queue)
    groups = [{'MessageGroupId': group} if of_queue else {} for group in 'ab']
    sqs.send(url, 'earlier', **groups[0])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'DelaySeconds': '0'})
    sqs.send(url, 'later', **groups[1])

    assert [one['Body'] for one in sqs.receive(url, VisibilityTimeout=100)] == ['later']
    age(61)
    assert [one['Body'] for one in sqs.receive(url)] == ['earlier']


def test_a_change_needs_attributes(sqs: Sqs) -> None:
    with refused('MissingParameter'):
        sqs.set_queue_attributes(QueueUrl=sqs.queue(), Attributes={})


def test_a_policy_is_kept_and_shown_and_removed_by_an_empty_text(sqs: Sqs) -> None:
    policy = '{ "Version": "2012-10-17", "Statement": [] }'
    url = sqs.queue(Policy=policy)

    assert sqs.attributes(url, 'Policy') == {'Policy': policy}
    assert sqs.queue(Policy=json.dumps(json.loads(policy))) == url
    sqs.set_queue_attributes(QueueUrl=url, Attributes={'Policy': ''})
    assert 'Policy' not in sqs.attributes(url)
    for wrong in ('x', '[]', json.dumps({'a': 'x' * 8192})):
        with refused('InvalidAttributeValue'):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={'Policy': wrong})


def test_encryption_that_does_not_happen_is_refused(sqs: Sqs) -> None:
    url = sqs.queue()
    for name, value in {'KmsMasterKeyId': 'alias/x', 'SqsManagedSseEnabled': 'true'}.items():
        with refused('AWS.SimpleQueueService.UnsupportedOperation') as error:
            sqs.queue('other', **{name: value})
        assert 'does not encrypt' in str(error.value)
        with refused('AWS.SimpleQueueService.UnsupportedOperation'):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})


def test_attributes_of_encryption_that_ask_for_none_are_taken(sqs: Sqs) -> None:
    asked = {'SqsManagedSseEnabled': 'false', 'KmsMasterKeyId': ''}
    for period in ('60', '86400'):
        asked['KmsDataKeyReusePeriodSeconds'] = period
        assert sqs.queue(**asked) == sqs.queue()
    for wrong in ('59', '86401', 'x', ''):
        with refused('InvalidAttributeValue'):
            sqs.queue('other', KmsDataKeyReusePeriodSeconds=wrong)


# ---------------------------------------------------------------- lists


def test_a_project_without_queues_has_no_list(sqs: Sqs) -> None:
    assert json_of(sqs.call('ListQueues')) == {}


def test_queues_are_listed_by_their_names(sqs: Sqs) -> None:
    urls = [sqs.queue(name) for name in ('b', 'a', 'c-1', 'c-2')]

    assert sqs.list_queues()['QueueUrls'] == sorted(urls)
    assert sqs.list_queues(QueueNamePrefix='c-')['QueueUrls'] == urls[2:]
    assert 'QueueUrls' not in sqs.list_queues(QueueNamePrefix='d')


def test_a_list_goes_on_from_its_token(sqs: Sqs) -> None:
    urls = [sqs.queue(f'queue-{number}') for number in range(5)]

    found, token, pages = [], None, 0
    while token or not pages:
        page = sqs.list_queues(MaxResults=2, **({'NextToken': token} if token else {}))
        found += page['QueueUrls']
        token, pages = page.get('NextToken'), pages + 1

    assert (found, pages) == (urls, 3)


def test_a_list_with_a_prefix_goes_on_from_its_token(sqs: Sqs) -> None:
    urls = [sqs.queue(name) for name in ('a', 'b-1', 'b-2', 'b-3', 'c')]

    first = sqs.list_queues(MaxResults=2, QueueNamePrefix='b')
    second = sqs.list_queues(MaxResults=2, QueueNamePrefix='b', NextToken=first['NextToken'])

    assert first['QueueUrls'] + second['QueueUrls'] == urls[1:4]
    assert 'NextToken' not in second


def test_without_a_maximum_there_is_no_token(sqs: Sqs) -> None:
    for number in range(3):
        sqs.queue(f'queue-{number}')

    assert 'NextToken' not in sqs.list_queues()


def test_a_list_has_a_thousand_queues_at_most(sqs: Sqs, sql: Any) -> None:
    sqs.queue('jobs')
    sql(
        'INSERT INTO queues (queue_id, project, name, floor)'
        " SELECT g, %s, 'queue-' || lpad(g::text, 4, '0'), 0 FROM generate_series(1, 1000) AS g",
        PROJECT,
    )

    assert len(sqs.list_queues()['QueueUrls']) == 1000
    page = sqs.list_queues(MaxResults=1000)
    [last] = sqs.list_queues(MaxResults=1000, NextToken=page['NextToken'])['QueueUrls']
    assert last.endswith('/queue-1000')


@pytest.mark.parametrize('most', [0, 1001])
def test_a_page_has_a_size(sqs: Sqs, most: int) -> None:
    url = sqs.queue()
    with refused('InvalidParameterValue'):
        sqs.list_queues(MaxResults=most)
    with refused('InvalidParameterValue'):
        sqs.list_dead_letter_source_queues(QueueUrl=url, MaxResults=most)


@pytest.mark.parametrize('token', ['x', 'ü', 'AAAA', '====', 'YSBi'])
def test_a_token_that_was_made_up_is_refused(sqs: Sqs, token: str) -> None:
    with refused('InvalidParameterValue'):
        sqs.list_queues(MaxResults=1, NextToken=token)


def test_queues_whose_names_are_not_of_sqs_are_not_listed(sqs: Sqs) -> None:
    url = sqs.queue('jobs')
    for name in ('with.dot', 'x' * 81):
        model.store.queues.create(model.QueueKey.of(PROJECT, name))

    assert sqs.list_queues()['QueueUrls'] == [url]


def test_queues_of_other_projects_are_not_listed(sqs: Sqs) -> None:
    model.store.queues.create(model.QueueKey.of('other', 'jobs'))

    assert 'QueueUrls' not in sqs.list_queues()


# ---------------------------------------------------------------- purges and tags


def test_a_purge_removes_all_messages_at_once(sqs: Sqs) -> None:
    url = sqs.queue()
    for delay in (0, 0, 900):
        sqs.send(url, DelaySeconds=delay)
    handle = sqs.receive_one(url)['ReceiptHandle']

    sqs.purge_queue(QueueUrl=url)

    told = sqs.attributes(url)
    assert {told[f'ApproximateNumberOfMessages{of}'] for of in ('', 'NotVisible', 'Delayed')} == {
        '0'
    }
    sqs.delete(url, handle)
    sqs.send(url)
    assert len(sqs.receive(url)) == 1


def test_a_second_purge_within_a_minute_is_refused(sqs: Sqs, age: Any) -> None:
    url = sqs.queue()
    sqs.purge_queue(QueueUrl=url)
    sqs.send(url)

    with refused('AWS.SimpleQueueService.PurgeQueueInProgress', 403):
        sqs.purge_queue(QueueUrl=url)

    assert len(sqs.receive(url)) == 1
    age(61)
    sqs.purge_queue(QueueUrl=url)


def test_tags_are_added_changed_and_removed(sqs: Sqs) -> None:
    url = sqs.queue()

    assert json_of(sqs.call('ListQueueTags', {'QueueUrl': url})) == {}
    sqs.tag_queue(QueueUrl=url, Tags={'team': 'a', 'cost': ''})
    sqs.tag_queue(QueueUrl=url, Tags={'team': 'b'})
    assert sqs.list_queue_tags(QueueUrl=url)['Tags'] == {'team': 'b', 'cost': ''}
    sqs.untag_queue(QueueUrl=url, TagKeys=['cost', 'none'])
    assert sqs.list_queue_tags(QueueUrl=url)['Tags'] == {'team': 'b'}


@pytest.mark.parametrize(
    'tags',
    [
        *({'': 'x'}, {'x' * 129: ''}, {'x': 'y' * 257}, {'aws:x': ''}, {'AWS:x': ''}),
        {f'k{number}': '' for number in range(51)},
    ],
)
def test_tags_that_cannot_be_are_refused(sqs: Sqs, tags: dict[str, str]) -> None:
    url = sqs.queue()

    with refused('InvalidParameterValue'):
        sqs.tag_queue(QueueUrl=url, Tags=tags)
    with refused('InvalidParameterValue'):
        sqs.client.create_queue(QueueName='other', tags=tags)


def test_fifty_tags_with_the_longest_names_and_values_are_kept(sqs: Sqs) -> None:
    tags = {f'{number:0128}': 'ü' * 256 for number in range(50)}
    url = sqs.client.create_queue(QueueName='jobs', tags=tags)['QueueUrl']

    assert sqs.list_queue_tags(QueueUrl=url)['Tags'] == tags


@pytest.mark.parametrize(
    ('operation', 'members'),
    [
        ('DeleteQueue', {}),
        ('GetQueueAttributes', {'AttributeNames': ['All']}),
        ('SetQueueAttributes', {'Attributes': {'DelaySeconds': '1'}}),
        ('PurgeQueue', {}),
        ('TagQueue', {'Tags': {'a': 'b'}}),
        ('UntagQueue', {'TagKeys': ['a']}),
        ('ListQueueTags', {}),
        ('ListDeadLetterSourceQueues', {}),
    ],
)
def test_a_queue_that_is_not_there_is_told(
    sqs: Sqs, operation: str, members: dict[str, Any]
) -> None:
    for url in (f'http://{HOST}/{account()}/none', 'none'):
        response = sqs.call(operation, {'QueueUrl': url, **members})
        assert refusal(response) == (
            400,
            'QueueDoesNotExist',
            'AWS.SimpleQueueService.NonExistentQueue',
        )
    assert refusal(sqs.call(operation, members))[2] == 'MissingParameter'


@pytest.mark.parametrize('operation', ['AddPermission', 'RemovePermission'])
def test_permissions_are_refused_by_name(sqs: Sqs, operation: str) -> None:
    response = sqs.call(operation, {'QueueUrl': sqs.queue(), 'Label': 'x'})

    assert refusal(response) == (
        400,
        'UnsupportedOperation',
        'AWS.SimpleQueueService.UnsupportedOperation',
    )
