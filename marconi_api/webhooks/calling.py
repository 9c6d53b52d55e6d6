"""One call of a subscriber: a POST over HTTP, to an address that was checked.

Each call makes a connection of its own, since the address is checked when the connection is made. The
host's name is looked up once, and the call connects to one of the addresses that were found. So nobody
can make the name lead to another address between the check and the call. Redirects are not followed,
and no proxy is used.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import ip_address
from typing import Any

import aiodns
import httpcore

from marconi_api.webhooks.addresses import Address
from marconi_api.webhooks.rules import ForbiddenAddress, Rules, Target

log = logging.getLogger(__name__)

#: Seconds to look up the address and to connect.
CONNECT_TIMEOUT = 5.0

#: Bytes of an answer, its headers included, that are read at most.
MOST_OF_AN_ANSWER = 64 * 1024

TIMEOUT = 'timeout'
REFUSED = 'refused'
RESET = 'reset'
FORBIDDEN = 'forbidden address'
TLS = 'tls'
UNKNOWN_HOST = 'unknown host'
UNREACHABLE = 'unreachable'
NOT_HTTP = 'not http'
TOO_LONG = 'answer too long'
FAILED = 'failed'

Resolve = Callable[[str, int], Awaitable[Iterable[Address]]]


@dataclass(frozen=True)
class Attempt:
    """The outcome of a call: the status of the answer, or an error in a word."""

    at: datetime
    ms: int
    status: int | None = None
    error: str | None = None
    #: Seconds after which the subscriber wants to be called again.
    retry_after: float | None = None

    @classmethod
    def now(cls, error: str | None) -> 'Attempt':
        """An attempt that failed before anybody was called."""
        return cls(datetime.now(UTC), 0, None, error)

    @property
    def has_delivered(self) -> bool:
        """Whether the subscriber has taken the message."""
        return self.status is not None and 200 <= self.status < 300


class TooLate(Exception):
    """The call was ready to be sent, but ``may_send`` said no; nothing was sent."""


class Caller:
    """Calls subscribers; many calls may be under way at once.

    :param resolve: finds the addresses of a name and a port
    :param tls: how certificates are checked; None: by the system's authorities
    """

    def __init__(
        self, rules: Rules, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._rules = rules
        self._names = Names()
        self._resolve = resolve or self._names
        self._tls = tls

    async def close(self) -> None:
        """Give up the look-ups under way; call it before the loop of the calls is closed."""
        await self._names.close()

    async def call(
        self,
        target: Target,
        headers: Mapping[str, str],
        body: bytes,
        seconds: float,
        may_send: Callable[[], bool] = lambda: True,
    ) -> Attempt:
        """POST ``body`` once; the attempt that is returned says what went wrong, if anything did.

        :param headers: the headers beside Host and Content-Length
        :param seconds: for the whole call, however slowly the answer comes
        :param may_send: called once there is a connection, as the process may have been stopped since
        :raises TooLate: if ``may_send`` returns False; nothing was sent
        """
        at, began = datetime.now(UTC), time.monotonic()
        status: int | None = None
        retry_after = error = None
        try:
            async with asyncio.timeout(seconds), self._connection(target, may_send) as connection:
                response = await connection.handle_async_request(_request(target, headers, body))
                status, retry_after = response.status, _retry_after(response.headers)
                await _read(response)
        except TooLate:
            raise
        except Exception as failure:
            # Once there is a status, the rest of the answer does not matter.
            error = _word(failure) if status is None else None
        ms = round((time.monotonic() - began) * 1000)
        return Attempt(at, ms, status, error, retry_after)

    def _connection(
        self, target: Target, may_send: Callable[[], bool]
    ) -> httpcore.AsyncHTTPConnection:
        return httpcore.AsyncHTTPConnection(
            _url(target).origin,
            ssl_context=(self._tls or _tls()) if target.scheme == 'https' else None,
            network_backend=_Network(target, self._rules, self._resolve, may_send),
        )


def _url(target: Target) -> httpcore.URL:
    return httpcore.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> httpcore.Request:
    all_headers = {
        'Host': target.authority,
        **headers,
        'Content-Length': str(len(body)),
        'Connection': 'close',
    }
    return httpcore.Request('POST', _url(target), headers=list(all_headers.items()), content=body)


async def _read(response: httpcore.Response) -> None:
    """Read the rest of the answer, within bounds: a subscriber takes an early close for a failure."""
    async for _ in response.aiter_stream():
        pass


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """The seconds of the header Retry-After; None if it is absent or cannot be read."""
    for name, value in headers:
        if name.lower() == b'retry-after':
            text = value.decode('latin-1').strip()
            if text.isascii() and text.isdigit():
                return float(text[:9])
            with suppress(ValueError, TypeError, OverflowError):
                until = parsedate_to_datetime(text)
                return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return None


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _AnswerTooLong(Exception):
    """The answer has more than is read."""


class _UnknownHost(Exception):
    """A name has no address."""


# The word for an exception: the first class that fits the exception or one of its causes.
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, TIMEOUT),
    (ForbiddenAddress, FORBIDDEN),
    (_UnknownHost, UNKNOWN_HOST),
    (_AnswerTooLong, TOO_LONG),
    (ssl.SSLError, TLS),
    (ConnectionRefusedError, REFUSED),
    (ConnectionError, RESET),
    (OSError, UNREACHABLE),
)


def _word(failure: BaseException) -> str:
    cause: BaseException | None = failure
    while cause is not None:
        for kind, word in _WORDS:
            if isinstance(cause, kind):
                return word
        cause = cause.__cause__ or cause.__context__
    if isinstance(failure, httpcore.RemoteProtocolError):
        return RESET if 'disconnected' in str(failure) else NOT_HTTP
    log.error('a call failed in a way that was not foreseen', exc_info=failure)
    return FAILED


class _Network(httpcore.AsyncNetworkBackend):
    """Connects to an address of one target that was checked just before."""

    def __init__(
        self, target: Target, rules: Rules, resolve: Resolve, may_send: Callable[[], bool]
    ) -> None:
        self._target = target
        self._rules = rules
        self._resolve = resolve
        self._may_send = may_send

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> '_Stream':
        """Connect to the first address that may be called and accepts.

        :raises ForbiddenAddress: if none may be called
        """
        async with asyncio.timeout(CONNECT_TIMEOUT):
            failure: Exception | None = None
            for address in await self._addresses():
                try:
                    self._rules.check_address(address)
                    return await self._connect(address, port)
                except (ForbiddenAddress, OSError) as error:
                    # The last failure is raised. A forbidden address does not replace the failure of an
                    # address that may be called.
                    if not (failure and isinstance(error, ForbiddenAddress)):
                        failure = error
            raise failure or _UnknownHost(host)

    async def _connect(self, address: Address, port: int) -> '_Stream':
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        connected = socket.socket(family, socket.SOCK_STREAM)
        try:
            connected.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connected, (str(address), port))
            stream = _Stream(connected, self._may_send)
            if self._target.scheme != 'https':
                await stream.open()
            return stream
        except BaseException:
            connected.close()
            raise

    async def _addresses(self) -> Iterable[Address]:
        if self._target.address is not None:
            return [self._target.address]
        return await self._resolve(self._target.host, self._target.port)


class Names:
    """Finds the addresses of names, many at once: a silent name server does not hold up other calls.

    The system's resolver is not used, since each of its look-ups holds a thread. This one reads the same
    /etc/resolv.conf and /etc/hosts.

    :param options: of ``aiodns.DNSResolver``
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._resolver: aiodns.DNSResolver | None = None

    async def __call__(self, host: str, port: int) -> list[Address]:
        """The addresses of a name.

        :raises _UnknownHost: if it has none
        """
        loop = asyncio.get_running_loop()
        if self._resolver is None or self._resolver.loop is not loop:
            self._resolver = aiodns.DNSResolver(loop=loop, **self._options)
        try:
            found = await self._resolver.getaddrinfo(host, port=port, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise _UnknownHost(host) from error
        return [ip_address(node.addr[0].decode()) for node in found.nodes]

    async def close(self) -> None:
        """Give up the look-ups under way; call it before their loop is closed."""
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None


class _Stream(httpcore.AsyncNetworkStream):
    """A connection, in plain text or in TLS, from which a bounded number of bytes is read."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter | None = None

    def __init__(self, connected: socket.socket, may_send: Callable[[], bool]) -> None:
        self._connected = connected
        self._may_send = may_send
        self._bytes_left = MOST_OF_AN_ANSWER

    async def open(self, **tls: Any) -> None:
        """Begin to read and write.

        :param tls: how, if it is to be TLS, as :func:`asyncio.open_connection` takes it
        """
        self._reader, self._writer = await asyncio.open_connection(sock=self._connected, **tls)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> '_Stream':
        try:
            await self.open(ssl=ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._connected.close()
            raise
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._bytes_left:
            raise _AnswerTooLong
        data = await self._reader.read(min(max_bytes, self._bytes_left))
        self._bytes_left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        assert self._writer
        if not self._may_send():
            raise TooLate
        try:
            self._writer.write(buffer)
            await self._writer.drain()
        except ConnectionError as error:
            # On this error httpcore looks for an answer: some servers refuse a body before they have
            # read it.
            raise httpcore.WriteError from error

    async def aclose(self) -> None:
        # Bytes that were not sent are dropped: a subscriber that does not read must not hold us up.
        if self._writer:
            self._writer.transport.abort()
        else:
            self._connected.close()

    def get_extra_info(self, info: str) -> Any:
        return None
