"""Signature Version 4: how a client of SQS proves that it has the secret of an access key.

The client signs the method, the path, some headers and a hash of the body by HMAC, with a key that is
derived from the secret for a day, a region and the service. AWS's pages on Signature Version 4 describe
it; docs/sqs.md says what is accepted here.
"""

import hmac
import re
import time
from calendar import timegm
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from marconi_api.controllers.sqs.failures import (
    IncompleteSignature,
    InvalidSignature,
    MissingAuthentication,
)
from marconi_api.wire import framing

ALGORITHM = 'AWS4-HMAC-SHA256'
SERVICE = 'sqs'

#: Seconds by which the client's clock may differ from ours.
MOST_SKEW = 300

_TIME_FORMAT = '%Y%m%dT%H%M%SZ'
_DATE = re.compile(r'[0-9]{8}T[0-9]{6}Z')
_RUN_OF_BLANKS = re.compile(' +')
_UNSIGNED = 'UNSIGNED-PAYLOAD'


class Signature(NamedTuple):
    """What the header ``Authorization`` says."""

    key_id: str
    #: Day, region and service, as they are signed.
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        """The scope of the key, as it is signed."""
        return f'{self.day}/{self.region}/{self.service}/aws4_request'


def signature_of(environ: Mapping[str, Any]) -> Signature:
    """The signature of a request, which is not checked yet.

    :raises MissingAuthentication: if it has none
    :raises IncompleteSignature: if the header cannot be read
    """
    header = environ.get('HTTP_AUTHORIZATION')
    if not header:
        raise MissingAuthentication
    algorithm, _, rest = header.strip().partition(' ')
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f'Authorization must begin with {ALGORITHM}.')
    parts = dict(part.strip().partition('=')[::2] for part in rest.split(','))
    lacking = [name for name in ('Credential', 'SignedHeaders', 'Signature') if not parts.get(name)]
    if lacking:
        raise IncompleteSignature(f'Authorization requires {lacking[0]}.')
    # A key's id may be the name of a project, which may hold a slash.
    credential = parts['Credential'].rsplit('/', 4)
    if len(credential) != 5 or credential[4] != 'aws4_request' or not credential[0]:
        raise IncompleteSignature(
            'Credential must have five parts: KEY/YYYYMMDD/REGION/sqs/aws4_request.'
        )
    key_id, day, region, service, _ = credential
    signed_headers = tuple(parts['SignedHeaders'].split(';'))
    return Signature(key_id, day, region, service, signed_headers, parts['Signature'])


def check(
    environ: Mapping[str, Any], body: bytes, signature: Signature, secret: str, now: float
) -> None:
    """Make sure that the request was signed with the secret, a short time ago, as it came here.

    :param now: seconds since 1970
    :raises IncompleteSignature: if it has no date, or not all headers are signed that must be
    :raises InvalidSignature: if the signature is another one, or it was signed for another time or
        service
    """
    sent_at = environ.get('HTTP_X_AMZ_DATE', '')
    _check_time(sent_at, signature, now)
    _check_scope(environ, signature)
    _check_payload(environ, body)
    to_sign = '\n'.join(
        (
            ALGORITHM,
            sent_at,
            signature.scope,
            sha256(_canonical(environ, body, signature.signed_headers)).hexdigest(),
        )
    )
    key = signing_key(secret, signature.day, signature.region, signature.service)
    expected = hmac.new(key, to_sign.encode(), 'sha256').hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.signature.encode()):
        raise InvalidSignature(
            'The signature is not that of the request: check the secret access key. A proxy in front '
            'of this service must pass on the header Host as the client sent it.'
        )


@lru_cache(maxsize=1024)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key that a client derives from its secret for a day, a region and a service."""
    key = f'AWS4{secret}'.encode()
    for part in (day, region, service, 'aws4_request'):
        key = hmac.digest(key, part.encode(), 'sha256')
    return key


def _check_time(sent_at: str, signature: Signature, now: float) -> None:
    if not _DATE.fullmatch(sent_at):
        raise IncompleteSignature('Authorization requires the header X-Amz-Date, YYYYMMDDTHHMMSSZ.')
    if sent_at[:8] != signature.day:
        raise InvalidSignature('The day in Credential is not that of X-Amz-Date.')
    try:
        signed_at = timegm(time.strptime(sent_at, _TIME_FORMAT))
    except (ValueError, OverflowError):
        raise IncompleteSignature('X-Amz-Date is not a time.') from None
    if abs(now - signed_at) > MOST_SKEW:
        raise InvalidSignature(
            f'Signature expired: X-Amz-Date differs by more than {MOST_SKEW // 60} minutes from the '
            "service's clock. Set the client's clock."
        )


def _check_scope(environ: Mapping[str, Any], signature: Signature) -> None:
    if signature.service != SERVICE:
        raise InvalidSignature(f'Credential should be scoped to the service {SERVICE}.')
    must_be_signed = {'host'} | {
        name[5:].lower().replace('_', '-') for name in environ if name.startswith('HTTP_X_AMZ_')
    }
    lacking = sorted(must_be_signed.difference(signature.signed_headers))
    if lacking:
        raise InvalidSignature(f'The header {lacking[0]} must be signed.')


def _check_payload(environ: Mapping[str, Any], body: bytes) -> None:
    claimed = environ.get('HTTP_X_AMZ_CONTENT_SHA256')
    if claimed is None:
        return
    if claimed == _UNSIGNED:
        raise InvalidSignature('The body must be signed.')
    if claimed != sha256(body).hexdigest():
        raise InvalidSignature('X-Amz-Content-Sha256 is not the hash of the body.')


def _canonical(environ: Mapping[str, Any], body: bytes, signed: tuple[str, ...]) -> bytes:
    """The request in the form of which a client signs the hash."""
    headers = [f'{name}:{_header(environ, name)}\n' for name in signed]
    lines = (
        environ['REQUEST_METHOD'],
        framing.path_as_sent(environ),
        _canonical_query(environ.get('QUERY_STRING', '')),
        ''.join(headers),
        ';'.join(signed),
        sha256(body).hexdigest(),
    )
    # A header of WSGI has a character for each byte that was sent.
    return '\n'.join(lines).encode('latin-1', 'replace')


def _header(environ: Mapping[str, Any], name: str) -> str:
    key = name.upper().replace('-', '_')
    if key not in ('CONTENT_TYPE', 'CONTENT_LENGTH'):
        key = f'HTTP_{key}'
    value = environ.get(key)
    if value is None:
        raise InvalidSignature(f'The header {name[:80]} is signed, but was not sent.')
    return _RUN_OF_BLANKS.sub(' ', str(value).strip())


def _canonical_query(query: str) -> str:
    pairs = (pair.partition('=') for pair in query.split('&') if pair)
    return '&'.join(f'{name}={value}' for name, _, value in sorted(pairs))
