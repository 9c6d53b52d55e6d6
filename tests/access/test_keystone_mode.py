"""Keystone mode where there is no Keystone; tests/keystone has a real one."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from pecan.configuration import conf_from_file

from marconi_api.controllers.access.keystone import Keystone
from marconi_api.processes.installation import OPERATOR_FILES
from marconi_api.processes.settings import SettingsError, complete
from marconi_api.wire.failures import IdentityUnavailable

SETTINGS = {
    'auth_type': 'password',
    'username': 'marconi',
    'password': 'SECRET',
    'http_connect_timeout': 5,
    'http_request_max_retries': 0,
}


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def failing_keystone(port: int) -> Keystone:
    """One that has been asked once, when nobody listened."""
    keystone = Keystone({**SETTINGS, 'auth_url': f'http://127.0.0.1:{port}/v3'}, {})
    with pytest.raises(IdentityUnavailable):
        keystone.look_up('first')
    return keystone


def test_a_keystone_that_has_failed_is_left_alone_for_a_moment() -> None:
    port = free_port()
    keystone = failing_keystone(port)

    with socket.create_server(('127.0.0.1', port)) as listener:
        with pytest.raises(IdentityUnavailable):
            keystone.look_up('second')
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_keystone_that_has_failed_is_asked_by_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('marconi_api.controllers.access.keystone.PAUSE', 0.0)
    port = free_port()
    keystone = failing_keystone(port)

    with socket.create_server(('127.0.0.1', port)) as listener, ThreadPoolExecutor(1) as other:
        asked = other.submit(keystone.look_up, 'second')
        connection, _ = listener.accept()
        # It never answers.
        with connection, pytest.raises(IdentityUnavailable):
            keystone.look_up('third')

        assert isinstance(asked.exception(), IdentityUnavailable)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_what_cannot_be_a_token_is_not_asked_for() -> None:
    keystone = Keystone({**SETTINGS, 'auth_url': f'http://127.0.0.1:{free_port()}/v3'}, {})

    for text in ('', ' ', 'two words', 'schlüssel', 'x' * 3000):
        assert keystone.look_up(text) is None


@pytest.mark.parametrize(
    ('setting', 'said'),
    [({'usrname': 'x'}, 'no such option usrname'), ({'http_connect_timeout': 'soon'}, "'soon'")],
)
def test_a_mistake_in_its_settings_is_named(setting: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Keystone({**SETTINGS, 'auth_url': 'http://127.0.0.1:1/v3', **setting}, {})


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ({}, 'set MARCONI_KEYSTONE_URL'),
        ({'auth_url': 'http://127.0.0.1:1/v3'}, 'set MARCONI_KEYSTONE_PASSWORD'),
    ],
)
def test_settings_that_cannot_ask_keystone_are_refused(given: dict[str, str], said: str) -> None:
    settings = conf_from_file(str(OPERATOR_FILES / 'config.py'))
    settings.access.mode = 'keystone'
    settings.keystone = {**settings.keystone.to_dict(), **given}

    with pytest.raises(SettingsError, match=said):
        complete(settings)
