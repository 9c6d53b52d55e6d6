"""A browser's EventSource follows a queue through nginx, and goes on where it was cut off.

The browser runs the script of docs/waiting.md.
"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.browser import Browser, chromium, with_chromium
from tests.directories import open_directory
from tests.nginx import nginx, with_nginx
from tests.processes import with_descendants
from tests.running_service import Service, Start, services, wait_until
from tests.waiting.waiters import counters, post, room_of, unused

pytestmark = [pytest.mark.slow, with_chromium, with_nginx]


#: Lets a test see the stream of the page.
KEPT_STREAM = """
window.EventSource = class extends EventSource {
    constructor(url) { super(url); window.stream = this; }
}"""


class Site(NamedTuple):
    """A service, the nginx before it, and a browser."""

    start: Start
    running: list[Service]
    proxy_directory: Path
    browser: Browser
    url: str

    @property
    def service(self) -> Service:
        return self.running[-1]

    def shown(self) -> Any:
        """The bodies of the messages that the page has been told of."""
        return self.browser.run('return window.shown')

    def follow(self, queue: str, marker: str | None = None) -> None:
        """Let the page follow a queue, and wait until it does."""
        # A page of the site: it has no script of its own.
        self.browser.open(f'{self.url}/openapi.json')
        wait_until(lambda: counters(self.service).waiting == 0)
        self.browser.run(
            f'{script_of_the_page()}; {KEPT_STREAM}; window.shown = [];'
            'follow(arguments[0], message => window.shown.push(message.body), arguments[1])',
            *(queue, marker),
        )
        wait_until(lambda: counters(self.service).waiting == 1)
        # Before the browser has the beginning of the stream, it does not know where to go on.
        wait_until(lambda: self.browser.run('return window.stream.readyState') == 1)

    def wait_until_shown(self, *expected: Any) -> None:
        """Wait until the page was told of as many messages; they are these."""
        wait_until(lambda: len(self.shown()) >= len(expected))
        assert self.shown() == list(expected)


def script_of_the_page() -> str:
    """The script of docs/waiting.md."""
    page = (CHECKOUT / 'docs' / 'waiting.md').read_text()
    [script] = re.findall(r'^```js\n(.*?)^```$', page, flags=re.MULTILINE | re.DOTALL)
    return str(script)


@pytest.fixture(scope='module')
def site() -> Iterator[Site]:
    with services() as start, open_directory() as directory:
        service = start().wait_until_ready()
        replaced = {
            '127.0.0.1:8888': f'127.0.0.1:{service.port}',
            'auth_basic           "Marconi"': 'auth_basic off',
            '$marconi_project;': 'acme;',
        }
        with nginx(directory, replaced) as port, chromium() as browser:
            yield Site(start, [service], directory, browser, f'http://127.0.0.1:{port}')


def test_a_page_is_told_of_what_is_posted(site: Site) -> None:
    queue = unused('jobs')
    post(site.service, queue, 'before')
    site.follow(queue)

    post(site.service, queue, 1, {'two': 'zwei'})

    site.wait_until_shown(1, {'two': 'zwei'})


def test_a_page_begins_after_a_marker(site: Site) -> None:
    queue = unused('jobs')
    first, *_ = post(site.service, queue, 1, 2, 3)

    site.follow(queue, first.rpartition('/')[2])

    site.wait_until_shown(2, 3)


def kill_room(site: Site) -> None:
    """Kill what sends the stream."""
    os.kill(room_of(site.service), signal.SIGKILL)


def reset_connection(site: Site) -> None:
    """Kill the process of nginx that has the browser's connection; nginx starts another one."""
    master = int((site.proxy_directory / 'pid').read_text())
    for pid in with_descendants(master)[1:]:
        os.kill(pid, signal.SIGKILL)


def restart_service(site: Site) -> None:
    """Let nginx answer 502 for some seconds: EventSource then gives up by itself."""
    port = site.service.port
    site.service.end(signal.SIGTERM)
    site.running.append(site.start(PORT=str(port)).wait_until_ready())


@pytest.mark.parametrize('cut_off', [kill_room, reset_connection, restart_service])
def test_a_page_that_was_cut_off_goes_on_without_a_gap(site: Site, cut_off: Any) -> None:
    queue = unused('jobs')
    site.follow(queue)
    post(site.service, queue, 1, 2)
    site.wait_until_shown(1, 2)

    cut_off(site)
    post(site.service, queue, 3)
    post(site.service, queue, 4)

    site.wait_until_shown(1, 2, 3, 4)


@pytest.mark.parametrize('cut_off', [kill_room, reset_connection])
def test_a_page_that_was_cut_off_before_the_first_message_misses_nothing(
    site: Site, cut_off: Any
) -> None:
    queue = unused('jobs')
    site.follow(queue)

    cut_off(site)
    post(site.service, queue, 1)

    site.wait_until_shown(1)
