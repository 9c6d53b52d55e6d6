"""Tokens: what a client shows to be let in, and what that lets it do.

A token reads ``mrc_ID_SECRETCHECKSUM``. By the checksum a typing error is told without a look at
the database, and a scanner for leaked secrets has few false alarms. What is stored of the secret
is its SHA-256: it has 256 random bits, so a slow hash would add nothing.
"""

import logging
import re
import secrets
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from marconi_api.errors import InvalidRequest, QuotaExceeded, TokenNotFound
from marconi_api.limits import MOST_IN_A_NAME, MOST_IN_A_PROJECT, TOKEN_LIFE
from marconi_api.model.encryption import Cipher
from marconi_api.model.postgres.database import Database, Row
from marconi_api.model.postgres.prepared import Prepared
from marconi_api.policy import OPERATOR, ROLES

log = logging.getLogger(__name__)

#: Tokens of a project, with those revoked or expired in the last month, which are still shown.
MOST_TOKENS = 1000

_DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
_ID_LENGTH = 12
_SECRET_BYTES = 32
# 62 ** 43 > 2 ** 256, and 62 ** 6 > 2 ** 32.
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_FORM = re.compile(
    rf'mrc_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})'
    rf'([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})'
)
_ID = re.compile(rf'[0-9A-Za-z]{{{_ID_LENGTH}}}')
_PATTERN = re.compile(rf'(?=.{{1,{MOST_IN_A_NAME}}}$)[A-Za-z0-9_.-]*\*?')


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it may be shown; times are None where there is none.

    ``last_used_at`` is exact to a minute and the time for which processes remember tokens.
    """

    id: str
    project: str
    roles: tuple[str, ...]
    name: str
    queues: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made just now. Its ``text`` is told this once, and is kept nowhere.

    ``secret_key``: of an access key what AWS's clients call the secret access key, else None. The id of
    the token is what they call the access key id.
    """

    token: Token
    text: str = field(repr=False)
    secret_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Valid:
    """What a valid token says of who shows it.

    :param expires_in: seconds; None for never
    :param is_noted: whether it is written down that it was used in this minute
    """

    id: str
    project: str
    roles: frozenset[str]
    queues: str | None
    expires_in: float | None
    is_noted: bool


class Tokens:
    """All tokens. A prompt uses ``noted.NotedTokens``, which also notes what is done."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._cipher = cipher

    def create(
        self,
        project: str,
        roles: str | Collection[str],
        name: str = '',
        queues: str | None = None,
        expires_in: int | None = None,
        is_access_key: bool = False,
    ) -> NewToken:
        """Make a token.

        :param project: may be '' for an operator only
        :param roles: one or several of ROLES
        :param name: what it is for, in words of the person who makes it
        :param queues: the name of a queue, or the beginning of names and an asterisk
        :param expires_in: seconds; None for never
        :param is_access_key: whether clients of SQS can sign requests by it, too; for that its secret is
            kept, encrypted
        :raises InvalidRequest: if it cannot be as it is wanted
        :raises QuotaExceeded: if the project has as many as it may have
        """
        wanted = tuple(dict.fromkeys([roles] if isinstance(roles, str) else roles))
        _check(project, wanted, name, queues)
        if expires_in is not None:
            TOKEN_LIFE.check('The time until it expires', expires_in)
        token_id, secret = _random(_ID_LENGTH), _base62(secrets.randbits(256), _SECRET_LENGTH)
        rows = self._database.rows(
            _CREATE,
            {
                'id': token_id,
                'hash': _hash(secret),
                'encrypted': self._cipher.encrypt(secret) if is_access_key else None,
                'project': project,
                'roles': list(wanted),
                'name': name,
                'queues': queues,
                'expires_in': expires_in,
                'most': MOST_TOKENS,
            },
        )
        if not rows:
            raise QuotaExceeded(
                f'A project may have {MOST_TOKENS} tokens, with those that were revoked or have '
                'expired in the last 30 days.'
            )
        return NewToken(
            _shown(rows[0]),
            _with_checksum(f'mrc_{token_id}_{secret}'),
            secret if is_access_key else None,
        )

    def list(self, project: str, after: str = '', limit: int = MOST_TOKENS) -> list[Token]:
        """A project's tokens by id, from the one after ``after`` on, the ended ones too."""
        given = {'project': project, 'after': after, 'limit': limit}
        return [_shown(row) for row in self._database.rows(_LIST, given, repeatable=True)]

    def get(self, token_id: str, project: str) -> Token:
        """A token of a project.

        :raises TokenNotFound: if the project has none of this id
        """
        for row in self._rows(_GET, token_id, project):
            return _shown(row)
        raise TokenNotFound(token_id)

    def revoke(self, token_id: str, project: str | None = None) -> None:
        """End a token; a process that remembers it goes on for ``access.cache_seconds``.

        :param project: the one that it must be of; None for any
        :raises TokenNotFound: if there is none of this id
        """
        if not self._rows(_REVOKE, token_id, project):
            raise TokenNotFound(token_id)

    def _rows(self, statement: str, token_id: str, project: str | None) -> Sequence[Row]:
        """What a statement about one token returns; nothing for what cannot be an id."""
        if not _ID.fullmatch(token_id):
            return []
        given = {'id': token_id, 'project': project}
        return self._database.rows(statement, given, repeatable=True)

    def look_up(self, text: str) -> Valid | None:
        """What a token says of who shows it; None if it is not valid.

        It takes as long whatever is wrong: also what cannot be a token is looked up.

        :raises StorageUnavailable: if that cannot be known at the moment
        """
        token_id, secret = parsed(text) or ('', '')
        [row] = self._database.rows(_LOOK_UP, {'id': token_id}, repeatable=True)
        stored, is_valid, *rest = row
        if not (compare_digest(_hash(secret), bytes(stored)) and is_valid):
            return None
        project, roles, *others = rest
        return Valid(token_id, project, frozenset(roles), *others)

    def look_up_key(self, key_id: str) -> tuple[Valid, str] | None:
        """What an access key says of who signs by it, and its secret; None if it is not valid.

        :raises StorageUnavailable: if that cannot be known at the moment
        """
        for row in self._rows(_FIND_KEY, key_id, None):
            encrypted, project, roles, *others = row
            secret = self._cipher.decrypt(encrypted)
            if secret is None:
                log.warning(
                    'the secret of access key %s was encrypted by a key that is not in '
                    'MARCONI_SECRET_KEYS any more',
                    key_id,
                )
                return None
            return Valid(key_id, project, frozenset(roles), *others), secret
        return None

    def find_valid(self, token_id: str) -> Valid | None:
        """What a token says whose text was shown before; None if it is not valid any more."""
        for row in self._rows(_FIND_VALID, token_id, None):
            project, roles, *others = row
            return Valid(token_id, project, frozenset(roles), *others)
        return None

    def note_use(self, token_id: str) -> None:
        """Write down that it was used in this minute."""
        self._database.rows(_NOTE_USE, {'id': token_id}, repeatable=True)


def parsed(text: str) -> tuple[str, str] | None:
    """The id and the secret of what has the form of a token, and the right checksum."""
    found = _FORM.fullmatch(text)
    if found is None or _with_checksum(text[:-_CHECKSUM_LENGTH]) != text:
        return None
    return found[1], found[2]


def described(token: Token) -> dict[str, Any]:
    """What is shown of a token, which is not its secret; times are texts, in UTC."""
    return {
        'id': token.id,
        'name': token.name,
        'roles': token.roles,
        'queues': token.queues,
        'created': _text_of(token.created_at),
        'expires': _text_of(token.expires_at),
        'last_used': _text_of(token.last_used_at),
        'revoked': _text_of(token.revoked_at),
    }


def _text_of(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


def is_within(queues: str | None, limits: str | None) -> bool:
    """Whether a queue's name, or a pattern of names, is covered by another pattern; None is all."""
    if limits is None:
        return True
    if queues is None:
        return False
    if limits.endswith('*'):
        return queues.startswith(limits[:-1])
    return queues == limits


def _check(project: str, roles: Collection[str], name: str, queues: str | None) -> None:
    if not roles:
        raise InvalidRequest('A token needs a role.')
    for role in roles:
        if role not in ROLES:
            raise InvalidRequest(f'A role must be one of {", ".join(ROLES)}, not {role[:80]!r}.')
    if not project and OPERATOR not in roles:
        raise InvalidRequest('A token needs a project, unless its role is operator.')
    if (
        len(project) > MOST_IN_A_PROJECT
        or ',' in project
        or not (project.isascii() and _is_printable(project))
    ):
        raise InvalidRequest(
            f'A project is named by at most {MOST_IN_A_PROJECT} characters of ASCII, without a '
            'comma, a control character or white space around them.'
        )
    if len(name) > MOST_IN_A_NAME or not _is_printable(name):
        raise InvalidRequest(
            f'The name of a token must have at most {MOST_IN_A_NAME} characters, without a '
            'control character or white space around them.'
        )
    if queues is not None and not _PATTERN.fullmatch(queues):
        raise InvalidRequest(
            'queues must be the name of a queue, or the beginning of names with an asterisk '
            'behind it, such as orders-*.'
        )


def _is_printable(text: str) -> bool:
    return text == text.strip() and text.isprintable()


def _random(length: int) -> str:
    return ''.join(secrets.choice(_DIGITS) for _ in range(length))


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return ''.join(reversed(digits))


def _with_checksum(text: str) -> str:
    return text + _base62(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _shown(row: tuple[object, ...]) -> Token:
    token_id, project, roles, *rest = row
    return Token(token_id, project, tuple(roles), *rest)  # type: ignore[arg-type]


_COLUMNS = 'id, project, roles, name, queues, created_at, expires_at, last_used_at, revoked_at'

# What ended a month ago goes whenever a token is made: that is how the table stays small.
_CREATE = f"""
    WITH ended AS (
        DELETE FROM tokens
         WHERE project = %(project)s
           AND least(revoked_at, expires_at) < now() - interval '30 days'
        RETURNING id)
    INSERT INTO tokens (id, secret_sha256, encrypted_secret, project, roles, name, queues, expires_at)
    SELECT %(id)s, %(hash)s, %(encrypted)s, %(project)s, %(roles)s::text[], %(name)s, %(queues)s,
           now() + %(expires_in)s * interval '1 second'
     WHERE (SELECT count(*) FROM tokens WHERE project = %(project)s)
           - (SELECT count(*) FROM ended) < %(most)s
    RETURNING {_COLUMNS}
"""

_LIST = f"""
    SELECT {_COLUMNS} FROM tokens
     WHERE project = %(project)s AND id > %(after)s
     ORDER BY id LIMIT %(limit)s
"""

_GET = f'SELECT {_COLUMNS} FROM tokens WHERE id = %(id)s AND project = %(project)s'

_REVOKE = """
    UPDATE tokens SET revoked_at = coalesce(revoked_at, now())
     WHERE id = %(id)s AND project = coalesce(%(project)s, project)
    RETURNING id
"""

# It has a row of the same width for a token that is not there, so that it takes as long.
_LOOK_UP = Prepared(
    """
    SELECT coalesce(secret_sha256, decode(repeat('00', 32), 'hex')),
           id IS NOT NULL AND revoked_at IS NULL AND coalesce(expires_at > now(), true),
           coalesce(project, '-'), coalesce(roles, '{admin}'), queues,
           date_part('epoch', expires_at - now()),
           coalesce(last_used_at >= date_trunc('minute', now()), false)
      FROM (VALUES (1)) AS asked LEFT JOIN tokens ON id = %(id)s
    """,
    'token',
)

_FIND_VALID = """
    SELECT project, roles, queues, date_part('epoch', expires_at - now()),
           coalesce(last_used_at >= date_trunc('minute', now()), false)
      FROM tokens
     WHERE id = %(id)s AND revoked_at IS NULL AND coalesce(expires_at > now(), true)
"""

_FIND_KEY = """
    SELECT encrypted_secret, project, roles, queues, date_part('epoch', expires_at - now()),
           coalesce(last_used_at >= date_trunc('minute', now()), false)
      FROM tokens
     WHERE id = %(id)s AND encrypted_secret IS NOT NULL
       AND revoked_at IS NULL AND coalesce(expires_at > now(), true)
"""

_NOTE_USE = """
    UPDATE tokens SET last_used_at = date_trunc('minute', now())
     WHERE id = %(id)s
       AND coalesce(last_used_at < date_trunc('minute', now()), true)
"""
