"""Remakes the pictures of docs/console.md: `python -m tests.console.screenshots`.

It needs Debian's chromium and chromium-driver.
"""

import contextlib
import json
from base64 import b64decode
from typing import Any

from marconi_api.processes.installation import CHECKOUT
from tests.browser import Browser, chromium
from tests.directories import open_directory
from tests.running_service import HEADERS, Service, services

DIRECTORY = CHECKOUT / 'docs' / 'console'

#: Each picture: its name, the page, the colors and the width.
PICTURES = (
    ('queues', '?project=acme', 'light', 900),
    ('queue', '/queues/invoices?project=acme', 'dark', 900),
    ('phone', '/queues/invoices/messages?project=acme&state=parked', 'light', 390),
)


def send(service: Service, method: str, path: str, body: Any = None) -> Any:
    """What the API answers."""
    with contextlib.closing(service.connect()) as connection:
        connection.request(method, path, json.dumps(body), HEADERS | {'X-Project-Id': 'acme'})
        response = connection.getresponse()
        content = response.read()
    assert response.status < 300, content
    return json.loads(content) if content else None


def fill(service: Service) -> None:
    """Make queues as a shop would have them."""
    for name, count in (('invoices', 14), ('letters', 3), ('orders', 6)):
        bodies = [{'body': {'order': 1000 + n, 'total': '12.50'}} for n in range(count)]
        send(service, 'POST', f'/v2/queues/{name}/messages', {'messages': bodies})
    send(service, 'PUT', '/v2/queues/returns', {})
    claims = '/v2/queues/invoices/claims'
    for message in send(service, 'POST', f'{claims}?limit=3', {'ttl': 300})['messages']:
        path, _, query = message['href'].partition('?')
        send(service, 'POST', f'{path}/park?{query}', {'reason': 'The customer has no address.'})
    send(service, 'POST', f'{claims}?limit=4', {'ttl': 300})
    send(service, 'POST', f'{claims}?limit=2', {'ttl': 1800})


def take(browser: Browser, url: str, colors: str, width: int) -> bytes:
    """A page as PNG, at its whole height."""
    feature = {'name': 'prefers-color-scheme', 'value': colors}
    browser.set_up('Emulation.setEmulatedMedia', features=[feature])
    size = {'width': width, 'height': 300, 'deviceScaleFactor': 1, 'mobile': width < 500}
    browser.set_up('Emulation.setDeviceMetricsOverride', **size)
    browser.open(url)
    size['height'] = browser.run('return document.documentElement.scrollHeight')
    browser.set_up('Emulation.setDeviceMetricsOverride', **size)
    return b64decode(browser.set_up('Page.captureScreenshot', format='png')['data'])


def main() -> None:
    """Take all of them."""
    DIRECTORY.mkdir(exist_ok=True)
    with services() as start, open_directory() as profile:
        service = start().wait_until_ready()
        fill(service)
        with chromium(profile) as browser:
            for name, path, colors, width in PICTURES:
                url = f'http://127.0.0.1:{service.port}/console{path}'
                (DIRECTORY / f'{name}.png').write_bytes(take(browser, url, colors, width))


if __name__ == '__main__':
    main()
