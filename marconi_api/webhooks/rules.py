"""Which URLs a webhook may have, as the section ``eventing`` of config.py says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import idna

from marconi_api.errors import InvalidRequest
from marconi_api.webhooks.addresses import Address, Network, may_be_called, written_address

#: Schemes of a URL that can be called, with their ports.
PORTS = {'http': 80, 'https': 443}

#: The scheme of a subscriber that gets mail.
MAILTO = 'mailto:'

_MOST_IN_A_URL = 2000
_MOST_IN_A_HOST = 253

# Underscores are not allowed in host names, but resolvers accept them.
_NAME = re.compile(r'[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*')

# Characters that parsers of URLs read in different ways: urlsplit drops tabs and line breaks, and some
# parsers take a backslash for a slash.
_MISLEADING = re.compile(r'[\x00-\x20\x7f\\]')


@dataclass(frozen=True)
class Target:
    """Where a webhook is called.

    :param host: a name in ASCII, lower case, without a dot at its end; or an address in its usual
        spelling
    :param path: the path with the query
    """

    scheme: str
    host: str
    port: int
    path: str
    #: The address that ``host`` is; None if it is a name.
    address: Address | None

    @property
    def authority(self) -> str:
        """Host and port as the header Host has them."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f'{host}:{self.port}'


@dataclass(frozen=True)
class Rules:
    """What the operator allows beside the public Internet, at which ports, and who sends mail."""

    networks: tuple[Network, ...]
    ports: frozenset[int]
    smtp_url: str | None = None

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> 'Rules':
        """The rules that ``section`` sets; see :func:`contradiction`."""
        return cls(
            tuple(ip_network(str(network)) for network in section['allowed_networks']),
            frozenset(section['allowed_ports']),
            section.get('smtp_url'),
        )

    def target(self, url: str) -> Target:
        """The target of a URL; no name is looked up.

        :raises InvalidRequest: if no webhook may have the URL; it says what to change
        """
        if len(url) > _MOST_IN_A_URL:
            raise InvalidRequest(f'The URL must not exceed {_MOST_IN_A_URL} characters.')
        if _MISLEADING.search(url):
            raise InvalidRequest('The URL must have no spaces, control characters or backslashes.')
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or '', parts.port
        except ValueError as error:
            raise InvalidRequest(f'The URL is malformed: {error}.') from None
        if parts.scheme not in PORTS:
            raise InvalidRequest('The URL must begin with http:// or https://.')
        if '@' in parts.netloc:
            raise InvalidRequest(
                'The URL must have no user and no password: put credentials into '
                'post_headers, as Authorization.'
            )
        path = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
        if not path.isascii():
            raise InvalidRequest(
                'The path of the URL must have other than ASCII characters encoded by %.'
            )
        port = PORTS[parts.scheme] if port is None else port
        self._check_port(port)
        if '[' in parts.netloc and ':' not in host:
            raise InvalidRequest('The host of the URL has brackets, but is not an address of IPv6.')
        name, address = _host(host)
        if address is not None:
            self.check_address(address)
        return Target(parts.scheme, name, port, path, address)

    def _check_port(self, port: int) -> None:
        if port not in self.ports:
            allowed = ', '.join(map(str, sorted(self.ports)))
            raise InvalidRequest(f'The port of the URL must be one of {allowed}, not {port}.')

    def check_address(self, address: Address) -> None:
        """Refuse an address that must not be called.

        :raises ForbiddenAddress: which is an InvalidRequest
        """
        if not may_be_called(address, self.networks):
            raise ForbiddenAddress(
                f'The address {address} must not be called: it is not of the public Internet, and '
                'not in eventing.allowed_networks of this service.'
            )


class ForbiddenAddress(InvalidRequest):
    """A URL leads to an address that must not be called."""


# One mail address, without characters that could be read as a second address or as another header.
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}")


def check_mail_address(subscriber: str) -> None:
    """Refuse what is not ``mailto:`` and one address.

    :raises InvalidRequest: if it is not
    """
    if not _ADDRESS.fullmatch(subscriber.removeprefix(MAILTO)):
        raise InvalidRequest('A subscriber mailto: must be followed by one address, in ASCII.')


def _host(host: str) -> tuple[str, Address | None]:
    """The name of a host as it is looked up, or the address that is written there."""
    try:
        ascii_host = host if host.isascii() else idna.encode(host, uts46=True).decode()
        ascii_host = ascii_host.lower().removesuffix('.')
        address = written_address(ascii_host)
    except ValueError as error:
        raise InvalidRequest(f'The host of the URL is not valid: {error}.') from None
    if address is not None:
        return str(address), address
    if len(ascii_host) > _MOST_IN_A_HOST or not _NAME.fullmatch(ascii_host):
        raise InvalidRequest('The host of the URL is neither a name nor an address.')
    if ascii_host == 'localhost' or ascii_host.endswith('.localhost'):
        # RFC 6761: localhost is always this machine.
        return ascii_host, written_address('127.0.0.1')
    return ascii_host, None


def contradiction(settings: Any) -> str | None:
    """What is wrong with the section ``eventing``, in one line; None if nothing is."""
    section = settings.eventing
    if not _is_list(section.allowed_networks):
        return 'eventing.allowed_networks must be a list of networks'
    for network in section.allowed_networks:
        try:
            ip_network(str(network))
        except ValueError as error:
            return f"eventing.allowed_networks must be a list such as ['10.1.0.0/16']: {error}"
    if not _is_list(section.allowed_ports) or not all(map(_is_port, section.allowed_ports)):
        return (
            'eventing.allowed_ports must be a list of numbers from 1 to 65535, not '
            f'{section.allowed_ports!r}'
        )
    if section.smtp_url is not None and _wrong_smtp_url(section.smtp_url):
        return (
            'eventing.smtp_url must be of the form smtp://host:25 or smtps://user:password@host:465'
        )
    if (
        section.require_confirmation
        and settings.database.url
        and not settings.signed_urls.secret_keys
    ):
        # With the embedded PostgreSQL there is a key.
        return (
            'eventing.require_confirmation needs a key to sign with: set MARCONI_SIGNING_KEYS, or'
            ' signed_urls.secret_keys'
        )
    if type(section.processes) is not int:
        return f'eventing.processes must be a whole number, not {section.processes!r}'
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_port(value: Any) -> bool:
    return type(value) is int and 0 < value < 65536


def _wrong_smtp_url(url: Any) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme not in ('smtp', 'smtps') or not parts.hostname or parts.port == 0
    except (ValueError, AttributeError, TypeError):
        return True


#: The rules of the running service; :func:`init_rules` sets them.
in_force: Rules


def init_rules(section: Mapping[str, Any]) -> None:
    """Put the section ``eventing`` of config.py in force."""
    global in_force
    in_force = Rules.from_config(section)
