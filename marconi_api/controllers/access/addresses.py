"""The address from which a request comes, behind proxies, too."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any


class Addresses:
    """Tells the addresses of clients.

    :param trusted: addresses, or networks such as ``10.0.0.0/8``, of proxies that append to
        ``X-Forwarded-For`` who sent them the request
    :raises ValueError: if an entry is neither an address nor a network
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = [ip_network(one) for one in trusted]

    def of(self, environ: Mapping[str, Any]) -> str:
        """The address that the outermost trusted proxy saw.

        The part of ``X-Forwarded-For`` before that address comes from the client, which can write
        anything there.
        """
        address: str = environ.get('REMOTE_ADDR', '')
        if not self._trusted:
            return address
        sent_by = environ.get('HTTP_X_FORWARDED_FOR', '').split(',')
        while sent_by and self._is_trusted(address):
            previous = sent_by.pop().strip()
            if not _is_address(previous):
                break
            address = previous
        return address

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in one for one in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
