"""Which IP addresses a webhook may call: those of the public Internet, and what the operator allows.

The networks are those of IANA's registries of special-purpose addresses (RFC 6890). Python's
``is_global`` is not used: what it says depends on Python's release.
"""

import re
import socket
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            '0.0.0.0/8',  # this host; connects to this machine
            '10.0.0.0/8',  # private
            '100.64.0.0/10',  # carrier-grade NAT, and the metadata of Alibaba Cloud
            '127.0.0.0/8',  # loopback
            '168.63.129.16/32',  # the host of a virtual machine at Azure
            '169.254.0.0/16',  # link-local, and the metadata of most clouds
            '172.16.0.0/12',  # private
            '192.0.0.0/24',  # of the IETF's protocols, and the metadata of Oracle's cloud
            '192.0.2.0/24',  # documentation
            '192.88.99.0/24',  # relays of 6to4
            '192.168.0.0/16',  # private
            '198.18.0.0/15',  # benchmarks
            '198.51.100.0/24',  # documentation
            '203.0.113.0/24',  # documentation
            '224.0.0.0/4',  # multicast
            '240.0.0.0/4',  # reserved, and broadcast
            '2001::/23',  # of the IETF's protocols: Teredo, benchmarks, ORCHID
            '2001:db8::/32',  # documentation
            '2002::/16',  # 6to4
            '3fff::/20',  # documentation
        ),
    )
)

# The public addresses of IPv6. Outside lie loopback, link-local, private and multicast addresses, and
# those that hold an IPv4 address: mapped, compatible, NAT64.
_PUBLIC_V6 = ip_network('2000::/3')

# The first half of an interface identifier of ISATAP (RFC 5214); an IPv4 address follows it.
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})

# A host whose last part is a number, decimal or hexadecimal, can only be an IPv4 address.
_ENDS_IN_A_NUMBER = re.compile(r'(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)$')


def is_public(address: Address) -> bool:
    """Whether the address is one that anybody in the Internet may have."""
    if address.version == 6 and (address not in _PUBLIC_V6 or _is_isatap(address)):
        return False
    return not any(address in network for network in _NOT_PUBLIC)


def _is_isatap(address: IPv6Address) -> bool:
    return int(address) >> 32 & 0xFFFFFFFF in _ISATAP


def may_be_called(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether it is public, or in a network that the operator allows.

    An IPv4 address within an IPv6 one is taken for the latter.
    """
    return is_public(address) or any(address in network for network in allowed)


def written_address(host: str) -> Address | None:
    """The address that a host stands for, in any spelling that a resolver takes; None for a name.

    IPv4 may be decimal, octal, hexadecimal, and have fewer parts than four.

    :param host: in ASCII, without brackets
    :raises ValueError: if it is written like an address, but is not a valid one
    """
    if ':' in host:
        if '%' in host:
            raise ValueError('the address has a zone')
        return ip_address(host)
    if not _ENDS_IN_A_NUMBER.search(host):
        return None
    try:
        # inet_aton ignores what follows a space, but a host has no space.
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        raise ValueError('the address has wrong numbers') from None
