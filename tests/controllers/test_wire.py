"""How queries and bodies are read, and that bodies come back as sent.

See docs/protocol-v1.md, 1.4 to 1.7.
"""

import json
from typing import Any

import pytest

from .client import CLIENT_ID, NO_CLAIM, QUEUE, Api, is_empty, refusal

BODY_REFUSED = (400, 'Invalid request body')
OUT_OF_RANGE = (400, 'Invalid API request')
NOT_THE_TYPE = (400, 'Invalid parameter')

MOST_IN_A_POST = 262144
MOST_METADATA = 65536


def padded(document: str, size: int) -> str:
    """The document with spaces before its last character, ``size`` bytes in all."""
    return document[:-1] + ' ' * (size - len(document.encode())) + document[-1]


# ---------------------------------------------------------------- bodies come back as sent

AS_SENT = {
    'null': 'null',
    'true': 'true',
    'false': 'false',
    'zero': '0',
    'minus-zero': '-0',
    'one': '1',
    'empty-string': '""',
    'empty-list': '[]',
    'empty-object': '{}',
    'largest-integer': '9223372036854775807',
    'least-integer': '-9223372036854775808',
    'both-ends': '[9223372036854775807, -9223372036854775808]',
    'trailing-zero': '1.10',
    'exponent': '1e2',
    'signed-exponent': '[1E+2, -1.5e-7]',
    'many-digits': '0.1234567890123456789',
    'many-more-digits': '3.' + '14159265358979323846' * 10,
    'large-float': '12345678901234567890.5',
    'long-digits-in-a-string': '"12345678901234567890123"',
    'beyond-a-double': '1e400',
    'order-of-keys': '{"z": 1, "a": 2, "m": {"y": 1, "b": 2}}',
    'key-twice': '{"a": 1, "a": 2}',
    'empty-key': '{"": 1}',
    'spaces-inside': '{"a":   1 ,\t"b" :\r\n[1,   2 ]}',
    'spaces-in-a-string': '"  two  spaces  "',
    'latin': '"ünïcödé"',
    'chinese': '{"消息": "队列"}',
    'emoji': '"🚀👩‍👩‍👧"',
    'escaped-emoji': '"\\ud83d\\ude80"',
    'escaped-nul': '"a\\u0000b"',
    'escaped-nul-key': '{"\\u0000": 1}',
    'all-escapes': '"\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u00e9 \\u00E9"',
    'slash': '"a/b\\/c"',
    'delete-character': '"\x7f"',
    'line-separators': '"\u2028\u2029\ufeff\ufffe\uffff"',
    'quotes': '"\'; DROP TABLE messages; --"',
    'placeholders': '"%s %(name)s %% $1 :name {0}"',
    'html': '"<script>&amp;</script>"',
    'name-of-a-field': '{"ttl": 1, "body": {"ttl": "x"}}',
    'nested-lists': '[' * 100 + ']' * 100,
    'nested-objects': '{"a":' * 100 + '1' + '}' * 100,
    'long-string': '"' + 'x' * 100_000 + '"',
    'many-members': '{' + ','.join(f'"k{n}": {n}' for n in range(5000)) + '}',
}


@pytest.mark.parametrize('text', AS_SENT.values(), ids=AS_SENT)
def test_the_body_of_a_message_comes_back_byte_for_byte(api: Api, queue: str, text: str) -> None:
    [path] = api.post_text(text).json['resources']
    identity = path.rpartition('/')[2]

    replies = [
        api.get(path),
        api.get(f'{queue}/messages?echo=true', client_id=CLIENT_ID),
        api.get(f'{queue}/messages?ids={identity}'),
        api.post(f'{queue}/claims', {'ttl': 60, 'grace': 60}),
    ]
    replies.append(api.get(replies[-1].headers['Location']))

    for reply in replies:
        assert reply.status_int in (200, 201)
        assert f'"body":{text}'.encode() in reply.body
        json.loads(reply.body)


METADATA_AS_SENT = {
    name: f'{{"it": {text}}}' for name, text in AS_SENT.items() if len(text) < MOST_METADATA - 20
}


@pytest.mark.parametrize('text', METADATA_AS_SENT.values(), ids=METADATA_AS_SENT)
def test_metadata_comes_back_byte_for_byte(api: Api, queue: str, text: str) -> None:
    stored = api.put(f'{queue}/metadata', text)

    assert stored.status_int == 204
    assert api.get(f'{queue}/metadata').body == text.encode()
    assert text.encode() in api.get('/v1/queues?detailed=true').body


def test_a_body_keeps_its_text_whatever_stands_around_it(api: Api, queue: str) -> None:
    document = '\n[ {"body" :  {"a":  1}  , "ttl":60 } ,{"ttl" : 60,"body":"b" }]  \r\n'

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    first, second = response.json['resources']
    assert b'"body":{"a":  1}' in api.get(first).body
    assert b'"body":"b"' in api.get(second).body


def test_a_field_may_be_written_with_escapes(api: Api, queue: str) -> None:
    response = api.post(
        f'{queue}/messages', '[{"\\u0074tl": 60, "\\u0062ody": "x"}]', client_id=CLIENT_ID
    )

    assert response.status_int == 201


def nested(levels: int, text: str = '') -> str:
    return '[' * levels + text + ']' * levels


@pytest.mark.parametrize('levels', [501, 900, 985, 1500, 20_000])
@pytest.mark.parametrize('long_number', ['', '1' * 19])
def test_what_is_nested_more_than_500_levels_deep_is_refused_with_the_limit(
    api: Api, queue: str, levels: int, long_number: str
) -> None:
    # The list of messages and the message are two levels; the metadata is one.
    text = nested(levels - 2, long_number)
    posted = api.post_text(text)
    described = api.put(f'{queue}/metadata', f'{{"a": [{text}]}}')

    for response in posted, described:
        assert refusal(response) == BODY_REFUSED
        assert '500 levels' in response.json['description']
    assert api.get(f'{queue}/metadata').json == {}


def test_what_is_nested_500_levels_deep_is_taken_and_comes_back(api: Api, queue: str) -> None:
    text = nested(498)
    assert api.post_text(text).status_int == 201
    assert api.put(f'{queue}/metadata', f'{{"a": [{text}]}}').status_int == 204

    assert text in api.get(f'{queue}/messages?echo=true', client_id=CLIENT_ID).text
    assert text in api.get(f'{queue}/metadata').text
    assert len(api.claim().messages) == 1


@pytest.mark.parametrize('string', ['[' * 5000, '[\\"' * 2000, '\\\\' * 99 + '{' * 5000])
def test_brackets_in_a_string_are_no_nesting(api: Api, queue: str, string: str) -> None:
    response = api.post_text(f'["{string}", {{}}]')

    assert response.status_int == 201


def test_many_lists_side_by_side_are_no_nesting(api: Api, queue: str) -> None:
    response = api.post_text('[' + '[],{},' * 10_000 + '0]')

    assert response.status_int == 201


@pytest.mark.parametrize('depth', [200, 500, 900, 1500, 5000])
def test_what_is_taken_can_be_given_back_however_deep(api: Api, queue: str, depth: int) -> None:
    text = '[' * depth + ']' * depth

    response = api.post_text(text)

    if response.status_int == 201:
        [path] = response.json['resources']
        assert f'"body":{text}'.encode() in api.get(path).body
    else:
        assert refusal(response) == BODY_REFUSED


# ---------------------------------------------------------------- what is not JSON

NOT_JSON: dict[str, str | bytes] = {
    'bare-word': 'x',
    'nothing-there': '',
    'truncated-list': '[1',
    'truncated-string': '"a',
    'trailing-comma': '[1,]',
    'trailing-comma-in-object': '{"a": 1,}',
    'no-colon': '{"a" 1}',
    'no-comma': '[1 2]',
    'key-no-string': '{1: 2}',
    'single-quotes': "'a'",
    'nan': 'NaN',
    'nan-inside': '{"a": [NaN]}',
    'infinity': 'Infinity',
    'minus-infinity': '-Infinity',
    'python-none': 'None',
    'python-true': 'True',
    'cut-null': 'nul',
    'leading-zero': '01',
    'leading-zero-inside': '[[-01]]',
    'plus': '+1',
    'no-digit-after-point': '1.',
    'no-digit-before-point': '.5',
    'no-exponent': '1e',
    'only-minus': '-',
    'hexadecimal': '0x10',
    'underscore': '1_000',
    'bad-escape': '"\\x41"',
    'bad-escape-inside': '{"a": ["\\q"]}',
    'bad-unicode-escape': '"\\u12g4"',
    'short-unicode-escape': '"\\u12"',
    'newline-in-string': '"a\nb"',
    'tab-in-string': '"a\tb"',
    'nul-in-string': '"a\0b"',
    'nul-in-a-nested-string': '{"a": ["\0"]}',
    'nul-in-key': '{"\0": 1}',
    'escape-character-in-string': '"\x1b"',
    'nul-outside': '1\0',
    'comment': '1 /* one */',
    'bracket-mismatch': '[1}',
    'no-break-space': '\xa01',
    'lone-high-surrogate': '"\\ud800"',
    'lone-low-surrogate': '"\\udc00"',
    'surrogates-reversed': '"\\ude80\\ud83d"',
    'high-surrogate-and-text': '"\\ud83dx"',
    'two-high-surrogates': '"\\ud83d\\ud83d"',
    'lone-surrogate-inside': '{"a": [{"b": "\\udfff"}]}',
    'lone-surrogate-in-key': '{"\\ud800": 1}',
    'latin-1': b'"\xe9"',
    'cut-utf-8': b'"\xe2\x82"',
    'overlong-utf-8': b'"\xc0\xaf"',
    'surrogate-in-utf-8': b'"\xed\xa0\x80"',
    'beyond-unicode': b'"\xf5\x80\x80\x80"',
    'never-utf-8': b'"\xff\xfe"',
    'nesting-without-end': '[' * 100_000,
    'nesting-of-100000-lists': '[' * 100_000 + ']' * 100_000,
    'nesting-of-40000-objects': '{"a":' * 40_000 + '1' + '}' * 40_000,
    'nesting-with-a-long-number': '[' * 100_000 + '1' * 19 + ']' * 100_000,
    'integer-2^63': '9223372036854775808',
    'integer-below-2^63': '-9223372036854775809',
    'integer-2^64': '18446744073709551616',
    'integer-10^19': '10000000000000000000',
    'integer-inside': '{"a": [1, {"b": -9223372036854775809}]}',
    'integer-of-5000-digits': '1' * 5000,
    'integer-of-100000-digits': '[-' + '9' * 100_000 + ']',
    'integer-after-a-long-float': '[1.12345678901234567890, 9223372036854775808]',
    'integer-after-a-string': '["9223372036854775808", 9223372036854775808]',
}


def with_body(text: str | bytes, form: str) -> bytes:
    """A document in which the text stands where JSON is due."""
    content = text.encode() if isinstance(text, str) else text
    before, after = form.encode().split(b'BODY')
    return before + content + after


@pytest.mark.parametrize('text', NOT_JSON.values(), ids=NOT_JSON)
def test_a_message_that_is_not_json_is_refused(api: Api, queue: str, text: str | bytes) -> None:
    document = with_body(text, '[{"ttl": 60, "body": BODY}]')

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert refusal(response) == BODY_REFUSED
    assert api.stats()['total'] == 0


@pytest.mark.parametrize('text', NOT_JSON.values(), ids=NOT_JSON)
def test_a_member_that_nobody_reads_must_be_json_too(
    api: Api, queue: str, text: str | bytes
) -> None:
    document = with_body(text, '[{"ttl": 60, "body": 1, "other": BODY}]')

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert refusal(response) == BODY_REFUSED


@pytest.mark.parametrize(
    'text',
    [text for text in NOT_JSON.values() if len(text) < MOST_METADATA],
    ids=[name for name, text in NOT_JSON.items() if len(text) < MOST_METADATA],
)
def test_metadata_that_is_not_json_is_refused(api: Api, queue: str, text: str | bytes) -> None:
    response = api.put(f'{queue}/metadata', with_body(text, '{"a": BODY}'))

    assert refusal(response) == BODY_REFUSED
    assert api.get(f'{queue}/metadata').json == {}


@pytest.mark.parametrize('text', NOT_JSON.values(), ids=NOT_JSON)
def test_a_claim_that_is_not_json_is_refused(api: Api, queue: str, text: str | bytes) -> None:
    document = with_body(text, '{"ttl": 60, "grace": 60, "other": BODY}')

    responses = [
        api.post(f'{queue}/claims', document),
        api.patch(f'{queue}/claims/{NO_CLAIM}', document),
    ]

    assert [refusal(response) for response in responses] == [BODY_REFUSED] * 2


NO_DOCUMENT: dict[str, str | bytes] = {
    'no-body': '',
    'space': ' ',
    'two-spaces': '  ',
    'newline': '\r\n',
    'bracket': '[',
    'brace': '{',
    'point': '.',
    'string': '"x"',
    'integer': '1',
    'float': '1.5',
    'null': 'null',
    'true': 'true',
    'utf-8-mark': b'\xef\xbb\xbf{}',
    'utf-8-mark-and-list': b'\xef\xbb\xbf[]',
    'utf-16': '{}'.encode('utf-16'),
    'utf-16-without-mark': '[{"ttl": 60, "body": 1}]'.encode('utf-16-le'),
    'utf-32': '{}'.encode('utf-32'),
    'two-objects': '{"ttl": 60, "grace": 60}{}',
    'two-lists': '[{"ttl": 60, "body": 1}] []',
    'text-after': '{} x',
    'gzip': b'\x1f\x8b\x08\x00\x00',
    'only-nul': b'\0\0',
    'form': 'ttl=60&grace=60',
    'never-utf-8': b'\xff',
}
READERS = [
    pytest.param('POST', f'{QUEUE}/messages', id='post-messages'),
    pytest.param('PUT', f'{QUEUE}/metadata', id='set-metadata'),
    pytest.param('POST', f'{QUEUE}/claims', id='create-claim'),
    pytest.param('PATCH', f'{QUEUE}/claims/{NO_CLAIM}', id='renew-claim'),
]


@pytest.mark.parametrize(('method', 'path'), READERS)
@pytest.mark.parametrize('body', NO_DOCUMENT.values(), ids=NO_DOCUMENT)
def test_what_is_no_document_is_refused(
    api: Api, queue: str, method: str, path: str, body: str | bytes
) -> None:
    response = api.request(method, path, body, client_id=CLIENT_ID)

    assert refusal(response) == BODY_REFUSED


@pytest.mark.parametrize(('method', 'path'), READERS)
def test_no_content_length_is_no_body(api: Api, queue: str, method: str, path: str) -> None:
    response = api.request(method, path, client_id=CLIENT_ID)

    assert refusal(response) == BODY_REFUSED


GOOD_BODIES: dict[str, Any] = {
    f'{QUEUE}/messages': [{'ttl': 60, 'body': 1}],
    f'{QUEUE}/metadata': {},
    f'{QUEUE}/claims': {'ttl': 60, 'grace': 60},
    f'{QUEUE}/claims/{NO_CLAIM}': {'ttl': 60},
}


@pytest.mark.parametrize(('method', 'path'), READERS)
@pytest.mark.parametrize(
    'length',
    ['', 'x', '-1', '-5', '0', '1.5', '0x10', '999', ' ', '+', '²', '9' * 25, '9' * 5000, '1\n2'],
    ids=lambda length: f'{length[:9]!r} of {len(length)}',
)
def test_a_wrong_content_length_is_a_400(
    api: Api, queue: str, method: str, path: str, length: str
) -> None:
    response = api.request(
        method,
        path,
        GOOD_BODIES[path],
        client_id=CLIENT_ID,
        headers={'Content-Length': length.encode('latin-1')},
    )

    assert refusal(response)[0] == 400
    assert api.stats()['total'] == 0


def test_a_body_in_chunks_is_refused_where_the_server_does_not_read_it(
    api: Api, queue: str
) -> None:
    response = api.post(
        f'{queue}/messages', client_id=CLIENT_ID, headers={'Transfer-Encoding': 'chunked'}
    )

    assert refusal(response) == (400, 'Malformed request')


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize('character', ['x', 'ü'], ids=['ascii', 'two-bytes-each'])
def test_a_post_of_exactly_the_largest_size_is_taken(api: Api, queue: str, character: str) -> None:
    text = f'[{{"ttl": 60, "body": "{character * 1000}"}}]'

    response = api.post(f'{queue}/messages', padded(text, MOST_IN_A_POST), client_id=CLIENT_ID)

    assert response.status_int == 201


def test_a_post_of_one_byte_more_is_refused(api: Api, queue: str) -> None:
    document = padded('[{"ttl": 60, "body": 1}]', MOST_IN_A_POST + 1)

    response = api.post(f'{queue}/messages', document, client_id=CLIENT_ID)

    assert refusal(response) == OUT_OF_RANGE
    assert api.stats()['total'] == 0


def test_one_message_may_fill_a_post(api: Api, queue: str) -> None:
    around = '[{"ttl": 60, "body": ""}]'
    body = 'x' * (MOST_IN_A_POST - len(around))

    response = api.post(f'{queue}/messages', around.replace('""', f'"{body}"'), client_id=CLIENT_ID)

    assert response.status_int == 201
    assert api.get(response.json['resources'][0]).json['body'] == body


def test_metadata_of_exactly_the_largest_size_is_stored(api: Api, queue: str) -> None:
    document = json.dumps({'a': 'x' * (MOST_METADATA - len('{"a": ""}'))})
    assert len(document) == MOST_METADATA

    response = api.put(f'{queue}/metadata', document)

    assert response.status_int == 204
    assert api.get(f'{queue}/metadata').text == document


def test_metadata_of_one_byte_more_is_refused(api: Api, queue: str) -> None:
    response = api.put(f'{queue}/metadata', padded('{"a": 1}', MOST_METADATA + 1))

    assert refusal(response) == OUT_OF_RANGE
    assert api.get(f'{queue}/metadata').json == {}


@pytest.mark.parametrize(
    ('method', 'path', 'size'),
    [
        pytest.param('POST', f'{QUEUE}/messages', MOST_IN_A_POST + 1, id='messages'),
        pytest.param('PUT', f'{QUEUE}/metadata', MOST_METADATA + 1, id='metadata'),
    ],
)
def test_the_size_is_checked_before_the_body_is_parsed(
    api: Api, queue: str, method: str, path: str, size: int
) -> None:
    response = api.request(
        method, path, '{', client_id=CLIENT_ID, headers={'Content-Length': str(size)}
    )

    assert refusal(response) == OUT_OF_RANGE


# ---------------------------------------------------------------- query parameters

LISTS = {
    'queues': '/v1/queues?limit=',
    'messages': f'{QUEUE}/messages?limit=',
}


@pytest.mark.parametrize('path', LISTS.values(), ids=LISTS)
@pytest.mark.parametrize('limit', ['1', '20', '007'])
def test_a_limit_within_the_range_is_taken(api: Api, queue: str, path: str, limit: str) -> None:
    api.post_messages('x')

    response = api.get(f'{path}{limit}&echo=true', client_id=CLIENT_ID)

    assert response.status_int == 200


@pytest.mark.parametrize('path', LISTS.values(), ids=LISTS)
@pytest.mark.parametrize(
    'limit', ['0', '-1', '-100', '21', '30', '1001', '10000000000000000000', '-' + '9' * 30]
)
def test_a_limit_out_of_range_is_refused(api: Api, queue: str, path: str, limit: str) -> None:
    response = api.get(path + limit, client_id=CLIENT_ID)

    assert refusal(response) == OUT_OF_RANGE


@pytest.mark.parametrize('limit', ['0', '-1', '21', '10000000000000000000'])
def test_a_claim_with_a_limit_out_of_range_is_refused(api: Api, queue: str, limit: str) -> None:
    response = api.post(f'{queue}/claims?limit={limit}', {'ttl': 60, 'grace': 60})

    assert refusal(response) == OUT_OF_RANGE


NO_INTEGERS = ('x', 'abc', '1.0', '1e1', '0x1', '1,2', 'true', 'None', '%00', '1%00', '%D9%A3', '²')


@pytest.mark.parametrize('path', LISTS.values(), ids=LISTS)
@pytest.mark.parametrize('limit', NO_INTEGERS)
def test_a_limit_that_is_no_integer_is_refused(api: Api, queue: str, path: str, limit: str) -> None:
    response = api.get(path + limit, client_id=CLIENT_ID)

    assert refusal(response) == NOT_THE_TYPE


@pytest.mark.parametrize('limit', NO_INTEGERS)
def test_a_claim_with_a_limit_that_is_no_integer_is_refused(
    api: Api, queue: str, limit: str
) -> None:
    response = api.post(f'{queue}/claims?limit={limit}', {'ttl': 60, 'grace': 60})

    assert refusal(response) == NOT_THE_TYPE


@pytest.mark.parametrize('path', LISTS.values(), ids=LISTS)
def test_a_limit_of_thousands_of_digits_is_a_400(api: Api, queue: str, path: str) -> None:
    response = api.get(path + '9' * 6000, client_id=CLIENT_ID)

    assert refusal(response)[0] == 400


TRUE = ('true', 'True', 't', 'yes', 'y', '1', 'on')
FALSE = ('false', 'False', 'f', 'no', 'n', '0', 'off')
NO_BOOLEANS = ('TRUE', 'FALSE', 'maybe', 'Yes', 'Y', 'T', 'On', '2', '-1', 'None', 'tru', '%00')


@pytest.mark.parametrize('spelling', TRUE)
def test_true_has_seven_spellings(api: Api, queue: str, spelling: str) -> None:
    api.post_messages('claimed')
    api.claim()
    api.post_messages('free')

    queues = api.get(f'/v1/queues?detailed={spelling}').json['queues']
    messages = api.listed(f'echo={spelling}&include_claimed={spelling}')

    assert queues[0]['metadata'] == {}
    assert [message['body'] for message in messages] == ['claimed', 'free']


@pytest.mark.parametrize('spelling', FALSE)
def test_false_has_seven_spellings(api: Api, queue: str, spelling: str) -> None:
    api.post_messages('claimed')
    api.claim()
    api.post_messages('free')

    queues = api.get(f'/v1/queues?detailed={spelling}').json['queues']

    assert 'metadata' not in queues[0]
    assert api.listed(f'echo={spelling}&include_claimed=true') == []
    assert len(api.listed(f'echo=true&include_claimed={spelling}')) == 1


@pytest.mark.parametrize('spelling', NO_BOOLEANS)
@pytest.mark.parametrize(
    'path',
    [
        '/v1/queues?detailed=',
        f'{QUEUE}/messages?echo=',
        f'{QUEUE}/messages?include_claimed=',
    ],
)
def test_any_other_spelling_is_refused(api: Api, queue: str, path: str, spelling: str) -> None:
    response = api.get(path + spelling, client_id=CLIENT_ID)

    assert refusal(response) == NOT_THE_TYPE


@pytest.mark.parametrize(
    'path',
    [
        '/v1/queues?limit=&marker=&detailed=',
        '/v1/queues?limit&marker&detailed',
        f'{QUEUE}/messages?limit=&marker=&echo=&include_claimed=&ids=',
    ],
)
def test_an_empty_parameter_is_an_absent_one(api: Api, queue: str, path: str) -> None:
    api.post_messages('x', client_id='0' * 32)

    response = api.get(path, client_id=CLIENT_ID)

    assert response.status_int == 200
    [link] = response.json['links']
    assert link['href'].partition('?')[2].startswith('marker=')


def test_an_empty_limit_of_a_claim_is_an_absent_one(api: Api, queue: str) -> None:
    api.post_messages(*range(11))

    response = api.post(f'{queue}/claims?limit=', {'ttl': 60, 'grace': 60})

    assert len(response.json) == 10


@pytest.mark.parametrize('path', ['/v1/queues?{}', f'{QUEUE}/messages?echo=true&{{}}'])
@pytest.mark.parametrize(
    'parameter', ['nonsense=1', 'queue=x', 'queue_name=other', 'project=x', 'self=1', 'body=1']
)
def test_an_unknown_parameter_is_ignored_and_not_repeated(
    api: Api, queue: str, path: str, parameter: str
) -> None:
    api.post_messages('x')

    response = api.get(path.format(parameter), client_id=CLIENT_ID)

    assert response.status_int == 200
    assert response.headers['Content-Location'] == path.format(parameter)
    assert parameter not in response.json['links'][0]['href']


@pytest.mark.parametrize(
    ('method', 'path', 'body'),
    [
        ('PUT', QUEUE, None),
        ('GET', f'{QUEUE}/stats', None),
        ('PUT', f'{QUEUE}/metadata', {}),
        ('POST', f'{QUEUE}/messages', [{'ttl': 60, 'body': 1}]),
        ('POST', f'{QUEUE}/claims', {'ttl': 60, 'grace': 60}),
    ],
)
def test_no_parameter_takes_the_place_of_a_path(
    api: Api, queue: str, method: str, path: str, body: Any
) -> None:
    query = 'queue=other&queue_name=other&request=1&self=1&body=2&limit=1&project=x&claim=y'

    response = api.request(method, f'{path}?{query}', body, client_id=CLIENT_ID)

    assert response.status_int in (200, 201, 204)
    assert [entry['name'] for entry in api.get('/v1/queues').json['queues']] == ['jobs']


@pytest.mark.parametrize('separator', [',', '%2C', '&ids=', ',,', ',&ids=,'])
def test_ids_are_separated_by_commas_or_repeated(api: Api, queue: str, separator: str) -> None:
    paths = api.post_messages('a', 'b', 'c')
    ids = separator.join(path.rpartition('/')[2] for path in paths)

    response = api.get(f'{queue}/messages?ids={ids}')

    assert sorted(message['body'] for message in response.json) == ['a', 'b', 'c']


@pytest.mark.parametrize('separator', [',', '%2C', '&ids=', ',,'])
def test_ids_to_delete_are_separated_by_commas_or_repeated(
    api: Api, queue: str, separator: str
) -> None:
    paths = api.post_messages('a', 'b', 'c')
    ids = separator.join(path.rpartition('/')[2] for path in paths)

    response = api.delete(f'{queue}/messages?ids={ids}')

    assert is_empty(response)
    assert api.stats()['total'] == 0


# ---------------------------------------------------------------- errors


def test_a_406_tells_in_json(api: Api, queue: str) -> None:
    response = api.get(f'{queue}/stats', headers={'Accept': 'text/plain'})

    assert refusal(response)[0] == 406


@pytest.mark.parametrize(
    ('method', 'path', 'body', 'said'),
    [
        pytest.param('GET', '/v1/queues/gone/stats', None, ['gone', 'acme'], id='queue'),
        pytest.param(
            'GET', f'{QUEUE}/messages/lost', None, ['lost', 'jobs', 'acme'], id='message'
        ),
        pytest.param('GET', f'{QUEUE}/claims/over', None, ['over', 'jobs', 'acme'], id='claim'),
        pytest.param(
            'POST', '/v1/queues/gone/messages', [{'ttl': 60, 'body': 1}], ['gone', 'acme'],
            id='post',
        ),
    ],
)  # fmt: skip
def test_a_404_names_what_is_missing_and_the_project(
    api: Api, method: str, path: str, body: Any, said: list[str]
) -> None:
    api.make_queue(project='acme')

    response = api.request(method, path, body, project='acme', client_id=CLIENT_ID)

    assert refusal(response) == (404, 'Not found')
    for word in said:
        assert word in response.json['description']
