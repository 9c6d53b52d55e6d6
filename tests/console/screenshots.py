"""Remakes the pictures of docs/console.md: `python -m tests.console.screenshots [MINUTES]`.

It has a shop at work for so many minutes, twelve if nothing is said, so that there are plots to be seen. It
needs Debian's chromium and chromium-driver.
"""

import contextlib
import json
import random
import sys
import threading
import time
from base64 import b64decode
from typing import Any

from marconi_api.processes.installation import CHECKOUT
from tests.browser import Browser, chromium
from tests.running_service import CALLS_WEBHOOKS, HEADERS, Service, services

DIRECTORY = CHECKOUT / 'docs' / 'console'

MINUTES = 12

#: Pixels from the top that are shown of a page.
HIGHEST = 1700

#: Each picture: its name, the page, the colors and the width. SUBSCRIPTION stands for the id of one.
PICTURES = (
    ('queues', '?project=acme', 'light', 900),
    ('queue', '/queues/invoices?project=acme', 'dark', 900),
    ('phone', '/queues/invoices/messages?project=acme&state=parked', 'light', 390),
    ('subscription', '/queues/orders/subscriptions/SUBSCRIPTION?project=acme', 'light', 900),
)

#: The queues of the shop: messages a second that come at most, and that its workers can do.
TRADE = {'invoices': (6, 4), 'letters': (2, 3), 'orders': (9, 8), 'stock': (4, 9)}


def send(service: Service, method: str, path: str, body: Any = None) -> Any:
    """What the API answers."""
    with contextlib.closing(service.connect()) as connection:
        connection.request(method, path, json.dumps(body), HEADERS | {'X-Project-Id': 'acme'})
        response = connection.getresponse()
        content = response.read()
    assert response.status < 300, content
    return json.loads(content) if content else None


def post(service: Service, queue: str, count: int) -> None:
    """Post messages as a shop would."""
    bodies = [{'body': {'order': random.randint(1000, 9999), 'total': '12.50'}}] * count
    send(service, 'POST', f'/v2/queues/{queue}/messages', {'messages': bodies})


def claim(service: Service, queue: str, limit: int, ttl: int) -> list[Any]:
    """What a worker gets."""
    path = f'/v2/queues/{queue}/claims?limit={limit}'
    claimed = send(service, 'POST', path, {'ttl': ttl})
    return list(claimed['messages']) if claimed else []


def trade(service: Service, queue: str, stop: threading.Event) -> None:
    """Let messages come in waves, and workers take what they can."""
    come, done = TRADE[queue]
    chance = random.Random(queue)
    wave = 0.5
    while not stop.wait(1):
        wave = min(1.0, max(0.0, wave + chance.uniform(-0.15, 0.15)))
        if count := round(come * wave):
            post(service, queue, count)
        for message in claim(service, queue, chance.randint(1, done), 300):
            send(service, 'DELETE', message['href'])


def begin(service: Service) -> None:
    """Make queues with what has gone wrong in them before."""
    post(service, 'invoices', 14)
    for message in claim(service, 'invoices', 3, 300):
        path, _, query = message['href'].partition('?')
        reason = {'reason': 'The customer has no address.'}
        send(service, 'POST', f'{path}/park?{query}', reason)
    send(service, 'PUT', '/v2/queues/returns', {})
    # No such host: all calls fail.
    subscriber = {'subscriber': 'https://shop.invalid/orders'}
    send(service, 'POST', '/v2/queues/orders/subscriptions', subscriber)
    post(service, 'orders', 3)


def work(service: Service, minutes: float) -> None:
    """Have the shop at work for so many minutes."""
    stop = threading.Event()
    traders = [threading.Thread(target=trade, args=(service, queue, stop)) for queue in TRADE]
    for trader in traders:
        trader.start()
    time.sleep(minutes * 60)
    stop.set()
    for trader in traders:
        trader.join()
    post(service, 'invoices', 6)
    claim(service, 'invoices', 4, 300)
    claim(service, 'invoices', 2, 1800)


def take(browser: Browser, url: str, colors: str, width: int) -> bytes:
    """A page as PNG, as much of it as a picture shows."""
    feature = {'name': 'prefers-color-scheme', 'value': colors}
    browser.set_up('Emulation.setEmulatedMedia', features=[feature])
    size = {'width': width, 'height': 300, 'deviceScaleFactor': 1, 'mobile': width < 500}
    browser.set_up('Emulation.setDeviceMetricsOverride', **size)
    browser.open(url)
    while 'Being counted' in browser.run('return document.body.innerText'):
        time.sleep(0.1)
    height = browser.run('return document.documentElement.scrollHeight')
    size['height'] = min(height, HIGHEST)
    browser.set_up('Emulation.setDeviceMetricsOverride', **size)
    return b64decode(browser.set_up('Page.captureScreenshot', format='png')['data'])


def main() -> None:
    """Take all of them."""
    minutes = float(sys.argv[1]) if sys.argv[1:] else MINUTES
    DIRECTORY.mkdir(exist_ok=True)
    with services() as start:
        service = start(**CALLS_WEBHOOKS).wait_until_ready()
        begin(service)
        work(service, minutes)
        found = send(service, 'GET', '/v2/queues/orders/subscriptions')['subscriptions']
        with chromium() as browser:
            for name, path, colors, width in PICTURES:
                page = path.replace('SUBSCRIPTION', found[0]['id'])
                url = f'http://127.0.0.1:{service.port}/console{page}'
                (DIRECTORY / f'{name}.png').write_bytes(take(browser, url, colors, width))


if __name__ == '__main__':
    main()
