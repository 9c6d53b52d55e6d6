"""Attributes of messages, their digests, and what clients ask for."""

import json
from collections.abc import Mapping
from hashlib import md5
from typing import Any

import pytest

from marconi_api.controllers.sqs import digests, message_attributes
from tests.controllers.sqs.client import Sqs, json_of, refused

HELLO = {'DataType': 'String', 'StringValue': 'There'}


def text(value: str, data_type: str = 'String') -> dict[str, Any]:
    return {'DataType': data_type, 'StringValue': value}


def binary(value: bytes, data_type: str = 'Binary') -> dict[str, Any]:
    return {'DataType': data_type, 'BinaryValue': value}


KENOBI = {'General': text('Kenobi'), 'Hello': text('There'), 'Help.Me': text('Me')}
NUMBER = text('4563442423554324324264524243.32543234', 'Number.float')
ATTRIB = {'attribName1': text('attribValue 1')}
FLOAT = {'customNumberTypeAttrib': NUMBER}
BINARY = {'binaryAttribute': binary(b'Hello binary world!')}
TRACE = b'traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01'
# In the order of the digest: A, a, bin, num, z.
MANY = {
    'z': text('zulu'),
    'A': text('Alpha'),
    'a': text('alpha'),
    'num': text('-7', 'Number'),
    'bin': binary(bytes(range(256))),
}
LABELS = {
    't': text('ünï', 'String.Custom'),
    'f': text('1e3', 'Number.float'),
    'g': binary(b'GIF89a', 'Binary.gif'),
}

#: Digests that clients were seen to expect, or that were computed by hand.
VECTORS = [
    ({'MyAttribute': text('foobar')}, 'adb59cd4678ea5a855436b949cd07ab6'),
    (KENOBI, '4c360f3fdafd970e05fae2f149d997f5'),
    ({'attr1': binary(TRACE)}, '8cbe4db156db8a94db8b801b7addb984'),
    (ATTRIB, '19e27d4e946b072f3f58da80d94fd778'),
    (FLOAT, '9fe1b90bbd9965bdf77bac517c7d2495'),
    (BINARY, '31a92b15d92f8db860eda32aceb656c3'),
    (ATTRIB | FLOAT | BINARY, 'c932db14a896c663f83c260297d594ff'),
    ({'n': text('42.50', 'Number')}, '74d10022cf9b327d24d17173e525996d'),
    ({'b': binary(b'\x00\x01\xff')}, '35842bdf855d374207ff397bc05e1ca4'),
    (LABELS, '1896c723919756800574d078bb1bf013'),
    (MANY, 'e0d9e4f3c5db051cc73dbf4c676cd984'),
]


@pytest.fixture
def url(sqs: Sqs) -> str:
    return sqs.queue()


@pytest.mark.parametrize(('attributes', 'digest'), VECTORS)
def test_attributes_have_the_digest_that_clients_expect_when_sent_and_received(
    sqs: Sqs, url: str, attributes: Mapping[str, Any], digest: str
) -> None:
    sent = sqs.send(url, MessageAttributes=attributes)

    message = sqs.receive_one(url)

    assert sent['MD5OfMessageAttributes'] == message['MD5OfMessageAttributes'] == digest
    assert message['MessageAttributes'] == attributes


def test_what_is_digested_has_its_lengths_before_it() -> None:
    name, kind, value = '4d79417474726962757465', '537472696e67', '666f6f626172'
    content = bytes.fromhex(f'0000000b{name}00000006{kind}0100000006{value}')
    attribute = message_attributes.Attribute('String', b'foobar')

    assert digests.of_attributes({'MyAttribute': attribute}) == md5(content).hexdigest()


@pytest.mark.parametrize(
    ('body', 'digest'),
    [
        ('hello', '5d41402abc4b2a76b9719d911017c592'),
        ('grüße 🐇 漢字', '9dd20f0eb401797f7dcedf497983f16a'),
        ('a\r\nb\tc', '3139fd558575b7aa3961b209edfeea0f'),
    ],
)
def test_a_body_has_the_digest_that_clients_expect(body: str, digest: str) -> None:
    assert digests.of_body(body) == digest


def test_a_trace_header_has_the_digest_that_clients_expect(sqs: Sqs, url: str) -> None:
    header = 'Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1'

    sent = sqs.send(url, MessageSystemAttributes={'AWSTraceHeader': text(header)})

    assert sent['MD5OfMessageSystemAttributes'] == '5f48eef650c1d0207456969c85af2fdd'
    assert sqs.receive_one(url)['Attributes']['AWSTraceHeader'] == header


def test_a_digest_covers_the_attributes_that_are_returned(sqs: Sqs, url: str) -> None:
    sqs.send(url, MessageAttributes=KENOBI)

    message = sqs.receive_one(url, MessageAttributeNames=['Hello', 'General', 'none'])

    assert message['MessageAttributes'].keys() == {'Hello', 'General'}
    assert message['MD5OfMessageAttributes'] == 'fca026605781cb4126a1e9044df24232'


@pytest.mark.parametrize(
    ('asked', 'returned'),
    [
        (['All'], {'General', 'Hello', 'Help.Me'}),
        (['.*'], {'General', 'Hello', 'Help.Me'}),
        (['*'], {'General', 'Hello', 'Help.Me'}),
        (['Help.*'], {'Help.Me'}),
        (['Hel.*'], {'Hello', 'Help.Me'}),
        (['Hello', 'Help.*'], {'Hello', 'Help.Me'}),
        (['hello'], set()),
        ([], set()),
    ],
)
def test_a_client_gets_the_attributes_that_it_asks_for(
    sqs: Sqs, url: str, asked: list[str], returned: set[str]
) -> None:
    sqs.send(url, MessageAttributes=KENOBI)

    message = sqs.receive_one(url, MessageAttributeNames=asked)

    assert message.get('MessageAttributes', {}).keys() == returned
    assert ('MD5OfMessageAttributes' in message) == bool(returned)


def test_a_message_without_attributes_has_no_digest_of_them(sqs: Sqs, url: str) -> None:
    sent = sqs.send(url)

    message = sqs.receive_one(url)

    assert 'MD5OfMessageAttributes' not in sent
    assert 'MD5OfMessageSystemAttributes' not in sent
    assert message.keys() == {'MessageId', 'ReceiptHandle', 'MD5OfBody', 'Body', 'Attributes'}


def test_ten_attributes_may_be_sent_and_no_more(sqs: Sqs, url: str) -> None:
    ten = {f'n{number}': text('x') for number in range(10)}

    sqs.send(url, MessageAttributes=ten)
    with refused('InvalidParameterValue'):
        sqs.send(url, MessageAttributes={**ten, 'n10': text('x')})


@pytest.mark.parametrize('name', ['a', 'A-b_c.9', 'x' * 256, 'AmazonX', 'AWSx'])
def test_a_name_of_these_characters_is_taken(sqs: Sqs, url: str, name: str) -> None:
    sqs.send(url, MessageAttributes={name: text('x')})

    assert sqs.receive_one(url)['MessageAttributes'].keys() == {name}


@pytest.mark.parametrize(
    'name',
    [
        *('', 'x' * 257, '.a', 'a.', 'a..b', 'a b', 'ü', 'a/b', 'AWS.a', 'aws.a', 'Amazon.a'),
        'AMAZON.x',
    ],
)
def test_another_name_is_refused(sqs: Sqs, url: str, name: str) -> None:
    with refused('InvalidParameterValue'):
        sqs.send(url, MessageAttributes={name: text('x')})


@pytest.mark.parametrize(
    'value',
    [
        text('x', 'Text'),
        text('x', ''),
        text('x', 'string'),
        text('x', 'String.' + 'x' * 250),
        text(''),
        text('x', 'Binary'),
        text('a\x00b'),
        binary(b''),
        binary(b'x', 'String'),
        {**text('x'), 'BinaryValue': b'x'},
        {**text('x'), 'StringListValues': ['x']},
        {**text('x'), 'BinaryListValues': [b'x']},
        {'DataType': 'String'},
        text('x', 'Number'),
        text('1.2.3', 'Number'),
        text('', 'Number'),
        text('1' * 39, 'Number'),
        text('٣', 'Number'),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused(
    sqs: Sqs, url: str, value: dict[str, Any]
) -> None:
    with refused('InvalidParameterValue'):
        sqs.send(url, MessageAttributes={'name': value})


@pytest.mark.parametrize('number', ['0', '-7', '+1.50', '.5', '5.', '1e3', '-1.5E-10', '1' * 38])
def test_a_number_is_returned_as_it_was_sent(sqs: Sqs, url: str, number: str) -> None:
    sqs.send(url, MessageAttributes={'n': text(number, 'Number')})

    assert sqs.receive_one(url)['MessageAttributes']['n']['StringValue'] == number


def test_a_binary_value_that_is_not_base64_is_refused(sqs: Sqs, url: str) -> None:
    attribute = {'DataType': 'Binary', 'BinaryValue': 'ü'}

    response = sqs.call(
        'SendMessage',
        {'QueueUrl': url, 'MessageBody': 'x', 'MessageAttributes': {'b': attribute}},
    )

    assert json_of(response)['__type'].endswith('#InvalidParameterValueException')


def test_system_attributes_are_strings_with_times_in_milliseconds(sqs: Sqs, url: str) -> None:
    sqs.send(url)

    told = sqs.receive_one(url)['Attributes']

    assert told.keys() == {
        *('SenderId', 'SentTimestamp', 'ApproximateReceiveCount'),
        'ApproximateFirstReceiveTimestamp',
    }
    assert told['SenderId']
    sent, received = int(told['SentTimestamp']), int(told['ApproximateFirstReceiveTimestamp'])
    assert 1e12 < sent <= received < sent + 60_000


def test_the_time_of_the_first_receive_stays(sqs: Sqs, url: str, age: Any) -> None:
    sqs.send(url)
    sqs.receive_one(url, VisibilityTimeout=10)
    age(100)

    told = sqs.receive_one(url)['Attributes']

    first, sent = int(told['ApproximateFirstReceiveTimestamp']), int(told['SentTimestamp'])
    assert first - sent < 60_000


@pytest.mark.parametrize(
    ('members', 'told'),
    [
        ({'AttributeNames': []}, None),
        ({'AttributeNames': ['SenderId']}, {'SenderId'}),
        ({'AttributeNames': ['SenderId', 'AWSTraceHeader']}, {'SenderId'}),
        ({'MessageSystemAttributeNames': ['SentTimestamp']}, {'SentTimestamp'}),
        (
            {'AttributeNames': ['SenderId'], 'MessageSystemAttributeNames': ['SentTimestamp']},
            {'SentTimestamp'},
        ),
    ],
)
def test_a_client_gets_the_system_attributes_that_it_asks_for(
    sqs: Sqs, url: str, members: dict[str, Any], told: set[str] | None
) -> None:
    sqs.send(url)

    message = sqs.receive_one(url, **members)

    assert (set(message['Attributes']) if 'Attributes' in message else None) == told


def test_only_a_trace_is_taken_as_a_system_attribute(sqs: Sqs, url: str) -> None:
    for attribute in ({'SenderId': text('x')}, {'AWSTraceHeader': text('1', 'Number')}):
        response = sqs.call(
            'SendMessage',
            {'QueueUrl': url, 'MessageBody': 'x', 'MessageSystemAttributes': attribute},
        )
        assert json_of(response)['__type'].endswith('#InvalidParameterValueException')


WHOLE = 'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1'


def test_a_whole_trace_header_is_the_traceparent_of_other_doors(
    sqs: Sqs, url: str, sql: Any
) -> None:
    sqs.send(url, MessageSystemAttributes={'AWSTraceHeader': text(WHOLE)})

    [(traceparent, beside)] = sql('SELECT traceparent, message_attributes FROM messages')

    assert traceparent == '00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01'
    assert beside is None
    assert sqs.receive_one(url)['Attributes']['AWSTraceHeader'] == WHOLE


def test_the_trace_of_the_request_is_that_of_a_message_without_one(sqs: Sqs, url: str) -> None:
    trace = {'X-Amzn-Trace-Id': 'Root=1-5759e988-bd862e3fe1be46a994272793'}

    sqs.call('SendMessage', {'QueueUrl': url, 'MessageBody': 'x'}, headers=trace)

    told = sqs.receive_one(url)['Attributes']['AWSTraceHeader']
    assert told == 'Root=1-5759e988-bd862e3fe1be46a994272793'


def test_messages_of_a_batch_keep_traces_of_their_own(sqs: Sqs, url: str) -> None:
    other = WHOLE.replace('5759e988', '5759e989')
    traces = {'a': WHOLE, 'b': other, 'c': 'Root=1'}
    entries = [
        {
            'Id': name,
            'MessageBody': name,
            'MessageSystemAttributes': {'AWSTraceHeader': text(trace)},
        }
        for name, trace in traces.items()
    ]

    sqs.send_message_batch(QueueUrl=url, Entries=[*entries, {'Id': 'd', 'MessageBody': 'd'}])

    told = {
        message['Body']: message['Attributes'].get('AWSTraceHeader') for message in sqs.receive(url)
    }
    assert told == {**traces, 'd': None}


def test_what_is_stored_beside_the_body_is_readable(sqs: Sqs, url: str, sql: Any) -> None:
    sqs.send(url, MessageAttributes={'n': text('1', 'Number')})

    [(beside,)] = sql('SELECT message_attributes FROM messages')

    assert json.loads(beside) == {'attributes': {'n': {'DataType': 'Number', 'StringValue': '1'}}}
