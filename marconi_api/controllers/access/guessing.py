"""Slows whoever guesses: too many wrong credentials from one address."""

import mmap
import secrets
import struct
import time
from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Any

from marconi_api.controllers.access.addresses import Addresses
from marconi_api.wire.failures import TooManyFailures

#: Seconds in which failures are counted together.
_WINDOW = 60

# Addresses that are counted at once. Two that fall into one place are not mixed up: the later
# one takes it.
_PLACES = 4096
# A place: a tag of the address, the number of the window, and the failures in it.
_PLACE = struct.Struct('=QII')


class Guessing:
    """The wrong credentials that came from each address in this minute.

    The counts lie in memory that processes share if they were forked after this was made, as the
    workers of the service are. They count without a lock: two at the same instant may count
    as one.

    :param at_most: failures a minute after which no credential is looked at; 0: no limit
    :param addresses: tells from which address a request comes
    """

    def __init__(self, at_most: int, addresses: Addresses | None = None) -> None:
        self._at_most = at_most
        self._addresses = addresses or Addresses()
        self._shared = mmap.mmap(-1, _PLACES * _PLACE.size)
        # A secret key, so that nobody can choose addresses that fall into the same place.
        self._key = secrets.token_bytes(16)

    def check(self, environ: Mapping[str, Any]) -> None:
        """Refuse to look at the credential of a request from an address with too many wrong ones.

        :raises TooManyFailures: which says how many seconds are left of this minute
        """
        if self._at_most:
            now = time.time()
            _, failures = self._found(self._addresses.of(environ), now)
            if failures >= self._at_most:
                raise TooManyFailures(_WINDOW - int(now % _WINDOW))

    def note_failure(self, environ: Mapping[str, Any]) -> None:
        """Count the wrong credential of a request."""
        if self._at_most:
            now = time.time()
            place, failures = self._found(self._addresses.of(environ), now)
            tag, offset = place
            _PLACE.pack_into(self._shared, offset, tag, int(now // _WINDOW), failures + 1)

    def _found(self, address: str, now: float) -> tuple[tuple[int, int], int]:
        """An address's tag and place, and its failures in this minute."""
        digest = blake2b(_network(address).encode(), key=self._key, digest_size=8).digest()
        tag = int.from_bytes(digest, 'big')
        offset = tag % _PLACES * _PLACE.size
        known, window, failures = _PLACE.unpack_from(self._shared, offset)
        if (known, window) != (tag, int(now // _WINDOW)):
            failures = 0
        return (tag, offset), failures


def _network(address: str) -> str:
    """The unit by which clients are counted: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return parsed.exploded[:19]
    return address
