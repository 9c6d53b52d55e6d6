"""The console in Chromium: hostile content, people who cannot see or use a mouse, small screens."""

import contextlib
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.browser import Browser, chromium, with_chromium
from tests.running_service import HEADERS, Service, services, wait_until

pytestmark = [pytest.mark.slow, with_chromium]

#: What somebody could post to take over a page, or to mislead its reader.
HOSTILE = (
    '<script>window.taken = 1</script>',
    '"><img src=x onerror="window.taken = 1">',
    "'><svg/onload=window.taken=1>",
    '</pre></bdi><iframe src="javascript:window.parent.taken=1"></iframe>',
    '{{ 7 * 7 }}{% for x in () %}${7*7}#{7*7}<%= 7 %>',
    '<base href="https://else.test/"><link rel=stylesheet href="https://else.test/x.css">',
    '<meta http-equiv=refresh content="0;url=https://else.test/">',
    '<form action="https://else.test/"><button id="main">x</button></form>',
    'pay \u202egnp.exe\u202c \u2066hidden\u2069 \u200b\ufeff',
    '\x01\x1b[31m\x7f\x85',
    '-->]]><!--<style>body{display:none}</style>',
    'שלום عربي ' + 'x' * 500,
)


class Site(NamedTuple):
    """A service, and a browser."""

    service: Service
    browser: Browser

    def open(self, path: str = '') -> None:
        """Show a page of the console."""
        self.browser.open(f'http://127.0.0.1:{self.service.port}/console{path}')

    def send(self, method: str, path: str, body: Any = None, role: str = '') -> Any:
        """What the API answers."""
        with contextlib.closing(self.service.connect()) as connection:
            connection.request(
                method,
                path,
                json.dumps(body),
                HEADERS | {'X-Project-Id': 'a<b>&"c', 'X-Roles': role},
            )
            response = connection.getresponse()
            content = response.read()
            assert response.status < 300, content
            return json.loads(content) if content else None


PROJECT = 'project=a%3Cb%3E%26%22c'


@pytest.fixture(scope='module')
def site() -> Iterator[Site]:
    with services() as start:
        service = start().wait_until_ready()
        with chromium() as browser:
            # As a proxy would send it: whom it gives no role sees no tokens.
            browser.set_up('Network.enable')
            browser.set_up('Network.setExtraHTTPHeaders', headers={'X-Roles': 'admin'})
            site = Site(service, browser)
            _fill(site)
            yield site


def _fill(site: Site) -> None:
    """Put hostile texts wherever clients can put texts."""
    site.send('PUT', '/v2/queues/hostile', {f'k{text}': text for text in HOSTILE})
    for text in HOSTILE:
        body: Any = {
            'messages': [{'body': {text: [text]}, 'ttl': 3600}, {'body': text, 'ttl': 3600}]
        }
        site.send('POST', '/v2/queues/hostile/messages', body)
    claim = site.send('POST', '/v2/queues/hostile/claims?limit=12', {'ttl': 300, 'grace': 60})
    for message, text in zip(claim['messages'], HOSTILE, strict=False):
        site.send(
            'POST', f'{message["href"].partition("?")[0]}/park{_claim(message)}', {'reason': text}
        )
    site.send('POST', '/v2/tokens', {'roles': ['reader'], 'name': HOSTILE[0]}, 'admin')
    site.send('PUT', '/v2/queues/other', {})
    for text in HOSTILE[:3]:
        url = 'https://else.test/' + quote(text, safe='<>{}()=:;,*$')
        options = {'post_headers': {f'X-{place}': text for place, text in enumerate(HOSTILE[:3])}}
        body = {'subscriber': url, 'options': {'anything': HOSTILE, **options}}
        site.send('POST', '/v2/queues/hostile/subscriptions', body)
    site.send('POST', '/v2/queues/hostile/messages', {'messages': [{'body': HOSTILE[0]}]})
    site.send('POST', '/v2/queues/hostile/redrive', {'to': 'other', 'rate': 1})
    site.send('DELETE', f'/v2/queues/hostile/redrives/{_redrive(site)}')
    site.send('POST', '/v2/queues/hostile/claims?limit=3', {'ttl': 300, 'grace': 60})


def _redrive(site: Site) -> str:
    found = site.send('GET', '/v2/queues/hostile/redrives')
    return str(found['redrives'][0]['id'])


def _token(site: Site) -> str:
    return str(site.send('GET', '/v2/tokens', role='admin')['tokens'][0]['id'])


def _subscription(site: Site) -> str:
    found = site.send('GET', '/v2/queues/hostile/subscriptions')['subscriptions']
    return str(found[0]['id'])


def _claim(message: dict[str, Any]) -> str:
    return f'?{message["href"].partition("?")[2]}'


def message_pages(site: Site) -> list[str]:
    """The addresses of all messages that the lists lead to."""
    site.open(f'/queues/hostile/messages?{PROJECT}')
    found: list[str] = site.browser.run(
        'return [...document.querySelectorAll("th a")].map(a => a.getAttribute("href"))'
    )
    return [address.removeprefix('/console') for address in found]


def pages(site: Site) -> list[str]:
    """All kinds of pages."""
    first = message_pages(site)[0].partition('?')[0].rpartition('/')[2]
    return [
        '',
        f'?{PROJECT}&search=%3Cscript%3E&sort=%22',
        f'/queues/hostile?{PROJECT}',
        f'/queues/hostile/messages?{PROJECT}',
        f'/queues/hostile/messages?{PROJECT}&state=parked',
        f'/queues/hostile/purge?{PROJECT}',
        f'/queues/hostile/kick?{PROJECT}',
        f'/queues/hostile/redrive?{PROJECT}&state=parked',
        '/audit',
        f'/tokens?{PROJECT}',
        f'/tokens/new?{PROJECT}',
        f'/tokens/revoke?{PROJECT}&token={_token(site)}',
        f'/queues/hostile/subscriptions?{PROJECT}',
        f'/queues/hostile/subscriptions/{_subscription(site)}?{PROJECT}',
        f'/queues/hostile/pause?{PROJECT}&subscription={_subscription(site)}',
        f'/queues/hostile/retry-all?{PROJECT}&subscription={_subscription(site)}',
        f'/queues/hostile/delete?{PROJECT}&id={first}&id=%3Cscript%3E',
        f'/queues/hostile/park?{PROJECT}&id={first}',
        '/queues/nothing?project=%3Cscript%3E',
        *message_pages(site)[:2],
    ]


def test_hostile_texts_are_shown_as_texts(site: Site) -> None:
    for path in [*pages(site), *message_pages(site)]:
        site.browser.complaints()
        site.browser.requests()

        site.open(path)

        found = site.browser.run(
            'return [window.taken, [...document.querySelectorAll('
            '"main :is(script, img, svg:not(.plot), iframe, base, meta, link, style)")].length,'
            ' document.body.innerText]'
        )
        assert found[:2] == [None, 0], path
        assert not set(found[2]) & set('\u202e\u202c\u2066\u2069\u200b\ufeff\x01\x1b\x7f\x85'), path
        asked = site.browser.requests()
        assert asked
        assert all(one.startswith(f'http://127.0.0.1:{site.service.port}/') for one in asked), path
        expected = ['the server responded with a status of 404'] if 'nothing' in path else []
        assert [
            one for one in site.browser.complaints() if not any(text in one for text in expected)
        ] == [], path


def test_a_body_is_shown_as_it_was_sent(site: Site) -> None:
    shown = ''
    for path in message_pages(site):
        site.open(path)
        shown += site.browser.run('return document.querySelector("pre").textContent')

    for text in (*HOSTILE[:1], *HOSTILE[4:8]):
        assert json.dumps(text)[1:-1] in shown
    assert '\\u202egnp.exe' in shown


@pytest.mark.parametrize('colors', ['light', 'dark'])
@pytest.mark.parametrize('width', [390, 1280])
def test_pages_are_accessible(site: Site, colors: str, width: int) -> None:
    axe = files('axe_core_python').joinpath('axe.min.js').read_text()
    paths = pages(site)
    site.browser.set_up(
        'Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': colors}]
    )
    site.browser.set_up(
        'Emulation.setDeviceMetricsOverride',
        width=width,
        height=844,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    for path in paths:
        site.open(path)
        site.browser.run(axe)
        found = site.browser.run_until_called(
            'axe.run().then(result => arguments[0]([result.passes.length, result.violations.map('
            'one => [one.id, one.impact, one.nodes.map(node => node.html)])]))'
        )
        assert found[0] > 10
        assert found[1] == [], path
        # Nothing but the tables is wider than the screen.
        assert site.browser.run(
            'return document.documentElement.scrollWidth <= window.innerWidth'
        ), path


#: Keys as WebDriver names them.
TAB, ENTER = '\ue004', '\ue007'


def focused(site: Site) -> str:
    """The text of what has the focus."""
    return str(
        site.browser.run(
            'const it = document.activeElement; return it.innerText || it.ariaLabel || it.id'
        )
    )


def tab_to(site: Site, text: str) -> None:
    """Press Tab until something whose text begins so has the focus."""
    for _ in range(60):
        site.browser.press(TAB)
        if focused(site).startswith(text):
            return
    raise AssertionError(f'Tab does not lead to {text}')


def press_enter(site: Site, heading: str) -> None:
    """Press Enter, and wait until the next page is there."""
    site.browser.press(ENTER)
    wait_until(
        lambda: heading in str(site.browser.run('return document.querySelector("h1")?.innerText'))
    )


def test_the_keyboard_leads_from_the_deepest_queue_to_a_dead_letter_and_makes_it_ready(
    site: Site,
) -> None:
    site.open(f'?{PROJECT}')

    tab_to(site, 'hostile')
    press_enter(site, 'Queue hostile')
    tab_to(site, 'parked')
    press_enter(site, 'Parked messages of hostile')
    # The box that selects the message, and then its link.
    tab_to(site, 'Message 0')
    site.browser.press(TAB)
    press_enter(site, 'Message 0')
    message = site.browser.run('return document.querySelector("h1").innerText').split()[1]
    assert 'Parked because' in site.browser.run('return document.body.innerText')
    tab_to(site, 'Make ready')
    press_enter(site, 'Make messages ready')
    tab_to(site, 'Make messages ready')
    press_enter(site, '1 message was made ready')

    site.open(f'/queues/hostile/messages/{message}?{PROJECT}')
    assert 'ready' in site.browser.run('return document.querySelector("dd").innerText')


def _dead_letters(site: Site) -> None:
    """Two messages that were put away as dead letters, and a queue with fewer."""
    attributes = {'_max_claim_count': 1, '_dead_letter_queue': 'dead'}
    site.send('PUT', '/v2/queues/dead', {})
    site.send('PUT', '/v2/queues/mail', attributes)
    site.send('POST', '/v2/queues/mail/messages', {'messages': [{'body': 'a'}, {'body': 'b'}]})
    claim = site.send('POST', '/v2/queues/mail/claims', {'ttl': 300})
    path = claim['messages'][0]['href'].partition('claim_id=')[2]
    site.send('DELETE', f'/v2/queues/mail/claims/{path}')
    assert site.send('POST', '/v2/queues/mail/claims', {'ttl': 300}) is None
    site.send('POST', '/v2/queues/dead-few/messages', {'messages': [{'body': 'c'}]})


def test_the_keyboard_leads_from_the_deepest_queue_to_a_dead_letter_and_redrives_it(
    site: Site,
) -> None:
    _dead_letters(site)
    # What was counted for a test before is shown for a while.
    wait_until(lambda: site.open(f'?{PROJECT}&search=dead') or 'dead-few' in text_of(site))

    tab_to(site, 'dead')
    press_enter(site, 'Queue dead')
    tab_to(site, 'ready')
    press_enter(site, 'Ready messages of dead')
    tab_to(site, 'Message 0')
    site.browser.press(TAB)
    press_enter(site, 'Message 0')
    assert 'Dead letter of' in text_of(site)
    tab_to(site, 'dead')
    press_enter(site, 'Queue dead')
    tab_to(site, 'Redrive messages')
    press_enter(site, 'Move messages of dead')
    tab_to(site, 'Count, move nothing')
    site.browser.press(ENTER)
    wait_until(lambda: '2 to mail' in text_of(site))
    tab_to(site, 'Move them')
    site.browser.press(ENTER)
    wait_until(lambda: 'completed' in text_of(site))

    assert site.send('GET', '/v2/queues/mail/stats')['messages']['total'] == 2


def test_the_plots_of_a_queue_come_without_a_reload(site: Site) -> None:
    site.send('PUT', '/v2/queues/new', {})
    site.open(f'/queues/new?{PROJECT}')

    wait_until(lambda: site.browser.run('return document.querySelectorAll("svg.plot").length') == 4)
    site.browser.run('document.querySelector("details").open = true')
    site.send('POST', '/v2/queues/new/messages', {'messages': [{'body': 1}]})
    ready = 'return document.querySelector("dl.figures dd").innerText'
    wait_until(lambda: site.browser.run(ready) == '1')

    assert site.browser.run('return document.querySelector("details").open')


def text_of(site: Site) -> str:
    return str(site.browser.run('return document.body.innerText'))
