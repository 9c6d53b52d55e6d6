"""The modes of access: from what it is learned who asks."""

import ipaddress
from importlib.util import find_spec
from typing import Any

from marconi_api.controllers.access.addresses import Addresses
from marconi_api.policy import ROLES

#: The service believes the headers of a request.
TRUSTED = 'trusted'
#: Clients send a token that Marconi made.
TOKEN = 'token'
#: Clients send a token of Keystone, OpenStack's identity service.
KEYSTONE = 'keystone'

MODES = (TRUSTED, TOKEN, KEYSTONE)


def mode_of(settings: Any, host: str) -> str | None:
    """The mode in which to serve on ``host``; None if the settings must name one and do not.

    :param host: an address, or ``localhost``
    """
    named: str | None = settings.access.mode
    return named or (TRUSTED if is_loopback(host) else None)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach it."""
    try:
        # An address of IPv6 may have a scope.
        return ipaddress.ip_address(host.partition('%')[0]).is_loopback
    except ValueError:
        return host == 'localhost'


def contradiction(settings: Any) -> str | None:
    """What is wrong with the settings of access, in one line; None if nothing is."""
    access = settings.access
    if access.mode is not None and access.mode not in MODES:
        return f'access.mode must be {", ".join(MODES[:-1])} or {MODES[-1]}, not {access.mode!r}'
    for name, role in dict(access.roles).items():
        if role not in ROLES:
            return f'access.roles: {name!r} must be one of {", ".join(ROLES)}, not {role!r}'
    return _untrusted(settings.server.trusted_proxies) or (
        _lacks_for_keystone(settings.keystone) if access.mode == KEYSTONE else None
    )


def _untrusted(proxies: Any) -> str | None:
    """What is wrong with the addresses of proxies; None if nothing is."""
    wanted = 'server.trusted_proxies must be a list of addresses or networks'
    if not isinstance(proxies, list | tuple):
        return f'{wanted}, not {proxies!r}'
    try:
        Addresses(proxies)
    except ValueError as error:
        return f'{wanted}: {error}'
    return None


def _lacks_for_keystone(options: Any) -> str | None:
    """What the settings for keystone mode lack; None if nothing. Their values are not checked."""
    if find_spec('keystonemiddleware') is None:
        return "access.mode keystone needs another package: pip install 'marconi-api[keystone]'"
    if not options.auth_url:
        return 'access.mode keystone needs the address of Keystone: set MARCONI_KEYSTONE_URL'
    if options.auth_type == 'password' and not options.password:
        return 'access.mode keystone needs a password: set MARCONI_KEYSTONE_PASSWORD'
    return None
