"""Values that overflow something somewhere, and requests that hold them.

Which fields there are is what the document says, so that a new one is covered by itself.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from marconi_api.model.attributes import DEFAULTS

from .document import resolved

#: Where a value stands in a body: the names of members, and 0 for the element of a list.
Place = tuple[str | int, ...]


def nested(levels: int) -> str:
    """A list in a list in a list …"""
    return '[' * levels + ']' * levels


_INTEGERS = [
    *('0', '-0', '1', '-1', '59', '60', '901', '43201'),
    *(
        str(sign * 2**bits + more)
        for bits in (31, 32, 53, 63)
        for sign in (1, -1)
        for more in (-1, 0)
    ),
    *('9' * 19, '9' * 400, '-' + '9' * 5000),
]
_FLOATS = ['1.5', '60.0', '6e1', '1e400', '-1e400', '1e999999999999', '1e-999999999999', '1E+19']
_TIMES = [
    '0001-01-01T00:00:00+23:59',
    '9999-12-31T23:59:59-23:59',
    '9999-12-31T23:59:59',
    '10000-01-01T00:00:00',
    '2999-02-30T00:00:00',
    '2999-01-01T00:00:00+99:99',
    '2999-W01-1',
    '2999-01-01T24:00:00.9999999999',
    'infinity',
]
_TEXTS = [
    *(
        '',
        ' ',
        'a',
        'x' * 65,
        'x' * 3000,
        '_',
        'ü',
        '😀',
        '\\',
        "'",
        '"',
        '%',
        '%s',
        '$1',
        '{}',
        '[]',
    ),
    *('a\0b', '\0', '\r\n', '/metadata/', '/metadata/a~2', '/metadata/\0', 'jobs', 'jobs:', 'none'),
    *('NaN', 'Infinity', 'null', 'true', '0x10', '1_000', '١', '7fffffffffffffff'),
    *('ffffffff-ffff-ffff-ffff-ffffffffffff', '{' * 1000),
]
#: Text that JSON has and that no text is.
_NO_TEXTS = ['"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', '"a\tb"', '"unfinished']

#: JSON, most of it valid, as it is written.
DOCUMENTS = [
    *_INTEGERS,
    *_FLOATS,
    *map(json.dumps, _TEXTS),
    *(json.dumps(text, ensure_ascii=False) for text in ('ü😀', '\x7f\x80')),
    *map(json.dumps, _TIMES),
    *_NO_TEXTS,
    *('null', 'true', 'false', 'NaN', '-Infinity', '', '[]', '{}', '[null]', '[[]]', '[0]', '[{}]'),
    *('{"a": {}}', '{"": 0}', '{"a": 1, "a": 2}', '{"\\u0000": 0}', '{"\\ud800": 0}'),
    *(
        '[1e400]',
        '[' + '9' * 5000 + ']',
        '{"a": "\\u0000"}',
        '["\\ud800"]',
        '["a", "a"]',
        '["GET"]',
    ),
    *map(nested, (100, 480, 499, 985, 20_000)),
    '{"a":' * 985 + '1' + '}' * 985,
]

#: Bytes in a head, or percent-encoded in a path or query.
HEADS = [
    *(text.encode() for text in (*_TEXTS, *_TIMES, *_INTEGERS, *_FLOATS)),
    *(b'\xff', b'\xed\xa0\x80', b'\xc0\x80', b'a\x80', b'a,' * 2000, b',', b';q=', b'*/*;q=1e999'),
    *(b'application/json;q=' + b'9' * 400, b'a=' * 500, b'text/plain' + b';a' * 2000, b'+5', b'{}'),
]

# What fits a pattern of the document, and what a text may be where there is none.
_SAMPLES = ['jobs', 'GET', '/metadata/a', *(f'/metadata/{name}' for name in DEFAULTS)]


def places(schema: dict[str, Any], at: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each place of a body: the whole, its members, one that nobody knows, and elements.

    With the schema of what is due there.
    """
    schema = resolved(schema)
    yield at, schema
    if schema.get('type') == 'object':
        for name, member in schema.get('properties', {}).items():
            yield from places(member, (*at, name))
        yield (*at, 'unknown'), {}
    if schema.get('type') == 'array':
        yield from places(schema['items'], (*at, 0))


def edges(schema: dict[str, Any]) -> list[str]:
    """Where the range of an integer begins and ends, and what is just outside."""
    return [
        str(schema[edge] + more)
        for edge in ('minimum', 'maximum')
        for more in (-1, 0, 1)
        if edge in schema
    ]


def choices(schema: dict[str, Any]) -> int:
    """How many different bodies there are without anything hostile, at most."""
    schema = resolved(schema)
    parts = [*schema.get('properties', {}).values(), schema.get('items', {})]
    return max([len(_words(schema)), *(choices(part) for part in parts if part)])


def _words(schema: dict[str, Any]) -> list[Any]:
    if 'enum' in schema:
        return list(schema['enum'])
    if 'string' not in schema.get('type', ()):
        return [None]
    fitting = [text for text in _SAMPLES if re.search(schema.get('pattern', ''), text)]
    assert fitting, f'add to _SAMPLES what fits {schema["pattern"]}'
    return fitting if 'pattern' in schema else fitting[:1]


def written(
    schema: dict[str, Any],
    hostile: Mapping[Place, str],
    choice: int,
    known: Mapping[str, str],
    at: Place = (),
) -> str:
    """The text of a body as small as can be, with what is hostile in its places.

    :param choice: which of the words is taken where there are several
    :param known: what there is of the names that members have
    """
    if at in hostile:
        return hostile[at]
    schema = resolved(schema)
    kind = schema.get('type', ())
    if kind == 'object':
        names = [*schema.get('properties', {}), 'unknown']
        needed = {
            *schema.get('required', ()),
            *(
                place[len(at)]
                for place in hostile
                if len(place) > len(at) and place[: len(at)] == at
            ),
        }
        members = (
            f'{json.dumps(name)}: '
            + written(
                schema.get('properties', {}).get(name, {}), hostile, choice, known, (*at, name)
            )
            for name in names
            if name in needed
        )
        return f'{{{", ".join(members)}}}'
    if kind == 'array':
        return f'[{written(schema["items"], hostile, choice, known, (*at, 0))}]'
    if at and at[-1] in known:
        return json.dumps(known[str(at[-1])])
    if 'integer' in kind:
        return str(schema.get('minimum', 1))
    words = _words(schema)
    return json.dumps(words[choice % len(words)])
