"""The pages of the protocol say what the service does: all requests, and real examples."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from webtest import TestApp, TestResponse

from marconi_api.controllers.openstack import signed_urls
from marconi_api.processes.installation import CHECKOUT
from tests.controllers.openapi.document import DOCUMENT, OPERATIONS, resolved, validate
from tests.tours import ID, blocks, what_varies_masked

DOCUMENTS = [CHECKOUT / 'README.md', *sorted((CHECKOUT / 'docs').glob('*.md'))]

_CLIENT = {'Client-ID': '3381af92-2b9e-11e3-b191-71861300734c'}

#: The pages, and the headers that their examples leave out of requests.
PAGES: dict[str, dict[str, str]] = {
    'protocol-v1.md': _CLIENT,
    'protocol-v2.md': {**_CLIENT, 'X-Project-Id': 'acme'},
}

#: What the examples leave out of replies.
UNSAID = {'Content-Type', 'Content-Length', 'Vary'}


def text_of(page: str) -> str:
    return (CHECKOUT / 'docs' / page).read_text()


# ---------------------------------------------------------------- sections


def heading_of(line: str) -> str:
    """The heading without the signs for its level and for code."""
    return re.sub(r'[`*]', '', line.lstrip('#')).strip()


def anchor(heading: str) -> str:
    """The name by which a link leads to a heading, as GitHub makes it."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def without_code(text: str) -> str:
    return re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    headings = re.findall(r'^#+ .*$', without_code(text), re.MULTILINE)
    return {anchor(heading_of(heading)) for heading in headings}


def section(page: str, name: str) -> str:
    """From the heading with this anchor on, to the next one that is not below it."""
    parts = re.split(r'^(?=#+ )', text_of(page), flags=re.MULTILINE)
    found, level = '', 0
    for part in parts:
        heading, _, _ = part.partition('\n')
        depth = len(heading) - len(heading.lstrip('#'))
        if found and depth <= level:
            break
        if found or anchor(heading_of(heading)) == name:
            level = level or depth
            found += part
    assert found, f'{page} has no section {name}'
    return found


# ---------------------------------------------------------------- the tables of requests


class Row(NamedTuple):
    """A line of a table of requests: its statuses, and the sections that describe it."""

    page: str
    statuses: set[str]
    sections: list[str]

    @property
    def described(self) -> str:
        return '\n'.join(section(self.page, name) for name in self.sections)


def rows() -> Iterator[tuple[tuple[str, str], Row]]:
    for page in PAGES:
        lines = re.findall(r'^\| `([A-Z]+) (/\S*)` \| ([\d, ]+) \| (.*) \|$', text_of(page), re.M)
        for method, path, statuses, links in lines:
            names = re.findall(r'\(#([\w-]+)\)', links)
            yield (method, path), Row(page, set(statuses.split(', ')), names)


TABLE = dict(rows())


def titles_of_every_request(page: str) -> set[tuple[str, str]]:
    """Status and title of the failures that the page tells once for all requests."""
    _, _, after = text_of(page).partition('Each request can be answered')
    table, _, _ = after.partition('\nOthers depend on the request')
    return titles_in(table)


def titles_in(text: str) -> set[tuple[str, str]]:
    lines = re.findall(r'^\| (\d{3}) \| (`[^|]*) \|', text, re.MULTILINE)
    return {(status, title) for status, cell in lines for title in re.findall(r'`(.+?)`', cell)}


def titles_of(operation: Mapping[str, Any], status: str) -> list[str]:
    """The titles that a failure of this status can have; none for a success."""
    content = resolved(operation['responses'][status]).get('content', {})
    for document in content.values():
        for part in document['schema'].get('allOf', []):
            if 'title' in part.get('properties', {}):
                titles: list[str] = part['properties']['title']['enum']
                return titles
    return []


def test_the_tables_have_every_request_of_the_description_with_its_statuses() -> None:
    described = {request: set(found['responses']) for request, found in OPERATIONS.items()}

    assert {request: row.statuses for request, row in TABLE.items()} == described


@pytest.mark.parametrize('request_', OPERATIONS, ids=' '.join)
def test_a_request_is_described_with_what_it_takes_and_can_be_answered(
    request_: tuple[str, str],
) -> None:
    operation, row = OPERATIONS[request_], TABLE[request_]
    method, path = request_
    # Version 1.1 is described where version 2 is.
    assert f'{method} {path.replace("/v1.1", "/v2")}' in row.described

    known = titles_of_every_request(row.page)
    titles = titles_in(text_of(row.page))
    for status in operation['responses']:
        if method == 'HEAD' and any(status == one for one, _ in known):
            continue
        failures = {(status, title) for title in titles_of(operation, status)}
        # The title of a 415 names the type.
        assert failures <= titles or status == '415'
        if not failures or failures - known:
            assert re.search(rf'\b{status}\b', without_code(row.described)), status

    for name in names_sent(operation):
        assert f'`{name}`' in row.described or f'"{name}"' in row.described, name


def names_sent(operation: Mapping[str, Any]) -> set[str]:
    """The parameters of a request's query, and the members of its body."""
    parameters = [resolved(parameter) for parameter in operation['parameters']]
    # Any other parameter is a filter.
    queries = {found['name'] for found in parameters if found['in'] == 'query'} - {'filter'}
    body = operation.get('requestBody', {'content': {}})
    return queries.union(*(members(content['schema']) for content in body['content'].values()))


def members(schema: dict[str, Any]) -> set[str]:
    schema = resolved(schema)
    below = [schema['items']] if 'items' in schema else []
    properties = schema.get('properties', {})
    return set(properties).union(*map(members, [*below, *properties.values()]))


def test_each_section_has_a_number_of_its_own() -> None:
    for page in PAGES:
        headings = re.findall(r'^##+ (.*)$', without_code(text_of(page)), re.MULTILINE)
        numbers = [heading.split(' ')[0].rstrip('.') for heading in headings]

        assert all(re.fullmatch(r'\d+(\.\d+)?', number) for number in numbers)
        assert len(set(numbers)) == len(numbers)


# ---------------------------------------------------------------- the examples


class Example(NamedTuple):
    """A request and its reply, as a page shows them."""

    request: str
    headers: dict[str, str]
    body: str
    status: str
    reply_headers: dict[str, str]
    reply: str


def examples(page: str) -> Iterator[Example]:
    for block in blocks('http', text_of(page)):
        sent, status, replied = re.split(r'\n+HTTP/1\.1 (.*)\n', block, maxsplit=1)
        head, _, body = sent.partition('\n\n')
        request, *headers = head.splitlines()
        reply_head, _, reply = f'\n{replied}'.partition('\n\n')
        yield Example(
            request,
            _headers(headers),
            body.strip(),
            status,
            _headers(reply_head.splitlines()),
            reply,
        )


def _headers(lines: list[str]) -> dict[str, str]:
    return dict(line.split(': ', 1) for line in lines if line)


@pytest.mark.parametrize('page', PAGES)
def test_the_examples_do_what_they_show(
    app: TestApp, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed_urls, 'signer', signed_urls.Signer(['key']))
    ids: dict[str, str] = {}

    for example in examples(page):
        response = send(app, example, PAGES[page], ids)

        assert response.status == example.status, (example.request, response.text)
        check_headers(example, response)
        check_body(example, response)
        shown, real = as_text(example.reply_headers, example.reply), as_text(response.headers, '')
        real += compact(response.text)
        # The same id may stand in several places.
        ids.update(zip(re.findall(ID, shown), re.findall(ID, real), strict=True))


def send(
    app: TestApp, example: Example, usual: Mapping[str, str], ids: Mapping[str, str]
) -> TestResponse:
    """Send what the page shows, with the ids that were really replied."""

    def real(text: str) -> str:
        return re.sub(ID, lambda match: ids.get(match[0], match[0]), text)

    method, target, _ = example.request.split(' ')
    return app.request(
        real(target),
        method=method,
        headers={**usual, **example.headers},
        body=real(example.body).encode(),
        expect_errors=True,
    )


def check_headers(example: Example, response: TestResponse) -> None:
    for name, value in example.reply_headers.items():
        # That of an empty reply is the server's.
        if name != 'Content-Length' or response.body:
            assert what_varies_masked(response.headers[name]) == what_varies_masked(value)
    assert set(response.headers) - UNSAID <= set(example.reply_headers), example.request


def check_body(example: Example, response: TestResponse) -> None:
    shown, real = (what_varies_masked(compact(text)) for text in (example.reply, response.text))
    assert real == shown, example.request


def as_text(headers: Mapping[str, str], reply: str) -> str:
    location = ''.join(headers.get(name, '') for name in ('Location', 'Content-Location'))
    return location + compact(reply)


def compact(text: str) -> str:
    """JSON as the service writes it, which pages break into lines; how long it took left out."""
    if not text.lstrip().startswith(('{', '[')):
        return text.strip()
    written = json.dumps(json.loads(text), separators=(',', ':'), ensure_ascii=False)
    # The digits of a fraction could be taken for an id.
    return re.sub(r'"seconds":[\d.e-]+', '"seconds":SOME', written)


def test_the_event_of_a_stream_is_a_message_of_a_page() -> None:
    [(event_id, data)] = re.findall(
        r'^    id: (.*)\n    event: message\n    data: (.*)$',
        text_of('protocol-v2.md'),
        re.MULTILINE,
    )
    replies = OPERATIONS['GET', '/v2/queues/{queue}/messages']['responses']['200']['content']
    page = resolved(replies['application/json']['schema'])

    assert json.loads(data)['id'] == event_id
    validate(page['properties']['messages']['items'], json.loads(data))


def test_the_pages_show_an_example_of_nearly_every_request() -> None:
    shown = {
        (method, path)
        for page in PAGES
        for example in examples(page)
        for method, target, _ in [example.request.split(' ')]
        for path in DOCUMENT['paths']
        if re.fullmatch(re.sub(r'{\w+}', r'[^/?]+', path), target.partition('?')[0])
    }
    without = {
        request
        for request in OPERATIONS
        if not request[1].startswith('/v1.1') and request[0] != 'HEAD' and request not in shown
    }

    # Long documents, which the pages describe.
    assert without == {('GET', '/openapi.json'), ('GET', '/v1'), ('GET', '/v2')}


# ---------------------------------------------------------------- links


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_to_a_heading_that_is_there(document: Path) -> None:
    links = re.findall(r'\]\(([^)\s:#]*)#([^)\s]+)\)', without_code(document.read_text()))

    for target, name in links:
        linked = document.parent / target if target else document
        assert name in anchors(linked.read_text()), f'{document.name}: {target}#{name}'


# ---------------------------------------------------------------- the glossary


def test_the_glossary_explains_each_word_once() -> None:
    words = re.findall(r'^\| \*\*(.+?)\*\*', text_of('glossary.md'), re.MULTILINE)

    assert words
    assert len(set(words)) == len(words)
