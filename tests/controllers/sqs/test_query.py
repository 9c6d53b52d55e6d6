"""The query protocol: forms, and XML (docs/sqs.md)."""

from hashlib import md5
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest
from webtest import TestResponse

from marconi_api.controllers.sqs.query import NAMESPACE
from tests.controllers.sqs.client import PROJECT, Sqs

FORM = {'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8'}


class Query:
    """A client that writes forms, for a project that a proxy names."""

    def __init__(self, sqs: Sqs) -> None:
        self.api = sqs.api

    def post(self, action: str, path: str = '/', **members: Any) -> TestResponse:
        form = {'Action': action, 'Version': '2012-11-05', **members} if action else members
        return self.send(urlencode(form), path)

    def send(self, body: str | bytes, path: str = '/') -> TestResponse:
        return self.api.post(path, body, headers={**FORM, 'X-Project-Id': PROJECT})

    def __call__(self, action: str, path: str = '/', **members: Any) -> Any:
        """The result of an operation that succeeds, None for one without a result."""
        response = self.post(action, path, **members)
        root = xml_of(response, f'{action}Response')
        assert response.status_int == 200, response.text
        assert root.findtext('ResponseMetadata/RequestId')
        assert len(root) == 1 or [one.tag for one in root] == [
            f'{action}Result',
            'ResponseMetadata',
        ]
        return root.find(f'{action}Result')

    def queue(self, name: str = 'jobs') -> str:
        """The path of a new queue."""
        url: str = self('CreateQueue', QueueName=name).findtext('QueueUrl')
        return urlsplit(url).path


def xml_of(response: TestResponse, root: str) -> Any:
    """The document of an answer, whose elements all have the namespace of SQS, without that."""
    assert response.headers['Content-Type'] == 'text/xml'
    document = ElementTree.fromstring(response.body)
    for element in document.iter():
        namespace, _, element.tag = element.tag.partition('}')
        assert namespace == f'{{{NAMESPACE}'
    assert document.tag == root, response.text
    return document


def refusal(response: TestResponse) -> tuple[int, str | None, str | None]:
    """The status, whose mistake it was, and the code of an error."""
    document = xml_of(response, 'ErrorResponse')
    assert [one.tag for one in document] == ['Error', 'RequestId']
    assert [one.tag for one in document[0]] == ['Type', 'Code', 'Message', 'Detail']
    assert document.findtext('Error/Message')
    return (
        response.status_int,
        document.findtext('Error/Type'),
        document.findtext('Error/Code'),
    )


@pytest.fixture
def query(sqs: Sqs) -> Query:
    return Query(sqs)


def pairs(element: Any, name: str, key: str = 'Name') -> dict[str, str]:
    return {one.findtext(key): one.findtext('Value') for one in element.findall(name)}


def test_a_message_is_sent_received_and_deleted_at_the_url_of_its_queue(query: Query) -> None:
    path = query.queue()
    sent = query('SendMessage', path, MessageBody='<grüße> & 🐇')

    received = query('ReceiveMessage', path, **{'AttributeName.1': 'All'})

    [message] = received.findall('Message')
    assert message.findtext('Body') == '<grüße> & 🐇'
    assert message.findtext('MessageId') == sent.findtext('MessageId')
    assert message.findtext('MD5OfBody') == md5('<grüße> & 🐇'.encode()).hexdigest()
    assert pairs(message, 'Attribute')['ApproximateReceiveCount'] == '1'
    handle = message.findtext('ReceiptHandle')
    assert query('DeleteMessage', path, ReceiptHandle=handle) is None
    assert len(query('ReceiveMessage', path, VisibilityTimeout='0')) == 0


def test_the_url_of_the_queue_may_be_a_member(query: Query) -> None:
    path = query.queue()
    url = f'http://elsewhere{path}'

    query('SendMessage', QueueUrl=url, MessageBody='x')

    told = query('GetQueueAttributes', QueueUrl=url, **{'AttributeName.1': 'All'})
    assert pairs(told, 'Attribute')['ApproximateNumberOfMessages'] == '1'
    assert query('GetQueueUrl', QueueName='jobs').findtext('QueueUrl').endswith(path)
    assert len(query('ListQueues').findall('QueueUrl')) == 1


def test_ends_of_lines_arrive_as_they_were_sent(query: Query) -> None:
    path = query.queue()
    query('SendMessage', path, MessageBody='a\r\nb\tc\rd')

    assert query('ReceiveMessage', path).findtext('Message/Body') == 'a\r\nb\tc\rd'


def test_what_xml_cannot_hold_is_replaced(query: Query, sqs: Sqs) -> None:
    path = query.queue()
    headers = {'X-Project-Id': PROJECT, 'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c'}
    document = {'messages': [{'body': 'a\x00b', 'ttl': 60}]}
    sqs.api.post('/v2/queues/jobs/messages', document, headers=headers)

    assert query('ReceiveMessage', path).findtext('Message/Body') == 'a\ufffdb'


def test_attributes_of_a_message_have_numbered_names(query: Query) -> None:
    path = query.queue()
    attributes = {
        'MessageAttribute.1.Name': 'MyAttribute',
        'MessageAttribute.1.Value.DataType': 'String',
        'MessageAttribute.1.Value.StringValue': 'foobar',
        'MessageAttribute.2.Name': 'bytes',
        'MessageAttribute.2.Value.DataType': 'Binary',
        'MessageAttribute.2.Value.BinaryValue': 'AAH/',
    }
    sent = query('SendMessage', path, MessageBody='x', **attributes)

    asked = {'MessageAttributeName.1': 'All', 'VisibilityTimeout': '0'}
    [message] = query('ReceiveMessage', path, **asked)
    [one] = query('ReceiveMessage', path, **{'MessageAttributeName.1': 'MyAttribute'})

    assert message.findtext('MD5OfMessageAttributes') == sent.findtext('MD5OfMessageAttributes')
    found = {
        attribute.findtext('Name'): [(part.tag, part.text) for part in attribute.find('Value')]
        for attribute in message.findall('MessageAttribute')
    }
    assert found == {
        'MyAttribute': [('StringValue', 'foobar'), ('DataType', 'String')],
        'bytes': [('BinaryValue', 'AAH/'), ('DataType', 'Binary')],
    }
    assert one.findtext('MD5OfMessageAttributes') == 'adb59cd4678ea5a855436b949cd07ab6'


def test_batches_answer_each_entry(query: Query) -> None:
    path = query.queue()
    entries = {}
    for number in range(1, 11):
        entries[f'SendMessageBatchRequestEntry.{number}.Id'] = f'id{number}'
        entries[f'SendMessageBatchRequestEntry.{number}.MessageBody'] = f'body {number}'
    entries['SendMessageBatchRequestEntry.3.DelaySeconds'] = '901'
    sent = query('SendMessageBatch', path, **entries)

    ids = [one.findtext('Id') for one in sent.findall('SendMessageBatchResultEntry')]
    assert ids == ['id1', 'id2', *(f'id{number}' for number in range(4, 11))]
    [failed] = sent.findall('BatchResultErrorEntry')
    assert [(part.tag, part.text) for part in failed][:2] == [
        ('Id', 'id3'),
        ('SenderFault', 'true'),
    ]
    messages = query('ReceiveMessage', path, MaxNumberOfMessages='10').findall('Message')
    handles = [message.findtext('ReceiptHandle') for message in messages]
    hidden: dict[str, Any] = {}
    deleted: dict[str, Any] = {}
    for number, handle in enumerate(handles, 1):
        of_entry = f'ChangeMessageVisibilityBatchRequestEntry.{number}'
        hidden |= {
            f'{of_entry}.Id': number,
            f'{of_entry}.ReceiptHandle': handle,
            f'{of_entry}.VisibilityTimeout': 60,
        }
        of_entry = f'DeleteMessageBatchRequestEntry.{number}'
        deleted |= {f'{of_entry}.Id': number, f'{of_entry}.ReceiptHandle': handle}
    done = query('ChangeMessageVisibilityBatch', path, **hidden)
    assert len(done.findall('ChangeMessageVisibilityBatchResultEntry')) == 9
    done = query('DeleteMessageBatch', path, **deleted)
    assert len(done.findall('DeleteMessageBatchResultEntry')) == 9


def test_attributes_and_tags_of_a_queue_have_numbered_names(query: Query) -> None:
    members = {
        'Attribute.1.Name': 'DelaySeconds',
        'Attribute.1.Value': '5',
        'Tag.1.Key': 'team',
        'Tag.1.Value': 'a',
    }
    created = query('CreateQueue', QueueName='jobs', **members)
    path = urlsplit(created.findtext('QueueUrl')).path
    names = {'AttributeName.1': 'DelaySeconds', 'AttributeName.2': 'VisibilityTimeout'}
    assert pairs(query('GetQueueAttributes', path, **names), 'Attribute') == {
        'DelaySeconds': '5',
        'VisibilityTimeout': '30',
    }

    changed = {'Attribute.1.Name': 'DelaySeconds', 'Attribute.1.Value': '0'}
    assert query('SetQueueAttributes', path, **changed) is None
    more = {'Tag.1.Key': 'cost', 'Tag.1.Value': 'b'}
    assert query('TagQueue', path, **more) is None
    assert query('UntagQueue', path, **{'TagKey.1': 'team'}) is None

    assert pairs(query('ListQueueTags', path), 'Tag', 'Key') == {'cost': 'b'}
    told = query('GetQueueAttributes', path, **{'AttributeName.1': 'DelaySeconds'})
    assert pairs(told, 'Attribute') == {'DelaySeconds': '0'}
    assert query('PurgeQueue', path) is None
    assert query('DeleteQueue', path) is None


def test_a_request_may_be_the_query_of_a_url(query: Query, sqs: Sqs) -> None:
    path = query.queue()
    form = urlencode({'Action': 'SendMessage', 'MessageBody': 'grüße & so'})

    response = sqs.api.get(f'{path}?{form}', headers={'X-Project-Id': PROJECT})

    assert xml_of(response, 'SendMessageResponse') is not None
    assert query('ReceiveMessage', path).findtext('Message/Body') == 'grüße & so'


def test_both_protocols_have_the_same_messages(query: Query, sqs: Sqs) -> None:
    path = query.queue()
    query('SendMessage', path, MessageBody='x')

    assert sqs.receive_one(f'http://elsewhere{path}')['Body'] == 'x'


@pytest.mark.parametrize(
    ('action', 'members', 'code'),
    [
        ('GetQueueUrl', {'QueueName': 'none'}, 'AWS.SimpleQueueService.NonExistentQueue'),
        ('CreateQueue', {}, 'MissingParameter'),
        ('CreateQueue', {'QueueName': 'a b'}, 'InvalidParameterValue'),
        (
            'CreateQueue',
            {'QueueName': 'q', 'Attribute.1.Name': 'Size', 'Attribute.1.Value': '1'},
            'InvalidAttributeName',
        ),
        ('AddPermission', {'Label': 'x'}, 'AWS.SimpleQueueService.UnsupportedOperation'),
        ('SendMessages', {}, 'InvalidAction'),
        ('', {'Version': '2012-11-05'}, 'InvalidAction'),
        ('ListQueues', {'MaxResults': 'many'}, 'MalformedInput'),
        ('CreateQueue', {'QueueName.1': 'x'}, 'MalformedInput'),
        ('ListQueues', {'A': '1', 'A.1': '2'}, 'MalformedInput'),
        ('ListQueues', {'A.1': '1', 'A': '2'}, 'MalformedInput'),
        ('CreateQueue', {'QueueName': 'q', 'Attribute.x.Name': 'y'}, 'MalformedInput'),
        ('CreateQueue', {'QueueName': 'q', 'Attribute.1.Value': 'y'}, 'MalformedInput'),
        ('CreateQueue', {'QueueName': 'q', 'Attribute': 'y'}, 'MalformedInput'),
    ],
)
def test_what_cannot_be_done_is_an_error_with_a_code(
    query: Query, action: str, members: dict[str, str], code: str
) -> None:
    assert refusal(query.post(action, **members)) == (400, 'Sender', code)


@pytest.mark.parametrize(
    'body',
    [
        b'Action=ListQueues&QueueNamePrefix=%ff',
        b'Action=ListQueues&QueueNamePrefix=\xff',
        b'Action=ListQueues' + b'&a=1' * 5000,
    ],
)
def test_a_body_that_is_not_a_form_of_ours_is_refused(query: Query, body: bytes) -> None:
    assert refusal(query.send(body)) == (400, 'Sender', 'MalformedInput')


def test_a_name_of_many_parts_is_ignored(query: Query) -> None:
    assert len(query('ListQueues', **{'a.' * 5000: '1'})) == 0


def test_the_missing_queue_is_told_in_the_words_of_this_protocol(query: Query) -> None:
    document = xml_of(query.post('GetQueueUrl', QueueName='none'), 'ErrorResponse')

    assert document.findtext('Error/Message') == (
        'The specified queue does not exist for this wsdl version.'
    )


def test_who_does_not_sign_is_refused_in_the_form_of_this_protocol(sqs: Sqs) -> None:
    response = sqs.api.post('/', 'Action=ListQueues', headers=FORM)

    assert refusal(response) == (403, 'Sender', 'MissingAuthenticationToken')


def test_a_form_for_another_path_is_not_of_this_protocol(sqs: Sqs) -> None:
    headers = {**FORM, 'X-Project-Id': PROJECT}

    assert sqs.api.post('/v1/queues', 'Action=ListQueues', headers=headers).status_int == 405
    assert sqs.api.get('/', headers={'X-Project-Id': PROJECT}).status_int == 300


# ---------------------------------------------------------------- FIFO queues

TEN = {'MaxNumberOfMessages': '10'}


def fifo_queue(query: Query, name: str = 'jobs.fifo', **attributes: str) -> str:
    """The path of a new FIFO queue."""
    members: dict[str, str] = {}
    for number, (attribute, value) in enumerate({'FifoQueue': 'true', **attributes}.items(), 1):
        members |= {f'Attribute.{number}.Name': attribute, f'Attribute.{number}.Value': value}
    url: str = query('CreateQueue', QueueName=name, **members).findtext('QueueUrl')
    return urlsplit(url).path


def test_a_message_of_a_fifo_queue_tells_its_group_its_id_and_its_number(query: Query) -> None:
    path = fifo_queue(query)
    members = {'MessageGroupId': 'g&<1>', 'MessageDeduplicationId': 'd-1'}
    sent = query('SendMessage', path, MessageBody='x', **members)

    received = query('ReceiveMessage', path, **{'AttributeName.1': 'All'})

    told = pairs(received.find('Message'), 'Attribute')
    assert told['MessageGroupId'] == 'g&<1>'
    assert told['MessageDeduplicationId'] == 'd-1'
    assert told['SequenceNumber'] == sent.findtext('SequenceNumber')
    assert len(told['SequenceNumber']) == 20


def test_a_group_is_received_in_order_and_goes_on_once_its_first_message_is_deleted(
    query: Query,
) -> None:
    path = fifo_queue(query, ContentBasedDeduplication='true')
    for body in ('1', '2'):
        query('SendMessage', path, MessageBody=body, MessageGroupId='a')
    first = query('ReceiveMessage', path).find('Message')
    assert first.findtext('Body') == '1'
    assert len(query('ReceiveMessage', path)) == 0

    query('DeleteMessage', path, ReceiptHandle=first.findtext('ReceiptHandle'))

    assert query('ReceiveMessage', path).findtext('Message/Body') == '2'


def test_a_duplicate_is_answered_with_the_first_message(query: Query) -> None:
    path = fifo_queue(query)
    members = {'MessageGroupId': 'a', 'MessageDeduplicationId': 'd'}

    first, second = (
        query('SendMessage', path, MessageBody=body, **members) for body in ('one', 'two')
    )

    for name in ('MessageId', 'SequenceNumber'):
        assert second.findtext(name) == first.findtext(name)
    assert second.findtext('MD5OfMessageBody') == md5(b'two').hexdigest()
    assert len(query('ReceiveMessage', path, MaxNumberOfMessages='10')) == 1


def test_messages_of_a_batch_have_groups_and_ids(query: Query) -> None:
    path = fifo_queue(query)
    entries: dict[str, str] = {}
    for number in (1, 2, 3):
        entry = f'SendMessageBatchRequestEntry.{number}'
        entries |= {
            f'{entry}.Id': f'id{number}',
            f'{entry}.MessageBody': str(number),
            f'{entry}.MessageGroupId': 'a',
            f'{entry}.MessageDeduplicationId': f'd{number}',
        }
    sent = query('SendMessageBatch', path, **entries).findall('SendMessageBatchResultEntry')

    received = query('ReceiveMessage', path, **{'AttributeName.1': 'SequenceNumber'}, **TEN)

    numbers = [pairs(one, 'Attribute')['SequenceNumber'] for one in received.findall('Message')]
    assert numbers == [one.findtext('SequenceNumber') for one in sent] == sorted(numbers)
    del entries['SendMessageBatchRequestEntry.2.MessageGroupId']
    assert refusal(query.post('SendMessageBatch', path, **entries)) == (
        400,
        'Sender',
        'InvalidParameterValue',
    )


def test_the_same_attempt_gets_the_same_receipts(query: Query) -> None:
    path = fifo_queue(query, ContentBasedDeduplication='true')
    for body in ('1', '2'):
        query('SendMessage', path, MessageBody=body, MessageGroupId='a')

    first, again = (
        query('ReceiveMessage', path, ReceiveRequestAttemptId='try', **TEN).findall('Message')
        for _ in range(2)
    )

    assert [one.findtext('Body') for one in again] == ['1', '2']
    handles = [one.findtext('ReceiptHandle') for one in again]
    assert handles == [one.findtext('ReceiptHandle') for one in first]
    assert len(query('ReceiveMessage', path, ReceiveRequestAttemptId='other')) == 0


@pytest.mark.parametrize(
    ('members', 'code'),
    [
        ({}, 'MissingParameter'),
        ({'MessageGroupId': 'a'}, 'InvalidParameterValue'),
        ({'MessageGroupId': 'a b', 'MessageDeduplicationId': 'd'}, 'InvalidParameterValue'),
        ({'MessageGroupId': 'a', 'MessageDeduplicationId': ''}, 'InvalidParameterValue'),
        (
            {'MessageGroupId': 'a', 'MessageDeduplicationId': 'd', 'DelaySeconds': '1'},
            'InvalidParameterValue',
        ),
    ],
)
def test_a_message_that_a_fifo_queue_does_not_take_is_refused(
    query: Query, members: dict[str, str], code: str
) -> None:
    response = query.post('SendMessage', fifo_queue(query), MessageBody='x', **members)

    assert refusal(response) == (400, 'Sender', code)


def test_an_outdated_receipt_of_a_fifo_queue_is_refused(query: Query, age: Any) -> None:
    path = fifo_queue(query, ContentBasedDeduplication='true')
    query('SendMessage', path, MessageBody='x', MessageGroupId='a')
    handle = query('ReceiveMessage', path, VisibilityTimeout='10').findtext('Message/ReceiptHandle')
    age(11)

    response = query.post('DeleteMessage', path, ReceiptHandle=handle)

    assert refusal(response) == (400, 'Sender', 'InvalidParameterValue')


# ---------------------------------------------------------------- moves, and what else there is


def test_dead_letters_are_moved_back_and_the_move_is_listed(query: Query) -> None:
    dead = query.queue('dead')
    arn = pairs(query('GetQueueAttributes', dead, **{'AttributeName.1': 'QueueArn'}), 'Attribute')
    policy = f'{{"deadLetterTargetArn": "{arn["QueueArn"]}", "maxReceiveCount": "1"}}'
    members = {'Attribute.1.Name': 'RedrivePolicy', 'Attribute.1.Value': policy}
    url = query('CreateQueue', QueueName='jobs', **members).findtext('QueueUrl')
    path = urlsplit(url).path
    query('SendMessage', path, MessageBody='x')
    for _ in range(2):
        query('ReceiveMessage', path, VisibilityTimeout='0')

    sources = query('ListDeadLetterSourceQueues', dead)
    started = query('StartMessageMoveTask', SourceArn=arn['QueueArn'])
    listed = query('ListMessageMoveTasks', SourceArn=arn['QueueArn'], MaxResults='10')

    assert [one.text for one in sources.findall('QueueUrl')] == [url]
    [task] = listed.findall('ListMessageMoveTasksResultEntry')
    assert task.findtext('Status') == 'COMPLETED'
    assert task.findtext('ApproximateNumberOfMessagesMoved') == '1'
    assert query('ReceiveMessage', path).findtext('Message/Body') == 'x'
    response = query.post('CancelMessageMoveTask', TaskHandle=started.findtext('TaskHandle'))
    assert refusal(response) == (400, 'Sender', 'InvalidParameterValue')


def test_a_trace_is_a_system_attribute_with_a_number(query: Query) -> None:
    path = query.queue()
    header = 'Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1'
    attribute = {
        'MessageSystemAttribute.1.Name': 'AWSTraceHeader',
        'MessageSystemAttribute.1.Value.DataType': 'String',
        'MessageSystemAttribute.1.Value.StringValue': header,
    }

    sent = query('SendMessage', path, MessageBody='x', **attribute)

    assert sent.findtext('MD5OfMessageSystemAttributes') == '5f48eef650c1d0207456969c85af2fdd'
    received = query('ReceiveMessage', path, **{'AttributeName.1': 'AWSTraceHeader'})
    assert pairs(received.find('Message'), 'Attribute') == {'AWSTraceHeader': header}
