"""Who is believed, and where Marconi refuses to believe everybody."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pecan.configuration import conf_from_file

from marconi_api.controllers.access.modes import is_loopback
from marconi_api.processes.failures import ServiceError
from marconi_api.processes.installation import OPERATOR_FILES
from marconi_api.processes.listener import Listener
from marconi_api.processes.settings import SettingsError, complete
from marconi_api.processes.signals import StopRequest
from marconi_api.processes.supervisor import mode_of_access
from tests.running_service import refused, services


def settings(**access: Any) -> Any:
    """The settings as they are shipped, but for those of access."""
    found = conf_from_file(str(OPERATOR_FILES / 'config.py'))
    for name, value in access.items():
        found.access[name] = value
    return found


@pytest.fixture(params=['0.0.0.0', '::'])
def everywhere(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """Every interface, taken but not listened on: nobody can reach it."""
    server = settings().server
    server.host, server.port = request.param, '0'
    listener = Listener(server, StopRequest())
    yield listener
    listener.close()


def test_a_service_for_other_machines_does_not_start_before_somebody_has_said_who_gets_in() -> None:
    with services() as start:
        line = refused(start(HOST='0.0.0.0'))

    assert 'could use any project: set MARCONI_ACCESS to token or keystone' in line


def test_a_start_that_is_refused_makes_no_data_directory() -> None:
    with services(prepared=False) as start:
        service = start(HOST='0.0.0.0')
        refused(service)

        assert not service.data_dir.exists()


def test_every_interface_asks_for_a_mode(everywhere: Listener) -> None:
    with pytest.raises(ServiceError, match='set MARCONI_ACCESS'):
        mode_of_access(settings(), everywhere.address)


def test_who_believes_everybody_is_told_so_once(
    everywhere: Listener, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        assert mode_of_access(settings(mode='trusted'), everywhere.address) == 'trusted'

    said = f'any program that reaches {everywhere.address} may use any project'
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert capsys.readouterr().err.count(said) == 1


@pytest.mark.parametrize('mode', ['token', 'keystone'])
def test_a_mode_that_asks_for_credentials_needs_no_warning(
    everywhere: Listener, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert mode_of_access(settings(mode=mode), everywhere.address) == mode
    assert caplog.records == []


@pytest.mark.parametrize(
    ('host', 'is_of_this_machine'),
    [
        ('127.0.0.1', True),
        ('127.8.9.10', True),
        ('::1', True),
        ('localhost', True),
        ('0.0.0.0', False),
        ('::', False),
        ('192.0.2.1', False),
        ('fe80::1%eth0', False),
        ('marconi.example', False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, is_of_this_machine: bool) -> None:
    assert is_loopback(host) is is_of_this_machine


@pytest.mark.parametrize(
    ('access', 'said'),
    [
        ({'mode': 'open'}, "access.mode must be trusted, token or keystone, not 'open'"),
        ({'roles': {'member': 'boss'}}, "access.roles: 'member' must be one of producer, "),
    ],
)
def test_a_mistake_in_the_settings_is_named(access: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        complete(settings(**access))


@pytest.mark.parametrize('proxies', ['10.0.0.1', ['proxy.example'], ['10.0.0.0/33'], [None]])
def test_a_proxy_that_is_not_an_address_is_named(proxies: Any) -> None:
    config = settings()
    config.server.trusted_proxies = proxies

    with pytest.raises(SettingsError, match='trusted_proxies must be a list of addresses'):
        complete(config)
