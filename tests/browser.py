"""Debian's Chromium without a window, driven by its chromedriver as W3C's WebDriver says."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.directories import open_directory
from tests.running_service import DEADLINE, wait_until

with_chromium = pytest.mark.skipif(
    shutil.which('chromedriver') is None or shutil.which('chromium') is None,
    reason='chromium and chromedriver are not there',
)

# Root may not use the browser's sandbox, and containers have a small /dev/shm.
_OPTIONS = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu']


class Browser:
    """A window of a browser.

    :param port: of its chromedriver
    """

    def __init__(self, port: int, profile: Path) -> None:
        self._port = port
        options = {'args': [*_OPTIONS, f'--user-data-dir={profile}']}
        always = {
            'goog:chromeOptions': options,
            'goog:loggingPrefs': {'browser': 'ALL', 'performance': 'ALL'},
        }
        wanted = {'capabilities': {'alwaysMatch': always}}
        self._path = f'/session/{self._command("/session", wanted)["sessionId"]}'

    def open(self, url: str) -> None:
        """Show a page."""
        self._command(f'{self._path}/url', {'url': url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        body = {'script': script, 'args': arguments}
        return self._command(f'{self._path}/execute/sync', body)

    def run_until_called(self, script: str, *arguments: Any) -> Any:
        """What a script in the page hands to the function that is its last argument."""
        body = {'script': script, 'args': arguments}
        return self._command(f'{self._path}/execute/async', body)

    def set_up(self, command: str, **parameters: Any) -> Any:
        """Send a command of Chromium's own DevTools protocol."""
        body = {'cmd': command, 'params': parameters}
        return self._command(f'{self._path}/goog/cdp/execute', body)

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other, wherever the focus is."""
        actions = [{'type': kind, 'value': key} for key in keys for kind in ('keyDown', 'keyUp')]
        body = {'actions': [{'type': 'key', 'id': 'keyboard', 'actions': actions}]}
        self._command(f'{self._path}/actions', body)

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since this was last asked."""
        entries = self._command(f'{self._path}/se/log', {'type': 'browser'})
        return [entry['message'] for entry in entries]

    def requests(self) -> list[str]:
        """The addresses that were asked for since this was last asked."""
        entries = self._command(f'{self._path}/se/log', {'type': 'performance'})
        events = [json.loads(entry['message'])['message'] for entry in entries]
        return [
            event['params']['request']['url']
            for event in events
            if event['method'] == 'Network.requestWillBeSent'
        ]

    def close(self) -> None:
        """End the browser."""
        self._command(self._path, {}, method='DELETE')

    def _command(self, path: str, body: Any, method: str = 'POST') -> Any:
        connection = http.client.HTTPConnection('127.0.0.1', self._port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body))
            response = connection.getresponse()
            answer = json.load(response)
        assert response.status == 200, answer
        return answer['value']


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run it, in a directory of its own."""
    # It makes a socket there, whose path may have 107 bytes: too few for the directory of a test.
    with open_directory() as directory:
        yield from _chromium(directory)


def _chromium(directory: Path) -> Iterator[Browser]:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        ['chromedriver', f'--port={port}', '--log-level=OFF'],
        env=os.environ | {'HOME': str(directory), 'TMPDIR': str(directory)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def is_up() -> bool:
        assert process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port)):
            return True
        return False

    try:
        wait_until(is_up)
        with contextlib.closing(Browser(port, directory / 'profile')) as browser:
            yield browser
    finally:
        process.terminate()
        process.wait()
