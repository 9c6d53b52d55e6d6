"""The hooks of all versions: they check the headers of a request, and its signature."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pecan.core import RoutingState
from pecan.hooks import PecanHook
from webob.acceptparse import create_accept_header

from marconi_api.controllers.openstack import signed_urls
from marconi_api.errors import InvalidQueueName, MarconiError
from marconi_api.wire import framing
from marconi_api.wire.doors import Hook
from marconi_api.wire.failures import (
    EmptyProject,
    FormEncodedBody,
    InvalidClientId,
    MissingHeader,
    MissingProject,
    NotAcceptable,
    NotGranted,
)
from marconi_api.wire.replies import JSON
from marconi_api.wire.requests import Request, canonical_uuid, project_in
from marconi_api.wire.waiting import wants_stream


class IdentityHook(Hook):
    """Checks the headers as docs/protocol-v1.md, 1.1 says, in the order of 1.2; learns the project.

    :param required: whether ``Client-ID`` and ``X-Project-Id`` must be there
    :param streams: whether messages can be followed as a stream, which is not JSON
    """

    headers = ('Client-ID', 'X-Project-Id')
    raises: Sequence[type[MarconiError]] = (
        FormEncodedBody,
        InvalidClientId,
        EmptyProject,
        InvalidQueueName,
        NotAcceptable,
    )

    def __init__(self, required: bool, streams: bool = False) -> None:
        self.required = required
        self._streams = streams
        # Clients send the same headers over and over. To check each header anew took 3 us.
        self._remembered = lru_cache(maxsize=1024)(self._check)
        if required:
            self.raises = (*self.raises, MissingHeader, MissingProject)

    def before(self, request: Request) -> None:
        """Check the headers, and set the request's ``project`` and ``client_id``."""
        sent = request.environ.get
        content_type = sent('CONTENT_TYPE', '') if sent('CONTENT_LENGTH') else ''
        accept, client_id, named = (
            sent('HTTP_ACCEPT', ''),
            sent('HTTP_CLIENT_ID'),
            sent('HTTP_X_PROJECT_ID'),
        )
        # Only short headers are remembered, or clients could fill the memory.
        length = len(content_type) + len(accept) + len(client_id or '') + len(named or '')
        check = self._remembered if length < 400 else self._check
        try:
            request.client_id = check(content_type, accept, client_id, named)
        except NotAcceptable:
            if not (self._streams and wants_stream(request) and _is_of_messages(request)):
                raise
            request.client_id = check(content_type, '', client_id, named)
        project = request.project = request.identity.project
        # A credential may have set a project already, whether or not the client names it, too.
        if not project:
            if named is not None and project_in(named) == '':
                raise EmptyProject
            if self.required:
                raise MissingProject

    def _check(
        self, content_type: str, accept: str, client_id: str | None, named: str | None
    ) -> str | None:
        if _is_form(content_type):
            raise FormEncodedBody
        if not _accepts_json(accept):
            raise NotAcceptable
        if client_id is not None:
            client_id = canonical_uuid(client_id)
        elif self.required:
            raise MissingHeader('Client-ID')
        if named is not None:
            project_in(named)
        return client_id


class SignedUrlHook(PecanHook, Hook):
    """Refuses a request whose signature does not grant it (docs/protocol-v2.md, 9).

    It is a hook of the application, and so sees each request with a signature, whatever the path. A
    signature never grants paths of versions 1 and 1.1. Whatever is wrong, the answer is 404.
    """

    credentials = ('URL-Signature', 'URL-Expires', 'URL-Methods', 'URL-Paths')
    raises = (NotGranted,)

    #: The member of a WSGI environment without which it has nothing to do.
    only_with = 'HTTP_URL_SIGNATURE'

    def on_route(self, state: RoutingState) -> None:
        """Refuse a signature that does not allow this request."""
        environ = state.request.environ
        signature = environ[self.only_with]
        project = state.request.named_project or ''
        grant = _granted(environ, project)
        if not (
            grant
            and signed_urls.signer.is_signed(grant, signature)
            and grant.allows(
                environ['REQUEST_METHOD'],
                framing.path_as_sent(environ),
                project,
                signed_urls.now(),
            )
        ):
            raise NotGranted


_SIGNED = ('HTTP_URL_PATHS', 'HTTP_URL_METHODS', 'HTTP_X_PROJECT_ID', 'HTTP_URL_EXPIRES')


def _granted(environ: dict[str, Any], project: str) -> signed_urls.Grant | None:
    """The grant that the headers of a request claim; None if they are incomplete."""
    # The separators in a signed text have a backslash. With another one in a part of it, the same text
    # could stand for two grants.
    if not project or any('\\' in environ.get(name, '') for name in _SIGNED):
        return None
    try:
        expires = datetime.strptime(environ['HTTP_URL_EXPIRES'], signed_urls.TIME_FORMAT)
        return signed_urls.Grant(
            tuple(environ['HTTP_URL_PATHS'].split(',')),
            tuple(environ['HTTP_URL_METHODS'].split(',')),
            project,
            expires.replace(tzinfo=UTC),
        )
    except (KeyError, ValueError):
        return None


def _is_of_messages(request: Request) -> bool:
    path = framing.path_as_sent(request.environ).rstrip('/')
    return (
        request.environ['REQUEST_METHOD'] == 'GET'
        and list(request.path_values) == ['queue']
        and path.endswith('/messages')
    )


def _is_form(content_type: str) -> bool:
    return content_type.lower() == 'application/x-www-form-urlencoded'


# A parameter of a media type other than its weight, such as a charset, which JSON does not need.
_PARAMETER = re.compile(r';(?!\s*q\s*=)[^;,]*', re.IGNORECASE)


def _accepts_json(accept: str) -> bool:
    ranges = create_accept_header(_PARAMETER.sub('', accept))
    return not accept or bool(ranges.acceptable_offers([JSON]))
