"""One connection to a service, and what its answers mean."""

import http.client
import ssl
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from marconi_api.commands.failures import CommandFailed, NothingFound, WrongUse

# Seconds; the service gives a request up earlier.
_TIMEOUT = 70
_SHOWN = 200

# Redirects are not followed: the token would go along, to whoever is named there.


class NotThere(NothingFound):
    """404: what the path names does not exist."""


class Unfinished(CommandFailed):
    """503 ``Not finished``: the same request again goes on."""


class _Error(msgspec.Struct):
    title: str = ''
    description: str = ''


class Client:
    """Sends requests to one service, one after the other.

    :param url: of the service, ``http://host:port``, with a path if a proxy has one before ours
    """

    def __init__(self, url: str, token: str, project: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ('http', 'https') or not parts.hostname or port == -1 or parts.query:
            raise WrongUse('--url must be of the form http://host:port or https://host:port')
        if parts.username is not None:
            raise WrongUse('--url must not hold a user or a password: use --token')
        self._shown = f'{parts.scheme}://{parts.netloc}'
        self._path = parts.path.rstrip('/')
        self._connection: http.client.HTTPConnection = (
            http.client.HTTPConnection(parts.hostname, port, timeout=_TIMEOUT)
            if parts.scheme == 'http'
            else http.client.HTTPSConnection(
                parts.hostname, port, timeout=_TIMEOUT, context=ssl.create_default_context()
            )
        )
        self._headers = {'Client-ID': str(uuid4()), 'Accept': 'application/json'}
        if project:
            self._headers['X-Project-Id'] = project
        if token:
            self._headers['Authorization'] = f'Bearer {token}'

    def get(self, path: str, document: type[Any]) -> Any:
        """What is at a path, as ``document`` says that it is made."""
        _, body = self.call('GET', path)
        return self.read(body, document)

    def call(
        self, method: str, path: str, document: Any = None
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Send a request; the headers and the body of an answer that is no error.

        :raises WrongUse: for a 400, in the service's words
        :raises NotThere: for a 404
        :raises CommandFailed: for any other failure
        """
        body = None if document is None else msgspec.json.encode(document)
        headers = self._headers | ({'Content-Type': 'application/json'} if body else {})
        try:
            answer = self._send(method, self._path + path, body, headers)
            content = answer.read()
        except (UnicodeEncodeError, ValueError):
            raise WrongUse(
                'the project or the token has characters that no header can hold'
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f'cannot reach {self._shown}: {_said(error)}') from None
        if answer.status >= 300:
            raise self._failure(answer.status, content)
        return answer.headers, content

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        is_new = self._connection.sock is None
        try:
            self._connection.request(method, path, body, headers)
            return self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection.close()
            # A service may close a connection between two requests.
            if is_new or method != 'GET':
                raise
            self._connection.request(method, path, body, headers)
            return self._connection.getresponse()

    def read(self, body: bytes, document: type[Any]) -> Any:
        """The body of an answer."""
        try:
            return msgspec.json.decode(body, type=document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandFailed(f'{self._shown} does not answer as Marconi does: {error}') from None

    def _failure(self, status: int, body: bytes) -> CommandFailed:
        try:
            error = msgspec.json.decode(body, type=_Error)
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = _Error()
        said = (error.description or error.title or f'status {status}')[:_SHOWN]
        told = f'{self._shown} says: {said}'
        if status == 400:
            return WrongUse(told)
        if status == 404:
            return NotThere(told)
        if status == 503 and error.title == 'Not finished':
            return Unfinished(told)
        if status == 401:
            return CommandFailed(f'{told} (401): set MARCONI_TOKEN to a token that is good there')
        return CommandFailed(f'{told} ({status})')


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
